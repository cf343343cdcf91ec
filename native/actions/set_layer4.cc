// Sets of layer 4 headers.

#include "actions/change.h"
#include "actions/locate.h"
#include "actions/rewrite.h"

namespace pollux {
namespace {

// Layer 4 of a packet for which the parser found one.
Layer4View ViewLayer4(Packet& packet) {
  return packet.l4_offset == Packet::kNoOffset ? Layer4View() : FindLayer4(packet);
}

// Its header, if there is room for all that H has.
template <typename H>
H* HeaderOf(Packet& packet, const Layer4View& layer4) {
  return layer4.bytes.size() < sizeof(H) ? nullptr : HeaderAt<H>(packet, packet.l4_offset);
}

// What comes of a packet without the header: a later fragment has none and needs no change.
[[gnu::noinline]] bool Without(Packet& packet) { return FindLayer4(packet).later; }

// TCP, UDP and SCTP have their ports at the same place. Nullptr: the packet has none, or those of
// another protocol.
struct Ports {
  Net16 src;
  Net16 dst;
};
Ports* PortsOf(Packet& packet, std::uint8_t protocol) {
  if (packet.l4_offset == Packet::kNoOffset) return nullptr;
  if (const Ipv4Header* ip4 = Ipv4Of(packet)) {
    if (ip4->protocol != protocol) return nullptr;
  } else if (const Ipv6Header* ip6 = Ipv6Of(packet)) {
    if (ChainOf(packet, *ip6).protocol != protocol) return nullptr;
  } else {
    return nullptr;
  }
  return HeaderAt<Ports>(packet, packet.l4_offset);
}

template <typename Fields>
Sum ChangePorts(const SetFields<Fields>& set, Ports& ports) {
  Sum changed = 0;
  Change16(ports.src, set.value.src, set.mask.src, changed);
  Change16(ports.dst, set.value.dst, set.mask.dst, changed);
  return changed;
}

// A solicitation or advertisement; `nd.target` is null if the packet is none, or a broken one.
struct NdView {
  IcmpHeader* icmp = nullptr;
  NdMessage nd;
};
NdView ViewNd(Packet& packet) {
  NdView view;
  const Layer4View layer4 = ViewLayer4(packet);
  auto* icmp = HeaderOf<IcmpHeader>(packet, layer4);
  if (icmp == nullptr || !layer4.ipv6 || layer4.protocol != kProtoIcmpv6 || icmp->code != 0 ||
      (icmp->type != kNdSolicitation && icmp->type != kNdAdvertisement))
    return view;
  Reader rest = layer4.bytes;
  rest.Skip(sizeof *icmp);
  view.icmp = icmp;
  view.nd = ReadNd(rest);
  return view;
}

// A Reader is for reading; what it found stands in our packet.
template <typename T>
T* Mutable(const T* found) {
  return const_cast<T*>(found);
}

}  // namespace

bool Apply(const SetFields<TcpFields>& set, Packet& packet) {
  Ports* ports = PortsOf(packet, kProtoTcp);
  if (ports == nullptr) return Without(packet);
  const Sum changed = ChangePorts(set, *ports);
  // Ports are no part of the pseudo-header, whose sum a partial checksum is.
  auto* tcp = HeaderAt<TcpHeader>(packet, packet.l4_offset);
  if (tcp != nullptr && !HasPartialChecksum(packet)) Follow(tcp->checksum, changed);
  return true;
}

bool Apply(const SetFields<UdpFields>& set, Packet& packet) {
  Ports* ports = PortsOf(packet, kProtoUdp);
  if (ports == nullptr) return Without(packet);
  const Sum changed = ChangePorts(set, *ports);
  auto* udp = HeaderAt<UdpHeader>(packet, packet.l4_offset);
  if (udp != nullptr && !HasPartialChecksum(packet)) FollowUdp(udp->checksum, changed);
  return true;
}

bool Apply(const SetFields<SctpFields>& set, Packet& packet) {
  const Layer4View layer4 = ViewLayer4(packet);
  auto* sctp = HeaderOf<SctpHeader>(packet, layer4);
  if (sctp == nullptr || layer4.protocol != kProtoSctp) return Without(packet);
  if (layer4.fragment) return false;
  auto* both = reinterpret_cast<Net32*>(sctp);
  const std::uint32_t before = both->raw();
  Sum not_used = 0;
  Change16(sctp->src, set.value.src, set.mask.src, not_used);
  Change16(sctp->dst, set.value.dst, set.mask.dst, not_used);
  const auto little_endian = [](std::uint32_t raw) {
    return std::endian::native == std::endian::little ? raw : __builtin_bswap32(raw);
  };
  const std::uint32_t change =
      Crc32cChange(little_endian(before ^ both->raw()), layer4.bytes.size() - sizeof *both);
  sctp->checksum.set_raw(sctp->checksum.raw() ^ little_endian(change));
  return true;
}

bool Apply(const SetFields<IcmpFields>& set, Packet& packet) {
  const Layer4View layer4 = ViewLayer4(packet);
  auto* icmp = HeaderOf<IcmpHeader>(packet, layer4);
  if (icmp == nullptr || layer4.protocol != (layer4.ipv6 ? kProtoIcmpv6 : kProtoIcmp))
    return Without(packet);
  Sum changed = 0;
  ChangeByte(&icmp->type, 0, set.value.type, set.mask.type, changed);
  ChangeByte(&icmp->type, 1, set.value.code, set.mask.code, changed);
  Follow(icmp->checksum, changed);
  return true;
}

bool Apply(const SetFields<NdFields>& set, Packet& packet) {
  const NdView view = ViewNd(packet);
  if (view.nd.target == nullptr) return Without(packet);
  Sum changed = 0;
  ChangeAddress(Mutable(view.nd.target), set.value.target, set.mask.target, changed);
  if (view.nd.source != nullptr)
    ChangeAddress(Mutable(view.nd.source)->address, set.value.sll, set.mask.sll, changed);
  if (view.nd.destination != nullptr)
    ChangeAddress(Mutable(view.nd.destination)->address, set.value.tll, set.mask.tll, changed);
  Follow(view.icmp->checksum, changed);
  return true;
}

bool Apply(const SetFields<NdExtensionFields>& set, Packet& packet) {
  const NdView view = ViewNd(packet);
  if (view.nd.target == nullptr) return Without(packet);
  Sum changed = 0;
  Change32(*reinterpret_cast<Net32*>(view.icmp->rest), set.value.reserved, set.mask.reserved,
           changed);
  if (view.nd.first != nullptr) {
    ChangeByte(&Mutable(view.nd.first)->type, 0, set.value.option_type, set.mask.option_type,
               changed);
  }
  Follow(view.icmp->checksum, changed);
  return true;
}

}  // namespace pollux
