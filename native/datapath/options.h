// What a datapath is told when it is made, and what of it can be changed later.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pollux {

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
  std::uint32_t pmd_sleep_max_us =
      UINT32_MAX;  // 0: spin always; UINT32_MAX: sleep until a packet or a doorbell comes.
  std::uint32_t upcall_queue_length = 1024;  // Parked packets of one port.
  bool upcall_flood_when_full = false;
};

}  // namespace pollux
