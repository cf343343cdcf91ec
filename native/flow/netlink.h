// Flow keys and masks as Open vSwitch netlink attributes (linux/openvswitch.h, OVS_KEY_ATTR_*): the
// form in which they cross to TypeScript, where text is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "flow/flow.h"

namespace pollux {

using Bytes = std::span<const std::uint8_t>;

struct Match {
  Flow key;  // Already masked.
  FlowMask mask;
};

// Meaning follows dpif-netdev. An empty `mask`: every attribute of the key is exact. Otherwise an
// attribute that is missing in the mask, or inside an "encap" that is, is wildcarded. A key
// attribute that is not there = wildcarded; no VLAN attribute = "must be untagged", exactly (inside
// an "encap": no further tag; a VLAN without any "encap" says nothing of what is inside). A mask
// with an exact EtherType and no EtherType in the key: 802.2. recirc_id is always exact; in_port
// must be there and exact. EINVAL with a sentence otherwise: unknown or duplicate attribute, wrong
// length, an attribute without its prerequisite (layer 3 without exact EtherType, ports without
// exact protocol, ND without its ICMPv6 type), nested too deep, a mask for what the key does not
// have.
Result<Match> DecodeMatch(Bytes key, Bytes mask);

// A key as attributes; with `mask`, only attributes of fields the mask looks at (and recirc_id,
// in_port). Which of the fields that share a place is meant follows from `key`. EncodeMask gives
// the same attributes filled with the mask's bits.
std::vector<std::uint8_t> EncodeKey(const Flow& key, const FlowMask* mask = nullptr);
std::vector<std::uint8_t> EncodeMask(const Flow& key, const FlowMask& mask);

// One attribute after the other out of a byte string: for (AttributeReader r(bytes); r.Next();)
// r.type(), r.payload().
class AttributeReader {
 public:
  explicit AttributeReader(Bytes bytes) : rest_(bytes) {}
  // False at the end, or where the rest is not a whole attribute: then broken() is true.
  bool Next();
  std::uint16_t type() const { return type_; }
  Bytes payload() const { return payload_; }
  bool broken() const { return broken_; }

 private:
  Bytes rest_;
  Bytes payload_;
  std::uint16_t type_ = 0;
  bool broken_ = false;
};

// Appends one attribute, padded to four bytes. The payload has at most 65,531 bytes.
void AppendAttribute(std::vector<std::uint8_t>& out, std::uint16_t type, Bytes payload);

}  // namespace pollux
