#include "changes/match_texts.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "changes/free_fields.h"

namespace pollux {

// What stands in front of a value, or of the end, and the value.
struct MatchTexts::Node {
  std::string literal;
  bool is_end = false;
  Kind kind = Kind::kNumber;
  std::uint8_t size = 0;
  std::uint32_t max = 0;
  Nodes next;  // Longest literal first: one may begin with another.

  // At the end: the match, with the values of the text that was learnt, and where they stand in it.
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> mask;
  std::vector<std::uint32_t> places;
  std::vector<std::uint8_t> sizes;

  bool SameStep(const Node& other) const {
    return literal == other.literal && is_end == other.is_end && kind == other.kind &&
           size == other.size && max == other.max;
  }
};

MatchTexts::MatchTexts() = default;
MatchTexts::~MatchTexts() = default;

// ------------------------------------------------------------------ values

namespace {

// The value of a hexadecimal digit; 16 or more: it is none.
constexpr auto kDigits = [] {
  std::array<std::uint8_t, 256> digits{};
  digits.fill(255);
  for (std::uint8_t i = 0; i < 10; ++i) digits['0' + i] = i;
  for (std::uint8_t i = 0; i < 6; ++i) digits['a' + i] = digits['A' + i] = 10 + i;
  return digits;
}();

class Reader {
 public:
  Reader(std::string_view text, std::size_t at) : text_(text), at_(at) {}
  std::size_t at() const { return at_; }

  bool Take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  // Digits of a base, `most` of them at most, no leading zero in decimal.
  bool Digits(std::uint32_t base, std::size_t most, std::uint64_t& value) {
    const std::size_t start = at_;
    value = 0;
    for (; at_ < text_.size() && at_ - start <= most; ++at_) {
      const std::uint8_t digit = kDigits[static_cast<std::uint8_t>(text_[at_])];
      if (digit >= base) break;
      value = value * base + digit;
    }
    const std::size_t n = at_ - start;
    return n > 0 && n <= most && (base == 16 || n == 1 || text_[start] != '0');
  }

  bool Number(std::uint32_t max, std::uint64_t& value) {
    if (text_.substr(at_).starts_with("0x")) {
      at_ += 2;
      if (!Digits(16, 8, value)) return false;
    } else if (!Digits(10, 10, value)) {
      return false;
    }
    return value <= max;
  }

  bool Mac(std::uint8_t* out) {
    std::uint64_t group = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      if ((i > 0 && !Take(':')) || !Digits(16, 2, group)) return false;
      out[i] = static_cast<std::uint8_t>(group);
    }
    return true;
  }

  bool Ipv4(std::uint8_t* out) {
    std::uint64_t octet = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      if ((i > 0 && !Take('.')) || !Digits(10, 3, octet) || octet > UINT8_MAX) return false;
      out[i] = static_cast<std::uint8_t>(octet);
    }
    return true;
  }

  // Groups of digits with at most one "::"; not the notation with a dotted quad at its end.
  bool Ipv6(std::uint8_t* out) {
    constexpr std::size_t kSize = 16;
    constexpr std::size_t kNoGap = SIZE_MAX;
    std::size_t filled = 0;
    std::size_t gap = kNoGap;
    const auto ends = [this] {
      return at_ == text_.size() ||
             (kDigits[static_cast<std::uint8_t>(text_[at_])] >= 16 && text_[at_] != ':');
    };
    if (text_.substr(at_).starts_with("::")) {
      at_ += 2;
      gap = 0;
    }
    std::uint64_t group = 0;
    while (!ends() || (filled == 0 && gap == kNoGap)) {
      if (filled == kSize || !Digits(16, 4, group)) return false;
      out[filled++] = static_cast<std::uint8_t>(group >> 8);
      out[filled++] = static_cast<std::uint8_t>(group);
      if (ends()) break;
      if (!Take(':')) return false;
      if (Take(':')) {
        if (gap != kNoGap) return false;
        gap = filled;
      } else if (ends()) {
        return false;
      }
    }
    if (gap == kNoGap) return filled == kSize;
    if (filled > kSize - 2) return false;  // "::" stands for a group at least.
    std::copy_backward(out + gap, out + filled, out + kSize);
    std::fill(out + gap, out + gap + (kSize - filled), std::uint8_t{0});
    return true;
  }

