// What the control thread carries out: ports come, go and change their number; options change; time
// passes; the end.

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "datapath/datapath_impl.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxPorts = 65'536;
constexpr std::int64_t kAgingIntervalMs = 500;

Error PortError(int number, const std::string& port, std::string message, std::string hint) {
  Error error;
  error.number = number;
  error.message = std::move(message);
  error.hint = std::move(hint);
  error.port = port;
  return error;
}

}  // namespace

// -------------------------------------------------------------------- ports

// Number 0 is LOCAL, the host's own tap, as in Open vSwitch.
Result<std::uint32_t> Datapath::Impl::ChooseNumber(const std::optional<std::uint32_t>& asked,
                                                   const std::string& type) {
  if (asked.has_value()) {
    if (*asked >= kMaxPorts)
      return Invalid("port number " + std::to_string(*asked) + " is out of range", "use 0..65535");
    if (*asked == 0 && type != "tap") {
      return Invalid(
          "port number 0 is LOCAL, the host's own tap, and this is a port of type \"" + type + "\"",
          "use 1..65535, or a port of type tap");
    }
    if (const Port* owner = index.Find(*asked)) {
      return PortError(
          EBUSY, owner->name,
          "port number " + std::to_string(*asked) + " is in use by \"" + owner->name + "\"",
          "choose another number, or leave it out");
    }
    return *asked;
  }
  const std::uint32_t number = index.FreeNumber();
  if (number < kMaxPorts) return number;
  return PortError(EFBIG, {}, "all port numbers are in use", "delete a port first");
}

Wanted Datapath::Impl::MakeWanted() const {
  Wanted wanted;
  if (current.pmd_cpus.has_value()) {
    for (const Core& core : topology.cores) {
      if (std::find(current.pmd_cpus->begin(), current.pmd_cpus->end(), core.id) !=
          current.pmd_cpus->end()) {
        wanted.pmd_cores.push_back(core);
      }
    }
  } else {
    std::vector<std::uint32_t> nodes;
    for (const Core& core : topology.cores) {
      if (std::find(nodes.begin(), nodes.end(), core.numa) != nodes.end()) continue;
      nodes.push_back(core.numa);
      wanted.pmd_cores.push_back(core);
    }
  }
  for (const auto& [id, port] : members) {
    if (!port->changes_device) {
      wanted.ports.push_back(port->Wants());
    } else if (port->pmd) {
      wanted.kept_nodes.push_back(port->netdev->numa());
    }
  }
  return wanted;
}

Status Datapath::Impl::Apply() {
  Plan plan = MakePlan(MakeWanted(), contexts.actual());
  Status status = CarryOut(plan);
  if (status.ok()) Warn(std::move(plan.warnings));
  return status;
}

Status Datapath::Impl::ApplyArrival(const Port& port) {
  if (!warned.empty()) return Apply();
  const std::optional<Plan> plan = PlanArrival(port.Wants(), contexts.actual());
  return plan.has_value() ? CarryOut(*plan) : Apply();
}

Status Datapath::Impl::ApplyDeparture(const Port& port) {
  if (!warned.empty()) return Apply();
  const bool node_needed = std::any_of(members.begin(), members.end(), [&](const auto& member) {
    return member.second->pmd && member.second->netdev->numa() == port.netdev->numa();
  });
  const std::optional<Plan> plan = PlanDeparture(port.Wants(), node_needed, contexts.actual());
  return plan.has_value() ? CarryOut(*plan) : Apply();
}

Status Datapath::Impl::ForgetInContexts(const Port& port) {
  Status status = ApplyDeparture(port);
  // A thread that is wanted besides cannot be had: the port goes all the same, its device is
  // closed.
  if (!status.ok()) (void)CarryOut(*PlanDeparture(port.Wants(), true, contexts.actual())).ok();
  return status;
}

Status Datapath::Impl::CarryOut(const Plan& plan) {
  return contexts.CarryOut(plan, [this](PortKey key) -> Port& { return *members.at(key.id); });
}

