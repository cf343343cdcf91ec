// Frames of the shape that header keys are for (flow/header_key.h), or nearly so, and masks, at
// random.
#pragma once

#include <cstdint>
#include <random>

#include "flow/header_key.h"
#include "packet_builder.h"

namespace pollux::test {

// A frame that is, or nearly is, of the shape: most bytes as they should be, some not.
inline Frame NearlyOfTheShape(std::mt19937& random) {
  EthernetFrame frame;
  frame.Ipv4("10.0.0.1", "10.0.0.2");
  Frame bytes = random() % 2 == 0 ? frame.Udp(1, 2).Payload(random() % 20).Build()
                                  : frame.Tcp(1, 2).Payload(random() % 20).Build();
  for (std::uint32_t edits = random() % 4; edits > 0; --edits) {
    bytes[random() % bytes.size()] =
        static_cast<std::uint8_t>(random() % 2 == 0 ? random() : 1u << random() % 8);
  }
  if (random() % 4 == 0) bytes.resize(kMinFrame + random() % (bytes.size() - kMinFrame));
  if (random() % 4 == 0) bytes.resize(bytes.size() + random() % 30);  // Padding.
  return bytes;
}

inline FlowMask RandomMask(std::mt19937& random) {
  FlowMask mask;
  const auto some = [&](auto& field) {
    auto* bytes = reinterpret_cast<std::uint8_t*>(&field);
    for (std::size_t i = 0; i < sizeof field; ++i) {
      switch (random() % 8) {
        case 0:
          bytes[i] = 0xff;
          break;
        case 1:
          bytes[i] = static_cast<std::uint8_t>(random());
          break;
        default:
          break;
      }
    }
  };
#define X(member, text) some(mask.member);
  POLLUX_FLOW_FIELDS(X)
#undef X
  return mask;
}

}  // namespace pollux::test
