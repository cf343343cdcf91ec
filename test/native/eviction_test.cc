// A full flow table: which flow makes room, which never does, and what is told of those that went.

#include <doctest/doctest.h>

#include "flow_table_testbed.h"

namespace pollux::test {

TEST_CASE("a full table makes room: the least recently used goes, and is reported") {
  Table table(4);
  for (std::uint32_t port = 1; port <= 4; ++port) {
    REQUIRE(table.Put(PutOf(MatchInPort(port))).ok());
    table.Hit(port, port);
    table.clock.Advance(10);
  }
  table.Hit(1);
  table.clock.Advance(10);
  REQUIRE(table.Put(PutOf(MatchInPort(5))).ok());
  CHECK(table.flows.size() == 4);
  CHECK_FALSE(table.Has(2));
  const auto removed = table.TakeRemoved();
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].match().key.in_port == 2);
  CHECK(removed[0].stats.packets == 2);
  CHECK(removed[0].stats.bytes == 120);
  CHECK(removed[0].stats.tcp_flags == 0x12);
  // Replacing needs no room, nor does what is refused make any.
  REQUIRE(table.Put(PutOf(MatchInPort(5), 9)).ok());
  FlowPut refused = PutOf(MatchInPort(5));
  refused.replace = false;
  CHECK_FALSE(table.Put(refused).ok());
  Match overlapping = MatchInPort(5);
  overlapping.mask.eth_type = 0xffff;
  CHECK_FALSE(table.Put(PutOf(overlapping)).ok());
  CHECK(table.flows.size() == 4);
  CHECK(table.TakeRemoved().empty());
}

TEST_CASE("pinned flows are never evicted; when nothing else is left, ENOSPC") {
  Table table(3);
  REQUIRE(table.Put(Pinned(PutOf(MatchInPort(1)))).ok());
  REQUIRE(table.Put(PutOf(MatchInPort(2))).ok());
  REQUIRE(table.Put(Pinned(PutOf(MatchInPort(3)))).ok());
  REQUIRE(table.Put(PutOf(MatchInPort(4))).ok());
  CHECK(table.RemovedPorts() == std::vector<std::uint32_t>{2});
  // A flow that is replaced is pinned, or not, as the new one says.
  REQUIRE(table.Put(Pinned(PutOf(MatchInPort(4)))).ok());
  CHECK(table.Put(PutOf(MatchInPort(5))).error().number == ENOSPC);
  FlowPut optional = PutOf(MatchInPort(5));
  optional.optional = true;
  CHECK_FALSE(std::get<bool>(table.Put(optional).value()));
  CHECK(table.flows.size() == 3);
  REQUIRE(table.Put(PutOf(MatchInPort(1))).ok());
  REQUIRE(table.Put(PutOf(MatchInPort(5))).ok());
  CHECK(table.RemovedPorts() == std::vector<std::uint32_t>{1});
  // Deleting makes room as well.
  REQUIRE(table.Put(Pinned(PutOf(MatchInPort(5)))).ok());
  CHECK(table.Put(PutOf(MatchInPort(6))).error().number == ENOSPC);
  REQUIRE(
      ApplyChanges(table.flows, {FlowDelete{MatchInPort(3)}, PutOf(MatchInPort(6))}, true).size() ==
      2);
  CHECK(table.flows.size() == 3);
}

TEST_CASE("one call never evicts what it put itself") {
  Table table(3);
  REQUIRE(table.Put(PutOf(MatchInPort(1))).ok());
  REQUIRE(table.Put(PutOf(MatchInPort(2))).ok());
  const std::vector<FlowChange> changes = {PutOf(MatchInPort(1), 9), PutOf(MatchInPort(3)),
                                           PutOf(MatchInPort(4)), PutOf(MatchInPort(5))};
  const auto refused = ApplyChanges(table.flows, changes, true);
  REQUIRE(refused.size() == 1);
  CHECK(refused.front().error().number == ENOSPC);
  CHECK(table.Has(2));
  CHECK(FindFlow(table.flows, MatchInPort(1))->actions->sole_output() == PortNumber{2});
  CHECK(table.TakeRemoved().empty());
  const auto outcomes = ApplyChanges(table.flows, changes, false);
  REQUIRE(outcomes.size() == 4);
  for (std::size_t i = 0; i < 3; ++i) CHECK(outcomes[i].ok());
  CHECK(outcomes[3].error().number == ENOSPC);
  CHECK(table.RemovedPorts() == std::vector<std::uint32_t>{2});
  CHECK(table.flows.size() == 3);
}

