// The cache of one context: what it holds, what it forgets, and how it grows.

#include "classifier/emc.h"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <random>

#include "testbed.h"

TEST_SUITE_BEGIN("computing");

namespace pollux::test {
namespace {

using Narrow = Emc::Narrow;
using Key = Narrow::Key;
using Random = std::mt19937;

constexpr KeyId kProfile = 8 | 3;  // Of three pairs.

Key KeyOf(std::uint64_t n) { return {n, n >> 7, 3, n * n, 5, 6}; }

// A cache with flows to put into it.
class Cache {
 public:
  Megaflow* NewFlow() {
    Megaflow& flow = flows_.emplace_back();
    flow.epoch = 1;
    return &flow;
  }
  Megaflow* Lookup(const Key& key, KeyId profile = kProfile) {
    return table.Lookup(key, table.HashOf(key, profile), profile);
  }
  void Insert(const Key& key, Megaflow* flow, KeyId profile = kProfile,
              std::uint32_t inv_prob = 1) {
    table.Insert(key, table.HashOf(key, profile), profile, flow, inv_prob,
                 static_cast<std::uint32_t>(random_()));
  }
  // The same for one of a batch, with another key and an id of zero around it.
  Megaflow* LookupInBatch(const Key& key, KeyId profile = kProfile) {
    const std::array<Key, 3> keys = {KeyOf(1), key, KeyOf(2)};
    const std::array<KeyId, 3> profiles = {kProfile, profile, kNoKey};
    std::array<std::uint64_t, 3> hashes;
    for (std::size_t i = 0; i < 3; ++i) hashes[i] = table.HashOf(keys[i], profiles[i]);
    Megaflow* const untouched = reinterpret_cast<Megaflow*>(64);
    std::array<Megaflow*, 3> flows = {untouched, untouched, untouched};
    table.LookupBatch<3>(3, keys.data(), hashes.data(), profiles.data(), kProfile, flows.data());
    REQUIRE(flows[0] == table.Peek(keys[0], kProfile));
    REQUIRE(flows[2] == untouched);
    return flows[1];
  }

  Narrow table;

