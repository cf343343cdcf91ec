// Flow keys and masks as Open vSwitch netlink attributes (linux/openvswitch.h, OVS_KEY_ATTR_*): the
// form in which they cross to TypeScript, where text is made.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "flow/attributes.h"
#include "flow/flow.h"

namespace pollux {

struct Match {
  Flow key;  // Already masked.
  FlowMask mask;
};

// Meaning follows dpif-netdev. An empty `mask`: every attribute of the key is exact. Otherwise an
// attribute that is missing in the mask, or inside an "encap" that is, is wildcarded. A key
// attribute that is not there = wildcarded; no VLAN attribute = "must be untagged", exactly (inside
// an "encap": no further tag; a VLAN without any "encap" says nothing of what is inside; one whose
// TCI is 0: the frame ends inside its tag, the TPID is its EtherType); none in the key and one of
// no bits in the mask = with any tags or none. A mask with an exact EtherType and no EtherType in
// the key: 802.2. recirc_id is always exact; in_port must be there and exact. A packet type with
// namespace 1 says what eth_type is, and is exact in it too. Of a tunnel see tunnel_attributes.h.
// As many MPLS labels are matched as the key has, and what is behind them does not matter. EINVAL
// with a sentence otherwise: unknown or duplicate attribute, wrong length, a value that its field
// has no room for, an attribute without its prerequisite (layer 3, MPLS, NSH and connection tuples
// without exact EtherType, ports without exact protocol, ND without its ICMPv6 type, an Ethernet
// header in a packet type without one), nested too deep, a mask for what the key does not have.
Result<Match> DecodeMatch(Bytes key, Bytes mask);

// A key as attributes; with `mask`, only attributes of fields the mask looks at (and recirc_id,
// in_port). Which of the fields that share a place is meant follows from `key`. EncodeMask gives
// the same attributes filled with the mask's bits.
std::vector<std::uint8_t> EncodeKey(const Flow& key, const FlowMask* mask = nullptr);
std::vector<std::uint8_t> EncodeMask(const Flow& key, const FlowMask& mask);

}  // namespace pollux
