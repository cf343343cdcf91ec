// FlowTable: every megaflow of a datapath, found by id for control and by packet for forwarding.
//
// One table serves all threads. A flow put is in force in every thread when Put() returns, a thread
// born later has all flows from its first packet on, and a flow is seen once however many threads
// use it. What is per thread is the counting (flow_slots.h).
//
// Writers hold `mutex` (`flow_mutex_` of the design; a leaf). Readers are forwarding contexts: they
// hold no lock, are online in `qsbr()`, and find flows through Dpcls, one for each input port.
// Unlinked flows, replaced action lists and outgrown tables are freed after a grace period.
//
// Flows of a port should be disjoint: they have no priority, and where two overlap either may take
// a packet. Put() without an id of its own refuses a flow whose key another flow already takes, as
// Open vSwitch does, and one that would take all packets of another flow: the order in which the
// two come makes no difference.
//
// The table is a cache of bounded size. A flow that is not used for its idle timeout goes; and when
// the table is full, a flow that is put takes the place of the one least recently used, nearly. A
// flow whose own timeout is 0 is pinned: it goes neither way. Flows that went by themselves are
// reported with their final statistics.
//
// flow_table.cc puts, deletes, undoes and finds; flow_aging.cc lets flows go.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/qsbr.h"
#include "base/result.h"
#include "base/sync.h"
#include "classifier/dpcls.h"
#include "classifier/evictables.h"
#include "classifier/flow_changes.h"
#include "classifier/flow_copies.h"
#include "classifier/flow_slots.h"
#include "classifier/flow_view.h"
#include "classifier/megaflow.h"
#include "classifier/ufid_index.h"

namespace pollux {

class FlowTable {
 public:
  // max_idle_ms: 0 = flows stay. limit: flows at most; pinned ones may exceed one that was lowered.
  FlowTable(const Clock& clock, std::size_t limit, std::int64_t max_idle_ms);
  ~FlowTable();

  // --- Control: any thread.

  // Applies the changes in order. With `atomic`, the first failure undoes those before it and the
  // rest is not tried: the answer then holds one outcome, the failure. Otherwise one outcome for
  // each. No flow that was put makes room for another one of the same call.
  FlowOutcomes Apply(const FlowChanges& changes, bool atomic) EXCLUDES(mutex_);
  // The flow that a deletion with this name would delete.
  std::optional<FlowView> Find(const PackedChange& named, const std::uint64_t* key) const
      EXCLUDES(mutex_);
  // Up to `n` flows from place `cursor` on, which moves behind them; it stays where it is at the
  // end. At most `places` are looked at, some of which may be empty. Flows that stay throughout a
  // dump are seen exactly once. With `slot`, statistics are those of that context alone.
  std::vector<FlowView> Dump(std::size_t& cursor, std::size_t n, std::optional<std::size_t> slot,
                             std::size_t places = SIZE_MAX) const EXCLUDES(mutex_);
  std::size_t Clear() EXCLUDES(mutex_);
  // Unlinks flows unused for longer than their timeout, in steps between which others have their
  // turn; masks used of late are asked first then, and nothing is left of ports without flows.
  void RemoveIdle() EXCLUDES(mutex_);
  // Flows above a lower limit go, the least recently used first.
  void SetLimits(std::size_t limit, std::int64_t max_idle_ms) EXCLUDES(mutex_);
  // Flows that went by themselves, idle or evicted, with their final statistics: each once no
  // context can count for it any more. `forgotten`: how many there were that are not told of, since
  // nobody asked for so long.
  std::vector<FlowView> TakeRemoved(std::size_t& forgotten) EXCLUDES(mutex_);
  // Frees what no reader can hold any more; returns how much still waits.
  std::size_t Reclaim() EXCLUDES(mutex_);

  std::size_t size() const EXCLUDES(mutex_);
  std::size_t masks() const EXCLUDES(mutex_);  // Distinct masks, summed over input ports.

  // A forwarding context comes (before it runs) and goes (after it ended): its statistics stay.
  void AddContext(std::size_t slot) EXCLUDES(mutex_);
  void RemoveContext(std::size_t slot) EXCLUDES(mutex_);

  // --- Copies of flows.

  // The flow mutex, to say what it guards elsewhere.
  Mutex& mutex() const RETURN_CAPABILITY(mutex_) { return mutex_; }
  // Null: there are none.
  void SetCopies(FlowCopies* copies) EXCLUDES(mutex_);
  // Runs `look` while no flow changes, under the mutex.
  template <typename Look>
  void AtRest(Look look) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    look();
  }
  // What copies counted is in the statistics when it returns.
  void CountCopies() EXCLUDES(mutex_);
  // For FlowCopies: runs under the mutex.
  FlowCounters& OffloadCountersOf(const Megaflow& flow) {
    mutex_.AssertHeld();
    slots_.AddOffloaded();
    return slots_.CountersOf(flow, FlowSlots::kOffloaded);
  }

  // --- Forwarding: online readers.

