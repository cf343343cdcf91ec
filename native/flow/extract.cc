// The parser: one pass over the frame, every word of the key written once, in order, into the
// miniflow.
//
// A word is pushed when its header is known to be good, never before: so nothing has to be taken
// back, and the map says exactly which headers the packet has. All reading goes through Reader
// (packet/headers.h), whose end moves closer as headers state their length. The order of the pushes
// is the order of the members of Flow; debug builds check it.
//
// What most packets are, TCP or UDP over IP, is parsed without a call. What few packets have is
// parsed by functions that are never inlined, so that they do not cost the others registers.
#include "flow/extract.h"

#include "packet/headers.h"
#include "packet/reader.h"

namespace pollux {
namespace {

// One word out of its members, in their order in Flow. Put together by shifts: bytes stored one by
// one and loaded as a word would wait for the store buffer.
template <typename... Parts>
std::uint64_t Word(Parts... parts) {
  static_assert((sizeof(Parts) + ...) == sizeof(std::uint64_t));
  constexpr bool kLittle = std::endian::native == std::endian::little;
  std::uint64_t word = 0;
  std::size_t at = 0;
  ((word |= std::uint64_t{parts} << 8 * (kLittle ? at : sizeof word - at - sizeof parts),
    at += sizeof parts),
   ...);
  return word;
}

// Handed on and given back by value, so that it stays in registers.
class Pusher {
 public:
  explicit Pusher(Miniflow& key) : next_(key.values.data()) {}

  template <std::size_t kWord, typename... Parts>
  void Push(Parts... parts) {
    Append<kWord>(Word(parts...));
  }
  // The word's bytes as they stand in the frame.
  template <std::size_t kWord>
  void PushBytes(const std::uint8_t* bytes) {
    Append<kWord>(LoadAs<std::uint64_t>(bytes));
  }
  std::uint64_t map() const { return map_; }

  template <std::size_t kWord>
  void Append(std::uint64_t word) {
    static_assert(kWord < 64);
    POLLUX_DCHECK((map_ >> kWord) == 0);
    map_ |= std::uint64_t{1} << kWord;
    *next_++ = word;
  }

