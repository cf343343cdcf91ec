#include "netdev/xsk/xsk_queue.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace pollux {
namespace {

constexpr std::uint32_t kChunk = PacketRegion::kChunk;
// Chunks are put into the fill ring in groups.
constexpr std::uint32_t kRefill = 64;
// What the kernel leaves free in front of a frame that it writes.
constexpr std::uint32_t kKernelHeadroom = 256;
// A frame can be a buffer and sixteen more.
constexpr std::uint32_t kMaxChunks = 17;
// Calls that get nowhere, before what is left stays in the ring.
constexpr int kMaxStalls = 2;

std::uint32_t ChunksFor(std::uint32_t size) { return (size + kChunk - 1) / kChunk; }

}  // namespace

Result<std::unique_ptr<XskQueue>> XskQueue::Open(PacketPool& pool, const Options& options) {
  const XskUmem::Booking booking{(options.receive ? 2 : 1) * options.ring,
                                 std::min(options.ring, 256u)};
  Result<XskUmem*> umem = XskUmem::Book(pool, options.zero_copy, booking);
  if (!umem) return umem.error();
  std::unique_ptr<XskQueue> queue(new XskQueue(pool, **umem, booking, options));
  XskOptions socket;
  socket.ifindex = options.ifindex;
  socket.queue = options.queue;
  socket.transmit = socket.completion = options.ring;
  socket.fill = options.receive ? options.ring : 1;  // The kernel wants one in any case.
  socket.receive = options.receive ? options.ring : 0;
  socket.busy_poll = options.busy_poll;
  Result<std::unique_ptr<XskSocket>> opened = (*umem)->Open(socket);
  if (!opened) return opened.error();
  queue->socket_ = std::move(*opened);
  while (options.receive && queue->receiving() < options.ring) {
    const std::uint64_t before = queue->receiving();
    queue->Refill();
    if (queue->receiving() == before) break;
  }
  return queue;
}

XskQueue::XskQueue(PacketPool& pool, XskUmem& umem, const XskUmem::Booking& booking,
                   const Options& options)
    : pool_(pool),
      umem_(umem),
      region_(umem.region()),
      booking_(booking),
      options_(options),
      receive_mark_(umem.NewMark()),
      send_mark_(umem.NewMark()) {}

XskQueue::~XskQueue() {
  // The kernel does not touch the chunks of a closed socket any more.
  if (socket_ != nullptr) umem_.Close(std::move(socket_));
  for (const XskUmem::Mark mark : {receive_mark_, send_mark_}) {
    for (const std::uint32_t chunk : umem_.Marked(mark)) {
      umem_.SetMark(chunk, XskUmem::kOurs);
      Packet* packet = region_.At(chunk);
      region_.Give(&packet, 1);
    }
    umem_.ForgetMark(mark);
  }
  umem_.Return(booking_);
}

std::uint32_t XskQueue::MaxFrame(bool large_frames) {
  return large_frames ? kMaxChunks * (kChunk - kKernelHeadroom) : kChunk - kKernelHeadroom;
}

// ------------------------------------------------------------------------------------ receiving

void XskQueue::Recv(PacketBatch& batch) {
  const auto n =
      std::min(socket_->receive.Waiting(kBatchSize), static_cast<std::uint32_t>(batch.room()));
  if (n == 0) {
    if (socket_->busy_polls() || socket_->fill.NeedsWakeup()) socket_->WakeReceive();
    return;
  }
  if (options_.ring - receiving() >= kRefill) Refill();
  const bool keep = receiving() < options_.ring / 2;
  for (std::uint32_t i = 0; i < n; ++i) {
    const xdp_desc& descriptor = socket_->receive.At(i);
    const auto chunk = static_cast<std::uint32_t>(descriptor.addr / kChunk);
    const auto offset = static_cast<std::uint32_t>(descriptor.addr % kChunk);
    POLLUX_DCHECK(umem_.mark(chunk) == receive_mark_);
    if ((descriptor.options & XDP_PKT_CONTD) != 0 || assembly_ != nullptr || skipping_)
        [[unlikely]] {
      Assemble(descriptor, batch);
      GiveChunk(chunk);
    } else if (keep) [[unlikely]] {
      Keep(chunk, offset, descriptor.len, batch);
    } else {
      umem_.SetMark(chunk, XskUmem::kOurs);
      receiving_.Add(std::uint64_t{0} - 1);
      Packet* packet = region_.Revive(chunk, offset, descriptor.len);
      __builtin_prefetch(packet->data);
      batch.AddRaw(packet);
    }
  }
  socket_->receive.Release(n);
  socket_->fill.Publish();
}

