// From a received batch to its actions: parse, look up, group by flow, execute.

#include <algorithm>

#include "flow/extract.h"
#include "pmd/context.h"

namespace pollux {

namespace {

std::uint16_t TcpFlags(const Miniflow& key) {
  const auto halves = std::bit_cast<std::array<Be16, 4>>(key.Word(POLLUX_FLOW_WORD(tcp_flags)));
  return __builtin_bswap16(halves[offsetof(Flow, tcp_flags) % 8 / 2]);
}

}  // namespace

void Context::Input(PacketBatch batch, PortNumber in_port) {
  now_ms_ = static_cast<std::uint64_t>(shared_.clock.NowMs());

  // 1. Runts go; the others learn where they came from.
  for (Packet* packet : batch) packet->in_port = in_port;
  if (std::any_of(batch.begin(), batch.end(),
                  [](const Packet* p) { return p->size < kMinFrame; })) {
    DropRunts(batch);
  }

  Forward(std::move(batch));
  WakeUpcalls();
}

void Context::Forward(PacketBatch batch) {
  if (batch.empty()) return;
  const PortNumber in_port = batch[0]->in_port;  // Of all of them.

  // 2. Parse.
  const std::size_t n = batch.size();
  std::array<Miniflow, kBatchSize> keys;
  for (std::size_t i = 0; i < n; ++i) {
    ExtractMiniflow(*batch[i], keys[i]);
    batch[i]->hash = Hash(keys[i]);
  }

  // 3. Find the flows: in the cache, else in the classifier of the port.
  std::array<Megaflow*, kBatchSize> flows;
  std::size_t cached = 0;
  for (std::size_t i = 0; i < n; ++i) {
    flows[i] = emc_.Lookup(keys[i], batch[i]->hash);
    if (flows[i] != nullptr) ++cached;
  }
  counters_.emc_hits.Add(cached);
  if (cached < n) {
    const Dpcls* classifier = shared_.flows.ClassifierOf(in_port);
    for (std::size_t i = 0; i < n && classifier != nullptr; ++i) {
      if (flows[i] == nullptr) flows[i] = Classify(keys[i], batch[i]->hash, *classifier);
    }
  }

  // 4. Group by flow, and run each group's actions.
  RunGroups(std::move(batch), keys.data(), flows.data());
}

// The metadata and offsets that actions left are the packet's; recirc_id in the key makes it
// another one for cache and classifier.
void Context::Recirculate(PacketBatch batch, std::uint32_t recirc_id) {
  role_.AssertHeld();
  if (recirculations_ == kMaxRecirculations) {
    Drop(std::move(batch), DropReason::kRecirculation);
    return;
  }
  for (Packet* packet : batch) packet->recirc_id = recirc_id;
  ++recirculations_;
  Forward(std::move(batch));
  --recirculations_;
}

std::uint32_t Context::Random() {
  role_.AssertHeld();
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_;
}

void Context::DropRunts(PacketBatch& batch) {
  PacketBatch runts;
  PacketBatch whole;
  for (Packet* packet : batch) (packet->size < kMinFrame ? runts : whole).AddRaw(packet);
  batch.Release();
  batch = std::move(whole);
  Drop(std::move(runts), DropReason::kRxInvalid);
}

Megaflow* Context::Classify(const Miniflow& key, std::uint32_t hash, const Dpcls& classifier) {
  Megaflow* flow = classifier.Lookup(key);
  if (flow == nullptr) return nullptr;
  counters_.megaflow_hits.Add(1);
  if (emc_insert_inv_prob_ != 0 &&
      (emc_insert_inv_prob_ == 1 || Random() % emc_insert_inv_prob_ == 0)) {
    emc_.Insert(key, hash, flow);
  }
  return flow;
}

// Groups keep the order of arrival; a burst of one flow, the usual case, is one group as it stands.
void Context::RunGroups(PacketBatch batch, const Miniflow* keys, Megaflow* const* flows) {
  const std::size_t n = batch.size();
  if (n > 0 && flows[0] != nullptr &&
      std::all_of(flows, flows + n, [&](const Megaflow* flow) { return flow == flows[0]; })) {
    std::uint16_t tcp_flags = 0;
    for (std::size_t i = 0; i < n; ++i) tcp_flags |= TcpFlags(keys[i]);
    RunFlow(flows[0], std::move(batch), tcp_flags);
    return;
  }
  std::array<Packet*, kBatchSize> waiting;
  std::copy(batch.begin(), batch.end(), waiting.begin());
  batch.Release();
  for (std::size_t i = 0; i < n; ++i) {
    if (waiting[i] == nullptr) continue;
    if (flows[i] == nullptr) {
      Park(PacketPtr(waiting[i]), UpcallReason::kMiss, nullptr);
      continue;
    }
    PacketBatch group;
    std::uint16_t tcp_flags = 0;
    for (std::size_t j = i; j < n; ++j) {
      if (flows[j] != flows[i] || waiting[j] == nullptr) continue;
      group.AddRaw(std::exchange(waiting[j], nullptr));
      tcp_flags |= TcpFlags(keys[j]);
    }
    RunFlow(flows[i], std::move(group), tcp_flags);
  }
}

void Context::RunFlow(const Megaflow* flow, PacketBatch batch, std::uint16_t tcp_flags) {
  shared_.flows.CountersOf(*flow, slot_).Hit(batch.size(), batch.Bytes(), now_ms_, tcp_flags);
  const ActionList& actions = *flow->actions.load(std::memory_order_acquire);
  if (actions.sole_output() != kNoPort && recirculations_ == 0) {
    Enqueue(std::move(batch), actions.sole_output());  // As it was received: Ethernet.
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
