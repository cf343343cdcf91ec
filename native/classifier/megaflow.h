// Megaflow: one entry of the flow table, and what is counted for it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/counter.h"
#include "base/published.h"
#include "classifier/packed_mask.h"
#include "flow/netlink.h"

namespace pollux {

class ActionList;  // actions/action_list.h: held here, looked into only above.

using Ufid = std::array<std::uint8_t, 16>;

// Megaflows live in slots that are never given back to the allocator before the table dies, so that
// a cache may keep a pointer to one and find out from `epoch` whether it is still the flow it knew
// (see emc.h).
//
// Three cache lines. Forwarding reads the first, and the second if the mask has more than five
// words; the third is for the writers, under the flow mutex. Their number is odd: were it even, the
// first lines of all flows would have to share a part of every cache.
struct alignas(64) Megaflow {
  static constexpr std::size_t kInlineWords = 13;
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  static constexpr std::int64_t kTableTimeout = -1;

  // Odd while the slot holds a flow that can be hit; each unlinking makes it even, each linking odd
  // again.
  std::atomic<std::uint32_t> epoch{0};
  std::uint32_t index = 0;               // Of the slot; indexes statistics. Fixed.
  Published<const ActionList*> actions;  // Replaced as a whole; the old list is retired.

  std::uint32_t hash = 0;                    // Of the packed key.
  std::uint32_t evictable_place = kNowhere;  // For the writers; see evictables.h.
  // The packed key, if it fits; else the address of words on the heap. Like hash, mask and ufid
  // written while nobody can see the slot, and constant while it is linked.
  std::array<std::uint64_t, kInlineWords> inline_key;

  std::shared_ptr<const PackedMask> mask;
  std::shared_ptr<const ActionList> owned_actions;
  Ufid ufid{};
  std::int64_t created_ms = 0;
  std::int64_t idle_timeout_ms = kTableTimeout;  // 0: never.

  ~Megaflow() { ClearKey(); }

  bool linked() const { return (epoch.load(std::memory_order_relaxed) & 1) != 0; }
  const std::uint64_t* packed_key() const {
    return spilled() ? std::bit_cast<const std::uint64_t*>(inline_key[0]) : inline_key.data();
  }
  Match match() const { return mask->UnpackMatch(packed_key()); }
  std::uint32_t in_port() const {
    static_assert(offsetof(Flow, in_port) == 0);
    return mask->map().Has(0) ? std::bit_cast<std::array<std::uint32_t, 2>>(*packed_key())[0] : 0;
  }

  void SetKey(std::shared_ptr<const PackedMask> its_mask, const std::uint64_t* packed) {
    ClearKey();
    mask = std::move(its_mask);
    hash = mask->Hash(packed);
    if (spilled()) inline_key[0] = std::bit_cast<std::uint64_t>(new std::uint64_t[mask->size()]);
    std::copy_n(packed, mask->size(), const_cast<std::uint64_t*>(packed_key()));
  }
  void ClearKey() {
    if (spilled()) delete[] packed_key();
    mask.reset();
  }

 private:
  bool spilled() const { return mask != nullptr && mask->size() > kInlineWords; }
};
static_assert(sizeof(Megaflow) == 3 * 64);
static_assert(sizeof(void*) == sizeof(std::uint64_t));

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
  // While no context counts here.
  void Clear() {
    for (Counter* counter : {&packets, &bytes, &used_ms, &tcp_flags}) counter->Set(0);
  }
  void Merge(const FlowCounters& other) {
    packets.Add(other.packets.Get());
    bytes.Add(other.bytes.Get());
    used_ms.Set(std::max(used_ms.Get(), other.used_ms.Get()));
    tcp_flags.Set(tcp_flags.Get() | other.tcp_flags.Get());
  }
};

struct FlowStats {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::int64_t used_ms = 0;  // When last hit, by the datapath's clock; 0: never.
  std::uint16_t tcp_flags = 0;

  void Add(const FlowCounters& counters) {
    packets += counters.packets.Get();
    bytes += counters.bytes.Get();
    used_ms = std::max(used_ms, static_cast<std::int64_t>(counters.used_ms.Get()));
    tcp_flags |= static_cast<std::uint16_t>(counters.tcp_flags.Get());
  }
};

}  // namespace pollux
