// TunnelMetadata: what is known of the tunnel a packet came through, or is about to go through.
//
// Fields stand in the order in which a flow key holds them (flow/flow.h), so that the key takes
// them over word by word. All zero: no tunnel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace pollux {

using Be16 = std::uint16_t;  // In network byte order.
using Be32 = std::uint32_t;
using Be64 = std::uint64_t;
using Ipv6Address = std::array<std::uint8_t, 16>;

// Bits of TunnelMetadata::flags.
inline constexpr std::uint16_t kTunnelDontFragment = 1u << 0;
inline constexpr std::uint16_t kTunnelChecksum = 1u << 1;
inline constexpr std::uint16_t kTunnelKey = 1u << 2;
inline constexpr std::uint16_t kTunnelOam = 1u << 3;
inline constexpr std::uint16_t kTunnelFlags =
    kTunnelDontFragment | kTunnelChecksum | kTunnelKey | kTunnelOam;

inline constexpr std::size_t kMaxTunnelOptions = 252;  // Bytes: the length has 6 bits, of 4 bytes.

struct alignas(8) TunnelMetadata {
  Be64 id = 0;

  Be32 ipv4_src = 0;
  Be32 ipv4_dst = 0;

  Ipv6Address ipv6_src{};
  Ipv6Address ipv6_dst{};

  std::uint16_t flags = 0;  // kTunnel*.
  std::uint8_t tos = 0;
  std::uint8_t ttl = 0;
  Be16 tp_src = 0;
  Be16 tp_dst = 0;

  Be16 gbp_id = 0;  // VXLAN group policy.
  std::uint8_t gbp_flags = 0;
  std::uint8_t erspan_version = 0;
  Be32 erspan_index = 0;  // Version 1.

  std::uint8_t erspan_direction = 0;  // Version 2: one bit,
  std::uint8_t erspan_hardware = 0;   // and six.
  std::uint8_t gtpu_flags = 0;
  std::uint8_t gtpu_message = 0;
  std::uint8_t options_size = 0;  // Bytes of `options`; a multiple of 4.
  std::array<std::uint8_t, 3> pad{};

  // Geneve options as they stand in the header, but their reserved bits zero; zero behind
  // options_size.
  std::array<std::uint8_t, 256> options{};
};
static_assert(sizeof(TunnelMetadata) == 72 + 256);

}  // namespace pollux
