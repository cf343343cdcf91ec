// Keys and masks to netlink attributes.
#include "flow/netlink.h"
#include "flow/nsh_attributes.h"
#include "flow/ovs_attributes.h"
#include "flow/tunnel_attributes.h"

namespace pollux {
namespace {

// Writes the attributes of fields that `mask` looks at, with the bits of `values`. Which header a
// field belongs to is the business of `key`.
class Encoder {
 public:
  Encoder(const Flow& key, const FlowMask& mask, const Flow& values, bool is_mask)
      : key_(key), mask_(mask), values_(values), is_mask_(is_mask) {}

  std::vector<std::uint8_t> Encode() {
    constexpr std::size_t kUsual = 160;  // Most keys are shorter.
    std::vector<std::uint8_t> out;
    out.reserve(kUsual);
    AppendValue(out, OVS_KEY_ATTR_RECIRC_ID, values_.recirc_id);
    if (mask_.dp_hash != 0) AppendValue(out, OVS_KEY_ATTR_DP_HASH, values_.dp_hash);
    if (mask_.skb_priority != 0) AppendValue(out, OVS_KEY_ATTR_PRIORITY, values_.skb_priority);
    if (!IsZero(mask_.tunnel)) {
      AppendAttribute(out, OVS_KEY_ATTR_TUNNEL,
                      is_mask_ ? EncodeTunnelMask(key_.tunnel, mask_.tunnel)
                               : EncodeTunnelKey(key_.tunnel, mask_.tunnel));
    }
    AppendValue(out, OVS_KEY_ATTR_IN_PORT, values_.in_port);
    if (mask_.skb_mark != 0) AppendValue(out, OVS_KEY_ATTR_SKB_MARK, values_.skb_mark);
    PutConntrack(out);
    if (mask_.packet_type != 0) AppendValue(out, kKeyAttrPacketType, values_.packet_type);
    if (!IsZero(mask_.eth_src) || !IsZero(mask_.eth_dst)) {
      ovs_key_ethernet ethernet;
      Store(ethernet.eth_src, values_.eth_src);
      Store(ethernet.eth_dst, values_.eth_dst);
      AppendValue(out, OVS_KEY_ATTR_ETHERNET, ethernet);
    }
    TagsFrom(0, out);
    return out;
  }

