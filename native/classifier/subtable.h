// Subtable: the flows of one port that have the same mask, as writers see them. Lookups find them
// through the port's TupleList. Writers hold the flow mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "classifier/flow_buckets.h"
#include "classifier/projections.h"
#include "classifier/tuple_hits.h"

namespace pollux {

class Subtable {
 public:
  explicit Subtable(std::shared_ptr<const PackedMask> mask);
  ~Subtable();
  Subtable(const Subtable&) = delete;
  Subtable& operator=(const Subtable&) = delete;

  const std::shared_ptr<const PackedMask>& mask() const { return mask_; }
  std::uint32_t id() const { return id_; }  // Under which its hits are counted.

  // --- Writers.

  std::size_t size() const { return size_; }
  // True: the buckets are others now. The old ones are to be freed when no list leads there.
  bool Insert(Megaflow* flow);
  Unpublished<Megaflow*> Remove(const Megaflow* flow);
  // Readers find them through a TupleList, not here.
  FlowBuckets buckets() const { return buckets_; }
  // The flow with exactly this packed key, or nullptr.
  Megaflow* FindExact(const std::uint64_t* packed) const;
  // From now on `coarse` counts these flows, too: our mask covers its mask.
  void AddCoarser(Subtable& coarse);
  void RemoveCoarser(const Subtable& coarse);
  // Whether a flow of a finer mask has this packed key under ours: false is certain.
  bool MayHoldFiner(const std::uint64_t* packed) {
    return finer_.Contains(Projection::HashOf(packed, mask_->size()));
  }
  // A flow that has this packed key under a mask that ours covers, or nullptr.
  Megaflow* FindWithin(const PackedMask& coarse, const std::uint64_t* packed) const;
  // Where it is in the TupleList that is in force.
  std::size_t place = 0;
  // Whether its flows are cached: the port's profile covers the mask.
  bool cached = false;
  // Of hits and of packets: `counted` all there ever were, as far as can be told. Those since the
  // last call are new; of late are the new ones, and older ones half as much with each call.
  void NoteHits(std::uint64_t counted) { hits_.Note(counted); }
  void NotePackets(std::uint64_t counted) { packets_.Note(counted); }
  std::uint64_t new_hits() const { return hits_.fresh; }
  std::uint64_t recent_hits() const { return hits_.recent; }
  std::uint64_t counted_packets() const { return packets_.counted; }
  std::uint64_t recent_packets() const { return packets_.recent; }

  // --- Anyone.

  // One of the flows in its buckets as the caller found them; without flows, the mask alone.
  Match Example(FlowBuckets buckets) const;

 private:
  const std::shared_ptr<const PackedMask> mask_;
  const std::uint32_t id_;
  FlowBuckets buckets_;
  std::size_t size_ = 0;
  HashCounts finer_;  // Flows of finer masks, by their keys under this one.
  struct Coarser {
    Subtable* subtable;
    Projection projection;
    std::uint64_t hash;  // Of the flow that comes.
  };
  std::vector<Coarser> coarser_;

  struct Rate {
    std::uint64_t counted = 0;
    std::uint64_t fresh = 0;
    std::uint64_t recent = 0;
    void Note(std::uint64_t now) {
      fresh = now >= counted ? now - counted : now;
      counted = now;
      recent = recent / 2 + fresh;
    }
  };
  Rate hits_;
  Rate packets_;
};

}  // namespace pollux
