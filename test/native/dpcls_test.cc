// The classifier with many masks and many flows under one: its hash table against a set, its
// lookups against a linear scan and against each other, and the order in which masks are asked.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "classifier/flow_table.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

bool Takes(const Match& match, const Flow& key) { return ApplyMask(key, match.mask) == match.key; }
bool Overlap(const Match& a, const Match& b) {
  return ApplyMask(a.key, b.mask) == ApplyMask(b.key, a.mask);
}

FlowPut PutOf(const Match& match) {
  FlowPut put;
  put.match = match;
  put.actions = ActionList::Parse(OutputTo({2}), match).value();
  return put;
}

Be32 Prefix(std::uint32_t bits) {
  return ToBe32(static_cast<std::uint32_t>(0xffffffff00000000u >> bits));
}

// As access lists make them: prefixes of the addresses, and now and then something else. Most look
// at the source port, too: or there could not be many that are disjoint.
Match RandomMatch(Random& random) {
  Match match = MatchInPort(1);
  match.key.eth_type = 0x0008, match.mask.eth_type = 0xffff;
  match.mask.ipv4_src = Prefix(random() % 33), match.key.ipv4_src = random() & 0x03030303;
  match.mask.ipv4_dst = Prefix(random() % 33), match.key.ipv4_dst = random() & 0x03030303;
  if (random() % 8 != 0)
    match.mask.tp_src = 0xffff, match.key.tp_src = static_cast<Be16>(random() % 512);
  if (random() % 4 == 0) match.mask.nw_proto = 0xff, match.key.nw_proto = 6;
  if (random() % 8 == 0) match.mask.tp_dst = 0xffff, match.key.tp_dst = random() & 3;
  if (random() % 64 == 0) match.mask.ct_mark = 1, match.key.ct_mark = random() & 1;
  if (random() % 64 == 0)
    match.mask.tunnel.options[200] = 3, match.key.tunnel.options[200] = random() & 3;
  match.key = ApplyMask(match.key, match.mask);
  return match;
}

Flow RandomKey(Random& random) {
  Flow key;
  key.in_port = 1;
  key.eth_type = random() % 16 == 0 ? 0xdd86 : 0x0008;
  key.ipv4_src = random() & 0x03030303;
  key.ipv4_dst = random() & 0x03030303;
  key.nw_proto = random() % 2 == 0 ? 6 : 17;
  key.tp_src = static_cast<Be16>(random() % 512);
  key.tp_dst = random() & 3;
  key.ct_mark = random() & 1;
  key.tunnel.options[200] = random() & 3;
  return key;
}

// A table whose rules are disjoint, and the rules.
struct Rules {
  explicit Rules(std::uint32_t seed) : random(seed) { table.AddContext(0); }
  ~Rules() { table.RemoveContext(0); }

  void Change() {
    if (!matches.empty() && random() % 3 == 0) {
      const std::size_t i = random() % matches.size();
      REQUIRE(std::get<bool>(ApplyChanges(table, {FlowDelete{matches[i]}}, false).front().value()));
      matches[i] = matches.back();
      matches.pop_back();
      return;
    }
    const Match match = RandomMatch(random);
    const bool overlaps = std::any_of(matches.begin(), matches.end(),
                                      [&](const Match& other) { return Overlap(other, match); });
    if (overlaps) return;
    REQUIRE(ApplyChanges(table, {PutOf(match)}, false).front().ok());
    matches.push_back(match);
  }
  const Match* Scan(const Flow& key) const {
    const auto found = std::find_if(matches.begin(), matches.end(),
                                    [&](const Match& match) { return Takes(match, key); });
    return found == matches.end() ? nullptr : &*found;
  }
  std::size_t DistinctMasks() const {
    std::vector<FlowMask> masks;
    for (const Match& match : matches) {
      if (std::find(masks.begin(), masks.end(), match.mask) == masks.end())
        masks.push_back(match.mask);
    }
    return masks.size();
  }
  // Mostly packets that some rule takes.
  Flow Key() {
    Flow key = RandomKey(random);
    if (matches.empty() || random() % 4 == 0) return key;
    const Match& match = matches[random() % matches.size()];
    FlowWords words = ToWords(match.key);
    const FlowWords bits = ToWords(match.mask), noise = ToWords(key);
    for (std::size_t i = 0; i < kFlowWords; ++i) words[i] |= noise[i] & ~bits[i];
    return FromWords(words);
  }

