// TunnelGso: GSO frames of tunnels by UDP (VXLAN, Geneve), sent whole by an interface.
//
// A packet socket takes a frame of 64 KiB that holds TCP in a tunnel, but the header in front of it
// cannot say that there is a tunnel, and without that the kernel neither cuts nor delivers it. Made
// into datagrams (packet/segmenter.h) it gets through, but the host that receives them takes the
// tunnel's headers off each, which is several times the work.
//
// A tap can say it (Linux 6.17). So such frames are written to a tap of our own, and a program at
// its ingress sends all that comes there on by the interface: the kernel gets what its own tunnel
// devices make. veth hands it on whole, a card that knows tunnels cuts it, for others the kernel
// does.
//
// The tap is seen on the host, as pollux-gso0 and the like. It is up and has no other purpose; what
// the host sends by it nobody takes. It goes with its descriptor, kill -9 included. Should somebody
// take it down or delete it, frames go as datagrams again, until the port is opened anew.
#pragma once

#include <atomic>

#include "base/fd.h"
#include "kernel/bpf/tcx_link.h"
#include "netdev/netdev.h"

namespace pollux {

class TunnelGso {
 public:
  // --- Control, in the network namespace of the interface.

  // Frames shall leave by the interface from a moment later on, if this kernel can and we may. The
  // tap is made at the first call.
  void Open(int ifindex);
  // They shall not any more.
  void Stop() { link_.Detach(); }
  // Open() has been called since the last Stop(), and nothing was against it.
  bool is_open() const { return link_.attached(); }
  // There is no use in trying: this kernel cannot, or we may not.
  bool impossible() const { return impossible_; }

  // --- Any thread.

  bool runs() const { return link_.runs() && !broken_.load(std::memory_order_relaxed); }
  // False: it does not run (any more), or the kernel did not take the frame.
  bool Send(const Packet& packet) const;

 private:
  // True: there is a tap, up.
  bool MakeTap();

  TcxLink link_;
  Fd tap_;  // Made before the program runs for the first time, and left open.
  int tap_ifindex_ = 0;
  bool impossible_ = false;
  mutable std::atomic<bool> broken_{false};  // The tap takes nothing any more.
};

}  // namespace pollux
