// Dpcls: the tuple-space classifier of one input port.
//
// Flows with the same mask form a *subtable* (subtable.h). A lookup asks one after the other in the
// order of a TupleList (tuple_list.h), so its cost grows with the number of masks, not of flows;
// the exact-match cache (emc.h) stands in front of it. Subtables that had more hits of late come
// first: contexts count hits each for itself (tuple_hits.h), and control puts another list in force
// now and then.
//
// All flows are cached, by what the masks look at all together (port_profile.h), unless the port
// has so many masks that some of them may be there to do harm. Then masks that take next to no
// packets are left out, if the port is busy with others: see Review().
//
// Writers hold the flow mutex. Readers hold nothing: what they walk is changed by single stores
// that leave it whole, or replaced. A flow that is being removed may still be found by a lookup
// that began before; it lives until that reader quiesces.
#pragma once

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
  // Up to so many masks, all are cached; beyond the second number, new ones are not at first.
  static constexpr std::size_t kFewMasks = 16;
  static constexpr std::size_t kManyMasks = 128;
  // Packets of late that make a port a busy one, and those of all that is left out then, at most.
  static constexpr std::uint64_t kBusyPackets = 1'000'000;
  static constexpr std::uint64_t kRarePackets = 20'000;
  // New hits of all that is left out, before some of it is taken in again.
  static constexpr std::uint64_t kUncachedHits = 40'000;

  Dpcls();
  ~Dpcls();

  // Writers, under the flow mutex.

  // The mask as flows with it share it: that of their subtable, or a new one.
  std::shared_ptr<const PackedMask> Share(const PackedMask& mask) const;
  // The flow has its packed key.
  void Insert(Megaflow* flow, Qsbr& qsbr);
  Unpublished<Megaflow*> Remove(Megaflow* flow, Qsbr& qsbr);
  struct Counts {
    std::function<std::uint64_t(std::uint32_t)> hits;  // That the subtable with an id ever had.
    std::function<std::uint64_t(const Megaflow&)> packets;  // That a flow ever had.
  };
  // Now and then: chooses what is cached, makes the profile as narrow as that allows, and has
  // subtables with more hits of late asked first, if that is worth it.
  void Review(const Counts& counts, Qsbr& qsbr);
  // A mask has come that is not cached, the first one: time to choose.
  bool wants_review() const { return wants_review_; }
  // The flow with exactly this mask and packed key.
  Megaflow* FindExact(const PackedMask& mask, const std::uint64_t* packed) const;
  // A flow some of whose packets have this packed key, unless a Lookup() of the key finds it, too;
  // or nullptr.
  const Megaflow* FindOverlap(const PackedMask& mask, const std::uint64_t* packed);
  std::size_t masks() const { return subtables_.size(); }

  // Readers. `hits`: where to count them, if anywhere.

  // What the port's flows look at. Whoever finds a flow and reads the profile afterwards finds one
  // that covers the flow's mask, or is not complete.
  const PortProfile* profile() const { return profile_.Get(); }

  // The first flow that matches, or nullptr.
  Megaflow* Lookup(const Miniflow& key, TupleHits* hits = nullptr) const;
  // The same for up to kBatchSize keys.
  void LookupBatch(const Miniflow* keys, std::size_t n, Megaflow** flows,
                   TupleHits* hits = nullptr) const;
  // Lookup() at leisure, which calls `asked(subtable, buckets, hit)` for each subtable.
  template <typename Asked>
  Megaflow* Trace(const Miniflow& key, Asked asked) const {
    return tuples_.Get()->Walk(key, asked);
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
  void Publish(const PortProfile* profile, Qsbr& qsbr);
  void Publish(const std::vector<Subtable*>& order, Qsbr& qsbr);
  void AddToProfile(Subtable& fresh, Qsbr& qsbr);
  void RenewProfile(Qsbr& qsbr);

  std::unordered_map<const PackedMask*, std::unique_ptr<Subtable>, MaskHash, SameMask> subtables_;
  bool wants_review_ = false;
  Published<TupleList*> tuples_;
  Published<const PortProfile*> profile_;
};

}  // namespace pollux
