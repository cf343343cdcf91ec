// PortProfile: what the flows of one input port look at, all together.
//
// Let U be the union of the masks of all flows of a port. Two packets that are equal under U are
// equal under every one of these masks, so they match the same flow: no flow of the port can tell
// them apart. So the cache (emc.h) keys by the packet under U, a million connections that one flow
// takes are one entry, and a port whose flows look at nothing needs no lookup at all.
//
// A profile never changes. When a new mask adds bits to U, or the masks have become so few that U
// shrinks, the port gets another profile with another id, and what was cached under the old id is
// not found any more.
#pragma once

#include <cstdint>

#include "classifier/packed_mask.h"
#include "flow/header_key.h"

namespace pollux {

// What kind of key, made under which profile. Its low three bits say how many pairs of words of the
// key mean something.
using KeyId = std::uint32_t;
inline constexpr KeyId kNoKey = 0;
constexpr std::size_t PairsOf(KeyId id) { return id & 7; }

struct PortProfile {
  explicit PortProfile(const FlowMask& u);

  const bool constant;  // U is in_port and recirc_id alone.
  const FlowMask mask;  // U.
  const PackedMask packed;
  const HeaderMask header;

  // Unique in the process. Keys of the two kinds never mean the same.
  const KeyId header_id;
  const KeyId packed_id;  // If the key has 14 words at most; else kNoKey.
};

}  // namespace pollux
