// Time: the monotonic clock, or one that a test moves by hand; and the cycle counter for cost
// figures.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>

namespace pollux {

class Clock {
 public:
  explicit Clock(bool manual = false) : manual_(manual) {}

  bool manual() const { return manual_; }
  // Milliseconds since an arbitrary start; never goes back. Any thread.
  std::int64_t NowMs() const {
    return manual_ ? manual_ms_.load(std::memory_order_acquire) : MonotonicNs() / 1'000'000;
  }
  // The same, some milliseconds behind, for a fraction of the cost.
  std::int64_t RecentMs() const {
    if (manual_) return NowMs();
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000 + now.tv_nsec / 1'000'000;
  }
  // Manual clocks only.
  void Advance(std::int64_t ms) { manual_ms_.fetch_add(ms, std::memory_order_acq_rel); }

  static std::int64_t MonotonicNs() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  }

 private:
  const bool manual_;
  std::atomic<std::int64_t> manual_ms_{1};  // Not 0: 0 means "never" in flow statistics.
};

// Ticks of the processor's constant-rate counter (on x86 the TSC); nanoseconds elsewhere.
inline std::uint64_t CycleCount() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(Clock::MonotonicNs());
#endif
}

}  // namespace pollux
