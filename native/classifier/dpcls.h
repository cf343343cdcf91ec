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
#include "classifier/port_profile.h"

namespace pollux {

class Subtable {
 public:
  explicit Subtable(std::shared_ptr<const PackedMask> mask);
  ~Subtable();

  const std::shared_ptr<const PackedMask>& mask() const { return mask_; }
  std::size_t size() const { return size_; }

  // Writers.
  void Insert(Megaflow* flow, Qsbr& qsbr);
  void Remove(const Megaflow* flow);
  // The flow with exactly this packed key, or nullptr.
  Megaflow* FindExact(const std::uint64_t* packed) const;

  // Readers.
  Megaflow* Lookup(const Miniflow& key) const { return lookup_(*this, key); }
  // One of its flows; without flows, the mask alone.
  Match Example() const;

 private:
  // Open addressing, linear probing, at most half full. A slot is the address of a flow with a tag,
  // bits of its hash, in the bits that are zero in every such address: so a lookup hardly ever
  // reads a flow that is not the one it looks for. A removed flow leaves the tombstone, which
  // probes pass and inserts may reuse.
  using Slot = std::uintptr_t;
  static constexpr Slot kEmpty = 0;
  static constexpr Slot kTombstone = 1;
  static constexpr Slot kTagMask = alignof(Megaflow) - 1;
  static Slot TagOf(std::uint32_t hash) { return hash >> 26 & kTagMask; }
  static Slot SlotOf(const Megaflow* flow) {
    return reinterpret_cast<Slot>(flow) | TagOf(flow->hash);
  }
  // nullptr: none.
  static Megaflow* FlowIn(Slot slot) { return reinterpret_cast<Megaflow*>(slot & ~kTagMask); }
  struct Buckets {
    explicit Buckets(std::size_t n) : mask(n - 1), slots(n) {}
    const std::size_t mask;
    std::size_t used = 0;  // Flows and tombstones.
    std::vector<std::atomic<Slot>> slots;
  };
  void Grow(Qsbr& qsbr);

  // The lookup for a mask of `kSize` low words; 0: any.
  template <std::size_t kSize>
  static Megaflow* LookupAs(const Subtable& subtable, const Miniflow& key);
  template <std::size_t kSize>
  Megaflow* Probe(const std::uint64_t* packed) const;
  using LookupFunction = Megaflow* (*)(const Subtable&, const Miniflow&);
  static LookupFunction LookupFor(const PackedMask& mask);

  const std::shared_ptr<const PackedMask> mask_;
  const LookupFunction lookup_;
  std::atomic<Buckets*> buckets_;
  std::size_t size_ = 0;
};

class Dpcls {
 public:
  Dpcls();
  ~Dpcls();

  // Writers, under the flow mutex.

  // The mask as flows with it share it: that of their subtable, or a new one.
  std::shared_ptr<const PackedMask> Share(const PackedMask& mask) const;
  // The flow has its packed key.
  void Insert(Megaflow* flow, Qsbr& qsbr);
  void Remove(Megaflow* flow, Qsbr& qsbr);
  // Lets the profile forget the bits that only masks which are gone looked at.
  void ShrinkProfile(Qsbr& qsbr);
  // The flow with exactly this mask and packed key.
  Megaflow* FindExact(const PackedMask& mask, const std::uint64_t* packed) const;
  std::size_t masks() const { return subtables_.load(std::memory_order_relaxed)->size(); }

  // Readers.

  // What the port's flows look at. Whoever finds a flow and reads the profile afterwards finds one
  // that covers the flow's mask.
  const PortProfile* profile() const { return profile_.load(std::memory_order_acquire); }

  // The first flow that matches, or nullptr.
  Megaflow* Lookup(const Miniflow& key) const {
    return Lookup(key, [](const Subtable&, bool) {});
  }
  // The same, which calls `asked(subtable, hit)` for each subtable that is asked.
  template <typename Asked>
  Megaflow* Lookup(const Miniflow& key, Asked asked) const {
    for (const Subtable* subtable : *subtables_.load(std::memory_order_acquire)) {
      Megaflow* flow = subtable->Lookup(key);
      asked(*subtable, flow != nullptr);
      if (flow != nullptr) return flow;
    }
    return nullptr;
  }

 private:
  using Subtables = std::vector<Subtable*>;
  Subtable* FindSubtable(const PackedMask& mask) const;

  void Publish(const FlowMask& mask, Qsbr& qsbr);

  std::atomic<const Subtables*> subtables_;
  std::atomic<const PortProfile*> profile_;
};

}  // namespace pollux