  Random random;
  Clock clock{true};
  FlowTable table{clock, 100'000, 0};
  std::vector<Match> matches;
};

// The masks that a lookup asks, in their order.
std::vector<FlowMask> Asked(const Dpcls& classifier, const Flow& key) {
  std::vector<FlowMask> masks;
  classifier.Trace(Compress(key), [&](const Subtable& subtable, FlowBuckets, bool) {
    masks.push_back(subtable.mask()->Unpack());
  });
  return masks;
}

}  // namespace

TEST_CASE("buckets hold what a set holds, however hashes crowd") {
  for (std::uint32_t seed = 0; seed < 300u / kSlowdown; ++seed) {
    INFO("seed ", seed);
    Random random(seed);
    const unsigned log2 = seed % 5;
    const FlowBuckets buckets = FlowBuckets::Allocate(log2);
    std::vector<Megaflow> flows(buckets.capacity());
    // Few distinct hashes, many in one bucket; or any.
    for (Megaflow& flow : flows) {
      flow.hash = static_cast<std::uint32_t>(random());
      if (seed % 3 == 0) flow.hash &= 0x0000'0003;
      if (seed % 3 == 1) flow.hash |= 0xfff0'0000;
    }
    std::set<const Megaflow*> held;
    for (std::uint32_t step = 0; step < 300; ++step) {
      Megaflow& flow = flows[random() % flows.size()];
      if (held.contains(&flow)) {
        CHECK(buckets.Remove(&flow).Take() == &flow);
        held.erase(&flow);
      } else {
        buckets.Insert(&flow);
        held.insert(&flow);
      }
      for (const Megaflow& any : flows) {
        const Megaflow* found =
            buckets.Find(any.hash, [&](const Megaflow& its) { return &its == &any; });
        REQUIRE(found == (held.contains(&any) ? &any : nullptr));
        const bool same_hash = std::any_of(
            held.begin(), held.end(), [&](const Megaflow* its) { return its->hash == any.hash; });
        if (same_hash) REQUIRE(buckets.MayHold(any.hash));
      }
      std::set<const Megaflow*> all;
      buckets.ForEach([&](const Megaflow& its) { return all.insert(&its).second; });
      REQUIRE(all == held);
    }
    // The filter forgets what was removed.
    for (const Megaflow* flow : held) CHECK(buckets.Remove(flow).Take() == flow);
    for (const Megaflow& flow : flows) REQUIRE_FALSE(buckets.MayHold(flow.hash));
    buckets.Free();
  }
}

