// Changes of flows and verdicts on parked packets as TypeScript writes them
// (src/flows/change-batch.ts): any number of headers in one byte string, and what they point to in
// others. All numbers are in the byte order of the host.
//
//   headers   one ChangeHeader for each change, or one VerdictHeader for each verdict
//   payload   keys, each with its mask behind it, and actions, as netlink attributes
//   texts     matches as text; verdicts have none
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "classifier/megaflow.h"
#include "flow/attributes.h"

namespace pollux {

// Both headers begin with this.
struct RecordHeader {
  // Flags of changes.
  static constexpr std::uint32_t kPut = 1;  // Else a deletion.
  static constexpr std::uint32_t kByUfid = 2;
  static constexpr std::uint32_t kTimeout = 4;
  static constexpr std::uint32_t kReplace = 8;
  static constexpr std::uint32_t kCreate = 16;
  static constexpr std::uint32_t kText = 32;
  // Flags of verdicts, beside kTimeout.
  static constexpr std::uint32_t kInstall = kPut;  // Else the packet alone has the actions.
  static constexpr std::uint32_t kExact = 64;      // No match is given: the packet's exact key.

  std::uint32_t flags;
  std::uint32_t key_at;  // In the payload; of a text, in the texts.
  std::uint32_t key_size;
  std::uint32_t mask_size;  // Of a text: 0.
  std::uint32_t actions_at;
  std::uint32_t actions_size;
  double timeout_ms;

  // Not set: no timeout was given.
  std::optional<std::int64_t> idle_timeout_ms() const {
    constexpr double kMaxExact = 9007199254740992.0;  // Integers above are not exact.
    if ((flags & kTimeout) == 0) return std::nullopt;
    return static_cast<std::int64_t>(std::clamp(timeout_ms, 0.0, kMaxExact));
  }
};

struct ChangeHeader : RecordHeader {
  Ufid ufid;  // With kByUfid.
};

struct VerdictHeader : RecordHeader {
  std::uint32_t place;  // Of the packet, among those that are answered.
  std::array<std::uint32_t, 3> unused;
};

static_assert(sizeof(ChangeHeader) == 48 && sizeof(VerdictHeader) == sizeof(ChangeHeader));

// `size` bytes from `at` on; nullopt: they are not all there.
inline std::optional<Bytes> PartOf(Bytes bytes, std::uint32_t at, std::size_t size) {
  if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
  return bytes.subspan(at, size);
}

}  // namespace pollux
