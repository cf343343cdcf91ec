#include "classifier/port_profile.h"

#include <atomic>

namespace pollux {
namespace {

std::uint32_t NextId() {
  static std::atomic<std::uint32_t> next{2};  // 0: no profile.
  return next.fetch_add(2, std::memory_order_relaxed);
}

bool LooksAtNothing(FlowMask u) {
  u.in_port = 0;
  u.recirc_id = 0;
  return u == FlowMask{};
}

}  // namespace

PortProfile::PortProfile(const FlowMask& u)
    : id(NextId()), constant(LooksAtNothing(u)), mask(u), packed(u), header(u) {}

}  // namespace pollux