TEST_CASE("hundreds of masks: lookups one by one, in batches and traced agree with a linear scan") {
  std::size_t most_masks = 0;
  for (std::uint32_t seed = 0; seed < 20u / kSlowdown + 1; ++seed) {
    INFO("seed ", seed);
    Rules rules(seed);
    TupleHits hits;
    for (int round = 0; round < 60; ++round) {
      for (int i = 0; i < 20; ++i) rules.Change();
      const Dpcls* classifier = rules.table.ClassifierOf(PortNumber{1});
      if (classifier == nullptr) continue;
      REQUIRE(rules.table.masks() == rules.DistinctMasks());
      most_masks = std::max(most_masks, rules.table.masks());
      std::array<Miniflow, kBatchSize> keys;
      std::array<const Match*, kBatchSize> expected;
      const std::size_t n = rules.random() % (kBatchSize + 1);
      for (std::size_t i = 0; i < n; ++i) {
        const Flow key = rules.Key();
        keys[i] = Compress(key);
        expected[i] = rules.Scan(key);
      }
      std::array<Megaflow*, kBatchSize> found;
      classifier->LookupBatch(keys.data(), n, found.data(), rules.table.HitsOf(0));
      for (std::size_t i = 0; i < n; ++i) {
        REQUIRE((found[i] != nullptr) == (expected[i] != nullptr));
        REQUIRE(classifier->Lookup(keys[i], &hits) == found[i]);
        std::size_t asked = 0, had = 0;
        REQUIRE(classifier->Trace(keys[i], [&](const Subtable& subtable, FlowBuckets, bool hit) {
          ++asked;
          if (hit) ++had;
          REQUIRE((!hit || *subtable.mask() == *found[i]->mask));
        }) == found[i]);
        REQUIRE(had == (found[i] != nullptr ? 1 : 0));
        if (found[i] == nullptr) {
          REQUIRE(asked == rules.table.masks());
          continue;
        }
        const Match match = found[i]->match();
        REQUIRE((match.key == expected[i]->key && match.mask == expected[i]->mask));
      }
      if (round % 8 == 0) rules.table.RemoveIdle();  // Another order.
    }
    rules.table.Clear();
    CHECK(rules.table.masks() == 0);
  }
  CHECK(most_masks > 100);
}

TEST_CASE("what seeks with vector units finds the same places as what does not") {
  using Units = TupleList::Units;
  if (TupleList::BestUnits() == Units::kPlain) return;
  Clock clock(true);
  for (std::uint32_t seed = 0; seed < 200u / kSlowdown; ++seed) {
    INFO("seed ", seed);
    Random random(seed);
    std::vector<std::unique_ptr<Megaflow>> flows;
    std::vector<std::unique_ptr<Subtable>> owned;
    std::vector<Subtable*> subtables;
    for (std::uint32_t n = random() % 40; n > 0; --n) {
      Match match = RandomMatch(random);
      // Often so few words that there is code for their number.
      if (seed % 4 != 0) match.mask.ct_mark = 0, match.mask.tunnel = {};
      match.key = ApplyMask(match.key, match.mask);
      const auto mask = std::make_shared<const PackedMask>(match.mask);
      PackedWords packed;
      mask->Pack(match.key, packed.data());
      flows.push_back(std::make_unique<Megaflow>());
      flows.back()->SetKey(mask, packed.data());
      owned.push_back(std::make_unique<Subtable>(mask));
      owned.back()->Insert(flows.back().get());
      subtables.push_back(owned.back().get());
    }
    const TupleList plain(subtables, Units::kPlain);
    const TupleList vector(subtables, TupleList::BestUnits());
    for (int i = 0; i < 100; ++i) {
      Flow key = RandomKey(random);
      if (!flows.empty() && i % 2 == 0) key = flows[random() % flows.size()]->match().key;
      TupleList::Query a, b;
      plain.Start(Compress(key), a);
      vector.Start(Compress(key), b);
      for (std::size_t from = 0; from != TupleList::kEnd;) {
        plain.Seek(a, from);
        vector.Seek(b, from);
        REQUIRE(a.place == b.place);
        if (a.place == TupleList::kEnd) break;
        REQUIRE(a.hash == b.hash);
        REQUIRE(a.buckets == b.buckets);
        REQUIRE(plain.Find(a) == vector.Find(b));
        from = a.place + 1;
      }
    }
  }
}

