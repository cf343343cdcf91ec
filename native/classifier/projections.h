// Projections: the flows of a subtable as less exact masks see them, counted.
//
// Whether any of many flows lies within a flow that is less exact is asked at each put of such a
// one. A projection answers without going through them: for one of the less exact masks, how many
// flows there are of each key under it. It is made when it is first asked for, and follows the
// flows from then on. Writers hold the flow mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "classifier/megaflow.h"

namespace pollux {

class Projections {
 public:
  // Those of a subtable with this mask.
  explicit Projections(const PackedMask& mask) : mask_(mask) {}

  // The flow comes or goes.
  void Add(const Megaflow& flow) {
    for (One& one : each_) ++one.counts[HashOf(one, flow)];
  }
  void Remove(const Megaflow& flow) {
    for (One& one : each_) {
      const auto count = one.counts.find(HashOf(one, flow));
      if (--count->second == 0) one.counts.erase(count);
    }
  }
  // Whether any flow has this packed key under a mask that ours covers: false is certain.
  // `all(each)` goes through the flows.
  template <typename All>
  bool MayHold(const PackedMask& mask, const std::uint64_t* packed, All all) {
    One* one = Find(mask);
    if (one == nullptr) {
      if (each_.size() == kMost) each_.erase(each_.begin());  // Never asked for again, likely.
      one = &each_.emplace_back(One{mask, PlacesOf(mask), {}});
      all([&](const Megaflow& flow) { ++one->counts[HashOf(*one, flow)]; });
    }
    return one->counts.contains(HashWords64(packed, mask.size(), 0));
  }
  // Whether the flow has that packed key.
  bool Holds(const PackedMask& mask, const std::uint64_t* packed, const Megaflow& flow) const {
    const std::uint64_t* key = flow.packed_key();
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if ((key[mask_.map().Rank(mask.place(i))] & mask.word(i)) != packed[i]) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kMost = 16;
  struct One {
    PackedMask mask;
    std::vector<std::size_t> places;  // Of its words, in our packed keys.
    std::unordered_map<std::uint64_t, std::uint32_t> counts;
  };

  One* Find(const PackedMask& mask) {
    for (One& one : each_) {
      if (one.mask == mask) return &one;
    }
    return nullptr;
  }
  std::vector<std::size_t> PlacesOf(const PackedMask& mask) const {
    std::vector<std::size_t> places(mask.size());
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = mask_.map().Rank(mask.place(i));
    return places;
  }
  static std::uint64_t HashOf(const One& one, const Megaflow& flow) {
    PackedWords words;
    const std::uint64_t* key = flow.packed_key();
    for (std::size_t i = 0; i < one.places.size(); ++i)
      words[i] = key[one.places[i]] & one.mask.word(i);
    return HashWords64(words.data(), one.places.size(), 0);
  }

  const PackedMask& mask_;
  std::vector<One> each_;
};

}  // namespace pollux
