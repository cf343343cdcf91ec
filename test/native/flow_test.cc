// Masks of flow keys.
#include "flow/flow.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "flow/extract.h"
#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux {
namespace {

using test::Frame;
using test::HeapPacket;

Flow KeyOf(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return key.Expand();
}

Flow KeyOf(const char* name) {
  for (const auto& kind : test::EveryKind()) {
    if (std::string(kind.name) == name) return KeyOf(kind.frame);
  }
  FAIL("no such frame: " << name);
  return {};
}

FlowWords Random(std::mt19937_64& random) {
  FlowWords words;
  for (std::uint64_t& word : words) word = random() % 4 == 0 ? 0 : random();
  return words;
}

template <typename T>
bool AllOnes(const T& field) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&field);
  return std::all_of(bytes, bytes + sizeof field, [](std::uint8_t byte) { return byte == 0xff; });
}
template <typename T>
bool AllZero(const T& field) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&field);
  return std::all_of(bytes, bytes + sizeof field, [](std::uint8_t byte) { return byte == 0; });
}

TEST_CASE("flow: every byte of a Flow is a field or named padding") {
  std::vector<bool> covered(sizeof(Flow));
  const auto cover = [&](std::size_t at, std::size_t n) {
    for (std::size_t i = at; i < at + n; ++i) {
      CHECK_FALSE(covered[i]);
      covered[i] = true;
    }
  };
#define COVER(member, text) cover(offsetof(Flow, member), sizeof(Flow::member));
  POLLUX_FLOW_FIELDS(COVER)
#undef COVER
  cover(offsetof(Flow, pad0), sizeof(Flow::pad0));
  cover(offsetof(Flow, pad1), sizeof(Flow::pad1));
  cover(offsetof(Flow, pad2), sizeof(Flow::pad2));
  CHECK(std::all_of(covered.begin(), covered.end(), [](bool byte) { return byte; }));
}

TEST_CASE("flow: ApplyMask clears what the mask does not look at") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 1000; ++round) {
    const FlowWords key = Random(random);
    const FlowWords mask = Random(random);
    const FlowWords masked = ToWords(ApplyMask(FromWords(key), FromWords(mask)));
    for (std::size_t i = 0; i < kFlowWords; ++i) REQUIRE(masked[i] == (key[i] & mask[i]));
  }
}

TEST_CASE("flow: Compress and Expand") {
  std::mt19937_64 random(2);
  CHECK(Compress(Flow{}).size() == 0);
  for (int round = 0; round < 1000; ++round) {
    const FlowWords words = Random(random);
    const Miniflow miniflow = Compress(FromWords(words));
    REQUIRE(miniflow.Expand() == FromWords(words));
    for (std::size_t i = 0; i < kFlowWords; ++i) REQUIRE(miniflow.Word(i) == words[i]);
    REQUIRE(miniflow.size() ==
            static_cast<std::size_t>(
                std::count_if(words.begin(), words.end(), [](auto word) { return word != 0; })));
  }
}

TEST_CASE(
    "flow: masks and miniflows of different lengths compare without looking past their end (B18)") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 1000; ++round) {
    // Exactly as many words as the map says lie before unmapped (poisoned) memory only under
    // AddressSanitizer; elsewhere equality must still not depend on what lies behind.
    Miniflow a = Compress(FromWords(Random(random)));
    Miniflow b = a;
    std::fill(a.values.begin() + static_cast<std::ptrdiff_t>(a.size()), a.values.end(), 1);
    std::fill(b.values.begin() + static_cast<std::ptrdiff_t>(b.size()), b.values.end(), 2);
    REQUIRE(a == b);
    REQUIRE(Hash(a) == Hash(b));
    const Miniflow c = Compress(FromWords(Random(random)));
    REQUIRE((a == c) == (a.Expand() == c.Expand()));
    REQUIRE((c == a) == (a == c));
  }
}

