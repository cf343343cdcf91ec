// Packet sockets: those that send, and those that receive into a ring shared with the kernel.
//
// To make a ring takes the kernel a grace period (10 ms), whatever else happens, and whoever adds a
// port waits for it. So one is made ahead, by a thread of its own: the next port only has to bind.
#pragma once

#include <linux/if_packet.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/background.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/sync.h"

namespace pollux {

// A socket for sending, whose messages begin with a VirtioNetHeader. It receives nothing.
Result<Fd> OpenSendSocket();
Status BindSendSocket(const Fd& socket, int ifindex);
// Frames of this socket go past the qdisc. Some old drivers cannot; the qdisc works too.
void BypassQdisc(const Fd& socket);

// A receiving socket and its ring. One thread reads the ring; the descriptor is anybody's.
class PacketRing {
 public:
  // Nothing comes in before Bind() and Start().
  static Result<std::unique_ptr<PacketRing>> Make();
  ~PacketRing();
  PacketRing(const PacketRing&) = delete;
  PacketRing& operator=(const PacketRing&) = delete;

  // Errors: ENODEV and others of bind(2).
  Status Bind(int ifindex);
  // Joins, or begins (`group` 0), those that share an interface's frames by a hash. When bound.
  Status Share(int& group);
  // Lets frames in.
  void Start();
  // Keeps further frames out; what is in the ring stays.
  void Stop();

  int fd() const { return fd_.get(); }
  // Frames that the kernel dropped since the last call.
  std::uint64_t TakeDrops();

  // The reader's: the next slot, if it is filled.
  const tpacket2_hdr* Front(std::uint32_t& status) const {
    tpacket2_hdr* slot = Slot(next_);
    status = std::atomic_ref(slot->tp_status).load(std::memory_order_acquire);
    return (status & TP_STATUS_USER) != 0 ? slot : nullptr;
  }
  // Gives it back to the kernel.
  void Pop() {
    std::atomic_ref(Slot(next_)->tp_status).store(TP_STATUS_KERNEL, std::memory_order_release);
    next_ = (next_ + 1) % kSlots;
  }

 private:
  static constexpr std::uint32_t kSlotSize = 2048;
  static constexpr std::uint32_t kSlots = 4096;
  static constexpr std::size_t kBytes = std::size_t{kSlotSize} * kSlots;

  explicit PacketRing(Fd fd) : fd_(std::move(fd)) {}
  tpacket2_hdr* Slot(std::uint32_t i) const {
    return reinterpret_cast<tpacket2_hdr*>(ring_ + std::size_t{i} * kSlotSize);
  }

  const Fd fd_;
  std::uint8_t* ring_ = nullptr;
  std::uint32_t next_ = 0;
};

// Rings for the ports of a datapath; one can be made ahead.
class PacketRings {
 public:
  // As many as queues, bound and sharing the interface's frames; nothing comes in until Start().
  Result<std::vector<std::unique_ptr<PacketRing>>> Open(int ifindex, std::uint32_t n)
      EXCLUDES(mutex_);
  // From now on one is being made ahead, for the next port.
  void MakeAhead() EXCLUDES(mutex_);

 private:
  std::unique_ptr<PacketRing> TakeAhead() EXCLUDES(mutex_);

  Mutex mutex_;
  std::unique_ptr<PacketRing> ahead_ GUARDED_BY(mutex_);
  ino_t namespace_ GUARDED_BY(mutex_) = 0;
  bool making_ GUARDED_BY(mutex_) = false;
  Background background_ GUARDED_BY(mutex_);  // Last: waits for what it has begun.
};

}  // namespace pollux
