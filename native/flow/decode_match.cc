// Netlink attributes to keys and masks.
//
// Decoding goes level by level: the attributes outside, those in the first "encap", those in the
// second. At each level key and mask are split into one payload per attribute type (AttributeSet),
// which finds broken, unknown and doubled attributes before anything is believed; then every
// attribute is read together with its mask and checked against its prerequisites.
//
// A prerequisite has two halves. The key must say that the header is there ("tcp" without proto=6
// is nonsense, whatever the mask), and if any bit of the attribute matters, the mask must look at
// the prerequisite in full: or the flow would match a field in packets that have another one in its
// place.
#include <optional>
#include <string>

#include "flow/netlink.h"
#include "flow/nsh_attributes.h"
#include "flow/ovs_attributes.h"
#include "flow/tunnel_attributes.h"

namespace pollux {
namespace {

constexpr auto kKnown = [] {
  std::array<AttributeInfo, kKeyAttrNdExtensions + 1> known{};
  known[OVS_KEY_ATTR_ENCAP] = {"encap"};
  known[OVS_KEY_ATTR_PRIORITY] = {"skb_priority", 4};
  known[OVS_KEY_ATTR_IN_PORT] = {"in_port", 4};
  known[OVS_KEY_ATTR_ETHERNET] = {"eth", sizeof(ovs_key_ethernet)};
  known[OVS_KEY_ATTR_VLAN] = {"vlan", 2};
  known[OVS_KEY_ATTR_ETHERTYPE] = {"eth_type", 2};
  known[OVS_KEY_ATTR_IPV4] = {"ipv4", sizeof(ovs_key_ipv4)};
  known[OVS_KEY_ATTR_IPV6] = {"ipv6", sizeof(ovs_key_ipv6)};
  known[OVS_KEY_ATTR_TCP] = {"tcp", sizeof(ovs_key_tcp)};
  known[OVS_KEY_ATTR_UDP] = {"udp", sizeof(ovs_key_udp)};
  known[OVS_KEY_ATTR_ICMP] = {"icmp", sizeof(ovs_key_icmp)};
  known[OVS_KEY_ATTR_ICMPV6] = {"icmpv6", sizeof(ovs_key_icmpv6)};
  known[OVS_KEY_ATTR_ARP] = {"arp", sizeof(ovs_key_arp)};
  known[OVS_KEY_ATTR_ND] = {"nd", sizeof(ovs_key_nd)};
  known[OVS_KEY_ATTR_SKB_MARK] = {"skb_mark", 4};
  known[OVS_KEY_ATTR_TUNNEL] = {"tunnel"};
  known[OVS_KEY_ATTR_SCTP] = {"sctp", sizeof(ovs_key_sctp)};
  known[OVS_KEY_ATTR_TCP_FLAGS] = {"tcp_flags", 2};
  known[OVS_KEY_ATTR_DP_HASH] = {"dp_hash", 4};
  known[OVS_KEY_ATTR_RECIRC_ID] = {"recirc_id", 4};
  known[OVS_KEY_ATTR_MPLS] = {"mpls"};
  known[OVS_KEY_ATTR_CT_STATE] = {"ct_state", 4};
  known[OVS_KEY_ATTR_CT_ZONE] = {"ct_zone", 2};
  known[OVS_KEY_ATTR_CT_MARK] = {"ct_mark", 4};
  known[OVS_KEY_ATTR_CT_LABELS] = {"ct_label", sizeof(ovs_key_ct_labels)};
  known[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4] = {"ct_tuple4", sizeof(ovs_key_ct_tuple_ipv4)};
  known[OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6] = {"ct_tuple6", sizeof(ovs_key_ct_tuple_ipv6)};
  known[OVS_KEY_ATTR_NSH] = {"nsh"};
  known[kKeyAttrPacketType] = {"packet_type", 4};
  known[kKeyAttrNdExtensions] = {"nd_ext", sizeof(KeyNdExtensions)};
  return known;
}();
static_assert(sizeof(ovs_key_ethernet) == 12 && sizeof(ovs_key_ipv4) == 12 &&
              sizeof(ovs_key_ipv6) == 40);
static_assert(sizeof(ovs_key_arp) == 24 && sizeof(ovs_key_nd) == 28);
static_assert(sizeof(ovs_key_ct_labels) == 16 && sizeof(ovs_key_ct_tuple_ipv4) == 16 &&
              sizeof(ovs_key_ct_tuple_ipv6) == 40);

// Of a known attribute, in quotes.
std::string NameOf(std::uint16_t type) { return '"' + std::string(kKnown[type].name) + '"'; }

constexpr std::uint32_t Bit(std::uint16_t type) { return std::uint32_t{1} << type; }

constexpr std::uint32_t kMetadata =
    Bit(OVS_KEY_ATTR_RECIRC_ID) | Bit(OVS_KEY_ATTR_DP_HASH) | Bit(OVS_KEY_ATTR_PRIORITY) |
    Bit(OVS_KEY_ATTR_SKB_MARK) | Bit(OVS_KEY_ATTR_IN_PORT) | Bit(OVS_KEY_ATTR_TUNNEL) |
    Bit(OVS_KEY_ATTR_CT_STATE) | Bit(OVS_KEY_ATTR_CT_ZONE) | Bit(OVS_KEY_ATTR_CT_MARK) |
    Bit(OVS_KEY_ATTR_CT_LABELS) | Bit(kKeyAttrPacketType);
// What stands outside of every tag.
constexpr std::uint32_t kOutermost = kMetadata | Bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4) |
                                     Bit(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6) |
                                     Bit(OVS_KEY_ATTR_ETHERNET);
// What may stand beside a tag; all else belongs into its "encap".
constexpr std::uint32_t kBesideTag =
    kOutermost | Bit(OVS_KEY_ATTR_ETHERTYPE) | Bit(OVS_KEY_ATTR_VLAN) | Bit(OVS_KEY_ATTR_ENCAP);
// What is meaningful in the mask alone: metadata defaults to zero, a missing tag is matched as
// missing or, under a mask of no bits, not matched at all; a missing EtherType means 802.2.
constexpr std::uint32_t kAlone = kMetadata | Bit(OVS_KEY_ATTR_VLAN) | Bit(OVS_KEY_ATTR_ETHERTYPE);

std::uint16_t FirstOf(std::uint32_t set) {
  return static_cast<std::uint16_t>(std::countr_zero(set));
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
    Result<AttributeSet> key_level = AttributeSet::Read(key, kKnown, "flow key");
    if (!key_level.ok()) return std::move(key_level.error());
    if (source_ != MaskSource::kGiven) mask = {};
    Result<AttributeSet> mask_level = AttributeSet::Read(mask, kKnown, "flow mask");
    if (!mask_level.ok()) return std::move(mask_level.error());
    key_level_ = *key_level;
    mask_level_ = *mask_level;
    for (std::uint32_t extra = mask_level_.present() & ~key_level_.present() & ~kAlone; extra != 0;
         extra &= extra - 1) {
      const std::uint16_t type = FirstOf(extra);
      if (!IsAllZero(mask_level_[type]))
        return Invalid(NameOf(type) + " is in the mask but not in the flow key");
    }
    return {};
  }