void XskQueue::Refill() {
  std::array<Packet*, kRefill> fresh;
  const std::size_t wanted = std::min<std::size_t>(kRefill, options_.ring - receiving());
  const std::size_t n = region_.Take(fresh.data(), wanted, umem_.spare());
  for (std::size_t i = 0; i < n; ++i) GiveChunk(region_.IndexOf(*fresh[i]));
  receiving_.Add(n);
  socket_->fill.Publish();
}

// Into the fill ring, which has room for all chunks of the queue.
void XskQueue::GiveChunk(std::uint32_t chunk) {
  umem_.SetMark(chunk, receive_mark_);
  socket_->fill.Put() = std::uint64_t{chunk} * kChunk;
}

// Copies a frame out, so that its chunk stays in the queue.
void XskQueue::Keep(std::uint32_t chunk, std::uint32_t offset, std::uint32_t size,
                    PacketBatch& batch) {
  PacketPtr copy = pool_.Copy({region_.At(chunk)->chunk + offset, size});
  if (copy == nullptr) {
    rx_dropped_.Add(1);
  } else {
    batch.Add(std::move(copy));
  }
  GiveChunk(chunk);
}

// Frames in several chunks become one packet outside the region.
void XskQueue::Assemble(const xdp_desc& descriptor, PacketBatch& batch) {
  const bool last = (descriptor.options & XDP_PKT_CONTD) == 0;
  if (!skipping_ && assembly_ == nullptr) {
    assembly_ = pool_.Allocate(kMaxFrame);
    if (assembly_ == nullptr) {
      rx_dropped_.Add(1);
      skipping_ = true;
    } else {
      assembly_->size = 0;
    }
  }
  if (!skipping_ && descriptor.len > kMaxFrame - assembly_->size) {
    rx_errors_.Add(RxError::kTooLong);
    assembly_.reset();
    skipping_ = true;
  }
  if (!skipping_) {
    std::memcpy(assembly_->data + assembly_->size, region_.base() + descriptor.addr,
                descriptor.len);
    assembly_->size += descriptor.len;
    if (last) batch.Add(std::move(assembly_));
  }
  if (last) skipping_ = false;
}

// -------------------------------------------------------------------------------------- sending

void XskQueue::Send(PacketBatch& batch, SendResult& result) {
  Reclaim();
  std::uint32_t frames = 0;
  const std::uint64_t before = sending();
  PacketBatch rest;  // Copied, or not sent: freed.
  for (Packet* packet : batch) {
    const bool as_it_is = region_.Holds(*packet);
    if (as_it_is ? PutAsItIs(*packet) : PutCopy(*packet)) {
      ++frames;
      result.Accept(*packet);
      if (!as_it_is) rest.AddRaw(packet);
    } else {
      result.Drop(DropReason::kTxQueueFull);
      rest.AddRaw(packet);
    }
  }
  batch.Release();
  // A ring that is full, because the link was down, is full until somebody kicks.
  if (frames == 0 && socket_->transmit.Left() == 0) return;
  socket_->transmit.Publish();
  Kick(static_cast<std::uint32_t>(sending() - before), frames, result);
}

void XskQueue::SendLeft() {
  if (socket_->transmit.Left() == 0) return;
  SendResult counted;  // With the batch that left them.
  Kick(0, 0, counted);
}

bool XskQueue::HasRoom(std::uint32_t n) {
  Reclaim();
  return sending() + n <= options_.ring && socket_->transmit.Room(n) >= n;
}

bool XskQueue::PutAsItIs(Packet& packet) {
  if (sending() == options_.ring || socket_->transmit.Room(1) == 0) return false;
  const std::uint32_t chunk = region_.IndexOf(packet);
  umem_.SetMark(chunk, send_mark_);
  socket_->transmit.Put() = {static_cast<std::uint64_t>(packet.data - region_.base()), packet.size,
                             0};
  sending_.Add(1);
  return true;
}

