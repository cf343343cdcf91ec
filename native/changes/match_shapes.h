// MatchShapes: matches as netlink attributes, packed without being decoded one by one.
//
// Flows that a program puts look alike: the same fields under the same masks, and only addresses,
// port numbers and the like differ. What is left when those are taken out of a match is its
// *shape*. The first match of a shape is read by DecodeMatch(), which knows what a match may be;
// from then on a match of the same shape is one comparison of bytes, and its packed key is that of
// the shape with the fields that differ copied into it.
//
// Which fields may differ is a table: those whose value no other field depends on and that may have
// any value. A new shape is tried before it is believed: with every such bit turned around,
// DecodeMatch() must come to the same.
//
// For one thread. Shapes are forgotten when there are too many.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "classifier/packed_mask.h"
#include "flow/netlink.h"

namespace pollux {

class MatchShapes {
 public:
  // A match, packed.
  struct Packed {
    std::shared_ptr<const PackedMask> mask;
    // The same for matches of the same shape, and never for others: whoever works something out
    // from the fields that do not differ may remember it under this number. 0: of no shape.
    std::uint64_t shape = 0;
    PackedWords key;  // Its first mask->size() words.
  };

  // As DecodeMatch(); what an earlier call left in `out` is its own to use again.
  Status Pack(Bytes key, Bytes mask, Packed& out);

 private:
  // Bytes of a key that go to a place in the packed key; they share a word of it.
  struct Move {
    std::uint16_t from;
    std::uint16_t to;
    std::uint8_t size;
  };
  struct Shape {
    // Of the first match, as it was decoded.
    Shape(Bytes its_key, Bytes its_mask, const Flow& decoded,
          std::shared_ptr<const PackedMask> packed);

    // Whether DecodeMatch() agrees when all differs that may differ.
    bool IsSound() const;
    bool Has(Bytes its_key, Bytes its_mask) const;
    void Pack(const std::uint8_t* its_key, std::uint64_t* out) const;
    // `n` bytes at `from` in a key are those at `to_flow` in a Flow.
    void AddMoves(std::size_t from, std::size_t to_flow, std::size_t n);

    std::uint64_t number = 0;
    const std::size_t key_size;
    // The key in words, with zeros at its end: what it must be, where `fixed` has ones.
    const std::vector<std::uint64_t> key;
    std::vector<std::uint64_t> fixed;
    const std::vector<std::uint8_t> mask;
    const std::shared_ptr<const PackedMask> packed_mask;
    PackedWords packed_key;  // Of the fields that do not differ.
    std::vector<Move> moves;
  };
  static constexpr std::size_t kMaxKey = 1024;
  // By a hash of the mask; several shapes may have one mask.
  static constexpr std::size_t kSets = 256;
  static constexpr std::size_t kWays = 4;
  struct Set {
    std::array<std::unique_ptr<Shape>, kWays> ways;
    std::uint8_t oldest = 0;
  };

  const Shape* Find(Bytes key, Bytes mask);
  // The number of the shape; 0: none was made.
  std::uint64_t Learn(Bytes key, Bytes mask, const Flow& decoded,
                      const std::shared_ptr<const PackedMask>& packed_mask);
  Set& SetFor(Bytes mask);

  std::array<Set, kSets> sets_;
  const Shape* last_ = nullptr;
  std::uint64_t next_number_ = 1;
};

}  // namespace pollux
