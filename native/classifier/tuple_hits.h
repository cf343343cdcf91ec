// TupleHits: how often one context found flows in which subtable, for their order (dpcls.h).
//
// Written by that context alone. There is a counter for some thousands of subtables; of more, some
// share one, and may be asked earlier than they deserve.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/counter.h"

namespace pollux {

class TupleHits {
 public:
  static constexpr std::size_t kCounters = 4096;

  void Count(std::uint32_t subtable) { hits_[subtable % kCounters].Add(1); }
  std::uint64_t Of(std::uint32_t subtable) const { return hits_[subtable % kCounters].Get(); }

 private:
  std::array<Counter, kCounters> hits_;
};

}  // namespace pollux
