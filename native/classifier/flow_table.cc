#include "classifier/flow_table.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace pollux {
namespace {

// Reports of removed flows that wait to be taken, at most: whoever puts flows without end and never
// looks is not to run out of memory.
constexpr std::size_t kMaxReports = std::size_t{1} << 20;

Error Exists(std::string message, std::string hint) {
  Error error;
  error.number = EEXIST;
  error.message = std::move(message);
  error.hint = std::move(hint);
  return error;
}

Error Missing() {
  Error error;
  error.number = ENOENT;
  error.message = "there is no such flow to modify";
  error.hint = "leave ifMissing: 'error' out to have it added";
  return error;
}

Error Full(std::size_t limit) {
  Error error;
  error.number = ENOSPC;
  error.message =
      "the flow table is full (" + std::to_string(limit) + " flows), and no flow may make room";
  error.hint =
      "raise flowLimit: flows whose idleTimeoutMs is 0 are never evicted, nor are those put in the "
      "same call";
  return error;
}

FlowOutcome Done(const Ufid& ufid) { return std::variant<Ufid, bool>(ufid); }
FlowOutcome Done(bool found) { return std::variant<Ufid, bool>(found); }

}  // namespace

std::size_t FlowTable::UfidHash::operator()(const Ufid& ufid) const {
  std::size_t hash = 0;
  std::memcpy(&hash, ufid.data(), sizeof hash);
  return hash;
}

// The id of a flow that was given none: a function of masked key and mask, so that equal keys under
// different masks differ.
Ufid FlowTable::PackedMatch::MakeUfid() const {
  const std::array<std::uint64_t, 2> id = {mask.HashWithMask(key.data(), 0x706f6c6c75780001),
                                           mask.HashWithMask(key.data(), 0x706f6c6c75780002)};
  return std::bit_cast<Ufid>(id);
}

bool FlowTable::PackedMatch::IsOf(const Megaflow& flow) const {
  return *flow.mask == mask &&
         std::equal(key.begin(), key.begin() + mask.size(), flow.packed_key());
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
  const PackedMatch match(put.match);
  const Ufid ufid = put.ufid.value_or(match.MakeUfid());
  const auto named = by_ufid_.find(ufid);
  Megaflow* flow = named == by_ufid_.end() ? FindLinked(match) : named->second;
  if (flow == nullptr) return Add(put, match, ufid, undo);
  if (!match.IsOf(*flow)) {
    return Exists("another flow has this ufid", "delete that flow first, or leave the ufid out");
  }
  if (put.ufid.has_value() && flow->ufid != ufid) {
    return Exists("this flow is installed under another ufid",
                  "use that ufid, or delete the flow first");
  }
  return Replace(put, flow, undo);
}

FlowOutcome FlowTable::Replace(const FlowPut& put, Megaflow* flow, std::vector<Undo>& undo) {
  if (!put.replace)
    return Exists("the flow exists", "pass ifExists: 'replace' to change its actions");
  undo.push_back({Undo::Kind::kReplaced, flow, flow->owned_actions, flow->idle_timeout_ms});
  flow->owned_actions = put.actions;
  flow->idle_timeout_ms = put.idle_timeout_ms.value_or(Megaflow::kTableTimeout);
  flow->actions.store(put.actions.get(), std::memory_order_release);
  if (evictables_.Has(*flow)) evictables_.Remove(flow);  // Until Commit().
  return Done(flow->ufid);
}

FlowOutcome FlowTable::Add(const FlowPut& put, const PackedMatch& match, const Ufid& ufid,
                           std::vector<Undo>& undo) {
  if (!put.create) return Missing();
  Dpcls& classifier = ClassifierFor(match.in_port);
  if (!put.ufid.has_value() && classifier.Lookup(Compress(put.match.key)) != nullptr) {
    if (put.optional) return Done(false);
    return Invalid("the flow overlaps one that is installed",
                   "flows of a port have no priority: make them disjoint, or give this one a "
                   "ufid of its own");
  }
  Megaflow* flow = slots_.Take();
  if (flow == nullptr) return SystemError(ENOMEM, {}, "no memory for the flow");
  if (!MakeRoom(undo)) {
    slots_.GiveBack(flow);
    if (put.optional) return Done(false);
    return Full(limit_);
  }
  flow->SetKey(classifier.Share(match.mask), match.key.data());
  flow->ufid = ufid;
  flow->idle_timeout_ms = put.idle_timeout_ms.value_or(Megaflow::kTableTimeout);
  flow->created_ms = clock_.NowMs();
  flow->owned_actions = put.actions;
  flow->actions.store(put.actions.get(), std::memory_order_release);
  Link(flow);
  undo.push_back({Undo::Kind::kAdded, flow, nullptr});
  return Done(ufid);
}

