// Flow, FlowMask, Miniflow: what the datapath knows of a packet when it looks for its flow.
//
// A Flow holds every field that a flow can match, in network byte order where the wire has one, and
// zero where the packet has no such field. It is an array of 64-bit words; a FlowMask is a Flow
// whose one bits are the ones that matter. Fields that cannot occur together share a place, as in
// Open vSwitch: ARP addresses stand where IPv4 addresses do, ICMP type and code where ports do, ND
// link-layer addresses where ARP's do; the nlattr encoding (netlink.h) tells them apart by
// EtherType and protocol. Headers that few packets have keep a place of their own: an absent word
// costs a miniflow nothing.
//
// A Miniflow is a Flow without the words its packet has no header for: a bitmap of the words that
// are there, and those words in order. The parser produces miniflows and they are what caches and
// classifier look at. A word not in the map reads as zero.
//
// POLLUX_FLOW_FIELDS is the one list of fields; src/odp/schema/ is its counterpart above the
// boundary and a test compares them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "packet/headers.h"
#include "packet/packet.h"
#include "packet/tunnel.h"

namespace pollux {

using MacAddress = std::array<std::uint8_t, 6>;

struct VlanTag {
  Be16 tpid = 0;
  Be16 tci = 0;  // With the CFI bit set: "there is a tag". Zero: there is none.
};
inline constexpr std::uint16_t kVlanCfi = 0x1000;
inline constexpr std::size_t kMaxVlanTags = 2;

// Values of nw_frag, those of OVS_FRAG_TYPE_*.
inline constexpr std::uint8_t kFragNone = 0;
inline constexpr std::uint8_t kFragFirst = 1;
inline constexpr std::uint8_t kFragLater = 2;

inline constexpr std::size_t kMaxMplsLabels = 3;

// The packet type of a packet without Ethernet header that starts with what `ether_type` says: that
// type, in the namespace of EtherTypes.
inline constexpr std::uint16_t kEtherTypeNamespace = 1;
constexpr Be32 PacketTypeOf(Be16 ether_type) {
  return ToBe32(std::uint32_t{kEtherTypeNamespace} << 16 | FromBe16(ether_type));
}

// Bits of ct_state, those of OVS_CS_F_*.
inline constexpr std::uint32_t kCtStateMask = 0xff;

// X(member, text): the field's place in Flow, and its name in the flow language.
#define POLLUX_FLOW_FIELDS(X)                     \
  X(in_port, "in_port")                           \
  X(recirc_id, "recirc_id")                       \
  X(dp_hash, "dp_hash")                           \
  X(skb_mark, "skb_mark")                         \
  X(skb_priority, "skb_priority")                 \
  X(packet_type, "packet_type")                   \
  X(ct_state, "ct_state")                         \
  X(ct_mark, "ct_mark")                           \
  X(ct_zone, "ct_zone")                           \
  X(ct_tp_src, "ct_tuple.tp_src")                 \
  X(ct_tp_dst, "ct_tuple.tp_dst")                 \
  X(ct_proto, "ct_tuple.proto")                   \
  X(ct_label, "ct_label")                         \
  X(ct_ipv4_src, "ct_tuple4.src")                 \
  X(ct_ipv4_dst, "ct_tuple4.dst")                 \
  X(ct_ipv6_src, "ct_tuple6.src")                 \
  X(ct_ipv6_dst, "ct_tuple6.dst")                 \
  X(tunnel.id, "tunnel.tun_id")                   \
  X(tunnel.ipv4_src, "tunnel.src")                \
  X(tunnel.ipv4_dst, "tunnel.dst")                \
  X(tunnel.ipv6_src, "tunnel.ipv6_src")           \
  X(tunnel.ipv6_dst, "tunnel.ipv6_dst")           \
  X(tunnel.flags, "tunnel.flags")                 \
  X(tunnel.tos, "tunnel.tos")                     \
  X(tunnel.ttl, "tunnel.ttl")                     \
  X(tunnel.tp_src, "tunnel.tp_src")               \
  X(tunnel.tp_dst, "tunnel.tp_dst")               \
  X(tunnel.gbp_id, "tunnel.vxlan.gbp.id")         \
  X(tunnel.gbp_flags, "tunnel.vxlan.gbp.flags")   \
  X(tunnel.erspan_version, "tunnel.erspan.ver")   \
  X(tunnel.erspan_index, "tunnel.erspan.idx")     \
  X(tunnel.erspan_direction, "tunnel.erspan.dir") \
  X(tunnel.erspan_hardware, "tunnel.erspan.hwid") \
  X(tunnel.gtpu_flags, "tunnel.gtpu.flags")       \
  X(tunnel.gtpu_message, "tunnel.gtpu.msgtype")   \
  X(tunnel.options, "tunnel.geneve")              \
  X(eth_dst, "eth.dst")                           \
  X(eth_src, "eth.src")                           \
  X(eth_type, "eth_type")                         \
  X(vlans, "vlan")                                \
  X(mpls, "mpls")                                 \
  X(nsh.flags, "nsh.flags")                       \
  X(nsh.ttl, "nsh.ttl")                           \
  X(nsh.mdtype, "nsh.mdtype")                     \
  X(nsh.np, "nsh.np")                             \
  X(nsh.path, "nsh.spi_si")                       \
  X(nsh.context, "nsh.c")                         \
  X(ipv4_src, "ipv4.src")                         \
  X(ipv4_dst, "ipv4.dst")                         \
  X(ipv6_src, "ipv6.src")                         \
  X(ipv6_dst, "ipv6.dst")                         \
  X(ipv6_label, "ipv6.label")                     \
  X(nw_proto, "nw_proto")                         \
  X(nw_tos, "nw_tos")                             \
  X(nw_ttl, "nw_ttl")                             \
  X(nw_frag, "nw_frag")                           \
  X(tp_src, "tp_src")                             \
  X(tp_dst, "tp_dst")                             \
  X(tcp_flags, "tcp_flags")                       \
  X(nd_options_type, "nd_ext.nd_options_type")    \
  X(arp_sha, "arp.sha")                           \
  X(arp_tha, "arp.tha")                           \
  X(nd_reserved, "nd_ext.nd_reserved")            \
  X(nd_target, "nd.target")

// A network service header, without metadata of type 2.
struct NshFields {
  std::uint8_t flags = 0;
  std::uint8_t ttl = 0;
  std::uint8_t mdtype = 0;
  std::uint8_t np = 0;
  Be32 path = 0;  // Service path identifier (24 bits) and service index (8 bits).
  std::array<Be32, 4> context{};
};

struct alignas(8) Flow {
  std::uint32_t in_port = 0;  // Host order, as on the netlink boundary.
  std::uint32_t recirc_id = 0;

