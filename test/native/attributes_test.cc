// Every attribute of a match, by table: exact, matched in part, wildcarded, of a wrong size,
// doubled, without what it needs, in the mask alone. Then the attributes inside of "tunnel" and
// "nsh".
#include <doctest/doctest.h>
#include <linux/erspan.h>

#include "attribute_builder.h"
#include "flow/nsh_attributes.h"
#include "flow/tunnel_attributes.h"
#include "packet_builder.h"

namespace pollux {
namespace {

using test::A;
using test::Blob;
using test::BlobOf;
using test::CheckError;
using test::CheckRefused;
using test::Decoded;
using test::PayloadOf;

struct Case {
  std::uint16_t type;
  const char* name;
  Blob value;
  Blob exact;                 // The mask that "no mask at all" stands for.
  Blob partial;               // Some bits, none that something else needs.
  A key, mask;                // What it needs beside it.
  const char* why = nullptr;  // Without.
  bool alone = false;         // May stand in the mask alone.
};

// `n` bytes that are all different.
Blob Count(std::size_t n, std::uint8_t first = 1) {
  Blob blob(n);
  for (std::size_t i = 0; i < n; ++i) blob[i] = static_cast<std::uint8_t>(first + i);
  return blob;
}
Blob Ones(std::size_t n, std::size_t padding = 0) {
  Blob blob(n, 0xff);
  blob.resize(n + padding);
  return blob;
}
// Every third byte of `bits` is zero, every other one has a bit less.
Blob Part(Blob bits) {
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = i % 3 == 2 ? 0 : bits[i] & 0xfe;
  return bits;
}
Blob And(Blob a, const Blob& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] &= b[i];
  return a;
}

Case Metadata(std::uint16_t type, const char* name, Blob value) {
  const Blob ones = Ones(value.size());
  return {type, name, value, ones, Part(ones), {}, {}, nullptr, true};
}

std::vector<Case> EveryAttribute() {
  const A ip4 = A().Type(0x0800);
  const A ip6 = A().Type(0x86dd);
  const A type = A().Type(0xffff);
  const auto over4 = [&](std::uint8_t proto) { return A(ip4).Ipv4(proto); };
  const auto over6 = [&](std::uint8_t proto) { return A(ip6).Ipv6(proto); };
  const A proto4 = A(type).Ipv4(0xff);
  const A proto6 = A(type).Ipv6(0xff);
  const A nd = over6(58).Icmp(OVS_KEY_ATTR_ICMPV6, 135, 0);
  const A nd_mask = A(proto6).Icmp(OVS_KEY_ATTR_ICMPV6, 0xff, 0);

  Blob ipv4 = Count(12), ipv4_exact = Ones(12), ipv4_part = Part(Ones(12));
  ipv4[11] = 1;  // The fragment type is matched exactly or not at all.
  ipv4_part[11] = 0xff;
  Blob ipv6 = Count(40), ipv6_exact = Ones(40), ipv6_part = Part(Ones(40));
  const auto label = BlobOf(ToBe32(0x000fffff));
  for (Blob* blob : {&ipv6, &ipv6_exact, &ipv6_part}) {
    for (std::size_t i = 0; i < 4; ++i) (*blob)[32 + i] &= label[i];
  }
  ipv6[39] = 1;
  ipv6_part[39] = 0;
  Blob arp = Count(22), arp_exact = Ones(22, 2), arp_part = Part(Ones(22, 2));
  arp.resize(24);
  arp[8] = 0;  // The operation has eight bits.
  arp_part[8] = 0;

  return {Metadata(OVS_KEY_ATTR_DP_HASH, "dp_hash", Count(4)),
          Metadata(OVS_KEY_ATTR_PRIORITY, "skb_priority", Count(4)),
          Metadata(OVS_KEY_ATTR_SKB_MARK, "skb_mark", Count(4)),
          {OVS_KEY_ATTR_CT_STATE,
           "ct_state",
           BlobOf(0xa5u),
           BlobOf(0xffu),
           BlobOf(0x0fu),
           {},
           {},
           nullptr,
           true},
          Metadata(OVS_KEY_ATTR_CT_ZONE, "ct_zone", Count(2)),
          Metadata(OVS_KEY_ATTR_CT_MARK, "ct_mark", Count(4)),
          Metadata(OVS_KEY_ATTR_CT_LABELS, "ct_label", Count(16)),
          {OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, "ct_tuple4", And(Count(16), Ones(13, 3)), Ones(13, 3),
           Part(Ones(13, 3)), ip4, type, "\"ct_tuple4\" needs an exact \"eth_type(0x0800)\""},
          {OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, "ct_tuple6", And(Count(40), Ones(37, 3)), Ones(37, 3),
           Part(Ones(37, 3)), ip6, type, "\"ct_tuple6\" needs an exact \"eth_type(0x86dd)\""},
          {kKeyAttrPacketType,
           "packet_type",
           BlobOf(ToBe32(0)),
           Ones(4),
           BlobOf(ToBe32(0xffff00ff)),
           {},
           {},
           nullptr,
           true},
          {OVS_KEY_ATTR_ETHERNET, "eth", Count(12), Ones(12), Part(Ones(12)), {}, {}},
          {OVS_KEY_ATTR_MPLS, "mpls", Count(8, 2), Ones(8), Part(Ones(8)), A().Type(0x8847), type,
           "\"mpls\" needs an exact \"eth_type(0x8847)\""},
          {OVS_KEY_ATTR_IPV4, "ipv4", ipv4, ipv4_exact, ipv4_part, ip4, type,
           "\"ipv4\" needs an exact \"eth_type(0x0800)\""},
          {OVS_KEY_ATTR_IPV6, "ipv6", ipv6, ipv6_exact, ipv6_part, ip6, type,
           "\"ipv6\" needs an exact \"eth_type(0x86dd)\""},
          {OVS_KEY_ATTR_ARP, "arp", arp, arp_exact, arp_part, A().Type(0x0806), type,
           "\"arp\" needs an exact \"eth_type(0x0806)\" or \"eth_type(0x8035)\""},
          {OVS_KEY_ATTR_TCP, "tcp", Count(4), Ones(4), Part(Ones(4)), over4(6), proto4,
           "\"tcp\" needs an exact \"ipv4(proto=6)\" or \"ipv6(proto=6)\""},
          {OVS_KEY_ATTR_TCP_FLAGS, "tcp_flags", BlobOf(ToBe16(0x0a5)), BlobOf(ToBe16(0xfff)),
           BlobOf(ToBe16(0x80f)), over6(6), proto6, "\"tcp_flags\" needs an exact"},
          {OVS_KEY_ATTR_UDP, "udp", Count(4), Ones(4), Part(Ones(4)), over6(17), proto6,
           "\"udp\" needs an exact \"ipv4(proto=17)\" or \"ipv6(proto=17)\""},
          {OVS_KEY_ATTR_SCTP, "sctp", Count(4), Ones(4), Part(Ones(4)), over4(132), proto4,
           "\"sctp\" needs an exact \"ipv4(proto=132)\" or \"ipv6(proto=132)\""},
          {OVS_KEY_ATTR_ICMP, "icmp", Count(2), Ones(2), Part(Ones(2)), over4(1), proto4,
           "\"icmp\" needs an exact \"ipv4(proto=1)\""},
          {OVS_KEY_ATTR_ICMPV6, "icmpv6", Count(2), Ones(2), Part(Ones(2)), over6(58), proto6,
           "\"icmpv6\" needs an exact \"ipv6(proto=58)\""},
          {OVS_KEY_ATTR_ND, "nd", Count(28), Ones(28), Part(Ones(28)), nd, nd_mask,
           "\"nd\" needs an exact \"icmpv6(type=135,code=0)\" or \"icmpv6(type=136,code=0)\""},
          {kKeyAttrNdExtensions, "nd_ext", And(Count(8), Ones(5, 3)), Ones(5, 3), Part(Ones(5, 3)),
           nd, nd_mask, "\"nd_ext\" needs an exact \"icmpv6(type=135,code=0)\""}};
}

// Where attributes may stand.
struct Place {
  A key, mask;  // A whole match around them.
};
Place Outside(const A& key, const A& mask) {
  return {A().Port().Append(key), A().Port(UINT32_MAX).Append(mask)};
}
Place InTag(const A& key, const A& mask) {
  return {A().Port().Type(0x8100).Vlan(0x1005).Encap(key),
          A().Port(UINT32_MAX).Type(0xffff).Vlan(0xffff).Encap(mask)};
}
using Around = Place (*)(const A& key, const A& mask);

bool Same(const Match& a, const Match& b) { return a.key == b.key && a.mask == b.mask; }

void CheckCase(const Case& c, Around around) {
  const auto key = [&](std::optional<Blob> value, bool needs = true) {
    A inside = needs ? c.key : A();
    if (value.has_value()) inside.Add(c.type, *value);
    return around(inside, A()).key;
  };
  const auto mask = [&](std::optional<Blob> value, bool needs = true) {
    A inside = needs ? c.mask : A();
    if (value.has_value()) inside.Add(c.type, *value);
    return around(A(), inside).mask;
  };
  const auto encoded = [&](const Match& match) {
    CHECK(
        Same(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match));
    return std::pair(PayloadOf(EncodeKey(match.key, &match.mask), c.type),
                     PayloadOf(EncodeMask(match.key, match.mask), c.type));
  };
  const Match without = Decoded(key({}), mask({}));
  const Blob none(c.value.size());

  // No mask at all.
  CHECK(encoded(Decoded(key(c.value))) ==
        std::pair(std::optional(c.value), std::optional(c.exact)));
  // Exact, in part, not at all.
  CHECK(encoded(Decoded(key(c.value), mask(c.exact))) ==
        std::pair(std::optional(c.value), std::optional(c.exact)));
  CHECK(Same(Decoded(key(c.value), mask(Ones(c.value.size()))),
             Decoded(key(c.value), mask(c.exact))));
  CHECK(encoded(Decoded(key(c.value), mask(c.partial))) ==
        std::pair(std::optional(And(c.value, c.partial)), std::optional(c.partial)));
  CHECK(Same(Decoded(key(c.value), mask(none)), without));
  CHECK(Same(Decoded(key(c.value), mask({})), without));
  // In the mask alone: as zero, or nothing of the kind.
  CHECK(Same(Decoded(key({}), mask(none)), without));
  if (c.alone) {
    CHECK(encoded(Decoded(key({}), mask(c.partial))) ==
          std::pair(std::optional(none), std::optional(c.partial)));
  } else {
    CheckRefused(key({}), mask(c.partial),
                 '"' + std::string(c.name) + "\" is in the mask but not in the flow key");
  }
  // What it needs: in the key in any case, in the mask if it matters.
  if (c.why != nullptr) {
    CheckRefused(key(c.value, false), {}, c.why);
    CheckRefused(key(c.value, false), mask(none, false), c.why);
    CheckRefused(key(c.value), mask(c.partial, false), c.why);
    CHECK(Decoded(key(c.value), mask(none, false)).mask.in_port == UINT32_MAX);
  }
  // Sizes.
  for (const std::size_t n :
       {std::size_t{0}, c.value.size() - 1, c.value.size() + 1, c.value.size() + 400}) {
    const std::string why = '"' + std::string(c.name) + "\" in flow ";
    const std::string has = " has " + std::to_string(n) + " bytes";
    CheckRefused(key(Blob(n)), {}, why + "key" + has);
    CheckRefused(key(c.value), mask(Blob(n)), why + "mask" + has);
  }
  // Twice.
  const A twice = A(c.key).Add(c.type, c.value).Add(c.type, c.value);
  const A twice_mask = A(c.mask).Add(c.type, c.partial).Add(c.type, c.partial);
  const std::string why = "duplicate \"" + std::string(c.name) + "\" in flow ";
  CheckRefused(around(twice, A()).key, {}, why + "key");
  CheckRefused(key(c.value), around(A(), twice_mask).mask, why + "mask");
}

TEST_CASE("attributes: every one, by itself") {
  for (const Case& c : EveryAttribute()) {
    CAPTURE(std::string(c.name));
    CheckCase(c, Outside);
  }
}

TEST_CASE("attributes: every one inside of a tag, if it belongs there") {
  for (const Case& c : EveryAttribute()) {
    CAPTURE(std::string(c.name));
    const bool belongs_outside = c.alone || c.type == OVS_KEY_ATTR_ETHERNET ||
                                 c.type == OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 ||
                                 c.type == OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6;
    if (!belongs_outside) {
      CheckCase(c, InTag);
      CheckRefused(A().Port().Type(0x8100).Vlan(0x1005).Add(c.type, c.value), {},
                   '"' + std::string(c.name) + "\" beside \"vlan\" belongs into \"encap\"");
      continue;
    }
    const A inside = A(c.key).Add(c.type, c.value);
    CheckRefused(InTag(inside, A()).key, {},
                 '"' + std::string(c.name) + "\" does not belong into \"encap\"");
    CheckRefused(InTag(c.key, A()).key, InTag(A(), A(c.mask).Add(c.type, c.value)).mask,
                 '"' + std::string(c.name) + "\" ");
  }
}

TEST_CASE("attributes: a key cut at any byte is refused or a shorter key") {
  for (const Case& c : EveryAttribute()) {
    CAPTURE(std::string(c.name));
    const Blob whole = A().Port().Append(c.key).Add(c.type, c.value).blob();
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const Blob cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      const Result<Match> match = DecodeMatch(cut, {});
      if (!match.ok()) CHECK(match.error().number == EINVAL);
      if (n > 0 && n < 8) CHECK_FALSE(match.ok());
    }
  }
}

