// Finishing in software what a kernel left to a card: partial checksums and segmentation (GSO).
//
// Frames from veth, tap and virtio come with a virtio_net_hdr that says what is still to be done.
// Peers write that header (a virtual machine, a container), so every value in it is taken for a lie
// until checked against the frame: a header that does not fit is refused and nothing outside the
// frame is ever read (CVE-2024-11614 is what happens otherwise).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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
  std::uint16_t hdr_len = 0;  // A hint that kernels fill in loosely: not used.
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;

  bool needs_checksum() const { return (flags & kNeedsChecksum) != 0; }
  bool needs_segmentation() const { return gso_type != kGsoNone; }
};

// Completes a checksum whose field holds the sum of the pseudo-header: sums the frame from
// `csum_start` to its end and writes the result `csum_offset` bytes after `csum_start`. False: that
// is not inside the frame; nothing was changed.
bool FinishChecksum(std::span<std::uint8_t> frame, std::uint32_t csum_start,
                    std::uint32_t csum_offset);

// Cuts one oversized TCP or UDP frame (IPv4 or IPv6, VLAN tags and extension headers in front
// allowed) into segments as a card would. Segments are made one at a time, when there is room for
// them, so a peer that asks for 60,000 segments of one byte costs no memory.
class Segmenter {
 public:
  // False: header and frame do not fit each other. The frame must stay as it is until done().
  bool Start(std::span<const std::uint8_t> frame, const OffloadHeader& header);

  bool done() const { return next_ >= end_; }
  std::size_t segments_left() const {
    return done() ? 0 : (end_ - next_ + segment_size_ - 1) / segment_size_;
  }
  // The next segment, complete with its checksums; nullptr if the pool is exhausted, call again
  // then. Not when done().
  PacketPtr Next(PacketPool& pool);
  // Forgets the rest.
  void Stop() { next_ = end_; }

 private:
  std::uint64_t PartialSum(std::uint32_t l4_length) const;

  std::span<const std::uint8_t> frame_;
  std::uint32_t l3_ = 0;
  std::uint32_t l4_ = 0;
  std::uint32_t payload_ =
      0;                    // Where the payload starts; all before it is repeated in each segment.
  std::uint32_t next_ = 0;  // Where the next segment's payload starts.
  std::uint32_t end_ = 0;   // Where the payload ends.
  std::uint32_t segment_size_ = 1;
  bool ipv4_ = false;
  bool partial_ = false;  // The checksum continues the sum found in the frame.
  bool tcp_ = false;
  bool udp_checksum_ = false;
};

// All segments at once, for callers that have room. False: refused, or the pool ran out; `out` is
// then as it was.
bool Segment(PacketPool& pool, std::span<const std::uint8_t> frame, const OffloadHeader& header,
             std::vector<PacketPtr>& out);

}  // namespace pollux
