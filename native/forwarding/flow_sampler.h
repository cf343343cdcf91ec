// FlowSampler: looks at one packet in so many of a receive queue, for control, who wants to know
// which flows are hot. The thread that polls the queue puts the first bytes of a packet into a
// ring; control takes them out now and then. A full ring is no harm: whatever is hot comes again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "flow/header_key.h"
#include "packet/packet.h"

namespace pollux {

class FlowSampler {
 public:
  using Header = std::array<std::uint8_t, kHeaderKeyBytes>;

  // One in `interval`, on average.
  explicit FlowSampler(std::uint32_t interval) : interval_(interval) {}

  // The polling thread: a batch that was received.
  void Look(const PacketBatch& batch) {
    if (batch.size() < left_) [[likely]] {
      left_ -= static_cast<std::uint32_t>(batch.size());
      return;
    }
    Sample(batch);
  }

  // Control. False: there is none.
  bool Take(Header& header) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    header = ring_[tail % ring_.size()];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  [[gnu::noinline]] void Sample(const PacketBatch& batch) {
    std::size_t at = 0;
    for (; batch.size() - at >= left_; at += left_, left_ = Next()) Put(*batch[at + left_ - 1]);
    left_ -= static_cast<std::uint32_t>(batch.size() - at);
  }
  // Not at regular distances: traffic has rhythms of its own.
  std::uint32_t Next() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return 1 + random_ % (2 * interval_ - 1);
  }
  void Put(const Packet& packet) {
    if (packet.offloads != 0 || ShapeOf(packet) == HeaderShape::kOther) return;
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == ring_.size()) return;
    std::memcpy(ring_[head % ring_.size()].data(), packet.data, kHeaderKeyBytes);
    head_.store(head + 1, std::memory_order_release);
  }

  const std::uint32_t interval_;
  std::uint32_t left_ = 1;  // The packet to look at, counted from the next one, which is 1.
  std::uint32_t random_ = 0x9e3779b9;
  alignas(64) std::atomic<std::size_t> head_{0};
  alignas(64) std::atomic<std::size_t> tail_{0};
  std::array<Header, 1024> ring_;
};

}  // namespace pollux
