#include "changes/match_shapes.h"

#include <linux/openvswitch.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "changes/free_fields.h"

namespace pollux {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

// Up to eight bytes, as a word with zeros behind them.
std::uint64_t LoadWord(const std::uint8_t* bytes, std::size_t size = kWord) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, size);
  return word;
}

std::vector<std::uint64_t> Words(Bytes bytes) {
  std::vector<std::uint64_t> words((bytes.size() + kWord - 1) / kWord);
  if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

std::uint64_t HashBytes(Bytes bytes) {
  std::uint64_t hash = bytes.size();
  const auto mix = [&hash](std::uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  };
  std::size_t i = 0;
  for (; i + kWord <= bytes.size(); i += kWord) mix(LoadWord(&bytes[i]));
  if (i < bytes.size()) mix(LoadWord(&bytes[i], bytes.size() - i));
  return hash;
}

}  // namespace

bool MatchShapes::Shape::Has(Bytes its_key, Bytes its_mask) const {
  if (its_key.size() != key_size || its_mask.size() != mask.size()) return false;
  std::uint64_t different = 0;
  const std::size_t whole = key_size / kWord;
  for (std::size_t i = 0; i < whole; ++i)
    different |= (LoadWord(&its_key[i * kWord]) ^ key[i]) & fixed[i];
  if (const std::size_t rest = key_size % kWord; rest != 0)
    different |= (LoadWord(&its_key[whole * kWord], rest) ^ key[whole]) & fixed[whole];
  return different == 0 && std::equal(mask.begin(), mask.end(), its_mask.begin());
}

void MatchShapes::Shape::Pack(const std::uint8_t* its_key, std::uint64_t* out) const {
  const std::size_t size = packed_mask->size();
  std::copy_n(packed_key.begin(), size, out);
  auto* bytes = reinterpret_cast<std::uint8_t*>(out);
  for (const Move& move : moves) {
    switch (move.size) {  // Copies of a size that is known are one instruction each.
      case 2:
        std::memcpy(bytes + move.to, its_key + move.from, 2);
        break;
      case 4:
        std::memcpy(bytes + move.to, its_key + move.from, 4);
        break;
      case 8:
        std::memcpy(bytes + move.to, its_key + move.from, 8);
        break;
      default:
        std::memcpy(bytes + move.to, its_key + move.from, move.size);
    }
  }
  for (std::size_t i = 0; i < size; ++i) out[i] &= packed_mask->words()[i];
}

MatchShapes::Set& MatchShapes::SetFor(Bytes mask) { return sets_[HashBytes(mask) % kSets]; }

const MatchShapes::Shape* MatchShapes::Find(Bytes key, Bytes mask) {
  if (last_ != nullptr && last_->Has(key, mask)) return last_;
  for (const auto& shape : SetFor(mask).ways) {
    if (shape != nullptr && shape->Has(key, mask)) return last_ = shape.get();
  }
  return nullptr;
}

Status MatchShapes::Pack(Bytes key, Bytes mask, Packed& out) {
  if (const Shape* shape = Find(key, mask)) {
    shape->Pack(key.data(), out.key.data());
    // in_port and recirc_id are the first word; a port number has 16 bits.
    if (std::bit_cast<std::array<std::uint32_t, 2>>(out.key[0])[0] <= UINT16_MAX) {
      if (out.mask != shape->packed_mask) out.mask = shape->packed_mask;
      out.shape = shape->number;
      return {};
    }
  }
  Result<Match> match = DecodeMatch(key, mask);
  if (!match.ok()) return std::move(match.error());
  out.mask = std::make_shared<const PackedMask>(match->mask);
  out.mask->Pack(match->key, out.key.data());
  out.shape = Learn(key, mask, match->key, out.mask);
  return {};
}

void MatchShapes::Shape::AddMoves(std::size_t from, std::size_t to_flow, std::size_t n) {
  for (std::size_t done = 0; done < n;) {
    const std::size_t place = to_flow + done;
    const std::size_t size = std::min(n - done, kWord - place % kWord);
    if (packed_mask->map().Has(place / kWord)) {
      const std::size_t to = packed_mask->map().Rank(place / kWord) * kWord + place % kWord;
      const bool goes_on = !moves.empty() && to % kWord != 0 &&
                           moves.back().from + moves.back().size == from + done &&
                           moves.back().to + moves.back().size == to;
      if (goes_on) {
        moves.back().size = static_cast<std::uint8_t>(moves.back().size + size);
      } else {
        moves.push_back({static_cast<std::uint16_t>(from + done), static_cast<std::uint16_t>(to),
                         static_cast<std::uint8_t>(size)});
      }
    }
    done += size;
  }
}

MatchShapes::Shape::Shape(Bytes its_key, Bytes its_mask, const Flow& decoded,
                          std::shared_ptr<const PackedMask> packed)
    : key_size(its_key.size()),
      key(Words(its_key)),
      mask(its_mask.begin(), its_mask.end()),
      packed_mask(std::move(packed)) {
  std::vector<std::uint8_t> ones(key_size, 0xff);
  Flow kept = decoded;
  ForEachFreeField(its_key, [&](const FreeField& field, std::size_t at) {
    std::memset(ones.data() + at, 0, field.size);
    std::memset(reinterpret_cast<std::uint8_t*>(&kept) + field.place, 0, field.size);
    AddMoves(at, field.place, field.size);
  });
  fixed = Words(ones);
  packed_mask->Pack(kept, packed_key.data());
}

bool MatchShapes::Shape::IsSound() const {
  std::vector<std::uint8_t> other(key_size);
  for (std::size_t i = 0; i < key_size; ++i) {
    const std::size_t shift = i % kWord * 8;
    other[i] = static_cast<std::uint8_t>((key[i / kWord] ^ ~fixed[i / kWord]) >> shift);
  }
  ForEachFreeField(other, [&](const FreeField& field, std::size_t at) {
    // A port number has 16 bits.
    if (field.attribute == OVS_KEY_ATTR_IN_PORT) other[at + 2] = other[at + 3] = 0;
  });
  Result<Match> decoded = DecodeMatch(other, mask);
  if (!decoded.ok() || !(PackedMask(decoded->mask) == *packed_mask)) return false;
  PackedWords expected;
  PackedWords packed;
  packed_mask->Pack(decoded->key, expected.data());
  Pack(other.data(), packed.data());
  return std::equal(packed.begin(), packed.begin() + packed_mask->size(), expected.begin());
}

std::uint64_t MatchShapes::Learn(Bytes key, Bytes mask, const Flow& decoded,
                                 const std::shared_ptr<const PackedMask>& packed_mask) {
  if (key.size() > kMaxKey) return 0;
  auto shape = std::make_unique<Shape>(key, mask, decoded, packed_mask);
  if (!shape->IsSound()) return 0;
  shape->number = next_number_++;
  last_ = shape.get();
  Set& set = SetFor(mask);
  set.ways[set.oldest] = std::move(shape);
  set.oldest = static_cast<std::uint8_t>((set.oldest + 1) % kWays);
  return last_->number;
}

}  // namespace pollux
