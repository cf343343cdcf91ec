// Netlink attributes to keys and masks, and back.
//
// Decoding goes level by level: the attributes outside, those in the first "encap", those in the
// second. At each level key and mask are split into one payload per attribute type (ReadLevel),
// which finds broken, unknown and doubled attributes before anything is believed; then every
// attribute is read together with its mask and checked against its prerequisites.
//
// A prerequisite has two halves. The key must say that the header is there ("tcp" without proto=6
// is nonsense, whatever the mask), and if any bit of the attribute matters, the mask must look at
// the prerequisite in full: or the flow would match a field in packets that have another one in its
// place.
#include "flow/netlink.h"

#include <linux/openvswitch.h>

#include <algorithm>
#include <string>
#include <type_traits>

#include "packet/headers.h"

namespace pollux {
namespace {

constexpr std::size_t kAttributeHeader = 4;
constexpr std::uint16_t kTypeMask = 0x3fff;  // The two highest bits are flags: nested, byte order.

constexpr std::size_t Align(std::size_t n) { return (n + 3) & ~std::size_t{3}; }

// The attributes we know, by type. A size of 0: any.
constexpr std::size_t kTypes = OVS_KEY_ATTR_MAX + 1;
struct AttributeInfo {
  const char* name = nullptr;  // In the flow language.
  std::size_t size = 0;
  bool supported = false;
};
constexpr std::array<AttributeInfo, kTypes> MakeInfo() {
  std::array<AttributeInfo, kTypes> info{};
  info[OVS_KEY_ATTR_ENCAP] = {"encap", 0, true};
  info[OVS_KEY_ATTR_PRIORITY] = {"skb_priority", 4, true};
  info[OVS_KEY_ATTR_IN_PORT] = {"in_port", 4, true};
  info[OVS_KEY_ATTR_ETHERNET] = {"eth", sizeof(ovs_key_ethernet), true};
  info[OVS_KEY_ATTR_VLAN] = {"vlan", 2, true};
  info[OVS_KEY_ATTR_ETHERTYPE] = {"eth_type", 2, true};
  info[OVS_KEY_ATTR_IPV4] = {"ipv4", sizeof(ovs_key_ipv4), true};
  info[OVS_KEY_ATTR_IPV6] = {"ipv6", sizeof(ovs_key_ipv6), true};
  info[OVS_KEY_ATTR_TCP] = {"tcp", sizeof(ovs_key_tcp), true};
  info[OVS_KEY_ATTR_UDP] = {"udp", sizeof(ovs_key_udp), true};
  info[OVS_KEY_ATTR_ICMP] = {"icmp", sizeof(ovs_key_icmp), true};
  info[OVS_KEY_ATTR_ICMPV6] = {"icmpv6", sizeof(ovs_key_icmpv6), true};
  info[OVS_KEY_ATTR_ARP] = {"arp", sizeof(ovs_key_arp), true};
  info[OVS_KEY_ATTR_ND] = {"nd", sizeof(ovs_key_nd), true};
  info[OVS_KEY_ATTR_SKB_MARK] = {"skb_mark", 4, true};
  info[OVS_KEY_ATTR_TUNNEL] = {"tunnel"};
  info[OVS_KEY_ATTR_SCTP] = {"sctp", sizeof(ovs_key_sctp), true};
  info[OVS_KEY_ATTR_TCP_FLAGS] = {"tcp_flags", 2, true};
  info[OVS_KEY_ATTR_DP_HASH] = {"dp_hash", 4, true};
  info[OVS_KEY_ATTR_RECIRC_ID] = {"recirc_id", 4, true};
  info[OVS_KEY_ATTR_MPLS] = {"mpls"};
  info[OVS_KEY_ATTR_CT_STATE] = {"ct_state"};
  info[OVS_KEY_ATTR_CT_ZONE] = {"ct_zone"};
  info[OVS_KEY_ATTR_CT_MARK] = {"ct_mark"};
  info[OVS_KEY_ATTR_CT_LABELS] = {"ct_label"};
  info[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4] = {"ct_tuple4"};
  info[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6] = {"ct_tuple6"};
  info[OVS_KEY_ATTR_NSH] = {"nsh"};
  info[OVS_KEY_ATTR_PACKET_TYPE] = {"packet_type", 4, true};
  info[OVS_KEY_ATTR_ND_EXTENSIONS] = {"nd_ext"};
  info[OVS_KEY_ATTR_IPV6_EXTHDRS] = {"ipv6_exthdrs"};
  return info;
}
constexpr std::array<AttributeInfo, kTypes> kInfo = MakeInfo();
static_assert(sizeof(ovs_key_ethernet) == 12 && sizeof(ovs_key_ipv4) == 12 &&
              sizeof(ovs_key_ipv6) == 40);
static_assert(sizeof(ovs_key_arp) == 24 && sizeof(ovs_key_nd) == 28);

std::string NameOf(std::uint16_t type) {
  if (type < kTypes && kInfo[type].name != nullptr)
    return '"' + std::string(kInfo[type].name) + '"';
  return "attribute " + std::to_string(type);
}

constexpr std::uint64_t Bit(std::uint16_t type) { return std::uint64_t{1} << type; }
static_assert(kTypes <= 64);

constexpr std::uint64_t kMetadata = Bit(OVS_KEY_ATTR_RECIRC_ID) | Bit(OVS_KEY_ATTR_DP_HASH) |
                                    Bit(OVS_KEY_ATTR_PRIORITY) | Bit(OVS_KEY_ATTR_SKB_MARK) |
                                    Bit(OVS_KEY_ATTR_IN_PORT) | Bit(OVS_KEY_ATTR_PACKET_TYPE);
// What stands outside of every tag.
constexpr std::uint64_t kOutermost = kMetadata | Bit(OVS_KEY_ATTR_ETHERNET);
// What may stand beside a tag; all else belongs into its "encap".
constexpr std::uint64_t kBesideTag =
    kOutermost | Bit(OVS_KEY_ATTR_ETHERTYPE) | Bit(OVS_KEY_ATTR_VLAN) | Bit(OVS_KEY_ATTR_ENCAP);

std::uint16_t FirstOf(std::uint64_t set) {
  return static_cast<std::uint16_t>(std::countr_zero(set));
}

// The attributes of one level.
struct Level {
  std::uint64_t present = 0;
  std::array<Bytes, kTypes> payloads{};

