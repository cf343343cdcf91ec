// Packets that the program handles itself: executed, injected, drained, and answered upcalls.

#include "datapath/datapath_impl.h"
#include "flow/extract.h"

namespace pollux {
namespace {

Match ExactMatch(Packet& packet) {
  Miniflow miniflow;
  ExtractMiniflow(packet, miniflow);
  const Flow key = miniflow.Expand();
  return {key, ExactMask(key)};
}

Error NoSuchUpcall() { return SystemError(ENOENT, {}, "this upcall has its verdict already"); }

}  // namespace

// ------------------------------------------------------------------ execute

Result<std::vector<std::uint8_t>> Datapath::Execute(Bytes frame, Bytes actions,
                                                    PortNumber in_port) {
  Result<PacketPtr> packet = impl_->PacketOf(frame, in_port);
  if (!packet.ok()) return packet.error();
  const Match match = ExactMatch(**packet);
  const auto list = ActionList::Parse(actions, match);
  if (!list.ok()) return list.error();
  return impl_->contexts.non_pmd().Execute(std::move(*packet), *list.value());
}

Result<std::vector<TraceStep>> Datapath::Trace(Bytes frame, PortNumber in_port,
                                               std::uint32_t seed) {
  Result<PacketPtr> packet = impl_->PacketOf(frame, in_port);
  if (!packet.ok()) return packet.error();
  return impl_->contexts.non_pmd().Trace(std::move(*packet), seed);
}

Result<PacketPtr> Datapath::Impl::PacketOf(Bytes frame, PortNumber in_port) {
  if (closing.load(std::memory_order_acquire)) return ClosedError();
  if (frame.size() < kMinFrame || frame.size() > kMaxFrame) {
    return Invalid("a frame cannot have " + std::to_string(frame.size()) + " bytes",
                   "frames have 14 to 65535 bytes");
  }
  PacketPtr packet = pool.Copy(frame);
  if (packet == nullptr) return SystemError(ENOMEM, {}, "no memory for the packet");
  packet->in_port = in_port;
  return packet;
}

// ------------------------------------------------------------- memory ports

Result<std::shared_ptr<MemoryNetdev>> Datapath::Impl::FindMemory(PortId id,
                                                                 std::uint32_t rxq) const {
  MutexLock lock(port_mutex);
  const auto found = ports.find(static_cast<std::uint32_t>(id));
  if (found == ports.end()) return SystemError(ENODEV, {}, "the port was deleted");
  const Port& port = *found->second;
  if (port.type != "memory") return Invalid("port \"" + port.name + "\" is not a memory port");
  auto memory = std::static_pointer_cast<MemoryNetdev>(port.netdev);
  if (rxq >= memory->rxqs().size()) {
    return Invalid("port \"" + port.name + "\" has no queue " + std::to_string(rxq));
  }
  return memory;
}

Result<std::size_t> Datapath::Inject(PortId port, std::uint32_t rxq,
                                     std::span<const std::span<const std::uint8_t>> frames) {
  const auto memory = impl_->FindMemory(port, rxq);
  if (!memory.ok()) return memory.error();
  return memory.value()->Inject(rxq, frames);
}

Result<std::size_t> Datapath::Drain(PortId port, std::size_t max, std::vector<PacketPtr>& out) {
  const auto memory = impl_->FindMemory(port, 0);
  if (!memory.ok()) return memory.error();
  return memory.value()->Drain(max, out);
}

// ------------------------------------------------------------------ upcalls

void Datapath::Impl::DropParked(PacketBatch batch, DropReason reason) {
  for (const Packet* packet : batch) upcalls.Answered(packet->in_port);
  contexts.non_pmd().DropParked(std::move(batch), reason);
}

void Datapath::Impl::DropAllParked(DropReason reason, bool taken_too) {
  std::vector<Upcall> parked;
  while (upcalls.Take(1024, parked)) {
  }
  if (taken_too) {
    MutexLock lock(upcall_mutex);
    for (auto& [id, upcall] : taken) parked.push_back(std::move(upcall));
    taken.clear();
  }
  PacketBatch batch;
  for (Upcall& upcall : parked) {
    batch.Add(std::move(upcall.packet));
    if (batch.full()) DropParked(std::exchange(batch, {}), reason);
  }
  DropParked(std::move(batch), reason);
}

void Datapath::SetUpcallConsumer(bool present) {
  impl_->upcalls.SetConsumer(present && !impl_->closing.load());
  if (!present) impl_->DropAllParked(DropReason::kNoConsumer, false);
}

std::vector<UpcallView> Datapath::TakeUpcalls(std::size_t max, std::uint64_t& dropped) {
  std::vector<Upcall> parked;
  if (impl_->upcalls.Take(max, parked)) Signal();  // More wait.
  std::vector<UpcallView> views;
  views.reserve(parked.size());
  const std::vector<PortInfo> infos = parked.empty() ? std::vector<PortInfo>() : ports();
  const std::uint64_t lost = impl_->contexts.lost_upcalls();
  MutexLock lock(impl_->upcall_mutex);
  dropped = lost - impl_->reported_lost;
  impl_->reported_lost = lost;
  for (Upcall& upcall : parked) {
    UpcallView view;
    view.id = UpcallId{impl_->next_upcall_id++};
    view.reason = upcall.reason;
    view.in_port = upcall.packet->in_port;
    for (const PortInfo& info : infos) {
      if (info.number == view.in_port) view.port = info.id;
    }
    Miniflow key;
    ExtractMiniflow(*upcall.packet, key);
    view.key = key.Expand();
    view.frame = upcall.packet->bytes();
    view.userdata = upcall.userdata;
    views.push_back(std::move(view));
    impl_->taken.emplace(static_cast<std::uint64_t>(views.back().id), std::move(upcall));
  }
  return views;
}

std::vector<Status> Datapath::AnswerUpcalls(const std::vector<UpcallVerdict>& verdicts) {
  std::vector<Status> statuses;
  statuses.reserve(verdicts.size());
  for (const UpcallVerdict& verdict : verdicts) {
    PacketPtr packet;
    {
      MutexLock lock(impl_->upcall_mutex);
      const auto found = impl_->taken.find(static_cast<std::uint64_t>(verdict.id));
      if (found != impl_->taken.end()) {
        packet = std::move(found->second.packet);
        impl_->taken.erase(found);
      }
    }
    if (packet == nullptr) {
      statuses.push_back(impl_->closing.load() ? ClosedError() : NoSuchUpcall());
      continue;
    }
    statuses.push_back(impl_->CarryOut(verdict, std::move(packet)));
  }
  return statuses;
}

Status Datapath::Impl::Install(const UpcallVerdict& verdict, const Match& exact,
                               ActionListPtr actions) {
  FlowPut put;
  put.match = exact;
  put.actions = std::move(actions);
  put.idle_timeout_ms = verdict.idle_timeout_ms;
  // Packets of one flow are parked until the first of them is answered. What was installed for that
  // one may be wider: the others need no flow of their own, only to go the same way.
  put.optional = true;
  if (verdict.match_key.has_value()) {
    Result<Match> match = DecodeMatch(*verdict.match_key, verdict.match_mask);
    if (!match.ok()) return match.error();
    put.match = std::move(*match);
    // What is right for this packet may not be for all that match.
    auto checked = ActionList::Parse(verdict.actions, put.match);
    if (!checked.ok()) return checked.error();
    put.actions = std::move(*checked);
  }
  const FlowOutcome outcome = flows->Apply({std::move(put)}, false).front();
  return outcome.ok() ? Status() : Status(outcome.error());
}

Status Datapath::Impl::CarryOut(const UpcallVerdict& verdict, PacketPtr packet) {
  const auto drop = [&](DropReason reason) {
    PacketBatch batch;
    batch.Add(std::move(packet));
    DropParked(std::move(batch), reason);
  };
  if (verdict.kind == UpcallVerdict::Kind::kDrop) {
    drop(DropReason::kUpcallVerdict);
    return {};
  }
  const Match exact = ExactMatch(*packet);
  auto actions = ActionList::Parse(verdict.actions, exact);
  Status status = actions.ok() ? Status() : Status(actions.error());
  if (status.ok() && verdict.kind == UpcallVerdict::Kind::kInstall)
    status = Install(verdict, exact, actions.value());
  if (!status.ok()) {
    drop(DropReason::kUpcallError);
    return status;
  }
  upcalls.Answered(packet->in_port);
  contexts.non_pmd().ExecuteParked(std::move(packet), *actions.value());
  return {};
}

}  // namespace pollux
