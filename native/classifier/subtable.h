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
  // A flow that takes packets which one with this key under another mask would take, too, or
  // nullptr. Not asked if the other mask covers ours: then a lookup finds it.
  const Megaflow* FindOverlap(const SpreadKey& other);
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

  // What the flows have in common: a word of the mask, and which of its bits all flows have, or
  // any. Flows that are gone may still be in it.
  struct Common {
    std::size_t place;  // In a Flow.
    std::uint64_t mask;
    std::uint64_t all = ~std::uint64_t{0};
    std::uint64_t any = 0;
  };
  void AddToCommon(const Megaflow& flow);
  std::vector<Common> common_;

  // The keys of our flows under the bits that another mask has, too.
  struct View {
    Projection projection;
    HashCounts keys;
    std::uint64_t hash = 0;  // Of the flow that comes.
  };
  // So many flows are looked at one by one.
  static constexpr std::size_t kFewFlows = 32;
  // More bits in common than that many masks have are looked for flow by flow.
  static constexpr std::size_t kMaxViews = 16;
  // nullptr: there are no views for so few flows, or too many.
  View* ViewUnder(const Projection& projection);
  std::vector<View> views_;

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
