// Flow table, classifier and cache against a linear scan, too simple to be wrong; and their
// behaviour under concurrent change.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "classifier/emc.h"
#include "classifier/flow_table.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

// Keys and masks from small alphabets, so that rules meet packets often.
Flow RandomKey(Random& random) {
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
  return flow;
}

FlowMask RandomMask(Random& random) {
  FlowMask mask;
  mask.in_port = UINT32_MAX;
  mask.recirc_id = UINT32_MAX;
  if (random() % 2) mask.eth_type = 0xffff;
  if (random() % 2) mask.eth_src.fill(0xff);
  if (random() % 2) mask.ipv4_src = random() % 2 ? UINT32_MAX : 0x0000ffff;
  if (random() % 2) mask.ipv4_dst = random() % 2 ? UINT32_MAX : 0x000000ff;
  if (random() % 2) mask.nw_proto = 0xff;
  if (random() % 2) mask.tp_dst = 0xffff;
  return mask;
}

std::shared_ptr<const ActionList> Output(std::uint32_t port, const Match& match) {
  return ActionList::Parse(OutputTo({port}), match).value();
}

FlowPut PutOf(const Match& match, std::uint32_t port = 2) {
  FlowPut put;
  put.match = match;
  put.actions = Output(port, match);
  return put;
}

Ufid UfidOf(std::uint32_t n) {
  Ufid ufid{};
  std::memcpy(ufid.data(), &n, sizeof n);
  ufid[15] = 1;
  return ufid;
}

bool Takes(const Match& match, const Flow& key) { return ApplyMask(key, match.mask) == match.key; }

}  // namespace

