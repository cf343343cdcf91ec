// Flows forwarded by the XDP program of their port: hosts on veth pairs, and what must hold while
// everything else changes.

#include "datapath/flow_offload.h"

#include <doctest/doctest.h>
#include <linux/openvswitch.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernel/bpf/redirect_target.h"
#include "kernel_testbed.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using namespace std::chrono_literals;

// For what is to happen, in tenths of a second on a machine at rest.
constexpr std::chrono::milliseconds kPatience = 20s;

// a0 - f0, b0 - f1, c0 - f2; what is sent at a0 comes in at f0, and so on.
void MakePairs() {
  for (const auto& [host, ours] : {std::pair{"a0", "f0"}, {"b0", "f1"}, {"c0", "f2"}}) {
    Run(std::string("ip link add ") + host + " type veth peer name " + ours);
    for (const char* name : {host, ours}) {
      Run(std::string("echo 1 > /proc/sys/net/ipv6/conf/") + name + "/disable_ipv6");
      Run(std::string("ip link set ") + name + " up");
    }
    Run(std::string("ethtool -K ") + host + " gro on");
  }
}

// A UDP or TCP frame to a port; IPv4, with a wrong checksum, which is nobody's business.
Bytes FrameTo(std::uint16_t port, std::uint8_t protocol = kProtoUdp, std::size_t size = 60) {
  Bytes frame = Frame(size, 0);
  const auto put16 = [&](std::size_t at, std::size_t value) {
    frame[at] = static_cast<std::uint8_t>(value >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(value);
  };
  put16(12, kEthTypeIpv4);
  frame[14] = 0x45;
  put16(16, size - 14);
  put16(20, 0);
  frame[23] = protocol;
  put16(34, 1000);
  put16(36, port);
  if (protocol == kProtoTcp) {
    frame[46] = 0x50;
    frame[47] = 0x10;
  }
  return frame;
}

Match MatchOf(std::uint32_t in_port, std::optional<std::uint16_t> udp_dst = {}) {
  Match match = MatchInPort(in_port);
  if (!udp_dst) return match;
  match.key.eth_type = ToBe16(kEthTypeIpv4);
  match.mask.eth_type = 0xffff;
  match.key.nw_proto = kProtoUdp;
  match.mask.nw_proto = 0xff;
  match.key.tp_dst = ToBe16(*udp_dst);
  match.mask.tp_dst = 0xffff;
  return match;
}

PortSpec OffloadingPort(const std::string& name, std::uint32_t number) {
  PortSpec spec;
  spec.netdev.type = "af_xdp";
  spec.netdev.name = name;
  spec.netdev.offload_flows_above = 1;
  spec.number = number;
  return spec;
}

// Sends frames as fast as it can while it lives, or until it is stopped.
class Flood {
 public:
  Flood(const char* device, Bytes frame) : raw_(device), frame_(std::move(frame)) {
    thread_ = std::thread([this] {
      while (!stop_.load(std::memory_order_relaxed)) sent_ += raw_.Send(frame_) ? 1 : 0;
    });
  }
  ~Flood() { Stop(); }
  std::uint64_t Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
    return sent_;
  }

 private:
  Raw raw_;
  const Bytes frame_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> sent_{0};
  std::thread thread_;
};

// Packets that have arrived at an interface.
std::uint64_t ArrivedAt(const std::string& device) {
  return std::stoull(
      "0" + Output("tr : ' ' </proc/net/dev | awk '$1 == \"" + device + "\" {printf $3}'"));
}

class Scene {
 public:
  Scene() {
    MakePairs();
    f0 = testbed.Add(OffloadingPort("f0", 1));
    f1 = testbed.Add(OffloadingPort("f1", 2));
    f2 = testbed.Add(OffloadingPort("f2", 3));
  }

  bool offloads() const { return f0.mode == "native-copy flow-offload"; }
  FlowTable& flows() { return testbed->flows(); }
  Status Put(const Match& match, const std::vector<std::uint8_t>& actions) {
    Result<ActionListPtr> list = ActionList::Parse(actions, match);
    REQUIRE(list.ok());
    FlowPut put;
    put.match = match;
    put.actions = *list;
    std::vector<FlowOutcome> outcomes = ApplyChanges(flows(), std::vector<FlowChange>{put}, false);
    return outcomes[0].ok() ? Status() : Status(outcomes[0].error());
  }
  void Delete(const Match& match) {
    const auto outcomes = ApplyChanges(flows(), std::vector<FlowChange>{FlowDelete{match}}, false);
    REQUIRE(outcomes[0].ok());
  }
  FlowView Flow(const Match& match) {
    const std::optional<FlowView> view = FindFlow(flows(), match);
    REQUIRE(view.has_value());
    return *view;
  }
  PortStats Stats(const PortInfo& port) { return testbed->port_stats(port.id).value(); }

