// The two sides of an af_xdp port, as forwarding threads see them: receive queues that share the
// sockets of the device's, and the places where senders meet at one. af_xdp_netdev.cc has the rest.
#pragma once

#include <algorithm>
#include <vector>

#include "base/epoll.h"
#include "base/sync.h"
#include "netdev/af_xdp/partial_checksum.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_queue.h"

namespace pollux {

class AfXdpRxq final : public Rxq {
 public:
  explicit AfXdpRxq(bool find_checksums) : find_checksums_(find_checksums) {}
  Status opened() const { return epoll_.opened(); }

  // Control side. A queue must be forgotten before it is closed.
  void Add(XskQueue* queue) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    queues_.push_back(queue);
    // Should it not be watched, whoever sleeps sees it when they wake.
    if (armed_) (void)epoll_.Watch(queue->socket().fd()).ok();
  }
  void Forget() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    Unwatch();
    queues_.clear();
  }

  void Recv(PacketBatch& batch) override EXCLUDES(mutex_) {
    const std::size_t before = batch.size();
    {
      MutexLock lock(mutex_);
      // Each is first in turn, so that a full one does not starve the others.
      for (std::size_t i = 0; i < queues_.size() && !batch.full(); ++i) {
        queues_[(first_ + i) % queues_.size()]->Recv(batch);
      }
      ++first_;
    }
    if (!find_checksums_) return;
    for (std::size_t i = before; i < batch.size(); ++i) FindPartialChecksum(*batch[i]);
  }

  int wait_fd() const override { return epoll_.fd(); }
  bool Arm() override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (XskQueue* queue : queues_) {
      if (queue->HasWaiting()) return false;
    }
    if (armed_) return true;
    armed_ = true;
    // A socket that is watched tells of every frame that it has sent: only while somebody sleeps.
    // What cannot be watched is polled on.
    return std::all_of(queues_.begin(), queues_.end(), [this](const XskQueue* queue) {
      return epoll_.Watch(queue->socket().fd()).ok();
    });
  }
  void Disarm() override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (armed_) Unwatch();
    armed_ = false;
  }

 private:
  void Unwatch() REQUIRES(mutex_) {
    for (const XskQueue* queue : queues_) epoll_.Unwatch(queue->socket().fd());
  }

  const bool find_checksums_;
  Epoll epoll_;
  Mutex mutex_;
  std::vector<XskQueue*> queues_ GUARDED_BY(mutex_);
  std::size_t first_ GUARDED_BY(mutex_) = 0;
  bool armed_ GUARDED_BY(mutex_) = false;
};

// Where senders meet.
class AfXdpLane {
 public:
  void Set(XskQueue* queue) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    queue_ = queue;
  }
  void Send(PacketBatch& batch, SendResult& result) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (queue_ != nullptr) {
      queue_->Send(batch, result);
    } else {
      result.Drop(DropReason::kPortDown, static_cast<std::uint32_t>(batch.size()));
    }
  }
  void SendLeft() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (queue_ != nullptr) queue_->SendLeft();
  }

 private:
  Mutex mutex_;
  XskQueue* queue_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace pollux
