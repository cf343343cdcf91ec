// ByteRing: bytes from one thread to another, without a lock.
//
// The memory is mapped twice, side by side, so that what may be written and what may be read are
// each in one piece, wherever they start: nobody deals with an end. The writer owns `tail_`, the
// reader `head_`; both only grow.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 0x0001U
#endif

namespace pollux {

class ByteRing {
 public:
  // `size`: a multiple of the page size.
  explicit ByteRing(std::size_t size) : size_(size), memory_(Map(size, failure_)) {}
  ~ByteRing() {
    if (memory_ != nullptr) munmap(memory_, 2 * size_);
  }
  ByteRing(const ByteRing&) = delete;
  ByteRing& operator=(const ByteRing&) = delete;

  // A ring that failed must not be used.
  Status opened() const {
    if (memory_ != nullptr) return {};
    return SystemError(failure_, "mmap", "cannot map a buffer");
  }
  std::size_t size() const { return size_; }

  // The writer: where it may write, and that it has.
  std::span<std::uint8_t> Free() {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t used = tail - head_.load(std::memory_order_seq_cst);
    return {memory_ + tail % size_, size_ - static_cast<std::size_t>(used)};
  }
  void Fill(std::size_t n) {
    tail_.store(tail_.load(std::memory_order_relaxed) + n, std::memory_order_seq_cst);
  }

  // The reader: what there is, and that it needs no more of it.
  std::span<const std::uint8_t> Filled() const {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t n = tail_.load(std::memory_order_seq_cst) - head;
    return {memory_ + head % size_, static_cast<std::size_t>(n)};
  }
  void Take(std::size_t n) {
    head_.store(head_.load(std::memory_order_relaxed) + n, std::memory_order_seq_cst);
  }
  // Takes back what was taken: all that was ever filled is to be read once more. Only if that is at
  // most size(), and the writer fills no more.
  void Rewind() { head_.store(0, std::memory_order_seq_cst); }

 private:
  static std::uint8_t* Map(std::size_t size, int& failure) {
    const int fd = static_cast<int>(syscall(SYS_memfd_create, "pollux", MFD_CLOEXEC));
    failure = fd < 0 ? errno : ENOMEM;
    if (fd < 0) return nullptr;
    void* memory = MAP_FAILED;
    if (ftruncate(fd, static_cast<off_t>(size)) == 0) {
      memory = mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    auto* first = static_cast<std::uint8_t*>(memory);
    const auto put = [&](std::uint8_t* at) {
      return mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
    };
    const bool mapped = memory != MAP_FAILED && put(first) && put(first + size);
    close(fd);
    if (!mapped && memory != MAP_FAILED) munmap(memory, 2 * size);
    if (!mapped) return nullptr;
    madvise(first, 2 * size, MADV_DONTFORK);
    return first;
  }

  const std::size_t size_;
  int failure_ = 0;  // An errno.
  std::uint8_t* const memory_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
};

}  // namespace pollux
