#include "flow/tunnel_attributes.h"

#include <linux/erspan.h>

#include "flow/ovs_attributes.h"
#include "packet/reader.h"

namespace pollux {
namespace {

constexpr auto kKnown = [] {
  std::array<AttributeInfo, kTunnelAttrGtpuOpts + 1> known{};
  known[OVS_TUNNEL_KEY_ATTR_ID] = {"tun_id", 8};
  known[OVS_TUNNEL_KEY_ATTR_IPV4_SRC] = {"src", 4};
  known[OVS_TUNNEL_KEY_ATTR_IPV4_DST] = {"dst", 4};
  known[OVS_TUNNEL_KEY_ATTR_TOS] = {"tos", 1};
  known[OVS_TUNNEL_KEY_ATTR_TTL] = {"ttl", 1};
  known[OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT] = {"flags(df)", 0};
  known[OVS_TUNNEL_KEY_ATTR_CSUM] = {"flags(csum)", 0};
  known[OVS_TUNNEL_KEY_ATTR_OAM] = {"flags(oam)", 0};
  known[OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS] = {"geneve"};
  known[OVS_TUNNEL_KEY_ATTR_TP_SRC] = {"tp_src", 2};
  known[OVS_TUNNEL_KEY_ATTR_TP_DST] = {"tp_dst", 2};
  known[OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS] = {"vxlan"};
  known[OVS_TUNNEL_KEY_ATTR_IPV6_SRC] = {"ipv6_src", 16};
  known[OVS_TUNNEL_KEY_ATTR_IPV6_DST] = {"ipv6_dst", 16};
  known[OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS] = {"erspan", sizeof(erspan_metadata)};
  known[kTunnelAttrGtpuOpts] = {"gtpu", sizeof(TunnelGtpu)};
  return known;
}();
static_assert(sizeof(erspan_metadata) == 12);

constexpr auto kKnownVxlan = [] {
  std::array<AttributeInfo, OVS_VXLAN_EXT_GBP + 1> known{};
  known[OVS_VXLAN_EXT_GBP] = {"gbp", 4};
  return known;
}();

struct FlagAttribute {
  std::uint16_t flag;
  std::uint16_t type;
};
constexpr FlagAttribute kFlagAttributes[] = {
    {kTunnelDontFragment, OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT},
    {kTunnelChecksum, OVS_TUNNEL_KEY_ATTR_CSUM},
    {kTunnelKey, OVS_TUNNEL_KEY_ATTR_ID},
    {kTunnelOam, OVS_TUNNEL_KEY_ATTR_OAM}};

// ------------------------------------------------------------------ decoding

// What is read in the same way from a key and from a mask.
void ReadPlainFields(const AttributeSet& set, TunnelMetadata& out) {
  out.id = set.Get<Be64>(OVS_TUNNEL_KEY_ATTR_ID);
  out.ipv4_src = set.Get<Be32>(OVS_TUNNEL_KEY_ATTR_IPV4_SRC);
  out.ipv4_dst = set.Get<Be32>(OVS_TUNNEL_KEY_ATTR_IPV4_DST);
  out.ipv6_src = set.Get<Ipv6Address>(OVS_TUNNEL_KEY_ATTR_IPV6_SRC);
  out.ipv6_dst = set.Get<Ipv6Address>(OVS_TUNNEL_KEY_ATTR_IPV6_DST);
  out.tos = set.Get<std::uint8_t>(OVS_TUNNEL_KEY_ATTR_TOS);
  out.ttl = set.Get<std::uint8_t>(OVS_TUNNEL_KEY_ATTR_TTL);
  out.tp_src = set.Get<Be16>(OVS_TUNNEL_KEY_ATTR_TP_SRC);
  out.tp_dst = set.Get<Be16>(OVS_TUNNEL_KEY_ATTR_TP_DST);
  const auto gtpu = set.Get<TunnelGtpu>(kTunnelAttrGtpuOpts);
  out.gtpu_flags = gtpu.flags;
  out.gtpu_message = gtpu.message;
  for (const auto& [flag, type] : kFlagAttributes) {
    if (set.Has(type)) out.flags |= flag;
  }
}

// The group policy, as it stands in the attribute.
Result<std::uint32_t> ReadVxlan(const AttributeSet& set, const std::string& where) {
  const Result<AttributeSet> vxlan =
      AttributeSet::Read(set[OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS], kKnownVxlan, "\"vxlan\" of " + where);
  if (!vxlan.ok()) return vxlan.error();
  return vxlan.value().Get<std::uint32_t>(OVS_VXLAN_EXT_GBP);
}

void SplitGbp(std::uint32_t gbp, TunnelMetadata& out) {
  out.gbp_id = ToBe16(static_cast<std::uint16_t>(gbp));
  out.gbp_flags = static_cast<std::uint8_t>(gbp >> 16);
}

Status ReadGeneve(Bytes payload, const std::string& where, TunnelMetadata& out) {
  if (payload.size() > kMaxTunnelOptions) {
    return Invalid("\"geneve\" in " + where + " has " + std::to_string(payload.size()) +
                   " bytes of options; at most 252 are allowed");
  }
  std::copy(payload.begin(), payload.end(), out.options.begin());
  out.options_size = static_cast<std::uint8_t>(payload.size());
  std::size_t options = 0;
  const bool whole = ForEachGeneveLength(payload.data(), payload.size(), [&](std::size_t at) {
    out.options[at] &= GeneveOption::kLengthMask;
    ++options;
  });
  if (whole) return {};
  return Invalid("\"geneve\" in " + where + ": option " + std::to_string(options + 1) +
                 " is longer than what is left of it");
}

Status ReadErspan(const AttributeSet& set, TunnelMetadata& out) {
  if (!set.Has(OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS)) return {};
  const auto erspan = set.Get<erspan_metadata>(OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS);
  if (erspan.version != 1 && erspan.version != 2) return Invalid("\"erspan(ver)\" must be 1 or 2");
  out.erspan_version = static_cast<std::uint8_t>(erspan.version);
  if (erspan.version == 1) {
    out.erspan_index = erspan.u.index;
  } else {
    out.erspan_direction = erspan.u.md2.dir;
    out.erspan_hardware =
        static_cast<std::uint8_t>(erspan.u.md2.hwid_upper << 4 | erspan.u.md2.hwid);
  }
  return {};
}

Result<TunnelMetadata> ReadKey(const AttributeSet& set, const std::string& where) {
  TunnelMetadata key;
  ReadPlainFields(set, key);
  const Result<std::uint32_t> gbp = ReadVxlan(set, where);
  if (!gbp.ok()) return gbp.error();
  if (gbp.value() >> 24 != 0) return Invalid("\"vxlan(gbp(flags))\" has 8 bits");
  SplitGbp(gbp.value(), key);
  Status status = ReadGeneve(set[OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS], where, key);
  if (status.ok()) status = ReadErspan(set, key);
  if (!status.ok()) return status.error();
  return key;
}

// Options are told apart by their lengths, so these matter as soon as anything of them does.
Status ReadGeneveMask(const AttributeSet& set, const TunnelMetadata& key, const std::string& where,
                      TunnelMetadata& mask) {
  if (!set.Has(OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS)) return {};
  const Bytes payload = set[OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS];
  if (payload.size() != key.options_size) {
    return Invalid("\"geneve\" in " + where + " has " + std::to_string(payload.size()) +
                   " bytes of options and in the key " + std::to_string(key.options_size));
  }
  std::copy(payload.begin(), payload.end(), mask.options.begin());
  mask.options_size = UINT8_MAX;
  ForEachGeneveLength(key.options.data(), key.options_size,
                      [&](std::size_t at) { mask.options[at] = GeneveOption::kLengthMask; });
  return {};
}

// The version says what the rest means, so it matters as soon as anything does.
void ReadErspanMask(const AttributeSet& set, const TunnelMetadata& key, TunnelMetadata& mask) {
  if (IsAllZero(set[OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS])) return;
  const auto erspan = set.Get<erspan_metadata>(OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS);
  mask.erspan_version = UINT8_MAX;
  if (key.erspan_version == 1) mask.erspan_index = erspan.u.index;
  if (key.erspan_version == 2) {
    mask.erspan_direction = erspan.u.md2.dir;
    mask.erspan_hardware =
        static_cast<std::uint8_t>(erspan.u.md2.hwid_upper << 4 | erspan.u.md2.hwid);
  }
}

Result<TunnelMetadata> ReadMask(const AttributeSet& set, const TunnelMetadata& key,
                                const std::string& where) {
  TunnelMetadata mask;
  ReadPlainFields(set, mask);
  const Result<std::uint32_t> gbp = ReadVxlan(set, where);
  if (!gbp.ok()) return gbp.error();
  SplitGbp(gbp.value(), mask);
  if (Status status = ReadGeneveMask(set, key, where, mask); !status.ok()) return status.error();
  ReadErspanMask(set, key, mask);
  return mask;
}

Result<TunnelMetadata> DecodeKey(Bytes attributes, const std::string& where) {
  const Result<AttributeSet> set = AttributeSet::Read(attributes, kKnown, where);
  if (!set.ok()) return set.error();
  return ReadKey(set.value(), where);
}

// ------------------------------------------------------------------ encoding

TunnelMetadata Masked(TunnelMetadata key, const TunnelMetadata& mask) {
  std::array<std::uint64_t, sizeof(TunnelMetadata) / sizeof(std::uint64_t)> words, bits;
  std::memcpy(words.data(), &key, sizeof key);
  std::memcpy(bits.data(), &mask, sizeof mask);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] &= bits[i];
  std::memcpy(static_cast<void*>(&key), words.data(), sizeof key);
  return key;
}

void PutErspan(std::vector<std::uint8_t>& out, std::uint8_t layout, int version,
               const TunnelMetadata& values) {
  erspan_metadata erspan;
  std::memset(&erspan, 0, sizeof erspan);
  erspan.version = version;
  if (layout == 1) erspan.u.index = values.erspan_index;
  if (layout == 2) {
    erspan.u.md2.dir = values.erspan_direction & 1;
    erspan.u.md2.hwid = values.erspan_hardware & 0x0f;
    erspan.u.md2.hwid_upper = values.erspan_hardware >> 4 & 0x03;
  }
  AppendAttribute(out, OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS,
                  Bytes(reinterpret_cast<const std::uint8_t*>(&erspan), sizeof erspan));
}

template <typename T>
void PutIfSet(std::vector<std::uint8_t>& out, std::uint16_t type, const T& value) {
  if (value != T{}) AppendValue(out, type, value);
}

// What is written in the same way for a key and for a mask: all that is not zero. The order is that
// of Open vSwitch's text.
void PutPlainFields(std::vector<std::uint8_t>& out, const TunnelMetadata& values) {
  if (values.id != 0 || (values.flags & kTunnelKey) != 0)
    AppendValue(out, OVS_TUNNEL_KEY_ATTR_ID, values.id);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_IPV4_SRC, values.ipv4_src);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_IPV4_DST, values.ipv4_dst);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_IPV6_SRC, values.ipv6_src);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_IPV6_DST, values.ipv6_dst);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_TOS, values.tos);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_TTL, values.ttl);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_TP_SRC, values.tp_src);
  PutIfSet(out, OVS_TUNNEL_KEY_ATTR_TP_DST, values.tp_dst);
  for (const auto& [flag, type] : kFlagAttributes) {
    if (flag != kTunnelKey && (values.flags & flag) != 0) AppendAttribute(out, type, {});
  }
  if (values.gbp_id != 0 || values.gbp_flags != 0) {
    std::vector<std::uint8_t> vxlan;
    AppendValue(vxlan, OVS_VXLAN_EXT_GBP,
                std::uint32_t{values.gbp_flags} << 16 | FromBe16(values.gbp_id));
    AppendAttribute(out, OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS, vxlan);
  }
  if (values.gtpu_flags != 0 || values.gtpu_message != 0) {
    AppendValue(out, kTunnelAttrGtpuOpts, TunnelGtpu{values.gtpu_flags, values.gtpu_message});
  }
}

}  // namespace

