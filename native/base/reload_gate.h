// ReloadGate: control asks, a forwarding thread answers at its next iteration boundary.
//
// Generations make a lost, doubled or stray signal impossible: Request() names a generation,
// Serve() acknowledges the newest one it saw *before* it loaded, Await() waits for one's own or a
// later one. An acknowledgement therefore always answers a request; a start-up acknowledges
// nothing. Everything control wrote before Request() is visible inside Serve(), and everything the
// thread did before its acknowledgement, the last use of a deleted device above all, happens before
// Await() returns. That makes the acknowledged reload the grace period of a port.
//
// Control must hold nothing a thread can want while it waits in Await().
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace pollux {

class ReloadGate {
 public:
  using Generation = std::uint32_t;  // 32 bits, so that waiting is a plain futex.

  // Control side. One requester at a time.

  // The generation that the next Request() will name.
  Generation next() const { return requested_.load(std::memory_order_relaxed) + 1; }
  Generation Request() {
    const Generation generation = requested_.load(std::memory_order_relaxed) + 1;
    requested_.store(generation, std::memory_order_seq_cst);
    return generation;
  }
  void Await(Generation generation) const {
    for (Generation seen = completed_.load(std::memory_order_acquire); Before(seen, generation);
         seen = completed_.load(std::memory_order_acquire)) {
      completed_.wait(seen, std::memory_order_acquire);
    }
  }

  // Forwarding side. One server.

  Generation served() const { return served_; }
  bool Pending() const { return requested_.load(std::memory_order_seq_cst) != served_; }
  template <typename Load>
  void Serve(Load&& load) {
    const Generation generation = requested_.load(std::memory_order_acquire);
    std::forward<Load>(load)();
    served_ = generation;
    // Sequentially consistent: or the store could pass the look for waiters that notify_all()
    // begins with, and the wake-up be lost.
    completed_.store(generation, std::memory_order_seq_cst);
    completed_.notify_all();
  }

 private:
  static bool Before(Generation a, Generation b) { return static_cast<std::int32_t>(a - b) < 0; }

  alignas(64) std::atomic<Generation> requested_{0};
  alignas(64) std::atomic<Generation> completed_{0};
  Generation served_ = 0;  // Touched by the forwarding side alone.
};

}  // namespace pollux