bool XskQueue::PutCopy(const Packet& packet) {
  const std::uint32_t chunks = ChunksFor(packet.size);
  if (sending() + chunks > options_.ring || socket_->transmit.Room(chunks) < chunks) return false;
  std::array<Packet*, kMaxChunks> copies;
  const std::size_t got = region_.Take(copies.data(), chunks, 0);
  if (got < chunks) {
    region_.Give(copies.data(), got);
    return false;
  }
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    const std::uint32_t size = std::min(kChunk, packet.size - at);
    const std::uint32_t chunk = region_.IndexOf(*copies[i]);
    std::memcpy(copies[i]->chunk, packet.data + at, size);
    umem_.SetMark(chunk, send_mark_);
    socket_->transmit.Put() = {std::uint64_t{chunk} * kChunk, size,
                               i + 1 < chunks ? static_cast<std::uint32_t>(XDP_PKT_CONTD) : 0u};
    at += size;
  }
  sending_.Add(chunks);
  return true;
}

// Takes back chunks that the kernel is done with.
void XskQueue::Reclaim() {
  std::array<Packet*, kRefill> done;
  for (;;) {
    const std::uint32_t n = std::min(socket_->completion.Waiting(kRefill), kRefill);
    if (n == 0) return;
    for (std::uint32_t i = 0; i < n; ++i) {
      const auto chunk = static_cast<std::uint32_t>(socket_->completion.At(i) / kChunk);
      POLLUX_DCHECK(umem_.mark(chunk) == send_mark_);
      umem_.SetMark(chunk, XskUmem::kOurs);
      done[i] = region_.At(chunk);
    }
    socket_->completion.Release(n);
    sending_.Add(std::uint64_t{0} - n);
    region_.Give(done.data(), n);
  }
}

// Has the kernel send what was put into the ring. Each call sends something, drops something, or
// gets nowhere. `put`: descriptors of this batch.
void XskQueue::Kick(std::uint32_t put, std::uint32_t frames, SendResult& result) {
  if (!socket_->transmit.NeedsWakeup()) return;
  const std::uint32_t all = socket_->transmit.Left();
  std::uint32_t left = all;
  std::uint32_t stalls = 0;
  // What one batch can make: a refusal for each frame of it, and of those left from before.
  for (std::uint32_t calls = 0; calls < all + kMaxStalls; ++calls) {
    const int error = socket_->Kick();
    const std::uint32_t before = left;
    left = socket_->transmit.Left();
    if (error == 0) return;
    const DropReason reason = SendErrorReason(error);
    if (reason == DropReason::kPortDown) {
      // Frames that the kernel has not seen yet must not go out when the link is back, stale.
      if (left == all && all == put) {
        result.bytes -= TakeBack(put);
        result.packets -= frames;
        result.wire_packets -= frames;
        result.Drop(reason, frames);
      }
      return;
    }
    if (error == EBUSY) CountRefused(left, error, result);
    if (left == 0) return;
    if (left == before && ++stalls == kMaxStalls) return;
  }
}

// The kernel dropped the last frame that it took from the ring.
void XskQueue::CountRefused(std::uint32_t left, int error, SendResult& result) {
  if (result.packets == 0) return;  // It is of an earlier batch.
  std::uint64_t bytes = socket_->transmit.Newest(left).len;
  for (std::uint32_t i = left + 1; i < left + kMaxChunks; ++i) {
    const xdp_desc& descriptor = socket_->transmit.Newest(i);
    if ((descriptor.options & XDP_PKT_CONTD) == 0) break;
    bytes += descriptor.len;
  }
  --result.packets;
  --result.wire_packets;
  result.bytes -= std::min(result.bytes, bytes);
  result.Drop(SendErrorReason(error));
}

// Returns their bytes.
std::uint64_t XskQueue::TakeBack(std::uint32_t descriptors) {
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < descriptors; ++i) {
    const xdp_desc& descriptor = socket_->transmit.Newest(i);
    bytes += descriptor.len;
    const auto chunk = static_cast<std::uint32_t>(descriptor.addr / kChunk);
    umem_.SetMark(chunk, XskUmem::kOurs);
    Packet* packet = region_.At(chunk);
    region_.Give(&packet, 1);
  }
  sending_.Add(std::uint64_t{0} - descriptors);
  socket_->transmit.TakeBack(descriptors);
  return bytes;
}

NetdevStats XskQueue::stats() const {
  const XskStatistics kernel = socket_->statistics();
  NetdevStats stats;
  stats.rx_dropped = rx_dropped_.Get() + kernel.rx_dropped;
  rx_errors_.AddTo(stats);
  stats.AddError(RxError::kBroken, kernel.rx_invalid);
  return stats;
}

}  // namespace pollux
