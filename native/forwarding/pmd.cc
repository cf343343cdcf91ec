#include "forwarding/pmd.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

namespace pollux {
namespace {

// How long a thread without packets spins before it sleeps: longer than the gaps within a burst,
// shorter than anybody would notice in a CPU figure.
constexpr std::int64_t kSpinNs = 50'000;
// The longest nap of a thread that polls a queue which cannot wake it.
constexpr std::uint32_t kNapMaxUs = 250;

}  // namespace

Result<std::unique_ptr<Pmd::Seat>> Pmd::Seat::Take(std::uint32_t core, bool pin) {
  auto seat = std::make_unique<Seat>();
  if (Status status = seat->doorbell.opened(); !status) return status.error();
  char name[16];
  std::snprintf(name, sizeof name, "pmd-c%02u", core);
  Result<std::unique_ptr<IdleThread>> thread =
      IdleThread::Start(name, pin ? std::optional(core) : std::nullopt);
  if (!thread) return thread.error();
  seat->thread = std::move(*thread);
  return seat;
}

Pmd::Pmd(const PmdShared& shared, std::uint32_t core, std::uint32_t numa, std::size_t slot,
         std::unique_ptr<Seat> seat)
    : core_(core),
      numa_(numa),
      context_(shared, slot),
      seat_(std::move(seat)),
      doorbell_(seat_->doorbell) {}

Pmd::~Pmd() { POLLUX_CHECK(!running_); }

void Pmd::Start() {
  running_ = true;
  seat_->thread->Run([this] { Run(); });
}

void Pmd::Stop() {
  exit_generation_.store(gate_.next(), std::memory_order_relaxed);  // Published by the request.
  AwaitReload(RequestReload());
  seat_->thread->Join();
  running_ = false;
  context_.Clear();
}

ReloadGate::Generation Pmd::RequestReload() {
  const ReloadGate::Generation generation = gate_.Request();
  doorbell_.Ring();
  return generation;
}

void Pmd::Run() {
  PacketCacheScope cache(context_.packet_cache());
  RoleScope role(context_.role());
  Qsbr::Reader& reader = context_.qsbr_reader();
  Load();
  reader.Online();
  for (;;) {
    if (gate_.Pending()) {
      gate_.Serve([this] {
        context_.role().AssertHeld();
        Load();
        served_ns_.store(Clock::MonotonicNs(), std::memory_order_relaxed);
      });
      if (gate_.served() == exit_generation_.load(std::memory_order_relaxed)) break;
    }
    const std::size_t packets = context_.PollOnce();
    reader.Quiesce();
    if (packets > 0) {
      idle_since_ns_ = 0;
    } else {
      Idle();
    }
  }
  context_.FreeCachedPorts();
  reader.Offline();
}

void Pmd::Load() {
  context_.LoadQueuesAndPorts();
  sleep_max_us_ =
      std::min(core_sleep_max_us_.load(std::memory_order_relaxed), context_.sleep_max_us());
  wait_fds_ = {{doorbell_.fd(), POLLIN, 0}};
  context_.WaitFds(wait_fds_, all_waitable_);
}

void Pmd::Idle() {
  if (sleep_max_us_ == 0) return;
  const std::int64_t now = Clock::MonotonicNs();
  if (idle_since_ns_ == 0) {
    idle_since_ns_ = now;
    nap_us_ = 0;
  }
  if (now - idle_since_ns_ < kSpinNs) return;
  context_.FlushOutputs();

  std::uint32_t timeout_us = sleep_max_us_;
  if (!all_waitable_) {
    nap_us_ = std::min(nap_us_ + 1, kNapMaxUs);
    timeout_us = std::min(timeout_us, nap_us_);
  }
  doorbell_.Announce();
  const bool idle = context_.Arm();
  if (idle && !gate_.Pending()) {
    const std::uint64_t before = CycleCount();
    context_.qsbr_reader().Offline();
    const timespec timeout{timeout_us / 1'000'000,
                           static_cast<long>(timeout_us % 1'000'000) * 1000};
    ppoll(wait_fds_.data(), wait_fds_.size(), timeout_us == UINT32_MAX ? nullptr : &timeout,
          nullptr);
    context_.qsbr_reader().Online();
    context_.CountIdle(CycleCount() - before);
  }
  context_.Disarm();
  doorbell_.Awake();
}

}  // namespace pollux