TEST_CASE("attributes: connection tracking") {
  CheckRefused(A().Port().Put(OVS_KEY_ATTR_CT_STATE, 0x100u), {}, "\"ct_state\" has 8 bits");
  const ovs_key_ct_tuple_ipv4 four{};
  const ovs_key_ct_tuple_ipv6 six{};
  CheckRefused(A().Port()
                   .Type(0x0800)
                   .Put(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, four)
                   .Put(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, six),
               {}, "exclude each other");
  CheckRefused(A().Port().Type(0x86dd).Put(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, four), {},
               "\"ct_tuple4\" needs an exact");
  CheckRefused(A().Port().Type(0x0800).Put(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6, six), {},
               "\"ct_tuple6\" needs an exact");
  SUBCASE("the tuple stands outside of the tags, the EtherType inside") {
    ovs_key_ct_tuple_ipv4 tuple{};
    tuple.ipv4_src = test::Ip4("10.0.0.1");
    tuple.dst_port = ToBe16(80);
    tuple.ipv4_proto = 6;
    const A tag = A().Type(0x8100).Vlan(0x1005).Encap(A().Type(0x0800));
    const Match match = Decoded(A().Port().Put(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, tuple).Append(tag));
    CHECK(match.key.ct_ipv4_src == test::Ip4("10.0.0.1"));
    CHECK(match.key.ct_tp_dst == ToBe16(80));
    CHECK(match.key.ct_proto == 6);
    CHECK(
        Same(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match));
  }
}

