// What the fuzzers share: a frame out of the fuzzer's bytes. The first byte says whether the bytes
// are the frame, or edits of a frame of some kind, which gets behind checks of lengths and types
// much sooner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "../native/packet_builder.h"

namespace pollux::fuzz {

using Input = std::span<const std::uint8_t>;

// The first byte of `input`, which is taken away; 0 at the end.
inline std::uint8_t TakeByte(Input& input) {
  if (input.empty()) return 0;
  const std::uint8_t byte = input[0];
  input = input.subspan(1);
  return byte;
}
inline Input TakeBytes(Input& input, std::size_t n) {
  const Input taken = input.first(std::min(n, input.size()));
  input = input.subspan(taken.size());
  return taken;
}

// At least kMinFrame bytes.
inline test::Frame TakeFrame(Input& input) {
  static const auto kKinds = test::EveryKind();
  const std::uint8_t kind = TakeByte(input);
  test::Frame frame;
  if (kind == 255) {
    const std::size_t size = TakeByte(input) | TakeByte(input) << 8;
    const Input bytes = TakeBytes(input, size);
    frame.assign(bytes.begin(), bytes.end());
  } else {
    frame = kKinds[kind % kKinds.size()].frame;
    for (std::uint8_t edits = TakeByte(input) % 16; edits > 0; --edits) {
      const std::uint8_t at = TakeByte(input);
      if (at < frame.size()) frame[at] = TakeByte(input);
    }
    const std::uint8_t cut = TakeByte(input);
    if (cut < frame.size() && cut > 0) frame.resize(cut);
  }
  if (frame.size() < kMinFrame) frame.resize(kMinFrame);
  return frame;
}

}  // namespace pollux::fuzz
