#include "classifier/tuple_hash.h"

#include <random>

namespace pollux {

const std::array<WordSecret, kFlowWords>& WordSecrets() {
  static const auto kSecrets = [] {
    std::random_device device;
    std::array<WordSecret, kFlowWords> random;
    for (WordSecret& secret : random) secret = {device(), device()};
    return random;
  }();
  return kSecrets;
}

}  // namespace pollux