// ------------------------------------------------------------------ tunnel

A Tunnel(const A& inside) { return A().Port().Nest(OVS_KEY_ATTR_TUNNEL, inside); }
A TunnelMask(const A& inside) { return A().Port(UINT32_MAX).Nest(OVS_KEY_ATTR_TUNNEL, inside); }

struct TunnelCase {
  std::uint16_t type;
  const char* name;
  Blob value;
  Blob exact;
  Blob partial;
};

Blob Gbp(std::uint32_t raw) { return A().Put(OVS_VXLAN_EXT_GBP, raw).blob(); }
Blob Erspan(int version, std::uint32_t index) {
  erspan_metadata erspan;
  std::memset(&erspan, 0, sizeof erspan);
  erspan.version = version;
  erspan.u.index = ToBe32(index);
  return BlobOf(erspan);
}
Blob Erspan2(int version, std::uint8_t dir, std::uint8_t hwid) {
  erspan_metadata erspan;
  std::memset(&erspan, 0, sizeof erspan);
  erspan.version = version;
  erspan.u.md2.dir = dir & 1;
  erspan.u.md2.hwid = hwid & 0x0f;
  erspan.u.md2.hwid_upper = hwid >> 4 & 3;
  return BlobOf(erspan);
}

std::vector<TunnelCase> EveryTunnelAttribute() {
  const auto plain = [](std::uint16_t type, const char* name, std::size_t size) {
    return TunnelCase{type, name, Count(size), Ones(size), Part(Ones(size))};
  };
  return {
      plain(OVS_TUNNEL_KEY_ATTR_ID, "tun_id", 8),
      plain(OVS_TUNNEL_KEY_ATTR_IPV4_SRC, "src", 4),
      plain(OVS_TUNNEL_KEY_ATTR_IPV4_DST, "dst", 4),
      plain(OVS_TUNNEL_KEY_ATTR_IPV6_SRC, "ipv6_src", 16),
      plain(OVS_TUNNEL_KEY_ATTR_IPV6_DST, "ipv6_dst", 16),
      {OVS_TUNNEL_KEY_ATTR_TOS, "tos", {0xb9}, {0xff}, {0xfc}},
      {OVS_TUNNEL_KEY_ATTR_TTL, "ttl", {64}, {0xff}, {0xf0}},
      plain(OVS_TUNNEL_KEY_ATTR_TP_SRC, "tp_src", 2),
      plain(OVS_TUNNEL_KEY_ATTR_TP_DST, "tp_dst", 2),
      {OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, "gbp", Gbp(0x00ab1234), Gbp(0x00ffffff), Gbp(0x000ff000)},
      {OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
       "geneve",
       {0x01, 0x02, 0x83, 0x01, 9, 8, 7, 6, 0xff, 0xff, 0x00, 0x00},
       {0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f},
       {0xff, 0x00, 0xf0, 0x1f, 0, 0, 0xff, 0xff, 0x00, 0x00, 0x00, 0x1f}},
      {OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, "erspan", Erspan(1, 0xabcde), Erspan(0xff, UINT32_MAX),
       Erspan(0xff, 0xff)},
      {OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, "erspan", Erspan2(2, 1, 0x2a), Erspan2(0xff, 1, 0x3f),
       Erspan2(0xff, 0, 0x38)},
      {kTunnelAttrGtpuOpts, "gtpu", {0x34, 0xff}, {0xff, 0xff}, {0xf0, 0x01}}};
}

