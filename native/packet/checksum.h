// The Internet checksum (RFC 1071) and its incremental update (RFC 1624); and CRC-32C, which SCTP
// uses, and its incremental update.
//
// A one's complement sum does not care about byte order as long as everything uses the same one.
// Here every 16-bit value, sums and checksums alike, is as it lies in the packet (network order):
// read and write it with memcpy, never with htons().
//
// A Sum is 64 bits wide and not folded; adding two of them needs no care about carries before some
// 2^32 additions. Both parts must start at an even offset of what is summed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace pollux {

using Sum = std::uint64_t;

// Adds the bytes as 16-bit words; a last odd byte counts as if a zero followed.
Sum SumBytes(std::span<const std::uint8_t> bytes, Sum sum = 0);

// To 16 bits, not complemented: what a checksum field holds while the sum is partial.
inline std::uint16_t FoldSum(Sum sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

// What to write into the checksum field.
inline std::uint16_t FinishSum(Sum sum) { return static_cast<std::uint16_t>(~FoldSum(sum)); }

// The checksum of the bytes; 0 over bytes that contain a right checksum.
inline std::uint16_t Checksum(std::span<const std::uint8_t> bytes) {
  return FinishSum(SumBytes(bytes));
}

// The checksum after a 16-bit word that it covers changed. Equation 3 of RFC 1624, which has no
// trouble with zeros.
inline std::uint16_t UpdateChecksum16(std::uint16_t checksum, std::uint16_t from,
                                      std::uint16_t to) {
  return FinishSum(Sum{static_cast<std::uint16_t>(~checksum)} + static_cast<std::uint16_t>(~from) +
                   to);
}
// The same for a 32-bit field at an even offset, such as an IPv4 address.
inline std::uint16_t UpdateChecksum32(std::uint16_t checksum, std::uint32_t from,
                                      std::uint32_t to) {
  return FinishSum(Sum{static_cast<std::uint16_t>(~checksum)} + Sum{~from} + to);
}

// Pseudo-headers. Addresses are as they lie in the packet; `length` (of the layer 4 header and
// payload) is a plain number.
Sum PseudoSum4(std::span<const std::uint8_t, 4> source,
               std::span<const std::uint8_t, 4> destination, std::uint8_t protocol,
               std::uint32_t length);
Sum PseudoSum6(std::span<const std::uint8_t, 16> source,
               std::span<const std::uint8_t, 16> destination, std::uint8_t protocol,
               std::uint32_t length);

// The CRC-32C of a message; where SCTP has it, least significant byte first, the message has zeros.
std::uint32_t Crc32c(std::span<const std::uint8_t> bytes);

// By which bits (XOR) the CRC-32C of a message changes when four of its bytes change by those of
// `difference`, with `behind` bytes of the message after them. Both numbers are as they lie in an
// SCTP packet, read as little-endian. A CRC is linear, so neither the checksum nor the rest of the
// message matters, and nothing of it is read.
std::uint32_t Crc32cChange(std::uint32_t difference, std::size_t behind);

}  // namespace pollux
