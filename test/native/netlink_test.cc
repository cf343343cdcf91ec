// Keys and masks as netlink attributes, both ways, and everything that must be refused.
#include "flow/netlink.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "attribute_builder.h"
#include "flow/extract.h"
#include "flow/tunnel_attributes.h"
#include "packet/headers.h"
#include "packet_builder.h"
#include "random_match.h"

TEST_SUITE_BEGIN("computing");

namespace pollux {
namespace {

using test::A;
using test::Blob;
using test::BlobOf;
using test::CheckRefused;
using test::Decoded;
using test::HeapPacket;
using test::Ip4;
using test::Ip6;
using test::Loosened;
using test::Random;
using test::RandomKey;
using test::RandomTunnel;

Flow KeyOf(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame, 3);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return key.Expand();
}

void CheckSame(const Match& a, const Match& b) {
  if (a.key == b.key && a.mask == b.mask) return;
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    CAPTURE(i);
    CHECK(ToWords(a.mask)[i] == ToWords(b.mask)[i]);
    CHECK(ToWords(a.key)[i] == ToWords(b.key)[i]);
  }
  FAIL("keys or masks differ");
}

TEST_CASE("netlink: AttributeReader") {
  SUBCASE("nothing") {
    AttributeReader reader(Bytes{});
    CHECK_FALSE(reader.Next());
    CHECK_FALSE(reader.broken());
  }
  SUBCASE("what AppendAttribute wrote") {
    Blob blob;
    const std::uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (std::size_t n = 0; n <= 8; ++n)
      AppendAttribute(blob, static_cast<std::uint16_t>(n + 1), Bytes(bytes, n));
    CHECK(blob.size() % 4 == 0);
    AttributeReader reader(blob);
    for (std::size_t n = 0; n <= 8; ++n) {
      REQUIRE(reader.Next());
      CHECK(reader.type() == n + 1);
      CHECK(Blob(reader.payload().begin(), reader.payload().end()) == Blob(bytes, bytes + n));
    }
    CHECK_FALSE(reader.Next());
    CHECK_FALSE(reader.broken());
  }
  SUBCASE("flags of the type are ignored") {
    Blob blob;
    AppendAttribute(blob, 0x8000 | 5, {});
    AttributeReader reader(blob);
    REQUIRE(reader.Next());
    CHECK(reader.type() == 5);
  }
  SUBCASE("the last one may lack its padding; cut elsewhere it is broken") {
    Blob blob;
    const std::uint8_t bytes[] = {1, 2, 3, 4, 5};
    AppendAttribute(blob, 1, Bytes(bytes, 5));
    for (std::size_t n = 0; n <= blob.size(); ++n) {
      const auto heap = std::make_unique<std::uint8_t[]>(n);  // AddressSanitizer watches its end.
      std::copy_n(blob.begin(), n, heap.get());
      AttributeReader reader(Bytes(heap.get(), n));
      CHECK(reader.Next() == (n >= 9));
      CHECK(reader.broken() == (n > 0 && n < 9));
      CHECK_FALSE((n < 9 && reader.Next()));
    }
  }
  SUBCASE("every length") {
    for (std::uint32_t length = 0; length < 65'536; ++length) {
      std::uint8_t bytes[12] = {};
      const auto value = static_cast<std::uint16_t>(length);
      std::memcpy(bytes, &value, 2);
      AttributeReader reader(bytes);
      REQUIRE(reader.Next() == (length >= 4 && length <= 12));
    }
  }
  SUBCASE("the longest payload") {
    Blob blob;
    AppendAttribute(blob, 1, Blob(65'531, 7));
    AttributeReader reader(blob);
    REQUIRE(reader.Next());
    CHECK(reader.payload().size() == 65'531);
    CHECK_FALSE(reader.Next());
    CHECK_FALSE(reader.broken());
  }
}

TEST_CASE("netlink: every kind of frame survives the round trip") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    CAPTURE(name);
    const Flow key = KeyOf(frame);
    const Blob encoded = EncodeKey(key);
    const Match exact = Decoded(encoded);
    CHECK(exact.key == key);
    CHECK(exact.mask == ExactMask(key));
    const FlowMask mask = ExactMask(key);
    const Match masked = Decoded(EncodeKey(key, &mask), EncodeMask(key, mask));
    CHECK(masked.key == key);
    CHECK(masked.mask == mask);
    CHECK(EncodeKey(key, &mask) == encoded);
  }
}

// ------------------------------------------------------------------ random keys and masks

TEST_CASE("netlink: random keys survive the round trip") {
  Random random(7);
  PacketPool pool(std::size_t{16} << 20);
  for (int round = 0; round < 50'000; ++round) {
    const Flow key = RandomKey(random, pool);
    const FlowMask mask = ExactMask(key);
    REQUIRE(ApplyMask(key, mask) == key);
    CheckSame(Decoded(EncodeKey(key)), {key, mask});
    CheckSame(Decoded(EncodeKey(key, &mask), EncodeMask(key, mask)), {key, mask});
  }
}

TEST_CASE("netlink: masks survive the round trip") {
  Random random(5);
  PacketPool pool(std::size_t{16} << 20);
  for (int round = 0; round < 50'000; ++round) {
    const Flow key = RandomKey(random, pool);
    FlowMask mask = Loosened(key, random);
    const Match match = Decoded(EncodeKey(key, &mask), EncodeMask(key, mask));
    // A mask that looks at the absence of an outer tag looks at the inner one's too: no tag, no
    // inner tag.
    if (mask.vlans[0].tci != 0 && key.vlans[0].tci == 0) mask.vlans[1] = mask.vlans[0];
    CheckSame(match, {ApplyMask(key, mask), mask});
    // What was decoded encodes to the same again, from the masked key alone.
    CheckSame(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match);
  }
}

TEST_CASE("netlink: random tunnels survive the round trip") {
  Random random(8);
  for (int round = 0; round < 20'000; ++round) {
    const TunnelMetadata tunnel = RandomTunnel(random);
    Result<TunnelMetadata> back = DecodeTunnel(EncodeTunnel(tunnel));
    REQUIRE(back.ok());
    REQUIRE(std::memcmp(&*back, &tunnel, sizeof tunnel) == 0);
  }
}

TEST_CASE("netlink: what is not mentioned") {
  SUBCASE(
      "no mask: what is given is exact, the rest is not matched; untagged and recirc_id are always "
      "exact") {
    const Match match = Decoded(A().Port(9).Type(0x0800));
    CHECK(match.key.in_port == 9);
    CHECK(match.mask.in_port == UINT32_MAX);
    CHECK(match.mask.recirc_id == UINT32_MAX);
    CHECK(match.mask.eth_type == UINT16_MAX);
    CHECK(match.mask.vlans[0].tci == UINT16_MAX);
    CHECK(match.mask.vlans[1].tci == UINT16_MAX);
    CHECK(match.mask.eth_dst == MacAddress{});
    CHECK(match.mask.nw_proto == 0);
    CHECK(match.mask.nw_frag == 0);
  }
  SUBCASE("a mask without the attribute: wildcarded") {
    const Match match = Decoded(A().Port().Type(0x0800).Ipv4(6), A().Port(UINT32_MAX).Type(0xffff));
    CHECK(match.mask.nw_proto == 0);
    CHECK(match.key.nw_proto == 0);
    CHECK(match.mask.eth_type == UINT16_MAX);
  }
  SUBCASE("no value in the key: wildcarded; the key is masked") {
    const Match match = Decoded(A().Port().Type(0x0800).Ipv4(6, 0, Ip4("10.1.2.3")),
                                A().Port(UINT32_MAX).Type(0xffff).Ipv4(0, 0, Ip4("255.255.0.0")));
    CHECK(match.key.ipv4_src == Ip4("10.1.0.0"));
    CHECK(match.mask.ipv4_src == Ip4("255.255.0.0"));
    CHECK(match.mask.tp_src == 0);
  }
  SUBCASE("metadata") {
    const std::uint32_t five = 5;
    const Match match = Decoded(
        A().Port()
            .Put(OVS_KEY_ATTR_RECIRC_ID, five)
            .Put(OVS_KEY_ATTR_DP_HASH, five)
            .Put(OVS_KEY_ATTR_SKB_MARK, five),
        A().Port(UINT32_MAX).Put(OVS_KEY_ATTR_DP_HASH, 1).Put(OVS_KEY_ATTR_PRIORITY, UINT32_MAX));
    CHECK(match.key.recirc_id == 5);
    CHECK(match.mask.recirc_id == UINT32_MAX);
    CHECK(match.key.dp_hash == 1);
    CHECK(match.mask.dp_hash == 1);
    CHECK(match.mask.skb_mark == 0);
    CHECK(match.mask.skb_priority == UINT32_MAX);
    const Match back =
        Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask));
    CHECK(back.key == match.key);
    CHECK(back.mask == match.mask);
  }
  SUBCASE("metadata that is only in the mask is matched as zero") {
    const Match match = Decoded(A().Port(), A().Port(UINT32_MAX)
                                                .Put(OVS_KEY_ATTR_CT_STATE, 0x21u)
                                                .Put(OVS_KEY_ATTR_CT_MARK, UINT32_MAX)
                                                .PacketType(0xffff, 0xffff));
    CHECK(match.mask.ct_state == 0x21);
    CHECK(match.key.ct_state == 0);
    CHECK(match.mask.ct_mark == UINT32_MAX);
    CHECK(match.mask.packet_type == UINT32_MAX);
    CHECK(match.key.packet_type == 0);
  }
  SUBCASE("802.2: an exact mask and no EtherType, as Open vSwitch says it") {
    const Match match = Decoded(A().Port(), A().Port(UINT32_MAX).Type(0xffff));
    CHECK(match.key.eth_type == ToBe16(0x05ff));
    CHECK(match.mask.eth_type == UINT16_MAX);
  }
  SUBCASE("frag: exact or not at all") {
    const Match match = Decoded(A().Port().Type(0x0800).Ipv4(6, 2),
                                A().Port(UINT32_MAX).Type(0xffff).Ipv4(0, 0xff));
    CHECK(match.key.nw_frag == kFragLater);
    CHECK(match.mask.nw_frag == 0xff);
  }
}

