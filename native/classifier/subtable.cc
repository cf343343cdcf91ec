#include "classifier/subtable.h"

#include <algorithm>
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

Subtable::~Subtable() { buckets().Free(); }

bool Subtable::Insert(Megaflow* flow, Qsbr& qsbr) {
  const FlowBuckets old = buckets();
  const bool full = size_ == old.capacity();
  if (full) {
    const FlowBuckets grown = FlowBuckets::Allocate(old.log2() + 1);
    old.ForEach([&](Megaflow& its) {
      grown.Insert(&its);
      return true;
    });
    buckets_.store(grown, std::memory_order_release);
    qsbr.Retire([old] { old.Free(); });
  }
  buckets().Insert(flow);
  ++size_;
  return full;
}

void Subtable::Remove(const Megaflow* flow) {
  buckets().Remove(flow);
  --size_;
}

Megaflow* Subtable::FindExact(const std::uint64_t* packed) const {
  return buckets().Find(mask_->Hash(packed), [&](const Megaflow& flow) {
    return std::equal(packed, packed + mask_->size(), flow.packed_key());
  });
}

Match Subtable::Example() const {
  const Megaflow* example = nullptr;
  buckets().ForEach([&](const Megaflow& flow) {
    example = &flow;
    return false;
  });
  return example == nullptr ? Match{Flow(), mask_->Unpack()} : example->match();
}

}  // namespace pollux
