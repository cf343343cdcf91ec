// Netlink attributes, the envelope of all that crosses to TypeScript: a length and a type (16 bits
// each, host order), the payload, padding to four bytes. Flags in the type are ignored.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/sync.h"

namespace pollux {

using Bytes = std::span<const std::uint8_t>;

// One attribute after the other out of a byte string: for (AttributeReader r(bytes); r.Next();)
// r.type(), r.payload().
class AttributeReader {
 public:
  explicit AttributeReader(Bytes bytes) : rest_(bytes) {}
  // False at the end, or where the rest is not a whole attribute: then broken() is true.
  bool Next();
  std::uint16_t type() const { return type_; }
  Bytes payload() const { return payload_; }
  bool broken() const { return broken_; }

 private:
  Bytes rest_;
  Bytes payload_;
  std::uint16_t type_ = 0;
  bool broken_ = false;
};

// Appends one attribute, padded to four bytes. The payload has at most 65,531 bytes.
void AppendAttribute(std::vector<std::uint8_t>& out, std::uint16_t type, Bytes payload);

// As AppendAttribute(); the payload is the value as it stands in memory, so without padding.
template <typename T>
void AppendValue(std::vector<std::uint8_t>& out, std::uint16_t type, const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  AppendAttribute(out, type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
}

inline bool IsAllZero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// What a list of attributes may contain, by type. A type without a name is unknown.
inline constexpr std::size_t kAnySize = SIZE_MAX;
struct AttributeInfo {
  const char* name = nullptr;  // In the flow language.
  std::size_t size = kAnySize;
};

// A list of attributes, each type at most once.
class AttributeSet {
 public:
  static constexpr std::size_t kTypes = 32;

  // EINVAL with a sentence if an attribute is broken, unknown, doubled or of a wrong size. `where`
  // completes the sentence: "flow key".
  static Result<AttributeSet> Read(Bytes bytes, std::span<const AttributeInfo> known,
                                   const std::string& where);

  // Bit i: type i is there.
  std::uint32_t present() const { return present_; }
  bool Has(std::uint16_t type) const { return (present_ >> type & 1) != 0; }
  // Empty if it is not there.
  Bytes operator[](std::uint16_t type) const { return payloads_[type]; }
  // The payload as a T; zero if it is not there. The table that Read() was given has its size.
  template <typename T>
  T Get(std::uint16_t type) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (!Has(type)) return value;
    POLLUX_CHECK(payloads_[type].size() == sizeof(T));
    std::memcpy(static_cast<void*>(&value), payloads_[type].data(), sizeof(T));
    return value;
  }

 private:
  std::uint32_t present_ = 0;
  std::array<Bytes, kTypes> payloads_{};
};

}  // namespace pollux