TEST_CASE("netlink: tags") {
  const A udp = A().Type(0x0800).Ipv4(17);
  SUBCASE("one, exact") {
    const Match match = Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp));
    CHECK(match.key.vlans[0].tpid == ToBe16(0x8100));
    CHECK(match.key.vlans[0].tci == ToBe16(0x1005));
    CHECK(match.mask.vlans[1].tci == UINT16_MAX);
    CHECK(match.key.vlans[1].tci == 0);
    CHECK(match.key.eth_type == ToBe16(0x0800));
    CHECK(match.key.nw_proto == 17);
  }
  SUBCASE("two") {
    const Match match = Decoded(
        A().Port().Type(0x88a8).Vlan(0x1005).Encap(A().Type(0x8100).Vlan(0x7006).Encap(udp)));
    CHECK(match.key.vlans[1].tci == ToBe16(0x7006));
    CHECK(match.key.eth_type == ToBe16(0x0800));
  }
  SUBCASE("masks inside") {
    const Match match =
        Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp),
                A().Port(UINT32_MAX).Type(0xffff).Vlan(0x1fff).Encap(A().Type(0xffff)));
    CHECK(match.mask.vlans[0].tci == ToBe16(0x1fff));
    CHECK(match.mask.eth_type == UINT16_MAX);
    CHECK(match.mask.nw_proto == 0);
    CHECK(match.mask.vlans[1].tci == UINT16_MAX);
  }
  SUBCASE("no encap in the mask: all inside is wildcarded") {
    const Match match = Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp),
                                A().Port(UINT32_MAX).Type(0xffff).Vlan(0xffff));
    CHECK(match.mask.vlans[0].tci == UINT16_MAX);
    CHECK(match.mask.vlans[1].tci == 0);
    CHECK(match.mask.eth_type == 0);
    CHECK(match.mask.nw_proto == 0);
  }
  SUBCASE("no encap in the key: the same") {
    const Match match = Decoded(A().Port().Type(0x8100).Vlan(0x1005));
    CHECK(match.mask.vlans[1].tci == 0);
    CHECK(match.mask.eth_type == 0);
  }
  SUBCASE("a tag of no bits in the mask, none in the key: tagged or not") {
    const A wild = A().Port(UINT32_MAX).Vlan(0);
    const Match all = Decoded(A().Port(), wild);
    FlowMask port_alone;
    port_alone.in_port = port_alone.recirc_id = UINT32_MAX;
    CHECK(all.mask == port_alone);
    CHECK(EncodeKey(all.key, &all.mask) == A().Put(OVS_KEY_ATTR_RECIRC_ID, 0u).Port().blob());
    const Match ip = Decoded(A().Port().Type(0x0800), A(wild).Type(0xffff));
    CHECK(IsZero(ip.mask.vlans));
    CHECK(ip.mask.eth_type == UINT16_MAX);
    const Match inner =
        Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp),
                A().Port(UINT32_MAX).Type(0xffff).Vlan(0x1fff).Encap(A().Type(0xffff).Vlan(0)));
    CHECK(inner.mask.vlans[0].tci == ToBe16(0x1fff));
    CHECK(IsZero(inner.mask.vlans[1]));
    for (const Match& match : {all, ip, inner})
      CheckSame(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)),
                match);
    // Where there is no Ethernet header there is no tag; and a mask of some bits says none.
    const A l3 = A().Port().PacketType(1, 0x0800);
    CheckSame(Decoded(l3, A().Port(UINT32_MAX).PacketType(0xffff, 0xffff).Vlan(0)),
              Decoded(l3, A().Port(UINT32_MAX).PacketType(0xffff, 0xffff)));
    CheckSame(Decoded(A().Port(), A().Port(UINT32_MAX).Vlan(0x1000)),
              Decoded(A().Port(), A().Port(UINT32_MAX)));
  }
  SUBCASE("a mask without vlan: tagged or not") {
    const Match match = Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp),
                                A().Port(UINT32_MAX).Encap(A().Type(0xffff)));
    CHECK(match.mask.vlans[0].tci == 0);
    CHECK(match.mask.eth_type == UINT16_MAX);
  }
}

