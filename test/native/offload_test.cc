// Checksums against a naive oracle; segmentation against a checker that shares no code with it;
// wild headers (run this under AddressSanitizer: frames are allocated exactly).
#include "packet/offload.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "packet/checksum.h"
#include "packet/segmenter.h"
#include "recording_host.h"

namespace {

using pollux::OffloadHeader;
using pollux::PacketPool;
using pollux::PacketPtr;
using pollux::Segmenter;
using Bytes = std::vector<std::uint8_t>;

// RFC 1071 word for word; the result is a plain number.
std::uint32_t NaiveSum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8) + (i + 1 < bytes.size() ? bytes[i + 1] : 0u);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}
std::uint32_t NaiveChecksum(const Bytes& bytes) { return ~NaiveSum(bytes) & 0xffff; }

std::uint32_t ToHost(std::uint16_t in_packet) {
  std::uint8_t bytes[2];
  std::memcpy(bytes, &in_packet, 2);
  return static_cast<std::uint32_t>(bytes[0] << 8 | bytes[1]);
}
std::uint32_t Get16(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
}
std::uint32_t Get32(const Bytes& bytes, std::size_t at) {
  return Get16(bytes, at) << 16 | Get16(bytes, at + 2);
}
void Put16(Bytes& bytes, std::size_t at, std::uint32_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}
Bytes RandomBytes(std::mt19937& random, std::size_t n) {
  Bytes bytes(n);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}
Bytes Of(const PacketPtr& packet) { return {packet->data, packet->data + packet->size}; }

struct Shape {
  bool ipv6 = false;
  bool tcp = true;
  int tags = 0;
  std::size_t ip_options = 0;   // IPv4, bytes, a multiple of 4.
  Bytes extensions;             // IPv6: chain of extension headers, next header bytes filled in.
  std::uint8_t first_next = 0;  // IPv6: type of the first extension.
  std::size_t tcp_options = 12;
  std::size_t payload = 4000;
  std::uint8_t tcp_flags = 0x99;  // CWR, ACK, PSH, FIN
};

struct Made {
  Bytes frame;
  OffloadHeader header;
  std::size_t l3, l4, payload;
};

// The 1's complement sum of the pseudo-header with the given layer 4 length.
std::uint32_t Pseudo(const Bytes& frame, std::size_t l3, bool ipv6, std::uint8_t protocol,
                     std::size_t length) {
  Bytes pseudo;
  if (ipv6) {
    pseudo.assign(frame.begin() + static_cast<long>(l3) + 8,
                  frame.begin() + static_cast<long>(l3) + 40);
  } else {
    pseudo.assign(frame.begin() + static_cast<long>(l3) + 12,
                  frame.begin() + static_cast<long>(l3) + 20);
  }
  pseudo.insert(pseudo.end(), {0, protocol, static_cast<std::uint8_t>(length >> 8),
                               static_cast<std::uint8_t>(length)});
  return NaiveSum(pseudo);
}