TEST_CASE("tunnel: every attribute, by itself") {
  for (const TunnelCase& c : EveryTunnelAttribute()) {
    CAPTURE(std::string(c.name));
    const A value = A().Add(c.type, c.value);
    const A none = A().Add(c.type, Blob(c.value.size()));
    const auto parts = [&](const Match& match) {
      CHECK(Same(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)),
                 match));
      const auto key = PayloadOf(EncodeKey(match.key, &match.mask), OVS_KEY_ATTR_TUNNEL);
      const auto mask = PayloadOf(EncodeMask(match.key, match.mask), OVS_KEY_ATTR_TUNNEL);
      return std::pair(key.has_value() ? PayloadOf(*key, c.type) : std::nullopt,
                       mask.has_value() ? PayloadOf(*mask, c.type) : std::nullopt);
    };
    // For a set, without a mask.
    const Result<TunnelMetadata> set = DecodeTunnel(value);
    REQUIRE(set.ok());
    CHECK(EncodeTunnel(set.value()) == value.blob());
    // No mask at all: the whole tunnel is matched.
    const Match exact = Decoded(Tunnel(value));
    CHECK(parts(exact) == std::pair(std::optional(c.value), std::optional(c.exact)));
    CHECK(exact.mask.tunnel.ttl == 0xff);
    CHECK(exact.mask.tunnel.flags == kTunnelFlags);
    // Exact, in part, not at all.
    const auto masked = [&](const Blob& bits) {
      return Decoded(Tunnel(value), TunnelMask(A().Add(c.type, bits)));
    };
    CHECK(parts(masked(c.exact)) == std::pair(std::optional(c.value), std::optional(c.exact)));
    CHECK(
        parts(masked(c.partial)) ==
        std::pair(std::optional(c.type == OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS ? Gbp(0x000b1000)
                                                                         : And(c.value, c.partial)),
                  std::optional(c.partial)));
    CHECK(Decoded(Tunnel(value), TunnelMask(A())).mask == Decoded(A().Port()).mask);
    CHECK(Decoded(Tunnel(value), A().Port(UINT32_MAX)).mask == Decoded(A().Port()).mask);
    // In the mask alone: as zero.
    if (c.type != OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS) {
      const A mask = TunnelMask(A().Add(c.type, c.exact));
      const Match zero = Decoded(Tunnel(A()), mask);
      CHECK(IsZero(zero.key.tunnel));
      CHECK_FALSE(IsZero(zero.mask.tunnel));
      CHECK(Same(Decoded(A().Port(), mask), zero));
      CHECK_FALSE(parts(zero).first.has_value());
      CHECK(parts(zero).second.has_value());
    }
    // Sizes, in key and mask and in a set.
    const bool list =
        c.type == OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS || c.type == OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS;
    for (const std::size_t n :
         {std::size_t{0}, c.value.size() - 1, c.value.size() + 1, c.value.size() + 400}) {
      if (list) continue;
      const std::string why = '"' + std::string(c.name) + "\" in \"tunnel\"";
      const std::string has = " has " + std::to_string(n) + " bytes instead of ";
      const A wrong = A().Add(c.type, Blob(n));
      CheckRefused(Tunnel(wrong), {}, why + " of flow key" + has);
      CheckRefused(Tunnel(value), TunnelMask(wrong), why + " of flow mask" + has);
      REQUIRE_FALSE(DecodeTunnel(wrong).ok());
      CheckError(DecodeTunnel(wrong).error(), why + has);
    }
    // Twice.
    const A twice = A(value).Append(value);
    const char* why = "duplicate \"";
    CheckRefused(Tunnel(twice), {}, why);
    CheckRefused(Tunnel(value), TunnelMask(A(none).Append(none)), why);
    REQUIRE_FALSE(DecodeTunnel(twice).ok());
    CheckError(DecodeTunnel(twice).error(), why);
    // Cut anywhere.
    for (std::size_t n = 0; n < value.blob().size(); ++n) {
      const Blob cut(value.blob().begin(), value.blob().begin() + static_cast<std::ptrdiff_t>(n));
      const Result<TunnelMetadata> result = DecodeTunnel(cut);
      // Only padding may be missing.
      if (n > 0 && n < 4 + c.value.size()) CHECK_FALSE(result.ok());
    }
  }
}

