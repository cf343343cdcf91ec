// Sets: a rewritten frame equals the frame that was built with the new values, checksums and all.
#include <random>

#include "actions_testbed.h"

namespace pollux::test {
namespace {

// ---- Sets of some fields; the others are not in the mask.

Actions SetMacs(const char* src, const char* dst) {
  ovs_key_ethernet key{};
  std::memcpy(key.eth_src, Mac(src).data(), 6);
  std::memcpy(key.eth_dst, Mac(dst).data(), 6);
  return Actions().Set(OVS_KEY_ATTR_ETHERNET, key);
}
Actions Set4(const char* src, const char* dst, std::uint8_t tos, std::uint8_t ttl) {
  return Actions().SetMasked(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{Ip4(src), Ip4(dst), 0, tos, ttl, 0},
                             ovs_key_ipv4{UINT32_MAX, UINT32_MAX, 0, 0xff, 0xff, 0});
}
ovs_key_ipv6 Key6(const char* src, const char* dst, std::uint8_t traffic_class, std::uint8_t limit,
                  std::uint32_t label) {
  ovs_key_ipv6 key{};
  std::memcpy(key.ipv6_src, Ip6(src).data(), 16);
  std::memcpy(key.ipv6_dst, Ip6(dst).data(), 16);
  key.ipv6_tclass = traffic_class;
  key.ipv6_hlimit = limit;
  key.ipv6_label = ToBe32(label);
  return key;
}
Actions Set6(const char* src, const char* dst, std::uint8_t traffic_class, std::uint8_t limit,
             std::uint32_t label) {
  const char* ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  return Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6(src, dst, traffic_class, limit, label),
                             Key6(ones, ones, 0xff, 0xff, 0xfffff));
}
Actions SetPorts(std::uint16_t field, std::uint16_t src, std::uint16_t dst) {
  return Actions().Set(field, ovs_key_tcp{ToBe16(src), ToBe16(dst)});
}
Actions SetTcp(std::uint16_t src, std::uint16_t dst) {
  return SetPorts(OVS_KEY_ATTR_TCP, src, dst);
}
Actions SetUdp(std::uint16_t src, std::uint16_t dst) {
  return SetPorts(OVS_KEY_ATTR_UDP, src, dst);
}
Actions SetSctp(std::uint16_t src, std::uint16_t dst) {
  return SetPorts(OVS_KEY_ATTR_SCTP, src, dst);
}

TEST_CASE("set: Ethernet") {
  CHECK(After(SetMacs("02:11:11:11:11:11", "02:22:22:22:22:22"),
              EthernetFrame().Payload(9).Build()) ==
        EthernetFrame("02:22:22:22:22:22", "02:11:11:11:11:11").Payload(9).Build());
  ovs_key_ethernet some{};
  some.eth_src[5] = 0x0f;
  ovs_key_ethernet all;
  std::memset(&all, 0xff, sizeof all);
  CHECK(After(Actions().SetMasked(OVS_KEY_ATTR_ETHERNET, all, some), EthernetFrame().Build()) ==
        EthernetFrame("02:00:00:00:00:02", "02:00:00:00:00:0f").Build());
}

TEST_CASE("set: IPv4 addresses, tos, ttl; every protocol's checksum follows") {
  const Actions set = Set4("192.168.255.254", "255.255.255.255", 0xfe, 1);
  const auto build = [](const char* src, const char* dst, std::uint8_t tos, std::uint8_t ttl,
                        int kind) {
    EthernetFrame f;
    if (kind & 1) f.Vlan(7);
    if (kind == 6) f.Snap();
    f.Ipv4(src, dst, {.tos = tos, .ttl = ttl, .options = kind & 2 ? 12u : 0u, .protocol = 47});
    switch (kind) {
      case 0:
      case 1:
        return f.Tcp(1, 2, 0x10, 4).Payload(33).Build();
      case 2:
      case 3:
        return f.Udp(1, 2).Payload(32).Build();
      case 4:
        return f.Udp(1, 2, false).Payload(7).Build();
      case 5:
        return f.Icmp(8, 0).Payload(3).Build();
      case 6:
        return f.Sctp(1, 2).Padding(20).Build();
      default:
        return f.Payload(9).Build();
    }
  };
  for (int kind = 0; kind < 8; ++kind) {
    CAPTURE(kind);
    CHECK(After(set, build("10.0.0.1", "10.0.0.2", 0, 64, kind)) ==
          build("192.168.255.254", "255.255.255.255", 0xfe, 1, kind));
  }
}

TEST_CASE("set: IPv6") {
  const Actions set = Set6("2001:db8:ffff::1", "fe80::ffff", 0xfd, 2, 0xfedcb);
  const auto build = [](const char* src, const char* dst, const Ip6Fields& fields, int kind) {
    EthernetFrame f;
    if (kind == 1) f.Vlan(1).Vlan(2);
    f.Ipv6(src, dst, fields);
    switch (kind) {
      case 0:
        return f.Tcp(1, 2).Payload(33).Build();
      case 1:
        return f.Udp(1, 2).Payload(32).Build();
      case 2:
        return f.Icmp(135, 0).NdTarget("fe80::1").NdOption(1, 1, "02:00:00:00:00:0a").Build();
      case 3:
        return f.Options(0).Options(60, 2).Authentication().Tcp(1, 2).Payload(4).Build();
      case 4:
        return f.Udp(1, 2, false).Build();
      case 5:
        return f.Fragment(0, true).Udp(3, 4).Payload(16).Build();
      case 6:
        return f.Routing(0).Tcp(3, 4).Build();
      case 7:
        // The checksum is over the last segment, not over the destination.
        return f.Routing(1).Tcp(3, 4).Build();
      case 8:
        return f.Fragment(0, false).Udp(3, 4).Payload(16).Build();
      default:
        return f.Payload(9).Build();
    }
  };
  for (int kind = 0; kind < 10; ++kind) {
    CAPTURE(kind);
    CHECK(After(set, build("2001:db8::1", "2001:db8::2", {}, kind)) ==
          build("2001:db8:ffff::1", "fe80::ffff",
                {.traffic_class = 0xfd, .hop_limit = 2, .label = 0xfedcb}, kind));
  }
}

TEST_CASE("set: IPv6 class and label leave each other and the version alone") {
  const Actions tos = Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6("::", "::", 0x5a, 0, 0),
                                          Key6("::", "::", 0xff, 0, 0));
  const Actions label = Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6("::", "::", 0, 0, 0x00f0f),
                                            Key6("::", "::", 0, 0, 0x00fff));
  const auto build = [](std::uint8_t traffic_class, std::uint32_t bits) {
    return V6({.traffic_class = traffic_class, .label = bits}).Udp(1, 2).Build();
  };
  CHECK(After(tos, build(0xff, 0xabcde)) == build(0x5a, 0xabcde));
  CHECK(After(label, build(0xff, 0xabcde)) == build(0xff, 0xabf0f));
}

