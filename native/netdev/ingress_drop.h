// Ends the second life of packets. What a packet socket receives goes on into the host's own
// network stack, which routes it, answers it, or at least spends its time on throwing it away.
// Packet sockets see frames before the traffic control hook of ingress does, so a program there
// that drops everything takes nothing from us.
//
// The program is two instructions, held by a bpf_link (tcx, Linux 6.6): when the descriptor closes,
// kill -9 included, it is gone. Nothing else that leaves no traces is on offer: a clsact qdisc
// would stay behind.
//
// To attach and to detach takes effect at once, but the kernel returns only a grace period later
// (5 ms): threads of our own wait for it.
#pragma once

#include <future>
#include <memory>

#include "base/background.h"

namespace pollux {

class IngressDrop {
 public:
  IngressDrop() = default;
  // Waits until nothing is left in the kernel.
  ~IngressDrop() { Detach(); }
  IngressDrop(const IngressDrop&) = delete;
  IngressDrop& operator=(const IngressDrop&) = delete;

  // From a moment after `first` on nothing that arrives at the interface gets further than its
  // packet sockets, unless the kernel cannot, or we may not (CAP_BPF and CAP_NET_ADMIN). `first` is
  // for what would else wait: the kernel does little to other interfaces in that grace period.
  void Attach(int ifindex, std::shared_future<void> first = {});
  void Detach();
  // It is attached, or about to be.
  bool attached() const;

 private:
  struct Link;

  std::shared_ptr<Link> link_;
  Background background_;
};

}  // namespace pollux
