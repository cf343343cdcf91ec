// Offloads: what the kernel left to a card is carried along with the packet and done where it
// leaves.
//
// Frames from veth, tap and virtio come with a virtio_net_hdr that says what is still to be done: a
// partial checksum (its field holds the sum of the pseudo-header), or segmentation (GSO: up to 64
// KiB of TCP or UDP that the wire shall see in pieces of `gso_size`). AcceptOffloads() notes that
// on the packet. Flow lookup and actions work on the frame as it is: one packet instead of 45, and
// nobody sums 64 KiB. A device that takes such frames gets them as they are (OffloadsOf()); for
// others they are finished at output: FinishChecksum(), Segmenter. Nobody ever verifies a checksum.
//
// What a packet may carry. An Ethernet frame, tags allowed, of IPv4 or IPv6, extension headers
// allowed, no fragment, with TCP or UDP at csum_start: its own, or that of what it carries through
// a tunnel (packet/layers.h), wherever its outermost layer 4 is. A GSO frame always has a partial
// checksum. So the rewrites (actions/) have four rules: a change of addresses goes into the field
// without complement if csum_start is the packet's own layer 4; a change of ports leaves it alone
// then; tags come and go; and for everything else (other headers that come and go, truncation) the
// packet is finished, or segmented, first.
//
// What cannot be carried is finished when it is received, by the sum that its protocol uses: SCTP
// has a CRC-32C. What cannot be finished is refused: a sum whose place says SCTP and whose packet
// does not, a fragment (the rest is elsewhere), a place outside of the frame.
//
// In a GSO frame of a tunnel, headers outside speak of the whole. Cut, each segment gets lengths,
// identifications and checksums of its own, outside and inside. An outer UDP checksum that is zero
// stays zero; another value says no more than that there shall be one. A port that takes no such
// frames but can cut UDP gets the datagrams of the tunnel as one frame of UDP (Segmenter).
//
// Peers write the header (a virtual machine, a container), so every value in it is taken for a lie
// until checked against the frame: a header that does not fit is refused and nothing outside the
// frame is ever read (CVE-2024-11614 is what happens otherwise). Nor may a peer ask for more work
// than a sane one would: kMaxSegments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/layers.h"
#include "packet/packet.h"

namespace pollux {

// The fields of virtio_net_hdr, in host order.
struct OffloadHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;  // In `flags`.
  // In `gso_type`; the numbers are virtio's.
  static constexpr std::uint8_t kGsoNone = 0;
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoUdp = 5;  // VIRTIO_NET_HDR_GSO_UDP_L4, of IPv4 or IPv6.
  static constexpr std::uint8_t kGsoUdpTunnel4 =
      0x20;  // By what the tunnel goes; beside the others.
  static constexpr std::uint8_t kGsoUdpTunnel6 = 0x40;
  static constexpr std::uint8_t kGsoEcn = 0x80;

  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;  // A hint that kernels fill in loosely: not used on receipt.
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;

  bool needs_checksum() const { return (flags & kNeedsChecksum) != 0; }
  bool needs_segmentation() const { return gso_type != kGsoNone; }
};

// The most segments of one frame: 64 KiB of TCP at Linux's smallest segment size, 48 bytes. UDP
// makes at most 128.
inline constexpr std::uint32_t kMaxSegments = 65'536 / 48;
// The most datagrams of a frame of UDP that we make: what all kernels take.
inline constexpr std::uint32_t kMaxDatagrams = 64;

// Notes on a packet that just arrived what `header` says of it, or does it at once where it cannot
// be carried. Padding behind a GSO frame goes. False: header and frame do not fit each other.
bool AcceptOffloads(Packet& packet, const OffloadHeader& header);

// The header that tells a kernel what the packet lacks.
OffloadHeader OffloadsOf(const Packet& packet);

// What a kernel that takes kOffloadUdpTunnel must know of such a packet beside that.
struct UdpTunnel {
  bool ipv6 = false;         // What the tunnel goes by.
  bool checksum = false;     // The tunnel's UDP shall have one.
  std::uint16_t udp_at = 0;  // The tunnel's header.
  std::uint16_t l3_at = 0;   // What is inside.
};
UdpTunnel UdpTunnelOf(const Packet& packet);

// What a frame lacks whose sender left a checksum to a card, by what its bytes say.
struct Lack {
  enum class Kind : std::uint8_t {
    kTcp,  // What a packet may carry, ...
    kUdp,
    kInternet,  // ... other Internet checksums, ...
    kCrc32c,    // ... SCTP's, ...
    kUnknown,   // ... and nobody knows, or it cannot be had.
  };
  Kind kind = Kind::kUnknown;
  Layers layers;          // Of kTcp and kUdp.
  std::uint32_t end = 0;  // What is summed ends here; padding follows.
};
// Of a sum over what starts at `csum_start`, whose place is `csum_offset` bytes behind that.
Lack LackOf(std::span<const std::uint8_t> frame, std::uint32_t csum_start,
            std::uint32_t csum_offset);

// Completes the packet's partial checksum, if it has one. Not for a GSO frame.
void FinishChecksum(Packet& packet);
// The same with offsets from anywhere. False: that cannot be done; nothing was changed.
bool FinishChecksum(std::span<std::uint8_t> frame, std::uint32_t csum_start,
                    std::uint32_t csum_offset);

// What the wire would see of a packet.
struct WireSize {
  std::uint32_t packets;
  std::uint64_t bytes;     // Of all together.
  std::uint32_t largest;   // Bytes of the longest; all but the last have that many.
  std::uint32_t smallest;  // Bytes of the last.
};
WireSize OnWire(const Packet& packet);

// Of a GSO frame: all that is repeated in each segment.
std::uint32_t HeadersOf(const Packet& packet);

}  // namespace pollux
