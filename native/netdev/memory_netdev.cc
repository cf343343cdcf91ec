// memory: a device that the program itself feeds (Inject) and drains (Drain). Tests and embedders
// use it; no kernel is involved.
//
// Receiving. Each queue is a ring of packet pointers with one consumer, the thread that polls it,
// and producers that serialise among themselves with the queue's mutex. The consumer takes no lock:
// it owns `head_`, the producers own `tail_`, and each side reads the other's index only when its
// own copy says the ring is empty (or full), so a busy ring moves one cache line a batch. Injecting
// copies the frames into packets of the pool.
//
// Sleeping. Arm() announces the sleeper and then looks at `tail_` once more; Inject() publishes
// `tail_` and then looks for a sleeper. All four are sequentially consistent, so one of the two
// always notices (see base/doorbell.h).
//
// Sending. A FIFO of bounded length behind one mutex, taken once a batch; what does not fit is
// dropped as tx_queue_full. `queue_length` bounds each receive queue and this FIFO; the defaults
// are 1024 and 4096. Memory bounds them too, so that a port nobody drains leaves some to others:
// each queue holds the share of packet memory that is a port's, and the FIFO next to nothing when
// memory is scarce.
//
// Cost: Recv is an index comparison and a copy of pointers; Send a mutex and a copy of pointers a
// batch.
#include <algorithm>
#include <atomic>
#include <bit>
#include <ctime>
#include <vector>

#include "base/counter.h"
#include "base/doorbell.h"
#include "base/sync.h"
#include "netdev/netdev.h"

namespace pollux {
namespace {

constexpr std::uint32_t kDefaultRxLength = 1024;
constexpr std::uint32_t kDefaultTxLength = 4096;
constexpr std::uint32_t kMaxQueueLength = 1u << 22;
constexpr std::uint64_t kMaxFrames = 1u << 24;  // In all receive queues of a port together.
constexpr std::uint32_t kMaxQueues = 1024;
// A queue keeps so many however scarce memory is.
constexpr std::uint64_t kFramesAlways = 64;

class MemoryRxq final : public Rxq {
 public:
  MemoryRxq(std::uint32_t length, PacketPool& pool)
      : pool_(pool),
        length_(length),
        mask_(std::bit_ceil(std::uint64_t{length}) - 1),
        ring_(mask_ + 1) {}

  ~MemoryRxq() override {
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    for (std::uint64_t i = head_.load(std::memory_order_acquire); i != tail; ++i) {
      FreePacket(ring_[i & mask_]);
    }
  }

  Status opened() const { return doorbell_.opened(); }

  std::size_t Inject(std::span<const std::span<const std::uint8_t>> frames) EXCLUDES(mutex_) {
    std::size_t took = 0;
    {
      MutexLock lock(mutex_);
      const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
      const std::uint64_t used = tail - head_.load(std::memory_order_acquire);
      std::uint64_t room = length_ - std::min<std::uint64_t>(used, length_);
      std::uint64_t bytes = injected_bytes_ - taken_bytes_.Get();
      const std::uint64_t bytes_before = bytes;
      std::uint64_t dropped = 0;
      std::uint64_t errors = 0;
      for (const std::span<const std::uint8_t> frame : frames) {
        if (frame.empty() || frame.size() > kMaxFrame) {
          ++errors;
          continue;
        }
        const bool keeps = room > 0 && InShare(used + took, bytes, frame.size());
        PacketPtr packet = keeps ? pool_.Copy(frame) : nullptr;
        if (packet == nullptr) {
          ++dropped;
          continue;
        }
        --room;
        bytes += packet->chunk_size;
        ring_[(tail + took++) & mask_] = packet.release();
      }
      injected_bytes_ += bytes - bytes_before;
      rx_dropped_.Add(dropped);
      rx_errors_.Add(errors);
      // Counted before they can be taken: taken() never runs ahead of injected().
      injected_.store(injected_.load(std::memory_order_relaxed) + took, std::memory_order_release);
      tail_.store(tail + took, std::memory_order_seq_cst);
    }
    if (took > 0) doorbell_.Ring();
    return took;
  }

