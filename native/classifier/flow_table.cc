#include "classifier/flow_table.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

namespace pollux {
namespace {

constexpr std::size_t kDumpReserve = 1024;
// Changes from one whose place in the index is asked for to the one that is worked at.
constexpr std::size_t kAhead = 8;
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

// Of a packed key: in_port is in its first word, which every mask looks at.
std::uint32_t InPortOf(const PackedMask& mask, const std::uint64_t* key) {
  static_assert(offsetof(Flow, in_port) == 0);
  return mask.map().Has(0) ? std::bit_cast<std::array<std::uint32_t, 2>>(*key)[0] : 0;
}

bool IsOf(const PackedMask& mask, const std::uint64_t* key, const Megaflow& flow) {
  return *flow.mask == mask && std::equal(key, key + mask.size(), flow.packed_key());
}

// A packet that has the fields of the key, and no others.
Miniflow PacketOf(const PackedMask& mask, const std::uint64_t* key) {
  Miniflow packet;
  packet.map = mask.map();
  std::copy_n(key, mask.size(), packet.values.begin());
  return packet;
}

}  // namespace

FlowTable::FlowTable(const Clock& clock, std::size_t limit, std::int64_t max_idle_ms)
    : clock_(clock), limit_(limit), max_idle_ms_(max_idle_ms) {}
FlowTable::~FlowTable() = default;

// ------------------------------------------------------------------ changes

FlowOutcomes FlowTable::Apply(const FlowChanges& changes, bool atomic) {
  MutexLock lock(mutex_);
  Run run{clock_.NowMs(), {}, {}};
  run.undo.reserve(changes.size());
  run.outcomes.each.reserve(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (i + kAhead < changes.size()) by_ufid_.Prefetch(changes[i + kAhead].ufid);
    const PackedChange& change = changes[i];
    switch (change.kind) {
      case PackedChange::Kind::kPut:
        Put(change, changes.KeyOf(change), run);
        break;
      case PackedChange::Kind::kDelete:
        Delete(change, changes.KeyOf(change), run);
        break;
      case PackedChange::Kind::kRefused:
        run.outcomes.Fail(changes.ErrorOf(change));
        break;
    }
    if (atomic && !run.outcomes.errors.empty()) {
      SettleCopies();
      RollBack(run.undo);
      run.outcomes.each = {run.outcomes.each.back()};
      return std::move(run.outcomes);
    }
  }
  SettleCopies();
  Commit(run.undo);
  qsbr_.Reclaim();
  return std::move(run.outcomes);
}

void FlowTable::Put(const PackedChange& put, const std::uint64_t* key, Run& run) {
  const PackedMask& mask = *put.mask;
  if (InPortOf(mask, key) >= classifiers_.size())
    return run.outcomes.Fail(Invalid("in_port is not a port number"));
  Megaflow* flow = by_ufid_.Find(put.ufid);
  if (flow == nullptr) {
    // A flow with this match would take its packets.
    Dpcls* const classifier = classifiers_[InPortOf(mask, key)].Get();
    const Megaflow* other = nullptr;
    if (classifier != nullptr) other = classifier->Lookup(PacketOf(mask, key));
    if (other != nullptr) flow = FindLinked(mask, key);
    if (flow == nullptr) {
      // One that takes some of its packets.
      if (classifier != nullptr && other == nullptr && !put.has_ufid)
        other = classifier->FindOverlap(mask, key);
      return Add(put, key, other, run);
    }
  }
  if (!IsOf(mask, key, *flow)) {
    return run.outcomes.Fail(
        Exists("another flow has this ufid", "delete that flow first, or leave the ufid out"));
  }
  if (put.has_ufid && flow->ufid != put.ufid) {
    return run.outcomes.Fail(Exists("this flow is installed under another ufid",
                                    "use that ufid, or delete the flow first"));
  }
  Replace(put, flow, run);
}

void FlowTable::Replace(const PackedChange& put, Megaflow* flow, Run& run) {
  if (!put.replace) {
    return run.outcomes.Fail(
        Exists("the flow exists", "pass ifExists: 'replace' to change its actions"));
  }
  LeaveCopies(*flow);
  run.undo.push_back({Undo::Kind::kReplaced,
                      flow,
                      {},
                      flow->actions.Replace(put.actions.get()),
                      std::exchange(flow->owned_actions, put.actions),
                      std::exchange(flow->idle_timeout_ms, put.idle_timeout_ms)});
  if (evictables_.Has(*flow)) evictables_.Remove(flow);  // Until Commit().
  run.outcomes.Put(flow->ufid);
}

void FlowTable::Add(const PackedChange& put, const std::uint64_t* key, const Megaflow* other,
                    Run& run) {
  if (!put.create) return run.outcomes.Fail(Missing());
  if (!put.has_ufid && other != nullptr) {
    if (put.optional) return run.outcomes.Found(false);
    return run.outcomes.FailOverlap(
        Invalid("the flow overlaps one that is installed",
                "flows of a port have no priority: make them disjoint, or give this one a "
                "ufid of its own"),
        other->match());
  }
  Megaflow* flow = slots_.Take();
  if (flow == nullptr) return run.outcomes.Fail(SystemError(ENOMEM, {}, "no memory for the flow"));
  if (!MakeRoom(run.undo)) {
    slots_.GiveBack(flow);
    if (put.optional) return run.outcomes.Found(false);
    return run.outcomes.Fail(Full(limit_));
  }
  flow->SetKey(ClassifierFor(InPortOf(*put.mask, key)).Share(*put.mask), key);
  flow->ufid = put.ufid;
  flow->idle_timeout_ms = put.idle_timeout_ms;
  flow->created_ms = run.now_ms;
  flow->owned_actions = put.actions;
  flow->actions.Publish(put.actions.get());
  Link(flow);
  run.undo.push_back({.kind = Undo::Kind::kAdded, .flow = flow});
  run.outcomes.Put(put.ufid);
}

bool FlowTable::MakeRoom(std::vector<Undo>& undo) {
  if (by_ufid_.size() < limit_) return true;
  if (evictables_.size() == 0) return false;
  Megaflow* flow = evictables_.Next([this](const Megaflow& candidate) {
    mutex_.AssertHeld();
    return LastUse(candidate);
  });
  undo.push_back({.kind = Undo::Kind::kEvicted, .unlinked = Unlink(flow)});
  return true;
}

void FlowTable::Delete(const PackedChange& del, const std::uint64_t* key, Run& run) {
  Megaflow* flow = FindLinked(del, key);
  if (flow != nullptr) run.undo.push_back({.kind = Undo::Kind::kDeleted, .unlinked = Unlink(flow)});
  run.outcomes.Found(flow != nullptr);
}

void FlowTable::RollBack(std::vector<Undo>& undo) {
  for (auto step = undo.rbegin(); step != undo.rend(); ++step) {
    Megaflow* flow = step->flow;
    switch (step->kind) {
      case Undo::Kind::kAdded:
        Retire(Unlink(flow), Departure::kNone);
        break;
      case Undo::Kind::kReplaced: {
        auto tried = std::exchange(flow->owned_actions, std::move(step->old_actions));
        flow->idle_timeout_ms = step->old_idle_timeout_ms;
        Retire(flow->actions.Replace(step->old_list.Take()), std::move(tried));
        NoteEvictable(flow);
        break;
      }
      case Undo::Kind::kDeleted:
      case Undo::Kind::kEvicted:
        flow = step->unlinked.Take();
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
        Retire(std::move(step.old_list), std::move(step.old_actions));
        NoteEvictable(step.flow);
        break;
      case Undo::Kind::kDeleted:
        Retire(std::move(step.unlinked), Departure::kNone);
        break;
      case Undo::Kind::kEvicted:
        Retire(std::move(step.unlinked), Departure::kEvicted);
        break;
    }
  }
}

std::size_t FlowTable::Clear() {
  MutexLock lock(mutex_);
  const std::size_t n = by_ufid_.size();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].linked()) continue;
    Retire(Unlink(&slots_[i]), Departure::kNone);
  }
  ReviewClassifiers();
  SettleCopies();
  qsbr_.Reclaim();
  return n;
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
  std::unique_ptr<Dpcls>& classifier = owned_classifiers_[in_port];
  if (classifier == nullptr) {
    classifier = std::make_unique<Dpcls>();
    classifiers_[in_port].Publish(classifier.get());
  }
  return *classifier;
}