  template <typename T>
  Matched<T> Get(std::uint16_t type) const {
    Matched<T> matched;
    matched.present = key_level_.Has(type);
    matched.key = key_level_.Get<T>(type);
    if (source_ == MaskSource::kExact && matched.present) {
      std::memset(static_cast<void*>(&matched.mask), 0xff, sizeof(T));
    } else {
      matched.mask = mask_level_.Get<T>(type);
    }
    return matched;
  }

  // The mask beside an attribute of several parts, for who reads these himself.
  std::optional<Bytes> MaskOf(std::uint16_t type) const {
    if (source_ == MaskSource::kExact) return std::nullopt;
    return mask_level_[type];
  }

  template <typename T>
  void Copy(std::uint16_t type, T Flow::*field) {
    const auto attribute = Get<T>(type);
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
    Status status = PacketType();
    if (status.ok()) status = Ethernet();
    if (status.ok()) status = Conntrack();
    if (status.ok()) status = Tunnel();
    return status;
  }

  Status PacketType() {
    Copy(kKeyAttrPacketType, &Flow::packet_type);
    const std::uint32_t mask = FromBe32(mask_.packet_type);
    const std::uint32_t type = FromBe32(key_.packet_type) & mask;
    const std::uint32_t name_space = type >> 16;
    const bool exact_namespace = mask >> 16 == UINT16_MAX;
    if (name_space > kEtherTypeNamespace ||
        (exact_namespace && name_space == 0 && (type & UINT16_MAX) != 0)) {
      return Invalid("\"packet_type\" must be (ns=0,id=0) or (ns=1,id=EtherType)");
    }
    no_ethernet_ = exact_namespace && name_space == kEtherTypeNamespace;
    return {};
  }