  void Recv(PacketBatch& batch) override {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (seen_tail_ == head) {
      seen_tail_ = tail_.load(std::memory_order_acquire);
      if (seen_tail_ == head) return;
    }
    const std::uint64_t n = std::min<std::uint64_t>(seen_tail_ - head, batch.room());
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      Packet* packet = ring_[(head + i) & mask_];
      bytes += packet->chunk_size;
      batch.AddRaw(packet);
    }
    taken_bytes_.Add(bytes);
    head_.store(head + n, std::memory_order_release);
    taken_.store(head + n, std::memory_order_release);
  }

  int wait_fd() const override { return doorbell_.fd(); }
  bool Arm() override {
    doorbell_.Announce();
    if (tail_.load(std::memory_order_seq_cst) == head_.load(std::memory_order_relaxed)) return true;
    doorbell_.Awake();
    return false;
  }
  void Disarm() override { doorbell_.Awake(); }

  std::uint64_t injected() const override { return injected_.load(std::memory_order_acquire); }
  std::uint64_t taken() const override { return taken_.load(std::memory_order_acquire); }
  std::uint64_t rx_dropped() const { return rx_dropped_.Get(); }
  std::uint64_t rx_errors() const { return rx_errors_.Get(); }

 private:
  // Whether one frame more leaves memory to others.
  bool InShare(std::uint64_t held, std::uint64_t bytes, std::size_t size) const {
    const std::uint64_t chunk = PacketPool::ChunkSizeFor(static_cast<std::uint32_t>(size));
    return held < kFramesAlways || bytes + chunk <= pool_.share();
  }

  PacketPool& pool_;
  const std::uint64_t length_;
  const std::uint64_t mask_;
  // Entries in [head_, tail_) are the consumer's, the others the producers'.
  std::vector<Packet*> ring_;
  Doorbell doorbell_;

  // The consumer's.
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::atomic<std::uint64_t> taken_{0};
  std::uint64_t seen_tail_ = 0;
  Counter taken_bytes_;  // Of chunks.

  // The producers', written under the mutex.
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> injected_{0};
  Counter rx_dropped_;
  Counter rx_errors_;
  Mutex mutex_;
  std::uint64_t injected_bytes_ GUARDED_BY(mutex_) = 0;  // Of chunks.
};

class MemoryNetdevImpl final : public MemoryNetdev {
 public:
  MemoryNetdevImpl(const NetdevSpec& spec, PacketPool& pool)
      : pool_(pool),
        numa_(spec.numa.value_or(0)),
        mtu_(spec.mtu),
        tx_(spec.queue_length != 0 ? spec.queue_length : kDefaultTxLength) {
    const std::uint32_t length = spec.queue_length != 0 ? spec.queue_length : kDefaultRxLength;
    for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
      rxqs_.push_back(std::make_unique<MemoryRxq>(length, pool));
    }
  }

  ~MemoryNetdevImpl() override {
    MutexLock lock(tx_mutex_);
    for (std::uint64_t i = tx_head_; i != tx_tail_; ++i) FreePacket(tx_[i % tx_.size()]);
  }