void FlowTable::Link(Megaflow* flow) {
  // Odd before it can be found: whoever finds it may cache it.
  flow->epoch.store(flow->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  by_ufid_.Insert(*flow);
  Dpcls& classifier = ClassifierFor(flow->in_port());
  classifier.Insert(flow, qsbr_);
  if (classifier.wants_review()) Review(classifier);
}

Unpublished<Megaflow*> FlowTable::Unlink(Megaflow* flow) {
  LeaveCopies(*flow);
  by_ufid_.Remove(*flow);
  Unpublished<Megaflow*> unlinked = ClassifierFor(flow->in_port()).Remove(flow, qsbr_);
  // Even: caches do not find it any more either.
  flow->epoch.store(flow->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  NoteEvictable(flow);
  return unlinked;
}

void FlowTable::Retire(Unpublished<const ActionList*> list,
                       std::shared_ptr<const ActionList> owner) {
  qsbr_.Retire(std::move(list), [owner = std::move(owner)](const ActionList*) {});
}

void FlowTable::Count(const Ufid& ufid, std::size_t slot, std::uint64_t bytes,
                      std::uint16_t tcp_flags) {
  MutexLock lock(mutex_);
  const Megaflow* flow = by_ufid_.Find(ufid);
  if (flow == nullptr) return;
  const auto now = static_cast<std::uint64_t>(clock_.NowMs());
  slots_.CountersOf(*flow, slot).Hit(1, bytes, now, tcp_flags);
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

void FlowTable::SetCopies(FlowCopies* copies) {
  MutexLock lock(mutex_);
  copies_ = copies;
}

void FlowTable::CountCopies() {
  MutexLock lock(mutex_);
  CountCopiesHere();
}

// ------------------------------------------------------------------ showing

Megaflow* FlowTable::FindLinked(const PackedMask& mask, const std::uint64_t* key) const {
  const Dpcls* classifier = ClassifierOf(PortNumber{InPortOf(mask, key)});
  return classifier == nullptr ? nullptr : classifier->FindExact(mask, key);
}

Megaflow* FlowTable::FindLinked(const PackedChange& named, const std::uint64_t* key) const {
  return named.mask == nullptr ? by_ufid_.Find(named.ufid) : FindLinked(*named.mask, key);
}

FlowView FlowTable::View(const Megaflow& flow, std::optional<std::size_t> slot) const {
  return ViewOf(flow, slots_.Stats(flow, slot), has_copies() && copies_->Has(flow));
}

std::optional<FlowView> FlowTable::Find(const PackedChange& named, const std::uint64_t* key) const {
  MutexLock lock(mutex_);
  CountCopiesHere();
  const Megaflow* flow = FindLinked(named, key);
  if (flow == nullptr) return std::nullopt;
  return View(*flow);
}

std::vector<FlowView> FlowTable::Dump(std::size_t& cursor, std::size_t n,
                                      std::optional<std::size_t> slot, std::size_t places) const {
  MutexLock lock(mutex_);
  CountCopiesHere();
  std::vector<FlowView> views;
  views.reserve(std::min(n, kDumpReserve));
  const std::size_t end =
      cursor < slots_.size() && places < slots_.size() - cursor ? cursor + places : slots_.size();
  for (; cursor < end && views.size() < n; ++cursor) {
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
  for (const auto& [in_port, classifier] : owned_classifiers_) n += classifier->masks();
  return n;
}

}  // namespace pollux
