// Sets: which field they change, and whether that may be done here.
//
// A set that would make the packet something else than the flow says (its protocol, EtherType,
// tags, fragment) is refused. A plain set names all fields of a header: those that cannot be set
// must be known to have the value already.
#include <linux/openvswitch.h>

#include <type_traits>

#include "actions/parser.h"
#include "flow/nsh_attributes.h"
#include "flow/ovs_attributes.h"
#include "flow/tunnel_attributes.h"
#include "packet/headers.h"

namespace pollux {
namespace {

// The names of what one could try to set and never will be able to.
const char* FixedFieldName(std::uint16_t type) {
  switch (type) {
    case OVS_KEY_ATTR_ENCAP:
      return "encap";
    case OVS_KEY_ATTR_IN_PORT:
      return "in_port";
    case OVS_KEY_ATTR_VLAN:
      return "vlan";
    case OVS_KEY_ATTR_ETHERTYPE:
      return "eth_type";
    case OVS_KEY_ATTR_TCP_FLAGS:
      return "tcp_flags";
    case OVS_KEY_ATTR_CT_STATE:
      return "ct_state";
    case OVS_KEY_ATTR_CT_ZONE:
      return "ct_zone";
    case OVS_KEY_ATTR_CT_MARK:
      return "ct_mark";
    case OVS_KEY_ATTR_CT_LABELS:
      return "ct_label";
    case OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4:
      return "ct_tuple4";
    case OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6:
      return "ct_tuple6";
    case kKeyAttrPacketType:
      return "packet_type";
    default:
      return nullptr;
  }
}

Error CannotBeSet(const char* field) {
  return Invalid('"' + std::string(field) + "\" cannot be set");
}

class SetParser {
 public:
  SetParser(bool masked, Known& known, std::vector<Action>& out)
      : masked_(masked), known_(known), out_(out) {}

  Status Field(std::uint16_t type, Bytes payload) {
    switch (type) {
      case OVS_KEY_ATTR_PRIORITY:
        return Metadata(payload, &Packet::skb_priority);
      case OVS_KEY_ATTR_SKB_MARK:
        return Metadata(payload, &Packet::skb_mark);
      case OVS_KEY_ATTR_DP_HASH:
        return Metadata(payload, &Packet::dp_hash);
      case OVS_KEY_ATTR_RECIRC_ID:
        return Metadata(payload, &Packet::recirc_id);
      case OVS_KEY_ATTR_TUNNEL:
        return Tunnel(payload);
      case OVS_KEY_ATTR_ETHERNET:
        return Ethernet(payload);
      case OVS_KEY_ATTR_MPLS:
        return Mpls(payload);
      case OVS_KEY_ATTR_NSH:
        return Nsh(payload);
      case OVS_KEY_ATTR_IPV4:
        return Ipv4(payload);
      case OVS_KEY_ATTR_IPV6:
        return Ipv6(payload);
      case OVS_KEY_ATTR_ARP:
        return Arp(payload);
      case OVS_KEY_ATTR_TCP:
        return Ports<TcpFields, Layer4::kTcp>(payload);
      case OVS_KEY_ATTR_UDP:
        return Ports<UdpFields, Layer4::kUdp>(payload);
      case OVS_KEY_ATTR_SCTP:
        return Ports<SctpFields, Layer4::kSctp>(payload);
      case OVS_KEY_ATTR_ICMP:
        return Icmp(payload, Layer4::kIcmp);
      case OVS_KEY_ATTR_ICMPV6:
        return Icmp(payload, Layer4::kIcmpv6);
      case OVS_KEY_ATTR_ND:
        return Nd(payload);
      case kKeyAttrNdExtensions:
        return NdExtension(payload);
      default:
        if (const char* name = FixedFieldName(type)) return CannotBeSet(name);
        return Invalid("unknown field, attribute " + std::to_string(type));
    }
  }

 private:
  template <typename T>
  struct Valued {
    T value{};
    T mask{};
  };

  // The value to set and the bits of it that count.
  template <typename T>
  Status Read(Bytes payload, Valued<T>& out) const {
    const std::size_t size = masked_ ? 2 * sizeof(T) : sizeof(T);
    if (payload.size() != size) return WrongSize(payload.size(), size);
    out.value = LoadAs<T>(payload.data());
    if (masked_) {
      out.mask = LoadAs<T>(payload.data() + sizeof(T));
    } else {
      std::memset(&out.mask, 0xff, sizeof(T));
    }
    return {};
  }

