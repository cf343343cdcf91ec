// The packet ledger and what else forwarding contexts count. Each counter has one writer (the
// context) and any number of readers.
#pragma once

#include <array>
#include <cstdint>

#include "base/counter.h"
#include "packet/drop_reason.h"

namespace pollux {

// At rest: received + executed + copied = transmitted + dropped + queued. Always, for any input.
struct Ledger {
  std::uint64_t received = 0;     // Taken from receive queues.
  std::uint64_t executed = 0;     // Handed to execute().
  std::uint64_t copied = 0;       // Clones and segments made.
  std::uint64_t transmitted = 0;  // Accepted by devices.
  std::uint64_t dropped = 0;      // The sum of `drops`.
  std::uint64_t queued = 0;       // Parked for an upcall.
  std::array<std::uint64_t, kDropReasons> drops{};
};

struct alignas(64) ContextCounters {
  Counter received;
  Counter executed;
  Counter copied;
  Counter transmitted;
  std::array<Counter, kDropReasons> drops;

  Counter emc_hits;
  Counter megaflow_hits;
  Counter upcalls;       // Misses and `userspace` actions, parked or lost.
  Counter lost_upcalls;  // Of those, not parked.
  Counter busy_cycles;   // Spent on bursts that had packets.
  Counter idle_cycles;
  Counter reloads;

  void Drop(DropReason reason, std::uint64_t n) { drops[static_cast<std::size_t>(reason)].Add(n); }
  void AddTo(Ledger& ledger) const {
    ledger.received += received.Get();
    ledger.executed += executed.Get();
    ledger.copied += copied.Get();
    ledger.transmitted += transmitted.Get();
    for (std::size_t i = 0; i < kDropReasons; ++i) {
      ledger.drops[i] += drops[i].Get();
      ledger.dropped += drops[i].Get();
    }
  }
};

// One receive queue; written by whichever thread polls it.
struct alignas(64) RxqCounters {
  Counter packets;
  Counter bytes;
  Counter busy_cycles;  // The polling thread's, on bursts from this queue.
};

// One port as one context sends to it.
struct alignas(64) TxCounters {
  Counter packets;
  Counter bytes;
  Counter dropped;
  Counter errors;
};

}  // namespace pollux
