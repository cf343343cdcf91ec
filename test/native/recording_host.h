// A host for actions that writes down what becomes of packets; and packets that AddressSanitizer
// watches although they are in a pool.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "actions/execute.h"

#if defined(__SANITIZE_ADDRESS__)
#define POLLUX_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POLLUX_TEST_ASAN 1
#endif
#endif
#ifdef POLLUX_TEST_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace pollux::test {

// AddressSanitizer notices who reads or writes behind a guarded packet, which must not need that
// room for what is pushed. Unguard() before the packet goes back to the pool.
inline void Guard([[maybe_unused]] const Packet& packet) {
#ifdef POLLUX_TEST_ASAN
  ASAN_POISON_MEMORY_REGION(packet.data + packet.size, packet.tailroom());
#endif
}
inline void Unguard([[maybe_unused]] const Packet& packet) {
#ifdef POLLUX_TEST_ASAN
  ASAN_UNPOISON_MEMORY_REGION(packet.chunk, packet.chunk_size);
#endif
}

// Calls `end(what, packet)` for each packet that comes to an end of its way.
template <typename End>
class RecordingHost {
 public:
  RecordingHost(PacketPool& pool, End end) : pool_(pool), end_(std::move(end)) {}

  void Output(PacketBatch batch, PortNumber port) {
    All("output " + std::to_string(static_cast<std::uint32_t>(port)), batch);
  }
  void Upcall(PacketBatch batch, const UserspaceAction&) { All("upcall", batch); }
  void Recirculate(PacketBatch batch, std::uint32_t recirc_id) {
    All("recirc " + std::to_string(recirc_id), batch);
  }
  void Drop(PacketBatch batch, DropReason reason) {
    All(kDropReasonText[static_cast<std::size_t>(reason)], batch);
  }
  PacketBatch Clone(const PacketBatch& batch) {
    PacketBatch copies;
    for (const Packet* packet : batch) {
      PacketPtr copy = pool_.Clone(*packet);
      POLLUX_CHECK(copy != nullptr);
      if (guarded) Guard(*copy);
      copies.Add(std::move(copy));
    }
    copied += batch.size();
    return copies;
  }
  PacketBatch NextSegments(Segmenter& segmenter) {
    PacketBatch segments;
    while (!segments.full() && !segmenter.done()) {
      if (!segmenter.fresh()) ++copied;
      PacketPtr segment = segmenter.Next(pool_);
      POLLUX_CHECK(segment != nullptr);
      segments.Add(std::move(segment));
    }
    return segments;
  }
  std::uint32_t Random() { return dice(); }

  std::size_t copied = 0;
  bool guarded = false;
  std::function<std::uint32_t()> dice = [] { return 0; };

 private:
  void All(const std::string& what, const PacketBatch& batch) {
    POLLUX_CHECK(!batch.empty());
    for (const Packet* packet : batch) {
      end_(what, *packet);
      Unguard(*packet);
    }
  }

  PacketPool& pool_;
  End end_;
};

}  // namespace pollux::test