TEST_CASE("set: ports") {
  CHECK(After(SetTcp(0xffff, 0), V4().Tcp(1, 2).Payload(5).Build()) ==
        V4().Tcp(0xffff, 0).Payload(5).Build());
  CHECK(After(SetUdp(7, 8), V4().Udp(1, 2).Payload(5).Build()) ==
        V4().Udp(7, 8).Payload(5).Build());
  CHECK(After(SetUdp(7, 8), V4().Udp(1, 2, false).Build()) == V4().Udp(7, 8, false).Build());
  CHECK(After(SetTcp(7, 8), V6().Options(0).Tcp(1, 2).Build()) ==
        V6().Options(0).Tcp(7, 8).Build());
  CHECK(After(SetUdp(7, 8), V6().Routing(1).Udp(1, 2).Build()) ==
        V6().Routing(1).Udp(7, 8).Build());
  CHECK(After(SetUdp(7, 8), V4({.fragment = 0x2000}).Udp(1, 2).Payload(8).Build()) ==
        V4({.fragment = 0x2000}).Udp(7, 8).Payload(8).Build());
}

// Bit by bit, as RFC 9260 has it.
std::uint32_t Crc32c(std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = UINT32_MAX;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}
// With its checksum, off by `error`.
Frame WithSctpChecksum(const EthernetFrame& built, std::uint32_t error = 0,
                       std::size_t padding = 0) {
  Frame frame = built.Build();
  const std::uint32_t crc = Crc32c(std::span(frame).subspan(built.l4_at())) ^ error;
  std::memcpy(frame.data() + built.l4_at() + 8, &crc, sizeof crc);
  frame.resize(frame.size() + padding, 0xee);
  return frame;
}

