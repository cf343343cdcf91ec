// Dpcls: the tuple-space classifier of one input port.
//
// Flows with the same mask form a *subtable*: a hash table keyed by the masked packet. A lookup
// asks one subtable after the other, so its cost grows with the number of masks, not of flows; the
// exact-match cache (emc.h) stands in front of it.
//
// Writers hold the flow mutex. Readers hold nothing: the list of subtables and the buckets of each
// are arrays that are never changed once outgrown, only replaced, and slots are atomic pointers. A
// flow that is being removed may still be found by a lookup that began before; it lives until that
// reader quiesces.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/qsbr.h"
#include "classifier/megaflow.h"

namespace pollux {

class Subtable {
 public:
  explicit Subtable(const FlowMask& mask);
  ~Subtable();

  const FlowMask& mask() const { return mask_; }
  std::size_t size() const { return size_; }

  // Writers.
  void Insert(Megaflow* flow, Qsbr& qsbr);
  void Remove(const Megaflow* flow);
  // The flow with exactly this (masked) key, or nullptr.
  Megaflow* FindExact(const Flow& masked_key) const;
  std::uint32_t HashOf(const Flow& key) const;

  // Readers.
  Megaflow* Lookup(const Miniflow& key) const;

 private:
  // Open addressing, linear probing, at most half full. A removed flow leaves the tombstone, which
  // probes pass and inserts may reuse.
  struct Buckets {
    explicit Buckets(std::size_t n) : mask(n - 1), slots(n) {}
    const std::size_t mask;
    std::size_t used = 0;  // Flows and tombstones.
    std::vector<std::atomic<Megaflow*>> slots;
  };
  bool Matches(const Megaflow& flow, const std::uint64_t* masked_words) const;
  static Megaflow* Tombstone();

  const FlowMask mask_;
  const PackedMask packed_;
  std::size_t size_ = 0;
  std::atomic<Buckets*> buckets_;
};

class Dpcls {
 public:
  Dpcls();
  ~Dpcls();

  // Writers, under the flow mutex.
  void Insert(Megaflow* flow, Qsbr& qsbr);
  void Remove(Megaflow* flow, Qsbr& qsbr);
  // The flow with exactly this mask and masked key.
  Megaflow* FindExact(const Match& match) const;
  std::size_t masks() const { return subtables_.load(std::memory_order_relaxed)->size(); }

  // Readers: the first flow that matches, or nullptr.
  Megaflow* Lookup(const Miniflow& key) const {
    for (const Subtable* subtable : *subtables_.load(std::memory_order_acquire)) {
      if (Megaflow* flow = subtable->Lookup(key)) return flow;
    }
    return nullptr;
  }

 private:
  using Subtables = std::vector<Subtable*>;
  Subtable* FindSubtable(const FlowMask& mask) const;

  std::atomic<const Subtables*> subtables_;
};

}  // namespace pollux
