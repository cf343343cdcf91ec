// Masks: which fields a key has, and clearing those that do not matter.
#include "flow/flow.h"

#include "packet/reader.h"

namespace pollux {
namespace {

// Words are indexed by position everywhere; a field that moved would be read from a neighbour's
// place.
static_assert(offsetof(Flow, ct_label) == 40 && offsetof(Flow, ct_ipv4_src) == 56);
static_assert(offsetof(Flow, eth_dst) == 96 && offsetof(Flow, eth_src) == 102 &&
              offsetof(Flow, eth_type) == 108);
static_assert(offsetof(Flow, vlans) == 112 && sizeof(VlanTag) == 4);
static_assert(offsetof(Flow, mpls) == 120 && offsetof(Flow, nsh) == 136);
static_assert(offsetof(Flow, ipv4_src) == 160 && offsetof(Flow, ipv4_dst) == 164);
static_assert(offsetof(Flow, ipv6_src) == 168 && offsetof(Flow, ipv6_dst) == 184);
static_assert(offsetof(Flow, ipv6_label) == 200 && offsetof(Flow, nw_proto) == 204 &&
              offsetof(Flow, nw_frag) == 207);
static_assert(offsetof(Flow, tp_src) == 208 && offsetof(Flow, tcp_flags) == 212);
static_assert(offsetof(Flow, arp_sha) == 216 && offsetof(Flow, arp_tha) == 222 &&
              offsetof(Flow, nd_reserved) == 228);
static_assert(offsetof(Flow, nd_target) == 232 && offsetof(Flow, tunnel) == 248);
static_assert(sizeof(Flow) == 248 + sizeof(TunnelMetadata));

template <typename... Fields>
void Ones(Fields&... fields) {
  (std::memset(static_cast<void*>(&fields), 0xff, sizeof fields), ...);
}

void MatchMetadata(const Flow& key, FlowMask& mask) {
  // Nothing but an action gives these a value, and no action comes before recirculation: elsewhere
  // zero is known, and not looking at it makes lookups cheaper.
  const bool recirculated = key.recirc_id != 0;
  if (recirculated || key.dp_hash != 0) Ones(mask.dp_hash);
  if (recirculated || key.skb_mark != 0) Ones(mask.skb_mark);
  if (recirculated || key.skb_priority != 0) Ones(mask.skb_priority);
  if (recirculated || key.packet_type != 0) Ones(mask.packet_type);
  if (key.ct_state != 0) mask.ct_state = kCtStateMask;
  if (key.ct_zone != 0) Ones(mask.ct_zone);
  if (key.ct_mark != 0) Ones(mask.ct_mark);
  if (!IsZero(key.ct_label)) Ones(mask.ct_label);
  const Layer3 layer3 = Layer3Of(key);
  if (key.ct_proto != 0 && (layer3 == Layer3::kIpv4 || layer3 == Layer3::kIpv6)) {
    Ones(mask.ct_proto, mask.ct_tp_src, mask.ct_tp_dst);
    if (layer3 == Layer3::kIpv4) Ones(mask.ct_ipv4_src, mask.ct_ipv4_dst);
    if (layer3 == Layer3::kIpv6) Ones(mask.ct_ipv6_src, mask.ct_ipv6_dst);
  }
  if (!IsZero(key.tunnel)) mask.tunnel = ExactTunnelMask(key.tunnel);
}

}  // namespace

FlowMask Union(const FlowMask& a, const FlowMask& b) {
  FlowWords words = ToWords(a);
  const FlowWords others = ToWords(b);
  for (std::size_t i = 0; i < kFlowWords; ++i) words[i] |= others[i];
  return FromWords(words);
}

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
    case kEthTypeMpls:
    case kEthTypeMplsMulticast:
      return Layer3::kMpls;
    case kEthTypeNsh:
      return Layer3::kNsh;
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

TunnelMetadata ExactTunnelMask(const TunnelMetadata& key) {
  TunnelMetadata mask;
  Ones(mask.id, mask.ipv4_src, mask.ipv4_dst, mask.ipv6_src, mask.ipv6_dst, mask.tos, mask.ttl,
       mask.tp_src, mask.tp_dst, mask.gbp_id, mask.gbp_flags, mask.erspan_version, mask.gtpu_flags,
       mask.gtpu_message, mask.options_size);
  mask.flags = kTunnelFlags;
  // The version says which of these there are.
  if (key.erspan_version == 1) Ones(mask.erspan_index);
  if (key.erspan_version == 2) mask.erspan_direction = 0x01, mask.erspan_hardware = 0x3f;
  POLLUX_DCHECK(key.options_size <= kMaxTunnelOptions);
  std::memset(mask.options.data(), 0xff, key.options_size);
  ForEachGeneveLength(key.options.data(), key.options_size,
                      [&](std::size_t at) { mask.options[at] = GeneveOption::kLengthMask; });
  return mask;
}

FlowMask ExactMask(const Flow& key) {
  FlowMask mask;
  Ones(mask.in_port, mask.recirc_id, mask.eth_type, mask.vlans);
  if (key.packet_type == 0) Ones(mask.eth_dst, mask.eth_src);
  MatchMetadata(key, mask);
  const Layer3 layer3 = Layer3Of(key);
  switch (layer3) {
    case Layer3::kNone:
      return mask;
    case Layer3::kArp:
      Ones(mask.ipv4_src, mask.ipv4_dst, mask.nw_proto, mask.arp_sha, mask.arp_tha);
      return mask;
    case Layer3::kMpls:
      for (std::size_t i = 0; i < kMaxMplsLabels; ++i) {
        Ones(mask.mpls[i]);
        if ((FromBe32(key.mpls[i]) & MplsHeader::kBottomOfStack) != 0) break;
      }
      return mask;
    case Layer3::kNsh:
      Ones(mask.nsh.flags, mask.nsh.ttl, mask.nsh.mdtype, mask.nsh.np, mask.nsh.path);
      if (key.nsh.mdtype == NshHeader::kMdType1) Ones(mask.nsh.context);
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
  if (IsNd(key)) {
    Ones(mask.nd_target, mask.arp_sha, mask.arp_tha, mask.nd_reserved, mask.nd_options_type);
  }
  return mask;
}

Miniflow Compress(const Flow& flow) {
  const FlowWords words = ToWords(flow);
  Miniflow miniflow;
  std::size_t next = 0;
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    if (words[i] == 0) continue;
    miniflow.map.Add(i);
    miniflow.values[next++] = words[i];
  }
  return miniflow;
}

}  // namespace pollux
