#include "kernel/xsk_socket.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

// Newer than the headers we may be built with.
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

namespace pollux {
namespace {

// Of a copying socket: what its frames may take of the kernel's memory until they are received.
constexpr int kSendBuffer = 16 << 20;
// Frames one call sends; without, the kernel stops after 32.
constexpr int kSendBudget = 256;
// Busy polling: microseconds (any will do, since our calls do not wait), and frames a call
// receives.
constexpr int kBusyPollUs = 20;
constexpr int kBusyPollBudget = 64;
constexpr int kOn = 1;

template <typename T>
int Set(int fd, int level, int option, const T& value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

Error SetUpError(const char* what) {
  Error error = SystemError(errno, "setsockopt", what);
  if (error.number == ENOBUFS || error.number == ENOMEM) {
    error.hint =
        "packet memory that the kernel shares is locked: raise the limit (`ulimit -l unlimited`, "
        "LimitMEMLOCK=infinity in a systemd unit), or give the process CAP_IPC_LOCK";
  }
  return error;
}

}  // namespace

Result<std::unique_ptr<XskSocket>> XskSocket::Open(const XskOptions& options) {
  const int fd = ::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    Error error = SystemError(errno, "socket", "cannot open an AF_XDP socket");
    if (error.number == EPERM || error.number == EACCES) {
      error.hint = "AF_XDP sockets need CAP_NET_RAW";
    } else if (error.number == EAFNOSUPPORT) {
      error.hint = "the kernel was built without CONFIG_XDP_SOCKETS: use type \"af_packet\"";
    }
    return error;
  }
  std::unique_ptr<XskSocket> socket(new XskSocket(fd, options.queue));
  if (Status status = socket->SetUp(options); !status) return status.error();
  return socket;
}

Status XskSocket::SetUp(const XskOptions& options) {
  if (options.shared_fd < 0) {
    xdp_umem_reg umem{};
    umem.addr = reinterpret_cast<std::uintptr_t>(options.umem.data());
    umem.len = options.umem.size();
    umem.chunk_size = options.chunk_size;
    if (Set(fd_, SOL_XDP, XDP_UMEM_REG, umem) != 0) {
      return SetUpError("cannot share packet memory with the kernel");
    }
  }
  if (Set(fd_, SOL_XDP, XDP_UMEM_FILL_RING, options.fill) != 0 ||
      Set(fd_, SOL_XDP, XDP_UMEM_COMPLETION_RING, options.completion) != 0 ||
      (options.receive > 0 && Set(fd_, SOL_XDP, XDP_RX_RING, options.receive) != 0) ||
      (options.transmit > 0 && Set(fd_, SOL_XDP, XDP_TX_RING, options.transmit) != 0)) {
    return SetUpError("cannot set up the rings of an AF_XDP socket");
  }
  if (Status status = MapRings(options); !status) return status;

  // Wishes: without them it works too, more slowly.
  if (Set(fd_, SOL_SOCKET, SO_SNDBUFFORCE, kSendBuffer) != 0) {
    Set(fd_, SOL_SOCKET, SO_SNDBUF, kSendBuffer);
  }
  Set(fd_, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, kSendBudget);
  busy_polls_ = options.busy_poll && Set(fd_, SOL_SOCKET, SO_PREFER_BUSY_POLL, kOn) == 0 &&
                Set(fd_, SOL_SOCKET, SO_BUSY_POLL, kBusyPollUs) == 0 &&
                Set(fd_, SOL_SOCKET, SO_BUSY_POLL_BUDGET, kBusyPollBudget) == 0;

  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = static_cast<std::uint32_t>(options.ifindex);
  address.sxdp_queue_id = options.queue;
  if (options.shared_fd >= 0) {
    // Everything else is as with that socket.
    address.sxdp_flags = XDP_SHARED_UMEM;
    address.sxdp_shared_umem_fd = static_cast<std::uint32_t>(options.shared_fd);
  } else {
    address.sxdp_flags =
        static_cast<std::uint16_t>((options.zero_copy ? XDP_ZEROCOPY : XDP_COPY) |
                                   XDP_USE_NEED_WAKEUP | (options.scatter_gather ? XDP_USE_SG : 0));
  }
  if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    Error error = SystemError(
        errno, "bind", "cannot bind an AF_XDP socket to queue " + std::to_string(options.queue));
    if (error.number == EBUSY) {
      error.hint =
          "another AF_XDP socket serves this queue, or one that was closed still has frames on "
          "their way";
    }
    return error;
  }
  return {};
}

