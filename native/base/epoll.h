// Epoll: several descriptors as one, which is readable when any of them is.
#pragma once

#include <sys/epoll.h>

#include <cerrno>

#include "base/fd.h"
#include "base/result.h"

namespace pollux {

class Epoll {
 public:
  // It takes a descriptor, of which there may be none: see opened().
  Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)), failure_(fd_.get() < 0 ? errno : 0) {}

  Status opened() const {
    if (failure_ == 0) return {};
    return SystemError(failure_, "epoll_create1", "cannot open an epoll descriptor");
  }
  int fd() const { return fd_.get(); }

  // ENOMEM, or ENOSPC: the user watches as many descriptors as allowed.
  Status Watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST) return {};
    Error error = SystemError(errno, "epoll_ctl", "cannot watch a descriptor");
    if (error.number == ENOSPC)
      error.hint = "raise /proc/sys/fs/epoll/max_user_watches, or watch less";
    return error;
  }
  // Harmless if it is not watched.
  void Unwatch(int fd) { epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

 private:
  const Fd fd_;
  const int failure_;  // An errno.
};

}  // namespace pollux