TEST_CASE("netlink: a frame that ends inside its tag") {
  const auto cut = [](std::size_t tags) {
    test::EthernetFrame frame;
    for (std::size_t i = 0; i < tags; ++i) frame.Vlan(5);
    test::Frame bytes = frame.Build();
    bytes.resize(bytes.size() - 1);
    return KeyOf(bytes);
  };
  const A tag = A().Type(0x8100).Vlan(0).Encap(A());
  CHECK(test::PayloadOf(EncodeKey(cut(1)), OVS_KEY_ATTR_VLAN) == Blob(2, 0));
  CHECK(test::PayloadOf(EncodeMask(cut(1), ExactMask(cut(1))), OVS_KEY_ATTR_VLAN) == Blob(2, 0xff));
  const Match match =
      Decoded(A().Port().Append(tag), A().Port(UINT32_MAX).Type(0xffff).Vlan(0xffff).Encap(A()));
  CHECK(match.key.eth_type == ToBe16(0x8100));
  CHECK(match.mask.eth_type == UINT16_MAX);
  CHECK(match.key.vlans[0].tci == 0);
  CHECK(match.mask.vlans[0].tci == UINT16_MAX);
  CHECK(match.mask.vlans[1].tci == UINT16_MAX);
  // In an inner tag too; in a third one nobody looks for a tag.
  const Match inner = Decoded(A().Port().Type(0x88a8).Vlan(0x1005).Encap(tag));
  CHECK(inner.key.eth_type == ToBe16(0x8100));
  CHECK(inner.mask.vlans[1].tci == UINT16_MAX);
  CHECK(inner.key.vlans[1].tci == 0);
  for (std::size_t tags : {1, 2, 3})
    CheckSame(Decoded(EncodeKey(cut(tags))), {cut(tags), ExactMask(cut(tags))});
  CHECK(test::PayloadOf(EncodeKey(cut(3)), OVS_KEY_ATTR_VLAN) == BlobOf(ToBe16(0x1005)));
  // All that can be said of it is its type.
  CheckRefused(A().Port().Type(0x8100).Vlan(0).Encap(A().Type(0x0800)), {}, "has nothing inside");
  CheckRefused(A().Port().Append(tag), A().Port(UINT32_MAX).Vlan(0xffff).Encap(A().Type(0)),
               "has nothing inside");
  CheckRefused(A().Port().Append(tag), A().Port(UINT32_MAX).Vlan(0x0fff), "cfi=1");
  // Whether there is a tag is not matched: an ordinary one.
  CHECK(Decoded(A().Port().Append(tag), A().Port(UINT32_MAX).Vlan(0)).mask.vlans[0].tci == 0);
}