bool FlowTable::MakeRoom(std::vector<Undo>& undo) {
  if (by_ufid_.size() < limit_) return true;
  if (evictables_.size() == 0) return false;
  Megaflow* flow = evictables_.Next([this](const Megaflow& candidate) {
    mutex_.AssertHeld();
    return LastUse(candidate);
  });
  Unlink(flow);
  undo.push_back({Undo::Kind::kEvicted, flow, nullptr});
  return true;
}

FlowOutcome FlowTable::Delete(const FlowDelete& del, std::vector<Undo>& undo) {
  Megaflow* flow = FindLinked(del.which);
  if (flow == nullptr) return Done(false);
  Unlink(flow);
  undo.push_back({Undo::Kind::kDeleted, flow, nullptr});
  return Done(true);
}

void FlowTable::RollBack(std::vector<Undo>& undo) {
  for (auto step = undo.rbegin(); step != undo.rend(); ++step) {
    Megaflow* flow = step->flow;
    switch (step->kind) {
      case Undo::Kind::kAdded:
        Unlink(flow);
        Retire(flow, Report::kNo);
        break;
      case Undo::Kind::kReplaced: {
        auto tried = std::exchange(flow->owned_actions, std::move(step->old_actions));
        flow->idle_timeout_ms = step->old_idle_timeout_ms;
        flow->actions.store(flow->owned_actions.get(), std::memory_order_release);
        qsbr_.Retire([tried = std::move(tried)] {});
        NoteEvictable(flow);
        break;
      }
      case Undo::Kind::kDeleted:
      case Undo::Kind::kEvicted:
        Link(flow);
        NoteEvictable(flow);
        break;
    }
  }
}

void FlowTable::Commit(std::vector<Undo>& undo) {
  for (Undo& step : undo) {
    switch (step.kind) {
      case Undo::Kind::kAdded:
        NoteEvictable(step.flow);
        break;
      case Undo::Kind::kReplaced:
        qsbr_.Retire([old = std::move(step.old_actions)] {});
        NoteEvictable(step.flow);
        break;
      case Undo::Kind::kDeleted:
        Retire(step.flow, Report::kNo);
        break;
      case Undo::Kind::kEvicted:
        Retire(step.flow, Report::kYes);
        break;
    }
  }
}

std::size_t FlowTable::Clear() {
  MutexLock lock(mutex_);
  const std::size_t n = by_ufid_.size();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].linked()) continue;
    Unlink(&slots_[i]);
    Retire(&slots_[i], Report::kNo);
  }
  ShrinkProfiles();
  qsbr_.Reclaim();
  return n;
}

// ------------------------------------------------------------------ flows that go by themselves

void FlowTable::RemoveIdle() {
  MutexLock lock(mutex_);
  const std::int64_t now = clock_.NowMs();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Megaflow& flow = slots_[i];
    if (!flow.linked()) continue;
    const std::int64_t timeout =
        flow.idle_timeout_ms == Megaflow::kTableTimeout ? max_idle_ms_ : flow.idle_timeout_ms;
    if (timeout == 0 || now - LastUse(flow) < timeout) continue;
    Unlink(&flow);
    Retire(&flow, Report::kYes);
  }
  ShrinkProfiles();
  OrderTuples();
  qsbr_.Reclaim();
}

void FlowTable::ShrinkProfiles() {
  for (const auto& classifier : owned_classifiers_) classifier->ShrinkProfile(qsbr_);
}

void FlowTable::OrderTuples() {
  const auto hits = [this](std::uint32_t subtable) {
    std::uint64_t sum = 0;
    for (const auto& context : hits_) {
      if (context != nullptr) sum += context->Of(subtable);
    }
    return sum;
  };
  for (const auto& classifier : owned_classifiers_) classifier->Reorder(hits, qsbr_);
}