  std::uint32_t dp_hash = 0;
  std::uint32_t skb_mark = 0;

  std::uint32_t skb_priority = 0;
  Be32 packet_type = 0;  // 0: Ethernet. Else namespace 1 and the EtherType of what comes first.

  std::uint32_t ct_state = 0;
  std::uint32_t ct_mark = 0;

  std::uint16_t ct_zone = 0;
  Be16 ct_tp_src = 0;
  Be16 ct_tp_dst = 0;
  std::uint8_t ct_proto = 0;
  std::uint8_t pad0 = 0;

  std::array<std::uint8_t, 16> ct_label{};  // As in the attribute.

  Be32 ct_ipv4_src = 0;
  Be32 ct_ipv4_dst = 0;
  Ipv6Address ct_ipv6_src{};
  Ipv6Address ct_ipv6_dst{};

  MacAddress eth_dst{};
  MacAddress eth_src{};
  Be16 eth_type = 0;  // The innermost one, behind the tags.
  std::uint16_t pad1 = 0;

  std::array<VlanTag, kMaxVlanTags> vlans{};  // Outermost first.

  std::array<Be32, kMaxMplsLabels> mpls{};  // Label stack entries, outermost first.
  std::uint32_t pad2 = 0;

  NshFields nsh;

  Be32 ipv4_src = 0;  // ARP: sender's address.
  Be32 ipv4_dst = 0;  // ARP: target's address.

