// What a flow at full speed notices of ports that come and go: the longest time in which it does
// not get on, and what is lost.
//
// One thread forwards on the last core. On the first, this one looks at the flow's counter all the
// time, and another adds and deletes a port. While the looker is off the core, it takes what the
// flow should have done and has not for time lost. The same is done with nobody coming or going:
// that is the floor of the method, most of it the machine's own.
//
//   churn_bench [--rounds=20] [--window-ms=50]
#include <atomic>
#include <thread>

#include "loop.h"

namespace {

using namespace pollux;         // NOLINT: a program of one file.
using namespace pollux::bench;  // NOLINT

struct Progress {
  std::int64_t ns;
  std::uint64_t packets;
};

Progress Look(Loop& loop, const Ufid& flow) {
  const auto view = FindFlow(loop->flows(), flow);
  if (!view.has_value()) Fail("the flow is gone");
  return {Clock::MonotonicNs(), view->stats.packets};
}

// The longest stop in a window, in microseconds; `per_ns`: packets of an undisturbed nanosecond.
double LongestStop(Loop& loop, const Ufid& flow, double per_ns, std::uint64_t window_ms) {
  constexpr std::int64_t kOffTheCore = 5'000;
  const std::int64_t end = Clock::MonotonicNs() + static_cast<std::int64_t>(window_ms) * 1'000'000;
  Progress last = Look(loop, flow);
  Progress moved = last;  // When the counter was last seen to change.
  double longest = 0;
  while (last.ns < end) {
    const Progress now = Look(loop, flow);
    if (now.ns - last.ns > kOffTheCore) {
      const double done = static_cast<double>(now.packets - last.packets) / per_ns;
      longest = std::max(longest, static_cast<double>(now.ns - last.ns) - done);
      moved = now;
    } else if (now.packets != last.packets) {
      longest = std::max(longest, static_cast<double>(now.ns - moved.ns));
      moved = now;
    }
    last = now;
  }
  return longest / 1e3;
}

void Print(const char* name, const char* unit, const Windows& windows, std::uint64_t operations,
           std::uint64_t lost) {
  Row row;
  row.Put("bench", "churn").Put("name", name).Put("unit", unit).Put(windows);
  row.Put("operations", operations).Put("lost", lost).Print();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t rounds = options.Number("rounds", 20);
  const std::uint64_t window_ms = options.Number("window-ms", 50);
  const std::vector<std::uint32_t> cores = AllowedCores();
  Pin(cores.front());

  Loop loop(cores.back());
  loop.Add("to", Loop::kTo);
  const Ufid flow = loop.Put({MatchInPort(Loop::kFrom)}, Loop::kTo).front();
  const PortInfo from = loop.AddSource("from", Loop::kFrom, {});
  loop.Confine(cores.front());
  SleepMs(100);

  std::atomic<bool> churning{false};
  std::atomic<bool> stop{false};
  std::uint64_t operations = 0;
  std::thread churn([&] {
    while (!stop) {
      if (!churning) {
        SleepMs(1);
        continue;
      }
      loop.Delete(loop.Add("third", 3));
      operations += 2;
    }
  });

  Windows calm, disturbed;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    churning = false;
    SleepMs(5);
    const Progress begin = Look(loop, flow);
    SleepMs(window_ms);
    const Progress end = Look(loop, flow);
    const double per_ns =
        static_cast<double>(end.packets - begin.packets) / static_cast<double>(end.ns - begin.ns);
    calm.Add(LongestStop(loop, flow, per_ns, window_ms));
    churning = true;
    disturbed.Add(LongestStop(loop, flow, per_ns, window_ms));
  }
  stop = true;
  churn.join();
  loop.Delete(from);
  const Ledger ledger = loop->stats().ledger;
  Print("longest stop of a flow: nothing happens", "us", calm, 0, 0);
  Print("longest stop of a flow: ports are added and deleted", "us", disturbed, operations,
        ledger.received - ledger.transmitted);
}
