// Free fields: those of a match that may have any value (an in_port of 16 bits) without anything
// else in the match having to change, addresses and port numbers above all.
#pragma once

#include <linux/openvswitch.h>

#include <cstddef>
#include <cstdint>

#include "flow/attributes.h"

namespace pollux {

struct FreeField {
  std::uint16_t attribute;
  std::uint16_t offset;  // In the payload.
  std::uint16_t size;
  std::uint16_t place;  // In a Flow, where the bytes are the same.
};

// Those of an attribute: a range that is empty for most.
std::span<const FreeField> FreeFieldsOf(std::uint16_t attribute);

// Calls each(field, at) for every free field of a key, `at` being where its bytes are. What is
// inside of a tag's "encap" counts like what is outside.
template <typename Each>
void ForEachFreeField(Bytes key, Each each, Bytes level) {
  constexpr std::uint16_t kEncap = OVS_KEY_ATTR_ENCAP;
  for (AttributeReader reader(level); reader.Next();) {
    if (reader.type() == kEncap) ForEachFreeField(key, each, reader.payload());
    const auto start = static_cast<std::size_t>(reader.payload().data() - key.data());
    for (const FreeField& field : FreeFieldsOf(reader.type())) {
      if (reader.payload().size() >= std::size_t{field.offset} + field.size)
        each(field, start + field.offset);
    }
  }
}
template <typename Each>
void ForEachFreeField(Bytes key, Each each) {
  ForEachFreeField(key, each, key);
}

}  // namespace pollux
