#include "packet/offload.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "packet/checksum.h"
#include "packet/header_bytes.h"
#include "packet/headers.h"

namespace pollux {
namespace {

constexpr std::uint32_t kSctpCheckAt = offsetof(SctpHeader, checksum);
constexpr std::uint8_t kProtoIgmp = 2;
constexpr std::uint8_t kProtoDccp = 33;
constexpr std::uint8_t kProtoGre = 47;
constexpr std::uint8_t kProtoUdpLite = 136;

bool IsTcpOrUdp(const Layers& layers) {
  return layers.protocol == kProtoTcp || layers.protocol == kProtoUdp;
}
std::uint32_t CheckOffset(const Layers& layers) {
  return layers.protocol == kProtoTcp ? kTcpCheckAt : kUdpCheckAt;
}

// Where in its header a protocol has its checksum; 0: unknown, or none.
std::uint32_t CheckOffset(std::uint8_t protocol) {
  switch (protocol) {
    case kProtoTcp:
      return kTcpCheckAt;
    case kProtoUdp:
    case kProtoUdpLite:
    case kProtoDccp:
      return kUdpCheckAt;
    case kProtoSctp:
      return kSctpCheckAt;
    case kProtoGre:
      return 4;
    case kProtoIcmp:
    case kProtoIgmp:
    case kProtoIcmpv6:
      return 2;
    default:
      return 0;
  }
}

// UDP-Lite and DCCP may sum a part of what they carry, and say how much.
bool SumsAll(const std::uint8_t* data, const Layers& layers) {
  if (layers.protocol == kProtoDccp) return layers.room() > 9 && (data[layers.l4 + 9] & 0x0f) == 0;
  if (layers.protocol != kProtoUdpLite) return true;
  const std::uint32_t coverage = Get16(data + layers.l4 + 4);
  return coverage == 0 || coverage == layers.room();
}

void SumInternet(std::span<std::uint8_t> frame, std::uint32_t csum_start,
                 std::uint32_t csum_offset) {
  std::uint16_t checksum = Checksum(frame.subspan(csum_start));
  // In UDP, and what is like it, 0 says that there is no checksum.
  if (checksum == 0 && csum_offset == kUdpCheckAt) checksum = 0xffff;
  PutChecksum(frame.data() + csum_start + csum_offset, checksum);
}

bool Finish(std::span<std::uint8_t> frame, const Lack& lack, std::uint32_t csum_start,
            std::uint32_t csum_offset) {
  if (lack.kind == Lack::Kind::kUnknown) return false;
  frame = frame.first(lack.end);
  if (lack.kind == Lack::Kind::kCrc32c) {
    std::uint8_t* at = frame.data() + csum_start + csum_offset;
    std::memset(at, 0, 4);
    const std::uint32_t crc = Crc32c(frame.subspan(csum_start));
    for (int i = 0; i < 4; ++i) at[i] = static_cast<std::uint8_t>(crc >> 8 * i);
  } else {
    SumInternet(frame, csum_start, csum_offset);
  }
  return true;
}

// The kind of segmentation that the header asks for; 0: none that could be done.
Offloads GsoOf(const OffloadHeader& header, const Layers& layers) {
  constexpr std::uint8_t kBeside =
      OffloadHeader::kGsoEcn | OffloadHeader::kGsoUdpTunnel4 | OffloadHeader::kGsoUdpTunnel6;
  const std::uint8_t type = header.gso_type & static_cast<std::uint8_t>(~kBeside);
  const bool tcp = layers.protocol == kProtoTcp;
  const Offloads ecn = (header.gso_type & OffloadHeader::kGsoEcn) != 0 ? kOffloadEcn : Offloads{0};
  if (type == OffloadHeader::kGsoTcp4 && tcp && layers.ipv4) return kOffloadTcp4 | ecn;
  if (type == OffloadHeader::kGsoTcp6 && tcp && !layers.ipv4) return kOffloadTcp6 | ecn;
  return type == OffloadHeader::kGsoUdp && ecn == 0 && layers.protocol == kProtoUdp ? kOffloadUdp
                                                                                    : Offloads{0};
}

// How segments of such a packet can be had.
Offloads TunnelOf(const Layers& layers) {
  if (!layers.tunnel) return 0;
  const bool one_udp = layers.outers == 2 && layers.outer[1].kind == OuterHeader::Kind::kUdp;
  return one_udp && layers.ethernet ? kOffloadUdpTunnel : kOffloadTunnel;
}

void NoteChecksum(Packet& packet, const Layers& layers) {
  packet.offloads = layers.protocol == kProtoTcp ? kOffloadTcpChecksum : kOffloadUdpChecksum;
  packet.csum_start = static_cast<std::uint16_t>(layers.l4);
}

// The layers of a GSO frame, which its peer knows by where its checksum starts. Some cards leave it
// complete: then by what is to be cut.
std::optional<Layers> FindGso(const Packet& packet, const OffloadHeader& header) {
  LayerWalk walk(packet.bytes());
  for (std::uint32_t end = 0; walk.Next();) {
    const Layers& layers = walk.layers();
    if (end == 0) end = layers.end;
    if (layers.end != end) return {};  // Padding inside: headers outside speak of more.
    if (header.needs_checksum() ? layers.l4 == header.csum_start : GsoOf(header, layers) != 0)
      return layers;
  }
  return {};
}

bool AcceptGso(Packet& packet, const OffloadHeader& header) {
  const std::optional<Layers> layers = FindGso(packet, header);
  if (!layers.has_value() || layers->fragment || header.gso_size == 0) return false;
  const Offloads gso = GsoOf(header, *layers);
  if (gso == 0) return false;
  const std::uint32_t payload_at = layers->PayloadAt(packet.data);
  if (payload_at == 0 || payload_at == layers->end) return false;
  if (header.needs_checksum()) {
    if (header.csum_offset != CheckOffset(*layers)) return false;
  } else {
    // It will not be complete once the frame is cut. Where only the sender's own sum knows the last
    // destination, nothing can be done.
    if (layers->routed) return false;
    PutChecksum(packet.data + layers->l4 + CheckOffset(*layers),
                FoldSum(layers->PseudoSum(packet.data, layers->room())));
  }
  const std::uint32_t payload = layers->end - payload_at;
  if ((payload - 1) / header.gso_size >= kMaxSegments) return false;
  packet.size = layers->end;
  NoteChecksum(packet, *layers);
  const Offloads tunnel = TunnelOf(*layers);
  // Small enough as it is; but headers outside speak as those of a GSO frame do.
  if (payload <= header.gso_size && tunnel == 0) return true;
  packet.offloads |= gso | tunnel;
  packet.gso_size = header.gso_size;
  return true;
}

}  // namespace

Lack LackOf(std::span<const std::uint8_t> frame, std::uint32_t csum_start,
            std::uint32_t csum_offset) {
  using Kind = Lack::Kind;
  Lack lack;
  if (csum_start < kMinFrame || std::uint64_t{csum_start} + csum_offset + 2 > frame.size())
    return lack;
  lack.end = static_cast<std::uint32_t>(frame.size());
  LayerWalk walk(frame);
  bool found = false;
  for (bool outermost = true; !found && walk.Next(); outermost = false) {
    if (outermost) lack.end = walk.layers().end;
    found = walk.layers().l4 == csum_start;
  }
  const Layers& layers = walk.layers();
  if (!found) {
    // What a peer knows and we do not: virtio means the Internet checksum. But Linux leaves SCTP's
    // the same way, and nothing else at its place.
    if (csum_start >= lack.end) lack.end = static_cast<std::uint32_t>(frame.size());
    if (csum_offset != kSctpCheckAt) lack.kind = Kind::kInternet;
    return lack;
  }
  lack.end = layers.end;
  const std::uint32_t expected = CheckOffset(layers.protocol);
  if (layers.fragment || layers.room() < csum_offset + 2 ||
      (expected != 0 && csum_offset != expected) ||
      (expected == 0 && csum_offset == kSctpCheckAt) || !SumsAll(frame.data(), layers))
    return lack;
  if (layers.protocol == kProtoSctp) {
    if (layers.room() >= sizeof(SctpHeader)) lack.kind = Kind::kCrc32c;
  } else if (IsTcpOrUdp(layers) && layers.PayloadAt(frame.data()) != 0) {
    lack.kind = layers.protocol == kProtoTcp ? Kind::kTcp : Kind::kUdp;
    lack.layers = layers;
  } else {
    lack.kind = Kind::kInternet;
  }
  return lack;
}

bool AcceptOffloads(Packet& packet, const OffloadHeader& header) {
  if (header.needs_segmentation()) return AcceptGso(packet, header);
  if (!header.needs_checksum()) return true;
  const Lack lack = LackOf(packet.bytes(), header.csum_start, header.csum_offset);
  const bool carried = lack.kind == Lack::Kind::kTcp || lack.kind == Lack::Kind::kUdp;
  if (carried && lack.end == packet.size) {
    NoteChecksum(packet, lack.layers);
    return true;
  }
  return Finish(packet.bytes(), lack, header.csum_start, header.csum_offset);
}

UdpTunnel UdpTunnelOf(const Packet& packet) {
  UdpTunnel tunnel;
  LayerWalk walk(packet.bytes());
  if (!walk.Next() || !walk.Next()) return tunnel;
  const Layers& layers = walk.layers();
  tunnel.ipv6 = layers.outer[0].kind == OuterHeader::Kind::kIpv6;
  tunnel.udp_at = layers.outer[1].at;
  tunnel.l3_at = static_cast<std::uint16_t>(layers.l3);
  tunnel.checksum = Get16(packet.data + tunnel.udp_at + kUdpCheckAt) != 0;
  return tunnel;
}

OffloadHeader OffloadsOf(const Packet& packet) {
  OffloadHeader header;
  if ((packet.offloads & kOffloadChecksum) == 0) return header;
  const bool tcp = (packet.offloads & kOffloadTcpChecksum) != 0;
  header.flags = OffloadHeader::kNeedsChecksum;
  header.csum_start = packet.csum_start;
  header.csum_offset = tcp ? kTcpCheckAt : kUdpCheckAt;
  if (!packet.is_gso()) return header;
  header.gso_type = (packet.offloads & kOffloadTcp4) != 0   ? OffloadHeader::kGsoTcp4
                    : (packet.offloads & kOffloadTcp6) != 0 ? OffloadHeader::kGsoTcp6
                                                            : OffloadHeader::kGsoUdp;
  if ((packet.offloads & kOffloadEcn) != 0) header.gso_type |= OffloadHeader::kGsoEcn;
  header.hdr_len = static_cast<std::uint16_t>(HeadersOf(packet));
  header.gso_size = packet.gso_size;
  return header;
}

void FinishChecksum(Packet& packet) {
  if ((packet.offloads & kOffloadChecksum) == 0) return;
  POLLUX_DCHECK(!packet.is_gso());
  const bool tcp = (packet.offloads & kOffloadTcpChecksum) != 0;
  packet.offloads = 0;
  SumInternet(packet.bytes(), packet.csum_start, tcp ? kTcpCheckAt : kUdpCheckAt);
}

bool FinishChecksum(std::span<std::uint8_t> frame, std::uint32_t csum_start,
                    std::uint32_t csum_offset) {
  return Finish(frame, LackOf(frame, csum_start, csum_offset), csum_start, csum_offset);
}

std::uint32_t HeadersOf(const Packet& packet) {
  const std::uint32_t l4 = packet.csum_start;
  if ((packet.offloads & kOffloadUdp) != 0) return l4 + sizeof(UdpHeader);
  return l4 + (packet.data[l4 + 12] >> 4) * 4u;
}

WireSize OnWire(const Packet& packet) {
  if (!packet.is_gso()) return {1, packet.size, packet.size, packet.size};
  const std::uint32_t headers = HeadersOf(packet);
  const std::uint32_t payload = packet.size - headers;
  const std::uint32_t segments = (payload + packet.gso_size - 1) / packet.gso_size;
  return {segments, std::uint64_t{segments} * headers + payload,
          headers + std::min<std::uint32_t>(packet.gso_size, payload),
          headers + payload - (segments - 1) * packet.gso_size};
}

}  // namespace pollux