  // Sends the frame until its flow is offloaded; how many that took.
  std::uint64_t Heat(const Match& match, const Bytes& frame, const char* device = "a0") {
    Raw raw(device);
    for (std::uint64_t sent = 0; sent < 400; ++sent) {
      if (Flow(match).offloaded) return sent;
      raw.Send(frame);
      std::this_thread::sleep_for(10ms);
    }
    FAIL_CHECK("the flow is not offloaded");
    return 400;
  }
  bool CoolsDown(const Match& match) {
    return Within(kPatience, [&] { return !Flow(match).offloaded; });
  }
  template <typename Condition>
  static bool Within(std::chrono::milliseconds time, Condition condition) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(10ms);
    }
    return true;
  }
  // Does it on the control thread, so between two ticks: nothing is offloaded meanwhile, however
  // long it takes.
  template <typename Work>
  auto BetweenTicks(Work work) {
    auto promise = std::make_shared<std::promise<decltype(work())>>();
    testbed->Settle([promise, work](const Status&) { promise->set_value(work()); });
    return promise->get_future().get();
  }
  // Frames in flight have arrived: no count has moved for a while.
  void Rest() {
    std::vector<std::uint64_t> before;
    int quiet = 0;
    CHECK(Within(kPatience, [&] {
      const Ledger ledger = testbed->stats().ledger;
      std::vector<std::uint64_t> now = {ledger.received, ledger.transmitted, ledger.dropped};
      for (const char* device : {"f0", "f1", "f2", "b0", "c0"}) now.push_back(ArrivedAt(device));
      quiet = now == before ? quiet + 1 : 0;
      before = std::move(now);
      return quiet >= 3;
    }));
    testbed.Reload();
  }
  void LedgerCloses() {
    Rest();
    const Ledger ledger = testbed->stats().ledger;
    CHECK(ledger.received + ledger.executed + ledger.copied ==
          ledger.transmitted + ledger.dropped + ledger.queued);
  }

  Testbed testbed;
  PortInfo f0, f1, f2;
};

void OnScene(const std::function<void(Scene&)>& test) {
  Isolated([&] {
    if (!FindNetdevType("af_xdp")->unavailable().empty()) {
      std::printf("SKIPPED: no af_xdp here\n");
      return;
    }
    Scene scene;
    if (!scene.offloads()) {
      std::printf("SKIPPED: this kernel offloads no flows: %s\n", scene.f0.mode.c_str());
      return;
    }
    test(scene);
  });
}

}  // namespace

TEST_CASE("flow offload: a hot flow goes by the program, and is counted to the packet") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    REQUIRE(scene.Put(match, OutputTo({2})).ok());
    const std::uint64_t before = ArrivedAt("b0");
    std::uint64_t sent = scene.Heat(match, FrameTo(7));
    scene.Rest();
    const std::uint64_t received_by_thread = scene.testbed->stats().pmds[1].packets;
    constexpr std::uint64_t kMore = 20'000;
    Raw raw("a0");
    for (std::uint64_t i = 0; i < kMore; ++i) sent += raw.Send(FrameTo(7)) ? 1 : 0;
    CHECK(sent > kMore);
    CHECK(scene.Flow(match).offloaded);
    scene.LedgerCloses();

    const FlowView flow = scene.Flow(match);
    CHECK(flow.stats.packets == sent);
    CHECK(flow.stats.bytes == 60 * sent);
    CHECK(flow.stats.used_ms + 1'000 > scene.testbed->now_ms());
    CHECK(ArrivedAt("b0") - before == sent);
    CHECK(scene.Stats(scene.f0).rx_packets == sent);
    CHECK(scene.Stats(scene.f0).rx_bytes == 60 * sent);
    CHECK(scene.Stats(scene.f0).offloaded_packets >= kMore);
    CHECK(scene.Stats(scene.f1).tx_packets == sent);
    CHECK(scene.Stats(scene.f1).tx_bytes == 60 * sent);
    const DatapathStats stats = scene.testbed->stats();
    CHECK(stats.ledger.received == sent);
    CHECK(stats.ledger.transmitted == sent);
    CHECK(stats.pmds[1].packets == received_by_thread);

    // It stays in use, and goes back to the threads when it is not.
    CHECK(scene.CoolsDown(match));
    CHECK(scene.Flow(match).stats.packets == sent);
    CHECK(scene.Stats(scene.f1).tx_packets == sent);
    raw.Send(FrameTo(7));
    scene.LedgerCloses();
    CHECK(scene.Flow(match).stats.packets == sent + 1);
    CHECK(ArrivedAt("b0") - before == sent + 1);
  });
}

