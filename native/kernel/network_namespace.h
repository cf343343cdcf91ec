// A network namespace that is not the process's own, and a thread's visits to it.
//
// A socket belongs for ever to the namespace of the thread that opened it. So who opens a device
// elsewhere goes there, and comes back: for no longer than that, since all else the thread does is
// about the namespace that it came from. Threads that it starts meanwhile begin there, too.
//
// A namespace lives as long as anybody has a descriptor of it: us, or a socket in it.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace pollux {

class NetworkNamespace {
 public:
  // By a path such as /var/run/netns/NAME or /proc/PID/ns/net. ENOENT: there is nothing; EINVAL: it
  // is no network namespace.
  static Result<std::shared_ptr<const NetworkNamespace>> Open(const std::string& path);

  // Whether it is the thread's own all the same.
  bool is_home() const { return is_home_; }
  // By which number a listener in the thread's own namespace knows it (see link_monitor.h): it gets
  // one if it has none. kUnheard: it cannot have one, and nothing is heard of it.
  static constexpr int kUnheard = -2;
  int Number() const;

 private:
  friend class NamespaceVisit;
  NetworkNamespace(Fd there, Fd home, bool is_home)
      : there_(std::move(there)), home_(std::move(home)), is_home_(is_home) {}

  const Fd there_;
  const Fd home_;  // Of the thread that opened it: the way back needs no descriptor.
  const bool is_home_;
};

// While it lives, the calling thread is in a namespace; null: it stays where it is. Only the thread
// that opened the namespace goes there.
class NamespaceVisit {
 public:
  explicit NamespaceVisit(const NetworkNamespace* where);
  ~NamespaceVisit();
  NamespaceVisit(const NamespaceVisit&) = delete;
  NamespaceVisit& operator=(const NamespaceVisit&) = delete;

  // EPERM: the thread stayed where it was.
  const Status& status() const { return status_; }

 private:
  const NetworkNamespace* where_;
  Status status_;
};

}  // namespace pollux