void FlowTable::SetLimits(std::size_t limit, std::int64_t max_idle_ms) {
  MutexLock lock(mutex_);
  limit_ = limit;
  max_idle_ms_ = max_idle_ms;
  if (by_ufid_.size() <= limit) return;
  const std::size_t excess = std::min(by_ufid_.size() - limit, evictables_.size());
  const auto last_use = [this](const Megaflow& flow) {
    mutex_.AssertHeld();
    return LastUse(flow);
  };
  for (Megaflow* flow : evictables_.Oldest(excess, last_use)) {
    Unlink(flow);
    Retire(flow, Report::kYes);
  }
  qsbr_.Reclaim();
}

std::vector<FlowView> FlowTable::TakeRemoved(std::size_t& forgotten) {
  MutexLock lock(mutex_);
  qsbr_.Reclaim();
  forgotten = std::exchange(forgotten_, 0);
  return std::exchange(removed_, {});
}

std::size_t FlowTable::Reclaim() {
  MutexLock lock(mutex_);
  return qsbr_.Reclaim();
}

std::int64_t FlowTable::LastUse(const Megaflow& flow) const {
  return std::max(slots_.Stats(flow).used_ms, flow.created_ms);
}

void FlowTable::NoteEvictable(Megaflow* flow) {
  const bool evictable = flow->linked() && flow->idle_timeout_ms != 0;
  if (evictable == evictables_.Has(*flow)) return;
  evictable ? evictables_.Add(flow) : evictables_.Remove(flow);
}

// ------------------------------------------------------------------ linking

Dpcls& FlowTable::ClassifierFor(std::uint32_t in_port) {
  std::atomic<Dpcls*>& entry = classifiers_[in_port];
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
  ClassifierFor(flow->in_port()).Insert(flow, qsbr_);
  by_ufid_.emplace(flow->ufid, flow);
}

void FlowTable::Unlink(Megaflow* flow) {
  by_ufid_.erase(flow->ufid);
  ClassifierFor(flow->in_port()).Remove(flow, qsbr_);
  flow->epoch.store(flow->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  NoteEvictable(flow);
}

void FlowTable::Retire(Megaflow* flow, Report report) {
  qsbr_.Retire([this, flow, report] {
    mutex_.AssertHeld();
    if (report == Report::kYes) {
      if (removed_.size() < kMaxReports) {
        removed_.push_back(View(*flow));
      } else {
        ++forgotten_;
      }
    }
    slots_.GiveBack(flow);
  });
}

void FlowTable::AddContext(std::size_t slot) {
  MutexLock lock(mutex_);
  slots_.AddContext(slot);
  if (hits_[slot] == nullptr) hits_[slot] = std::make_unique<TupleHits>();
}

void FlowTable::RemoveContext(std::size_t slot) {
  MutexLock lock(mutex_);
  slots_.RemoveContext(slot);
}

// ------------------------------------------------------------------ showing

Megaflow* FlowTable::FindLinked(const PackedMatch& match) const {
  const Dpcls* classifier = ClassifierOf(PortNumber{match.in_port});
  return classifier == nullptr ? nullptr : classifier->FindExact(match.mask, match.key.data());
}

Megaflow* FlowTable::FindLinked(const std::variant<Ufid, Match>& which) const {
  const auto* ufid = std::get_if<Ufid>(&which);
  if (ufid == nullptr) return FindLinked(PackedMatch(std::get<Match>(which)));
  const auto found = by_ufid_.find(*ufid);
  return found == by_ufid_.end() ? nullptr : found->second;
}

FlowView FlowTable::View(const Megaflow& flow, std::optional<std::size_t> slot) const {
  FlowView view;
  view.ufid = flow.ufid;
  view.mask = flow.mask;
  view.packed_key.assign(flow.packed_key(), flow.packed_key() + flow.mask->size());
  view.actions = flow.owned_actions;
  if (flow.idle_timeout_ms != Megaflow::kTableTimeout) view.idle_timeout_ms = flow.idle_timeout_ms;
  view.stats = slots_.Stats(flow, slot);
  return view;
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
    if (slots_[cursor].linked()) views.push_back(View(slots_[cursor], slot));
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