Made Make(std::mt19937& random, const Shape& shape, std::uint16_t gso_size) {
  Made made;
  Bytes& frame = made.frame;
  frame = RandomBytes(random, 12);
  for (int i = 0; i < shape.tags; ++i) {
    const std::uint8_t type = i + 1 < shape.tags ? 0xa8 : 0x00;
    frame.insert(frame.end(), {static_cast<std::uint8_t>(type != 0 ? 0x88 : 0x81), type, 0x20, 7});
  }
  frame.insert(frame.end(), {static_cast<std::uint8_t>(shape.ipv6 ? 0x86 : 0x08),
                             static_cast<std::uint8_t>(shape.ipv6 ? 0xdd : 0x00)});
  made.l3 = frame.size();
  const std::uint8_t protocol = shape.tcp ? 6 : 17;
  const std::size_t l4_size = (shape.tcp ? 20 + shape.tcp_options : 8) + shape.payload;
  if (shape.ipv6) {
    const Bytes addresses = RandomBytes(random, 32);
    frame.insert(frame.end(), {0x60, 0, 0, 0});
    frame.resize(frame.size() + 4);
    Put16(frame, made.l3 + 4, static_cast<std::uint32_t>(shape.extensions.size() + l4_size));
    frame[made.l3 + 6] = shape.extensions.empty() ? protocol : shape.first_next;
    frame[made.l3 + 7] = 64;
    frame.insert(frame.end(), addresses.begin(), addresses.end());
    frame.insert(frame.end(), shape.extensions.begin(), shape.extensions.end());
  } else {
    Bytes ip = RandomBytes(random, 20 + shape.ip_options);
    ip[0] = static_cast<std::uint8_t>(0x40 | ip.size() / 4);
    Put16(ip, 2, static_cast<std::uint32_t>(ip.size() + l4_size));
    Put16(ip, 6, 0x4000);
    ip[9] = protocol;
    Put16(ip, 10, 0);
    Put16(ip, 10, NaiveChecksum(ip));
    frame.insert(frame.end(), ip.begin(), ip.end());
  }
  made.l4 = frame.size();
  Bytes l4 = RandomBytes(random, l4_size);
  if (shape.tcp) {
    l4[12] = static_cast<std::uint8_t>((20 + shape.tcp_options) / 4 << 4);
    l4[13] = shape.tcp_flags;
    made.payload = made.l4 + 20 + shape.tcp_options;
  } else {
    Put16(l4, 4, static_cast<std::uint32_t>(l4_size));
    made.payload = made.l4 + 8;
  }
  frame.insert(frame.end(), l4.begin(), l4.end());
  const std::size_t check = made.l4 + (shape.tcp ? 16 : 6);
  Put16(frame, check, Pseudo(frame, made.l3, shape.ipv6, protocol, l4_size));
  made.header.flags = OffloadHeader::kNeedsChecksum;
  made.header.gso_type = !shape.tcp   ? OffloadHeader::kGsoUdp
                         : shape.ipv6 ? OffloadHeader::kGsoTcp6
                                      : OffloadHeader::kGsoTcp4;
  made.header.gso_size = gso_size;
  made.header.hdr_len = static_cast<std::uint16_t>(random());  // A hint: must not matter.
  made.header.csum_start = static_cast<std::uint16_t>(made.l4);
  made.header.csum_offset = shape.tcp ? 16 : 6;
  return made;
}

// Whether the layer 4 checksum (and the IPv4 header's) of a frame is right.
bool ChecksumsRight(const Bytes& frame, std::size_t l3, std::size_t l4, bool ipv6, bool tcp) {
  const Bytes segment(frame.begin() + static_cast<long>(l4), frame.end());
  const std::uint32_t sum =
      NaiveSum(segment) + Pseudo(frame, l3, ipv6, tcp ? 6 : 17, segment.size());
  if (((sum & 0xffff) + (sum >> 16)) != 0xffff) return false;
  if (ipv6) return true;
  return NaiveSum(Bytes(frame.begin() + static_cast<long>(l3),
                        frame.begin() + static_cast<long>(l4))) == 0xffff;
}

void CheckSegments(const Made& made, const Shape& shape, const std::vector<PacketPtr>& segments) {
  const Bytes& whole = made.frame;
  const std::size_t gso_size = made.header.gso_size;
  REQUIRE(segments.size() == (shape.payload + gso_size - 1) / gso_size);
  Bytes payload;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Bytes segment = Of(segments[i]);
    const bool first = i == 0;
    const bool last = i + 1 == segments.size();
    REQUIRE(segment.size() > made.payload);
    CHECK((last || segment.size() == made.payload + gso_size));
    CHECK(std::equal(segment.begin(), segment.begin() + static_cast<long>(made.l3), whole.begin()));
    if (shape.ipv6) {
      CHECK(Get16(segment, made.l3 + 4) == segment.size() - made.l3 - 40);
    } else {
      CHECK(Get16(segment, made.l3 + 2) == segment.size() - made.l3);
      CHECK(Get16(segment, made.l3 + 4) == ((Get16(whole, made.l3 + 4) + i) & 0xffff));
    }
    if (shape.tcp) {
      CHECK(Get32(segment, made.l4 + 4) ==
            static_cast<std::uint32_t>(Get32(whole, made.l4 + 4) + i * gso_size));
      std::uint8_t flags = shape.tcp_flags;
      if (!first) flags &= 0x7f;
      if (!last) flags &= 0xf6;
      CHECK(segment[made.l4 + 13] == flags);
    } else {
      CHECK(Get16(segment, made.l4 + 4) == segment.size() - made.l4);
    }
    CHECK(ChecksumsRight(segment, made.l3, made.l4, shape.ipv6, shape.tcp));
    payload.insert(payload.end(), segment.begin() + static_cast<long>(made.payload), segment.end());
  }
  CHECK(payload == Bytes(whole.begin() + static_cast<long>(made.payload),
                         whole.begin() + static_cast<long>(made.payload + shape.payload)));
}

