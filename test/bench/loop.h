// A datapath with one PMD thread on the last core and a null port at either end.
#pragma once

#include <linux/openvswitch.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "../native/support/flow_changes.h"
#include "actions/action_list.h"
#include "bench.h"
#include "datapath/datapath.h"

namespace pollux::bench {

using test::ApplyChanges;
using test::FindFlow;
using test::FlowChange;
using test::FlowDelete;
using test::FlowOutcome;
using test::FlowPut;

template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) Fail(result.error().message);
  return std::move(result.value());
}
inline void Must(const Status& status) {
  if (!status.ok()) Fail(Status(status).error().message);
}

// What flows do before they output: nothing, a rewrite of the TTL, or an output to `mirror`.
struct Before {
  bool rewrite = false;
  std::uint32_t mirror = UINT32_MAX;
};

inline std::shared_ptr<const ActionList> OutputTo(std::uint32_t port, const Match& match,
                                                  Before before = {}) {
  std::vector<std::uint8_t> attributes;
  const auto output = [&](std::uint32_t to) {
    AppendAttribute(attributes, OVS_ACTION_ATTR_OUTPUT,
                    {reinterpret_cast<const std::uint8_t*>(&to), sizeof to});
  };
  if (before.rewrite) {
    const ovs_key_ipv4 ttl[] = {{.ipv4_ttl = 9}, {.ipv4_ttl = 0xff}};
    std::vector<std::uint8_t> set;
    AppendAttribute(set, OVS_KEY_ATTR_IPV4,
                    {reinterpret_cast<const std::uint8_t*>(ttl), sizeof ttl});
    AppendAttribute(attributes, OVS_ACTION_ATTR_SET_MASKED, set);
  }
  if (before.mirror != UINT32_MAX) output(before.mirror);
  output(port);
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

  // A sink.
  PortInfo Add(const char* name, std::uint32_t number) { return Add(name, number, {}, false); }
  PortInfo AddSource(const char* name, std::uint32_t number, const GeneratorSpec& generator) {
    return Add(name, number, generator, true);
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
  std::vector<Ufid> Put(const std::vector<Match>& matches, std::uint32_t to, Before before = {}) {
    std::vector<FlowChange> changes;
    for (const Match& match : matches) {
      FlowPut put;
      put.match = match;
      put.actions = OutputTo(to, match, before);
      changes.emplace_back(std::move(put));
    }
    std::vector<Ufid> ufids;
    for (const FlowOutcome& outcome : ApplyChanges(datapath_->flows(), changes, true)) {
      if (!outcome.ok()) Fail(outcome.error().message);
      ufids.push_back(std::get<Ufid>(outcome.value()));
    }
    return ufids;
  }

  // Every thread of this process but the PMD thread goes to a core.
  static void Confine(std::uint32_t core) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(core, &cpus);
    ForEachThread([&](const std::filesystem::path& task, bool pmd) {
      if (!pmd) sched_setaffinity(std::stoi(task.filename()), sizeof cpus, &cpus);
    });
  }
  // How long the PMD thread has had its core.
  static double RanNs() {
    double ns = 0;
    ForEachThread([&](const std::filesystem::path& task, bool pmd) {
      if (pmd) std::ifstream(task / "schedstat") >> ns;
    });
    return ns;
  }

 private:
  template <typename Do>
  static void ForEachThread(Do&& with) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::ifstream(task.path() / "comm") >> name;
      with(task.path(), name.starts_with("pmd-"));
    }
  }

  PortInfo Add(const char* name, std::uint32_t number, const GeneratorSpec& generator,
               bool generate) {
    PortSpec spec;
    spec.netdev.type = "null";
    spec.netdev.name = name;
    spec.netdev.generate = generate;
    spec.netdev.generator = generator;
    spec.number = number;
    std::promise<Result<PortInfo>> promise;
    datapath_->AddPort(std::move(spec),
                       [&](Result<PortInfo> r) { promise.set_value(std::move(r)); });
    return Must(promise.get_future().get());
  }
  template <typename Start>
  static void Wait(Start&& start) {
    std::promise<Status> promise;
    start([&](Status status) { promise.set_value(std::move(status)); });
    Must(promise.get_future().get());
  }

  std::unique_ptr<Datapath> datapath_;
};

}  // namespace pollux::bench
