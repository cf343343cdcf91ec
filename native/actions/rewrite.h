// Changing a packet in place: header fields, checksums included; headers that come and go.
//
// Nothing here believes that a packet has what the list was checked for: each function finds its
// header, by the layer offsets or from the front, and refuses a packet that has none. The offsets
// stay right, or become kNoOffset where only the parser can tell.
//
// What a packet lacks (packet/offload.h) goes through sets and tags as it is. Elsewhere a partial
// checksum is finished first; GSO frames do not come here: execute.h sees to that.
#pragma once

#include "actions/action_list.h"
#include "packet/packet.h"

namespace pollux {

// ---- set.cc, set_layer4.cc: sets.
//
// False: the packet cannot go on, since it would go on as though it had been changed: the header is
// not there, or is broken, or its checksum depends on what is in other fragments. (A flow can be
// certain of an EtherType, but not of a header's being whole.) A packet so refused may have been
// changed in part.
//
// A later fragment has no layer 4, and its payload is left alone: what a set of layer 4 changes
// stands in the first fragment. Nor does a set of an ND address add an option.
//
// The IPv4 header's, TCP, UDP (zero stays zero: there is none), ICMP and ICMPv6 checksums follow
// incrementally, SCTP's too, so a wrong checksum stays exactly as wrong as it was; in a first
// fragment, too, if it is there: SCTP's depends on how much is missing, and TCP's may stand in the
// next fragment.

bool Apply(const SetMetadataAction& set, Packet& packet);
bool Apply(const SetTunnelAction& set, Packet& packet);
bool Apply(const SetFields<EthernetFields>& set, Packet& packet);
bool Apply(const SetFields<MplsFields>& set, Packet& packet);
bool Apply(const SetFields<NshFields>& set, Packet& packet);
bool Apply(const SetFields<Ipv4Fields>& set, Packet& packet);
bool Apply(const SetFields<Ipv6Fields>& set, Packet& packet);
bool Apply(const SetFields<ArpFields>& set, Packet& packet);
bool Apply(const SetFields<TcpFields>& set, Packet& packet);
bool Apply(const SetFields<UdpFields>& set, Packet& packet);
bool Apply(const SetFields<SctpFields>& set, Packet& packet);
bool Apply(const SetFields<IcmpFields>& set, Packet& packet);
bool Apply(const SetFields<NdFields>& set, Packet& packet);
bool Apply(const SetFields<NdExtensionFields>& set, Packet& packet);

bool HasTtl(Packet& packet);
// Takes one off the TTL or hop limit. False, and nothing done: it was 0 or 1, or there is none.
bool DecrementTtl(Packet& packet);

// ---- push_pop.cc: headers. False: no room, too long, or not there; the packet is unchanged then.

bool Apply(const PushVlanAction& push, Packet& packet);
bool Apply(const PopVlanAction& pop, Packet& packet);
bool Apply(const PushMplsAction& push, Packet& packet);
bool Apply(const PopMplsAction& pop, Packet& packet);
bool Apply(const PushEthAction& push, Packet& packet);
bool Apply(const PopEthAction& pop, Packet& packet);
bool Apply(const PushNshAction& push, Packet& packet);
bool Apply(const PopNshAction& pop, Packet& packet);

// ---- hash.cc: dp_hash from the addresses, and the ports if the packet is not a fragment. Never 0:
// that means "no hash". The symmetric one is the same for both directions and leaves UDP's ports
// out, as Open vSwitch's does: they need not be symmetric.

bool Apply(const HashAction& hash, Packet& packet);

// ---- For the length of a packet.

// Bytes of the packet as the wire sees it, without what is behind the end that an IP header states;
// of a GSO frame, those of its largest segment.
std::uint32_t LengthOf(const Packet& packet);
// The same, of a packet of which trunc will cut so many bytes.
std::uint32_t LengthOf(const Packet& packet, std::uint32_t cut);
// Takes bytes off the end; an Ethernet header always stays.
void Shorten(Packet& packet, std::uint32_t by);

}  // namespace pollux