TEST_CASE("tunnel: flags") {
  const std::pair<std::uint16_t, std::uint16_t> kFlags[] = {
      {kTunnelDontFragment, OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT},
      {kTunnelChecksum, OVS_TUNNEL_KEY_ATTR_CSUM},
      {kTunnelOam, OVS_TUNNEL_KEY_ATTR_OAM}};
  for (const auto& [flag, type] : kFlags) {
    const auto of = type;  // A lambda cannot capture a structured binding.
    CAPTURE(of);
    const A set = A().Add(type, {});
    CHECK(DecodeTunnel(set)->flags == flag);
    CHECK(EncodeTunnel(*DecodeTunnel(set)) == set.blob());
    // Set, clear, either.
    Match match = Decoded(Tunnel(set), TunnelMask(set));
    CHECK(match.key.tunnel.flags == flag);
    CHECK(match.mask.tunnel.flags == flag);
    match = Decoded(Tunnel(A()), TunnelMask(set));
    CHECK(match.key.tunnel.flags == 0);
    CHECK(match.mask.tunnel.flags == flag);
    CHECK(
        Same(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match));
    CHECK(Decoded(Tunnel(set), TunnelMask(A())).mask.tunnel.flags == 0);
    const A wrong = A().Add(type, Blob(1));
    CheckRefused(Tunnel(wrong), {}, "has 1 bytes instead of 0");
    CheckRefused(Tunnel(A(set).Append(set)), {}, "duplicate \"flags(");
  }
  SUBCASE("there is a key: its attribute") {
    const std::uint64_t zero = 0;
    const A id = A().Put(OVS_TUNNEL_KEY_ATTR_ID, zero);
    CHECK(DecodeTunnel(id)->flags == kTunnelKey);
    Match match = Decoded(Tunnel(id), TunnelMask(id));  // With a key, whichever.
    CHECK(match.key.tunnel.flags == kTunnelKey);
    CHECK(match.mask.tunnel.flags == kTunnelKey);
    CHECK(match.mask.tunnel.id == 0);
    match = Decoded(Tunnel(A()), TunnelMask(id));  // Without.
    CHECK(match.key.tunnel.flags == 0);
    CHECK(match.mask.tunnel.flags == kTunnelKey);
  }
}

TEST_CASE("tunnel: a match of it says nothing of the packet inside") {
  const A ttl = A().Add(OVS_TUNNEL_KEY_ATTR_TTL, Blob{64});
  const A key = A(Tunnel(ttl)).Type(0x0800);
  const Match match = Decoded(key, TunnelMask(ttl));
  CHECK_FALSE(PayloadOf(EncodeKey(match.key, &match.mask), OVS_KEY_ATTR_ETHERTYPE).has_value());
  CHECK_FALSE(PayloadOf(EncodeMask(match.key, match.mask), OVS_KEY_ATTR_ETHERTYPE).has_value());
}

TEST_CASE("tunnel: unknown attributes") {
  for (const std::uint16_t type : {14, 16, 17, 19, 31, 32, 0x3fff}) {
    const std::string why = "unknown attribute " + std::to_string(type) + " in \"tunnel\"";
    CheckRefused(Tunnel(A().Add(type, {})), {}, why + " of flow key");
    CheckRefused(Tunnel(A()), TunnelMask(A().Add(type, {})), why + " of flow mask");
    CheckError(DecodeTunnel(A().Add(type, {})).error(), why);
  }
  CheckRefused(Tunnel(A().Add(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, A().Put(2, 0))), {},
               "unknown attribute 2 in \"vxlan\"");
  CheckRefused(Tunnel(A().Add(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, Blob(3))), {}, "malformed attribute");
  CheckRefused(Tunnel(A().Add(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, A().Add(1, Blob(3)))), {},
               "\"gbp\" in \"vxlan\"");
  CheckRefused(Tunnel(A().Add(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, Gbp(0x01000000))), {},
               "\"vxlan(gbp(flags))\" has 8 bits");
  CHECK(DecodeTunnel(A().Add(OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, {})).ok());
}

