#include "classifier/emc.h"

#include <sys/mman.h>

#include <random>

namespace pollux {

const std::array<std::uint64_t, 16>& HashSecrets() {
  static const auto kSecrets = [] {
    std::random_device device;
    std::array<std::uint64_t, 16> random;
    for (std::uint64_t& word : random) word = std::uint64_t{device()} << 32 | device();
    return random;
  }();
  return kSecrets;
}

void* MapTable(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, MADV_HUGEPAGE);  // A wish: works without.
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}
void UnmapTable(void* memory, std::size_t bytes) { munmap(memory, bytes); }

}  // namespace pollux
