#include "netdev/xsk/xsk_sender.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace pollux {
namespace {

constexpr std::uint32_t kFrames = 1024;  // Under way in the kernel.

bool IsOrdinary(const Packet& packet) {
  return packet.offloads == 0 && packet.size >= kMinFrame &&
         packet.size <= XskQueue::MaxFrame(false);
}

}  // namespace

std::shared_future<void> XskSender::Open(int ifindex) {
  MutexLock control(control_);
  background_.Wait();
  std::shared_ptr<XskQueue> old;
  {
    MutexLock lock(mutex_);
    old = std::move(queue_);
    again_ = 0;
    was_opened_ = true;
    failures_ = 0;
  }
  const auto done = std::make_shared<std::promise<void>>();
  background_.Run([this, ifindex, done, old = std::move(old)]() mutable {
    old.reset();  // Before the next: a queue of an interface has one socket.
    OpenNow(ifindex);
    done->set_value();
  });
  return done->get_future().share();
}

void XskSender::OpenAgain() {
  MutexLock control(control_);
  int ifindex = 0;
  {
    MutexLock lock(mutex_);
    ifindex = std::exchange(again_, 0);
  }
  if (ifindex != 0) background_.Run([this, ifindex] { OpenNow(ifindex); });
}

void XskSender::Close() {
  MutexLock control(control_);
  background_.Wait();
  MutexLock lock(mutex_);
  if (queue_ != nullptr) queue_->Close();
}

void XskSender::OpenNow(int ifindex) {
  XskQueue::Options options;
  options.ifindex = ifindex;
  options.ring = kFrames;
  options.receive = false;
  Result<std::unique_ptr<XskQueue>> opened = XskQueue::Open(pool_, options);
  MutexLock lock(mutex_);
  if (opened) {
    failures_ = 0;
    queue_ = std::move(*opened);
    return;
  }
  ++failures_;
  // EINVAL: the socket there is one of ours.
  may_come_ = opened.error().number == EBUSY || opened.error().number == EINVAL;
  if (may_come_) again_ = ifindex;
}

bool XskSender::is_open() const {
  MutexLock lock(mutex_);
  return queue_ != nullptr;
}

bool XskSender::was_opened() const {
  MutexLock lock(mutex_);
  return was_opened_;
}

bool XskSender::failed() const {
  MutexLock lock(mutex_);
  return failures_ > (may_come_ ? 1 : 0);
}

bool XskSender::Send(PacketBatch& batch, SendResult& result) {
  const bool ordinary = std::all_of(batch.begin(), batch.end(),
                                    [](const Packet* packet) { return IsOrdinary(*packet); });
  if (!ordinary) return false;
  MutexLock lock(mutex_);
  if (queue_ == nullptr || !queue_->HasRoom(static_cast<std::uint32_t>(batch.size()))) return false;
  queue_->Send(batch, result);
  return true;
}

bool XskSender::SendLong(PacketBatch& batch, SendResult& result) {
  MutexLock lock(mutex_);
  if (queue_ == nullptr) return false;
  const std::uint32_t longest = XskQueue::MaxFrame(queue_->umem().takes_large_frames());
  const auto fits = [longest](const Packet* packet) { return packet->size <= longest; };
  if (!std::all_of(batch.begin(), batch.end(), fits)) return false;
  queue_->Send(batch, result);
  return true;
}

void XskSender::SendLeft() {
  MutexLock lock(mutex_);
  if (queue_ != nullptr) queue_->SendLeft();
}

}  // namespace pollux
