// Flow table, classifier and cache against a linear scan, too simple to be wrong; and their
// behaviour under concurrent change.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "classifier/emc.h"
#include "flow_table_testbed.h"
#include "netdev/generator.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

// Keys and masks from small alphabets, so that rules meet packets often. `rich`: with metadata,
// labels, tunnels and their options, which make masks of many words, some of them beyond the 64th.
Flow RandomKey(Random& random, bool rich = false) {
  const auto pick = [&](std::initializer_list<std::uint32_t> from) {
    return *(from.begin() + random() % from.size());
  };
  Flow flow;
  flow.in_port = 1;
  flow.eth_type = static_cast<Be16>(pick({0x0008, 0xdd86}));
  flow.eth_src = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(pick({1, 2, 3}))};
  flow.ipv4_src = pick({0x0100000a, 0x0200000a, 0x0101a8c0});
  flow.ipv4_dst = pick({0x0100000a, 0x0300000a, 0x0101a8c0});
  flow.nw_proto = static_cast<std::uint8_t>(pick({6, 17}));
  flow.tp_src = static_cast<Be16>(pick({0x5000, 0x5100}));
  flow.tp_dst = static_cast<Be16>(pick({0x5000, 0xbb01}));
  if (!rich) return flow;
  flow.recirc_id = pick({0, 0, 7});
  flow.dp_hash = pick({0, 5});
  flow.skb_mark = pick({0, 0x10});
  flow.ct_state = pick({0, 0x21});
  flow.ct_label[15] = static_cast<std::uint8_t>(pick({0, 1}));
  flow.mpls[0] = pick({0, 0x40010000});
  flow.nsh.path = pick({0, 0xff010000});
  flow.nd_target[0] = static_cast<std::uint8_t>(pick({0, 0xfe}));
  flow.ipv6_dst[7] = static_cast<std::uint8_t>(pick({0, 9}));
  if (random() % 2 == 0) return flow;
  flow.tunnel.id = pick({1, 2});
  flow.tunnel.ipv4_src = pick({0x0100000a, 0x0200000a});
  flow.tunnel.flags = kTunnelKey;
  flow.tunnel.options_size = static_cast<std::uint8_t>(pick({0, 8, 252}));
  for (std::size_t i = 0; i < flow.tunnel.options_size; i += 4)
    flow.tunnel.options[i] = static_cast<std::uint8_t>(pick({0, 0, 0, 0, 1}));
  return flow;
}

template <typename T>
void MaybeOnes(Random& random, T& field) {
  if (random() % 2) std::memset(static_cast<void*>(&field), 0xff, sizeof field);
}

FlowMask RandomMask(Random& random, bool rich = false) {
  FlowMask mask;
  mask.in_port = UINT32_MAX;
  mask.recirc_id = UINT32_MAX;
  MaybeOnes(random, mask.eth_type);
  MaybeOnes(random, mask.eth_src);
  if (random() % 2) mask.ipv4_src = random() % 2 ? UINT32_MAX : 0x0000ffff;
  if (random() % 2) mask.ipv4_dst = random() % 2 ? UINT32_MAX : 0x000000ff;
  MaybeOnes(random, mask.nw_proto);
  MaybeOnes(random, mask.tp_dst);
  if (!rich) return mask;
  MaybeOnes(random, mask.dp_hash);
  MaybeOnes(random, mask.skb_mark);
  MaybeOnes(random, mask.ct_state);
  MaybeOnes(random, mask.ct_label);
  MaybeOnes(random, mask.mpls[0]);
  MaybeOnes(random, mask.nsh.path);
  MaybeOnes(random, mask.nd_target);
  MaybeOnes(random, mask.ipv6_dst);
  if (random() % 2) return mask;
  MaybeOnes(random, mask.tunnel.id);
  MaybeOnes(random, mask.tunnel.ipv4_src);
  MaybeOnes(random, mask.tunnel.flags);
  MaybeOnes(random, mask.tunnel.options_size);
  for (std::uint8_t& option : mask.tunnel.options)
    option = random() % 16 ? 0 : static_cast<std::uint8_t>(random());
  return mask;
}

Flow RandomBits(Random& random) {
  FlowWords words;
  for (std::uint64_t& word : words) word = std::uint64_t{random()} << 32 | random();
  return FromWords(words);
}

