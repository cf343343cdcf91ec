// Contexts: all forwarding contexts of a datapath, and how they are brought from what is to what is
// wanted.
//
// Control alone calls the verbs. What others may look at (which threads there are, what they count)
// is under `mutex_`, held only while it is copied or changed, never while a reload is awaited.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "datapath/datapath.h"
#include "datapath/port.h"
#include "datapath/reconfigure.h"
#include "forwarding/non_pmd.h"
#include "forwarding/pmd.h"

namespace pollux {

class Contexts {
 public:
  using FindPort = std::function<Port&(PortKey)>;

  Contexts(const PmdShared& shared, bool pin_threads);
  // Stop() was called.
  ~Contexts();

  // --- Control.

  // What every context has.
  const Actual& actual() const { return actual_; }
  // Carries out a plan that was made for `actual`; ports are found with `find_port`. On failure (a
  // thread that will not start) nothing was done.
  Status CarryOut(const Plan& plan, const FindPort& find_port);
  // In force from the next reload of a thread.
  void SetSleepLimits(SleepLimits limits);
  // All contexts, or the thread of one core; nullopt: there is none.
  std::optional<std::vector<ReloadReport>> Reload(std::optional<std::uint32_t> core);
  bool Polls(const QueueKey& queue) const;
  // Ends all threads; their statistics stay.
  void Stop();

  // --- Any thread.

  NonPmd& non_pmd() { return non_pmd_; }
  void AddTo(Ledger& ledger) const EXCLUDES(mutex_);
  std::uint64_t lost_upcalls() const EXCLUDES(mutex_);
  // `name_of` names ports by number.
  std::vector<PmdStats> Stats(const std::function<std::string(PortNumber)>& name_of) const
      EXCLUDES(mutex_);
  std::optional<std::size_t> SlotOf(std::uint32_t core) const EXCLUDES(mutex_);

 private:
  static constexpr std::size_t kNonPmdSlot = 0;
  using Seats = std::map<std::uint32_t, std::unique_ptr<Pmd::Seat>>;  // By core.

  Context* Find(std::uint32_t core) EXCLUDES(mutex_);
  // For all threads that a plan starts.
  Result<Seats> TakeSeats(const Plan& plan) EXCLUDES(mutex_);
  void Remove(Context& context, const ContextChange& change);
  void Add(Context& context, const ContextChange& change, const FindPort& find_port);
  // Reloads the contexts of these cores: all requests first, then all acknowledgements.
  std::vector<ReloadReport> ReloadAll(const std::vector<std::uint32_t>& cores) EXCLUDES(mutex_);
  void StartThread(Core core, std::unique_ptr<Pmd::Seat> seat, const ContextChange& change,
                   const FindPort& find_port) EXCLUDES(mutex_);
  void StopThread(std::uint32_t core) EXCLUDES(mutex_);
  // Where there are contexts, the non-PMD one first.
  std::vector<std::uint32_t> Cores() const EXCLUDES(mutex_);
  // There is one.
  std::size_t FreeSlot() const EXCLUDES(mutex_);

  const PmdShared shared_;
  const bool pin_threads_;
  SleepLimits sleep_limits_;
  Actual actual_;  // Control's own notes of what every context has.
  NonPmd non_pmd_;

  mutable Mutex mutex_;
  // By core. Control alone changes it, so a thread that control has found stays.
  std::map<std::uint32_t, std::unique_ptr<Pmd>> pmds_ GUARDED_BY(mutex_);
  Ledger departed_ GUARDED_BY(mutex_);  // Of threads that are gone.
  std::uint64_t departed_lost_upcalls_ GUARDED_BY(mutex_) = 0;
};

}  // namespace pollux
