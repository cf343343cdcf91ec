#include "forwarding/context.h"

#include <algorithm>

namespace pollux {

Context::Context(const PmdShared& shared, std::size_t slot)
    : shared_(shared), slot_(slot), packet_cache_(shared.pool), qsbr_reader_(shared.flows.qsbr()) {
  POLLUX_CHECK(slot < kMaxContexts);
}

Context::~Context() = default;

// ------------------------------------------------------------------ control

void Context::AddTxPort(const TxPort& port) {
  MutexLock lock(port_mutex_);
  tx_ports_.Put(port);
}

void Context::AddRxq(const PolledRxq& rxq) {
  MutexLock lock(port_mutex_);
  for (const PolledRxq& known : poll_list_) {
    if (known.rxq == rxq.rxq) return;
  }
  poll_list_.push_back(rxq);
}

bool Context::RemovePorts(const std::vector<PortNumber>& ports) {
  MutexLock lock(port_mutex_);
  std::size_t removed = std::erase_if(poll_list_, [&](const PolledRxq& rxq) {
    return std::binary_search(ports.begin(), ports.end(), rxq.port);
  });
  removed += tx_ports_.Erase(ports);
  return removed > 0;
}

bool Context::RemoveRxq(PortNumber port, std::uint32_t queue) {
  MutexLock lock(port_mutex_);
  return std::erase_if(poll_list_, [&](const PolledRxq& rxq) {
           return rxq.port == port && rxq.queue == queue;
         }) > 0;
}

void Context::Clear() {
  MutexLock lock(port_mutex_);
  poll_list_.clear();
  tx_ports_.Clear();
}

std::vector<PolledRxq> Context::poll_list() const {
  MutexLock lock(port_mutex_);
  return poll_list_;
}

// ------------------------------------------------------------------ reload

void Context::LoadQueuesAndPorts() {
  // What still waits goes out through the old devices: they are open until we acknowledge.
  FlushOutputs();
  {
    MutexLock lock(port_mutex_);
    polled_ = poll_list_;
    port_cache_.Rebuild(tx_ports_);
  }
  emc_insert_inv_prob_ = shared_.knobs.emc_insert_inv_prob.load(std::memory_order_relaxed);
  tx_flush_interval_ns_ =
      std::int64_t{shared_.knobs.tx_flush_interval_us.load(std::memory_order_relaxed)} * 1000;
  flood_when_full_ = shared_.knobs.flood_when_full.load(std::memory_order_relaxed);
  counters_.reloads.Add(1);
  loaded_ports_.store(static_cast<std::uint32_t>(port_cache_.size()), std::memory_order_release);
  loaded_rxqs_.store(static_cast<std::uint32_t>(polled_.size()), std::memory_order_release);
}

void Context::FreeCachedPorts() {
  FlushOutputs();
  polled_.clear();
  port_cache_.Rebuild({});
  loaded_ports_.store(0, std::memory_order_release);
  loaded_rxqs_.store(0, std::memory_order_release);
}

// ------------------------------------------------------------------ polling

std::size_t Context::PollOnce() {
  std::size_t packets = 0;
  std::uint64_t before = CycleCount();
  for (const PolledRxq& rxq : polled_) {
    PacketBatch batch;
    rxq.rxq->Recv(batch);
    const std::size_t n = batch.size();
    if (n > 0) {
      packets += n;
      Input(batch, rxq);
      if (tx_flush_interval_ns_ == 0) FlushOutputs();
    }
    const std::uint64_t after = CycleCount();
    if (n > 0) {
      counters_.busy_cycles.Add(after - before);
      rxq.counters->busy_cycles.Add(after - before);
    } else {
      counters_.idle_cycles.Add(after - before);
    }
    before = after;
  }
  if (tx_flush_interval_ns_ != 0) FlushDueOutputs();
  return packets;
}

void Context::WaitFds(std::vector<pollfd>& fds, bool& all) const {
  all = true;
  for (const PolledRxq& rxq : polled_) {
    const int fd = rxq.rxq->wait_fd();
    if (fd < 0) {
      all = false;
    } else {
      fds.push_back({fd, POLLIN, 0});
    }
  }
}

std::uint32_t Context::sleep_max_us() const {
  std::uint32_t least = UINT32_MAX;
  for (const PolledRxq& rxq : polled_) least = std::min(least, rxq.sleep_max_us);
  return least;
}

bool Context::Arm() {
  bool idle = true;
  for (const PolledRxq& rxq : polled_) idle = rxq.rxq->Arm() && idle;
  return idle;
}

void Context::Disarm() {
  for (const PolledRxq& rxq : polled_) rxq.rxq->Disarm();
}

}  // namespace pollux
