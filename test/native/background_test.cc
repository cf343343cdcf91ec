// Background: all that was started is done, not too much of it at once, and off this thread.
#include "base/background.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace {

using pollux::Background;

TEST_CASE("background: everything is done when it is waited for") {
  std::atomic<int> done = 0;
  std::atomic<bool> here = false;
  const std::thread::id self = std::this_thread::get_id();
  {
    Background background;
    for (int i = 0; i < 100; ++i) {
      background.Run([&] {
        if (std::this_thread::get_id() == self) here = true;
        std::this_thread::yield();
        ++done;
      });
    }
    background.Wait();
    CHECK(done == 100);
    background.Run([&] { ++done; });
  }
  CHECK(done == 101);
  CHECK(!here);
}

TEST_CASE("background: what waits, waits together; what is too much waits for its turn") {
  constexpr int kMost = 16;
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  const auto work = [&] {
    const int now = ++running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    // Until there are as many as there can be, or nobody else comes.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (most < kMost && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    --running;
  };
  Background background;
  for (int i = 0; i < 3 * kMost; ++i) background.Run(work);
  background.Wait();
  CHECK(most == kMost);
  CHECK(running == 0);
}

TEST_CASE("background: parts done together are done when the call returns") {
  std::vector<int> results(10);
  std::vector<Background::Work> parts;
  for (int i = 0; i < 10; ++i) parts.emplace_back([&results, i] { results[i] = i + 1; });
  pollux::DoTogether(std::move(parts));
  for (int i = 0; i < 10; ++i) CHECK(results[i] == i + 1);
}

}  // namespace