  Qsbr& qsbr() { return qsbr_; }
  // The classifier of an input port; nullptr: no flow was ever put for it.
  const Dpcls* ClassifierOf(PortNumber in_port) const {
    const auto index = static_cast<std::uint32_t>(in_port);
    return index < classifiers_.size() ? classifiers_[index].Get() : nullptr;
  }
  FlowCounters& CountersOf(const Megaflow& flow, std::size_t slot) const {
    return slots_.CountersOf(flow, slot);
  }
  // A packet that goes the way of a flow without having been looked up: the one that the flow was
  // put for. For whoever counts in `slot`.
  void Count(const Ufid& ufid, std::size_t slot, std::uint64_t bytes, std::uint16_t tcp_flags)
      EXCLUDES(mutex_);
  // Where the context counts what the classifiers found.
  TupleHits* HitsOf(std::size_t slot) const { return hits_[slot].get(); }

 private:
  // What a change did, so that it can be undone.
  struct Undo {
    enum class Kind : std::uint8_t { kAdded, kReplaced, kDeleted, kEvicted };
    Kind kind;
    Megaflow* flow = nullptr;                       // kAdded, kReplaced
    Unpublished<Megaflow*> unlinked;                // kDeleted, kEvicted
    Unpublished<const ActionList*> old_list;        // kReplaced, as are those that follow.
    std::shared_ptr<const ActionList> old_actions;  // Owns the list.
    std::int64_t old_idle_timeout_ms = 0;
  };
  // A call of Apply(): what it did so far.
  struct Run {
    std::int64_t now_ms;
    std::vector<Undo> undo;
    FlowOutcomes outcomes;
  };

  // Each adds one outcome to `run`. `key`: packed.
  void Put(const PackedChange& put, const std::uint64_t* key, Run& run) REQUIRES(mutex_);
  void Replace(const PackedChange& put, Megaflow* flow, Run& run) REQUIRES(mutex_);
  // other: a flow that takes packets of this one, if there is one.
  void Add(const PackedChange& put, const std::uint64_t* key, const Megaflow* other, Run& run)
      REQUIRES(mutex_);
  void Delete(const PackedChange& del, const std::uint64_t* key, Run& run) REQUIRES(mutex_);
  // Whether there is room for one flow more.
  bool MakeRoom(std::vector<Undo>& undo) REQUIRES(mutex_);
  void RollBack(std::vector<Undo>& undo) REQUIRES(mutex_);
  void Commit(std::vector<Undo>& undo) REQUIRES(mutex_);
  void Link(Megaflow* flow) REQUIRES(mutex_);
  Unpublished<Megaflow*> Unlink(Megaflow* flow) REQUIRES(mutex_);
  void Retire(Unpublished<const ActionList*> list, std::shared_ptr<const ActionList> owner)
      REQUIRES(mutex_);
  // Once nothing can undo the unlinking.
  void Retire(Unpublished<Megaflow*> unlinked, Departure departure) REQUIRES(mutex_);
  // Lists or unlists the flow among those that may be evicted, as it is now.
  void NoteEvictable(Megaflow* flow) REQUIRES(mutex_);
  void Review(Dpcls& classifier) REQUIRES(mutex_);
  void ReviewClassifiers() REQUIRES(mutex_);
  // Of the flows in a step's slots from here on; false: there are no more.
  bool RemoveIdleOf(std::size_t from) EXCLUDES(mutex_);
  std::int64_t LastUse(const Megaflow& flow) const REQUIRES(mutex_);
  Dpcls& ClassifierFor(std::uint32_t in_port) REQUIRES(mutex_);
  Megaflow* FindLinked(const PackedMask& mask, const std::uint64_t* key) const REQUIRES(mutex_);
  Megaflow* FindLinked(const PackedChange& named, const std::uint64_t* key) const REQUIRES(mutex_);
  FlowView View(const Megaflow& flow, std::optional<std::size_t> slot = {}) const REQUIRES(mutex_);

  void LeaveCopies(const Megaflow& flow) REQUIRES(mutex_) {
    if (has_copies()) copies_->Leave(flow);
  }
  void SettleCopies() REQUIRES(mutex_) {
    if (has_copies()) copies_->Settle();
  }
  void CountCopiesHere() const REQUIRES(mutex_) {
    if (has_copies()) copies_->Count();
  }
  bool has_copies() const REQUIRES(mutex_) { return copies_ != nullptr && !copies_->empty(); }

  const Clock& clock_;
  mutable Mutex mutex_;
  FlowCopies* copies_ GUARDED_BY(mutex_) = nullptr;
  std::size_t limit_ GUARDED_BY(mutex_);
  std::int64_t max_idle_ms_ GUARDED_BY(mutex_);
  Evictables evictables_ GUARDED_BY(mutex_);
  // By input port.
  std::unordered_map<std::uint32_t, std::unique_ptr<Dpcls>> owned_classifiers_ GUARDED_BY(mutex_);
  std::vector<FlowView> removed_ GUARDED_BY(mutex_);
  std::size_t forgotten_ GUARDED_BY(mutex_) = 0;

  // Read by forwarding without a lock.
  std::array<Published<Dpcls*>, 65'536> classifiers_;
  FlowSlots slots_;  // Its header says what may be called without the mutex.
  // By context. Set before the first one with the slot starts; the next ones go on counting in it.
  std::array<std::unique_ptr<TupleHits>, kMaxContexts> hits_;
  UfidIndex by_ufid_ GUARDED_BY(mutex_) = UfidIndex(slots_);
  Qsbr qsbr_;  // Last: what it still frees refers to the members above.
};

}  // namespace pollux
