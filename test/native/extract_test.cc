// The parser: every field of every header, and every way a header can lie.
#include "flow/extract.h"

#include <doctest/doctest.h>

#include <random>

#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux {
namespace {

using test::EthernetFrame;
using test::Frame;
using test::HeapPacket;
using test::Ip4;
using test::Ip6;
using test::Mac;
using test::Poke16;
using test::Poke8;

struct Parsed {
  Flow flow;
  std::uint64_t map = 0;
  std::uint16_t l3 = 0;
  std::uint16_t l4 = 0;

  bool Has(std::size_t word) const { return (map >> word & 1) != 0; }
};

Parsed Parse(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame, 7);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return {key.Expand(), key.map, packet->l3_offset, packet->l4_offset};
}

constexpr std::uint16_t kNo = Packet::kNoOffset;
constexpr std::size_t kIp4Word = POLLUX_FLOW_WORD(ipv4_src);
constexpr std::size_t kIp6Word = POLLUX_FLOW_WORD(ipv6_src);
constexpr std::size_t kIpWord = POLLUX_FLOW_WORD(ipv6_label);
constexpr std::size_t kPorts = POLLUX_FLOW_WORD(tp_src);
constexpr std::size_t kArpWord = POLLUX_FLOW_WORD(arp_sha);
constexpr std::size_t kNdWord = POLLUX_FLOW_WORD(nd_target);
constexpr std::size_t kVlanWord = POLLUX_FLOW_WORD(vlans);

bool NoLayer3(const Parsed& parsed) {
  return parsed.l3 == kNo && parsed.l4 == kNo && (parsed.map >> kIp4Word) == 0;
}
bool NoLayer4(const Parsed& parsed) { return parsed.l4 == kNo && (parsed.map >> kPorts) == 0; }

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
  CHECK(p.map == (1u << 0 | 1u << 3 | 1u << 4));
  CHECK(NoLayer3(p));
}

