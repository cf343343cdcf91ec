// UfidIndex: flows by their id.
//
// Open addressing over eight bytes a slot: a hash, and the place of the flow in FlowSlots. Finding
// costs about one cache line of the index and one of the flow, and inserting allocates nothing but
// when the index doubles. For the writers of the flow table, under its mutex.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "classifier/flow_slots.h"
#include "classifier/megaflow.h"

namespace pollux {

class UfidIndex {
 public:
  explicit UfidIndex(const FlowSlots& flows) : flows_(flows), slots_(kFirstSlots) {}

  std::size_t size() const { return size_; }

  Megaflow* Find(const Ufid& ufid) const {
    const std::uint32_t hash = Hash(ufid);
    for (std::size_t i = Home(hash); slots_[i].place != kNone; i = Next(i)) {
      if (slots_[i].hash != hash) continue;
      Megaflow& flow = flows_[slots_[i].place];
      if (flow.ufid == ufid) return &flow;
    }
    return nullptr;
  }
  // What Find() will look at first.
  void Prefetch(const Ufid& ufid) const { __builtin_prefetch(&slots_[Home(Hash(ufid))]); }

  // There is no other flow with its ufid.
  void Insert(const Megaflow& flow) {
    if ((size_ + 1) * 3 > slots_.size() * 2) Grow();
    Put({Hash(flow.ufid), flow.index});
    ++size_;
  }
  // The flow is there.
  void Remove(const Megaflow& flow) {
    std::size_t hole = Home(Hash(flow.ufid));
    for (; slots_[hole].place != flow.index; hole = Next(hole)) {
      POLLUX_CHECK(slots_[hole].place != kNone);
    }
    // What stands behind moves up, unless it would come before its home: no gap breaks a probe.
    for (std::size_t i = Next(hole); slots_[i].place != kNone; i = Next(i)) {
      const std::size_t home = Home(slots_[i].hash);
      if (((i - home) & mask()) < ((i - hole) & mask())) continue;
      slots_[hole] = slots_[i];
      hole = i;
    }
    slots_[hole] = {};
    --size_;
  }

 private:
  static constexpr std::size_t kFirstSlots = 64;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t place = kNone;
  };

  // Ids may be anything that users think of, such as small numbers.
  static std::uint32_t Hash(const Ufid& ufid) {
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(ufid);
    return HashWords(words.data(), words.size(), 0);
  }
  std::size_t mask() const { return slots_.size() - 1; }
  std::size_t Home(std::uint32_t hash) const { return hash & mask(); }
  std::size_t Next(std::size_t i) const { return (i + 1) & mask(); }

  void Put(Slot slot) {
    std::size_t i = Home(slot.hash);
    while (slots_[i].place != kNone) i = Next(i);
    slots_[i] = slot;
  }
  void Grow() {
    const auto old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
    for (const Slot& slot : old) {
      if (slot.place != kNone) Put(slot);
    }
  }

  const FlowSlots& flows_;
  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace pollux
