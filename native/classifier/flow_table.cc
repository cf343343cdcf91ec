#include "classifier/flow_table.h"

#include <algorithm>
#include <cstring>

namespace pollux {
namespace {

// The id of a flow that was given none: a function of masked key and mask, so that equal keys under
// different masks differ.
Ufid MakeUfid(const Match& match) {
  const FlowWords key = ToWords(match.key);
  const FlowWords mask = ToWords(match.mask);
  const std::array<std::uint64_t, 2> id = {
      HashWords64(mask.data(), mask.size(),
                  HashWords64(key.data(), key.size(), 0x706f6c6c75780001)),
      HashWords64(mask.data(), mask.size(),
                  HashWords64(key.data(), key.size(), 0x706f6c6c75780002))};
  return std::bit_cast<Ufid>(id);
}

Error Exists(std::string message, std::string hint) {
  Error error;
  error.number = EEXIST;
  error.message = std::move(message);
  error.hint = std::move(hint);
  return error;
}

}  // namespace

std::size_t FlowTable::UfidHash::operator()(const Ufid& ufid) const {
  std::size_t hash = 0;
  std::memcpy(&hash, ufid.data(), sizeof hash);
  return hash;
}

FlowTable::SlotPages::~SlotPages() {
  for (auto& entry : page) delete[] entry.load(std::memory_order_relaxed);
}

FlowTable::FlowTable(const Clock& clock, std::size_t limit, std::int64_t max_idle_ms)
    : clock_(clock), limit_(limit), max_idle_ms_(max_idle_ms) {}
FlowTable::~FlowTable() = default;

// ------------------------------------------------------------------ changes

std::vector<FlowOutcome> FlowTable::Apply(const std::vector<FlowChange>& changes, bool atomic) {
  MutexLock lock(mutex_);
  std::vector<FlowOutcome> outcomes;
  outcomes.reserve(changes.size());
  std::vector<Undo> undo;
  for (const FlowChange& change : changes) {
    const auto* put = std::get_if<FlowPut>(&change);
    FlowOutcome outcome =
        put != nullptr ? Put(*put, undo) : Delete(std::get<FlowDelete>(change), undo);
    if (atomic && !outcome.ok()) {
      RollBack(undo);
      outcomes.clear();
      outcomes.push_back(std::move(outcome));
      return outcomes;
    }
    outcomes.push_back(std::move(outcome));
  }
  Commit(undo);
  qsbr_.Reclaim();
  return outcomes;
}

FlowOutcome FlowTable::Put(const FlowPut& put, std::vector<Undo>& undo) {
  if (put.match.key.in_port >= classifiers_.size()) return Invalid("in_port is not a port number");
  const Ufid ufid = put.ufid.value_or(MakeUfid(put.match));
  const auto named = by_ufid_.find(ufid);
  Megaflow* flow = named == by_ufid_.end() ? FindLinked(put.match) : named->second;

  if (flow != nullptr) {
    const bool same_match = flow->match.key == put.match.key && flow->match.mask == put.match.mask;
    if (!same_match) {
      return Exists("another flow has this ufid", "delete that flow first, or leave the ufid out");
    }
    if (put.ufid.has_value() && flow->ufid != ufid) {
      return Exists("this flow is installed under another ufid",
                    "use that ufid, or delete the flow first");
    }
    if (!put.replace)
      return Exists("the flow exists", "pass ifExists: 'replace' to change its actions");
    undo.push_back({Undo::Kind::kReplaced, flow, flow->owned_actions, flow->idle_timeout_ms});
    flow->owned_actions = put.actions;
    flow->idle_timeout_ms = put.idle_timeout_ms;
    flow->actions.store(put.actions.get(), std::memory_order_release);
    return std::variant<Ufid, bool>(flow->ufid);
  }

  if (by_ufid_.size() >= limit_) {
    Error error;
    error.number = ENOSPC;
    error.message = "the flow table is full (" + std::to_string(limit_) + " flows)";
    error.hint = "raise flowLimit, or let flows expire sooner with maxIdleMs or idleTimeoutMs";
    return error;
  }
  if (!put.ufid.has_value()) {
    const Dpcls* classifier = ClassifierOf(PortNumber{put.match.key.in_port});
    if (classifier != nullptr && classifier->Lookup(Compress(put.match.key)) != nullptr) {
      return Invalid("the flow overlaps one that is installed",
                     "flows of a port have no priority: make them disjoint, or give this one a "
                     "ufid of its own");
    }
  }
  flow = NewSlot();
  if (flow == nullptr) return SystemError(ENOMEM, {}, "no memory for the flow");
  flow->match = put.match;
  flow->ufid = ufid;
  flow->idle_timeout_ms = put.idle_timeout_ms;
  flow->created_ms = clock_.NowMs();
  flow->owned_actions = put.actions;
  flow->actions.store(put.actions.get(), std::memory_order_release);
  Link(flow);
  undo.push_back({Undo::Kind::kAdded, flow, nullptr, {}});
  return std::variant<Ufid, bool>(ufid);
}

FlowOutcome FlowTable::Delete(const FlowDelete& del, std::vector<Undo>& undo) {
  Megaflow* flow = FindLinked(del.which);
  if (flow == nullptr) return std::variant<Ufid, bool>(false);
  Unlink(flow);
  undo.push_back({Undo::Kind::kRemoved, flow, nullptr, {}});
  return std::variant<Ufid, bool>(true);
}

void FlowTable::RollBack(std::vector<Undo>& undo) {
  for (auto step = undo.rbegin(); step != undo.rend(); ++step) {
    switch (step->kind) {
      case Undo::Kind::kAdded:
        Unlink(step->flow);
        Retire(step->flow, false);
        break;
      case Undo::Kind::kReplaced: {
        auto tried = std::move(step->flow->owned_actions);
        step->flow->owned_actions = std::move(step->old_actions);
        step->flow->idle_timeout_ms = step->old_idle_timeout_ms;
        step->flow->actions.store(step->flow->owned_actions.get(), std::memory_order_release);
        qsbr_.Retire([tried = std::move(tried)] {});
        break;
      }
      case Undo::Kind::kRemoved:
        Link(step->flow);
        break;
    }
  }
}

void FlowTable::Commit(std::vector<Undo>& undo) {
  for (Undo& step : undo) {
    if (step.kind == Undo::Kind::kReplaced) qsbr_.Retire([old = std::move(step.old_actions)] {});
    if (step.kind == Undo::Kind::kRemoved) Retire(step.flow, false);
  }
}

std::size_t FlowTable::Clear() {
  MutexLock lock(mutex_);
  const std::size_t n = by_ufid_.size();
  for (Megaflow& flow : slots_) {
    if ((flow.epoch.load(std::memory_order_relaxed) & 1) == 0) continue;
    Unlink(&flow);
    Retire(&flow, false);
  }
  qsbr_.Reclaim();
  return n;
}

void FlowTable::RemoveIdle() {
  MutexLock lock(mutex_);
  const std::int64_t now = clock_.NowMs();
  for (Megaflow& flow : slots_) {
    if ((flow.epoch.load(std::memory_order_relaxed) & 1) == 0) continue;
    const std::int64_t timeout = flow.idle_timeout_ms.value_or(max_idle_ms_);
    if (timeout == 0) continue;
    if (now - std::max(Stats(flow, {}).used_ms, flow.created_ms) < timeout) continue;
    Unlink(&flow);
    Retire(&flow, true);
  }
  qsbr_.Reclaim();
}

std::vector<FlowView> FlowTable::TakeRemoved() {
  MutexLock lock(mutex_);
  qsbr_.Reclaim();
  return std::exchange(removed_, {});
}

std::size_t FlowTable::Reclaim() {
  MutexLock lock(mutex_);
  return qsbr_.Reclaim();
}

void FlowTable::SetLimits(std::size_t limit, std::int64_t max_idle_ms) {
  MutexLock lock(mutex_);
  limit_ = limit;
  max_idle_ms_ = max_idle_ms;
}

// -------------------------------------------------------------------- slots

Dpcls& FlowTable::ClassifierFor(const Match& match) {
  std::atomic<Dpcls*>& entry = classifiers_[match.key.in_port];
  Dpcls* classifier = entry.load(std::memory_order_relaxed);
  if (classifier == nullptr) {
    owned_classifiers_.push_back(std::make_unique<Dpcls>());
    classifier = owned_classifiers_.back().get();
    entry.store(classifier, std::memory_order_release);
  }
  return *classifier;
}

void FlowTable::Link(Megaflow* flow) {
  // Odd before it can be found: whoever finds it may cache it.
  flow->epoch.store(flow->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  ClassifierFor(flow->match).Insert(flow, qsbr_);
  by_ufid_.emplace(flow->ufid, flow);
}

void FlowTable::Unlink(Megaflow* flow) {
  by_ufid_.erase(flow->ufid);
  ClassifierFor(flow->match).Remove(flow, qsbr_);
  flow->epoch.store(flow->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void FlowTable::Retire(Megaflow* flow, bool report) {
  qsbr_.Retire([this, flow, report] {
    mutex_.AssertHeld();
    if (report) removed_.push_back(View(*flow));
    flow->owned_actions.reset();
    flow->base_packets = flow->base_bytes = 0;
    flow->base_used_ms = 0;
    flow->base_tcp_flags = 0;
    free_slots_.push_back(flow);
  });
}

Megaflow* FlowTable::NewSlot() {
  if (!free_slots_.empty()) {
    Megaflow* flow = free_slots_.back();
    free_slots_.pop_back();
    // Nobody has counted here since the grace period of the flow before.
    for (std::size_t slot = 0; slot < kMaxContexts; ++slot) {
      if (pages_[slot] == nullptr) continue;
      FlowCounters& counters = CountersOf(*flow, slot);
      counters.packets.Set(0);
      counters.bytes.Set(0);
      counters.used_ms.Set(0);
      counters.tcp_flags.Set(0);
    }
    return flow;
  }
  const std::size_t index = slots_.size();
  const std::size_t page = index / kPageFlows;
  if (page >= kMaxPages) return nullptr;
  if (index % kPageFlows == 0) {
    for (auto& pages : pages_) {
      if (pages != nullptr)
        pages->page[page].store(new FlowCounters[kPageFlows], std::memory_order_release);
    }
  }
  Megaflow& flow = slots_.emplace_back();
  flow.index = static_cast<std::uint32_t>(index);
  return &flow;
}

void FlowTable::AddContext(std::size_t slot) {
  MutexLock lock(mutex_);
  POLLUX_CHECK(pages_[slot] == nullptr);
  auto pages = std::make_unique<SlotPages>();
  for (std::size_t page = 0; page * kPageFlows < slots_.size(); ++page) {
    pages->page[page].store(new FlowCounters[kPageFlows], std::memory_order_release);
  }
  pages_[slot] = std::move(pages);
}

void FlowTable::RemoveContext(std::size_t slot) {
  MutexLock lock(mutex_);
  POLLUX_CHECK(pages_[slot] != nullptr);
  for (Megaflow& flow : slots_) {
    const FlowStats gone = Stats(flow, slot);
    flow.base_packets += gone.packets;
    flow.base_bytes += gone.bytes;
    flow.base_used_ms = std::max(flow.base_used_ms, gone.used_ms);
    flow.base_tcp_flags |= gone.tcp_flags;
  }
  pages_[slot].reset();
}

// ------------------------------------------------------------------ showing

Megaflow* FlowTable::FindLinked(const std::variant<Ufid, Match>& which) const {
  if (const auto* ufid = std::get_if<Ufid>(&which)) {
    const auto found = by_ufid_.find(*ufid);
    return found == by_ufid_.end() ? nullptr : found->second;
  }
  const Match& match = std::get<Match>(which);
  const Dpcls* classifier = ClassifierOf(PortNumber{match.key.in_port});
  return classifier == nullptr ? nullptr : classifier->FindExact(match);
}

FlowStats FlowTable::Stats(const Megaflow& flow, std::optional<std::size_t> slot) const {
  FlowStats stats;
  const auto add = [&](std::size_t i) {
    const FlowCounters& counters = CountersOf(flow, i);
    stats.packets += counters.packets.Get();
    stats.bytes += counters.bytes.Get();
    stats.used_ms = std::max(stats.used_ms, static_cast<std::int64_t>(counters.used_ms.Get()));
    stats.tcp_flags |= static_cast<std::uint16_t>(counters.tcp_flags.Get());
  };
  if (slot.has_value()) {
    if (pages_[*slot] != nullptr) add(*slot);
    return stats;
  }
  stats = {flow.base_packets, flow.base_bytes, flow.base_used_ms, flow.base_tcp_flags};
  for (std::size_t i = 0; i < kMaxContexts; ++i) {
    if (pages_[i] != nullptr) add(i);
  }
  return stats;
}

FlowView FlowTable::View(const Megaflow& flow, std::optional<std::size_t> slot) const {
  return {flow.ufid, flow.match, flow.owned_actions, Stats(flow, slot)};
}

std::optional<FlowView> FlowTable::Find(const std::variant<Ufid, Match>& which) const {
  MutexLock lock(mutex_);
  const Megaflow* flow = FindLinked(which);
  if (flow == nullptr) return std::nullopt;
  return View(*flow);
}

std::vector<FlowView> FlowTable::Dump(std::size_t& cursor, std::size_t n,
                                      std::optional<std::size_t> slot) const {
  MutexLock lock(mutex_);
  std::vector<FlowView> views;
  for (; cursor < slots_.size() && views.size() < n; ++cursor) {
    const Megaflow& flow = slots_[cursor];
    if ((flow.epoch.load(std::memory_order_relaxed) & 1) != 0) views.push_back(View(flow, slot));
  }
  return views;
}

std::size_t FlowTable::size() const {
  MutexLock lock(mutex_);
  return by_ufid_.size();
}

std::size_t FlowTable::masks() const {
  MutexLock lock(mutex_);
  std::size_t n = 0;
  for (const auto& classifier : owned_classifiers_) n += classifier->masks();
  return n;
}

}  // namespace pollux
