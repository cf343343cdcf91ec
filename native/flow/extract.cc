// The parser: one pass over the frame, every word of the key written once, in order, into the miniflow.
//
// A word is pushed when its header is known to be good, never before: so nothing has to be taken back, and the map says exactly
// which headers the packet has. All reading goes through Reader (packet/headers.h), whose end moves closer as headers state their
// length. The order of the pushes is the order of the members of Flow; debug builds check it.
#include "flow/extract.h"

#include "packet/headers.h"

namespace pollux {
namespace {

class Pusher {
 public:
  explicit Pusher(Miniflow& key) : next_(key.values.data()) {}

  // `parts` make one word, in the order of their members in Flow.
  template <std::size_t kWord, typename... Parts>
  void Push(Parts... parts) {
    static_assert((sizeof(Parts) + ...) == sizeof(std::uint64_t));
    struct [[gnu::packed]] Shape {
      std::uint8_t bytes[sizeof(std::uint64_t)];
    };
    Shape shape;
    std::size_t at = 0;
    ((std::memcpy(shape.bytes + at, &parts, sizeof parts), at += sizeof parts), ...);
    Append<kWord>(std::bit_cast<std::uint64_t>(shape));
  }
  // The word's bytes as they stand in the frame.
  template <std::size_t kWord>
  void PushBytes(const std::uint8_t* bytes) {
    Append<kWord>(LoadAs<std::uint64_t>(bytes));
  }
  std::uint64_t map() const { return map_; }

