// JumboCutter: GSO frames longer than any packet of ours, in packets that are GSO frames
// themselves.
//
// A packet ends at 65,535 bytes, Ethernet header and tags included. Linux knows three kinds of
// longer frames: BIG TCP, where a length of zero in the IP header says that it is somewhere else;
// TCP whose IP length just fits its 16 bits, so that the frame around it does not; and a datagram
// of 64 KiB for which a program has asked to be cut (UDP_SEGMENT).
#pragma once

#include <cstdint>
#include <span>

#include "packet/offload.h"
#include "packet/packet.h"

namespace pollux {

class JumboCutter {
 public:
  // The longest frame that Linux makes.
  static constexpr std::uint32_t kMaxJumbo = 8 * 65'536;

  // An Ethernet frame of TCP or UDP to be segmented, over IPv4 or IPv6, whose IP length is its own,
  // or zero, with a jumbo payload option in IPv6. It must stay until done(). False: it is another
  // one, or `header` and frame do not fit each other.
  bool Start(std::span<const std::uint8_t> frame, const OffloadHeader& header);
  bool done() const { return next_ >= frame_.size(); }
  // The next of the packets, which lacks what a GSO frame lacks; nullptr if the pool is exhausted,
  // or, with `refused`, if it is none that a packet can be. Not when done().
  PacketPtr Next(PacketPool& pool, bool& refused);
  void Stop() { next_ = frame_.size(); }

 private:
  std::span<const std::uint8_t> frame_;
  OffloadHeader header_;
  std::size_t l3_ = 0;
  std::size_t option_ = 0;   // Bytes of the jumbo payload option, which packets do not have.
  std::size_t l4_ = 0;       // In the frame.
  std::size_t payload_ = 0;  // In the frame.
  std::size_t next_ = 0;
  bool ipv4_ = false;
  bool tcp_ = false;
};

}  // namespace pollux
