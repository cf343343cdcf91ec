// The system has no more to give (descriptors, threads, memory): whoever asks is told so, with what
// to do about it, and nothing of what was begun stays.

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/idle_thread.h"
#include "kernel/rtnetlink.h"
#include "kernel_testbed.h"
#include "testbed.h"

namespace pollux::test {
namespace {

// The process may have so many descriptors more than it has, until the object goes. Whatever number
// is free below the highest is taken.
class SpareDescriptors {
 public:
  explicit SpareDescriptors(std::size_t spare) {
    getrlimit(RLIMIT_NOFILE, &before_);
    int highest = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
      highest = std::max(highest, std::stoi(entry.path().filename().string()));
    for (int fd = dup(0); fd >= 0; fd = dup(0)) {
      if (fd > highest) {
        close(fd);
        break;
      }
      fillers_.emplace_back(fd);
    }
    rlimit tight = before_;
    tight.rlim_cur = static_cast<rlim_t>(highest) + 1 + spare;
    setrlimit(RLIMIT_NOFILE, &tight);
  }
  ~SpareDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  SpareDescriptors(const SpareDescriptors&) = delete;
  SpareDescriptors& operator=(const SpareDescriptors&) = delete;

 private:
  rlimit before_{};
  std::vector<Fd> fillers_;
};

void CheckTellsOfDescriptors(const Error& error) {
  INFO(error.message);
  CHECK(error.number == EMFILE);
  CHECK(error.hint.find("ulimit -n") != std::string::npos);
}

// Tries with no descriptor to spare, with one, and so on until it works; how many that took.
std::size_t UntilItWorks(const std::function<Status()>& attempt) {
  for (std::size_t spare = 0; spare < 100; ++spare) {
    Status status;
    {
      const SpareDescriptors limit(spare);
      status = attempt();
    }
    if (status) return spare;
    CheckTellsOfDescriptors(status.error());
  }
  FAIL("it never works");
  return 0;
}

PortSpec PortOf(const char* type, const char* name) {
  PortSpec spec;
  spec.netdev.type = type;
  spec.netdev.name = name;
  return spec;
}

// That the port is added or refused, and that one before it and its packets never notice.
void CheckPort(const PortSpec& spec, std::size_t least) {
  const std::size_t open_before = OpenDescriptors();
  {
    Testbed bed;
    const PortInfo first = bed.Add(Memory("first"));
    const PortInfo sink = bed.Add(Memory("sink"));
    bed.Connect(first, {static_cast<std::uint32_t>(sink.number)});
    std::size_t drained = 0;
    const std::size_t took = UntilItWorks([&]() -> Status {
      Result<PortInfo> port = bed.TryAdd(spec);
      bed.Inject(first, 3);
      bed.Settle();
      drained += bed.Drain(sink).size();
      CHECK(bed->ports().size() == (port ? 3u : 2u));
      if (!port) return port.error();
      bed.Delete(*port);
      return {};
    });
    CHECK(took >= least);
    CHECK(drained == 3 * (took + 1));
    bed.CheckLedgerCloses();
  }
  CHECK(OpenDescriptors() == open_before);
}

}  // namespace

TEST_CASE("exhaustion: a qdisc that cannot be asked about is as it was, and asked about again") {
  Isolated([] {
    MakePair();
    Run("tc qdisc add dev v0 root tbf rate 200mbit burst 30kb limit 20mb");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    const auto goes_through = [&] { return netdev->mode().find(" qdisc") != std::string::npos; };
    CHECK(goes_through());
    {
      const SpareDescriptors none(0);
      const std::optional<bool> acts = HasActingQdisc(netdev->ifindex());
      CHECK(!acts.has_value());
      netdev->QdiscChanged(acts);
      netdev->Probe();
    }
    CHECK(goes_through());
    Run("tc qdisc del dev v0 root");
    netdev->Probe();
    CHECK(!goes_through());
    Run("tc qdisc add dev v0 root tbf rate 200mbit burst 30kb limit 20mb");
    netdev->Probe();  // It is known, and the listener tells of changes.
    CHECK(!goes_through());
  });
}

TEST_CASE("out of descriptors: a datapath is refused, with what to do about it") {
  const std::size_t open_before = OpenDescriptors();
  const std::size_t threads_before = RunningThreads();
  CHECK(UntilItWorks([]() -> Status {
          auto made = Datapath::Create({});
          return made ? Status() : Status(made.error());
        }) == 2);
  CHECK(OpenDescriptors() == open_before);
  CHECK(ThreadsComeDownTo(threads_before));
}

TEST_CASE("out of descriptors: ports of the program's own are refused, and nothing of them stays") {
  PortSpec memory = Memory("m");
  memory.netdev.rxqs = 3;
  CheckPort(memory, 3);
  CheckPort(NotPolled(Memory("m")), 1);
  const std::string file =
      std::filesystem::temp_directory_path() / ("pollux-" + std::to_string(getpid()) + ".pcapng");
  PortSpec record = PortOf("pcap", "w");
  record.netdev.write = file;
  CheckPort(record, 2);
  PortSpec replay = PortOf("pcap", "r");
  replay.netdev.read = file;
  CheckPort(replay, 4);
  std::filesystem::remove(file);
}

TEST_CASE("out of descriptors: ports on the kernel's interfaces are refused, and nothing stays") {
  Isolated([] {
    MakePair();
    PortSpec packet = PortOf("af_packet", "v0");
    packet.netdev.rxqs = 2;
    packet.netdev.mtu = 1400;
    {
      // Not even its MTU.
      Testbed bed;
      const SpareDescriptors limit(5);
      const Result<PortInfo> port = bed.TryAdd(packet);
      REQUIRE_FALSE(port.ok());
      CheckTellsOfDescriptors(port.error());
    }
    CHECK(Output("ip link show v0").find("mtu 1500 ") != std::string::npos);
    CheckPort(packet, 5);
    if (FindNetdevType("tap")->unavailable().empty()) CheckPort(PortOf("tap", "t0"), 2);
    if (FindNetdevType("af_xdp")->unavailable().empty()) CheckPort(PortOf("af_xdp", "v0"), 5);
  });
}

TEST_CASE("out of descriptors: PMD threads are refused, and the ones there are go on") {
  DatapathOptions options = TwoNodes();
  options.pmd_cpus = {{0}};
  Testbed bed(options);
  const PortInfo a = bed.Add(Memory("a"));
  const PortInfo b = bed.Add(Memory("b"));
  bed.Connect(a, {static_cast<std::uint32_t>(b.number)});
  DatapathOptions other = bed->options();
  other.pmd_cpus = {{1}};
  CHECK(UntilItWorks([&] {
          const Status status = bed.SetOptions(other);
          bed.Inject(a);
          bed.Settle();
          CHECK(bed.Drain(b).size() == 1);
          CHECK(bed.Reload().size() == 2);
          return status;
        }) == 1);
  bed.CheckLedgerCloses();
}

TEST_CASE("out of memory: what a memory port may hold is limited") {
  Testbed bed;
  PortSpec spec = Memory("m");
  spec.netdev.rxqs = 1024;
  spec.netdev.queue_length = 1u << 22;
  const Result<PortInfo> port = bed.TryAdd(spec);
  REQUIRE_FALSE(port.ok());
  CHECK(port.error().number == EINVAL);
  CHECK(port.error().hint == "lower rxqs or queueLength");
  spec.netdev.rxqs = 4;
  CHECK(bed.TryAdd(spec).ok());
}

TEST_CASE("an idle thread that gets no work ends") {
  const std::size_t threads_before = RunningThreads();
  REQUIRE(IdleThread::Start("idle").ok());
  CHECK(ThreadsComeDownTo(threads_before));
  const Result<std::unique_ptr<IdleThread>> nowhere = IdleThread::Start("idle", 1000);
  REQUIRE_FALSE(nowhere.ok());
  CHECK(nowhere.error().number == EINVAL);
  CHECK(ThreadsComeDownTo(threads_before));
}

}  // namespace pollux::test
