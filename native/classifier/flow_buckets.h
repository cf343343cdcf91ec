// FlowBuckets: a hash table of flows with a filter in front of it, for one writer and readers that
// take no lock.
//
// It is a value of one word, which a reader gets with one load: the address of 2^n buckets, and n.
// Flows with one mask, and nearly the same hash, share a bucket of one cache line: seven addresses,
// and for each a tag, bits of its hash. A flow whose bucket is full goes to the next one; how many
// did is counted in the bucket, so a lookup knows whether to go on.
//
// The filter has a word of 64 bits for each bucket, two of them set for each of its flows. Most
// lookups are for flows of another mask: the filter tells nearly all of them, and it is small
// enough to stay in the caches of a core where the buckets are not. It is exact about removed
// flows: a removal makes the word anew.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/published.h"
#include "classifier/megaflow.h"

namespace pollux {

class FlowBuckets {
 public:
  // None: holds nothing and is never to be written to.
  FlowBuckets() : bits_(reinterpret_cast<std::uintptr_t>(&none)) {}
  static FlowBuckets Allocate(unsigned log2);
  void Free() const;

  bool operator==(const FlowBuckets&) const = default;
  // Flows that it should hold at most.
  std::size_t capacity() const { return std::size_t{5} << log2(); }
  unsigned log2() const { return bits_ & (kAlign - 1); }

  // --- Readers.

  // False: there is no flow with this hash.
  bool MayHold(std::uint32_t hash) const {
    const std::uint64_t word = filter()[Home(hash)].load(std::memory_order_relaxed);
    return (word >> (hash >> 7 & 63) & word >> (hash >> 13 & 63) & 1) != 0;
  }
  void Prefetch(std::uint32_t hash) const { __builtin_prefetch(&buckets()[Home(hash)]); }
  // The flow where a flow with this hash most likely is.
  void PrefetchFlow(std::uint32_t hash) const {
    const Bucket& bucket = buckets()[Home(hash)];
    const std::uint64_t lanes = Equal(bucket.tags.load(std::memory_order_acquire), TagOf(hash));
    if (lanes != 0) __builtin_prefetch(bucket.FlowAt(lanes));
  }
  // The first flow with this hash, or nearly this hash, that is `same(flow)`; or nullptr.
  template <typename Same>
  Megaflow* Find(std::uint32_t hash, Same same) const {
    std::size_t i = Home(hash);
    for (std::size_t n = 0; n < size(); ++n, i = Next(i)) {
      const Bucket& bucket = buckets()[i];
      const std::uint64_t tags = bucket.tags.load(std::memory_order_acquire);
      for (std::uint64_t lanes = Equal(tags, TagOf(hash)); lanes != 0; lanes &= lanes - 1) {
        Megaflow* flow = bucket.FlowAt(lanes);
        if (flow != nullptr && same(*flow)) return flow;
      }
      if (tags < kOnePassed) break;
    }
    return nullptr;
  }
  // Calls `each(flow)` for every flow, until it returns false.
  template <typename Each>
  void ForEach(Each each) const {
    for (std::size_t i = 0; i < size(); ++i) {
      for (const auto& entry : buckets()[i].flows) {
        Megaflow* flow = entry.Get();
        if (flow != nullptr && !each(*flow)) return;
      }
    }
  }

  // --- The writer.

  // There is room.
  void Insert(Megaflow* flow) const;
  // It is there.
  Unpublished<Megaflow*> Remove(const Megaflow* flow) const;

 private:
  // Seven tags, 0 for a free place, and above them how many flows went past this bucket: 255 stands
  // for any number from there on.
  static constexpr std::size_t kWays = 7;
  static constexpr std::uint64_t kOnePassed = std::uint64_t{1} << 56;
  static constexpr std::uint64_t kManyPassed = 255 * kOnePassed;
  struct alignas(64) Bucket {
    std::atomic<std::uint64_t> tags{0};
    std::array<Published<Megaflow*>, kWays> flows;

    // That of the lowest lane.
    Megaflow* FlowAt(std::uint64_t lanes) const {
      return flows[static_cast<std::size_t>(std::countr_zero(lanes)) / 8].Get();
    }
  };
  static constexpr std::size_t kAlign = alignof(Bucket);
  static constexpr std::size_t kFilterWords = kAlign / sizeof(std::uint64_t);
  struct None {
    std::array<std::atomic<std::uint64_t>, kFilterWords> filter{};
    Bucket bucket;
  };
  static constinit None none;

  explicit FlowBuckets(std::uintptr_t bits) : bits_(bits) {}

  std::size_t size() const { return std::size_t{1} << log2(); }
  static std::size_t FilterBytes(unsigned log2) {
    const std::size_t bytes = sizeof(std::uint64_t) << log2;
    return bytes < kAlign ? kAlign : bytes;
  }
  std::atomic<std::uint64_t>* filter() const {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(bits_ & ~(kAlign - 1));
  }
  Bucket* buckets() const {
    return reinterpret_cast<Bucket*>((bits_ & ~(kAlign - 1)) + FilterBytes(log2()));
  }

  // A hash from its upper end: bucket. From its lower end: tag, and two bits of the filter.
  std::size_t Home(std::uint32_t hash) const { return (std::uint64_t{hash} << log2()) >> 32; }
  std::size_t Next(std::size_t i) const { return (i + 1) & (size() - 1); }
  static std::uint64_t TagOf(std::uint32_t hash) { return (hash & 0x7f) | 0x80; }
  static std::uint64_t FilterBits(std::uint32_t hash) {
    return std::uint64_t{1} << (hash >> 7 & 63) | std::uint64_t{1} << (hash >> 13 & 63);
  }
  // The top bits of the lanes with this tag, and perhaps of others above them.
  static std::uint64_t Equal(std::uint64_t tags, std::uint64_t tag) {
    constexpr std::uint64_t kOnes = 0x0101'0101'0101'0101;
    const std::uint64_t different = tags ^ kOnes * tag;
    return (different - kOnes) & ~different & 0x0080'8080'8080'8080;
  }
  void RenewFilter(std::size_t home) const;

  std::uintptr_t bits_;
};

}  // namespace pollux
