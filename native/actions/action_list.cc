// From netlink attributes to an ActionList: everything that could go wrong with an action is found
// here, before a packet sees it.
//
// The parser keeps what it knows of the packets at each point of the list: from the match, and how
// actions before changed it (tags come and go). A rewrite is accepted only where the match proves
// that the header is there; a set of a field that others are decoded by (protocol, fragment type,
// EtherType, the tag) is refused.
#include "actions/action_list.h"

#include <linux/openvswitch.h>

#include <string>
#include <utility>

#include "packet/headers.h"

namespace pollux {
namespace {

// What one netlink attribute can nest; longer lists could not travel.
constexpr std::size_t kMaxListBytes = 65'535 - 4;
constexpr std::size_t kMaxUserdata = 65'512;

const char* ActionName(std::uint16_t type) {
  static constexpr const char* kNames[] = {
      nullptr,   "output", "userspace", "set",           "push_vlan", "pop_vlan",
      "sample",  "recirc", "hash",      "push_mpls",     "pop_mpls",  "set",
      "ct",      "trunc",  "push_eth",  "pop_eth",       "ct_clear",  "push_nsh",
      "pop_nsh", "meter",  "clone",     "check_pkt_len", "add_mpls",  "dec_ttl"};
  static_assert(sizeof kNames / sizeof kNames[0] == OVS_ACTION_ATTR_DEC_TTL + 1);
  return type < sizeof kNames / sizeof kNames[0] ? kNames[type] : nullptr;
}

// Names of what one could try to set.
const char* FieldName(std::uint16_t type) {
  switch (type) {
    case OVS_KEY_ATTR_ENCAP:
      return "encap";
    case OVS_KEY_ATTR_PRIORITY:
      return "skb_priority";
    case OVS_KEY_ATTR_IN_PORT:
      return "in_port";
    case OVS_KEY_ATTR_VLAN:
      return "vlan";
    case OVS_KEY_ATTR_ETHERTYPE:
      return "eth_type";
    case OVS_KEY_ATTR_ICMP:
      return "icmp";
    case OVS_KEY_ATTR_ICMPV6:
      return "icmpv6";
    case OVS_KEY_ATTR_ARP:
      return "arp";
    case OVS_KEY_ATTR_ND:
      return "nd";
    case OVS_KEY_ATTR_SKB_MARK:
      return "skb_mark";
    case OVS_KEY_ATTR_TUNNEL:
      return "tunnel";
    case OVS_KEY_ATTR_SCTP:
      return "sctp";
    case OVS_KEY_ATTR_TCP_FLAGS:
      return "tcp_flags";
    case OVS_KEY_ATTR_DP_HASH:
      return "dp_hash";
    case OVS_KEY_ATTR_RECIRC_ID:
      return "recirc_id";
    case OVS_KEY_ATTR_MPLS:
      return "mpls";
    case OVS_KEY_ATTR_NSH:
      return "nsh";
    case OVS_KEY_ATTR_PACKET_TYPE:
      return "packet_type";
    default:
      return nullptr;
  }
}

// Sets of these would make the packet something else than the flow says it is; they will never be
// supported.
bool NeverSettable(std::uint16_t type) {
  switch (type) {
    case OVS_KEY_ATTR_ENCAP:
    case OVS_KEY_ATTR_IN_PORT:
    case OVS_KEY_ATTR_VLAN:
    case OVS_KEY_ATTR_ETHERTYPE:
    case OVS_KEY_ATTR_TCP_FLAGS:
    case OVS_KEY_ATTR_PACKET_TYPE:
      return true;
    default:
      return false;
  }
}

template <typename T>
struct Valued {
  T value;
  T mask;
};

class Parser {
 public:
  explicit Parser(const Match& match) : match_(match), known_tags_(KnownTags(match)) {}

  Status Parse(Bytes attributes, std::vector<Action>& out) {
    AttributeReader reader(attributes);
    for (std::size_t place = 1; reader.Next(); ++place) {
      Status status = One(reader.type(), reader.payload(), out);
      if (!status.ok()) {
        const char* name = ActionName(reader.type());
        status.error().message =
            "action " + std::to_string(place) + " (" +
            (name != nullptr ? std::string(name) : "type " + std::to_string(reader.type())) +
            "): " + status.error().message;
        return status;
      }
    }
    if (reader.broken()) return Invalid("malformed attribute in actions");
    return {};
  }

