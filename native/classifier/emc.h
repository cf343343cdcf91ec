// Emc: the exact-match cache of one forwarding context.
//
// It maps whole flow keys to flows: a key that was looked up once is found again without asking any
// subtable. An entry names a megaflow's slot and the epoch it had; slots are never given back while
// the table lives, so an entry is checked on hit by comparing epochs, and a deleted flow needs no
// sweep: its entries just never hit again. Each key has two places; a new entry takes an empty or
// dead one, else the second.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "classifier/megaflow.h"

namespace pollux {

class Emc {
 public:
  static constexpr std::size_t kEntries = 8192;

  Megaflow* Lookup(const Miniflow& key, std::uint32_t hash) const {
    if (entries_.empty()) return nullptr;
    for (const std::size_t place : {First(hash), Second(hash)}) {
      const Entry& entry = entries_[place];
      if (entry.hash == hash && entry.Alive() && entry.Holds(key)) return entry.flow;
    }
    return nullptr;
  }
  void Insert(const Miniflow& key, std::uint32_t hash, Megaflow* flow) {
    const std::size_t size = key.size();
    if (size > kMaxWords || key.map.high() != 0) return;
    const std::uint32_t epoch = flow->epoch.load(std::memory_order_acquire);
    if ((epoch & 1) == 0) return;                     // Unlinked since it was found.
    if (entries_.empty()) entries_.resize(kEntries);  // Contexts that never forward pay nothing.
    Entry* target = &entries_[First(hash)];
    if (target->Alive() && !(target->hash == hash && target->Holds(key)))
      target = &entries_[Second(hash)];
    target->flow = flow;
    target->epoch = epoch;
    target->hash = hash;
    target->map = key.map.low();
    std::memcpy(target->words.data(), key.values.data(), size * sizeof(std::uint64_t));
  }

 private:
  // Longer keys are not cached, nor those with Geneve options. Three cache lines an entry, of which
  // a usual key fills less than two.
  static constexpr std::size_t kMaxWords = 21;

  struct alignas(64) Entry {
    Megaflow* flow = nullptr;
    std::uint32_t epoch = 0;
    std::uint32_t hash = 0;
    std::uint64_t map = 0;
    std::array<std::uint64_t, kMaxWords> words;

    bool Alive() const {
      return flow != nullptr && flow->epoch.load(std::memory_order_acquire) == epoch;
    }
    bool Holds(const Miniflow& key) const {
      std::uint64_t different = (map ^ key.map.low()) | key.map.high();
      const auto n = static_cast<std::size_t>(std::popcount(map));
      for (std::size_t i = 0; i < n; ++i) different |= words[i] ^ key.values[i];
      return different == 0;
    }
  };
  static_assert(sizeof(Entry) == 192);
  static std::size_t First(std::uint32_t hash) { return hash % kEntries; }
  static std::size_t Second(std::uint32_t hash) {
    return (hash >> 16 ^ hash * 0x9e3779b1u) % kEntries;
  }

  std::vector<Entry> entries_;
};

}  // namespace pollux