Ufid UfidOf(std::uint32_t n) {
  Ufid ufid{};
  std::memcpy(ufid.data(), &n, sizeof n);
  ufid[15] = 1;
  return ufid;
}

Match RandomMatch(Random& random, bool rich = false) {
  Match match;
  match.mask = RandomMask(random, rich);
  match.key = ApplyMask(RandomKey(random, rich), match.mask);
  return match;
}

bool Takes(const Match& match, const Flow& key) { return ApplyMask(key, match.mask) == match.key; }

// Whether some packet is taken by both.
bool Overlap(const Match& a, const Match& b) {
  return ApplyMask(a.key, b.mask) == ApplyMask(b.key, a.mask);
}
bool operator==(const Match& a, const Match& b) { return a.key == b.key && a.mask == b.mask; }

// A cache, asked as forwarding asks it: by keys under what the port's flows look at. Keys of more
// words than fit are not cached.
class KeyCache {
 public:
  Megaflow* Lookup(const Dpcls* classifier, const Miniflow& key) {
    if (classifier == nullptr || !Fits(*classifier)) return nullptr;
    const PortProfile& profile = *classifier->profile();
    const auto packed = Pack(profile, key);
    return table_.Lookup(packed, table_.HashOf(packed, profile.packed_id), profile.packed_id);
  }
  void Insert(const Dpcls& classifier, const Miniflow& key, Megaflow* flow) {
    if (!Fits(classifier)) return;
    const PortProfile& profile = *classifier.profile();
    const auto packed = Pack(profile, key);
    table_.Insert(packed, table_.HashOf(packed, profile.packed_id), profile.packed_id, flow, 1, 0);
  }
  static bool Fits(const Dpcls& classifier) { return classifier.profile()->packed_id != kNoKey; }

 private:
  static Emc::Wide::Key Pack(const PortProfile& profile, const Miniflow& key) {
    Emc::Wide::Key packed{};
    profile.packed.Pack(key, packed.data());
    return packed;
  }
  Emc::Wide table_;
};

}  // namespace

TEST_CASE("the classifier and the cache agree with a linear scan, for thousands of rule sets") {
  Clock clock(true);
  for (std::uint32_t seed = 0; seed < 2000u / kSlowdown; ++seed) {
    INFO("seed ", seed);
    Random random(seed);
    const bool rich = seed % 2 != 0;
    FlowTable table(clock, 1000, 0);
    KeyCache emc;
    std::vector<std::pair<Ufid, Match>> rules;  // The oracle.
    for (std::uint32_t step = 0; step < 60; ++step) {
      // Change something: rules may overlap, so each has an id of its own.
      if (rules.empty() || random() % 3 != 0) {
        const Match match = RandomMatch(random, rich);
        FlowPut put = PutOf(match);
        put.ufid = UfidOf(step + 1);
        const bool known = std::any_of(rules.begin(), rules.end(),
                                       [&](const auto& rule) { return rule.second == match; });
        const auto outcome = ApplyChanges(table, {put}, false);
        REQUIRE(outcome.front().ok() != known);  // The same match under another id is refused.
        if (!known) rules.emplace_back(*put.ufid, match);
      } else {
        const std::size_t i = random() % rules.size();
        const auto outcome = ApplyChanges(table, {FlowDelete{rules[i].first}}, false);
        REQUIRE(std::get<bool>(outcome.front().value()));
        rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(i));
      }
      REQUIRE(table.size() == rules.size());
      if (random() % 8 == 0) table.RemoveIdle();  // Profiles shrink.
      // Look packets up.
      for (int i = 0; i < 10; ++i) {
        const Flow key = RandomKey(random, rich);
        const Miniflow miniflow = Compress(key);
        const bool any = std::any_of(rules.begin(), rules.end(),
                                     [&](const auto& rule) { return Takes(rule.second, key); });
        const Dpcls* classifier = table.ClassifierOf(PortNumber{1});
        Megaflow* found = classifier == nullptr ? nullptr : classifier->Lookup(miniflow);
        REQUIRE((found != nullptr) == any);
        if (found != nullptr) REQUIRE(Takes(found->match(), key));
        // The cache may know an earlier answer, if that flow is still there; never one that is
        // gone.
        Megaflow* cached = emc.Lookup(classifier, miniflow);
        if (cached != nullptr) {
          REQUIRE(any);
          REQUIRE(Takes(cached->match(), key));
          REQUIRE(FindFlow(table, cached->ufid).has_value());
        } else if (found != nullptr) {
          emc.Insert(*classifier, miniflow, found);
          REQUIRE(emc.Lookup(classifier, miniflow) ==
                  (KeyCache::Fits(*classifier) ? found : nullptr));
        }
      }
    }
  }
}

