// What the fuzzers share: a frame, and what is known of a packet beside it, out of the fuzzer's
// bytes. The first byte of a frame says whether the bytes are the frame, or edits of a frame of
// some kind, which gets behind checks of lengths and types much sooner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "../native/packet_builder.h"
#include "packet/headers.h"

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

template <typename T>
T Take(Input& input) {
  const Input bytes = TakeBytes(input, sizeof(T));
  T value{};
  if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}

// As actions leave it.
inline void TakeMetadata(Input& input, Packet& packet) {
  const std::uint8_t which = TakeByte(input);
  if ((which & 1) != 0) packet.recirc_id = Take<std::uint32_t>(input);
  if ((which & 2) != 0) packet.dp_hash = Take<std::uint32_t>(input);
  if ((which & 4) != 0) packet.skb_mark = Take<std::uint32_t>(input);
  if ((which & 8) != 0) packet.skb_priority = Take<std::uint32_t>(input);
  // Without its Ethernet header.
  if ((which & 0x30) != 0x30 || packet.size < kMinFrame) return;
  packet.l3_type = LoadAs<Be16>(packet.data + 12);
  if (packet.l3_type != 0) packet.Pull(kMinFrame);
}

// As a set(tunnel) or a tunnel port makes it.
inline TunnelMetadata TakeTunnel(Input& input) {
  TunnelMetadata tunnel;
  tunnel.flags = TakeByte(input) & kTunnelFlags;
  if ((tunnel.flags & kTunnelKey) != 0) tunnel.id = Take<Be64>(input);
  tunnel.ipv4_src = Take<Be32>(input);
  tunnel.ipv4_dst = Take<Be32>(input);
  tunnel.tos = TakeByte(input);
  tunnel.ttl = TakeByte(input);
  tunnel.tp_src = Take<Be16>(input);
  tunnel.tp_dst = Take<Be16>(input);
  tunnel.gbp_id = Take<Be16>(input);
  tunnel.gbp_flags = TakeByte(input);
  tunnel.gtpu_flags = TakeByte(input);
  tunnel.gtpu_message = TakeByte(input);
  tunnel.erspan_version = TakeByte(input) % 3;
  if (tunnel.erspan_version == 1) tunnel.erspan_index = Take<Be32>(input);
  if (tunnel.erspan_version == 2) {
    tunnel.erspan_direction = TakeByte(input) & 0x01;
    tunnel.erspan_hardware = TakeByte(input) & 0x3f;
  }
  for (std::uint8_t options = TakeByte(input) % 64; options > 0; --options) {
    GeneveOption option = Take<GeneveOption>(input);
    option.length &= GeneveOption::kLengthMask;
    if (tunnel.options_size + option.size() > kMaxTunnelOptions) break;
    std::uint8_t* at = tunnel.options.data() + tunnel.options_size;
    std::memcpy(at, &option, sizeof option);
    const Input data = TakeBytes(input, option.size() - sizeof option);
    if (!data.empty()) std::memcpy(at + sizeof option, data.data(), data.size());
    tunnel.options_size = static_cast<std::uint8_t>(tunnel.options_size + option.size());
  }
  tunnel.ipv6_src = Take<Ipv6Address>(input);
  tunnel.ipv6_dst = Take<Ipv6Address>(input);
  return tunnel;
}

}  // namespace pollux::fuzz
