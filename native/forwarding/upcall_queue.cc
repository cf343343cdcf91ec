#include "forwarding/upcall_queue.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace pollux {

// Single producer, single consumer. Indices run on; the slot is the index modulo the size.
struct UpcallQueue::Ring {
  alignas(64) std::atomic<std::uint64_t> head{0};  // Next to write; the producer's.
  alignas(64) std::atomic<std::uint64_t> tail{0};  // Next to read; the consumer's.
  std::array<Upcall, kRingSize> slots;
};

UpcallQueue::UpcallQueue(std::uint32_t port_limit, std::function<void()> wake)
    : wake_(std::move(wake)),
      port_limit_(port_limit),
      ports_(static_cast<PortQueue*>(std::calloc(kPorts, sizeof(PortQueue))),
             [](PortQueue* ports) { std::free(ports); }) {}

UpcallQueue::~UpcallQueue() {
  for (auto& ring : rings_) delete ring.load(std::memory_order_relaxed);
}

bool UpcallQueue::Park(std::size_t slot, Upcall& upcall, bool scarce) {
  Ring* ring = rings_[slot].load(std::memory_order_relaxed);
  if (ring == nullptr) {
    ring = new (std::nothrow) Ring;
    rings_[slot].store(ring, std::memory_order_release);
  }
  PortQueue& port = ports_[Index(upcall.packet->in_port)];
  // Without memory for a ring, there is no room.
  const std::uint64_t head = ring == nullptr ? 0 : ring->head.load(std::memory_order_relaxed);
  bool room = ring != nullptr && head - ring->tail.load(std::memory_order_acquire) < kRingSize;
  std::uint32_t limit = port_limit_.load(std::memory_order_relaxed);
  if (scarce) limit = std::min(limit, kScarceLimit);
  if (room && port.parked.fetch_add(1, std::memory_order_relaxed) >= limit) {
    port.parked.fetch_sub(1, std::memory_order_relaxed);
    room = false;
  }
  if (!room) {
    port.lost.fetch_add(1, std::memory_order_relaxed);
    any_lost_.store(true, std::memory_order_relaxed);
    return false;
  }
  queued_.fetch_add(1, std::memory_order_relaxed);
  ring->slots[head % kRingSize] = std::move(upcall);
  ring->head.store(head + 1, std::memory_order_release);
  return true;
}

void UpcallQueue::Wake() {
  if (!woken_.exchange(true, std::memory_order_seq_cst)) wake_();
}

bool UpcallQueue::Take(std::size_t max, std::vector<Upcall>& out) {
  MutexLock lock(take_mutex_);
  // Before looking: what is parked from here on wakes us again.
  woken_.store(false, std::memory_order_seq_cst);
  // Those with something in them, and how much.
  struct Waiting {
    Ring* ring;
    std::uint64_t tail;
    std::uint64_t head;
  };
  std::array<Waiting, kContexts> waiting;
  std::size_t n = 0;
  const std::size_t first = next_slot_++;
  for (std::size_t turn = 0; turn < kContexts; ++turn) {
    Ring* ring = rings_[(first + turn) % kContexts].load(std::memory_order_acquire);
    if (ring == nullptr) continue;
    const std::uint64_t tail = ring->tail.load(std::memory_order_relaxed);
    const std::uint64_t head = ring->head.load(std::memory_order_acquire);
    if (tail != head) waiting[n++] = {ring, tail, head};
  }
  while (n > 0 && max > 0) {
    std::size_t left = 0;
    for (std::size_t i = 0; i < n; ++i) {
      Waiting from = waiting[i];
      if (max > 0) {
        out.push_back(std::move(from.ring->slots[from.tail % kRingSize]));
        from.ring->tail.store(++from.tail, std::memory_order_release);
        --max;
      }
      if (from.tail != from.head) waiting[left++] = from;
    }
    n = left;
  }
  return n > 0;
}

void UpcallQueue::TakeLost(const std::function<void(PortNumber, std::uint64_t)>& each) {
  if (!any_lost_.exchange(false, std::memory_order_relaxed)) return;
  for (std::uint32_t i = 0; i < kPorts; ++i) {
    if (ports_[i].lost.load(std::memory_order_relaxed) == 0) continue;
    const std::uint32_t lost = ports_[i].lost.exchange(0, std::memory_order_relaxed);
    each(PortNumber{i}, lost);
  }
}

}  // namespace pollux