TEST_CASE("tunnel: ERSPAN") {
  const auto attribute = [](const Blob& blob) {
    return A().Add(OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS, blob);
  };
  for (const int version : {-1, 0, 3, 0xff, 0x101})
    CheckRefused(Tunnel(attribute(Erspan(version, 1))), {}, "\"erspan(ver)\" must be 1 or 2");
  const Result<TunnelMetadata> two = DecodeTunnel(attribute(Erspan2(2, 1, 0x2a)));
  CHECK(two.value().erspan_direction == 1);
  CHECK(two.value().erspan_hardware == 0x2a);
  CHECK(two.value().erspan_index == 0);
  CHECK(DecodeTunnel(attribute(Erspan(1, 0xfffff)))->erspan_index == ToBe32(0xfffff));
  SUBCASE("with anything the version is matched") {
    const Match match =
        Decoded(Tunnel(attribute(Erspan(1, 0xff))), TunnelMask(attribute(Erspan(0, 0xf0))));
    CHECK(match.mask.tunnel.erspan_version == 0xff);
    CHECK(match.mask.tunnel.erspan_index == ToBe32(0xf0));
    CHECK(match.key.tunnel.erspan_index == ToBe32(0xf0));
  }
  SUBCASE("with nothing it is not") {
    const Match match =
        Decoded(Tunnel(attribute(Erspan(1, 0xff))), TunnelMask(attribute(Blob(12))));
    CHECK(IsZero(match.mask.tunnel));
  }
  SUBCASE("what the version does not have is not matched") {
    const Match match =
        Decoded(Tunnel(attribute(Erspan(1, 0xff))), TunnelMask(attribute(Ones(12))));
    CHECK(match.mask.tunnel.erspan_hardware == 0);
    CHECK(match.mask.tunnel.erspan_direction == 0);
  }
}

TEST_CASE("tunnel: Geneve options") {
  const auto options = [](const Blob& blob) {
    return A().Add(OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS, blob);
  };
  // Of `words` words of data.
  const auto option = [](std::uint8_t words) {
    Blob blob(4 + words * 4, 0xa0);
    blob[3] = words;
    return blob;
  };
  SUBCASE("every length of one option") {
    for (std::uint8_t words = 0; words < 32; ++words) {
      const Result<TunnelMetadata> tunnel = DecodeTunnel(options(option(words)));
      REQUIRE(tunnel.ok());
      CHECK(tunnel.value().options_size == 4 + words * 4);
    }
  }
  SUBCASE("every total length; lengths that lie") {
    for (std::size_t size = 0; size <= 300; ++size) {
      CAPTURE(size);
      Blob blob;
      while (blob.size() + 4 <= size) {
        const Blob one = option(
            static_cast<std::uint8_t>(std::min<std::size_t>((size - blob.size() - 4) / 4, 31)));
        blob.insert(blob.end(), one.begin(), one.end());
      }
      blob.resize(size);
      const Result<TunnelMetadata> tunnel = DecodeTunnel(options(blob));
      CHECK(tunnel.ok() == (size <= 252 && size % 4 == 0));
      if (!tunnel.ok()) CHECK(tunnel.error().message.find("\"geneve\"") != std::string::npos);
    }
    for (std::uint8_t words = 0; words < 32; ++words) {
      for (std::size_t size = 4; size <= 128; size += 4) {
        Blob blob(size);
        blob[3] = words;
        // What follows a short option is zeros: options without data.
        CHECK(DecodeTunnel(options(blob)).ok() == (4 + words * 4u <= size));
      }
    }
  }
  SUBCASE("reserved bits are not kept, nor matched") {
    Blob reserved = option(1);
    reserved[3] |= 0xe0;
    CHECK(DecodeTunnel(options(reserved))->options[3] == 1);
    CHECK(Same(Decoded(Tunnel(options(reserved))), Decoded(Tunnel(options(option(1))))));
    Blob mask(8);
    mask[3] = 0xff;
    CHECK(Decoded(Tunnel(options(reserved)), TunnelMask(options(mask))).mask.tunnel.options[3] ==
          0x1f);
  }
  SUBCASE("in a mask they mean at least their number and lengths") {
    const Match match = Decoded(Tunnel(options(option(2))), TunnelMask(options(Blob(12))));
    CHECK(match.mask.tunnel.options_size == 0xff);
    CHECK(match.mask.tunnel.options[3] == 0x1f);
    CHECK(match.mask.tunnel.options[0] == 0);
    CHECK(match.key.tunnel.options_size == 12);
    CHECK(match.key.tunnel.options[3] == 2);
    const Match none = Decoded(Tunnel(A()), TunnelMask(options({})));
    CHECK(none.mask.tunnel.options_size == 0xff);
    CHECK(none.key.tunnel.options_size == 0);
    CHECK(Same(Decoded(EncodeKey(none.key, &none.mask), EncodeMask(none.key, none.mask)), none));
  }
  SUBCASE("key and mask have the same options") {
    for (std::size_t size : {0, 8, 16})
      CheckRefused(Tunnel(options(option(2))), TunnelMask(options(Blob(size))), "in the key 12");
    CheckRefused(Tunnel(A()), TunnelMask(options(Blob(4))), "in the key 0");
  }
}