// Each warning once, until it no longer holds.
void Datapath::Impl::Warn(std::vector<std::string> warnings) {
  std::vector<std::string> fresh = warnings;
  std::erase_if(fresh, [&](const std::string& warning) {
    return std::find(warned.begin(), warned.end(), warning) != warned.end();
  });
  warned = std::move(warnings);
  for (std::string& warning : fresh) {
    Event event{Event::Kind::kWarning};
    event.text = std::move(warning);
    Emit(std::move(event));
  }
}

Result<PortInfo> Datapath::Impl::AddPort(const PortSpec& spec) {
  const std::string& name = spec.netdev.name;
  if (name.empty()) return Invalid("a port needs a name");
  if (index.Find(name) != nullptr) {
    return PortError(EEXIST, name, "there is a port \"" + name + "\"",
                     "choose another name, or delete that port first");
  }
  const Result<std::uint32_t> number = ChooseNumber(spec.number, spec.netdev.type);
  if (!number.ok()) return number.error();
  const NetdevType* type = FindNetdevType(spec.netdev.type);
  if (type == nullptr) {
    return PortError(EINVAL, name, "there is no port type \"" + spec.netdev.type + "\"",
                     "Datapath.portTypes() lists them");
  }
  for (const auto& [rxq, core] : spec.rxq_affinity) {
    if (topology.Find(core) != nullptr) continue;
    Error error = NoSuchCore("rxqAffinity", core);
    error.port = name;
    return error;
  }
  if (spec.netdev.offload_flows_above > 0 && !spec.netdev.netns.empty()) {
    return PortError(EINVAL, name, "flows cannot be offloaded to another network namespace",
                     "leave `offloadFlows` out, or run the datapath in that namespace");
  }
  const bool pmd = spec.pmd.value_or(type->pmd_by_default);
  // Before the device is opened: what becomes of its interface from then on is told.
  if (Status status = StartWatching(*type, pmd); !status) {
    status.error().port = name;
    return status.error();
  }
  const auto failed = [&](Error error) {
    error.port = name;
    return error;
  };
  auto port = std::make_shared<Port>();
  if (!spec.netdev.netns.empty()) {
    Result<std::shared_ptr<const NetworkNamespace>> space =
        NetworkNamespace::Open(spec.netdev.netns);
    if (!space.ok()) return failed(std::move(space.error()));
    if (!(*space)->is_home()) port->space = std::move(*space);
    if (port->space != nullptr) port->home = port->nsid = port->space->Number();
  }
  Result<std::unique_ptr<Netdev>> netdev = OpenNetdev(*type, spec.netdev, port->space.get());
  if (!netdev.ok()) return failed(std::move(netdev.error()));

  port->id = PortId{next_port_id++};
  port->number = PortNumber{number.value()};
  port->name = name;
  port->type = spec.netdev.type;
  port->device = spec.netdev.device.empty() ? name : spec.netdev.device;
  port->pmd = pmd;
  port->pmd_sleep_max_us = spec.pmd_sleep_max_us;
  port->affinity = {spec.rxq_affinity.begin(), spec.rxq_affinity.end()};
  port->netdev = std::move(netdev.value());
  if (port->netdev->ifindex() < 0) port->awaited = spec.netdev;
  // Of a device that has failed already, Tick() tells why.
  const bool kernel = port->netdev->ifindex() != 0;
  port->announced = kernel ? port->netdev->link() : LinkState::kUp;
  for (std::size_t i = 0; i < port->netdev->rxqs().size(); ++i)
    port->rxq_counters.push_back(std::make_unique<RxqCounters>());
  port->offload_above = spec.netdev.offload_flows_above;
  port->samplers = FlowOffload::MakeSamplers(port->offload_above, port->rxq_counters.size());

  const auto id = static_cast<std::uint32_t>(port->id);
  members[id] = port;
  SetArriving(port);
  if (Status status = ApplyArrival(*port); !status.ok()) {
    members.erase(id);
    SetArriving(nullptr);
    Forget(std::move(port));
    return status.error();
  }
  index.Add(*port);
  if (port->space == nullptr) offload->AddPort(*port);
  Publish(port);
  return port->Info();
}

Result<std::unique_ptr<Netdev>> Datapath::Impl::OpenNetdev(const NetdevType& type,
                                                           const NetdevSpec& spec,
                                                           const NetworkNamespace* space) {
  const NamespaceVisit visit(space);
  if (!visit.status()) return visit.status().error();
  Result<std::unique_ptr<Netdev>> netdev = type.open(spec, pool);
  const bool may_come = spec.wait && !netdev.ok() && netdev.error().number == ENODEV;
  return may_come ? MakeAbsentNetdev(spec) : std::move(netdev);
}