  Status opened() const {
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) {
      if (Status status = static_cast<const MemoryRxq&>(*rxq).opened(); !status) return status;
    }
    return {};
  }

  std::string mode() const override { return mode_; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_ != 0 ? mtu_ : kMaxFrame - kMinFrame; }
  // Room for two VLAN tags on top of the MTU, as network cards give.
  bool Fits(const Packet& packet) const override {
    return mtu_ == 0 || packet.size <= mtu_ + kMinFrame + 8;
  }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override
      EXCLUDES(tx_mutex_) {
    PacketBatch refused;  // Freed after the mutex is released.
    std::uint32_t full = 0;
    {
      MutexLock lock(tx_mutex_);
      for (Packet* packet : batch) {
        if (!Fits(*packet)) {
          result.Drop(DropReason::kMtu);
          refused.AddRaw(packet);
        } else if (!HasRoomFor(*packet)) {
          ++full;
          refused.AddRaw(packet);
        } else {
          result.Accept(*packet);
          tx_[tx_tail_++ % tx_.size()] = packet;
          tx_bytes_ += packet->chunk_size;
        }
      }
    }
    batch.Release();
    if (full > 0) result.Drop(DropReason::kTxQueueFull, full);
  }

  std::size_t held() const override EXCLUDES(tx_mutex_) {
    MutexLock lock(tx_mutex_);
    return tx_tail_ - tx_head_;
  }
  NetdevStats stats() const override {
    NetdevStats stats;
    for (const std::unique_ptr<Rxq>& rxq : rxqs_) {
      const MemoryRxq& queue = static_cast<const MemoryRxq&>(*rxq);
      stats.rx_dropped += queue.rx_dropped();
      stats.AddError(RxError::kBroken, queue.rx_errors());
    }
    return stats;
  }

  std::size_t Inject(std::uint32_t rxq,
                     std::span<const std::span<const std::uint8_t>> frames) override {
    if (rxq >= rxqs_.size()) return 0;
    return static_cast<MemoryRxq&>(*rxqs_[rxq]).Inject(frames);
  }

  std::size_t Drain(std::size_t max, std::vector<PacketPtr>& out) override EXCLUDES(tx_mutex_) {
    MutexLock lock(tx_mutex_);
    const std::size_t n = std::min<std::size_t>(max, tx_tail_ - tx_head_);
    out.reserve(out.size() + n);
    for (std::size_t i = 0; i < n; ++i) {
      Packet* packet = tx_[tx_head_++ % tx_.size()];
      tx_bytes_ -= packet->chunk_size;
      out.emplace_back(packet);
    }
    return n;
  }

 private:
  bool HasRoomFor(const Packet& packet) const REQUIRES(tx_mutex_) {
    const std::uint64_t held = tx_tail_ - tx_head_;
    if (held == tx_.size()) return false;
    return held < kFramesAlways ||
           (!pool_.scarce() && tx_bytes_ + packet.chunk_size <= pool_.share());
  }

  const PacketPool& pool_;
  const std::string mode_ = "memory";
  const std::uint32_t numa_;
  const std::uint32_t mtu_;  // 0: no limit.
  std::vector<std::unique_ptr<Rxq>> rxqs_;

  mutable Mutex tx_mutex_;
  std::vector<Packet*> tx_ GUARDED_BY(tx_mutex_);  // A ring; [tx_head_, tx_tail_) are held.
  std::uint64_t tx_head_ GUARDED_BY(tx_mutex_) = 0;
  std::uint64_t tx_tail_ GUARDED_BY(tx_mutex_) = 0;
  std::size_t tx_bytes_ GUARDED_BY(tx_mutex_) = 0;  // Of the chunks held.
};

}  // namespace

Result<std::unique_ptr<Netdev>> OpenMemoryNetdev(const NetdevSpec& spec, PacketPool& pool) {
  if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
    return Invalid("a memory port has 1 to " + std::to_string(kMaxQueues) + " receive queues");
  }
  if (spec.queue_length > kMaxQueueLength) {
    return Invalid("a queue length is at most " + std::to_string(kMaxQueueLength));
  }
  if (std::uint64_t{spec.rxqs} * spec.queue_length > kMaxFrames) {
    return Invalid("the receive queues of a port hold " + std::to_string(kMaxFrames) +
                       " frames at most, all together",
                   "lower rxqs or queueLength");
  }
  if (spec.mtu > kMaxFrame - kMinFrame) {
    return Invalid("an MTU is at most " + std::to_string(kMaxFrame - kMinFrame));
  }
  if (spec.open_delay_ms > 0) {
    timespec left{static_cast<time_t>(spec.open_delay_ms / 1000),
                  static_cast<long>(spec.open_delay_ms % 1000) * 1'000'000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
  }
  auto netdev = std::make_unique<MemoryNetdevImpl>(spec, pool);
  if (Status status = netdev->opened(); !status) return status.error();
  return std::unique_ptr<Netdev>(std::move(netdev));
}

}  // namespace pollux