TEST_CASE("netlink: an ARP operation of 255, as Open vSwitch writes it") {
  const auto arp = [](std::uint16_t operation) {
    return A().Port().Type(0x0806).Put(OVS_KEY_ATTR_ARP, ovs_key_arp{.arp_op = ToBe16(operation)});
  };
  CheckSame(Decoded(arp(0xffff)), Decoded(arp(0xff)));
  CHECK(Decoded(arp(0xffff)).key.nw_proto == 0xff);
}

TEST_CASE("netlink: packet types") {
  SUBCASE("the namespace of EtherTypes says what eth_type is") {
    const Match match =
        Decoded(A().Port().PacketType(1, 0x0800).Ipv4(17).Pair(OVS_KEY_ATTR_UDP, 1));
    CHECK(match.key.packet_type == PacketTypeOf(ToBe16(0x0800)));
    CHECK(match.key.eth_type == ToBe16(0x0800));
    CHECK(match.mask.eth_type == UINT16_MAX);
    CHECK(match.key.tp_src == ToBe16(1));
    CheckSame(match, Decoded(A().Port().PacketType(1, 0x0800).Type(0x0800).Ipv4(17).Pair(
                         OVS_KEY_ATTR_UDP, 1)));
    CheckSame(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match);
    // Also where the mask does not name it.
    CHECK(Decoded(A().Port().PacketType(1, 0x0800), A().Port(UINT32_MAX).PacketType(0xffff, 0xffff))
              .mask.eth_type == UINT16_MAX);
  }
  SUBCASE("matched in part") {
    const Match any =
        Decoded(A().Port().PacketType(1, 0x0800), A().Port(UINT32_MAX).PacketType(0xffff, 0));
    CHECK(any.mask.packet_type == ToBe32(0xffff0000));
    CHECK(any.mask.eth_type == 0);
    const Match id =
        Decoded(A().Port().PacketType(1, 0x0800), A().Port(UINT32_MAX).PacketType(0, 0xffff));
    CHECK(id.key.packet_type == ToBe32(0x0800));
    CheckSame(Decoded(EncodeKey(id.key, &id.mask), EncodeMask(id.key, id.mask)), id);
    // Then it is no prerequisite.
    CheckRefused(A().Port().PacketType(1, 0x0800).Ipv4(17),
                 A().Port(UINT32_MAX).PacketType(0xffff, 0).Ipv4(0xff), "\"ipv4\" needs an exact");
  }
  SUBCASE("Ethernet") {
    const Match match = Decoded(A().Port().PacketType(0, 0).Type(0x0800).Ipv4(17));
    CHECK(match.key.packet_type == 0);
    CHECK(match.mask.packet_type == UINT32_MAX);
  }
  SUBCASE("refused") {
    const char* values = "must be (ns=0,id=0) or (ns=1";
    CheckRefused(A().Port().PacketType(2, 0), {}, values);
    CheckRefused(A().Port().PacketType(0, 0x0800), {}, values);
    CheckRefused(A().Port().PacketType(0xffff, 0xffff), {}, values);
    CheckRefused(A().Port().PacketType(1, 0x0800).Type(0x86dd), {}, "\"eth_type\" is another one");
    CheckRefused(A().Port().PacketType(1, 0x0800).Put(OVS_KEY_ATTR_ETHERNET, ovs_key_ethernet{}),
                 {}, "\"eth\" is not in a packet with");
    CheckRefused(A().Port().PacketType(1, 0x8100).Type(0x8100).Vlan(0x1001), {},
                 "\"vlan\" is not in a packet with");
    CheckRefused(A().Port().PacketType(1, 0x0800).Ipv6(), {}, "\"ipv6\" needs an exact");
    CheckRefused(A().Port().PacketType(0, 0).Ipv4(), {}, "\"ipv4\" needs an exact");
  }
}

