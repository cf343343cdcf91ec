// A network interface of the kernel's, as drivers ask about it. All of it is about the network
// namespace of the calling thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/link_state.h"

namespace pollux {

struct Interface {
  int index = 0;
  std::string name;  // The one that ioctl() wants, whatever it was asked by.
  unsigned flags = 0;
  std::uint32_t mtu = 0;
  std::uint32_t rx_queues = 1;  // In use.
  std::uint32_t tx_queues = 1;
  bool is_virtual = false;  // No card: frames may be as their sender's stack left them.

  LinkState link() const;
};

// The network namespace of the calling thread, by its inode, which nobody else gets as long as a
// socket is in it; 0: not known.
ino_t ThisNamespace();
// Its index, by its name or another one that it has (`ip link property add … altname`). ENODEV:
// there is no such interface; EMFILE and the like: nobody could be asked.
Result<int> FindInterface(const std::string& device);
// Whether there is no interface with this index. False also where nobody could be asked.
bool InterfaceIsGone(int ifindex);
// As FindInterface(); EINVAL: it cannot be a port.
Result<Interface> QueryInterface(const std::string& device);
Result<Interface> QueryInterface(int ifindex);
// The NUMA node that the device is on, 0 if it has none.
std::uint32_t NumaOfInterface(const std::string& device);
// A descriptor, or -1: as long as it is open, the interface takes frames for any address.
int HoldPromiscuous(int ifindex);

// Another MTU for an interface, which gets its own back unless it is kept: a port that cannot be
// opened has changed nothing.
class MtuChange {
 public:
  MtuChange(std::string device, std::uint32_t mtu)
      : device_(std::move(device)), before_(mtu), mtu_(mtu) {}
  ~MtuChange();
  MtuChange(const MtuChange&) = delete;
  MtuChange& operator=(const MtuChange&) = delete;

  // 0: it stays as it is.
  Status Make(std::uint32_t mtu);
  void Keep() { before_ = mtu_; }
  std::uint32_t mtu() const { return mtu_; }

 private:
  bool Set(std::uint32_t mtu) const;

  const std::string device_;
  std::uint32_t before_;
  std::uint32_t mtu_;
  Fd socket_;  // From the change on: the way back needs no descriptor that may be gone by then.
};

}  // namespace pollux
