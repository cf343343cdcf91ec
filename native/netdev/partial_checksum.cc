#include "netdev/partial_checksum.h"

#include <cstddef>
#include <cstring>
#include <span>

#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/offload.h"

namespace pollux {
namespace {

template <std::size_t kBytes>
std::span<const std::uint8_t, kBytes> BytesAt(const void* at) {
  return std::span<const std::uint8_t, kBytes>(static_cast<const std::uint8_t*>(at), kBytes);
}

// The sum of the pseudo-header of the layer 4 that `reader` is limited to.
bool TakeNetworkHeader(Reader& reader, std::uint16_t type, std::uint8_t& protocol, Sum& pseudo) {
  if (type == kEthTypeIpv4) {
    const Ipv4Header* ip = ReadIpv4(reader);
    constexpr std::uint16_t kFragment = Ipv4Header::kMoreFragments | Ipv4Header::kOffsetMask;
    if (ip == nullptr || (ip->fragment.value() & kFragment) != 0) return false;
    protocol = ip->protocol;
    pseudo = PseudoSum4(BytesAt<4>(&ip->src), BytesAt<4>(&ip->dst), protocol,
                        static_cast<std::uint32_t>(reader.size()));
    return true;
  }
  if (type != kEthTypeIpv6) return false;
  const Ipv6Header* ip = ReadIpv6(reader);
  Ipv6Chain chain;
  if (ip == nullptr || !SkipIpv6Extensions(reader, ip->next_header, chain)) return false;
  // With hops still to come, the sum is of the last one's address.
  if (chain.later || chain.more || chain.segments_left) return false;
  protocol = chain.protocol;
  pseudo = PseudoSum6(BytesAt<16>(ip->src), BytesAt<16>(ip->dst), protocol,
                      static_cast<std::uint32_t>(reader.size()));
  return true;
}

}  // namespace

void FindPartialChecksum(Packet& packet) {
  Reader reader(packet.data, packet.size);
  const auto* ethernet = reader.Take<EthernetHeader>();
  if (ethernet == nullptr) return;
  std::uint16_t type = ethernet->type.value();
  for (int tags = 0; tags < 2 && (type == kEthTypeVlan || type == kEthTypeServiceVlan); ++tags) {
    const auto* vlan = reader.Take<VlanHeader>();
    if (vlan == nullptr) return;
    type = vlan->type.value();
  }
  std::uint8_t protocol = 0;
  Sum pseudo = 0;
  if (!TakeNetworkHeader(reader, type, protocol, pseudo)) return;

  std::size_t field = 0;
  Offloads kind = 0;
  if (protocol == kProtoTcp) {
    field = offsetof(TcpHeader, checksum);
    kind = kOffloadTcpChecksum;
  } else if (protocol == kProtoUdp) {
    field = offsetof(UdpHeader, checksum);
    kind = kOffloadUdpChecksum;
  } else {
    return;
  }
  if (reader.size() < field + 2) return;
  std::uint16_t found = 0;
  std::memcpy(&found, reader.data() + field, sizeof found);
  if (found == 0 || found != FoldSum(pseudo)) [[likely]]
    return;
  const auto start = static_cast<std::uint32_t>(reader.data() - packet.data);
  if (start + reader.size() == packet.size) {
    packet.offloads = kind;
    packet.csum_start = static_cast<std::uint16_t>(start);
  } else {
    // What follows is padding, which is not summed.
    FinishChecksum({packet.data, start + reader.size()}, start, static_cast<std::uint32_t>(field));
  }
}

}  // namespace pollux
