// virtio_net_hdr, as packet sockets and taps put it in front of a frame.
#pragma once

#include <cstdint>

#include "packet/offload.h"

namespace pollux {

// linux/virtio_net.h is not C++ (a field named `class`). In host order, as both devices want it.
struct VirtioNetHeader {
  std::uint8_t flags;
  std::uint8_t gso_type;
  std::uint16_t hdr_len;
  std::uint16_t gso_size;
  std::uint16_t csum_start;
  std::uint16_t csum_offset;

  OffloadHeader Read() const {
    return {flags, gso_type, hdr_len, gso_size, csum_start, csum_offset};
  }
  static VirtioNetHeader Of(const Packet& packet) {
    const OffloadHeader lacks = OffloadsOf(packet);
    return {lacks.flags,    lacks.gso_type,   lacks.hdr_len,
            lacks.gso_size, lacks.csum_start, lacks.csum_offset};
  }
};
static_assert(sizeof(VirtioNetHeader) == 10);

// As taps have it that know of tunnels. What is not said is zero.
struct VirtioTunnelHeader {
  static constexpr std::uint8_t kTunnelChecksum = 8;  // In `flags`.

  VirtioNetHeader plain;
  std::uint16_t buffers;
  std::uint16_t hash[4];
  std::uint16_t udp_at;  // The tunnel's header.
  std::uint16_t l3_at;   // What is inside.

  static VirtioTunnelHeader Of(const Packet& packet) {
    VirtioTunnelHeader header{};
    header.plain = VirtioNetHeader::Of(packet);
    if ((packet.offloads & kOffloadUdpTunnel) == 0) return header;
    const UdpTunnel tunnel = UdpTunnelOf(packet);
    header.plain.gso_type |=
        tunnel.ipv6 ? OffloadHeader::kGsoUdpTunnel6 : OffloadHeader::kGsoUdpTunnel4;
    if (tunnel.checksum) header.plain.flags |= kTunnelChecksum;
    header.udp_at = tunnel.udp_at;
    header.l3_at = tunnel.l3_at;
    return header;
  }
};
static_assert(sizeof(VirtioTunnelHeader) == 24);

// What a packet says that lacks nothing.
inline constexpr VirtioNetHeader kNothingLacks{};

}  // namespace pollux
