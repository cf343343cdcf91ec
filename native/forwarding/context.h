// Context: a forwarding context, the place where packets are forwarded.
//
// Each PMD thread owns one (pmd.h), and there is one *non-PMD* context that a thread enters by
// locking a mutex (non_pmd.h). A context knows its ports and receive queues twice:
//
//   shared    tx_ports_, poll_list_. Written by control, under port_mutex_; read by the context
//             when it loads.
//   private   port_cache_, polled_. Copied from the shared ones in LoadQueuesAndPorts(), under one
//             hold of port_mutex_, so that queues and ports never disagree. Everything the fast
//             path touches is private: no lock, no atomic. role_ guards it.
//
// The private copy holds plain device pointers. What makes that safe is the order of things in a
// deletion: control removes the port from the shared map, asks for a reload, and closes the device
// only when the context has acknowledged it, that is, has copied the map again.
//
// The life of a burst: PollOnce() takes a batch from each queue; Input() (pipeline.cc) has the flow
// of each packet found (lookup.cc) and runs its actions, with this context as their host; Output()
// (output.cc) collects packets by port; FlushOutputs() sends them.
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "actions/execute.h"
#include "base/clock.h"
#include "base/sync.h"
#include "classifier/emc.h"
#include "classifier/flow_table.h"
#include "forwarding/counters.h"
#include "forwarding/flow_sampler.h"
#include "forwarding/port_cache.h"
#include "forwarding/upcall_queue.h"
#include "netdev/netdev.h"
#include "packet/packet.h"

namespace pollux {

// What contexts read after a reload and control changes before one.
struct PmdKnobs {
  std::atomic<std::uint32_t> emc_insert_inv_prob{1};
  std::atomic<std::uint32_t> tx_flush_interval_us{0};
  std::atomic<bool> flood_when_full{false};
};

// What all contexts of a datapath share.
struct PmdShared {
  PacketPool& pool;
  FlowTable& flows;
  UpcallQueue& upcalls;
  const Clock& clock;
  const PmdKnobs& knobs;
};

// A receive queue as a context polls it.
struct PolledRxq {
  Rxq* rxq = nullptr;
  std::uint32_t queue = 0;  // Its index within the port.
  PortNumber port = kNoPort;
  RxqCounters* counters = nullptr;
  std::uint32_t sleep_max_us = UINT32_MAX;  // The longest sleep of a thread that polls it.
  FlowSampler* sampler = nullptr;           // Null: nobody wants to know what is hot.
};

inline const ActionList& ActionsOf(const Megaflow& flow) { return *flow.actions.Get(); }

class Tracer;

class Context {
 public:
  static constexpr std::uint32_t kMaxRecirculations = 8;

  // `slot` names the context where arrays hold something for each: 0..63, one context at a time.
  Context(const PmdShared& shared, std::size_t slot);
  ~Context();

  std::size_t slot() const { return slot_; }
  Role& role() RETURN_CAPABILITY(role_) { return role_; }
  PacketCache& packet_cache() { return packet_cache_; }
  Qsbr::Reader& qsbr_reader() { return qsbr_reader_; }
  const ContextCounters& counters() const { return counters_; }

  // --- Control.

  // Repeating either is harmless.
  void AddTxPort(const TxPort& port) EXCLUDES(port_mutex_);
  void AddRxq(const PolledRxq& rxq) EXCLUDES(port_mutex_);
  // Takes the port's queues off the poll list and the port out of the map; false: neither was
  // there.
  bool RemovePort(PortNumber port) EXCLUDES(port_mutex_) { return RemovePorts({port}); }
  // In ascending order. False: none of it was there.
  bool RemovePorts(const std::vector<PortNumber>& ports) EXCLUDES(port_mutex_);
  bool RemoveRxq(PortNumber port, std::uint32_t queue) EXCLUDES(port_mutex_);
  // Forgets every port and queue: the context is dead.
  void Clear() EXCLUDES(port_mutex_);
  std::vector<PolledRxq> poll_list() const EXCLUDES(port_mutex_);

  // What the last load brought.
  std::uint32_t loaded_ports() const { return loaded_ports_.load(std::memory_order_acquire); }
  std::uint32_t loaded_rxqs() const { return loaded_rxqs_.load(std::memory_order_acquire); }

  // --- The owner of the role.

  void LoadQueuesAndPorts() REQUIRES(role_) EXCLUDES(port_mutex_);
  // At the end of a context's life, after Clear().
  void FreeCachedPorts() REQUIRES(role_);
  // One burst from each queue; returns the packets taken.
  std::size_t PollOnce() REQUIRES(role_);
  // Descriptors that become readable when a polled queue has packets. `all`: that covers every
  // queue.
  void WaitFds(std::vector<pollfd>& fds, bool& all) const REQUIRES(role_);
  // The least that the polled queues want.
  std::uint32_t sleep_max_us() const REQUIRES(role_);
  // Before sleeping on them; false: packets wait already. Disarm() after either answer.
  bool Arm() REQUIRES(role_);
  void Disarm() REQUIRES(role_);

