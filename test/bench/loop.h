// A datapath with one PMD thread on the last core and a null port at either end.
#pragma once

#include <linux/openvswitch.h>

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "actions/action_list.h"
#include "bench.h"
#include "datapath/datapath.h"

namespace pollux::bench {

template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) Fail(result.error().message);
  return std::move(result.value());
}
inline void Must(const Status& status) {
  if (!status.ok()) Fail(Status(status).error().message);
}

inline std::shared_ptr<const ActionList> OutputTo(std::uint32_t port, const Match& match) {
  std::vector<std::uint8_t> attributes;
  AppendAttribute(attributes, OVS_ACTION_ATTR_OUTPUT,
                  {reinterpret_cast<const std::uint8_t*>(&port), sizeof port});
  return Must(ActionList::Parse(attributes, match));
}

inline Match MatchInPort(std::uint32_t port) {
  Match match{};
  match.key.in_port = port;
  match.mask.in_port = UINT32_MAX;
  match.mask.recirc_id = UINT32_MAX;
  return match;
}

class Loop {
 public:
  static constexpr std::uint32_t kFrom = 1;
  static constexpr std::uint32_t kTo = 2;

  // Called by a thread that is pinned elsewhere.
  explicit Loop(std::uint32_t core, bool cache = true) {
    DatapathOptions options;
    options.pmd_cpus = {core};
    options.max_idle_ms = 0;
    if (!cache) options.emc_insert_inv_prob = 0;
    // A datapath knows the cores that its maker may use.
    const std::vector<std::uint32_t> mine = AllowedCores();
    Pin({mine.front(), core});
    datapath_ = Must(Datapath::Create(std::move(options)));
    Pin(mine);
  }
  ~Loop() {
    Wait([&](auto done) { datapath_->Close(done); });
  }

  Datapath* operator->() { return datapath_.get(); }

  PortInfo Add(const char* name, std::uint32_t number, std::uint32_t generate_flows = 0,
               std::uint32_t size = 60) {
    PortSpec spec;
    spec.netdev.type = "null";
    spec.netdev.name = name;
    spec.netdev.generate = generate_flows > 0;
    spec.netdev.generate_flows = std::max(generate_flows, 1u);
    spec.netdev.generate_size = size;
    spec.number = number;
    std::promise<Result<PortInfo>> promise;
    datapath_->AddPort(std::move(spec),
                       [&](Result<PortInfo> r) { promise.set_value(std::move(r)); });
    return Must(promise.get_future().get());
  }
  void Delete(const PortInfo& port) {
    Wait([&](auto done) { datapath_->DeletePort(port.id, done); });
  }
  std::vector<ReloadReport> Reload() {
    std::promise<Result<std::vector<ReloadReport>>> promise;
    datapath_->Reload(
        {}, [&](Result<std::vector<ReloadReport>> r) { promise.set_value(std::move(r)); });
    return Must(promise.get_future().get());
  }
  void Put(const std::vector<Match>& matches, std::uint32_t to) {
    std::vector<FlowChange> changes;
    for (const Match& match : matches) {
      FlowPut put;
      put.match = match;
      put.actions = OutputTo(to, match);
      changes.emplace_back(std::move(put));
    }
    for (const FlowOutcome& outcome : datapath_->flows().Apply(changes, true)) {
      if (!outcome.ok()) Fail(outcome.error().message);
    }
  }

 private:
  template <typename Start>
  static void Wait(Start&& start) {
    std::promise<Status> promise;
    start([&](Status status) { promise.set_value(std::move(status)); });
    Must(promise.get_future().get());
  }

  std::unique_ptr<Datapath> datapath_;
};

}  // namespace pollux::bench
