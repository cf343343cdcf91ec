// XskQueue: an AF_XDP socket and the chunks that the kernel holds for it.
//
// Receiving. The queue keeps a number of chunks in the fill and receive rings. A frame that arrives
// is a packet at once: its chunk leaves the queue with it, and another takes its place. When other
// chunks are short, because packets wait somewhere in thousands, frames are copied out instead and
// their chunks stay here: whatever others hoard, a queue goes on receiving.
//
// Sending. A packet in this queue's region is handed to the kernel as it is; any other is copied
// into chunks, in as many as it needs. The chunk comes back when the kernel is done: for a copying
// socket that is when whoever receives the frame frees it, or makes it its own. So nobody waits for
// it; a bound on what may be out makes further packets "tx_queue_full".
//
// Two roles, which the caller keeps apart: one thread at a time receives, one sends.
#pragma once

#include <cstdint>
#include <memory>

#include "base/counter.h"
#include "kernel/xsk_socket.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_umem.h"
#include "packet/packet.h"

namespace pollux {

class XskQueue {
 public:
  struct Options {
    int ifindex = 0;
    std::uint32_t queue = 0;
    std::uint32_t ring = 2048;  // Frames the queue may hold in each direction; a power of two.
    bool zero_copy = false;
    bool receive = true;  // Else it only sends.
    bool busy_poll = false;
  };

  // Errors: those of XskUmem::Book() and XskSocket::Open().
  static Result<std::unique_ptr<XskQueue>> Open(PacketPool& pool, const Options& options);
  // Takes the chunks back that the kernel holds.
  ~XskQueue();
  XskQueue(const XskQueue&) = delete;
  XskQueue& operator=(const XskQueue&) = delete;

  // The last, at once: closes the descriptor. To destroy the queue is then what takes time.
  void Close() { umem_.CloseDescriptor(*socket_); }

  XskSocket& socket() const { return *socket_; }
  XskUmem& umem() const { return umem_; }
  // The longest frame a queue can send or receive, in one chunk or in several.
  static std::uint32_t MaxFrame(bool large_frames);

  // --- Receiving.
  void Recv(PacketBatch& batch);
  bool HasWaiting() { return socket_->receive.Waiting(1) > 0; }

  // --- Sending. Each packet with at least an Ethernet header, and not longer than MaxFrame().
  // Takes all packets of the batch.
  void Send(PacketBatch& batch, SendResult& result);
  // Whether `n` frames of one chunk can be sent now.
  bool HasRoom(std::uint32_t n);

  // A batch that met a link going down, or a receiver that was slow, may have left frames in the
  // ring: has the kernel send them. For when nobody sends any more.
  void SendLeft();

  // --- Anybody.
  NetdevStats stats() const;
  // Chunks that the kernel holds.
  std::uint64_t receiving() const { return receiving_.Get(); }
  std::uint64_t sending() const { return sending_.Get(); }

 private:
  XskQueue(PacketPool& pool, XskUmem& umem, const XskUmem::Booking& booking,
           const Options& options);

  void Refill();
  void Keep(std::uint32_t chunk, std::uint32_t offset, std::uint32_t size, PacketBatch& batch);
  void Assemble(const xdp_desc& descriptor, PacketBatch& batch);
  void GiveChunk(std::uint32_t chunk);

  void Reclaim();
  bool PutAsItIs(Packet& packet);
  bool PutCopy(const Packet& packet);
  void Kick(std::uint32_t put, std::uint32_t frames, SendResult& result);
  void CountRefused(std::uint32_t left, int error, SendResult& result);
  std::uint64_t TakeBack(std::uint32_t descriptors);

  PacketPool& pool_;
  XskUmem& umem_;
  PacketRegion& region_;
  const XskUmem::Booking booking_;
  const Options options_;
  std::unique_ptr<XskSocket> socket_;

  const XskUmem::Mark receive_mark_;
  Counter receiving_;
  Counter rx_dropped_;
  RxErrors rx_errors_;
  PacketPtr assembly_;  // A frame of which more chunks are to come.
  bool skipping_ = false;

  const XskUmem::Mark send_mark_;
  Counter sending_;
};

}  // namespace pollux
