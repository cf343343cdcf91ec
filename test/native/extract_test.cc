// The parser: every field of every header, and every way a header can lie.
#include "flow/extract.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "packet/headers.h"
#include "packet_builder.h"
#include "parsed_packet.h"

namespace pollux {
namespace {

using namespace test;  // NOLINT: on every line.

EthernetFrame V4(const test::Ip4Fields& fields = {}) {
  return EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2", fields);
}
EthernetFrame V6(const test::Ip6Fields& fields = {}) {
  return EthernetFrame().Ipv6("2001:db8::1", "2001:db8::2", fields);
}

TEST_CASE("extract: Ethernet") {
  const Parsed p = Parse(EthernetFrame("0a:0b:0c:0d:0e:0f", "02:03:04:05:06:07", 0x1234).Build());
  CHECK(p.flow.in_port == 7);
  CHECK(p.flow.recirc_id == 0);
  CHECK(p.flow.eth_dst == Mac("0a:0b:0c:0d:0e:0f"));
  CHECK(p.flow.eth_src == Mac("02:03:04:05:06:07"));
  CHECK(p.flow.eth_type == ToBe16(0x1234));
  CHECK(p.map == MapOf({0, kEthWord, kEthWord + 1}));
  CHECK(NoLayer3(p));
}

TEST_CASE("extract: the map holds exactly the words of headers that are there") {
  constexpr std::size_t kIp6[] = {kIp6Word, kIp6Word + 1, kIp6Word + 2, kIp6Word + 3, kIpWord};
  enum : unsigned {
    kTags = 1,
    kV4 = 2,
    kV6 = 4,
    kL4 = 8,
    kArp = 16,
    kNd = 32,
    kMpls = 64,
    kLabels3 = 128,
    kNsh = 256,
    kContext = 512
  };
  const std::pair<const char*, unsigned> kExpected[] = {
      {"ethernet", 0},
      {"802.2", 0},
      {"snap ipv4 udp", kV4 | kL4},
      {"arp", kV4 | kArp},
      {"rarp", kV4 | kArp},
      {"ipv4", kV4},
      {"ipv4 tcp", kV4 | kL4},
      {"ipv4 tcp options", kV4 | kL4},
      {"ipv4 udp", kV4 | kL4},
      {"ipv4 udp no checksum", kV4 | kL4},
      {"ipv4 sctp", kV4 | kL4},
      {"ipv4 icmp", kV4 | kL4},
      {"ipv4 first fragment", kV4 | kL4},
      {"ipv4 later fragment", kV4},
      {"ipv4 options udp", kV4 | kL4},
      {"ipv6", kV6},
      {"ipv6 tcp", kV6 | kL4},
      {"ipv6 udp", kV6 | kL4},
      {"ipv6 sctp", kV6 | kL4},
      {"ipv6 icmpv6", kV6 | kL4},
      {"ipv6 extensions tcp", kV6 | kL4},
      {"ipv6 routing udp", kV6 | kL4},
      {"ipv6 used routing udp", kV6 | kL4},
      {"ipv6 first fragment", kV6 | kL4},
      {"ipv6 later fragment", kV6},
      {"nd solicitation", kV6 | kL4 | kArp | kNd},
      {"nd advertisement", kV6 | kL4 | kArp | kNd},
      {"vlan", kTags},
      {"vlan ipv4 tcp", kTags | kV4 | kL4},
      {"qinq ipv4 udp", kTags | kV4 | kL4},
      {"qinq ipv6 udp", kTags | kV6 | kL4},
      {"three tags", kTags},
      {"all zero", kV4 | kL4},
      {"ipv4 proto 0", kV4},
      {"nd extensions", kV6 | kL4 | kArp | kNd},
      {"mpls ipv4", kMpls},
      {"mpls three labels", kMpls | kLabels3},
      {"mpls four labels", kTags | kMpls | kLabels3},
      {"nsh", kNsh | kContext},
      {"nsh type 2", kTags | kNsh},
      {"nsh bare", kNsh},
      {"snap mpls", kMpls}};
  const auto frames = test::EveryKind();
  REQUIRE(frames.size() == std::size(kExpected));
  for (std::size_t i = 0; i < frames.size(); ++i) {
    CAPTURE(frames[i].name);
    REQUIRE(std::string(frames[i].name) == kExpected[i].first);
    const unsigned has = kExpected[i].second;
    FlowMap expected = MapOf({0, kEthWord, kEthWord + 1});
    const auto add = [&](unsigned what, std::initializer_list<std::size_t> words) {
      if ((has & what) == 0) return;
      for (const std::size_t word : words) expected.Add(word);
    };
    add(kTags, {kVlanWord});
    add(kMpls, {kMplsWord});
    add(kLabels3, {kMplsWord + 1});
    add(kNsh, {kNshWord});
    add(kContext, {kNshWord + 1, kNshWord + 2});
    add(kV4, {kIp4Word, kIpWord});
    add(kV6, {kIp6[0], kIp6[1], kIp6[2], kIp6[3], kIp6[4]});
    add(kL4, {kPorts});
    add(kArp, {kArpWord, kArpWord + 1});
    add(kNd, {kNdWord, kNdWord + 1});
    CHECK(Parse(frames[i].frame).map == expected);
  }
}

TEST_CASE("extract: VLAN tags") {
  SUBCASE("one") {
    const Parsed p = Parse(EthernetFrame().Vlan(5, 3).Ipv4("1.2.3.4", "5.6.7.8").Udp(1, 2).Build());
    CHECK(p.flow.vlans[0].tpid == ToBe16(0x8100));
    CHECK(p.flow.vlans[0].tci == ToBe16(0x7005));
    CHECK(p.flow.vlans[1].tci == 0);
    CHECK(p.flow.eth_type == ToBe16(0x0800));
    CHECK(p.l3 == 18);
    CHECK(p.l4 == 38);
    CHECK(p.flow.tp_dst == ToBe16(2));
  }
  SUBCASE("two, every TPID") {
    for (std::uint16_t tpid : {0x8100, 0x88a8, 0x9100}) {
      const Parsed p =
          Parse(EthernetFrame().Vlan(5, 0, tpid).Vlan(6).Ipv6("::1", "::2").Tcp(1, 2).Build());
      CHECK(p.flow.vlans[0].tpid == ToBe16(tpid));
      CHECK(p.flow.vlans[1].tpid == ToBe16(0x8100));
      CHECK(p.flow.vlans[1].tci == ToBe16(0x1006));
      CHECK(p.flow.eth_type == ToBe16(0x86dd));
      CHECK(p.l3 == 22);
    }
  }
  SUBCASE("priority tag: VLAN 0 is a tag") {
    const Parsed p = Parse(EthernetFrame().Vlan(0).Build());
    CHECK(p.flow.vlans[0].tci == ToBe16(kVlanCfi));
  }
  SUBCASE("0 to 64 tags: all behind the second stay payload") {
    for (int n = 0; n <= 64; ++n) {
      EthernetFrame frame;
      for (int i = 0; i < n; ++i) frame.Vlan(static_cast<std::uint16_t>(i + 1));
      const Parsed p = Parse(frame.Ipv4("1.2.3.4", "5.6.7.8").Udp(1, 2).Build());
      CHECK(p.flow.vlans[0].tci == (n > 0 ? ToBe16(0x1001) : 0));
      CHECK(p.flow.vlans[1].tci == (n > 1 ? ToBe16(0x1002) : 0));
      CHECK(p.flow.eth_type == ToBe16(n > 2 ? 0x8100 : 0x0800));
      CHECK(NoLayer3(p) == (n > 2));
    }
  }
  SUBCASE("a tag that does not fit is no tag") {
    Frame frame = EthernetFrame().Vlan(5).Build();
    for (std::size_t n = 14; n < 18; ++n) {
      const Parsed p = Parse(std::span(frame).first(n));
      CHECK_FALSE(p.Has(kVlanWord));
      CHECK(p.flow.eth_type == ToBe16(0x8100));
    }
  }
}

TEST_CASE("extract: 802.2") {
  CHECK(Parse(EthernetFrame().Type(3).Raw({0x42, 0x42, 3}).Build()).flow.eth_type ==
        ToBe16(0x05ff));
  CHECK(Parse(EthernetFrame().Type(0).Build()).flow.eth_type == ToBe16(0x05ff));
  CHECK(Parse(EthernetFrame().Type(0x05ff).Payload(20).Build()).flow.eth_type == ToBe16(0x05ff));
  CHECK(Parse(EthernetFrame().Type(0x0600).Payload(20).Build()).flow.eth_type == ToBe16(0x0600));
  const Parsed p =
      Parse(EthernetFrame().Vlan(9).Snap().Ipv4("1.2.3.4", "5.6.7.8").Udp(3, 4).Build());
  CHECK(p.flow.eth_type == ToBe16(0x0800));
  CHECK(p.flow.tp_src == ToBe16(3));
  CHECK(p.l3 == 26);
  // Another organisation's SNAP, or a type inside that is again a length.
  CHECK(Parse(EthernetFrame().Type(8).Raw({0xaa, 0xaa, 3, 0, 0, 1, 8, 0}).Build()).flow.eth_type ==
        ToBe16(0x05ff));
  CHECK(
      Parse(EthernetFrame().Type(8).Raw({0xaa, 0xaa, 3, 0, 0, 0, 5, 0xff}).Build()).flow.eth_type ==
      ToBe16(0x05ff));
  CHECK(Parse(EthernetFrame().Type(7).Raw({0xaa, 0xaa, 3, 0, 0, 0, 8}).Build()).flow.eth_type ==
        ToBe16(0x05ff));
}

TEST_CASE("extract: ARP") {
  const Parsed p =
      Parse(EthernetFrame()
                .Arp(2, "10.0.0.1", "10.0.0.2", "02:00:00:00:00:aa", "02:00:00:00:00:bb")
                .Build());
  CHECK(p.flow.ipv4_src == Ip4("10.0.0.1"));
  CHECK(p.flow.ipv4_dst == Ip4("10.0.0.2"));
  CHECK(p.flow.nw_proto == 2);
  CHECK(p.flow.arp_sha == Mac("02:00:00:00:00:aa"));
  CHECK(p.flow.arp_tha == Mac("02:00:00:00:00:bb"));
  CHECK(p.l3 == 14);
  CHECK(p.l4 == kNo);
  CHECK(Parse(EthernetFrame().Arp(255, "1.1.1.1", "2.2.2.2").Build()).flow.nw_proto == 255);
  const Parsed big = Parse(EthernetFrame().Arp(256, "1.1.1.1", "2.2.2.2").Build());
  CHECK(big.flow.nw_proto == 0);
  CHECK(big.flow.ipv4_src == Ip4("1.1.1.1"));
  for (std::size_t at : {14, 16, 18, 19}) {  // Hardware, protocol, sizes.
    Frame frame = EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build();
    frame[at] ^= 0x40;
    CHECK(NoLayer3(Parse(frame)));
  }
}

TEST_CASE("extract: IPv4 fields") {
  const Parsed p =
      Parse(V4({.tos = 0xb9, .ttl = 17, .options = 4, .protocol = 200}).Payload(9).Build());
  CHECK(p.flow.ipv4_src == Ip4("10.0.0.1"));
  CHECK(p.flow.ipv4_dst == Ip4("10.0.0.2"));
  CHECK(p.flow.nw_proto == 200);
  CHECK(p.flow.nw_tos == 0xb9);
  CHECK(p.flow.nw_ttl == 17);
  CHECK(p.flow.nw_frag == kFragNone);
  CHECK(p.l3 == 14);
  CHECK(NoLayer4(p));
}

TEST_CASE("extract: IPv4 fragments") {
  CHECK(Parse(V4({.fragment = 0x4000}).Udp(1, 2).Build()).flow.nw_frag ==
        kFragNone);  // Don't fragment.
  CHECK(Parse(V4({.fragment = 0x8000}).Udp(1, 2).Build()).flow.nw_frag == kFragNone);  // Reserved.
  const Parsed first = Parse(V4({.fragment = 0x2000}).Udp(1, 2).Build());
  CHECK(first.flow.nw_frag == kFragFirst);
  CHECK(first.flow.tp_dst == ToBe16(2));
  for (std::uint16_t fragment : {0x0001, 0x2001, 0x1fff}) {
    const Parsed later = Parse(V4({.fragment = fragment}).Udp(1, 2).Build());
    CHECK(later.flow.nw_frag == kFragLater);
    CHECK(later.flow.nw_proto == 17);
    CHECK(NoLayer4(later));
  }
}

TEST_CASE("extract: IPv4 lengths that lie") {
  const Frame good = V4().Udp(1, 2).Payload(4).Build();
  const std::size_t ip_size = good.size() - 14;
  for (std::uint32_t total = 0; total <= 0xffff; total = total < 64 ? total + 1 : total * 2 + 1) {
    Frame frame = good;
    Poke16(frame, 16, static_cast<std::uint16_t>(total));
    const Parsed p = Parse(frame);
    CAPTURE(total);
    CHECK(NoLayer3(p) == (total < 20 || total > ip_size));
    CHECK(p.Has(kPorts) == (total >= 28 && total <= ip_size));
  }
  for (std::uint32_t ihl = 0; ihl < 16; ++ihl) {
    Frame frame = good;
    Poke8(frame, 14, static_cast<std::uint8_t>(0x40 | ihl));
    const Parsed p = Parse(frame);
    CAPTURE(ihl);
    CHECK(NoLayer3(p) == (ihl < 5 || ihl * 4 > ip_size));
    CHECK(p.Has(kPorts) == (ihl >= 5 && ihl * 4 + 8 <= ip_size));
  }
  for (std::uint32_t version = 0; version < 16; ++version) {
    Frame frame = good;
    Poke8(frame, 14, static_cast<std::uint8_t>(version << 4 | 5));
    CHECK(NoLayer3(Parse(frame)) == (version != 4));
  }
}

TEST_CASE("extract: padding is never parsed") {
  for (std::size_t padding : {0, 1, 3, 255, 256, 257, 1400, 9000}) {
    CAPTURE(padding);
    CHECK(Parse(V4().Udp(1, 2).Padding(padding).Build()).flow.tp_dst == ToBe16(2));
    CHECK(Parse(V6().Tcp(1, 2).Padding(padding).Build()).flow.tp_dst == ToBe16(2));
    CHECK(NoLayer4(Parse(V4({.protocol = 17}).Payload(7).Padding(padding).Build())));
    CHECK(NoLayer4(Parse(V6({.next_header = 6}).Payload(19).Padding(padding).Build())));
    CHECK(Parse(V6({.next_header = 0}).Payload(7).Padding(padding).Build()).flow.nw_proto == 0);
    const Parsed nd = Parse(V6().Icmp(135, 0).NdTarget("fe80::1").Padding(padding).Build());
    CHECK(nd.flow.arp_sha == MacAddress{});
    CHECK(nd.flow.nd_target == Ip6("fe80::1"));
  }
}

TEST_CASE("extract: IPv6 fields") {
  const Parsed p =
      Parse(V6({.traffic_class = 0xb9, .hop_limit = 3, .label = 0xabcde}).Udp(8, 9).Build());
  CHECK(p.flow.ipv6_src == Ip6("2001:db8::1"));
  CHECK(p.flow.ipv6_dst == Ip6("2001:db8::2"));
  CHECK(p.flow.ipv6_label == ToBe32(0xabcde));
  CHECK(p.flow.nw_tos == 0xb9);
  CHECK(p.flow.nw_ttl == 3);
  CHECK(p.flow.nw_proto == 17);
  CHECK(p.flow.nw_frag == kFragNone);
  CHECK(p.flow.ipv4_src == 0);
  CHECK(p.l3 == 14);
  CHECK(p.l4 == 54);
}

TEST_CASE("extract: IPv6 lengths that lie") {
  const Frame good = V6().Udp(1, 2).Payload(4).Build();
  for (std::uint32_t length = 0; length <= 0xffff;
       length = length < 64 ? length + 1 : length * 2 + 1) {
    Frame frame = good;
    Poke16(frame, 18, static_cast<std::uint16_t>(length));
    const Parsed p = Parse(frame);
    CAPTURE(length);
    CHECK(NoLayer3(p) == (length > 12));
    CHECK(p.Has(kPorts) == (length >= 8 && length <= 12));
  }
  for (std::uint32_t version = 0; version < 16; ++version) {
    Frame frame = good;
    Poke8(frame, 14, static_cast<std::uint8_t>(version << 4));
    CHECK(NoLayer3(Parse(frame)) == (version != 6));
  }
}

TEST_CASE("extract: IPv6 extension headers") {
  SUBCASE("each kind") {
    CHECK(Parse(V6().Options(0).Udp(1, 2).Build()).l4 == 62);
    CHECK(Parse(V6().Options(60, 4).Udp(1, 2).Build()).l4 == 86);
    CHECK(Parse(V6().Routing(1).Udp(1, 2).Build()).l4 == 78);
    CHECK(Parse(V6().Authentication().Udp(1, 2).Build()).l4 == 78);
    const Parsed p = Parse(V6().Options(0)
                               .Routing(0)
                               .Fragment(0, true)
                               .Authentication()
                               .Options(60)
                               .Tcp(1, 2)
                               .Build());
    CHECK(p.flow.nw_proto == 6);
    CHECK(p.flow.nw_frag == kFragFirst);
    CHECK(p.flow.tp_dst == ToBe16(2));
  }
  SUBCASE("fragments") {
    CHECK(Parse(V6().Fragment(0, true).Udp(1, 2).Build()).flow.nw_frag == kFragFirst);
    CHECK(Parse(V6().Fragment(0, false).Udp(1, 2).Build()).flow.nw_frag == kFragNone);  // Atomic.
    // Of two fragment headers, each counts.
    for (bool first : {false, true}) {
      for (bool second : {false, true}) {
        const Parsed p = Parse(V6().Fragment(0, first).Fragment(0, second).Udp(1, 2).Build());
        CHECK(p.flow.nw_frag == (first || second ? kFragFirst : kFragNone));
        CHECK(p.l4 == 70);
      }
    }
    CHECK(Parse(V6().Fragment(0, true).Fragment(1, false).Payload(8).Build()).flow.nw_frag ==
          kFragLater);
    for (bool more : {false, true}) {
      const Parsed later = Parse(V6().Fragment(1, more).Udp(1, 2).Build());
      CHECK(later.flow.nw_frag == kFragLater);
      CHECK(later.flow.nw_proto == 44);
      CHECK(later.flow.ipv6_src == Ip6("2001:db8::1"));
      CHECK(NoLayer4(later));
    }
  }
  SUBCASE("as many as there are") {
    for (int n : {0, 1, 16, 17, 64, 181, 8'000}) {
      EthernetFrame frame = V6();
      for (int i = 0; i < n; ++i) frame.Options(60);
      const Parsed p = Parse(frame.Udp(1, 2).Build());
      CAPTURE(n);
      CHECK(p.l4 == 54 + 8 * n);
      CHECK(p.flow.nw_proto == 17);
      CHECK(p.Has(kPorts));
    }
  }
  SUBCASE("lengths that lie") {
    for (std::uint32_t length = 0; length < 256; ++length) {
      CAPTURE(length);
      for (std::uint8_t type : {0, 43, 60, 51}) {
        Frame frame = V6().Options(type).Udp(1, 2).Payload(16).Build();
        Poke8(frame, 55, static_cast<std::uint8_t>(length));
        const std::size_t says = type == 51 ? (length + 2) * 4 : (length + 1) * 8;
        const Parsed p = Parse(frame);
        CHECK(p.flow.nw_proto == (says > 32 ? type : 17));
        // What is wrong with the chain says nothing against the header before it.
        CHECK(p.l3 == 14);
        CHECK(p.flow.ipv6_src == Ip6("2001:db8::1"));
        if (says > 32) {
          CHECK(p.map == MapOf({0, kEthWord, kEthWord + 1, kIp6Word, kIp6Word + 1, kIp6Word + 2,
                                kIp6Word + 3, kIpWord}));
        }
      }
    }
  }
  SUBCASE("a chain that breaks off keeps what was read before") {
    const Frame whole = V6({.traffic_class = 9, .hop_limit = 7, .label = 5})
                            .Fragment(0, true)
                            .Options(60, 2)
                            .Build();
    for (std::size_t left = 0; left < 24; ++left) {
      CAPTURE(left);
      Frame frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(54 + left));
      Poke16(frame, 18, static_cast<std::uint16_t>(left));
      const Parsed p = Parse(frame);
      CHECK(p.l3 == 14);
      CHECK(NoLayer4(p));
      CHECK(p.flow.ipv6_src == Ip6("2001:db8::1"));
      CHECK(p.flow.ipv6_dst == Ip6("2001:db8::2"));
      CHECK(p.flow.nw_tos == 9);
      CHECK(p.flow.nw_ttl == 7);
      CHECK(p.flow.ipv6_label == ToBe32(5));
      CHECK(p.flow.nw_proto == (left < 8 ? 44 : 60));
      CHECK(p.flow.nw_frag == (left < 8 ? kFragNone : kFragFirst));
    }
  }
}

TEST_CASE("extract: TCP") {
  const Parsed p = Parse(V4().Tcp(1000, 80, 0xfff, 40).Build());
  CHECK(p.flow.tp_src == ToBe16(1000));
  CHECK(p.flow.tp_dst == ToBe16(80));
  CHECK(p.flow.tcp_flags == ToBe16(0xfff));
  CHECK(p.l4 == 34);
  for (std::uint32_t offset = 0; offset < 16; ++offset) {
    Frame frame = V4().Tcp(1, 2, 0, 8).Build();
    Poke8(frame, 46, static_cast<std::uint8_t>(offset << 4));
    CAPTURE(offset);
    CHECK(NoLayer4(Parse(frame)) == (offset < 5 || offset > 7));
    CHECK(Parse(frame).Has(kIpWord));
  }
}

TEST_CASE("extract: UDP, SCTP, ICMP") {
  Parsed p = Parse(V4().Udp(0xffff, 0).Build());
  CHECK(p.flow.tp_src == 0xffff);
  CHECK(p.flow.tp_dst == 0);
  CHECK(p.flow.tcp_flags == 0);
  p = Parse(V4().Sctp(3, 4).Build());
  CHECK(p.flow.tp_src == ToBe16(3));
  CHECK(p.flow.tp_dst == ToBe16(4));
  p = Parse(V4().Icmp(11, 1).Build());
  CHECK(p.flow.tp_src == ToBe16(11));
  CHECK(p.flow.tp_dst == ToBe16(1));
  p = Parse(V6().Icmp(129, 0).Build());
  CHECK(p.flow.tp_src == ToBe16(129));
  CHECK_FALSE(p.Has(kNdWord));
  // The other family's ICMP is just a protocol.
  CHECK(NoLayer4(Parse(V4({.protocol = 58}).Payload(8).Build())));
  CHECK(NoLayer4(Parse(V6({.next_header = 1}).Payload(8).Build())));
}

TEST_CASE("extract: neighbour discovery") {
  const auto nd = [](std::uint8_t type = 135, std::uint8_t code = 0) {
    return V6().Icmp(type, code).NdTarget("fe80::7");
  };
  const char* a = "02:00:00:00:00:0a";
  const char* b = "02:00:00:00:00:0b";
  Parsed p = Parse(nd().NdOption(1, 1, a).NdOption(2, 1, b).Build());
  CHECK(p.flow.nd_target == Ip6("fe80::7"));
  CHECK(p.flow.arp_sha == Mac(a));
  CHECK(p.flow.arp_tha == Mac(b));
  CHECK(p.flow.tp_src == ToBe16(135));
  CHECK(Parse(nd(136).Build()).flow.nd_target == Ip6("fe80::7"));
  CHECK_FALSE(Parse(nd(135, 1).Build()).Has(kNdWord));
  CHECK_FALSE(Parse(nd(134).Build()).Has(kNdWord));

  SUBCASE("other options are stepped over") {
    p = Parse(nd().NdOption(5, 1, b).NdOption(14, 2, b).Payload(8).NdOption(1, 1, a).Build());
    CHECK(p.flow.arp_sha == Mac(a));
  }
  SUBCASE("a length of zero, or past the end, ends the walk and keeps what was found") {
    for (std::uint32_t length : {0u, 2u, 3u, 255u}) {
      p = Parse(nd().NdOption(1, 1, a).NdOption(2, static_cast<std::uint8_t>(length), b).Build());
      CAPTURE(length);
      CHECK(p.flow.nd_target == Ip6("fe80::7"));
      CHECK(p.flow.arp_sha == Mac(a));
      CHECK(p.flow.arp_tha == MacAddress{});
    }
  }
  SUBCASE("an address option of another size is no Ethernet address") {
    p = Parse(nd().NdOption(1, 2, a).Payload(8).Build());
    CHECK(p.flow.arp_sha == MacAddress{});
    CHECK(p.Has(kNdWord));
  }
  SUBCASE("the same option twice: ND is left out, ICMPv6 stays") {
    for (const char* mac : {a, "00:00:00:00:00:00"}) {
      p = Parse(nd().NdOption(1, 1, mac).NdOption(1, 1, mac).Build());
      CHECK_FALSE(p.Has(kNdWord));
      CHECK_FALSE(p.Has(kArpWord));
      CHECK(p.flow.tp_src == ToBe16(135));
      CHECK(p.l4 == 54);
    }
  }
  SUBCASE("extensions: the reserved word, and the type of the first address option") {
    const auto with = [](std::uint32_t reserved) {
      return V6().Icmp(136, 0, reserved).NdTarget("fe80::7");
    };
    CHECK(Parse(with(0x60000001).Build()).flow.nd_reserved == ToBe32(0x60000001));
    CHECK(Parse(with(0).Build()).flow.nd_options_type == 0);
    CHECK(Parse(with(0).NdOption(1, 1, a).NdOption(2, 1, b).Build()).flow.nd_options_type == 1);
    CHECK(Parse(with(0).NdOption(2, 1, a).NdOption(1, 1, b).Build()).flow.nd_options_type == 2);
    CHECK(Parse(with(0).NdOption(5, 1, a).NdOption(2, 1, b).Build()).flow.nd_options_type == 2);
    CHECK(Parse(with(0).NdOption(1, 2, a).Payload(8).NdOption(2, 1, b).Build())
              .flow.nd_options_type == 2);
    const Parsed twice = Parse(with(7).NdOption(1, 1, a).NdOption(1, 1, b).Build());
    CHECK(twice.flow.nd_options_type == 0);
    CHECK(twice.flow.nd_reserved == 0);
    // Other messages have something else there.
    CHECK(Parse(V6().Icmp(128, 0, 7).Build()).flow.nd_reserved == 0);
    CHECK(Parse(V6().Icmp(136, 1, 7).NdTarget("fe80::7").Build()).flow.nd_reserved == 0);
    CHECK(Parse(V4().Icmp(136, 0, 7).Payload(24).Build()).flow.nd_reserved == 0);
  }
  SUBCASE("no room for the target") {
    const Frame frame = V6().Icmp(135, 0, 7).Payload(15).Build();
    CHECK_FALSE(Parse(frame).Has(kNdWord));
    CHECK(Parse(frame).Has(kPorts));
  }
}

TEST_CASE("extract: MPLS") {
  const auto entry = [](std::uint32_t label, std::uint8_t tc, bool bottom, std::uint8_t ttl) {
    return ToBe32(label << 12 | tc << 9 | (bottom ? 0x100u : 0u) | ttl);
  };
  SUBCASE("fields") {
    for (const std::uint16_t type : {0x8847, 0x8848}) {
      const Parsed p = Parse(EthernetFrame()
                                 .Mpls(0xabcde, true, 5, 7, type)
                                 .Ipv4("1.2.3.4", "5.6.7.8")
                                 .Udp(1, 2)
                                 .Build());
      CHECK(p.flow.eth_type == ToBe16(type));
      CHECK(p.flow.mpls[0] == entry(0xabcde, 5, true, 7));
      CHECK(p.flow.mpls[1] == 0);
      CHECK(NoLayer3(p));  // Nothing behind the labels, though it looks like IPv4.
    }
  }
  SUBCASE("0 to 64 labels: those behind the third, and behind the bottom, are payload") {
    for (std::uint32_t n = 0; n <= 64; ++n) {
      for (std::uint32_t bottom : {0u, 1u, 2u, 3u, 4u, 63u}) {
        CAPTURE(n);
        CAPTURE(bottom);
        EthernetFrame frame;
        frame.Type(0x8847);
        for (std::uint32_t i = 0; i < n; ++i) frame.Mpls(i + 1, i == bottom);
        const Parsed p = Parse(frame.Build());
        const std::uint32_t seen = std::min({n, bottom + 1, 3u});
        for (std::uint32_t i = 0; i < 3; ++i) {
          CHECK(p.flow.mpls[i] == (i < seen ? entry(i + 1, 0, i == bottom, 64) : 0));
        }
        CHECK(p.Has(kMplsWord) == (seen > 0));
        CHECK(p.Has(kMplsWord + 1) == (seen > 2));
        CHECK(p.flow.eth_type == ToBe16(0x8847));
        CHECK(NoLayer3(p));
      }
    }
  }
  SUBCASE("a label that does not fit is no label") {
    const Frame frame =
        EthernetFrame().Mpls(1, false).Mpls(2, false).Mpls(3, false).Mpls(4, true).Build();
    for (std::size_t n = 14; n <= frame.size(); ++n) {
      const Parsed p = Parse(std::span(frame).first(n));
      const std::size_t labels = std::min<std::size_t>((n - 14) / 4, 3);
      for (std::uint32_t i = 0; i < 3; ++i) {
        CHECK(p.flow.mpls[i] == (i < labels ? entry(i + 1, 0, false, 64) : 0));
      }
    }
  }
}

TEST_CASE("extract: NSH") {
  const auto nsh = [](const test::NshValues& values) {
    return EthernetFrame().Nsh(values).Ipv4("1.2.3.4", "5.6.7.8").Udp(1, 2).Build();
  };
  SUBCASE("fields") {
    const Parsed p =
        Parse(nsh({.flags = 3, .ttl = 0x2a, .mdtype = 1, .np = 3, .path = 0xabcdef12}));
    CHECK(p.flow.nsh.flags == 3);
    CHECK(p.flow.nsh.ttl == 0x2a);
    CHECK(p.flow.nsh.mdtype == 1);
    CHECK(p.flow.nsh.np == 3);
    CHECK(p.flow.nsh.path == ToBe32(0xabcdef12));
    CHECK(p.flow.nsh.context == std::array<Be32, 4>{ToBe32(0xc0c1c2c3), ToBe32(0xc4c5c6c7),
                                                    ToBe32(0xc8c9cacb), ToBe32(0xcccdcecf)});
    CHECK(NoLayer3(p));
  }
  SUBCASE("every type of metadata: only type 1 is read") {
    for (std::uint32_t type = 0; type < 256; ++type) {
      for (std::size_t metadata : {0, 4, 16, 20, 244}) {
        const Parsed p =
            Parse(nsh({.mdtype = static_cast<std::uint8_t>(type), .metadata = metadata}));
        CHECK(p.flow.nsh.mdtype == type);
        CHECK(p.Has(kNshWord));
        CHECK(p.Has(kNshWord + 1) == (type == 1));
        CHECK((p.flow.nsh.context[0] != 0) == (type == 1));
      }
    }
  }
  SUBCASE("versions and lengths that lie") {
    for (std::uint8_t mdtype : {1, 2, 7}) {
      const Frame good = nsh({.mdtype = mdtype, .metadata = 16});
      for (std::uint32_t version = 0; version < 4; ++version) {
        Frame frame = good;
        frame[14] = static_cast<std::uint8_t>((frame[14] & 0x3f) | version << 6);
        CHECK(Parse(frame).Has(kNshWord) == (version == 0));
      }
      for (std::uint32_t words = 0; words < 64; ++words) {
        CAPTURE(words);
        Frame frame = good;
        frame[15] = static_cast<std::uint8_t>((frame[15] & 0xc0) | words);
        const bool fits = words >= 2 && 14 + words * 4 <= good.size();
        const Parsed p = Parse(frame);
        CHECK(p.Has(kNshWord) == (mdtype == 1 ? words == 6 : fits));
        CHECK_FALSE(AnyFrom(p.map, kIp4Word));
      }
    }
  }
  SUBCASE("cut at every byte") {
    const Frame frame = EthernetFrame().Nsh().Build();
    for (std::size_t n = 14; n <= frame.size(); ++n)
      CHECK(Parse(std::span(frame).first(n)).Has(kNshWord) == (n == 14 + 24));
  }
}

// ------------------------------------------------------------------ what the bytes do not say

TEST_CASE("extract: metadata") {
  const Frame frame = V4().Udp(1, 2).Build();
  const FlowMap plain = Parse(frame).map;
  const auto with = [&](auto&& change) {
    HeapPacket packet(frame, 7);
    change(*packet);
    return Parse(*packet);
  };
  const auto plus = [&](Words words) {
    FlowMap map = plain;
    for (const std::size_t word : words) map.Add(word);
    return map;
  };
  constexpr std::size_t kHash = POLLUX_FLOW_WORD(dp_hash);
  constexpr std::size_t kPriority = POLLUX_FLOW_WORD(skb_priority);
  Parsed p = with([](Packet& packet) { packet.recirc_id = 9; });
  CHECK(p.flow.recirc_id == 9);
  CHECK(p.flow.in_port == 7);
  CHECK(p.map == plain);
  p = with([](Packet& packet) { packet.dp_hash = 0x80000000; });
  CHECK(p.flow.dp_hash == 0x80000000);
  CHECK(p.map == plus({kHash}));
  p = with([](Packet& packet) { packet.skb_mark = 1; });
  CHECK(p.flow.skb_mark == 1);
  CHECK(p.map == plus({kHash}));
  p = with([](Packet& packet) { packet.skb_priority = 0xffffffff; });
  CHECK(p.flow.skb_priority == 0xffffffff);
  CHECK(p.map == plus({kPriority}));
  p = with([](Packet& packet) {
    packet.recirc_id = 1, packet.dp_hash = 2, packet.skb_mark = 3, packet.skb_priority = 4;
  });
  CHECK(p.map == plus({kHash, kPriority}));
  CHECK(p.flow.recirc_id == 1);
  CHECK(p.flow.dp_hash == 2);
  CHECK(p.flow.skb_mark == 3);
  CHECK(p.flow.skb_priority == 4);
  CHECK(p.flow.packet_type == 0);
  CHECK(p.flow.tp_dst == ToBe16(2));
}

TEST_CASE("extract: tunnel metadata, with options of every size") {
  std::mt19937_64 random(11);
  PacketPool pool(std::size_t{16} << 20);
  for (const auto& frame :
       {V4().Udp(1, 2).Build(), EthernetFrame().Vlan(3).Mpls(1, true).Build()}) {
    const Parsed plain = Parse(frame);
    for (std::size_t size = 0; size <= kMaxTunnelOptions; size += 4) {
      CAPTURE(size);
      PacketPtr packet = pool.Copy(frame);
      packet->in_port = PortNumber{7};
      TunnelMetadata tunnel;
      tunnel.id = random() | 1;
      tunnel.ipv4_dst = Ip4("10.9.8.7");
      tunnel.ipv6_src = Ip6("2001:db8::7");
      tunnel.flags = kTunnelKey;
      tunnel.ttl = 64;
      tunnel.gtpu_message = 0xfe;
      tunnel.options_size = static_cast<std::uint8_t>(size);
      for (std::size_t i = 0; i < size; ++i)
        tunnel.options[i] = static_cast<std::uint8_t>(random() | 1);
      packet->SetTunnel(tunnel);
      const Parsed p = Parse(*packet);
      CHECK(std::memcmp(&p.flow.tunnel, &tunnel, sizeof tunnel) == 0);
      Flow rest = p.flow;
      rest.tunnel = {};
      CHECK(rest == plain.flow);
      FlowMap expected = plain.map;
      for (std::size_t i = 0; i < 9 + (size + 7) / 8; ++i) expected.Add(kTunnelWord + i);
      CHECK(p.map == expected);
      // Forgotten: nothing is left of it.
      packet->has_tunnel = false;
      CHECK(Parse(*packet).map == plain.map);
    }
  }
}

// Without Ethernet header and tags a packet has the same fields, at other offsets.
TEST_CASE("extract: packets without Ethernet header") {
  int seen = 0;
  for (const auto& kind : test::EveryKind()) {
    const std::string name = kind.name;
    if (name.find("802.2") != std::string::npos || name.find("snap") != std::string::npos) continue;
    CAPTURE(name);
    const Parsed whole = Parse(kind.frame);
    std::size_t cut = 14;
    while (IsVlanTpid(LoadAs<std::uint16_t>(kind.frame.data() + cut - 2)) && cut < 22) cut += 4;
    const auto bytes = std::span(kind.frame).subspan(cut);
    const Parsed p = ParseBare(FromBe16(whole.flow.eth_type), bytes);
    CHECK(p.l3 == (whole.l3 == kNo ? kNo : 0));
    CHECK(p.l4 == (whole.l4 == kNo ? kNo : whole.l4 - cut));
    CHECK(p.flow.packet_type == PacketTypeOf(whole.flow.eth_type));
    Flow expected = whole.flow;
    expected.packet_type = p.flow.packet_type;
    expected.eth_dst = expected.eth_src = {};
    expected.vlans = {};
    CHECK(p.flow == expected);
    CHECK_FALSE(p.Has(kEthWord));
    CHECK_FALSE(p.Has(kVlanWord));
    CHECK(p.Has(POLLUX_FLOW_WORD(packet_type)));
    ++seen;
  }
  CHECK(seen > 30);
  SUBCASE("the packet type is in network order") {
    CHECK(ParseBare(0x0800, {}).flow.packet_type == ToBe32(0x00010800));
  }
  SUBCASE("a type that says nothing, and one that would be a length") {
    for (const std::uint16_t type : {0x88b5, 0x0003, 0x05ff, 0x8100}) {
      const Parsed p = ParseBare(type, std::vector<std::uint8_t>(64, 0xaa));
      CHECK(p.flow.eth_type == ToBe16(type));
      CHECK(NoLayer3(p));
      CHECK_FALSE(AnyFrom(p.map, kVlanWord, kIp4Word));
    }
  }
}

}  // namespace
}  // namespace pollux
