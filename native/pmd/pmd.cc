#include "pmd/pmd.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <system_error>

namespace pollux {
namespace {

// How long a thread without packets spins before it sleeps: longer than the gaps within a burst,
// shorter than anybody would notice in a CPU figure.
constexpr std::int64_t kSpinNs = 50'000;
// The longest nap of a thread that polls a queue which cannot wake it.
constexpr std::uint32_t kNapMaxUs = 250;

}  // namespace

Pmd::Pmd(const PmdShared& shared, std::uint32_t core, std::uint32_t numa, std::size_t slot)
    : core_(core), numa_(numa), context_(shared, slot) {}

Pmd::~Pmd() { POLLUX_CHECK(!thread_.joinable()); }

Status Pmd::Start(bool pin) {
  // The only exception the core meets: the thread library's way to say EAGAIN.
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    return SystemError(error.code().value(), "pthread_create", "cannot start a PMD thread");
  }
  char name[16];
  std::snprintf(name, sizeof name, "pmd-c%02u", core_);
  pthread_setname_np(thread_.native_handle(), name);
  if (pin && core_ < CPU_SETSIZE) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(core_, &cpus);
    const int error = pthread_setaffinity_np(thread_.native_handle(), sizeof cpus, &cpus);
    if (error != 0) {
      Stop();
      return SystemError(error, "pthread_setaffinity_np",
                         "cannot pin a PMD thread to core " + std::to_string(core_));
    }
  }
  return {};
}

void Pmd::Stop() {
  exit_generation_.store(gate_.next(), std::memory_order_relaxed);  // Published by the request.
  AwaitReload(RequestReload());
  thread_.join();
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
