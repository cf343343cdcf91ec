// Sets of metadata, and of headers up to layer 3.

#include "actions/change.h"
#include "actions/locate.h"
#include "actions/rewrite.h"

namespace pollux {
namespace {

// A partial checksum is the sum of the pseudo-header, without complement.
void FollowPartially(Packet& packet, Sum changed) {
  const bool tcp = (packet.offloads & kOffloadTcpChecksum) != 0;
  const std::size_t at = tcp ? offsetof(TcpHeader, checksum) : offsetof(UdpHeader, checksum);
  auto* sum = HeaderAt<Net16>(packet, packet.csum_start + static_cast<std::uint32_t>(at));
  if (sum == nullptr || changed == 0) return;
  sum->set_raw(FoldSum(changed + sum->raw()));
}

// The same where the parser found no layer 4. A TCP header that does not fit is of interest: the
// first fragment has a part of it, with or without the checksum.
[[gnu::noinline]] bool FollowInFragment(Packet& packet, std::uint8_t protocol, Sum changed) {
  const Layer4View layer4 = FindLayer4(packet);
  if (protocol != kProtoTcp || layer4.later || changed == 0) return true;
  if (layer4.bytes.size() < sizeof(TcpHeader)) return !layer4.fragment;
  const auto at = static_cast<std::uint32_t>(layer4.bytes.data() - packet.data);
  Follow(HeaderAt<TcpHeader>(packet, at)->checksum, changed);
  return true;
}

// The layer 4 checksum after a change of the addresses, which it covers too. False: it is in
// another fragment.
bool FollowAddresses(Packet& packet, std::uint8_t protocol, bool ipv6, Sum changed) {
  if (packet.l4_offset == Packet::kNoOffset) [[unlikely]]
    return FollowInFragment(packet, protocol, changed);
  if (HasPartialChecksum(packet)) [[unlikely]] {
    FollowPartially(packet, changed);
    return true;
  }
  if (protocol == kProtoTcp) {
    if (auto* tcp = HeaderAt<TcpHeader>(packet, packet.l4_offset)) Follow(tcp->checksum, changed);
  } else if (protocol == kProtoUdp) {
    if (auto* udp = HeaderAt<UdpHeader>(packet, packet.l4_offset))
      FollowUdp(udp->checksum, changed);
  } else if (protocol == kProtoIcmpv6 && ipv6) {
    if (auto* icmp = HeaderAt<IcmpHeader>(packet, packet.l4_offset))
      Follow(icmp->checksum, changed);
  }
  return true;
}

}  // namespace

bool Apply(const SetMetadataAction& set, Packet& packet) {
  std::uint32_t& field = packet.*set.field;
  field = (field & ~set.mask) | set.value;
  return true;
}

bool Apply(const SetTunnelAction& set, Packet& packet) {
  if (set.metadata != nullptr) {
    packet.SetTunnel(*set.metadata);
  } else {
    packet.has_tunnel = false;
  }
  return true;
}

bool Apply(const SetFields<EthernetFields>& set, Packet& packet) {
  auto* ethernet = HeaderAt<EthernetHeader>(packet, 0);
  if (packet.l3_type != 0 || ethernet == nullptr) return false;
  ChangeBytes(ethernet->dst, set.value.dst, set.mask.dst);
  ChangeBytes(ethernet->src, set.value.src, set.mask.src);
  return true;
}

bool Apply(const SetFields<MplsFields>& set, Packet& packet) {
  const auto beyond = BeyondEthernet(packet);
  if (!beyond.has_value() || !IsMplsType(beyond->type)) return false;
  auto* mpls = HeaderAt<MplsHeader>(packet, beyond->at);
  if (mpls == nullptr) return false;
  ChangeBits(mpls->entry, set.value.entry, set.mask.entry);
  return true;
}

bool Apply(const SetFields<NshFields>& set, Packet& packet) {
  const auto beyond = BeyondEthernet(packet);
  if (!beyond.has_value() || beyond->type != ToBe16(kEthTypeNsh)) return false;
  auto* nsh = HeaderAt<NshHeader>(packet, beyond->at);
  if (nsh == nullptr || !NshFits(*nsh, packet.size - beyond->at)) return false;
  const NshFields& value = set.value;
  const NshFields& mask = set.mask;
  const auto flags = static_cast<std::uint8_t>((nsh->flags() & ~mask.flags) | value.flags);
  const auto ttl = static_cast<std::uint8_t>((nsh->ttl() & ~mask.ttl) | value.ttl);
  nsh->SetFlagsAndTtl(flags, ttl);
  ChangeBits(nsh->path, value.path, mask.path);
  if (nsh->mdtype != NshHeader::kMdType1) return IsZero(mask.context);
  auto* context = HeaderAt<NshContext>(packet, beyond->at + sizeof *nsh);
  for (std::size_t i = 0; i < mask.context.size(); ++i)
    ChangeBits(context->words[i], value.context[i], mask.context[i]);
  return true;
}

bool Apply(const SetFields<ArpFields>& set, Packet& packet) {
  if (!HasLayer3(packet, kEthTypeArp) && !HasLayer3(packet, kEthTypeRarp)) return false;
  auto* arp = HeaderAt<ArpHeader>(packet, packet.l3_offset);
  if (arp == nullptr) return false;
  Sum not_covered = 0;
  Change16(arp->operation, set.value.operation, set.mask.operation, not_covered);
  ChangeBits(arp->spa, set.value.spa, set.mask.spa);
  ChangeBits(arp->tpa, set.value.tpa, set.mask.tpa);
  ChangeBytes(arp->sha, set.value.sha, set.mask.sha);
  ChangeBytes(arp->tha, set.value.tha, set.mask.tha);
  return true;
}

bool Apply(const SetFields<Ipv4Fields>& set, Packet& packet) {
  Ipv4Header* ip = Ipv4Of(packet);
  if (ip == nullptr) return false;
  Sum addresses = 0;
  Change32(ip->src, set.value.src, set.mask.src, addresses);
  Change32(ip->dst, set.value.dst, set.mask.dst, addresses);
  Sum others = 0;
  ChangeByte(&ip->version_ihl, 1, set.value.tos, set.mask.tos, others);
  ChangeByte(&ip->ttl, 0, set.value.ttl, set.mask.ttl, others);
  Follow(ip->checksum, addresses + others);
  return FollowAddresses(packet, ip->protocol, false, addresses);
}

bool Apply(const SetFields<Ipv6Fields>& set, Packet& packet) {
  Ipv6Header* ip = Ipv6Of(packet);
  if (ip == nullptr) return false;
  Sum source = 0;
  Sum destination = 0;
  ChangeAddress(ip->src, set.value.src, set.mask.src, source);
  ChangeAddress(ip->dst, set.value.dst, set.mask.dst, destination);
  const auto first_word = [](const Ipv6Fields& fields) {
    return ToBe32(std::uint32_t{fields.traffic_class} << 20) | fields.label;
  };
  ChangeBits(ip->version_class_label, first_word(set.value), first_word(set.mask));
  ChangeBits(ip->hop_limit, set.value.hop_limit, set.mask.hop_limit);
  if (source + destination == 0) return true;
  const Ipv6Chain chain = ChainOf(packet, *ip);
  // With segments left, the checksum is over the final destination, which stands in the routing
  // header.
  if (chain.segments_left) destination = 0;
  return FollowAddresses(packet, chain.protocol, true, source + destination);
}

bool HasTtl(Packet& packet) { return Ipv4Of(packet) != nullptr || Ipv6Of(packet) != nullptr; }

bool DecrementTtl(Packet& packet) {
  if (Ipv4Header* ip = Ipv4Of(packet)) {
    if (ip->ttl <= 1) return false;
    Sum changed = 0;
    ChangeByte(&ip->ttl, 0, static_cast<std::uint8_t>(ip->ttl - 1), UINT8_MAX, changed);
    Follow(ip->checksum, changed);
  } else if (Ipv6Header* ip6 = Ipv6Of(packet)) {
    if (ip6->hop_limit <= 1) return false;
    --ip6->hop_limit;
  } else {
    return false;
  }
  return true;
}

}  // namespace pollux
