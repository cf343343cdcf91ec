// Headers that come and go: the frame equals the one that was built with or without them, and the
// layer offsets lead to the headers still.
#include "actions_testbed.h"

namespace pollux::test {
namespace {

// A packet and what one does to it.
class Subject {
 public:
  explicit Subject(const Frame& frame, std::size_t headroom = 64, std::uint16_t l3_type = 0)
      : packet_(frame, 1, headroom) {
    packet_->l3_type = ToBe16(l3_type);
    KeyOf(*packet_);
  }

  template <typename Change>
  bool Do(const Change& change) {
    return Apply(change, *packet_);
  }
  Frame frame() const { return packet_.frame(); }
  std::uint16_t l3_type() { return FromBe16(packet_->l3_type); }
  Packet& packet() { return *packet_; }
  void CheckOffsets(std::uint16_t l3, std::uint16_t l4) {
    CHECK(packet_->l3_offset == l3);
    CHECK(packet_->l4_offset == l4);
  }
  void CheckNoOffsets() { CheckOffsets(Packet::kNoOffset, Packet::kNoOffset); }

 private:
  HeapPacket packet_;
};

PushVlanAction PushTag(std::uint16_t tci, std::uint16_t tpid = 0x8100) {
  return {{ToBe16(tpid), ToBe16(static_cast<std::uint16_t>(0x1000 | tci))}};
}
PushMplsAction PushLabel(std::uint32_t entry, bool front = false, std::uint16_t type = 0x8847) {
  return {ToBe32(entry), ToBe16(type), front};
}
PopMplsAction PopLabel(std::uint16_t type) { return {ToBe16(type)}; }
PushEthAction PushEth() { return {Mac("02:00:00:00:00:01"), Mac("02:00:00:00:00:02")}; }
PushNshAction PushNsh(const NshValues& values) {
  // The header as the builder has it, the next protocol to be filled in.
  Frame frame = EthernetFrame().Nsh(values).Build();
  frame.erase(frame.begin(), frame.begin() + 14);
  frame[3] = 0;
  return {std::make_shared<const std::vector<std::uint8_t>>(frame)};
}
Frame Joined(const Frame& a, const Frame& b) {
  Frame joined = a;
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}
const Frame kUdp = V4().Udp(1, 2).Payload(4).Build();
const Frame kUdp6 = V6().Udp(1, 2).Payload(4).Build();

}  // namespace

TEST_CASE("headers: VLAN") {
  const auto build = [](int tags) {
    EthernetFrame f;
    if (tags > 1) f.Vlan(100, 5, 0x88a8);
    if (tags > 0) f.Vlan(7);
    return f.Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(4).Build();
  };
  Subject s(build(0), 8);
  REQUIRE(s.Do(PushTag(7)));
  CHECK(s.frame() == build(1));
  s.CheckOffsets(18, 38);
  REQUIRE(s.Do(PushTag(0xa064, 0x88a8)));
  CHECK(s.frame() == build(2));
  s.CheckOffsets(22, 42);
  CHECK_FALSE(s.Do(PushTag(1)));  // No headroom left.
  CHECK(s.frame() == build(2));
  s.CheckOffsets(22, 42);
  REQUIRE(s.Do(PopVlanAction{}));
  CHECK(s.frame() == build(1));
  REQUIRE(s.Do(PopVlanAction{}));
  CHECK(s.frame() == build(0));
  s.CheckOffsets(14, 34);
  CHECK_FALSE(s.Do(PopVlanAction{}));
  CHECK(s.frame() == build(0));
}

TEST_CASE("headers: VLAN at the limits") {
  Subject no_layers(EthernetFrame().Build(), 4);
  REQUIRE(no_layers.Do(PushTag(0)));
  no_layers.CheckNoOffsets();
  CHECK(no_layers.frame().size() == 18);
  REQUIRE(no_layers.Do(PopVlanAction{}));
  CHECK(no_layers.frame() == EthernetFrame().Build());

  const Frame tagged = EthernetFrame().Vlan(5).Build();
  for (std::size_t n = 14; n < 18; ++n) {
    const Frame cut(tagged.begin(), tagged.begin() + static_cast<std::ptrdiff_t>(n));
    Subject s(cut);
    CHECK_FALSE(s.Do(PopVlanAction{}));
    CHECK(s.frame() == cut);
  }
  Subject huge{Frame(kMaxFrame)};
  CHECK_FALSE(huge.Do(PushTag(0)));
  Subject large{Frame(kMaxFrame - 4)};
  CHECK(large.Do(PushTag(0)));
  CHECK(large.frame().size() == kMaxFrame);
  // Without an Ethernet header there is no place for a tag.
  Subject l3(WithoutEthernet(kUdp), 64, 0x0800);
  CHECK_FALSE(l3.Do(PushTag(0)));
  CHECK_FALSE(l3.Do(PopVlanAction{}));
  CHECK_FALSE(l3.Do(PopEthAction{}));
  CHECK(l3.frame() == WithoutEthernet(kUdp));
}

TEST_CASE("headers: MPLS behind the Ethernet header and its tags") {
  for (int tags = 0; tags < 3; ++tags) {
    CAPTURE(tags);
    const auto build = [&](int labels) {
      EthernetFrame f;
      for (int i = 0; i < tags; ++i) f.Vlan(static_cast<std::uint16_t>(5 + i));
      if (labels > 1) f.Mpls(2, false, 7, 9, 0x8848);
      if (labels > 0) f.Mpls(1, true, 0, 64, labels > 1 ? 0x8848 : 0x8847);
      return f.Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(4).Build();
    };
    Subject s(build(0));
    REQUIRE(s.Do(PushLabel(1 << 12 | 0x140)));
    CHECK(s.frame() == build(1));
    s.CheckNoOffsets();
    REQUIRE(s.Do(PushLabel(2 << 12 | 7 << 9 | 9, false, 0x8848)));
    CHECK(s.frame() == build(2));
    REQUIRE(s.Do(PopLabel(0x8847)));
    CHECK(s.frame() == build(1));
    REQUIRE(s.Do(PopLabel(0x0800)));
    CHECK(s.frame() == build(0));
    s.CheckNoOffsets();
    CHECK_FALSE(s.Do(PopLabel(0x0800)));
    CHECK(s.frame() == build(0));
  }
  // With SNAP, the EtherType is there.
  const Frame snap = EthernetFrame().Snap().Type(0x0800).Payload(20).Build();
  Subject s(snap);
  REQUIRE(s.Do(PushLabel(0x140)));
  CHECK(Peek16(s.frame(), 20) == 0x8847);
  CHECK(Peek16(s.frame(), 22) == 0);
  CHECK(Peek16(s.frame(), 24) == 0x140);
  REQUIRE(s.Do(PopLabel(0x0800)));
  CHECK(s.frame() == snap);
  // 802.2 without SNAP has none.
  const Frame llc = EthernetFrame().Type(40).Payload(40).Build();
  Subject none(llc);
  CHECK_FALSE(none.Do(PushLabel(0x140)));
  CHECK_FALSE(none.Do(PopLabel(0x0800)));
  CHECK_FALSE(none.Do(PopEthAction{}));
  CHECK(none.frame() == llc);
  // Half a label.
  const Frame cut = EthernetFrame().Type(0x8847).Raw({1, 2, 3}).Build();
  Subject half(cut);
  CHECK_FALSE(half.Do(PopLabel(0x0800)));
  CHECK(half.frame() == cut);
}

TEST_CASE("headers: MPLS in front of the Ethernet header") {
  Subject s(kUdp);
  REQUIRE(s.Do(PushLabel(0x5140, true)));
  CHECK(s.l3_type() == 0x8847);
  CHECK(s.frame() == Joined({0, 0, 0x51, 0x40}, kUdp));
  s.CheckNoOffsets();
  // One more, wherever it is said to go: nothing is in front of it.
  REQUIRE(s.Do(PushLabel(0x6040, false, 0x8848)));
  CHECK(s.l3_type() == 0x8848);
  CHECK(s.frame() == Joined({0, 0, 0x60, 0x40, 0, 0, 0x51, 0x40}, kUdp));
  REQUIRE(s.Do(PopLabel(0x8847)));
  CHECK(s.l3_type() == 0x8847);
  SUBCASE("popped to Ethernet") {
    REQUIRE(s.Do(PopLabel(0x6558)));
    CHECK(s.l3_type() == 0);
    CHECK(s.frame() == kUdp);
  }
  SUBCASE("popped to something else") {
    REQUIRE(s.Do(PopLabel(0x0800)));
    CHECK(s.l3_type() == 0x0800);
  }
  SUBCASE("with an Ethernet header of its own") {
    REQUIRE(s.Do(PushEth()));
    CHECK(s.l3_type() == 0);
    CHECK(s.frame() == Joined(EthernetFrame().Type(0x8847).Raw({0, 0, 0x51, 0x40}).Build(), kUdp));
    // What follows the label is then no packet of its own.
    REQUIRE(s.Do(PopLabel(0x6558)));
    CHECK(s.l3_type() == 0);
    CHECK(s.frame() == Joined(EthernetFrame().Type(0x6558).Build(), kUdp));
  }
  SUBCASE("no whole Ethernet header behind it") {
    Subject small(Frame(17), 0, 0x8847);
    CHECK_FALSE(small.Do(PopLabel(0x6558)));
    CHECK(small.l3_type() == 0x8847);
    Subject enough(Frame(18), 0, 0x8847);
    CHECK(enough.Do(PopLabel(0x6558)));
  }
}

TEST_CASE("headers: Ethernet") {
  Subject s(kUdp);
  CHECK_FALSE(s.Do(PushEth()));
  REQUIRE(s.Do(PopEthAction{}));
  CHECK(s.l3_type() == 0x0800);
  CHECK(s.frame() == WithoutEthernet(kUdp));
  s.CheckOffsets(0, 20);
  REQUIRE(s.Do(PushEth()));
  CHECK(s.l3_type() == 0);
  CHECK(s.frame() == kUdp);
  s.CheckOffsets(14, 34);

  const Frame tagged = EthernetFrame().Vlan(5).Payload(20).Build();
  Subject with_tag(tagged);
  CHECK_FALSE(with_tag.Do(PopEthAction{}));
  CHECK(with_tag.frame() == tagged);

  Subject snap(EthernetFrame().Snap().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(4).Build());
  REQUIRE(snap.Do(PopEthAction{}));
  CHECK(snap.l3_type() == 0x0800);
  CHECK(snap.frame() == WithoutEthernet(kUdp));

  Subject bare(EthernetFrame().Build());
  REQUIRE(bare.Do(PopEthAction{}));
  CHECK(bare.frame().empty());
  CHECK(bare.l3_type() == 0x88b5);
  REQUIRE(bare.Do(PushEth()));
  CHECK(bare.frame() == EthernetFrame().Build());

  Subject no_room(WithoutEthernet(kUdp), 13, 0x0800);
  CHECK_FALSE(no_room.Do(PushEth()));
  CHECK(no_room.l3_type() == 0x0800);
}

TEST_CASE("headers: NSH") {
  const struct {
    Frame inside;
    std::uint16_t type;
    std::uint8_t np;
  } kContents[] = {{kUdp, 0, 3},
                   {WithoutEthernet(kUdp), 0x0800, 1},
                   {WithoutEthernet(kUdp6), 0x86dd, 2},
                   {WithoutEthernet(EthernetFrame().Nsh().Payload(9).Build()), 0x894f, 4}};
  for (const auto& [inside, type, np] : kContents) {
    for (NshValues values : {NshValues{.flags = 2, .ttl = 9}, NshValues{.mdtype = 2},
                             NshValues{.mdtype = 2, .metadata = 244}}) {
      const auto of = type;  // A lambda cannot capture a structured binding.
      CAPTURE(of);
      Subject s(inside, 300, type);
      REQUIRE(s.Do(PushNsh(values)));
      values.np = np;
      CHECK(s.l3_type() == 0x894f);
      CHECK(s.frame() == Joined(WithoutEthernet(EthernetFrame().Nsh(values).Build()), inside));
      s.CheckNoOffsets();
      REQUIRE(s.Do(PopNshAction{}));
      CHECK(s.l3_type() == type);
      CHECK(s.frame() == inside);
      s.CheckNoOffsets();
    }
  }
  Subject arp(WithoutEthernet(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build()), 64, 0x0806);
  CHECK_FALSE(arp.Do(PushNsh({})));
  CHECK(arp.l3_type() == 0x0806);
}

TEST_CASE("headers: an NSH that is none, or contains what nobody knows, stays") {
  const auto refused = [](const Frame& frame, std::uint16_t type = 0x894f) {
    Subject s(frame, 0, type);
    CHECK_FALSE(s.Do(PopNshAction{}));
    CHECK(s.frame() == frame);
    CHECK(s.l3_type() == type);
  };
  const auto nsh = [](const NshValues& values, std::size_t payload = 20) {
    return WithoutEthernet(EthernetFrame().Nsh(values).Payload(payload).Build());
  };
  for (const std::uint8_t np : {0, 5, 6, 0xfe, 0xff}) refused(nsh({.np = np}));
  refused(EthernetFrame().Nsh().Payload(20).Build(), 0);
  refused(nsh({.np = 1}), 0x0800);
  refused(nsh({.np = 3}, 13));  // Not even an Ethernet header.
  Subject enough(nsh({.np = 3}, 14), 0, 0x894f);
  CHECK(enough.Do(PopNshAction{}));
  Subject nothing(nsh({.np = 1}, 0), 0, 0x894f);
  CHECK(nothing.Do(PopNshAction{}));
  CHECK(nothing.frame().empty());
  const Frame good = nsh({.np = 1});
  for (std::size_t n = 0; n < 24; ++n)
    refused(Frame(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)));
  for (int words = 0; words < 64; ++words) {
    Frame frame = good;
    frame[1] = static_cast<std::uint8_t>((frame[1] & 0xc0) | words);
    if (words != 6) refused(frame);  // Metadata of type 1 has one length.
    frame[2] = 2;
    if (words < 2 || words * 4u > frame.size()) refused(frame);
  }
  Frame version = good;
  version[0] |= 0x40;
  refused(version);
}

