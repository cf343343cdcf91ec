#include <algorithm>

#include "base/pages.h"
#include "packet/packet.h"
#include "packet/packet_region.h"

namespace pollux {
namespace {

thread_local PacketCache* current_cache = nullptr;

// Of frames up to a usual MTU, somewhat above (tunnels), jumbo frames, and GSO frames.
constexpr std::array<std::uint32_t, PacketPool::kClasses> kChunkSize = {
    PacketPool::kSmallChunk, 4 * 1024, 10 * 1024, PacketPool::kLargeChunk};
constexpr std::array<std::size_t, PacketPool::kClasses> kChunksPerSlab = {1024, 256, 128, 32};

// The smallest chunks that hold a frame.
std::uint32_t ClassOf(std::uint32_t size) {
  std::uint32_t chunk_class = 0;
  while (size + PacketPool::kMaxHeadroom > kChunkSize[chunk_class]) ++chunk_class;
  return chunk_class;
}

}  // namespace

struct PacketSlab {
  PacketPool* pool;
  PacketRegion* region;  // That the slab makes up, or nullptr.
  std::uint8_t* memory;  // Chunks, then tunnel metadata, then arrivals.
  std::size_t memory_size;
  TunnelMetadata* tunnels;
  PacketArrival* arrivals;
  std::unique_ptr<Packet[]> packets;
  ~PacketSlab() { UnmapPages(memory, memory_size); }
};

namespace {

// `count` chunks and what is known of them; nullptr: there is no memory.
std::unique_ptr<PacketSlab> MakeSlab(PacketPool* pool, std::uint32_t chunk_class,
                                     std::uint32_t chunk_size, std::size_t count) {
  const std::size_t bytes = chunk_size * count;
  const std::size_t tunnels = count * sizeof(TunnelMetadata);
  const std::size_t memory_size = bytes + tunnels + count * sizeof(PacketArrival);
  void* memory = MapPages(memory_size);
  if (memory == nullptr) return nullptr;
  auto slab = std::make_unique<PacketSlab>();
  slab->pool = pool;
  slab->memory = static_cast<std::uint8_t*>(memory);
  slab->memory_size = memory_size;
  slab->tunnels = reinterpret_cast<TunnelMetadata*>(slab->memory + bytes);
  slab->arrivals = reinterpret_cast<PacketArrival*>(slab->memory + bytes + tunnels);
  slab->packets = std::make_unique<Packet[]>(count);
  for (std::size_t i = 0; i < count; ++i) {
    Packet& packet = slab->packets[i];
    packet.chunk = slab->memory + i * chunk_size;
    packet.chunk_size = chunk_size;
    packet.chunk_class = chunk_class;
    packet.slab = slab.get();
  }
  return slab;
}

}  // namespace

TunnelMetadata& Packet::tunnel() const { return slab->tunnels[this - slab->packets.get()]; }
PacketArrival& Packet::arrival() const { return slab->arrivals[this - slab->packets.get()]; }

std::uint32_t PacketPool::ChunkSizeFor(std::uint32_t size) { return kChunkSize[ClassOf(size)]; }

PacketPool::PacketPool(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}
PacketPool::~PacketPool() = default;

bool PacketPool::Grow(std::uint32_t chunk_class) {
  const std::uint32_t chunk_size = kChunkSize[chunk_class];
  const std::size_t count = kChunksPerSlab[chunk_class];
  const std::size_t bytes = chunk_size * count;
  if (mapped_bytes_ + bytes > limit_bytes_) return false;
  std::unique_ptr<PacketSlab> slab = MakeSlab(this, chunk_class, chunk_size, count);
  if (slab == nullptr) return false;
  for (std::size_t i = count; i-- > 0;) free_[chunk_class].push_back(&slab->packets[i]);
  mapped_bytes_ += bytes;
  total_ += count;
  slabs_.push_back(std::move(slab));
  return true;
}

void PacketPool::Reset(Packet* packet, std::uint32_t size) {
  const std::uint32_t colour = (reinterpret_cast<std::uintptr_t>(packet) / sizeof(Packet)) & 3;
  packet->data = packet->chunk + kHeadroom + 64 * colour;
  packet->size = size;
  packet->in_port = kNoPort;
  packet->l3_offset = packet->l4_offset = Packet::kNoOffset;
  packet->offloads = 0;
  packet->has_tunnel = false;
  packet->padded = false;
  packet->has_arrival = false;
  packet->l3_type = 0;
  packet->recirc_id = packet->dp_hash = packet->skb_mark = packet->skb_priority = 0;
}

Packet* PacketPool::Take(std::uint32_t size) {
  POLLUX_DCHECK(size <= kMaxFrame);
  const std::uint32_t chunk_class = ClassOf(size);
  Packet* packet = nullptr;
  PacketCache* cache = current_cache;
  if (chunk_class == 0 && cache != nullptr && &cache->pool_ == this) {
    if (cache->size_ == 0) Refill(*cache);
    if (cache->size_ == 0) return Refuse();
    packet = cache->packets_[--cache->size_];
  } else {
    MutexLock lock(mutex_);
    if (free_[chunk_class].empty() && !Grow(chunk_class)) return Refuse();
    packet = free_[chunk_class].back();
    free_[chunk_class].pop_back();
    Lend(packet->chunk_size);
  }
  Reset(packet, size);
  return packet;
}

PacketPtr PacketPool::Allocate(std::uint32_t size) { return PacketPtr(Take(size)); }

PacketPtr PacketPool::Copy(std::span<const std::uint8_t> frame) {
  PacketPtr packet = Allocate(static_cast<std::uint32_t>(frame.size()));
  if (packet != nullptr) std::memcpy(packet->data, frame.data(), frame.size());
  return packet;
}

void PacketPool::CopyMetadata(const Packet& from, Packet& to) {
  to.in_port = from.in_port;
  to.l3_type = from.l3_type;
  to.recirc_id = from.recirc_id;
  to.dp_hash = from.dp_hash;
  to.skb_mark = from.skb_mark;
  to.skb_priority = from.skb_priority;
  if (from.has_tunnel) to.SetTunnel(from.tunnel());
  if (from.has_arrival) to.SetArrival(from.arrival());
}

PacketPtr PacketPool::Clone(const Packet& packet) {
  PacketPtr copy = Copy(packet.bytes());
  if (copy != nullptr) {
    CopyMetadata(packet, *copy);
    copy->l3_offset = packet.l3_offset;
    copy->l4_offset = packet.l4_offset;
    copy->csum_start = packet.csum_start;
    copy->gso_size = packet.gso_size;
    copy->padded = packet.padded;
    copy->offloads = packet.offloads;
  }
  return copy;
}

std::size_t PacketPool::AllocateBatch(PacketBatch& batch, std::size_t n, std::uint32_t size) {
  n = std::min(n, batch.room());
  PacketCache* cache = current_cache;
  if (size + kMaxHeadroom <= kSmallChunk && cache != nullptr && &cache->pool_ == this) {
    if (cache->size_ < n) Refill(*cache);
    n = std::min(n, cache->size_);
    for (std::size_t i = 0; i < n; ++i) {
      Packet* packet = cache->packets_[--cache->size_];
      Reset(packet, size);
      batch.AddRaw(packet);
    }
    return n;
  }
  for (std::size_t i = 0; i < n; ++i) {
    Packet* packet = Take(size);
    if (packet == nullptr) return i;
    batch.AddRaw(packet);
  }
  return n;
}

void PacketPool::Refill(PacketCache& cache) {
  MutexLock lock(mutex_);
  if (free_[0].empty()) Grow(0);
  const std::size_t n = std::min(PacketCache::kTrade, free_[0].size());
  std::copy(free_[0].end() - static_cast<std::ptrdiff_t>(n), free_[0].end(),
            cache.packets_.begin() + static_cast<std::ptrdiff_t>(cache.size_));
  free_[0].resize(free_[0].size() - n);
  cache.size_ += n;
  Lend(n * kSmallChunk);
}

void PacketPool::GiveBack(Packet* const* packets, std::size_t n) noexcept {
  MutexLock lock(mutex_);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < n; ++i) {
    free_[packets[i]->chunk_class].push_back(packets[i]);
    bytes += packets[i]->chunk_size;
  }
  lent_bytes_.store(lent_bytes_.load(std::memory_order_relaxed) - bytes, std::memory_order_relaxed);
}