  Ipv6Address ipv6_src{};
  Ipv6Address ipv6_dst{};

  Be32 ipv6_label = 0;        // Low 20 bits.
  std::uint8_t nw_proto = 0;  // ARP: low byte of the operation, 0 if it does not fit.
  std::uint8_t nw_tos = 0;    // DSCP and ECN.
  std::uint8_t nw_ttl = 0;    // Hop limit.
  std::uint8_t nw_frag = 0;

  Be16 tp_src = 0;  // ICMP: type, as a 16-bit number.
  Be16 tp_dst = 0;  // ICMP: code, as a 16-bit number.
  Be16 tcp_flags = 0;
  std::uint8_t nd_options_type = 0;
  std::uint8_t pad3 = 0;

  MacAddress arp_sha{};  // ND: source link-layer address.
  MacAddress arp_tha{};  // ND: target link-layer address.
  Be32 nd_reserved = 0;  // The 32 bits behind the ICMPv6 checksum of an ND message.

  Ipv6Address nd_target{};

  // Last: its options are the only words whose index is 64 or more, and hardly a packet has them.
  TunnelMetadata tunnel;
};
using FlowMask = Flow;

inline constexpr std::size_t kFlowWords = sizeof(Flow) / sizeof(std::uint64_t);
static_assert(sizeof(Flow) % sizeof(std::uint64_t) == 0 && kFlowWords <= 128);
using FlowWords = std::array<std::uint64_t, kFlowWords>;

// The index of the word that holds a member.
#define POLLUX_FLOW_WORD(member) (offsetof(::pollux::Flow, member) / sizeof(std::uint64_t))
static_assert(POLLUX_FLOW_WORD(tunnel.options) <= 64);

inline FlowWords ToWords(const Flow& flow) { return std::bit_cast<FlowWords>(flow); }
inline Flow FromWords(const FlowWords& words) { return std::bit_cast<Flow>(words); }
inline bool operator==(const Flow& a, const Flow& b) { return ToWords(a) == ToWords(b); }

// `key` with the bits that `mask` does not care for cleared.
Flow ApplyMask(const Flow& key, const FlowMask& mask);
// The bits that at least one of two masks has.
FlowMask Union(const FlowMask& a, const FlowMask& b);
// The mask that matches every field a packet like `key` has, and no other: decided by packet type,
// EtherType, protocol and fragment type, never by a field being zero. Tags that are absent are
// matched as absent. Of the metadata that no header carries, recirc_id is always matched, what else
// actions can change (dp_hash, skb_mark, skb_priority, packet_type) in recirculated packets, and
// the rest where it is not zero.
FlowMask ExactMask(const Flow& key);
// Its part for tunnels: the mask that matches every field of a tunnel like `key`.
TunnelMetadata ExactTunnelMask(const TunnelMetadata& key);

// Which header the shared places of a key speak of: decided by EtherType, protocol and fragment
// type alone.
enum class Layer3 : std::uint8_t { kNone, kArp, kIpv4, kIpv6, kMpls, kNsh };
enum class Layer4 : std::uint8_t { kNone, kTcp, kUdp, kSctp, kIcmp, kIcmpv6 };
Layer3 Layer3Of(const Flow& key);
Layer4 Layer4Of(const Flow& key);
// Neighbour solicitation or advertisement: nd_target, arp_sha and arp_tha are theirs.
bool IsNd(const Flow& key);

// A set of words of a Flow.
class FlowMap {
 public:
  constexpr FlowMap() = default;
  constexpr explicit FlowMap(std::uint64_t low) : low_(low) {}

