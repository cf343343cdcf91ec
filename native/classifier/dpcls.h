// Dpcls: the tuple-space classifier of one input port.
//
// Flows with the same mask form a *subtable* (subtable.h). A lookup asks one after the other in the
// order of a TupleList (tuple_list.h), so its cost grows with the number of masks, not of flows;
// the exact-match cache (emc.h) stands in front of it. Subtables that had more hits of late come
// first: contexts count hits each for itself (tuple_hits.h), and control puts another list in force
// now and then.
//
// Writers hold the flow mutex. Readers hold nothing: what they walk is changed by single stores
// that leave it whole, or replaced. A flow that is being removed may still be found by a lookup
// that began before; it lives until that reader quiesces.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/qsbr.h"
#include "classifier/megaflow.h"
#include "classifier/port_profile.h"
#include "classifier/subtable.h"
#include "classifier/tuple_list.h"

namespace pollux {

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
  // Subtables with more hits of late go first, if that is worth it. `hits(id)`: all that a subtable
  // ever had.
  void Reorder(const std::function<std::uint64_t(std::uint32_t)>& hits, Qsbr& qsbr);
  // The flow with exactly this mask and packed key.
  Megaflow* FindExact(const PackedMask& mask, const std::uint64_t* packed) const;
  std::size_t masks() const { return subtables_.size(); }

  // Readers. `hits`: where to count them, if anywhere.

  // What the port's flows look at. Whoever finds a flow and reads the profile afterwards finds one
  // that covers the flow's mask.
  const PortProfile* profile() const { return profile_.load(std::memory_order_acquire); }

  // The first flow that matches, or nullptr.
  Megaflow* Lookup(const Miniflow& key, TupleHits* hits = nullptr) const;
  // The same for up to kBatchSize keys.
  void LookupBatch(const Miniflow* keys, std::size_t n, Megaflow** flows,
                   TupleHits* hits = nullptr) const;
  // Lookup() at leisure, which calls `asked(subtable, hit)` for each subtable.
  template <typename Asked>
  Megaflow* Trace(const Miniflow& key, Asked asked) const {
    return tuples_.load(std::memory_order_acquire)->Walk(key, asked);
  }

 private:
  struct MaskHash {
    std::size_t operator()(const PackedMask* mask) const { return mask->HashOfMask(); }
  };
  struct SameMask {
    bool operator()(const PackedMask* a, const PackedMask* b) const { return *a == *b; }
  };

  Subtable* FindSubtable(const PackedMask& mask) const;
  // As they are asked.
  std::vector<Subtable*> Order() const;
  void Publish(const FlowMask& mask, Qsbr& qsbr);
  void Publish(const std::vector<Subtable*>& order, Qsbr& qsbr);

  std::unordered_map<const PackedMask*, std::unique_ptr<Subtable>, MaskHash, SameMask> subtables_;
  std::atomic<TupleList*> tuples_;
  std::atomic<const PortProfile*> profile_;
};

}  // namespace pollux