TEST_CASE("flow offload: flows that drop are offloaded, with TCP flags; others are not") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    REQUIRE(scene.Put(match, {}).ok());
    std::uint64_t sent = scene.Heat(match, FrameTo(7, kProtoTcp));
    Raw raw("a0");
    Bytes frame = FrameTo(7, kProtoTcp);
    frame[47] = 0x02;
    for (int i = 0; i < 100; ++i) sent += raw.Send(frame) ? 1 : 0;
    scene.LedgerCloses();
    const FlowView flow = scene.Flow(match);
    CHECK(flow.stats.packets == sent);
    CHECK(flow.stats.tcp_flags == 0x12);
    const Ledger ledger = scene.testbed->stats().ledger;
    CHECK(ledger.received == sent);
    CHECK(ledger.drops[static_cast<std::size_t>(DropReason::kAction)] == sent);

    const Match both = MatchOf(2);
    REQUIRE(scene.Put(both, OutputTo({1, 3})).ok());
    Raw other("b0");
    for (int i = 0; i < 50; ++i) {
      other.Send(FrameTo(7));
      std::this_thread::sleep_for(10ms);
    }
    CHECK_FALSE(scene.Flow(both).offloaded);
    scene.LedgerCloses();
  });
}

TEST_CASE("flow offload: frames of another kind go by the threads, beside a hot flow") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    REQUIRE(scene.Put(match, OutputTo({2})).ok());
    std::uint64_t sent = scene.Heat(match, FrameTo(7, kProtoTcp));
    scene.Rest();
    const std::uint64_t before = ArrivedAt("b0");
    const std::uint64_t offloaded = scene.Stats(scene.f0).offloaded_packets;
    Bytes tagged = FrameTo(7, kProtoTcp);
    const Bytes tag = {0x81, 0, 0, 5};
    tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
    Bytes fragment = FrameTo(7, kProtoTcp);
    fragment[20] = 0x20;
    Bytes partial = FrameTo(7, kProtoTcp);
    const std::uint16_t sum =
        FoldSum(PseudoSum4(std::span<const std::uint8_t, 4>(&partial[26], 4),
                           std::span<const std::uint8_t, 4>(&partial[30], 4), kProtoTcp, 60 - 34));
    std::memcpy(&partial[50], &sum, sizeof sum);
    Raw sink("b0");
    Raw raw("a0");
    for (int i = 0; i < 5; ++i) REQUIRE(raw.Send(tagged));  // No flow takes these.
    for (const Bytes& frame : {fragment, partial, Frame(60, 1)}) {
      for (int i = 0; i < 5; ++i) sent += raw.Send(frame) ? 1 : 0;
    }
    scene.LedgerCloses();
    CHECK(scene.Stats(scene.f0).offloaded_packets == offloaded);
    CHECK(scene.Flow(match).stats.packets == sent);
    CHECK(ArrivedAt("b0") - before == 15);
    const Ledger ledger = scene.testbed->stats().ledger;
    CHECK(ledger.drops[static_cast<std::size_t>(DropReason::kNoConsumer)] == 5);
    // That of the pseudo-header alone did not get through.
    std::size_t finished = 0;
    for (const Bytes& frame : sink.Receive(15)) {
      if (frame[12] != 8 || frame[20] != 0) continue;
      ++finished;
      CHECK(std::memcmp(&frame[50], &sum, sizeof sum) != 0);
    }
    CHECK(finished == 5);
  });
}

