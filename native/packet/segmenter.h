// Segmenter: cuts GSO frames (packet/offload.h) for ports that take none, or not such ones.
#pragma once

#include <cstdint>
#include <span>

#include "packet/layers.h"
#include "packet/packet.h"

namespace pollux {

// Cuts one GSO frame into segments as a card would. Segments are made one at a time, when there is
// room for them.
//
// For whoever can cut UDP (`taken` has kOffloadUdp), the segments of a tunnel by UDP are made into
// frames of as many datagrams as fit, ready inside, which lack no more than UDP to be segmented
// does: one packet instead of 45 again.
class Segmenter {
 public:
  // Takes the packet and holds it until the next Start(). False, and the packet is the caller's: it
  // is no GSO frame any more.
  bool Start(PacketPtr& packet, Offloads taken = 0);

  bool done() const { return next_ >= end_; }
  std::uint32_t segments_left() const {
    return done() ? 0 : (end_ - next_ + segment_size_ - 1) / segment_size_;
  }
  // The next segment, complete with its checksums, or the next frame of datagrams, with all that is
  // known of the packet; nullptr if the pool is exhausted, call again then. Not when done().
  PacketPtr Next(PacketPool& pool);
  // Whether Next() has not given any yet.
  bool fresh() const { return next_ == payload_; }
  // Forgets the rest.
  void Stop() { next_ = end_; }

 private:
  PacketPtr NextDatagrams(PacketPool& pool);
  void WriteSegment(std::uint8_t* data, std::uint32_t from, std::uint32_t next,
                    std::uint32_t length) const;
  void FinishLayer4(std::uint8_t* data, std::uint32_t next, std::uint32_t length) const;
  void FinishIp(std::uint8_t* ip, bool ipv4, std::uint32_t bytes, std::uint32_t next) const;
  Sum PartialSum(std::uint32_t l4_length) const;
  bool sums(const OuterHeader& header) const;

  PacketPtr packet_;
  Layers layers_;
  std::uint32_t payload_ =
      0;                    // Where the payload starts; all before it is repeated in each segment.
  std::uint32_t next_ = 0;  // Where the next segment's payload starts.
  std::uint32_t end_ = 0;   // Where the payload ends.
  std::uint32_t segment_size_ = 1;
  std::uint32_t datagram_ = 0;  // Where the tunnel's datagram starts, if such are made.
};

}  // namespace pollux
