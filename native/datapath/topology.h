// Topology: which cores there are, and on which NUMA node each is.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace pollux {

struct Core {
  std::uint32_t id = 0;
  std::uint32_t numa = 0;
  friend bool operator==(const Core&, const Core&) = default;
  friend auto operator<=>(const Core&, const Core&) = default;
};

struct Topology {
  std::vector<Core> cores;  // Ascending ids.
  bool injected = false;    // Made up: threads are not pinned.

  const Core* Find(std::uint32_t id) const {
    for (const Core& core : cores) {
      if (core.id == id) return &core;
    }
    return nullptr;
  }
};

// The machine's own, from /sys, as far as this process may run on it.
Topology DiscoverTopology();
Topology InjectedTopology(const std::vector<std::vector<std::uint32_t>>& numa);

}  // namespace pollux
