#include "classifier/dpcls.h"

#include <algorithm>
#include <utility>

namespace pollux {
namespace {

constexpr std::size_t kFirstBuckets = 16;
// Masks of up to so many words, all of them low, have a lookup of their own.
constexpr std::size_t kSpecialised = Megaflow::kInlineWords;

bool SameWords(const std::uint64_t* a, const std::uint64_t* b, std::size_t n) {
  std::uint64_t different = 0;
  for (std::size_t i = 0; i < n; ++i) different |= a[i] ^ b[i];
  return different == 0;
}

}  // namespace

// ------------------------------------------------------------------ subtables

Subtable::Subtable(std::shared_ptr<const PackedMask> mask)
    : mask_(std::move(mask)), lookup_(LookupFor(*mask_)), buckets_(new Buckets(kFirstBuckets)) {}

Subtable::~Subtable() { delete buckets_.load(std::memory_order_relaxed); }

Subtable::LookupFunction Subtable::LookupFor(const PackedMask& mask) {
  static constexpr auto kFunctions = []<std::size_t... kSize>(std::index_sequence<kSize...>) {
    return std::array<LookupFunction, sizeof...(kSize)>{&LookupAs<kSize>...};
  }
  (std::make_index_sequence<kSpecialised + 1>());
  return kFunctions[mask.map().high() == 0 && mask.size() <= kSpecialised ? mask.size() : 0];
}

template <std::size_t kSize>
Megaflow* Subtable::LookupAs(const Subtable& subtable, const Miniflow& key) {
  if constexpr (kSize == 0) {
    PackedWords packed;
    subtable.mask_->Pack(key, packed.data());
    return subtable.Probe<0>(packed.data());
  } else {
    std::array<std::uint64_t, kSize> packed;
    subtable.mask_->PackLow<kSize>(key, packed.data());
    return subtable.Probe<kSize>(packed.data());
  }
}

template <std::size_t kSize>
Megaflow* Subtable::Probe(const std::uint64_t* packed) const {
  const std::size_t size = kSize == 0 ? mask_->size() : kSize;
  const auto hash = static_cast<std::uint32_t>(mask_->Hash(packed, size));
  const Slot tag = TagOf(hash);
  const Buckets& buckets = *buckets_.load(std::memory_order_acquire);
  for (std::size_t i = hash & buckets.mask;; i = (i + 1) & buckets.mask) {
    const Slot slot = buckets.slots[i].load(std::memory_order_acquire);
    if (slot == kEmpty) return nullptr;
    if ((slot & kTagMask) != tag || slot == kTombstone) continue;
    Megaflow* flow = FlowIn(slot);
    const std::uint64_t* its = kSize == 0 ? flow->packed_key() : flow->inline_key.data();
    if (SameWords(its, packed, size)) return flow;
  }
}

Megaflow* Subtable::FindExact(const std::uint64_t* packed) const { return Probe<0>(packed); }

Match Subtable::Example() const {
  for (const auto& slot : buckets_.load(std::memory_order_acquire)->slots) {
    const Megaflow* flow = FlowIn(slot.load(std::memory_order_acquire));
    if (flow != nullptr) return flow->match();
  }
  return {Flow(), mask_->Unpack()};
}

void Subtable::Insert(Megaflow* flow, Qsbr& qsbr) {
  const Buckets* before = buckets_.load(std::memory_order_relaxed);
  if ((before->used + 1) * 2 > before->slots.size()) Grow(qsbr);
  Buckets& buckets = *buckets_.load(std::memory_order_relaxed);
  std::size_t i = flow->hash & buckets.mask;
  for (;; i = (i + 1) & buckets.mask) {
    const Slot old = buckets.slots[i].load(std::memory_order_relaxed);
    if (old == kTombstone) break;
    if (old == kEmpty) {
      ++buckets.used;
      break;
    }
  }
  buckets.slots[i].store(SlotOf(flow), std::memory_order_release);
  ++size_;
}

// Outgrown, or full of tombstones: readers go on in the old array until they quiesce.
void Subtable::Grow(Qsbr& qsbr) {
  Buckets* old = buckets_.load(std::memory_order_relaxed);
  std::size_t n = kFirstBuckets;
  while (n < (size_ + 1) * 4) n *= 2;
  auto* grown = new Buckets(n);
  for (const auto& from : old->slots) {
    const Slot slot = from.load(std::memory_order_relaxed);
    if (slot == kEmpty || slot == kTombstone) continue;
    std::size_t i = FlowIn(slot)->hash & grown->mask;
    while (grown->slots[i].load(std::memory_order_relaxed) != kEmpty) i = (i + 1) & grown->mask;
    grown->slots[i].store(slot, std::memory_order_relaxed);
    ++grown->used;
  }
  buckets_.store(grown, std::memory_order_release);
  qsbr.Retire([old] { delete old; });
}

void Subtable::Remove(const Megaflow* flow) {
  Buckets& buckets = *buckets_.load(std::memory_order_relaxed);
  for (std::size_t i = flow->hash & buckets.mask;; i = (i + 1) & buckets.mask) {
    const Slot found = buckets.slots[i].load(std::memory_order_relaxed);
    POLLUX_CHECK(found != kEmpty);
    if (found != SlotOf(flow)) continue;
    buckets.slots[i].store(kTombstone, std::memory_order_release);
    --size_;
    return;
  }
}

// ------------------------------------------------------------------ classifier

Dpcls::Dpcls() : subtables_(new Subtables), profile_(new PortProfile(FlowMask{})) {}

Dpcls::~Dpcls() {
  const Subtables* subtables = subtables_.load(std::memory_order_relaxed);
  for (Subtable* subtable : *subtables) delete subtable;
  delete subtables;
  delete profile_.load(std::memory_order_relaxed);
}

Subtable* Dpcls::FindSubtable(const PackedMask& mask) const {
  const Subtables& subtables = *subtables_.load(std::memory_order_relaxed);
  const auto found =
      std::find_if(subtables.begin(), subtables.end(),
                   [&](const Subtable* subtable) { return *subtable->mask() == mask; });
  return found == subtables.end() ? nullptr : *found;
}

std::shared_ptr<const PackedMask> Dpcls::Share(const PackedMask& mask) const {
  const Subtable* subtable = FindSubtable(mask);
  return subtable == nullptr ? std::make_shared<const PackedMask>(mask) : subtable->mask();
}

void Dpcls::Insert(Megaflow* flow, Qsbr& qsbr) {
  Subtable* subtable = FindSubtable(*flow->mask);
  const bool fresh = subtable == nullptr;
  if (fresh) subtable = new Subtable(flow->mask);
  subtable->Insert(flow, qsbr);
  if (fresh) {
    // Published last, with its first flow in it; the profile before it.
    const FlowMask mask = subtable->mask()->Unpack();
    if (const FlowMask& known = profile()->mask; Union(known, mask) != known)
      Publish(Union(known, mask), qsbr);
    const Subtables* old = subtables_.load(std::memory_order_relaxed);
    auto* grown = new Subtables(*old);
    grown->push_back(subtable);
    subtables_.store(grown, std::memory_order_release);
    qsbr.Retire([old] { delete old; });
  }
}

void Dpcls::Remove(Megaflow* flow, Qsbr& qsbr) {
  Subtable* subtable = FindSubtable(*flow->mask);
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

void Dpcls::Publish(const FlowMask& mask, Qsbr& qsbr) {
  const PortProfile* old = profile_.load(std::memory_order_relaxed);
  profile_.store(new PortProfile(mask), std::memory_order_release);
  qsbr.Retire([old] { delete old; });
}

void Dpcls::ShrinkProfile(Qsbr& qsbr) {
  FlowMask mask;
  for (const Subtable* subtable : *subtables_.load(std::memory_order_relaxed))
    mask = Union(mask, subtable->mask()->Unpack());
  if (mask != profile()->mask) Publish(mask, qsbr);
}

Megaflow* Dpcls::FindExact(const PackedMask& mask, const std::uint64_t* packed) const {
  const Subtable* subtable = FindSubtable(mask);
  return subtable == nullptr ? nullptr : subtable->FindExact(packed);
}

}  // namespace pollux
