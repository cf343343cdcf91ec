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
  cover(offsetof(Flow, pad3), sizeof(Flow::pad3));
  cover(offsetof(Flow, tunnel.options_size), sizeof(TunnelMetadata::options_size));
  cover(offsetof(Flow, tunnel.pad), sizeof(TunnelMetadata::pad));
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

TEST_CASE("flow: ExactMask of what is no layer 3") {
  SUBCASE("MPLS: up to the bottom of the stack") {
    CHECK(ExactMask(KeyOf("mpls ipv4")).mpls == std::array<Be32, 3>{UINT32_MAX, 0, 0});
    CHECK(AllOnes(ExactMask(KeyOf("mpls three labels")).mpls));
    CHECK(AllOnes(ExactMask(KeyOf("mpls four labels")).mpls));
    CHECK(ExactMask(KeyOf("mpls ipv4")).nw_proto == 0);
    Flow cut;
    cut.eth_type = ToBe16(0x8848);
    CHECK(AllOnes(ExactMask(cut).mpls));
  }
  SUBCASE("NSH: metadata where there is some") {
    const FlowMask one = ExactMask(KeyOf("nsh"));
    CHECK(AllOnes(one.nsh));
    const FlowMask two = ExactMask(KeyOf("nsh type 2"));
    CHECK(AllZero(two.nsh.context));
    CHECK(AllOnes(two.nsh.path));
    CHECK(AllOnes(two.nsh.flags));
    CHECK(two.nsh.ttl == 0xff);
    CHECK(AllOnes(two.nsh.mdtype));
    CHECK(AllOnes(two.nsh.np));
  }
  SUBCASE("ND extensions") {
    const FlowMask nd = ExactMask(KeyOf("nd extensions"));
    CHECK(AllOnes(nd.nd_reserved));
    CHECK(AllOnes(nd.nd_options_type));
    CHECK(AllZero(ExactMask(KeyOf("ipv4 tcp")).nd_options_type));
    CHECK(AllZero(ExactMask(KeyOf("arp")).nd_reserved));
  }
}