TEST_CASE("a flow's id covers its mask; equal keys under different masks are different flows") {
  Clock clock(true);
  FlowTable table(clock, 1000, 0);
  Match narrow = MatchInPort(1);
  narrow.mask.ipv4_src = UINT32_MAX;
  Match wide = MatchInPort(1);
  const auto a = ApplyChanges(table, {PutOf(narrow)}, false).front();
  REQUIRE(a.ok());
  // The wider flow's own key is taken by the narrow one: without an id of its own it is refused.
  const auto refused = ApplyChanges(table, {PutOf(wide)}, false).front();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().number == EINVAL);
  FlowPut put = PutOf(wide);
  put.ufid = UfidOf(7);
  REQUIRE(ApplyChanges(table, {put}, false).front().ok());
  CHECK(table.size() == 2);
  CHECK(table.masks() == 2);
  CHECK(FindFlow(table, narrow)->ufid == std::get<Ufid>(a.value()));
  CHECK(FindFlow(table, wide)->ufid == UfidOf(7));
}

TEST_CASE("soundness: whatever agrees with a packet on its flow's mask gets the same flow") {
  for (std::uint32_t seed = 0; seed < 400u / kSlowdown; ++seed) {
    INFO("seed ", seed);
    Random random(seed);
    Table table;
    KeyCache emc;
    const auto lookup = [&](const Flow& key) {
      const Miniflow miniflow = Compress(key);
      const Dpcls* classifier = table.flows.ClassifierOf(PortNumber{1});
      Megaflow* flow = emc.Lookup(classifier, miniflow);
      if (flow != nullptr) return flow;
      flow = table.Lookup(key);
      if (flow != nullptr) emc.Insert(*classifier, miniflow, flow);
      return flow;
    };
    // Disjoint, as flows of a port should be: nothing decides between two that overlap.
    std::vector<Match> rules;
    for (int i = 0; i < 60; ++i) {
      const Match match = RandomMatch(random, true);
      const bool overlaps = std::any_of(rules.begin(), rules.end(),
                                        [&](const Match& rule) { return Overlap(rule, match); });
      if (overlaps) continue;
      REQUIRE(table.Put(PutOf(match)).ok());
      rules.push_back(match);
    }
    for (int i = 0; i < 200; ++i) {
      // Mostly packets of a flow; other bits anything at all.
      const Match& rule = rules[random() % rules.size()];
      Flow p = RandomKey(random, true);
      if (random() % 4) {
        FlowWords words = ToWords(rule.key);
        const FlowWords bits = ToWords(rule.mask), noise = ToWords(p);
        for (std::size_t w = 0; w < kFlowWords; ++w) words[w] |= noise[w] & ~bits[w];
        p = FromWords(words);
      }
      const Megaflow* flow = lookup(p);
      const auto its = std::find_if(rules.begin(), rules.end(),
                                    [&](const Match& other) { return Takes(other, p); });
      REQUIRE((flow != nullptr) == (its != rules.end()));
      if (flow == nullptr) continue;
      REQUIRE(flow->match() == *its);
      for (int j = 0; j < 4; ++j) {
        FlowWords words = ToWords(p);
        const FlowWords bits = ToWords(its->mask);
        const FlowWords noise =
            ToWords(random() % 2 ? RandomBits(random) : RandomKey(random, true));
        for (std::size_t w = 0; w < kFlowWords; ++w)
          words[w] = (words[w] & bits[w]) | (noise[w] & ~bits[w]);
        REQUIRE(lookup(FromWords(words)) == flow);
      }
    }
  }
}

