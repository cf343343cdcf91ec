// Upcalls: parked packets, taken and answered in batches.
//
// The verdicts of a batch are carried out together: all actions and matches are read, then all
// flows are put at once, then all packets go through their actions. So what a verdict costs is what
// its flow and its packet cost.

#include <utility>

#include "datapath/datapath_impl.h"
#include "flow/extract.h"

namespace pollux {
namespace {

Error NoSuchUpcall() { return SystemError(ENOENT, {}, "this upcall has its verdict already"); }

}  // namespace

// -------------------------------------------------------------------- taking

void Datapath::SetUpcallConsumer(bool present) {
  {
    MutexLock lock(impl_->consumer_mutex);
    impl_->upcalls.SetConsumer(present && !impl_->closing.load());
  }
  if (!present) impl_->DropUnwanted();
}

// A thread that saw the last consumer may park a packet after that one has gone: control looks
// again.
void Datapath::Impl::DropUnwanted() {
  std::vector<Upcall> parked;
  {
    // Nobody becomes a consumer meanwhile, whose packets these would be.
    MutexLock lock(consumer_mutex);
    if (upcalls.has_consumer()) return;
    while (upcalls.Take(1024, parked)) {
    }
  }
  DropAll(std::move(parked), DropReason::kNoConsumer);
}

std::vector<UpcallView> Datapath::TakeUpcalls(std::size_t max, std::uint64_t& dropped) {
  std::vector<Upcall> parked;
  parked.reserve(max);
  if (impl_->upcalls.Take(max, parked)) Signal();  // More wait.
  // Another thread wrote all this: what is asked for ahead comes while others are looked at.
  for (const Upcall& upcall : parked) __builtin_prefetch(upcall.packet.get());
  for (const Upcall& upcall : parked) __builtin_prefetch(upcall.packet->data);
  auto batch = std::make_shared<TakenBatch>(parked.size());
  std::vector<UpcallView> views(parked.size());
  for (std::size_t i = 0; i < parked.size(); ++i) {
    TakenUpcall& taken = (*batch)[i];
    taken.upcall = std::move(parked[i]);
    ExtractMiniflow(*taken.upcall.packet, taken.key);
    UpcallView& view = views[i];
    view.reason = taken.upcall.reason;
    view.in_port = taken.upcall.packet->in_port;
    view.port = PortId{taken.upcall.port_id};
    view.key = &taken.key;
    view.frame = taken.upcall.packet->bytes();
    view.userdata = taken.upcall.userdata.get();
  }
  const std::uint64_t lost = impl_->contexts.lost_upcalls();
  MutexLock lock(impl_->upcall_mutex);
  dropped = lost - impl_->reported_lost;
  impl_->reported_lost = lost;
  if (views.empty()) return views;
  std::uint64_t id = impl_->taken.Add(std::move(batch));
  for (UpcallView& view : views) view.id = UpcallId{id++};
  return views;
}

// ----------------------------------------------------------------- answering

std::vector<Status> Datapath::AnswerUpcalls(const std::vector<UpcallVerdict>& verdicts) {
  struct Answer {
    PacketPtr packet;
    std::shared_ptr<TakenBatch> batch;  // Holds the key.
    const Miniflow* key = nullptr;
    ActionListPtr actions;
    bool installs = false;
    std::optional<Ufid> flow;  // That was put for it.
  };
  const std::size_t n = verdicts.size();
  std::vector<Answer> answers(n);
  std::vector<Status> statuses(n);
  {
    MutexLock lock(impl_->upcall_mutex);
    for (std::size_t i = 0; i < n; ++i) {
      Answer& answer = answers[i];
      answer.packet =
          impl_->taken.Take(static_cast<std::uint64_t>(verdicts[i].id), answer.batch, answer.key);
    }
  }

  MutexLock lock(impl_->answer_mutex);
  FlowChanges flows;
  for (std::size_t i = 0; i < n; ++i) {
    Answer& answer = answers[i];
    if (answer.packet == nullptr) {
      statuses[i] = impl_->closing.load() ? ClosedError() : NoSuchUpcall();
    } else if (verdicts[i].kind != UpcallVerdict::Kind::kDrop) {
      const std::size_t before = flows.size();
      statuses[i] = impl_->verdict_reader.Take(verdicts[i], *answer.key, answer.actions, flows);
      answer.installs = flows.size() > before;
    }
  }
  FlowOutcomes outcomes;
  if (flows.size() > 0) outcomes = impl_->flows->Apply(flows, false);

  std::vector<ParkedPacket> executed;
  executed.reserve(n);
  PacketBatch dropped;
  DropReason reason = DropReason::kUpcallVerdict;
  const auto drop = [&](PacketPtr packet, DropReason why) {
    const bool other = !dropped.empty() && why != reason;
    if (dropped.full() || other) impl_->DropParked(std::exchange(dropped, {}), reason);
    reason = why;
    dropped.Add(std::move(packet));
  };
  auto outcome = outcomes.each.begin();
  auto error = outcomes.errors.begin();
  for (std::size_t i = 0; i < n; ++i) {
    Answer& answer = answers[i];
    if (answer.packet == nullptr) continue;
    if (answer.installs) {
      if (outcome->kind == FlowOutcomes::Kind::kFailed) statuses[i] = std::move(*error++);
      if (outcome->kind == FlowOutcomes::Kind::kPut) answer.flow = outcome->ufid;
      ++outcome;
    }
    if (!statuses[i].ok()) {
      drop(std::move(answer.packet), DropReason::kUpcallError);
    } else if (verdicts[i].kind == UpcallVerdict::Kind::kDrop) {
      drop(std::move(answer.packet), DropReason::kUpcallVerdict);
    } else {
      impl_->upcalls.Answered(answer.packet->in_port);
      executed.push_back({std::move(answer.packet), std::move(answer.actions), answer.flow,
                          TcpFlagsOf(*answer.key)});
    }
  }
  if (!dropped.empty()) impl_->DropParked(std::move(dropped), reason);
  if (!executed.empty()) impl_->contexts.non_pmd().ExecuteParked(executed);
  return statuses;
}

// ------------------------------------------------------------------ dropping

void Datapath::Impl::DropParked(PacketBatch batch, DropReason reason) {
  for (const Packet* packet : batch) upcalls.Answered(packet->in_port);
  contexts.non_pmd().DropParked(std::move(batch), reason);
}

void Datapath::Impl::DropAll(std::vector<Upcall> parked, DropReason reason) {
  PacketBatch batch;
  for (Upcall& upcall : parked) {
    batch.Add(std::move(upcall.packet));
    if (batch.full()) DropParked(std::exchange(batch, {}), reason);
  }
  if (!batch.empty()) DropParked(std::move(batch), reason);
}

void Datapath::Impl::DropAllParked(DropReason reason) {
  std::vector<Upcall> parked;
  while (upcalls.Take(1024, parked)) {
  }
  {
    MutexLock lock(upcall_mutex);
    for (PacketPtr& packet : taken.Clear()) parked.push_back({std::move(packet)});
  }
  DropAll(std::move(parked), reason);
}

}  // namespace pollux
