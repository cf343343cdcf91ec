// PortProfile: what the flows of one input port look at, all together.
//
// Let K be the union of the masks of some flows of a port. Two packets that are equal under K are
// equal under every one of these masks, so no such flow takes one of them and not the other. So the
// cache (emc.h) keys by the packet under K: a million connections that one flow takes are one
// entry, and a port whose flows look at nothing needs no lookup at all.
//
// On most ports K is the union of all masks. But somebody who can have flows made could widen it on
// purpose, until every connection takes an entry of its own, and with each new bit make all that
// was cached worthless. So on a port with very many masks (dpcls.h) the flows of some are left out:
// they are not cached, and packets equal under K may differ for them.
//
// A profile never changes. When K does, the port gets another one with another id, and what was
// cached under the old id is not found any more.
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
  explicit PortProfile(const FlowMask& k, bool is_complete = true);
  // The same K, and so the same ids, for a port with other flows.
  PortProfile(const PortProfile& other, bool is_complete);

  const bool complete;  // No flow is left out.
  const bool constant;  // And K is in_port and recirc_id alone.
  const FlowMask mask;  // K.
  const PackedMask packed;
  const HeaderMask header;

  // Unique in the process. Keys of the two kinds never mean the same.
  const KeyId header_id;
  const KeyId packed_id;  // If the key has 14 words at most; else kNoKey.
};

}  // namespace pollux