Result<TunnelMetadata> DecodeTunnel(Bytes attributes) {
  return DecodeKey(attributes, "\"tunnel\"");
}

Result<TunnelMatch> DecodeTunnelMatch(Bytes key, std::optional<Bytes> mask) {
  Result<TunnelMetadata> fields = DecodeKey(key, "\"tunnel\" of flow key");
  if (!fields.ok()) return fields.error();
  if (!mask.has_value()) return TunnelMatch{*fields, ExactTunnelMask(*fields)};
  const std::string where = "\"tunnel\" of flow mask";
  const Result<AttributeSet> set = AttributeSet::Read(*mask, kKnown, where);
  if (!set.ok()) return set.error();
  Result<TunnelMetadata> bits = ReadMask(set.value(), *fields, where);
  if (!bits.ok()) return bits.error();
  return TunnelMatch{*fields, *bits};
}

std::vector<std::uint8_t> EncodeTunnel(const TunnelMetadata& tunnel) {
  return EncodeTunnelKey(tunnel, ExactTunnelMask(tunnel));
}

std::vector<std::uint8_t> EncodeTunnelKey(const TunnelMetadata& key, const TunnelMetadata& mask) {
  const TunnelMetadata values = Masked(key, mask);
  std::vector<std::uint8_t> out;
  PutPlainFields(out, values);
  if (values.options_size != 0) {
    AppendAttribute(out, OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
                    Bytes(values.options).first(values.options_size));
  }
  if (values.erspan_version != 0)
    PutErspan(out, values.erspan_version, values.erspan_version, values);
  return out;
}

std::vector<std::uint8_t> EncodeTunnelMask(const TunnelMetadata& key, const TunnelMetadata& mask) {
  std::vector<std::uint8_t> out;
  PutPlainFields(out, mask);
  // As many as in the key, even none.
  if (mask.options_size != 0) {
    AppendAttribute(out, OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS,
                    Bytes(mask.options).first(key.options_size));
  }
  if (mask.erspan_version != 0) PutErspan(out, key.erspan_version, mask.erspan_version, mask);
  return out;
}

}  // namespace pollux
