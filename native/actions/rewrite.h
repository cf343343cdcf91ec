// Changing a packet's headers in place, checksums included.
#pragma once

#include "actions/action_list.h"
#include "packet/packet.h"

namespace pollux {

// Overwrites fields of headers that the packet has (found by its layer offsets, which must be
// valid). IPv4 header, TCP, UDP (a zero UDP checksum stays zero) and, where addresses change,
// ICMPv6 checksums follow incrementally, so a wrong checksum stays as wrong as it was. A later
// fragment has no layer 4: its ports are left alone; in a first fragment the layer 4 checksum
// follows. A packet without the header is left as it is; returns false then.
bool ApplySet(const SetAction& set, Packet& packet);

// Puts a tag in front of the packet's EtherType. False if the headroom does not suffice: the packet
// is unchanged.
bool PushVlan(VlanTag tag, Packet& packet);
// Takes the outermost tag away. False if there is none: the packet is unchanged.
bool PopVlan(Packet& packet);

}  // namespace pollux
