// Datapath: ports, threads and flows, and the verbs that change them.
//
// Three kinds of threads meet here. Forwarding contexts (forwarding/pmd.h) move packets. One
// *control* thread per datapath carries out, one after another, the commands that change topology;
// they take a `done` callback, which runs on the control thread. Everybody else (the event loop)
// calls the rest, which never waits for a device or for a reload: flows live in memory, `Execute`
// takes only `non_pmd_mutex_`.
//
// What the datapath wants to tell (events, upcalls) gathers inside; `event_fd()` becomes readable
// once however much gathers, and TakeEvents() and TakeUpcalls() fetch it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "changes/verdict.h"
#include "classifier/flow_table.h"
#include "datapath/options.h"
#include "datapath/reconfigure.h"
#include "forwarding/counters.h"
#include "forwarding/trace.h"
#include "forwarding/upcall_queue.h"
#include "netdev/netdev.h"

namespace pollux {

// Names a port for good: never reused, unlike its number.
enum class PortId : std::uint32_t {};

struct PortSpec {
  NetdevSpec netdev;
  std::optional<std::uint32_t> number;  // Default: the lowest free from 1.
  std::optional<bool> pmd;              // Default: the type's own.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> rxq_affinity;  // Queue, core.
  // The longest sleep of threads that poll the port.
  std::uint32_t pmd_sleep_max_us = SleepLimits::kUntilWoken;
};

struct PortInfo {
  PortId id{};
  PortNumber number{};
  std::string name;
  std::string type;
  std::string mode;
  bool pmd = false;
  LinkState link = LinkState::kUp;
};

struct PortStats {
  std::uint64_t rx_packets = 0, rx_bytes = 0, rx_dropped = 0, rx_errors = 0;
  std::uint64_t tx_packets = 0, tx_bytes = 0, tx_dropped = 0, tx_errors = 0;
  std::array<std::uint64_t, kRxErrors> rx_errors_by{};
  // Of rx_packets, those that the port's XDP program forwarded or dropped by itself.
  std::uint64_t offloaded_packets = 0;
};

struct ReloadReport {
  std::uint32_t core = kNonPmdCore;
  std::uint32_t numa = 0;
  std::uint32_t ports = 0;  // Entries of the private port cache after the reload.
  std::uint32_t rxqs = 0;
  double latency_us = 0;  // Request to acknowledgement.
};

struct PmdStats {
  struct Queue {
    std::string port;
    std::uint32_t queue = 0;
    double usage_percent = -1;  // Of the thread's time; negative: not known.
  };
  std::uint32_t core = kNonPmdCore;
  std::uint32_t numa = 0;
  std::vector<Queue> rxqs;
  std::uint64_t packets = 0, emc_hits = 0, megaflow_hits = 0, upcalls = 0, lost_upcalls = 0,
                reloads = 0;
  double cycles_per_packet = -1;  // Negative: not known.
  double busy_percent = 0;
};

struct DatapathStats {
  std::vector<std::pair<std::string, PortStats>> ports;
  std::vector<PmdStats> pmds;
  std::size_t flows = 0;
  std::size_t masks = 0;
  Ledger ledger;
};

struct Event {
  enum class Kind : std::uint8_t {
    kPortUp,
    kPortDown,
    kPortGone,
    kFlowsRemoved,
    kUpcallOverflow,
    kPortTrouble,
    kWarning
  };
  explicit Event(Kind what) : kind(what) {}

  Kind kind;
  PortId port{};                // kPort*, kUpcallOverflow
  std::string text;             // kWarning, the reason of kPortDown, kPortTrouble: what it is about
  std::uint64_t dropped = 0;    // kUpcallOverflow, kPortTrouble: since the last such event
  std::uint64_t errors = 0;     // kPortTrouble: the same of rx errors
  std::vector<FlowView> flows;  // kFlowsRemoved
};

// A packet that waits for a verdict. The packet itself stays with the datapath, under `id`, until
// AnswerUpcalls() names it.
struct UpcallView {
  UpcallId id{};
  UpcallReason reason = UpcallReason::kMiss;
  PortNumber in_port{};
  PortId port{};
  // Valid until the upcall is answered.
  const Miniflow* key = nullptr;
  std::span<const std::uint8_t> frame;
  const std::vector<std::uint8_t>* userdata = nullptr;  // May be null.
};

class Datapath {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;
  using DoneStatus = std::function<void(Status)>;

