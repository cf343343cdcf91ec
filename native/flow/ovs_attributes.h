// What <linux/openvswitch.h> lacks: Open vSwitch's userspace has attributes that the kernel's
// headers do not name, or only lately do.
#pragma once

#include <linux/openvswitch.h>

#include <cstdint>

#include "packet/tunnel.h"

namespace pollux {

// OVS_KEY_ATTR_*
inline constexpr std::uint16_t kKeyAttrPacketType = 29;    // Be32: namespace and type.
inline constexpr std::uint16_t kKeyAttrNdExtensions = 30;  // KeyNdExtensions

struct KeyNdExtensions {
  Be32 nd_reserved;
  std::uint8_t nd_options_type;
  std::uint8_t pad[3];
};
static_assert(sizeof(KeyNdExtensions) == 8);

// OVS_TUNNEL_KEY_ATTR_*
inline constexpr std::uint16_t kTunnelAttrGtpuOpts = 18;  // TunnelGtpu

struct TunnelGtpu {
  std::uint8_t flags;
  std::uint8_t message;
};
static_assert(sizeof(TunnelGtpu) == 2);

}  // namespace pollux
