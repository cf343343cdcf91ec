// Keeps received frames out of the host's own network stack.
//
// What a packet socket receives goes on into the stack, which routes it, answers it, or at least
// spends its time on throwing it away. Packet sockets see frames before programs at the ingress do
// (tcx_link.h), so one that drops everything takes nothing from us.
#pragma once

#include <utility>

#include "kernel/bpf/bpf_assembler.h"
#include "kernel/bpf/tcx_link.h"

namespace pollux {

class IngressDrop {
 public:
  // See TcxLink.
  void Attach(int ifindex, std::shared_future<void> first = {}) {
    BpfAssembler assembler;
    assembler.Return(kTcxDrop);
    link_.Attach(ifindex, assembler.code(), std::move(first));
  }
  void Detach() { link_.Detach(); }
  bool attached() const { return link_.attached(); }

 private:
  TcxLink link_;
};

}  // namespace pollux