  // Needs no privilege and opens no device. EINVAL for options that make no sense.
  static Result<std::unique_ptr<Datapath>> Create(DatapathOptions options);
  // Closes.
  ~Datapath();
  Datapath(const Datapath&) = delete;
  Datapath& operator=(const Datapath&) = delete;

  // --- Commands: carried out in order by the control thread, which then calls `done`. After
  // Close() began, ERR_DATAPATH_CLOSED.

  // Done when every context can output to the port and its queues are polled. EEXIST, EBUSY, EFBIG,
  // EINVAL, or what the device said.
  void AddPort(PortSpec spec, const Done<PortInfo>& done);
  // Done when no context can reach the port and its device is closed. ENODEV.
  void DeletePort(PortId port, const DoneStatus& done);
  // EBUSY: the number is in use. Done when every context uses the new one.
  void RenumberPort(PortId port, std::uint32_t number, const Done<PortInfo>& done);
  // All contexts, or the PMD thread of one core (ENOENT if there is none).
  void Reload(std::optional<std::uint32_t> core, const Done<std::vector<ReloadReport>>& done);
  // Changes pmd_cpus, flow_limit, max_idle_ms, emc_insert_inv_prob, tx_flush_interval_us,
  // pmd_sleep_max_us and the upcall options of a running datapath; EINVAL if anything else differs.
  void SetOptions(DatapathOptions options, const DoneStatus& done);
  // Done when every frame injected before the call has been forwarded, dropped or parked.
  void Settle(const DoneStatus& done);
  // Moves a manual clock and runs what became due. EINVAL with the system clock.
  void Advance(std::int64_t ms, const DoneStatus& done);
  // Stops threads, closes devices, drops what is parked. Done once everything is down; idempotent.
  void Close(const DoneStatus& done);

  // --- The rest: any thread, never waits for the commands above.

  const DatapathOptions& options() const { return options_; }  // As created.
  bool closed() const;
  // The datapath's clock: milliseconds since an arbitrary start. FlowStats::used_ms is of this
  // clock.
  std::int64_t now_ms() const;
  std::vector<PortInfo> ports() const;
  Result<PortInfo> port(PortId port) const;
  Result<PortStats> port_stats(PortId port) const;
  DatapathStats stats() const;

  FlowTable& flows();
  // The slot whose statistics Dump() shows for a core (kNonPmdCore: the non-PMD context); nullopt:
  // no such thread.
  std::optional<std::size_t> slot_of(std::uint32_t core) const;

  // Runs one frame through actions (attributes) on the non-PMD context in the caller's thread;
  // returns the frame as the last action left it. EINVAL: under 14 or over 65535 bytes, bad
  // actions. ERR_DATAPATH_CLOSED.
  // `steps`: what became of it, if that is wanted.
  Result<std::vector<std::uint8_t>> Execute(Bytes frame, Bytes actions, PortNumber in_port,
                                            std::vector<TraceStep>* steps = nullptr);

  // The path a frame from this port would take; see forwarding/trace.h. Errors as for Execute().
  Result<std::vector<TraceStep>> Trace(Bytes frame, PortNumber in_port, std::uint32_t seed);

  // Memory ports. ENODEV: deleted; EINVAL: not a memory port, or no such queue.
  Result<std::size_t> Inject(PortId port, std::uint32_t rxq,
                             std::span<const std::span<const std::uint8_t>> frames);
  Result<std::size_t> Drain(PortId port, std::size_t max, std::vector<PacketPtr>& out);

  // --- To the program.

  int event_fd() const;
  // Empties event_fd(): call before taking.
  void AcknowledgeEvents();
  // Makes event_fd() readable; for whoever delivers `done` calls to an event loop.
  void Signal();
  std::vector<Event> TakeEvents();

  // Whether somebody answers upcalls. Without, misses are dropped as upcall_no_handler, those
  // parked included.
  void SetUpcallConsumer(bool present);
  // Up to `max` parked packets, oldest first, fair among ports by their bounded queues. Their ids
  // follow each other. `dropped`: lost since the last call.
  std::vector<UpcallView> TakeUpcalls(std::size_t max, std::uint64_t& dropped);
  // One status for each verdict; ENOENT: no such upcall. A failed install or execute drops the
  // packet (upcall_error).
  std::vector<Status> AnswerUpcalls(const std::vector<UpcallVerdict>& verdicts);

 private:
  explicit Datapath(DatapathOptions options);

  const DatapathOptions options_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux
