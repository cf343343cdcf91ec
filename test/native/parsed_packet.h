// What the parser makes of a packet, for tests.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>

#include "flow/extract.h"
#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux::test {

struct Parsed {
  Flow flow;
  FlowMap map;
  std::uint16_t l3 = 0;
  std::uint16_t l4 = 0;

  bool Has(std::size_t word) const { return map.Has(word); }
};

inline constexpr std::uint16_t kNo = Packet::kNoOffset;
inline constexpr std::size_t kEthWord = POLLUX_FLOW_WORD(eth_dst);
inline constexpr std::size_t kVlanWord = POLLUX_FLOW_WORD(vlans);
inline constexpr std::size_t kMplsWord = POLLUX_FLOW_WORD(mpls);
inline constexpr std::size_t kNshWord = POLLUX_FLOW_WORD(nsh);
inline constexpr std::size_t kIp4Word = POLLUX_FLOW_WORD(ipv4_src);
inline constexpr std::size_t kIp6Word = POLLUX_FLOW_WORD(ipv6_src);
inline constexpr std::size_t kIpWord = POLLUX_FLOW_WORD(ipv6_label);
inline constexpr std::size_t kPorts = POLLUX_FLOW_WORD(tp_src);
inline constexpr std::size_t kArpWord = POLLUX_FLOW_WORD(arp_sha);
inline constexpr std::size_t kNdWord = POLLUX_FLOW_WORD(nd_target);
inline constexpr std::size_t kTunnelWord = POLLUX_FLOW_WORD(tunnel);

inline Parsed Parse(Packet& packet) {
  Miniflow key;
  ExtractMiniflow(packet, key);
  REQUIRE(key.map.Has(0));
  return {key.Expand(), key.map, packet.l3_offset, packet.l4_offset};
}
inline Parsed Parse(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame, 7);
  return Parse(*packet);
}
// A packet without Ethernet header.
inline Parsed ParseBare(std::uint16_t type, std::span<const std::uint8_t> bytes) {
  HeapPacket packet(bytes, 7);
  packet->l3_type = ToBe16(type);
  return Parse(*packet);
}

using Words = std::initializer_list<std::size_t>;
inline FlowMap MapOf(Words words) {
  FlowMap map;
  for (const std::size_t word : words) map.Add(word);
  return map;
}
inline bool AnyFrom(const FlowMap& map, std::size_t first, std::size_t end = kTunnelWord) {
  for (std::size_t i = first; i < end; ++i) {
    if (map.Has(i)) return true;
  }
  return false;
}

inline bool NoLayer3(const Parsed& parsed) {
  return parsed.l3 == kNo && parsed.l4 == kNo && !AnyFrom(parsed.map, kIp4Word);
}
inline bool NoLayer4(const Parsed& parsed) {
  return parsed.l4 == kNo && !AnyFrom(parsed.map, kPorts);
}

}  // namespace pollux::test
