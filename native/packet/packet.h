// Packet, PacketBatch, PacketPool: who holds a frame, and where its bytes are.
//
// A pool is made of slabs: one region of fixed-size chunks for the bytes, and beside it an array of
// Packet, one cache line each, with what we know of the frame in the chunk of the same index. Bytes
// that a kernel or a device may see thus never share memory with our metadata, and the region can
// be handed to a driver whole (packet_region.h). What few packets have (tunnel metadata, and how
// they arrived while somebody records) stands in arrays behind the chunks, of which the kernel
// gives us a page when we first touch it. There are several sizes of chunks, for ordinary frames up
// to whatever a 16-bit length can hold.
//
// A packet has exactly one holder. Holders are PacketPtr (one packet) and PacketBatch (up to 32);
// both are move-only and give back to the pool what they still hold when they die, so a packet can
// be dropped by forgetting it, but it should be counted.
//
// A forwarding thread allocates from and frees to a PacketCache of its own, without a lock; the
// cache trades with the pool in bulk. Threads without a cache (the event loop, tests) take the
// pool's mutex. A pool must outlive its packets and caches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "packet/tunnel.h"

namespace pollux {

class PacketPool;
class PacketRegion;
struct PacketSlab;

inline constexpr std::uint32_t kMinFrame = 14;      // An Ethernet header.
inline constexpr std::uint32_t kMaxFrame = 65'535;  // What a length field of 16 bits can say.
inline constexpr std::size_t kBatchSize = 32;

// Datapath port numbers: 0..65535 as in Open vSwitch; 0 is the host's own tap ("LOCAL").
enum class PortNumber : std::uint32_t {};
inline constexpr PortNumber kNoPort{UINT32_MAX};

// What a frame still lacks (Packet::offloads), or what a device takes unfinished: a set of bits.
// See packet/offload.h.
using Offloads = std::uint8_t;
inline constexpr Offloads kOffloadTcpChecksum = 1;  // The layer 4 checksum is partial: TCP's, ...
inline constexpr Offloads kOffloadUdpChecksum = 2;  // ... or UDP's.
inline constexpr Offloads kOffloadTcp4 = 4;         // To be segmented: TCP over IPv4, ...
inline constexpr Offloads kOffloadTcp6 = 8;
inline constexpr Offloads kOffloadUdp = 16;  // ... UDP over either.
inline constexpr Offloads kOffloadEcn = 32;  // CWR is for the first segment alone.
// What is lacking is inside of a tunnel: of one by UDP with Ethernet inside (VXLAN, Geneve), ...
inline constexpr Offloads kOffloadUdpTunnel = 64;
inline constexpr Offloads kOffloadTunnel = 128;  // ... or of anything else. Of GSO frames alone.
inline constexpr Offloads kOffloadChecksum = kOffloadTcpChecksum | kOffloadUdpChecksum;
inline constexpr Offloads kOffloadGso = kOffloadTcp4 | kOffloadTcp6 | kOffloadUdp;
inline constexpr Offloads kOffloadAll =  // But for tunnels, which hardly anybody takes.
    kOffloadChecksum | kOffloadGso | kOffloadEcn;

// How a packet arrived, as far as its device tells.
struct PacketArrival {
  std::int64_t time_ns = 0;   // Since 1970; 0: not known.
  std::uint32_t cut_off = 0;  // Bytes that the wire had behind the frame: a capture's snap length.
};

struct alignas(64) Packet {
  static constexpr std::uint16_t kNoOffset = UINT16_MAX;

  std::uint8_t* data = nullptr;  // First byte of the frame.
  std::uint32_t size = 0;        // Bytes of the frame.
  PortNumber in_port = kNoPort;
  // Set by the parser, for the actions: where the layer 3 and 4 headers start, kNoOffset if there
  // is none. A later fragment has no layer 4.
  std::uint16_t l3_offset = kNoOffset;
  std::uint16_t l4_offset = kNoOffset;
  // With kOffloadChecksum: where the layer 4 starts that has it, in a tunnel another one than the
  // packet's own. Unlike the offsets it goes along with what is pushed and pulled.
  std::uint16_t csum_start = 0;
  // With kOffloadGso: bytes of payload in a segment. With `padded`: bytes behind what an IP header
  // ends that pushed headers hide.
  std::uint16_t gso_size = 0;

  // Fixed when the slab was made.
  std::uint8_t* chunk = nullptr;
  std::uint32_t chunk_size : 24 = 0;
  std::uint32_t chunk_class : 8 = 0;  // By size; 0: small. PacketRegion::kChunkClass: of a region.

  Offloads offloads = 0;         // What is left to be done before the frame is one of the wire.
  bool has_tunnel : 1 = false;   // tunnel() has something to say.
  bool padded : 1 = false;       // See gso_size.
  bool has_arrival : 1 = false;  // arrival() has something to say.
  std::uint16_t l3_type = 0;  // Not 0: no Ethernet header; the EtherType of what comes first, as on
                              // the wire.
  PacketSlab* slab = nullptr;  // Fixed.