TEST_CASE("thousands of flows under a few masks come and go, and none is lost") {
  Clock clock(true);
  FlowTable table(clock, 100'000, 0);
  constexpr std::uint32_t kFlows = 20'000 / kSlowdown;
  const auto match_of = [](std::uint32_t i) {
    Match match = MatchInPort(1);
    match.key.eth_type = 0x0008, match.mask.eth_type = 0xffff;
    match.key.ipv4_src = ToBe32(i << 4), match.mask.ipv4_src = Prefix(28 + i % 3);
    return match;
  };
  const auto apply = [&](std::uint32_t every, bool put) {
    std::vector<FlowChange> changes;
    for (std::uint32_t i = 0; i < kFlows; i += every) {
      if (put) changes.emplace_back(PutOf(match_of(i)));
      if (!put) changes.emplace_back(FlowDelete{match_of(i)});
    }
    for (const FlowOutcome& outcome : ApplyChanges(table, changes, true)) REQUIRE(outcome.ok());
  };
  const auto check = [&](std::uint32_t without_every) {
    const Dpcls& classifier = *table.ClassifierOf(PortNumber{1});
    for (std::uint32_t i = 0; i < kFlows; ++i) {
      const Megaflow* flow = classifier.Lookup(Compress(match_of(i).key));
      REQUIRE((flow != nullptr) == (without_every == 0 || i % without_every != 0));
      if (flow != nullptr) REQUIRE(flow->match().key == match_of(i).key);
    }
  };
  apply(1, true);
  check(0);
  CHECK(table.masks() == 3);
  apply(5, false);
  check(5);
  apply(5, true);
  check(0);
  apply(1, false);
  CHECK(table.masks() == 0);
  check(1);
}

TEST_CASE("masks that have hits of late are asked first; hits wear off") {
  Clock clock(true);
  FlowTable table(clock, 100, 0);
  table.AddContext(0);
  std::vector<Match> matches;
  for (std::uint32_t bits = 1; bits <= 20; ++bits) {
    Match match = MatchInPort(1);
    match.mask.ipv4_src = Prefix(bits);
    match.key.ipv4_src = ToBe32(0x8000'0000u >> (bits - 1));
    matches.push_back(match);
    REQUIRE(ApplyChanges(table, {PutOf(match)}, false).front().ok());
  }
  const Dpcls& classifier = *table.ClassifierOf(PortNumber{1});
  const auto hit = [&](std::size_t i, int times) {
    for (; times > 0; --times)
      REQUIRE(classifier.Lookup(Compress(matches[i].key), table.HitsOf(0)) != nullptr);
  };
  const auto asked_first = [&] { return Asked(classifier, matches[0].key).front(); };
  CHECK(asked_first() == matches[0].mask);
  hit(19, 1000);
  CHECK(asked_first() == matches[0].mask);
  table.RemoveIdle();
  CHECK(asked_first() == matches[19].mask);
  hit(7, 600);
  table.RemoveIdle();
  CHECK(asked_first() == matches[7].mask);
  CHECK(Asked(classifier, matches[19].key).size() == 2);
  for (int i = 0; i < 4; ++i) {
    hit(3, 300);
    table.RemoveIdle();
  }
  CHECK(asked_first() == matches[3].mask);
  // Flows of all masks are still found, and new masks come behind.
  for (std::size_t i = 0; i < matches.size(); ++i) hit(i, 1);
  Match another = MatchInPort(1);
  another.mask.ipv4_src = UINT32_MAX, another.key.ipv4_src = ToBe32(1);
  REQUIRE(ApplyChanges(table, {PutOf(another)}, false).front().ok());
  CHECK(Asked(classifier, another.key).back() == another.mask);
  CHECK(Asked(classifier, another.key).size() == 21);
  // So do they after a context has gone and another has come in its place.
  table.RemoveContext(0);
  table.AddContext(0);
  hit(12, 5000);
  table.RemoveIdle();
  CHECK(asked_first() == matches[12].mask);
  table.RemoveContext(0);
}

namespace {

// A port with more masks than are cached at once, all of the same bits, and what is done to it.
struct Crowd {
  Crowd() {
    table.AddContext(0);
    for (std::uint32_t i = 0; i < Dpcls::kManyMasks; ++i) Put(MatchOf(i));
    classifier = table.ClassifierOf(PortNumber{1});
    REQUIRE(classifier->masks() == Dpcls::kManyMasks);
    REQUIRE(profile().complete);
  }
  ~Crowd() { table.RemoveContext(0); }

  static Match MatchOf(std::uint32_t i) {
    Match match = MatchInPort(1);
    match.mask.ipv4_src = ToBe32(0x8000'0000u | i), match.key.ipv4_src = ToBe32(i);
    match.mask.nw_tos = 0xff, match.key.nw_tos = static_cast<std::uint8_t>(i);
    return match;
  }
  void Put(const Match& match) { REQUIRE(ApplyChanges(table, {PutOf(match)}, false).front().ok()); }
  void Delete(const Match& match) {
    REQUIRE(std::get<bool>(ApplyChanges(table, {FlowDelete{match}}, false).front().value()));
  }
  void Hit(const Match& match, std::uint64_t times) {
    for (; times > 0; --times)
      REQUIRE(classifier->Lookup(Compress(match.key), table.HitsOf(0))->match().mask == match.mask);
  }
  // From the cache.
  void Count(const Match& match, std::uint64_t packets) {
    table.CountersOf(*classifier->Lookup(Compress(match.key)), 0).Hit(packets, packets, 1, 0);
  }
  const PortProfile& profile() const { return *classifier->profile(); }

  Clock clock{true};
  FlowTable table{clock, 1000, 0};
  const Dpcls* classifier = nullptr;
};

}  // namespace

TEST_CASE("on a port with very many masks, a new one is cached once it has many hits") {
  Crowd crowd;
  const KeyId id = crowd.profile().header_id;
  // One that sees nothing new is cached like all others.
  Match tame = Crowd::MatchOf(3);
  tame.mask.nw_tos = 0xf0, tame.key.nw_tos = 0xf0;
  crowd.Put(tame);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().header_id == id);
  CHECK(crowd.profile().complete);
  Match odd = Crowd::MatchOf(0);
  odd.mask.tp_src = 0xffff, odd.key.tp_src = 7, odd.key.nw_tos = 0xe1;
  Match rare = odd;
  rare.mask.tp_dst = 0xffff, rare.key.tp_dst = 7, rare.key.nw_tos = 0xe2;
  crowd.Put(odd);
  crowd.Put(rare);
  CHECK(crowd.profile().header_id == id);
  CHECK_FALSE(crowd.profile().complete);
  CHECK(crowd.profile().mask.tp_src == 0);
  crowd.Hit(Crowd::MatchOf(3), 2 * Dpcls::kUncachedHits);
  crowd.Hit(odd, Dpcls::kUncachedHits);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().header_id == id);
  crowd.Hit(rare, 10);
  crowd.Hit(odd, Dpcls::kUncachedHits);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().header_id != id);
  CHECK(crowd.profile().mask.tp_src == 0xffff);
  CHECK(crowd.profile().mask.tp_dst == 0);
  CHECK_FALSE(crowd.profile().complete);
  // Few masks again: all are cached.
  crowd.Delete(odd);
  crowd.Delete(tame);
  for (std::uint32_t i = Dpcls::kFewMasks; i < Dpcls::kManyMasks; ++i)
    crowd.Delete(Crowd::MatchOf(i));
  crowd.table.RemoveIdle();
  CHECK_FALSE(crowd.profile().complete);
  crowd.Delete(Crowd::MatchOf(0));
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().complete);
  CHECK(crowd.profile().mask.tp_dst == 0xffff);
}

