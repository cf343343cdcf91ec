// Pmd: a poll-mode driver thread. One core, one context, and the reload handshake that keeps the
// two worlds apart.
//
// Control changes the context's shared map and poll list, then Request()s a reload and Await()s the
// acknowledgement. The thread looks at the gate once an iteration, the moment at which it holds no
// packet and no pointer into any table, loads queues and ports, and acknowledges. Until then it
// polls and sends exactly as before. To change several threads: edit all, request all, then await
// all; the cost is that of the slowest.
//
// Six laws, each bought by somebody's bug:
//   1. Awaiting an acknowledgement holds nothing a thread can want.
//   2. Every knob, the wish that it leaves above all, is read only after a reload was seen; a
//   thread
//      acknowledges that very request before it leaves.
//   3. Publish last, unpublish first: a port is announced by name when every thread can send to it,
//   and forgotten before it is closed.
//   4. A newborn thread is complete before it starts: its shared map holds every port, and flows
//   are shared by all.
//   5. A sleeping thread is offline for reclamation, and a reload wakes it.
//   6. An acknowledgement answers a request, never a start-up: generations (base/reload_gate.h) see
//   to that.
//
// An idle thread spins a little, then sleeps until one of its queues' descriptors or its doorbell
// calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/doorbell.h"
#include "base/idle_thread.h"
#include "base/reload_gate.h"
#include "base/result.h"
#include "forwarding/context.h"

namespace pollux {

class Pmd {
 public:
  // What a thread takes from the system, each of which may be refused. Taken before anything is
  // changed, so that a change either happens or does not.
  struct Seat {
    // Pinned to its core if `pin`.
    static Result<std::unique_ptr<Seat>> Take(std::uint32_t core, bool pin);

    Doorbell doorbell;
    std::unique_ptr<IdleThread> thread;
  };

  Pmd(const PmdShared& shared, std::uint32_t core, std::uint32_t numa, std::size_t slot,
      std::unique_ptr<Seat> seat);
  // The thread was stopped.
  ~Pmd();

  std::uint32_t core() const { return core_; }
  std::uint32_t numa() const { return numa_; }
  Context& context() { return context_; }
  const Context& context() const { return context_; }

  // --- Control.

  // The longest sleep of the idle thread, in microseconds; 0: it spins, UINT32_MAX: until it is
  // woken. Ports may ask for less. In force from the next reload.
  void SetSleepMax(std::uint32_t us) { core_sleep_max_us_.store(us, std::memory_order_relaxed); }
  // The thread begins. The context has every port already.
  void Start();
  // Asks the thread to leave, waits until it has acknowledged and ended, and forgets its ports and
  // queues.
  void Stop();
  ReloadGate::Generation RequestReload();
  void AwaitReload(ReloadGate::Generation generation) const { gate_.Await(generation); }
  // When the last acknowledged reload was served, by the monotonic clock.
  std::int64_t served_ns() const { return served_ns_.load(std::memory_order_relaxed); }

 private:
  void Run();
  void Load() REQUIRES(context_.role());
  void Idle() REQUIRES(context_.role());

  const std::uint32_t core_;
  const std::uint32_t numa_;
  Context context_;
  ReloadGate gate_;
  const std::unique_ptr<Seat> seat_;  // The thread in it is control's.
  Doorbell& doorbell_;
  // The request to leave. A flag would not do: a thread that has just acknowledged an earlier
  // request could see it, and leave without answering the one that it came with.
  static constexpr std::uint64_t kNever = UINT64_MAX;
  std::atomic<std::uint64_t> exit_generation_{kNever};
  std::atomic<std::int64_t> served_ns_{0};
  std::atomic<std::uint32_t> core_sleep_max_us_{UINT32_MAX};
  bool running_ = false;  // Control's.

  // The thread's own.
  std::vector<pollfd> wait_fds_ GUARDED_BY(context_.role());
  bool all_waitable_ GUARDED_BY(context_.role()) = true;
  std::uint32_t sleep_max_us_ GUARDED_BY(context_.role()) = 0;
  std::int64_t idle_since_ns_ GUARDED_BY(context_.role()) = 0;  // 0: not idle.
  std::uint32_t nap_us_ GUARDED_BY(context_.role()) = 0;
};

}  // namespace pollux
