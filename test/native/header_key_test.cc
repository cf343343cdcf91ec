// The first bytes of a packet under a mask say what its flow key says under the flow mask.

#include "flow/header_key.h"

#include <doctest/doctest.h>

#include <random>

#include "flow/extract.h"
#include "nearly_of_the_shape.h"
#include "packet_builder.h"
#include "testbed.h"

TEST_SUITE_BEGIN("computing");

namespace pollux::test {
namespace {

using Random = std::mt19937;

Flow KeyOf(Packet& packet) {
  Miniflow key;
  ExtractMiniflow(packet, key);
  return key.Expand();
}

// What Packet fields the parser sets and the shape stands for.
struct Layers {
  std::uint16_t l3;
  std::uint16_t l4;
  bool operator==(const Layers&) const = default;
};

}  // namespace

TEST_CASE("header keys: a packet of the shape is one that the parser finds to be so") {
  std::size_t of_the_shape = 0;
  const auto check = [&](const Frame& frame) {
    HeapPacket packet(frame);
    if (ShapeOf(*packet) == HeaderShape::kOther) return;
    ++of_the_shape;
    const Flow key = KeyOf(*packet);
    REQUIRE((packet->l3_offset == kShapeL3Offset && packet->l4_offset == kShapeL4Offset));
    // Whatever a HeaderKey does not hold is the same in every packet of the shape.
    Flow rest = key;
    rest.eth_dst = rest.eth_src = {};
    rest.ipv4_src = rest.ipv4_dst = 0;
    rest.nw_tos = rest.nw_ttl = 0;
    rest.tp_src = rest.tp_dst = rest.tcp_flags = 0;
    rest.nw_proto = 0;
    Flow expected;
    expected.in_port = 1;
    expected.eth_type = ToBe16(kEthTypeIpv4);
    REQUIRE(rest == expected);
    const bool tcp = ShapeOf(*packet) == HeaderShape::kTcp;
    REQUIRE(key.nw_proto == (tcp ? kProtoTcp : kProtoUdp));
    if (tcp) REQUIRE(ShapeTcpFlags(*packet) == FromBe16(key.tcp_flags));
  };
  for (const NamedFrame& kind : EveryKind()) check(kind.frame);
  Random random(1);
  for (int i = 0; i < 200'000 / kSlowdown; ++i) check(NearlyOfTheShape(random));
  CHECK(of_the_shape > 50'000 / kSlowdown);
}

TEST_CASE("header keys: equal exactly where the flow keys are, under any mask") {
  Random random(2);
  std::size_t equal = 0;
  for (int i = 0; i < 100'000 / kSlowdown; ++i) {
    const Frame one = NearlyOfTheShape(random);
    Frame other = random() % 4 == 0 ? NearlyOfTheShape(random) : one;
    other[random() % other.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
    HeapPacket a(one);
    HeapPacket b(other);
    const HeaderShape shape_a = ShapeOf(*a);
    const HeaderShape shape_b = ShapeOf(*b);
    if (shape_a == HeaderShape::kOther || shape_b == HeaderShape::kOther) continue;
    FlowMask mask = RandomMask(random);
    mask.nw_proto = 0xff;  // A HeaderKey always tells TCP from UDP.
    const HeaderMask header(mask);
    HeaderKey key_a{};
    HeaderKey key_b{};
    header.MakeKey(*a, shape_a, key_a);
    header.MakeKey(*b, shape_b, key_b);
    const bool same = key_a == key_b;
    REQUIRE(same == header.Matches(*b, shape_b, key_a));
    REQUIRE(same == (ApplyMask(KeyOf(*a), mask) == ApplyMask(KeyOf(*b), mask)));
    equal += same ? 1 : 0;
  }
  CHECK(equal > 10'000 / kSlowdown);
}

TEST_CASE("header keys: packets that something else is known of are of another shape") {
  const Frame frame = EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();
  const auto shape = [&](auto change) {
    HeapPacket packet(frame);
    change(*packet);
    return ShapeOf(*packet);
  };
  CHECK(shape([](Packet&) {}) == HeaderShape::kUdp);
  CHECK(shape([](Packet& p) { p.recirc_id = 1; }) == HeaderShape::kOther);
  CHECK(shape([](Packet& p) { p.dp_hash = 1; }) == HeaderShape::kOther);
  CHECK(shape([](Packet& p) { p.skb_mark = 1; }) == HeaderShape::kOther);
  CHECK(shape([](Packet& p) { p.skb_priority = 1; }) == HeaderShape::kOther);
  CHECK(shape([](Packet& p) { p.has_tunnel = true; }) == HeaderShape::kOther);
  CHECK(shape([](Packet& p) { p.l3_type = ToBe16(kEthTypeIpv4); }) == HeaderShape::kOther);
}

TEST_CASE("header keys: what a mask looks at takes as few words as it can") {
  const auto pairs = [](auto set) {
    FlowMask mask;
    set(mask);
    return HeaderMask(mask).pairs();
  };
  const auto five_tuple = [](FlowMask& mask) {
    mask.ipv4_src = mask.ipv4_dst = UINT32_MAX;
    mask.tp_src = mask.tp_dst = 0xffff;
  };
  CHECK(pairs([](FlowMask&) {}) == 1);
  CHECK(pairs(five_tuple) == 1);
  CHECK(pairs([](FlowMask& mask) { std::memset(static_cast<void*>(&mask), 0xff, sizeof mask); }) ==
        3);
  CHECK(pairs([](FlowMask& mask) { mask.tcp_flags = ToBe16(0xf000); }) == 1);
}

TEST_CASE("header keys: a packet that is plainly not TCP has no TCP flags") {
  std::size_t plain = 0;
  const auto check = [&](const Frame& frame) {
    HeapPacket packet(frame);
    if (!PlainlyNotTcp(*packet)) return;
    ++plain;
    REQUIRE(KeyOf(*packet).tcp_flags == 0);
  };
  for (const NamedFrame& kind : EveryKind()) check(kind.frame);
  Random random(3);
  for (int i = 0; i < 20'000 / kSlowdown; ++i) check(NearlyOfTheShape(random));
  CHECK(plain > 5'000 / kSlowdown);
}

}  // namespace pollux::test

TEST_SUITE_END();
