// Records on their way up: how flows, upcalls and outcomes lie in a byte string (a slab). Those on
// their way down are in changes/records.h.
//
// src/record-layouts.ts says the same of all of them, for those who write or read them there;
// RecordLayoutsToJs() is what a test compares it with. All numbers are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "binding/convert.h"

namespace pollux {

// 8-4-4-4-12 hexadecimal digits.
inline constexpr std::size_t kUfidText = 36;

// A flow. The key (a map of its words, then these), the mask (the same words) and the actions
// follow.
struct [[gnu::packed]] FlowRecord {
  // Flags; TCP flags are in the 16 bits below.
  static constexpr std::uint32_t kOffloaded = 1u << 16;
  static constexpr std::uint32_t kDepartureShift = 17;  // Of two bits.

  std::uint32_t key_size;
  std::uint32_t mask_size;
  std::uint32_t actions_size;
  std::uint32_t flags;
  std::uint64_t packets;
  std::uint64_t bytes;
  double used_ms;          // How long ago; negative: never.
  double idle_timeout_ms;  // Negative: the table's.
  std::array<char, kUfidText> ufid;
};
static_assert(sizeof(FlowRecord) == 84);

// An upcall. The frame, the key (as a flow's) and the userdata follow.
struct UpcallRecord {
  std::uint32_t reason;
  std::uint32_t port;         // 0: none.
  std::uint32_t wire_length;  // Of the whole frame.
  std::uint32_t frame_size;
  std::uint32_t key_size;
  std::uint32_t userdata_size;
  std::uint32_t has_userdata;
};
static_assert(sizeof(UpcallRecord) == 28);

// Outcomes of changes are a byte for each, FlowOutcomes::Kind, then the text of the ufid of each
// flow that was put.

// {record: {size, name: offset or flag}}
Napi::Value RecordLayoutsToJs(Napi::Env env);

}  // namespace pollux
