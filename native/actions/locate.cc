#include "actions/locate.h"

namespace pollux {

// As the parser reads it: up to two tags, then an EtherType, or a length and SNAP.
std::optional<Beyond> BeyondEthernet(const Packet& packet) {
  if (packet.l3_type != 0) return Beyond{packet.l3_type, 0, 0};
  constexpr std::uint32_t kType = sizeof(std::uint16_t);
  std::uint32_t at = offsetof(EthernetHeader, type);
  Reader rest(packet.data, packet.size);
  if (!rest.Skip(sizeof(EthernetHeader))) return {};
  std::uint16_t type = LoadAs<std::uint16_t>(packet.data + at);
  for (int tags = 0; tags < 2 && IsVlanTpid(type); ++tags) {
    if (rest.Take<VlanHeader>() == nullptr) break;
    at += sizeof(VlanHeader);
    type = LoadAs<std::uint16_t>(packet.data + at);
  }
  if (FromBe16(type) < kEthTypeMin) {
    type = TakeSnap(rest);
    if (type == ToBe16(kEthTypeNone)) return {};
    const std::uint32_t length_at = at;
    at += sizeof(SnapHeader);
    return Beyond{type, at, at + kType, length_at};
  }
  return Beyond{type, at, at + kType};
}

Layer4View FindLayer4(Packet& packet) {
  Layer4View view;
  if (packet.l3_offset > packet.size) return view;
  Reader reader(packet.data + packet.l3_offset, packet.size - packet.l3_offset);
  if (Ipv4Of(packet) != nullptr) {
    const Ipv4Header* ip = ReadIpv4(reader);
    if (ip == nullptr) return view;
    view.protocol = ip->protocol;
    view.fragment = (ip->fragment.value() & Ipv4Header::kMoreFragments) != 0;
    view.later = (ip->fragment.value() & Ipv4Header::kOffsetMask) != 0;
  } else if (Ipv6Of(packet) != nullptr) {
    const Ipv6Header* ip = ReadIpv6(reader);
    Ipv6Chain chain;
    if (ip == nullptr || !SkipIpv6Extensions(reader, ip->next_header, chain)) return view;
    view.protocol = chain.protocol;
    view.ipv6 = true;
    view.fragment = chain.more;
    view.later = chain.later;
  }
  view.bytes = reader;
  return view;
}

}  // namespace pollux
