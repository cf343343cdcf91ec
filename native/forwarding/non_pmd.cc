#include "forwarding/non_pmd.h"

#include <memory>
#include <utility>

namespace pollux {
namespace {

// While a queue cannot wake the event thread, it looks this often.
constexpr std::int64_t kPollNs = 1'000'000;

// Stands between the actions and the context, and keeps the frame as the last action of the list
// left it. What happens to it in nested lists, or after recirculation, does not show.
class CapturingHost {
 public:
  CapturingHost(Context& context, const ActionList& list) : context_(context), list_(list) {}

  void Step(const ActionList& list, std::size_t, const PacketBatch& batch) {
    if (&list == &list_) frame_.assign(batch[0]->bytes().begin(), batch[0]->bytes().end());
  }
  void Output(PacketBatch batch, PortNumber port) { context_.Output(std::move(batch), port); }
  void Upcall(PacketBatch batch, const UserspaceAction& action) {
    context_.Upcall(std::move(batch), action);
  }
  void Recirculate(PacketBatch batch, std::uint32_t recirc_id) {
    context_.Recirculate(std::move(batch), recirc_id);
  }
  void Drop(PacketBatch batch, DropReason reason) { context_.Drop(std::move(batch), reason); }
  PacketBatch Clone(const PacketBatch& batch) { return context_.Clone(batch); }
  PacketBatch NextSegments(Segmenter& segmenter) { return context_.NextSegments(segmenter); }
  std::uint32_t Random() { return context_.Random(); }

  std::vector<std::uint8_t> TakeFrame() { return std::move(frame_); }

 private:
  Context& context_;
  const ActionList& list_;
  std::vector<std::uint8_t> frame_;
};

PacketBatch BatchOf(PacketPtr packet) {
  PacketBatch batch;
  batch.Add(std::move(packet));
  return batch;
}

}  // namespace

// In the context, from here to the end of the block: online, with its packet cache.
class SCOPED_CAPABILITY NonPmd::Scope {
 public:
  explicit Scope(NonPmd& non_pmd) ACQUIRE(non_pmd.non_pmd_mutex_, non_pmd.context_.role())
      : non_pmd_(non_pmd), cache_(nullptr) {
    non_pmd_.non_pmd_mutex_.Lock();
    non_pmd_.context_.role().Enter();
    cache_ = std::make_unique<PacketCacheScope>(non_pmd_.context_.packet_cache());
    non_pmd_.context_.qsbr_reader().Online();
    non_pmd_.context_.LookAtClock();
  }
  ~Scope() RELEASE() {
    non_pmd_.context_.qsbr_reader().Offline();
    cache_.reset();
    non_pmd_.context_.role().Leave();
    non_pmd_.non_pmd_mutex_.Unlock();
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  NonPmd& non_pmd_;
  std::unique_ptr<PacketCacheScope> cache_;
};

NonPmd::NonPmd(const PmdShared& shared, std::size_t slot) : context_(shared, slot) {}

NonPmd::~NonPmd() { POLLUX_CHECK(!running()); }

void NonPmd::Reload() {
  {
    Scope scope(*this);
    context_.LoadQueuesAndPorts();
  }
  doorbell_.Ring();  // The event thread waits for other descriptors now.
}

Status NonPmd::Start() {
  if (running()) return {};
  Result<std::unique_ptr<IdleThread>> thread = IdleThread::Start("non-pmd");
  if (!thread) return thread.error();
  thread_ = std::move(*thread);
  thread_->Run([this] { Run(); });
  return {};
}

void NonPmd::Watch(int fd, std::function<void()> on_readable) {
  {
    Scope scope(*this);
    watched_ = std::make_shared<const Watched>(Watched{fd, std::move(on_readable)});
  }
  doorbell_.Ring();
}

void NonPmd::Stop() {
  if (running()) {
    exit_.store(true, std::memory_order_seq_cst);
    doorbell_.Ring();
    thread_.reset();
  }
  context_.Clear();
  Scope scope(*this);
  context_.FreeCachedPorts();
}

void NonPmd::Run() {
  std::vector<pollfd> fds;
  for (;;) {
    std::shared_ptr<const Watched> watched;
    bool all_waitable = true;
    bool idle = false;
    doorbell_.Announce();
    {
      Scope scope(*this);
      watched = watched_;
      fds = {{doorbell_.fd(), POLLIN, 0}, {watched == nullptr ? -1 : watched->fd, POLLIN, 0}};
      const std::size_t packets = context_.PollOnce();
      context_.WaitFds(fds, all_waitable);
      idle = context_.Arm() && packets == 0 && !context_.has_pending_outputs();
    }
    if (exit_.load(std::memory_order_seq_cst)) return;
    const timespec timeout{0, idle ? kPollNs : 0};
    // The queues may be closed by control while we sleep on their descriptors: harmless, a reload
    // has rung the doorbell before.
    ppoll(fds.data(), fds.size(), idle && all_waitable ? nullptr : &timeout, nullptr);
    {
      Scope scope(*this);
      context_.Disarm();
    }
    doorbell_.Awake();
    if ((fds[1].revents & POLLIN) != 0) watched->on_readable();
  }
}

std::vector<std::uint8_t> NonPmd::Execute(PacketPtr packet, const ActionList& actions,
                                          PacketPtr copy, std::vector<TraceStep>* steps) {
  Scope scope(*this);
  if (steps != nullptr) *steps = Tracer(context_).RunActions(std::move(copy), actions);
  context_.CountExecuted(1);
  CapturingHost host(context_, actions);
  ExecuteActions(host, BatchOf(std::move(packet)), actions);
  context_.FlushOutputs();
  context_.WakeUpcalls();
  return host.TakeFrame();
}

void NonPmd::ExecuteParked(std::span<ParkedPacket> packets) {
  Scope scope(*this);
  for (const ParkedPacket& parked : packets) {
    if (parked.flow.has_value())
      context_.CountParked(*parked.flow, *parked.packet, parked.tcp_flags);
  }
  for (std::size_t i = 0; i < packets.size();) {
    const ActionList& actions = *packets[i].actions;
    PacketBatch batch = BatchOf(std::move(packets[i].packet));
    // An output does not care whose packets go together; other actions may.
    const PortNumber port = actions.sole_output();
    for (++i; i < packets.size() && !batch.full(); ++i) {
      if (port == kNoPort || packets[i].actions->sole_output() != port) break;
      batch.Add(std::move(packets[i].packet));
    }
    ExecuteActions(context_, std::move(batch), actions);
  }
  context_.FlushOutputs();
  context_.WakeUpcalls();
}

std::vector<TraceStep> NonPmd::Trace(PacketPtr packet, std::uint32_t seed) {
  Scope scope(*this);
  return Tracer(context_, seed).Run(std::move(packet));
}

void NonPmd::DropParked(PacketBatch batch, DropReason reason) {
  Scope scope(*this);
  context_.Drop(std::move(batch), reason);
}

}  // namespace pollux
