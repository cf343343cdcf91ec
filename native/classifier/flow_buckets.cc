#include "classifier/flow_buckets.h"

#include <memory>
#include <new>

namespace pollux {

constinit FlowBuckets::None FlowBuckets::none{};

FlowBuckets FlowBuckets::Allocate(unsigned log2) {
  const std::size_t size = std::size_t{1} << log2;
  const std::size_t bytes = FilterBytes(log2) + size * sizeof(Bucket);
  const FlowBuckets made(
      reinterpret_cast<std::uintptr_t>(::operator new (bytes, std::align_val_t{kAlign})) | log2);
  std::uninitialized_value_construct_n(made.filter(), size);
  std::uninitialized_value_construct_n(made.buckets(), size);
  return made;
}

void FlowBuckets::Free() const {
  if (*this != FlowBuckets()) ::operator delete (filter(), std::align_val_t{kAlign});
}

void FlowBuckets::Insert(Megaflow* flow) const {
  const std::size_t home = Home(flow->hash);
  for (std::size_t i = home;; i = Next(i)) {
    Bucket& bucket = buckets()[i];
    const std::uint64_t tags = bucket.tags.load(std::memory_order_relaxed);
    std::size_t way = 0;
    while (way < kWays && (tags >> 8 * way & 0xff) != 0) ++way;
    if (way == kWays) {
      if (tags < kManyPassed) bucket.tags.store(tags + kOnePassed, std::memory_order_release);
      continue;
    }
    bucket.flows[way].Publish(flow);
    bucket.tags.store(tags | TagOf(flow->hash) << 8 * way, std::memory_order_release);
    break;
  }
  std::atomic<std::uint64_t>& word = filter()[home];
  word.store(word.load(std::memory_order_relaxed) | FilterBits(flow->hash),
             std::memory_order_release);
}

Unpublished<Megaflow*> FlowBuckets::Remove(const Megaflow* flow) const {
  const std::size_t home = Home(flow->hash);
  for (std::size_t i = home;; i = Next(i)) {
    Bucket& bucket = buckets()[i];
    const std::uint64_t tags = bucket.tags.load(std::memory_order_relaxed);
    std::size_t way = 0;
    while (way < kWays && bucket.flows[way].Get() != flow) ++way;
    if (way == kWays) {
      POLLUX_CHECK(tags >= kOnePassed);
      if (tags < kManyPassed) bucket.tags.store(tags - kOnePassed, std::memory_order_release);
      continue;
    }
    bucket.tags.store(tags & ~(std::uint64_t{0xff} << 8 * way), std::memory_order_release);
    Unpublished<Megaflow*> gone = bucket.flows[way].Unpublish();
    RenewFilter(home);
    return gone;
  }
}

// From the flows at home in one bucket, some of which went to the next ones.
void FlowBuckets::RenewFilter(std::size_t home) const {
  std::uint64_t word = 0;
  std::size_t i = home;
  for (std::size_t n = 0; n < size(); ++n, i = Next(i)) {
    const Bucket& bucket = buckets()[i];
    for (const auto& entry : bucket.flows) {
      const Megaflow* flow = entry.Get();
      if (flow != nullptr && Home(flow->hash) == home) word |= FilterBits(flow->hash);
    }
    if (bucket.tags.load(std::memory_order_relaxed) < kOnePassed) break;
  }
  filter()[home].store(word, std::memory_order_release);
}

}  // namespace pollux
