// From a received batch to its actions: look up (lookup.cc), group by flow, execute.

#include <algorithm>
#include <bit>

#include "flow/extract.h"
#include "forwarding/context.h"

namespace pollux {

void Context::Input(PacketBatch& batch, const PolledRxq& rxq) {
  LookAtClock();
  // Runts go; the others learn where they came from.
  WireTotal total{batch.size(), 0};
  bool runts = false;
  Offloads offloads = 0;
  for (Packet* packet : batch) {
    packet->in_port = rxq.port;
    total.bytes += packet->size;
    runts |= packet->size < kMinFrame;
    offloads |= packet->offloads;
  }
  if (offloads != 0) [[unlikely]] {
    seen_offloads_ = true;
    total = TotalOf(batch);
  }
  rxq.counters->packets.Add(total.packets);
  rxq.counters->bytes.Add(total.bytes);
  counters_.received.Add(batch.size());
  if (runts) [[unlikely]]
    DropRunts(batch);
  if (rxq.sampler != nullptr) [[unlikely]]
    rxq.sampler->Look(batch);
  Forward(batch);
  WakeUpcalls();
}

void Context::Forward(PacketBatch& batch) {
  if (batch.empty()) return;
  Lookups lookups;
  FindFlows(batch, lookups);
  Dispatch(batch, lookups);
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
  Forward(batch);
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

// What leaves by a port leaves in the order of arrival, whatever its flow. Packets of flows that
// only output go out one by one; changes are made flow by flow, since nobody sees their order, and
// the outputs behind them one by one. Other lists run over packets of one flow that follow each
// other.
void Context::Dispatch(PacketBatch& batch, const Lookups& lookups) {
  const std::size_t n = batch.size();
  const auto& flows = lookups.flows;
  if (lookups.same) {
    RunFlow(*flows[0], batch, lookups.tcp_flags[0], lookups.located);
    return;
  }
  // Recirculated packets may have no Ethernet header.
  if (recirculations_ == 0 && (OutputEach(batch, lookups) || ChangeAndOutputEach(batch, lookups)))
    return;
  std::array<Packet*, kBatchSize> waiting;
  std::copy(batch.begin(), batch.end(), waiting.begin());
  batch.Release();
  for (std::size_t i = 0; i < n;) {
    Megaflow* const flow = flows[i];
    if (flow == nullptr) {
      Park(PacketPtr(waiting[i++]), UpcallReason::kMiss, nullptr);
      continue;
    }
    PacketBatch run;
    std::uint16_t tcp_flags = 0;
    for (; i < n && flows[i] == flow; ++i) {
      run.AddRaw(waiting[i]);
      tcp_flags |= lookups.tcp_flags[i];
    }
    RunFlow(*flow, run, tcp_flags, lookups.located);
  }
}

bool Context::ChangeAndOutputEach(PacketBatch& batch, const Lookups& lookups) {
  const std::size_t n = batch.size();
  if (seen_offloads_ || !lookups.located) return false;
  // Read once: control may replace actions at any moment.
  std::array<const ActionList*, kBatchSize> lists;
  for (std::size_t i = 0; i < n; ++i) {
    const Megaflow* flow = lookups.flows[i];
    if (flow == nullptr) return false;
    lists[i] = &ActionsOf(*flow);
    if (lists[i]->first_output() == ActionList::kNone) return false;
  }
  std::array<Packet*, kBatchSize> packets;
  std::copy(batch.begin(), batch.end(), packets.begin());
  batch.Release();
  PacketSet waiting = FirstPackets(n);
  while (waiting != 0) {
    const auto first = static_cast<std::size_t>(std::countr_zero(waiting));
    PacketBatch group;
    PacketSet members = 0;
    std::uint16_t tcp_flags = 0;
    for (PacketSet left = waiting; left != 0; left &= left - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(left));
      if (lookups.flows[i] != lookups.flows[first]) continue;
      members |= PacketSet{1} << i;
      lists[i] = lists[first];
      group.AddRaw(packets[i]);
      tcp_flags |= lookups.tcp_flags[i];
    }
    waiting &= ~members;
    shared_.flows.CountersOf(*lookups.flows[first], slot_)
        .Hit(group.size(), group.Bytes(), now_ms_, tcp_flags);
    const std::size_t outputs = lists[first]->first_output();
    if (outputs == 0) {
      group.Release();
      continue;
    }
    Cuts none;
    Execution<Context>(*this, group, none).Change(*lists[first], outputs);
    // Those that are left are in their order.
    std::size_t left = 0;
    for (; members != 0; members &= members - 1) {
      Packet*& packet = packets[static_cast<std::size_t>(std::countr_zero(members))];
      if (left < group.size() && group[left] == packet) {
        ++left;
      } else {
        packet = nullptr;
      }
    }
    group.Release();
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (packets[i] == nullptr) continue;
    PacketPtr packet(packets[i]);
    const auto outputs = lists[i]->actions().subspan(lists[i]->first_output());
    const auto entry_of = [this](const Action& action) {
      role_.AssertHeld();
      return port_cache_.Find(std::get<OutputAction>(action).port);
    };
    for (const Action& action : outputs.first(outputs.size() - 1)) {
      if (PacketPtr copy = CloneOne(*packet)) EnqueueOne(std::move(copy), entry_of(action));
    }
    EnqueueOne(std::move(packet), entry_of(outputs.back()));
  }
  return true;
}

bool Context::OutputEach(PacketBatch& batch, const Lookups& lookups) {
  const std::size_t n = batch.size();
  const Megaflow* const first = lookups.flows[0];
  if (first == nullptr) return false;
  const PortNumber output = ActionsOf(*first).sole_output();
  // Read once: control may replace actions at any moment.
  std::array<PortNumber, kBatchSize> outputs;
  std::array<FlowCounters*, kBatchSize> counters;
  bool same = true;
  for (std::size_t i = 0; i < n; ++i) {
    const Megaflow* flow = lookups.flows[i];
    outputs[i] = flow == nullptr ? kNoPort : ActionsOf(*flow).sole_output();
    if (outputs[i] == kNoPort) return false;
    same &= outputs[i] == output;
    counters[i] = &shared_.flows.CountersOf(*flow, slot_);
    __builtin_prefetch(counters[i], 1);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (seen_offloads_) [[unlikely]] {
      const WireSize wire = OnWire(*batch[i]);
      counters[i]->Hit(wire.packets, wire.bytes, now_ms_, lookups.tcp_flags[i]);
    } else {
      counters[i]->Hit(1, batch[i]->size, now_ms_, lookups.tcp_flags[i]);
    }
  }
  if (same) {
    Enqueue(batch, output);
    return true;
  }
  for (std::size_t i = 0; i < n; ++i) EnqueueOne(PacketPtr(batch[i]), port_cache_.Find(outputs[i]));
  batch.Release();
  return true;
}

void Context::RunFlow(const Megaflow& flow, PacketBatch& batch, std::uint16_t tcp_flags,
                      bool located) {
  const WireTotal total = TotalOf(batch);
  shared_.flows.CountersOf(flow, slot_).Hit(total.packets, total.bytes, now_ms_, tcp_flags);
  const ActionList& actions = ActionsOf(flow);
  if (actions.sole_output() != kNoPort && recirculations_ == 0) {
    Enqueue(batch, actions.sole_output());  // As it was received: Ethernet.
    return;
  }
  if (!located) [[unlikely]] {
    // The actions were others when the packets were looked up.
    Miniflow key;
    for (Packet* packet : batch) ExtractMiniflow(*packet, key);
  }
  if (actions.keeps_order()) [[likely]] {
    ExecuteActions(*this, std::move(batch), actions);
    return;
  }
  // All that becomes of one, then of the next.
  for (Packet* packet : batch) {
    PacketBatch one;
    one.AddRaw(packet);
    ExecuteActions(*this, std::move(one), actions);
  }
  batch.Release();
}

Context::WireTotal Context::TotalOf(const PacketBatch& batch) const {
  if (!seen_offloads_) [[likely]]
    return {batch.size(), batch.Bytes()};
  WireTotal total{0, 0};
  for (const Packet* packet : batch) {
    const WireSize wire = OnWire(*packet);
    total.packets += wire.packets;
    total.bytes += wire.bytes;
  }
  return total;
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
  if (packet->offloads != 0) [[unlikely]] {
    if (packet->is_gso()) return ParkSegments(std::move(packet), reason, userdata);
    FinishChecksum(*packet);
  }
  counters_.upcalls.Add(1);
  DropReason why = DropReason::kNoConsumer;
  if (shared_.upcalls.has_consumer()) {
    // By the port's identity: its number may be another's when somebody looks.
    const PortCache::Entry* from = port_cache_.Find(packet->in_port);
    pollux::Upcall upcall{std::move(packet), reason, userdata, from == nullptr ? 0 : from->port.id};
    if (shared_.upcalls.Park(slot_, upcall, shared_.pool.scarce())) {
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

void Context::ParkSegments(PacketPtr frame, UpcallReason reason, const Userdata& userdata) {
  Segmenter segmenter;
  if (!segmenter.Start(frame)) return counters_.Drop(DropReason::kRewrite, 1);
  while (!segmenter.done()) {
    PacketBatch segments = NextSegments(segmenter);
    for (Packet* segment : segments) Park(PacketPtr(segment), reason, userdata);
    segments.Release();
  }
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
