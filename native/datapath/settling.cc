// Settling: waiting until frames that the program handed in have been forwarded, dropped or parked.
//
// It is a condition, not a command: control looks at it between commands, so that ports come and go
// meanwhile and closing never waits. It ends well when the queues have been asked for all frames
// that they held at the call; a queue that goes, or that nobody polls, is waited for no longer. It
// ends badly when the datapath closes, and when nothing moves because packet memory is used up:
// whoever awaits it is likely to be the one who should drain a port.

#include <algorithm>
#include <chrono>
#include <thread>

#include "datapath/datapath_impl.h"

namespace pollux {
namespace {

constexpr int kLookMs = 1;
// At first control waits here: most frames are on their way already.
constexpr std::int64_t kAtOnceNs = 300'000;
constexpr auto kPause = std::chrono::microseconds(20);
constexpr std::int64_t kStuckNs = 1'000'000'000;

}  // namespace

void Datapath::Impl::Settle(const DoneStatus& done) {
  Settling waiting;
  waiting.done = done;
  waiting.moved_ns = Clock::MonotonicNs();
  for (const auto& [id, port] : members) {
    const auto rxqs = port->netdev->rxqs();
    for (std::uint32_t q = 0; q < rxqs.size(); ++q) {
      const std::uint64_t injected = rxqs[q]->injected();
      if (rxqs[q]->taken() < injected) waiting.marks.push_back({port->id, q, injected});
    }
  }
  waiting.refusals = pool.refusals();
  settling.push_back(std::move(waiting));
  const std::int64_t end = Clock::MonotonicNs() + kAtOnceNs;
  LookAtSettling();
  while (!settling.empty() && Clock::MonotonicNs() < end && !closing.load()) {
    std::this_thread::sleep_for(kPause);
    LookAtSettling();
  }
  if (!settling.empty() && !looks_at_settling) LookAtSettlingAgain();
}

void Datapath::Impl::LookAtSettlingAgain() {
  looks_at_settling = false;
  LookAtSettling();
  if (settling.empty()) return;
  looks_at_settling = true;
  control.PostIn(kLookMs, [this] { LookAtSettlingAgain(); });
}

void Datapath::Impl::LookAtSettling() {
  std::vector<DoneStatus> settled;
  const std::int64_t now = Clock::MonotonicNs();
  for (auto it = settling.begin(); it != settling.end();) {
    std::uint64_t sum = 0;
    std::erase_if(it->marks, [&](const Settling::Mark& mark) {
      const Port* port = FindMember(mark.port);
      if (port == nullptr || !contexts.Polls({port->key(), mark.queue})) return true;
      const std::uint64_t its = port->netdev->rxqs()[mark.queue]->taken();
      sum += its;
      return its >= mark.until;
    });
    if (std::exchange(it->taken, sum) != sum) {
      it->moved_ns = now;
      it->refusals = pool.refusals();
    }
    if (it->marks.empty()) {
      settled.push_back(std::move(it->done));
      it = settling.erase(it);
      continue;
    }
    std::optional<Error> stuck;
    if (now - it->moved_ns > kStuckNs) stuck = WhyStuck(*it);
    if (stuck.has_value()) {
      it->done(std::move(*stuck));
      it = settling.erase(it);
      continue;
    }
    ++it;
  }
  if (settled.empty()) return;
  // Taken is not yet forwarded; but a context that reloads has finished its burst and sent what it
  // held.
  (void)contexts.Reload({});
  for (const DoneStatus& done : settled) done({});
}

std::optional<Error> Datapath::Impl::WhyStuck(const Settling& waiting) const {
  // Else its thread has no time, perhaps.
  if (pool.refusals() == waiting.refusals) return std::nullopt;
  const auto held = [](const auto& member) { return member.second->netdev->held(); };
  const auto most =
      std::max_element(members.begin(), members.end(),
                       [&](const auto& a, const auto& b) { return held(a) < held(b); });
  const auto waits = members.find(static_cast<std::uint32_t>(waiting.marks.front().port));
  Error error;
  error.number = ENOBUFS;
  error.port = waits->second->name;
  error.message = "packet memory is used up, and port \"" + error.port + "\" waits for some";
  if (held(*most) > 0) {
    error.message += ": port \"" + most->second->name + "\" holds " + std::to_string(held(*most)) +
                     " packets that nobody drains";
    error.hint = "drain() it, or lower its queueLength";
  } else {
    error.hint = "packets wait for verdicts of the upcall handler: lower upcall.queueLength";
  }
  return error;
}

}  // namespace pollux
