#include "netdev/af_packet/af_packet_rxq.h"

#include <linux/if_ether.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "netdev/virtio_header.h"

namespace pollux {
namespace {

constexpr std::uint32_t kTagAt = 12;

const std::uint8_t* Frame(const tpacket2_hdr& slot) {
  return reinterpret_cast<const std::uint8_t*>(&slot) + slot.tp_mac;
}

}  // namespace

AfPacketRxq::AfPacketRxq(PacketPool& pool)
    : pool_(pool),
      jumbo_(std::make_unique_for_overwrite<std::uint8_t[]>(JumboCutter::kMaxJumbo + kTagSize)) {}

void AfPacketRxq::Recv(PacketBatch& batch) {
  segments_ = 0;
  notes_arrivals_ = pool_.wants_arrivals();
  // Frames that turn out bad fill no room in the batch: bound those too.
  for (std::size_t budget = 2 * kBatchSize; budget > 0 && !batch.full() && segments_ < kMaxSegments;
       --budget) {
    if (!cutter_.done()) {
      if (!ReceiveCut(batch)) return;
      continue;
    }
    std::uint32_t status = 0;
    const tpacket2_hdr* slot = current_ != nullptr ? current_->Front(status) : nullptr;
    if (slot == nullptr) {
      if (!TakeNext()) return;
      continue;
    }
    // Without memory, the frame waits in the ring.
    if (!Receive(*slot, status, batch)) return;
    current_->Pop();
  }
}

bool AfPacketRxq::Arm() {
  if (current_ == nullptr) return true;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(current_->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  std::uint32_t status = 0;
  return current_->Front(status) == nullptr;
}

bool AfPacketRxq::TakeNext() {
  if (next_.load(std::memory_order_relaxed) == nullptr) return false;
  PacketRing* next = next_.exchange(nullptr, std::memory_order_acq_rel);
  if (next == nullptr) return false;
  old_.store(current_, std::memory_order_release);
  current_ = next;
  return true;
}

AfPacketRxq::Arrival AfPacketRxq::Describe(const tpacket2_hdr& slot, std::uint32_t status) {
  Arrival arrival;
  arrival.size = slot.tp_len;
  arrival.tagged = (status & TP_STATUS_VLAN_VALID) != 0;
  if (arrival.tagged) {
    const std::uint16_t type =
        (status & TP_STATUS_VLAN_TPID_VALID) != 0 ? slot.tp_vlan_tpid : ETH_P_8021Q;
    arrival.tag[0] = static_cast<std::uint8_t>(type >> 8);
    arrival.tag[1] = static_cast<std::uint8_t>(type);
    arrival.tag[2] = static_cast<std::uint8_t>(slot.tp_vlan_tci >> 8);
    arrival.tag[3] = static_cast<std::uint8_t>(slot.tp_vlan_tci);
    arrival.size += kTagSize;
  }
  arrival.time_ns = std::int64_t{slot.tp_sec} * 1'000'000'000 + slot.tp_nsec;
  VirtioNetHeader header;
  std::memcpy(&header, Frame(slot) - sizeof header, sizeof header);
  arrival.offload = header.Read();
  if (arrival.tagged)
    arrival.offload.csum_start = static_cast<std::uint16_t>(header.csum_start + kTagSize);
  return arrival;
}

// False: no memory, try the same slot again. True: the slot is done with.
bool AfPacketRxq::Receive(const tpacket2_hdr& slot, std::uint32_t status, PacketBatch& batch) {
  const bool whole = slot.tp_snaplen == slot.tp_len;
  const bool queued = (status & TP_STATUS_COPY) != 0;
  const Arrival arrival = Describe(slot, status);
  if (arrival.size > kMaxFrame && queued && arrival.size <= JumboCutter::kMaxJumbo) {
    ReadJumbo(slot.tp_len, arrival);
    return true;
  }
  if ((!whole && !queued) || arrival.size > kMaxFrame) {
    if (queued) ReadQueued(nullptr, 0);
    rx_errors_.Add(whole || queued ? RxError::kTooLong : RxError::kNoBuffer);
    return true;
  }
  PacketPtr packet = pool_.Allocate(arrival.size);
  if (packet == nullptr) return false;
  std::uint8_t* frame = packet->data;
  const std::uint32_t shift = arrival.tagged ? kTagSize : 0;
  if (queued) {
    if (!ReadQueued(frame + shift, slot.tp_len)) {
      rx_errors_.Add(RxError::kBroken);
      return true;
    }
    if (arrival.tagged) std::memmove(frame, frame + kTagSize, kTagAt);
  } else if (!arrival.tagged) {
    std::memcpy(frame, Frame(slot), slot.tp_len);
  } else {
    const std::uint32_t addresses = std::min(slot.tp_len, kTagAt);
    std::memcpy(frame, Frame(slot), addresses);
    std::memcpy(frame + kTagAt + kTagSize, Frame(slot) + addresses, slot.tp_len - addresses);
  }
  if (arrival.tagged) std::memcpy(frame + kTagAt, arrival.tag, kTagSize);

  if (!AcceptOffloads(*packet, arrival.offload)) {
    rx_errors_.Add(RefusalOf(arrival.offload));
    return true;
  }
  if (notes_arrivals_) packet->SetArrival({arrival.time_ns, 0});
  segments_ += OnWire(*packet).packets;
  batch.Add(std::move(packet));
  return true;
}

// A frame longer than a packet can be; what comes of it is received next.
void AfPacketRxq::ReadJumbo(std::uint32_t size, const Arrival& arrival) {
  const std::uint32_t shift = arrival.tagged ? kTagSize : 0;
  std::uint8_t* const frame = jumbo_.get();
  if (!ReadQueued(frame + shift, size)) {
    rx_errors_.Add(RxError::kBroken);
    return;
  }
  if (arrival.tagged) {
    std::memmove(frame, frame + kTagSize, kTagAt);
    std::memcpy(frame + kTagAt, arrival.tag, kTagSize);
  }
  jumbo_time_ns_ = arrival.time_ns;
  if (!cutter_.Start({frame, arrival.size}, arrival.offload)) rx_errors_.Add(RxError::kTooLong);
}

// False: no memory.
bool AfPacketRxq::ReceiveCut(PacketBatch& batch) {
  bool refused = false;
  PacketPtr packet = cutter_.Next(pool_, refused);
  if (refused) {
    rx_errors_.Add(RxError::kTooLong);
    cutter_.Stop();
    return true;
  }
  if (packet == nullptr) return false;
  if (notes_arrivals_) packet->SetArrival({jumbo_time_ns_, 0});
  segments_ += OnWire(*packet).packets;
  batch.Add(std::move(packet));
  return true;
}

// The next frame of the socket's own queue, which must have exactly `size` bytes; size 0: throws it
// away.
bool AfPacketRxq::ReadQueued(std::uint8_t* frame, std::uint32_t size) {
  VirtioNetHeader header;
  iovec parts[2] = {{&header, sizeof header}, {frame, size}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  for (int tries = 0; tries < 3; ++tries) {
    const ssize_t n = recvmsg(current_->fd(), &message, MSG_DONTWAIT | MSG_TRUNC);
    if (n >= 0) return static_cast<std::size_t>(n) == sizeof header + size;
    // A pending error of the link is reported first, once, and takes no frame off the queue.
    if (errno != ENETDOWN && errno != EINTR) return false;
  }
  return false;
}

}  // namespace pollux
