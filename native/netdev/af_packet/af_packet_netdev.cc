// af_packet: any Ethernet interface of the kernel (veth, a card, a bridge), through packet sockets.
// How a queue receives is in af_packet_rxq.h.
//
// Sending. Ordinary frames, which lack nothing and fit a chunk, go through an AF_XDP socket that
// only transmits (xsk_sender.h): the way of packet sockets, and the kernel spends less on it. It
// needs no XDP program, so nothing changes for the interface, its peer or what is received. Where
// it is not open, or receivers hold too many frames, and for all other frames, there are packet
// sockets (packet_sender.h). An MTU that was just lowered shows there only when the listener of
// link changes has told us.
//
// The interface's life. Down and up: the kernel keeps the socket bound. Deleted: sockets are dead
// for ever, silently. Rebind() opens new ones for the interface of the same name, as open does, and
// hands each queue its own: the queue's thread takes it over when its old ring is empty. The old
// socket is closed later by a control thread, since closing waits for an RCU grace period of the
// kernel.
//
// Open and Close() do at once what must be done, and leave to threads what the kernel takes its
// time for: a ring for the next port, the AF_XDP socket, the program of the ingress, and all
// memory (packet_socket.h).
//
// What holds the interface is our descriptors alone: promiscuity by membership, no flag; kill -9
// leaves nothing behind.
//
// Frames go no further into the host's own stack (ingress_drop.h), unless they shall.
#include <linux/if_ether.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "base/background.h"
#include "base/fd.h"
#include "base/sync.h"
#include "kernel/bpf/ingress_drop.h"
#include "kernel/interface.h"
#include "kernel/interface_claim.h"
#include "kernel/packet_socket.h"
#include "kernel/rtnetlink.h"
#include "netdev/af_packet/af_packet_rxq.h"
#include "netdev/af_packet/packet_sender.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_sender.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 64;

// Since Linux 6.2 the header can speak of UDP that is to be cut.
bool KernelCutsUdp() {
  utsname name{};
  unsigned major = 0;
  unsigned minor = 0;
  return uname(&name) == 0 && std::sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 2));
}

Error WithPort(Error error, const std::string& device) {
  error.message = device + ": " + error.message;
  return error;
}

