#include "classifier/port_profile.h"

#include <algorithm>
#include <atomic>

namespace pollux {
namespace {

constexpr std::size_t kMaxPairs = 7;

std::uint32_t NextNumber() {
  static std::atomic<std::uint32_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

KeyId IdOf(std::size_t pairs) {
  return pairs > kMaxPairs ? kNoKey : NextNumber() << 3 | static_cast<KeyId>(pairs);
}

bool LooksAtNothing(FlowMask u) {
  u.in_port = 0;
  u.recirc_id = 0;
  return u == FlowMask{};
}

}  // namespace

PortProfile::PortProfile(const FlowMask& u)
    : constant(LooksAtNothing(u)),
      mask(u),
      packed(u),
      header(u),
      header_id(IdOf(header.pairs())),
      packed_id(IdOf(std::max<std::size_t>(1, (packed.size() + 1) / 2))) {}

}  // namespace pollux
