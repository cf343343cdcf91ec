// JumboCutter: TCP frames longer than any packet of ours, as BIG TCP makes them, in packets that
// are GSO frames themselves.
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

  // An Ethernet frame of TCP to be segmented, over IPv6 with a jumbo payload option, or over IPv4
  // without a length. It must stay until done(). False: it is another one, or `header` and frame do
  // not fit each other.
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
};

}  // namespace pollux
