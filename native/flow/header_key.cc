#include "flow/header_key.h"

#include <algorithm>
#include <cstring>

namespace pollux {

HeaderMask::HeaderMask(const FlowMask& mask) {
  std::array<std::uint8_t, kHeaderKeyBytes> bytes{};
  const auto put = [&](std::size_t at, const auto& field) {
    std::memcpy(bytes.data() + at, &field, sizeof field);
  };
  put(0, mask.eth_dst);
  put(6, mask.eth_src);
  put(15, mask.nw_tos);
  put(22, mask.nw_ttl);
  put(23, std::uint8_t{0xff});  // Tells TCP from UDP, whether or not a flow does.
  put(26, mask.ipv4_src);
  put(30, mask.ipv4_dst);
  put(34, mask.tp_src);
  put(36, mask.tp_dst);
  const auto udp = bytes;
  put(46, static_cast<Be16>(mask.tcp_flags & ToBe16(TcpHeader::kFlagsMask)));

  constexpr std::size_t kWord = sizeof(std::uint64_t);
  std::size_t words = 0;
  for (std::size_t at = 0; at < kHeaderKeyBytes; ++at) {
    if (bytes[at] == 0) continue;
    const std::size_t place = std::min(at, kHeaderKeyBytes - kWord);
    places_[words] = static_cast<std::uint32_t>(place);
    masks_[static_cast<std::size_t>(HeaderShape::kTcp)][words] =
        LoadAs<std::uint64_t>(bytes.data() + place);
    masks_[static_cast<std::size_t>(HeaderShape::kUdp)][words] =
        LoadAs<std::uint64_t>(udp.data() + place);
    ++words;
    at = place + kWord - 1;
  }
  pairs_ = (words + 1) / 2;
}

}  // namespace pollux
