#include "netdev/af_xdp/partial_checksum.h"

#include <cstring>

#include "packet/header_bytes.h"
#include "packet/layers.h"
#include "packet/offload.h"

namespace pollux {
namespace {

// Whether the checksum of a layer 4 is not summed yet.
bool IsPartial(const std::uint8_t* data, const Layers& layers) {
  if (layers.protocol == kProtoSctp) {
    return layers.room() >= sizeof(SctpHeader) &&
           Get32(data + layers.l4 + offsetof(SctpHeader, checksum)) == 0;
  }
  const bool tcp = layers.protocol == kProtoTcp;
  if (!tcp && layers.protocol != kProtoUdp) return false;
  // With hops still to come, the sum is of the last one's address.
  if (layers.routed || layers.room() < (tcp ? sizeof(TcpHeader) : sizeof(UdpHeader))) return false;
  std::uint16_t found = 0;
  std::memcpy(&found, data + layers.l4 + (tcp ? kTcpCheckAt : kUdpCheckAt), sizeof found);
  return found != 0 && found == FoldSum(layers.PseudoSum(data, layers.room()));
}

}  // namespace

void FindPartialChecksum(Packet& packet) {
  LayerWalk walk(packet.bytes());
  while (walk.Next() && !walk.layers().fragment) {
    const Layers& layers = walk.layers();
    if (!IsPartial(packet.data, layers)) [[likely]]
      continue;
    OffloadHeader header;
    header.flags = OffloadHeader::kNeedsChecksum;
    header.csum_start = static_cast<std::uint16_t>(layers.l4);
    header.csum_offset = layers.protocol == kProtoTcp   ? kTcpCheckAt
                         : layers.protocol == kProtoUdp ? kUdpCheckAt
                                                        : offsetof(SctpHeader, checksum);
    AcceptOffloads(packet, header);
    return;
  }
}

}  // namespace pollux
