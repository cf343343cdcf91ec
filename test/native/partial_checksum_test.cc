// Partial checksums that are recognized by their value alone.
#include "netdev/af_xdp/partial_checksum.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "packet/checksum.h"
#include "packet/offload.h"
#include "packet_builder.h"

namespace pollux::test {
namespace {

constexpr std::size_t kTcpField = 16, kUdpField = 6;

// What a kernel leaves in the field: the complement of the checksum, without the sum of what it
// covers.
std::uint16_t PartialOf(const Frame& frame, std::size_t l4, std::size_t field) {
  std::uint16_t complete = 0;
  std::memcpy(&complete, frame.data() + l4 + field, 2);
  Frame covered(frame.begin() + static_cast<std::ptrdiff_t>(l4), frame.end());
  covered[field] = covered[field + 1] = 0;
  // pseudo + covered + complete = 0
  return pollux::FoldSum(pollux::Sum{static_cast<std::uint16_t>(~complete)} +
                         pollux::FinishSum(pollux::SumBytes(covered)));
}

TEST_CASE("partial checksums are found, and finishing them gives the right ones") {
  struct Case {
    Frame frame;
    std::size_t l4, field;
  };
  const std::vector<Case> cases = {
      {EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Tcp(1, 2).Payload(20).Build(), 34, kTcpField},
      {EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(21).Build(), 34, kUdpField},
      {EthernetFrame().Vlan(5).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(9).Build(), 38,
       kUdpField},
      {EthernetFrame().Ipv6("fe80::1", "fe80::2").Tcp(1, 2).Payload(200).Build(), 54, kTcpField},
      {EthernetFrame().Vlan(5).Vlan(6).Ipv6("fe80::1", "fe80::2").Udp(1, 2).Payload(3).Build(), 62,
       kUdpField},
  };
  PacketPool pool;
  for (const Case& one : cases) {
    CAPTURE(one.l4);
    // A complete one stays as it is.
    PacketPtr complete = pool.Copy(one.frame);
    FindPartialChecksum(*complete);
    CHECK(complete->offloads == 0);
    CHECK(Frame(complete->data, complete->data + complete->size) == one.frame);

    Frame partial = one.frame;
    const std::uint16_t sum = PartialOf(one.frame, one.l4, one.field);
    std::memcpy(partial.data() + one.l4 + one.field, &sum, 2);
    REQUIRE(partial != one.frame);
    PacketPtr packet = pool.Copy(partial);
    FindPartialChecksum(*packet);
    CHECK(packet->offloads == (one.field == kTcpField ? kOffloadTcpChecksum : kOffloadUdpChecksum));
    CHECK(packet->csum_start == one.l4);
    FinishChecksum(*packet);
    CHECK(Frame(packet->data, packet->data + packet->size) == one.frame);

    // Padding behind it is not summed: finished at once.
    Frame padded = partial;
    padded.insert(padded.end(), {0xaa, 0xbb, 0xcc});
    packet = pool.Copy(padded);
    FindPartialChecksum(*packet);
    CHECK(packet->offloads == 0);
    CHECK(Frame(packet->data, packet->data + one.frame.size()) == one.frame);

    // Cut off anywhere: nothing is read outside, and nothing is claimed.
    for (std::size_t size = 14; size < partial.size(); ++size) {
      HeapPacket cut(std::span<const std::uint8_t>(partial).first(size));
      FindPartialChecksum(*cut);
      CHECK(cut->offloads == 0);
    }
  }
}

TEST_CASE("a checksum that equals the partial one by chance comes out as it was") {
  PacketPool pool;
  // The payload is chosen so that the complete checksum is the sum of the pseudo-header.
  Frame frame = EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();
  const std::uint16_t partial = PartialOf(frame, 34, kUdpField);
  bool found = false;
  for (std::uint32_t i = 0; i < 65'536 && !found; ++i) {
    std::memcpy(frame.data() + 50, &i, 2);
    std::memcpy(frame.data() + 40, &partial, 2);
    Frame covered(frame.begin() + 34, frame.end());
    covered[6] = covered[7] = 0;
    found = pollux::FinishSum(pollux::SumBytes(covered, partial)) == partial;
  }
  REQUIRE(found);
  PacketPtr packet = pool.Copy(frame);
  FindPartialChecksum(*packet);
  CHECK(packet->offloads == kOffloadUdpChecksum);
  FinishChecksum(*packet);
  CHECK(Frame(packet->data, packet->data + packet->size) == frame);
}

TEST_CASE("fragments, other protocols and UDP without a checksum are left alone") {
  PacketPool pool;
  Frame udp = EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();
  const std::uint16_t partial = PartialOf(udp, 34, kUdpField);
  std::memcpy(udp.data() + 40, &partial, 2);
  Frame fragment = udp;
  Poke16(fragment, 20, 0x2000);
  Frame other = udp;
  Poke8(other, 23, 132);
  Frame none = udp;
  Poke16(none, 40, 0);
  for (const Frame& frame : {fragment, other, none}) {
    PacketPtr packet = pool.Copy(frame);
    FindPartialChecksum(*packet);
    CHECK(packet->offloads == 0);
    CHECK(Frame(packet->data, packet->data + packet->size) == frame);
  }
}

}  // namespace
}  // namespace pollux::test
