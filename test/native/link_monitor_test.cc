// The link monitor, on interfaces that come, change and go.
#include "kernel/link_monitor.h"

#include <doctest/doctest.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kernel_testbed.h"

namespace pollux::test {
namespace {

using Clock = std::chrono::steady_clock;

// Until none has come for 300 ms.
std::vector<LinkEvent> ReadEvents(LinkMonitor& monitor) {
  const auto patience = std::chrono::milliseconds(300);
  std::vector<LinkEvent> events;
  Clock::time_point end = Clock::now() + patience;
  while (Clock::now() < end) {
    pollfd wait{monitor.fd(), POLLIN, 0};
    poll(&wait, 1, 20);
    monitor.Read([&](const LinkEvent& event) {
      if (!event.list_is_complete) events.push_back(event);
      end = Clock::now() + patience;
    });
  }
  return events;
}

TEST_CASE("link monitor: reports what there is and what becomes of it") {
  Isolated([] {
    Result<std::unique_ptr<LinkMonitor>> opened = LinkMonitor::Open();
    CHECK(opened.ok());
    LinkMonitor& monitor = **opened;
    std::vector<LinkEvent> events = ReadEvents(monitor);
    CHECK(events.size() == 1);
    CHECK(events.front().name == "lo");
    CHECK(!events.front().up);

    MakePair("mtu 1234");
    const int ifindex = static_cast<int>(if_nametoindex("v0"));
    const auto last = [&] {
      LinkEvent found;
      for (const LinkEvent& event : ReadEvents(monitor)) {
        if (event.ifindex == ifindex) found = event;
      }
      return found;
    };
    // The carrier is looked after by the kernel when it has time.
    LinkEvent event;
    const auto goes = [&](bool up) {
      const Clock::time_point end = Clock::now() + std::chrono::seconds(20);
      do {
        event = last();
      } while ((event.ifindex != ifindex || event.up != up) && Clock::now() < end);
      return event.ifindex == ifindex && event.up == up;
    };
    CHECK(goes(true));
    CHECK(event.name == "v0");
    CHECK(event.mtu == 1234);
    Run("ip link set v1 down");
    CHECK(goes(false));  // No carrier.
    Run("ip link set v1 up; ip link set v0 name w0 mtu 1300");
    CHECK(goes(true));
    CHECK(event.name == "w0");
    CHECK(event.mtu == 1300);
    // Leaving a bridge is not being deleted.
    Run("ip link add br0 type bridge && ip link set w0 master br0");
    last();
    Run("ip link set w0 nomaster");
    for (const LinkEvent& left : ReadEvents(monitor)) CHECK(!left.deleted);
    Run("ip link del w0");
    event = last();
    CHECK(event.deleted);
    CHECK(!event.up);
    CHECK(event.name == "w0");
  });
}

TEST_CASE("link monitor: an interface that is moved can be followed") {
  Isolated([] {
    Result<std::unique_ptr<LinkMonitor>> opened = LinkMonitor::Open();
    CHECK(opened.ok());
    LinkMonitor& monitor = **opened;
    MakePair();
    const int ifindex = static_cast<int>(if_nametoindex("v0"));
    ReadEvents(monitor);
    const Namespace other;
    Run("ip link set v0 netns " + other.path());
    LinkEvent moved;
    for (const LinkEvent& event : ReadEvents(monitor)) {
      if (event.nsid == kHere && event.ifindex == ifindex && event.deleted) moved = event;
    }
    CHECK(moved.deleted);
    CHECK(moved.moved_nsid >= 0);
    CHECK(moved.moved_ifindex > 0);
    std::thread([&] {
      other.Enter();
      Run("ip link set v0 up mtu 1300");
    }).join();
    LinkEvent there;
    for (const LinkEvent& event : ReadEvents(monitor)) {
      if (event.nsid == moved.moved_nsid && event.ifindex == moved.moved_ifindex) there = event;
    }
    CHECK(there.name == "v0");
    CHECK(there.up);
    CHECK(there.mtu == 1300);
    // What is elsewhere is not on the list, and so not missed.
    monitor.Refresh();
    for (const LinkEvent& event : ReadEvents(monitor)) CHECK(!event.deleted);
  });
}

TEST_CASE("link monitor: what was lost is asked for") {
  Isolated([] {
    Result<std::unique_ptr<LinkMonitor>> opened = LinkMonitor::Open();
    CHECK(opened.ok());
    LinkMonitor& monitor = **opened;
    std::map<int, std::string> links;
    const auto read = [&] {
      for (const LinkEvent& event : ReadEvents(monitor)) {
        if (event.deleted) {
          links.erase(event.ifindex);
        } else {
          links[event.ifindex] = event.name;
        }
      }
    };
    Run("for i in $(seq 20); do echo link add d$i type veth peer name D$i; done | ip -batch -");
    read();
    CHECK(links.size() == 41);
    const int tiny = 4096;
    setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny);
    // Too much at once: some go, some come, some stay.
    Run("for i in $(seq 15); do echo link del d$i; done | ip -batch -");
    Run("for i in $(seq 25); do echo link add e$i type veth peer name E$i; done | ip -batch -");
    Run("for i in $(seq 10); do echo link del e$i; done | ip -batch -");
    read();
    std::set<std::string> names;
    for (const auto& [ifindex, name] : links) names.insert(name);
    std::set<std::string> expected = {"lo"};
    for (int i = 16; i <= 20; ++i) {
      expected.insert("d" + std::to_string(i));
      expected.insert("D" + std::to_string(i));
    }
    for (int i = 11; i <= 25; ++i) {
      expected.insert("e" + std::to_string(i));
      expected.insert("E" + std::to_string(i));
    }
    CHECK(names == expected);
  });
}

}  // namespace
}  // namespace pollux::test