TEST_CASE("netlink: MPLS") {
  constexpr std::uint32_t kBottom = 0x100;
  const auto mpls = [](std::initializer_list<std::uint32_t> entries) {
    return A().Port().Type(0x8847).Mpls(entries);
  };
  SUBCASE("as many labels are looked at as the key has") {
    CHECK(Decoded(mpls({1})).mask.mpls == std::array<Be32, 3>{UINT32_MAX, 0, 0});
    CHECK(Decoded(mpls({1, 2})).mask.mpls == std::array<Be32, 3>{UINT32_MAX, UINT32_MAX, 0});
    CHECK(Decoded(mpls({1, 2, 3 | kBottom})).mask.mpls ==
          std::array<Be32, 3>{UINT32_MAX, UINT32_MAX, UINT32_MAX});
    CHECK(Decoded(mpls({1, 2, 3 | kBottom})).key.mpls ==
          std::array<Be32, 3>{ToBe32(1), ToBe32(2), ToBe32(3 | kBottom)});
  }
  SUBCASE("parts of labels, and none in between") {
    const Match match = Decoded(mpls({0x12345678, 2, 3}),
                                A().Port(UINT32_MAX).Type(0xffff).Mpls({0xfffff000, 0, 0xff}));
    CHECK(match.key.mpls == std::array<Be32, 3>{ToBe32(0x12345000), 0, ToBe32(3)});
    CHECK(test::PayloadOf(EncodeMask(match.key, match.mask), OVS_KEY_ATTR_MPLS)->size() == 12);
    CheckSame(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match);
  }
  SUBCASE("refused") {
    CheckRefused(mpls({}), {}, "\"mpls\" in flow key has 0 bytes");
    CheckRefused(mpls({1, 2, 3, 4}), {}, "\"mpls\" in flow key has 16 bytes");
    for (std::size_t n : {1, 3, 5, 11, 13})
      CheckRefused(A().Port().Type(0x8847).Add(OVS_KEY_ATTR_MPLS, Blob(n)), {},
                   "bytes; it must have 4");
    CheckRefused(mpls({kBottom, 1}), {}, "bos=1 in a label that is not the last");
    CheckRefused(mpls({0, kBottom, 1}), {}, "bos=1 in a label that is not the last");
    for (auto mask : {A().Mpls({1}), A().Mpls({1, 2, 3}), A().Mpls({})}) {
      CheckRefused(mpls({1, 2}), A().Port(UINT32_MAX).Type(0xffff).Append(mask),
                   "and in the key 8");
    }
  }
}