 private:
  template <std::size_t kWord>
  void Append(std::uint64_t word) {
    static_assert(kWord < kFlowWords);
    POLLUX_DCHECK((map_ >> kWord) == 0);
    map_ |= std::uint64_t{1} << kWord;
    *next_++ = word;
  }

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

// Two MAC addresses side by side in the frame, as in Flow, fill a word and half of the next one.
void PushArpAddresses(Pusher& out, const MacAddress& sha, const MacAddress& tha) {
  std::uint8_t both[2 * sizeof(std::uint64_t)] = {};
  std::memcpy(both, sha.data(), sha.size());
  std::memcpy(both + sha.size(), tha.data(), tha.size());
  out.PushBytes<kArpWord>(both);
  out.PushBytes<kArpWord + 1>(both + sizeof(std::uint64_t));
}

// The EtherType of a frame whose type field is a length (802.2).
std::uint16_t SnapType(Reader& rest) {
  const auto* snap = rest.Peek<SnapHeader>();
  static constexpr std::uint8_t kEthernetSnap[] = {0xaa, 0xaa, 0x03, 0, 0, 0};
  if (snap == nullptr || std::memcmp(snap, kEthernetSnap, sizeof kEthernetSnap) != 0) return ToBe16(kEthTypeNone);
  rest.Skip(sizeof *snap);
  return snap->type.value() >= kEthTypeMin ? snap->type.raw() : ToBe16(kEthTypeNone);
}

void ParseArp(Reader rest, std::uint16_t offset, Packet& packet, Pusher& out) {
  const auto* arp = rest.Peek<ArpHeader>();
  if (arp == nullptr || arp->hardware.value() != 1 || arp->protocol.value() != kEthTypeIpv4 || arp->hardware_size != 6 ||
      arp->protocol_size != 4) {
    return;
  }
  packet.l3_offset = offset;
  const std::uint16_t operation = arp->operation.value();
  const auto low = static_cast<std::uint8_t>(operation <= 255 ? operation : 0);
  out.Push<kIpv4Word>(arp->spa.raw(), arp->tpa.raw());
  out.Push<kIpWord>(kZero32, low, std::uint8_t{0}, kZero16);
  PushArpAddresses(out, LoadAs<MacAddress>(arp->sha), LoadAs<MacAddress>(arp->tha));
}

// Behind the ICMPv6 header of a solicitation or advertisement. If something is wrong with it, ND is left out.
void ParseNd(Reader rest, Pusher& out) {
  struct Target {
    std::uint8_t bytes[16];
  };
  const auto* target = rest.Take<Target>();
  if (target == nullptr) return;
  MacAddress address[2] = {};
  bool seen[2] = {};
  while (const auto* option = rest.Peek<NdOption>()) {
    // A length of zero or past the end: what follows cannot be told apart, the walk ends here.
    const std::size_t length = option->length * std::size_t{8};
    if (length == 0 || !rest.Skip(length)) break;
    const bool link_address = option->type == NdOption::kSourceAddress || option->type == NdOption::kTargetAddress;
    if (!link_address || length != sizeof(NdOption)) continue;
    const std::size_t which = option->type == NdOption::kSourceAddress ? 0 : 1;
    // Two addresses of one kind: nobody can say which one the receiver believes.
    if (seen[which]) return;
    seen[which] = true;
    address[which] = LoadAs<MacAddress>(option->address);
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
    if (tcp == nullptr || tcp->header_length() < sizeof *tcp || tcp->header_length() > rest.size()) [[unlikely]] return;
    PushPorts(out, tcp->src, tcp->dst, tcp->offset_flags.raw() & ToBe16(TcpHeader::kFlagsMask));
  } else if (protocol == kProtoUdp) [[likely]] {
    // The UDP length is not looked at: nothing here depends on it, and first fragments and GSO frames do not fit theirs.
    const auto* udp = rest.Peek<UdpHeader>();
    if (udp == nullptr) [[unlikely]] return;
    PushPorts(out, udp->src, udp->dst);
  } else if (protocol == kProtoSctp) {
    const auto* sctp = rest.Peek<SctpHeader>();
    if (sctp == nullptr) return;
    PushPorts(out, sctp->src, sctp->dst);
  } else if (protocol == (ipv6 ? kProtoIcmpv6 : kProtoIcmp)) {
    const auto* icmp = rest.Take<IcmpHeader>();
    if (icmp == nullptr) return;
    out.Push<kPortsWord>(ToBe16(icmp->type), ToBe16(icmp->code), kZero32);
    if (ipv6 && icmp->code == 0 && (icmp->type == kNdSolicitation || icmp->type == kNdAdvertisement)) ParseNd(rest, out);
  } else {
    return;
  }
  packet.l4_offset = offset;
}

}  // namespace

void ExtractMiniflow(Packet& packet, Miniflow& key) {
  POLLUX_DCHECK(packet.size >= kMinFrame);
  packet.l3_offset = Packet::kNoOffset;
  packet.l4_offset = Packet::kNoOffset;
  Pusher out(key);
  out.Push<0>(packet.in_port, kZero32);

  Reader rest(packet.data, packet.size);
  const auto* ethernet = rest.Take<EthernetHeader>();
  std::uint16_t type = ethernet->type.raw();
  VlanTag tags[kMaxVlanTags];
  std::size_t tag_count = 0;
  while (IsVlanTpid(type) && tag_count < kMaxVlanTags) [[unlikely]] {
    const auto* tag = rest.Take<VlanHeader>();
    if (tag == nullptr) break;
    tags[tag_count].tpid = type;
    tags[tag_count].tci = tag->tci.raw() | ToBe16(kVlanCfi);
    ++tag_count;
    type = tag->type.raw();
  }
  if (FromBe16(type) < kEthTypeMin) [[unlikely]] type = SnapType(rest);

  out.PushBytes<kEthWord>(ethernet->dst);
  out.Push<kEthWord + 1>(LoadAs<std::uint32_t>(ethernet->src + 2), type, kZero16);
  if (tag_count > 0) out.Push<kVlanWord>(tags[0], tags[1]);

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
      if (frag != kFragLater) [[likely]] ParseLayer4(rest, ip->protocol, false, packet, out);
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
      out.Push<kIpWord>(ip->version_class_label.raw() & ToBe32(Ipv6Header::kLabelMask), chain.protocol,
                        ip->traffic_class(), ip->hop_limit, frag);
      if (frag != kFragLater) ParseLayer4(rest, chain.protocol, true, packet, out);
    }
  } else if (type == ToBe16(kEthTypeArp) || type == ToBe16(kEthTypeRarp)) {
    ParseArp(rest, l3_offset, packet, out);
  }
  key.map = out.map();
}

}  // namespace pollux
