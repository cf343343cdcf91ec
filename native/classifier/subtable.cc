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
    : mask_(std::move(mask)), id_(NextId()), buckets_(FlowBuckets::Allocate(0)) {
  for (std::size_t i = 0; i < mask_->size(); ++i)
    common_.push_back({mask_->place(i), mask_->word(i)});
}

Subtable::~Subtable() { buckets_.Free(); }

bool Subtable::Insert(Megaflow* flow) {
  const bool full = size_ == buckets_.capacity();
  if (full) {
    const FlowBuckets grown = FlowBuckets::Allocate(buckets_.log2() + 1);
    // A time to forget those that are gone.
    for (Common& word : common_) word = {word.place, word.mask};
    buckets_.ForEach([&](Megaflow& its) {
      grown.Insert(&its);
      AddToCommon(its);
      return true;
    });
    buckets_ = grown;
  }
  buckets_.Insert(flow);
  AddToCommon(*flow);
  // Their counts are far from each other, and asked for together.
  for (View& view : views_) {
    view.hash = view.projection.HashOf(*flow);
    view.keys.Prefetch(view.hash);
  }
  for (View& view : views_) view.keys.Add(view.hash);
  ++size_;
  return full;
}

Unpublished<Megaflow*> Subtable::Remove(const Megaflow* flow) {
  --size_;
  for (View& view : views_) view.keys.Remove(view.projection.HashOf(*flow));
  return buckets_.Remove(flow);
}

Megaflow* Subtable::FindExact(const std::uint64_t* packed) const {
  return buckets_.Find(mask_->Hash(packed), [&](const Megaflow& flow) {
    return std::equal(packed, packed + mask_->size(), flow.packed_key());
  });
}

void Subtable::AddToCommon(const Megaflow& flow) {
  const std::uint64_t* word = flow.packed_key();
  for (Common& common : common_) {
    common.all &= *word;
    common.any |= *word++;
  }
}

const Megaflow* Subtable::FindOverlap(const SpreadKey& other) {
  std::uint64_t told_apart = 0;
  std::uint64_t ours_alone = 0;
  for (const Common& word : common_) {
    const std::uint64_t key = other.key[word.place];
    const std::uint64_t mask = other.mask[word.place];
    told_apart |= word.mask & mask & ((word.all & ~key) | (key & ~word.any));
    ours_alone |= word.mask & ~mask;
  }
  if (told_apart != 0 || ours_alone == 0) return nullptr;
  const Projection projection(*mask_, other);
  if (View* view = ViewUnder(projection)) {
    if (!view->keys.Contains(projection.HashOf(other))) return nullptr;
  }
  const Megaflow* found = nullptr;
  buckets_.ForEach([&](const Megaflow& flow) {
    if (projection.Agree(flow, other)) found = &flow;
    return found == nullptr;
  });
  return found;
}

Subtable::View* Subtable::ViewUnder(const Projection& projection) {
  for (View& view : views_) {
    if (view.projection == projection) return &view;
  }
  if (size_ <= kFewFlows || views_.size() == kMaxViews) return nullptr;
  View& fresh = views_.emplace_back(View{projection, {}});
  buckets_.ForEach([&](const Megaflow& flow) {
    fresh.keys.Add(projection.HashOf(flow));
    return true;
  });
  return &fresh;
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