  // A field that must stay as it is: not in the mask; or, in a plain set, which always names it,
  // already known to be so.
  bool Stays(std::uint8_t value, std::uint8_t mask, std::optional<std::uint8_t> known) const {
    return mask == 0 || (!masked_ && known == value);
  }
  Status CheckStays(std::uint8_t protocol, std::uint8_t protocol_mask, std::uint8_t fragment,
                    std::uint8_t fragment_mask) const {
    if (!Stays(protocol, protocol_mask, known_.protocol())) return CannotBeSet("proto");
    if (!Stays(fragment, fragment_mask, known_.fragment())) return CannotBeSet("frag");
    return {};
  }

  // Bits of the value outside of the mask are ignored.
  template <typename Fields>
  Status Add(Fields value, const Fields& mask) {
    std::array<std::uint8_t, sizeof(Fields)> bits;
    std::array<std::uint8_t, sizeof(Fields)> kept;
    static_assert(std::is_trivially_copyable_v<Fields>);
    std::memcpy(bits.data(), &value, sizeof value);
    std::memcpy(kept.data(), &mask, sizeof mask);
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] &= kept[i];
    std::memcpy(&value, bits.data(), sizeof value);
    out_.emplace_back(SetFields<Fields>{value, mask});
    return {};
  }

  Status Metadata(Bytes payload, std::uint32_t Packet::*field) {
    Valued<std::uint32_t> number;
    if (Status status = Read(payload, number); !status.ok()) return status;
    out_.emplace_back(SetMetadataAction{field, number.value & number.mask, number.mask});
    return {};
  }

  Status Tunnel(Bytes payload) {
    if (masked_) return Invalid("\"tunnel\" cannot be set with a mask");
    auto tunnel = DecodeTunnel(payload);
    if (!tunnel.ok()) return tunnel.error();
    SetTunnelAction set;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&*tunnel);
    if (!IsAllZero({bytes, sizeof(TunnelMetadata)}))
      set.metadata = std::make_shared<const TunnelMetadata>(*tunnel);
    out_.emplace_back(std::move(set));
    return {};
  }

  Status Ethernet(Bytes payload) {
    if (Status status = known_.NeedEthernet(); !status.ok()) return status;
    Valued<ovs_key_ethernet> eth;
    if (Status status = Read(payload, eth); !status.ok()) return status;
    const auto fields = [](const ovs_key_ethernet& key) {
      return EthernetFields{LoadAs<MacAddress>(key.eth_src), LoadAs<MacAddress>(key.eth_dst)};
    };
    return Add(fields(eth.value), fields(eth.mask));
  }

  Status Mpls(Bytes payload) {
    if (Status status = known_.NeedMpls(); !status.ok()) return status;
    Valued<Be32> entry;
    if (Status status = Read(payload, entry); !status.ok()) return status;
    return Add(MplsFields{entry.value}, MplsFields{entry.mask});
  }

  Status Nsh(Bytes payload) {
    if (Status status = known_.NeedNsh(); !status.ok()) return status;
    auto nsh = masked_ ? DecodeMaskedNsh(payload) : DecodeNshMatch(payload, std::nullopt);
    if (!nsh.ok()) return nsh.error();
    NshFields& mask = nsh->mask;
    if (!Stays(nsh->key.mdtype, mask.mdtype, known_.nsh_mdtype())) return CannotBeSet("mdtype");
    if (!Stays(nsh->key.np, mask.np, known_.nsh_np())) return CannotBeSet("np");
    mask.mdtype = mask.np = 0;
    if (mask.context != NshFields().context && known_.nsh_mdtype() != NshHeader::kMdType1)
      return Invalid("set of \"c1\" to \"c4\" needs a flow with an exact \"nsh(mdtype=1)\"");
    return Add(nsh->key, mask);
  }

  Status Ipv4(Bytes payload) {
    if (Status status = known_.NeedLayer3(Layer3::kIpv4); !status.ok()) return status;
    Valued<ovs_key_ipv4> ip;
    if (Status status = Read(payload, ip); !status.ok()) return status;
    Status status =
        CheckStays(ip.value.ipv4_proto, ip.mask.ipv4_proto, ip.value.ipv4_frag, ip.mask.ipv4_frag);
    if (!status.ok()) return status;
    const auto fields = [](const ovs_key_ipv4& key) {
      return Ipv4Fields{key.ipv4_src, key.ipv4_dst, key.ipv4_tos, key.ipv4_ttl};
    };
    return Add(fields(ip.value), fields(ip.mask));
  }

