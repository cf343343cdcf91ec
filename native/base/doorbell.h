// Doorbell: wakes a thread that sleeps on file descriptors, and costs the ringer one load while it
// is awake.
//
// The sleeper announces that it is about to sleep, looks once more for work, and only then blocks;
// the ringer publishes its work first and looks at the announcement afterwards. Both use
// sequentially consistent operations, so one of the two always sees the other.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

#include "base/result.h"

namespace pollux {

class Doorbell {
 public:
  // It takes a descriptor, of which there may be none: see opened().
  Doorbell() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), failure_(fd_ < 0 ? errno : 0) {}
  ~Doorbell() {
    if (fd_ >= 0) close(fd_);
  }
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // A doorbell that failed must not be used.
  Status opened() const {
    if (failure_ == 0) return {};
    return SystemError(failure_, "eventfd", "cannot open an event descriptor");
  }
  int fd() const { return fd_; }

  // Any thread. The work the sleeper should find was published (sequentially consistent) before.
  void Ring() {
    if (asleep_.load(std::memory_order_seq_cst)) RingAlways();
  }
  // For sleepers that never announce themselves, such as an event loop that polls fd().
  void RingAlways() {
    const std::uint64_t one = 1;
    while (write(fd_, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

  // The sleeper: Announce(), look for work once more, then wait on fd() (readable = rung), then
  // Awake().
  void Announce() { asleep_.store(true, std::memory_order_seq_cst); }
  void Awake() {
    asleep_.store(false, std::memory_order_seq_cst);
    Drain();
  }
  void Drain() {
    std::uint64_t count = 0;
    while (read(fd_, &count, sizeof count) < 0 && errno == EINTR) {
    }
  }

 private:
  const int fd_;
  const int failure_;  // An errno.
  std::atomic<bool> asleep_{false};
};

}  // namespace pollux