TEST_CASE("flow offload: when a put or a deletion returns, not one frame goes the old way") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    REQUIRE(scene.Put(match, OutputTo({2})).ok());
    const std::uint64_t b = ArrivedAt("b0"), c = ArrivedAt("c0");
    // What went that way up to now arrives, and not one frame more.
    const auto nothing_more = [&](const PortInfo& way, const char* device, std::uint64_t before) {
      // What a thread of ours still had in hand.
      scene.testbed.Reload();
      const std::uint64_t last = before + scene.Stats(way).tx_packets;
      CHECK(Scene::Within(kPatience, [&] { return ArrivedAt(device) >= last; }));
      std::this_thread::sleep_for(50ms);
      CHECK(ArrivedAt(device) == last);
    };
    Flood flood("a0", FrameTo(7));
    std::uint64_t offloaded = 0;
    for (int round = 0; round < 6; ++round) {
      REQUIRE(Scene::Within(kPatience, [&] { return scene.Flow(match).offloaded; }));
      std::this_thread::sleep_for(20ms);
      const bool to_c = round % 2 == 0;
      const auto put_and_look = [&] {
        const bool put = scene.Put(match, OutputTo({to_c ? 3u : 2u})).ok();
        return put && !scene.Flow(match).offloaded;
      };
      CHECK(scene.BetweenTicks(put_and_look));
      offloaded = scene.Stats(scene.f0).offloaded_packets;
      to_c ? nothing_more(scene.f1, "b0", b) : nothing_more(scene.f2, "c0", c);
    }
    CHECK(offloaded > 0);
    REQUIRE(Scene::Within(kPatience, [&] { return scene.Flow(match).offloaded; }));
    scene.Delete(match);
    nothing_more(scene.f1, "b0", b);
    nothing_more(scene.f2, "c0", c);
    const std::uint64_t sent = flood.Stop();
    scene.LedgerCloses();

    // Nothing was lost on the way and nothing counted twice, through all that.
    const PortStats in = scene.Stats(scene.f0);
    CHECK(in.rx_packets + in.rx_dropped == sent);
    const std::uint64_t out = scene.Stats(scene.f1).tx_packets + scene.Stats(scene.f2).tx_packets;
    CHECK(out == ArrivedAt("b0") - b + ArrivedAt("c0") - c);
  });
}

TEST_CASE("flow offload: a new flow that looks at more takes its packets from the first on") {
  OnScene([](Scene& scene) {
    const Match udp7 = MatchOf(1, 7);
    REQUIRE(scene.Put(udp7, OutputTo({2})).ok());
    Flood flood("a0", FrameTo(7));
    for (int round = 0; round < 4; ++round) {
      REQUIRE(Scene::Within(kPatience, [&] { return scene.Flow(udp7).offloaded; }));
      // From the same key as before, under a mask of more fields.
      Match other = MatchOf(1, static_cast<std::uint16_t>(9 + round));
      other.mask.nw_ttl = static_cast<std::uint8_t>(1 << round);
      other.key.nw_ttl = 0;
      CHECK(scene.BetweenTicks(
          [&] { return scene.Put(other, OutputTo({3})).ok() && !scene.Flow(udp7).offloaded; }));
    }
    REQUIRE(Scene::Within(kPatience, [&] { return scene.Flow(udp7).offloaded; }));
    const std::uint64_t sent = flood.Stop();
    scene.LedgerCloses();
    const PortStats in = scene.Stats(scene.f0);
    CHECK(in.rx_packets + in.rx_dropped == sent);
    CHECK(scene.Flow(udp7).stats.packets == in.rx_packets);
    CHECK(in.offloaded_packets > 0);

    // A packet that no key of the program's is for, though it is nearly the same.
    const std::uint64_t before = scene.Flow(udp7).stats.packets;
    Raw raw("a0");
    REQUIRE(raw.Send(FrameTo(8)));
    scene.LedgerCloses();
    CHECK(scene.Flow(udp7).stats.packets == before);
  });
}

