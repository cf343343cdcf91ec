// Plans as tables: what changes, and above all what is not touched.

#include "datapath/reconfigure.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>

namespace pollux::test {
namespace {

const std::vector<Core> kFourCores = {{0, 0}, {1, 0}, {2, 1}, {3, 1}};

WantedPort PortOn(std::uint32_t number, std::uint32_t numa, std::uint32_t rxqs = 1,
                  bool pmd = true) {
  return {{number, 100 + number}, "p" + std::to_string(number), pmd, numa, rxqs, {}};
}

// What `actual` becomes when the plan is carried out.
Actual Applied(const Plan& plan, Actual actual) {
  for (const Core& core : plan.start) actual[core.id].numa = core.numa;
  for (const auto& [core, change] : plan.contexts) Note(change, actual[core]);
  for (const Core& core : plan.stop) actual.erase(core.id);
  return actual;
}

const Actual kNothing = {{kNonPmdCore, {}}};

std::size_t QueuesOn(const Actual& actual, std::uint32_t core) {
  return actual.at(core).queues.size();
}

}  // namespace

TEST_CASE("a plan for nothing is empty, and so is one for what is there already") {
  CHECK(MakePlan({kFourCores, {}}, kNothing).empty());
  const Wanted wanted = {kFourCores, {PortOn(1, 0, 3), PortOn(2, 1), PortOn(3, 0, 1, false)}};
  const Actual there = Applied(MakePlan(wanted, kNothing), kNothing);
  CHECK(MakePlan(wanted, there).empty());
}

TEST_CASE("threads start on the nodes that have a port to poll, and stop when the last one goes") {
  const Plan first = MakePlan({kFourCores, {PortOn(1, 0)}}, kNothing);
  CHECK(first.start == std::vector<Core>{{0, 0}, {1, 0}});
  const Actual one = Applied(first, kNothing);
  const Plan second = MakePlan({kFourCores, {PortOn(1, 0), PortOn(2, 1)}}, one);
  CHECK(second.start == std::vector<Core>{{2, 1}, {3, 1}});
  const Actual two = Applied(second, one);
  const Plan third = MakePlan({kFourCores, {PortOn(2, 1)}}, two);
  CHECK(third.stop == std::vector<Core>{{0, 0}, {1, 0}});
  CHECK(Applied(third, two).size() == 3);
  CHECK(MakePlan({kFourCores, {PortOn(3, 0, 1, false)}}, kNothing).start.empty());
}

TEST_CASE("S7 S10: a new port is added to every context, and nothing else is touched") {
  const Actual before =
      Applied(MakePlan({kFourCores, {PortOn(1, 0), PortOn(2, 1)}}, kNothing), kNothing);
  const Plan plan =
      MakePlan({kFourCores, {PortOn(1, 0), PortOn(2, 1), PortOn(3, 0, 1, false)}}, before);
  CHECK(plan.start.empty());
  CHECK(plan.stop.empty());
  CHECK(plan.contexts.size() == 5);  // Four threads and the non-PMD context.
  for (const auto& [core, change] : plan.contexts) {
    CHECK_FALSE(change.removes());
    CHECK(change.add_ports == std::vector<PortKey>{{3, 103}});
    CHECK(change.add_queues.size() == (core == kNonPmdCore ? 1u : 0u));
  }
}

TEST_CASE("S34: a newborn thread gets every port") {
  const Actual before =
      Applied(MakePlan({kFourCores, {PortOn(1, 0, 1, false), PortOn(2, 0)}}, kNothing), kNothing);
  const Plan plan =
      MakePlan({kFourCores, {PortOn(1, 0, 1, false), PortOn(2, 0), PortOn(3, 1)}}, before);
  REQUIRE(plan.start.size() == 2);
  for (const Core& core : plan.start) CHECK(plan.contexts.at(core.id).add_ports.size() == 3);
}

TEST_CASE(
    "S8: each queue goes to the thread of its node with the fewest; queues that may stay, stay") {
  Actual actual = Applied(MakePlan({kFourCores, {PortOn(1, 0, 3)}}, kNothing), kNothing);
  CHECK(QueuesOn(actual, 0) == 2);
  CHECK(QueuesOn(actual, 1) == 1);
  const auto on_zero = actual.at(0).queues;
  actual = Applied(MakePlan({kFourCores, {PortOn(1, 0, 3), PortOn(2, 0)}}, actual), actual);
  CHECK(QueuesOn(actual, 1) == 2);
  CHECK(actual.at(0).queues == on_zero);
  // A core less: only its queues move.
  const Plan shrink = MakePlan({{{0, 0}}, {PortOn(1, 0, 3), PortOn(2, 0)}}, actual);
  CHECK(shrink.contexts.at(0).remove_queues.empty());
  CHECK(shrink.contexts.at(0).add_queues.size() == 2);
  CHECK(QueuesOn(Applied(shrink, actual), 0) == 4);
}

TEST_CASE(
    "a pinned queue goes to its core, on any node; without a thread there it is placed as others "
    "are") {
  WantedPort port = PortOn(1, 0, 2);
  port.affinity = {{0, 3}, {1, 9}};
  const Plan plan = MakePlan({kFourCores, {port, PortOn(2, 1)}}, kNothing);
  const Actual actual = Applied(plan, kNothing);
  CHECK(std::find(actual.at(3).queues.begin(), actual.at(3).queues.end(), QueueKey{{1, 101}, 0}) !=
        actual.at(3).queues.end());
  CHECK(QueuesOn(actual, 0) == 1);
  REQUIRE(plan.warnings.size() == 1);
  CHECK(plan.warnings[0].find("core 9") != std::string::npos);
}

TEST_CASE("S9: a node without a thread: a warning, no queue, but the port is everywhere") {
  const Plan plan = MakePlan({{{0, 0}}, {PortOn(1, 0), PortOn(2, 1, 2)}}, kNothing);
  REQUIRE(plan.warnings.size() == 1);
  CHECK(plan.warnings[0].find("no pmd thread on numa node 1") != std::string::npos);
  const Actual actual = Applied(plan, kNothing);
  CHECK(actual.at(0).ports.size() == 2);
  CHECK(actual.at(0).queues.size() == 1);
  CHECK(actual.at(kNonPmdCore).ports.size() == 2);
}

TEST_CASE("S20: a port with a new number is removed everywhere and added everywhere") {
  const Actual before =
      Applied(MakePlan({kFourCores, {PortOn(1, 0), PortOn(2, 1)}}, kNothing), kNothing);
  WantedPort moved = PortOn(1, 0);
  moved.key.number = 7;
  const Plan plan = MakePlan({kFourCores, {moved, PortOn(2, 1)}}, before);
  CHECK(plan.contexts.size() == 5);
  for (const auto& [core, change] : plan.contexts) {
    CHECK(change.remove_ports == std::vector<PortKey>{{1, 101}});
    CHECK(change.add_ports == std::vector<PortKey>{{7, 101}});
  }
}

TEST_CASE("one port more or less: the quick plan is the plan, and nearly always there is one") {
  std::mt19937 random(7);
  const auto any = [&](std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random);
  };
  int steps = 0;
  int quick = 0;
  for (int round = 0; round < 20; ++round) {
    Wanted wanted = {kFourCores, {}};
    Actual actual = kNothing;
    for (std::uint32_t step = 0; step < 100; ++step) {
      ++steps;
      std::optional<Plan> plan;
      const Plan before = MakePlan(wanted, actual);
      REQUIRE(before.empty());
      const bool warned = !before.warnings.empty();
      if (wanted.ports.size() < 5 || any(2) == 0) {
        WantedPort port = PortOn(1 + any(1000), any(2), 1 + any(4), any(4) != 0);
        port.key.id = 1000 * (round + 1) + step;
        if (std::any_of(wanted.ports.begin(), wanted.ports.end(), [&](const WantedPort& other) {
              return other.key.number == port.key.number;
            }))
          continue;
        if (any(4) == 0) port.affinity = {{any(port.rxqs), any(5)}};
        wanted.ports.push_back(port);
        if (!warned) plan = PlanArrival(port, actual);
      } else {
        const auto leaves =
            wanted.ports.begin() + any(static_cast<std::uint32_t>(wanted.ports.size()));
        const WantedPort port = *leaves;
        wanted.ports.erase(leaves);
        const bool node_needed = std::any_of(
            wanted.ports.begin(), wanted.ports.end(),
            [&](const WantedPort& other) { return other.pmd && other.numa == port.numa; });
        if (!warned) plan = PlanDeparture(port, node_needed, actual);
      }
      const Plan whole = MakePlan(wanted, actual);
      if (plan.has_value()) {
        ++quick;
        REQUIRE(*plan == whole);
      }
      actual = Applied(whole, std::move(actual));
    }
  }
  CHECK(quick > steps / 3);
}

TEST_CASE("a stopping thread gives up its queues before others take them over") {
  const Actual before =
      Applied(MakePlan({{{0, 0}, {1, 0}}, {PortOn(1, 0, 2)}}, kNothing), kNothing);
  const Plan plan = MakePlan({{{1, 0}}, {PortOn(1, 0, 2)}}, before);
  CHECK(plan.stop == std::vector<Core>{{0, 0}});
  CHECK(plan.contexts.at(0).remove_queues.size() == 1);
  CHECK(plan.contexts.at(0).remove_ports.size() == 1);
  CHECK(plan.contexts.at(1).add_queues.size() == 1);
}

}  // namespace pollux::test