Status XskSocket::MapRings(const XskOptions& options) {
  xdp_mmap_offsets offsets{};
  socklen_t size = sizeof offsets;
  if (getsockopt(fd_, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) != 0 || size != sizeof offsets) {
    return SystemError(size != sizeof offsets ? EOPNOTSUPP : errno, "getsockopt",
                       "this kernel's AF_XDP rings are of an unknown kind");
  }
  const auto map = [&](XskRingMemory& ring, const xdp_ring_offset& at, std::uint32_t entries,
                       std::size_t entry_size, std::uint64_t where) {
    ring.mapped = at.desc + entries * entry_size;
    void* mapping = mmap(nullptr, ring.mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                         fd_, static_cast<off_t>(where));
    if (mapping == MAP_FAILED) return false;
    madvise(mapping, ring.mapped, MADV_DONTFORK);  // A child would keep the socket alive.
    ring.mapping = static_cast<std::uint8_t*>(mapping);
    ring.producer = reinterpret_cast<std::uint32_t*>(ring.mapping + at.producer);
    ring.consumer = reinterpret_cast<std::uint32_t*>(ring.mapping + at.consumer);
    ring.flags = reinterpret_cast<std::uint32_t*>(ring.mapping + at.flags);
    ring.entries = ring.mapping + at.desc;
    ring.size = entries;
    return true;
  };
  if (!map(rings_[0], offsets.fr, options.fill, sizeof(std::uint64_t), XDP_UMEM_PGOFF_FILL_RING) ||
      !map(rings_[1], offsets.cr, options.completion, sizeof(std::uint64_t),
           XDP_UMEM_PGOFF_COMPLETION_RING) ||
      (options.receive > 0 &&
       !map(rings_[2], offsets.rx, options.receive, sizeof(xdp_desc), XDP_PGOFF_RX_RING)) ||
      (options.transmit > 0 &&
       !map(rings_[3], offsets.tx, options.transmit, sizeof(xdp_desc), XDP_PGOFF_TX_RING))) {
    return SystemError(errno, "mmap", "cannot map the rings of an AF_XDP socket");
  }
  fill.Attach(rings_[0]);
  completion.Attach(rings_[1]);
  if (options.receive > 0) receive.Attach(rings_[2]);
  if (options.transmit > 0) transmit.Attach(rings_[3]);
  return {};
}

// The mappings hold the socket too, so they go first.
XskSocket::~XskSocket() {
  for (const XskRingMemory& ring : rings_) {
    if (ring.mapping != nullptr) munmap(ring.mapping, ring.mapped);
  }
  CloseDescriptor();
}

void XskSocket::CloseDescriptor() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

int XskSocket::Kick() const {
  return sendto(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0 ? 0 : errno;
}

int XskSocket::WakeReceive() const {
  return recvfrom(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr) >= 0 ? 0 : errno;
}

XskStatistics XskSocket::statistics() const {
  xdp_statistics counts{};
  socklen_t size = sizeof counts;
  XskStatistics statistics;
  if (getsockopt(fd_, SOL_XDP, XDP_STATISTICS, &counts, &size) != 0) return statistics;
  // A frame for which there was no chunk is in rx_dropped.
  statistics.rx_dropped = counts.rx_dropped + counts.rx_ring_full;
  statistics.rx_invalid = counts.rx_invalid_descs;
  statistics.tx_invalid = counts.tx_invalid_descs;
  return statistics;
}

}  // namespace pollux
