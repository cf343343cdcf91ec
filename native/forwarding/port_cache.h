// TxPort, and the two maps of it that every forwarding context owns.
//
// `tx_ports`, the shared map, is written by control under the context's port mutex. PortCache is
// the private copy that the fast path reads: no lock, no atomic, no other thread's memory. It is
// rebuilt as a whole in the reload handshake, never patched, so a number that was taken away and
// given to another port cannot leave a stale device behind.
//
// A cache entry also holds the packets that wait to be sent to its port, so that small groups of
// packets share one Send().
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "forwarding/counters.h"
#include "netdev/netdev.h"
#include "packet/packet.h"

namespace pollux {

// All that is needed to send to a port.
struct TxPort {
  PortNumber number = kNoPort;
  Netdev* netdev = nullptr;
  TxCounters* counters = nullptr;  // This context's, for this port.
  bool tunnel = false;             // Can push and pop headers.
  std::uint32_t id = 0;            // Of the port itself, whatever its number; 0: not said.
};

// TxPorts by number. One vector, in ascending order: a cache is copied from it at every reload, and
// with thousands of ports a walk over the nodes of a tree would take most of that time.
class TxPortMap {
 public:
  // In place of one with its number, if there is one.
  void Put(const TxPort& port) {
    const auto place = Place(port.number);
    if (place != ports_.end() && place->number == port.number) {
      *place = port;
    } else {
      ports_.insert(place, port);
    }
  }
  // `numbers` in ascending order; returns how many of them were there.
  std::size_t Erase(const std::vector<PortNumber>& numbers) {
    return std::erase_if(ports_, [&](const TxPort& port) {
      return std::binary_search(numbers.begin(), numbers.end(), port.number);
    });
  }
  void Clear() { ports_.clear(); }
  std::size_t size() const { return ports_.size(); }
  auto begin() const { return ports_.begin(); }
  auto end() const { return ports_.end(); }

 private:
  std::vector<TxPort>::iterator Place(PortNumber number) {
    return std::lower_bound(
        ports_.begin(), ports_.end(), number,
        [](const TxPort& port, PortNumber wanted) { return port.number < wanted; });
  }

  std::vector<TxPort> ports_;
};

class PortCache {
 public:
  struct Entry {
    TxPort port;
    PacketBatch pending;
    std::int64_t flush_at_ns =
        0;  // With a flush interval: when the oldest pending packet has waited long enough.
  };

  // The entry of a port, or nullptr.
  Entry* Find(PortNumber number) {
    for (std::size_t i = Place(number);; i = (i + 1) & mask_) {
      const std::uint32_t index = places_[i];
      if (index == kEmpty) return nullptr;
      if (entries_[index].port.number == number) return &entries_[index];
    }
  }
  std::vector<Entry>& entries() { return entries_; }
  std::size_t size() const { return entries_.size(); }
  // Memory follows the number of ports, up and down.
  std::size_t memory_bytes() const {
    return entries_.capacity() * sizeof(Entry) + places_.capacity() * sizeof(std::uint32_t);
  }

  // Nothing may be pending.
  void Rebuild(const TxPortMap& ports) {
    entries_.clear();
    Fit(ports.size());
    std::fill(places_.begin(), places_.end(), kEmpty);
    for (const TxPort& port : ports) {
      std::size_t i = Place(port.number);
      while (places_[i] != kEmpty) i = (i + 1) & mask_;
      places_[i] = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back().port = port;
    }
  }

 private:
  static constexpr std::uint32_t kEmpty = UINT32_MAX;
  // Room for `ports`, a quarter more at most when it was made: with thousands of ports, memory that
  // is new at each reload would cost more than to fill it.
  void Fit(std::size_t ports) {
    const std::size_t room = entries_.capacity();
    if (room >= ports && room <= 2 * ports) return;
    entries_ = std::vector<Entry>();
    entries_.reserve(ports + ports / 4);
    std::size_t places = 4;
    while (places < 2 * entries_.capacity()) places *= 2;
    mask_ = places - 1;
    places_ = std::vector<std::uint32_t>(places, kEmpty);
  }
  std::size_t Place(PortNumber number) const {
    return (static_cast<std::uint32_t>(number) * 0x9e3779b1u >> 8) & mask_;
  }

  std::size_t mask_ = 0;
  std::vector<std::uint32_t> places_ = {
      kEmpty};  // Open addressing, at most half full; indexes entries_.
  std::vector<Entry> entries_;
};

}  // namespace pollux
