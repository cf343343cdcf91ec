// FlowSlots: the memory of megaflows and of what is counted for them.
//
// Megaflows stand in pages that stay until the table dies. What is counted is per thread: each
// forwarding context has a slot of its own (0..63), and for each slot there are pages of
// FlowCounters indexed like the flows, so that no two threads ever write to one cache line. What
// contexts counted that are gone is kept in pages of the same kind.
//
// Writers hold the flow mutex; forwarding calls CountersOf() alone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "classifier/megaflow.h"

namespace pollux {

inline constexpr std::size_t kMaxContexts = 64;

class FlowSlots {
 public:
  static constexpr std::size_t kPageFlows = 1024;
  static constexpr std::size_t kMaxPages = 4096;
  static constexpr std::size_t kMaxFlows = kPageFlows * kMaxPages;
  static constexpr std::size_t kOffloaded = kMaxContexts + 1;

  // --- Writers.

  // A slot for which nothing is counted; nullptr: all are in use.
  Megaflow* Take();
  // Nobody can see the flow any more, or count for it.
  void GiveBack(Megaflow* flow);
  // Slots, in use or not: those below size() may be looked at.
  std::size_t size() const { return size_; }
  Megaflow& operator[](std::size_t i) const { return flows_[i / kPageFlows][i % kPageFlows]; }

  // A context comes (before it runs) and goes (after it ended): what it counted stays.
  void AddContext(std::size_t slot);
  void RemoveContext(std::size_t slot);
  // From now on there are counters of what no context forwards: those at kOffloaded.
  void AddOffloaded() {
    if (counters_[kOffloaded] == nullptr) counters_[kOffloaded] = NewCounters();
  }
  // Of one context, or of all there are and were.
  FlowStats Stats(const Megaflow& flow, std::optional<std::size_t> slot = {}) const;

  // --- Forwarding.

  FlowCounters& CountersOf(const Megaflow& flow, std::size_t slot) const {
    return counters_[slot]->page[flow.index / kPageFlows].load(
        std::memory_order_acquire)[flow.index % kPageFlows];
  }

 private:
  struct CounterPages {
    std::array<std::atomic<FlowCounters*>, kMaxPages> page{};
    ~CounterPages();
  };
  static constexpr std::size_t kDeparted = kMaxContexts;

  std::unique_ptr<CounterPages> NewCounters() const;

  std::size_t size_ = 0;
  std::vector<std::unique_ptr<Megaflow[]>> flows_;
  std::vector<Megaflow*> free_;
  // By context, one for those that are gone, and one for what is offloaded. Set before the context
  // starts, cleared after it ended.
  std::array<std::unique_ptr<CounterPages>, kMaxContexts + 2> counters_;
};

}  // namespace pollux