 private:
  std::deque<Megaflow> flows_;
  Random random_{1};
};

}  // namespace

TEST_CASE("emc: finds what was put in, by key and profile, and costs nothing before") {
  Cache cache;
  CHECK(cache.Lookup(KeyOf(1)) == nullptr);
  CHECK(cache.table.size() == 0);
  Megaflow* flow = cache.NewFlow();
  cache.Insert(KeyOf(1), flow);
  CHECK(cache.Lookup(KeyOf(1)) == flow);
  CHECK(cache.LookupInBatch(KeyOf(1)) == flow);
  CHECK(cache.table.Peek(KeyOf(1), kProfile) == flow);
  CHECK(cache.Lookup(KeyOf(2)) == nullptr);
  CHECK(cache.Lookup(KeyOf(1), kProfile + 8) == nullptr);
  Key close = KeyOf(1);
  for (std::size_t bit = 0; bit < 64 * close.size(); ++bit) {
    close[bit / 64] ^= std::uint64_t{1} << bit % 64;
    CHECK(cache.Lookup(close) == nullptr);
    close[bit / 64] ^= std::uint64_t{1} << bit % 64;
  }
  // Of a key of one pair, the rest means nothing.
  Megaflow* short_one = cache.NewFlow();
  cache.Insert(KeyOf(1), short_one, 16 | 1);
  close = KeyOf(1);
  close[5] ^= 1;
  CHECK(cache.Lookup(close, 16 | 1) == short_one);
  close[1] ^= 1;
  CHECK(cache.Lookup(close, 16 | 1) == nullptr);
  Megaflow* other = cache.NewFlow();
  cache.Insert(KeyOf(1), other);  // Takes the place of the first.
  CHECK(cache.Lookup(KeyOf(1)) == other);
}

TEST_CASE("emc: compares keys, whatever their hashes") {
  Cache cache;
  Megaflow* flow = cache.NewFlow();
  const std::uint64_t hash = cache.table.HashOf(KeyOf(1), kProfile);
  cache.table.Insert(KeyOf(1), hash, kProfile, flow, 1, 0);
  CHECK(cache.table.Lookup(KeyOf(2), hash, kProfile) == nullptr);
  // Two keys of one hash stand side by side.
  Megaflow* other = cache.NewFlow();
  cache.table.Insert(KeyOf(2), hash, kProfile, other, 1, 0);
  CHECK(cache.table.Lookup(KeyOf(1), hash, kProfile) == flow);
  CHECK(cache.table.Lookup(KeyOf(2), hash, kProfile) == other);
}

TEST_CASE("emc: a flow that is gone is not found, nor is its slot's next flow") {
  Cache cache;
  Megaflow* flow = cache.NewFlow();
  cache.Insert(KeyOf(1), flow);
  flow->epoch = 2;
  CHECK(cache.Lookup(KeyOf(1)) == nullptr);
  CHECK(cache.LookupInBatch(KeyOf(1)) == nullptr);
  CHECK(cache.table.Peek(KeyOf(1), kProfile) == nullptr);
  cache.Insert(KeyOf(1), flow);  // Found, and unlinked since.
  flow->epoch = 3;
  CHECK(cache.Lookup(KeyOf(1)) == nullptr);
  cache.Insert(KeyOf(1), flow);
  CHECK(cache.Lookup(KeyOf(1)) == flow);
}

TEST_CASE("emc: told to insert nothing, it does not") {
  Cache cache;
  cache.Insert(KeyOf(1), cache.NewFlow(), kProfile, 0);
  CHECK(cache.Lookup(KeyOf(1)) == nullptr);
  CHECK(cache.table.size() == 0);
}

TEST_CASE("emc: what it answers is the last that was put in, for any sequence of changes") {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Cache cache;
    std::map<Key, std::pair<Megaflow*, std::uint32_t>> last;  // And its epoch.
    std::vector<Megaflow*> flows;
    for (int i = 0; i < 50; ++i) flows.push_back(cache.NewFlow());
    std::size_t hits = 0;
    const std::uint32_t keys = seed % 2 == 0 ? 5'000 : 100'000;
    for (int i = 0; i < 200'000 / kSlowdown; ++i) {
      const Key key = KeyOf(random() % keys);
      Megaflow* flow = flows[random() % flows.size()];
      if (random() % 1000 == 0) flow->epoch = flow->epoch + 1;
      Megaflow* found = random() % 2 == 0 ? cache.Lookup(key) : cache.LookupInBatch(key);
      if (found != nullptr) {
        REQUIRE(last.contains(key));
        REQUIRE(found == last[key].first);
        REQUIRE(found->epoch == last[key].second);
        ++hits;
      } else if (flow->linked()) {
        cache.Insert(key, flow, kProfile, 1 + random() % 2);
        last[key] = {flow, flow->epoch};
      }
    }
    CHECK(hits > 0);
  }
}

TEST_CASE("emc: grows until what is used fits, and forgets nothing on the way") {
  Cache cache;
  Megaflow* flow = cache.NewFlow();
  constexpr std::uint32_t kKeys = 100'000;
  std::size_t size = 0;
  for (int round = 0; round < 40; ++round) {
    std::size_t missed = 0;
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      if (cache.LookupInBatch(KeyOf(i)) != nullptr) continue;
      ++missed;
      cache.Insert(KeyOf(i), flow);
      REQUIRE(cache.Lookup(KeyOf(i)) == flow);
    }
    size = cache.table.size();
    if (missed < kKeys / 100 && round > 0) break;
    REQUIRE(round < 39);
  }
  CHECK(size > kKeys);
  CHECK(size <= 16 * kKeys);
}

TEST_CASE("emc: a scan of addresses does not push out what is used, nor make it grow") {
  Cache cache;
  Megaflow* flow = cache.NewFlow();
  constexpr std::uint32_t kUsed = 4'000;
  for (std::uint32_t i = 0; i < kUsed; ++i) cache.Insert(KeyOf(i), flow);
  std::size_t missed = 0;
  std::uint64_t scanned = kUsed;
  for (int round = 0; round < 100; ++round) {
    for (std::uint32_t i = 0; i < kUsed; ++i) {
      if (cache.Lookup(KeyOf(i)) != nullptr) continue;
      ++missed;
      cache.Insert(KeyOf(i), flow);
    }
    for (int i = 0; i < 8'000; ++i) cache.Insert(KeyOf(++scanned), flow, kProfile, 100);
  }
  CHECK(missed < 100 * kUsed / 50);
  CHECK(cache.table.size() == Narrow::kFirstSize);
}

}  // namespace pollux::test

TEST_SUITE_END();
