// Locks and roles that the compiler checks.
//
// Clang's thread-safety analysis knows *capabilities*: things one must hold to touch a datum. We
// use two kinds.
//
//   Mutex   an ordinary lock. `T x GUARDED_BY(mutex_)`.
//   Role    the right to touch the private state of one forwarding context. It is not a lock:
//   exactly one thread holds
//           it because exactly one thread runs that context (or holds the mutex that admits to it).
//           Entering twice is a programming error that debug builds report. `PortCache cache_
//           GUARDED_BY(role_)`.
//
// Lambdas do not inherit the capabilities of the function that made them: open them with
// `role_.AssertHeld()`.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#if defined(__clang__)
#define POLLUX_TSA(x) __attribute__((x))
#else
#define POLLUX_TSA(x)
#endif

#define CAPABILITY(name) POLLUX_TSA(capability(name))
#define SCOPED_CAPABILITY POLLUX_TSA(scoped_lockable)
#define GUARDED_BY(x) POLLUX_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) POLLUX_TSA(pt_guarded_by(x))
#define ACQUIRED_BEFORE(...) POLLUX_TSA(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) POLLUX_TSA(acquired_after(__VA_ARGS__))
#define REQUIRES(...) POLLUX_TSA(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) POLLUX_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) POLLUX_TSA(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) POLLUX_TSA(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) POLLUX_TSA(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) POLLUX_TSA(assert_capability(x))
#define RETURN_CAPABILITY(x) POLLUX_TSA(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS POLLUX_TSA(no_thread_safety_analysis)

namespace pollux {

// Ends the program when an invariant of ours is broken: going on would corrupt somebody's packets.
[[noreturn]] inline void Die(const char* file, int line, const char* what) {
  std::fprintf(stderr, "pollux: %s:%d: check failed: %s\n", file, line, what);
  std::abort();
}

#define POLLUX_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::pollux::Die(__FILE__, __LINE__, #condition))
#ifdef NDEBUG
#define POLLUX_DCHECK(condition) static_cast<void>(0)
#else
#define POLLUX_DCHECK(condition) POLLUX_CHECK(condition)
#endif

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  // False: somebody holds it.
  bool TryLock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  // Tells the analysis inside a lambda what its caller holds.
  void AssertHeld() const ASSERT_CAPABILITY(this) {}
  // For std::condition_variable_any only.
  void lock() ACQUIRE() { Lock(); }
  void unlock() RELEASE() { Unlock(); }

 private:
  std::mutex mutex_;
};

// First come, first served: a loop that locks and unlocks without pause (a program that executes
// packets as fast as it can) cannot keep control out, as it could with Mutex. Each hand-over to a
// thread that waits costs a wake-up, so this is for locks that are fought over by few.
class CAPABILITY("mutex") FairMutex {
 public:
  FairMutex() = default;
  FairMutex(const FairMutex&) = delete;
  FairMutex& operator=(const FairMutex&) = delete;

  void Lock() ACQUIRE() {
    const std::uint32_t ticket = next_.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t serving = serving_.load(std::memory_order_acquire); serving != ticket;
         serving = serving_.load(std::memory_order_acquire)) {
      serving_.wait(serving, std::memory_order_acquire);
    }
  }
  void Unlock() RELEASE() {
    // Sequentially consistent, so that notify_all() looks for waiters afterwards and misses none.
    serving_.store(serving_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
    serving_.notify_all();
  }

 private:
  std::atomic<std::uint32_t> next_{0};
  std::atomic<std::uint32_t> serving_{0};
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CAPABILITY("role") Role {
 public:
  void Enter() ACQUIRE() { POLLUX_DCHECK(!held_.exchange(true, std::memory_order_acquire)); }
  void Leave() RELEASE() { POLLUX_DCHECK(held_.exchange(false, std::memory_order_release)); }
  void AssertHeld() const ASSERT_CAPABILITY(this) {
    POLLUX_DCHECK(held_.load(std::memory_order_relaxed));
  }

 private:
#ifndef NDEBUG
  std::atomic<bool> held_{false};
#endif
};

class SCOPED_CAPABILITY RoleScope {
 public:
  explicit RoleScope(Role& role) ACQUIRE(role) : role_(role) { role_.Enter(); }
  ~RoleScope() RELEASE() { role_.Leave(); }
  RoleScope(const RoleScope&) = delete;
  RoleScope& operator=(const RoleScope&) = delete;

 private:
  Role& role_;
};

}  // namespace pollux