void PacketPool::Free(Packet* packet) noexcept {
  if (packet->chunk_class == PacketRegion::kChunkClass) {
    packet->slab->region->Free(packet);
    return;
  }
  PacketCache* cache = current_cache;
  if (packet->chunk_class != 0 || cache == nullptr || &cache->pool_ != this) {
    GiveBack(&packet, 1);
    return;
  }
  if (cache->size_ == PacketCache::kCapacity) {
    cache->size_ -= PacketCache::kTrade;
    GiveBack(cache->packets_.data() + cache->size_, PacketCache::kTrade);
  }
  cache->packets_[cache->size_++] = packet;
}

std::size_t PacketPool::held() const {
  MutexLock lock(mutex_);
  std::size_t held = total_;
  for (const std::vector<Packet*>& free : free_) held -= free.size();
  for (const auto& region : regions_) held += region->chunks() - region->free();
  return held;
}

PacketRegion* PacketPool::AddRegion(std::uint32_t chunks) {
  MutexLock lock(mutex_);
  const std::size_t bytes = std::size_t{chunks} * kSmallChunk;
  if (mapped_bytes_ + bytes > limit_bytes_) return nullptr;
  std::unique_ptr<PacketSlab> slab = MakeSlab(this, PacketRegion::kChunkClass, kSmallChunk, chunks);
  if (slab == nullptr) return nullptr;
  regions_.push_back(
      std::make_unique<PacketRegion>(*slab, slab->memory, slab->packets.get(), chunks));
  slab->region = regions_.back().get();
  mapped_bytes_ += bytes;
  slabs_.push_back(std::move(slab));
  return regions_.back().get();
}

