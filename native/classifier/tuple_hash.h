// The hash of a masked packet, as the classifier wants it.
//
// It is a sum of terms, one for each word, made of the word and of secrets of its place. A word
// that is zero adds nothing. So words that several masks mask alike are added up once for all of
// them, and it does not matter which words beyond its own a mask is hashed with. Nobody outside of
// the process can guess the secrets: keys cannot be made to collide on purpose.
//
// A term multiplies the halves of the word, 32 bits each, and no term waits for another: vector
// units of any width can do it.
#pragma once

#include <array>
#include <cstdint>

#include "flow/flow.h"

namespace pollux {

struct WordSecret {
  std::uint32_t low;
  std::uint32_t high;
  // What zero would add, and every term has too much.
  std::uint64_t excess() const { return std::uint64_t{low} * high; }
};
// By place in a Flow.
const std::array<WordSecret, kFlowWords>& WordSecrets();

// Without taking the excess away.
inline std::uint64_t HashTerm(std::uint64_t word, const WordSecret& secret) {
  const std::uint32_t low = static_cast<std::uint32_t>(word) + secret.low;
  const std::uint32_t high = static_cast<std::uint32_t>(word >> 32) + secret.high;
  return std::uint64_t{low} * high;
}

inline constexpr std::uint32_t kHashFactor = 0x9e3779b1;
inline std::uint32_t FinishHash(std::uint64_t sum) {
  const std::uint64_t mixed =
      std::uint64_t{static_cast<std::uint32_t>(sum ^ sum >> 32)} * kHashFactor;
  return static_cast<std::uint32_t>(mixed ^ mixed >> 32);
}

}  // namespace pollux
