// From actions to devices: the port cache, pending batches, and what happens to packets that cannot
// go out.

#include <algorithm>

#include "forwarding/context.h"

namespace pollux {

void Context::Output(PacketBatch batch, PortNumber port) {
  role_.AssertHeld();
  const auto has_ethernet = [](const Packet* packet) { return packet->l3_type == 0; };
  if (!std::all_of(batch.begin(), batch.end(), has_ethernet)) [[unlikely]] {
    PacketBatch ethernet;
    PacketBatch others;
    for (Packet* packet : batch) (has_ethernet(packet) ? ethernet : others).AddRaw(packet);
    batch.Release();
    batch = std::move(ethernet);
    Drop(std::move(others), DropReason::kPacketType);
  }
  Enqueue(batch, port);
}

void Context::Enqueue(PacketBatch& batch, PortNumber port) {
  if (batch.empty()) return;
  PortCache::Entry* entry = port_cache_.Find(port);
  if (entry == nullptr) {
    Drop(std::move(batch), DropReason::kInvalidPort);
    return;
  }
  if (batch.size() > entry->pending.room()) Send(*entry);
  if (entry->pending.empty()) {
    MarkPending(*entry);
    entry->pending = std::move(batch);
  } else {
    for (Packet* packet : batch) entry->pending.AddRaw(packet);
    batch.Release();
  }
}

void Context::EnqueueOne(PacketPtr packet, PortCache::Entry* entry) {
  if (entry == nullptr) [[unlikely]] {
    counters_.Drop(DropReason::kInvalidPort, 1);
    return;
  }
  if (entry->pending.full()) Send(*entry);
  if (entry->pending.empty()) MarkPending(*entry);
  entry->pending.Add(std::move(packet));
}

void Context::MarkPending(PortCache::Entry& entry) {
  dirty_.push_back(&entry);
  if (tx_flush_interval_ns_ != 0) entry.flush_at_ns = Clock::MonotonicNs() + tx_flush_interval_ns_;
}

void Context::Send(PortCache::Entry& entry) {
  std::erase(dirty_, &entry);
  if (!seen_offloads_) [[likely]] {
    Transmit(entry.port, entry.pending);
  } else {
    FinishAndTransmit(entry.port, entry.pending);
  }
}

// What the device does not take as it is, is finished here.
void Context::FinishAndTransmit(const TxPort& port, PacketBatch& batch) {
  const auto lacking = static_cast<Offloads>(~port.netdev->tx_offloads());
  PacketBatch waiting = std::move(batch);
  PacketBatch ready;
  const auto add = [&](PacketPtr packet) {
    role_.AssertHeld();
    if (ready.full()) Transmit(port, ready);
    ready.Add(std::move(packet));
  };
  Segmenter segmenter;
  for (Packet* raw : waiting) {
    PacketPtr packet(raw);
    const auto lacks = static_cast<Offloads>(packet->offloads & lacking);
    if (lacks == 0 || (lacks == kOffloadUdpTunnel && port.netdev->TakesTunnel())) {
      add(std::move(packet));
    } else if (!packet->is_gso()) {
      FinishChecksum(*packet);
      add(std::move(packet));
    } else if (!segmenter.Start(packet, port.netdev->tx_offloads())) {
      counters_.Drop(DropReason::kRewrite, 1);
    } else {
      while (!segmenter.done()) {
        if (ready.full()) Transmit(port, ready);
        AppendSegments(segmenter, ready);
      }
    }
  }
  waiting.Release();
  if (!ready.empty()) Transmit(port, ready);
}

// The ledger knows the frame itself as the first of its segments.
void Context::AppendSegments(Segmenter& segmenter, PacketBatch& batch) {
  std::uint64_t copied = segmenter.fresh() ? UINT64_MAX : 0;
  while (!batch.full() && !segmenter.done()) {
    PacketPtr segment = segmenter.Next(shared_.pool);
    if (segment == nullptr) {
      const std::uint32_t lost = segmenter.segments_left();
      segmenter.Stop();
      copied += lost;  // Made and lost at once, so the ledger closes.
      counters_.Drop(DropReason::kNoMemory, lost);
      break;
    }
    ++copied;
    batch.Add(std::move(segment));
  }
  counters_.copied.Add(copied);
}

PacketBatch Context::NextSegments(Segmenter& segmenter) {
  role_.AssertHeld();
  PacketBatch segments;
  AppendSegments(segmenter, segments);
  return segments;
}

void Context::Transmit(const TxPort& port, PacketBatch& batch) {
  SendResult result;
  const std::size_t n = batch.size();
  port.netdev->Send(static_cast<std::uint32_t>(slot_), batch, result);
  POLLUX_DCHECK(batch.empty());
  port.counters->packets.Add(result.wire_packets);
  port.counters->bytes.Add(result.bytes);
  counters_.transmitted.Add(result.packets);
  if (result.packets == n) [[likely]]
    return;
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    const auto reason = static_cast<DropReason>(i);
    const std::uint32_t dropped = result.dropped(reason);
    if (dropped == 0) continue;
    counters_.Drop(reason, dropped);
    (reason == DropReason::kTxError ? port.counters->errors : port.counters->dropped).Add(dropped);
  }
}

void Context::FlushOutputs() {
  while (!dirty_.empty()) Send(*dirty_.back());
  seen_offloads_ = false;
}

void Context::FlushDueOutputs() {
  if (dirty_.empty()) return;
  const std::int64_t now = Clock::MonotonicNs();
  for (std::size_t i = dirty_.size(); i-- > 0;) {
    if (dirty_[i]->flush_at_ns <= now) Send(*dirty_[i]);
  }
  if (dirty_.empty()) seen_offloads_ = false;
}

void Context::Drop(PacketBatch batch, DropReason reason) {
  role_.AssertHeld();
  counters_.Drop(reason, batch.size());
}

PacketPtr Context::CloneOne(const Packet& packet) {
  PacketPtr copy = shared_.pool.Clone(packet);
  counters_.copied.Add(1);
  // A copy that never was: made and lost at once, so the ledger closes.
  if (copy == nullptr) counters_.Drop(DropReason::kNoMemory, 1);
  return copy;
}

PacketBatch Context::Clone(const PacketBatch& batch) {
  role_.AssertHeld();
  PacketBatch copies;
  for (const Packet* packet : batch) {
    if (PacketPtr copy = CloneOne(*packet)) copies.Add(std::move(copy));
  }
  return copies;
}

// ------------------------------------------------------------------ tunnels

PortCache::Entry* Context::FindTunnelPort(PortNumber port) {
  PortCache::Entry* entry = port_cache_.Find(port);
  return entry != nullptr && entry->port.tunnel ? entry : nullptr;
}

void Context::TunnelPush(PacketBatch batch, PortNumber port) {
  role_.AssertHeld();
  // Header building comes with tunnel netdevs; a port that cannot push is as good as none.
  if (FindTunnelPort(port) == nullptr) Drop(std::move(batch), DropReason::kTunnelPush);
}

void Context::TunnelPop(PacketBatch batch, PortNumber port) {
  role_.AssertHeld();
  if (FindTunnelPort(port) == nullptr) Drop(std::move(batch), DropReason::kInvalidTunnelPort);
}

}  // namespace pollux
