// Everything at once: flows, ports of all kinds, interfaces, upcalls, options and a shortage of
// descriptors change from several threads, at random, while packets are on their way. What must
// hold: no sanitizer says a word, every command is answered, the ledger closes, and nothing stays.
//
// POLLUX_STRESS_SECONDS says how long (default 15), POLLUX_STRESS_SEED begins another run.

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernel_testbed.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using namespace std::chrono_literals;

class Random {
 public:
  explicit Random(std::uint32_t seed) : source_(seed) {}
  std::uint32_t operator()() { return static_cast<std::uint32_t>(source_()); }

 private:
  std::mt19937 source_;
};

std::uint32_t Setting(const char* name, std::uint32_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

constexpr std::uint32_t kPorts = 12;
constexpr std::uint32_t kFlowsOfAPort = 12'000;
// So many batches of changes add flows, then as many take them away.
constexpr std::uint32_t kTide = 400;

class Stress {
 public:
  Stress(std::uint32_t seed, const DatapathOptions& options) : bed(options), seed_(seed) {}

  void Run(std::chrono::seconds time) {
    const std::vector<std::function<void(Random&)>> actors = {
        [this](Random& random) { ChangePorts(random); },
        [this](Random& random) { ChangeFlows(random); },
        [this](Random& random) { AnswerUpcalls(random); },
        [this](Random& random) { MovePackets(random); },
        [this](Random& random) { ChangeOptions(random); },
        [this](Random& random) { ChangeInterfaces(random); },
        [this](Random& random) { RunShort(random); },
    };
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < actors.size(); ++i) {
      threads.emplace_back([this, i, act = actors[i]] {
        Random random(seed_ * 100 + i);
        while (!stop_) act(random);
      });
    }
    std::this_thread::sleep_for(time);
    stop_ = true;
    for (std::thread& thread : threads) thread.join();
  }

  Testbed bed;
  std::atomic<std::uint64_t> answered{0};  // Commands.
  std::size_t most_flows = 0;              // At one time.

 private:
  template <typename T, typename Start>
  Result<T> Ask(Start start) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    start([promise](Result<T> result) { promise->set_value(std::move(result)); });
    Result<T> result = promise->get_future().get();
    ++answered;
    return result;
  }
  template <typename Start>
  Status Wait(Start start) {
    auto promise = std::make_shared<std::promise<Status>>();
    start([promise](const Status& status) { promise->set_value(status); });
    Status status = promise->get_future().get();
    ++answered;
    return status;
  }

  PortSpec AnyPort(Random& random) {
    static const std::vector<std::pair<std::string, std::string>> kKinds = {
        {"memory", ""},      {"memory", ""},      {"null", ""},    {"tap", "t0"},
        {"af_packet", "v0"}, {"af_packet", "v2"}, {"af_xdp", "v0"}};
    const auto& [type, device] = kKinds[random() % kKinds.size()];
    PortSpec spec;
    spec.netdev.type = FindNetdevType(type)->unavailable().empty() ? type : "memory";
    spec.netdev.name = "p" + std::to_string(random() % kPorts);
    spec.netdev.device = device;
    spec.netdev.generate = type == "null";
    spec.netdev.generate_limit = 5000;
    spec.netdev.rxqs = type == "memory" ? 1 + random() % 3 : 1;
    if (!device.empty() && random() % 4 == 0) spec.netdev.netns = elsewhere_.path();
    spec.netdev.wait = random() % 2 == 0;
    if (type == "af_packet") {
      spec.netdev.visible = random() % 4 == 0;
      spec.netdev.qdisc_bypass = !spec.netdev.visible && random() % 4 == 0;
      spec.netdev.promiscuous = random() % 4 != 0;
    }
    if (type == "af_xdp" && spec.netdev.netns.empty()) spec.netdev.offload_flows_above = 1;
    if (random() % 4 == 0) spec.pmd = false;
    return spec;
  }
  // Some port there is.
  PortInfo SomePort(Random& random) {
    const std::vector<PortInfo> ports = bed->ports();
    return ports.empty() ? PortInfo{} : ports[random() % ports.size()];
  }

  void ChangePorts(Random& random) {
    switch (random() % 4) {
      case 0:
      case 1:
        (void)Ask<PortInfo>([&](auto done) { bed->AddPort(AnyPort(random), done); }).ok();
        break;
      case 2:
        (void)Wait([&](auto done) { bed->DeletePort(SomePort(random).id, done); }).ok();
        break;
      default:
        (void)Ask<PortInfo>([&](auto done) {
          bed->RenumberPort(SomePort(random).id, 1 + random() % (2 * kPorts), done);
        }).ok();
    }
  }

  // Of many masks, some of which cover others.
  Match MatchOf(std::uint32_t port, std::uint32_t flow, std::uint32_t mask) {
    Match match = MatchInPort(port);
    match.mask.ipv4_dst = UINT32_MAX >> mask % 4;
    match.key.ipv4_dst = flow & match.mask.ipv4_dst;
    if (mask % 16 == 5) match.mask.ipv4_src = match.key.ipv4_src = 1u << flow % 32;
    match.mask.eth_type = 0xffff;
    match.key.eth_type = ToBe16(0x0800);
    return match;
  }

  void ChangeFlows(Random& random) {
    std::vector<FlowChange> changes;
    const bool grows = batches_++ / kTide % 2 == 0;
    const std::uint32_t port = 1 + random() % kPorts;
    std::uint32_t flow = random() % kFlowsOfAPort;
    for (std::uint32_t n = random() % 1024; n > 0; --n) {
      const Match match = MatchOf(port, flow++ % kFlowsOfAPort, grows ? random() % 64 : 0);
      if (grows) {
        FlowPut put;
        put.match = match;
        put.actions = ActionList::Parse(OutputTo({1 + random() % kPorts}), match).value();
        changes.emplace_back(put);
      } else {
        changes.emplace_back(FlowDelete{match});
      }
    }
    (void)ApplyChanges(bed->flows(), changes, random() % 4 == 0);
    most_flows = std::max(most_flows, bed->flows().size());
    // A flow for everything of a port, which may be offloaded.
    if (random() % 16 == 0) (void)bed.TryPut(MatchInPort(1 + random() % kPorts), {}).ok();
    if (batches_ % (2 * kTide) == 0) bed->flows().Clear();
  }

  void AnswerUpcalls(Random& random) {
    if (random() % 16 == 0) bed->SetUpcallConsumer(random() % 3 != 0);
    bed->AcknowledgeEvents();
    (void)bed->TakeEvents();
    std::uint64_t dropped = 0;
    std::vector<UpcallVerdict> verdicts;
    const std::vector<std::uint8_t> actions = OutputTo({1 + random() % kPorts});
    for (const UpcallView& upcall : bed->TakeUpcalls(64, dropped)) {
      UpcallVerdict verdict;
      verdict.id = upcall.id;
      verdict.kind = static_cast<UpcallVerdict::Kind>(random() % 3);
      verdict.actions = actions;
      verdicts.push_back(verdict);
    }
    (void)bed->AnswerUpcalls(verdicts);
    if (verdicts.empty()) std::this_thread::sleep_for(100us);
  }

  void MovePackets(Random& random) {
    const std::vector<std::uint8_t> frame = PlainFrame(random());
    const std::vector<std::span<const std::uint8_t>> frames(1 + random() % 64, frame);
    const PortInfo port = SomePort(random);
    (void)bed->Inject(port.id, random() % 3, frames).ok();
    std::vector<PacketPtr> drained;
    (void)bed->Drain(SomePort(random).id, 1000, drained).ok();
    (void)bed->Execute(frame, OutputTo({1 + random() % kPorts}), port.number).ok();
    (void)bed->Trace(frame, port.number, random()).ok();
    (void)bed->stats();
    (void)bed->port_stats(port.id).ok();
  }

  void ChangeOptions(Random& random) {
    switch (random() % 4) {
      case 0: {
        DatapathOptions options = bed->options();
        options.pmd_cpus = {{0}};
        if (random() % 2 == 0) options.pmd_cpus = {{0, 1}};
        options.max_idle_ms = 50 + random() % 10'000;
        options.flow_limit = 1000 + random() % 200'000;
        (void)Wait([&](auto done) { bed->SetOptions(options, done); }).ok();
        break;
      }
      case 1:
        (void)Wait([&](auto done) { bed->Settle(done); }).ok();
        break;
      default:
        (void)Ask<std::vector<ReloadReport>>([&](auto done) { bed->Reload({}, done); }).ok();
    }
    std::this_thread::sleep_for(1ms);
  }

  void ChangeInterfaces(Random& random) {
    static const std::vector<std::string> kCommands = {
        "ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up",
        "ip link add v2 type veth peer name v3; ip link set v2 up; ip link set v3 up",
        "ip link set v1 down",
        "ip link set v1 up",
        "ip link set v2 mtu 1400",
        "tc qdisc replace dev v0 root tbf rate 100mbit burst 64k latency 10ms",
        "tc qdisc del dev v0 root",
        "ip link del v0",
        "ip link del v2"};
    const std::string& command = kCommands[random() % kCommands.size()];
    const std::string where = random() % 3 == 0 ? "nsenter --net=" + elsewhere_.path() + " " : "";
    (void)std::system((where + "sh -c '" + command + "' >/dev/null 2>&1").c_str());
    std::this_thread::sleep_for(10ms);
  }

  // Nothing can be opened for a moment.
  void RunShort(Random& random) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlimit tight = limit;
    tight.rlim_cur = 8 + random() % 200;
    setrlimit(RLIMIT_NOFILE, &tight);
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 5));
    setrlimit(RLIMIT_NOFILE, &limit);
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 50));
  }

  const std::uint32_t seed_;
  const Namespace elsewhere_;
  std::atomic<bool> stop_{false};
  std::uint32_t batches_ = 0;  // Of changes of flows, by the one thread that makes them.
};

}  // namespace

