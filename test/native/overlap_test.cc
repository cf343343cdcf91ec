// Flows of a port that overlap: what the table says is what a look at each flow says.

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "flow_table_testbed.h"

TEST_SUITE_BEGIN("computing");

namespace pollux::test {
namespace {

// Plain, and slow: whether some packet has the keys of both.
bool Overlap(const Match& a, const Match& b) {
  const FlowWords key_a = ToWords(a.key), mask_a = ToWords(a.mask);
  const FlowWords key_b = ToWords(b.key), mask_b = ToWords(b.mask);
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    if (((key_a[i] ^ key_b[i]) & mask_a[i] & mask_b[i]) != 0) return false;
  }
  return true;
}

// Masks of two addresses' low bits, `bits` of each: some cover others, most do not.
Match RandomMatch(std::mt19937& random, std::uint32_t bits, std::uint32_t masks) {
  const std::uint32_t all = (1u << bits) - 1;
  std::mt19937 of_mask(random() % masks);
  Match match = MatchInPort(1);
  match.mask.ipv4_src = of_mask() & all;
  match.mask.ipv4_dst = of_mask() & all;
  match.key.ipv4_src = static_cast<std::uint32_t>(random()) & match.mask.ipv4_src;
  match.key.ipv4_dst = static_cast<std::uint32_t>(random()) & match.mask.ipv4_dst;
  return match;
}

// How many flows were let in, and how many refused, in `steps` steps.
std::pair<int, int> Try(std::uint32_t bits, std::uint32_t masks, int steps) {
  std::mt19937 random(bits * 1000 + masks);
  Table table(100'000);
  std::vector<Match> installed;
  int let_in = 0;
  int refused = 0;
  for (int step = 0; step < steps; ++step) {
    if (!installed.empty() && random() % 8 == 0) {
      const std::size_t leaves = random() % installed.size();
      REQUIRE(ApplyChanges(table.flows, {FlowDelete{installed[leaves]}}, false).front().ok());
      installed.erase(installed.begin() + static_cast<std::ptrdiff_t>(leaves));
      continue;
    }
    const Match match = RandomMatch(random, bits, masks);
    if (std::any_of(installed.begin(), installed.end(), [&](const Match& other) {
          return other.mask == match.mask && other.key == match.key;
        }))
      continue;
    const bool overlaps = std::any_of(installed.begin(), installed.end(),
                                      [&](const Match& other) { return Overlap(match, other); });
    REQUIRE(table.Put(PutOf(match)).ok() == !overlaps);
    ++(overlaps ? refused : let_in);
    if (!overlaps) installed.push_back(match);
  }
  CHECK(table.flows.size() == installed.size());
  return {let_in, refused};
}

}  // namespace

TEST_CASE("overlaps: what is refused overlaps a flow, and nothing else does") {
  // Few flows a mask, which are looked at one by one; many of few masks, which have views; more
  // bits in common than a subtable has views for.
  struct Case {
    std::uint32_t bits, masks;
    int steps;
  };
  for (const Case& one :
       {Case{6, 4, 2000}, Case{10, 2, 6000}, Case{12, 3, 6000}, Case{14, 30, 8000}}) {
    INFO(one.bits, " bits, ", one.masks, " masks");
    const auto [let_in, refused] = Try(one.bits, one.masks, one.steps / (kSlowdown > 1 ? 4 : 1));
    MESSAGE(one.bits, " bits, ", one.masks, " masks: ", let_in, " let in, ", refused, " refused");
    CHECK(let_in > 30);
    CHECK(refused > 30);
  }
}

}  // namespace pollux::test

TEST_SUITE_END();
