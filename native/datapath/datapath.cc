#include "datapath/datapath.h"

#include <algorithm>
#include <future>
#include <set>
#include <string>
#include <unordered_map>

#include "datapath/datapath_impl.h"

namespace pollux {
namespace {

constexpr int kTickMs = 100;
constexpr std::uint32_t kMaxCores = 65'536;
// While so many events wait, since the program is busy with something else, news of a port takes
// the place of older news of it.
constexpr std::size_t kManyEvents = 1000;

bool IsOfLink(Event::Kind kind) {
  return kind == Event::Kind::kPortUp || kind == Event::Kind::kPortDown ||
         kind == Event::Kind::kPortGone;
}

Topology TopologyOf(const DatapathOptions& options) {
  return options.topology.empty() ? DiscoverTopology() : InjectedTopology(options.topology);
}

}  // namespace

Error NoSuchCore(std::string_view option, std::uint32_t core) {
  return Invalid(std::string(option) + " names core " + std::to_string(core) +
                     ", which this machine or process does not have",
                 "`nproc --all` and `taskset -p $$` show what there is");
}

Status CheckOptions(const DatapathOptions& options, const Topology& topology) {
  std::set<std::uint32_t> seen;
  for (const Core& core : topology.cores) {
    if (!seen.insert(core.id).second)
      return Invalid("core " + std::to_string(core.id) + " is in the topology twice");
    if (core.id >= kMaxCores)
      return Invalid("core " + std::to_string(core.id) + " in the topology is out of range");
  }
  if (topology.cores.empty()) return Invalid("the topology has no core");
  if (options.pmd_cpus.has_value()) {
    if (options.pmd_cpus->empty()) {
      return Invalid("pmdCpus names no core", "leave it out for one thread per NUMA node");
    }
    for (const std::uint32_t core : *options.pmd_cpus) {
      if (topology.Find(core) == nullptr) {
        return NoSuchCore("pmdCpus", core);
      }
    }
  }
  for (const auto& [core, us] : options.pmd_sleep_max_us.of_core) {
    if (topology.Find(core) == nullptr) {
      return NoSuchCore("pmdSleepMaxUs", core);
    }
  }
  if (options.upcall_queue_length == 0) return Invalid("upcall.queueLength is 0", "use at least 1");
  if (options.flow_limit == 0) return Invalid("flowLimit is 0", "use at least 1");
  if (options.max_idle_ms < 0) return Invalid("maxIdleMs is negative", "0 means that flows stay");
  return {};
}

Error ClosedError() {
  Error error;
  error.code = "ERR_DATAPATH_CLOSED";
  error.message = "the datapath is closed";
  error.hint = "create a new Datapath";
  return error;
}

// --------------------------------------------------------------------- life

Datapath::Impl::Impl(const DatapathOptions& options)
    : clock(options.manual_clock),
      topology(TopologyOf(options)),
      flows(std::make_unique<FlowTable>(clock, options.flow_limit, options.max_idle_ms)),
      offload(std::make_unique<FlowOffload>(*flows, clock, pool)),
      upcalls(options.upcall_queue_length, [this] { event_bell.RingAlways(); }),
      current(options),
      contexts({pool, *flows, upcalls, clock, knobs}, !topology.injected),
      control(kTickMs, [this] { Tick(); }) {
  knobs.emc_insert_inv_prob.store(options.emc_insert_inv_prob);
  knobs.tx_flush_interval_us.store(options.tx_flush_interval_us);
  contexts.SetSleepLimits(options.pmd_sleep_max_us);
  knobs.flood_when_full.store(options.upcall_flood_when_full);
}

Datapath::Impl::~Impl() = default;

Status Datapath::Impl::Start() {
  for (const Status& status :
       {event_bell.opened(), contexts.non_pmd().opened(), upcalls.opened()}) {
    if (!status) return status;
  }
  contexts.non_pmd().Reload();
  return control.Start();
}

Datapath::Datapath(DatapathOptions options)
    : options_(std::move(options)), impl_(std::make_unique<Impl>(options_)) {}

Result<std::unique_ptr<Datapath>> Datapath::Create(DatapathOptions options) {
  if (Status status = CheckOptions(options, TopologyOf(options)); !status.ok())
    return status.error();
  std::unique_ptr<Datapath> datapath(new Datapath(std::move(options)));
  if (Status status = datapath->impl_->Start(); !status) return status.error();
  return datapath;
}

Datapath::~Datapath() {
  if (!impl_->control.running()) return;  // Nothing ever began.
  std::promise<void> closed;
  Close([&](const Status&) { closed.set_value(); });
  closed.get_future().wait();
  impl_->control.Stop();
}

std::int64_t Datapath::now_ms() const { return impl_->clock.NowMs(); }

bool Datapath::closed() const { return impl_->closed.load(std::memory_order_acquire); }

void Datapath::Impl::Post(std::function<void()> command, std::function<void()> when_closed) {
  control.Post([this, command = std::move(command), when_closed = std::move(when_closed)] {
    closing.load(std::memory_order_acquire) ? when_closed() : command();
  });
}

// ----------------------------------------------------------------- commands

void Datapath::AddPort(PortSpec spec, const Done<PortInfo>& done) {
  impl_->Post([impl = impl_.get(), spec = std::move(spec), done] { done(impl->AddPort(spec)); },
              [done] { done(ClosedError()); });
}

void Datapath::DeletePort(PortId port, const DoneStatus& done) {
  impl_->Post([impl = impl_.get(), port, done] { done(impl->DeletePort(port)); },
              [done] { done(ClosedError()); });
}

void Datapath::RenumberPort(PortId port, std::uint32_t number, const Done<PortInfo>& done) {
  impl_->Post([impl = impl_.get(), port, number, done] { done(impl->RenumberPort(port, number)); },
              [done] { done(ClosedError()); });
}

void Datapath::Reload(std::optional<std::uint32_t> core,
                      const Done<std::vector<ReloadReport>>& done) {
  impl_->Post(
      [impl = impl_.get(), core, done] {
        auto reports = impl->contexts.Reload(core);
        if (reports.has_value()) {
          done(std::move(*reports));
        } else {
          Error error =
              SystemError(ENOENT, {}, "core " + std::to_string(*core) + " has no PMD thread");
          error.hint = "threads exist on the cores of pmdCpus whose NUMA node has a port to poll";
          done(std::move(error));
        }
      },
      [done] { done(ClosedError()); });
}

void Datapath::SetOptions(DatapathOptions options, const DoneStatus& done) {
  impl_->Post(
      [impl = impl_.get(), options = std::move(options), done] { done(impl->SetOptions(options)); },
      [done] { done(ClosedError()); });
}

void Datapath::Settle(const DoneStatus& done) {
  impl_->Post([impl = impl_.get(), done] { impl->Settle(done); }, [done] { done(ClosedError()); });
}

void Datapath::Advance(std::int64_t ms, const DoneStatus& done) {
  impl_->Post(
      [impl = impl_.get(), ms, done] {
        if (!impl->clock.manual()) {
          done(Invalid("time moves by itself here", "create the datapath with clock: 'manual'"));
        } else if (ms < 0) {
          done(Invalid("time does not go back"));
        } else {
          impl->Advance(ms);
          done({});
        }
      },
      [done] { done(ClosedError()); });
}

void Datapath::Close(const DoneStatus& done) {
  impl_->closing.store(true, std::memory_order_release);
  impl_->control.Post([impl = impl_.get(), done] {
    if (!impl->closed.load(std::memory_order_relaxed)) impl->Close();
    done({});
  });
}

// ------------------------------------------------------------------ showing

FlowTable& Datapath::flows() { return *impl_->flows; }

std::vector<PortInfo> Datapath::ports() const {
  MutexLock lock(impl_->port_mutex);
  std::vector<PortInfo> infos;
  for (const auto& [id, port] : impl_->ports) infos.push_back(port->Info());
  return infos;
}

Result<PortInfo> Datapath::port(PortId port) const {
  MutexLock lock(impl_->port_mutex);
  if (impl_->arriving != nullptr && impl_->arriving->id == port) return impl_->arriving->Info();
  const auto found = impl_->ports.find(static_cast<std::uint32_t>(port));
  if (found == impl_->ports.end()) return SystemError(ENODEV, {}, "the port was deleted");
  return found->second->Info();
}

Result<PortStats> Datapath::port_stats(PortId port) const {
  impl_->flows->CountCopies();
  MutexLock lock(impl_->port_mutex);
  const auto found = impl_->ports.find(static_cast<std::uint32_t>(port));
  if (found == impl_->ports.end()) return SystemError(ENODEV, {}, "the port was deleted");
  return found->second->Stats();
}

DatapathStats Datapath::stats() const {
  DatapathStats stats;
  impl_->flows->CountCopies();
  // Queued before the counters: a packet that moves on meanwhile is seen twice rather than not at
  // all.
  stats.ledger.queued = impl_->upcalls.queued();
  {
    MutexLock lock(impl_->port_mutex);
    std::unordered_map<std::uint32_t, std::string> names;
    for (const auto& [id, port] : impl_->ports) {
      stats.ports.emplace_back(port->name, port->Stats());
      names[static_cast<std::uint32_t>(port->number)] = port->name;
    }
    stats.pmds = impl_->contexts.Stats(
        [&](PortNumber number) { return names[static_cast<std::uint32_t>(number)]; });
    impl_->contexts.AddTo(stats.ledger);
    impl_->offload->AddTo(stats.ledger);
  }
  stats.flows = impl_->flows->size();
  stats.masks = impl_->flows->masks();
  return stats;
}

std::optional<std::size_t> Datapath::slot_of(std::uint32_t core) const {
  return impl_->contexts.SlotOf(core);
}

// ------------------------------------------------------------------- events

int Datapath::event_fd() const { return impl_->event_bell.fd(); }
void Datapath::AcknowledgeEvents() { impl_->event_bell.Drain(); }
void Datapath::Signal() { impl_->event_bell.RingAlways(); }

void Datapath::Impl::Emit(Event event) {
  {
    MutexLock lock(event_mutex);
    if (events.size() < kManyEvents || !TakePlace(event)) events.push_back(std::move(event));
  }
  event_bell.RingAlways();
}

bool Datapath::Impl::TakePlace(Event& event) {
  const bool counts =
      event.kind == Event::Kind::kUpcallOverflow || event.kind == Event::Kind::kPortTrouble;
  if (!counts && !IsOfLink(event.kind)) return false;
  const auto before = std::find_if(events.begin(), events.end(), [&](const Event& other) {
    return other.port == event.port &&
           (counts ? other.kind == event.kind && other.text == event.text : IsOfLink(other.kind));
  });
  if (before == events.end()) return false;
  if (counts) {
    event.dropped += before->dropped;
    event.errors += before->errors;
  }
  // The newest comes last, where it would have been.
  events.erase(before);
  events.push_back(std::move(event));
  return true;
}

std::vector<Event> Datapath::TakeEvents() {
  MutexLock lock(impl_->event_mutex);
  return std::exchange(impl_->events, {});
}

}  // namespace pollux
