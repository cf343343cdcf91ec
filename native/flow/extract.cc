// The parser: one pass over the frame, every word of the key written once, in order, into the
// miniflow.
//
// A word is pushed when its header is known to be good, never before: so nothing has to be taken
// back, and the map says exactly which headers the packet has. All reading goes through Reader
// (packet/headers.h), whose end moves closer as headers state their length. The order of the pushes
// is the order of the members of Flow; debug builds check it.
#include "flow/extract.h"

#include "packet/headers.h"

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
    static_assert(kWord < kFlowWords);
    POLLUX_DCHECK((map_ >> kWord) == 0);
    map_ |= std::uint64_t{1} << kWord;
    *next_++ = word;
  }

 private:
  std::uint64_t* next_;
  std::uint64_t map_ = 0;
};

constexpr std::size_t kEthWord = POLLUX_FLOW_WORD(eth_dst);
constexpr std::size_t kVlanWord = POLLUX_FLOW_WORD(vlans);
constexpr std::size_t kIpv4Word = POLLUX_FLOW_WORD(ipv4_src);
constexpr std::size_t kIpv6SrcWord = POLLUX_FLOW_WORD(ipv6_src);
constexpr std::size_t kIpv6DstWord = POLLUX_FLOW_WORD(ipv6_dst);
constexpr std::size_t kIpWord = POLLUX_FLOW_WORD(ipv6_label);
constexpr std::size_t kPortsWord = POLLUX_FLOW_WORD(tp_src);
constexpr std::size_t kArpWord = POLLUX_FLOW_WORD(arp_sha);
constexpr std::size_t kNdWord = POLLUX_FLOW_WORD(nd_target);

constexpr std::uint16_t kZero16 = 0;
constexpr std::uint32_t kZero32 = 0;

// Two MAC addresses side by side fill a word and half of the next one.
void PushArpAddresses(Pusher& out, const std::uint8_t* sha, const std::uint8_t* tha) {
  out.Push<kArpWord>(LoadAs<std::uint32_t>(sha), LoadAs<std::uint16_t>(sha + 4),
                     LoadAs<std::uint16_t>(tha));
  out.Push<kArpWord + 1>(LoadAs<std::uint32_t>(tha + 2), kZero32);
}

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

// The EtherType of a frame whose type field is a length (802.2).
std::uint16_t SnapType(Reader& rest) {
  const auto* snap = rest.Peek<SnapHeader>();
  static constexpr std::uint8_t kEthernetSnap[] = {0xaa, 0xaa, 0x03, 0, 0, 0};
  if (snap == nullptr || std::memcmp(snap, kEthernetSnap, sizeof kEthernetSnap) != 0)
    return ToBe16(kEthTypeNone);
  rest.Skip(sizeof *snap);
  return snap->type.value() >= kEthTypeMin ? snap->type.raw() : ToBe16(kEthTypeNone);
}

void ParseArp(Reader rest, std::uint16_t offset, Packet& packet, Pusher& out) {
  const auto* arp = rest.Peek<ArpHeader>();
  if (arp == nullptr || arp->hardware.value() != 1 || arp->protocol.value() != kEthTypeIpv4 ||
      arp->hardware_size != 6 || arp->protocol_size != 4) {
    return;
  }
  packet.l3_offset = offset;
  const std::uint16_t operation = arp->operation.value();
  const auto low = static_cast<std::uint8_t>(operation <= 255 ? operation : 0);
  out.Push<kIpv4Word>(arp->spa.raw(), arp->tpa.raw());
  out.Push<kIpWord>(kZero32, low, std::uint8_t{0}, kZero16);
  PushArpAddresses(out, arp->sha, arp->tha);
}

// Behind the ICMPv6 header of a solicitation or advertisement. If something is wrong with it, ND is
// left out.
void ParseNd(Reader rest, Pusher& out) {
  struct Target {
    std::uint8_t bytes[16];
  };
  const auto* target = rest.Take<Target>();
  if (target == nullptr) return;
  static constexpr std::uint8_t kNone[6] = {};
  const std::uint8_t* address[2] = {kNone, kNone};
  while (const auto* option = rest.Peek<NdOption>()) {
    // A length of zero or past the end: what follows cannot be told apart, the walk ends here.
    const std::size_t length = option->length * std::size_t{8};
    if (length == 0 || !rest.Skip(length)) break;
    const bool link_address =
        option->type == NdOption::kSourceAddress || option->type == NdOption::kTargetAddress;
    if (!link_address || length != sizeof(NdOption)) continue;
    const std::size_t which = option->type == NdOption::kSourceAddress ? 0 : 1;
    // Two addresses of one kind: nobody can say which one the receiver believes.
    if (address[which] != kNone) return;
    address[which] = option->address;
  }
  PushArpAddresses(out, address[0], address[1]);
  out.PushBytes<kNdWord>(target->bytes);
  out.PushBytes<kNdWord + 1>(target->bytes + sizeof(std::uint64_t));
}

void PushPorts(Pusher& out, Net16 src, Net16 dst, std::uint16_t tcp_flags = 0) {
  out.Push<kPortsWord>(src.raw(), dst.raw(), tcp_flags, kZero16);
}

