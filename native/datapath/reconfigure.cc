#include "datapath/reconfigure.h"

#include <algorithm>
#include <set>

namespace pollux {
namespace {

// Elements of sorted `a` that are not in sorted `b`.
template <typename T>
std::vector<T> Minus(std::vector<T> a, std::vector<T> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<T> rest;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(rest));
  return rest;
}

// Which context polls each queue, as it should be.
class Schedule {
 public:
  Schedule(const std::vector<Core>& threads, const Actual& actual) : threads_(threads) {
    for (const Core& core : threads) queues_[core.id];
    queues_[kNonPmdCore];
    for (const auto& [core, state] : actual) {
      for (const QueueKey& queue : state.queues) was_on_[queue] = core;
    }
  }

  void Place(const WantedPort& port, std::vector<std::string>& warnings) {
    if (!port.pmd) {
      for (std::uint32_t q = 0; q < port.rxqs; ++q) queues_[kNonPmdCore].push_back({port.key, q});
      return;
    }
    const bool polled = std::any_of(threads_.begin(), threads_.end(),
                                    [&](const Core& c) { return c.numa == port.numa; });
    bool warned = false;
    for (std::uint32_t q = 0; q < port.rxqs; ++q) {
      const QueueKey queue{port.key, q};
      if (const auto pinned = port.affinity.find(q); pinned != port.affinity.end()) {
        if (IsThread(pinned->second)) {
          queues_[pinned->second].push_back(queue);
          continue;
        }
        warnings.push_back("core " + std::to_string(pinned->second) + " has no pmd thread: queue " +
                           std::to_string(q) + " of port " + port.name + " is not pinned");
      }
      if (!polled) {
        if (!warned) {
          warnings.push_back("there is no pmd thread on numa node " + std::to_string(port.numa) +
                             ": port " + port.name + " is not polled");
        }
        warned = true;
        continue;
      }
      floating_.push_back({queue, port.numa});
    }
  }

  // Queues that are pinned nowhere: those that may stay do, then the rest is spread.
  void PlaceFloating() {
    std::vector<Floating> homeless;
    for (const Floating& floating : floating_) {
      const auto was = was_on_.find(floating.queue);
      const bool stays = was != was_on_.end() &&
                         std::any_of(threads_.begin(), threads_.end(), [&](const Core& core) {
                           return core.id == was->second && core.numa == floating.numa;
                         });
      if (stays) {
        queues_[was->second].push_back(floating.queue);
      } else {
        homeless.push_back(floating);
      }
    }
    for (const Floating& floating : homeless) {
      const Core* best = nullptr;
      for (const Core& core : threads_) {
        if (core.numa != floating.numa) continue;
        if (best == nullptr || queues_[core.id].size() < queues_[best->id].size()) best = &core;
      }
      queues_[best->id].push_back(floating.queue);
    }
  }

  const std::map<std::uint32_t, std::vector<QueueKey>>& queues() const { return queues_; }

 private:
  struct Floating {
    QueueKey queue;
    std::uint32_t numa;
  };
  bool IsThread(std::uint32_t core) const {
    return std::any_of(threads_.begin(), threads_.end(),
                       [&](const Core& c) { return c.id == core; });
  }

  const std::vector<Core>& threads_;
  std::map<std::uint32_t, std::vector<QueueKey>> queues_;
  std::map<QueueKey, std::uint32_t> was_on_;
  std::vector<Floating> floating_;
};

}  // namespace

