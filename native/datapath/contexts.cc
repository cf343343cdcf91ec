#include "datapath/contexts.h"

#include <algorithm>
#include <set>

namespace pollux {
namespace {

PmdStats StatsOf(const Context& context, std::uint32_t core, std::uint32_t numa,
                 const std::function<std::string(PortNumber)>& name_of) {
  const ContextCounters& counters = context.counters();
  PmdStats stats;
  stats.core = core;
  stats.numa = numa;
  stats.packets = counters.received.Get();
  stats.emc_hits = counters.emc_hits.Get();
  stats.megaflow_hits = counters.megaflow_hits.Get();
  stats.upcalls = counters.upcalls.Get();
  stats.lost_upcalls = counters.lost_upcalls.Get();
  stats.reloads = counters.reloads.Get();
  const double busy = static_cast<double>(counters.busy_cycles.Get());
  const double total = busy + static_cast<double>(counters.idle_cycles.Get());
  if (total > 0) stats.busy_percent = 100 * busy / total;
  if (stats.packets > 0) stats.cycles_per_packet = busy / static_cast<double>(stats.packets);
  for (const PolledRxq& rxq : context.poll_list()) {
    PmdStats::Queue queue{name_of(rxq.port), rxq.queue, -1};
    if (total > 0 && core != kNonPmdCore) {
      // Of the thread's whole life: a queue that moved here brings what it cost elsewhere.
      queue.usage_percent =
          std::min(100.0, 100 * static_cast<double>(rxq.counters->busy_cycles.Get()) / total);
    }
    stats.rxqs.push_back(std::move(queue));
  }
  return stats;
}

}  // namespace

Contexts::Contexts(const PmdShared& shared, bool pin_threads)
    : shared_(shared), pin_threads_(pin_threads), non_pmd_(shared, kNonPmdSlot) {
  shared_.flows.AddContext(kNonPmdSlot);
  actual_[kNonPmdCore];
}

Contexts::~Contexts() {
  MutexLock lock(mutex_);
  POLLUX_CHECK(pmds_.empty());
}

Context* Contexts::Find(std::uint32_t core) {
  if (core == kNonPmdCore) return &non_pmd_.context();
  MutexLock lock(mutex_);
  const auto found = pmds_.find(core);
  return found == pmds_.end() ? nullptr : &found->second->context();
}

// ------------------------------------------------------------------ applying

Status Contexts::CarryOut(const Plan& plan, const FindPort& find_port) {
  // What may be refused comes first: from here on, nothing fails.
  Result<Seats> seats = TakeSeats(plan);
  if (!seats) return seats.error();

  // 1. Take away, everywhere, and wait until every context has forgotten.
  std::vector<std::uint32_t> affected;
  for (const auto& [core, change] : plan.contexts) {
    if (!change.removes()) continue;
    Remove(*Find(core), change);
    Note({change.remove_ports, change.remove_queues, {}, {}}, actual_[core]);
    affected.push_back(core);
  }
  ReloadAll(affected);

  // 2. Threads that are not wanted any more hold nothing now.
  for (const Core& core : plan.stop) StopThread(core.id);

  // 3. Newborn threads, complete.
  std::set<std::uint32_t> newborn;
  for (const Core& core : plan.start) {
    StartThread(core, std::move(seats->at(core.id)), plan.contexts.at(core.id), find_port);
    newborn.insert(core.id);
  }

  // 4. Add to the others.
  affected.clear();
  for (const auto& [core, change] : plan.contexts) {
    if (!change.adds() || newborn.contains(core)) continue;
    Add(*Find(core), change, find_port);
    Note({{}, {}, change.add_ports, change.add_queues}, actual_[core]);
    affected.push_back(core);
  }
  ReloadAll(affected);
  return {};
}

void Contexts::Remove(Context& context, const ContextChange& change) {
  std::vector<PortNumber> ports;
  for (const PortKey& port : change.remove_ports) ports.push_back(PortNumber{port.number});
  context.RemovePorts(ports);
  for (const QueueKey& queue : change.remove_queues) {
    if (std::binary_search(change.remove_ports.begin(), change.remove_ports.end(), queue.port))
      continue;  // It went with its port.
    context.RemoveRxq(PortNumber{queue.port.number}, queue.queue);
  }
}

void Contexts::Add(Context& context, const ContextChange& change, const FindPort& find_port) {
  for (const PortKey& key : change.add_ports) {
    Port& port = find_port(key);
    context.AddTxPort({port.number, port.netdev.get(), &port.tx_counters[context.slot()], false,
                       static_cast<std::uint32_t>(port.id)});
  }
  for (const QueueKey& key : change.add_queues) {
    Port& port = find_port(key.port);
    context.AddRxq({port.netdev->rxqs()[key.queue].get(), key.queue, port.number,
                    port.rxq_counters[key.queue].get(), port.pmd_sleep_max_us,
                    port.samplers.empty() ? nullptr : port.samplers[key.queue].get()});
  }
}

std::size_t Contexts::FreeSlot() const {
  MutexLock lock(mutex_);
  std::size_t slot = kNonPmdSlot + 1;
  const auto has_slot = [&](const auto& pmd) { return pmd.second->context().slot() == slot; };
  while (std::any_of(pmds_.begin(), pmds_.end(), has_slot)) ++slot;
  return slot;
}

Result<Contexts::Seats> Contexts::TakeSeats(const Plan& plan) {
  Seats seats;
  {
    MutexLock lock(mutex_);
    if (pmds_.size() - plan.stop.size() + plan.start.size() >= kMaxContexts)
      return Invalid("more than " + std::to_string(kMaxContexts - 1) + " PMD threads");
  }
  for (const Core& core : plan.start) {
    Result<std::unique_ptr<Pmd::Seat>> seat = Pmd::Seat::Take(core.id, pin_threads_);
    if (!seat) {
      seat.error().message = "no PMD thread for core " + std::to_string(core.id) + ": " +
                             std::move(seat.error().message);
      return seat.error();
    }
    seats[core.id] = std::move(*seat);
  }
  return seats;
}

void Contexts::StartThread(Core core, std::unique_ptr<Pmd::Seat> seat, const ContextChange& change,
                           const FindPort& find_port) {
  const std::size_t slot = FreeSlot();
  shared_.flows.AddContext(slot);
  auto pmd = std::make_unique<Pmd>(shared_, core.id, core.numa, slot, std::move(seat));
  pmd->SetSleepMax(sleep_limits_.Of(core.id));
  Add(pmd->context(), change, find_port);
  pmd->Start();
  // It loads its ports as it starts; wait until it has, so that queues are polled when the caller
  // goes on.
  pmd->AwaitReload(pmd->RequestReload());
  actual_[core.id].numa = core.numa;
  Note({{}, {}, change.add_ports, change.add_queues}, actual_[core.id]);
  MutexLock lock(mutex_);
  pmds_.emplace(core.id, std::move(pmd));
}

void Contexts::SetSleepLimits(SleepLimits limits) {
  sleep_limits_ = std::move(limits);
  MutexLock lock(mutex_);
  for (const auto& [core, pmd] : pmds_) pmd->SetSleepMax(sleep_limits_.Of(core));
}

void Contexts::StopThread(std::uint32_t core) {
  Pmd* pmd = nullptr;
  {
    MutexLock lock(mutex_);
    pmd = pmds_.at(core).get();
  }
  pmd->Stop();
  shared_.flows.RemoveContext(pmd->context().slot());
  actual_.erase(core);
  MutexLock lock(mutex_);
  pmd->context().counters().AddTo(departed_);
  departed_lost_upcalls_ += pmd->context().counters().lost_upcalls.Get();
  pmds_.erase(core);
}

void Contexts::Stop() {
  for (const std::uint32_t core : Cores()) {
    if (core != kNonPmdCore) StopThread(core);
  }
  non_pmd_.Stop();
}

std::vector<std::uint32_t> Contexts::Cores() const {
  MutexLock lock(mutex_);
  std::vector<std::uint32_t> cores = {kNonPmdCore};
  for (const auto& [core, pmd] : pmds_) cores.push_back(core);
  return cores;
}

// ------------------------------------------------------------------ reloading

std::vector<ReloadReport> Contexts::ReloadAll(const std::vector<std::uint32_t>& cores) {
  struct Asked {
    Pmd* pmd;
    ReloadGate::Generation generation;
    std::int64_t at_ns;
  };
  std::vector<Asked> asked;
  {
    MutexLock lock(mutex_);
    for (const std::uint32_t core : cores) {
      if (core == kNonPmdCore) continue;
      Pmd& pmd = *pmds_.at(core);
      const std::int64_t now = Clock::MonotonicNs();
      asked.push_back({&pmd, pmd.RequestReload(), now});
    }
  }
  std::vector<ReloadReport> reports;
  const auto report = [&](const Context& context, std::uint32_t core, std::uint32_t numa,
                          std::int64_t ns) {
    reports.push_back({core, numa, context.loaded_ports(), context.loaded_rxqs(),
                       static_cast<double>(ns) / 1000});
  };
  if (std::find(cores.begin(), cores.end(), kNonPmdCore) != cores.end()) {
    const std::int64_t before = Clock::MonotonicNs();
    non_pmd_.Reload();
    report(non_pmd_.context(), kNonPmdCore, 0, Clock::MonotonicNs() - before);
  }
  for (const Asked& one : asked) {
    one.pmd->AwaitReload(one.generation);
    report(one.pmd->context(), one.pmd->core(), one.pmd->numa(), one.pmd->served_ns() - one.at_ns);
  }
  return reports;
}

std::optional<std::vector<ReloadReport>> Contexts::Reload(std::optional<std::uint32_t> core) {
  if (core.has_value()) {
    if (Find(*core) == nullptr) return std::nullopt;
    return ReloadAll({*core});
  }
  return ReloadAll(Cores());
}

bool Contexts::Polls(const QueueKey& queue) const {
  return std::any_of(actual_.begin(), actual_.end(), [&](const auto& context) {
    const std::vector<QueueKey>& queues = context.second.queues;
    return std::find(queues.begin(), queues.end(), queue) != queues.end();
  });
}

// ------------------------------------------------------------------ showing

void Contexts::AddTo(Ledger& ledger) const {
  MutexLock lock(mutex_);
  ledger.received += departed_.received;
  ledger.executed += departed_.executed;
  ledger.copied += departed_.copied;
  ledger.transmitted += departed_.transmitted;
  ledger.dropped += departed_.dropped;
  for (std::size_t i = 0; i < kDropReasons; ++i) ledger.drops[i] += departed_.drops[i];
  non_pmd_.context().counters().AddTo(ledger);
  for (const auto& [core, pmd] : pmds_) pmd->context().counters().AddTo(ledger);
}

std::uint64_t Contexts::lost_upcalls() const {
  MutexLock lock(mutex_);
  std::uint64_t lost = departed_lost_upcalls_ + non_pmd_.context().counters().lost_upcalls.Get();
  for (const auto& [core, pmd] : pmds_) lost += pmd->context().counters().lost_upcalls.Get();
  return lost;
}

std::vector<PmdStats> Contexts::Stats(const std::function<std::string(PortNumber)>& name_of) const {
  MutexLock lock(mutex_);
  std::vector<PmdStats> stats;
  stats.push_back(StatsOf(non_pmd_.context(), kNonPmdCore, 0, name_of));
  for (const auto& [core, pmd] : pmds_)
    stats.push_back(StatsOf(pmd->context(), core, pmd->numa(), name_of));
  return stats;
}

std::optional<std::size_t> Contexts::SlotOf(std::uint32_t core) const {
  if (core == kNonPmdCore) return kNonPmdSlot;
  MutexLock lock(mutex_);
  const auto found = pmds_.find(core);
  if (found == pmds_.end()) return std::nullopt;
  return found->second->context().slot();
}

}  // namespace pollux