  Status Ethernet() {
    for (const std::uint16_t header : {OVS_KEY_ATTR_ETHERNET, OVS_KEY_ATTR_VLAN}) {
      if (no_ethernet_ && key_level_.Has(header))
        return Invalid(NameOf(header) + " is not in a packet with \"packet_type(ns=1)\"");
    }
    const auto ethernet = Get<ovs_key_ethernet>(OVS_KEY_ATTR_ETHERNET);
    key_.eth_src = LoadAs<MacAddress>(ethernet.key.eth_src);
    key_.eth_dst = LoadAs<MacAddress>(ethernet.key.eth_dst);
    mask_.eth_src = LoadAs<MacAddress>(ethernet.mask.eth_src);
    mask_.eth_dst = LoadAs<MacAddress>(ethernet.mask.eth_dst);
    return {};
  }

  Status Conntrack() {
    Copy(OVS_KEY_ATTR_CT_STATE, &Flow::ct_state);
    if ((key_.ct_state & ~kCtStateMask) != 0) return Invalid("\"ct_state\" has 8 bits");
    mask_.ct_state &= kCtStateMask;
    Copy(OVS_KEY_ATTR_CT_ZONE, &Flow::ct_zone);
    Copy(OVS_KEY_ATTR_CT_MARK, &Flow::ct_mark);
    Copy(OVS_KEY_ATTR_CT_LABELS, &Flow::ct_label);
    const auto tuple4 = Get<ovs_key_ct_tuple_ipv4>(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4);
    const auto tuple6 = Get<ovs_key_ct_tuple_ipv6>(OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6);
    if (tuple4.present && tuple6.present)
      return Invalid("\"ct_tuple4\" and \"ct_tuple6\" exclude each other");
    const auto take4 = [](const ovs_key_ct_tuple_ipv4& tuple, Flow& out) {
      out.ct_ipv4_src = tuple.ipv4_src;
      out.ct_ipv4_dst = tuple.ipv4_dst;
      out.ct_tp_src = tuple.src_port;
      out.ct_tp_dst = tuple.dst_port;
      out.ct_proto = tuple.ipv4_proto;
    };
    const auto take6 = [](const ovs_key_ct_tuple_ipv6& tuple, Flow& out) {
      out.ct_ipv6_src = LoadAs<Ipv6Address>(tuple.ipv6_src);
      out.ct_ipv6_dst = LoadAs<Ipv6Address>(tuple.ipv6_dst);
      out.ct_tp_src = tuple.src_port;
      out.ct_tp_dst = tuple.dst_port;
      out.ct_proto = tuple.ipv6_proto;
    };
    if (tuple4.present) take4(tuple4.key, key_), take4(tuple4.mask, mask_);
    if (tuple6.present) take6(tuple6.key, key_), take6(tuple6.mask, mask_);
    if (tuple4.present) ct_tuple_ = Layer3::kIpv4;
    if (tuple6.present) ct_tuple_ = Layer3::kIpv6;
    return {};
  }

