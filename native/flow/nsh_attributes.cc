#include "flow/nsh_attributes.h"

#include "flow/ovs_attributes.h"

namespace pollux {
namespace {

constexpr std::size_t kMaxMetadata = NshHeader::kMaxLength - sizeof(NshHeader);

// `values`: how many values an attribute holds, one or a value and its mask.
constexpr auto MakeKnown(std::size_t values) {
  std::array<AttributeInfo, OVS_NSH_KEY_ATTR_MD2 + 1> known{};
  known[OVS_NSH_KEY_ATTR_BASE] = {"base", values * sizeof(ovs_nsh_key_base)};
  known[OVS_NSH_KEY_ATTR_MD1] = {"md1", values * sizeof(ovs_nsh_key_md1)};
  known[OVS_NSH_KEY_ATTR_MD2] = {"md2"};
  return known;
}
constexpr auto kKnown = MakeKnown(1);
constexpr auto kKnownMasked = MakeKnown(2);
static_assert(sizeof(ovs_nsh_key_base) == 8 && sizeof(ovs_nsh_key_md1) == 16);
static_assert(sizeof(NshFields) == sizeof(ovs_nsh_key_base) + sizeof(ovs_nsh_key_md1));

// Empty attributes: zero.
NshFields Fields(Bytes base, Bytes md1) {
  NshFields fields;
  if (!base.empty()) {
    const auto values = LoadAs<ovs_nsh_key_base>(base.data());
    fields.flags = values.flags;
    fields.ttl = values.ttl;
    fields.mdtype = values.mdtype;
    fields.np = values.np;
    fields.path = values.path_hdr;
  }
  if (!md1.empty()) fields.context = LoadAs<decltype(fields.context)>(md1.data());
  return fields;
}

NshFields Fields(const AttributeSet& set) {
  return Fields(set[OVS_NSH_KEY_ATTR_BASE], set[OVS_NSH_KEY_ATTR_MD1]);
}

// All bits of what is there.
NshFields AllOf(const AttributeSet& set) {
  NshFields mask;
  if (set.Has(OVS_NSH_KEY_ATTR_BASE)) {
    mask.flags = mask.ttl = mask.mdtype = mask.np = UINT8_MAX;
    mask.path = UINT32_MAX;
  }
  if (set.Has(OVS_NSH_KEY_ATTR_MD1)) mask.context.fill(UINT32_MAX);
  return mask;
}

Status CheckRoom(const NshFields& fields) {
  if (fields.flags > NshHeader::kMaxFlags) return Invalid("\"nsh(flags)\" has 2 bits");
  if (fields.ttl > NshHeader::kMaxTtl) return Invalid("\"nsh(ttl)\" has 6 bits");
  return {};
}

// Fields that have fewer bits on the wire than in the key: exact is all bits of the key.
std::uint8_t Widen(std::uint8_t mask, std::uint8_t all) {
  mask &= all;
  return mask == all ? std::uint8_t{UINT8_MAX} : mask;
}
void WidenMask(NshFields& mask) {
  mask.flags = Widen(mask.flags, NshHeader::kMaxFlags);
  mask.ttl = Widen(mask.ttl, NshHeader::kMaxTtl);
}

Status NoMetadata2(const AttributeSet& set) {
  if (!set.Has(OVS_NSH_KEY_ATTR_MD2)) return {};
  return Invalid("\"nsh\" metadata of type 2 cannot be matched or set");
}

// A mask for what the key does not have.
Status NotAlone(const AttributeSet& keys, const AttributeSet& masks) {
  for (const std::uint16_t type : {OVS_NSH_KEY_ATTR_BASE, OVS_NSH_KEY_ATTR_MD1}) {
    if (!keys.Has(type) && !IsAllZero(masks[type])) {
      return Invalid("\"nsh\": " + std::string(kKnown[type].name) +
                     " is in the mask but not in the flow key");
    }
  }
  return {};
}

// Context words are there if metadata is of type 1, and zero elsewhere. Open vSwitch prints these
// zeros; that they are matched says nothing.
Status CheckContext(NshMatch& match) {
  auto& mask = match.mask.context;
  if (IsZero(mask)) return {};
  const bool known = match.mask.mdtype == UINT8_MAX;
  if (known && match.key.mdtype == NshHeader::kMdType1) return {};
  bool zero = true;
  for (std::size_t i = 0; i < mask.size(); ++i) zero &= (match.key.context[i] & mask[i]) == 0;
  if (!known || !zero) return Invalid("\"nsh(c1)\" to \"nsh(c4)\" need an exact \"nsh(mdtype=1)\"");
  mask = {};
  return {};
}

}  // namespace

Result<PushedNsh> DecodeNsh(Bytes attributes) {
  const Result<AttributeSet> read = AttributeSet::Read(attributes, kKnown, "\"nsh\"");
  if (!read.ok()) return read.error();
  const AttributeSet& set = read.value();
  if (!set.Has(OVS_NSH_KEY_ATTR_BASE)) return Invalid("\"nsh\" needs its base");
  const Bytes metadata = set[OVS_NSH_KEY_ATTR_MD2];
  PushedNsh nsh;
  nsh.fields = Fields(set);
  nsh.metadata.assign(metadata.begin(), metadata.end());
  if (Status status = CheckRoom(nsh.fields); !status.ok()) return status.error();
  const std::uint8_t mdtype = nsh.fields.mdtype;
  if (mdtype != NshHeader::kMdType1 && mdtype != NshHeader::kMdType2)
    return Invalid("\"nsh(mdtype)\" must be 1 or 2");
  if (set.Has(OVS_NSH_KEY_ATTR_MD1) != (mdtype == NshHeader::kMdType1))
    return Invalid("\"nsh\" has the metadata c1 to c4 if and only if \"mdtype\" is 1");
  if (set.Has(OVS_NSH_KEY_ATTR_MD2) && mdtype != NshHeader::kMdType2)
    return Invalid("\"nsh\" metadata of type 2 needs \"mdtype=2\"");
  if (metadata.size() > kMaxMetadata || metadata.size() % 4 != 0) {
    return Invalid("\"nsh\" metadata of type 2 has " + std::to_string(metadata.size()) +
                   " bytes; it must be a multiple of 4, at most 244");
  }
  return nsh;
}

Result<NshMatch> DecodeNshMatch(Bytes key, std::optional<Bytes> mask) {
  const Result<AttributeSet> keys = AttributeSet::Read(key, kKnown, "\"nsh\" of flow key");
  if (!keys.ok()) return keys.error();
  const Result<AttributeSet> masks =
      AttributeSet::Read(mask.value_or(Bytes{}), kKnown, "\"nsh\" of flow mask");
  if (!masks.ok()) return masks.error();
  NshMatch match;
  match.key = Fields(keys.value());
  match.mask = mask.has_value() ? Fields(masks.value()) : AllOf(keys.value());
  WidenMask(match.mask);
  Status status = NoMetadata2(keys.value());
  if (status.ok()) status = NoMetadata2(masks.value());
  if (status.ok()) status = NotAlone(keys.value(), masks.value());
  if (status.ok()) status = CheckRoom(match.key);
  if (status.ok()) status = CheckContext(match);
  if (!status.ok()) return status.error();
  return match;
}

Result<NshMatch> DecodeMaskedNsh(Bytes attributes) {
  const Result<AttributeSet> read = AttributeSet::Read(attributes, kKnownMasked, "\"nsh\"");
  if (!read.ok()) return read.error();
  const AttributeSet& set = read.value();
  if (Status status = NoMetadata2(set); !status.ok()) return status.error();
  const auto half = [&](std::uint16_t type, std::size_t which) {
    const std::size_t size = set[type].size() / 2;
    return set[type].subspan(which * size, size);
  };
  NshMatch match;
  match.key = Fields(half(OVS_NSH_KEY_ATTR_BASE, 0), half(OVS_NSH_KEY_ATTR_MD1, 0));
  match.mask = Fields(half(OVS_NSH_KEY_ATTR_BASE, 1), half(OVS_NSH_KEY_ATTR_MD1, 1));
  WidenMask(match.mask);
  if (Status status = CheckRoom(match.key); !status.ok()) return status.error();
  return match;
}

std::vector<std::uint8_t> EncodeNsh(const NshFields& mask, const NshFields& values) {
  std::vector<std::uint8_t> out;
  if (mask.flags != 0 || mask.ttl != 0 || mask.mdtype != 0 || mask.np != 0 || mask.path != 0) {
    AppendValue(out, OVS_NSH_KEY_ATTR_BASE,
                ovs_nsh_key_base{values.flags, values.ttl, values.mdtype, values.np, values.path});
  }
  if (mask.context != NshFields{}.context) AppendValue(out, OVS_NSH_KEY_ATTR_MD1, values.context);
  return out;
}

}  // namespace pollux
