// MatchTexts: matches as text, read by example.
//
// What the text of a match means is known above, where the flow language lives; it is rich, and
// reading it is slow. But texts that come by the thousand are alike: between the numbers and
// addresses that differ stands the same, character for character. So a text that was read above is
// *learnt*, with the places of its values and what they are in the netlink key; and a text that
// differs from it in these values alone is read here, in one go.
//
// Only values of free fields (free_fields.h) may differ, written plainly: decimal without leading
// zeros or hexadecimal behind "0x", addresses as anybody writes them. Everything else must be as it
// was learnt. So a text that is found means what it would mean above; one that is not found may
// mean anything, and is to be read there.
//
// Texts that were learnt form a tree: what stands between two values, and what may come behind it.
// For one thread. When there are too many, all are forgotten.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/attributes.h"

namespace pollux {

class MatchTexts {
 public:
  enum class Kind : std::uint8_t { kNumber, kNumberLittle, kMac, kIpv4, kIpv6 };
  // A value in a text: from `start` to `end`, and where it stands in the key, in so many bytes. A
  // number is at most `max`.
  struct Value {
    std::uint32_t start;
    std::uint32_t end;
    std::uint32_t at;
    Kind kind;
    std::uint8_t size;
    std::uint32_t max;
  };
  // Valid until the next call.
  struct Encoded {
    Bytes key;
    Bytes mask;
  };

  MatchTexts();
  ~MatchTexts();

  std::optional<Encoded> Find(std::string_view text);
  // Values that are not of free fields belong to the text. In the order of the text.
  void Learn(std::string_view text, std::vector<Value> values, Bytes key, Bytes mask);

 private:
  struct Node;
  using Nodes = std::vector<std::unique_ptr<Node>>;
  static constexpr std::size_t kMaxValues = 32;
  static constexpr std::size_t kMaxText = 4096;
  static constexpr std::size_t kMaxTexts = 1024;
  // A value as it stands in a key; its first bytes.
  using ValueBytes = std::array<std::uint8_t, 16>;

  // Moves `at` behind a value; false: there is none.
  static bool ReadValue(std::string_view text, std::size_t& at, const Node& node, ValueBytes& out);

  Nodes roots_;
  std::size_t texts_ = 0;
};

}  // namespace pollux
