// What a datapath is told when it is made, and what of it can be changed later.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pollux {

// How long idle PMD threads sleep at most, in microseconds. 0: they spin; kUntilWoken: until a
// packet or a doorbell comes.
struct SleepLimits {
  static constexpr std::uint32_t kUntilWoken = UINT32_MAX;

  std::uint32_t everywhere = kUntilWoken;
  std::map<std::uint32_t, std::uint32_t> of_core;  // Instead, for the thread of a core.

  std::uint32_t Of(std::uint32_t core) const {
    const auto found = of_core.find(core);
    return found == of_core.end() ? everywhere : found->second;
  }
  friend bool operator==(const SleepLimits&, const SleepLimits&) = default;
};

struct DatapathOptions {
  std::string name = "pollux";
  // Cores that get a PMD thread when their node has a port to poll. Not set: the first core of each
  // node.
  std::optional<std::vector<std::uint32_t>> pmd_cpus;
  // Cores of each NUMA node; empty: the machine's own. Given: threads are not pinned.
  std::vector<std::vector<std::uint32_t>> topology;
  bool manual_clock = false;
  std::uint32_t flow_limit = 200'000;
  std::int64_t max_idle_ms = 10'000;
  // 0: never, 1: always, n: one in n, so that more five-tuples than the cache holds do not push
  // each other out all the time.
  std::uint32_t emc_insert_inv_prob = 100;
  std::uint32_t tx_flush_interval_us = 0;
  SleepLimits pmd_sleep_max_us;
  std::uint32_t upcall_queue_length = 1024;  // Parked packets of one port.
  bool upcall_flood_when_full = false;
};

}  // namespace pollux
