// What this machine lets this process do, found out by doing it: each probe tries something
// harmless that a driver needs and undoes it at once. No interface is looked at or touched.
#pragma once

#include <vector>

namespace pollux {

struct MachineProbe {
  const char* name;
  int error;  // The errno; 0: it works.
};

// "packetSocket", "packetRing", "tun" (open), "tunFeatures", "xdpSocket", "umem" (of kUmemProbe
// bytes), "xdpProgram". Those that need another one that fails have its error.
std::vector<MachineProbe> ProbeMachine();

// As much packet memory as an AF_XDP port wants locked.
inline constexpr unsigned kUmemProbe = 32u << 20;

}  // namespace pollux
