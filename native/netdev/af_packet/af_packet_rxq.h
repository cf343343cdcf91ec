// A receive queue of an af_packet port.
//
// It is a packet socket with a TPACKET_V2 ring: memory shared with the kernel, 4096 slots of 2 KiB.
// The kernel copies a frame into a slot in the softirq of whoever sent it and sets a status word;
// we copy it out into a packet and give the slot back. A busy queue makes no system call at all. V3
// rings hand over whole blocks and so add their block timeout to the latency of a quiet port; V2
// hands over each frame at once.
//
//   Large frames. A GSO frame of 64 KiB or a jumbo frame does not fit a slot. With
//   PACKET_COPY_THRESH the kernel then also queues the whole frame on the socket and marks the
//   (truncated) slot TP_STATUS_COPY. Slots and queued frames are made under one lock, so the n-th
//   marked slot belongs to the n-th queued frame, and order is that of the slots. If the socket
//   buffer is full, the slot is truncated without the mark: an rx error.
//
//   Offloads. Frames inside a machine carry partial checksums, and GSO frames up to 64 KiB,
//   whatever the MTU. PACKET_VNET_HDR makes the kernel say so, in a virtio_net_hdr right before the
//   frame, and the packet carries it on (packet/offload.h). A batch ends with the frame that makes
//   its segments too many, should somebody have to cut them.
//
//   BIG TCP, where somebody has turned it on, makes frames of more than 64 KiB. They are cut into
//   packets that are GSO frames themselves (packet/jumbo.h).
//
//   VLAN. The kernel takes the outermost tag out of the frame and puts it beside it; we put it
//   back, at byte 12. What the virtio header says of offsets is meant without the tag.
//
//   Several queues form a fanout group: the kernel gives each frame to one socket by a hash of its
//   flow. A socket may only join once it is bound, so each starts with a filter that drops
//   everything, and only when the group is complete is it lifted; otherwise early frames would
//   arrive once per socket. The group has a hook of its own, which does not inherit
//   PACKET_IGNORE_OUTGOING, and old kernels have no such flag for it: hence a filter for what the
//   host itself sends.
//
// Waiting. wait_fd() is an epoll descriptor that holds the socket, so that sockets can be exchanged
// under a sleeping thread. An interface that goes down or away leaves an error on the socket that
// would keep it readable for ever: Arm() fetches it.
#pragma once

#include <linux/if_packet.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/epoll.h"
#include "kernel/packet_socket.h"
#include "netdev/netdev.h"
#include "packet/jumbo.h"

namespace pollux {

class AfPacketRxq final : public Rxq {
 public:
  explicit AfPacketRxq(PacketPool& pool);
  Status opened() const { return epoll_.opened(); }

  // Control side, one thread at a time: the socket to go on with, which is watched already. It must
  // outlive its use here; what was given up is fetched with TakeBack().
  void Give(PacketRing* socket) { next_.store(socket, std::memory_order_release); }
  Status Watch(const PacketRing& socket) { return epoll_.Watch(socket.fd()); }
  // A socket given and not taken yet, and one given up. After this, none is given up before another
  // is given.
  std::array<PacketRing*, 2> TakeBack() {
    return {next_.exchange(nullptr, std::memory_order_acq_rel),
            old_.exchange(nullptr, std::memory_order_acq_rel)};
  }
  // The one given up alone.
  PacketRing* TakeOld() { return old_.exchange(nullptr, std::memory_order_acq_rel); }
  // Nobody shall wake for this socket any more.
  void Forget(const PacketRing& socket) { epoll_.Unwatch(socket.fd()); }

  void Recv(PacketBatch& batch) override;
  int wait_fd() const override { return epoll_.fd(); }
  bool Arm() override;

  const RxErrors& rx_errors() const { return rx_errors_; }

 private:
  static constexpr std::uint32_t kTagSize = 4;

  // What a slot says of its frame.
  struct Arrival {
    std::uint32_t size = 0;  // As it will be, tag included.
    bool tagged = false;
    std::uint8_t tag[kTagSize];
    OffloadHeader offload;
    std::int64_t time_ns = 0;
  };

  static Arrival Describe(const tpacket2_hdr& slot, std::uint32_t status);
  bool TakeNext();
  bool Receive(const tpacket2_hdr& slot, std::uint32_t status, PacketBatch& batch);
  void ReadJumbo(std::uint32_t size, const Arrival& arrival);
  bool ReceiveCut(PacketBatch& batch);
  bool ReadQueued(std::uint8_t* frame, std::uint32_t size);

  PacketPool& pool_;
  Epoll epoll_;
  PacketRing* current_ = nullptr;
  std::uint32_t segments_ = 0;  // Of the batch in work.
  bool notes_arrivals_ = false;
  // For frames that no packet can hold. The kernel gives it memory when there is one.
  const std::unique_ptr<std::uint8_t[]> jumbo_;
  JumboCutter cutter_;
  std::int64_t jumbo_time_ns_ = 0;
  RxErrors rx_errors_;
  std::atomic<PacketRing*> next_{nullptr};
  std::atomic<PacketRing*> old_{nullptr};
};

}  // namespace pollux