  // Before packets are handled, whichever way they came: when their flows are used is noted.
  void LookAtClock() REQUIRES(role_) {
    now_ms_ = static_cast<std::uint64_t>(shared_.clock.RecentMs());
  }
  // A batch received from a queue: finds flows, runs actions.
  void Input(PacketBatch& batch, const PolledRxq& rxq) REQUIRES(role_);
  void FlushOutputs() REQUIRES(role_);
  // Sends what has waited for the flush interval.
  void FlushDueOutputs() REQUIRES(role_);
  bool has_pending_outputs() const REQUIRES(role_) { return !dirty_.empty(); }
  // Tells the consumer of upcalls if something was parked.
  void WakeUpcalls() REQUIRES(role_);
  // Cycles asleep count as idle.
  void CountIdle(std::uint64_t cycles) REQUIRES(role_) { counters_.idle_cycles.Add(cycles); }
  void CountExecuted(std::uint64_t n) REQUIRES(role_) { counters_.executed.Add(n); }

  // A packet that was parked, for the flow that was put for it.
  void CountParked(const Ufid& flow, const Packet& packet, std::uint16_t tcp_flags)
      REQUIRES(role_) {
    shared_.flows.Count(flow, slot_, OnWire(packet).bytes, tcp_flags);
  }

  // What actions ask of their host. See actions/execute.h. These run with the role held; they are
  // the callbacks of a template that cannot say so.
  // Packets without an Ethernet header are dropped: no netdev can send them yet.
  void Output(PacketBatch batch, PortNumber port);
  // Looks for the packets' flow again, up to kMaxRecirculations times one inside the other.
  void Recirculate(PacketBatch batch, std::uint32_t recirc_id);
  std::uint32_t Random();
  void Upcall(PacketBatch batch, const UserspaceAction& action);
  void Drop(PacketBatch batch, DropReason reason);
  PacketBatch Clone(const PacketBatch& batch);
  PacketBatch NextSegments(Segmenter& segmenter);
  // Tunnel ports are looked up as outputs are; a missing one drops the batch, counted. No netdev
  // can push or pop headers yet.
  void TunnelPush(PacketBatch batch, PortNumber port);
  void TunnelPop(PacketBatch batch, PortNumber port);

 private:
  friend class Tracer;  // Looks at what follows; see trace.h.

  // --- Packets to flows: lookup.cc.

  // What the packets of a batch are looked up by, and what is found for them, by place in the
  // batch.
  struct Lookups {
    std::array<HeaderKey, kBatchSize> keys;
    std::array<KeyId, kBatchSize> ids;
    std::array<std::uint64_t, kBatchSize> hashes;
    std::array<Megaflow*, kBatchSize> flows;  // nullptr: none.
    std::array<std::uint16_t, kBatchSize> tcp_flags;
    bool located = true;  // The offsets of all packets' layers are noted.
    // All packets go by flows[0], and tcp_flags[0] is what any of them has; nothing else was
    // filled.
    bool same = false;
  };
  // Packets whose keys the cache does not know.
  struct Misses {
    std::size_t n = 0;
    std::array<std::size_t, kBatchSize> places;  // In the batch.
  };
  void FindFlows(const PacketBatch& batch, Lookups& lookups) REQUIRES(role_);
  static void SetAll(Lookups& lookups, std::size_t n, Megaflow* flow, std::uint16_t tcp_flags);
  void FindNone(const PacketBatch& batch, Lookups& lookups) REQUIRES(role_);
  bool FindConstant(const PacketBatch& batch, const Dpcls& classifier, const PortProfile& profile,
                    Lookups& lookups) REQUIRES(role_);
  template <std::size_t kPairs>
  void FindKeyed(const PacketBatch& batch, const Dpcls& classifier, const PortProfile& profile,
                 Lookups& lookups) REQUIRES(role_);
  template <std::size_t kPairs>
  bool MakeKeys(const PacketBatch& batch, const Dpcls& classifier, const PortProfile& profile,
                Lookups& lookups) REQUIRES(role_);
  void MakePackedKey(Packet& packet, const Dpcls& classifier, const PortProfile& profile,
                     std::size_t i, Lookups& lookups) REQUIRES(role_);
  bool FindSame(const PacketBatch& batch, const Dpcls& classifier, const PortProfile& profile,
                Lookups& lookups) REQUIRES(role_);
  template <std::size_t kPairs>
  void FindEach(const PacketBatch& batch, const Dpcls& classifier, const PortProfile& profile,
                Lookups& lookups) REQUIRES(role_);
  Megaflow* FindWide(const Miniflow& key, const Dpcls& classifier, const PortProfile& profile)
      REQUIRES(role_);
  void ClassifyAndCache(const PacketBatch& batch, const Misses& misses, const Dpcls& classifier,
                        const PortProfile& profile, Lookups& lookups) REQUIRES(role_);
  Megaflow* Classify(const Miniflow& key, const Dpcls& classifier) REQUIRES(role_);
  // What the cache would say, without leaving a trace in it.
  const Megaflow* PeekCache(const Packet& packet, const Miniflow& key,
                            const PortProfile& profile) const REQUIRES(role_);

