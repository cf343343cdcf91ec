#include "packet/checksum.h"

#include <bit>

namespace pollux {
namespace {

template <typename T>
T Load(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// A plain number of 16 or 32 bits as a sum of words in network order.
Sum NetworkOrder(std::uint32_t value) {
  const std::uint8_t bytes[4] = {
      static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
      static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
  return Load<std::uint32_t>(bytes);
}

}  // namespace

// Adds 32-bit words into 64-bit accumulators: no carry to mind for 2^32 words, and two accumulators
// and a loop without dependencies let the compiler use vectors.
Sum SumBytes(std::span<const std::uint8_t> bytes, Sum sum) {
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  sum = (sum & 0xffffffff) + (sum >> 32);
  Sum other = 0;
  for (; left >= 32; at += 32, left -= 32) {
    for (int i = 0; i < 32; i += 8) {
      const std::uint64_t word = Load<std::uint64_t>(at + i);
      sum += word & 0xffffffff;
      other += word >> 32;
    }
  }
  for (; left >= 4; at += 4, left -= 4) sum += Load<std::uint32_t>(at);
  if (left >= 2) {
    sum += Load<std::uint16_t>(at);
    at += 2;
    left -= 2;
  }
  if (left == 1) sum += std::endian::native == std::endian::little ? *at : Sum{*at} << 8;
  return sum + other;
}

Sum PseudoSum4(std::span<const std::uint8_t, 4> source,
               std::span<const std::uint8_t, 4> destination, std::uint8_t protocol,
               std::uint32_t length) {
  return Sum{Load<std::uint32_t>(source.data())} + Load<std::uint32_t>(destination.data()) +
         NetworkOrder(protocol) + NetworkOrder(length);
}

Sum PseudoSum6(std::span<const std::uint8_t, 16> source,
               std::span<const std::uint8_t, 16> destination, std::uint8_t protocol,
               std::uint32_t length) {
  return SumBytes(source) + SumBytes(destination) + NetworkOrder(protocol) + NetworkOrder(length);
}

}  // namespace pollux