Status Datapath::Impl::Arrive(Port& port) {
  NetdevSpec spec = *port.awaited;
  spec.wait = false;
  Result<std::unique_ptr<Netdev>> opened =
      OpenNetdev(*FindNetdevType(port.type), spec, port.space.get());
  if (!opened.ok()) return opened.error();
  std::shared_ptr<Netdev> other = std::move(*opened);
  // No context may reach the one when the other takes its place.
  port.changes_device = true;
  Status status = Apply();
  if (status.ok()) {
    MutexLock lock(port_mutex);
    std::swap(port.netdev, other);
  }
  port.changes_device = false;
  if (!status.ok()) return status;
  port.awaited.reset();
  // Should a thread not be there for it now, the next change of ports tries again.
  return Apply();
}

Status Datapath::Impl::DeletePort(PortId id) {
  const auto found = members.find(static_cast<std::uint32_t>(id));
  if (found == members.end())
    return PortError(ENODEV, {}, "there is no such port", "it may have been deleted already");
  std::shared_ptr<Port> port = found->second;
  Unpublish(id);
  offload->RemovePort(*port);
  index.Remove(*port);
  members.erase(found);
  // Returns when no context can reach the device, whatever else it says.
  Status status = ForgetInContexts(*port);
  Forget(std::move(port));
  return status;
}

Result<PortInfo> Datapath::Impl::RenumberPort(PortId id, std::uint32_t number) {
  Port* port = FindMember(id);
  if (port == nullptr)
    return PortError(ENODEV, {}, "there is no such port", "it may have been deleted already");
  if (port->number == PortNumber{number}) return port->Info();
  const Result<std::uint32_t> chosen = ChooseNumber(number, port->type);
  if (!chosen.ok()) return chosen.error();
  offload->RemovePort(*port);
  const auto set_number = [&](PortNumber to) {
    MutexLock lock(port_mutex);
    return std::exchange(port->number, to);
  };
  index.Remove(*port);
  const PortNumber before = set_number(PortNumber{number});
  Status status = Apply();
  if (!status.ok()) set_number(before);
  index.Add(*port);
  if (port->space == nullptr) offload->AddPort(*port);
  if (!status.ok()) return status.error();
  return port->Info();
}

Port* Datapath::Impl::FindMember(PortId id) {
  const auto found = members.find(static_cast<std::uint32_t>(id));
  return found == members.end() ? nullptr : found->second.get();
}

void Datapath::Impl::SetArriving(const std::shared_ptr<Port>& port) {
  MutexLock lock(port_mutex);
  arriving = port;
}

void Datapath::Impl::Publish(const std::shared_ptr<Port>& port) {
  MutexLock lock(port_mutex);
  arriving = nullptr;
  ports[static_cast<std::uint32_t>(port->id)] = port;
}

void Datapath::Impl::Unpublish(PortId id) {
  MutexLock lock(port_mutex);
  ports.erase(static_cast<std::uint32_t>(id));
}

void Datapath::Impl::Forget(std::shared_ptr<Port> port) {
  // An Inject() or Drain() that began before the port was unpublished may still be at it, for
  // microseconds.
  while (port->netdev.use_count() > 1) std::this_thread::yield();
  {
    const NamespaceVisit visit(port->space.get());
    if (Background::Work rest = port->netdev->Close()) background.Run(std::move(rest));
  }
  port->netdev.reset();
  // stats() reads counters of queues that it found on a poll list a moment ago, all under this
  // mutex.
  MutexLock lock(port_mutex);
  port.reset();
}

// ------------------------------------------------------------------ options

