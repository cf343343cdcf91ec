// Ports whose interface comes and goes just as they do.

#include <doctest/doctest.h>

#include <chrono>
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

}  // namespace pollux::test
