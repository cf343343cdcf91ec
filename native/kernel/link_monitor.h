// LinkMonitor: hears from the kernel what becomes of interfaces and their qdiscs (rtnetlink, groups
// RTNLGRP_LINK and RTNLGRP_TC).
//
// The kernel reports changes without being asked; when we read too slowly it throws reports away
// and says ENOBUFS once. Then the monitor asks for the list of all interfaces, and reports those
// that are no longer on it as deleted. The same list is asked for when the monitor opens, so the
// first Read() reports every interface there is. A link may be reported again though nothing
// changed. When a list is complete, that is reported, too: whoever knows an interface that has gone
// before the first list was made can find out then.
//
// It listens in the network namespace of the thread that opened it, and, where it may, in those
// that have a number in it (an interface that is moved gives its new one a number): so an interface
// can be followed. Only of its own does it know what there is. One thread reads at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/sync.h"

namespace pollux {

// A network namespace by its number in the listener's; kHere: the listener's own.
inline constexpr int kHere = -1;

struct LinkEvent {
  int nsid = kHere;
  int ifindex = 0;
  std::string name;
  std::vector<std::string> other_names;
  bool up = false;  // Set up by the administrator, and with a carrier.
  bool deleted = false;
  // With `deleted`: it went to another namespace, where it has another index; 0: it did not, or
  // that is not known.
  int moved_nsid = kHere;
  int moved_ifindex = 0;
  std::uint32_t mtu = 0;       // 0: not said.
  bool qdisc_changed = false;  // Nothing else is said then.
  // About no interface: a list of all has been reported.
  bool list_is_complete = false;

  bool Is(const std::string& device) const {
    return device == name ||
           std::find(other_names.begin(), other_names.end(), device) != other_names.end();
  }
};

class LinkMonitor {
 public:
  using Callback = std::function<void(const LinkEvent&)>;

  static Result<std::unique_ptr<LinkMonitor>> Open();
  ~LinkMonitor();
  LinkMonitor(const LinkMonitor&) = delete;
  LinkMonitor& operator=(const LinkMonitor&) = delete;

  // Readable when there is something to Read().
  int fd() const { return fd_; }
  // Reports what has arrived, oldest first; never blocks.
  void Read(const Callback& callback) EXCLUDES(mutex_);
  // Asks for the list of all interfaces; later calls of Read() report it.
  void Refresh() EXCLUDES(mutex_);
  // The same if the last request could not be made.
  void RefreshIfOwed() EXCLUDES(mutex_);

 private:
  struct Link {
    std::string name;
    std::uint32_t generation =
        0;  // Of the last list it was on, or that was under way when it was reported.
  };

  explicit LinkMonitor(int fd);
  void AskForList() REQUIRES(mutex_);
  void Parse(std::size_t size, int nsid, const Callback& callback) REQUIRES(mutex_);
  void ReportMissing(const Callback& callback) REQUIRES(mutex_);

  const int fd_;
  Mutex mutex_;
  std::vector<char> buffer_ GUARDED_BY(mutex_);
  std::unordered_map<int, Link> links_ GUARDED_BY(mutex_);
  // Sequence number of the newest list asked for.
  std::uint32_t generation_ GUARDED_BY(mutex_) = 0;
  bool listing_ GUARDED_BY(mutex_) = false;       // That list is under way.
  bool list_started_ GUARDED_BY(mutex_) = false;  // Its first message was read.
  // It must be asked for again when it has arrived, or at the next occasion.
  bool stale_ GUARDED_BY(mutex_) = false;
};

}  // namespace pollux
