// Changing a packet in place: header fields, checksums included; headers that come and go.
//
// Nothing here believes that a packet has what the list was checked for: each function finds its
// header, by the layer offsets or from the front, and does nothing where there is none. The offsets
// stay right, or become kNoOffset where only the parser can tell.
//
// What a packet lacks (packet/offload.h) goes through sets and tags as it is. Elsewhere a partial
// checksum is finished first; GSO frames do not come here: execute.h sees to that.
#pragma once

#include "actions/action_list.h"
#include "packet/packet.h"

namespace pollux {

// ---- set.cc, set_layer4.cc: sets. A packet without the header is left as it is.
//
// The IPv4 header's, TCP, UDP (zero stays zero: there is none), ICMP and ICMPv6 checksums follow
// incrementally, SCTP's too, so a wrong checksum stays exactly as wrong as it was. A later fragment
// has no layer 4: its payload is left alone; in a first fragment the checksum follows.
//
// False: the packet cannot go on. That is an SCTP fragment, whose checksum depends on how much is
// missing.

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

// Takes one off the TTL or hop limit. False: it was 0 or 1, and stays.
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
// Takes bytes off the end; an Ethernet header always stays.
void Shorten(Packet& packet, std::uint32_t by);

}  // namespace pollux