TEST_CASE("netlink: exact ICMP and exact UDP look at the same bits") {
  const auto mask = [](const char* name) {
    for (const auto& kind : test::EveryKind()) {
      if (std::string(kind.name) == name) return ExactMask(KeyOf(kind.frame));
    }
    return FlowMask{};
  };
  CHECK(mask("ipv4 icmp") == mask("ipv4 udp"));
}

TEST_CASE("netlink: refused") {
  const auto port = [] { return A().Port(); };
  const A none;
  const A exact_port = A().Port(UINT32_MAX);
  SUBCASE("in_port") {
    CheckRefused(none, none, "\"in_port\"");
    CheckRefused(A().Type(0x0800), none, "\"in_port\"");
    CheckRefused(port(), A().Port(0xffff), "\"in_port\" must be matched exactly");
    CheckRefused(port(), A().Type(0), "\"in_port\" must be matched exactly");
    CheckRefused(A().Port(65'536), none, "0 to 65535");
  }
  SUBCASE("unknown, unsupported, duplicate") {
    CheckRefused(port().Put(63, 1), none, "unknown attribute 63");
    CheckRefused(port().Put(0, 1), none, "unknown attribute 0");
    CheckRefused(port().Put(0x3fff, 1), none, "unknown attribute 16383");
    CheckRefused(port().Put(31, 1), none, "unknown attribute 31");  // For the kernel alone.
    CheckRefused(port().Put(32, 1), none, "unknown attribute 32");
    CheckRefused(port(), A(exact_port).Put(63, 1), "unknown attribute 63 in flow mask");
    CheckRefused(port().Port(), none, "duplicate \"in_port\"");
    CheckRefused(port().Type(1).Type(1), none, "duplicate \"eth_type\"");
    CheckRefused(port(), A(exact_port).Port(), "duplicate \"in_port\" in flow mask");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(A().Type(1).Type(1)), none,
                 "duplicate \"eth_type\"");
  }
  SUBCASE("malformed") {
    Blob blob;
    AppendAttribute(blob, OVS_KEY_ATTR_IN_PORT, Blob(4));
    for (std::size_t n = 1; n < blob.size(); ++n)
      CheckRefused(Bytes(blob).first(n), none, "malformed");
    CheckRefused(Blob{1}, none, "malformed");
    CheckRefused(port(), Blob{1}, "malformed attribute in flow mask");
    CheckRefused(Blob(4), none, "malformed");
  }
  SUBCASE("prerequisites: layer 3") {
    CheckRefused(port().Ipv4(), none, "\"ipv4\" needs an exact \"eth_type(0x0800)\"");
    CheckRefused(port().Type(0x86dd).Ipv4(), none, "\"ipv4\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv6(), none, "\"ipv6\" needs an exact \"eth_type(0x86dd)\"");
    CheckRefused(port().Type(0x0800).Put(OVS_KEY_ATTR_ARP, ovs_key_arp{}), none,
                 "\"arp\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv4(1), A(exact_port).Type(0xff00).Ipv4(0xff),
                 "\"ipv4\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv4(1), A(exact_port).Ipv4(0xff), "\"ipv4\" needs an exact");
    CheckRefused(port().Type(0x86dd).Ipv6(1), A(exact_port).Ipv6(0xff), "\"ipv6\" needs an exact");
    CheckRefused(port().Type(0x0806).Put(OVS_KEY_ATTR_ARP, ovs_key_arp{.arp_op = ToBe16(256)}),
                 none, "0 to 255");
    CheckRefused(port().Type(0x86dd).Ipv6(0, 0, 0x100000), none, "20 bits");
  }
  SUBCASE("prerequisites: layer 4") {
    const struct {
      std::uint16_t type;
      std::uint8_t proto;
      const char* why;
    } kPorts[] = {
        {OVS_KEY_ATTR_TCP, 6, "\"tcp\" needs an exact \"ipv4(proto=6)\" or \"ipv6(proto=6)\""},
        {OVS_KEY_ATTR_UDP, 17, "\"udp\" needs an exact \"ipv4(proto=17)\""},
        {OVS_KEY_ATTR_SCTP, 132, "\"sctp\" needs an exact \"ipv4(proto=132)\""}};
    for (const auto& [type, proto, why] : kPorts) {
      CheckRefused(port().Pair(type), none, why);
      CheckRefused(port().Type(0x0800).Pair(type), none, why);
      CheckRefused(port().Type(0x0800).Ipv4(proto + 1).Pair(type), none, why);
      CheckRefused(port().Type(0x0800).Ipv4(proto).Pair(type, 1),
                   A(exact_port).Type(0xffff).Pair(type, 0xffff), why);
      CheckRefused(port().Type(0x0800).Ipv4(proto).Pair(type, 1),
                   A(exact_port).Type(0xffff).Ipv4(0xfe).Pair(type, 0xffff), why);
      CheckRefused(port().Type(0x0800).Ipv4(proto, kFragLater).Pair(type), none, "later fragment");
      CHECK(Decoded(port().Type(0x0800).Ipv4(proto, kFragFirst).Pair(type, 9)).key.tp_src ==
            ToBe16(9));
      CHECK(Decoded(port().Type(0x86dd).Ipv6(proto).Pair(type, 9)).key.tp_src == ToBe16(9));
    }
    CheckRefused(port().Type(0x0800).Ipv4(17).Be16(OVS_KEY_ATTR_TCP_FLAGS, 1), none,
                 "\"tcp_flags\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv4(6).Be16(OVS_KEY_ATTR_TCP_FLAGS, 0x1000), none, "12 bits");
    CheckRefused(port().Type(0x86dd).Ipv6(1).Icmp(OVS_KEY_ATTR_ICMP, 8, 0), none,
                 "\"icmp\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv4(58).Icmp(OVS_KEY_ATTR_ICMPV6, 8, 0), none,
                 "\"icmpv6\" needs an exact");
    CheckRefused(port().Type(0x0800).Ipv4(6, 3), none, "no, first or later");
    CheckRefused(port().Type(0x0800).Ipv4(6, 1), A(exact_port).Type(0xffff).Ipv4(0xff, 1),
                 "exactly or not at all");
    CheckRefused(port().Type(0x86dd).Ipv6(6, 1), A(exact_port).Type(0xffff).Ipv6(0xff, 0xfe),
                 "exactly or not at all");
  }
  SUBCASE("prerequisites: ND") {
    const auto v6 = [&] { return port().Type(0x86dd).Ipv6(58); };
    const char* why = "\"nd\" needs an exact \"icmpv6(type=135";
    CheckRefused(v6().Nd(), none, why);
    CheckRefused(v6().Icmp(OVS_KEY_ATTR_ICMPV6, 134, 0).Nd(), none, why);
    CheckRefused(v6().Icmp(OVS_KEY_ATTR_ICMPV6, 135, 1).Nd(), none, why);
    CheckRefused(v6().Icmp(OVS_KEY_ATTR_ICMPV6, 135, 0).Nd(1),
                 A(exact_port).Type(0xffff).Ipv6(0xff).Icmp(OVS_KEY_ATTR_ICMPV6, 0xfe, 0).Nd(0xff),
                 why);
    CHECK(Decoded(v6().Icmp(OVS_KEY_ATTR_ICMPV6, 135, 0).Nd(1)).key.nd_target[15] == 1);
  }
  SUBCASE("tags") {
    CheckRefused(port().Vlan(0x1001), none, "\"vlan\" needs \"eth_type\"");
    CheckRefused(port().Type(0x0800).Vlan(0x1001), none, "\"vlan\" needs \"eth_type\"");
    CheckRefused(port().Type(0x8100).Vlan(0x0001), none, "cfi=1");
    CheckRefused(port().Type(0x8100).Vlan(0xefff), none, "cfi=1");
    CheckRefused(port().Type(0x8100).Encap(none), none, "\"encap\" needs \"vlan\"");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Ipv4(), none,
                 "\"ipv4\" beside \"vlan\" belongs into \"encap\"");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(A().Port()), none,
                 "\"in_port\" does not belong");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(none),
                 A(exact_port).Type(0xffff).Vlan(0xffff).Encap(A().Port()),
                 "\"in_port\" does not belong");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(
                     A().Type(0x8100).Vlan(0x1001).Encap(A().Type(0x8100).Vlan(0x1001))),
                 none, "at most two");
    A deep;
    for (int i = 0; i < 3000; ++i) deep = A().Type(0x8100).Vlan(0x1001).Encap(deep);
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(deep), none, "at most two");
  }
  SUBCASE("a mask for what the key does not have") {
    CheckRefused(port(), A(exact_port).Ipv4(0xff),
                 "\"ipv4\" is in the mask but not in the flow key");
    CheckRefused(port(), A(exact_port).Type(0xff00),
                 "\"eth_type\" is in the mask but not in the flow key");
    CHECK(Decoded(port(), A(exact_port).Ipv4(0)).mask.nw_proto == 0);
  }
}