TEST_CASE("the classifier and the cache agree with a linear scan, for thousands of rule sets") {
  Clock clock(true);
  for (std::uint32_t seed = 0; seed < 2000u / kSlowdown; ++seed) {
    INFO("seed ", seed);
    Random random(seed);
    FlowTable table(clock, 1000, 0);
    Emc emc;
    std::vector<std::pair<Ufid, Match>> rules;  // The oracle.
    for (std::uint32_t step = 0; step < 60; ++step) {
      // Change something: rules may overlap, so each has an id of its own.
      if (rules.empty() || random() % 3 != 0) {
        Match match;
        match.mask = RandomMask(random);
        match.key = ApplyMask(RandomKey(random), match.mask);
        FlowPut put = PutOf(match);
        put.ufid = UfidOf(step + 1);
        const bool known = std::any_of(rules.begin(), rules.end(), [&](const auto& rule) {
          return rule.second.key == match.key && rule.second.mask == match.mask;
        });
        const auto outcome = table.Apply({put}, false);
        REQUIRE(outcome.front().ok() != known);  // The same match under another id is refused.
        if (!known) rules.emplace_back(*put.ufid, match);
      } else {
        const std::size_t i = random() % rules.size();
        const auto outcome = table.Apply({FlowDelete{rules[i].first}}, false);
        REQUIRE(std::get<bool>(outcome.front().value()));
        rules.erase(rules.begin() + static_cast<std::ptrdiff_t>(i));
      }
      REQUIRE(table.size() == rules.size());
      // Look packets up.
      for (int i = 0; i < 10; ++i) {
        const Flow key = RandomKey(random);
        const Miniflow miniflow = Compress(key);
        const std::uint32_t hash = Hash(miniflow);
        const bool any = std::any_of(rules.begin(), rules.end(),
                                     [&](const auto& rule) { return Takes(rule.second, key); });
        const Dpcls* classifier = table.ClassifierOf(PortNumber{1});
        Megaflow* found = classifier == nullptr ? nullptr : classifier->Lookup(miniflow);
        REQUIRE((found != nullptr) == any);
        if (found != nullptr) REQUIRE(Takes(found->match, key));
        // The cache may know an earlier answer, if that flow is still there; never one that is
        // gone.
        Megaflow* cached = emc.Lookup(miniflow, hash);
        if (cached != nullptr) {
          REQUIRE(any);
          REQUIRE(Takes(cached->match, key));
          REQUIRE(table.Find(cached->ufid).has_value());
        } else if (found != nullptr) {
          emc.Insert(miniflow, hash, found);
          REQUIRE(emc.Lookup(miniflow, hash) == found);
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
  const auto a = table.Apply({PutOf(narrow)}, false).front();
  REQUIRE(a.ok());
  // The wider flow's own key is taken by the narrow one: without an id of its own it is refused.
  const auto refused = table.Apply({PutOf(wide)}, false).front();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().number == EINVAL);
  FlowPut put = PutOf(wide);
  put.ufid = UfidOf(7);
  REQUIRE(table.Apply({put}, false).front().ok());
  CHECK(table.size() == 2);
  CHECK(table.masks() == 2);
  CHECK(table.Find(narrow)->ufid == std::get<Ufid>(a.value()));
  CHECK(table.Find(wide)->ufid == UfidOf(7));
}

TEST_CASE("put replaces, or says EEXIST; a full table says ENOSPC; in_port must be a port") {
  Clock clock(true);
  FlowTable table(clock, 2, 0);
  const Match match = MatchInPort(1);
  const auto first = table.Apply({PutOf(match, 2)}, false).front();
  REQUIRE(first.ok());
  const auto again = table.Apply({PutOf(match, 3)}, false).front();
  REQUIRE(again.ok());
  CHECK(std::get<Ufid>(first.value()) == std::get<Ufid>(again.value()));
  CHECK(table.Find(match)->actions->sole_output() == PortNumber{3});
  FlowPut no_replace = PutOf(match, 4);
  no_replace.replace = false;
  CHECK(table.Apply({no_replace}, false).front().error().number == EEXIST);
  REQUIRE(table.Apply({PutOf(MatchInPort(2))}, false).front().ok());
  CHECK(table.Apply({PutOf(MatchInPort(3))}, false).front().error().number == ENOSPC);
  CHECK(table.size() == 2);
}

TEST_CASE("an atomic apply that fails leaves everything as it was, whichever step fails") {
  Clock clock(true);
  for (std::size_t bad = 0; bad < 5; ++bad) {
    FlowTable table(clock, 100, 0);
    table.AddContext(0);
    REQUIRE(table.Apply({PutOf(MatchInPort(1), 9), PutOf(MatchInPort(2), 9)}, false).size() == 2);
    const Megaflow* flow = table.ClassifierOf(PortNumber{2})->Lookup(Compress(MatchInPort(2).key));
    table.CountersOf(*flow, 0).Hit(5, 300, 1, 0);
    std::vector<FlowChange> changes = {PutOf(MatchInPort(3)), PutOf(MatchInPort(1), 4),
                                       FlowDelete{MatchInPort(2)}, PutOf(MatchInPort(2), 5),
                                       FlowDelete{MatchInPort(3)}};
    FlowPut failing = PutOf(MatchInPort(1));
    failing.replace = false;
    changes.insert(changes.begin() + static_cast<std::ptrdiff_t>(bad), failing);
    const auto outcomes = table.Apply(changes, true);
    REQUIRE(outcomes.size() == 1);
    CHECK(outcomes.front().error().number == EEXIST);
    CHECK(table.size() == 2);
    CHECK_FALSE(table.Find(MatchInPort(3)).has_value());
    CHECK(table.Find(MatchInPort(1))->actions->sole_output() == PortNumber{9});
    CHECK(table.Find(MatchInPort(2))->actions->sole_output() == PortNumber{9});
    CHECK(table.Find(MatchInPort(2))->stats.packets == 5);
    table.RemoveContext(0);
  }
}

TEST_CASE("a dump sees every flow that stays exactly once, whatever changes meanwhile") {
  Clock clock(true);
  FlowTable table(clock, 100'000, 0);
  for (std::uint32_t port = 1; port <= 3000; ++port) {
    REQUIRE(table.Apply({PutOf(MatchInPort(port))}, false).front().ok());
  }
  std::vector<int> seen(60'000, 0);
  std::size_t cursor = 0;
  std::uint32_t round = 0;
  for (;;) {
    const auto views = table.Dump(cursor, 100, {});
    if (views.empty()) break;
    for (const FlowView& view : views) ++seen[view.match.key.in_port];
    // Odd ones go, new ones come.
    (void)table.Apply(
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
  for (const auto& outcome : table.Apply({PutOf(MatchInPort(1)), forever, brief}, false))
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
  auto removed = table.TakeRemoved();
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].match.key.in_port == 3);
  clock.Advance(9'999);
  table.RemoveIdle();
  CHECK(table.size() == 2);
  clock.Advance(1);
  table.RemoveIdle();
  removed = table.TakeRemoved();
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].stats.packets == 1);
  CHECK(removed[0].stats.bytes == 60);
  CHECK(removed[0].stats.tcp_flags == 0x12);
  clock.Advance(1'000'000);
  table.RemoveIdle();
  CHECK(table.size() == 1);
  table.RemoveContext(0);
}

TEST_CASE("readers without a lock see whole flows while writers put, replace and delete them") {
  Clock clock;
  FlowTable table(clock, 10'000, 0);
  table.AddContext(0);
  table.AddContext(1);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (std::size_t slot = 0; slot < 2; ++slot) {
    readers.emplace_back([&, slot] {
      Qsbr::Reader reader(table.qsbr());
      Emc emc;
      Random random(static_cast<std::uint32_t>(slot));
      reader.Online();
      while (!stop) {
        const std::uint32_t port = 1 + random() % 64;
        const Miniflow key = Compress(MatchInPort(port).key);
        const std::uint32_t hash = Hash(key);
        Megaflow* flow = emc.Lookup(key, hash);
        if (flow == nullptr) {
          const Dpcls* classifier = table.ClassifierOf(PortNumber{port});
          flow = classifier == nullptr ? nullptr : classifier->Lookup(key);
          if (flow != nullptr) emc.Insert(key, hash, flow);
        }
        if (flow != nullptr) {
          POLLUX_CHECK(flow->match.key.in_port == port);
          POLLUX_CHECK(flow->actions.load(std::memory_order_acquire)->actions().size() == 1);
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
    });
  }
  Random random(99);
  for (int i = 0; i < 20'000 / kSlowdown; ++i) {
    const Match match = MatchInPort(1 + random() % 64);
    if (random() % 2) {
      REQUIRE(table.Apply({PutOf(match, 1 + random() % 4)}, random() % 2).front().ok());
    } else {
      REQUIRE(table.Apply({FlowDelete{match}}, false).front().ok());
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  table.RemoveContext(0);
  table.RemoveContext(1);
  CHECK(table.Reclaim() == 0);
}

}  // namespace pollux::test
