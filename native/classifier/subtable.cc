#include "classifier/subtable.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace pollux {
namespace {

// So many flows are gone through, rather than a projection of them kept.
constexpr std::size_t kFew = 64;

std::uint32_t NextId() {
  static std::atomic<std::uint32_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Subtable::Subtable(std::shared_ptr<const PackedMask> mask)
    : mask_(std::move(mask)),
      id_(NextId()),
      buckets_(FlowBuckets::Allocate(0)),
      projections_(*mask_) {}

Subtable::~Subtable() { buckets_.Free(); }

bool Subtable::Insert(Megaflow* flow) {
  const bool full = size_ == buckets_.capacity();
  if (full) {
    const FlowBuckets grown = FlowBuckets::Allocate(buckets_.log2() + 1);
    buckets_.ForEach([&](Megaflow& its) {
      grown.Insert(&its);
      return true;
    });
    buckets_ = grown;
  }
  buckets_.Insert(flow);
  projections_.Add(*flow);
  ++size_;
  return full;
}

Unpublished<Megaflow*> Subtable::Remove(const Megaflow* flow) {
  --size_;
  projections_.Remove(*flow);
  return buckets_.Remove(flow);
}

Megaflow* Subtable::FindExact(const std::uint64_t* packed) const {
  return buckets_.Find(mask_->Hash(packed), [&](const Megaflow& flow) {
    return std::equal(packed, packed + mask_->size(), flow.packed_key());
  });
}

Megaflow* Subtable::FindWithin(const PackedMask& mask, const std::uint64_t* packed) {
  const auto all = [this](auto each) {
    buckets_.ForEach([&](const Megaflow& flow) {
      each(flow);
      return true;
    });
  };
  if (size_ > kFew && !projections_.MayHold(mask, packed, all)) return nullptr;
  Megaflow* found = nullptr;
  buckets_.ForEach([&](Megaflow& flow) {
    if (projections_.Holds(mask, packed, flow)) found = &flow;
    return found == nullptr;
  });
  return found;
}

Match Subtable::Example(FlowBuckets buckets) const {
  const Megaflow* example = nullptr;
  buckets.ForEach([&](const Megaflow& flow) {
    example = &flow;
    return false;
  });
  return example == nullptr ? Match{Flow(), mask_->Unpack()} : example->match();
}

}  // namespace pollux
