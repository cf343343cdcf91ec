// Counter: written by one thread, read by any. No read-modify-write instruction, no fence: a
// relaxed load and store.
#pragma once

#include <atomic>
#include <cstdint>

namespace pollux {

class Counter {
 public:
  void Add(std::uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace pollux