  // What actions know of a packet and its bytes do not say. Kept when it is recirculated.
  std::uint32_t recirc_id = 0;
  std::uint32_t dp_hash = 0;
  std::uint32_t skb_mark = 0;
  std::uint32_t skb_priority = 0;

  // Whether anything is known of the packet that its bytes and its port do not say.
  bool has_metadata() const {
    return (recirc_id | dp_hash | skb_mark | skb_priority | l3_type | std::uint32_t{has_tunnel}) !=
           0;
  }

  // Stands in a second array, which costs nothing as long as no packet has been in a tunnel.
  TunnelMetadata& tunnel() const;
  void SetTunnel(const TunnelMetadata& metadata) {
    tunnel() = metadata;
    has_tunnel = true;
  }

  // So does this, as long as nobody wants it (PacketPool::wants_arrivals()).
  PacketArrival& arrival() const;
  void SetArrival(const PacketArrival& how) {
    arrival() = how;
    has_arrival = true;
  }

  std::span<std::uint8_t> bytes() { return {data, size}; }
  std::span<const std::uint8_t> bytes() const { return {data, size}; }
  std::uint32_t headroom() const { return static_cast<std::uint32_t>(data - chunk); }
  std::uint32_t tailroom() const { return chunk_size - headroom() - size; }
  bool is_gso() const { return (offloads & kOffloadGso) != 0; }

  // Grows the frame at its front by `n` bytes, not initialised; nullptr if the headroom does not
  // suffice. A partial checksum stays with its bytes.
  std::uint8_t* Push(std::uint32_t n) {
    if (headroom() < n) return nullptr;
    data -= n;
    size += n;
    csum_start = static_cast<std::uint16_t>(csum_start + n);
    return data;
  }
  // Shrinks the frame at its front. `n` is at most size; with a partial checksum, at most its
  // start.
  void Pull(std::uint32_t n) {
    data += n;
    size -= n;
    csum_start = static_cast<std::uint16_t>(csum_start - n);
  }
};
static_assert(sizeof(Packet) == 64, "a packet's metadata is one cache line");

void FreePacket(Packet* packet) noexcept;

struct PacketFree {
  void operator()(Packet* packet) const noexcept { FreePacket(packet); }
};
using PacketPtr = std::unique_ptr<Packet, PacketFree>;

class PacketBatch {
 public:
  PacketBatch() = default;
  ~PacketBatch() { Clear(); }
  PacketBatch(PacketBatch&& other) noexcept { Take(other); }
  PacketBatch& operator=(PacketBatch&& other) noexcept {
    if (this != &other) {
      Clear();
      Take(other);
    }
    return *this;
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == kBatchSize; }
  std::size_t room() const { return kBatchSize - size_; }
  Packet* operator[](std::size_t i) const { return packets_[i]; }
  Packet* const* begin() const { return packets_.data(); }
  Packet* const* end() const { return packets_.data() + size_; }

  // Takes the packet over. The batch must have room.
  void Add(PacketPtr packet) { AddRaw(packet.release()); }
  void AddRaw(Packet* packet) {
    POLLUX_DCHECK(size_ < kBatchSize);
    packets_[size_++] = packet;
  }
  // Gives all packets up to the caller without freeing them: forgets them.
  void Release() { size_ = 0; }
  void Clear() noexcept;
  // Total bytes of the frames.
  std::uint64_t Bytes() const {
    std::uint64_t bytes = 0;
    for (const Packet* packet : *this) bytes += packet->size;
    return bytes;
  }

 private:
  void Take(PacketBatch& other) noexcept {
    std::memcpy(packets_.data(), other.packets_.data(), other.size_ * sizeof(Packet*));
    size_ = std::exchange(other.size_, 0);
  }

  std::size_t size_ = 0;
  std::array<Packet*, kBatchSize> packets_;
};

// Packets a thread keeps at hand. Use it through PacketCacheScope.
class PacketCache {
 public:
  explicit PacketCache(PacketPool& pool) : pool_(pool) {}
  ~PacketCache();
  PacketCache(const PacketCache&) = delete;
  PacketCache& operator=(const PacketCache&) = delete;

  PacketPool& pool() const { return pool_; }

 private:
  friend class PacketPool;
  friend class PacketBatch;
  friend class PacketRegion;
  static constexpr std::size_t kCapacity = 512;
  static constexpr std::size_t kTrade = 256;  // Packets exchanged with the pool at a time.

  PacketPool& pool_;
  std::size_t size_ = 0;
  std::array<Packet*, kCapacity> packets_;  // Small chunks only.
  // And chunks of one region.
  PacketRegion* region_ = nullptr;
  std::size_t region_size_ = 0;
  std::array<Packet*, kCapacity> region_packets_;
};

// While it lives, the calling thread allocates from and frees to `cache`. The cache must be used by
// one thread at a time.
class PacketCacheScope {
 public:
  explicit PacketCacheScope(PacketCache& cache);
  ~PacketCacheScope();
  PacketCacheScope(const PacketCacheScope&) = delete;
  PacketCacheScope& operator=(const PacketCacheScope&) = delete;

