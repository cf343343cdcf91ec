#include "flow/attributes.h"

#include "packet/headers.h"

namespace pollux {
namespace {

constexpr std::size_t kAttributeHeader = 4;
constexpr std::uint16_t kTypeMask = 0x3fff;  // The two highest bits are flags: nested, byte order.

constexpr std::size_t Align(std::size_t n) { return (n + 3) & ~std::size_t{3}; }

}  // namespace

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

Result<AttributeSet> AttributeSet::Read(Bytes bytes, std::span<const AttributeInfo> known,
                                        const std::string& where) {
  POLLUX_CHECK(known.size() <= kTypes);
  AttributeSet set;
  AttributeReader reader(bytes);
  while (reader.Next()) {
    const std::uint16_t type = reader.type();
    if (type >= known.size() || known[type].name == nullptr)
      return Invalid("unknown attribute " + std::to_string(type) + " in " + where);
    const AttributeInfo& info = known[type];
    const auto name = [&] {
      return std::string("\"").append(info.name).append("\" in ").append(where);
    };
    if (set.Has(type)) return Invalid("duplicate " + name());
    if (info.size != kAnySize && reader.payload().size() != info.size) {
      return Invalid(name() + " has " + std::to_string(reader.payload().size()) +
                     " bytes instead of " + std::to_string(info.size));
    }
    set.present_ |= std::uint32_t{1} << type;
    set.payloads_[type] = reader.payload();
  }
  if (reader.broken()) return Invalid("malformed attribute in " + where);
  return set;
}

}  // namespace pollux