// No sequence of bytes does harm; what is accepted can be said again.
TEST_CASE("netlink: random bytes and random damage") {
  Random random(6);
  PacketPool pool(std::size_t{16} << 20);
  int accepted = 0;
  for (int round = 0; round < 100'000; ++round) {
    const Flow flow = RandomKey(random, pool);
    const FlowMask loosened = Loosened(flow, random);
    const bool exact = random() % 2 == 0;
    Blob key = exact ? EncodeKey(flow) : EncodeKey(flow, &loosened);
    Blob mask = exact ? Blob{} : EncodeMask(flow, loosened);
    for (Blob* blob : {&key, &mask}) {
      if (blob->empty()) continue;
      for (std::uint64_t changes = random() % 3; changes > 0; --changes) {
        (*blob)[random() % blob->size()] = static_cast<std::uint8_t>(random());
      }
      if (random() % 8 == 0) blob->resize(random() % blob->size());
      blob->shrink_to_fit();
    }
    const Result<Match> match = DecodeMatch(key, mask);
    if (!match.ok()) {
      REQUIRE(match.error().number == EINVAL);
      REQUIRE_FALSE(match.error().message.empty());
      continue;
    }
    ++accepted;
    const Match& m = match.value();
    REQUIRE(ApplyMask(m.key, m.mask) == m.key);
    CheckSame(Decoded(EncodeKey(m.key, &m.mask), EncodeMask(m.key, m.mask)), m);
  }
  CHECK(accepted > 10'000);
}

}  // namespace
}  // namespace pollux

TEST_SUITE_END();
