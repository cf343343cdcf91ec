// Projections: flows as two masks see them together.
//
// Two flows of different masks overlap if their keys agree in the bits that both masks have: some
// packet has both keys then. (If one mask covers the other, those are the bits of the coarser one.)
// A put asks for that of each subtable that a lookup would not find: first, whether a bit tells all
// its flows from the new one; then, if the subtable has few flows, each of them; else its *view*
// under the common bits, which counts the keys there and is kept up to date once it was made. Most
// masks of a port are told apart by a bit (of the protocol, say), and have no views.
//
// Writers hold the flow mutex.
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

// A key and its mask with every word in its place.
struct SpreadKey {
  SpreadKey(const PackedMask& its_mask, const std::uint64_t* packed) {
    for (std::size_t i = 0; i < its_mask.size(); ++i) {
      key[its_mask.place(i)] = packed[i];
      mask[its_mask.place(i)] = its_mask.word(i);
    }
  }
  FlowWords key{};
  FlowWords mask{};
};

// From keys under a mask to what is left of them under the bits that it shares with another.
class Projection {
 public:
  Projection(const PackedMask& mask, const SpreadKey& other) {
    for (std::size_t i = 0; i < mask.size(); ++i) {
      const std::size_t place = mask.place(i);
      if ((mask.word(i) & other.mask[place]) == 0) continue;
      words_[size_] = mask.word(i) & other.mask[place];
      spread_places_[size_] = static_cast<std::uint8_t>(place);
      packed_places_[size_++] = static_cast<std::uint8_t>(i);
    }
  }
  bool operator==(const Projection& other) const {
    return size_ == other.size_ &&
           std::equal(words_.begin(), words_.begin() + size_, other.words_.begin()) &&
           std::equal(packed_places_.begin(), packed_places_.begin() + size_,
                      other.packed_places_.begin());
  }

  // Of a flow under the mask, or of a key under the other.
  std::uint64_t HashOf(const Megaflow& flow) const {
    return Hash([&](std::size_t i) { return flow.packed_key()[packed_places_[i]]; });
  }
  std::uint64_t HashOf(const SpreadKey& other) const {
    return Hash([&](std::size_t i) { return other.key[spread_places_[i]]; });
  }
  bool Agree(const Megaflow& flow, const SpreadKey& other) const {
    for (std::size_t i = 0; i < size_; ++i) {
      const std::uint64_t differs =
          flow.packed_key()[packed_places_[i]] ^ other.key[spread_places_[i]];
      if ((differs & words_[i]) != 0) return false;
    }
    return true;
  }

 private:
  template <typename WordAt>
  std::uint64_t Hash(WordAt word_at) const {
    PackedWords words;
    for (std::size_t i = 0; i < size_; ++i) words[i] = word_at(i) & words_[i];
    return HashWords64(words.data(), size_, 0);
  }

  std::size_t size_ = 0;
  PackedWords words_;
  std::array<std::uint8_t, kFlowWords> packed_places_;
  std::array<std::uint8_t, kFlowWords> spread_places_;
};

}  // namespace pollux
