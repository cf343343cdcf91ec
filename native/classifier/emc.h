// Emc: the exact-match cache of one forwarding context.
//
// It maps packets, under the union of the masks of their port's flows (port_profile.h), to flows.
// An entry names a megaflow's slot and the epoch it had, and the profile its key was made under. So
// nothing is ever swept: the entry of a flow that is gone, or of a union that has changed, just
// does not hit again, and its place goes to the next.
//
// Entries stand in sets of four. A set's tags, bits of the hashes, lie in an array of their own,
// eight bytes a set: a lookup that misses hardly ever touches an entry, and one that hits touches
// one. When there are many, a batch goes through in steps, so that the memory for all its packets
// is on its way at once.
//
// Replacement gives a second chance. A hit marks the entry as used. A new key takes a free place of
// its set, or that of an entry which is not marked; if all are, the marks are taken away and one of
// them goes with a probability of one in `insert_inv_prob`. So what a scan of addresses brings in
// is replaced by the rest of the scan. If many keys find only marked entries, the cache grows, up
// to a million entries; those of the old table move over when they are hit, and a few with every
// insert.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/pages.h"
#include "classifier/megaflow.h"
#include "classifier/port_profile.h"

namespace pollux {

// Numbers nobody outside of the process can guess: keys cannot be made to collide on purpose.
const std::array<std::uint64_t, 16>& HashSecrets();

// One table of the cache, for keys of `kWords` words, an even number.
template <std::size_t kWords>
class EmcTable {
 public:
  using Key = std::array<std::uint64_t, kWords>;
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  static constexpr std::size_t kFirstSize = 32'768;  // Entries: in narrow tables, 2 MiB.
  static constexpr std::size_t kMaxSize = std::size_t{1} << 20;
  static constexpr std::size_t kMaxBatch = 32;
  // So many entries lie in the second cache of a core.
  static constexpr std::size_t kNear = 4'096;

  EmcTable() : secrets_(HashSecrets()) {}
  ~EmcTable() {
    Free(table_);
    Free(old_);
  }
  EmcTable(const EmcTable&) = delete;
  EmcTable& operator=(const EmcTable&) = delete;

  std::size_t size() const { return table_.size(); }

  std::uint64_t HashOf(const Key& key, KeyId id) const { return HashOf(key, id, PairsOf(id)); }
  // The same, where the number of pairs is known beforehand.
  std::uint64_t HashOf(const Key& key, KeyId id, std::size_t pairs) const {
    __extension__ using Wide = unsigned __int128;
    std::uint64_t hash = id;
    // The products do not wait for each other.
    ForPairs(pairs, [&](std::size_t i) {
      const Wide product =
          static_cast<Wide>(key[i] ^ secrets_[i] ^ id) * (key[i + 1] ^ secrets_[i + 1]);
      hash ^= static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    });
    return hash;
  }

  // --- Lookups.

  // Fills `flows` for `n` keys, nullptr where there is none; those without a key are passed over,
  // with what stands there. `usual`: the id that nearly all have, of kPairs pairs. While the
  // entries are near, key by key; else in steps, so that the memory for all keys is on its way at
  // once.
  template <std::size_t kPairs>
  void LookupBatch(std::size_t n, const Key* keys, const std::uint64_t* hashes, const KeyId* ids,
                   KeyId usual, Megaflow** flows) {
    if (filled_ > kNear) return LookupInSteps(n, keys, hashes, ids, flows);
    const Table table = table_;
    if (table.entries == nullptr) usual = kNoKey;
    for (std::size_t i = 0; i < n; ++i) {
      if (ids[i] == kNoKey) [[unlikely]]
        continue;
      if (ids[i] == usual) [[likely]] {
        const std::uint32_t place = table.Find(hashes[i]);
        if (place != kNowhere) [[likely]] {
          const Entry& entry = table.entries[place];
          if (entry.Holds(keys[i], usual, kPairs) && entry.Alive()) [[likely]] {
            table.Mark(place);
            flows[i] = entry.flow;
            continue;
          }
        }
      }
      flows[i] = Lookup(keys[i], hashes[i], ids[i]);
    }
  }

  [[gnu::noinline]] Megaflow* Lookup(const Key& key, std::uint64_t hash, KeyId id) {
    const std::uint32_t place = table_.PlaceOf(key, hash, id);
    if (place != kNowhere && table_.entries[place].Alive()) {
      table_.Mark(place);
      return table_.entries[place].flow;
    }
    if (old_.entries == nullptr) [[likely]]
      return nullptr;
    const std::uint32_t old_place = old_.PlaceOf(key, hash, id);
    if (old_place == kNowhere || !old_.entries[old_place].Alive()) return nullptr;
    Megaflow* flow = old_.entries[old_place].flow;
    Put(key, hash, id, flow);
    MoveSome();
    return flow;
  }
  // Without leaving a trace: no mark, nothing moved.
  const Megaflow* Peek(const Key& key, KeyId id) const {
    const std::uint64_t hash = HashOf(key, id);
    for (const Table* table : {&table_, &old_}) {
      const std::uint32_t place = table->PlaceOf(key, hash, id);
      if (place != kNowhere && table->entries[place].Alive()) return table->entries[place].flow;
    }
    return nullptr;
  }