TEST_CASE("flow: ExactMask of metadata") {
  const Flow plain = KeyOf("ipv4 udp");
  const FlowMask mask = ExactMask(plain);
  const auto with = [&](auto&& change) {
    Flow key = plain;
    change(key);
    return ExactMask(key);
  };
  SUBCASE("fresh packets: what is zero is not looked at") {
    CHECK(mask.dp_hash == 0);
    CHECK(mask.skb_mark == 0);
    CHECK(mask.skb_priority == 0);
    CHECK(mask.packet_type == 0);
    CHECK(mask.ct_state == 0);
    CHECK(AllZero(mask.tunnel));
    CHECK(AllOnes(with([](Flow& key) { key.skb_mark = 1; }).skb_mark));
    CHECK(AllOnes(with([](Flow& key) { key.dp_hash = 1; }).dp_hash));
    CHECK(AllOnes(with([](Flow& key) { key.skb_priority = 1; }).skb_priority));
  }
  SUBCASE("recirculated packets: actions may have changed it") {
    const FlowMask again = with([](Flow& key) { key.recirc_id = 1; });
    CHECK(AllOnes(again.dp_hash));
    CHECK(AllOnes(again.skb_mark));
    CHECK(AllOnes(again.skb_priority));
    CHECK(AllOnes(again.packet_type));
  }
  SUBCASE("without Ethernet header there are no addresses") {
    const FlowMask bare = with([](Flow& key) { key.packet_type = PacketTypeOf(key.eth_type); });
    CHECK(AllOnes(bare.packet_type));
    CHECK(AllZero(bare.eth_dst));
    CHECK(AllZero(bare.eth_src));
    CHECK(AllOnes(bare.eth_type));
    CHECK(AllOnes(bare.ipv4_src));
  }
  SUBCASE("connections") {
    CHECK(with([](Flow& key) { key.ct_state = 0x20; }).ct_state == kCtStateMask);
    CHECK(AllOnes(with([](Flow& key) { key.ct_zone = 1; }).ct_zone));
    CHECK(AllOnes(with([](Flow& key) { key.ct_label[15] = 1; }).ct_label));
    const FlowMask four = with([](Flow& key) { key.ct_proto = 6; });
    CHECK(AllOnes(four.ct_ipv4_src));
    CHECK(AllOnes(four.ct_tp_dst));
    CHECK(AllZero(four.ct_ipv6_src));
    Flow six = KeyOf("ipv6 udp");
    six.ct_proto = 6;
    CHECK(AllOnes(ExactMask(six).ct_ipv6_src));
    CHECK(AllZero(ExactMask(six).ct_ipv4_src));
    Flow arp = KeyOf("arp");
    arp.ct_proto = 6;
    CHECK(AllZero(ExactMask(arp).ct_proto));
  }
  SUBCASE("tunnels: all of it; options with their lengths, but not their reserved bits") {
    const FlowMask tunnel = with([](Flow& key) {
      key.tunnel.ipv4_dst = 1;
      key.tunnel.options_size = 12;
      key.tunnel.options[3] = 1;
    });
    CHECK(tunnel.tunnel.flags == kTunnelFlags);
    CHECK(AllOnes(tunnel.tunnel.id));
    CHECK(AllOnes(tunnel.tunnel.ipv6_dst));
    CHECK(AllOnes(tunnel.tunnel.ttl));
    CHECK(AllOnes(tunnel.tunnel.options_size));
    CHECK(AllOnes(tunnel.tunnel.erspan_version));
    CHECK(AllZero(tunnel.tunnel.erspan_index));
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint8_t expected = i >= 12 ? 0 : i == 3 || i == 11 ? 0x1f : 0xff;
      CHECK(tunnel.tunnel.options[i] == expected);
    }
    TunnelMetadata erspan;
    erspan.erspan_version = 1;
    CHECK(AllOnes(ExactTunnelMask(erspan).erspan_index));
    CHECK(ExactTunnelMask(erspan).erspan_hardware == 0);
    erspan.erspan_version = 2;
    CHECK(ExactTunnelMask(erspan).erspan_index == 0);
    CHECK(ExactTunnelMask(erspan).erspan_hardware == 0x3f);
    CHECK(ExactTunnelMask(erspan).erspan_direction == 1);
  }
}

TEST_CASE("flow: a FlowMap of words on both sides of the 64th") {
  std::mt19937_64 random(9);
  for (int round = 0; round < 1000; ++round) {
    FlowMap map;
    std::vector<bool> has(kFlowWords);
    for (std::uint64_t n = random() % kFlowWords; n > 0; --n) {
      const std::size_t word = random() % kFlowWords;
      map.Add(word);
      has[word] = true;
    }
    std::vector<std::size_t> words;
    map.ForEach([&](std::size_t word) { words.push_back(word); });
    std::vector<std::size_t> expected;
    for (std::size_t word = 0; word < kFlowWords; ++word) {
      REQUIRE(map.Has(word) == has[word]);
      REQUIRE(map.Rank(word) == expected.size());
      if (has[word]) expected.push_back(word);
    }
    REQUIRE(words == expected);
    REQUIRE(map.size() == expected.size());
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
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      other[random() % other.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
    }
    // Fresh packets know nothing; recirculated ones what actions told them.
    const bool recirculated = random() % 2 == 0;
    const auto key = [&](const Frame& bytes) {
      HeapPacket packet(bytes);
      if (recirculated) {
        packet->recirc_id = 1;
        packet->dp_hash = random() % 2;
        packet->skb_mark = random() % 2;
        packet->skb_priority = random() % 2;
        if (random() % 4 == 0) {
          packet->l3_type = LoadAs<Be16>(packet->data + 12);
          packet->Pull(kMinFrame);
        }
      }
      Miniflow mini;
      ExtractMiniflow(*packet, mini);
      return mini.Expand();
    };
    const Flow p = key(frame);
    const Flow q = key(other);
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
