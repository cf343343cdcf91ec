// Tables that grow beside those who read them without a lock.

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <thread>
#include <type_traits>

#include "flow_table_testbed.h"

namespace pollux::test {
namespace {

// What readers may still find cannot be retired: there is nothing to say it with.
static_assert(!std::is_constructible_v<Unpublished<Megaflow*>, Megaflow*>);
static_assert(!std::is_copy_constructible_v<Unpublished<Megaflow*>>);

constexpr std::uint32_t kFlows = 100;
constexpr int kRounds = 1000;

Match MatchOf(std::uint32_t i) {
  Match match = MatchInPort(1);
  match.mask.ipv4_dst = UINT32_MAX;
  match.key.ipv4_dst = i;
  return match;
}

// Looks flows up and quiesces, with nothing in between, until told to stop.
void Read(FlowTable& table, std::size_t slot, const std::atomic<bool>& stop) {
  Qsbr::Reader reader(table.qsbr());
  std::array<Miniflow, kBatchSize> keys;
  for (std::uint32_t i = 0; i < kBatchSize; ++i) keys[i] = Compress(MatchOf(i).key);
  std::array<Megaflow*, kBatchSize> flows{};
  reader.Online();
  while (!stop) {
    if (const Dpcls* classifier = table.ClassifierOf(PortNumber{1}))
      classifier->LookupBatch(keys.data(), kBatchSize, flows.data(), table.HitsOf(slot));
    reader.Quiesce();
  }
  reader.Offline();
}

}  // namespace

TEST_CASE("buckets that were outgrown are freed when nobody looks into them any more") {
  Clock clock;
  FlowTable table(clock, 10'000, 0);
  table.AddContext(0);
  std::atomic<bool> stop{false};
  std::thread reader([&] { Read(table, 0, stop); });
  for (int round = 0; round < kRounds; ++round) {
    for (std::uint32_t i = 0; i < kFlows; ++i)
      REQUIRE(ApplyChanges(table, {PutOf(MatchOf(i))}, false).front().ok());
    CHECK(table.Clear() == kFlows);
  }
  stop = true;
  reader.join();
  table.RemoveContext(0);
  CHECK(table.Reclaim() == 0);
}

TEST_CASE("a port without flows has no classifier from the next look on, and may have one again") {
  Table table(100'000);
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t port = 1; port <= 2000; ++port)
      REQUIRE(table.Put(PutOf(MatchInPort(port))).ok());
    REQUIRE(table.flows.ClassifierOf(PortNumber{2000}) != nullptr);
    for (std::uint32_t port = 2; port <= 2000; ++port)
      REQUIRE(ApplyChanges(table.flows, {FlowDelete{MatchInPort(port)}}, false).front().ok());
    table.flows.RemoveIdle();
    CHECK(table.flows.ClassifierOf(PortNumber{1}) != nullptr);
    for (std::uint32_t port = 2; port <= 2000; ++port)
      CHECK(table.flows.ClassifierOf(PortNumber{port}) == nullptr);
    CHECK(table.flows.Reclaim() == 0);
    CHECK(table.Has(1));
  }
}

}  // namespace pollux::test