  // `inv_prob`: 0 inserts nothing. `random`: 32 fresh bits.
  void Insert(const Key& key, std::uint64_t hash, KeyId id, Megaflow* flow, std::uint32_t inv_prob,
              std::uint32_t random) {
    if (inv_prob == 0) return;
    if (table_.entries == nullptr) table_ = Allocate(kFirstSize);
    if (table_.entries == nullptr) return;
    if (old_.entries != nullptr) MoveSome();
    if (Put(key, hash, id, flow)) return;
    // The set is full of entries in use.
    if (++crowded_ > table_.size() / 4 && table_.size() < kMaxSize && old_.entries == nullptr) {
      Grow();
      Put(key, hash, id, flow);
      return;
    }
    table_.TakeMarks(hash);
    if (inv_prob != 1 && random % inv_prob != 0) return;
    table_.Store(table_.SetOf(hash) + (random >> 16) % kWays, key, hash, id, flow);
  }

 private:
  static constexpr std::size_t kWays = 4;
  using Tag = std::uint16_t;
  static constexpr Tag kInUse = 1;  // 0: a place nobody has taken.
  static constexpr Tag kMarked = 2;

  struct alignas(64) Entry {
    Key key;
    Megaflow* flow;
    std::uint32_t epoch;
    KeyId id;

    bool Alive() const { return flow->epoch.load(std::memory_order_acquire) == epoch; }
    bool Holds(const Key& other, KeyId its_id) const {
      return Holds(other, its_id, PairsOf(its_id));
    }
    bool Holds(const Key& other, KeyId its_id, std::size_t pairs) const {
      if (id != its_id) return false;
      std::uint64_t different = 0;
      ForPairs(pairs, [&](std::size_t i) {
        different |= (key[i] ^ other[i]) | (key[i + 1] ^ other[i + 1]);
      });
      return different == 0;
    }
  };
  static_assert(sizeof(Entry) == 64 * ((kWords * 8 + 16 + 63) / 64));

  struct Table {
    std::size_t set_mask = 0;
    Tag* tags = nullptr;
    Entry* entries = nullptr;

    std::size_t size() const { return entries == nullptr ? 0 : (set_mask + 1) * kWays; }
    std::size_t SetOf(std::uint64_t hash) const { return (hash & set_mask) * kWays; }
    Tag* TagsOf(std::uint64_t hash) const { return tags + SetOf(hash); }
    static Tag TagOf(std::uint64_t hash) {
      return static_cast<Tag>(static_cast<Tag>(hash >> 48) << 2 | kInUse);
    }

    // The first place of the set that has the hash's tag.
    std::uint32_t Find(std::uint64_t hash) const {
      // Four tags at once: where the difference has a zero, its lanes' top bit stays after the
      // subtraction.
      constexpr std::uint64_t kOnes = 0x0001'0001'0001'0001;
      std::uint64_t lanes;
      std::memcpy(&lanes, TagsOf(hash), sizeof lanes);
      const std::uint64_t different = (lanes & ~(kOnes * kMarked)) ^ kOnes * TagOf(hash);
      const std::uint64_t zeros = (different - kOnes) & ~different & kOnes << 15;
      if (zeros == 0) return kNowhere;
      const auto lane = static_cast<std::size_t>(std::countr_zero(zeros)) / 16;
      return static_cast<std::uint32_t>(
          SetOf(hash) + (std::endian::native == std::endian::little ? lane : kWays - 1 - lane));
    }
    // Where the key is; the entry may be dead.
    std::uint32_t PlaceOf(const Key& key, std::uint64_t hash, KeyId id) const {
      if (entries == nullptr) return kNowhere;
      const std::uint32_t place = Find(hash);
      if (place == kNowhere || entries[place].Holds(key, id)) return place;
      return PlaceBehind(place, key, hash, id);
    }
    // The rare case: another key of the same tag stands at `place`.
    std::uint32_t PlaceBehind(std::uint32_t place, const Key& key, std::uint64_t hash,
                              KeyId id) const {
      for (std::size_t i = place + 1; i < SetOf(hash) + kWays; ++i) {
        if ((tags[i] & ~kMarked) == TagOf(hash) && entries[i].Holds(key, id))
          return static_cast<std::uint32_t>(i);
      }
      return kNowhere;
    }
    void Mark(std::uint32_t place) const {
      if ((tags[place] & kMarked) == 0) tags[place] |= kMarked;
    }
    void TakeMarks(std::uint64_t hash) {
      for (std::size_t i = 0; i < kWays; ++i) TagsOf(hash)[i] &= static_cast<Tag>(~kMarked);
    }
    void Store(std::size_t place, const Key& key, std::uint64_t hash, KeyId id, Megaflow* flow) {
      const std::uint32_t epoch = flow->epoch.load(std::memory_order_acquire);
      if ((epoch & 1) == 0) return;  // Unlinked since it was found.
      tags[place] = TagOf(hash);
      Entry& entry = entries[place];
      std::copy_n(key.begin(), 2 * PairsOf(id), entry.key.begin());
      entry.flow = flow;
      entry.epoch = epoch;
      entry.id = id;
    }
  };

