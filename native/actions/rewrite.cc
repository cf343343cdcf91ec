// Header fields, changed in place.
//
// Every change is noted in a Sum: what the 16-bit words were, complemented, plus what they became.
// Adding that to a checksum is equation 3 of RFC 1624; one Sum serves all checksums that cover the
// field. Layer 4 checksums cover addresses (pseudo-header) and ports, the IPv4 header's covers all
// of its own fields. A checksum that was wrong stays exactly as wrong: we never repair a packet.
#include "actions/rewrite.h"

#include "packet/checksum.h"
#include "packet/headers.h"

namespace pollux {
namespace {

// Takes the bits that `mask` selects from `value`; the two bytes stand at an even offset of what is
// summed.
void Change16(Net16& field, std::uint16_t value, std::uint16_t mask, Sum& changed) {
  const std::uint16_t from = field.raw();
  const auto to = static_cast<std::uint16_t>((from & ~mask) | (value & mask));
  if (from == to) return;
  field.set_raw(to);
  changed += static_cast<std::uint16_t>(~from);
  changed += to;
}
void Change32(Net32& field, std::uint32_t value, std::uint32_t mask, Sum& changed) {
  const std::uint32_t from = field.raw();
  const std::uint32_t to = (from & ~mask) | (value & mask);
  if (from == to) return;
  field.set_raw(to);
  changed += static_cast<std::uint32_t>(~from);
  changed += to;
}
void ChangeBytes(std::uint8_t* field, const std::uint8_t* value, const std::uint8_t* mask,
                 std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    field[i] = static_cast<std::uint8_t>((field[i] & ~mask[i]) | (value[i] & mask[i]));
}
// A single byte, with the neighbour that makes it a word.
void ChangeByte(std::uint8_t* word, std::size_t which, std::uint8_t value, std::uint8_t mask,
                Sum& changed) {
  std::uint8_t values[2] = {};
  std::uint8_t masks[2] = {};
  values[which] = value;
  masks[which] = mask;
  Change16(*reinterpret_cast<Net16*>(word), LoadAs<std::uint16_t>(values),
           LoadAs<std::uint16_t>(masks), changed);
}
void ChangeAddress(std::uint8_t* address, const Ipv6Address& value, const Ipv6Address& mask,
                   Sum& changed) {
  for (std::size_t i = 0; i < value.size(); i += 4) {
    Change32(*reinterpret_cast<Net32*>(address + i), LoadAs<std::uint32_t>(&value[i]),
             LoadAs<std::uint32_t>(&mask[i]), changed);
  }
}

// A Sum of zero: nothing changed, or 0xffff became 0, which is the same in one's complement.
void Follow(Net16& checksum, Sum changed) {
  if (changed == 0) return;
  checksum.set_raw(FinishSum(changed + static_cast<std::uint16_t>(~checksum.raw())));
}

// The header of type H at `offset` of the frame; nullptr if the offset is not set or it does not
// fit.
template <typename H>
H* HeaderAt(Packet& packet, std::uint16_t offset) {
  static_assert(alignof(H) == 1);
  if (offset == Packet::kNoOffset || offset + sizeof(H) > packet.size) return nullptr;
  return reinterpret_cast<H*>(packet.data + offset);
}

// The parser set l3_offset behind an EtherType, whatever stood before it (tags, SNAP).
bool HasEtherType(const Packet& packet, std::uint16_t type) {
  return packet.l3_offset != Packet::kNoOffset && packet.l3_offset >= kMinFrame &&
         packet.l3_offset <= packet.size &&
         LoadAs<std::uint16_t>(packet.data + packet.l3_offset - 2) == ToBe16(type);
}

Ipv4Header* Ipv4Of(Packet& packet) {
  if (!HasEtherType(packet, kEthTypeIpv4)) return nullptr;
  auto* ip = HeaderAt<Ipv4Header>(packet, packet.l3_offset);
  return ip != nullptr && ip->version() == 4 ? ip : nullptr;
}

Ipv6Header* Ipv6Of(Packet& packet) {
  if (!HasEtherType(packet, kEthTypeIpv6)) return nullptr;
  auto* ip = HeaderAt<Ipv6Header>(packet, packet.l3_offset);
  return ip != nullptr && ip->version() == 6 ? ip : nullptr;
}

Ipv6Chain ChainOf(const Packet& packet, const Ipv6Header& ip) {
  Ipv6Chain chain;
  Reader rest(packet.data + packet.l3_offset, packet.size - packet.l3_offset);
  rest.Skip(sizeof ip);
  SkipIpv6Extensions(rest, ip.next_header, chain);
  return chain;
}

// The layer 4 checksum after a change of what it covers.
void FollowLayer4(Packet& packet, std::uint8_t protocol, bool ipv6, Sum changed) {
  if (protocol == kProtoTcp) {
    if (auto* tcp = HeaderAt<TcpHeader>(packet, packet.l4_offset)) Follow(tcp->checksum, changed);
  } else if (protocol == kProtoUdp) {
    auto* udp = HeaderAt<UdpHeader>(packet, packet.l4_offset);
    if (udp == nullptr || udp->checksum.raw() == 0 || changed == 0)
      return;  // Zero: the sender did not compute one.
    Follow(udp->checksum, changed);
    if (udp->checksum.raw() == 0) udp->checksum.set_raw(UINT16_MAX);
  } else if (protocol == kProtoIcmpv6 && ipv6) {
    if (auto* icmp = HeaderAt<IcmpHeader>(packet, packet.l4_offset))
      Follow(icmp->checksum, changed);
  }
}

bool SetEthernet(const SetAction& set, Packet& packet) {
  auto* ethernet = HeaderAt<EthernetHeader>(packet, 0);
  if (ethernet == nullptr) return false;
  ChangeBytes(ethernet->dst, set.value.eth_dst.data(), set.mask.eth_dst.data(),
              set.value.eth_dst.size());
  ChangeBytes(ethernet->src, set.value.eth_src.data(), set.mask.eth_src.data(),
              set.value.eth_src.size());
  return true;
}

bool SetIpv4(const SetAction& set, Packet& packet) {
  Ipv4Header* ip = Ipv4Of(packet);
  if (ip == nullptr) return false;
  Sum addresses = 0;
  Change32(ip->src, set.value.ipv4_src, set.mask.ipv4_src, addresses);
  Change32(ip->dst, set.value.ipv4_dst, set.mask.ipv4_dst, addresses);
  Sum others = 0;
  ChangeByte(&ip->version_ihl, 1, set.value.nw_tos, set.mask.nw_tos, others);
  ChangeByte(&ip->ttl, 0, set.value.nw_ttl, set.mask.nw_ttl, others);
  Follow(ip->checksum, addresses + others);
  FollowLayer4(packet, ip->protocol, false, addresses);
  return true;
}

bool SetIpv6(const SetAction& set, Packet& packet) {
  Ipv6Header* ip = Ipv6Of(packet);
  if (ip == nullptr) return false;
  Sum source = 0;
  Sum destination = 0;
  Sum not_covered = 0;
  ChangeAddress(ip->src, set.value.ipv6_src, set.mask.ipv6_src, source);
  ChangeAddress(ip->dst, set.value.ipv6_dst, set.mask.ipv6_dst, destination);
  Change32(ip->version_class_label,
           ToBe32(std::uint32_t{set.value.nw_tos} << 20) | set.value.ipv6_label,
           ToBe32(std::uint32_t{set.mask.nw_tos} << 20) |
               (set.mask.ipv6_label & ToBe32(Ipv6Header::kLabelMask)),
           not_covered);
  ChangeBytes(&ip->hop_limit, &set.value.nw_ttl, &set.mask.nw_ttl, 1);
  if (source + destination != 0 && packet.l4_offset != Packet::kNoOffset) {
    const Ipv6Chain chain = ChainOf(packet, *ip);
    // With segments left, the checksum is over the final destination, which stands in the routing
    // header.
    if (chain.segments_left) destination = 0;
    FollowLayer4(packet, chain.protocol, true, source + destination);
  }
  return true;
}

bool SetPorts(const SetAction& set, Packet& packet, std::uint8_t protocol) {
  if (packet.l4_offset == Packet::kNoOffset) return false;
  bool ipv6 = false;
  if (const Ipv4Header* ip4 = Ipv4Of(packet)) {
    if (ip4->protocol != protocol) return false;
  } else if (const Ipv6Header* ip6 = Ipv6Of(packet)) {
    ipv6 = true;
    if (ChainOf(packet, *ip6).protocol != protocol) return false;
  } else {
    return false;
  }
  auto* ports =
      HeaderAt<UdpHeader>(packet, packet.l4_offset);  // TCP has its ports at the same place.
  if (ports == nullptr) return false;
  Sum changed = 0;
  Change16(ports->src, set.value.tp_src, set.mask.tp_src, changed);
  Change16(ports->dst, set.value.tp_dst, set.mask.tp_dst, changed);
  FollowLayer4(packet, protocol, ipv6, changed);
  return true;
}

constexpr std::uint32_t kTagSize = 4;  // TPID and TCI.
constexpr std::uint32_t kAddresses = 2 * sizeof(MacAddress);

void ShiftOffsets(Packet& packet, int by) {
  for (std::uint16_t* offset : {&packet.l3_offset, &packet.l4_offset}) {
    if (*offset != Packet::kNoOffset) *offset = static_cast<std::uint16_t>(*offset + by);
  }
}

}  // namespace

bool ApplySet(const SetAction& set, Packet& packet) {
  switch (set.group) {
    case SetAction::Group::kEthernet:
      return SetEthernet(set, packet);
    case SetAction::Group::kIpv4:
      return SetIpv4(set, packet);
    case SetAction::Group::kIpv6:
      return SetIpv6(set, packet);
    case SetAction::Group::kTcp:
      return SetPorts(set, packet, kProtoTcp);
    case SetAction::Group::kUdp:
      return SetPorts(set, packet, kProtoUdp);
  }
  return false;
}

bool PushVlan(VlanTag tag, Packet& packet) {
  if (packet.size < kMinFrame || packet.size > kMaxFrame - kTagSize) return false;
  std::uint8_t* data = packet.Push(kTagSize);
  if (data == nullptr) return false;
  std::memmove(data, data + kTagSize, kAddresses);
  // CFI means "there is a tag" in keys; on the wire it is another bit, which we clear.
  const std::uint16_t tci = tag.tci & static_cast<std::uint16_t>(~ToBe16(kVlanCfi));
  std::memcpy(data + kAddresses, &tag.tpid, sizeof tag.tpid);
  std::memcpy(data + kAddresses + sizeof tag.tpid, &tci, sizeof tci);
  ShiftOffsets(packet, kTagSize);
  return true;
}

bool PopVlan(Packet& packet) {
  if (packet.size < kMinFrame + kTagSize ||
      !IsVlanTpid(LoadAs<std::uint16_t>(packet.data + kAddresses)))
    return false;
  std::memmove(packet.data + kTagSize, packet.data, kAddresses);
  packet.Pull(kTagSize);
  ShiftOffsets(packet, -static_cast<int>(kTagSize));
  return true;
}

}  // namespace pollux
