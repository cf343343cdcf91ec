// tap: an interface of the kernel whose other end is us; the host's way into the datapath.
//
// Opening /dev/net/tun and naming an interface creates it; it is not persistent, so it goes when
// the last descriptor closes, kill -9 included. A frame costs one system call each way, read or
// write: why a tap is not polled by PMD threads by default. Several queues (IFF_MULTI_QUEUE) are
// several descriptors; the kernel spreads flows over them, and remembers on which queue we last
// wrote a flow to send its answers there.
//
// A virtio header goes in front of each frame, both ways (IFF_VNET_HDR), and the interface offers
// its host what it can say (TUNSETOFFLOAD): partial checksums, TCP of up to 64 KiB, UDP since
// Linux 6.2, and since 6.17 both of them inside of a tunnel by UDP, for which the header is longer.
// See packet/offload.h.
//
// Receiving reads into a large packet; a small frame is copied out of it, which costs less than to
// hand the kernel several buffers. Sending writes from the packet, the header into its headroom, to
// the descriptor of sender modulo queues; the kernel needs no lock of ours.
//
// Down: reads say EAGAIN, writes EIO. Deleted (`ip link del`): both say EBADFD, for ever, and the
// descriptor is always readable; the queue then leaves its epoll descriptor, so that nobody wakes
// for it. Rebind() opens anew and puts the new file in place of the old under the same number
// (dup3), which is safe against threads that read and write meanwhile. Moved to another network
// namespace, the interface takes our descriptors along: the host behind it lives there now.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/counter.h"
#include "base/epoll.h"
#include "base/fd.h"
#include "base/sync.h"
#include "netdev/netdev.h"
#include "netdev/tun_file.h"
#include "netdev/virtio_header.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 64;

constexpr std::uint32_t kMaxHeader = sizeof(VirtioTunnelHeader);

void Name(ifreq& request, const std::string& device) {
  std::memset(&request, 0, sizeof request);
  std::memcpy(request.ifr_name, device.data(), std::min<std::size_t>(device.size(), IFNAMSIZ - 1));
}

class TapRxq final : public Rxq {
 public:
  TapRxq(PacketPool& pool, Fd fd, std::uint32_t header_size)
      : pool_(pool), fd_(std::move(fd)), header_size_(header_size) {}
  Status Open() {
    if (Status status = epoll_.opened(); !status) return status;
    return epoll_.Watch(fd_.get());
  }

  int fd() const { return fd_.get(); }

  // Control side: go on with another file.
  Status Replace(const Fd& fd) {
    epoll_.Unwatch(fd_.get());  // Unless the reader did so.
    if (dup3(fd.get(), fd_.get(), O_CLOEXEC) < 0)
      return SystemError(errno, "dup3", "cannot exchange the tap's file");
    return epoll_.Watch(fd_.get());
  }

  void Recv(PacketBatch& batch) override {
    // Should somebody have to cut them all.
    for (std::uint32_t segments = 0; !batch.full() && segments < kMaxSegments;) {
      if (large_ == nullptr) large_ = pool_.Allocate(kMaxFrame);
      if (large_ == nullptr) return;  // The frame waits in the kernel's queue.
      const ssize_t n =
          read(fd_.get(), large_->data - header_size_, header_size_ + std::size_t{kMaxFrame} + 1);
      if (n <= header_size_) {
        if (n < 0 && errno == EBADFD) Unwatch();
        return;
      }
      PacketPtr packet = Take(static_cast<std::uint32_t>(n) - header_size_);
      segments += packet != nullptr ? OnWire(*packet).packets : 1;
      if (packet != nullptr) batch.Add(std::move(packet));
    }
  }

  int wait_fd() const override { return epoll_.fd(); }

  std::uint64_t rx_dropped() const { return rx_dropped_.Get(); }
  const RxErrors& rx_errors() const { return rx_errors_; }

