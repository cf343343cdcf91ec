// FlowTable: every megaflow of a datapath, found by id for control and by packet for forwarding.
//
// One table serves all threads. A flow put is in force in every thread when Put() returns, a thread
// born later has all flows from its first packet on, and a flow is seen once however many threads
// use it. What is per thread is the counting: each forwarding context has a slot, and for each slot
// the table keeps pages of FlowCounters indexed like the flows, so that no two threads ever write
// to one cache line.
//
// Writers hold `mutex` (`flow_mutex_` of the design; a leaf). Readers are forwarding contexts: they
// hold no lock, are online in `qsbr()`, and find flows through Dpcls, one for each input port.
// Unlinked flows, replaced action lists and outgrown tables are freed after a grace period.
//
// Flows of a port should be disjoint: they have no priority, and where two overlap either may take
// a packet. Put() without an id of its own refuses a flow whose key another flow already takes, as
// Open vSwitch does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/qsbr.h"
#include "base/result.h"
#include "base/sync.h"
#include "classifier/dpcls.h"
#include "classifier/megaflow.h"

namespace pollux {

inline constexpr std::size_t kMaxContexts = 64;

struct FlowStats {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::int64_t used_ms = 0;  // When last hit, by the datapath's clock; 0: never.
  std::uint16_t tcp_flags = 0;
};

// A flow as it is shown: a snapshot.
struct FlowView {
  Ufid ufid{};
  Match match;
  std::shared_ptr<const ActionList> actions;
  FlowStats stats;
};

struct FlowPut {
  Match match;
  std::shared_ptr<const ActionList> actions;
  std::optional<Ufid> ufid;
  std::optional<std::int64_t> idle_timeout_ms;  // Default: the table's.
  bool replace = true;                          // False: EEXIST if the flow is there.
};
struct FlowDelete {
  std::variant<Ufid, Match> which;
};
using FlowChange = std::variant<FlowPut, FlowDelete>;
// What became of a change: the id of the flow put, whether the deletion found one, or why not.
using FlowOutcome = Result<std::variant<Ufid, bool>>;

class FlowTable {
 public:
  // max_idle_ms: 0 = flows stay. limit: flows at most.
  FlowTable(const Clock& clock, std::size_t limit, std::int64_t max_idle_ms);
  ~FlowTable();

  // --- Control: any thread.

  // Applies the changes in order. With `atomic`, the first failure undoes those before it and the
  // rest is not tried: the answer then holds one outcome, the failure. Otherwise one outcome for
  // each.
  std::vector<FlowOutcome> Apply(const std::vector<FlowChange>& changes, bool atomic)
      EXCLUDES(mutex_);
  std::optional<FlowView> Find(const std::variant<Ufid, Match>& which) const EXCLUDES(mutex_);
  // Up to `n` flows from place `cursor` on, which moves behind them; empty: the end. Flows that
  // stay throughout a dump are seen exactly once. With `slot`, statistics are those of that context
  // alone.
  std::vector<FlowView> Dump(std::size_t& cursor, std::size_t n,
                             std::optional<std::size_t> slot) const EXCLUDES(mutex_);
  std::size_t Clear() EXCLUDES(mutex_);
  // Unlinks flows unused for longer than their timeout. TakeRemoved() gives them back with their
  // final statistics, each once no context can count for it any more.
  void RemoveIdle() EXCLUDES(mutex_);
  std::vector<FlowView> TakeRemoved() EXCLUDES(mutex_);
  void SetLimits(std::size_t limit, std::int64_t max_idle_ms) EXCLUDES(mutex_);
  // Frees what no reader can hold any more; returns how much still waits.
  std::size_t Reclaim() EXCLUDES(mutex_);

  std::size_t size() const EXCLUDES(mutex_);
  std::size_t masks() const EXCLUDES(mutex_);  // Distinct masks, summed over input ports.

  // A forwarding context comes (before it runs) and goes (after it ended): its statistics stay.
  void AddContext(std::size_t slot) EXCLUDES(mutex_);
  void RemoveContext(std::size_t slot) EXCLUDES(mutex_);

  // --- Forwarding: online readers.

  Qsbr& qsbr() { return qsbr_; }
  // The classifier of an input port; nullptr: no flow was ever put for it.
  const Dpcls* ClassifierOf(PortNumber in_port) const {
    const auto index = static_cast<std::uint32_t>(in_port);
    return index < classifiers_.size() ? classifiers_[index].load(std::memory_order_acquire)
                                       : nullptr;
  }
  FlowCounters& CountersOf(const Megaflow& flow, std::size_t slot) const {
    return pages_[slot]->page[flow.index / kPageFlows].load(
        std::memory_order_acquire)[flow.index % kPageFlows];
  }

 private:
  static constexpr std::size_t kPageFlows = 1024;
  static constexpr std::size_t kMaxPages = 4096;
  struct SlotPages {
    std::array<std::atomic<FlowCounters*>, kMaxPages> page{};
    ~SlotPages();
  };
  struct UfidHash {
    std::size_t operator()(const Ufid& ufid) const;
  };
  // What a change did, so that it can be undone.
  struct Undo {
    enum class Kind : std::uint8_t { kAdded, kReplaced, kRemoved };
    Kind kind;
    Megaflow* flow;
    std::shared_ptr<const ActionList> old_actions;    // kReplaced
    std::optional<std::int64_t> old_idle_timeout_ms;  // kReplaced
  };

  FlowOutcome Put(const FlowPut& put, std::vector<Undo>& undo) REQUIRES(mutex_);
  FlowOutcome Delete(const FlowDelete& del, std::vector<Undo>& undo) REQUIRES(mutex_);
  void RollBack(std::vector<Undo>& undo) REQUIRES(mutex_);
  void Commit(std::vector<Undo>& undo) REQUIRES(mutex_);
  void Link(Megaflow* flow) REQUIRES(mutex_);
  void Unlink(Megaflow* flow) REQUIRES(mutex_);
  void Retire(Megaflow* flow, bool report) REQUIRES(mutex_);
  Megaflow* NewSlot() REQUIRES(mutex_);
  Dpcls& ClassifierFor(const Match& match) REQUIRES(mutex_);
  Megaflow* FindLinked(const std::variant<Ufid, Match>& which) const REQUIRES(mutex_);
  FlowView View(const Megaflow& flow, std::optional<std::size_t> slot = {}) const REQUIRES(mutex_);
  FlowStats Stats(const Megaflow& flow, std::optional<std::size_t> slot) const REQUIRES(mutex_);

  const Clock& clock_;
  mutable Mutex mutex_;
  std::size_t limit_ GUARDED_BY(mutex_);
  std::int64_t max_idle_ms_ GUARDED_BY(mutex_);
  std::unordered_map<Ufid, Megaflow*, UfidHash> by_ufid_ GUARDED_BY(mutex_);
  std::deque<Megaflow> slots_ GUARDED_BY(mutex_);
  std::vector<Megaflow*> free_slots_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Dpcls>> owned_classifiers_ GUARDED_BY(mutex_);
  std::vector<FlowView> removed_ GUARDED_BY(mutex_);

  // Read by forwarding without a lock. Entries are set once and stay until the table dies.
  std::array<std::atomic<Dpcls*>, 65'536> classifiers_{};
  // Set before the slot's context starts, cleared after it ended.
  std::array<std::unique_ptr<SlotPages>, kMaxContexts> pages_;
  Qsbr qsbr_;  // Last: what it still frees refers to the members above.
};

}  // namespace pollux