// What the wire sees of a frame that comes with such a header. False: it was refused, or the pool
// ran out; `out` is then as it was.
bool Segment(PacketPool& pool, const Bytes& frame, const OffloadHeader& header,
             std::vector<PacketPtr>& out) {
  PacketPtr packet = pool.Allocate(static_cast<std::uint32_t>(frame.size()));
  REQUIRE(packet != nullptr);
  std::copy(frame.begin(), frame.end(), packet->data);
  pollux::test::Guard(*packet);
  const bool accepted = pollux::AcceptOffloads(*packet, header);
  const pollux::WireSize wire = accepted ? pollux::OnWire(*packet) : pollux::WireSize{};
  const std::size_t before = out.size();
  bool all = accepted;
  Segmenter segmenter;
  pollux::Packet* const raw = packet.get();
  if (accepted && segmenter.Start(packet)) {
    CHECK(segmenter.fresh());
    while (all && !segmenter.done()) {
      PacketPtr segment = segmenter.Next(pool);
      all = segment != nullptr;
      if (all) out.push_back(std::move(segment));
    }
    pollux::test::Unguard(*raw);
  } else {
    pollux::test::Unguard(*raw);
    if (accepted) {
      pollux::FinishChecksum(*packet);
      out.push_back(std::move(packet));
    }
  }
  if (!all) {
    out.resize(before);
    return false;
  }
  std::uint64_t bytes = 0;
  for (std::size_t i = before; i < out.size(); ++i) {
    const std::uint32_t size = out[i]->size;
    CHECK(size == (i + 1 == out.size() ? wire.smallest : wire.largest));
    CHECK(out[i]->offloads == 0);
    bytes += size;
  }
  CHECK(wire.packets == out.size() - before);
  CHECK(wire.bytes == bytes);
  return true;
}

// Known vector: the header of the RFC 1071 examples found in textbooks.
TEST_CASE("checksum of a known IPv4 header") {
  const Bytes header = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
  CHECK(ToHost(pollux::Checksum(header)) == 0xb861);
}

TEST_CASE("checksum agrees with a naive one at every length and alignment") {
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 300; ++size) {
    for (int round = 0; round < 4; ++round) {
      Bytes bytes = RandomBytes(random, size);
      if (round == 3) std::fill(bytes.begin(), bytes.end(), std::uint8_t{0xff});
      CHECK(ToHost(pollux::Checksum(bytes)) == NaiveChecksum(bytes));
    }
  }
  const Bytes shifted = RandomBytes(random, 70'000);
  for (std::size_t at = 0; at < 9; ++at) {
    CHECK(ToHost(pollux::Checksum(std::span(shifted).subspan(at))) ==
          NaiveChecksum(Bytes(shifted.begin() + static_cast<long>(at), shifted.end())));
  }
}

TEST_CASE("sums go on where they stopped") {
  std::mt19937 random(2);
  const Bytes bytes = RandomBytes(random, 1000);
  for (std::size_t cut = 0; cut <= bytes.size(); cut += 2) {
    const pollux::Sum sum = pollux::SumBytes(std::span(bytes).subspan(cut),
                                             pollux::SumBytes(std::span(bytes).first(cut), 0xffff));
    CHECK(ToHost(pollux::FinishSum(sum)) == NaiveChecksum(bytes));
  }
}

TEST_CASE("incremental updates agree with a recalculation") {
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = RandomBytes(random, 20);
    if (round % 7 == 0) bytes[4] = bytes[5] = 0;
    if (round % 11 == 0) bytes[4] = bytes[5] = 0xff;
    const std::uint16_t before = pollux::Checksum(bytes);
    std::uint16_t from16;
    std::uint16_t to16 = static_cast<std::uint16_t>(round % 5 == 0 ? 0 : random());
    std::memcpy(&from16, &bytes[4], 2);
    std::memcpy(&bytes[4], &to16, 2);
    const std::uint16_t after = pollux::UpdateChecksum16(before, from16, to16);
    CHECK(after == pollux::Checksum(bytes));
    std::uint32_t from32;
    const std::uint32_t to32 = round % 3 == 0 ? 0xffffffff : static_cast<std::uint32_t>(random());
    std::memcpy(&from32, &bytes[8], 4);
    std::memcpy(&bytes[8], &to32, 4);
    CHECK(pollux::UpdateChecksum32(after, from32, to32) == pollux::Checksum(bytes));
  }
}