 private:
  // What was read into the large packet: itself, or a copy if it is small.
  PacketPtr Take(std::uint32_t size) {
    VirtioNetHeader header;
    std::memcpy(&header, large_->data - header_size_, sizeof header);
    PacketPtr packet;
    if (size + PacketPool::kMaxHeadroom <= PacketPool::kSmallChunk) {
      packet = pool_.Copy({large_->data, size});
      if (packet == nullptr) {
        rx_dropped_.Add(1);
        return nullptr;
      }
    } else {
      packet = std::move(large_);
      packet->size = size;
    }
    const bool too_long = size > kMaxFrame;
    if (too_long || !AcceptOffloads(*packet, header.Read())) {
      rx_errors_.Add(too_long ? RxError::kTooLong : RefusalOf(header.Read()));
      return nullptr;
    }
    return packet;
  }

  // The interface is gone. Should Replace() come in between, the new file is looked at and found
  // alive.
  void Unwatch() {
    epoll_.Unwatch(fd_.get());
    ifreq request{};
    if (ioctl(fd_.get(), TUNGETIFF, &request) == 0) (void)epoll_.Watch(fd_.get()).ok();
  }

  PacketPool& pool_;
  const Fd fd_;
  const std::uint32_t header_size_;  // What else the long one says we look up in the frame.
  Epoll epoll_;
  PacketPtr large_;  // For the next frame that needs it.
  Counter rx_dropped_;
  RxErrors rx_errors_;
};

