// Ports whose interface comes and goes just as they do.

#include <doctest/doctest.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "kernel_testbed.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using namespace std::chrono_literals;

bool IsToldGone(Testbed& bed) {
  for (int i = 0; i < 2000; ++i) {
    for (const Event& event : bed->TakeEvents()) {
      if (event.kind == Event::Kind::kPortGone) return true;
    }
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

}  // namespace

TEST_CASE("a port whose interface dies while the first port is added is told to be gone") {
  Isolated([] {
    int added = 0;
    for (int round = 0; round < 40; ++round) {
      Run("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
      Testbed bed;
      PortSpec spec = Memory("v0");
      spec.netdev.type = "af_packet";
      std::thread killer([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(200 * (round % 20)));
        Run("ip link del v0");
      });
      const Result<PortInfo> port = bed.TryAdd(spec);
      killer.join();
      if (!port) continue;  // It was gone before.
      ++added;
      CHECK(IsToldGone(bed));
    }
    CHECK(added > 0);
  });
}

TEST_CASE("events that nobody takes are merged by port once there are many; the newest is told") {
  Isolated([] {
    MakePair();
    Testbed bed;
    PortSpec spec = Memory("v0");
    spec.netdev.type = "af_packet";
    const Result<PortInfo> added = bed.TryAdd(spec);
    if (!added.ok()) return;
    const auto await = [&](LinkState state) {
      for (int i = 0; i < 20'000; ++i) {
        if (bed->ports().at(0).link == state) return true;
        std::this_thread::sleep_for(100us);
      }
      return false;
    };
    const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "v0");
    for (int change = 0; change < 1100; ++change) {
      const bool up = change % 2 != 0;
      request.ifr_flags = up ? IFF_UP : 0;
      REQUIRE(ioctl(control, SIOCSIFFLAGS, &request) == 0);
      REQUIRE(await(up ? LinkState::kUp : LinkState::kDown));
    }
    close(control);
    const std::vector<Event> events = bed->TakeEvents();
    CHECK(events.size() >= 999);
    CHECK(events.size() <= 1000);
    REQUIRE(!events.empty());
    CHECK(events.back().kind == Event::Kind::kPortUp);
    CHECK(events.back().port == added.value().id);
  });
}

}  // namespace pollux::test
