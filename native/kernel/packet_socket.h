// Packet sockets: those that send, and those that receive into a ring shared with the kernel.
//
// What the kernel waits a grace period for (10 ms), whoever adds or deletes a port would wait for:
// to make a ring, and to close any packet socket. So a ring is made ahead, sockets that send are
// used again, and of a ring that is given up the descriptor is closed at once, but the socket lives
// as long as the mapping.
#pragma once

#include <linux/if_packet.h>
#include <sys/types.h>

#include <array>
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
Status BindSender(const Fd& sender, int ifindex);

// A receiving socket and its ring. One thread reads the ring; the descriptor is anybody's.
class PacketRing {
 public:
  // Nothing comes in before Bind() and Start().
  static Result<std::unique_ptr<PacketRing>> Make();
  ~PacketRing();
  PacketRing(const PacketRing&) = delete;
  PacketRing& operator=(const PacketRing&) = delete;

  // `promiscuous`: frames for any address. Errors: ENODEV and others of bind(2).
  Status Bind(int ifindex, bool promiscuous);
  // Joins, or begins (`group` 0), those that share an interface's frames by a hash. When bound.
  Status Share(int& group);
  // Lets frames in.
  void Start();
  // Keeps further frames out; what is in the ring stays.
  void Stop();
  // The last: closes the descriptor. To destroy the object is then what takes time.
  void Close() { fd_ = Fd(); }

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

  Fd fd_;
  std::uint8_t* ring_ = nullptr;
  std::uint32_t next_ = 0;
};

// Of the ports of a datapath. Sockets belong to the network namespace of the calling thread.
class PacketSockets {
 public:
  // Not bound. `past_qdisc`: frames do not queue there; some old drivers cannot, which works too.
  Result<Fd> TakeSender(bool past_qdisc) EXCLUDES(mutex_);
  // For the next port. It comes back, to be closed, if there are enough; that waits for the kernel.
  Fd GiveSender(Fd sender, bool past_qdisc) EXCLUDES(mutex_);

  // As many as queues, bound and sharing the interface's frames; nothing comes in until Start().
  Result<std::vector<std::unique_ptr<PacketRing>>> OpenRings(int ifindex, std::uint32_t n,
                                                             bool promiscuous) EXCLUDES(mutex_);
  // From now on one is being made ahead, for the next port.
  void MakeRingAhead() EXCLUDES(control_, mutex_);

 private:
  std::unique_ptr<PacketRing> TakeRing() EXCLUDES(mutex_);
  void EnterNamespace() REQUIRES(mutex_);

  Mutex mutex_;  // After control_.
  ino_t namespace_ GUARDED_BY(mutex_) = 0;
  std::array<std::vector<Fd>, 2> senders_ GUARDED_BY(mutex_);  // Idle; by whether past the qdisc.
  std::unique_ptr<PacketRing> ring_ GUARDED_BY(mutex_);        // Made ahead.
  bool making_ GUARDED_BY(mutex_) = false;
  Mutex control_;
  Background background_ GUARDED_BY(control_);  // Last: waits for what it has begun.
};

}  // namespace pollux
