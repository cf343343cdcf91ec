// What a Datapath is made of. Four files fill it in: datapath.cc (life, options, showing),
// port_commands.cc (what the control thread carries out), packets.cc (execute, memory ports) and
// upcalls.cc.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actions/action_list.h"
#include "base/background.h"
#include "base/doorbell.h"
#include "datapath/contexts.h"
#include "datapath/control.h"
#include "datapath/datapath.h"
#include "datapath/flow_offload.h"
#include "datapath/port.h"
#include "datapath/taken_upcalls.h"
#include "datapath/topology.h"
#include "datapath/verdict_reader.h"
#include "netdev/link_monitor.h"

namespace pollux {

Error ClosedError();
// EINVAL for options that make no sense, at creation or later.
// EINVAL: an option names a core that the topology lacks.
Error NoSuchCore(std::string_view option, std::uint32_t core);
Status CheckOptions(const DatapathOptions& options, const Topology& topology);

struct Datapath::Impl {
  explicit Impl(const DatapathOptions& options);
  ~Impl();
  // EMFILE, ENOMEM, EAGAIN: what a datapath takes from the system is not to be had.
  Status Start();

  // --- Control thread (port_commands.cc).

  Result<PortInfo> AddPort(const PortSpec& spec);
  Status DeletePort(PortId id);
  Result<PortInfo> RenumberPort(PortId id, std::uint32_t number);
  Status SetOptions(const DatapathOptions& options);
  void Settle();
  void Advance(std::int64_t ms);
  void Close();
  void Tick();
  void OnLink(const LinkEvent& event);
  void FollowLink(Port& port, const LinkEvent& event);
  // A port that is gone takes the interface of its name, if there is one. If that fails, it is
  // tried again in `retry_ms`.
  void Revive(Port& port, int retry_ms);
  void RetryRevive(PortId id);

  Result<std::uint32_t> ChooseNumber(const std::optional<std::uint32_t>& asked,
                                     const std::string& type) const;
  Wanted MakeWanted() const;
  // Brings the contexts to what `members` and `current` ask for.
  Status Apply();
  void StartWatching(const Port& port);
  void ProbePorts();
  void AnnounceLink(Port& port, LinkState state, const std::string& reason);
  void RemoveIdleFlows();
  // Of those that went by themselves, idle or evicted.
  void TellOfRemovedFlows();
  // Closes the device and frees the port, which no context knows any more.
  void Forget(std::shared_ptr<Port> port) EXCLUDES(port_mutex);
  Port* FindMember(PortId id);
  void Publish(const std::shared_ptr<Port>& port) EXCLUDES(port_mutex);
  void Unpublish(PortId id) EXCLUDES(port_mutex);

  // --- Any thread.

  void Post(std::function<void()> command, std::function<void()> when_closed);
  void Emit(Event event) EXCLUDES(event_mutex);
  // A packet as if it came from this port.
  Result<PacketPtr> PacketOf(Bytes frame, PortNumber in_port);
  // Fills in the ids of the ports.
  void NamePorts(std::vector<UpcallView>& views) const EXCLUDES(port_mutex);
  void DropParked(PacketBatch batch, DropReason reason);
  void DropAllParked(DropReason reason, bool taken_too);
  // The netdev of a published memory port, kept open while the answer lives.
  Result<std::shared_ptr<MemoryNetdev>> FindMemory(PortId id, std::uint32_t rxq) const
      EXCLUDES(port_mutex);
  std::string NameOf(PortNumber number) const REQUIRES(port_mutex);

  // Order of construction: what contexts and threads use comes first, so it dies last.
  Clock clock;
  const Topology topology;
  PacketPool pool;
  PmdKnobs knobs;
  std::unique_ptr<FlowTable> flows;
  std::unique_ptr<FlowOffload> offload;
  Doorbell event_bell;  // Never announced asleep: an event loop polls it.
  UpcallQueue upcalls;

  // Control's own.
  DatapathOptions current;
  std::map<std::uint32_t, std::shared_ptr<Port>>
      members;  // By id, with those that are not published yet.
  std::uint32_t next_port_id = 1;
  std::unique_ptr<LinkMonitor> link_monitor;
  std::int64_t next_aging_ms = 0;
  std::int64_t next_probe_ns = 0;
  std::vector<std::string> warned;  // By the last plan.
  Background background;            // What devices leave to be closed.

  Contexts contexts;

  // The datapath's port mutex: ports as the program sees them. Held to look and to publish, never
  // for long.
  mutable Mutex port_mutex;
  std::map<std::uint32_t, std::shared_ptr<Port>> ports GUARDED_BY(port_mutex);  // By id.

  Mutex event_mutex;
  std::vector<Event> events GUARDED_BY(event_mutex);

  Mutex upcall_mutex;
  TakenUpcalls taken GUARDED_BY(upcall_mutex);
  std::uint64_t reported_lost GUARDED_BY(upcall_mutex) = 0;
  // Held while verdicts are carried out.
  Mutex answer_mutex;
  VerdictReader verdict_reader GUARDED_BY(answer_mutex);

  std::atomic<bool> closing{false};
  std::atomic<bool> closed{false};

  Control control;  // Last: its thread uses everything above.
};

}  // namespace pollux