 private:
  PacketCache* const previous_;
};

class PacketPool {
 public:
  static constexpr std::uint32_t kSmallChunk = 2048;
  static constexpr std::uint32_t kLargeChunk = 66 * 1024;
  static constexpr std::uint32_t kClasses = 4;  // Of chunks; see packet_pool.cc.
  // Room in front of a fresh frame, for tags and tunnel headers; up to three cache lines more, so
  // that the first lines of the frames of a burst do not all fall into the same cache set.
  static constexpr std::uint32_t kHeadroom = 128;
  static constexpr std::uint32_t kMaxHeadroom = kHeadroom + 3 * 64;

  // At most `limit_bytes` of chunks are ever mapped, on demand.
  explicit PacketPool(std::size_t limit_bytes = std::size_t{512} << 20);
  ~PacketPool();
  PacketPool(const PacketPool&) = delete;
  PacketPool& operator=(const PacketPool&) = delete;

  // Bytes of the chunk that a frame of `size` bytes gets.
  static std::uint32_t ChunkSizeFor(std::uint32_t size);

  // A packet of `size` bytes (at most kMaxFrame), not initialised, offsets unset; nullptr when the
  // pool is exhausted.
  PacketPtr Allocate(std::uint32_t size);
  PacketPtr Copy(std::span<const std::uint8_t> frame);
  // A copy of the frame and of what is known of it.
  PacketPtr Clone(const Packet& packet);
  // All that is known of a packet but where its headers are and what it lacks.
  static void CopyMetadata(const Packet& from, Packet& to);
  // Appends up to `n` packets of `size` bytes to `batch`, as far as it has room; returns how many.
  std::size_t AllocateBatch(PacketBatch& batch, std::size_t n, std::uint32_t size);

  // Whoever keeps packets for later (a queue that somebody else drains) keeps at most share() bytes
  // of chunks, and next to nothing once memory is scarce: the rest is for what arrives. Any thread.
  std::size_t share() const { return limit_bytes_ / 2; }
  bool scarce() const { return lent_bytes_.load(std::memory_order_relaxed) > limit_bytes_ / 4 * 3; }
  // Whether somebody writes down how packets arrived; else devices need not say it. Any thread.
  bool wants_arrivals() const { return arrival_readers_.load(std::memory_order_relaxed) > 0; }
  void WantArrivals(bool wanted) {
    arrival_readers_.fetch_add(wanted ? 1 : -1, std::memory_order_relaxed);
  }

  // How often there was no packet to be had.
  std::uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }

  // Packets that are not in the pool: in a thread's cache or held by somebody. After the last cache
  // is gone: leaked.
  std::size_t held() const EXCLUDES(mutex_);

  // A region of `chunks` small chunks more, which only those use who ask for it; nullptr: the limit
  // is reached. It stays as long as the pool.
  PacketRegion* AddRegion(std::uint32_t chunks) EXCLUDES(mutex_);
  std::vector<PacketRegion*> regions() const EXCLUDES(mutex_);

  // The T that drivers share as long as there is the pool.
  template <typename T>
  T& Shared() EXCLUDES(mutex_) {
    static const char kKind = 0;
    MutexLock lock(mutex_);
    std::shared_ptr<void>& shared = shared_[&kKind];
    if (shared == nullptr) shared = std::make_shared<T>();
    return *static_cast<T*>(shared.get());
  }

 private:
  friend class PacketCache;
  friend class PacketRegion;
  friend void FreePacket(Packet* packet) noexcept;
  friend class PacketBatch;

  Packet* Take(std::uint32_t size);
  Packet* Refuse() {
    refusals_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  void Lend(std::size_t bytes) REQUIRES(mutex_) {
    lent_bytes_.store(lent_bytes_.load(std::memory_order_relaxed) + bytes,
                      std::memory_order_relaxed);
  }
  void Refill(PacketCache& cache) EXCLUDES(mutex_);
  void GiveBack(Packet* const* packets, std::size_t n) noexcept EXCLUDES(mutex_);
  void Free(Packet* packet) noexcept;
  bool Grow(std::uint32_t chunk_class) REQUIRES(mutex_);
  static void Reset(Packet* packet, std::uint32_t size);

  const std::size_t limit_bytes_;
  std::atomic<int> arrival_readers_{0};
  std::atomic<std::size_t> lent_bytes_{0};  // Of chunks that are not free. Written under mutex_.
  std::atomic<std::uint64_t> refusals_{0};
  mutable Mutex mutex_;
  std::size_t mapped_bytes_ GUARDED_BY(mutex_) = 0;
  std::size_t total_ GUARDED_BY(mutex_) = 0;
  std::array<std::vector<Packet*>, kClasses> free_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<PacketSlab>> slabs_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<PacketRegion>> regions_ GUARDED_BY(mutex_);
  std::map<const void*, std::shared_ptr<void>> shared_ GUARDED_BY(mutex_);
};

}  // namespace pollux