 private:
  const std::string_view text_;
  std::size_t at_;
};

}  // namespace

bool MatchTexts::ReadValue(std::string_view text, std::size_t& at, const Node& node,
                           ValueBytes& out) {
  Reader reader(text, at);
  std::uint64_t number = 0;
  bool read = false;
  switch (node.kind) {
    case Kind::kNumber:
      read = reader.Number(node.max, number);
      for (std::size_t i = 0; i < node.size; ++i)
        out[i] = static_cast<std::uint8_t>(number >> 8 * (node.size - 1u - i));
      break;
    case Kind::kNumberLittle:
      read = reader.Number(node.max, number);
      std::memcpy(out.data(), &number, sizeof number);
      break;
    case Kind::kMac:
      read = reader.Mac(out.data());
      break;
    case Kind::kIpv4:
      read = reader.Ipv4(out.data());
      break;
    case Kind::kIpv6:
      read = reader.Ipv6(out.data());
      break;
  }
  at = reader.at();
  return read;
}

// ------------------------------------------------------------------- texts

std::optional<MatchTexts::Encoded> MatchTexts::Find(std::string_view text) {
  std::array<ValueBytes, kMaxValues> values;
  std::size_t n_values = 0;
  std::size_t at = 0;
  for (Nodes* nodes = &roots_;;) {
    Node* step = nullptr;
    for (const auto& node : *nodes) {
      if (text.compare(at, node->literal.size(), node->literal) != 0) continue;
      std::size_t behind = at + node->literal.size();
      if (node->is_end ? behind != text.size() : !ReadValue(text, behind, *node, values[n_values]))
        continue;
      step = node.get();
      at = behind;
      break;
    }
    if (step == nullptr) return std::nullopt;
    if (!step->is_end) {
      ++n_values;
      nodes = &step->next;
      continue;
    }
    // What was there from the text before is overwritten as a whole.
    for (std::size_t i = 0; i < n_values; ++i)
      std::memcpy(step->key.data() + step->places[i], values[i].data(), step->sizes[i]);
    return Encoded{step->key, step->mask};
  }
}

void MatchTexts::Learn(std::string_view text, std::vector<Value> values, Bytes key, Bytes mask) {
  std::vector<bool> is_free(key.size(), false);
  ForEachFreeField(key, [&](const FreeField& field, std::size_t at) {
    std::fill_n(is_free.begin() + static_cast<std::ptrdiff_t>(at), field.size, true);
  });
  std::erase_if(values, [&](const Value& value) {
    const std::size_t end = std::size_t{value.at} + value.size;
    if (value.size == 0 || value.size > sizeof(ValueBytes) || end > key.size()) return true;
    for (std::size_t i = value.at; i < end; ++i) {
      if (!is_free[i]) return true;
    }
    return false;
  });
  if (text.size() > kMaxText || values.size() > kMaxValues) return;
  if (texts_ == kMaxTexts) {
    roots_.clear();
    texts_ = 0;
  }

  Nodes* nodes = &roots_;
  const auto go = [&nodes](Node step) {
    const auto same = std::find_if(nodes->begin(), nodes->end(),
                                   [&](const auto& node) { return node->SameStep(step); });
    if (same != nodes->end()) return same->get();
    const auto place = std::find_if(nodes->begin(), nodes->end(), [&](const auto& node) {
      return node->literal.size() < step.literal.size();
    });
    return nodes->insert(place, std::make_unique<Node>(std::move(step)))->get();
  };
  std::size_t at = 0;
  for (const Value& value : values) {
    if (value.start < at || value.end < value.start || value.end > text.size()) return;
    Node step;
    step.literal = text.substr(at, value.start - at);
    step.kind = value.kind;
    step.size = value.size;
    step.max = value.max;
    nodes = &go(std::move(step))->next;
    at = value.end;
  }
  Node end;
  end.literal = text.substr(at);
  end.is_end = true;
  Node* leaf = go(std::move(end));
  if (!leaf->key.empty()) return;
  leaf->key.assign(key.begin(), key.end());
  leaf->mask.assign(mask.begin(), mask.end());
  for (const Value& value : values) {
    leaf->places.push_back(value.at);
    leaf->sizes.push_back(value.size);
  }
  ++texts_;
}

}  // namespace pollux