TEST_CASE("set: SCTP ports; the CRC-32C follows, and what was wrong stays as wrong") {
  // The check value of CRC-32C.
  CHECK(Crc32c(Blob{'1', '2', '3', '4', '5', '6', '7', '8', '9'}) == 0xe3069283);
  for (const std::size_t payload : {0, 1, 4, 5, 100, 1400, 9000}) {
    for (const std::uint32_t error : {0u, 1u, 0xdeadbeefu}) {
      for (const bool six : {false, true}) {
        CAPTURE(payload);
        const auto build = [&](std::uint16_t src, std::uint16_t dst) {
          EthernetFrame f = six ? V6().Options(0) : V4();
          return WithSctpChecksum(f.Sctp(src, dst).Payload(payload), error, 7);
        };
        CHECK(After(SetSctp(1000, 36'412), build(1, 2)) == build(1000, 36'412));
        CHECK(After(SetSctp(0xffff, 0), build(0, 0xffff)) == build(0xffff, 0));
        CHECK(After(SetSctp(1, 2), build(1, 2)) == build(1, 2));
      }
    }
  }
}

TEST_CASE("set: SCTP ports of a fragment cannot be set; of an only fragment they can") {
  const auto cannot = [](const Frame& frame) {
    HeapPacket packet(frame);
    const Flow key = KeyOf(*packet);
    const auto list = Accepted(SetSctp(3, 4), {key, ExactMask(key)});
    CHECK_FALSE(ApplyTo(list->actions()[0], *packet));
    CHECK(packet.frame() == frame);
  };
  cannot(V4({.fragment = 0x2000}).Sctp(1, 2).Payload(8).Build());
  cannot(V6().Fragment(0, true).Sctp(1, 2).Payload(8).Build());
  const auto only = [](std::uint16_t src) {
    return WithSctpChecksum(V6().Fragment(0, false).Sctp(src, 2).Payload(9));
  };
  CHECK(After(SetSctp(3, 2), only(1)) == only(3));
}

TEST_CASE("set: ICMP and ICMPv6 type and code") {
  const auto set = [](std::uint16_t field, std::uint8_t type, std::uint8_t code) {
    return Actions().Set(field, ovs_key_icmp{type, code});
  };
  CHECK(After(set(OVS_KEY_ATTR_ICMP, 0, 0), V4().Icmp(8, 0).Payload(5).Build()) ==
        V4().Icmp(0, 0).Payload(5).Build());
  CHECK(After(set(OVS_KEY_ATTR_ICMP, 3, 255), V4({.fragment = 0x2000}).Icmp(8, 0).Build()) ==
        V4({.fragment = 0x2000}).Icmp(3, 255).Build());
  CHECK(After(set(OVS_KEY_ATTR_ICMPV6, 129, 1), V6().Options(0).Icmp(128, 0).Payload(5).Build()) ==
        V6().Options(0).Icmp(129, 1).Payload(5).Build());
}

TEST_CASE("set: ARP") {
  ovs_key_arp key{
      Ip4("1.2.3.4"), Ip4("5.6.7.8"), ToBe16(0x102), {2, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 2, 2}};
  const Frame before = EthernetFrame().Arp(1, "10.0.0.1", "10.0.0.2").Padding(18).Build();
  CHECK(After(Actions().Set(OVS_KEY_ATTR_ARP, key), before) ==
        EthernetFrame()
            .Arp(0x102, "1.2.3.4", "5.6.7.8", "02:01:01:01:01:01", "02:02:02:02:02:02")
            .Padding(18)
            .Build());
  ovs_key_arp mask{};
  mask.arp_tip = ToBe32(0xff);
  mask.arp_op = ToBe16(0xff);
  CHECK(After(Actions().SetMasked(OVS_KEY_ATTR_ARP, key, mask), before) ==
        EthernetFrame().Arp(2, "10.0.0.1", "10.0.0.8").Padding(18).Build());
}

ovs_key_nd KeyNd(const char* target, const char* sll, const char* tll) {
  ovs_key_nd key{};
  std::memcpy(key.nd_target, Ip6(target).data(), 16);
  std::memcpy(key.nd_sll, Mac(sll).data(), 6);
  std::memcpy(key.nd_tll, Mac(tll).data(), 6);
  return key;
}

TEST_CASE("set: neighbour discovery") {
  const Actions set =
      Actions().Set(OVS_KEY_ATTR_ND, KeyNd("fe80::9", "02:01:01:01:01:01", "02:02:02:02:02:02"));
  const auto message = [](std::uint8_t type, const char* target, std::uint32_t rest = 0) {
    return V6().Icmp(type, 0, rest).NdTarget(target);
  };
  CHECK(After(set, message(135, "fe80::1").Build()) == message(135, "fe80::9").Build());
  // One of each, behind another option, which stays.
  const auto options = [&](const char* target, const char* sll, const char* tll) {
    return message(136, target)
        .NdOption(14, 1, "01:02:03:04:05:06")
        .NdOption(2, 1, tll)
        .NdOption(1, 1, sll)
        .Padding(3)
        .Build();
  };
  CHECK(After(set, options("fe80::1", "0a:0a:0a:0a:0a:0a", "0b:0b:0b:0b:0b:0b")) ==
        options("fe80::9", "02:01:01:01:01:01", "02:02:02:02:02:02"));
  // Two of a kind: nobody knows which one counts.
  const Frame twice = message(135, "fe80::1")
                          .NdOption(1, 1, "0a:0a:0a:0a:0a:0a")
                          .NdOption(1, 1, "0b:0b:0b:0b:0b:0b")
                          .Build();
  CHECK(Refused(set, twice));
  const Frame cut = V6().Icmp(135, 0).Payload(15).Build();
  CHECK(Refused(set, cut));
  // Masked: a part of the target.
  CHECK(After(Actions().SetMasked(OVS_KEY_ATTR_ND,
                                  KeyNd("::ff", "00:00:00:00:00:00", "00:00:00:00:00:00"),
                                  KeyNd("::f", "00:00:00:00:00:00", "00:00:00:00:00:00")),
              message(135, "fe80::10").Build()) == message(135, "fe80::1f").Build());
}

TEST_CASE("set: neighbour discovery extensions") {
  const Actions set =
      Actions().Set(kKeyAttrNdExtensions, KeyNdExtensions{ToBe32(0xe0000001), 1, {}});
  const auto build = [](std::uint32_t reserved, std::uint8_t option) {
    return V6()
        .Icmp(136, 0, reserved)
        .NdTarget("fe80::1")
        .NdOption(14, 1, "01:02:03:04:05:06")
        .NdOption(option, 1, "0a:0a:0a:0a:0a:0a")
        .Build();
  };
  CHECK(After(set, build(0x20000000, 2)) == build(0xe0000001, 1));
  CHECK(After(Actions().SetMasked(kKeyAttrNdExtensions, KeyNdExtensions{UINT32_MAX, 1, {}},
                                  KeyNdExtensions{ToBe32(0x80000000), 0, {}}),
              build(0x20000000, 2)) == build(0xa0000000, 2));
  const auto without = [](std::uint32_t reserved) {
    return V6().Icmp(135, 0, reserved).NdTarget("fe80::1").Build();
  };
  CHECK(After(set, without(0)) == without(0xe0000001));
}

TEST_CASE("set: MPLS, the outermost label") {
  const auto build = [](std::uint32_t label, std::uint8_t tc, std::uint8_t ttl) {
    return EthernetFrame().Vlan(5).Mpls(label, false, tc, ttl).Mpls(7, true).Payload(20).Build();
  };
  CHECK(After(Actions().Set(OVS_KEY_ATTR_MPLS, ToBe32(99 << 12 | 5 << 9 | 9)), build(1, 2, 64)) ==
        build(99, 5, 9));
  CHECK(After(Actions().SetMasked(OVS_KEY_ATTR_MPLS, UINT32_MAX, ToBe32(0xe00)), build(1, 2, 64)) ==
        build(1, 7, 64));
  const Frame cut = EthernetFrame().Type(0x8847).Raw({1, 2, 3}).Build();
  CHECK(Refused(Actions().Set(OVS_KEY_ATTR_MPLS, UINT32_MAX), cut));
}

TEST_CASE("set: NSH") {
  const auto set = [](const Actions& inside, bool masked = false) {
    return Actions().Raw(masked ? OVS_ACTION_ATTR_SET_MASKED : OVS_ACTION_ATTR_SET,
                         Actions().Raw(OVS_KEY_ATTR_NSH, inside));
  };
  const auto build = [](const NshValues& values) {
    return EthernetFrame().Nsh(values).Payload(20).Build();
  };
  const ovs_nsh_key_base base{3, 9, 1, 1, ToBe32(0xabcdef01)};
  CHECK(After(set(Actions().Put(OVS_NSH_KEY_ATTR_BASE, base)), build({})) ==
        build({.flags = 3, .ttl = 9, .path = 0xabcdef01}));
  const struct { ovs_nsh_key_base value, mask; } some{{3, 0, 0, 0, 0}, {1, 63, 0, 0, ToBe32(0xff)}};
  CHECK(After(set(Actions().Put(OVS_NSH_KEY_ATTR_BASE, some), true), build({.flags = 2})) ==
        build({.flags = 3, .ttl = 0, .path = 0x12345600}));
  Frame expected = build({});
  std::fill_n(expected.begin() + 22, 16, 0x99);
  CHECK(After(set(Actions()
                      .Put(OVS_NSH_KEY_ATTR_BASE, ovs_nsh_key_base{0, 63, 1, 1, ToBe32(0x123456fe)})
                      .Raw(OVS_NSH_KEY_ATTR_MD1, Blob(16, 0x99))),
              build({})) == expected);
  // Of another type of metadata, the fixed fields.
  const NshValues type2 = {.mdtype = 2, .metadata = 12};
  NshValues changed = type2;
  changed.ttl = 0;
  changed.path = 0x12345600;
  CHECK(After(set(Actions().Put(OVS_NSH_KEY_ATTR_BASE, some), true), build(type2)) == [&] {
    changed.flags = 1;
    return build(changed);
  }());
  // One that contradicts itself is refused.
  Frame broken = build({});
  broken[15] = static_cast<std::uint8_t>((broken[15] & 0xc0) | 3);
  CHECK(Refused(set(Actions().Put(OVS_NSH_KEY_ATTR_BASE, some), true), broken));
}

TEST_CASE("set: what is beside the frame") {
  PacketPool pool;
  PacketPtr packet = pool.Copy(V4().Udp(1, 2).Build());
  packet->skb_mark = 0x0f0f;
  packet->skb_priority = packet->dp_hash = packet->recirc_id = 1;
  const auto apply = [&](const Actions& actions) {
    const auto list = Accepted(actions, kAny);
    for (const Action& action : list->actions()) REQUIRE(ApplyTo(action, *packet));
  };
  apply(Actions()
            .Set(OVS_KEY_ATTR_PRIORITY, 7u)
            .SetMasked(OVS_KEY_ATTR_SKB_MARK, 0xffffu, 0xff00u)
            .Set(OVS_KEY_ATTR_DP_HASH, 9u)
            .Set(OVS_KEY_ATTR_RECIRC_ID, 11u));
  CHECK(packet->skb_priority == 7);
  CHECK(packet->skb_mark == 0xff0f);
  CHECK(packet->dp_hash == 9);
  CHECK(packet->recirc_id == 11);
  const auto tunnel = [](const Actions& inside) {
    return Actions().Raw(OVS_ACTION_ATTR_SET, Actions().Raw(OVS_KEY_ATTR_TUNNEL, inside));
  };
  apply(tunnel(Actions()
                   .Put(OVS_TUNNEL_KEY_ATTR_ID, std::uint64_t{5})
                   .Put(OVS_TUNNEL_KEY_ATTR_IPV4_DST, Ip4("1.2.3.4"))));
  REQUIRE(bool{packet->has_tunnel});
  CHECK(packet->tunnel().id == 5);
  CHECK(packet->tunnel().ipv4_dst == Ip4("1.2.3.4"));
  CHECK(packet->tunnel().flags == kTunnelKey);
  CHECK(KeyOf(*packet).tunnel.ipv4_dst == Ip4("1.2.3.4"));
  // The next one replaces it whole; an empty one takes it away.
  apply(tunnel(Actions().Put(OVS_TUNNEL_KEY_ATTR_TTL, std::uint8_t{9})));
  CHECK(packet->tunnel().id == 0);
  CHECK(packet->tunnel().ttl == 9);
  apply(tunnel({}));
  CHECK_FALSE(bool{packet->has_tunnel});
}

TEST_CASE("set: TTL and hop limit, one off") {
  const auto ttl4 = [](std::uint8_t ttl) { return V4({.ttl = ttl}).Udp(1, 2).Build(); };
  const auto ttl6 = [](std::uint8_t ttl) { return V6({.hop_limit = ttl}).Tcp(1, 2).Build(); };
  const auto check = [](const auto& build) {
    for (int ttl = 0; ttl < 256; ++ttl) {
      CAPTURE(ttl);
      const auto from = static_cast<std::uint8_t>(ttl);
      HeapPacket packet(build(from));
      KeyOf(*packet);
      CHECK(DecrementTtl(*packet) == (ttl > 1));
      CHECK(packet.frame() == build(ttl > 1 ? static_cast<std::uint8_t>(from - 1) : from));
    }
  };
  check(ttl4);
  check(ttl6);
}

TEST_CASE("set: a packet without the header is refused, and so is a TTL to be decremented") {
  const Match udp4 = ExactMatch(V4().Udp(1, 2).Build());
  const Match tcp4 = ExactMatch(V4().Tcp(1, 2).Build());
  const Match udp6 = ExactMatch(V6().Udp(1, 2).Build());
  const Match echo4 = ExactMatch(V4().Icmp(8, 0).Build());
  const Match echo6 = ExactMatch(V6().Icmp(128, 0).Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const ActionListPtr sets[] = {
      Accepted(Set4("1.1.1.1", "2.2.2.2", 1, 1), udp4),
      Accepted(Set6("::1", "::2", 1, 1, 1), udp6),
      Accepted(SetTcp(1, 1), tcp4),
      Accepted(SetUdp(1, 1), udp4),
      Accepted(Actions().Set(OVS_KEY_ATTR_ICMP, ovs_key_icmp{99, 99}), echo4),
      Accepted(Actions().Set(OVS_KEY_ATTR_ICMPV6, ovs_key_icmp{99, 99}), echo6),
      Accepted(Actions().Set(OVS_KEY_ATTR_ARP, ovs_key_arp{1, 1, 99, {}, {}}), arp)};
  for (const NamedFrame& kind : EveryKind()) {
    HeapPacket probe(kind.frame);
    const Flow key = KeyOf(*probe);
    const bool l3 = probe->l3_offset != Packet::kNoOffset;
    const bool l4 = probe->l4_offset != Packet::kNoOffset;
    const bool has[] = {
        l3 && Layer3Of(key) == Layer3::kIpv4, l3 && Layer3Of(key) == Layer3::kIpv6,
        l4 && Layer4Of(key) == Layer4::kTcp,  l4 && Layer4Of(key) == Layer4::kUdp,
        l4 && Layer4Of(key) == Layer4::kIcmp, l4 && Layer4Of(key) == Layer4::kIcmpv6,
        l3 && Layer3Of(key) == Layer3::kArp};
    for (std::size_t i = 0; i < std::size(sets); ++i) {
      const char* name = kind.name;
      CAPTURE(name);
      CAPTURE(i);
      HeapPacket packet(kind.frame);
      KeyOf(*packet);
      // The two ICMPs have one set: each finds its own.
      const bool either_icmp = (i == 4 || i == 5) && (has[4] || has[5]);
      const bool there = has[i] || either_icmp;
      // No layer 4, and none is missing.
      const bool later = key.nw_frag == kFragLater && i >= 2 && i <= 5;
      CHECK(ApplyTo(sets[i]->actions()[0], *packet) == (there || later));
      CHECK((packet.frame() == kind.frame) == !there);
    }
    HeapPacket packet(kind.frame);
    KeyOf(*packet);
    CHECK(HasTtl(*packet) == (has[0] || has[1]));
    CHECK(DecrementTtl(*packet) == ((has[0] || has[1]) && key.nw_ttl > 1));
  }
}

// A frame that leaves is one that was changed, checksums included, or that has nothing to change.
TEST_CASE("set: what a set does not change as it says does not go on, whatever the damage") {
  const Match tcp4 = ExactMatch(V4().Tcp(1, 2).Build());
  const Match udp4 = ExactMatch(V4().Udp(1, 2).Build());
  const Match udp6 = ExactMatch(V6().Udp(1, 2).Build());
  const Match sctp4 = ExactMatch(V4().Sctp(1, 2).Build());
  const Match echo4 = ExactMatch(V4().Icmp(8, 0).Build());
  const Match echo6 = ExactMatch(V6().Icmp(128, 0).Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const Match nd = ExactMatch(V6().Icmp(135, 0).NdTarget("fe80::1").Build());
  const Match mpls = ExactMatch(EthernetFrame().Mpls(5, true).Payload(9).Build());
  ovs_key_nd target{};
  std::memcpy(target.nd_target, Ip6("fe80::77").data(), 16);
  const auto ports = [](const Flow& key) {
    return key.tp_src == ToBe16(77) && key.tp_dst == ToBe16(78);
  };
  struct Case {
    ActionListPtr list;
    bool (*done)(const Flow&);  // What the parser must find afterwards.
    bool layer4;
  };
  const Case cases[] = {
      {Accepted(Set4("7.7.7.7", "8.8.8.8", 4, 77), udp4),
       [](const Flow& key) {
         return key.ipv4_src == Ip4("7.7.7.7") && key.ipv4_dst == Ip4("8.8.8.8") &&
                key.nw_ttl == 77;
       },
       false},
      {Accepted(Set6("7::7", "8::8", 4, 77, 7), udp6),
       [](const Flow& key) {
         return key.ipv6_src == Ip6("7::7") && key.ipv6_dst == Ip6("8::8") && key.nw_ttl == 77;
       },
       false},
      {Accepted(SetTcp(77, 78), tcp4), ports, true},
      {Accepted(SetUdp(77, 78), udp4), ports, true},
      {Accepted(SetSctp(77, 78), sctp4), ports, true},
      {Accepted(Actions().Set(OVS_KEY_ATTR_ICMP, ovs_key_icmp{99, 98}), echo4),
       [](const Flow& key) { return key.tp_src == ToBe16(99) && key.tp_dst == ToBe16(98); }, true},
      {Accepted(Actions().Set(OVS_KEY_ATTR_ICMPV6, ovs_key_icmp{99, 98}), echo6),
       [](const Flow& key) { return key.tp_src == ToBe16(99) && key.tp_dst == ToBe16(98); }, true},
      {Accepted(Actions().Set(OVS_KEY_ATTR_ARP,
                              ovs_key_arp{Ip4("7.7.7.7"), Ip4("8.8.8.8"), ToBe16(9), {}, {}}),
                arp),
       [](const Flow& key) { return key.ipv4_src == Ip4("7.7.7.7") && key.nw_proto == 9; }, false},
      {Accepted(Actions().Set(OVS_KEY_ATTR_ND, target), nd),
       [](const Flow& key) { return key.nd_target == Ip6("fe80::77"); }, true},
      {Accepted(Actions().Set(OVS_KEY_ATTR_MPLS, ToBe32(0x12345177)), mpls),
       [](const Flow& key) { return key.mpls[0] == ToBe32(0x12345177); }, false},
  };
  std::mt19937 random(20241129);
  int went_on = 0;
  int refused = 0;
  const auto try_all = [&](const Frame& frame) {
    for (const Case& set : cases) {
      HeapPacket packet(frame);
      const Flow before = KeyOf(*packet);
      if (!ApplyTo(set.list->actions()[0], *packet)) {
        ++refused;
        continue;
      }
      ++went_on;
      const Flow after = KeyOf(*packet);
      const bool nothing_to_change =
          set.layer4 && before.nw_frag == kFragLater && packet.frame() == frame;
      if (!set.done(after) && !nothing_to_change) {
        CAPTURE(&set - cases);
        FAIL_CHECK("left unchanged");
        return;
      }
    }
  };
  for (const NamedFrame& kind : EveryKind()) {
    CAPTURE(kind.name);
    for (std::size_t n = 14; n <= kind.frame.size(); ++n)
      try_all(Frame(kind.frame.begin(), kind.frame.begin() + static_cast<std::ptrdiff_t>(n)));
    for (int i = 0; i < 200; ++i) {
      Frame frame = kind.frame;
      const std::size_t from = std::min<std::size_t>(12, frame.size() - 1);
      for (int changes = 0; changes < 3; ++changes)
        frame[from + random() % (frame.size() - from)] = static_cast<std::uint8_t>(random());
      try_all(frame);
    }
  }
  CHECK(went_on > 1'000);
  CHECK(refused > 1'000);
}

TEST_CASE("set: TCP's checksum in a first fragment follows addresses if it is there") {
  // A header of 60 bytes, of which the fragment has fewer.
  for (const bool ipv6 : {false, true}) {
    CAPTURE(ipv6);
    const auto build = [&](const char* src, const char* src6) {
      return ipv6 ? EthernetFrame().Ipv6(src6, "::2").Tcp(1, 2, 0x10, 40).Payload(8).Build()
                  : EthernetFrame().Ipv4(src, "10.0.0.2").Tcp(1, 2, 0x10, 40).Payload(8).Build();
    };
    const Frame from = build("10.0.0.1", "::1");
    const Frame to = build("9.9.9.9", "::9");
    // Cut to `n` bytes of TCP, as a first fragment.
    const auto fragment = [&](const Frame& whole, std::size_t n) {
      const std::size_t header = ipv6 ? 40 : 20;
      Frame frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(14 + header));
      if (ipv6) {
        frame[20] = 44;
        Poke16(frame, 18, static_cast<std::uint16_t>(8 + n));
        for (const std::uint8_t byte : {6, 0, 0, 1, 0, 0, 0, 1}) frame.push_back(byte);
      } else {
        Poke16(frame, 16, static_cast<std::uint16_t>(20 + n));
        Poke16(frame, 20, 0x2000);
        Poke16(frame, 24, 0);
        Poke16(frame, 24, SlowChecksum(std::span(frame).subspan(14, 20)));
      }
      const auto tcp = whole.begin() + static_cast<std::ptrdiff_t>(14 + header);
      frame.insert(frame.end(), tcp, tcp + static_cast<std::ptrdiff_t>(n));
      return frame;
    };
    const char* ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    const Actions set =
        ipv6 ? Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6("::9", "::", 0, 0, 0),
                                   Key6(ones, "::", 0, 0, 0))
             : Actions().SetMasked(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{Ip4("9.9.9.9"), 0, 0, 0, 0, 0},
                                   ovs_key_ipv4{UINT32_MAX, 0, 0, 0, 0, 0});
    for (const std::size_t n : {24, 32, 56})
      CHECK(After(set, fragment(from, n)) == fragment(to, n));
    for (const std::size_t n : {8, 16}) {
      HeapPacket packet(fragment(from, n));
      const Match match = {KeyOf(*packet), ExactMask(KeyOf(*packet))};
      CHECK_FALSE(ApplyTo(Accepted(set, match)->actions()[0], *packet));
      // Nothing to follow.
      const Actions ttl =
          ipv6 ? Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6("::", "::", 0, 9, 0),
                                     Key6("::", "::", 0, 0xff, 0))
               : Actions().SetMasked(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{0, 0, 0, 0, 9, 0},
                                     ovs_key_ipv4{0, 0, 0, 0, 0xff, 0});
      HeapPacket other(fragment(from, n));
      KeyOf(*other);
      CHECK(ApplyTo(Accepted(ttl, match)->actions()[0], *other));
    }
  }
}

TEST_CASE("set: in a later fragment addresses change, payload does not") {
  const auto build = [](const char* src) {
    return EthernetFrame()
        .Ipv4(src, "10.0.0.2", {.fragment = 3, .protocol = 17})
        .Payload(40)
        .Build();
  };
  const Actions set =
      Actions().SetMasked(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{Ip4("9.9.9.9"), 0, 0, 0, 0, 0},
                          ovs_key_ipv4{UINT32_MAX, 0, 0, 0, 0, 0});
  CHECK(After(set, build("10.0.0.1")) == build("9.9.9.9"));
  const auto build6 = [](const char* src) {
    return EthernetFrame().Ipv6(src, "::2").Fragment(3, true).Payload(40).Build();
  };
  const char* ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const Actions set6 =
      Actions().SetMasked(OVS_KEY_ATTR_IPV6, Key6("::9", "::", 0, 0, 0), Key6(ones, "::", 0, 0, 0));
  CHECK(After(set6, build6("::1")) == build6("::9"));
}

TEST_CASE("set: UDP checksums around zero") {
  // Some destination port makes the checksum come out as zero, which is sent as 0xffff.
  const Frame from = V4().Udp(1, 2).Build();
  const SetFields<UdpFields> back{{ToBe16(1), ToBe16(2)}, {UINT16_MAX, UINT16_MAX}};
  int found = 0;
  for (std::uint32_t port = 0; port < 65'536; ++port) {
    HeapPacket packet(from);
    KeyOf(*packet);
    const auto be = ToBe16(static_cast<std::uint16_t>(port));
    REQUIRE(Apply(SetFields<UdpFields>{{ToBe16(1), be}, {UINT16_MAX, UINT16_MAX}}, *packet));
    const std::uint16_t checksum = Peek16(packet.frame(), 40);
    REQUIRE(checksum != 0);
    if (checksum == 0xffff) {
      ++found;
      CHECK(packet.frame() == V4().Udp(1, static_cast<std::uint16_t>(port)).Build());
      // And away from it again.
      REQUIRE(Apply(back, *packet));
      CHECK(packet.frame() == from);
    }
  }
  CHECK(found == 1);
}

TEST_CASE("set: a checksum that was wrong stays exactly as wrong") {
  const Frame good = V4().Tcp(1, 2).Payload(3).Build();
  for (const std::uint32_t error : {1u, 0x1234u, 0x8000u}) {
    Frame bad = good;
    const auto wrong = [&](std::size_t at) {  // One's complement addition.
      const std::uint32_t sum = Peek16(bad, at) + error;
      Poke16(bad, at, static_cast<std::uint16_t>(sum > 0xffff ? sum - 0xffff : sum));
    };
    wrong(24);
    wrong(50);
    Frame expected = EthernetFrame()
                         .Ipv4("1.2.3.4", "5.6.7.8", {.tos = 3, .ttl = 9})
                         .Tcp(1, 2)
                         .Payload(3)
                         .Build();
    const auto as_wrong = [&](std::size_t at) {
      const std::uint32_t sum = Peek16(expected, at) + error;
      Poke16(expected, at, static_cast<std::uint16_t>(sum > 0xffff ? sum - 0xffff : sum));
    };
    as_wrong(24);
    as_wrong(50);
    CHECK(After(Set4("1.2.3.4", "5.6.7.8", 3, 9), bad) == expected);
  }
}

TEST_CASE("set: random values and masks, against building the frame anew") {
  std::mt19937 random(7);
  const auto ip = [&] {
    return random() % 4 == 0 ? (random() % 2 == 0 ? 0 : UINT32_MAX)
                             : static_cast<std::uint32_t>(random());
  };
  const auto text = [](std::uint32_t bits) {
    char buffer[INET_ADDRSTRLEN];
    REQUIRE(inet_ntop(AF_INET, &bits, buffer, sizeof buffer) != nullptr);
    return std::string(buffer);
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::uint32_t src = ip(), dst = ip();
    const ovs_key_ipv4 value{ip(), ip(), 0, 0, 0xff, 0};
    const ovs_key_ipv4 mask{ip(), ip(), 0, 0, 0xf0, 0};
    const auto value_port = static_cast<std::uint16_t>(random());
    const auto mask_port = static_cast<std::uint16_t>(random());
    const auto port = static_cast<std::uint16_t>(random());
    const std::size_t payload = random() % 40;
    const bool tcp = random() % 2 == 0;
    const auto build = [&](std::uint32_t s, std::uint32_t d, std::uint16_t p, std::uint8_t ttl) {
      EthernetFrame f = EthernetFrame().Ipv4(text(s).c_str(), text(d).c_str(), {.ttl = ttl});
      if (tcp) {
        f.Tcp(p, 80);
      } else {
        f.Udp(p, 80);
      }
      return f.Payload(payload).Build();
    };
    const auto mix = [](auto old, auto bits, auto which) {
      return static_cast<decltype(old)>((old & ~which) | (bits & which));
    };
    const Actions actions =
        Actions()
            .SetMasked(OVS_KEY_ATTR_IPV4, value, mask)
            .SetMasked(tcp ? OVS_KEY_ATTR_TCP : OVS_KEY_ATTR_UDP,
                       ovs_key_tcp{ToBe16(value_port), 0}, ovs_key_tcp{ToBe16(mask_port), 0});
    REQUIRE(After(actions, build(src, dst, port, 0x45)) ==
            build(mix(src, value.ipv4_src, mask.ipv4_src), mix(dst, value.ipv4_dst, mask.ipv4_dst),
                  mix(port, value_port, mask_port), 0xf5));
  }
}

}  // namespace
}  // namespace pollux::test