 private:
  // How many tags, from the outermost on, every packet of the flow has.
  static std::size_t KnownTags(const Match& match) {
    const Be16 cfi = ToBe16(kVlanCfi);
    std::size_t n = 0;
    while (n < kMaxVlanTags && (match.mask.vlans[n].tci & match.key.vlans[n].tci & cfi) != 0) ++n;
    return n;
  }

  Status One(std::uint16_t type, Bytes payload, std::vector<Action>& out) {
    switch (type) {
      case OVS_ACTION_ATTR_OUTPUT:
        return Output(payload, out);
      case OVS_ACTION_ATTR_USERSPACE:
        return Userspace(payload, out);
      case OVS_ACTION_ATTR_SET:
        return Set(payload, false, out);
      case OVS_ACTION_ATTR_SET_MASKED:
        return Set(payload, true, out);
      case OVS_ACTION_ATTR_PUSH_VLAN:
        return PushVlan(payload, out);
      case OVS_ACTION_ATTR_POP_VLAN:
        return PopVlan(payload, out);
      default:
        if (const char* name = ActionName(type))
          return Invalid(std::string("not supported yet: ") + name);
        return Invalid("unknown action");
    }
  }

  static Status WrongSize(std::size_t is, std::size_t should_be) {
    return Invalid("has " + std::to_string(is) + " bytes instead of " + std::to_string(should_be));
  }

  static Status Output(Bytes payload, std::vector<Action>& out) {
    if (payload.size() != sizeof(std::uint32_t))
      return WrongSize(payload.size(), sizeof(std::uint32_t));
    const auto port = LoadAs<std::uint32_t>(payload.data());
    if (port > UINT16_MAX)
      return Invalid("port " + std::to_string(port) + " is not a number from 0 to 65535");
    out.emplace_back(OutputAction{PortNumber{port}});
    return {};
  }

  static Status Userspace(Bytes payload, std::vector<Action>& out) {
    UserspaceAction action;
    bool pid = false;
    AttributeReader reader(payload);
    while (reader.Next()) {
      switch (reader.type()) {
        case OVS_USERSPACE_ATTR_PID:  // There is one listener here; whom the kernel would tell does
                                      // not matter.
          if (pid) return Invalid("duplicate pid");
          if (reader.payload().size() != sizeof(std::uint32_t))
            return WrongSize(reader.payload().size(), sizeof(std::uint32_t));
          pid = true;
          break;
        case OVS_USERSPACE_ATTR_USERDATA:
          if (action.userdata != nullptr) return Invalid("duplicate userdata");
          if (reader.payload().size() > kMaxUserdata) {
            return Invalid("userdata has " + std::to_string(reader.payload().size()) +
                           " bytes; at most 65512 are allowed");
          }
          action.userdata = std::make_shared<const std::vector<std::uint8_t>>(
              reader.payload().begin(), reader.payload().end());
          break;
        case OVS_USERSPACE_ATTR_EGRESS_TUN_PORT:
          return Invalid("not supported yet: tunnel_out_port");
        case OVS_USERSPACE_ATTR_ACTIONS:
          return Invalid("not supported yet: actions");
        default:
          return Invalid("unknown attribute " + std::to_string(reader.type()));
      }
    }
    if (reader.broken()) return Invalid("malformed attribute");
    out.emplace_back(std::move(action));
    return {};
  }

  Status PushVlan(Bytes payload, std::vector<Action>& out) {
    if (payload.size() != sizeof(ovs_action_push_vlan))
      return WrongSize(payload.size(), sizeof(ovs_action_push_vlan));
    const auto push = LoadAs<ovs_action_push_vlan>(payload.data());
    if (!IsVlanTpid(push.vlan_tpid)) return Invalid("tpid must be 0x8100, 0x88a8 or 0x9100");
    if ((push.vlan_tci & ToBe16(kVlanCfi)) == 0) return Invalid("cfi must be 1");
    if (known_tags_ == kMaxVlanTags) return Invalid("a packet has at most two tags");
    ++known_tags_;
    out.emplace_back(PushVlanAction{{push.vlan_tpid, push.vlan_tci}});
    return {};
  }

  Status PopVlan(Bytes payload, std::vector<Action>& out) {
    if (!payload.empty()) return WrongSize(payload.size(), 0);
    if (known_tags_ == 0) {
      return Invalid("the flow does not say that there is a tag",
                     "Match a \"vlan\", or push one before.");
    }
    --known_tags_;
    out.emplace_back(PopVlanAction{});
    return {};
  }

