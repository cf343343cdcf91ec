// What a Datapath is made of. Seven files fill it in: datapath.cc (life, options, showing),
// port_commands.cc (what the control thread carries out), links.cc (interfaces behind ports),
// port_troubles.cc, settling.cc, packets.cc (execute, memory ports) and upcalls.cc.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actions/action_list.h"
#include "base/background.h"
#include "base/doorbell.h"
#include "changes/verdict_reader.h"
#include "datapath/contexts.h"
#include "datapath/control.h"
#include "datapath/datapath.h"
#include "datapath/flow_offload.h"
#include "datapath/port.h"
#include "datapath/port_index.h"
#include "datapath/taken_upcalls.h"
#include "datapath/topology.h"
#include "kernel/link_monitor.h"

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

  // --- Control thread (port_commands.cc; links.cc; port_troubles.cc; settling.cc).

  // Somebody who waits until frames that were handed in have been taken by their threads.
  struct Settling {
    struct Mark {
      PortId port;
      std::uint32_t queue;
      std::uint64_t until;  // Of the frames taken.
    };
    std::vector<Mark> marks;  // Those that are not reached.
    DoneStatus done;
    std::uint64_t taken = 0;     // By all queues of marks, when last looked at,
    std::int64_t moved_ns = 0;   // and since when that is so,
    std::uint64_t refusals = 0;  // and how often there was no packet memory until then.
  };

  Result<PortInfo> AddPort(const PortSpec& spec);
  Status DeletePort(PortId id);
  Result<PortInfo> RenumberPort(PortId id, std::uint32_t number);
  Status SetOptions(const DatapathOptions& options);
  void Settle(const DoneStatus& done);
  void Advance(std::int64_t ms);
  void Close();
  void Tick();
  void OnLink(const LinkEvent& event);
  void FollowLink(Port& port, const LinkEvent& event);
  // A port that is gone takes the interface of its name, if there is one. If that fails, it is
  // tried again in `retry_ms`.
  void Revive(Port& port, int retry_ms);
  void RetryRevive(PortId id);
  // The device for a port, or what stands for one that may come later.
  Result<std::unique_ptr<Netdev>> OpenNetdev(const NetdevType& type, const NetdevSpec& spec,
                                             const NetworkNamespace* space);
  // The device of a port whose interface has come: it takes the place of what stood for it.
  Status Arrive(Port& port);

  Result<std::uint32_t> ChooseNumber(const std::optional<std::uint32_t>& asked,
                                     const std::string& type);
  Wanted MakeWanted() const;
  // Brings the contexts to what `members` and `current` ask for.
  Status Apply();
  // The same where one member more, or one less, is all that is new.
  Status ApplyArrival(const Port& port);
  Status ApplyDeparture(const Port& port);
  // Afterwards no context can reach it, whatever is returned.
  Status ForgetInContexts(const Port& port);
  Status CarryOut(const Plan& plan);
  void Warn(std::vector<std::string> warnings);
  // Answers those who wait for packets to settle, if they have, or cannot any more.
  void LookAtSettling();
  void LookAtSettlingAgain();
  // Why nothing moves; empty: it may yet.
  std::optional<Error> WhyStuck(const Settling& settling) const;
  // What ports of interfaces, and ports that no PMD thread polls, need besides. EAGAIN: there is no
  // thread to be had.
  Status StartWatching(const NetdevType& type, bool pmd);
  // If it is wanted and not there yet; what fails is tried again at every tick.
  void OpenLinkMonitor();
  // Whether interfaces are still there, of which the listener may not know.
  void CheckInterfaces();
  void LookAt(Port& port);
  // The index of the interface that a port is for.
  static Result<int> FindHome(const Port& port);
  void ProbePorts();
  // What goes wrong with a port in silence, if something has since it was last told of.
  void TellOfTrouble(Port& port);
  void AnnounceLink(Port& port, LinkState state, const std::string& reason);
  void RemoveIdleFlows();
  // Of those that went by themselves, idle or evicted.
  void TellOfRemovedFlows();
  // Closes the device and frees the port, which no context knows any more.
  void Forget(std::shared_ptr<Port> port) EXCLUDES(port_mutex);
  Port* FindMember(PortId id);
  // Null: nobody is.
  void SetArriving(const std::shared_ptr<Port>& port) EXCLUDES(port_mutex);
  void Publish(const std::shared_ptr<Port>& port) EXCLUDES(port_mutex);
  void Unpublish(PortId id) EXCLUDES(port_mutex);

  // --- Any thread.

  void Post(std::function<void()> command, std::function<void()> when_closed);
  void Emit(Event event) EXCLUDES(event_mutex);
  // That of an older event about the same; false: there is none.
  bool TakePlace(Event& event) REQUIRES(event_mutex);
  // A packet as if it came from this port.
  Result<PacketPtr> PacketOf(Bytes frame, PortNumber in_port);
  void DropParked(PacketBatch batch, DropReason reason);
  void DropAll(std::vector<Upcall> parked, DropReason reason);
  // What was taken and not answered, too.
  void DropAllParked(DropReason reason);
  // What was parked for a consumer that has gone.
  void DropUnwanted() EXCLUDES(consumer_mutex);
  // The netdev of a published memory port, kept open while the answer lives.
  Result<std::shared_ptr<MemoryNetdev>> FindMemory(PortId id, std::uint32_t rxq) const
      EXCLUDES(port_mutex);

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
      members;      // By id, with those that are not published yet.
  PortIndex index;  // Of members.
  std::uint32_t next_port_id = 1;
  bool wants_link_monitor = false;
  bool warned_of_link_monitor = false;
  std::unique_ptr<LinkMonitor> link_monitor;
  std::int64_t next_aging_ms = 0;
  std::int64_t next_probe_ns = 0;
  std::vector<std::string> warned;  // By the last plan.
  std::list<Settling> settling;
  bool looks_at_settling = false;  // A look is due.
  Background background;           // What devices leave to be closed.

  Contexts contexts;

  // The datapath's port mutex: ports as the program sees them. Held to look and to publish, never
  // for long.
  mutable Mutex port_mutex;
  std::map<std::uint32_t, std::shared_ptr<Port>> ports GUARDED_BY(port_mutex);  // By id.

  // The one that is being added, from when its packets may come: known by its id alone.
  std::shared_ptr<Port> arriving GUARDED_BY(port_mutex);

  Mutex event_mutex;
  std::vector<Event> events GUARDED_BY(event_mutex);

  // Held while a consumer comes or goes.
  Mutex consumer_mutex ACQUIRED_BEFORE(upcall_mutex);
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
