// What kernels leave to a card inside of tunnels: carried, finished, cut, or refused.
#include <doctest/doctest.h>

#include <random>

#include "actions_testbed.h"
#include "finished.h"
#include "netdev/af_xdp/partial_checksum.h"
#include "packet/offload.h"
#include "packet/segmenter.h"
#include "tunnel_builder.h"

TEST_SUITE_BEGIN("computing");

namespace pollux::test {
namespace {

EthernetFrame InnerHeaders(bool ipv6, bool tcp) {
  EthernetFrame frame;
  if (ipv6) {
    frame.Ipv6("2001:db8::1", "2001:db8::2");
  } else {
    frame.Ipv4("10.0.0.1", "10.0.0.2");
  }
  return tcp ? frame.Tcp(1, 2, 0x099, 12) : frame.Udp(1, 2);
}

// The checksum of the inner packet as its sender leaves it.
void MakePartial(Frame& frame, bool ipv6, std::uint8_t protocol, std::size_t check_at) {
  const std::size_t l4 = ipv6 ? 54 : 34;
  std::uint64_t sum = protocol + (frame.size() - l4);
  for (std::size_t at = ipv6 ? 22 : 26; at < l4; at += 2) sum += Peek16(frame, at);
  Poke16(frame, l4 + check_at, static_cast<std::uint16_t>(~SlowChecksum({}, sum)));
}

struct Sent {
  Frame frame;
  OffloadHeader header;
};
Sent Send(const Wrapping& wrapping, bool tcp, std::size_t payload, std::uint16_t gso_size) {
  const bool ipv6 = wrapping.ipv6_inside;
  Frame inner = InnerHeaders(ipv6, tcp).Payload(payload).Build();
  const std::size_t check_at = tcp ? 16 : 6;
  MakePartial(inner, ipv6, tcp ? 6 : 17, check_at);
  Sent sent;
  sent.frame = Wrap(wrapping, inner, gso_size != 0);
  // Where the inner checksum is still partial, the sum over all is made as if it were complete.
  if (gso_size == 0) {
    sent.frame = Wrap(wrapping, InnerHeaders(ipv6, tcp).Payload(payload).Build(), false);
    const std::size_t at = OuterSize(wrapping) + (ipv6 ? 54 : 34) + check_at;
    Poke16(sent.frame, at, Peek16(inner, (ipv6 ? 54u : 34u) + check_at));
  }
  sent.header.flags = OffloadHeader::kNeedsChecksum;
  sent.header.csum_start = static_cast<std::uint16_t>(OuterSize(wrapping) + (ipv6 ? 54 : 34));
  sent.header.csum_offset = static_cast<std::uint16_t>(check_at);
  if (gso_size == 0) return sent;
  sent.header.gso_size = gso_size;
  sent.header.gso_type = !tcp   ? OffloadHeader::kGsoUdp
                         : ipv6 ? OffloadHeader::kGsoTcp6
                                : OffloadHeader::kGsoTcp4;
  return sent;
}

std::vector<Wrapping> EveryWrapping() {
  std::vector<Wrapping> all;
  for (const Tunnel& tunnel : EveryTunnel()) {
    for (const bool ipv6 : {false, true}) {
      for (const bool inside : {false, true}) {
        for (const bool checksum : {false, true}) {
          if (checksum && tunnel.kind != Tunnel::Kind::kUdp) continue;
          all.push_back({tunnel, ipv6, checksum, inside});
        }
      }
    }
  }
  return all;
}

Frame BytesOf(const Packet& packet) { return {packet.data, packet.data + packet.size}; }

// Segments of the frame as they come out: whole, numbered, and right inside and outside.
void CheckSegments(const Wrapping& wrapping, bool tcp, std::size_t payload, std::uint16_t gso_size,
                   const std::vector<PacketPtr>& segments) {
  const bool ipv6 = wrapping.ipv6_inside;
  REQUIRE(segments.size() == (payload + gso_size - 1) / gso_size);
  const Frame whole = InnerHeaders(ipv6, tcp).Payload(payload).Build();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    CAPTURE(i);
    std::string why;
    const Frame frame = BytesOf(*segments[i]);
    CHECK(segments[i]->offloads == 0);
    Frame inner = Unwrap(wrapping, frame, why);
    REQUIRE(why == "");
    if (!wrapping.ipv6) CHECK(Peek16(frame, 18) == 0x1234 + i);
    // As built by itself, but for what is counted on.
    const std::size_t l4 = ipv6 ? 54 : 34;
    const std::size_t headers = l4 + (tcp ? 32 : 8);
    const std::size_t length = std::min<std::size_t>(gso_size, payload - i * gso_size);
    Frame expected = InnerHeaders(ipv6, tcp).Payload(length).Build();
    REQUIRE(inner.size() == expected.size());
    const auto at = whole.begin() + static_cast<std::ptrdiff_t>(headers + i * gso_size);
    CHECK(std::equal(at, at + static_cast<std::ptrdiff_t>(length),
                     inner.begin() + static_cast<std::ptrdiff_t>(headers)));
    std::uint64_t pseudo = (tcp ? 6u : 17u) + inner.size() - l4;
    for (std::size_t a = ipv6 ? 22 : 26; a < l4; a += 2) pseudo += Peek16(inner, a);
    CHECK(SlowChecksum(std::span(inner).subspan(l4), pseudo) == 0);
    if (!ipv6) {
      CHECK(Peek16(inner, 18) == 0x1234 + i);
      CHECK(SlowChecksum(std::span(inner).subspan(14, 20)) == 0);
      CHECK(Peek16(inner, 16) == inner.size() - 14);
    } else {
      CHECK(Peek16(inner, 18) == inner.size() - 54);
    }
    if (!tcp) {
      CHECK(Peek16(inner, l4 + 4) == inner.size() - l4);
      continue;
    }
    CHECK((Peek16(inner, l4 + 4) << 16 | Peek16(inner, l4 + 6)) == 1 + i * gso_size);
    const bool first = i == 0;
    const bool last = i + 1 == segments.size();
    CHECK(inner[l4 + 13] == (0x10 | (first ? 0x80 : 0) | (last ? 0x09 : 0)));
  }
}

std::vector<PacketPtr> CutFor(PacketPool& pool, PacketPtr packet, Offloads taken) {
  std::vector<PacketPtr> out;
  Segmenter segmenter;
  REQUIRE(segmenter.Start(packet, taken));
  while (!segmenter.done()) {
    out.push_back(segmenter.Next(pool));
    REQUIRE(out.back() != nullptr);
  }
  return out;
}

}  // namespace

