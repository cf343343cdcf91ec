#include "datapath/topology.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace pollux {
namespace {

// "0-3,8" as the kernel writes lists of CPUs and nodes.
std::vector<std::uint32_t> ParseList(const std::string& text) {
  std::vector<std::uint32_t> numbers;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    std::uint32_t first = 0;
    auto parsed = std::from_chars(at, end, first);
    if (parsed.ec != std::errc()) break;
    std::uint32_t last = first;
    at = parsed.ptr;
    if (at < end && *at == '-') {
      parsed = std::from_chars(at + 1, end, last);
      if (parsed.ec != std::errc()) break;
      at = parsed.ptr;
    }
    for (std::uint32_t i = first; i <= last && numbers.size() < 65'536; ++i) numbers.push_back(i);
    if (at < end && *at == ',')
      ++at;
    else
      break;
  }
  return numbers;
}

std::vector<std::uint32_t> ReadList(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return ParseList(line);
}

}  // namespace

Topology DiscoverTopology() {
  Topology topology;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const bool restricted = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  const std::string root = "/sys/devices/system/node/";
  for (const std::uint32_t node : ReadList(root + "online")) {
    for (const std::uint32_t core : ReadList(root + "node" + std::to_string(node) + "/cpulist")) {
      if (!restricted || core >= CPU_SETSIZE || CPU_ISSET(core, &allowed))
        topology.cores.push_back({core, node});
    }
  }
  if (topology.cores.empty()) {
    // A kernel without NUMA: one node.
    for (std::uint32_t core = 0; core < CPU_SETSIZE; ++core) {
      if (restricted && CPU_ISSET(core, &allowed)) topology.cores.push_back({core, 0});
    }
  }
  if (topology.cores.empty()) topology.cores.push_back({0, 0});
  std::sort(topology.cores.begin(), topology.cores.end());
  return topology;
}

Topology InjectedTopology(const std::vector<std::vector<std::uint32_t>>& numa) {
  Topology topology;
  topology.injected = true;
  for (std::uint32_t node = 0; node < numa.size(); ++node) {
    for (const std::uint32_t core : numa[node]) topology.cores.push_back({core, node});
  }
  std::sort(topology.cores.begin(), topology.cores.end());
  return topology;
}

}  // namespace pollux
