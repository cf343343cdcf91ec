// PacketRegion: chunks of a pool that a kernel, or a device, reads and writes by itself.
//
// What such a driver needs is one range of memory that stays, and that nobody uses up: chunks of a
// region are given to those alone who ask this region for them, and a queue that must not run dry
// can ask for some to be left. Otherwise a packet in such a chunk is a packet like any other: it
// goes wherever packets go, and finds its way back when it is freed. A forwarding thread keeps some
// at hand, of one region at a time, in its PacketCache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/sync.h"
#include "packet/packet.h"

namespace pollux {

class PacketRegion {
 public:
  static constexpr std::uint32_t kChunkClass = PacketPool::kClasses;
  static constexpr std::uint32_t kChunk = PacketPool::kSmallChunk;

  // What the driver that uses the region keeps with it.
  struct Use {
    virtual ~Use() = default;
  };

  PacketRegion(const PacketSlab& slab, std::uint8_t* base, Packet* packets, std::uint32_t chunks);
  PacketRegion(const PacketRegion&) = delete;
  PacketRegion& operator=(const PacketRegion&) = delete;

  std::uint8_t* base() const { return base_; }
  std::uint32_t chunks() const { return chunks_; }
  std::size_t bytes() const { return std::size_t{chunks_} * kChunk; }
  bool Holds(const Packet& packet) const { return packet.slab == &slab_; }
  Packet* At(std::uint32_t chunk) const { return &packets_[chunk]; }
  std::uint32_t IndexOf(const Packet& packet) const {
    return static_cast<std::uint32_t>(&packet - packets_);
  }

  // Up to `n` packets, as they were left, if `leave` others stay free; returns how many.
  std::size_t Take(Packet** packets, std::size_t n, std::size_t leave) EXCLUDES(mutex_);
  void Give(Packet* const* packets, std::size_t n) noexcept EXCLUDES(mutex_);
  // The packet of a chunk that somebody wrote a frame into, as if just allocated.
  Packet* Revive(std::uint32_t chunk, std::uint32_t offset, std::uint32_t size) const;

  // Neither held nor in a thread's cache.
  std::size_t free() const EXCLUDES(mutex_);

  // Touched by those who open and close devices.
  std::unique_ptr<Use> use;

 private:
  friend class PacketCache;
  friend class PacketPool;
  static constexpr std::size_t kTrade = 128;  // Packets exchanged with a cache at a time, at least.

  std::size_t TakeFree(Packet** packets, std::size_t n, std::size_t leave) REQUIRES(mutex_);
  void Free(Packet* packet) noexcept EXCLUDES(mutex_);
  void GiveBack(Packet* const* packets, std::size_t n) noexcept EXCLUDES(mutex_);

  const PacketSlab& slab_;
  std::uint8_t* const base_;
  Packet* const packets_;
  const std::uint32_t chunks_;
  mutable Mutex mutex_;
  std::vector<Packet*> free_ GUARDED_BY(mutex_);
};

}  // namespace pollux
