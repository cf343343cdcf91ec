// What the tests of actions share: lists that must be accepted or refused, and packets in exactly
// the memory they need.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "action_builder.h"
#include "flow/extract.h"
#include "packet_builder.h"
#include "recording_host.h"

namespace pollux::test {

using Blob = std::vector<std::uint8_t>;

// What the parser finds, and that as a match. `l3_type` (host order): the frame has no Ethernet
// header.
inline Flow KeyOf(Packet& packet) {
  Miniflow key;
  ExtractMiniflow(packet, key);
  return key.Expand();
}
inline Match ExactMatch(std::span<const std::uint8_t> frame, std::uint16_t l3_type = 0) {
  HeapPacket packet(frame);
  packet->l3_type = ToBe16(l3_type);
  const Flow key = KeyOf(*packet);
  return {key, ExactMask(key)};
}
const Match kAny{};

inline EthernetFrame V4(const Ip4Fields& fields = {}) {
  return EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2", fields);
}
inline EthernetFrame V6(const Ip6Fields& fields = {}) {
  return EthernetFrame().Ipv6("2001:db8::1", "2001:db8::2", fields);
}
// A frame from its layer 3 on.
inline Frame WithoutEthernet(const Frame& frame) { return Frame(frame.begin() + 14, frame.end()); }

inline ActionListPtr Accepted(Bytes attributes, const Match& match) {
  auto list = ActionList::Parse(attributes, match);
  if (!list.ok()) FAIL("refused: " << list.error().message);
  return *list;
}
inline void CheckRefused(Bytes attributes, const Match& match, const std::string& why) {
  CAPTURE(why);
  const auto list = ActionList::Parse(attributes, match);
  REQUIRE_FALSE(list.ok());
  CHECK(list.error().number == EINVAL);
  CAPTURE(list.error().message);
  CHECK(list.error().message.find(why) != std::string::npos);
}

// Only for actions that change a packet and nothing else. False: the packet would be dropped.
inline bool ApplyTo(const Action& action, Packet& packet) {
  return std::visit(
      [&](const auto& change) {
        if constexpr (requires { Apply(change, packet); }) {
          return Apply(change, packet);
        } else {
          FAIL("not a rewrite");
          return false;
        }
      },
      action);
}
// A frame after the rewrites of a list, which must be right for it.
inline Frame After(const Actions& actions, const Frame& frame, std::size_t headroom = 64) {
  HeapPacket packet(frame, 1, headroom);
  const Flow key = KeyOf(*packet);
  const auto list = Accepted(actions, {key, ExactMask(key)});
  for (const Action& action : list->actions()) REQUIRE(ApplyTo(action, *packet));
  return packet.frame();
}
// Whether a rewrite that is right for the flow refuses the frame.
inline bool Refused(const Actions& actions, const Frame& frame) {
  HeapPacket packet(frame);
  const Flow key = KeyOf(*packet);
  return !ApplyTo(Accepted(actions, {key, ExactMask(key)})->actions()[0], *packet);
}

}  // namespace pollux::test
