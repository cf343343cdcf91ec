// XskSender: an AF_XDP socket that only sends, beside the sockets that a port has anyway.
//
// It is a shortcut that may be missing: while it is being opened (by a thread of its own, since to
// bind it waits for whatever else goes on with interfaces), while the queue of the interface has
// such a socket of somebody else, without memory that may be locked, or when its ring is full.
// Whoever sends has another way for all that.
#pragma once

#include <future>
#include <memory>

#include "base/background.h"
#include "base/sync.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_queue.h"
#include "packet/packet.h"

namespace pollux {

class XskSender {
 public:
  explicit XskSender(PacketPool& pool) : pool_(pool) {}
  XskSender(const XskSender&) = delete;
  XskSender& operator=(const XskSender&) = delete;

  // --- Control.

  // From some time later on frames can be sent to the interface, and to no other before. The
  // future: it is open, or will not be for now.
  std::shared_future<void> Open(int ifindex) EXCLUDES(control_, mutex_);
  // If the socket of somebody else was in the way: perhaps it has gone.
  void OpenAgain() EXCLUDES(control_, mutex_);
  // The last: no descriptor is open any more. To destroy the object is then what takes time.
  void Close() EXCLUDES(control_, mutex_);

  // --- Any thread.

  bool is_open() const EXCLUDES(mutex_);
  // It is open, or was tried.
  bool was_opened() const EXCLUDES(mutex_);
  // It is not to be had: also at a second attempt, where one that was just closed may have been in
  // the way.
  bool failed() const EXCLUDES(mutex_);
  // Packets that lack nothing. False, and nothing done: they take another way.
  bool Send(PacketBatch& batch, SendResult& result) EXCLUDES(mutex_);
  // The same for packets that have no other way: they may be long, in several chunks, and what
  // finds no room is dropped. False, and nothing done: it is not open, or they are too long.
  bool SendLong(PacketBatch& batch, SendResult& result) EXCLUDES(mutex_);
  // What XskQueue::SendLeft() is for.
  void SendLeft() EXCLUDES(mutex_);

 private:
  void OpenNow(int ifindex) EXCLUDES(mutex_);

  PacketPool& pool_;
  mutable Mutex mutex_;  // After control_.
  std::unique_ptr<XskQueue> queue_ GUARDED_BY(mutex_);
  int again_ GUARDED_BY(mutex_) = 0;  // The interface to be tried again.
  bool was_opened_ GUARDED_BY(mutex_) = false;
  bool may_come_ GUARDED_BY(mutex_) = false;  // Though it failed.
  int failures_ GUARDED_BY(mutex_) = 0;       // One after the other.
  Mutex control_;
  Background background_ GUARDED_BY(control_);  // Last: waits for what it has begun.
};

}  // namespace pollux