TEST_CASE("flow offload: ports go down, go away, come back and get another MTU") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    REQUIRE(scene.Put(match, OutputTo({2})).ok());
    {
      const Flood flood("a0", FrameTo(7));
      const auto is_offloaded = [&] { return scene.Flow(match).offloaded; };
      REQUIRE(Scene::Within(kPatience, is_offloaded));
      // Down and up.
      Run("ip link set f1 down");
      CHECK(scene.CoolsDown(match));
      Run("ip link set f1 up");
      CHECK(Scene::Within(kPatience, is_offloaded));
      // The far end no longer takes such frames.
      Run("ethtool -K b0 gro off");
      CHECK(scene.CoolsDown(match));
      std::uint64_t arrived = ArrivedAt("b0");
      CHECK(Scene::Within(kPatience, [&] { return ArrivedAt("b0") > arrived + 100; }));
      Run("ethtool -K b0 gro on");
      CHECK(Scene::Within(kPatience, is_offloaded));
      // Deleted by the user.
      scene.testbed.Delete(scene.f1);
      CHECK_FALSE(is_offloaded());
      const auto none_since = [&] {
        const std::uint64_t last = std::exchange(arrived, ArrivedAt("b0"));
        return last == arrived;
      };
      CHECK(Scene::Within(kPatience, none_since));  // The far end's queue is empty.
      std::this_thread::sleep_for(50ms);
      CHECK(ArrivedAt("b0") == arrived);
      scene.f1 = scene.testbed.Add(OffloadingPort("f1", 2));
      CHECK(Scene::Within(kPatience, is_offloaded));
      // Gone, and made anew.
      Run("ip link del f1");
      CHECK(scene.CoolsDown(match));
      Run("ip link add b0 type veth peer name f1 && ip link set f1 up && ip link set b0 up");
      Run("ethtool -K b0 gro on");
      CHECK(Scene::Within(kPatience, is_offloaded));
      arrived = ArrivedAt("b0");
      CHECK(Scene::Within(kPatience, [&] { return ArrivedAt("b0") > arrived + 100; }));
      // The port it comes in by, too.
      REQUIRE(scene.testbed.Renumber(scene.f1, 9).ok());
      CHECK_FALSE(is_offloaded());
      REQUIRE(scene.testbed.Renumber(scene.f1, 2).ok());
      CHECK(Scene::Within(kPatience, is_offloaded));
      Run("ip link set f0 down");
      CHECK(scene.CoolsDown(match));
      Run("ip link set f0 up");
      CHECK(Scene::Within(kPatience, is_offloaded));
    }
    scene.LedgerCloses();

    // Frames that its way out cannot take are dropped, and counted, by the datapath.
    Run("ip link set f1 mtu 1000");
    std::this_thread::sleep_for(200ms);
    scene.Heat(match, FrameTo(7));
    const std::uint64_t before = ArrivedAt("b0");
    const auto too_long = [&] {
      return scene.testbed->stats().ledger.drops[static_cast<std::size_t>(DropReason::kMtu)];
    };
    const std::uint64_t dropped = too_long();
    Raw raw("a0");
    for (int i = 0; i < 10; ++i) {
      REQUIRE(raw.Send(FrameTo(7, kProtoUdp, 1'014)));
      REQUIRE(raw.Send(FrameTo(7, kProtoUdp, 1'015)));
    }
    CHECK(scene.Flow(match).offloaded);
    scene.LedgerCloses();
    CHECK(ArrivedAt("b0") - before == 10);
    CHECK(too_long() - dropped == 10);
  });
}

TEST_CASE("flow offload: ports come and go beside those who put flows and look at them") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    // It stays, however long this takes.
    FlowPut put;
    put.match = match;
    put.actions = ActionList::Parse({}, match).value();
    put.idle_timeout_ms = 0;
    REQUIRE(ApplyChanges(scene.flows(), std::vector<FlowChange>{put}, false).front().ok());
    (void)scene.Heat(match, FrameTo(7));
    std::atomic<bool> stop{false};
    std::thread looking([&] {
      for (std::uint16_t port = 1; !stop; ++port) {
        POLLUX_CHECK(FindFlow(scene.flows(), match).has_value());
        const Match other = MatchOf(2, port);
        if (port % 2 == 0) scene.Delete(other);
        (void)scene.testbed->stats();
      }
    });
    for (int i = 0; i < 500; ++i) {
      const PortInfo port = scene.testbed.Add(Memory("m", 10 + i % 50));
      if (i % 3 == 0) (void)scene.testbed.Renumber(port, 100);
      scene.testbed.Delete(port);
    }
    stop = true;
    looking.join();
    scene.LedgerCloses();
  });
}

TEST_CASE("flow offload: a hot flow does not time out, and the last it did is told") {
  OnScene([](Scene& scene) {
    const Match match = MatchOf(1);
    Result<ActionListPtr> list = ActionList::Parse(OutputTo({2}), match);
    FlowPut put;
    put.match = match;
    put.actions = *list;
    put.idle_timeout_ms = 1'500;
    REQUIRE(ApplyChanges(scene.flows(), std::vector<FlowChange>{put}, false)[0].ok());
    Flood flood("a0", FrameTo(7));
    REQUIRE(Scene::Within(kPatience, [&] { return scene.Flow(match).offloaded; }));
    std::this_thread::sleep_for(2'500ms);
    CHECK(scene.Flow(match).offloaded);
    const std::uint64_t sent = flood.Stop();
    scene.Rest();
    const std::uint64_t received = scene.Stats(scene.f0).rx_packets;
    CHECK(received + scene.Stats(scene.f0).rx_dropped == sent);
    std::vector<FlowView> removed;
    CHECK(Scene::Within(kPatience, [&] {
      for (Event& event : scene.testbed->TakeEvents()) {
        for (FlowView& flow : event.flows) removed.push_back(std::move(flow));
      }
      return !removed.empty();
    }));
    REQUIRE(removed.size() == 1);
    CHECK(removed[0].stats.packets == received);
  });
}

}  // namespace pollux::test
