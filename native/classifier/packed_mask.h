// PackedMask: a mask in the form lookups want, and keys packed under it.
//
// A Flow has many words and a mask looks at few. A *packed key* is those words of a key, masked, in
// order. Flows with the same mask share one PackedMask, so that a flow is little more than its
// packed key.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "classifier/tuple_hash.h"
#include "flow/flow.h"
#include "flow/netlink.h"

namespace pollux {

// Room for the packed key of any mask.
using PackedWords = std::array<std::uint64_t, kFlowWords>;

class PackedMask {
 public:
  explicit PackedMask(const FlowMask& mask) {
    const FlowWords words = ToWords(mask);
    for (std::size_t i = 0; i < kFlowWords; ++i) {
      if (words[i] == 0) continue;
      map_.Add(i);
      places_[size_] = static_cast<std::uint8_t>(i);
      words_[size_++] = words[i];
    }
    for (std::size_t i = 0; i < id_seeds_.size(); ++i) {
      const std::uint64_t seed = (kIdSeed + i) ^ map_.low() ^ std::rotl(map_.high(), 32);
      id_seeds_[i] = HashWords64(words_.data(), size_, seed);
    }
  }
  bool operator==(const PackedMask& other) const {
    return map_ == other.map_ &&
           std::equal(words_.begin(), words_.begin() + size_, other.words_.begin());
  }

  std::size_t size() const { return size_; }  // Words of a packed key.
  const FlowMap& map() const { return map_; }
  std::size_t place(std::size_t i) const { return places_[i]; }  // Which word of the Flow.
  std::uint64_t word(std::size_t i) const { return words_[i]; }
  const std::uint64_t* words() const { return words_.data(); }

  void Pack(const Flow& key, std::uint64_t* out) const {
    const FlowWords words = ToWords(key);
    for (std::size_t i = 0; i < size_; ++i) out[i] = words[places_[i]] & words_[i];
  }
  void Pack(const Miniflow& key, std::uint64_t* out) const {
    for (std::size_t i = 0; i < size_; ++i) out[i] = key.Word(places_[i]) & words_[i];
  }
  // Of a packed key; see tuple_hash.h.
  std::uint32_t Hash(const std::uint64_t* packed) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      const WordSecret& secret = WordSecrets()[places_[i]];
      sum += HashTerm(packed[i], secret) - secret.excess();
    }
    return FinishHash(sum);
  }
  std::uint64_t HashOfMask(std::uint64_t seed = 0) const {
    return HashWords64(words_.data(), size_, seed ^ map_.low() ^ std::rotl(map_.high(), 32));
  }
  // A name for mask and packed key together: equal keys under different masks differ.
  std::array<std::uint64_t, 2> Id(const std::uint64_t* packed) const {
    return {HashWords64(packed, size_, id_seeds_[0]), HashWords64(packed, size_, id_seeds_[1])};
  }

  // Whether it has all bits of another.
  bool Covers(const PackedMask& other) const {
    for (std::size_t i = 0; i < other.size_; ++i) {
      const std::size_t place = other.places_[i];
      const std::uint64_t ours = map_.Has(place) ? words_[map_.Rank(place)] : 0;
      if ((other.words_[i] & ~ours) != 0) return false;
    }
    return true;
  }
  // Adds its bits to those of other masks.
  void AddTo(FlowWords& words) const {
    for (std::size_t i = 0; i < size_; ++i) words[places_[i]] |= words_[i];
  }
  FlowMask Unpack() const { return Unpack(words_.data()); }
  Flow Unpack(const std::uint64_t* packed) const {
    FlowWords words{};
    for (std::size_t i = 0; i < size_; ++i) words[places_[i]] = packed[i];
    return FromWords(words);
  }
  Match UnpackMatch(const std::uint64_t* packed) const { return {Unpack(packed), Unpack()}; }

 private:
  static constexpr std::uint64_t kIdSeed = 0x706f6c6c75780001;

  FlowMap map_;
  std::size_t size_ = 0;
  std::array<std::uint64_t, 2> id_seeds_{};
  std::array<std::uint8_t, kFlowWords> places_{};  // Which words of the Flow, ascending.
  PackedWords words_{};
};

}  // namespace pollux