  // Bit i of low(): word i. Bit i of high(): word 64 + i, which only Geneve options have.
  constexpr std::uint64_t low() const { return low_; }
  constexpr std::uint64_t high() const { return high_; }
  constexpr bool Has(std::size_t word) const {
    return ((word < 64 ? low_ >> word : high_ >> (word - 64)) & 1) != 0;
  }
  constexpr void Add(std::size_t word) {
    (word < 64 ? low_ : high_) |= std::uint64_t{1} << word % 64;
  }
  constexpr std::size_t size() const {
    const auto low = static_cast<std::size_t>(std::popcount(low_));
    return high_ == 0 ? low : low + static_cast<std::size_t>(std::popcount(high_));
  }
  // How many words before `word` are in the set.
  constexpr std::size_t Rank(std::size_t word) const {
    const auto below = [](std::uint64_t bits, std::size_t bit) {
      return static_cast<std::size_t>(std::popcount(bits & ((std::uint64_t{1} << bit) - 1)));
    };
    if (word < 64) return below(low_, word);
    return static_cast<std::size_t>(std::popcount(low_)) + below(high_, word - 64);
  }
  // Calls `each(word)` in ascending order.
  template <typename Each>
  constexpr void ForEach(Each each) const {
    for (std::uint64_t rest = low_; rest != 0; rest &= rest - 1) {
      each(static_cast<std::size_t>(std::countr_zero(rest)));
    }
    if (high_ == 0) [[likely]]
      return;
    for (std::uint64_t rest = high_; rest != 0; rest &= rest - 1) {
      each(64 + static_cast<std::size_t>(std::countr_zero(rest)));
    }
  }
  constexpr bool operator==(const FlowMap&) const = default;

 private:
  std::uint64_t low_ = 0;
  std::uint64_t high_ = 0;
};

struct Miniflow {
  FlowMap map;  // The words of the Flow that are in `values`, in order.
  std::array<std::uint64_t, kFlowWords> values;

  std::size_t size() const { return map.size(); }
  // Word `i` of the Flow; zero if the packet has no such header.
  std::uint64_t Word(std::size_t i) const { return map.Has(i) ? values[map.Rank(i)] : 0; }
  Flow Expand() const {
    FlowWords words{};
    std::size_t next = 0;
    map.ForEach([&](std::size_t i) { words[i] = values[next++]; });
    return FromWords(words);
  }
  // A few words, compared without a branch: a call of memcmp costs more.
  bool operator==(const Miniflow& other) const {
    std::uint64_t different = (map.low() ^ other.map.low()) | (map.high() ^ other.map.high());
    const std::size_t n = size();
    for (std::size_t i = 0; i < n; ++i) different |= values[i] ^ other.values[i];
    return different == 0;
  }
};

inline std::uint16_t TcpFlagsOf(const Miniflow& key) {
  const auto halves = std::bit_cast<std::array<Be16, 4>>(key.Word(POLLUX_FLOW_WORD(tcp_flags)));
  return FromBe16(halves[offsetof(Flow, tcp_flags) % 8 / 2]);
}
// The words of `flow` that are not zero. For tests: the parser makes its own.
Miniflow Compress(const Flow& flow);

// Hashes of words: good in all their bits, the same in every thread of a process.
inline std::uint64_t HashWords64(const std::uint64_t* words, std::size_t n, std::uint64_t seed) {
  // The two halves of a 128-bit product mix every bit of both factors; two words a product, because
  // each product waits for the one before.
  __extension__ using Wide = unsigned __int128;
  const auto mix = [](std::uint64_t a, std::uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  std::uint64_t hash = seed ^ (0x9e3779b97f4a7c15u * (n + 1));
  std::size_t i = 0;
  for (; i + 1 < n; i += 2) {
    hash = mix(words[i] ^ hash ^ 0xa0761d6478bd642fu, words[i + 1] ^ 0xe7037ed1a0b428dbu) ^
           (hash << 7 | hash >> 57);
  }
  if (i < n) hash = mix(words[i] ^ hash ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu) ^ hash << 7;
  hash = mix(hash ^ 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u);
  return hash ^ (hash >> 32);
}
inline std::uint32_t HashWords(const std::uint64_t* words, std::size_t n, std::uint64_t seed) {
  return static_cast<std::uint32_t>(HashWords64(words, n, seed));
}

}  // namespace pollux
