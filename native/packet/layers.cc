#include "packet/layers.h"

#include <algorithm>
#include <iterator>

#include "packet/headers.h"
#include "packet/packet.h"
#include "packet/reader.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxTags = 4;
constexpr std::uint8_t kProtoIpv4 = 4;
constexpr std::uint8_t kProtoIpv6 = 41;
constexpr std::uint8_t kProtoGre = 47;
constexpr std::uint8_t kProtoMpls = 137;
constexpr std::uint8_t kProtoEthernet = 143;
constexpr std::uint32_t kMacs = 12;

}  // namespace

Sum Layers::PseudoSum(const std::uint8_t* frame, std::uint32_t length) const {
  const std::uint8_t* ip = frame + l3;
  return ipv4 ? PseudoSum4(std::span<const std::uint8_t, 4>(ip + 12, 4),
                           std::span<const std::uint8_t, 4>(ip + 16, 4), protocol, length)
              : PseudoSum6(std::span<const std::uint8_t, 16>(ip + 8, 16),
                           std::span<const std::uint8_t, 16>(ip + 24, 16), protocol, length);
}

std::uint32_t Layers::PayloadAt(const std::uint8_t* frame) const {
  const bool tcp = protocol == kProtoTcp;
  const std::uint32_t least = tcp ? sizeof(TcpHeader) : sizeof(UdpHeader);
  if (room() < least) return 0;
  const std::uint32_t header = tcp ? (frame[l4 + 12] >> 4) * 4u : least;
  return header < least || header > room() ? 0 : l4 + header;
}

bool LayerWalk::Next() {
  if (!begun_) {
    begun_ = true;
    if (size_ > kMaxFrame) return false;
    layers_.end = static_cast<std::uint32_t>(size_);
    return EnterEthernet(0);
  }
  // What is in a fragment is a part of something, wherever its headers are.
  if (layers_.l4 == 0 || layers_.fragment) return false;
  using Kind = OuterHeader::Kind;
  const std::uint32_t at = layers_.l4;
  if (!AddOuter(layers_.ipv4 ? Kind::kIpv4 : Kind::kIpv6, layers_.l3)) return false;
  layers_.tunnel = true;
  layers_.ethernet = false;
  layers_.routed = false;
  layers_.l4 = 0;  // Whoever does not get further has nowhere to go on from.
  switch (layers_.protocol) {
    case kProtoIpv4:
      return EnterIpv4(at);
    case kProtoIpv6:
      return EnterIpv6(at);
    case kProtoMpls:
      return EnterMpls(at);
    case kProtoEthernet:
      return EnterEthernet(at);
    case kProtoGre:
      return EnterGre(at);
    case kProtoUdp:
      return EnterUdp(at);
    default:
      return false;
  }
}

bool LayerWalk::AddOuter(OuterHeader::Kind kind, std::uint32_t at) {
  if (layers_.outers == Layers::kMaxOuter) return false;
  layers_.outer[layers_.outers++] = {kind, static_cast<std::uint16_t>(at)};
  return true;
}

bool LayerWalk::Enter(std::uint32_t ether_type, std::uint32_t at) {
  switch (ether_type) {
    case kEthTypeIpv4:
      return EnterIpv4(at);
    case kEthTypeIpv6:
      return EnterIpv6(at);
    case kEthTypeMpls:
    case kEthTypeMplsMulticast:
      return EnterMpls(at);
    case kEthTypeBridged:
      return EnterEthernet(at);
    default:
      return false;
  }
}

bool LayerWalk::EnterEthernet(std::uint32_t at) {
  if (!Has(at, kMinFrame)) return false;
  std::uint32_t type_at = at + kMacs;
  for (std::uint32_t tags = 0; IsVlanTpid(ToBe16(static_cast<std::uint16_t>(Get16(type_at))));
       ++tags) {
    type_at += sizeof(VlanHeader);
    if (tags == kMaxTags || !Has(type_at, 2)) return false;
  }
  const std::uint32_t type = Get16(type_at);
  if (type == kEthTypeBridged) return false;
  layers_.ethernet = true;
  return Enter(type, type_at + 2);
}

// Labels up to the bottom of the stack. What follows nobody says; IP shows it in its first bits.
bool LayerWalk::EnterMpls(std::uint32_t at) {
  layers_.tunnel = true;
  layers_.ethernet = false;
  for (bool bottom = false; !bottom; at += sizeof(MplsHeader)) {
    if (!Has(at, sizeof(MplsHeader))) return false;
    bottom = (data_[at + 2] & 1) != 0;
  }
  return EnterIp(at);
}

