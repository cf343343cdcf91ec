// Upcalls: packets that wait for the program's verdict.
//
// A forwarding context *parks* a packet and moves on; it never waits for whoever answers. Each
// context has a ring of its own with one producer (the context) and one consumer (whoever calls
// Take), so parking takes no lock. How many packets of one port may be parked is bounded, from
// parking to verdict, so that no port can use up what others need; a packet beyond that bound is
// lost to the upcall, and counted.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "packet/packet.h"

namespace pollux {

enum class UpcallReason : std::uint8_t { kMiss, kAction };
using Userdata = std::shared_ptr<const std::vector<std::uint8_t>>;

struct Upcall {
  PacketPtr packet;
  UpcallReason reason = UpcallReason::kMiss;
  Userdata userdata;
  std::uint32_t port_id = 0;  // Of the port it came from; 0: from none that is known.
};

class UpcallQueue {
 public:
  static constexpr std::size_t kContexts = 64;
  static constexpr std::size_t kRingSize = 4096;  // Of one context.
  static constexpr std::uint32_t kScarceLimit = 64;

  // `wake` is called after packets were parked, at most once until Take() was called; any thread.
  explicit UpcallQueue(std::uint32_t port_limit, std::function<void()> wake);
  ~UpcallQueue();

  // There was memory for it; else it must not be used.
  Status opened() const {
    return ports_ != nullptr ? Status() : SystemError(ENOMEM, {}, "no memory for upcalls");
  }

  // --- Forwarding contexts, each with its slot.

  // Whether anybody answers at all.
  bool has_consumer() const { return has_consumer_.load(std::memory_order_relaxed); }
  // Takes the packet over and returns true, or leaves it with the caller: the queue of its port, or
  // the ring, is full.
  // When memory is `scarce`, a port's queue is next to nothing.
  bool Park(std::size_t slot, Upcall& upcall, bool scarce = false);
  // After a burst that parked something.
  void Wake();

  // --- The consumer.

  // Whoever comes is woken: the wake-up for what was parked meanwhile may have been the last one's.
  void SetConsumer(bool present) {
    has_consumer_.store(present, std::memory_order_relaxed);
    if (present) wake_();
  }
  void SetPortLimit(std::uint32_t limit) { port_limit_.store(limit, std::memory_order_relaxed); }
  // Appends up to `max` packets to `out`, taking turns among contexts. True: more wait.
  bool Take(std::size_t max, std::vector<Upcall>& out) EXCLUDES(take_mutex_);
  // A packet that was taken has its verdict: its place in the port's queue is free again.
  void Answered(PortNumber port) {
    ports_[Index(port)].parked.fetch_sub(1, std::memory_order_relaxed);
    queued_.fetch_sub(1, std::memory_order_relaxed);
  }

  // Packets parked or taken and not answered.
  std::uint64_t queued() const { return queued_.load(std::memory_order_relaxed); }
  // Calls `each(port, lost)` for every port that lost upcalls since the last call.
  void TakeLost(const std::function<void(PortNumber, std::uint64_t)>& each);

 private:
  struct Ring;
  struct PortQueue {
    std::atomic<std::uint32_t> parked{0};
    std::atomic<std::uint32_t> lost{0};
  };
  static constexpr std::size_t kPorts = 65'536;
  static std::size_t Index(PortNumber port) { return static_cast<std::uint32_t>(port) % kPorts; }

  const std::function<void()> wake_;
  std::atomic<bool> has_consumer_{false};
  std::atomic<std::uint32_t> port_limit_;
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<bool> woken_{false};
  std::atomic<bool> any_lost_{false};
  std::array<std::atomic<Ring*>, kContexts> rings_{};
  std::unique_ptr<PortQueue[], void (*)(PortQueue*)>
      ports_;  // From calloc: untouched pages cost nothing.
  Mutex take_mutex_;
  std::size_t next_slot_ GUARDED_BY(take_mutex_) = 0;
};

}  // namespace pollux