Plan MakePlan(const Wanted& wanted, const Actual& actual) {
  Plan plan;

  // Threads.
  std::set<std::uint32_t> busy_nodes(wanted.kept_nodes.begin(), wanted.kept_nodes.end());
  for (const WantedPort& port : wanted.ports) {
    if (port.pmd) busy_nodes.insert(port.numa);
  }
  std::vector<Core> threads;
  for (const Core& core : wanted.pmd_cores) {
    if (busy_nodes.contains(core.numa)) threads.push_back(core);
  }
  std::vector<Core> running;
  for (const auto& [core, state] : actual) {
    if (core != kNonPmdCore) running.push_back({core, state.numa});
  }
  plan.stop = Minus(running, threads);
  plan.start = Minus(threads, running);

  // Queues.
  Schedule schedule(threads, actual);
  for (const WantedPort& port : wanted.ports) schedule.Place(port, plan.warnings);
  schedule.PlaceFloating();

  // Contexts: every one has every port.
  std::vector<PortKey> ports;
  for (const WantedPort& port : wanted.ports) ports.push_back(port.key);
  for (const auto& [core, queues] : schedule.queues()) {
    const auto found = actual.find(core);
    const ContextState state = found == actual.end() ? ContextState{} : found->second;
    ContextChange change;
    change.remove_ports = Minus(state.ports, ports);
    change.add_ports = Minus(ports, state.ports);
    change.remove_queues = Minus(state.queues, queues);
    change.add_queues = Minus(queues, state.queues);
    if (change.removes() || change.adds()) plan.contexts[core] = std::move(change);
  }
  // Threads that stop let go of all they have first, so that others can take it over.
  for (const Core& core : plan.stop) {
    const ContextState& state = actual.at(core.id);
    plan.contexts[core.id] = {state.ports, state.queues, {}, {}};
  }
  return plan;
}

std::optional<Plan> PlanArrival(const WantedPort& port, const Actual& actual) {
  const auto polls = [&](const auto& context) {
    return context.first != kNonPmdCore && context.second.numa == port.numa;
  };
  if (port.pmd && std::none_of(actual.begin(), actual.end(), polls)) return std::nullopt;
  std::map<std::uint32_t, std::vector<QueueKey>> queues;
  std::vector<QueueKey> floating;
  for (std::uint32_t q = 0; q < port.rxqs; ++q) {
    const auto pinned = port.affinity.find(q);
    if (!port.pmd) {
      queues[kNonPmdCore].push_back({port.key, q});
    } else if (pinned == port.affinity.end()) {
      floating.push_back({port.key, q});
    } else if (pinned->second != kNonPmdCore && actual.contains(pinned->second)) {
      queues[pinned->second].push_back({port.key, q});
    } else {
      return std::nullopt;
    }
  }
  for (const QueueKey& queue : floating) {
    std::optional<std::uint32_t> best;
    std::size_t least = 0;
    for (const auto& context : actual) {
      if (!polls(context)) continue;
      const std::size_t has = context.second.queues.size() + queues[context.first].size();
      if (best.has_value() && has >= least) continue;
      best = context.first;
      least = has;
    }
    queues[*best].push_back(queue);
  }
  Plan plan;
  for (const auto& [core, state] : actual) {
    ContextChange& change = plan.contexts[core];
    change.add_ports = {port.key};
    change.add_queues = std::move(queues[core]);
    std::sort(change.add_queues.begin(), change.add_queues.end());
  }
  return plan;
}

std::optional<Plan> PlanDeparture(const WantedPort& port, bool node_needed, const Actual& actual) {
  if (port.pmd && !node_needed) return std::nullopt;
  Plan plan;
  for (const auto& [core, state] : actual) {
    ContextChange& change = plan.contexts[core];
    change.remove_ports = {port.key};
    const auto first =
        std::lower_bound(state.queues.begin(), state.queues.end(), QueueKey{port.key, 0});
    const auto last = std::upper_bound(first, state.queues.end(), QueueKey{port.key, UINT32_MAX});
    change.remove_queues.assign(first, last);
  }
  return plan;
}

void Note(const ContextChange& change, ContextState& state) {
  const auto apply = [](auto& has, const auto& remove, const auto& add) {
    std::erase_if(has, [&](const auto& element) {
      return std::binary_search(remove.begin(), remove.end(), element);
    });
    const auto kept = static_cast<std::ptrdiff_t>(has.size());
    has.insert(has.end(), add.begin(), add.end());
    std::inplace_merge(has.begin(), has.begin() + kept, has.end());
  };
  apply(state.ports, change.remove_ports, change.add_ports);
  apply(state.queues, change.remove_queues, change.add_queues);
}

}  // namespace pollux