TEST_CASE("stress: everything at once, and nothing is lost or stays") {
  Isolated([] {
    const std::size_t open_before = OpenDescriptors();
    const std::size_t threads_before = RunningThreads();
    {
      DatapathOptions options;
      options.topology = {{0, 1}};
      Stress stress(Setting("POLLUX_STRESS_SEED", 1), options);
      stress.Run(std::chrono::seconds(Setting("POLLUX_STRESS_SECONDS", 15)));
      Testbed& bed = stress.bed;
      const Ledger ledger = bed->stats().ledger;
      std::printf("stress: %llu commands, %llu packets received, %llu sent, up to %zu flows\n",
                  static_cast<unsigned long long>(stress.answered),
                  static_cast<unsigned long long>(ledger.received),
                  static_cast<unsigned long long>(ledger.transmitted), stress.most_flows);
      CHECK(stress.answered > 0);
      CHECK(ledger.received > 0);
      CHECK(ledger.transmitted > 0);
      for (const PortInfo& port : bed->ports()) bed.Delete(port);
      bed->SetUpcallConsumer(false);
      bed.Reload();
      std::uint64_t dropped = 0;
      while (!bed->TakeUpcalls(1024, dropped).empty()) {
      }
      bed.CheckLedgerCloses();
      bed.Close();
    }
    CHECK(OpenDescriptors() == open_before);
    CHECK(ThreadsComeDownTo(threads_before));
  });
}

}  // namespace pollux::test