  Status Ipv6(Bytes payload) {
    if (Status status = known_.NeedLayer3(Layer3::kIpv6); !status.ok()) return status;
    Valued<ovs_key_ipv6> ip;
    if (Status status = Read(payload, ip); !status.ok()) return status;
    Status status =
        CheckStays(ip.value.ipv6_proto, ip.mask.ipv6_proto, ip.value.ipv6_frag, ip.mask.ipv6_frag);
    if (!status.ok()) return status;
    if (FromBe32(ip.value.ipv6_label) > Ipv6Header::kLabelMask)
      return Invalid("\"label\" has 20 bits");
    ip.mask.ipv6_label &= ToBe32(Ipv6Header::kLabelMask);
    const auto fields = [](const ovs_key_ipv6& key) {
      return Ipv6Fields{LoadAs<Ipv6Address>(key.ipv6_src), LoadAs<Ipv6Address>(key.ipv6_dst),
                        key.ipv6_label, key.ipv6_tclass, key.ipv6_hlimit};
    };
    return Add(fields(ip.value), fields(ip.mask));
  }

  Status Arp(Bytes payload) {
    if (Status status = known_.NeedLayer3(Layer3::kArp); !status.ok()) return status;
    Valued<ovs_key_arp> arp;
    if (Status status = Read(payload, arp); !status.ok()) return status;
    const auto fields = [](const ovs_key_arp& key) {
      return ArpFields{key.arp_sip, key.arp_tip, key.arp_op, LoadAs<MacAddress>(key.arp_sha),
                       LoadAs<MacAddress>(key.arp_tha)};
    };
    return Add(fields(arp.value), fields(arp.mask));
  }

  template <typename Fields, Layer4 kLayer4>
  Status Ports(Bytes payload) {
    static_assert(sizeof(ovs_key_tcp) == sizeof(ovs_key_udp) &&
                  sizeof(ovs_key_tcp) == sizeof(ovs_key_sctp));
    if (Status status = known_.NeedLayer4(kLayer4); !status.ok()) return status;
    Valued<ovs_key_tcp> ports;
    if (Status status = Read(payload, ports); !status.ok()) return status;
    return Add(Fields{ports.value.tcp_src, ports.value.tcp_dst},
               Fields{ports.mask.tcp_src, ports.mask.tcp_dst});
  }

  Status Icmp(Bytes payload, Layer4 layer4) {
    static_assert(sizeof(ovs_key_icmp) == sizeof(ovs_key_icmpv6));
    if (masked_) return Invalid("\"icmp\" and \"icmpv6\" cannot be set with a mask");
    if (Status status = known_.NeedLayer4(layer4); !status.ok()) return status;
    Valued<ovs_key_icmp> icmp;
    if (Status status = Read(payload, icmp); !status.ok()) return status;
    if (layer4 == Layer4::kIcmpv6) known_.SetIcmpv6Type(icmp.value.icmp_type);
    return Add(IcmpFields{icmp.value.icmp_type, icmp.value.icmp_code},
               IcmpFields{icmp.mask.icmp_type, icmp.mask.icmp_code});
  }

  Status Nd(Bytes payload) {
    if (Status status = known_.NeedNd(); !status.ok()) return status;
    Valued<ovs_key_nd> nd;
    if (Status status = Read(payload, nd); !status.ok()) return status;
    const auto fields = [](const ovs_key_nd& key) {
      return NdFields{LoadAs<Ipv6Address>(key.nd_target), LoadAs<MacAddress>(key.nd_sll),
                      LoadAs<MacAddress>(key.nd_tll)};
    };
    return Add(fields(nd.value), fields(nd.mask));
  }

  Status NdExtension(Bytes payload) {
    if (Status status = known_.NeedNd(); !status.ok()) return status;
    Valued<KeyNdExtensions> nd;
    if (Status status = Read(payload, nd); !status.ok()) return status;
    return Add(NdExtensionFields{nd.value.nd_reserved, nd.value.nd_options_type},
               NdExtensionFields{nd.mask.nd_reserved, nd.mask.nd_options_type});
  }

  const bool masked_;
  Known& known_;
  std::vector<Action>& out_;
};

}  // namespace

Status ParseSet(Bytes payload, bool masked, Known& known, std::vector<Action>& out) {
  AttributeReader reader(payload);
  if (!reader.Next()) return Invalid("names no field");
  const std::uint16_t type = reader.type();
  const Bytes field = reader.payload();
  if (reader.Next() || reader.broken()) return Invalid("must have exactly one field");
  return SetParser(masked, known, out).Field(type, field);
}

}  // namespace pollux
