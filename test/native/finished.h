// The frames of the wire that a packet is.
#pragma once

#include <utility>
#include <vector>

#include "packet/offload.h"
#include "packet/segmenter.h"

namespace pollux::test {

inline std::vector<PacketPtr> Finished(PacketPool& pool, PacketPtr packet) {
  std::vector<PacketPtr> packets;
  Segmenter segmenter;
  if (!segmenter.Start(packet)) {
    FinishChecksum(*packet);
    packets.push_back(std::move(packet));
  }
  while (!segmenter.done()) {
    packets.push_back(segmenter.Next(pool));
    POLLUX_CHECK(packets.back() != nullptr);
  }
  return packets;
}

}  // namespace pollux::test
