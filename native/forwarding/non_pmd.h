// NonPmd: the forwarding context that is not a thread but a role.
//
// Whoever locks `non_pmd_mutex_` is in it: the event thread of the ports that are not polled, for
// as long as they have packets, and any caller of Execute(). Control refreshes it inline, under the
// same mutex, so there is nothing to acknowledge. Executing therefore never waits for a port being
// added or deleted: control holds the mutex only while it copies the map.
//
// The event thread sleeps on the descriptors of its queues and on whatever else the datapath wants
// watched (link changes). It exists once there is something to wait for.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/doorbell.h"
#include "base/idle_thread.h"
#include "base/result.h"
#include "forwarding/context.h"
#include "forwarding/trace.h"

namespace pollux {

struct ParkedPacket {
  PacketPtr packet;
  ActionListPtr actions;
  // The flow that was put for it counts it, as if it had been there when the packet came.
  std::optional<Ufid> flow;
  std::uint16_t tcp_flags = 0;
};

class NonPmd {
 public:
  NonPmd(const PmdShared& shared, std::size_t slot);
  ~NonPmd();

  Context& context() { return context_; }
  const Context& context() const { return context_; }

  // --- Control.

  // What it takes from the system is there; else it must not be used.
  Status opened() const { return doorbell_.opened(); }
  void Reload() EXCLUDES(non_pmd_mutex_);
  // Starts the event thread unless it runs.
  Status Start();
  // From now on `on_readable` is called on the event thread when `fd` is readable.
  void Watch(int fd, std::function<void()> on_readable) EXCLUDES(non_pmd_mutex_);
  // Stops the event thread and forgets all ports.
  void Stop() EXCLUDES(non_pmd_mutex_);
  bool running() const { return thread_ != nullptr; }

  // --- Any thread.

  // Runs one packet through actions; the packet is counted as executed. Returns the frame as the
  // last action left it. `steps`: what becomes of `copy`, which is traced in the same breath.
  std::vector<std::uint8_t> Execute(PacketPtr packet, const ActionList& actions,
                                    PacketPtr copy = nullptr,
                                    std::vector<TraceStep>* steps = nullptr)
      EXCLUDES(non_pmd_mutex_);
  // The same for packets that were parked, in their order: they were counted when they were
  // received.
  void ExecuteParked(std::span<ParkedPacket> packets) EXCLUDES(non_pmd_mutex_);
  // What Input() would do with a packet that has its in_port; nothing is done or counted. `seed`:
  // of the numbers that samples draw.
  std::vector<TraceStep> Trace(PacketPtr packet, std::uint32_t seed) EXCLUDES(non_pmd_mutex_);
  // Counts parked packets that end here.
  void DropParked(PacketBatch batch, DropReason reason) EXCLUDES(non_pmd_mutex_);

 private:
  class Scope;
  struct Watched {
    int fd;
    std::function<void()> on_readable;
  };
  void Run() EXCLUDES(non_pmd_mutex_);

  FairMutex non_pmd_mutex_ ACQUIRED_BEFORE(context_.role());
  Context context_;
  std::shared_ptr<const Watched> watched_ GUARDED_BY(non_pmd_mutex_);
  Doorbell doorbell_;
  std::atomic<bool> exit_{false};
  std::unique_ptr<IdleThread> thread_;  // Control's.
};

}  // namespace pollux
