// Frames longer than a packet can be, cut into packets.
#include "packet/jumbo.h"

#include <doctest/doctest.h>

#include <vector>

#include "finished.h"
#include "packet_builder.h"

namespace pollux::test {
namespace {

struct Kind {
  bool ipv6;
  bool tag;
  bool tcp;
  bool has_length;  // As far as 16 bits go; else it is zero, over IPv6 with an option that has it.
};

EthernetFrame Headers(const Kind& kind) {
  EthernetFrame frame;
  if (kind.tag) frame.Vlan(5);
  if (!kind.ipv6) {
    frame.Ipv4("10.0.0.1", "10.0.0.2");
  } else {
    frame.Ipv6("2001:db8::1", "2001:db8::2");
  }
  return frame;
}
void AddLayer4(EthernetFrame& frame, const Kind& kind) {
  if (kind.tcp) {
    frame.Tcp(1, 2, 0x099, 12);
  } else {
    frame.Udp(1, 2);
  }
}

// As Linux makes it.
Frame Jumbo(const Kind& kind, std::size_t payload) {
  const bool ipv6 = kind.ipv6;
  EthernetFrame frame = Headers(kind);
  if (ipv6 && !kind.has_length) frame.Options(0);
  AddLayer4(frame, kind);
  frame.Payload(payload);
  const std::size_t ip = frame.ip_at();
  Frame made = frame.Build();
  if (kind.has_length) return made;
  Poke16(made, ip + (ipv6 ? 4u : 2u), 0);
  if (ipv6) {
    Poke8(made, ip + 42, 0xc2);
    Poke8(made, ip + 43, 4);
  }
  return made;
}

OffloadHeader HeaderOf(const Kind& kind) {
  OffloadHeader header;
  header.flags = OffloadHeader::kNeedsChecksum;
  header.gso_type = !kind.tcp   ? OffloadHeader::kGsoUdp
                    : kind.ipv6 ? OffloadHeader::kGsoTcp6
                                : OffloadHeader::kGsoTcp4;
  header.gso_size = 1400;
  const int option = kind.ipv6 && !kind.has_length ? 8 : 0;
  header.csum_start =
      static_cast<std::uint16_t>((kind.tag ? 18 : 14) + (kind.ipv6 ? 40 : 20) + option);
  header.csum_offset = kind.tcp ? 16 : 6;
  return header;
}

}  // namespace

TEST_CASE("jumbo frames are the segments that one frame of their payload would be") {
  PacketPool pool;
  const auto check = [&pool](const Kind& kind, std::size_t payload) {
    CAPTURE(kind.ipv6);
    CAPTURE(kind.tag);
    CAPTURE(kind.tcp);
    CAPTURE(kind.has_length);
    CAPTURE(payload);
    const Frame frame = Jumbo(kind, payload);
    JumboCutter cutter;
    REQUIRE(cutter.Start(frame, HeaderOf(kind)));
    const std::size_t l3 = kind.tag ? 18 : 14;
    const std::size_t l4 = l3 + (kind.ipv6 ? 40 : 20);
    std::vector<std::uint8_t> got;
    std::size_t n = 0;
    while (!cutter.done()) {
      bool refused = false;
      PacketPtr packet = cutter.Next(pool, refused);
      REQUIRE_FALSE(refused);
      REQUIRE(packet != nullptr);
      for (const PacketPtr& segment : Finished(pool, std::move(packet))) {
        // The same segment, built by itself.
        const std::size_t length = std::min<std::size_t>(1400, payload - n * 1400);
        EthernetFrame expected = Headers(kind);
        AddLayer4(expected, kind);
        const Frame plain = expected.Payload(length).Build();
        REQUIRE(segment->size == plain.size());
        const std::uint8_t* at = segment->data + l4;
        if (kind.tcp) {
          CHECK((std::uint32_t{at[4]} << 24 | at[5] << 16 | at[6] << 8 | at[7]) == 1 + n * 1400);
          const bool last = (n + 1) * 1400 >= payload;
          CHECK(at[13] == (0x10 | (n == 0 ? 0x80 : 0) | (last ? 0x09 : 0)));
        } else {
          CHECK((at[4] << 8 | at[5]) == static_cast<int>(length + 8));
        }
        const Frame bytes(segment->data, segment->data + segment->size);
        std::uint64_t pseudo = (kind.tcp ? 6u : 17u) + bytes.size() - l4;
        for (std::size_t a = l3 + (kind.ipv6 ? 8 : 12); a < l4; a += 2) pseudo += Peek16(bytes, a);
        CHECK(SlowChecksum(std::span(bytes).subspan(l4), pseudo) == 0);
        CHECK(Peek16(bytes, l3 + (kind.ipv6 ? 4 : 2)) == bytes.size() - (kind.ipv6 ? l4 : l3));
        if (!kind.ipv6) {
          CHECK(Peek16(bytes, l3 + 4) == 0x1234 + n);
          CHECK(SlowChecksum(std::span(bytes).subspan(l3, 20)) == 0);
        }
        got.insert(got.end(), bytes.end() - static_cast<std::ptrdiff_t>(length), bytes.end());
        ++n;
      }
    }
    CHECK(got == std::vector<std::uint8_t>(frame.end() - static_cast<std::ptrdiff_t>(payload),
                                           frame.end()));
  };
  for (const bool ipv6 : {false, true}) {
    for (const bool tag : {false, true}) {
      for (const std::size_t payload : {65'600u, 130'000u, 196'001u})
        check({ipv6, tag, true, false}, payload);
      // The IP length just fits, and the frame is longer by what stands in front of IP: from one
      // byte more than a packet has to the last that a length can say.
      for (const bool tcp : {true, false}) {
        const Kind kind{ipv6, tag, tcp, true};
        const std::size_t headers = Jumbo(kind, 0).size();
        const std::size_t front = (tag ? 18 : 14) + (ipv6 ? 40 : 0);
        check(kind, kMaxFrame + 1 - headers);
        check(kind, 65'535 + front - headers);
      }
    }
  }
}

TEST_CASE("jumbo frames whose headers lie are refused") {
  PacketPool pool;
  for (const bool ipv6 : {false, true}) {
    const Kind kind{ipv6, false, true, false};
    const Frame good = Jumbo(kind, 70'000);
    const OffloadHeader header = HeaderOf(kind);
    JumboCutter cutter;
    REQUIRE(cutter.Start(good, header));
    const auto refused = [&](const Frame& frame, const OffloadHeader& of) {
      if (!cutter.Start(frame, of)) return true;
      bool no = false;
      return cutter.Next(pool, no) == nullptr && no;
    };
    for (const std::uint16_t start : {0, 14, 33, 54, 61, 66, 65'535}) {
      OffloadHeader other = header;
      other.csum_start = start;
      CHECK(refused(good, other));
    }
    OffloadHeader other = header;
    other.gso_size = 0;
    CHECK(refused(good, other));
    other = header;
    other.gso_type = OffloadHeader::kGsoUdp;
    CHECK(refused(good, other));
    other = header;
    other.gso_size = 2;  // Too many.
    CHECK(refused(good, other));
    other = header;
    other.gso_size = UINT16_MAX;  // None fits.
    CHECK(refused(good, other));
    for (const std::size_t at : {12, 14, ipv6 ? 20 : 23, ipv6 ? 18 : 16, ipv6 ? 74 : 46}) {
      Frame frame = good;
      Poke8(frame, at, 0x17);
      CHECK(refused(frame, header));
    }
    CHECK(refused(Frame(good.begin(), good.begin() + 90), header));
    // A length that is another one than the frame's.
    const Kind fitting{ipv6, false, true, true};
    const std::size_t payload = 65'535 + (ipv6 ? 54 : 14) - Jumbo(fitting, 0).size();
    Frame frame = Jumbo(fitting, payload);
    CHECK_FALSE(refused(frame, HeaderOf(fitting)));
    Poke16(frame, ipv6 ? 18 : 16, 65'534);
    CHECK(refused(frame, HeaderOf(fitting)));
  }
}

}  // namespace pollux::test
