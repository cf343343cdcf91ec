// A network interface of the kernel's, as drivers ask about it. All of it is about the network
// namespace of the calling thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "netdev/netdev.h"

namespace pollux {

struct Interface {
  int index = 0;
  unsigned flags = 0;
  std::uint32_t mtu = 0;
  std::uint32_t rx_queues = 1;  // In use.
  std::uint32_t tx_queues = 1;
  bool is_virtual = false;  // No card: frames may be as their sender's stack left them.

  LinkState link() const;
};

// ENODEV: there is no such interface; EINVAL: it cannot be a port.
Result<Interface> QueryInterface(const std::string& device);
Status SetInterfaceMtu(const std::string& device, std::uint32_t mtu);
// The NUMA node that the device is on, 0 if it has none.
std::uint32_t NumaOfInterface(const std::string& device);
// A descriptor, or -1: as long as it is open, the interface takes frames for any address.
int HoldPromiscuous(int ifindex);

}  // namespace pollux