class AfPacketNetdev final : public Netdev {
 public:
  static Result<std::unique_ptr<Netdev>> Open(const NetdevSpec& spec, PacketPool& pool) {
    const std::string& device = spec.device.empty() ? spec.name : spec.device;
    if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
      return Invalid("an af_packet port has 1 to " + std::to_string(kMaxQueues) +
                     " receive queues");
    }
    if (Status status = PacketSender::Check(spec); !status) return status.error();
    Result<Interface> interface = QueryInterface(device);
    if (!interface) return WithPort(interface.error(), device);
    std::unique_ptr<AfPacketNetdev> netdev(new AfPacketNetdev(spec, device, pool));
    for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs_) {
      if (Status status = Queue(rxq).opened(); !status) return WithPort(status.error(), device);
    }
    MtuChange mtu_change(interface->name, interface->mtu);
    if (Status status = mtu_change.Make(spec.mtu); !status) return WithPort(status.error(), device);
    interface->mtu = mtu_change.mtu();
    if (Status status = netdev->Attach(*interface); !status)
      return WithPort(status.error(), device);
    mtu_change.Keep();
    return std::unique_ptr<Netdev>(std::move(netdev));
  }

  std::string mode() const override EXCLUDES(mutex_) {
    // While the interface is opened or closed, what was last so will do.
    if (mutex_.TryLock()) {
      last_xsk_tx_.store(xsk_->is_open(), std::memory_order_relaxed);
      last_ingress_drop_.store(ingress_drop_->attached(), std::memory_order_relaxed);
      mutex_.Unlock();
    }
    std::string mode = "tpacket-v2 vnet-hdr";
    if (!sender_.through() && last_xsk_tx_.load(std::memory_order_relaxed)) mode += " xsk-tx";
    return mode + sender_.mode() +
           (last_ingress_drop_.load(std::memory_order_relaxed) ? " ingress-drop" : " host-stack");
  }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_.load(std::memory_order_relaxed); }
  LinkState link() const override { return link_.load(std::memory_order_relaxed); }
  int ifindex() const override { return ifindex_.load(std::memory_order_relaxed); }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  Status Rebind(int ifindex) override EXCLUDES(mutex_) {
    Result<Interface> interface = QueryInterface(ifindex);
    if (!interface) return WithPort(interface.error(), device_);
    if (Status status = Attach(*interface); !status)
      return WithPort(status.error(), interface->name);
    return {};
  }

  void LinkChanged(int ifindex, LinkState state, std::uint32_t mtu) override EXCLUDES(mutex_) {
    if (ifindex != this->ifindex()) return;
    link_.store(state, std::memory_order_relaxed);
    if (mtu != 0) mtu_.store(mtu, std::memory_order_relaxed);
    MutexLock lock(mutex_);
    if (state == LinkState::kGone) {  // Perhaps it lives on elsewhere.
      ingress_drop_->Detach();
      sender_.Unbind();
      claim_.Release();
    }
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) Collect(Queue(rxq).TakeOld());
    if (state == LinkState::kUp) xsk_->SendLeft();
  }
  bool sends_through_host() const override { return sender_.through(); }
  void QdiscChanged(std::optional<bool> acts) override EXCLUDES(mutex_) {
    sender_.QdiscChanged(acts);
    MutexLock lock(mutex_);
    // Not needed until now.
    if (!sender_.through() && link() != LinkState::kGone && !xsk_->was_opened())
      xsk_->Open(ifindex());
  }
  void Probe() override {
    if (link() == LinkState::kUp) xsk_->SendLeft();
    xsk_->OpenAgain();
    if (claim_.shared()) claim_.TakeName();
    if (sender_.asks_again()) QdiscChanged(HasActingQdisc(ifindex()));
    if (link() != LinkState::kGone) sender_.Probe(ifindex());
  }

  Background::Work Close() override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    claim_.Release();
    ingress_drop_->Detach();
    for (const std::unique_ptr<PacketRing>& ring : rings_) {
      ring->Stop();
      ring->Close();
    }
    xsk_->Close();
    // A function can be copied; what it closes cannot.
    const auto rest = std::make_shared<Rest>();
    rest->sender = sender_.Close();
    rest->rings = std::move(rings_);
    rest->xsk = std::move(xsk_);
    rest->ingress_drop = std::move(ingress_drop_);
    return [rest] { rest->Destroy(); };
  }

  Offloads tx_offloads() const override { return sender_.cuts() ? kOffloadChecksum : tx_offloads_; }
  bool TakesTunnel() const override { return sender_.TakesTunnel(); }

  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    DropLong(batch, result);
    if (batch.empty() || (!sender_.through() && xsk_->Send(batch, result))) return;
    sender_.Send(batch, mtu(), xsk_.get(), result);
    batch.Clear();
  }

  std::vector<const char*> troubles() const override EXCLUDES(mutex_) {
    std::vector<const char*> troubles;
    if (link() == LinkState::kGone) return troubles;
    MutexLock lock(mutex_);
    if (!host_stack_ && !ingress_drop_->attached()) troubles.push_back("host-stack");
    if (claim_.shared()) troubles.push_back("shared");
    if (promiscuous_ && !takes_all_) troubles.push_back("macvlan");
    if (!sender_.through() && xsk_->failed()) troubles.push_back("no-xsk-tx");
    return troubles;
  }

  NetdevStats stats() const override EXCLUDES(mutex_) {
    NetdevStats stats;
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) Queue(rxq).rx_errors().AddTo(stats);
    if (mutex_.TryLock()) {
      for (const std::unique_ptr<PacketRing>& socket : rings_) rx_dropped_ += socket->TakeDrops();
      last_rx_dropped_.Set(rx_dropped_);
      mutex_.Unlock();
    }
    stats.rx_dropped = last_rx_dropped_.Get();
    return stats;
  }

 private:
  // What the kernel takes its time for.
  struct Rest {
    void Destroy() {
      std::vector<Background::Work> parts;
      for (std::unique_ptr<PacketRing>& ring : rings) parts.emplace_back([&ring] { ring.reset(); });
      parts.emplace_back([this] { xsk.reset(); });
      parts.emplace_back([this] { sender.sockets.clear(); });
      parts.emplace_back([this] { sender.tunnel_gso.reset(); });
      DoTogether(std::move(parts));
      ingress_drop.reset();
    }

    std::vector<std::unique_ptr<PacketRing>> rings;
    PacketSender::Rest sender;
    std::unique_ptr<XskSender> xsk;
    std::unique_ptr<IngressDrop> ingress_drop;
  };

  void DropLong(PacketBatch& batch, SendResult& result) const {
    const std::uint32_t mtu = this->mtu();
    const auto fits = [mtu](const Packet* packet) { return FitsMtu(*packet, mtu); };
    if (std::all_of(batch.begin(), batch.end(), fits)) [[likely]]
      return;
    PacketBatch rest;
    PacketBatch lost;
    for (Packet* packet : batch) (fits(packet) ? rest : lost).AddRaw(packet);
    batch.Release();
    batch = std::move(rest);
    result.Drop(DropReason::kMtu, static_cast<std::uint32_t>(lost.size()));
  }

  AfPacketNetdev(const NetdevSpec& spec, std::string device, PacketPool& pool)
      : sockets_(pool.Shared<PacketSockets>()),
        device_(std::move(device)),
        numa_(spec.numa ? *spec.numa : NumaOfInterface(device_)),
        host_stack_(spec.host_stack),
        promiscuous_(spec.promiscuous),
        elsewhere_(!spec.netns.empty()),
        tx_offloads_(KernelCutsUdp() ? kOffloadAll
                                     : static_cast<Offloads>(kOffloadAll & ~kOffloadUdp)),
        sender_(spec, true, pool),
        xsk_(std::make_unique<XskSender>(pool)),
        claim_(spec.name) {
    for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
      rxqs_.push_back(std::make_unique<AfPacketRxq>(pool));
    }
  }

  static AfPacketRxq& Queue(const std::unique_ptr<Rxq>& rxq) {
    return static_cast<AfPacketRxq&>(*rxq);
  }

  // Opens sockets for the interface and hands them out, in place of those there are.
  Status Attach(const Interface& interface) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (Status status = claim_.Take(interface.index); !status) return status;
    if (Status status = sender_.Bind(interface.index); !status) return status;
    std::shared_future<void> xsk_opened;
    // What was open is bound to the old interface, and would be used again when the qdisc goes.
    if (!sender_.through() || xsk_->was_opened()) xsk_opened = xsk_->Open(interface.index);
    if (Result<LinkDetails> link = DescribeLink(interface.index); link)
      takes_all_ = link->takes_all;
    Result<std::vector<std::unique_ptr<PacketRing>>> opened =
        sockets_.OpenRings(interface.index, static_cast<std::uint32_t>(rxqs_.size()), promiscuous_);
    if (!opened) return opened.error();
    for (std::size_t i = 0; i < rxqs_.size(); ++i) {
      if (Status status = Queue(rxqs_[i]).Watch(*(*opened)[i]); !status) return status;
    }
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) {
      for (PacketRing* socket : Queue(rxq).TakeBack()) Collect(socket);
    }
    for (const std::unique_ptr<PacketRing>& socket : rings_) {
      // Still read by its queue's thread, until its ring is empty.
      socket->Stop();
      for (const std::unique_ptr<Rxq>& rxq : rxqs_) Queue(rxq).Forget(*socket);
    }
    for (std::size_t i = 0; i < rxqs_.size(); ++i) {
      (*opened)[i]->Start();
      Queue(rxqs_[i]).Give((*opened)[i].get());
      rings_.push_back(std::move((*opened)[i]));
    }
    ifindex_.store(interface.index, std::memory_order_relaxed);
    mtu_.store(interface.mtu, std::memory_order_relaxed);
    link_.store(interface.link(), std::memory_order_relaxed);
    if (!host_stack_) ingress_drop_->Attach(interface.index, xsk_opened);
    if (!elsewhere_) sockets_.MakeRingAhead();
    return {};
  }

  // Closes a socket that no queue uses any more.
  void Collect(PacketRing* socket) REQUIRES(mutex_) {
    if (socket == nullptr) return;
    rx_dropped_ += socket->TakeDrops();
    std::erase_if(rings_, [=](const auto& held) { return held.get() == socket; });
  }

  PacketSockets& sockets_;
  const std::string device_;
  const std::uint32_t numa_;
  const bool host_stack_;  // What arrives is the host's, too.
  const bool promiscuous_;
  const bool elsewhere_;        // In another network namespace than the next port.
  const Offloads tx_offloads_;  // Where nothing hinders it.
  PacketSender sender_;
  std::atomic<int> ifindex_{0};
  std::atomic<std::uint32_t> mtu_{0};
  std::atomic<LinkState> link_{LinkState::kDown};
  std::vector<std::unique_ptr<Rxq>> rxqs_;
  std::unique_ptr<XskSender> xsk_;  // For ordinary frames.
  // The control thread's.
  InterfaceClaim claim_;
  bool takes_all_ = true;  // Frames for foreign addresses come in.

  mutable Mutex mutex_;
  std::vector<std::unique_ptr<PacketRing>> rings_ GUARDED_BY(mutex_);  // In use, or to be closed.
  std::unique_ptr<IngressDrop> ingress_drop_ GUARDED_BY(mutex_) = std::make_unique<IngressDrop>();
  mutable std::uint64_t rx_dropped_ GUARDED_BY(mutex_) = 0;
  // As last looked at, under the mutex.
  mutable std::atomic<bool> last_xsk_tx_{false};
  mutable std::atomic<bool> last_ingress_drop_{false};
  mutable Counter last_rx_dropped_;
};

}  // namespace

Result<std::unique_ptr<Netdev>> OpenAfPacketNetdev(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = AfPacketNetdev::Open(spec, pool);
  if (!netdev) netdev.error().port = spec.name;
  return netdev;
}

}  // namespace pollux
