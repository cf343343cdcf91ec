// PacketSender: the way out of an interface through packet sockets.
//
// Two sockets for all threads, bound with protocol 0 so that they receive nothing; the kernel needs
// no lock of ours. sendmmsg() takes a batch straight from the packets: one system call, one copy
// (into an skb), with a virtio_net_hdr in front that says what the packet lacks. A packet that
// fails is dropped with the reason of its errno and never tried again; a call that stops there is
// continued behind it, so a batch costs at most two calls for each failing packet. Nothing waits.
//
// Past the qdisc, or through it. What goes past it is faster, and on most interfaces of a virtual
// machine's or a container's there is none to speak of; the kernel does not cut GSO frames on that
// way if the interface cannot, it drops them, so those go through. But where somebody has put a
// qdisc there that decides when frames leave (HasActingQdisc()), both ways at a time would shape
// half of a flow and let the other half overtake it. So then there is one way for all: through it,
// or, asked to bypass it, past it, with GSO frames cut by us. The same way through shows frames to
// the host's taps (tcpdump), which see nothing of what goes past: `visible` asks for it.
//
// GSO frames of tunnels by UDP go whole, where that is possible, from about a second after the
// first of them came (tunnel_gso.h); before, and elsewhere, they come as datagrams of UDP.
//
// Tags. For a packet socket only one tag, and only of type 0x8100, does not count towards the MTU.
// AF_XDP sockets do not count, so what a packet socket would refuse, with a checksum to be
// completed or a batch that cannot go there as a whole, goes there by itself, completed. Where
// there is none, or where all go through the qdisc, it is dropped as tx_mtu_exceeded. GSO frames
// are measured by nobody.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "kernel/packet_socket.h"
#include "netdev/af_packet/tunnel_gso.h"
#include "netdev/netdev.h"

namespace pollux {

class XskSender;

class PacketSender {
 public:
  // `goes_past`: whether frames may go past the qdisc here; else there is another way for that.
  PacketSender(const NetdevSpec& spec, bool goes_past, PacketPool& pool);
  // EINVAL: a spec that asks for both ways.
  static Status Check(const NetdevSpec& spec);

  // --- Control.

  // Opens sockets at the first time. Looks at what qdisc there is, too.
  Status Bind(int ifindex);
  // Nothing: it is not known, and stays as it was until somebody asks again.
  void QdiscChanged(std::optional<bool> acts) {
    if (acts) acts_.store(*acts, std::memory_order_relaxed);
    asks_again_ = !acts;
  }
  bool asks_again() const { return asks_again_; }
  // A look, now and then, at what is to be done since.
  void Probe(int ifindex);
  // The interface is no more.
  void Unbind() { tunnel_gso_->Stop(); }
  // The last. What comes back is to be destroyed, which waits for the kernel.
  struct Rest {
    std::vector<Fd> sockets;
    std::unique_ptr<TunnelGso> tunnel_gso;
  };
  Rest Close();

  // --- Any thread.

  // All frames shall go through the qdisc, and so through Send().
  bool through() const { return visible_ || (acts() && !bypass_); }
  // GSO frames shall not come.
  bool cuts() const { return acts() && bypass_; }
  // See Netdev.
  bool TakesTunnel() const {
    // Written once: forwarding threads share the line.
    if (!saw_tunnel_.load(std::memory_order_relaxed))
      saw_tunnel_.store(true, std::memory_order_relaxed);
    return tunnel_gso_->runs() && !cuts();
  }
  // Words for Netdev::mode(), each behind a space.
  std::string mode() const;
  // `xsk`: for what a packet socket refuses for its tags, or nullptr. The batch stays as it is.
  void Send(const PacketBatch& batch, std::uint32_t mtu, XskSender* xsk, SendResult& result);

 private:
  enum class Way : std::uint8_t { kPast, kThrough, kTags, kTunnel };
  class Messages;

  bool acts() const { return acts_.load(std::memory_order_relaxed); }
  Way WayOf(const Packet& packet, std::uint32_t mtu, bool through) const;
  void SendTunnel(const Packet& packet, SendResult& result) const;
  bool SendFinished(const Messages& messages, std::size_t next, std::size_t end, XskSender& xsk,
                    SendResult& result);
  static bool SendRun(int fd, Messages& messages, std::size_t& next, std::size_t end,
                      SendResult& result);

  PacketPool& pool_;
  PacketSockets& sockets_;
  const bool visible_;
  const bool bypass_;
  const bool goes_past_;
  const bool elsewhere_;  // In another network namespace than the next port.
  Fd past_;
  Fd through_;
  // Control's, but for what any thread may call.
  std::unique_ptr<TunnelGso> tunnel_gso_ = std::make_unique<TunnelGso>();
  mutable std::atomic<bool> saw_tunnel_{false};  // A frame that this would be for.
  bool asks_again_ = false;                      // The control thread's.
  std::atomic<bool> acts_{false};                // There is a qdisc that decides when frames leave.
};

}  // namespace pollux
