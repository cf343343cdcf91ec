// Packets that the program handles itself: executed, injected and drained.

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

}  // namespace

// ------------------------------------------------------------------ execute

Result<std::vector<std::uint8_t>> Datapath::Execute(Bytes frame, Bytes actions, PortNumber in_port,
                                                    std::vector<TraceStep>* steps) {
  Result<PacketPtr> packet = impl_->PacketOf(frame, in_port);
  if (!packet.ok()) return packet.error();
  const Match match = ExactMatch(**packet);
  const auto list = ActionList::Parse(actions, match);
  if (!list.ok()) return list.error();
  NonPmd& non_pmd = impl_->contexts.non_pmd();
  if (steps == nullptr) return non_pmd.Execute(std::move(*packet), *list.value());
  Result<PacketPtr> copy = impl_->PacketOf(frame, in_port);
  if (!copy.ok()) return copy.error();
  return non_pmd.Execute(std::move(*packet), *list.value(), std::move(*copy), steps);
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

}  // namespace pollux
