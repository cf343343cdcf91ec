// Evictables: the flows that may make room for another, and which of them goes next.
//
// The one least recently used, nearly: of a few flows, spread over the whole list since neighbours
// came together and may well be used together, the one unused for longest. That costs the same
// however many flows there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "classifier/megaflow.h"

namespace pollux {

class Evictables {
 public:
  std::size_t size() const { return flows_.size(); }
  bool Has(const Megaflow& flow) const { return flow.evictable_place != Megaflow::kNowhere; }

  void Add(Megaflow* flow) {
    flow->evictable_place = static_cast<std::uint32_t>(flows_.size());
    flows_.push_back(flow);
  }
  void Remove(Megaflow* flow) {
    Megaflow* last = flows_.back();
    flows_[flow->evictable_place] = last;
    last->evictable_place = flow->evictable_place;
    flow->evictable_place = Megaflow::kNowhere;
    flows_.pop_back();
  }

  // The next to go, by `last_use(flow)`, a time. There must be one.
  template <typename LastUse>
  Megaflow* Next(LastUse last_use) {
    const std::size_t step = std::max<std::size_t>(1, flows_.size() / kSample);
    hand_ = (hand_ + 1) % step;
    Megaflow* oldest = nullptr;
    std::int64_t oldest_use = 0;
    for (std::size_t i = hand_; i < flows_.size(); i += step) {
      const std::int64_t use = last_use(*flows_[i]);
      if (oldest != nullptr && use >= oldest_use) continue;
      oldest = flows_[i];
      oldest_use = use;
    }
    return oldest;
  }
  // The `n` least recently used ones, exactly. There must be so many.
  template <typename LastUse>
  std::vector<Megaflow*> Oldest(std::size_t n, LastUse last_use) const {
    std::vector<std::pair<std::int64_t, Megaflow*>> by_use;
    by_use.reserve(flows_.size());
    for (Megaflow* flow : flows_) by_use.emplace_back(last_use(*flow), flow);
    std::nth_element(by_use.begin(), by_use.begin() + static_cast<std::ptrdiff_t>(n), by_use.end());
    std::vector<Megaflow*> oldest;
    oldest.reserve(n);
    for (std::size_t i = 0; i < n; ++i) oldest.push_back(by_use[i].second);
    return oldest;
  }

 private:
  static constexpr std::size_t kSample = 16;  // Up to twice as many are looked at.

  std::vector<Megaflow*> flows_;
  std::size_t hand_ = 0;  // Another place each time.
};

}  // namespace pollux