 private:
  std::uint64_t* next_;
  std::uint64_t map_ = 0;
};

constexpr std::size_t kHashWord = POLLUX_FLOW_WORD(dp_hash);
constexpr std::size_t kPriorityWord = POLLUX_FLOW_WORD(skb_priority);
constexpr std::size_t kEthWord = POLLUX_FLOW_WORD(eth_dst);
constexpr std::size_t kVlanWord = POLLUX_FLOW_WORD(vlans);
constexpr std::size_t kMplsWord = POLLUX_FLOW_WORD(mpls);
constexpr std::size_t kNshWord = POLLUX_FLOW_WORD(nsh);
constexpr std::size_t kIpv4Word = POLLUX_FLOW_WORD(ipv4_src);
constexpr std::size_t kIpv6SrcWord = POLLUX_FLOW_WORD(ipv6_src);
constexpr std::size_t kIpv6DstWord = POLLUX_FLOW_WORD(ipv6_dst);
constexpr std::size_t kIpWord = POLLUX_FLOW_WORD(ipv6_label);
constexpr std::size_t kPortsWord = POLLUX_FLOW_WORD(tp_src);
constexpr std::size_t kArpWord = POLLUX_FLOW_WORD(arp_sha);
constexpr std::size_t kNdWord = POLLUX_FLOW_WORD(nd_target);
constexpr std::size_t kTunnelWord = POLLUX_FLOW_WORD(tunnel);

constexpr std::uint8_t kZero8 = 0;
constexpr std::uint16_t kZero16 = 0;
constexpr std::uint32_t kZero32 = 0;

// What actions know of a packet and its bytes do not say. A tunnel is told at the end of the key.
bool HasMetadata(const Packet& packet) {
  return (packet.dp_hash | packet.skb_mark | packet.skb_priority | packet.l3_type |
          std::uint32_t{packet.has_tunnel}) != 0;
}

[[gnu::noinline]] Pusher PushMetadata(const Packet& packet, Pusher out) {
  if ((packet.dp_hash | packet.skb_mark) != 0) {
    out.Push<kHashWord>(packet.dp_hash, packet.skb_mark);
  }
  const Be32 type = packet.l3_type == 0 ? 0 : PacketTypeOf(packet.l3_type);
  if ((packet.skb_priority | type) != 0) out.Push<kPriorityWord>(packet.skb_priority, type);
  return out;
}

// After all other words, and without Pusher: how many words of options there are is not known
// before.
[[gnu::noinline]] void AppendTunnel(const TunnelMetadata& tunnel, Miniflow& key) {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  POLLUX_DCHECK(tunnel.options_size <= kMaxTunnelOptions);
  const std::size_t bytes = offsetof(TunnelMetadata, options) + tunnel.options_size;
  const std::size_t words = (bytes + kWord - 1) / kWord;
  std::memcpy(key.values.data() + key.size(), &tunnel, words * kWord);
  for (std::size_t i = 0; i < words; ++i) key.map.Add(kTunnelWord + i);
}

// ------------------------------------------------------------------ layer 4

void PushPorts(Be16 src, Be16 dst, std::uint16_t tcp_flags, Pusher& out) {
  out.Push<kPortsWord>(src, dst, tcp_flags, kZero16);
}

// Two MAC addresses side by side fill a word and half of the next one.
void PushLinkAddresses(const std::uint8_t* source, const std::uint8_t* target,
                       std::uint32_t nd_reserved, Pusher& out) {
  out.Push<kArpWord>(LoadAs<std::uint32_t>(source), LoadAs<std::uint16_t>(source + 4),
                     LoadAs<std::uint16_t>(target));
  out.Push<kArpWord + 1>(LoadAs<std::uint32_t>(target + 2), nd_reserved);
}

// If something is wrong with an ND message, it is ICMPv6 and no more.
void ParseNd(const IcmpHeader& icmp, Reader rest, Pusher& out) {
  static constexpr std::uint8_t kNoAddress[6] = {};
  const NdMessage nd = ReadNd(rest);
  out.Push<kPortsWord>(ToBe16(icmp.type), ToBe16(icmp.code), kZero16,
                       nd.first != nullptr ? nd.first->type : kZero8, kZero8);
  if (nd.target == nullptr) return;
  PushLinkAddresses(nd.source != nullptr ? nd.source->address : kNoAddress,
                    nd.destination != nullptr ? nd.destination->address : kNoAddress,
                    LoadAs<std::uint32_t>(icmp.rest), out);
  out.PushBytes<kNdWord>(nd.target);
  out.PushBytes<kNdWord + 1>(nd.target + sizeof(std::uint64_t));
}

// All but TCP and UDP.
[[gnu::noinline]] Pusher ParseOtherLayer4(Reader rest, std::uint8_t protocol, bool ipv6,
                                          std::uint16_t offset, Packet& packet, Pusher out) {
  if (protocol == kProtoSctp) {
    const auto* sctp = rest.Peek<SctpHeader>();
    if (sctp == nullptr) return out;
    PushPorts(sctp->src.raw(), sctp->dst.raw(), 0, out);
  } else if (protocol == (ipv6 ? kProtoIcmpv6 : kProtoIcmp)) {
    const auto* icmp = rest.Take<IcmpHeader>();
    if (icmp == nullptr) return out;
    if (ipv6 && icmp->code == 0 &&
        (icmp->type == kNdSolicitation || icmp->type == kNdAdvertisement)) {
      ParseNd(*icmp, rest, out);
    } else {
      PushPorts(ToBe16(icmp->type), ToBe16(icmp->code), 0, out);
    }
  } else {
    return out;
  }
  packet.l4_offset = offset;
  return out;
}

inline Pusher ParseLayer4(Reader rest, std::uint8_t protocol, bool ipv6, Packet& packet,
                          Pusher out) {
  const auto offset = static_cast<std::uint16_t>(rest.data() - packet.data);
  if (protocol == kProtoTcp) [[likely]] {
    const auto* tcp = rest.Peek<TcpHeader>();
    if (tcp == nullptr || tcp->header_length() < sizeof *tcp || tcp->header_length() > rest.size())
        [[unlikely]]
      return out;
    PushPorts(tcp->src.raw(), tcp->dst.raw(),
              tcp->offset_flags.raw() & ToBe16(TcpHeader::kFlagsMask), out);
  } else if (protocol == kProtoUdp) [[likely]] {
    // The UDP length is not looked at: nothing here depends on it, and first fragments and GSO
    // frames do not fit theirs.
    const auto* udp = rest.Peek<UdpHeader>();
    if (udp == nullptr) [[unlikely]]
      return out;
    PushPorts(udp->src.raw(), udp->dst.raw(), 0, out);
  } else {
    return ParseOtherLayer4(rest, protocol, ipv6, offset, packet, out);
  }
  packet.l4_offset = offset;
  return out;
}

// ------------------------------------------------------------------ layer 3, or what stands there

inline Pusher ParseIpv4(Reader rest, std::uint16_t offset, Packet& packet, Pusher out) {
  const auto* ip = ReadIpv4(rest);
  if (ip == nullptr) [[unlikely]]
    return out;
  packet.l3_offset = offset;
  const std::uint16_t fragment = ip->fragment.value();
  std::uint8_t frag = kFragNone;
  if ((fragment & (Ipv4Header::kMoreFragments | Ipv4Header::kOffsetMask)) != 0) [[unlikely]] {
    frag = (fragment & Ipv4Header::kOffsetMask) != 0 ? kFragLater : kFragFirst;
  }
  out.PushBytes<kIpv4Word>(ip->src.bytes);
  out.Push<kIpWord>(kZero32, ip->protocol, ip->tos, ip->ttl, frag);
  if (frag == kFragLater) [[unlikely]]
    return out;
  return ParseLayer4(rest, ip->protocol, false, packet, out);
}

inline Pusher ParseIpv6(Reader rest, std::uint16_t offset, Packet& packet, Pusher out) {
  Ipv6Chain chain;
  const auto* ip = ReadIpv6(rest);
  if (ip == nullptr) return out;
  const bool whole = SkipIpv6Extensions(rest, ip->next_header, chain);
  packet.l3_offset = offset;
  const std::uint8_t frag = chain.later ? kFragLater : chain.more ? kFragFirst : kFragNone;
  out.PushBytes<kIpv6SrcWord>(ip->src);
  out.PushBytes<kIpv6SrcWord + 1>(ip->src + 8);
  out.PushBytes<kIpv6DstWord>(ip->dst);
  out.PushBytes<kIpv6DstWord + 1>(ip->dst + 8);
  out.Push<kIpWord>(ip->version_class_label.raw() & ToBe32(Ipv6Header::kLabelMask), chain.protocol,
                    ip->traffic_class(), ip->hop_limit, frag);
  if (frag == kFragLater || !whole) return out;
  return ParseLayer4(rest, chain.protocol, true, packet, out);
}

inline Pusher ParseArp(Reader rest, std::uint16_t offset, Packet& packet, Pusher out) {
  const auto* arp = rest.Peek<ArpHeader>();
  if (arp == nullptr || arp->hardware.value() != 1 || arp->protocol.value() != kEthTypeIpv4 ||
      arp->hardware_size != 6 || arp->protocol_size != 4) {
    return out;
  }
  packet.l3_offset = offset;
  const std::uint16_t operation = arp->operation.value();
  const auto low = static_cast<std::uint8_t>(operation <= 255 ? operation : 0);
  out.Push<kIpv4Word>(arp->spa.raw(), arp->tpa.raw());
  out.Push<kIpWord>(kZero32, low, kZero8, kZero16);
  PushLinkAddresses(arp->sha, arp->tha, 0, out);
  return out;
}

// Labels up to the bottom of the stack, or as many as there is room for, here or in the frame.
[[gnu::noinline]] Pusher ParseMpls(Reader rest, Pusher out) {
  static_assert(kMaxMplsLabels == 3);
  Be32 entries[kMaxMplsLabels] = {};
  std::size_t n = 0;
  while (n < kMaxMplsLabels) {
    const auto* header = rest.Take<MplsHeader>();
    if (header == nullptr) break;
    entries[n++] = header->entry.raw();
    if (header->bottom()) break;
  }
  if (n > 0) out.Push<kMplsWord>(entries[0], entries[1]);
  if (n > 2) out.Push<kMplsWord + 1>(entries[2], kZero32);
  return out;
}

// Metadata of another type than 1 must fit and is not looked at.
[[gnu::noinline]] Pusher ParseNsh(Reader rest, Pusher out) {
  const auto* nsh = rest.Peek<NshHeader>();
  if (nsh == nullptr || !NshFits(*nsh, rest.size())) return out;
  rest.Skip(sizeof *nsh);
  out.Push<kNshWord>(nsh->flags(), nsh->ttl(), nsh->mdtype, nsh->np, nsh->path.raw());
  if (nsh->mdtype != NshHeader::kMdType1) return out;
  out.PushBytes<kNshWord + 1>(rest.data());
  out.PushBytes<kNshWord + 2>(rest.data() + sizeof(std::uint64_t));
  return out;
}

// What `type` says comes next.
inline Pusher ParseLayer3(Reader rest, std::uint16_t type, Packet& packet, Pusher out) {
  const auto offset = static_cast<std::uint16_t>(rest.data() - packet.data);
  if (type == ToBe16(kEthTypeIpv4)) [[likely]]
    return ParseIpv4(rest, offset, packet, out);
  switch (FromBe16(type)) {
    case kEthTypeIpv6:
      return ParseIpv6(rest, offset, packet, out);
    case kEthTypeArp:
    case kEthTypeRarp:
      return ParseArp(rest, offset, packet, out);
    case kEthTypeMpls:
    case kEthTypeMplsMulticast:
      return ParseMpls(rest, out);
    case kEthTypeNsh:
      return ParseNsh(rest, out);
    default:
      return out;
  }
}

// ------------------------------------------------------------------ layer 2

// Takes up to two tags, the first with TPID `type`, which becomes the type behind them. Returns
// their word, 0 if there is no tag; nothing is taken that does not fit.
std::uint64_t TakeTags(Reader& rest, std::uint16_t& type) {
  static_assert(kMaxVlanTags == 2);
  const auto* outer = rest.Take<VlanHeader>();
  if (outer == nullptr) return 0;
  const std::uint16_t outer_tpid = type;
  const std::uint16_t outer_tci = outer->tci.raw() | ToBe16(kVlanCfi);
  type = outer->type.raw();
  const auto* inner = IsVlanTpid(type) ? rest.Take<VlanHeader>() : nullptr;
  if (inner == nullptr) return Word(outer_tpid, outer_tci, kZero32);
  const std::uint16_t inner_tpid = type;
  const std::uint16_t inner_tci = inner->tci.raw() | ToBe16(kVlanCfi);
  type = inner->type.raw();
  return Word(outer_tpid, outer_tci, inner_tpid, inner_tci);
}

}  // namespace

void ExtractMiniflow(Packet& packet, Miniflow& key) {
  packet.l3_offset = Packet::kNoOffset;
  packet.l4_offset = Packet::kNoOffset;
  Pusher out(key);
  out.Push<0>(static_cast<std::uint32_t>(packet.in_port), packet.recirc_id);
  if (HasMetadata(packet)) [[unlikely]]
    out = PushMetadata(packet, out);
  Reader rest(packet.data, packet.size);
  std::uint16_t type = packet.l3_type;
  if (type == 0) [[likely]] {
    const auto* ethernet = rest.Take<EthernetHeader>();
    POLLUX_DCHECK(ethernet != nullptr);
    if (ethernet == nullptr) [[unlikely]] {
      key.map = FlowMap(out.map());
      return;
    }
    type = ethernet->type.raw();
    std::uint64_t tags = 0;
    if (type != ToBe16(kEthTypeIpv4)) [[unlikely]] {
      if (IsVlanTpid(type)) tags = TakeTags(rest, type);
      if (FromBe16(type) < kEthTypeMin) type = TakeSnap(rest);
    }
    out.PushBytes<kEthWord>(ethernet->dst);
    out.Push<kEthWord + 1>(LoadAs<std::uint32_t>(ethernet->src + 2), type, kZero16);
    if (tags != 0) out.Append<kVlanWord>(tags);
  } else {
    out.Push<kEthWord + 1>(kZero32, type, kZero16);
  }
  key.map = FlowMap(ParseLayer3(rest, type, packet, out).map());
  if (packet.has_tunnel) [[unlikely]]
    AppendTunnel(packet.tunnel(), key);
}

}  // namespace pollux