class TapNetdev final : public Netdev {
 public:
  static Result<std::unique_ptr<Netdev>> Open(const NetdevSpec& spec, PacketPool& pool) {
    const std::string& device = spec.device.empty() ? spec.name : spec.device;
    if (device.empty() || device.size() >= IFNAMSIZ ||
        device.find_first_of("/%: \t\n") != std::string::npos) {
      return Invalid(
          "\"" + device + "\" is no interface name: 1 to 15 characters, without / : % or space",
          "give a shorter name as `device`");
    }
    if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
      return Invalid("a tap has 1 to " + std::to_string(kMaxQueues) + " receive queues");
    }
    std::unique_ptr<TapNetdev> netdev(new TapNetdev(spec, device));
    for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
      Result<Fd> fd = OpenTun(device, spec.rxqs > 1);
      if (!fd) return fd.error();
      netdev->tx_offloads_ = OfferOffloads(*fd);
      auto rxq = std::make_unique<TapRxq>(pool, std::move(*fd), netdev->header_size());
      if (Status status = rxq->Open(); !status) return status.error();
      netdev->rxqs_.push_back(std::move(rxq));
    }
    if (Status status = netdev->BringUp(); !status) return status.error();
    return std::unique_ptr<Netdev>(std::move(netdev));
  }

  std::string mode() const override { return mode_; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_.load(std::memory_order_relaxed); }
  LinkState link() const override { return link_.load(std::memory_order_relaxed); }
  int ifindex() const override { return ifindex_.load(std::memory_order_relaxed); }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  // Somebody made an interface of our name: a tap that we can join, or else an error. Or it is our
  // own, which was in another namespace.
  Status Rebind(int ifindex) override {
    if (ifindex == this->ifindex() && Attached()) return BringUp();
    std::vector<Fd> fds;
    for (std::size_t i = 0; i < rxqs_.size(); ++i) {
      Result<Fd> fd = OpenTun(device_, rxqs_.size() > 1);
      if (!fd) return fd.error();
      OfferOffloads(*fd);
      fds.push_back(std::move(*fd));
    }
    for (std::size_t i = 0; i < rxqs_.size(); ++i) {
      if (Status status = Queue(i).Replace(fds[i]); !status) return status;
    }
    return BringUp();
  }

  bool Follow(int ifindex) override {
    if (!Attached()) return false;
    ifindex_.store(ifindex, std::memory_order_relaxed);
    link_.store(LinkState::kDown, std::memory_order_relaxed);
    return true;
  }

  void LinkChanged(int ifindex, LinkState state, std::uint32_t mtu) override {
    if (ifindex != this->ifindex()) return;
    link_.store(state, std::memory_order_relaxed);
    if (mtu != 0) mtu_.store(mtu, std::memory_order_relaxed);
  }

  Offloads tx_offloads() const override { return tx_offloads_; }

  void Send(std::uint32_t sender, PacketBatch& batch, SendResult& result) override {
    const int fd = Queue(sender % rxqs_.size()).fd();
    const std::uint32_t mtu = this->mtu();
    std::uint32_t left = static_cast<std::uint32_t>(batch.size());
    for (const Packet* packet : batch) {
      if (!FitsMtu(*packet, mtu)) {
        result.Drop(DropReason::kMtu);
      } else if (Write(fd, *packet)) {
        result.Accept(*packet);
      } else {
        const DropReason reason = SendErrorReason(errno);
        if (reason == DropReason::kPortDown) {
          result.Drop(reason, left);
          break;
        }
        result.Drop(reason);
      }
      --left;
    }
    batch.Clear();
  }

  NetdevStats stats() const override {
    NetdevStats stats;
    for (std::size_t i = 0; i < rxqs_.size(); ++i) {
      stats.rx_dropped += Queue(i).rx_dropped();
      Queue(i).rx_errors().AddTo(stats);
    }
    return stats;
  }

 private:
  TapNetdev(const NetdevSpec& spec, std::string device)
      : device_(std::move(device)), numa_(spec.numa.value_or(0)), wanted_mtu_(spec.mtu) {}

  std::uint32_t header_size() const {
    return (tx_offloads_ & kOffloadUdpTunnel) != 0 ? kMaxHeader : sizeof(VirtioNetHeader);
  }

  bool Write(int fd, const Packet& packet) const {
    VirtioTunnelHeader header{};
    if (packet.offloads != 0) header = VirtioTunnelHeader::Of(packet);
    const std::uint32_t size = header_size();
    if (packet.headroom() < size) [[unlikely]] {
      const iovec parts[2] = {{&header, size}, {packet.data, packet.size}};
      return writev(fd, parts, 2) >= 0;
    }
    std::memcpy(packet.data - size, &header, size);
    return write(fd, packet.data - size, size + packet.size) >= 0;
  }

  // Whether our files are still those of an interface.
  bool Attached() const {
    ifreq request{};
    return ioctl(Queue(0).fd(), TUNGETIFF, &request) == 0;
  }
  TapRxq& Queue(std::size_t i) const { return static_cast<TapRxq&>(*rxqs_[i]); }

  Status BringUp() {
    const Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) return SystemError(errno, "socket", "cannot configure " + device_);
    ifreq request;
    Name(request, device_);
    if (wanted_mtu_ != 0) {
      request.ifr_mtu = static_cast<int>(wanted_mtu_);
      if (ioctl(fd.get(), SIOCSIFMTU, &request) != 0) {
        Error error = SystemError(errno, "ioctl", "cannot set the MTU of " + device_);
        error.hint = "a tap's MTU is 68 to 65521";
        return error;
      }
    }
    if (ioctl(fd.get(), SIOCGIFMTU, &request) != 0) {
      return SystemError(errno, "ioctl", "cannot read the MTU of " + device_);
    }
    mtu_.store(static_cast<std::uint32_t>(request.ifr_mtu), std::memory_order_relaxed);
    if (ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0) {
      return SystemError(errno, "ioctl", "cannot read the flags of " + device_);
    }
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) {
      return SystemError(errno, "ioctl", "cannot bring up " + device_);
    }
    if (ioctl(fd.get(), SIOCGIFINDEX, &request) != 0) {
      return SystemError(errno, "ioctl", "cannot find " + device_);
    }
    ifindex_.store(request.ifr_ifindex, std::memory_order_relaxed);
    link_.store(LinkState::kUp, std::memory_order_relaxed);
    return {};
  }

  const std::string mode_ = "tap vnet-hdr";
  const std::string device_;
  const std::uint32_t numa_;
  const std::uint32_t wanted_mtu_;
  std::atomic<int> ifindex_{0};
  std::atomic<std::uint32_t> mtu_{0};
  std::atomic<LinkState> link_{LinkState::kDown};
  Offloads tx_offloads_ = 0;
  std::vector<std::unique_ptr<Rxq>> rxqs_;
};

}  // namespace

Result<std::unique_ptr<Netdev>> OpenTapNetdev(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = TapNetdev::Open(spec, pool);
  if (!netdev) netdev.error().port = spec.name;
  return netdev;
}

}  // namespace pollux