  // A connection's tuple is of the family of its packets. To be asked when the EtherType is known.
  Status CheckCtTuple() const {
    if (ct_tuple_ == Layer3::kNone) return {};
    const bool matters = mask_.ct_proto != 0 || mask_.ct_tp_src != 0 || mask_.ct_tp_dst != 0 ||
                         mask_.ct_ipv4_src != 0 || mask_.ct_ipv4_dst != 0 ||
                         !IsZero(mask_.ct_ipv6_src) || !IsZero(mask_.ct_ipv6_dst);
    if (NeedEthType(ct_tuple_, matters)) return {};
    return ct_tuple_ == Layer3::kIpv4
               ? Invalid("\"ct_tuple4\" needs an exact \"eth_type(0x0800)\"")
               : Invalid("\"ct_tuple6\" needs an exact \"eth_type(0x86dd)\"");
  }

  Status Tunnel() {
    if (!key_level_.Has(OVS_KEY_ATTR_TUNNEL) && !mask_level_.Has(OVS_KEY_ATTR_TUNNEL)) return {};
    Result<TunnelMatch> tunnel =
        DecodeTunnelMatch(key_level_[OVS_KEY_ATTR_TUNNEL], MaskOf(OVS_KEY_ATTR_TUNNEL));
    if (!tunnel.ok()) return std::move(tunnel.error());
    key_.tunnel = tunnel->key;
    mask_.tunnel = tunnel->mask;
    return {};
  }

  // Takes the tags and ends at the level of the innermost EtherType.
  Status Tags() {
    for (std::size_t depth = 0;; ++depth) {
      const std::uint32_t outermost = (key_level_.present() | mask_level_.present()) & kOutermost;
      if (depth > 0 && outermost != 0)
        return Invalid(NameOf(FirstOf(outermost)) + " does not belong into \"encap\"");
      if (!key_level_.Has(OVS_KEY_ATTR_VLAN)) {
        if (key_level_.Has(OVS_KEY_ATTR_ENCAP)) return Invalid("\"encap\" needs \"vlan\"");
        // No (further) tag, and that is matched, unless the mask says that it is not.
        if (source_ != MaskSource::kNone && !LeavesTagsOpen()) MatchNoTags(depth);
        return {};
      }
      if (depth == kMaxVlanTags) return Invalid("a flow key has at most two \"vlan\"");
      if (const std::uint32_t wrong = key_level_.present() & ~kBesideTag; wrong != 0) {
        return Invalid(NameOf(FirstOf(wrong)) + " beside \"vlan\" belongs into \"encap\"");
      }
      const auto tpid = Get<Be16>(OVS_KEY_ATTR_ETHERTYPE);
      const auto tci = Get<Be16>(OVS_KEY_ATTR_VLAN);
      if (!tpid.present || !IsVlanTpid(tpid.key)) {
        return Invalid("\"vlan\" needs \"eth_type\" 0x8100, 0x88a8 or 0x9100");
      }
      constexpr Be16 kCfi = ToBe16(kVlanCfi);
      if ((tci.key & kCfi) == 0 && tci.mask != 0) {
        if (tci.key == 0 && (tci.mask & kCfi) != 0) return CutTag(depth);
        return Invalid("\"vlan\" needs cfi=1, which says that there is a tag",
                       "To match untagged packets leave \"vlan\" out.");
      }
      key_.vlans[depth] = {tpid.key, tci.key};
      mask_.vlans[depth] = {tpid.mask, tci.mask};
      const Bytes key = key_level_[OVS_KEY_ATTR_ENCAP];
      const Bytes mask = mask_level_[OVS_KEY_ATTR_ENCAP];
      // Nothing is said of what is inside.
      if (!key_level_.Has(OVS_KEY_ATTR_ENCAP) ||
          (source_ == MaskSource::kGiven && !mask_level_.Has(OVS_KEY_ATTR_ENCAP))) {
        source_ = MaskSource::kNone;
      }
      if (Status status = Enter(key, mask); !status.ok()) return status;
    }
  }