  // --- Flows to actions: pipeline.cc.

  struct WireTotal {
    std::uint64_t packets;
    std::uint64_t bytes;
  };

  void Forward(PacketBatch& batch) REQUIRES(role_);
  void DropRunts(PacketBatch& batch) REQUIRES(role_);
  void Dispatch(PacketBatch& batch, const Lookups& lookups) REQUIRES(role_);
  // False, and nothing done: some packet's flow does something else than to output it.
  bool OutputEach(PacketBatch& batch, const Lookups& lookups) REQUIRES(role_);
  // The same where they also change it before, and output it to several ports.
  bool ChangeAndOutputEach(PacketBatch& batch, const Lookups& lookups) REQUIRES(role_);
  void RunFlow(const Megaflow& flow, PacketBatch& batch, std::uint16_t tcp_flags, bool located)
      REQUIRES(role_);
  // What the program sees are frames of the wire.
  void Park(PacketPtr packet, UpcallReason reason, const Userdata& userdata) REQUIRES(role_);
  void ParkSegments(PacketPtr frame, UpcallReason reason, const Userdata& userdata) REQUIRES(role_);
  // Packets and bytes, as the wire sees them, since statistics do.
  WireTotal TotalOf(const PacketBatch& batch) const REQUIRES(role_);
  void Flood(PacketPtr packet) REQUIRES(role_);

  // --- Packets to ports: output.cc.

  // Take packets that have an Ethernet header; without a port they are dropped.
  void Enqueue(PacketBatch& batch, PortNumber port) REQUIRES(role_);
  PacketPtr CloneOne(const Packet& packet) REQUIRES(role_);
  void EnqueueOne(PacketPtr packet, PortCache::Entry* entry) REQUIRES(role_);
  void MarkPending(PortCache::Entry& entry) REQUIRES(role_);
  void Send(PortCache::Entry& entry) REQUIRES(role_);
  void Transmit(const TxPort& port, PacketBatch& batch) REQUIRES(role_);
  void FinishAndTransmit(const TxPort& port, PacketBatch& batch) REQUIRES(role_);
  // As far as the batch has room.
  void AppendSegments(Segmenter& segmenter, PacketBatch& batch) REQUIRES(role_);
  PortCache::Entry* FindTunnelPort(PortNumber port) REQUIRES(role_);

  const PmdShared shared_;
  const std::size_t slot_;
  Role role_;
  PacketCache packet_cache_;
  Qsbr::Reader qsbr_reader_;
  ContextCounters counters_;  // Written with the role, read by anyone.

  mutable Mutex port_mutex_;
  TxPortMap tx_ports_ GUARDED_BY(port_mutex_);
  std::vector<PolledRxq> poll_list_ GUARDED_BY(port_mutex_);

  PortCache port_cache_ GUARDED_BY(role_);
  std::vector<PolledRxq> polled_ GUARDED_BY(role_);
  std::vector<PortCache::Entry*> dirty_ GUARDED_BY(role_);  // Entries with pending packets.
  Emc emc_ GUARDED_BY(role_);
  std::uint64_t now_ms_ GUARDED_BY(role_) = 0;  // Of the packets in work.
  // Some packet received since all outputs were last flushed lacks something: see
  // packet/offload.h.
  bool seen_offloads_ GUARDED_BY(role_) = false;
  bool parked_ GUARDED_BY(role_) = false;  // Something was parked in the burst in work.
  std::uint32_t emc_insert_inv_prob_ GUARDED_BY(role_) = 1;
  std::uint32_t random_ GUARDED_BY(role_) = 0x9e3779b9;
  std::uint32_t recirculations_ GUARDED_BY(role_) = 0;  // One inside the other, at the moment.
  std::int64_t tx_flush_interval_ns_ GUARDED_BY(role_) = 0;
  bool flood_when_full_ GUARDED_BY(role_) = false;

  std::atomic<std::uint32_t> loaded_ports_{0};
  std::atomic<std::uint32_t> loaded_rxqs_{0};
};

static_assert(ActionHost<Context>);

}  // namespace pollux
