// XskUmem: a region of the packet pool that AF_XDP sockets share.
//
// Packets live in it, so what one socket received another can send without a copy. It is registered
// with the kernel by the first socket that opens on it, and again after the last was closed; all
// sockets between share that registration, whatever interface they belong to.
//
// Every chunk that the kernel holds is marked with the queue and the direction that gave it away.
// Rings alone do not tell: the kernel also keeps chunks back. When a queue closes, what carries its
// marks is ours again.
//
// What queues may hold is booked when they open, so that none starves another; when a region is
// booked out, the next queue gets a new one, and packets between the two are copied.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "kernel/xsk_socket.h"
#include "packet/packet_region.h"

namespace pollux {

class XskUmem final : public PacketRegion::Use {
 public:
  using Mark = std::uint16_t;
  static constexpr Mark kOurs = 0;

  // What a queue may hold, of which receivers leave `spare` to senders.
  struct Booking {
    std::uint32_t chunks = 0;
    std::uint32_t spare = 0;
  };

  // Books in a region of the pool, or in a new one. ENOMEM: the pool's limit is reached.
  static Result<XskUmem*> Book(PacketPool& pool, bool zero_copy, const Booking& booking);
  void Return(const Booking& booking) EXCLUDES(mutex_);

  // A socket on this region. Of `options`, what concerns the umem is filled in here. Errors as
  // those of XskSocket::Open().
  Result<std::unique_ptr<XskSocket>> Open(XskOptions options) EXCLUDES(mutex_);
  void Close(std::unique_ptr<XskSocket> socket) EXCLUDES(mutex_);
  // Closes its descriptor: nobody shares with it any more.
  void CloseDescriptor(XskSocket& socket) EXCLUDES(mutex_);

  PacketRegion& region() const { return region_; }
  // Frames may be in several chunks: a property of the registration, which the kernel is asked for
  // whoever opens first. With an open socket.
  bool takes_large_frames() const { return large_frames_.load(std::memory_order_relaxed); }
  std::size_t spare() const { return spare_.load(std::memory_order_relaxed); }

  // A chunk's mark is changed by who has the chunk.
  Mark mark(std::uint32_t chunk) const { return marks_[chunk].load(std::memory_order_relaxed); }
  void SetMark(std::uint32_t chunk, Mark mark) {
    marks_[chunk].store(mark, std::memory_order_relaxed);
  }
  // Marks that no other queue uses.
  Mark NewMark() EXCLUDES(mutex_);
  void ForgetMark(Mark mark) EXCLUDES(mutex_);
  // Chunks with a mark.
  std::vector<std::uint32_t> Marked(Mark mark) const;

 private:
  explicit XskUmem(PacketRegion& region);
  bool TryBook(bool zero_copy, const Booking& booking) EXCLUDES(mutex_);

  PacketRegion& region_;
  const std::unique_ptr<std::atomic<Mark>[]> marks_;
  std::atomic<std::size_t> spare_{0};
  std::atomic<bool> large_frames_{false};
  Mutex mutex_;
  std::vector<XskSocket*> sockets_ GUARDED_BY(mutex_);
  std::vector<bool> marks_used_ GUARDED_BY(mutex_);
  std::uint32_t booked_ GUARDED_BY(mutex_) = 0;
  bool zero_copy_ GUARDED_BY(mutex_) = false;
};

}  // namespace pollux
