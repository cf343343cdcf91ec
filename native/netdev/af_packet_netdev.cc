// af_packet: any Ethernet interface of the kernel (veth, a card, a bridge), through packet sockets.
// How a queue receives is in af_packet_rxq.h.
//
// Sending. Two more sockets for all threads, bound with protocol 0 so that they receive nothing;
// the kernel needs no lock of ours. sendmmsg() takes a batch straight from the packets: one system
// call, one copy (into an skb), with a virtio_net_hdr in front that says what the packet lacks. One
// socket bypasses the qdisc; the kernel does not cut GSO frames on that way if the interface
// cannot, it drops them, so those take the other. A packet that fails is dropped with the reason of
// its errno and never tried again; a call that stops there is continued behind it, so a batch costs
// at most two calls for each failing packet. Nothing waits.
//
//   Ordinary frames, which lack nothing and fit a chunk, rather go through an AF_XDP socket that
//   only transmits (xsk_sender.h): the same way below, and the kernel spends less on it. It needs
//   no XDP program, so nothing changes for the interface, its peer or what is received. Where it is
//   not open, or receivers hold too many frames, everything goes through the packet sockets. An MTU
//   that was just lowered shows there only when the listener of link changes has told us.
//
//   Tags. For a packet socket only one tag, and only of type 0x8100, does not count towards the
//   MTU. The AF_XDP socket does not count, so what a packet socket would refuse, with a checksum to
//   be completed or a batch that cannot go there as a whole, goes there by itself, completed. Where
//   there is none, it is dropped as tx_mtu_exceeded. GSO frames are measured by nobody.
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
#include <net/if.h>
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
#include "netdev/af_packet_rxq.h"
#include "netdev/ingress_drop.h"
#include "netdev/interface.h"
#include "netdev/netdev.h"
#include "netdev/packet_socket.h"
#include "netdev/virtio_header.h"
#include "netdev/xsk_sender.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 64;
constexpr std::uint32_t kTagSize = 4;
constexpr std::uint32_t kTagAt = 12;

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
    Result<Interface> interface = QueryInterface(device);
    if (!interface) return WithPort(interface.error(), device);
    std::unique_ptr<AfPacketNetdev> netdev(new AfPacketNetdev(spec, device, pool));
    for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs_) {
      if (Status status = Queue(rxq).opened(); !status) return WithPort(status.error(), device);
    }
    MtuChange mtu_change(device, interface->mtu);
    if (Status status = mtu_change.Make(spec.mtu); !status) return WithPort(status.error(), device);
    interface->mtu = mtu_change.mtu();
    for (Fd* sender : {&netdev->tx_, &netdev->gso_tx_}) {
      Result<Fd> taken = netdev->sockets_.TakeSender(sender == &netdev->tx_);
      if (!taken) return WithPort(taken.error(), device);
      *sender = std::move(*taken);
    }
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
    if (last_xsk_tx_.load(std::memory_order_relaxed)) mode += " xsk-tx";
    return mode +
           (last_ingress_drop_.load(std::memory_order_relaxed) ? " ingress-drop" : " host-stack");
  }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_.load(std::memory_order_relaxed); }
  LinkState link() const override { return link_.load(std::memory_order_relaxed); }
  int ifindex() const override { return ifindex_.load(std::memory_order_relaxed); }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  Status Rebind(int ifindex) override EXCLUDES(mutex_) {
    char name[IF_NAMESIZE];
    if (if_indextoname(static_cast<unsigned>(ifindex), name) == nullptr) {
      return WithPort(SystemError(ENODEV, "ioctl", "there is no such interface"), device_);
    }
    Result<Interface> interface = QueryInterface(name);
    if (!interface) return WithPort(interface.error(), name);
    if (Status status = Attach(*interface); !status) return WithPort(status.error(), name);
    return {};
  }

  void LinkChanged(int ifindex, LinkState state, std::uint32_t mtu) override EXCLUDES(mutex_) {
    if (ifindex != this->ifindex()) return;
    link_.store(state, std::memory_order_relaxed);
    if (mtu != 0) mtu_.store(mtu, std::memory_order_relaxed);
    MutexLock lock(mutex_);
    if (state == LinkState::kGone) ingress_drop_->Detach();  // Perhaps it lives on elsewhere.
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) Collect(Queue(rxq).TakeOld());
    if (state == LinkState::kUp) xsk_->SendLeft();
  }
  void Probe() override {
    if (link() == LinkState::kUp) xsk_->SendLeft();
    xsk_->OpenAgain();
  }

  Background::Work Close() override EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ingress_drop_->Detach();
    for (const std::unique_ptr<PacketRing>& ring : rings_) {
      ring->Stop();
      ring->Close();
    }
    xsk_->Close();
    // A function can be copied; what it closes cannot.
    const auto rest = std::make_shared<Rest>();
    rest->senders.push_back(sockets_.GiveSender(std::move(tx_), true));
    rest->senders.push_back(sockets_.GiveSender(std::move(gso_tx_), false));
    rest->rings = std::move(rings_);
    rest->xsk = std::move(xsk_);
    rest->ingress_drop = std::move(ingress_drop_);
    return [rest] { rest->Destroy(); };
  }

  Offloads tx_offloads() const override { return tx_offloads_; }

  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    DropLong(batch, result);
    if (batch.empty() || xsk_->Send(batch, result)) return;
    Messages messages;
    for (const Packet* packet : batch) messages.Add(*packet);
    // Runs of packets that take the same way.
    for (std::size_t next = 0; next < messages.size();) {
      const Way way = WayOf(messages.packet(next));
      std::size_t end = next + 1;
      while (end < messages.size() && WayOf(messages.packet(end)) == way) ++end;
      if (way == Way::kTags && SendFinished(messages, next, end, result)) {
        next = end;
        continue;
      }
      const int fd = (way == Way::kGso ? gso_tx_ : tx_).get();
      if (!SendRun(fd, messages, next, end, result)) {
        result.Drop(DropReason::kPortDown, static_cast<std::uint32_t>(messages.size() - next));
        break;
      }
    }
    batch.Clear();
  }

  std::vector<const char*> troubles() const override EXCLUDES(mutex_) {
    std::vector<const char*> troubles;
    if (link() == LinkState::kGone) return troubles;
    MutexLock lock(mutex_);
    if (!host_stack_ && !ingress_drop_->attached()) troubles.push_back("host-stack");
    if (xsk_->failed()) troubles.push_back("no-xsk-tx");
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
      parts.emplace_back([this] { senders.clear(); });
      DoTogether(std::move(parts));
      ingress_drop.reset();
    }

    std::vector<std::unique_ptr<PacketRing>> rings;
    std::vector<Fd> senders;
    std::unique_ptr<XskSender> xsk;
    std::unique_ptr<IngressDrop> ingress_drop;
  };

  // Packets as sendmmsg() wants them.
  class Messages {
   public:
    void Add(const Packet& packet) {
      const VirtioNetHeader* header = &kNothingLacks;
      if (packet.offloads != 0) {
        headers_[size_] = VirtioNetHeader::Of(packet);
        header = &headers_[size_];
      }
      parts_[size_][0] = {const_cast<VirtioNetHeader*>(header), sizeof *header};
      parts_[size_][1] = {packet.data, packet.size};
      messages_[size_] = {};
      messages_[size_].msg_hdr.msg_iov = parts_[size_].data();
      messages_[size_].msg_hdr.msg_iovlen = 2;
      packets_[size_++] = &packet;
    }
    std::size_t size() const { return size_; }
    const Packet& packet(std::size_t i) const { return *packets_[i]; }
    mmsghdr* at(std::size_t i) { return &messages_[i]; }

   private:
    std::size_t size_ = 0;
    std::array<const Packet*, kBatchSize> packets_;
    std::array<VirtioNetHeader, kBatchSize> headers_;
    std::array<std::array<iovec, 2>, kBatchSize> parts_;
    std::array<mmsghdr, kBatchSize> messages_;
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

  enum class Way : std::uint8_t { kPlain, kGso, kTags };
  Way WayOf(const Packet& packet) const {
    if (packet.is_gso()) return Way::kGso;
    const std::uint32_t longest = mtu() + kMinFrame;
    if (packet.size <= longest) [[likely]]
      return Way::kPlain;
    const bool tag = packet.data[kTagAt] == 0x81 && packet.data[kTagAt + 1] == 0;
    return packet.size <= longest + (tag ? kTagSize : 0) ? Way::kPlain : Way::kTags;
  }
  // What a packet socket refuses for its tags. Copies, since they are rare, and `messages` has no
  // packets to give away. False, and nothing done: the AF_XDP socket does not take them either.
  bool SendFinished(const Messages& messages, std::size_t next, std::size_t end,
                    SendResult& result) {
    PacketBatch finished;
    for (; next < end; ++next) {
      PacketPtr copy = pool_.Clone(messages.packet(next));
      if (copy == nullptr) return false;
      FinishChecksum(*copy);
      finished.Add(std::move(copy));
    }
    return xsk_->SendLong(finished, result);
  }

  // Sends or drops messages up to `end`, and moves `next` along. False: the interface is down, and
  // those from `next` on wait.
  static bool SendRun(int fd, Messages& messages, std::size_t& next, std::size_t end,
                      SendResult& result) {
    while (next < end) {
      const int sent =
          sendmmsg(fd, messages.at(next), static_cast<unsigned>(end - next), MSG_DONTWAIT);
      if (sent > 0) {
        const std::size_t done = next + static_cast<std::size_t>(sent);
        for (; next < done; ++next) result.Accept(messages.packet(next));
        continue;
      }
      const DropReason reason = SendErrorReason(errno);
      if (reason == DropReason::kPortDown) return false;
      result.Drop(reason);
      ++next;
    }
    return true;
  }

  AfPacketNetdev(const NetdevSpec& spec, std::string device, PacketPool& pool)
      : pool_(pool),
        sockets_(pool.Shared<PacketSockets>()),
        device_(std::move(device)),
        numa_(spec.numa ? *spec.numa : NumaOfInterface(device_)),
        host_stack_(spec.host_stack),
        tx_offloads_(KernelCutsUdp() ? kOffloadAll
                                     : static_cast<Offloads>(kOffloadAll & ~kOffloadUdp)),
        xsk_(std::make_unique<XskSender>(pool)) {
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
    const std::shared_future<void> xsk_opened = xsk_->Open(interface.index);
    for (const Fd* socket : {&tx_, &gso_tx_}) {
      if (Status status = BindSender(*socket, interface.index); !status) return status.error();
    }
    Result<std::vector<std::unique_ptr<PacketRing>>> opened =
        sockets_.OpenRings(interface.index, static_cast<std::uint32_t>(rxqs_.size()));
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
    sockets_.MakeRingAhead();
    return {};
  }

  // Closes a socket that no queue uses any more.
  void Collect(PacketRing* socket) REQUIRES(mutex_) {
    if (socket == nullptr) return;
    rx_dropped_ += socket->TakeDrops();
    std::erase_if(rings_, [=](const auto& held) { return held.get() == socket; });
  }

  PacketPool& pool_;
  PacketSockets& sockets_;
  const std::string device_;
  const std::uint32_t numa_;
  const bool host_stack_;  // What arrives is the host's, too.
  const Offloads tx_offloads_;
  Fd tx_;      // Past the qdisc.
  Fd gso_tx_;  // For GSO frames.
  std::atomic<int> ifindex_{0};
  std::atomic<std::uint32_t> mtu_{0};
  std::atomic<LinkState> link_{LinkState::kDown};
  std::vector<std::unique_ptr<Rxq>> rxqs_;
  std::unique_ptr<XskSender> xsk_;  // For ordinary frames.

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