 private:
  // A structure with padding, which must not carry our memory out.
  template <typename T, typename Fill>
  static void PutPadded(std::vector<std::uint8_t>& out, std::uint16_t type, Fill fill) {
    T value;
    std::memset(static_cast<void*>(&value), 0, sizeof value);
    fill(value);
    AppendAttribute(out, type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
  }
  template <typename To, typename From>
  static void Store(To& to, const From& from) {
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
  }

  void PutConntrack(std::vector<std::uint8_t>& out) const {
    if (mask_.ct_state != 0) AppendValue(out, OVS_KEY_ATTR_CT_STATE, values_.ct_state);
    if (mask_.ct_zone != 0) AppendValue(out, OVS_KEY_ATTR_CT_ZONE, values_.ct_zone);
    if (mask_.ct_mark != 0) AppendValue(out, OVS_KEY_ATTR_CT_MARK, values_.ct_mark);
    if (!IsZero(mask_.ct_label)) AppendValue(out, OVS_KEY_ATTR_CT_LABELS, values_.ct_label);
    const bool shared = mask_.ct_proto != 0 || mask_.ct_tp_src != 0 || mask_.ct_tp_dst != 0;
    if (Layer3Of(key_) == Layer3::kIpv4 &&
        (shared || mask_.ct_ipv4_src != 0 || mask_.ct_ipv4_dst != 0)) {
      PutPadded<ovs_key_ct_tuple_ipv4>(out, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4,
                                       [&](ovs_key_ct_tuple_ipv4& tuple) {
                                         tuple.ipv4_src = values_.ct_ipv4_src;
                                         tuple.ipv4_dst = values_.ct_ipv4_dst;
                                         tuple.src_port = values_.ct_tp_src;
                                         tuple.dst_port = values_.ct_tp_dst;
                                         tuple.ipv4_proto = values_.ct_proto;
                                       });
    }
    if (Layer3Of(key_) == Layer3::kIpv6 &&
        (shared || !IsZero(mask_.ct_ipv6_src) || !IsZero(mask_.ct_ipv6_dst))) {
      PutPadded<ovs_key_ct_tuple_ipv6>(out, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6,
                                       [&](ovs_key_ct_tuple_ipv6& tuple) {
                                         Store(tuple.ipv6_src, values_.ct_ipv6_src);
                                         Store(tuple.ipv6_dst, values_.ct_ipv6_dst);
                                         tuple.src_port = values_.ct_tp_src;
                                         tuple.dst_port = values_.ct_tp_dst;
                                         tuple.ipv6_proto = values_.ct_proto;
                                       });
    }
  }

  // A tag that the mask looks at and that is not there needs no attribute: that is what having none
  // means.
  bool MatchedAsAbsent(std::size_t depth) const {
    const Be16 cfi = ToBe16(kVlanCfi);
    return (mask_.vlans[depth].tci & cfi) != 0 && (key_.vlans[depth].tci & cfi) == 0;
  }

  // Nothing is said of this tag and of those inside of it: the mask alone has an attribute, of no
  // bits.
  bool LeavesTagsOpen(std::size_t depth) const {
    for (std::size_t i = depth; i < kMaxVlanTags; ++i)
      if (!IsZero(mask_.vlans[i])) return false;
    return true;
  }

  // A TPID that agrees with the key where the mask looks; a key that was masked may have lost the
  // rest.
  Be16 TpidOf(std::size_t depth) const {
    const Be16 tpid = key_.vlans[depth].tpid;
    if (IsVlanTpid(tpid)) return tpid;
    for (const std::uint16_t known : {kEthTypeVlan, kEthTypeServiceVlan, kEthTypeOldQinq}) {
      if (((ToBe16(known) ^ tpid) & mask_.vlans[depth].tpid) == 0) return ToBe16(known);
    }
    return tpid;
  }

  // A TPID and no tag behind it. Open vSwitch says so by a tag with the TCI 0.
  bool EndsInsideTag() const {
    return IsVlanTpid(key_.eth_type) && mask_.eth_type != 0 && key_.packet_type == 0;
  }

  void TagsFrom(std::size_t depth, std::vector<std::uint8_t>& out) const {
    if (depth < kMaxVlanTags && LeavesTagsOpen(depth)) {
      if (is_mask_) AppendValue(out, OVS_KEY_ATTR_VLAN, Be16{0});
      Innermost(out);
      return;
    }
    if (depth == kMaxVlanTags || MatchedAsAbsent(depth)) {
      Innermost(out);
      if (depth < kMaxVlanTags && EndsInsideTag()) {
        AppendValue(out, OVS_KEY_ATTR_VLAN, is_mask_ ? Be16{UINT16_MAX} : Be16{0});
        AppendAttribute(out, OVS_KEY_ATTR_ENCAP, {});
      }
      return;
    }
    const VlanTag& mask = mask_.vlans[depth];
    AppendValue(out, OVS_KEY_ATTR_ETHERTYPE, is_mask_ ? mask.tpid : TpidOf(depth));
    AppendValue(
        out, OVS_KEY_ATTR_VLAN,
        is_mask_ ? mask.tci : static_cast<Be16>(values_.vlans[depth].tci | ToBe16(kVlanCfi)));
    std::vector<std::uint8_t> inside;
    TagsFrom(depth + 1, inside);
    AppendAttribute(out, OVS_KEY_ATTR_ENCAP, inside);
  }

  bool LooksAboveEthernet() const {
    const FlowWords words = ToWords(mask_);
    for (std::size_t i = POLLUX_FLOW_WORD(mpls); i < POLLUX_FLOW_WORD(tunnel); ++i) {
      if (words[i] != 0) return true;
    }
    return false;
  }

  void Innermost(std::vector<std::uint8_t>& out) const {
    // With something above it the EtherType says what that is, matched or not.
    if (mask_.eth_type != 0 || LooksAboveEthernet()) {
      AppendValue(out, OVS_KEY_ATTR_ETHERTYPE, is_mask_ ? values_.eth_type : key_.eth_type);
    }
    switch (Layer3Of(key_)) {
      case Layer3::kNone:
        return;
      case Layer3::kArp:
        PutArp(out);
        return;
      case Layer3::kMpls:
        PutMpls(out);
        return;
      case Layer3::kNsh:
        if (!IsZero(mask_.nsh))
          AppendAttribute(out, OVS_KEY_ATTR_NSH, EncodeNsh(mask_.nsh, values_.nsh));
        return;
      case Layer3::kIpv4:
        PutIpv4(out);
        break;
      case Layer3::kIpv6:
        PutIpv6(out);
        break;
    }
    PutLayer4(out);
  }

  bool LooksAtLayer4() const {
    return mask_.tp_src != 0 || mask_.tp_dst != 0 || mask_.tcp_flags != 0 || LooksAtNd();
  }
  bool LooksAtNd() const {
    return LooksAtNdExtensions() ||
           (IsNd(key_) &&
            (!IsZero(mask_.nd_target) || !IsZero(mask_.arp_sha) || !IsZero(mask_.arp_tha)));
  }
  bool LooksAtNdExtensions() const {
    return IsNd(key_) && (mask_.nd_reserved != 0 || mask_.nd_options_type != 0);
  }

  // Up to the last label that the mask looks at.
  void PutMpls(std::vector<std::uint8_t>& out) const {
    std::size_t labels = kMaxMplsLabels;
    while (labels > 0 && mask_.mpls[labels - 1] == 0) --labels;
    if (labels == 0) return;
    AppendAttribute(
        out, OVS_KEY_ATTR_MPLS,
        Bytes(reinterpret_cast<const std::uint8_t*>(values_.mpls.data()), labels * sizeof(Be32)));
  }

  void PutArp(std::vector<std::uint8_t>& out) const {
    if (mask_.ipv4_src == 0 && mask_.ipv4_dst == 0 && mask_.nw_proto == 0 &&
        IsZero(mask_.arp_sha) && IsZero(mask_.arp_tha)) {
      return;
    }
    PutPadded<ovs_key_arp>(out, OVS_KEY_ATTR_ARP, [&](ovs_key_arp& arp) {
      arp.arp_sip = values_.ipv4_src;
      arp.arp_tip = values_.ipv4_dst;
      arp.arp_op =
          is_mask_ && values_.nw_proto == UINT8_MAX ? UINT16_MAX : ToBe16(values_.nw_proto);
      Store(arp.arp_sha, values_.arp_sha);
      Store(arp.arp_tha, values_.arp_tha);
    });
  }

  bool LooksAtIp() const {
    return mask_.nw_proto != 0 || mask_.nw_tos != 0 || mask_.nw_ttl != 0 || mask_.nw_frag != 0 ||
           LooksAtLayer4();
  }

  void PutIpv4(std::vector<std::uint8_t>& out) const {
    if (mask_.ipv4_src == 0 && mask_.ipv4_dst == 0 && !LooksAtIp()) return;
    ovs_key_ipv4 ip;
    ip.ipv4_src = values_.ipv4_src;
    ip.ipv4_dst = values_.ipv4_dst;
    ip.ipv4_proto = Protocol();
    ip.ipv4_tos = values_.nw_tos;
    ip.ipv4_ttl = values_.nw_ttl;
    ip.ipv4_frag = values_.nw_frag;
    AppendValue(out, OVS_KEY_ATTR_IPV4, ip);
  }

  void PutIpv6(std::vector<std::uint8_t>& out) const {
    if (IsZero(mask_.ipv6_src) && IsZero(mask_.ipv6_dst) && mask_.ipv6_label == 0 && !LooksAtIp())
      return;
    ovs_key_ipv6 ip;
    Store(ip.ipv6_src, values_.ipv6_src);
    Store(ip.ipv6_dst, values_.ipv6_dst);
    ip.ipv6_label = values_.ipv6_label;
    ip.ipv6_proto = Protocol();
    ip.ipv6_tclass = values_.nw_tos;
    ip.ipv6_hlimit = values_.nw_ttl;
    ip.ipv6_frag = values_.nw_frag;
    AppendValue(out, OVS_KEY_ATTR_IPV6, ip);
  }

  // As the EtherType: told even if it is not matched, where something above depends on it.
  std::uint8_t Protocol() const {
    return !is_mask_ && LooksAtLayer4() ? key_.nw_proto : values_.nw_proto;
  }

  void PutLayer4(std::vector<std::uint8_t>& out) const {
    const Layer4 layer4 = Layer4Of(key_);
    const bool ports = mask_.tp_src != 0 || mask_.tp_dst != 0;
    const Be16 pair[2] = {values_.tp_src, values_.tp_dst};
    const auto low = [](Be16 value) { return static_cast<std::uint8_t>(FromBe16(value)); };
    switch (layer4) {
      case Layer4::kNone:
        return;
      case Layer4::kTcp:
        if (ports) AppendValue(out, OVS_KEY_ATTR_TCP, pair);
        if (mask_.tcp_flags != 0) AppendValue(out, OVS_KEY_ATTR_TCP_FLAGS, values_.tcp_flags);
        return;
      case Layer4::kUdp:
        if (ports) AppendValue(out, OVS_KEY_ATTR_UDP, pair);
        return;
      case Layer4::kSctp:
        if (ports) AppendValue(out, OVS_KEY_ATTR_SCTP, pair);
        return;
      case Layer4::kIcmp:
        if (ports)
          AppendValue(out, OVS_KEY_ATTR_ICMP,
                      ovs_key_icmp{low(values_.tp_src), low(values_.tp_dst)});
        return;
      case Layer4::kIcmpv6:
        break;
    }
    if (ports || LooksAtNd()) {
      AppendValue(
          out, OVS_KEY_ATTR_ICMPV6,
          ovs_key_icmpv6{low(is_mask_ ? values_.tp_src : key_.tp_src), low(values_.tp_dst)});
    }
    if (!IsNd(key_)) return;
    if (!IsZero(mask_.nd_target) || !IsZero(mask_.arp_sha) || !IsZero(mask_.arp_tha)) {
      ovs_key_nd nd;
      Store(nd.nd_target, values_.nd_target);
      Store(nd.nd_sll, values_.arp_sha);
      Store(nd.nd_tll, values_.arp_tha);
      AppendValue(out, OVS_KEY_ATTR_ND, nd);
    }
    if (LooksAtNdExtensions()) {
      AppendValue(out, kKeyAttrNdExtensions,
                  KeyNdExtensions{values_.nd_reserved, values_.nd_options_type, {}});
    }
  }

  const Flow& key_;
  const FlowMask& mask_;
  const Flow& values_;
  const bool is_mask_;
};

}  // namespace

std::vector<std::uint8_t> EncodeKey(const Flow& key, const FlowMask* mask) {
  const FlowMask used = mask != nullptr ? *mask : ExactMask(key);
  const Flow masked = ApplyMask(key, used);
  return Encoder(key, used, masked, false).Encode();
}

std::vector<std::uint8_t> EncodeMask(const Flow& key, const FlowMask& mask) {
  return Encoder(key, mask, mask, true).Encode();
}

}  // namespace pollux
