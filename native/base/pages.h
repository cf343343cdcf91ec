// Memory straight from the kernel, zeroed, for what is large and looked at in no order: on a
// boundary of 2 MiB if it has as much, so that huge pages can back it and the processor finds it
// with few translations.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace pollux {

// nullptr: there is none. A child process does not inherit it.
inline void* MapPages(std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  const std::size_t whole = (bytes + kPage - 1) / kPage * kPage;
  const std::size_t slack = whole < kHuge ? 0 : kHuge;
  void* mapped =
      mmap(nullptr, whole + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* memory = static_cast<std::uint8_t*>(mapped);
  if (slack > 0) {
    // Somewhere in what was mapped is a boundary; what is before and behind goes back.
    const std::size_t before = (kHuge - reinterpret_cast<std::uintptr_t>(mapped) % kHuge) % kHuge;
    if (before > 0) munmap(mapped, before);
    memory += before;
    munmap(memory + whole, slack - before);
    madvise(memory, bytes, MADV_HUGEPAGE);  // A wish: works without.
  }
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

// What MapPages(bytes) gave.
inline void UnmapPages(void* memory, std::size_t bytes) { munmap(memory, bytes); }

}  // namespace pollux
