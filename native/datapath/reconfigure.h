// Changing a running datapath by comparing what is wanted with what is.
//
// MakePlan() is a pure function of plain values: it says which threads start and stop, which queues
// move, which ports each context gains and loses, and nothing about what stays. Datapath carries a
// plan out in this order, which is what makes it safe:
//
//   1. take removed ports and moving queues off their contexts; reload those; await all
//   2. stop threads that are not wanted any more
//   3. start newborn threads, complete with every port and their queues
//   4. add ports and queues to the others; reload those; await all
//
// so that a queue is never polled by two threads and a device never outlives the acknowledgements
// of its removal.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "datapath/topology.h"

namespace pollux {

inline constexpr std::uint32_t kNonPmdCore = UINT32_MAX;

// A port as contexts know it. A port that changes its number becomes another PortKey: it is removed
// and added.
struct PortKey {
  std::uint32_t number = 0;
  std::uint32_t id = 0;
  friend auto operator<=>(const PortKey&, const PortKey&) = default;
};
struct QueueKey {
  PortKey port;
  std::uint32_t queue = 0;
  friend auto operator<=>(const QueueKey&, const QueueKey&) = default;
};

struct WantedPort {
  PortKey key;
  std::string name;
  bool pmd = true;
  std::uint32_t numa = 0;
  std::uint32_t rxqs = 1;
  std::map<std::uint32_t, std::uint32_t> affinity;  // Queue to core.
};
struct Wanted {
  std::vector<Core> pmd_cores;  // Cores that may get a thread, ascending.
  std::vector<WantedPort> ports;
  // Their threads stay, though no port may want them just now.
  std::vector<std::uint32_t> kept_nodes = {};
};

// What one context has, in its shared map and poll list, each in ascending order.
struct ContextState {
  std::uint32_t numa = 0;
  std::vector<PortKey> ports;
  std::vector<QueueKey> queues;
};
// By core; the non-PMD context is always there, under kNonPmdCore.
using Actual = std::map<std::uint32_t, ContextState>;

struct ContextChange {
  std::vector<PortKey> remove_ports;
  std::vector<QueueKey> remove_queues;
  std::vector<PortKey> add_ports;
  std::vector<QueueKey> add_queues;

  friend bool operator==(const ContextChange&, const ContextChange&) = default;
  bool removes() const { return !remove_ports.empty() || !remove_queues.empty(); }
  bool adds() const { return !add_ports.empty() || !add_queues.empty(); }
};

struct Plan {
  std::vector<Core> stop;
  std::vector<Core> start;
  std::map<std::uint32_t, ContextChange>
      contexts;  // By core; only those that change. Newborns: all they get.
  std::vector<std::string> warnings;

  friend bool operator==(const Plan&, const Plan&) = default;
  bool empty() const { return stop.empty() && start.empty() && contexts.empty(); }
};

// A thread exists on each wanted core whose node has a PMD port. Queues stay where they are if they
// may; the others go to their pinned core, or to the thread of their node with the fewest queues,
// the lowest core first. A port on a node without a thread is not polled, and can still be sent to:
// every context has every port. Its work grows with all that there is.
Plan MakePlan(const Wanted& wanted, const Actual& actual);

// The same plan for the usual steps, one port more or one less where all is as it should be and
// nothing was warned of. Their work does not grow with the number of ports, so that ten thousand
// can come one after the other. nullopt: threads would start or stop, or there is something to warn
// of; MakePlan() knows what to do.
std::optional<Plan> PlanArrival(const WantedPort& port, const Actual& actual);
// `node_needed`: another port wants to be polled by the threads of its node.
std::optional<Plan> PlanDeparture(const WantedPort& port, bool node_needed, const Actual& actual);

// What a context has after a change. Elements of a change are in ascending order.
void Note(const ContextChange& change, ContextState& state);

}  // namespace pollux