  void LookupInSteps(std::size_t n, const Key* keys, const std::uint64_t* hashes, const KeyId* ids,
                     Megaflow** flows) {
    POLLUX_DCHECK(n <= kMaxBatch);
    std::array<std::uint32_t, kMaxBatch> places;
    std::array<std::uint32_t, kMaxBatch> epochs;
    for (std::size_t i = 0; i < n; ++i) __builtin_prefetch(table_.TagsOf(hashes[i]));
    for (std::size_t i = 0; i < n; ++i) {
      places[i] = table_.Find(hashes[i]);
      if (places[i] != kNowhere) __builtin_prefetch(&table_.entries[places[i]]);
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (ids[i] == kNoKey) [[unlikely]]
        continue;
      flows[i] = nullptr;
      if (places[i] == kNowhere) continue;
      const Entry& entry = table_.entries[places[i]];
      if (!entry.Holds(keys[i], ids[i])) continue;
      flows[i] = entry.flow;
      epochs[i] = entry.epoch;
      __builtin_prefetch(entry.flow);
    }
    // A set may have the key behind another one of the same tag; the old table may have it.
    for (std::size_t i = 0; i < n; ++i) {
      if (ids[i] == kNoKey) [[unlikely]]
        continue;
      if (flows[i] != nullptr && flows[i]->epoch.load(std::memory_order_acquire) == epochs[i])
          [[likely]] {
        table_.Mark(places[i]);
      } else {
        flows[i] = Lookup(keys[i], hashes[i], ids[i]);
      }
    }
  }

  static constexpr std::size_t kBytesPerEntry = sizeof(Entry) + sizeof(Tag);
  static Table Allocate(std::size_t size) {
    auto* memory = static_cast<std::uint8_t*>(MapPages(size * kBytesPerEntry));
    if (memory == nullptr) return {};
    return {size / kWays - 1, reinterpret_cast<Tag*>(memory),
            reinterpret_cast<Entry*>(memory + size * sizeof(Tag))};
  }
  static void Free(Table& table) {
    if (table.tags != nullptr) UnmapPages(table.tags, table.size() * kBytesPerEntry);
    table = {};
  }

  // False: every entry of the set is alive and marked.
  bool Put(const Key& key, std::uint64_t hash, KeyId id, Megaflow* flow) {
    std::size_t place = table_.PlaceOf(key, hash, id);
    const std::size_t set = table_.SetOf(hash);
    for (std::size_t i = set; i < set + kWays && place == kNowhere; ++i) {
      if (table_.tags[i] == 0 || !table_.entries[i].Alive()) place = i;
    }
    for (std::size_t i = set; i < set + kWays && place == kNowhere; ++i) {
      if ((table_.tags[i] & kMarked) == 0) place = i;
    }
    if (place == kNowhere) return false;
    if (table_.tags[place] == 0) ++filled_;
    table_.Store(place, key, hash, id, flow);
    return true;
  }

  void Grow() {
    Table grown = Allocate(std::min(4 * table_.size(), kMaxSize));
    crowded_ = 0;
    if (grown.entries == nullptr) return;
    old_ = std::exchange(table_, grown);
    filled_ = 0;
    moved_ = 0;
  }

  // A few entries of the old table.
  void MoveSome() {
    for (std::size_t n = 0; n < 4 * kWays && old_.entries != nullptr; ++n, ++moved_) {
      if (moved_ == old_.size()) {
        Free(old_);
        return;
      }
      const Entry& entry = old_.entries[moved_];
      if (old_.tags[moved_] == 0 || !entry.Alive()) continue;
      Put(entry.key, HashOf(entry.key, entry.id), entry.id, entry.flow);
    }
  }

  const std::array<std::uint64_t, 16>& secrets_;
  Table table_;
  Table old_;                // Being left; empty most of the time.
  std::size_t moved_ = 0;    // Entries of it that were looked at.
  std::size_t filled_ = 0;   // Places that were ever taken.
  std::size_t crowded_ = 0;  // Keys that found their set full of entries in use, since it grew.
};

class Emc {
 public:
  static constexpr std::size_t kWideWords = 14;
  using Narrow = EmcTable<kHeaderKeyWords>;
  using Wide = EmcTable<kWideWords>;

  Narrow narrow;  // Keys of up to six words: HeaderKeys, and packed keys of most masks.
  Wide wide;      // Packed keys of up to fourteen words: IPv6, mostly.
};

}  // namespace pollux
