// LinkState: whether an interface can carry frames.
#pragma once

#include <cstdint>

namespace pollux {

enum class LinkState : std::uint8_t {
  kUp,    // Up, with a carrier.
  kDown,  // Down, or without a carrier.
  kGone,  // There is no such interface any more.
};

}  // namespace pollux