TEST_CASE("keys of any length: few words stand in the flow, many beside it, views give them back") {
  Random random(1);
  Table table;
  for (std::size_t words = 1; words <= kFlowWords; ++words) {
    INFO("words ", words);
    FlowWords mask{};
    for (std::size_t i = 0; i < words; ++i) mask[i] = UINT64_MAX;
    Match match;
    match.mask = FromWords(mask);
    match.key = ApplyMask(RandomBits(random), match.mask);
    match.key.in_port = 1;
    const auto outcome = table.Put(PutOf(match));
    REQUIRE(outcome.ok());
    CHECK(FindFlow(table.flows, match)->match() == match);
    CHECK(FindFlow(table.flows, std::get<Ufid>(outcome.value()))->match() == match);
    const Megaflow* flow = table.Lookup(match.key);
    REQUIRE(flow != nullptr);
    CHECK(flow->match() == match);
    FlowWords other = ToWords(match.key);
    other[words - 1] ^= std::uint64_t{1} << 63;
    CHECK(table.Lookup(FromWords(other)) == nullptr);
    REQUIRE(std::get<bool>(ApplyChanges(table.flows, {FlowDelete{match}}, false).front().value()));
  }
}

TEST_CASE("put adds or replaces; EEXIST, ENOENT and EINVAL where only one of them was asked for") {
  Table table;
  const Match match = MatchInPort(1);
  FlowPut modify = PutOf(match, 5);
  modify.create = false;
  CHECK(table.Put(modify).error().number == ENOENT);
  CHECK(table.flows.size() == 0);
  const auto first = table.Put(PutOf(match, 2));
  REQUIRE(first.ok());
  table.Hit(1, 7);
  const auto again = table.Put(PutOf(match, 3));
  REQUIRE(again.ok());
  CHECK(std::get<Ufid>(first.value()) == std::get<Ufid>(again.value()));
  CHECK(FindFlow(table.flows, match)->actions->sole_output() == PortNumber{3});
  REQUIRE(table.Put(modify).ok());
  CHECK(FindFlow(table.flows, match)->actions->sole_output() == PortNumber{5});
  CHECK(FindFlow(table.flows, match)->stats.packets == 7);  // Replacing keeps them.
  FlowPut no_replace = PutOf(match, 4);
  no_replace.replace = false;
  CHECK(table.Put(no_replace).error().number == EEXIST);

  // Ids: one names one match.
  FlowPut renamed = PutOf(match);
  renamed.ufid = UfidOf(1);
  CHECK(table.Put(renamed).error().number == EEXIST);
  FlowPut named = PutOf(MatchInPort(2));
  named.ufid = UfidOf(1);
  REQUIRE(table.Put(named).ok());
  named.match = MatchInPort(3);
  CHECK(table.Put(named).error().number == EEXIST);

  // Overlap: refused, or with `optional` left alone.
  Match narrow = match;
  narrow.mask.eth_type = 0xffff;
  narrow.key.eth_type = 0x0008;
  CHECK(table.Put(PutOf(narrow)).error().number == EINVAL);
  FlowPut optional = PutOf(narrow);
  optional.optional = true;
  const auto skipped = table.Put(optional);
  REQUIRE(skipped.ok());
  CHECK_FALSE(std::get<bool>(skipped.value()));
  CHECK(table.flows.size() == 2);

  Match no_port = match;
  no_port.key.in_port = 65'536;
  CHECK(table.Put(PutOf(no_port)).error().number == EINVAL);
}

TEST_CASE("replaced actions are in force for a flow that caches hold") {
  Table table;
  REQUIRE(table.Put(PutOf(MatchInPort(1), 2)).ok());
  KeyCache emc;
  const Miniflow key = Compress(MatchInPort(1).key);
  const Dpcls* classifier = table.flows.ClassifierOf(PortNumber{1});
  emc.Insert(*classifier, key, table.Lookup(MatchInPort(1).key));
  REQUIRE(table.Put(PutOf(MatchInPort(1), 3)).ok());
  const Megaflow* cached = emc.Lookup(classifier, key);
  REQUIRE(cached != nullptr);
  CHECK(cached->actions.Get()->sole_output() == PortNumber{3});
}

