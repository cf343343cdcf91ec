// How a program and its sockets may sit on an interface, and which of these ways to try.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "kernel/interface.h"
#include "netdev/af_xdp/xdp_program.h"

namespace pollux {

struct XdpMode {
  const char* asked;  // In a port's options, besides "best".
  const char* obtained;
  XdpProgram::Mode program;
  bool zero_copy;
};
// Best first.
inline constexpr XdpMode kXdpModes[] = {
    {"zerocopy", "native-zerocopy", XdpProgram::Mode::kNative, true},
    {"native", "native-copy", XdpProgram::Mode::kNative, false},
    {"generic", "generic-copy", XdpProgram::Mode::kGeneric, false},
};

// The modes that a user's word stands for.
inline Result<std::span<const XdpMode>> ModesFor(const std::string& asked,
                                                 const Interface& interface) {
  const std::span<const XdpMode> all(kXdpModes);
  // Only cards can do without copying; to try costs a registration of memory.
  if (asked.empty() || asked == "best") return all.subspan(interface.is_virtual ? 1 : 0);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (asked == all[i].asked) return all.subspan(i, 1);
  }
  return Invalid("there is no mode \"" + asked + "\"", "best, zerocopy, native or generic");
}

}  // namespace pollux
