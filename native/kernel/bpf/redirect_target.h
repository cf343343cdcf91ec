// Whether a device takes frames that XDP programs of other devices redirect to it.
#pragma once

#include <optional>

namespace pollux {

// One of a veth pair does while its far end receives by NAPI: GRO is on there, or an XDP program.
// nullopt: the kernel does not tell (before Linux 6.3), or there is no such device. In the network
// namespace of the calling thread.
std::optional<bool> TakesRedirectedFrames(int ifindex);

}  // namespace pollux