TEST_CASE(
    "a flow's timeout is shown; statistics of contexts that are gone stay, per context and in "
    "all") {
  Table table;
  FlowPut brief = PutOf(MatchInPort(1));
  brief.idle_timeout_ms = 250;
  REQUIRE(table.Put(brief).ok());
  REQUIRE(table.Put(PutOf(MatchInPort(2))).ok());
  CHECK(FindFlow(table.flows, MatchInPort(1))->idle_timeout_ms == 250);
  CHECK_FALSE(FindFlow(table.flows, MatchInPort(2))->idle_timeout_ms.has_value());

  table.flows.AddContext(5);
  table.Hit(1, 3);
  table.flows.CountersOf(*table.Lookup(MatchInPort(1).key), 5).Hit(4, 240, 1, 0x01);
  const auto packets = [&](std::optional<std::size_t> slot) {
    std::size_t cursor = 0;
    return table.flows.Dump(cursor, 1, slot).front().stats.packets;
  };
  CHECK(packets({}) == 7);
  CHECK(packets(0) == 3);
  CHECK(packets(5) == 4);
  table.flows.RemoveContext(5);
  CHECK(packets({}) == 7);
  CHECK(packets(5) == 0);
  CHECK(FindFlow(table.flows, MatchInPort(1))->stats.tcp_flags == 0x13);
  // Another context on the same place, and another flow in the same slot, start from nothing.
  table.flows.AddContext(5);
  CHECK(packets(5) == 0);
  table.flows.RemoveContext(5);
  REQUIRE(ApplyChanges(table.flows, {FlowDelete{MatchInPort(1)}}, false).front().ok());
  REQUIRE(table.Put(PutOf(MatchInPort(3))).ok());
  CHECK(FindFlow(table.flows, MatchInPort(3))->stats.packets == 0);
  CHECK(FindFlow(table.flows, MatchInPort(3))->stats.used_ms == 0);
}

TEST_CASE("an atomic apply that fails leaves everything as it was, whichever step fails") {
  Clock clock(true);
  for (std::size_t bad = 0; bad < 5; ++bad) {
    FlowTable table(clock, 100, 0);
    table.AddContext(0);
    REQUIRE(
        ApplyChanges(table, {PutOf(MatchInPort(1), 9), PutOf(MatchInPort(2), 9)}, false).size() ==
        2);
    const Megaflow* flow = table.ClassifierOf(PortNumber{2})->Lookup(Compress(MatchInPort(2).key));
    table.CountersOf(*flow, 0).Hit(5, 300, 1, 0);
    std::vector<FlowChange> changes = {PutOf(MatchInPort(3)), PutOf(MatchInPort(1), 4),
                                       FlowDelete{MatchInPort(2)}, PutOf(MatchInPort(2), 5),
                                       FlowDelete{MatchInPort(3)}};
    FlowPut failing = PutOf(MatchInPort(1));
    failing.replace = false;
    changes.insert(changes.begin() + static_cast<std::ptrdiff_t>(bad), failing);
    const auto outcomes = ApplyChanges(table, changes, true);
    REQUIRE(outcomes.size() == 1);
    CHECK(outcomes.front().error().number == EEXIST);
    CHECK(table.size() == 2);
    CHECK_FALSE(FindFlow(table, MatchInPort(3)).has_value());
    CHECK(FindFlow(table, MatchInPort(1))->actions->sole_output() == PortNumber{9});
    CHECK(FindFlow(table, MatchInPort(2))->actions->sole_output() == PortNumber{9});
    CHECK(FindFlow(table, MatchInPort(2))->stats.packets == 5);
    table.RemoveContext(0);
  }
}