TEST_CASE("a partial checksum is finished") {
  std::mt19937 random(4);
  for (const bool ipv6 : {false, true}) {
    for (const bool tcp : {false, true}) {
      for (std::size_t size = 0; size < 40; ++size) {
        Shape shape;
        shape.ipv6 = ipv6;
        shape.tcp = tcp;
        shape.payload = size;
        Made made = Make(random, shape, 1);
        REQUIRE(
            pollux::FinishChecksum(made.frame, made.header.csum_start, made.header.csum_offset));
        CHECK(ChecksumsRight(made.frame, made.l3, made.l4, ipv6, tcp));
      }
    }
  }
}

TEST_CASE("a UDP checksum that comes out as 0 is written as 0xffff, a TCP one is not") {
  std::mt19937 random(5);
  for (const bool tcp : {false, true}) {
    Shape shape;
    shape.tcp = tcp;
    shape.payload = 10;
    Made made = Make(random, shape, 1);
    // Choose two bytes of payload so that the sum is 0xffff.
    Put16(made.frame, made.payload, 0);
    const Bytes rest(made.frame.begin() + static_cast<long>(made.l4), made.frame.end());
    Put16(made.frame, made.payload, NaiveChecksum(rest));
    REQUIRE(pollux::FinishChecksum(made.frame, made.header.csum_start, made.header.csum_offset));
    CHECK(Get16(made.frame, made.l4 + (tcp ? 16 : 6)) == (tcp ? 0 : 0xffff));
  }
}

TEST_CASE("a checksum outside the frame is refused and nothing is written") {
  Bytes frame(60, 0x5a);
  const Bytes before = frame;
  CHECK_FALSE(pollux::FinishChecksum(frame, 60, 0));
  CHECK_FALSE(pollux::FinishChecksum(frame, 34, 25));
  CHECK_FALSE(pollux::FinishChecksum(frame, 59, 0));
  CHECK_FALSE(pollux::FinishChecksum(frame, 65'535, 65'535));
  CHECK_FALSE(pollux::FinishChecksum(frame, UINT32_MAX, UINT32_MAX));
  CHECK_FALSE(pollux::FinishChecksum(frame, 0, 0));
  CHECK_FALSE(pollux::FinishChecksum({}, 14, 0));
  CHECK(frame == before);
  CHECK(pollux::FinishChecksum(frame, 34, 24));
}