TEST_CASE("headers: a packet without headroom moves back in its chunk") {
  PacketPool pool;
  PacketPtr packet = pool.Copy(kUdp);
  KeyOf(*packet);
  const std::uint32_t room = packet->headroom() + packet->tailroom();
  std::uint32_t pushed = 0;
  while (Apply(PushLabel(pushed), *packet)) pushed += 4;
  CHECK(pushed > room - 4);
  CHECK(packet->headroom() < 4);
  while (pushed > 0) {
    pushed -= 4;
    REQUIRE(Peek16(packet->bytes(), 16) == pushed);
    REQUIRE(Apply(PopLabel(pushed > 0 ? 0x8847 : 0x0800), *packet));
  }
  CHECK(std::equal(kUdp.begin(), kUdp.end(), packet->data, packet->data + packet->size));
}

TEST_CASE("headers: length") {
  SUBCASE("an Ethernet header always stays") {
    for (std::uint32_t by = 0; by < 100; ++by) {
      Subject s(kUdp);
      Shorten(s.packet(), by);
      const std::size_t left = kUdp.size() < by + 14 ? 14 : kUdp.size() - by;
      CHECK(s.frame() == Frame(kUdp.begin(), kUdp.begin() + static_cast<std::ptrdiff_t>(left)));
      s.CheckNoOffsets();
    }
    Subject small(Frame(5), 0, 0x0800);
    Shorten(small.packet(), 3);
    CHECK(small.frame().size() == 5);
  }
  SUBCASE("padding") {
    const auto padding = [](const EthernetFrame& built) {
      HeapPacket packet(built.Build());
      KeyOf(*packet);
      return packet->size - LengthOf(*packet);
    };
    CHECK(padding(V4().Udp(1, 2).Padding(7)) == 7);
    CHECK(padding(V6().Udp(1, 2).Padding(8)) == 8);
    CHECK(padding(V6().Options(0).Tcp(1, 2).Padding(8)) == 8);
    CHECK(padding(V4().Udp(1, 2)) == 0);
    CHECK(padding(EthernetFrame().Vlan(5).Ipv4("1.1.1.1", "2.2.2.2").Padding(9)) == 9);
    CHECK(padding(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Padding(18)) == 0);
    CHECK(padding(EthernetFrame().Mpls(1, true).Ipv4("1.1.1.1", "2.2.2.2").Padding(9)) == 0);
  }
  SUBCASE("padding is known behind headers that were pushed, and less of it when it is cut") {
    const Frame padded = V4().Udp(1, 2).Payload(4).Padding(7).Build();
    const std::uint32_t size = static_cast<std::uint32_t>(padded.size());
    const auto length = [&](auto... changes) {
      Subject s(padded);
      const bool all = (Apply(changes, s.packet()) && ... && true);
      REQUIRE(all);
      return LengthOf(s.packet());
    };
    CHECK(length() == size - 7);
    CHECK(length(PushLabel(0x1140)) == size - 7 + 4);
    CHECK(length(PushLabel(0x1040), PushLabel(0x1140)) == size - 7 + 8);
    CHECK(length(PushLabel(0x1140), PopLabel(0x0800)) == size - 7);
    CHECK(length(PushLabel(0x1140, true)) == size - 7 + 4);
    CHECK(length(PushNsh({})) == size - 7 + 24);
    CHECK(length(PushNsh({}), PushEth()) == size - 7 + 24 + 14);
    CHECK(length(PushTag(5), PushLabel(0x1140)) == size - 7 + 8);
    for (const std::uint32_t by : {0u, 3u, 7u, 9u}) {
      Subject s(padded);
      REQUIRE(Apply(PushLabel(0x1140), s.packet()));
      // What trunc is about to cut, and what it has cut.
      const std::uint32_t expected = std::min(size - 7 + 4, size + 4 - by);
      CHECK(LengthOf(s.packet(), by) == expected);
      Shorten(s.packet(), by);
      CHECK(LengthOf(s.packet()) == expected);
    }
    Subject s(padded);
    CHECK(LengthOf(s.packet(), size - 14) == 14);
    CHECK(LengthOf(s.packet(), 2 * size) == 14);
  }
}