TEST_CASE("extract: the map holds exactly the words of headers that are there") {
  const std::uint64_t ethernet = 1u << 0 | 1u << 3 | 1u << 4;
  const std::uint64_t ip4 = 1u << 6 | 1u << 11;
  const std::uint64_t ip6 = 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11;
  const std::uint64_t arp = ip4 | 1u << 13 | 1u << 14;
  const std::uint64_t ports = 1u << 12;
  const std::uint64_t nd = ports | 1u << 13 | 1u << 14 | 1u << 15 | 1u << 16;
  const std::uint64_t tags = 1u << 5;
  const std::pair<const char*, std::uint64_t> kExpected[] = {{"ethernet", 0},
                                                             {"802.2", 0},
                                                             {"snap ipv4 udp", ip4 | ports},
                                                             {"arp", arp},
                                                             {"rarp", arp},
                                                             {"ipv4", ip4},
                                                             {"ipv4 tcp", ip4 | ports},
                                                             {"ipv4 tcp options", ip4 | ports},
                                                             {"ipv4 udp", ip4 | ports},
                                                             {"ipv4 udp no checksum", ip4 | ports},
                                                             {"ipv4 sctp", ip4 | ports},
                                                             {"ipv4 icmp", ip4 | ports},
                                                             {"ipv4 first fragment", ip4 | ports},
                                                             {"ipv4 later fragment", ip4},
                                                             {"ipv4 options udp", ip4 | ports},
                                                             {"ipv6", ip6},
                                                             {"ipv6 tcp", ip6 | ports},
                                                             {"ipv6 udp", ip6 | ports},
                                                             {"ipv6 sctp", ip6 | ports},
                                                             {"ipv6 icmpv6", ip6 | ports},
                                                             {"ipv6 extensions tcp", ip6 | ports},
                                                             {"ipv6 routing udp", ip6 | ports},
                                                             {"ipv6 used routing udp", ip6 | ports},
                                                             {"ipv6 first fragment", ip6 | ports},
                                                             {"ipv6 later fragment", ip6},
                                                             {"nd solicitation", ip6 | nd},
                                                             {"nd advertisement", ip6 | nd},
                                                             {"vlan", tags},
                                                             {"vlan ipv4 tcp", tags | ip4 | ports},
                                                             {"qinq ipv4 udp", tags | ip4 | ports},
                                                             {"qinq ipv6 udp", tags | ip6 | ports},
                                                             {"three tags", tags},
                                                             {"all zero", ip4 | ports},
                                                             {"ipv4 proto 0", ip4}};
  const auto frames = test::EveryKind();
  REQUIRE(frames.size() == std::size(kExpected));
  for (std::size_t i = 0; i < frames.size(); ++i) {
    CAPTURE(frames[i].name);
    REQUIRE(std::string(frames[i].name) == kExpected[i].first);
    CHECK(Parse(frames[i].frame).map == (ethernet | kExpected[i].second));
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
    CHECK(NoLayer3(Parse(V6({.next_header = 0}).Payload(7).Padding(padding).Build())));
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
    CHECK(Parse(V6().Fragment(0, false).Udp(1, 2).Build()).flow.nw_frag == kFragFirst);  // Atomic.
    for (bool more : {false, true}) {
      const Parsed later = Parse(V6().Fragment(1, more).Udp(1, 2).Build());
      CHECK(later.flow.nw_frag == kFragLater);
      CHECK(later.flow.nw_proto == 44);
      CHECK(later.flow.ipv6_src == Ip6("2001:db8::1"));
      CHECK(NoLayer4(later));
    }
  }
  SUBCASE("0 to 64 of them") {
    for (int n = 0; n <= 64; ++n) {
      EthernetFrame frame = V6();
      for (int i = 0; i < n; ++i) frame.Options(60);
      const Parsed p = Parse(frame.Udp(1, 2).Build());
      CAPTURE(n);
      CHECK(NoLayer3(p) == (n > kMaxIpv6Extensions));
      CHECK(p.Has(kPorts) == (n <= kMaxIpv6Extensions));
    }
  }
  SUBCASE("lengths that lie") {
    for (std::uint32_t length = 0; length < 256; ++length) {
      CAPTURE(length);
      for (std::uint8_t type : {0, 43, 60, 51}) {
        Frame frame = V6().Options(type).Udp(1, 2).Payload(16).Build();
        Poke8(frame, 55, static_cast<std::uint8_t>(length));
        const std::size_t says = type == 51 ? (length + 2) * 4 : (length + 1) * 8;
        CHECK(NoLayer3(Parse(frame)) == (says > 32));
      }
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
  SUBCASE("no room for the target") {
    const Frame frame = V6().Icmp(135, 0).Payload(15).Build();
    CHECK_FALSE(Parse(frame).Has(kNdWord));
    CHECK(Parse(frame).Has(kPorts));
  }
}

// Cut at byte n, a frame shows no field that the whole one has not, and those it shows are the
// same.
void CheckSubset(const Parsed& cut, const Parsed& whole) {
  CHECK((cut.map & ~whole.map) == 0);
  const FlowWords a = ToWords(cut.flow);
  const FlowWords b = ToWords(whole.flow);
  for (std::size_t i = POLLUX_FLOW_WORD(ipv4_src); i < kFlowWords; ++i) {
    // ND options may be cut off one by one.
    if (cut.Has(i) && i != kArpWord && i != kArpWord + 1) CHECK(a[i] == b[i]);
  }
}

TEST_CASE("extract: every kind of frame, cut at every byte") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    CAPTURE(name);
    const Parsed whole = Parse(frame);
    for (std::size_t n = kMinFrame; n < frame.size(); ++n) {
      CAPTURE(n);
      CheckSubset(Parse(std::span(frame).first(n)), whole);
    }
  }
}

TEST_CASE("extract: every kind of frame, cut at every byte, with a length that fits") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    CAPTURE(name);
    const Parsed whole = Parse(frame);
    if (whole.l3 == kNo || whole.Has(kArpWord)) continue;
    const bool ipv6 = whole.Has(kIp6Word);
    for (std::size_t n = whole.l3 + (ipv6 ? 40u : 20u); n < frame.size(); ++n) {
      CAPTURE(n);
      Frame cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n));
      Poke16(cut, whole.l3 + (ipv6 ? 4u : 2u),
             static_cast<std::uint16_t>(n - whole.l3 - (ipv6 ? 40 : 0)));
      const Parsed p = Parse(cut);
      CheckSubset(p, whole);
      if (p.l4 != kNo) CHECK(p.l4 == whole.l4);
    }
  }
}

TEST_CASE("extract: random changes never lead outside") {
  std::mt19937 random(20161103);
  const auto frames = test::EveryKind();
  for (int round = 0; round < 200'000; ++round) {
    Frame frame = frames[random() % frames.size()].frame;
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      frame[12 + random() % (frame.size() - 12)] = static_cast<std::uint8_t>(random());
    }
    if (random() % 4 == 0) frame.resize(kMinFrame + random() % (frame.size() - kMinFrame + 1));
    const Parsed p = Parse(frame);
    if (p.l3 != kNo) REQUIRE(p.l3 < frame.size());
    if (p.l4 != kNo) REQUIRE((p.l3 != kNo && p.l4 > p.l3 && p.l4 + 8u <= frame.size()));
    REQUIRE(p.Has(kPorts) == (p.l4 != kNo));
  }
}

}  // namespace
}  // namespace pollux
