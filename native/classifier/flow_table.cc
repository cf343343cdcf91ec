#include "classifier/flow_table.h"

#include <algorithm>
#include <bit>
#include <string>
#include <thread>
#include <utility>

namespace pollux {
namespace {

// Reports of removed flows that wait to be taken, at most: whoever puts flows without end and never
// looks is not to run out of memory.
constexpr std::size_t kMaxReports = std::size_t{1} << 20;
constexpr std::size_t kDumpReserve = 1024;
// Changes from one whose place in the index is asked for to the one that is worked at.
constexpr std::size_t kAhead = 8;
// Flows that are looked at in one go when those that are idle are looked for, some 50 us: nobody
// who puts flows waits longer for that.
constexpr std::size_t kAgingStep = 512;

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

PackedChange Pack(const Match& match, PackedWords& key) {
  PackedChange change;
  change.mask = std::make_shared<const PackedMask>(match.mask);
  change.mask->Pack(match.key, key.data());
  return change;
}

PackedChange Pack(const FlowPut& put, PackedWords& key) {
  PackedChange change = Pack(put.match, key);
  change.actions = put.actions;
  change.has_ufid = put.ufid.has_value();
  if (put.ufid.has_value()) change.ufid = *put.ufid;
  change.idle_timeout_ms = put.idle_timeout_ms.value_or(Megaflow::kTableTimeout);
  change.replace = put.replace;
  change.create = put.create;
  change.optional = put.optional;
  return change;
}

PackedChange Pack(const FlowDelete& del, PackedWords& key) {
  PackedChange change;
  if (const auto* match = std::get_if<Match>(&del.which)) {
    change = Pack(*match, key);
  } else {
    change.has_ufid = true;
    change.ufid = std::get<Ufid>(del.which);
  }
  change.kind = PackedChange::Kind::kDelete;
  return change;
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

std::vector<FlowOutcome> FlowTable::Apply(const std::vector<FlowChange>& changes, bool atomic) {
  FlowChanges packed;
  PackedWords key;
  for (const FlowChange& change : changes) {
    packed.Add(std::visit([&](const auto& one) { return Pack(one, key); }, change), key.data());
  }
  FlowOutcomes outcomes = Apply(packed, atomic);
  std::vector<FlowOutcome> answers;
  auto error = outcomes.errors.begin();
  for (const FlowOutcomes::One& one : outcomes.each) {
    using Answer = std::variant<Ufid, bool>;
    switch (one.kind) {
      case FlowOutcomes::Kind::kFailed:
        answers.emplace_back(std::move(*error++));
        break;
      case FlowOutcomes::Kind::kPut:
        answers.emplace_back(Answer(one.ufid));
        break;
      default:
        answers.emplace_back(Answer(one.kind == FlowOutcomes::Kind::kDeleted));
    }
  }
  return answers;
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

// ------------------------------------------------------------------ flows that go by themselves

void FlowTable::RemoveIdle() {
  CountCopies();
  for (std::size_t from = 0; RemoveIdleOf(from); from += kAgingStep) std::this_thread::yield();
  MutexLock lock(mutex_);
  ReviewClassifiers();
  SettleCopies();
  qsbr_.Reclaim();
}

bool FlowTable::RemoveIdleOf(std::size_t from) {
  MutexLock lock(mutex_);
  const std::int64_t now = clock_.NowMs();
  const std::size_t end = std::min(slots_.size(), from + kAgingStep);
  for (std::size_t i = from; i < end; ++i) {
    Megaflow& flow = slots_[i];
    if (!flow.linked()) continue;
    const std::int64_t timeout =
        flow.idle_timeout_ms == Megaflow::kTableTimeout ? max_idle_ms_ : flow.idle_timeout_ms;
    if (timeout == 0 || now - LastUse(flow) < timeout) continue;
    Retire(Unlink(&flow), Departure::kIdle);
  }
  SettleCopies();
  return end < slots_.size();
}

void FlowTable::Review(Dpcls& classifier) {
  Dpcls::Counts counts;
  counts.hits = [this](std::uint32_t subtable) {
    std::uint64_t sum = 0;
    for (const auto& context : hits_) {
      if (context != nullptr) sum += context->Of(subtable);
    }
    return sum;
  };
  counts.packets = [this](const Megaflow& flow) { return slots_.Stats(flow).packets; };
  classifier.Review(counts, qsbr_);
}

void FlowTable::ReviewClassifiers() {
  for (auto it = owned_classifiers_.begin(); it != owned_classifiers_.end();) {
    auto& [in_port, classifier] = *it;
    if (classifier->masks() > 0) {
      Review(*classifier);
      ++it;
      continue;
    }
    // Nothing is left of a port that has no flows.
    qsbr_.Retire(classifiers_[in_port].Unpublish(), [](Dpcls* gone) { delete gone; });
    (void)classifier.release();
    it = owned_classifiers_.erase(it);
  }
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
    Retire(Unlink(flow), Departure::kPurged);
  }
  SettleCopies();
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

void FlowTable::Retire(Unpublished<Megaflow*> unlinked, Departure departure) {
  qsbr_.Retire(std::move(unlinked), [this, departure](Megaflow* flow) {
    mutex_.AssertHeld();
    if (departure != Departure::kNone) {
      if (removed_.size() < kMaxReports) {
        removed_.push_back(View(*flow));
        removed_.back().departure = departure;
      } else {
        ++forgotten_;
      }
    }
    slots_.GiveBack(flow);
  });
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

Megaflow* FlowTable::FindLinked(const std::variant<Ufid, Match>& which) const {
  if (const auto* ufid = std::get_if<Ufid>(&which)) return by_ufid_.Find(*ufid);
  const auto& match = std::get<Match>(which);
  const PackedMask mask(match.mask);
  PackedWords key;
  mask.Pack(match.key, key.data());
  return FindLinked(mask, key.data());
}

FlowView FlowTable::View(const Megaflow& flow, std::optional<std::size_t> slot) const {
  FlowView view;
  view.ufid = flow.ufid;
  view.mask = flow.mask;
  view.packed_key.assign(flow.packed_key(), flow.packed_key() + flow.mask->size());
  view.actions = flow.owned_actions;
  if (flow.idle_timeout_ms != Megaflow::kTableTimeout) view.idle_timeout_ms = flow.idle_timeout_ms;
  view.stats = slots_.Stats(flow, slot);
  view.offloaded = has_copies() && copies_->Has(flow);
  return view;
}

std::optional<FlowView> FlowTable::Find(const std::variant<Ufid, Match>& which) const {
  MutexLock lock(mutex_);
  CountCopiesHere();
  const Megaflow* flow = FindLinked(which);
  if (flow == nullptr) return std::nullopt;
  return View(*flow);
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
