#include "classifier/subtable.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace pollux {
namespace {

std::uint32_t NextId() {
  static std::atomic<std::uint32_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Subtable::Subtable(std::shared_ptr<const PackedMask> mask)
    : mask_(std::move(mask)), id_(NextId()), buckets_(FlowBuckets::Allocate(0)) {}

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
  // Their counts are far from each other, and asked for together.
  for (Coarser& one : coarser_) {
    one.hash = one.projection.HashOf(*flow);
    one.subtable->finer_.Prefetch(one.hash);
  }
  for (const Coarser& one : coarser_) one.subtable->finer_.Add(one.hash);
  ++size_;
  return full;
}

Unpublished<Megaflow*> Subtable::Remove(const Megaflow* flow) {
  --size_;
  for (const Coarser& one : coarser_) one.subtable->finer_.Remove(one.projection.HashOf(*flow));
  return buckets_.Remove(flow);
}

Megaflow* Subtable::FindExact(const std::uint64_t* packed) const {
  return buckets_.Find(mask_->Hash(packed), [&](const Megaflow& flow) {
    return std::equal(packed, packed + mask_->size(), flow.packed_key());
  });
}

void Subtable::AddCoarser(Subtable& coarse) {
  const Coarser& fresh = coarser_.emplace_back(Coarser{&coarse, {*mask_, *coarse.mask_}, 0});
  buckets_.ForEach([&](const Megaflow& flow) {
    coarse.finer_.Add(fresh.projection.HashOf(flow));
    return true;
  });
}

void Subtable::RemoveCoarser(const Subtable& coarse) {
  std::erase_if(coarser_, [&](const Coarser& one) { return one.subtable == &coarse; });
}

Megaflow* Subtable::FindWithin(const PackedMask& coarse, const std::uint64_t* packed) const {
  const Projection projection(*mask_, coarse);
  Megaflow* found = nullptr;
  buckets_.ForEach([&](Megaflow& flow) {
    if (projection.Gives(flow, packed)) found = &flow;
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
