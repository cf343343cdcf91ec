#include "packet/checksum.h"

#include <array>
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

// Polynomials over GF(2) of degree less than 32, modulo that of CRC-32C: the most significant bit
// is the coefficient of x^0, as in the reflected form of the checksum.
constexpr std::uint32_t kCrc32c = 0x82f63b78;

constexpr std::uint32_t Product(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? b >> 1 ^ kCrc32c : b >> 1;  // Times x.
  }
  return product;
}

// What a byte becomes while eight of its bits are divided.
constexpr auto kCrcOfByte = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ kCrc32c : crc >> 1;
    table[byte] = crc;
  }
  return table;
}();

// x to the power of 8 * 2^i.
constexpr auto kPowers = [] {
  std::array<std::uint32_t, 32> powers{};
  powers[0] = 0x00800000;
  for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = Product(powers[i - 1], powers[i - 1]);
  return powers;
}();

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

std::uint32_t Crc32c(std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = UINT32_MAX;
  for (const std::uint8_t byte : bytes) crc = crc >> 8 ^ kCrcOfByte[(crc ^ byte) & 0xff];
  return ~crc;
}

// The four bytes are that many bytes away from the end of the message, themselves included: so
// often the difference was multiplied by x^8.
std::uint32_t Crc32cChange(std::uint32_t difference, std::size_t behind) {
  std::size_t bytes = behind + sizeof difference;
  for (std::size_t i = 0; bytes != 0; ++i, bytes >>= 1) {
    if ((bytes & 1) != 0) difference = Product(difference, kPowers[i]);
  }
  return difference;
}

}  // namespace pollux