void ParseLayer4(Reader rest, std::uint8_t protocol, bool ipv6, Packet& packet, Pusher& out) {
  const auto offset = static_cast<std::uint16_t>(rest.data() - packet.data);
  if (protocol == kProtoTcp) [[likely]] {
    const auto* tcp = rest.Peek<TcpHeader>();
    if (tcp == nullptr || tcp->header_length() < sizeof *tcp || tcp->header_length() > rest.size())
        [[unlikely]]
      return;
    PushPorts(out, tcp->src, tcp->dst, tcp->offset_flags.raw() & ToBe16(TcpHeader::kFlagsMask));
  } else if (protocol == kProtoUdp) [[likely]] {
    // The UDP length is not looked at: nothing here depends on it, and first fragments and GSO
    // frames do not fit theirs.
    const auto* udp = rest.Peek<UdpHeader>();
    if (udp == nullptr) [[unlikely]]
      return;
    PushPorts(out, udp->src, udp->dst);
  } else if (protocol == kProtoSctp) {
    const auto* sctp = rest.Peek<SctpHeader>();
    if (sctp == nullptr) return;
    PushPorts(out, sctp->src, sctp->dst);
  } else if (protocol == (ipv6 ? kProtoIcmpv6 : kProtoIcmp)) {
    const auto* icmp = rest.Take<IcmpHeader>();
    if (icmp == nullptr) return;
    out.Push<kPortsWord>(ToBe16(icmp->type), ToBe16(icmp->code), kZero32);
    if (ipv6 && icmp->code == 0 &&
        (icmp->type == kNdSolicitation || icmp->type == kNdAdvertisement))
      ParseNd(rest, out);
  } else {
    return;
  }
  packet.l4_offset = offset;
}

}  // namespace

void ExtractMiniflow(Packet& packet, Miniflow& key) {
  packet.l3_offset = Packet::kNoOffset;
  packet.l4_offset = Packet::kNoOffset;
  Pusher out(key);
  out.Push<0>(static_cast<std::uint32_t>(packet.in_port), kZero32);
  Reader rest(packet.data, packet.size);
  const auto* ethernet = rest.Take<EthernetHeader>();
  POLLUX_DCHECK(ethernet != nullptr);
  if (ethernet == nullptr) [[unlikely]] {
    key.map = out.map();
    return;
  }

  std::uint16_t type = ethernet->type.raw();
  std::uint64_t tags = 0;
  if (type != ToBe16(kEthTypeIpv4)) [[unlikely]] {
    if (IsVlanTpid(type)) tags = TakeTags(rest, type);
    if (FromBe16(type) < kEthTypeMin) type = SnapType(rest);
  }
  out.PushBytes<kEthWord>(ethernet->dst);
  out.Push<kEthWord + 1>(LoadAs<std::uint32_t>(ethernet->src + 2), type, kZero16);
  if (tags != 0) out.Append<kVlanWord>(tags);

  const auto l3_offset = static_cast<std::uint16_t>(rest.data() - packet.data);
  if (type == ToBe16(kEthTypeIpv4)) [[likely]] {
    if (const auto* ip = ReadIpv4(rest)) [[likely]] {
      packet.l3_offset = l3_offset;
      const std::uint16_t fragment = ip->fragment.value();
      std::uint8_t frag = kFragNone;
      if ((fragment & (Ipv4Header::kMoreFragments | Ipv4Header::kOffsetMask)) != 0) [[unlikely]] {
        frag = (fragment & Ipv4Header::kOffsetMask) != 0 ? kFragLater : kFragFirst;
      }
      out.PushBytes<kIpv4Word>(ip->src.bytes);
      out.Push<kIpWord>(kZero32, ip->protocol, ip->tos, ip->ttl, frag);
      if (frag != kFragLater) [[likely]]
        ParseLayer4(rest, ip->protocol, false, packet, out);
    }
  } else if (type == ToBe16(kEthTypeIpv6)) {
    Ipv6Chain chain;
    const auto* ip = ReadIpv6(rest);
    if (ip != nullptr && SkipIpv6Extensions(rest, ip->next_header, chain)) {
      packet.l3_offset = l3_offset;
      const std::uint8_t frag = chain.later ? kFragLater : chain.fragment ? kFragFirst : kFragNone;
      out.PushBytes<kIpv6SrcWord>(ip->src);
      out.PushBytes<kIpv6SrcWord + 1>(ip->src + 8);
      out.PushBytes<kIpv6DstWord>(ip->dst);
      out.PushBytes<kIpv6DstWord + 1>(ip->dst + 8);
      out.Push<kIpWord>(ip->version_class_label.raw() & ToBe32(Ipv6Header::kLabelMask),
                        chain.protocol, ip->traffic_class(), ip->hop_limit, frag);
      if (frag != kFragLater) ParseLayer4(rest, chain.protocol, true, packet, out);
    }
  } else if (type == ToBe16(kEthTypeArp) || type == ToBe16(kEthTypeRarp)) {
    ParseArp(rest, l3_offset, packet, out);
  }
  key.map = out.map();
}

}  // namespace pollux
