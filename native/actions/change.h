// Changing fields, with the sums that checksums follow by.
//
// Every change is noted in a Sum: what the 16-bit words were, complemented, plus what they became.
// Adding that to a checksum is equation 3 of RFC 1624; one Sum serves all checksums that cover the
// field. A checksum that was wrong stays exactly as wrong: we never repair a packet.
#pragma once

#include <cstddef>
#include <cstdint>

#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/tunnel.h"

namespace pollux {

// Takes the bits that `mask` selects from `value`, where the others are zero. The field stands at
// an even offset of what is summed.
inline void Change16(Net16& field, std::uint16_t value, std::uint16_t mask, Sum& changed) {
  const std::uint16_t from = field.raw();
  const auto to = static_cast<std::uint16_t>((from & ~mask) | value);
  if (from == to) return;
  field.set_raw(to);
  changed += static_cast<std::uint16_t>(~from);
  changed += to;
}
inline void Change32(Net32& field, std::uint32_t value, std::uint32_t mask, Sum& changed) {
  const std::uint32_t from = field.raw();
  const std::uint32_t to = (from & ~mask) | value;
  if (from == to) return;
  field.set_raw(to);
  changed += static_cast<std::uint32_t>(~from);
  changed += to;
}
// A single byte, with the neighbour that makes it a word.
inline void ChangeByte(std::uint8_t* word, std::size_t which, std::uint8_t value, std::uint8_t mask,
                       Sum& changed) {
  std::uint8_t values[2] = {};
  std::uint8_t masks[2] = {};
  values[which] = value;
  masks[which] = mask;
  Change16(*reinterpret_cast<Net16*>(word), LoadAs<std::uint16_t>(values),
           LoadAs<std::uint16_t>(masks), changed);
}
// Addresses: an even number of bytes at an even offset.
template <typename Address>
void ChangeAddress(std::uint8_t* address, const Address& value, const Address& mask, Sum& changed) {
  static_assert(sizeof(Address) % 2 == 0);
  for (std::size_t i = 0; i < value.size(); i += 2) {
    Change16(*reinterpret_cast<Net16*>(address + i), LoadAs<std::uint16_t>(&value[i]),
             LoadAs<std::uint16_t>(&mask[i]), changed);
  }
}
// Fields that no checksum covers.
template <typename Address>
void ChangeBytes(std::uint8_t* field, const Address& value, const Address& mask) {
  for (std::size_t i = 0; i < value.size(); ++i)
    field[i] = static_cast<std::uint8_t>((field[i] & ~mask[i]) | value[i]);
}
inline void ChangeBits(std::uint8_t& field, std::uint8_t value, std::uint8_t mask) {
  field = static_cast<std::uint8_t>((field & ~mask) | value);
}
inline void ChangeBits(Net32& field, std::uint32_t value, std::uint32_t mask) {
  field.set_raw((field.raw() & ~mask) | value);
}

// A Sum of zero: nothing changed, or 0xffff became 0, which is the same in one's complement.
inline void Follow(Net16& checksum, Sum changed) {
  if (changed == 0) return;
  checksum.set_raw(FinishSum(changed + static_cast<std::uint16_t>(~checksum.raw())));
}
// UDP, where zero says that the sender did not compute one.
inline void FollowUdp(Net16& checksum, Sum changed) {
  if (checksum.raw() == 0 || changed == 0) return;
  Follow(checksum, changed);
  if (checksum.raw() == 0) checksum.set_raw(UINT16_MAX);
}

}  // namespace pollux