bool LayerWalk::EnterIp(std::uint32_t at) {
  if (!Has(at, 1)) return false;
  return data_[at] >> 4 == 4 ? EnterIpv4(at) : EnterIpv6(at);
}

bool LayerWalk::EnterIpv4(std::uint32_t at) {
  Reader reader(data_ + at, at <= layers_.end ? layers_.end - at : 0);
  const Ipv4Header* ip = ReadIpv4(reader);
  if (ip == nullptr) return false;
  layers_.ipv4 = true;
  layers_.l3 = at;
  layers_.l4 = at + ip->header_length();
  layers_.end = at + ip->total_length.value();
  layers_.protocol = ip->protocol;
  layers_.fragment =
      (ip->fragment.value() & (Ipv4Header::kMoreFragments | Ipv4Header::kOffsetMask)) != 0;
  return true;
}

// Hop-by-hop, routing and destination options are repeated in each segment. What is authenticated
// cannot be changed: its header is a layer 4 here.
bool LayerWalk::EnterIpv6(std::uint32_t at) {
  Reader reader(data_ + at, at <= layers_.end ? layers_.end - at : 0);
  const Ipv6Header* ip = ReadIpv6(reader);
  if (ip == nullptr) return false;
  std::uint8_t protocol = ip->next_header;
  const auto* extension = reader.Peek<Ipv6Extension>();
  for (; protocol == kProtoHopByHop || protocol == kProtoRouting || protocol == kProtoDestination;
       extension = reader.Peek<Ipv6Extension>()) {
    if (extension == nullptr) return false;
    // The routing header that is used up has no further destination.
    if (protocol == kProtoRouting && extension->segments_left > 0) layers_.routed = true;
    protocol = extension->next_header;
    if (!reader.Skip((extension->length + 1u) * 8)) return false;
  }
  layers_.ipv4 = false;
  layers_.l3 = at;
  layers_.l4 = static_cast<std::uint32_t>(reader.data() - data_);
  layers_.end = at + static_cast<std::uint32_t>(sizeof *ip) + ip->payload_length.value();
  layers_.protocol = protocol;
  layers_.fragment = protocol == kProtoFragment;
  return true;
}

bool LayerWalk::EnterGre(std::uint32_t at) {
  constexpr std::uint32_t kChecksum = 0x8000, kKey = 0x2000, kSequence = 0x1000;
  if (!Has(at, 4)) return false;
  const std::uint32_t flags = Get16(at);
  // Versions, source routes and other things of the past.
  if ((flags & ~(kChecksum | kKey | kSequence)) != 0) return false;
  if (!AddOuter(OuterHeader::Kind::kGre, at)) return false;
  std::uint32_t size = 4;
  for (const std::uint32_t field : {kChecksum, kKey, kSequence})
    size += (flags & field) != 0 ? 4 : 0;
  if (!Has(at, size)) return false;
  return Enter(Get16(at + 2), at + size);
}

bool LayerWalk::EnterUdp(std::uint32_t udp) {
  const std::uint32_t at = udp + static_cast<std::uint32_t>(sizeof(UdpHeader));
  if (!Has(at, 8) || !AddOuter(OuterHeader::Kind::kUdp, udp)) return false;
  const std::uint32_t word = Get16(at) << 16 | Get16(at + 2);
  const UdpTunnelMark* mark =
      std::find_if(std::begin(kUdpTunnelMarks), std::end(kUdpTunnelMarks),
                   [word](const UdpTunnelMark& each) { return (word & each.mask) == each.value; });
  if (mark == std::end(kUdpTunnelMarks)) {
    const std::uint32_t length = layers_.end - at;
    if (word >> 28 == 4 && (word & 0xffff) == length) return EnterIpv4(at);
    return word >> 28 == 6 && Get16(at + 4) + sizeof(Ipv6Header) == length && EnterIpv6(at);
  }
  const std::uint32_t first = word >> 24;
  switch (mark->kind) {
    case UdpTunnelKind::kVxlan:
      return EnterEthernet(at + 8);
    case UdpTunnelKind::kGeneve: {
      const std::uint32_t options = (first & 0x3f) * 4;
      return Has(at + 8, options) && Enter(word & 0xffff, at + 8 + options);
    }
    case UdpTunnelKind::kGue: {
      const std::uint32_t options = (first & 0x1f) * 4;
      return Has(at + 4, options) && EnterIp(at + 4 + options);
    }
    case UdpTunnelKind::kVxlanGpe:
      break;
  }
  switch (word & 0xff) {
    case 1:
      return EnterIpv4(at + 8);
    case 2:
      return EnterIpv6(at + 8);
    case 3:
      return EnterEthernet(at + 8);
    default:
      return false;
  }
}

}  // namespace pollux
