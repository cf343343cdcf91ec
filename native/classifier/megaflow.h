// Megaflow: one entry of the flow table, and what is counted for it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/counter.h"
#include "flow/flow.h"
#include "flow/netlink.h"

namespace pollux {

class ActionList;  // actions/action_list.h: held here, looked into only above.

using Ufid = std::array<std::uint8_t, 16>;

// A mask in the form lookups want: the words it looks at, in order.
using PackedMask = Miniflow;

// Megaflows live in slots that the table never gives back to the allocator before it dies, so that
// a cache may keep a pointer to one and find out from `epoch` whether it is still the flow it knew
// (see emc.h).
struct Megaflow {
  // Odd while the slot holds a flow that can be hit; each unlinking makes it even, each linking odd
  // again.
  std::atomic<std::uint32_t> epoch{0};
  std::uint32_t index = 0;                          // Of the slot; indexes statistics. Fixed.
  std::atomic<const ActionList*> actions{nullptr};  // Replaced as a whole; the old list is retired.

  // Written while nobody can see the slot; constant while it is linked.
  std::uint32_t hash = 0;  // Of the masked key under the packed mask.
  Match match;
  Ufid ufid{};
  std::optional<std::int64_t> idle_timeout_ms;  // 0: never; not set: the table's.
  std::int64_t created_ms = 0;

  // For the writers, under the flow mutex.
  std::shared_ptr<const ActionList> owned_actions;
  std::uint64_t base_packets = 0;  // Counted by contexts that are gone.
  std::uint64_t base_bytes = 0;
  std::int64_t base_used_ms = 0;
  std::uint16_t base_tcp_flags = 0;
};

// What one context counted for one flow. Written by that context alone, once a group of packets.
struct FlowCounters {
  Counter packets;
  Counter bytes;
  Counter used_ms;    // Of the clock; 0: never.
  Counter tcp_flags;  // OR of the flags seen.

  void Hit(std::uint64_t n, std::uint64_t n_bytes, std::uint64_t now_ms, std::uint16_t flags) {
    packets.Add(n);
    bytes.Add(n_bytes);
    used_ms.Set(now_ms);
    if (flags != 0) tcp_flags.Set(tcp_flags.Get() | flags);
  }
};

}  // namespace pollux
