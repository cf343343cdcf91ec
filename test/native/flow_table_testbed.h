// A flow table for tests, and flows in few words.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "classifier/flow_table.h"
#include "support/flow_changes.h"
#include "testbed.h"

namespace pollux::test {

inline std::shared_ptr<const ActionList> Output(std::uint32_t port, const Match& match) {
  return ActionList::Parse(OutputTo({port}), match).value();
}

inline FlowPut PutOf(const Match& match, std::uint32_t port = 2) {
  FlowPut put;
  put.match = match;
  put.actions = Output(port, match);
  return put;
}

inline FlowPut Pinned(FlowPut put) {
  put.idle_timeout_ms = 0;
  return put;
}

// A table with one context, and what tests ask of it.
struct Table {
  explicit Table(std::size_t limit = 1000, std::int64_t max_idle_ms = 0)
      : flows(clock, limit, max_idle_ms) {
    flows.AddContext(0);
  }
  ~Table() { flows.RemoveContext(0); }

  FlowOutcome Put(const FlowPut& put) { return ApplyChanges(flows, {put}, false).front(); }
  Megaflow* Lookup(const Flow& key) {
    const Dpcls* classifier = flows.ClassifierOf(PortNumber{key.in_port});
    return classifier == nullptr ? nullptr : classifier->Lookup(Compress(key));
  }
  bool Has(std::uint32_t port) { return FindFlow(flows, MatchInPort(port)).has_value(); }
  void Hit(std::uint32_t port, std::uint64_t packets = 1) {
    const Megaflow* flow = Lookup(MatchInPort(port).key);
    REQUIRE(flow != nullptr);
    flows.CountersOf(*flow, 0).Hit(packets, 60 * packets, static_cast<std::uint64_t>(clock.NowMs()),
                                   0x12);
  }
  std::vector<FlowView> TakeRemoved() {
    std::size_t forgotten = 0;
    auto removed = flows.TakeRemoved(forgotten);
    CHECK(forgotten == 0);
    return removed;
  }
  std::vector<std::uint32_t> RemovedPorts() {
    std::vector<std::uint32_t> ports;
    for (const FlowView& view : TakeRemoved()) ports.push_back(view.match().key.in_port);
    std::sort(ports.begin(), ports.end());
    return ports;
  }

  Clock clock{true};
  FlowTable flows;
};

}  // namespace pollux::test
