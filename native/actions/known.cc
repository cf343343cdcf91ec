#include "actions/known.h"

#include <string>

#include "packet/headers.h"

namespace pollux {
namespace {

constexpr const char* kRecirculate = "Recirculate first: then the packet is parsed again.";

struct LayerName {
  const char* name;
  const char* needs;
};
LayerName NameOf(Layer3 layer3) {
  switch (layer3) {
    case Layer3::kArp:
      return {"arp", "\"eth_type(0x0806)\""};
    case Layer3::kIpv4:
      return {"ipv4", "\"eth_type(0x0800)\""};
    default:
      return {"ipv6", "\"eth_type(0x86dd)\""};
  }
}
LayerName NameOf(Layer4 layer4) {
  switch (layer4) {
    case Layer4::kTcp:
      return {"tcp", "\"ipv4(proto=6)\" or \"ipv6(proto=6)\""};
    case Layer4::kUdp:
      return {"udp", "\"ipv4(proto=17)\" or \"ipv6(proto=17)\""};
    case Layer4::kSctp:
      return {"sctp", "\"ipv4(proto=132)\" or \"ipv6(proto=132)\""};
    case Layer4::kIcmp:
      return {"icmp", "\"ipv4(proto=1)\""};
    default:
      return {"icmpv6", "\"ipv6(proto=58)\""};
  }
}

Error Needs(const LayerName& layer) {
  return Invalid(std::string("set of \"") + layer.name + "\" needs a flow with an exact " +
                 layer.needs);
}

}  // namespace

KnownMatch::Fields::Fields(const Flow& flow, bool icmpv6)
    : packet_type(flow.packet_type),
      eth_type(flow.eth_type),
      icmpv6_type(icmpv6 ? flow.tp_src : Be16{0}),
      vlans(flow.vlans),
      nw_proto(flow.nw_proto),
      nw_frag(flow.nw_frag),
      nsh_mdtype(flow.nsh.mdtype),
      nsh_np(flow.nsh.np) {}

Flow KnownMatch::Fields::Layers() const {
  Flow flow;
  flow.eth_type = eth_type;
  flow.nw_proto = nw_proto;
  flow.nw_frag = nw_frag;
  return flow;
}

KnownMatch::KnownMatch(const Match& match)
    : key(match.key, match.key.nw_proto == kProtoIcmpv6),
      mask(match.mask, match.key.nw_proto == kProtoIcmpv6) {}

Known::Known(const KnownMatch& match) : match_(match) {
  const KnownMatch::Fields& key = match.key;
  const KnownMatch::Fields& mask = match.mask;
  if (mask.eth_type == UINT16_MAX) type_ = key.eth_type;
  // What the namespace alone says; the type itself is the EtherType too. Where the match does not
  // look at it, the packet is taken for what all ports receive.
  const auto name_space = [](Be32 packet_type) { return FromBe32(packet_type) >> 16; };
  if (name_space(mask.packet_type) == UINT16_MAX &&
      name_space(key.packet_type) == kEtherTypeNamespace)
    start_ = Start::kLayer3;
  const Be16 cfi = ToBe16(kVlanCfi);
  const auto known = [&](std::size_t i) { return (mask.vlans[i].tci & cfi) != 0; };
  while (tags_ < kMaxVlanTags && known(tags_) && (key.vlans[tags_].tci & cfi) != 0) ++tags_;
  no_more_tags_ = tags_ < kMaxVlanTags ? known(tags_) : type_.has_value();
  if (type_.has_value() && IsVlanTpid(*type_)) no_more_tags_ = false;
  if (mask.icmpv6_type == UINT16_MAX)
    icmpv6_type_ = static_cast<std::uint8_t>(FromBe16(key.icmpv6_type));
  if (mask.nsh_mdtype == UINT8_MAX) nsh_mdtype_ = key.nsh_mdtype;
  if (mask.nsh_np == UINT8_MAX) nsh_np_ = key.nsh_np;
}

// ---- Headers that come and go.

Status Known::NeedStart() const {
  if (start_ != Start::kUnknown) return {};
  return Invalid("what the popped NSH contained is not known", kRecirculate);
}

Status Known::NeedEthernet() const {
  if (start_ == Start::kLayer3)
    return Invalid("the packet has no Ethernet header", "Push one with push_eth.");
  return NeedStart();
}

void Known::StartWith(Start start, std::optional<Be16> type) {
  start_ = start;
  type_ = type;
  tags_ = 0;
  no_more_tags_ = start == Start::kEthernet && type.has_value() && !IsVlanTpid(*type);
}

Status Known::PushVlan() {
  if (Status status = NeedEthernet(); !status.ok()) return status;
  if (tags_ == kMaxVlanTags) return Invalid("a packet has at most two tags");
  ++tags_;
  return {};
}

Status Known::PopVlan() {
  if (Status status = NeedEthernet(); !status.ok()) return status;
  if (tags_ == 0) {
    return Invalid("the flow does not say that there is a tag",
                   "Match a \"vlan\", or push one before.");
  }
  --tags_;
  return {};
}

Status Known::PushMpls(Be16 ether_type, bool before_ethernet) {
  if (Status status = NeedStart(); !status.ok()) return status;
  parsed_ = false;
  if (before_ethernet || start_ == Start::kLayer3) {
    StartWith(Start::kLayer3, ether_type);
    return {};
  }
  if (type_ == ToBe16(kEthTypeNone)) return Invalid("an 802.2 frame has no EtherType to change");
  type_ = ether_type;
  return {};
}

Status Known::PopMpls(Be16 ether_type) {
  if (Status status = NeedMpls(); !status.ok()) return status;
  parsed_ = false;
  type_ = ether_type;
  if (start_ == Start::kLayer3 && ether_type == ToBe16(kEthTypeBridged)) {
    StartWith(Start::kEthernet, {});
  } else if (IsVlanTpid(ether_type)) {
    no_more_tags_ = false;
  }
  return {};
}

Status Known::PushEth() {
  if (Status status = NeedStart(); !status.ok()) return status;
  if (start_ == Start::kEthernet) {
    return Invalid("the packet has an Ethernet header",
                   "Match a \"packet_type\" of namespace 1, or take it away with pop_eth.");
  }
  StartWith(Start::kEthernet, type_);
  return {};
}

Status Known::PopEth() {
  if (Status status = NeedEthernet(); !status.ok()) return status;
  if (tags_ > 0) return Invalid("there is a tag", "Take it away with pop_vlan before.");
  if (!no_more_tags_) return Invalid("the flow does not say that there is no tag");
  if (type_ == ToBe16(kEthTypeNone))
    return Invalid("an 802.2 frame has no EtherType for what is left");
  StartWith(Start::kLayer3, type_);
  return {};
}

Status Known::PushNsh(std::uint8_t mdtype) {
  if (Status status = NeedStart(); !status.ok()) return status;
  std::uint8_t np = kNshEthernet;
  if (start_ == Start::kLayer3) np = type_.has_value() ? NshProtocolOf(*type_) : std::uint8_t{0};
  if (np == 0) return Invalid("an NSH can contain Ethernet, IPv4, IPv6 or another NSH only");
  parsed_ = false;
  StartWith(Start::kLayer3, ToBe16(kEthTypeNsh));
  nsh_mdtype_ = mdtype;
  nsh_np_ = np;
  return {};
}

Status Known::PopNsh() {
  if (start_ == Start::kEthernet && type_ == ToBe16(kEthTypeNsh)) {
    return Invalid("there is an Ethernet header in front of the NSH",
                   "Take it away with pop_eth before.");
  }
  if (Status status = NeedNsh(); !status.ok()) return status;
  parsed_ = false;
  const std::uint8_t np = nsh_np_.value_or(0);
  nsh_mdtype_ = nsh_np_ = std::nullopt;
  if (np == kNshEthernet) {
    StartWith(Start::kEthernet, {});
  } else if (const Be16 type = NshEtherTypeOf(np)) {
    StartWith(Start::kLayer3, type);
  } else {
    StartWith(Start::kUnknown, {});  // If it is none of them, the packet is dropped.
  }
  return {};
}

// ---- Headers to be changed.

Status Known::NeedMpls() const {
  if (type_.has_value() && IsMplsType(*type_)) return {};
  return Invalid("the flow does not say that there is a label",
                 "Match an \"eth_type(0x8847)\", or push one before.");
}

Status Known::NeedNsh() const {
  if (type_ == ToBe16(kEthTypeNsh)) return {};
  return Invalid("the flow does not say that there is an NSH",
                 "Match an \"eth_type(0x894f)\", or push one before.");
}

Status Known::NeedParsed(const char* what) const {
  if (parsed_) return {};
  return Invalid(std::string("where \"") + what + "\" is after MPLS or NSH came or went is unknown",
                 kRecirculate);
}

Status Known::NeedLayer3(Layer3 layer3) const {
  const LayerName name = NameOf(layer3);
  if (Status status = NeedParsed(name.name); !status.ok()) return status;
  if (match_.mask.eth_type == UINT16_MAX && Layer3Of(match_.key.Layers()) == layer3) return {};
  return Needs(name);
}

Status Known::NeedIp() const {
  Status status = NeedLayer3(Layer3::kIpv4);
  return status.ok() ? Status() : NeedLayer3(Layer3::kIpv6).ok() ? Status() : status;
}

Status Known::NeedLayer4(Layer4 layer4) const {
  const LayerName name = NameOf(layer4);
  if (Status status = NeedParsed(name.name); !status.ok()) return status;
  if (match_.mask.nw_frag == UINT8_MAX && match_.key.nw_frag == kFragLater) {
    return Invalid(std::string("set of \"") + name.name + "\": a later fragment has no layer 4");
  }
  Flow first = match_.key.Layers();
  first.nw_frag = kFragNone;
  if (match_.mask.eth_type == UINT16_MAX && match_.mask.nw_proto == UINT8_MAX &&
      Layer4Of(first) == layer4)
    return {};
  return Needs(name);
}

Status Known::NeedNd() const {
  if (Status status = NeedLayer4(Layer4::kIcmpv6); !status.ok()) return status;
  if (icmpv6_type_ == kNdSolicitation || icmpv6_type_ == kNdAdvertisement) return {};
  return Needs({"nd", "\"icmpv6(type=135)\" or \"icmpv6(type=136)\""});
}

std::optional<std::uint8_t> Known::protocol() const {
  if (match_.mask.nw_proto != UINT8_MAX) return {};
  return match_.key.nw_proto;
}

std::optional<std::uint8_t> Known::fragment() const {
  if (match_.mask.nw_frag != UINT8_MAX) return {};
  return match_.key.nw_frag;
}

}  // namespace pollux
