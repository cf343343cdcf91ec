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

bool LooksAtNothing(FlowMask k) {
  k.in_port = 0;
  k.recirc_id = 0;
  return k == FlowMask{};
}

}  // namespace

PortProfile::PortProfile(const FlowMask& k, bool is_complete)
    : complete(is_complete),
      constant(is_complete && LooksAtNothing(k)),
      mask(k),
      packed(k),
      header(k),
      header_id(IdOf(header.pairs())),
      packed_id(IdOf(std::max<std::size_t>(1, (packed.size() + 1) / 2))) {}

PortProfile::PortProfile(const PortProfile& other, bool is_complete)
    : complete(is_complete),
      constant(is_complete && LooksAtNothing(other.mask)),
      mask(other.mask),
      packed(other.packed),
      header(other.header),
      header_id(other.header_id),
      packed_id(other.packed_id) {}

}  // namespace pollux