std::vector<PacketRegion*> PacketPool::regions() const {
  MutexLock lock(mutex_);
  std::vector<PacketRegion*> regions;
  for (const auto& region : regions_) regions.push_back(region.get());
  return regions;
}

// ------------------------------------------------------------------ regions

PacketRegion::PacketRegion(const PacketSlab& slab, std::uint8_t* base, Packet* packets,
                           std::uint32_t chunks)
    : slab_(slab), base_(base), packets_(packets), chunks_(chunks) {
  free_.reserve(chunks);
  for (std::uint32_t i = chunks; i-- > 0;) free_.push_back(&packets[i]);
}

std::size_t PacketRegion::Take(Packet** packets, std::size_t n, std::size_t leave) {
  PacketCache* cache = current_cache;
  const bool cached = cache != nullptr && (cache->region_ == this || cache->region_size_ == 0);
  if (!cached) {
    MutexLock lock(mutex_);
    return TakeFree(packets, n, leave);
  }
  cache->region_ = this;
  if (cache->region_size_ < n) {
    MutexLock lock(mutex_);
    cache->region_size_ += TakeFree(cache->region_packets_.data() + cache->region_size_,
                                    std::max(n - cache->region_size_, kTrade), leave);
  }
  n = std::min(n, cache->region_size_);
  cache->region_size_ -= n;
  std::copy_n(cache->region_packets_.data() + cache->region_size_, n, packets);
  return n;
}

std::size_t PacketRegion::TakeFree(Packet** packets, std::size_t n, std::size_t leave) {
  n = std::min(n, free_.size() - std::min(free_.size(), leave));
  std::copy(free_.end() - static_cast<std::ptrdiff_t>(n), free_.end(), packets);
  free_.resize(free_.size() - n);
  return n;
}

void PacketRegion::Give(Packet* const* packets, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) Free(packets[i]);
}

void PacketRegion::Free(Packet* packet) noexcept {
  PacketCache* cache = current_cache;
  if (cache == nullptr || (cache->region_ != this && cache->region_size_ > 0)) {
    GiveBack(&packet, 1);
    return;
  }
  cache->region_ = this;
  if (cache->region_size_ == PacketCache::kCapacity) {
    cache->region_size_ -= kTrade;
    GiveBack(cache->region_packets_.data() + cache->region_size_, kTrade);
  }
  cache->region_packets_[cache->region_size_++] = packet;
}

void PacketRegion::GiveBack(Packet* const* packets, std::size_t n) noexcept {
  MutexLock lock(mutex_);
  free_.insert(free_.end(), packets, packets + n);
}

std::size_t PacketRegion::free() const {
  MutexLock lock(mutex_);
  return free_.size();
}

Packet* PacketRegion::Revive(std::uint32_t chunk, std::uint32_t offset, std::uint32_t size) const {
  Packet* packet = &packets_[chunk];
  PacketPool::Reset(packet, size);
  packet->data = packet->chunk + offset;
  return packet;
}

void FreePacket(Packet* packet) noexcept { packet->slab->pool->Free(packet); }

void PacketBatch::Clear() noexcept {
  PacketCache* cache = current_cache;
  for (std::size_t i = 0; i < size_; ++i) {
    Packet* packet = packets_[i];
    // The usual case at hand; Free() knows the others.
    if (cache != nullptr && packet->slab->pool == &cache->pool_ && packet->chunk_class == 0 &&
        cache->size_ < PacketCache::kCapacity) {
      cache->packets_[cache->size_++] = packet;
    } else {
      packet->slab->pool->Free(packet);
    }
  }
  size_ = 0;
}

PacketCache::~PacketCache() {
  pool_.GiveBack(packets_.data(), size_);
  if (region_size_ > 0) region_->GiveBack(region_packets_.data(), region_size_);
}

PacketCacheScope::PacketCacheScope(PacketCache& cache) : previous_(current_cache) {
  current_cache = &cache;
}
PacketCacheScope::~PacketCacheScope() { current_cache = previous_; }

}  // namespace pollux
