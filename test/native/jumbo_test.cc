// TCP frames longer than 64 KiB, cut into packets.
#include "packet/jumbo.h"

#include <doctest/doctest.h>

#include <vector>

#include "finished.h"
#include "packet_builder.h"

namespace pollux::test {
namespace {

// As Linux makes it: a length of zero, over IPv6 with an option that has it.
Frame Jumbo(bool ipv6, bool tag, std::size_t payload) {
  EthernetFrame frame;
  if (tag) frame.Vlan(5);
  if (ipv6) {
    frame.Ipv6("2001:db8::1", "2001:db8::2").Options(0);
  } else {
    frame.Ipv4("10.0.0.1", "10.0.0.2");
  }
  frame.Tcp(1, 2, 0x099, 12).Payload(payload);
  const std::size_t ip = frame.ip_at();
  Frame made = frame.Build();
  Poke16(made, ip + (ipv6 ? 4u : 2u), 0);
  if (ipv6) {
    Poke8(made, ip + 42, 0xc2);
    Poke8(made, ip + 43, 4);
  }
  return made;
}

}  // namespace

TEST_CASE("jumbo frames are the segments that one frame of their payload would be") {
  PacketPool pool;
  for (const bool ipv6 : {false, true}) {
    for (const bool tag : {false, true}) {
      for (const std::size_t payload : {65'600u, 130'000u, 196'001u}) {
        CAPTURE(ipv6);
        CAPTURE(tag);
        CAPTURE(payload);
        const Frame frame = Jumbo(ipv6, tag, payload);
        const std::size_t l3 = tag ? 18 : 14;
        OffloadHeader header;
        header.flags = OffloadHeader::kNeedsChecksum;
        header.gso_type = ipv6 ? OffloadHeader::kGsoTcp6 : OffloadHeader::kGsoTcp4;
        header.gso_size = 1400;
        header.csum_start = static_cast<std::uint16_t>(l3 + (ipv6 ? 48 : 20));
        header.csum_offset = 16;
        JumboCutter cutter;
        REQUIRE(cutter.Start(frame, header));
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
            EthernetFrame expected;
            if (tag) expected.Vlan(5);
            if (ipv6) {
              expected.Ipv6("2001:db8::1", "2001:db8::2");
            } else {
              expected.Ipv4("10.0.0.1", "10.0.0.2");
            }
            expected.Tcp(1, 2, 0x099, 12).Payload(length);
            const Frame plain = expected.Build();
            REQUIRE(segment->size == plain.size());
            const std::size_t l4 = l3 + (ipv6 ? 40 : 20);
            const std::uint8_t* tcp = segment->data + l4;
            CHECK((std::uint32_t{tcp[4]} << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7]) ==
                  1 + n * 1400);
            const bool last = (n + 1) * 1400 >= payload;
            CHECK(tcp[13] == (0x10 | (n == 0 ? 0x80 : 0) | (last ? 0x09 : 0)));
            const Frame bytes(segment->data, segment->data + segment->size);
            std::uint64_t pseudo = 6 + bytes.size() - l4;
            for (std::size_t a = l3 + (ipv6 ? 8 : 12); a < l4; a += 2) pseudo += Peek16(bytes, a);
            CHECK(SlowChecksum(std::span(bytes).subspan(l4), pseudo) == 0);
            CHECK(Peek16(bytes, l3 + (ipv6 ? 4 : 2)) == bytes.size() - (ipv6 ? l4 : l3));
            if (!ipv6) {
              CHECK(Peek16(bytes, l3 + 4) == 0x1234 + n);
              CHECK(SlowChecksum(std::span(bytes).subspan(l3, 20)) == 0);
            }
            got.insert(got.end(), bytes.end() - static_cast<std::ptrdiff_t>(length), bytes.end());
            ++n;
          }
        }
        CHECK(got == std::vector<std::uint8_t>(frame.end() - static_cast<std::ptrdiff_t>(payload),
                                               frame.end()));
      }
    }
  }
}

TEST_CASE("jumbo frames whose headers lie are refused") {
  PacketPool pool;
  for (const bool ipv6 : {false, true}) {
    const Frame good = Jumbo(ipv6, false, 70'000);
    OffloadHeader header;
    header.flags = OffloadHeader::kNeedsChecksum;
    header.gso_type = ipv6 ? OffloadHeader::kGsoTcp6 : OffloadHeader::kGsoTcp4;
    header.gso_size = 1400;
    header.csum_start = ipv6 ? 62 : 34;
    header.csum_offset = 16;
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
  }
}

}  // namespace pollux::test
