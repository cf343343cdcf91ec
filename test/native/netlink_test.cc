// Keys and masks as netlink attributes, both ways, and everything that must be refused.
#include "flow/netlink.h"

#include <doctest/doctest.h>
#include <linux/openvswitch.h>

#include <algorithm>
#include <random>

#include "flow/extract.h"
#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux {
namespace {

using Blob = std::vector<std::uint8_t>;
using test::HeapPacket;
using test::Ip4;

Flow KeyOf(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame, 3);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return key.Expand();
}

// Attributes one after the other: A().U32(OVS_KEY_ATTR_IN_PORT, 1).Put(…)
class A {
 public:
  template <typename T>
  A& Put(std::uint16_t type, const T& value) {
    AppendAttribute(bytes_, type,
                    Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
    return *this;
  }
  A& Be16(std::uint16_t type, std::uint16_t host) { return Put(type, ToBe16(host)); }
  A& Nest(std::uint16_t type, const A& inside) {
    AppendAttribute(bytes_, type, inside.bytes_);
    return *this;
  }
  A& Port(std::uint32_t port = 1) { return Put(OVS_KEY_ATTR_IN_PORT, port); }
  A& Type(std::uint16_t type) { return Be16(OVS_KEY_ATTR_ETHERTYPE, type); }
  A& Vlan(std::uint16_t tci) { return Be16(OVS_KEY_ATTR_VLAN, tci); }
  A& Encap(const A& inside) { return Nest(OVS_KEY_ATTR_ENCAP, inside); }
  A& Ipv4(std::uint8_t proto = 0, std::uint8_t frag = 0, std::uint32_t src = 0) {
    return Put(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{src, 0, proto, 0, 0, frag});
  }
  A& Ipv6(std::uint8_t proto = 0, std::uint8_t frag = 0, std::uint32_t label = 0) {
    ovs_key_ipv6 ip{};
    ip.ipv6_proto = proto;
    ip.ipv6_frag = frag;
    ip.ipv6_label = ToBe32(label);
    return Put(OVS_KEY_ATTR_IPV6, ip);
  }
  A& Pair(std::uint16_t type, std::uint16_t src = 0, std::uint16_t dst = 0) {
    return Put(type, ovs_key_tcp{ToBe16(src), ToBe16(dst)});
  }
  A& Icmp(std::uint16_t type, std::uint8_t icmp_type, std::uint8_t code) {
    return Put(type, ovs_key_icmp{icmp_type, code});
  }
  A& Nd(std::uint8_t byte = 0) {
    ovs_key_nd nd;
    std::memset(&nd, byte, sizeof nd);
    return Put(OVS_KEY_ATTR_ND, nd);
  }
  operator Bytes() const { return bytes_; }  // NOLINT: implicit by design.

 private:
  Blob bytes_;
};

Match Decoded(Bytes key, Bytes mask = {}) {
  Result<Match> match = DecodeMatch(key, mask);
  if (!match.ok()) FAIL("refused: " << match.error().message);
  return *match;
}

void CheckRefused(Bytes key, Bytes mask, const char* why) {
  CAPTURE(why);
  const Result<Match> match = DecodeMatch(key, mask);
  REQUIRE_FALSE(match.ok());
  CHECK(match.error().number == EINVAL);
  CAPTURE(match.error().message);
  CHECK(match.error().message.find(why) != std::string::npos);
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

// Takes bits out of an exact mask, but none that something else needs.
FlowMask Loosened(const Flow& key, std::mt19937_64& random) {
  FlowMask mask = ExactMask(key);
  const auto sometimes = [&](auto& field) {
    std::array<std::uint8_t, sizeof field> bits;
    std::memcpy(bits.data(), &field, sizeof field);
    switch (random() % 3) {
      case 0:
        break;
      case 1:
        bits.fill(0);
        break;
      default:
        for (std::uint8_t& byte : bits) byte &= static_cast<std::uint8_t>(random());
    }
    std::memcpy(&field, bits.data(), sizeof field);
    return std::all_of(bits.begin(), bits.end(), [](std::uint8_t byte) { return byte == 0; });
  };
  sometimes(mask.eth_dst);
  sometimes(mask.eth_src);
  for (std::size_t i = 0; i < kMaxVlanTags; ++i) {
    // Untagged is matched wholly or not at all; in a tag every bit may be left out.
    if (key.vlans[i].tci == 0 && random() % 2 == 0) mask.vlans[i] = {};
    if (key.vlans[i].tci != 0) {
      sometimes(mask.vlans[i].tpid);
      sometimes(mask.vlans[i].tci);
    }
  }
  // From the top down: a layer that nothing looks at need not be known.
  bool free = true;
  Flow bits = mask;
  for (auto* field : {&mask.tp_dst, &mask.tcp_flags}) free &= sometimes(*field);
  free &= sometimes(mask.nd_target);
  free &= sometimes(mask.arp_sha);
  free &= sometimes(mask.arp_tha);
  bits = mask;
  const bool nd = IsNd(key) && !free;
  if (!nd)
    free &= sometimes(mask.tp_src);
  else
    free = false;
  if (Layer3Of(key) == Layer3::kArp || free) free &= sometimes(mask.nw_proto);
  if (random() % 2 == 0) mask.nw_frag = 0;
  free &= mask.nw_frag == 0 && mask.nw_proto == 0;
  free &= sometimes(mask.nw_tos);
  free &= sometimes(mask.nw_ttl);
  free &= sometimes(mask.ipv4_src);
  free &= sometimes(mask.ipv4_dst);
  free &= sometimes(mask.ipv6_src);
  free &= sometimes(mask.ipv6_dst);
  free &= sometimes(mask.ipv6_label);
  if (free) sometimes(mask.eth_type);
  // ICMP type and code: eight bits, widened when exact.
  if (Layer4Of(key) == Layer4::kIcmp || Layer4Of(key) == Layer4::kIcmpv6) {
    for (auto* field : {&mask.tp_src, &mask.tp_dst}) {
      const std::uint16_t low = FromBe16(*field) & 0xff;
      *field = low == 0xff ? 0xffff : ToBe16(low);
    }
  }
  return mask;
}

TEST_CASE("netlink: masks survive the round trip") {
  std::mt19937_64 random(5);
  const auto frames = test::EveryKind();
  for (int round = 0; round < 50'000; ++round) {
    const auto& kind = frames[random() % frames.size()];
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    const Flow key = KeyOf(frame);
    FlowMask mask = Loosened(key, random);
    CAPTURE(name);
    const Blob key_blob = EncodeKey(key, &mask);
    const Blob mask_blob = EncodeMask(key, mask);
    const Result<Match> match = DecodeMatch(key_blob, mask_blob);
    if (!match.ok()) FAIL("refused: " << match.error().message);
    // A mask that looks at the absence of an outer tag looks at the inner one's too: no tag, no
    // inner tag.
    if (mask.vlans[0].tci != 0 && key.vlans[0].tci == 0) mask.vlans[1] = mask.vlans[0];
    for (std::size_t i = 0; i < kFlowWords; ++i) {
      CAPTURE(i);
      REQUIRE(ToWords(match.value().mask)[i] == ToWords(mask)[i]);
    }
    REQUIRE(match.value().key == ApplyMask(key, mask));
    // What was decoded encodes to the same again, from the masked key alone.
    const Match again = Decoded(EncodeKey(match.value().key, &match.value().mask),
                                EncodeMask(match.value().key, match.value().mask));
    REQUIRE(again.key == match.value().key);
    REQUIRE(again.mask == match.value().mask);
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
  SUBCASE("a mask without vlan: tagged or not") {
    const Match match = Decoded(A().Port().Type(0x8100).Vlan(0x1005).Encap(udp),
                                A().Port(UINT32_MAX).Encap(A().Type(0xffff)));
    CHECK(match.mask.vlans[0].tci == 0);
    CHECK(match.mask.eth_type == UINT16_MAX);
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
    CheckRefused(port().Put(OVS_KEY_ATTR_MPLS, 1), none,
                 "\"mpls\" in flow key is not supported yet");
    CheckRefused(port().Put(OVS_KEY_ATTR_TUNNEL, 1), none, "\"tunnel\"");
    CheckRefused(port().Put(OVS_KEY_ATTR_CT_STATE, 1), none, "\"ct_state\"");
    CheckRefused(port(), A(exact_port).Put(OVS_KEY_ATTR_CT_MARK, 1), "\"ct_mark\" in flow mask");
    CheckRefused(port().Port(), none, "duplicate \"in_port\"");
    CheckRefused(port().Type(1).Type(1), none, "duplicate \"eth_type\"");
    CheckRefused(port(), A(exact_port).Port(), "duplicate \"in_port\" in flow mask");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(A().Type(1).Type(1)), none,
                 "duplicate \"eth_type\"");
  }
  SUBCASE("lengths of every attribute") {
    const std::pair<std::uint16_t, std::size_t> kSizes[] = {
        {OVS_KEY_ATTR_RECIRC_ID, 4}, {OVS_KEY_ATTR_DP_HASH, 4},     {OVS_KEY_ATTR_PRIORITY, 4},
        {OVS_KEY_ATTR_SKB_MARK, 4},  {OVS_KEY_ATTR_PACKET_TYPE, 4}, {OVS_KEY_ATTR_ETHERNET, 12},
        {OVS_KEY_ATTR_ETHERTYPE, 2}, {OVS_KEY_ATTR_VLAN, 2},        {OVS_KEY_ATTR_IPV4, 12},
        {OVS_KEY_ATTR_IPV6, 40},     {OVS_KEY_ATTR_TCP, 4},         {OVS_KEY_ATTR_UDP, 4},
        {OVS_KEY_ATTR_SCTP, 4},      {OVS_KEY_ATTR_TCP_FLAGS, 2},   {OVS_KEY_ATTR_ICMP, 2},
        {OVS_KEY_ATTR_ICMPV6, 2},    {OVS_KEY_ATTR_ARP, 24},        {OVS_KEY_ATTR_ND, 28}};
    for (const auto& [type, size] : kSizes) {
      for (std::size_t n : {std::size_t{0}, size - 1, size + 1, size + 400}) {
        Blob blob;
        const Bytes good = exact_port;
        blob.assign(good.begin(), good.end());
        AppendAttribute(blob, type, Blob(n));
        const std::string why =
            "has " + std::to_string(n) + " bytes instead of " + std::to_string(size);
        CheckRefused(blob, none, why.c_str());
        CheckRefused(port(), blob, why.c_str());
      }
    }
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
    CheckRefused(port().Type(0x8100).Vlan(0), none, "cfi=1");
    CheckRefused(port().Type(0x8100).Encap(none), none, "\"encap\" needs \"vlan\"");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Ipv4(), none,
                 "\"ipv4\" beside \"vlan\" belongs into \"encap\"");
    CheckRefused(port().Type(0x8100).Vlan(0x1001).Encap(A().Port()), none,
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
  std::mt19937 random(6);
  const auto frames = test::EveryKind();
  int accepted = 0;
  for (int round = 0; round < 100'000; ++round) {
    const Flow flow = KeyOf(frames[random() % frames.size()].frame);
    Blob key = EncodeKey(flow);
    Blob mask = random() % 2 == 0 ? Blob{} : EncodeMask(flow, ExactMask(flow));
    for (Blob* blob : {&key, &mask}) {
      if (blob->empty()) continue;
      for (std::uint32_t changes = random() % 3; changes > 0; --changes) {
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
    const Match again = Decoded(EncodeKey(m.key, &m.mask), EncodeMask(m.key, m.mask));
    REQUIRE(again.key == m.key);
    REQUIRE(again.mask == m.mask);
  }
  CHECK(accepted > 10'000);
}

}  // namespace
}  // namespace pollux
