// Where the headers of a packet are, for the rewrites.
#pragma once

#include <cstdint>
#include <optional>

#include "packet/headers.h"
#include "packet/packet.h"
#include "packet/reader.h"

namespace pollux {

// The header of type H at `offset` of the frame; nullptr if the offset is not set or it does not
// fit.
template <typename H>
H* HeaderAt(Packet& packet, std::uint32_t offset) {
  static_assert(alignof(H) == 1);
  if (offset == Packet::kNoOffset || offset + sizeof(H) > packet.size) return nullptr;
  return reinterpret_cast<H*>(packet.data + offset);
}

// What the Ethernet header, with its tags, leads to; or what a packet without one starts with.
struct Beyond {
  std::uint16_t type;           // EtherType, as on the wire.
  std::uint32_t type_at;        // Where it stands; 0: nowhere, the packet has no Ethernet header.
  std::uint32_t at;             // Where what it speaks of starts.
  std::uint32_t length_at = 0;  // Where an 802.3 length stands that covers it; 0: there is none.
};
// Nullopt: an 802.2 frame without an EtherType, or not even an Ethernet header.
std::optional<Beyond> BeyondEthernet(const Packet& packet);

// By the offset that the parser set behind an EtherType, whatever stood before it; or at the start.
inline bool HasLayer3(const Packet& packet, std::uint16_t type) {
  if (packet.l3_offset == Packet::kNoOffset || packet.l3_offset > packet.size) return false;
  if (packet.l3_offset >= kMinFrame) [[likely]]
    return LoadAs<std::uint16_t>(packet.data + packet.l3_offset - 2) == ToBe16(type);
  return packet.l3_offset == 0 && packet.l3_type == ToBe16(type);
}

inline Ipv4Header* Ipv4Of(Packet& packet) {
  if (!HasLayer3(packet, kEthTypeIpv4)) return nullptr;
  auto* ip = HeaderAt<Ipv4Header>(packet, packet.l3_offset);
  return ip != nullptr && ip->version() == 4 ? ip : nullptr;
}

inline Ipv6Header* Ipv6Of(Packet& packet) {
  if (!HasLayer3(packet, kEthTypeIpv6)) return nullptr;
  auto* ip = HeaderAt<Ipv6Header>(packet, packet.l3_offset);
  return ip != nullptr && ip->version() == 6 ? ip : nullptr;
}

// Whether it is the packet's own layer 4 whose checksum is partial, and not that of what it
// carries.
inline bool HasPartialChecksum(const Packet& packet) {
  return (packet.offloads & kOffloadChecksum) != 0 && packet.csum_start == packet.l4_offset;
}

// Layer 4 by what the IP header says, wherever the parser left off.
struct Layer4View {
  std::uint8_t protocol = 0;
  bool ipv6 = false;
  bool fragment = false;  // There are fragments behind it.
  bool later = false;     // There are fragments before it, and no layer 4.
  Reader bytes = Reader(nullptr, 0);
};
Layer4View FindLayer4(Packet& packet);

inline Ipv6Chain ChainOf(const Packet& packet, const Ipv6Header& ip) {
  Ipv6Chain chain;
  Reader rest(packet.data + packet.l3_offset, packet.size - packet.l3_offset);
  rest.Skip(sizeof ip);
  SkipIpv6Extensions(rest, ip.next_header, chain);
  return chain;
}

}  // namespace pollux
