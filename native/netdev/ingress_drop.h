// Ends the second life of packets. What a packet socket receives goes on into the host's own
// network stack, which routes it, answers it, or at least spends its time on throwing it away.
// Packet sockets see frames before the traffic control hook of ingress does, so a program there
// that drops everything takes nothing from us.
//
// The program is two instructions, held by a bpf_link (tcx, Linux 6.6): when the descriptor closes,
// kill -9 included, it is gone. Nothing else that leaves no traces is on offer: a clsact qdisc
// would stay behind.
#pragma once

#include <utility>

namespace pollux {

class IngressDrop {
 public:
  IngressDrop() = default;
  ~IngressDrop() { Detach(); }
  IngressDrop(IngressDrop&& other) noexcept : link_(std::exchange(other.link_, -1)) {}
  IngressDrop& operator=(IngressDrop&& other) noexcept {
    std::swap(link_, other.link_);
    return *this;
  }

  // From now on nothing that arrives at the interface gets further than its packet sockets. False:
  // the kernel cannot, or we may not (CAP_BPF and CAP_NET_ADMIN).
  bool Attach(int ifindex);
  void Detach();
  bool attached() const { return link_ >= 0; }

 private:
  int link_ = -1;
};

}  // namespace pollux