  // The value to set and the bits of it that count. A bit of the value outside of the mask is
  // ignored.
  template <typename T>
  static Status Read(Bytes payload, bool masked, Valued<T>& out) {
    const std::size_t size = masked ? 2 * sizeof(T) : sizeof(T);
    if (payload.size() != size) return WrongSize(payload.size(), size);
    out.value = LoadAs<T>(payload.data());
    if (masked) {
      out.mask = LoadAs<T>(payload.data() + sizeof(T));
    } else {
      std::memset(&out.mask, 0xff, sizeof(T));
    }
    return {};
  }

  // A field that must stay as it is: not in the mask; or, in a plain set, which always names it,
  // already known to be so.
  static bool Stays(bool masked, std::uint8_t value, std::uint8_t mask, std::uint8_t known,
                    std::uint8_t known_mask) {
    return mask == 0 || (!masked && known_mask == UINT8_MAX && known == value);
  }
  Status CheckStays(bool masked, std::uint8_t proto, std::uint8_t proto_mask, std::uint8_t frag,
                    std::uint8_t frag_mask) const {
    if (!Stays(masked, proto, proto_mask, match_.key.nw_proto, match_.mask.nw_proto)) {
      return Invalid("\"proto\" cannot be set");
    }
    if (!Stays(masked, frag, frag_mask, match_.key.nw_frag, match_.mask.nw_frag)) {
      return Invalid("\"frag\" cannot be set");
    }
    return {};
  }

  Status NeedLayer3(Layer3 layer3, const char* name, const char* eth_type) const {
    if (match_.mask.eth_type == UINT16_MAX && Layer3Of(match_.key) == layer3) return {};
    return Invalid(std::string("set of \"") + name + "\" needs a flow with an exact \"eth_type(" +
                   eth_type + ")\"");
  }

  Status NeedLayer4(Layer4 layer4, const char* name, const char* protocol) const {
    if (match_.mask.nw_frag == UINT8_MAX && match_.key.nw_frag == kFragLater) {
      return Invalid(std::string("set of \"") + name + "\": a later fragment has no ports");
    }
    Flow first = match_.key;
    first.nw_frag = kFragNone;
    if (match_.mask.eth_type == UINT16_MAX && match_.mask.nw_proto == UINT8_MAX &&
        Layer4Of(first) == layer4)
      return {};
    return Invalid(std::string("set of \"") + name + "\" needs a flow with an exact \"ipv4(proto=" +
                   protocol + ")\" or \"ipv6(proto=" + protocol + ")\"");
  }

  Status Set(Bytes payload, bool masked, std::vector<Action>& out) const {
    AttributeReader reader(payload);
    if (!reader.Next()) return Invalid("names no field");
    const std::uint16_t type = reader.type();
    const Bytes field = reader.payload();
    if (reader.Next() || reader.broken()) return Invalid("must have exactly one field");
    SetAction set{};
    Status status;
    switch (type) {
      case OVS_KEY_ATTR_ETHERNET:
        status = SetEthernet(field, masked, set);
        break;
      case OVS_KEY_ATTR_IPV4:
        status = SetIpv4(field, masked, set);
        break;
      case OVS_KEY_ATTR_IPV6:
        status = SetIpv6(field, masked, set);
        break;
      case OVS_KEY_ATTR_TCP:
        set.group = SetAction::Group::kTcp;
        status = NeedLayer4(Layer4::kTcp, "tcp", "6");
        if (status.ok()) status = SetPorts(field, masked, set);
        break;
      case OVS_KEY_ATTR_UDP:
        set.group = SetAction::Group::kUdp;
        status = NeedLayer4(Layer4::kUdp, "udp", "17");
        if (status.ok()) status = SetPorts(field, masked, set);
        break;
      default: {
        const char* name = FieldName(type);
        if (name == nullptr) return Invalid("unknown field, attribute " + std::to_string(type));
        if (NeverSettable(type)) return Invalid('"' + std::string(name) + "\" cannot be set");
        return Invalid(std::string("not supported yet: set of ") + name);
      }
    }
    if (!status.ok()) return status;
    set.value = ApplyMask(set.value, set.mask);
    out.emplace_back(set);
    return {};
  }

  static Status SetEthernet(Bytes payload, bool masked, SetAction& set) {
    Valued<ovs_key_ethernet> eth;
    if (Status status = Read(payload, masked, eth); !status.ok()) return status;
    set.group = SetAction::Group::kEthernet;
    set.value.eth_src = LoadAs<MacAddress>(eth.value.eth_src);
    set.value.eth_dst = LoadAs<MacAddress>(eth.value.eth_dst);
    set.mask.eth_src = LoadAs<MacAddress>(eth.mask.eth_src);
    set.mask.eth_dst = LoadAs<MacAddress>(eth.mask.eth_dst);
    return {};
  }

