// From a received batch to its actions: parse, look up, group by flow, execute.

#include <algorithm>

#include "flow/extract.h"
#include "pmd/context.h"

namespace pollux {

void Context::Input(PacketBatch batch, PortNumber in_port) {
  now_ms_ = static_cast<std::uint64_t>(shared_.clock.NowMs());

  // 1. Runts go; the others learn where they came from.
  PacketBatch runts;
  PacketBatch whole;
  for (Packet* packet : batch) {
    packet->in_port = in_port;
    (packet->size < kMinFrame ? runts : whole).AddRaw(packet);
  }
  batch.Release();
  if (!runts.empty()) Drop(std::move(runts), DropReason::kRxInvalid);

  // 2. Parse.
  const std::size_t n = whole.size();
  std::array<Miniflow, kBatchSize> keys;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + 4 < n) __builtin_prefetch(whole[i + 4]->data);
    ExtractMiniflow(*whole[i], keys[i]);
    whole[i]->hash = Hash(keys[i]);
  }

  // 3. Find the flows.
  const Dpcls* classifier = shared_.flows.ClassifierOf(in_port);
  std::array<Megaflow*, kBatchSize> flows;
  for (std::size_t i = 0; i < n; ++i) flows[i] = Classify(keys[i], whole[i]->hash, classifier);

  // 4. Group by flow in order of arrival, and run each group's actions.
  std::array<Packet*, kBatchSize> waiting;
  std::copy(whole.begin(), whole.end(), waiting.begin());
  whole.Release();
  for (std::size_t i = 0; i < n; ++i) {
    if (waiting[i] == nullptr) continue;
    if (flows[i] == nullptr) {
      Park(PacketPtr(waiting[i]), UpcallReason::kMiss, nullptr);
      continue;
    }
    PacketBatch group;
    Be16 tcp_flags = 0;
    for (std::size_t j = i; j < n; ++j) {
      if (flows[j] != flows[i] || waiting[j] == nullptr) continue;
      group.AddRaw(std::exchange(waiting[j], nullptr));
      const std::uint64_t word = keys[j].Word(POLLUX_FLOW_WORD(tcp_flags));
      tcp_flags |= std::bit_cast<std::array<Be16, 4>>(word)[(offsetof(Flow, tcp_flags) % 8) / 2];
    }
    RunFlow(flows[i], std::move(group), __builtin_bswap16(tcp_flags));
  }
  WakeUpcalls();
}

Megaflow* Context::Classify(const Miniflow& key, std::uint32_t hash, const Dpcls* classifier) {
  if (Megaflow* flow = emc_.Lookup(key, hash)) {
    counters_.emc_hits.Add(1);
    return flow;
  }
  Megaflow* flow = classifier == nullptr ? nullptr : classifier->Lookup(key);
  if (flow == nullptr) return nullptr;
  counters_.megaflow_hits.Add(1);
  if (emc_insert_inv_prob_ != 0) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    if (emc_insert_inv_prob_ == 1 || random_ % emc_insert_inv_prob_ == 0)
      emc_.Insert(key, hash, flow);
  }
  return flow;
}

void Context::RunFlow(Megaflow* flow, PacketBatch batch, std::uint16_t tcp_flags) {
  shared_.flows.CountersOf(*flow, slot_).Hit(batch.size(), batch.Bytes(), now_ms_, tcp_flags);
  const ActionList& actions = *flow->actions.load(std::memory_order_acquire);
  if (actions.sole_output() != kNoPort) {
    Output(std::move(batch), actions.sole_output());
  } else {
    ExecuteActions(*this, std::move(batch), actions);
  }
}

// ------------------------------------------------------------------ upcalls

void Context::WakeUpcalls() {
  if (!parked_) return;
  parked_ = false;
  shared_.upcalls.Wake();
}

void Context::Upcall(PacketBatch batch, const UserspaceAction& action) {
  role_.AssertHeld();
  for (Packet* packet : batch) Park(PacketPtr(packet), UpcallReason::kAction, action.userdata);
  batch.Release();
}

void Context::Park(PacketPtr packet, UpcallReason reason, const Userdata& userdata) {
  counters_.upcalls.Add(1);
  DropReason why = DropReason::kNoConsumer;
  if (shared_.upcalls.has_consumer()) {
    pollux::Upcall upcall{std::move(packet), reason, userdata};
    if (shared_.upcalls.Park(slot_, upcall)) {
      parked_ = true;
      return;
    }
    packet = std::move(upcall.packet);
    why = DropReason::kUpcallFull;
  }
  counters_.lost_upcalls.Add(1);
  if (why == DropReason::kUpcallFull && flood_when_full_) {
    Flood(std::move(packet));
    return;
  }
  counters_.Drop(why, 1);
}

void Context::Flood(PacketPtr packet) {
  PortCache::Entry* last = nullptr;
  PacketBatch original;
  const PortNumber in_port = packet->in_port;
  original.Add(std::move(packet));
  for (PortCache::Entry& entry : port_cache_.entries()) {
    if (entry.port.number == in_port) continue;
    if (last != nullptr) Output(Clone(original), last->port.number);
    last = &entry;
  }
  if (last != nullptr) {
    Output(std::move(original), last->port.number);
  } else {
    Drop(std::move(original), DropReason::kUpcallFull);
  }
}

}  // namespace pollux