Status Datapath::Impl::SetOptions(const DatapathOptions& options) {
  if (options.name != current.name || options.topology != current.topology ||
      options.manual_clock != current.manual_clock) {
    return Invalid("name, topology and clock cannot be changed", "create a new Datapath");
  }
  if (Status status = CheckOptions(options, topology); !status.ok()) return status;

  const DatapathOptions before = current;
  current = options;
  if (Status status = Apply(); !status.ok()) {
    current = before;
    return status;
  }
  knobs.emc_insert_inv_prob.store(options.emc_insert_inv_prob, std::memory_order_relaxed);
  knobs.tx_flush_interval_us.store(options.tx_flush_interval_us, std::memory_order_relaxed);
  contexts.SetSleepLimits(options.pmd_sleep_max_us);
  knobs.flood_when_full.store(options.upcall_flood_when_full, std::memory_order_relaxed);
  const bool knobs_changed = options.emc_insert_inv_prob != before.emc_insert_inv_prob ||
                             options.tx_flush_interval_us != before.tx_flush_interval_us ||
                             options.pmd_sleep_max_us != before.pmd_sleep_max_us ||
                             options.upcall_flood_when_full != before.upcall_flood_when_full;
  if (knobs_changed) (void)contexts.Reload({});
  flows->SetLimits(options.flow_limit, options.max_idle_ms);
  upcalls.SetPortLimit(options.upcall_queue_length);
  return {};
}

// --------------------------------------------------------------------- time

void Datapath::Impl::Advance(std::int64_t ms) {
  flows->CountCopies();  // At the time that it was counted.
  clock.Advance(ms);
  RemoveIdleFlows();
}

void Datapath::Impl::RemoveIdleFlows() {
  flows->RemoveIdle();
  // Threads quiesce within an iteration; give them a moment, so that the removed are told of now
  // and not at the next tick.
  for (int i = 0; i < 100 && flows->Reclaim() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  TellOfRemovedFlows();
}

void Datapath::Impl::TellOfRemovedFlows() {
  {
    // While the program has not taken the last ones, others wait in the table, which bounds them.
    MutexLock lock(event_mutex);
    const auto is_ours = [](const Event& event) {
      return event.kind == Event::Kind::kFlowsRemoved;
    };
    if (std::any_of(events.begin(), events.end(), is_ours)) return;
  }
  std::size_t forgotten = 0;
  std::vector<FlowView> removed = flows->TakeRemoved(forgotten);
  if (!removed.empty()) {
    Event event{Event::Kind::kFlowsRemoved};
    event.flows = std::move(removed);
    Emit(std::move(event));
  }
  if (forgotten > 0) {
    Event event{Event::Kind::kWarning};
    event.text =
        std::to_string(forgotten) + " flows were evicted faster than they could be reported";
    Emit(std::move(event));
  }
}

void Datapath::Impl::Tick() {
  if (closed.load(std::memory_order_relaxed)) return;
  if (!clock.manual() && clock.NowMs() >= next_aging_ms) {
    RemoveIdleFlows();
    next_aging_ms = clock.NowMs() + kAgingIntervalMs;
  }
  TellOfRemovedFlows();
  DropUnwanted();
  OpenLinkMonitor();
  ProbePorts();
  offload->Tick();
  for (const auto& [id, port] : members) {
    const Netdev& netdev = *port->netdev;
    if (netdev.ifindex() == 0) AnnounceLink(*port, netdev.link(), netdev.fault());
  }
  upcalls.TakeLost([this](PortNumber number, std::uint64_t lost) {
    Event event{Event::Kind::kUpcallOverflow};
    event.dropped = lost;
    if (const Port* port = index.Find(static_cast<std::uint32_t>(number))) event.port = port->id;
    Emit(std::move(event));
  });
}

// ---------------------------------------------------------------------- end

void Datapath::Impl::Close() {
  for (Settling& waiting : std::exchange(settling, {})) waiting.done(ClosedError());
  {
    MutexLock lock(port_mutex);
    ports.clear();
  }
  for (const auto& [id, port] : members) offload->RemovePort(*port);
  std::map<std::uint32_t, std::shared_ptr<Port>> leaving;
  leaving.swap(members);
  index = {};
  (void)Apply().ok();
  contexts.Stop();
  for (auto& [id, port] : leaving) Forget(std::move(port));
  background.Wait();
  {
    MutexLock lock(consumer_mutex);
    upcalls.SetConsumer(false);
  }
  DropAllParked(DropReason::kClosed);
  link_monitor.reset();
  flows->Clear();
  closed.store(true, std::memory_order_release);
}

}  // namespace pollux
