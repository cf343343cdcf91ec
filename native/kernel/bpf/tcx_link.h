// TcxLink: a program that decides on what comes in at an interface, between its packet sockets and
// the host's network stack (tcx, Linux 6.6).
//
// It is held by a bpf_link: when the descriptor closes, kill -9 included, it is gone. Nothing else
// that leaves no traces is on offer: a clsact qdisc would stay behind.
//
// To attach and to detach takes effect at once, but the kernel returns only a grace period later
// (5 ms): threads of our own wait for it.
#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <span>

#include "base/background.h"

namespace pollux {

// What such a program returns.
inline constexpr std::int32_t kTcxDrop = 2;
inline constexpr std::int32_t kTcxNext = -1;  // As if the program were not there.

class TcxLink {
 public:
  TcxLink() = default;
  // Waits until nothing is left in the kernel.
  ~TcxLink() { Detach(); }
  TcxLink(const TcxLink&) = delete;
  TcxLink& operator=(const TcxLink&) = delete;

  // From a moment after `first` on the program runs, behind those of others, unless the kernel
  // cannot, or we may not (CAP_BPF and CAP_NET_ADMIN). `first` is for what would else wait: the
  // kernel does little to other interfaces in that grace period. In the network namespace of the
  // calling thread.
  void Attach(int ifindex, std::span<const bpf_insn> code, std::shared_future<void> first = {});
  void Detach();
  // It is attached, or about to be.
  bool attached() const;
  // It runs. Any thread.
  bool runs() const { return runs_->load(std::memory_order_acquire); }

 private:
  struct Link;

  const std::shared_ptr<std::atomic<bool>> runs_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<Link> link_;
  Background background_;
};

}  // namespace pollux
