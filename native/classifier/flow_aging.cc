// Flows that leave the table: those that are idle, those above a lowered limit, and the reports of
// what went by itself.

#include <algorithm>
#include <thread>
#include <utility>

#include "classifier/flow_table.h"

namespace pollux {
namespace {

// Reports of removed flows that wait to be taken, at most: whoever puts flows without end and never
// looks is not to run out of memory.
constexpr std::size_t kMaxReports = std::size_t{1} << 20;
// Flows that are looked at in one go when those that are idle are looked for, some 50 us: nobody
// who puts flows waits longer for that.
constexpr std::size_t kAgingStep = 512;

}  // namespace

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

}  // namespace pollux