TEST_CASE("frames of every shape are cut right") {
  std::mt19937 random(6);
  PacketPool pool;
  for (const bool ipv6 : {false, true}) {
    for (const bool tcp : {false, true}) {
      for (const int tags : {0, 1, 2}) {
        for (const std::size_t payload : {1u, 999u, 1000u, 1001u, 4000u, 64'000u}) {
          for (const std::uint16_t gso_size : {1000, 1448, 9000}) {
            Shape shape;
            shape.ipv6 = ipv6;
            shape.tcp = tcp;
            shape.tags = tags;
            shape.payload = payload;
            shape.ip_options = tags == 1 ? 8 : 0;
            Made made = Make(random, shape, gso_size);
            if (tcp && payload == 999) made.header.gso_type |= OffloadHeader::kGsoEcn;
            std::vector<PacketPtr> segments;
            REQUIRE(Segment(pool, made.frame, made.header, segments));
            CheckSegments(made, shape, segments);
          }
        }
      }
    }
  }
}

TEST_CASE("without a partial checksum, segments get theirs all the same") {
  std::mt19937 random(7);
  PacketPool pool;
  Shape shape;
  Made made = Make(random, shape, 1000);
  made.header.flags = 0;
  made.header.csum_start = made.header.csum_offset = 0;
  std::vector<PacketPtr> segments;
  REQUIRE(Segment(pool, made.frame, made.header, segments));
  CheckSegments(made, shape, segments);

  // UDP too, even over IPv4, where it could do without.
  shape.tcp = false;
  made = Make(random, shape, 1000);
  made.header.flags = 0;
  Put16(made.frame, made.l4 + 6, 0);
  segments.clear();
  REQUIRE(Segment(pool, made.frame, made.header, segments));
  CheckSegments(made, shape, segments);
}

TEST_CASE("IPv6 extension headers are repeated; fragments are refused") {
  std::mt19937 random(8);
  PacketPool pool;
  Shape shape;
  shape.ipv6 = true;
  shape.first_next = 0;
  shape.extensions = {60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  Made made = Make(random, shape, 1400);
  std::vector<PacketPtr> segments;
  REQUIRE(Segment(pool, made.frame, made.header, segments));
  CheckSegments(made, shape, segments);

  // A routing header: the checksum is about the last destination, which only the sender's sum
  // knows.
  shape.first_next = 43;
  shape.extensions = {6, 2, 4, 1, 0, 0, 0, 0};
  const Bytes last_hop = RandomBytes(random, 16);
  shape.extensions.insert(shape.extensions.end(), last_hop.begin(), last_hop.end());
  made = Make(random, shape, 1400);
  Bytes with_last_hop = made.frame;
  std::copy(last_hop.begin(), last_hop.end(),
            with_last_hop.begin() + static_cast<long>(made.l3) + 24);
  Put16(made.frame, made.l4 + 16,
        Pseudo(with_last_hop, made.l3, true, 6, made.frame.size() - made.l4));
  segments.clear();
  REQUIRE(Segment(pool, made.frame, made.header, segments));
  for (const PacketPtr& packet : segments) {
    Bytes segment = Of(packet);
    std::copy(last_hop.begin(), last_hop.end(), segment.begin() + static_cast<long>(made.l3) + 24);
    CHECK(ChecksumsRight(segment, made.l3, made.l4, true, true));
  }

  shape.first_next = 44;
  shape.extensions = {6, 0, 0, 1, 0, 0, 0, 0};
  made = Make(random, shape, 1400);
  segments.clear();
  CHECK_FALSE(Segment(pool, made.frame, made.header, segments));
  CHECK(segments.empty());
}

TEST_CASE("padding behind the IP packet is not payload") {
  std::mt19937 random(9);
  PacketPool pool;
  Shape shape;
  Made made = Make(random, shape, 1000);
  made.frame.resize(made.frame.size() + 7, 0xee);
  std::vector<PacketPtr> segments;
  REQUIRE(Segment(pool, made.frame, made.header, segments));
  CheckSegments(made, shape, segments);
}

TEST_CASE("a header that does not fit its frame is refused") {
  std::mt19937 random(10);
  PacketPool pool;
  const Made good = Make(random, {}, 1000);
  std::vector<PacketPtr> out;
  const auto refused = [&](auto&& change) {
    Made made = good;
    change(made);
    const bool cut = Segment(pool, made.frame, made.header, out);
    return !cut && out.empty();
  };
  CHECK(refused([](Made& made) { made.header.gso_size = 0; }));
  CHECK(refused([](Made& made) { made.header.gso_type = OffloadHeader::kGsoTcp6; }));
  CHECK(refused([](Made& made) { made.header.gso_type = OffloadHeader::kGsoUdp; }));
  CHECK(refused([](Made& made) { made.header.gso_type = 3; }));
  CHECK(refused([](Made& made) { made.header.gso_type = 0x7f; }));
  CHECK(refused([](Made& made) { made.header.csum_start = 65'535; }));
  CHECK(refused([](Made& made) { made.header.csum_start += 4; }));
  CHECK(refused([](Made& made) { made.header.csum_offset = 65'535; }));
  CHECK(refused([](Made& made) { made.frame.resize(13); }));
  CHECK(refused([](Made& made) { made.frame.clear(); }));
  CHECK(refused([](Made& made) { made.frame.resize(made.l4 + 19); }));
  CHECK(refused([](Made& made) { made.frame.resize(made.payload); }));
  CHECK(refused([](Made& made) { made.frame[made.l3] = 0x4f; }));
  CHECK(refused([](Made& made) { made.frame[made.l3] = 0x44; }));
  CHECK(refused([](Made& made) { made.frame[made.l3] = 0x65; }));
  CHECK(refused([](Made& made) { made.frame[made.l3 + 6] = 0x20; }));
  CHECK(refused([](Made& made) { made.frame[made.l4 + 12] = 0x40; }));
  CHECK(refused([](Made& made) { Put16(made.frame, made.l3 + 2, 65'535); }));
  CHECK(refused([](Made& made) { Put16(made.frame, made.l3 + 2, 19); }));
  CHECK(refused([](Made& made) { Put16(made.frame, made.l3 + 2, 0); }));
  CHECK(refused([](Made& made) { made.header.gso_size = 2; }));  // 2000 segments.
}

TEST_CASE("segments are made when there is room for them") {
  std::mt19937 random(11);
  PacketPool pool;
  Shape shape;
  shape.payload = 60'000;
  const Made made = Make(random, shape, 60);
  PacketPtr packet = pool.Copy(made.frame);
  Segmenter segmenter;
  CHECK_FALSE(segmenter.Start(packet));
  REQUIRE(packet != nullptr);
  REQUIRE(pollux::AcceptOffloads(*packet, made.header));
  REQUIRE(segmenter.Start(packet));
  CHECK(segmenter.segments_left() == 1000);
  for (int count = 0; count < 900; ++count) REQUIRE(segmenter.Next(pool) != nullptr);
  CHECK(segmenter.segments_left() == 100);
  CHECK_FALSE(segmenter.fresh());
  CHECK(pool.held() == 1);
  segmenter.Stop();
  CHECK(segmenter.done());
}

TEST_CASE("an exhausted pool takes nothing away") {
  std::mt19937 random(12);
  PacketPool pool(std::size_t{9} << 19);  // One slab of 1024 packets, and one of large ones.
  Shape shape;
  shape.payload = 60'000;
  const Made made = Make(random, shape, 50);
  std::vector<PacketPtr> out;
  CHECK_FALSE(Segment(pool, made.frame, made.header, out));
  CHECK(out.empty());
  CHECK(pool.held() == 0);
}

TEST_CASE("wild headers on wild frames are never read past their end") {
  std::mt19937 random(13);
  PacketPool pool;
  std::size_t accepted = 0;
  for (int round = 0; round < 60'000; ++round) {
    Shape shape;
    shape.ipv6 = random() % 2 != 0;
    shape.tcp = random() % 3 != 0;
    shape.tags = static_cast<int>(random() % 3);
    shape.payload = random() % 600;
    if (shape.ipv6 && random() % 2 == 0) {
      shape.first_next = static_cast<std::uint8_t>(random() % 2 == 0 ? 0 : 43);
      shape.extensions = {static_cast<std::uint8_t>(random() % 2 != 0 ? 6 : random() % 64),
                          static_cast<std::uint8_t>(random() % 4),
                          0,
                          0,
                          0,
                          0,
                          0,
                          0};
    }
    Made made = Make(random, shape, static_cast<std::uint16_t>(1 + random() % 2000));
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      switch (random() % 8) {
        case 0:
          made.header.csum_start = static_cast<std::uint16_t>(random());
          break;
        case 1:
          made.header.csum_offset = static_cast<std::uint16_t>(random());
          break;
        case 2:
          made.header.gso_type = static_cast<std::uint8_t>(random());
          break;
        case 3:
          made.header.flags = static_cast<std::uint8_t>(random());
          break;
        case 4:
          made.header.gso_size = static_cast<std::uint16_t>(random());
          break;
        case 5:
          made.frame.resize(random() % (made.frame.size() + 1));
          break;
        default:
          if (!made.frame.empty()) {
            made.frame[random() % std::min<std::size_t>(made.frame.size(), 90)] =
                static_cast<std::uint8_t>(random());
          }
          break;
      }
    }
    if (round % 10 == 0) made.frame = RandomBytes(random, random() % 200);
    const Bytes exact(made.frame);  // Allocated to the byte.
    std::vector<PacketPtr> out;
    if (Segment(pool, exact, made.header, out)) {
      ++accepted;
      std::size_t total = 0;
      for (const PacketPtr& packet : out) total += packet->size;
      CHECK(total >= out.size() * 42);
    }
    Bytes whole(made.frame);
    pollux::FinishChecksum(whole, made.header.csum_start, made.header.csum_offset);
  }
  CHECK(accepted > 10'000);  // Else the test tests nothing.
  CHECK(pool.held() == 0);
}

}  // namespace
