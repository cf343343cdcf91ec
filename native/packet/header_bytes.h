// Numbers in headers, for those who work on offsets rather than on headers of a type.
#pragma once

#include <cstdint>
#include <cstring>

#include "packet/headers.h"

namespace pollux {

inline constexpr std::uint32_t kUdpCheckAt = offsetof(UdpHeader, checksum);
inline constexpr std::uint32_t kTcpCheckAt = offsetof(TcpHeader, checksum);

inline std::uint32_t Get16(const std::uint8_t* at) {
  return static_cast<std::uint32_t>(at[0] << 8 | at[1]);
}
inline std::uint32_t Get32(const std::uint8_t* at) { return Get16(at) << 16 | Get16(at + 2); }
inline void Put16(std::uint8_t* at, std::uint32_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
inline void Put32(std::uint8_t* at, std::uint32_t value) {
  Put16(at, value >> 16);
  Put16(at + 2, value & 0xffff);
}
// A checksum is already as it lies in the packet.
inline void PutChecksum(std::uint8_t* at, std::uint16_t checksum) { std::memcpy(at, &checksum, 2); }

}  // namespace pollux
