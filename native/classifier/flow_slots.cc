#include "classifier/flow_slots.h"

#include "base/sync.h"

namespace pollux {

FlowSlots::CounterPages::~CounterPages() {
  for (auto& entry : page) delete[] entry.load(std::memory_order_relaxed);
}

Megaflow* FlowSlots::Take() {
  if (!free_.empty()) {
    Megaflow* flow = free_.back();
    free_.pop_back();
    // Nobody has counted here since the grace period of the flow before.
    for (std::size_t slot = 0; slot < counters_.size(); ++slot) {
      if (counters_[slot] != nullptr) CountersOf(*flow, slot).Clear();
    }
    return flow;
  }
  if (size_ == kMaxFlows) return nullptr;
  const std::size_t page = size_ / kPageFlows;
  if (size_ % kPageFlows == 0) {
    flows_.push_back(std::make_unique<Megaflow[]>(kPageFlows));
    for (auto& counters : counters_) {
      if (counters != nullptr)
        counters->page[page].store(new FlowCounters[kPageFlows], std::memory_order_release);
    }
  }
  Megaflow& flow = (*this)[size_];
  flow.index = static_cast<std::uint32_t>(size_++);
  return &flow;
}

void FlowSlots::GiveBack(Megaflow* flow) {
  (void)flow->actions.Unpublish().Take();
  flow->owned_actions.reset();
  flow->ClearKey();
  free_.push_back(flow);
}

std::unique_ptr<FlowSlots::CounterPages> FlowSlots::NewCounters() const {
  auto counters = std::make_unique<CounterPages>();
  for (std::size_t page = 0; page < flows_.size(); ++page) {
    counters->page[page].store(new FlowCounters[kPageFlows], std::memory_order_release);
  }
  return counters;
}

void FlowSlots::AddContext(std::size_t slot) {
  POLLUX_CHECK(counters_[slot] == nullptr);
  counters_[slot] = NewCounters();
}

void FlowSlots::RemoveContext(std::size_t slot) {
  POLLUX_CHECK(counters_[slot] != nullptr);
  if (counters_[kDeparted] == nullptr) counters_[kDeparted] = NewCounters();
  for (std::size_t i = 0; i < size_; ++i) {
    const Megaflow& flow = (*this)[i];
    CountersOf(flow, kDeparted).Merge(CountersOf(flow, slot));
  }
  counters_[slot].reset();
}

FlowStats FlowSlots::Stats(const Megaflow& flow, std::optional<std::size_t> slot) const {
  FlowStats stats;
  if (slot.has_value()) {
    if (counters_[*slot] != nullptr) stats.Add(CountersOf(flow, *slot));
    return stats;
  }
  for (std::size_t i = 0; i < counters_.size(); ++i) {
    if (counters_[i] != nullptr) stats.Add(CountersOf(flow, i));
  }
  return stats;
}

}  // namespace pollux
