// Frames that reached a device and were refused, by why. They never become packets of ours, so no
// drop reason counts them; the statistics of their port do.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/counter.h"
#include "packet/offload.h"

namespace pollux {

// X(enumerator, its name in the statistics of a port)
#define POLLUX_RX_ERRORS(X)                                                                      \
  X(kSegments, "rxSegmentErrors")  /* to be cut in a way that nobody here knows */               \
  X(kChecksum, "rxChecksumErrors") /* a checksum left unfinished that nobody here can finish */  \
  X(kTooLong, "rxLengthErrors")    /* longer than a packet can be */                             \
  X(kNoBuffer, "rxBufferErrors")   /* large, and the kernel's buffer for such frames was full */ \
  X(kBroken, "rxFrameErrors")      /* empty, or not of Ethernet */

enum class RxError : std::uint8_t {
#define X(name, text) name,
  POLLUX_RX_ERRORS(X)
#undef X
};

inline constexpr const char* kRxErrorText[] = {
#define X(name, text) text,
    POLLUX_RX_ERRORS(X)
#undef X
};
inline constexpr std::size_t kRxErrors = sizeof kRxErrorText / sizeof kRxErrorText[0];

// What AcceptOffloads() has refused of a frame with this header.
inline RxError RefusalOf(const OffloadHeader& header) {
  return header.needs_segmentation() ? RxError::kSegments : RxError::kChecksum;
}

// Counted by the driver: what never became a packet of ours.
struct NetdevStats {
  std::uint64_t rx_dropped = 0;
  std::uint64_t rx_errors = 0;  // The sum of the next.
  std::array<std::uint64_t, kRxErrors> rx_errors_by{};

  void AddError(RxError why, std::uint64_t n) {
    rx_errors += n;
    rx_errors_by[static_cast<std::size_t>(why)] += n;
  }
  NetdevStats& operator+=(const NetdevStats& other) {
    rx_dropped += other.rx_dropped;
    rx_errors += other.rx_errors;
    for (std::size_t i = 0; i < kRxErrors; ++i) rx_errors_by[i] += other.rx_errors_by[i];
    return *this;
  }
};

// The errors of one queue.
class RxErrors {
 public:
  void Add(RxError why, std::uint64_t n = 1) { counters_[static_cast<std::size_t>(why)].Add(n); }
  void AddTo(NetdevStats& stats) const {
    for (std::size_t i = 0; i < kRxErrors; ++i) {
      stats.AddError(static_cast<RxError>(i), counters_[i].Get());
    }
  }

 private:
  std::array<Counter, kRxErrors> counters_;
};

// What was counted last, for those who look while others are at the device.
class LastNetdevStats {
 public:
  void Set(const NetdevStats& stats) {
    dropped_.store(stats.rx_dropped, std::memory_order_relaxed);
    for (std::size_t i = 0; i < kRxErrors; ++i) {
      errors_[i].store(stats.rx_errors_by[i], std::memory_order_relaxed);
    }
  }
  NetdevStats Get() const {
    NetdevStats stats;
    stats.rx_dropped = dropped_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < kRxErrors; ++i) {
      stats.AddError(static_cast<RxError>(i), errors_[i].load(std::memory_order_relaxed));
    }
    return stats;
  }

 private:
  std::atomic<std::uint64_t> dropped_{0};
  std::array<std::atomic<std::uint64_t>, kRxErrors> errors_{};
};

}  // namespace pollux
