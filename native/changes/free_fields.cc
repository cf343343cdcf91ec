#include "changes/free_fields.h"

#include <linux/openvswitch.h>

#include <algorithm>

#include "flow/flow.h"

namespace pollux {
namespace {

template <std::size_t kSize>
constexpr FreeField Field(int attribute, std::size_t offset, std::size_t place) {
  return {static_cast<std::uint16_t>(attribute), static_cast<std::uint16_t>(offset), kSize,
          static_cast<std::uint16_t>(place)};
}
#define FREE(attribute, type, member, field)                                    \
  Field<sizeof(type::member)>(OVS_KEY_ATTR_##attribute, offsetof(type, member), \
                              offsetof(Flow, field))
#define FREE_WHOLE(attribute, field) \
  Field<sizeof(Flow::field)>(OVS_KEY_ATTR_##attribute, 0, offsetof(Flow, field))
// The fields of one attribute stand together.
constexpr FreeField kFreeFields[] = {
    FREE_WHOLE(IN_PORT, in_port),
    FREE_WHOLE(RECIRC_ID, recirc_id),
    FREE_WHOLE(DP_HASH, dp_hash),
    FREE_WHOLE(SKB_MARK, skb_mark),
    FREE_WHOLE(PRIORITY, skb_priority),
    FREE_WHOLE(CT_MARK, ct_mark),
    FREE_WHOLE(CT_ZONE, ct_zone),
    FREE_WHOLE(CT_LABELS, ct_label),
    FREE(ETHERNET, ovs_key_ethernet, eth_src, eth_src),
    FREE(ETHERNET, ovs_key_ethernet, eth_dst, eth_dst),
    FREE(IPV4, ovs_key_ipv4, ipv4_src, ipv4_src),
    FREE(IPV4, ovs_key_ipv4, ipv4_dst, ipv4_dst),
    FREE(IPV4, ovs_key_ipv4, ipv4_tos, nw_tos),
    FREE(IPV4, ovs_key_ipv4, ipv4_ttl, nw_ttl),
    FREE(IPV6, ovs_key_ipv6, ipv6_src, ipv6_src),
    FREE(IPV6, ovs_key_ipv6, ipv6_dst, ipv6_dst),
    FREE(IPV6, ovs_key_ipv6, ipv6_tclass, nw_tos),
    FREE(IPV6, ovs_key_ipv6, ipv6_hlimit, nw_ttl),
    FREE(TCP, ovs_key_tcp, tcp_src, tp_src),
    FREE(TCP, ovs_key_tcp, tcp_dst, tp_dst),
    FREE(UDP, ovs_key_udp, udp_src, tp_src),
    FREE(UDP, ovs_key_udp, udp_dst, tp_dst),
    FREE(SCTP, ovs_key_sctp, sctp_src, tp_src),
    FREE(SCTP, ovs_key_sctp, sctp_dst, tp_dst),
    FREE(ARP, ovs_key_arp, arp_sip, ipv4_src),
    FREE(ARP, ovs_key_arp, arp_tip, ipv4_dst),
    FREE(ARP, ovs_key_arp, arp_sha, arp_sha),
    FREE(ARP, ovs_key_arp, arp_tha, arp_tha),
};
#undef FREE
#undef FREE_WHOLE

}  // namespace

std::span<const FreeField> FreeFieldsOf(std::uint16_t attribute) {
  const auto is_its = [attribute](const FreeField& field) { return field.attribute == attribute; };
  const auto* first = std::find_if(std::begin(kFreeFields), std::end(kFreeFields), is_its);
  const auto* last = std::find_if_not(first, std::end(kFreeFields), is_its);
  return {first, last};
}

}  // namespace pollux
