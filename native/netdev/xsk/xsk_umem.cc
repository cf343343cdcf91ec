#include "netdev/xsk/xsk_umem.h"

#include <algorithm>
#include <cerrno>
#include <span>

namespace pollux {
namespace {

constexpr std::uint32_t kChunksOfRegion = 16 * 1024;  // 32 MiB.

// One of a pool: ports are opened by several threads, which would each add a region.
struct BookingOrder {
  Mutex mutex;
};

}  // namespace

XskUmem::XskUmem(PacketRegion& region)
    : region_(region),
      marks_(std::make_unique<std::atomic<Mark>[]>(region.chunks())),
      marks_used_({true}) {}  // kOurs.

Result<XskUmem*> XskUmem::Book(PacketPool& pool, bool zero_copy, const Booking& booking) {
  MutexLock order(pool.Shared<BookingOrder>().mutex);
  for (PacketRegion* region : pool.regions()) {
    auto* umem = static_cast<XskUmem*>(region->use.get());
    if (umem != nullptr && umem->TryBook(zero_copy, booking)) return umem;
  }
  // A quarter more than is booked: packets on their way through the pipeline.
  const std::uint32_t least = booking.chunks + booking.chunks / 3 + 1;
  PacketRegion* region = pool.AddRegion(std::max(kChunksOfRegion, least));
  if (region == nullptr) region = pool.AddRegion(least);
  if (region == nullptr) {
    Error error = SystemError(ENOMEM, "", "no packet memory is left for this queue");
    error.hint = "use fewer queues, or delete another af_xdp port";
    return error;
  }
  auto* umem = new XskUmem(*region);
  region->use.reset(umem);
  POLLUX_CHECK(umem->TryBook(zero_copy, booking));
  return umem;
}

bool XskUmem::TryBook(bool zero_copy, const Booking& booking) {
  MutexLock lock(mutex_);
  if (booked_ > 0 && zero_copy_ != zero_copy) return false;
  if (booked_ + booking.chunks > region_.chunks() / 4 * 3) return false;
  zero_copy_ = zero_copy;
  booked_ += booking.chunks;
  spare_.fetch_add(booking.spare, std::memory_order_relaxed);
  return true;
}

void XskUmem::Return(const Booking& booking) {
  MutexLock lock(mutex_);
  booked_ -= booking.chunks;
  spare_.fetch_sub(booking.spare, std::memory_order_relaxed);
}

Result<std::unique_ptr<XskSocket>> XskUmem::Open(XskOptions options) {
  MutexLock lock(mutex_);
  options.umem = std::span(region_.base(), region_.bytes());
  options.chunk_size = PacketRegion::kChunk;
  options.zero_copy = zero_copy_;
  // Any socket whose interface still is there will do to share with.
  for (const XskSocket* socket : sockets_) {
    options.shared_fd = socket->fd();
    Result<std::unique_ptr<XskSocket>> shared = XskSocket::Open(options);
    if (!shared && shared.error().number == EBADF) continue;
    if (shared) sockets_.push_back(shared->get());
    return shared;
  }
  options.shared_fd = -1;
  for (const bool large : {true, false}) {
    options.scatter_gather = large;
    Result<std::unique_ptr<XskSocket>> first = XskSocket::Open(options);
    if (!first && large && first.error().number == EINVAL) continue;  // An old kernel.
    if (first) {
      sockets_.push_back(first->get());
      large_frames_.store(large, std::memory_order_relaxed);
    }
    return first;
  }
  POLLUX_CHECK(false);
}

void XskUmem::Close(std::unique_ptr<XskSocket> socket) {
  {
    MutexLock lock(mutex_);
    std::erase(sockets_, socket.get());
  }
  socket.reset();  // Takes its time.
}

void XskUmem::CloseDescriptor(XskSocket& socket) {
  MutexLock lock(mutex_);
  std::erase(sockets_, &socket);
  socket.CloseDescriptor();
}

XskUmem::Mark XskUmem::NewMark() {
  MutexLock lock(mutex_);
  const auto free = std::find(marks_used_.begin(), marks_used_.end(), false);
  const auto mark = static_cast<Mark>(free - marks_used_.begin());
  if (free == marks_used_.end()) {
    marks_used_.push_back(true);
  } else {
    *free = true;
  }
  return mark;
}

void XskUmem::ForgetMark(Mark mark) {
  MutexLock lock(mutex_);
  marks_used_[mark] = false;
}

std::vector<std::uint32_t> XskUmem::Marked(Mark mark) const {
  std::vector<std::uint32_t> chunks;
  for (std::uint32_t i = 0; i < region_.chunks(); ++i) {
    if (this->mark(i) == mark) chunks.push_back(i);
  }
  return chunks;
}

}  // namespace pollux
