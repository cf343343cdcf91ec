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
// allowed, no fragment, with TCP or UDP at csum_start. A GSO frame always has a partial checksum.
// So the rewrites (actions/) have four rules: a change of addresses goes into the field without
// complement; a change of ports leaves it alone; tags come and go; and for everything else (other
// headers that come and go, truncation) the packet is finished, or segmented, first. What cannot be
// carried, such as the partial checksum of what is inside a tunnel, is finished when it is
// received.
//
// Peers write the header (a virtual machine, a container), so every value in it is taken for a lie
// until checked against the frame: a header that does not fit is refused and nothing outside the
// frame is ever read (CVE-2024-11614 is what happens otherwise). Nor may a peer ask for more work
// than a sane one would: kMaxSegments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

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

// Notes on a packet that just arrived what `header` says of it, or does it at once where it cannot
// be carried. Padding behind a GSO frame goes. False: header and frame do not fit each other.
bool AcceptOffloads(Packet& packet, const OffloadHeader& header);

// The header that tells a kernel what the packet lacks.
OffloadHeader OffloadsOf(const Packet& packet);

// Completes the packet's partial checksum, if it has one. Not for a GSO frame.
void FinishChecksum(Packet& packet);
// The same with offsets from anywhere: sums the frame from `csum_start` to its end and writes the
// result `csum_offset` bytes after `csum_start`. False: that is not inside the frame; nothing was
// changed.
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

// Cuts one GSO frame into segments as a card would. Segments are made one at a time, when there is
// room for them.
class Segmenter {
 public:
  // Takes the packet and holds it until the next Start(). False, and the packet is the caller's: it
  // is no GSO frame any more.
  bool Start(PacketPtr& packet);

  bool done() const { return next_ >= end_; }
  std::uint32_t segments_left() const {
    return done() ? 0 : (end_ - next_ + segment_size_ - 1) / segment_size_;
  }
  // The next segment, complete with its checksums, with all that is known of the packet; nullptr if
  // the pool is exhausted, call again then. Not when done().
  PacketPtr Next(PacketPool& pool);
  // Whether Next() has not given any yet.
  bool fresh() const { return next_ == payload_; }
  // Forgets the rest.
  void Stop() { next_ = end_; }

 private:
  std::uint64_t PartialSum(std::uint32_t l4_length) const;

  PacketPtr packet_;
  std::uint32_t l3_ = 0;
  std::uint32_t l4_ = 0;
  std::uint32_t payload_ =
      0;                    // Where the payload starts; all before it is repeated in each segment.
  std::uint32_t next_ = 0;  // Where the next segment's payload starts.
  std::uint32_t end_ = 0;   // Where the payload ends.
  std::uint32_t segment_size_ = 1;
  bool ipv4_ = false;
  bool tcp_ = false;
};

}  // namespace pollux
