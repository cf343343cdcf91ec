// Masks: which fields a key has, and clearing those that do not matter.
#include "flow/flow.h"

#include "packet/headers.h"

namespace pollux {
namespace {

// Words are indexed by position everywhere; a field that moved would be read from a neighbour's
// place.
static_assert(offsetof(Flow, eth_dst) == 24 && offsetof(Flow, eth_src) == 30 &&
              offsetof(Flow, eth_type) == 36);
static_assert(offsetof(Flow, vlans) == 40 && sizeof(VlanTag) == 4);
static_assert(offsetof(Flow, ipv4_src) == 48 && offsetof(Flow, ipv4_dst) == 52);
static_assert(offsetof(Flow, ipv6_src) == 56 && offsetof(Flow, ipv6_dst) == 72);
static_assert(offsetof(Flow, ipv6_label) == 88 && offsetof(Flow, nw_proto) == 92 &&
              offsetof(Flow, nw_frag) == 95);
static_assert(offsetof(Flow, tp_src) == 96 && offsetof(Flow, tcp_flags) == 100);
static_assert(offsetof(Flow, arp_sha) == 104 && offsetof(Flow, arp_tha) == 110);
static_assert(offsetof(Flow, nd_target) == 120 && sizeof(Flow) == 136);

template <typename... Fields>
void Ones(Fields&... fields) {
  (std::memset(static_cast<void*>(&fields), 0xff, sizeof fields), ...);
}

}  // namespace

Flow ApplyMask(const Flow& key, const FlowMask& mask) {
  FlowWords words = ToWords(key);
  const FlowWords bits = ToWords(mask);
  for (std::size_t i = 0; i < kFlowWords; ++i) words[i] &= bits[i];
  return FromWords(words);
}

Layer3 Layer3Of(const Flow& key) {
  switch (FromBe16(key.eth_type)) {
    case kEthTypeIpv4:
      return Layer3::kIpv4;
    case kEthTypeIpv6:
      return Layer3::kIpv6;
    case kEthTypeArp:
    case kEthTypeRarp:
      return Layer3::kArp;
    default:
      return Layer3::kNone;
  }
}

Layer4 Layer4Of(const Flow& key) {
  const Layer3 layer3 = Layer3Of(key);
  if ((layer3 != Layer3::kIpv4 && layer3 != Layer3::kIpv6) || key.nw_frag == kFragLater)
    return Layer4::kNone;
  switch (key.nw_proto) {
    case kProtoTcp:
      return Layer4::kTcp;
    case kProtoUdp:
      return Layer4::kUdp;
    case kProtoSctp:
      return Layer4::kSctp;
    case kProtoIcmp:
      return layer3 == Layer3::kIpv4 ? Layer4::kIcmp : Layer4::kNone;
    case kProtoIcmpv6:
      return layer3 == Layer3::kIpv6 ? Layer4::kIcmpv6 : Layer4::kNone;
    default:
      return Layer4::kNone;
  }
}

bool IsNd(const Flow& key) {
  return Layer4Of(key) == Layer4::kIcmpv6 && key.tp_dst == 0 &&
         (key.tp_src == ToBe16(kNdSolicitation) || key.tp_src == ToBe16(kNdAdvertisement));
}

FlowMask ExactMask(const Flow& key) {
  FlowMask mask;
  Ones(mask.in_port, mask.recirc_id, mask.eth_dst, mask.eth_src, mask.eth_type, mask.vlans);
  const Layer3 layer3 = Layer3Of(key);
  switch (layer3) {
    case Layer3::kNone:
      return mask;
    case Layer3::kArp:
      Ones(mask.ipv4_src, mask.ipv4_dst, mask.nw_proto, mask.arp_sha, mask.arp_tha);
      return mask;
    case Layer3::kIpv4:
      Ones(mask.ipv4_src, mask.ipv4_dst);
      break;
    case Layer3::kIpv6:
      Ones(mask.ipv6_src, mask.ipv6_dst);
      mask.ipv6_label = ToBe32(Ipv6Header::kLabelMask);
      break;
  }
  Ones(mask.nw_proto, mask.nw_tos, mask.nw_ttl, mask.nw_frag);
  const Layer4 layer4 = Layer4Of(key);
  if (layer4 == Layer4::kNone) return mask;
  Ones(mask.tp_src, mask.tp_dst);
  if (layer4 == Layer4::kTcp) mask.tcp_flags = ToBe16(TcpHeader::kFlagsMask);
  if (IsNd(key)) Ones(mask.nd_target, mask.arp_sha, mask.arp_tha);
  return mask;
}

Miniflow Compress(const Flow& flow) {
  const FlowWords words = ToWords(flow);
  Miniflow miniflow;
  std::size_t next = 0;
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    if (words[i] == 0) continue;
    miniflow.map |= std::uint64_t{1} << i;
    miniflow.values[next++] = words[i];
  }
  return miniflow;
}

}  // namespace pollux
