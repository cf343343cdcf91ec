#include "forwarding/trace.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "flow/extract.h"

namespace pollux {
namespace {

// What the parser finds. The packet keeps what was noted about it when it was last looked up.
Flow KeyOf(Packet& packet) {
  const auto offsets = std::pair(packet.l3_offset, packet.l4_offset);
  Miniflow miniflow;
  ExtractMiniflow(packet, miniflow);
  std::tie(packet.l3_offset, packet.l4_offset) = offsets;
  return miniflow.Expand();
}

// Attribute `index` of a list of attributes, by itself.
std::vector<std::uint8_t> AttributeAt(Bytes attributes, std::size_t index) {
  AttributeReader reader(attributes);
  for (std::size_t i = 0; i <= index; ++i) POLLUX_CHECK(reader.Next());
  std::vector<std::uint8_t> one;
  AppendAttribute(one, reader.type(), reader.payload());
  return one;
}

}  // namespace

Tracer::Tracer(Context& context, std::uint32_t seed)
    : context_(context), random_(seed * 0x9e3779b1u ^ 0x85ebca6bu) {
  if (random_ == 0) random_ = 1;
}

Tracer::Tracer(Context& context) : context_(context), random_(0) {
  context_.role().AssertHeld();
  random_ = context_.random_;
}

std::vector<TraceStep> Tracer::RunActions(PacketPtr packet, const ActionList& actions) {
  PacketBatch batch;
  batch.Add(std::move(packet));
  ExecuteActions(*this, std::move(batch), actions);
  return std::move(steps_);
}

std::vector<TraceStep> Tracer::Run(PacketPtr packet) {
  context_.role().AssertHeld();
  PacketBatch batch;
  batch.Add(std::move(packet));
  Pass(std::move(batch));
  return std::move(steps_);
}

TraceStep& Tracer::Note(Kind kind) {
  TraceStep& step = steps_.emplace_back();
  step.kind = kind;
  step.pass = pass_;
  step.depth = static_cast<std::uint32_t>(lists_.size());
  return step;
}

TraceStep& Tracer::Note(Kind kind, const PacketBatch& batch) {
  TraceStep& step = Note(kind);
  step.frame.assign(batch[0]->bytes().begin(), batch[0]->bytes().end());
  return step;
}

// ------------------------------------------------------------------ finding the flow

void Tracer::Pass(PacketBatch batch) {
  Miniflow key;
  ExtractMiniflow(*batch[0], key);
  Note(Kind::kParse, batch).match.key = key.Expand();

  const Megaflow* flow = FindFlow(*batch[0], key);
  if (flow == nullptr) {
    NoteUpcall(batch, UpcallReason::kMiss);
    return;
  }
  const ActionList& actions = ActionsOf(*flow);
  TraceStep& step = Note(Kind::kFlow);
  step.match = flow->match();
  step.ufid = flow->ufid;
  step.attributes.assign(actions.attributes().begin(), actions.attributes().end());
  ExecuteActions(*this, std::move(batch), actions);
}

const Megaflow* Tracer::FindFlow(const Packet& packet, const Miniflow& key) {
  context_.role().AssertHeld();
  const Dpcls* classifier = context_.shared_.flows.ClassifierOf(packet.in_port);
  const Megaflow* flow =
      classifier == nullptr ? nullptr : context_.PeekCache(packet, key, *classifier->profile());
  Note(Kind::kCache).hit = flow != nullptr;
  if (flow != nullptr || classifier == nullptr) return flow;
  return classifier->Trace(key, [this](const Subtable& subtable, FlowBuckets buckets, bool hit) {
    TraceStep& step = Note(Kind::kTuple);
    step.hit = hit;
    step.match = subtable.Example(buckets);
  });
}

// ------------------------------------------------------------------ what actions ask for

// Lists are told apart by their address: the one that runs is the innermost of those under way, or
// a new one inside of it.
void Tracer::Step(const ActionList& list, std::size_t index, const PacketBatch& batch) {
  const auto known =
      std::find(lists_.begin() + static_cast<std::ptrdiff_t>(pass_lists_), lists_.end(), &list);
  lists_.erase(known, lists_.end());
  TraceStep& step = Note(index < list.actions().size() ? Kind::kAction : Kind::kEnd, batch);
  step.match.key = KeyOf(*batch[0]);
  if (step.kind == Kind::kAction) step.attributes = AttributeAt(list.attributes(), index);
  lists_.push_back(&list);
}

void Tracer::Output(PacketBatch batch, PortNumber port) {
  if (batch.empty()) return;
  TraceStep& step = Note(Kind::kOutput, batch);
  step.number = static_cast<std::uint32_t>(port);
  step.drop = RefusalOf(port, *batch[0]);
}

std::optional<DropReason> Tracer::RefusalOf(PortNumber port, const Packet& packet) {
  context_.role().AssertHeld();
  if (packet.l3_type != 0) return DropReason::kPacketType;
  const PortCache::Entry* entry = context_.port_cache_.Find(port);
  if (entry == nullptr) return DropReason::kInvalidPort;
  const Netdev& netdev = *entry->port.netdev;
  if (!netdev.Fits(packet)) return DropReason::kMtu;
  if (netdev.link() != LinkState::kUp) return DropReason::kPortDown;
  return std::nullopt;
}

void Tracer::Upcall(PacketBatch batch, const UserspaceAction& /*action*/) {
  if (!batch.empty()) NoteUpcall(batch, UpcallReason::kAction);
}

void Tracer::NoteUpcall(const PacketBatch& batch, UpcallReason reason) {
  TraceStep& step = Note(Kind::kUpcall, batch);
  step.upcall = reason;
  if (!context_.shared_.upcalls.has_consumer()) step.drop = DropReason::kNoConsumer;
}

void Tracer::Recirculate(PacketBatch batch, std::uint32_t recirc_id) {
  if (batch.empty()) return;
  if (pass_ == Context::kMaxRecirculations) {
    Drop(std::move(batch), DropReason::kRecirculation);
    return;
  }
  batch[0]->recirc_id = recirc_id;
  const std::size_t outer = std::exchange(pass_lists_, lists_.size());
  ++pass_;
  Pass(std::move(batch));
  --pass_;
  lists_.resize(std::exchange(pass_lists_, outer));
}

void Tracer::Drop(PacketBatch batch, DropReason reason) {
  if (!batch.empty()) Note(Kind::kDrop, batch).drop = reason;
}

PacketBatch Tracer::Clone(const PacketBatch& batch) {
  PacketBatch copy;
  if (batch.empty()) return copy;
  PacketPtr packet = context_.shared_.pool.Clone(*batch[0]);
  if (packet == nullptr) {
    Note(Kind::kDrop, batch).drop = DropReason::kNoMemory;
  } else {
    copy.Add(std::move(packet));
  }
  return copy;
}

std::uint32_t Tracer::Random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  Note(Kind::kChance).number = random_;
  return random_;
}

}  // namespace pollux