// ------------------------------------------------------------------ NSH

A Nsh(const A& inside) { return A().Port().Type(0x894f).Nest(OVS_KEY_ATTR_NSH, inside); }
A NshMask(const A& inside) {
  return A().Port(UINT32_MAX).Type(0xffff).Nest(OVS_KEY_ATTR_NSH, inside);
}
A Base(std::uint8_t flags, std::uint8_t ttl, std::uint8_t mdtype, std::uint8_t np = 3,
       std::uint32_t path = 0x123456fe) {
  return A().Put(OVS_NSH_KEY_ATTR_BASE, ovs_nsh_key_base{flags, ttl, mdtype, np, ToBe32(path)});
}
A Context(const Blob& blob) { return A().Add(OVS_NSH_KEY_ATTR_MD1, blob); }

TEST_CASE("nsh: matches") {
  const A whole = Base(2, 63, 1).Append(Context(Count(16)));
  const auto parts = [](const Match& match) {
    CHECK(
        Same(Decoded(EncodeKey(match.key, &match.mask), EncodeMask(match.key, match.mask)), match));
    return std::pair(PayloadOf(EncodeKey(match.key, &match.mask), OVS_KEY_ATTR_NSH),
                     PayloadOf(EncodeMask(match.key, match.mask), OVS_KEY_ATTR_NSH));
  };
  const A ones = Base(0xff, 0xff, 0xff, 0xff, UINT32_MAX).Append(Context(Ones(16)));
  SUBCASE("exact") {
    for (const Match& match :
         {Decoded(Nsh(whole)), Decoded(Nsh(whole), NshMask(ones)),
          Decoded(Nsh(whole),
                  NshMask(Base(3, 63, 0xff, 0xff, UINT32_MAX).Append(Context(Ones(16)))))}) {
      CHECK(parts(match) == std::pair(std::optional(whole.blob()), std::optional(ones.blob())));
      CHECK(match.key.nsh.flags == 2);
      CHECK(match.key.nsh.ttl == 63);
      CHECK(match.key.nsh.np == 3);
      CHECK(match.key.nsh.path == ToBe32(0x123456fe));
      CHECK(match.key.nsh.context[3] == ToBe32(0x0d0e0f10));
    }
  }
  SUBCASE("in part") {
    const A bits = Base(1, 0x30, 0xff, 0, 0xffffff00).Append(Context(Part(Ones(16))));
    const A values =
        Base(0, 0x30, 1, 0, 0x12345600).Append(Context(And(Count(16), Part(Ones(16)))));
    CHECK(parts(Decoded(Nsh(whole), NshMask(bits))) ==
          std::pair(std::optional(values.blob()), std::optional(bits.blob())));
  }
  SUBCASE("not at all") {
    const FlowMask nothing =
        Decoded(A().Port().Type(0x894f), A().Port(UINT32_MAX).Type(0xffff)).mask;
    for (const A& mask : {A(), Base(0, 0, 0, 0, 0), Base(0, 0, 0, 0, 0).Append(Context(Blob(16)))})
      CHECK(Decoded(Nsh(whole), NshMask(mask)).mask == nothing);
    CHECK(Decoded(Nsh(whole), A().Port(UINT32_MAX).Type(0xffff)).mask == nothing);
  }
  SUBCASE("metadata of another type is not matched") {
    const A zeros = Base(0, 1, 2).Append(Context(Blob(16)));
    CHECK(Same(Decoded(Nsh(zeros)), Decoded(Nsh(Base(0, 1, 2)))));
    CHECK(Same(Decoded(Nsh(zeros), NshMask(ones)), Decoded(Nsh(Base(0, 1, 2)))));
    const Match match = Decoded(Nsh(Base(0, 1, 2)));
    CHECK(match.mask.nsh.mdtype == 0xff);
    CHECK(match.mask.nsh.context == std::array<Be32, 4>{});
  }
  SUBCASE("refused") {
    CheckRefused(A().Port().Nest(OVS_KEY_ATTR_NSH, whole), {},
                 "\"nsh\" needs an exact \"eth_type(0x894f)\"");
    CheckRefused(Nsh(whole), A().Port(UINT32_MAX).Nest(OVS_KEY_ATTR_NSH, ones),
                 "\"nsh\" needs an exact");
    CheckRefused(Nsh(Base(4, 0, 1)), {}, "\"nsh(flags)\" has 2 bits");
    CheckRefused(Nsh(Base(0, 64, 1)), {}, "\"nsh(ttl)\" has 6 bits");
    const char* need = "need an exact \"nsh(mdtype=1)\"";
    CheckRefused(Nsh(Context(Count(16))), {}, need);
    CheckRefused(Nsh(Base(0, 0, 2).Append(Context(Count(16)))), {}, need);
    CheckRefused(Nsh(whole), NshMask(Base(0xff, 0xff, 0xfe).Append(Context(Ones(16)))), need);
    CheckRefused(Nsh(whole), NshMask(Context(Ones(16))), need);
    CheckRefused(Nsh(Base(0, 0, 2)), NshMask(ones), "md1 is in the mask but not in the flow key");
    CheckRefused(Nsh(A()), NshMask(Base(1, 0, 0)), "base is in the mask but not in the flow key");
    CheckRefused(A().Port().Type(0x894f), NshMask(ones),
                 "\"nsh\" is in the mask but not in the flow key");
    CheckRefused(Nsh(A(whole).Add(OVS_NSH_KEY_ATTR_MD2, Blob(4))), {}, "type 2 cannot be matched");
    CheckRefused(Nsh(whole), NshMask(A().Add(OVS_NSH_KEY_ATTR_MD2, Blob(4))),
                 "type 2 cannot be matched");
    for (const std::size_t n : {0, 7, 9, 16})
      CheckRefused(Nsh(A().Add(OVS_NSH_KEY_ATTR_BASE, Blob(n))), {},
                   "\"base\" in \"nsh\" of flow key has");
    for (const std::size_t n : {0, 15, 17, 32})
      CheckRefused(Nsh(whole), NshMask(Context(Blob(n))), "\"md1\" in \"nsh\" of flow mask has");
    CheckRefused(Nsh(A(whole).Append(whole)), {}, "duplicate \"base\"");
    CheckRefused(Nsh(A().Add(4, {})), {}, "unknown attribute 4 in \"nsh\"");
    CheckRefused(Nsh(A().Add(0, {})), {}, "unknown attribute 0 in \"nsh\"");
    CheckRefused(A().Port().Type(0x894f).Add(OVS_KEY_ATTR_NSH, Blob(3)), {},
                 "malformed attribute in \"nsh\"");
  }
}