  // A mask of no bits for a tag that the key does not have: whether there is one does not matter.
  bool LeavesTagsOpen() const {
    return !no_ethernet_ && source_ == MaskSource::kGiven && mask_level_.Has(OVS_KEY_ATTR_VLAN) &&
           mask_level_.Get<Be16>(OVS_KEY_ATTR_VLAN) == 0;
  }

  // A tag with the TCI 0, as Open vSwitch says that the frame ends inside of it: there is no tag,
  // and the TPID is the frame's EtherType.
  Status CutTag(std::size_t depth) {
    if (!key_level_[OVS_KEY_ATTR_ENCAP].empty() || !mask_level_[OVS_KEY_ATTR_ENCAP].empty())
      return Invalid("\"vlan\" with cfi=0 has nothing inside its \"encap\"");
    MatchNoTags(depth);
    return {};
  }
  void MatchNoTags(std::size_t depth) {
    for (std::size_t i = depth; i < kMaxVlanTags; ++i) mask_.vlans[i] = {UINT16_MAX, UINT16_MAX};
  }

  Status Innermost() {
    Status status = EtherType();
    if (status.ok()) status = CheckCtTuple();
    if (status.ok()) status = Mpls();
    if (status.ok()) status = Nsh();
    if (status.ok()) status = Arp();
    if (status.ok()) status = Ipv4();
    if (status.ok()) status = Ipv6();
    if (status.ok()) status = Layer4Fields();
    return status;
  }

  Status EtherType() {
    const auto eth_type = Get<Be16>(OVS_KEY_ATTR_ETHERTYPE);
    const Be32 id_mask = ToBe32(UINT16_MAX);
    if (no_ethernet_ && (mask_.packet_type & id_mask) == id_mask) {
      // It is the packet's type once more.
      const Be16 type = ToBe16(static_cast<std::uint16_t>(FromBe32(key_.packet_type)));
      if (eth_type.present && ((eth_type.key ^ type) & eth_type.mask) != 0)
        return Invalid("\"eth_type\" is another one than that of \"packet_type\"");
      key_.eth_type = type;
      mask_.eth_type = UINT16_MAX;
      return {};
    }
    if (eth_type.present) {
      key_.eth_type = eth_type.key;
    } else if (eth_type.mask == UINT16_MAX) {
      key_.eth_type = ToBe16(kEthTypeNone);
    } else if (eth_type.mask != 0) {
      return Invalid("\"eth_type\" is in the mask but not in the flow key");
    }
    mask_.eth_type = eth_type.mask;
    return {};
  }

  // Whether the key's EtherType is one of `layer3` and, if `matters`, exactly matched.
  bool NeedEthType(Layer3 layer3, bool matters) const {
    return Layer3Of(key_) == layer3 && (!matters || mask_.eth_type == UINT16_MAX);
  }

  // As many labels are looked at as the key has.
  Status Mpls() {
    if (!key_level_.Has(OVS_KEY_ATTR_MPLS)) return {};
    const Bytes key = key_level_[OVS_KEY_ATTR_MPLS];
    const std::size_t labels = key.size() / sizeof(Be32);
    if (labels == 0 || labels > kMaxMplsLabels || key.size() % sizeof(Be32) != 0) {
      return Invalid("\"mpls\" in flow key has " + std::to_string(key.size()) +
                     " bytes; it must have 4 for each of one to three labels");
    }
    std::memcpy(key_.mpls.data(), key.data(), key.size());
    if (source_ == MaskSource::kExact) {
      std::memset(mask_.mpls.data(), 0xff, key.size());
    } else if (mask_level_.Has(OVS_KEY_ATTR_MPLS)) {
      const Bytes mask = mask_level_[OVS_KEY_ATTR_MPLS];
      if (mask.size() != key.size()) {
        return Invalid("\"mpls\" in flow mask has " + std::to_string(mask.size()) +
                       " bytes and in the key " + std::to_string(key.size()));
      }
      std::memcpy(mask_.mpls.data(), mask.data(), mask.size());
    }
    if (!NeedEthType(Layer3::kMpls, !IsZero(mask_.mpls)))
      return Invalid("\"mpls\" needs an exact \"eth_type(0x8847)\" or \"eth_type(0x8848)\"");
    for (std::size_t i = 0; i + 1 < labels; ++i) {
      if ((FromBe32(key_.mpls[i]) & MplsHeader::kBottomOfStack) != 0)
        return Invalid("\"mpls\" has bos=1 in a label that is not the last one");
    }
    return {};
  }

