// TakenUpcalls: packets that the program has taken and that wait for its verdict.
//
// They are taken in batches and mostly answered in batches; a batch stays until its last packet has
// gone. Ids follow each other.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "flow/flow.h"
#include "forwarding/upcall_queue.h"

namespace pollux {

struct TakenUpcall {
  Upcall upcall;  // Without a packet: it has its verdict.
  Miniflow key;
};
using TakenBatch = std::vector<TakenUpcall>;

class TakenUpcalls {
 public:
  // Returns the id of the first. The batch is not empty.
  std::uint64_t Add(std::shared_ptr<TakenBatch> batch) {
    const std::uint64_t first = next_id_;
    next_id_ += batch->size();
    const std::size_t n = batch->size();
    batches_.emplace(first, Waiting{std::move(batch), n});
    return first;
  }

  // The packet, which is the caller's from now on; null: there is none of that id. `batch`: where
  // what is known of it stays for as long as it is held.
  PacketPtr Take(std::uint64_t id, std::shared_ptr<TakenBatch>& batch, const Miniflow*& key) {
    auto found = batches_.upper_bound(id);
    if (found == batches_.begin()) return nullptr;
    --found;
    Waiting& waiting = found->second;
    const std::uint64_t place = id - found->first;
    if (place >= waiting.batch->size()) return nullptr;
    TakenUpcall& taken = (*waiting.batch)[place];
    if (taken.upcall.packet == nullptr) return nullptr;
    if (batch != waiting.batch) batch = waiting.batch;
    key = &taken.key;
    PacketPtr packet = std::move(taken.upcall.packet);
    if (--waiting.n == 0) batches_.erase(found);
    return packet;
  }

  // All packets there are.
  std::vector<PacketPtr> Clear() {
    std::vector<PacketPtr> packets;
    for (auto& [first, waiting] : batches_) {
      for (TakenUpcall& taken : *waiting.batch) {
        if (taken.upcall.packet != nullptr) packets.push_back(std::move(taken.upcall.packet));
      }
    }
    batches_.clear();
    return packets;
  }

 private:
  struct Waiting {
    std::shared_ptr<TakenBatch> batch;
    std::size_t n;  // That have no verdict.
  };
  std::map<std::uint64_t, Waiting> batches_;  // By the id of the first.
  std::uint64_t next_id_ = 1;
};

}  // namespace pollux
