#include "classifier/emc.h"

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

}  // namespace pollux
