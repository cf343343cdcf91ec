// XskSocket: one AF_XDP socket and its four rings, over the kernel's own interface (if_xdp.h).
//
// A umem is a range of memory, cut into chunks, that the kernel reads and writes. We give it empty
// chunks in the fill ring and get them back, with frames, in the receive ring; we give it frames in
// the transmit ring and get their chunks back in the completion ring. A socket belongs to one queue
// of one interface. The first socket on a umem registers it; others, on other queues and
// interfaces, share it by naming a socket that is bound.
//
// What this class does not know: whose chunks they are, and the XDP program that steers frames into
// sockets. A socket that only transmits needs no program.
//
// Each end of a ring has one user at a time: fill and receive belong together, transmit and
// completion belong together. Kick() and the descriptor are anybody's.
#pragma once

#include <linux/if_xdp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

// Newer than the headers we may be built with.
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

namespace pollux {

// The kernel's side of a ring, as mapped.
struct XskRingMemory {
  std::uint8_t* mapping = nullptr;
  std::size_t mapped = 0;
  std::uint32_t* producer = nullptr;
  std::uint32_t* consumer = nullptr;
  std::uint32_t* flags = nullptr;
  void* entries = nullptr;
  std::uint32_t size = 0;  // A power of two.
};

// The end of a ring where we put entries in. `T` is std::uint64_t (an address) or xdp_desc.
template <typename T>
class XskProducer {
 public:
  void Attach(const XskRingMemory& ring) {
    ring_ = ring;
    next_ = *ring.producer;
    limit_ = next_ + ring.size;
  }
  // Room for entries, as far as `wanted` is worth asking the kernel for.
  std::uint32_t Room(std::uint32_t wanted) {
    if (limit_ - next_ < wanted) {
      limit_ = std::atomic_ref(*ring_.consumer).load(std::memory_order_acquire) + ring_.size;
    }
    return limit_ - next_;
  }
  // Not seen by the kernel before Publish().
  T& Put() { return static_cast<T*>(ring_.entries)[next_++ & (ring_.size - 1)]; }
  void Publish() { std::atomic_ref(*ring_.producer).store(next_, std::memory_order_release); }
  // Entries that the kernel has not taken.
  std::uint32_t Left() const {
    return next_ - std::atomic_ref(*ring_.consumer).load(std::memory_order_acquire);
  }
  // The i-th newest entry that was put in.
  const T& Newest(std::uint32_t i) const {
    return static_cast<const T*>(ring_.entries)[(next_ - 1 - i) & (ring_.size - 1)];
  }
  // Takes back the newest `n` entries, which the kernel must not have looked at.
  void TakeBack(std::uint32_t n) {
    next_ -= n;
    Publish();
  }
  bool NeedsWakeup() const {
    return (std::atomic_ref(*ring_.flags).load(std::memory_order_relaxed) & XDP_RING_NEED_WAKEUP) !=
           0;
  }
  std::uint32_t size() const { return ring_.size; }

 private:
  XskRingMemory ring_;
  std::uint32_t next_ = 0;
  std::uint32_t limit_ = 0;
};

// The end of a ring where we take entries out.
template <typename T>
class XskConsumer {
 public:
  void Attach(const XskRingMemory& ring) {
    ring_ = ring;
    next_ = end_ = *ring.consumer;
  }
  // How many entries wait, as far as `wanted` is worth asking the kernel for.
  std::uint32_t Waiting(std::uint32_t wanted) {
    if (end_ - next_ < wanted) {
      end_ = std::atomic_ref(*ring_.producer).load(std::memory_order_acquire);
    }
    return end_ - next_;
  }
  // The i-th that waits.
  const T& At(std::uint32_t i) const {
    return static_cast<const T*>(ring_.entries)[(next_ + i) & (ring_.size - 1)];
  }
  // The kernel may use the first `n` again.
  void Release(std::uint32_t n) {
    next_ += n;
    std::atomic_ref(*ring_.consumer).store(next_, std::memory_order_release);
  }

 private:
  XskRingMemory ring_;
  std::uint32_t next_ = 0;
  std::uint32_t end_ = 0;
};

struct XskOptions {
  int ifindex = 0;
  std::uint32_t queue = 0;
  // Entries of the rings, powers of two; receive and transmit may be 0.
  std::uint32_t receive = 0;
  std::uint32_t fill = 0;
  std::uint32_t transmit = 0;
  std::uint32_t completion = 0;
  bool zero_copy = false;       // Else the kernel copies.
  bool scatter_gather = false;  // Frames may be in several chunks. Of the umem, not of the socket.
  bool busy_poll = false;       // If the kernel can and we may (CAP_NET_ADMIN).
  std::span<std::uint8_t> umem;
  std::uint32_t chunk_size = 0;
  int shared_fd = -1;  // A bound socket that has registered this umem, or shares it.
};

// What the kernel counts.
struct XskStatistics {
  std::uint64_t rx_dropped = 0;  // No room in the receive ring, no chunk in the fill ring.
  std::uint64_t rx_invalid = 0;
  std::uint64_t tx_invalid = 0;
};

class XskSocket {
 public:
  // Errors: EPERM, ENOMEM (locked memory), EBUSY (the queue has a socket; or had one a moment ago:
  // the kernel lets go of it late), EINVAL (no such queue, or a kernel that knows no AF_XDP frames
  // in several chunks), EOPNOTSUPP (the device cannot do without copying), EBADF (`shared_fd` is
  // not bound any more).
  static Result<std::unique_ptr<XskSocket>> Open(const XskOptions& options);
  ~XskSocket();
  XskSocket(const XskSocket&) = delete;
  XskSocket& operator=(const XskSocket&) = delete;

  int fd() const { return fd_; }
  // The last: the descriptor is closed at once. The socket lives as long as its rings, which take
  // the kernel their time.
  void CloseDescriptor();
  std::uint32_t queue() const { return queue_; }
  // Kick() and WakeReceive() have the driver receive, in the calling thread.
  bool busy_polls() const { return busy_polls_; }

  // Makes the kernel send what is in the transmit ring; an errno, or 0.
  int Kick() const;
  // Makes a sleeping driver look at the fill ring; tells a socket's health, too: ENETDOWN while the
  // interface is down, ENXIO when it is gone.
  int WakeReceive() const;
  XskStatistics statistics() const;

  XskProducer<std::uint64_t> fill;
  XskConsumer<xdp_desc> receive;
  XskProducer<xdp_desc> transmit;
  XskConsumer<std::uint64_t> completion;

 private:
  XskSocket(int fd, std::uint32_t queue) : fd_(fd), queue_(queue) {}
  Status SetUp(const XskOptions& options);
  Status MapRings(const XskOptions& options);

  int fd_;
  const std::uint32_t queue_;
  bool busy_polls_ = false;
  XskRingMemory rings_[4];
};

}  // namespace pollux