  bool Has(std::uint16_t type) const { return (present & Bit(type)) != 0; }
};

Result<Level> ReadLevel(Bytes bytes, const char* what) {
  Level level;
  AttributeReader reader(bytes);
  while (reader.Next()) {
    const std::uint16_t type = reader.type();
    if (type >= kTypes || kInfo[type].name == nullptr) {
      return Invalid(std::string("unknown attribute ") + std::to_string(type) + " in flow " + what);
    }
    if (!kInfo[type].supported)
      return Invalid(NameOf(type) + " in flow " + what + " is not supported yet");
    if (level.Has(type)) return Invalid("duplicate " + NameOf(type) + " in flow " + what);
    if (kInfo[type].size != 0 && reader.payload().size() != kInfo[type].size) {
      return Invalid(NameOf(type) + " in flow " + what + " has " +
                     std::to_string(reader.payload().size()) + " bytes instead of " +
                     std::to_string(kInfo[type].size));
    }
    level.present |= Bit(type);
    level.payloads[type] = reader.payload();
  }
  if (reader.broken()) return Invalid(std::string("malformed attribute in flow ") + what);
  return level;
}

template <typename T>
bool IsZero(const T& value) {
  std::array<std::uint8_t, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// Where the mask of a level comes from.
enum class MaskSource {
  kExact,  // No mask was given at all: everything given matters.
  kGiven,
  kNone,  // The level is wildcarded: its "encap" is not in the mask.
};

// An attribute of the key with its mask.
template <typename T>
struct Matched {
  bool present = false;
  T key{};
  T mask{};

  bool matters() const { return present && !IsZero(mask); }
};

class Decoder {
 public:
  Result<Match> Decode(Bytes key, Bytes mask) {
    source_ = mask.empty() ? MaskSource::kExact : MaskSource::kGiven;
    if (Status status = Enter(key, mask); !status.ok()) return std::move(status.error());
    if (Status status = Metadata(); !status.ok()) return std::move(status.error());
    Status status = Tags();
    if (status.ok()) status = Innermost();
    if (!status.ok()) return std::move(status.error());
    return Match{ApplyMask(key_, mask_), mask_};
  }

 private:
  // Goes to the level made of these bytes.
  Status Enter(Bytes key, Bytes mask) {
    Result<Level> key_level = ReadLevel(key, "key");
    if (!key_level.ok()) return std::move(key_level.error());
    Result<Level> mask_level = ReadLevel(source_ == MaskSource::kGiven ? mask : Bytes{}, "mask");
    if (!mask_level.ok()) return std::move(mask_level.error());
    key_level_ = *key_level;
    mask_level_ = *mask_level;
    for (std::uint64_t extra = mask_level_.present & ~key_level_.present; extra != 0;
         extra &= extra - 1) {
      const std::uint16_t type = FirstOf(extra);
      bool zero = true;
      for (const std::uint8_t byte : mask_level_.payloads[type]) zero = zero && byte == 0;
      // These are meaningful alone: metadata defaults to zero, a missing tag is matched as missing,
      // a missing EtherType means 802.2.
      constexpr std::uint64_t kAlone =
          kMetadata | Bit(OVS_KEY_ATTR_VLAN) | Bit(OVS_KEY_ATTR_ETHERTYPE);
      if (!zero && (kAlone & Bit(type)) == 0) {
        return Invalid(NameOf(type) + " is in the mask but not in the flow key");
      }
    }
    return {};
  }

  template <typename T>
  Matched<T> Get(std::uint16_t type) const {
    Matched<T> matched;
    matched.present = key_level_.Has(type);
    if (matched.present) {
      POLLUX_CHECK(key_level_.payloads[type].size() == sizeof(T));
      matched.key = LoadAs<T>(key_level_.payloads[type].data());
    }
    if (source_ == MaskSource::kExact && matched.present) {
      std::memset(static_cast<void*>(&matched.mask), 0xff, sizeof(T));
    } else if (mask_level_.Has(type)) {
      POLLUX_CHECK(mask_level_.payloads[type].size() == sizeof(T));
      matched.mask = LoadAs<T>(mask_level_.payloads[type].data());
    }
    return matched;
  }

  void Copy(std::uint16_t type, std::uint32_t Flow::*field) {
    const auto attribute = Get<std::uint32_t>(type);
    key_.*field = attribute.key;
    mask_.*field = attribute.mask;
  }

  Status Metadata() {
    const auto in_port = Get<std::uint32_t>(OVS_KEY_ATTR_IN_PORT);
    if (!in_port.present) return Invalid("a flow key needs \"in_port\"");
    if (in_port.mask != UINT32_MAX) return Invalid("\"in_port\" must be matched exactly");
    if (in_port.key > UINT16_MAX)
      return Invalid("\"in_port\" must be a port number from 0 to 65535");
    Copy(OVS_KEY_ATTR_IN_PORT, &Flow::in_port);
    Copy(OVS_KEY_ATTR_RECIRC_ID, &Flow::recirc_id);
    mask_.recirc_id = UINT32_MAX;
    Copy(OVS_KEY_ATTR_DP_HASH, &Flow::dp_hash);
    Copy(OVS_KEY_ATTR_SKB_MARK, &Flow::skb_mark);
    Copy(OVS_KEY_ATTR_PRIORITY, &Flow::skb_priority);
    Copy(OVS_KEY_ATTR_PACKET_TYPE, &Flow::packet_type);
    const auto ethernet = Get<ovs_key_ethernet>(OVS_KEY_ATTR_ETHERNET);
    key_.eth_src = LoadAs<MacAddress>(ethernet.key.eth_src);
    key_.eth_dst = LoadAs<MacAddress>(ethernet.key.eth_dst);
    mask_.eth_src = LoadAs<MacAddress>(ethernet.mask.eth_src);
    mask_.eth_dst = LoadAs<MacAddress>(ethernet.mask.eth_dst);
    return {};
  }

  // Takes the tags and ends at the level of the innermost EtherType.
  Status Tags() {
    for (std::size_t depth = 0;; ++depth) {
      if (depth > 0 && (key_level_.present & kOutermost) != 0) {
        return Invalid(NameOf(FirstOf(key_level_.present & kOutermost)) +
                       " does not belong into \"encap\"");
      }
      if (!key_level_.Has(OVS_KEY_ATTR_VLAN)) {
        if (key_level_.Has(OVS_KEY_ATTR_ENCAP)) return Invalid("\"encap\" needs \"vlan\"");
        // No (further) tag, and that is matched.
        if (source_ != MaskSource::kNone) {
          for (std::size_t i = depth; i < kMaxVlanTags; ++i)
            mask_.vlans[i] = {UINT16_MAX, UINT16_MAX};
        }
        return {};
      }
      if (depth == kMaxVlanTags) return Invalid("a flow key has at most two \"vlan\"");
      if (const std::uint64_t wrong = key_level_.present & ~kBesideTag; wrong != 0) {
        return Invalid(NameOf(FirstOf(wrong)) + " beside \"vlan\" belongs into \"encap\"");
      }
      const auto tpid = Get<Be16>(OVS_KEY_ATTR_ETHERTYPE);
      const auto tci = Get<Be16>(OVS_KEY_ATTR_VLAN);
      if (!tpid.present || !IsVlanTpid(tpid.key)) {
        return Invalid("\"vlan\" needs \"eth_type\" 0x8100, 0x88a8 or 0x9100");
      }
      if (tci.mask != 0 && (tci.key & ToBe16(kVlanCfi)) == 0) {
        return Invalid("\"vlan\" needs cfi=1, which says that there is a tag",
                       "To match untagged packets leave \"vlan\" out.");
      }
      key_.vlans[depth] = {tpid.key, tci.key};
      mask_.vlans[depth] = {tpid.mask, tci.mask};
      const Bytes key = key_level_.payloads[OVS_KEY_ATTR_ENCAP];
      const Bytes mask = mask_level_.payloads[OVS_KEY_ATTR_ENCAP];
      // Nothing is said of what is inside.
      if (!key_level_.Has(OVS_KEY_ATTR_ENCAP) ||
          (source_ == MaskSource::kGiven && !mask_level_.Has(OVS_KEY_ATTR_ENCAP))) {
        source_ = MaskSource::kNone;
      }
      if (Status status = Enter(key, mask); !status.ok()) return status;
    }
  }

  Status Innermost() {
    const auto eth_type = Get<Be16>(OVS_KEY_ATTR_ETHERTYPE);
    if (eth_type.present) {
      key_.eth_type = eth_type.key;
    } else if (eth_type.mask == UINT16_MAX) {
      key_.eth_type = ToBe16(kEthTypeNone);
    } else if (eth_type.mask != 0) {
      return Invalid("\"eth_type\" is in the mask but not in the flow key");
    }
    mask_.eth_type = eth_type.mask;
    if (Status status = Arp(); !status.ok()) return status;
    if (Status status = Ipv4(); !status.ok()) return status;
    if (Status status = Ipv6(); !status.ok()) return status;
    return Layer4Fields();
  }

  // Whether the key's EtherType is one of `layer3` and, if `matters`, exactly matched.
  bool NeedEthType(Layer3 layer3, bool matters) const {
    return Layer3Of(key_) == layer3 && (!matters || mask_.eth_type == UINT16_MAX);
  }

  Status Arp() {
    const auto arp = Get<ovs_key_arp>(OVS_KEY_ATTR_ARP);
    if (!arp.present) return {};
    if (!NeedEthType(Layer3::kArp, arp.matters())) {
      return Invalid("\"arp\" needs an exact \"eth_type(0x0806)\" or \"eth_type(0x8035)\"");
    }
    const std::uint16_t operation = FromBe16(arp.key.arp_op);
    if (operation > UINT8_MAX) return Invalid("\"arp(op)\" must be a number from 0 to 255");
    key_.ipv4_src = arp.key.arp_sip;
    key_.ipv4_dst = arp.key.arp_tip;
    key_.nw_proto = static_cast<std::uint8_t>(operation);
    key_.arp_sha = LoadAs<MacAddress>(arp.key.arp_sha);
    key_.arp_tha = LoadAs<MacAddress>(arp.key.arp_tha);
    mask_.ipv4_src = arp.mask.arp_sip;
    mask_.ipv4_dst = arp.mask.arp_tip;
    mask_.nw_proto = static_cast<std::uint8_t>(FromBe16(arp.mask.arp_op));
    mask_.arp_sha = LoadAs<MacAddress>(arp.mask.arp_sha);
    mask_.arp_tha = LoadAs<MacAddress>(arp.mask.arp_tha);
    return {};
  }

  Status Fragment(const char* name, std::uint8_t key, std::uint8_t mask) {
    if (key > OVS_FRAG_TYPE_MAX)
      return Invalid('"' + std::string(name) + "(frag)\" must be no, first or later");
    if (mask != 0 && mask != UINT8_MAX) {
      return Invalid('"' + std::string(name) + "(frag)\" is matched exactly or not at all");
    }
    key_.nw_frag = key;
    mask_.nw_frag = mask;
    return {};
  }

  Status Ipv4() {
    const auto ip = Get<ovs_key_ipv4>(OVS_KEY_ATTR_IPV4);
    if (!ip.present) return {};
    if (!NeedEthType(Layer3::kIpv4, ip.matters()))
      return Invalid("\"ipv4\" needs an exact \"eth_type(0x0800)\"");
    key_.ipv4_src = ip.key.ipv4_src;
    key_.ipv4_dst = ip.key.ipv4_dst;
    key_.nw_proto = ip.key.ipv4_proto;
    key_.nw_tos = ip.key.ipv4_tos;
    key_.nw_ttl = ip.key.ipv4_ttl;
    mask_.ipv4_src = ip.mask.ipv4_src;
    mask_.ipv4_dst = ip.mask.ipv4_dst;
    mask_.nw_proto = ip.mask.ipv4_proto;
    mask_.nw_tos = ip.mask.ipv4_tos;
    mask_.nw_ttl = ip.mask.ipv4_ttl;
    ip_present_ = true;
    return Fragment("ipv4", ip.key.ipv4_frag, ip.mask.ipv4_frag);
  }

  Status Ipv6() {
    const auto ip = Get<ovs_key_ipv6>(OVS_KEY_ATTR_IPV6);
    if (!ip.present) return {};
    if (!NeedEthType(Layer3::kIpv6, ip.matters()))
      return Invalid("\"ipv6\" needs an exact \"eth_type(0x86dd)\"");
    if (FromBe32(ip.key.ipv6_label) > Ipv6Header::kLabelMask)
      return Invalid("\"ipv6(label)\" has 20 bits");
    key_.ipv6_src = LoadAs<Ipv6Address>(ip.key.ipv6_src);
    key_.ipv6_dst = LoadAs<Ipv6Address>(ip.key.ipv6_dst);
    key_.ipv6_label = ip.key.ipv6_label;
    key_.nw_proto = ip.key.ipv6_proto;
    key_.nw_tos = ip.key.ipv6_tclass;
    key_.nw_ttl = ip.key.ipv6_hlimit;
    mask_.ipv6_src = LoadAs<Ipv6Address>(ip.mask.ipv6_src);
    mask_.ipv6_dst = LoadAs<Ipv6Address>(ip.mask.ipv6_dst);
    mask_.ipv6_label = ip.mask.ipv6_label & ToBe32(Ipv6Header::kLabelMask);
    mask_.nw_proto = ip.mask.ipv6_proto;
    mask_.nw_tos = ip.mask.ipv6_tclass;
    mask_.nw_ttl = ip.mask.ipv6_hlimit;
    ip_present_ = true;
    return Fragment("ipv6", ip.key.ipv6_frag, ip.mask.ipv6_frag);
  }

  // Whether an attribute of `layer4` may be there.
  Status NeedProtocol(std::uint16_t type, Layer4 layer4, bool matters, const char* protocol) const {
    if (ip_present_ && key_.nw_frag == kFragLater) {
      return Invalid(NameOf(type) + " is not in a later fragment (\"frag=later\")");
    }
    if (!ip_present_ || Layer4Of(key_) != layer4 || (matters && mask_.nw_proto != UINT8_MAX)) {
      return Invalid(NameOf(type) + " needs an exact " + protocol);
    }
    return {};
  }

  template <typename T>
  Status Ports(std::uint16_t type, Layer4 layer4, const char* protocol) {
    struct Pair {
      Be16 src;
      Be16 dst;
    };
    static_assert(sizeof(T) == sizeof(Pair));
    const auto ports = Get<Pair>(type);
    if (!ports.present) return {};
    if (Status status = NeedProtocol(type, layer4, ports.matters(), protocol); !status.ok())
      return status;
    key_.tp_src = ports.key.src;
    key_.tp_dst = ports.key.dst;
    mask_.tp_src = ports.mask.src;
    mask_.tp_dst = ports.mask.dst;
    return {};
  }

  // Type and code have 8 bits on the wire and 16 in the key. Exact is all 16, so that exact masks
  // of all protocols agree and share a subtable.
  static Be16 WidenMask(std::uint8_t mask) { return mask == UINT8_MAX ? UINT16_MAX : ToBe16(mask); }

  Status IcmpFields(std::uint16_t type, Layer4 layer4, const char* protocol) {
    struct Pair {
      std::uint8_t type;
      std::uint8_t code;
    };
    static_assert(sizeof(Pair) == sizeof(ovs_key_icmp) && sizeof(Pair) == sizeof(ovs_key_icmpv6));
    const auto icmp = Get<Pair>(type);
    if (!icmp.present) return {};
    if (Status status = NeedProtocol(type, layer4, icmp.matters(), protocol); !status.ok())
      return status;
    key_.tp_src = ToBe16(icmp.key.type);
    key_.tp_dst = ToBe16(icmp.key.code);
    mask_.tp_src = WidenMask(icmp.mask.type);
    mask_.tp_dst = WidenMask(icmp.mask.code);
    return {};
  }

  Status Layer4Fields() {
    constexpr const char* kTcp = "\"ipv4(proto=6)\" or \"ipv6(proto=6)\"";
    Status status = Ports<ovs_key_tcp>(OVS_KEY_ATTR_TCP, Layer4::kTcp, kTcp);
    if (status.ok()) {
      status = Ports<ovs_key_udp>(OVS_KEY_ATTR_UDP, Layer4::kUdp,
                                  "\"ipv4(proto=17)\" or \"ipv6(proto=17)\"");
    }
    if (status.ok()) {
      status = Ports<ovs_key_sctp>(OVS_KEY_ATTR_SCTP, Layer4::kSctp,
                                   "\"ipv4(proto=132)\" or \"ipv6(proto=132)\"");
    }
    if (status.ok()) status = IcmpFields(OVS_KEY_ATTR_ICMP, Layer4::kIcmp, "\"ipv4(proto=1)\"");
    if (status.ok())
      status = IcmpFields(OVS_KEY_ATTR_ICMPV6, Layer4::kIcmpv6, "\"ipv6(proto=58)\"");
    if (!status.ok()) return status;

    const auto flags = Get<Be16>(OVS_KEY_ATTR_TCP_FLAGS);
    if (flags.present) {
      status = NeedProtocol(OVS_KEY_ATTR_TCP_FLAGS, Layer4::kTcp, flags.matters(), kTcp);
      if (!status.ok()) return status;
      if (FromBe16(flags.key) > TcpHeader::kFlagsMask) return Invalid("\"tcp_flags\" has 12 bits");
      key_.tcp_flags = flags.key;
      mask_.tcp_flags = flags.mask & ToBe16(TcpHeader::kFlagsMask);
    }
    return Nd();
  }

  Status Nd() {
    const auto nd = Get<ovs_key_nd>(OVS_KEY_ATTR_ND);
    if (!nd.present) return {};
    // The code need not be matched: the parser finds ND fields in packets with code 0 only.
    if (!key_level_.Has(OVS_KEY_ATTR_ICMPV6) || !IsNd(key_) ||
        (nd.matters() && mask_.tp_src != UINT16_MAX)) {
      return Invalid(
          "\"nd\" needs an exact \"icmpv6(type=135,code=0)\" or \"icmpv6(type=136,code=0)\"");
    }
    key_.nd_target = LoadAs<Ipv6Address>(nd.key.nd_target);
    key_.arp_sha = LoadAs<MacAddress>(nd.key.nd_sll);
    key_.arp_tha = LoadAs<MacAddress>(nd.key.nd_tll);
    mask_.nd_target = LoadAs<Ipv6Address>(nd.mask.nd_target);
    mask_.arp_sha = LoadAs<MacAddress>(nd.mask.nd_sll);
    mask_.arp_tha = LoadAs<MacAddress>(nd.mask.nd_tll);
    return {};
  }

  MaskSource source_ = MaskSource::kExact;
  Level key_level_;
  Level mask_level_;
  bool ip_present_ = false;
  Flow key_;
  FlowMask mask_;
};

// Writes the attributes of fields that `mask` looks at, with the bits of `values`. Which header a
// field belongs to is the business of `key`.
class Encoder {
 public:
  Encoder(const Flow& key, const FlowMask& mask, const Flow& values, bool is_mask)
      : key_(key), mask_(mask), values_(values), is_mask_(is_mask) {}

  std::vector<std::uint8_t> Encode() {
    std::vector<std::uint8_t> out;
    Put(out, OVS_KEY_ATTR_RECIRC_ID, values_.recirc_id);
    if (mask_.dp_hash != 0) Put(out, OVS_KEY_ATTR_DP_HASH, values_.dp_hash);
    if (mask_.skb_priority != 0) Put(out, OVS_KEY_ATTR_PRIORITY, values_.skb_priority);
    Put(out, OVS_KEY_ATTR_IN_PORT, values_.in_port);
    if (mask_.skb_mark != 0) Put(out, OVS_KEY_ATTR_SKB_MARK, values_.skb_mark);
    if (mask_.packet_type != 0) Put(out, OVS_KEY_ATTR_PACKET_TYPE, values_.packet_type);
    if (!IsZero(mask_.eth_src) || !IsZero(mask_.eth_dst)) {
      ovs_key_ethernet ethernet;
      Store(ethernet.eth_src, values_.eth_src);
      Store(ethernet.eth_dst, values_.eth_dst);
      Put(out, OVS_KEY_ATTR_ETHERNET, ethernet);
    }
    TagsFrom(0, out);
    return out;
  }

 private:
  template <typename T>
  static void Put(std::vector<std::uint8_t>& out, std::uint16_t type, const T& value) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_same_v<T, ovs_key_arp>);
    AppendAttribute(out, type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
  }
  template <typename To, typename From>
  static void Store(To& to, const From& from) {
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
  }

  // A tag that the mask looks at and that is not there needs no attribute: that is what having none
  // means.
  bool MatchedAsAbsent(std::size_t depth) const {
    const Be16 cfi = ToBe16(kVlanCfi);
    return (mask_.vlans[depth].tci & cfi) != 0 && (key_.vlans[depth].tci & cfi) == 0;
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

  void TagsFrom(std::size_t depth, std::vector<std::uint8_t>& out) const {
    if (depth == kMaxVlanTags || MatchedAsAbsent(depth)) {
      Innermost(out);
      return;
    }
    const VlanTag& mask = mask_.vlans[depth];
    Put(out, OVS_KEY_ATTR_ETHERTYPE, is_mask_ ? mask.tpid : TpidOf(depth));
    Put(out, OVS_KEY_ATTR_VLAN,
        is_mask_ ? mask.tci : static_cast<Be16>(values_.vlans[depth].tci | ToBe16(kVlanCfi)));
    std::vector<std::uint8_t> inside;
    TagsFrom(depth + 1, inside);
    // Nothing matters inside, not even a further tag: no "encap". That is how TagsFrom() above
    // would have begun.
    bool matters = mask_.eth_type != 0 || LooksAboveEthernet();
    for (std::size_t i = depth + 1; i < kMaxVlanTags; ++i)
      matters = matters || !IsZero(mask_.vlans[i]);
    if (matters) AppendAttribute(out, OVS_KEY_ATTR_ENCAP, inside);
  }

  bool LooksAboveEthernet() const {
    const FlowWords words = ToWords(mask_);
    for (std::size_t i = POLLUX_FLOW_WORD(ipv4_src); i < kFlowWords; ++i) {
      if (words[i] != 0) return true;
    }
    return false;
  }

  void Innermost(std::vector<std::uint8_t>& out) const {
    // With something above it the EtherType says what that is, matched or not.
    if (mask_.eth_type != 0 || LooksAboveEthernet()) {
      Put(out, OVS_KEY_ATTR_ETHERTYPE, is_mask_ ? values_.eth_type : key_.eth_type);
    }
    switch (Layer3Of(key_)) {
      case Layer3::kNone:
        return;
      case Layer3::kArp:
        PutArp(out);
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
    return IsNd(key_) &&
           (!IsZero(mask_.nd_target) || !IsZero(mask_.arp_sha) || !IsZero(mask_.arp_tha));
  }

  void PutArp(std::vector<std::uint8_t>& out) const {
    if (mask_.ipv4_src == 0 && mask_.ipv4_dst == 0 && mask_.nw_proto == 0 &&
        IsZero(mask_.arp_sha) && IsZero(mask_.arp_tha)) {
      return;
    }
    ovs_key_arp arp;
    std::memset(&arp, 0,
                sizeof arp);  // There is padding at its end, which must not carry our memory out.
    arp.arp_sip = values_.ipv4_src;
    arp.arp_tip = values_.ipv4_dst;
    arp.arp_op = is_mask_ && values_.nw_proto == UINT8_MAX ? UINT16_MAX : ToBe16(values_.nw_proto);
    Store(arp.arp_sha, values_.arp_sha);
    Store(arp.arp_tha, values_.arp_tha);
    Put(out, OVS_KEY_ATTR_ARP, arp);
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
    Put(out, OVS_KEY_ATTR_IPV4, ip);
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
    Put(out, OVS_KEY_ATTR_IPV6, ip);
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
        if (ports) Put(out, OVS_KEY_ATTR_TCP, pair);
        if (mask_.tcp_flags != 0) Put(out, OVS_KEY_ATTR_TCP_FLAGS, values_.tcp_flags);
        return;
      case Layer4::kUdp:
        if (ports) Put(out, OVS_KEY_ATTR_UDP, pair);
        return;
      case Layer4::kSctp:
        if (ports) Put(out, OVS_KEY_ATTR_SCTP, pair);
        return;
      case Layer4::kIcmp:
        if (ports)
          Put(out, OVS_KEY_ATTR_ICMP, ovs_key_icmp{low(values_.tp_src), low(values_.tp_dst)});
        return;
      case Layer4::kIcmpv6:
        break;
    }
    if (ports || LooksAtNd()) {
      Put(out, OVS_KEY_ATTR_ICMPV6,
          ovs_key_icmpv6{low(is_mask_ ? values_.tp_src : key_.tp_src), low(values_.tp_dst)});
    }
    if (!LooksAtNd()) return;
    ovs_key_nd nd;
    Store(nd.nd_target, values_.nd_target);
    Store(nd.nd_sll, values_.arp_sha);
    Store(nd.nd_tll, values_.arp_tha);
    Put(out, OVS_KEY_ATTR_ND, nd);
  }

  const Flow& key_;
  const FlowMask& mask_;
  const Flow& values_;
  const bool is_mask_;
};

}  // namespace

Result<Match> DecodeMatch(Bytes key, Bytes mask) { return Decoder().Decode(key, mask); }

std::vector<std::uint8_t> EncodeKey(const Flow& key, const FlowMask* mask) {
  const FlowMask used = mask != nullptr ? *mask : ExactMask(key);
  const Flow masked = ApplyMask(key, used);
  return Encoder(key, used, masked, false).Encode();
}

std::vector<std::uint8_t> EncodeMask(const Flow& key, const FlowMask& mask) {
  return Encoder(key, mask, mask, true).Encode();
}

bool AttributeReader::Next() {
  if (rest_.empty() || broken_) return false;
  std::uint16_t length = 0;
  if (rest_.size() >= kAttributeHeader) {
    length = LoadAs<std::uint16_t>(rest_.data());
    type_ = LoadAs<std::uint16_t>(rest_.data() + 2) & kTypeMask;
  }
  if (length < kAttributeHeader || length > rest_.size()) {
    broken_ = true;
    return false;
  }
  payload_ = rest_.subspan(kAttributeHeader, length - kAttributeHeader);
  // The last attribute may come without its padding.
  rest_ = rest_.subspan(std::min(Align(length), rest_.size()));
  return true;
}

void AppendAttribute(std::vector<std::uint8_t>& out, std::uint16_t type, Bytes payload) {
  POLLUX_CHECK(payload.size() <= UINT16_MAX - kAttributeHeader);
  const auto length = static_cast<std::uint16_t>(kAttributeHeader + payload.size());
  const std::size_t at = out.size();
  out.resize(at + Align(length));  // Padding is zero.
  std::memcpy(out.data() + at, &length, sizeof length);
  std::memcpy(out.data() + at + 2, &type, sizeof type);
  if (!payload.empty())
    std::memcpy(out.data() + at + kAttributeHeader, payload.data(), payload.size());
}

}  // namespace pollux