TEST_CASE("a dump sees every flow that stays exactly once, whatever changes meanwhile") {
  Clock clock(true);
  FlowTable table(clock, 100'000, 0);
  for (std::uint32_t port = 1; port <= 3000; ++port) {
    REQUIRE(ApplyChanges(table, {PutOf(MatchInPort(port))}, false).front().ok());
  }
  std::vector<int> seen(60'000, 0);
  std::size_t cursor = 0;
  std::uint32_t round = 0;
  for (;;) {
    const auto views = table.Dump(cursor, 100, {});
    if (views.empty()) break;
    for (const FlowView& view : views) ++seen[view.match().key.in_port];
    // Odd ones go, new ones come.
    (void)ApplyChanges(
        table,
        {FlowDelete{MatchInPort(2 * (round * 37 % 1500) + 1)}, PutOf(MatchInPort(10'000 + round))},
        false);
    ++round;
    REQUIRE(round < 5000);
  }
  for (std::uint32_t port = 2; port <= 3000; port += 2) CHECK(seen[port] == 1);
  for (const int times : seen) CHECK(times <= 1);
}

TEST_CASE(
    "idle flows go, with their final statistics; used ones and those without a timeout stay") {
  Clock clock(true);
  FlowTable table(clock, 100, 10'000);
  table.AddContext(0);
  FlowPut forever = PutOf(MatchInPort(2));
  forever.idle_timeout_ms = 0;
  FlowPut brief = PutOf(MatchInPort(3));
  brief.idle_timeout_ms = 100;
  for (const auto& outcome : ApplyChanges(table, {PutOf(MatchInPort(1)), forever, brief}, false))
    REQUIRE(outcome.ok());
  const auto hit = [&](std::uint32_t port) {
    const Megaflow* flow =
        table.ClassifierOf(PortNumber{port})->Lookup(Compress(MatchInPort(port).key));
    table.CountersOf(*flow, 0).Hit(1, 60, static_cast<std::uint64_t>(clock.NowMs()), 0x12);
  };
  clock.Advance(99);
  table.RemoveIdle();
  CHECK(table.size() == 3);
  clock.Advance(1);
  hit(1);
  table.RemoveIdle();
  std::size_t forgotten = 0;
  auto removed = table.TakeRemoved(forgotten);
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].match().key.in_port == 3);
  clock.Advance(9'999);
  table.RemoveIdle();
  CHECK(table.size() == 2);
  clock.Advance(1);
  table.RemoveIdle();
  removed = table.TakeRemoved(forgotten);
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].stats.packets == 1);
  CHECK(removed[0].stats.bytes == 60);
  CHECK(removed[0].stats.tcp_flags == 0x12);
  clock.Advance(1'000'000);
  table.RemoveIdle();
  CHECK(table.size() == 1);
  table.RemoveContext(0);
}

namespace {

// Looks flows of ports 1 to `ports` up, through a cache, and counts for them, until told to stop.
void Forward(FlowTable& table, std::size_t slot, std::uint32_t ports,
             const std::atomic<bool>& stop) {
  Qsbr::Reader reader(table.qsbr());
  KeyCache emc;
  Random random(static_cast<std::uint32_t>(slot));
  reader.Online();
  while (!stop) {
    const std::uint32_t port = 1 + random() % ports;
    const Miniflow key = Compress(MatchInPort(port).key);
    const Dpcls* classifier = table.ClassifierOf(PortNumber{port});
    Megaflow* flow = emc.Lookup(classifier, key);
    if (flow == nullptr && classifier != nullptr) {
      flow = classifier->Lookup(key);
      if (flow != nullptr) emc.Insert(*classifier, key, flow);
    }
    if (flow != nullptr) {
      POLLUX_CHECK(flow->match().key.in_port == port);
      POLLUX_CHECK(flow->actions.Get()->actions().size() == 1);
      table.CountersOf(*flow, slot).Hit(1, 60, 1, 0);
    }
    reader.Quiesce();
    if (random() % 100 == 0) {
      reader.Offline();
      std::this_thread::yield();
      reader.Online();
    }
  }
  reader.Offline();
}

}  // namespace

TEST_CASE("readers without a lock see whole flows while writers put, replace and delete them") {
  Clock clock;
  FlowTable table(clock, 10'000, 0);
  table.AddContext(0);
  table.AddContext(1);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (std::size_t slot = 0; slot < 2; ++slot)
    readers.emplace_back([&, slot] { Forward(table, slot, 64, stop); });
  Random random(99);
  for (int i = 0; i < 20'000 / kSlowdown; ++i) {
    const Match match = MatchInPort(1 + random() % 64);
    if (random() % 2) {
      REQUIRE(ApplyChanges(table, {PutOf(match, 1 + random() % 4)}, random() % 2).front().ok());
    } else {
      REQUIRE(ApplyChanges(table, {FlowDelete{match}}, false).front().ok());
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  table.RemoveContext(0);
  table.RemoveContext(1);
  CHECK(table.Reclaim() == 0);
}

TEST_CASE("flows are evicted while others forward, and every packet that was counted is reported") {
  Clock clock;
  FlowTable table(clock, 16, 0);
  table.AddContext(0);
  table.AddContext(1);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (std::size_t slot = 0; slot < 2; ++slot)
    readers.emplace_back([&, slot] { Forward(table, slot, 64, stop); });
  Random random(99);
  std::size_t added = 0, removed = 0, forgotten = 0;
  std::uint64_t packets = 0;
  const auto take = [&] {
    for (const FlowView& view : table.TakeRemoved(forgotten)) {
      ++removed;
      packets += view.stats.packets;
    }
  };
  for (int i = 0; i < 20'000 / kSlowdown; ++i) {
    const Match match = MatchInPort(1 + random() % 64);
    const bool known = FindFlow(table, match).has_value();
    // Some of them within a call that fails: what it evicted is back.
    if (random() % 4 == 0) {
      FlowPut failing = PutOf(match);
      failing.replace = false;
      REQUIRE(ApplyChanges(table, {PutOf(match), failing}, true).front().error().number == EEXIST);
    } else {
      REQUIRE(ApplyChanges(table, {PutOf(match, 1 + random() % 4)}, true).front().ok());
      if (!known) ++added;
    }
    REQUIRE(table.size() <= 16);
    if (i % 64 == 0) {
      table.SetLimits(12, 0);
      table.SetLimits(16, 0);
    }
    take();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  take();
  CHECK(table.Reclaim() == 0);
  CHECK(forgotten == 0);
  CHECK(removed + table.size() == added);
  CHECK(packets > 0);
  table.RemoveContext(0);
  table.RemoveContext(1);
}

TEST_CASE("a datapath forwards while its table overflows: each hit is counted for one flow, once") {
  constexpr std::uint32_t kSources = 128, kLimit = 32;
  DatapathOptions options;
  options.topology = {{0}};
  options.flow_limit = kLimit;
  options.emc_insert_inv_prob = 1;
  Testbed bed(options);
  bed.Add(Null("to", 2));
  PortSpec source = Null("from", 1, true);
  source.netdev.generator.flows = kSources;
  std::vector<std::array<std::uint8_t, FrameGenerator::kShort>> frames(kSources);
  FrameGenerator(source.netdev.generator).Write(kSources, [&](std::size_t i) {
    return frames[i].data();
  });
  const PortInfo from = bed.Add(source);

  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> forwarded{0};
  std::thread tracer([&] {
    for (std::size_t i = 0; !stop; i = (i + 1) % kSources) {
      auto steps = bed->Trace(frames[i], PortNumber{1}, 0);
      POLLUX_CHECK(steps.ok());
      if (steps->back().kind == TraceStep::Kind::kOutput) ++forwarded;
    }
  });

  std::uint64_t packets = 0, removed = 0;
  const auto take = [&] {
    for (const Event& event : bed->TakeEvents()) {
      REQUIRE(event.kind == Event::Kind::kFlowsRemoved);
      for (const FlowView& flow : event.flows) packets += flow.stats.packets;
      removed += event.flows.size();
    }
  };
  Random random(3);
  std::uint64_t put = 0;
  for (int i = 0; i < 20'000 / kSlowdown || forwarded == 0; ++i) {
    const auto& frame = frames[random() % kSources];
    Match match = MatchInPort(1);
    match.key.eth_type = 0x0008, match.mask.eth_type = 0xffff;
    std::memcpy(&match.key.ipv4_src, frame.data() + 26, 4), match.mask.ipv4_src = UINT32_MAX;
    std::memcpy(&match.key.tp_src, frame.data() + 34, 2), match.mask.tp_src = 0xffff;
    if (!FindFlow(bed->flows(), match).has_value()) ++put;
    bed.Put(match, OutputTo({2}));
    REQUIRE(bed->flows().size() <= kLimit);
    if (i % 256 == 0) take();
  }
  stop = true;
  tracer.join();
  bed.Delete(from);
  for (int i = 0; i < 5000 && removed + kLimit < put; ++i) {
    take();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(removed + bed->flows().size() == put);
  std::size_t cursor = 0;
  for (const FlowView& flow : bed->flows().Dump(cursor, kLimit, {})) packets += flow.stats.packets;
  std::uint64_t hits = 0;
  for (const PmdStats& pmd : bed->stats().pmds) hits += pmd.emc_hits + pmd.megaflow_hits;
  CHECK(hits > 0);
  CHECK(packets == hits);
  bed.CheckLedgerCloses();
}

}  // namespace pollux::test