TEST_CASE("tunnels: segments that the kernel leaves inside are cut inside and outside") {
  PacketPool pool;
  for (const Wrapping& wrapping : EveryWrapping()) {
    for (const bool tcp : {false, true}) {
      for (const std::size_t payload : {1u, 1000u, 2500u, 60'000u}) {
        CAPTURE(wrapping.tunnel.name);
        CAPTURE(wrapping.ipv6);
        CAPTURE(wrapping.ipv6_inside);
        CAPTURE(wrapping.checksum);
        CAPTURE(tcp);
        CAPTURE(payload);
        const Sent sent = Send(wrapping, tcp, payload, 1000);
        PacketPtr packet = pool.Copy(sent.frame);
        REQUIRE(AcceptOffloads(*packet, sent.header));
        CHECK(packet->is_gso());
        const bool one_udp = wrapping.tunnel.kind == Tunnel::Kind::kUdp && wrapping.tunnel.ethernet;
        CHECK((packet->offloads & (kOffloadUdpTunnel | kOffloadTunnel)) ==
              (one_udp ? kOffloadUdpTunnel : kOffloadTunnel));
        // What a kernel is told that takes it whole.
        const OffloadHeader told = OffloadsOf(*packet);
        CHECK(told.gso_type == sent.header.gso_type);
        CHECK(told.csum_start == sent.header.csum_start);
        CHECK(told.hdr_len == sent.header.csum_start + (tcp ? 32 : 8));
        const WireSize wire = OnWire(*packet);
        const std::vector<PacketPtr> segments = CutFor(pool, std::move(packet), 0);
        CheckSegments(wrapping, tcp, payload, 1000, segments);
        CHECK(wire.packets == segments.size());
        CHECK(wire.largest == segments.front()->size);
        CHECK(wire.smallest == segments.back()->size);
      }
    }
  }
  CHECK(pool.held() == 0);
}

TEST_CASE("tunnels: datagrams for who can cut UDP are the very segments") {
  PacketPool pool;
  for (const Wrapping& wrapping : EveryWrapping()) {
    // One that has its checksums, as the kernel will give the others, too.
    if (wrapping.tunnel.kind != Tunnel::Kind::kUdp || !wrapping.checksum) continue;
    for (const bool tcp : {false, true}) {
      for (const std::size_t payload : {900u, 2500u, 64'500u}) {
        CAPTURE(wrapping.tunnel.name);
        CAPTURE(payload);
        const Sent sent = Send(wrapping, tcp, payload, 1000);
        PacketPtr one = pool.Copy(sent.frame);
        PacketPtr other = pool.Copy(sent.frame);
        REQUIRE(AcceptOffloads(*one, sent.header));
        REQUIRE(AcceptOffloads(*other, sent.header));
        const std::vector<PacketPtr> segments = CutFor(pool, std::move(one), 0);
        const std::vector<PacketPtr> frames = CutFor(pool, std::move(other), kOffloadAll);
        CHECK(frames.size() == (payload < 64'000 ? 1 : 2));
        std::size_t i = 0;
        for (const PacketPtr& frame : frames) {
          // As a kernel sees it that knows of no tunnel.
          PacketPtr plain = pool.Copy(frame->bytes());
          CHECK(frame->size <= kMaxFrame);
          if (frame->offloads != 0) {
            CHECK(frame->offloads == (kOffloadUdpChecksum | kOffloadUdp));
            REQUIRE(AcceptOffloads(*plain, OffloadsOf(*frame)));
            CHECK(plain->offloads == frame->offloads);
          }
          for (const PacketPtr& datagram : Finished(pool, std::move(plain))) {
            REQUIRE(i < segments.size());
            CHECK(BytesOf(*datagram) == BytesOf(*segments[i]));
            ++i;
          }
        }
        CHECK(i == segments.size());
      }
    }
  }
}

TEST_CASE("tunnels: a partial checksum inside is carried, found, and finished") {
  PacketPool pool;
  for (const Wrapping& wrapping : EveryWrapping()) {
    for (const bool tcp : {false, true}) {
      CAPTURE(wrapping.tunnel.name);
      CAPTURE(wrapping.ipv6);
      CAPTURE(wrapping.checksum);
      CAPTURE(tcp);
      const Sent sent = Send(wrapping, tcp, 333, 0);
      const Frame complete =
          Wrap(wrapping, InnerHeaders(wrapping.ipv6_inside, tcp).Payload(333).Build(), false);
      for (const bool told : {true, false}) {
        CAPTURE(told);
        PacketPtr packet = pool.Copy(sent.frame);
        if (told) {
          REQUIRE(AcceptOffloads(*packet, sent.header));
        } else {
          FindPartialChecksum(*packet);
        }
        CHECK(packet->offloads == (tcp ? kOffloadTcpChecksum : kOffloadUdpChecksum));
        CHECK(packet->csum_start == sent.header.csum_start);
        // Nothing outside speaks of it: addresses there are followed by the checksum there.
        Miniflow key;
        ExtractMiniflow(*packet, key);
        SetFields<Ipv4Fields> set{};
        set.value.src = Ip4("9.8.7.6");
        set.mask.src = UINT32_MAX;
        SetFields<Ipv6Fields> set6{};
        set6.value.src = Ip6("9::6");
        set6.mask.src.fill(0xff);
        REQUIRE((wrapping.ipv6 ? Apply(set6, *packet) : Apply(set, *packet)));
        FinishChecksum(*packet);
        std::string why;
        CHECK(Unwrap(wrapping, BytesOf(*packet), why) == Unwrap(wrapping, complete, why));
        CHECK(why == "");
      }
    }
  }
}

// By protocol, of what is plain and what is in a tunnel.
TEST_CASE("tunnels: what a frame lacks is told by its bytes") {
  using Kind = Lack::Kind;
  struct Row {
    std::uint8_t protocol;
    std::uint32_t offset;
    Kind kind;
  };
  const Row rows[] = {
      {6, 16, Kind::kTcp},       {6, 6, Kind::kUnknown},    {6, 8, Kind::kUnknown},
      {17, 6, Kind::kUdp},       {17, 16, Kind::kUnknown},  {132, 8, Kind::kCrc32c},
      {132, 6, Kind::kUnknown},  {132, 16, Kind::kUnknown}, {1, 2, Kind::kInternet},
      {58, 2, Kind::kInternet},  {58, 6, Kind::kUnknown},   {2, 2, Kind::kInternet},
      {136, 6, Kind::kInternet}, {33, 6, Kind::kInternet},  {89, 12, Kind::kInternet},
      {89, 8, Kind::kUnknown},   {6, 4000, Kind::kUnknown},
  };
  std::vector<Wrapping> wrappings = EveryWrapping();
  wrappings.push_back({});  // None.
  for (const bool inside : {false, true}) {
    wrappings.back().ipv6_inside = inside;
    for (const Wrapping& wrapping : wrappings) {
      const bool plain = std::string(wrapping.tunnel.name).empty();
      const bool ipv6 = wrapping.ipv6_inside;
      for (const Row& row : rows) {
        CAPTURE(wrapping.tunnel.name);
        CAPTURE(row.protocol);
        CAPTURE(row.offset);
        const auto build = [&](std::uint16_t fragment) {
          EthernetFrame frame;
          if (ipv6) {
            frame.Ipv6("2001:db8::1", "2001:db8::2", {.next_header = row.protocol});
          } else {
            frame.Ipv4("10.0.0.1", "10.0.0.2", {.fragment = fragment, .protocol = row.protocol});
          }
          Frame inner = frame.Payload(60).Build();
          const std::size_t l4 = ipv6 ? 54 : 34;
          inner[l4 + 12] = 0x50;                               // TCP's length,
          inner[l4 + 9] = 0;                                   // DCCP's coverage,
          if (row.protocol == 136) Poke16(inner, l4 + 4, 60);  // and UDP-Lite's.
          return plain ? inner : Wrap(wrapping, inner, false);
        };
        const auto start =
            static_cast<std::uint32_t>((plain ? 0 : OuterSize(wrapping)) + (ipv6 ? 54 : 34));
        const Frame frame = build(0);
        const Lack lack = LackOf(frame, start, row.offset);
        CHECK(lack.kind == row.kind);
        if (lack.kind != Kind::kUnknown) CHECK(lack.end == frame.size());
        // The rest of what a fragment lacks is elsewhere.
        if (!ipv6) CHECK(LackOf(build(0x2000), start, row.offset).kind == Kind::kUnknown);
        // What nobody can see starts there: virtio's checksum, but where Linux has SCTP's.
        if (row.offset < 40) {
          CHECK(LackOf(frame, start + 1, row.offset).kind ==
                (row.offset == 8 ? Kind::kUnknown : Kind::kInternet));
        }
      }
    }
  }
}

TEST_CASE("tunnels: SCTP is finished with its own sum, whether we are told or not") {
  PacketPool pool;
  std::vector<Wrapping> wrappings = EveryWrapping();
  wrappings.push_back({});
  for (const Wrapping& wrapping : wrappings) {
    CAPTURE(wrapping.tunnel.name);
    const bool plain = std::string(wrapping.tunnel.name).empty();
    const bool ipv6 = wrapping.ipv6_inside;
    const auto build = [&](bool complete) {
      EthernetFrame frame;
      if (ipv6) {
        frame.Ipv6("2001:db8::1", "2001:db8::2");
      } else {
        frame.Ipv4("10.0.0.1", "10.0.0.2");
      }
      Frame inner = frame.Sctp(7, 8).Payload(101).Build();
      const std::size_t l4 = ipv6 ? 54 : 34;
      if (complete) {
        // Bit by bit; the field is zero until then.
        std::uint32_t crc = UINT32_MAX;
        for (std::size_t at = l4; at < inner.size(); ++at) {
          crc ^= inner[at];
          for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        }
        for (std::size_t i = 0; i < 4; ++i)
          Poke8(inner, l4 + 8 + i, static_cast<std::uint8_t>(~crc >> 8 * i));
      }
      return plain ? inner : Inside({}, inner);
    };
    const auto frame_of = [&](bool complete) {
      return plain ? build(complete) : Wrap(wrapping, build(complete), false);
    };
    const std::size_t outer = plain ? 0 : OuterSize(wrapping);
    const std::size_t l4 = ipv6 ? 54 : 34;
    Frame lacking = frame_of(true);
    for (std::size_t i = 0; i < 4; ++i) Poke8(lacking, outer + l4 + 8 + i, 0);
    OffloadHeader header;
    header.flags = OffloadHeader::kNeedsChecksum;
    header.csum_start = static_cast<std::uint16_t>(outer + l4);
    header.csum_offset = 8;
    PacketPtr told = pool.Copy(lacking);
    REQUIRE(AcceptOffloads(*told, header));
    CHECK(told->offloads == 0);
    CHECK(BytesOf(*told) == frame_of(true));
    PacketPtr found = pool.Copy(lacking);
    FindPartialChecksum(*found);
    CHECK(found->offloads == 0);
    CHECK(BytesOf(*found) == frame_of(true));
  }
}

// Every kind of GSO frame with every place of a checksum: only what the frame has is accepted.
TEST_CASE("tunnels: segments are refused where header and frame do not fit each other") {
  PacketPool pool;
  for (const Wrapping& wrapping : EveryWrapping()) {
    for (const bool tcp : {false, true}) {
      CAPTURE(wrapping.tunnel.name);
      const Sent good = Send(wrapping, tcp, 3000, 1000);
      const auto accepted = [&](const OffloadHeader& header, const Frame& frame) {
        HeapPacket packet(frame);
        return AcceptOffloads(*packet, header);
      };
      CHECK(accepted(good.header, good.frame));
      for (std::uint32_t start = 0; start < good.header.csum_start + 40u; ++start) {
        OffloadHeader header = good.header;
        header.csum_start = static_cast<std::uint16_t>(start);
        // The outer UDP, without a look inside, may be what is to be cut.
        const bool outer = !tcp && wrapping.tunnel.kind == Tunnel::Kind::kUdp &&
                           start == (wrapping.ipv6 ? 54u : 34u);
        CHECK(accepted(header, good.frame) == (start == good.header.csum_start || outer));
      }
      for (const std::uint16_t offset : {0, 2, 6, 8, 16, 4000}) {
        OffloadHeader header = good.header;
        header.csum_offset = offset;
        CHECK(accepted(header, good.frame) == (offset == good.header.csum_offset));
      }
      for (std::uint32_t type = 1; type < 256; ++type) {
        OffloadHeader header = good.header;
        header.gso_type = static_cast<std::uint8_t>(type);
        // The tunnel is seen, whatever is said of it; and congestion is TCP's.
        const bool same = (type & ~0xe0u) == good.header.gso_type && (tcp || (type & 0x80) == 0);
        CHECK(accepted(header, good.frame) == same);
      }
      // Cut anywhere: lengths say more than there is.
      for (std::size_t n = 14; n < good.frame.size(); n += n < 200 ? 1 : 97) {
        CHECK_FALSE(accepted(
            good.header,
            Frame(good.frame.begin(), good.frame.begin() + static_cast<std::ptrdiff_t>(n))));
      }
      // An outer fragment has no datagram to be cut.
      if (!wrapping.ipv6) {
        Frame fragment = good.frame;
        Poke16(fragment, 20, 0x2000);
        CHECK_FALSE(accepted(good.header, fragment));
      }
    }
  }
}

TEST_CASE("tunnels: in each other, behind labels, and behind tags") {
  PacketPool pool;
  const Tunnel vxlan = EveryTunnel()[0];
  const Tunnel gre = EveryTunnel()[11];
  const Wrapping inside{vxlan, false, true, false};
  const Wrapping outside{gre, true, false, false};
  Sent sent = Send(inside, true, 5000, 1000);
  Frame twice = Wrap(outside, sent.frame, true);
  sent.header.csum_start = static_cast<std::uint16_t>(sent.header.csum_start + OuterSize(outside));
  PacketPtr packet = pool.Copy(twice);
  REQUIRE(AcceptOffloads(*packet, sent.header));
  CHECK((packet->offloads & kOffloadTunnel) != 0);
  std::vector<PacketPtr> inner;
  for (const PacketPtr& segment : CutFor(pool, std::move(packet), kOffloadAll)) {
    std::string why;
    inner.push_back(pool.Copy(Unwrap(outside, BytesOf(*segment), why)));
    CHECK(why == "");
  }
  CheckSegments(inside, true, 5000, 1000, inner);

  // Labels hide what follows, and tags in front of all move it.
  const Frame plain = InnerHeaders(false, true).Payload(5000).Build();
  for (const bool labels : {false, true}) {
    Frame partial = plain;
    MakePartial(partial, false, 6, 16);
    const Frame front = labels ? EthernetFrame().Vlan(5).Mpls(7, false).Mpls(8, true).Build()
                               : EthernetFrame().Vlan(5).Vlan(6).Type(0x0800).Build();
    Frame frame = front;
    frame.insert(frame.end(), partial.begin() + 14, partial.end());
    OffloadHeader header = Send({vxlan, false, false, false}, true, 5000, 1000).header;
    header.csum_start = static_cast<std::uint16_t>(front.size() + 20);
    packet = pool.Copy(frame);
    REQUIRE(AcceptOffloads(*packet, header));
    CHECK(((packet->offloads & kOffloadTunnel) != 0) == labels);
    const std::vector<PacketPtr> segments = CutFor(pool, std::move(packet), kOffloadAll);
    REQUIRE(segments.size() == 5);
    for (const PacketPtr& segment : segments) {
      const Frame bytes = BytesOf(*segment);
      CHECK(std::equal(front.begin(), front.end(), bytes.begin()));
      CHECK(SlowChecksum(std::span(bytes).subspan(front.size(), 20)) == 0);
      CHECK(Peek16(bytes, front.size() + 2) == bytes.size() - front.size());
    }
  }
}

TEST_CASE("tunnels: wild bytes are never read past their end, and what is accepted can be cut") {
  std::mt19937 random(4789);
  PacketPool pool;
  const std::vector<Wrapping> wrappings = EveryWrapping();
  std::size_t accepted = 0;
  for (int round = 0; round < 30'000; ++round) {
    const Wrapping& wrapping = wrappings[random() % wrappings.size()];
    Sent sent = Send(wrapping, random() % 2 == 0, 1 + random() % 400,
                     random() % 3 == 0 ? std::uint16_t{0} : std::uint16_t{90});
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      if (random() % 5 == 0) sent.frame.resize(1 + random() % sent.frame.size());
      sent.frame[random() % std::min<std::size_t>(sent.frame.size(), 150)] =
          static_cast<std::uint8_t>(random());
    }
    HeapPacket exact(sent.frame);
    FindPartialChecksum(*exact);
    HeapPacket other(sent.frame);
    if (!AcceptOffloads(*other, sent.header)) continue;
    ++accepted;
    PacketPtr packet = pool.Copy(sent.frame);
    REQUIRE(AcceptOffloads(*packet, sent.header));
    const bool gso = packet->is_gso();
    const WireSize wire = OnWire(*packet);
    if (!gso) {
      FinishChecksum(*packet);
      continue;
    }
    PacketPtr again = pool.Copy(sent.frame);
    REQUIRE(AcceptOffloads(*again, sent.header));
    CHECK(CutFor(pool, std::move(packet), 0).size() == wire.packets);
    CutFor(pool, std::move(again), kOffloadAll);
  }
  CHECK(accepted > 3'000);
}

}  // namespace pollux::test

TEST_SUITE_END();