  Status Nsh() {
    if (!key_level_.Has(OVS_KEY_ATTR_NSH)) return {};
    Result<NshMatch> nsh = DecodeNshMatch(key_level_[OVS_KEY_ATTR_NSH], MaskOf(OVS_KEY_ATTR_NSH));
    if (!nsh.ok()) return std::move(nsh.error());
    key_.nsh = nsh->key;
    mask_.nsh = nsh->mask;
    if (!NeedEthType(Layer3::kNsh, !IsZero(mask_.nsh)))
      return Invalid("\"nsh\" needs an exact \"eth_type(0x894f)\"");
    return {};
  }

  Status Arp() {
    const auto arp = Get<ovs_key_arp>(OVS_KEY_ATTR_ARP);
    if (!arp.present) return {};
    if (!NeedEthType(Layer3::kArp, arp.matters())) {
      return Invalid("\"arp\" needs an exact \"eth_type(0x0806)\" or \"eth_type(0x8035)\"");
    }
    // A key has eight bits of it. All of them set are written as sixteen by Open vSwitch, in the
    // key as in the mask; of a packet with such an operation nothing is kept.
    const std::uint16_t written = FromBe16(arp.key.arp_op);
    const std::uint16_t operation = written == UINT16_MAX ? UINT8_MAX : written;
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

  // Whether an attribute of neighbour discovery may be there. The code need not be matched: the
  // parser finds ND fields in packets with code 0 only.
  Status NeedNd(std::uint16_t type, bool matters) const {
    if (key_level_.Has(OVS_KEY_ATTR_ICMPV6) && IsNd(key_) &&
        (!matters || mask_.tp_src == UINT16_MAX)) {
      return {};
    }
    return Invalid(NameOf(type) +
                   " needs an exact \"icmpv6(type=135,code=0)\" or \"icmpv6(type=136,code=0)\"");
  }

  Status Nd() {
    if (const auto nd = Get<ovs_key_nd>(OVS_KEY_ATTR_ND); nd.present) {
      if (Status status = NeedNd(OVS_KEY_ATTR_ND, nd.matters()); !status.ok()) return status;
      key_.nd_target = LoadAs<Ipv6Address>(nd.key.nd_target);
      key_.arp_sha = LoadAs<MacAddress>(nd.key.nd_sll);
      key_.arp_tha = LoadAs<MacAddress>(nd.key.nd_tll);
      mask_.nd_target = LoadAs<Ipv6Address>(nd.mask.nd_target);
      mask_.arp_sha = LoadAs<MacAddress>(nd.mask.nd_sll);
      mask_.arp_tha = LoadAs<MacAddress>(nd.mask.nd_tll);
    }
    if (const auto nd = Get<KeyNdExtensions>(kKeyAttrNdExtensions); nd.present) {
      const bool matters = nd.mask.nd_reserved != 0 || nd.mask.nd_options_type != 0;
      if (Status status = NeedNd(kKeyAttrNdExtensions, matters); !status.ok()) return status;
      key_.nd_reserved = nd.key.nd_reserved;
      key_.nd_options_type = nd.key.nd_options_type;
      mask_.nd_reserved = nd.mask.nd_reserved;
      mask_.nd_options_type = nd.mask.nd_options_type;
    }
    return {};
  }

  MaskSource source_ = MaskSource::kExact;
  AttributeSet key_level_;
  AttributeSet mask_level_;
  bool no_ethernet_ = false;  // The packet type says so.
  Layer3 ct_tuple_ = Layer3::kNone;
  bool ip_present_ = false;
  Flow key_;
  FlowMask mask_;
};

}  // namespace

Result<Match> DecodeMatch(Bytes key, Bytes mask) { return Decoder().Decode(key, mask); }

}  // namespace pollux
