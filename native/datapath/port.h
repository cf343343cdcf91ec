// Port: a netdev that belongs to a datapath, under a name and a number, with what is counted for
// it.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "classifier/flow_table.h"
#include "datapath/datapath.h"
#include "forwarding/context.h"
#include "forwarding/flow_sampler.h"
#include "kernel/link_monitor.h"
#include "kernel/network_namespace.h"
#include "netdev/netdev.h"

namespace pollux {

// Frames that never came to a context, since the device forwarded them; see flow_offload.h.
struct OffloadedFrames {
  Counter packets;
  Counter bytes;

  void Add(std::uint64_t n, std::uint64_t n_bytes) {
    packets.Add(n);
    bytes.Add(n_bytes);
  }
};

struct Port {
  PortId id{};
  PortNumber number{};
  std::string name;
  std::string type;
  std::string device;  // The interface's name.
  bool pmd = false;
  std::uint32_t pmd_sleep_max_us = SleepLimits::kUntilWoken;
  std::map<std::uint32_t, std::uint32_t> affinity;
  std::shared_ptr<Netdev>
      netdev;  // Shared only so that Inject() and Drain() can run while control works.
  LinkState announced = LinkState::kUp;  // What the program was last told.
  // The network namespace it was made for, null: the process's own; how the listener numbers it;
  // and where its interface is now.
  std::shared_ptr<const NetworkNamespace> space;
  int home = kHere;
  int nsid = kHere;
  // What to open when its interface is there for the first time.
  std::optional<NetdevSpec> awaited;
  bool changes_device = false;  // Now: no context shall have the port.
  // While it is gone and its interface cannot be opened: how long after the last attempt the next
  // one is due; 0: none is.
  int retry_ms = 0;
  bool warned_of_retries = false;
  // What the program was told of: counters of the device, and what Netdev::troubles() said.
  NetdevStats told;
  std::vector<const char*> told_troubles;

  // Counters outlive contexts: a context that takes over a slot goes on where the last one stopped.
  std::vector<std::unique_ptr<RxqCounters>> rxq_counters;
  std::array<TxCounters, kMaxContexts> tx_counters;  // By context slot.

  // Flows with more packets a second may be offloaded; 0: none. Then, a sampler for each queue.
  std::uint32_t offload_above = 0;
  std::vector<std::unique_ptr<FlowSampler>> samplers;
  struct {
    OffloadedFrames received;
    OffloadedFrames transmitted;
  } offloaded;

  PortKey key() const {
    return {static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(id)};
  }
  WantedPort Wants() const {
    return {key(),   name, pmd, netdev->numa(), static_cast<std::uint32_t>(netdev->rxqs().size()),
            affinity};
  }
  PortInfo Info() const { return {id, number, name, type, netdev->mode(), pmd, netdev->link()}; }
  PortStats Stats() const {
    PortStats stats;
    for (const auto& rxq : rxq_counters) {
      stats.rx_packets += rxq->packets.Get();
      stats.rx_bytes += rxq->bytes.Get();
    }
    for (const auto& tx : tx_counters) {
      stats.tx_packets += tx.packets.Get();
      stats.tx_bytes += tx.bytes.Get();
      stats.tx_dropped += tx.dropped.Get();
      stats.tx_errors += tx.errors.Get();
    }
    stats.offloaded_packets = offloaded.received.packets.Get();
    stats.rx_packets += stats.offloaded_packets;
    stats.rx_bytes += offloaded.received.bytes.Get();
    stats.tx_packets += offloaded.transmitted.packets.Get();
    stats.tx_bytes += offloaded.transmitted.bytes.Get();
    const NetdevStats never_ours = netdev->stats();
    stats.rx_dropped = never_ours.rx_dropped;
    stats.rx_errors = never_ours.rx_errors;
    stats.rx_errors_by = never_ours.rx_errors_by;
    return stats;
  }
};

}  // namespace pollux