TEST_CASE("on a busy port with many masks, those that take next to no packets are left out") {
  Crowd crowd;
  for (std::uint32_t i = 100; i < Dpcls::kManyMasks; ++i) crowd.Delete(Crowd::MatchOf(i));
  const FlowMask all = crowd.profile().mask;
  // Nothing is gained where nothing goes on.
  crowd.Count(Crowd::MatchOf(1), Dpcls::kBusyPackets - 1);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().mask.ipv4_src == ToBe32(0x8000'007f));
  CHECK(crowd.profile().complete);
  crowd.Count(Crowd::MatchOf(1), Dpcls::kBusyPackets);
  crowd.Count(Crowd::MatchOf(2), 2 * Dpcls::kRarePackets);
  crowd.Count(Crowd::MatchOf(4), 1);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().mask.ipv4_src == ToBe32(0x8000'0003));
  CHECK_FALSE(crowd.profile().complete);
  // New ones wait for hits, and those that were left out.
  crowd.Put(Crowd::MatchOf(120));
  CHECK(crowd.profile().mask.ipv4_src == ToBe32(0x8000'0003));
  crowd.Hit(Crowd::MatchOf(120), Dpcls::kUncachedHits + 1);
  crowd.table.RemoveIdle();
  CHECK(crowd.profile().mask.ipv4_src == ToBe32(0x8000'007b));
  CHECK(all.ipv4_src == ToBe32(0x8000'007f));
}

TEST_CASE("a busy port with too many masks leaves the rare ones out at once") {
  Crowd crowd;
  crowd.Count(Crowd::MatchOf(1), Dpcls::kBusyPackets);
  CHECK(crowd.profile().complete);
  Match odd = Crowd::MatchOf(0);
  odd.mask.tp_src = 0xffff, odd.key.tp_src = 7, odd.key.nw_tos = 0xe1;
  crowd.Put(odd);
  CHECK(crowd.profile().mask.ipv4_src == ToBe32(0x8000'0001));
  CHECK_FALSE(crowd.profile().complete);
}

TEST_CASE("readers without a lock find flows that stay, while masks come, go and change places") {
  Clock clock;
  FlowTable table(clock, 10'000, 0);
  constexpr std::uint32_t kStay = 40;
  const auto match_of = [](std::uint32_t i, std::uint32_t bits) {
    Match match = MatchInPort(1);
    match.mask.ipv4_dst = UINT32_MAX, match.key.ipv4_dst = i;
    match.mask.ipv4_src = Prefix(bits);
    match.key.ipv4_src = ToBe32(0x8000'0000u) & match.mask.ipv4_src;
    return match;
  };
  for (std::uint32_t i = 0; i < kStay; ++i)
    REQUIRE(ApplyChanges(table, {PutOf(match_of(i, i % 24))}, false).front().ok());
  table.AddContext(0);
  table.AddContext(1);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (std::size_t slot = 0; slot < 2; ++slot) {
    readers.emplace_back([&, slot] {
      Qsbr::Reader reader(table.qsbr());
      Random random(static_cast<std::uint32_t>(slot));
      reader.Online();
      while (!stop) {
        const Dpcls& classifier = *table.ClassifierOf(PortNumber{1});
        std::array<Miniflow, kBatchSize> keys;
        std::array<Megaflow*, kBatchSize> flows;
        std::array<std::uint32_t, kBatchSize> which;
        for (std::size_t i = 0; i < kBatchSize; ++i) {
          which[i] = random() % (2 * kStay);
          keys[i] = Compress(match_of(which[i], 32).key);
        }
        classifier.LookupBatch(keys.data(), kBatchSize, flows.data(), table.HitsOf(slot));
        for (std::size_t i = 0; i < kBatchSize; ++i) {
          if (which[i] < kStay) POLLUX_CHECK(flows[i] != nullptr);
          if (flows[i] != nullptr) POLLUX_CHECK(flows[i]->match().key.ipv4_dst == which[i]);
        }
        (void)classifier.Trace(keys[0], [](const Subtable& subtable, FlowBuckets buckets, bool) {
          POLLUX_CHECK(subtable.Example(buckets).mask.in_port == UINT32_MAX);
        });
        reader.Quiesce();
      }
      reader.Offline();
    });
  }
  Random random(5);
  for (int i = 0; i < 20'000 / kSlowdown; ++i) {
    const Match match = match_of(kStay + random() % kStay, random() % 33);
    if (random() % 2 == 0) {
      (void)ApplyChanges(table, {PutOf(match)}, false);  // Or refused: one that overlaps is there.
    } else {
      REQUIRE(ApplyChanges(table, {FlowDelete{match}}, false).front().ok());
    }
    if (i % 64 == 0) table.RemoveIdle();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  table.RemoveContext(0);
  table.RemoveContext(1);
  CHECK(table.Reclaim() == 0);
}

}  // namespace pollux::test