TEST_CASE("an atomic apply that evicted and then failed brings the evicted flows back") {
  Table table(8);
  for (std::uint32_t port = 1; port <= 8; ++port) {
    REQUIRE(table.Put(PutOf(MatchInPort(port), port + 100)).ok());
    table.Hit(port, port);
  }
  std::vector<FlowChange> changes;
  for (std::uint32_t port = 11; port <= 15; ++port) changes.push_back(PutOf(MatchInPort(port)));
  changes.push_back(FlowDelete{MatchInPort(12)});
  FlowPut failing = PutOf(MatchInPort(11));
  failing.replace = false;
  changes.push_back(failing);
  REQUIRE(ApplyChanges(table.flows, changes, true).front().error().number == EEXIST);
  CHECK(table.flows.size() == 8);
  CHECK(table.TakeRemoved().empty());
  for (std::uint32_t port = 1; port <= 8; ++port) {
    const auto view = FindFlow(table.flows, MatchInPort(port));
    REQUIRE(view.has_value());
    CHECK(view->stats.packets == port);
    CHECK(view->actions->sole_output() == PortNumber{port + 100});
  }
  // And they can be evicted as before.
  changes.pop_back();
  for (const auto& outcome : ApplyChanges(table.flows, changes, true)) REQUIRE(outcome.ok());
  CHECK(table.flows.size() == 7);
  CHECK(table.TakeRemoved().size() == 5);
}

TEST_CASE("a lowered limit evicts down to it, least recently used first, pinned flows excepted") {
  Table table(100);
  for (std::uint32_t port = 1; port <= 20; ++port) {
    REQUIRE(
        table.Put(port <= 3 ? Pinned(PutOf(MatchInPort(port))) : PutOf(MatchInPort(port))).ok());
  }
  for (std::uint32_t port = 20; port > 0; --port) {
    table.clock.Advance(1);
    table.Hit(port);
  }
  table.flows.SetLimits(10, 0);
  CHECK(table.flows.size() == 10);
  CHECK(table.RemovedPorts() == std::vector<std::uint32_t>{11, 12, 13, 14, 15, 16, 17, 18, 19, 20});
  table.flows.SetLimits(2, 0);
  CHECK(table.flows.size() == 3);
  for (std::uint32_t port = 1; port <= 3; ++port) CHECK(table.Has(port));
  CHECK(table.Put(PutOf(MatchInPort(9))).error().number == ENOSPC);
  table.flows.SetLimits(4, 0);
  REQUIRE(table.Put(PutOf(MatchInPort(9))).ok());
  CHECK(table.flows.size() == 4);
}

TEST_CASE("flows in use survive a flood of new ones") {
  constexpr std::uint32_t kUsed = 50, kLimit = 2000;
  Table table(kLimit);
  for (std::uint32_t port = 1; port <= kLimit; ++port)
    REQUIRE(table.Put(PutOf(MatchInPort(port))).ok());
  table.clock.Advance(1);
  for (std::uint32_t used = 1; used <= kUsed; ++used) table.Hit(used);
  for (std::uint32_t port = 10'000; port < 20'000; ++port) {
    table.clock.Advance(1);
    for (std::uint32_t used = 1; used <= kUsed; ++used) {
      if ((port + used) % 50 == 0) table.Hit(used);
    }
    REQUIRE(table.Put(PutOf(MatchInPort(port))).ok());
  }
  CHECK(table.flows.size() == kLimit);
  for (std::uint32_t used = 1; used <= kUsed; ++used) CHECK(table.Has(used));
  CHECK(table.TakeRemoved().size() == 10'000);
}

}  // namespace pollux::test