TEST_CASE("flow: ExactMask looks at what the packet has") {
  SUBCASE("always") {
    const FlowMask mask = ExactMask(Flow{});
    CHECK(AllOnes(mask.in_port));
    CHECK(AllOnes(mask.recirc_id));
    CHECK(AllOnes(mask.eth_dst));
    CHECK(AllOnes(mask.eth_src));
    CHECK(AllOnes(mask.eth_type));
    CHECK(AllOnes(mask.vlans));
    CHECK(AllZero(mask.dp_hash));
    CHECK(AllZero(mask.ipv4_src));
    CHECK(AllZero(mask.nw_proto));
  }
  SUBCASE("IPv4 and UDP") {
    const FlowMask mask = ExactMask(KeyOf("ipv4 udp"));
    CHECK(AllOnes(mask.ipv4_src));
    CHECK(AllOnes(mask.ipv4_dst));
    CHECK(AllZero(mask.ipv6_src));
    CHECK(AllZero(mask.ipv6_label));
    CHECK(AllOnes(mask.nw_proto));
    CHECK(AllOnes(mask.nw_tos));
    CHECK(AllOnes(mask.nw_ttl));
    CHECK(AllOnes(mask.nw_frag));
    CHECK(AllOnes(mask.tp_src));
    CHECK(AllOnes(mask.tp_dst));
    CHECK(AllZero(mask.tcp_flags));
    CHECK(AllZero(mask.arp_sha));
  }
  SUBCASE("zero is a value (B6)") {
    CHECK(ExactMask(KeyOf("all zero")) == ExactMask(KeyOf("ipv4 udp")));
    const FlowMask mask = ExactMask(KeyOf("ipv4 proto 0"));
    CHECK(AllOnes(mask.nw_proto));
    CHECK(AllOnes(mask.ipv4_src));
    CHECK(AllZero(mask.tp_src));
  }
  SUBCASE("TCP flags have twelve bits") {
    CHECK(ExactMask(KeyOf("ipv4 tcp")).tcp_flags == ToBe16(0x0fff));
    CHECK(ExactMask(KeyOf("ipv6 tcp")).ipv6_label == ToBe32(0x000fffff));
  }
  SUBCASE("fragments") {
    CHECK(AllOnes(ExactMask(KeyOf("ipv4 first fragment")).tp_src));
    CHECK(AllZero(ExactMask(KeyOf("ipv4 later fragment")).tp_src));
    CHECK(AllZero(ExactMask(KeyOf("ipv6 later fragment")).tp_src));
    CHECK(AllOnes(ExactMask(KeyOf("ipv6 later fragment")).ipv6_dst));
  }
  SUBCASE("ARP and ND") {
    const FlowMask arp = ExactMask(KeyOf("arp"));
    CHECK(AllOnes(arp.arp_sha));
    CHECK(AllOnes(arp.arp_tha));
    CHECK(AllOnes(arp.ipv4_src));
    CHECK(AllOnes(arp.nw_proto));
    CHECK(AllZero(arp.nw_ttl));
    CHECK(arp == ExactMask(KeyOf("rarp")));
    const FlowMask nd = ExactMask(KeyOf("nd solicitation"));
    CHECK(AllOnes(nd.nd_target));
    CHECK(AllOnes(nd.arp_sha));
    CHECK(AllZero(nd.pad2));
    CHECK(AllZero(ExactMask(KeyOf("ipv6 icmpv6")).nd_target));
  }
}

// If q agrees with p wherever the exact mask of p looks, then q is p: no field that the parser
// found escapes the mask.
TEST_CASE("flow: exact masks are sound (B5, B6, B7)") {
  std::mt19937 random(4);
  const auto frames = test::EveryKind();
  int agreed = 0;
  for (int round = 0; round < 200'000; ++round) {
    const Frame& frame = frames[random() % frames.size()].frame;
    Frame other = frame;
    for (std::uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
      other[random() % other.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
    }
    const Flow p = KeyOf(frame);
    const Flow q = KeyOf(other);
    const FlowMask mask = ExactMask(p);
    if (!(ApplyMask(p, mask) == ApplyMask(q, mask))) continue;
    ++agreed;
    REQUIRE(p == q);
    REQUIRE(ApplyMask(p, mask) == p);
  }
  CHECK(agreed > 1000);
}

}  // namespace
}  // namespace pollux