TEST_CASE("nsh: headers to push") {
  const auto refused = [](const A& attributes, const char* why) {
    const Result<PushedNsh> nsh = DecodeNsh(attributes);
    REQUIRE_FALSE(nsh.ok());
    CheckError(nsh.error(), why);
  };
  const Result<PushedNsh> one = DecodeNsh(Base(1, 2, 1, 4).Append(Context(Count(16))));
  REQUIRE(one.ok());
  CHECK(one.value().fields.flags == 1);
  CHECK(one.value().fields.ttl == 2);
  CHECK(one.value().fields.np == 4);
  CHECK(one.value().fields.context[0] == ToBe32(0x01020304));
  CHECK(one.value().metadata.empty());
  for (std::size_t size = 0; size <= 252; ++size) {
    const Result<PushedNsh> two = DecodeNsh(Base(0, 1, 2).Add(OVS_NSH_KEY_ATTR_MD2, Count(size)));
    CHECK(two.ok() == (size <= 244 && size % 4 == 0));
    if (two.ok()) CHECK(two.value().metadata == Count(size));
  }
  CHECK(DecodeNsh(Base(0, 1, 2)).ok());
  refused({}, "needs its base");
  refused(Context(Count(16)), "needs its base");
  refused(Base(0, 1, 1), "if and only if");
  refused(Base(0, 1, 2).Append(Context(Count(16))), "if and only if");
  refused(Base(0, 1, 1).Append(Context(Count(16))).Add(OVS_NSH_KEY_ATTR_MD2, {}),
          "needs \"mdtype=2\"");
  for (const std::uint8_t mdtype : {0, 3, 255}) refused(Base(0, 1, mdtype), "must be 1 or 2");
  refused(Base(4, 1, 2), "2 bits");
  refused(Base(0, 64, 2), "6 bits");
  refused(Base(0, 1, 2).Append(Base(0, 1, 2)), "duplicate");
  refused(A().Add(OVS_NSH_KEY_ATTR_BASE, Blob(7)), "has 7 bytes instead of 8");
  refused(A().Add(9, {}), "unknown attribute 9");
}

TEST_CASE("nsh: values with their masks") {
  const auto both = [](std::uint16_t type, const Blob& value, const Blob& mask) {
    Blob blob = value;
    blob.insert(blob.end(), mask.begin(), mask.end());
    return A().Add(type, blob);
  };
  const auto base = [](std::uint8_t flags, std::uint8_t ttl, std::uint32_t path) {
    return BlobOf(ovs_nsh_key_base{flags, ttl, 0, 0, ToBe32(path)});
  };
  const Result<NshMatch> set =
      DecodeMaskedNsh(both(OVS_NSH_KEY_ATTR_BASE, base(1, 60, 0x100), base(3, 0x3c, 0xffffff00))
                          .Append(both(OVS_NSH_KEY_ATTR_MD1, Count(16), Part(Ones(16)))));
  REQUIRE(set.ok());
  CHECK(set.value().key.ttl == 60);
  CHECK(set.value().mask.ttl == 0x3c);
  CHECK(set.value().mask.flags == 0xff);
  CHECK(set.value().mask.path == ToBe32(0xffffff00));
  CHECK(set.value().key.context[0] == ToBe32(0x01020304));
  CHECK(set.value().mask.context[0] == ToBe32(0xfefe00fe));
  CHECK(IsZero(DecodeMaskedNsh({})->mask));
  const auto refused = [](const A& attributes, const char* why) {
    const Result<NshMatch> nsh = DecodeMaskedNsh(attributes);
    REQUIRE_FALSE(nsh.ok());
    CheckError(nsh.error(), why);
  };
  refused(Base(1, 1, 1), "has 8 bytes instead of 16");
  refused(Context(Count(16)), "has 16 bytes instead of 32");
  refused(both(OVS_NSH_KEY_ATTR_BASE, base(4, 0, 0), base(0, 0, 0)), "2 bits");
  refused(A().Add(OVS_NSH_KEY_ATTR_MD2, {}), "type 2 cannot be matched or set");
}

}  // namespace
}  // namespace pollux
