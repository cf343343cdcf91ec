// Numbers as they lie on the wire: byte order, and fields of any alignment.
//
// A multi-byte field of a header is a Net16 or Net32, which cannot be mistaken for a number: one
// asks for its value() (host order) or its raw() bytes (network order).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pollux {

constexpr std::uint16_t ToBe16(std::uint16_t host) {
  return std::endian::native == std::endian::little ? __builtin_bswap16(host) : host;
}
constexpr std::uint32_t ToBe32(std::uint32_t host) {
  return std::endian::native == std::endian::little ? __builtin_bswap32(host) : host;
}
constexpr std::uint16_t FromBe16(std::uint16_t be) { return ToBe16(be); }
constexpr std::uint32_t FromBe32(std::uint32_t be) { return ToBe32(be); }

// A value of any trivial type out of bytes that need not be aligned.
template <typename T>
T LoadAs(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Whether all bytes of a value are zero.
template <typename T>
bool IsZero(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  return std::all_of(bytes, bytes + sizeof value, [](std::uint8_t byte) { return byte == 0; });
}

struct Net16 {
  std::uint8_t bytes[2];

  std::uint16_t raw() const { return LoadAs<std::uint16_t>(bytes); }
  std::uint16_t value() const { return FromBe16(raw()); }
  void set_raw(std::uint16_t be) { std::memcpy(bytes, &be, sizeof be); }
  void set_value(std::uint16_t host) { set_raw(ToBe16(host)); }
};
struct Net32 {
  std::uint8_t bytes[4];

  std::uint32_t raw() const { return LoadAs<std::uint32_t>(bytes); }
  std::uint32_t value() const { return FromBe32(raw()); }
  void set_raw(std::uint32_t be) { std::memcpy(bytes, &be, sizeof be); }
  void set_value(std::uint32_t host) { set_raw(ToBe32(host)); }
};

}  // namespace pollux
