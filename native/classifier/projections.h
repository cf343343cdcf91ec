// Projections: flows as less exact masks see them.
//
// Whether any flow of the finer masks of a port lies within a flow is asked at each put. So each
// subtable counts the flows of all finer ones by their keys under its own mask: a put costs one
// count for each coarser mask of its port, and the question one look. Writers hold the flow mutex.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "classifier/megaflow.h"

namespace pollux {

// How many there are of each hash.
class HashCounts {
 public:
  void Add(std::uint64_t hash) {
    if (2 * (used_ + 1) > slots_.size()) Grow();
    Slot& slot = At(hash);
    if (slot.hash == 0) {
      slot.hash = hash | 1;
      ++used_;
    }
    ++slot.count;
  }
  void Prefetch(std::uint64_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[((hash | 1) >> 1) & (slots_.size() - 1)]);
  }
  // It was added.
  void Remove(std::uint64_t hash) { --At(hash).count; }
  bool Contains(std::uint64_t hash) { return !slots_.empty() && At(hash).count > 0; }

 private:
  struct Slot {
    std::uint64_t hash = 0;  // 0: free. Others are odd.
    std::uint32_t count = 0;
  };

  Slot& At(std::uint64_t hash) {
    hash |= 1;
    std::size_t i = (hash >> 1) & (slots_.size() - 1);
    while (slots_[i].hash != 0 && slots_[i].hash != hash) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }
  // Leaves out those that are no more.
  void Grow() {
    const std::vector<Slot> old = std::move(slots_);
    used_ = static_cast<std::size_t>(
        std::count_if(old.begin(), old.end(), [](const Slot& slot) { return slot.count > 0; }));
    slots_.assign(std::bit_ceil(std::max<std::size_t>(64, 4 * used_)), {});
    for (const Slot& slot : old) {
      if (slot.count > 0) At(slot.hash) = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

// From packed keys under a mask to those under a coarser one, which it covers.
class Projection {
 public:
  Projection(const PackedMask& fine, const PackedMask& coarse) : size_(coarse.size()) {
    for (std::size_t i = 0; i < size_; ++i) {
      places_[i] = static_cast<std::uint8_t>(fine.map().Rank(coarse.place(i)));
      words_[i] = coarse.word(i);
    }
  }
  static std::uint64_t HashOf(const std::uint64_t* packed, std::size_t size) {
    return HashWords64(packed, size, 0);
  }
  std::uint64_t HashOf(const Megaflow& flow) const {
    PackedWords words;
    const std::uint64_t* key = flow.packed_key();
    for (std::size_t i = 0; i < size_; ++i) words[i] = key[places_[i]] & words_[i];
    return HashOf(words.data(), size_);
  }
  // Whether the flow has that key under the coarser mask.
  bool Gives(const Megaflow& flow, const std::uint64_t* packed) const {
    const std::uint64_t* key = flow.packed_key();
    for (std::size_t i = 0; i < size_; ++i) {
      if ((key[places_[i]] & words_[i]) != packed[i]) return false;
    }
    return true;
  }

 private:
  std::size_t size_;
  std::array<std::uint8_t, kFlowWords> places_;
  PackedWords words_;
};

}  // namespace pollux
