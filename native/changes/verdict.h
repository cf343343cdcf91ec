// UpcallVerdict: what the program says is to become of a parked packet.
#pragma once

#include <cstdint>
#include <optional>

#include "flow/attributes.h"

namespace pollux {

// Names a packet that waits for its verdict.
enum class UpcallId : std::uint64_t {};

// The bytes are those of whoever asks: they are looked at during the call.
struct UpcallVerdict {
  enum class Kind : std::uint8_t { kDrop, kExecute, kInstall };
  UpcallId id{};
  Kind kind = Kind::kDrop;
  Bytes actions;               // kExecute, kInstall: attributes.
  bool matches_given = false;  // kInstall; else the packet's exact key.
  Bytes match_key;
  Bytes match_mask;
  std::optional<std::int64_t> idle_timeout_ms;
};

}  // namespace pollux