TEST_CASE("headers: labels behind an 802.3 length are in it") {
  const Frame plain = EthernetFrame().Snap().Ipv4("1.1.1.1", "2.2.2.2").Udp(1, 2).Build();
  const Frame labelled = [] {
    Frame frame = EthernetFrame().Snap().Mpls(5, true).Build();
    const Frame ip = EthernetFrame().Ipv4("1.1.1.1", "2.2.2.2").Udp(1, 2).Build();
    frame.insert(frame.end(), ip.begin() + 14, ip.end());
    Poke16(frame, 12, static_cast<std::uint16_t>(frame.size() - 14));
    return frame;
  }();
  Subject s(plain);
  REQUIRE(Apply(PushLabel(5 << 12 | 0x140), s.packet()));
  CHECK(s.frame() == labelled);
  REQUIRE(Apply(PopLabel(0x0800), s.packet()));
  CHECK(s.frame() == plain);
  // No length can say that there are 1,536 bytes.
  Subject longest(EthernetFrame().Snap().Payload(1'524).Build());
  CHECK_FALSE(Apply(PushLabel(0x1140), longest.packet()));
}

TEST_CASE("headers: hash") {
  const auto hash = [](HashAction::Algorithm algorithm, const Frame& frame,
                       std::uint32_t basis = 0) {
    HeapPacket packet(frame);
    KeyOf(*packet);
    const std::uint16_t l3 = packet->l3_offset;
    REQUIRE(Apply(HashAction{algorithm, basis}, *packet));
    CHECK(packet->l3_offset == l3);
    CHECK(packet.frame() == frame);
    CHECK(packet->dp_hash != 0);
    return packet->dp_hash;
  };
  constexpr auto kL4 = HashAction::Algorithm::kLayer4;
  constexpr auto kSym = HashAction::Algorithm::kSymmetricLayer4;
  const auto v4 = [](const char* a, const char* b) { return EthernetFrame().Ipv4(a, b); };
  const auto v6 = [](const char* a, const char* b) { return EthernetFrame().Ipv6(a, b); };
  const Frame there = v4("10.0.0.1", "10.0.0.2").Tcp(1000, 80).Build();
  const Frame back = v4("10.0.0.2", "10.0.0.1").Tcp(80, 1000).Build();
  const Frame there6 = v6("fe80::1", "fe80::2").Sctp(1000, 80).Build();
  const Frame back6 = v6("fe80::2", "fe80::1").Sctp(80, 1000).Build();

  CHECK(hash(kL4, there) == hash(kL4, there));
  CHECK(hash(kL4, there) != hash(kL4, there, 1));
  CHECK(hash(kL4, there) != hash(kL4, back));
  CHECK(hash(kL4, there6) != hash(kL4, back6));
  CHECK(hash(kL4, there) != hash(kL4, v4("10.0.0.1", "10.0.0.2").Tcp(1001, 80).Build()));
  CHECK(hash(kL4, there) != hash(kL4, v4("10.0.0.1", "10.0.0.3").Tcp(1000, 80).Build()));
  CHECK(hash(kL4, there) != hash(kL4, v4("10.0.0.1", "10.0.0.2").Udp(1000, 80).Build()));

  CHECK(hash(kSym, there) == hash(kSym, back));
  CHECK(hash(kSym, there6) == hash(kSym, back6));
  CHECK(hash(kSym, there) != hash(kSym, there, 1));
  CHECK(hash(kSym, there) != hash(kSym, v4("10.0.0.1", "10.0.0.2").Tcp(1001, 80).Build()));
  // Two pairs that differ in the same bits.
  CHECK(hash(kSym, there) != hash(kSym, v4("10.0.1.1", "10.0.1.2").Tcp(1000, 80).Build()));
  // UDP's ports are not symmetric in general.
  CHECK(hash(kSym, v4("10.0.0.1", "10.0.0.2").Udp(1, 2).Build()) ==
        hash(kSym, v4("10.0.0.2", "10.0.0.1").Udp(3, 4).Build()));
  // The fragments of a datagram stay together.
  const auto fragment = [](std::uint16_t bits) { return V4({.fragment = bits, .protocol = 6}); };
  for (const auto algorithm : {kL4, kSym}) {
    CHECK(hash(algorithm, fragment(0x2000).Tcp(5, 6).Build()) ==
          hash(algorithm, fragment(0x0004).Payload(30).Build()));
    // Without IP: the Ethernet addresses, in either order for the symmetric one.
    const auto plain = [](const char* dst, const char* src) {
      return EthernetFrame(dst, src).Payload(20).Build();
    };
    const Frame one_way = plain("02:00:00:00:00:01", "02:00:00:00:00:02");
    const Frame other_way = plain("02:00:00:00:00:02", "02:00:00:00:00:01");
    CHECK((hash(algorithm, one_way) == hash(algorithm, other_way)) == (algorithm == kSym));
    CHECK(hash(algorithm, one_way) !=
          hash(algorithm, plain("02:00:00:00:00:01", "02:00:00:00:00:03")));
  }
  CHECK(hash(kSym, EthernetFrame().Vlan(5).Payload(20).Build()) !=
        hash(kSym, EthernetFrame().Vlan(6).Payload(20).Build()));
  for (const NamedFrame& kind : EveryKind()) {
    hash(kL4, kind.frame);
    hash(kSym, kind.frame);
  }
}

}  // namespace pollux::test
