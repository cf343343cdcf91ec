#include "classifier/dpcls.h"

#include <algorithm>

namespace pollux {
namespace {

constexpr std::size_t kFirstBuckets = 16;

// The words of `key` that `mask` looks at, masked; returns how many.
std::size_t MaskWords(const Miniflow& key, const PackedMask& mask, std::uint64_t* out) {
  std::size_t n = 0;
  for (std::uint64_t rest = mask.map; rest != 0; rest &= rest - 1) {
    out[n] = key.Word(static_cast<std::size_t>(std::countr_zero(rest))) & mask.values[n];
    ++n;
  }
  return n;
}

}  // namespace

Subtable::Subtable(const FlowMask& mask)
    : mask_(mask), packed_(Compress(mask)), buckets_(new Buckets(kFirstBuckets)) {}

Subtable::~Subtable() { delete buckets_.load(std::memory_order_relaxed); }

Megaflow* Subtable::Tombstone() {
  static Megaflow tombstone;
  return &tombstone;
}

std::uint32_t Subtable::HashOf(const Flow& key) const {
  const FlowWords words = ToWords(key);
  std::array<std::uint64_t, kFlowWords> masked;
  std::size_t n = 0;
  for (std::uint64_t rest = packed_.map; rest != 0; rest &= rest - 1) {
    masked[n] = words[static_cast<std::size_t>(std::countr_zero(rest))] & packed_.values[n];
    ++n;
  }
  return HashWords(masked.data(), n, packed_.map);
}

bool Subtable::Matches(const Megaflow& flow, const std::uint64_t* masked_words) const {
  const FlowWords words = ToWords(flow.match.key);
  std::size_t n = 0;
  for (std::uint64_t rest = packed_.map; rest != 0; rest &= rest - 1) {
    if (words[static_cast<std::size_t>(std::countr_zero(rest))] != masked_words[n++]) return false;
  }
  return true;
}

Megaflow* Subtable::Lookup(const Miniflow& key) const {
  std::array<std::uint64_t, kFlowWords> masked;
  const std::size_t n = MaskWords(key, packed_, masked.data());
  const std::uint32_t hash = HashWords(masked.data(), n, packed_.map);
  const Buckets& buckets = *buckets_.load(std::memory_order_acquire);
  for (std::size_t i = hash & buckets.mask;; i = (i + 1) & buckets.mask) {
    Megaflow* flow = buckets.slots[i].load(std::memory_order_acquire);
    if (flow == nullptr) return nullptr;
    if (flow != Tombstone() && flow->hash == hash && Matches(*flow, masked.data())) return flow;
  }
}

Megaflow* Subtable::FindExact(const Flow& masked_key) const { return Lookup(Compress(masked_key)); }

void Subtable::Insert(Megaflow* flow, Qsbr& qsbr) {
  Buckets* buckets = buckets_.load(std::memory_order_relaxed);
  if ((buckets->used + 1) * 2 > buckets->slots.size()) {
    // Outgrown, or full of tombstones: readers go on in the old array until they quiesce.
    std::size_t n = kFirstBuckets;
    while (n < (size_ + 1) * 4) n *= 2;
    auto* grown = new Buckets(n);
    for (const auto& slot : buckets->slots) {
      Megaflow* old = slot.load(std::memory_order_relaxed);
      if (old == nullptr || old == Tombstone()) continue;
      std::size_t i = old->hash & grown->mask;
      while (grown->slots[i].load(std::memory_order_relaxed) != nullptr) i = (i + 1) & grown->mask;
      grown->slots[i].store(old, std::memory_order_relaxed);
      ++grown->used;
    }
    buckets_.store(grown, std::memory_order_release);
    qsbr.Retire([buckets] { delete buckets; });
    buckets = grown;
  }
  std::size_t i = flow->hash & buckets->mask;
  for (;; i = (i + 1) & buckets->mask) {
    Megaflow* old = buckets->slots[i].load(std::memory_order_relaxed);
    if (old == Tombstone()) break;
    if (old == nullptr) {
      ++buckets->used;
      break;
    }
  }
  buckets->slots[i].store(flow, std::memory_order_release);
  ++size_;
}

void Subtable::Remove(const Megaflow* flow) {
  Buckets& buckets = *buckets_.load(std::memory_order_relaxed);
  for (std::size_t i = flow->hash & buckets.mask;; i = (i + 1) & buckets.mask) {
    Megaflow* found = buckets.slots[i].load(std::memory_order_relaxed);
    POLLUX_CHECK(found != nullptr);
    if (found == flow) {
      buckets.slots[i].store(Tombstone(), std::memory_order_release);
      --size_;
      return;
    }
  }
}

Dpcls::Dpcls() : subtables_(new Subtables) {}

Dpcls::~Dpcls() {
  const Subtables* subtables = subtables_.load(std::memory_order_relaxed);
  for (Subtable* subtable : *subtables) delete subtable;
  delete subtables;
}

Subtable* Dpcls::FindSubtable(const FlowMask& mask) const {
  const Subtables& subtables = *subtables_.load(std::memory_order_relaxed);
  const auto found =
      std::find_if(subtables.begin(), subtables.end(),
                   [&](const Subtable* subtable) { return subtable->mask() == mask; });
  return found == subtables.end() ? nullptr : *found;
}

void Dpcls::Insert(Megaflow* flow, Qsbr& qsbr) {
  Subtable* subtable = FindSubtable(flow->match.mask);
  const bool fresh = subtable == nullptr;
  if (fresh) subtable = new Subtable(flow->match.mask);
  flow->hash = subtable->HashOf(flow->match.key);
  subtable->Insert(flow, qsbr);
  if (fresh) {
    // Published last, with its first flow in it.
    const Subtables* old = subtables_.load(std::memory_order_relaxed);
    auto* grown = new Subtables(*old);
    grown->push_back(subtable);
    subtables_.store(grown, std::memory_order_release);
    qsbr.Retire([old] { delete old; });
  }
}

void Dpcls::Remove(Megaflow* flow, Qsbr& qsbr) {
  Subtable* subtable = FindSubtable(flow->match.mask);
  POLLUX_CHECK(subtable != nullptr);
  subtable->Remove(flow);
  if (subtable->size() > 0) return;
  const Subtables* old = subtables_.load(std::memory_order_relaxed);
  auto* shrunk = new Subtables(*old);
  std::erase(*shrunk, subtable);
  subtables_.store(shrunk, std::memory_order_release);
  qsbr.Retire([old, subtable] {
    delete old;
    delete subtable;
  });
}

Megaflow* Dpcls::FindExact(const Match& match) const {
  const Subtable* subtable = FindSubtable(match.mask);
  return subtable == nullptr ? nullptr : subtable->FindExact(match.key);
}

}  // namespace pollux