  Status SetIpv4(Bytes payload, bool masked, SetAction& set) const {
    if (Status status = NeedLayer3(Layer3::kIpv4, "ipv4", "0x0800"); !status.ok()) return status;
    Valued<ovs_key_ipv4> ip;
    if (Status status = Read(payload, masked, ip); !status.ok()) return status;
    Status status = CheckStays(masked, ip.value.ipv4_proto, ip.mask.ipv4_proto, ip.value.ipv4_frag,
                               ip.mask.ipv4_frag);
    if (!status.ok()) return status;
    set.group = SetAction::Group::kIpv4;
    set.value.ipv4_src = ip.value.ipv4_src;
    set.value.ipv4_dst = ip.value.ipv4_dst;
    set.value.nw_tos = ip.value.ipv4_tos;
    set.value.nw_ttl = ip.value.ipv4_ttl;
    set.mask.ipv4_src = ip.mask.ipv4_src;
    set.mask.ipv4_dst = ip.mask.ipv4_dst;
    set.mask.nw_tos = ip.mask.ipv4_tos;
    set.mask.nw_ttl = ip.mask.ipv4_ttl;
    return {};
  }

  Status SetIpv6(Bytes payload, bool masked, SetAction& set) const {
    if (Status status = NeedLayer3(Layer3::kIpv6, "ipv6", "0x86dd"); !status.ok()) return status;
    Valued<ovs_key_ipv6> ip;
    if (Status status = Read(payload, masked, ip); !status.ok()) return status;
    Status status = CheckStays(masked, ip.value.ipv6_proto, ip.mask.ipv6_proto, ip.value.ipv6_frag,
                               ip.mask.ipv6_frag);
    if (!status.ok()) return status;
    if (FromBe32(ip.value.ipv6_label) > Ipv6Header::kLabelMask)
      return Invalid("\"label\" has 20 bits");
    set.group = SetAction::Group::kIpv6;
    set.value.ipv6_src = LoadAs<Ipv6Address>(ip.value.ipv6_src);
    set.value.ipv6_dst = LoadAs<Ipv6Address>(ip.value.ipv6_dst);
    set.value.ipv6_label = ip.value.ipv6_label;
    set.value.nw_tos = ip.value.ipv6_tclass;
    set.value.nw_ttl = ip.value.ipv6_hlimit;
    set.mask.ipv6_src = LoadAs<Ipv6Address>(ip.mask.ipv6_src);
    set.mask.ipv6_dst = LoadAs<Ipv6Address>(ip.mask.ipv6_dst);
    set.mask.ipv6_label = ip.mask.ipv6_label & ToBe32(Ipv6Header::kLabelMask);
    set.mask.nw_tos = ip.mask.ipv6_tclass;
    set.mask.nw_ttl = ip.mask.ipv6_hlimit;
    return {};
  }

  static Status SetPorts(Bytes payload, bool masked, SetAction& set) {
    static_assert(sizeof(ovs_key_tcp) == sizeof(ovs_key_udp));
    Valued<ovs_key_tcp> ports;
    if (Status status = Read(payload, masked, ports); !status.ok()) return status;
    set.value.tp_src = ports.value.tcp_src;
    set.value.tp_dst = ports.value.tcp_dst;
    set.mask.tp_src = ports.mask.tcp_src;
    set.mask.tp_dst = ports.mask.tcp_dst;
    return {};
  }

  const Match& match_;
  std::size_t known_tags_;
};

}  // namespace

Result<std::shared_ptr<const ActionList>> ActionList::Parse(Bytes attributes, const Match& match) {
  if (attributes.size() > kMaxListBytes) {
    return Invalid("the actions have " + std::to_string(attributes.size()) +
                   " bytes; at most 65531 are allowed");
  }
  std::shared_ptr<ActionList> list(new ActionList);
  if (Status status = Parser(match).Parse(attributes, list->actions_); !status.ok())
    return std::move(status.error());
  list->actions_.shrink_to_fit();
  list->attributes_.assign(attributes.begin(), attributes.end());
  if (list->actions_.size() == 1) {
    if (const auto* output = std::get_if<OutputAction>(&list->actions_[0]))
      list->sole_output_ = output->port;
  }
  return std::shared_ptr<const ActionList>(std::move(list));
}

}  // namespace pollux
