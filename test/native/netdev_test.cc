// Drivers. Those of the program's own (memory, null) are tested anywhere; those of the kernel on
// veth pairs and taps in network namespaces that each test makes for itself and that vanish with
// its thread. Without the privileges for that, the test says so and is skipped.
#include "netdev/netdev.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "netdev/link_monitor.h"
#include "packet/checksum.h"

namespace {

using pollux::DropReason;
using pollux::LinkEvent;
using pollux::LinkMonitor;
using pollux::LinkState;
using pollux::MemoryNetdev;
using pollux::Netdev;
using pollux::NetdevSpec;
using pollux::Packet;
using pollux::PacketBatch;
using pollux::PacketPool;
using pollux::PacketPtr;
using pollux::Result;
using pollux::Rxq;
using pollux::SendResult;
using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

std::uint32_t Dropped(const SendResult& result, DropReason reason) {
  return result.dropped[static_cast<std::size_t>(reason)];
}

// ---------------------------------------------------------------------------------- devices

NetdevSpec Spec(const std::string& type, const std::string& name, std::uint32_t rxqs = 1) {
  NetdevSpec spec;
  spec.type = type;
  spec.name = name;
  spec.rxqs = rxqs;
  return spec;
}

Result<std::unique_ptr<Netdev>> TryOpen(const NetdevSpec& spec, PacketPool& pool) {
  return pollux::FindNetdevType(spec.type)->open(spec, pool);
}

std::unique_ptr<Netdev> Open(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = TryOpen(spec, pool);
  CHECK_MESSAGE(netdev.ok(), (netdev ? "" : netdev.error().message + "; " + netdev.error().hint));
  return netdev ? std::move(*netdev) : nullptr;
}

// Frames as (destination, source, type, payload); the payload starts with a number.
Bytes Frame(std::size_t size, std::uint32_t number = 0) {
  Bytes frame(std::max<std::size_t>(size, 18));
  for (std::size_t i = 0; i < frame.size(); ++i) {
    frame[i] = static_cast<std::uint8_t>(i * 7 + number);
  }
  static constexpr std::uint8_t kHeader[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
  std::memcpy(frame.data(), kHeader, sizeof kHeader);
  std::memcpy(frame.data() + 14, &number, 4);
  frame.resize(size);
  return frame;
}
// Whether it is one of Frame()'s: the host chats on its interfaces, too.
bool IsOurs(const Bytes& frame) {
  return frame.size() >= 18 && frame[0] == 2 && frame[5] == 1 && frame[6] == 2;
}
std::uint32_t NumberOf(const Bytes& frame, std::size_t at = 14) {
  std::uint32_t number;
  std::memcpy(&number, frame.data() + at, 4);
  return number;
}
Bytes Of(const Packet& packet) { return {packet.data, packet.data + packet.size}; }

std::vector<std::span<const std::uint8_t>> Views(const std::vector<Bytes>& frames) {
  return {frames.begin(), frames.end()};
}

SendResult Send(Netdev& netdev, PacketPool& pool, const std::vector<Bytes>& frames) {
  SendResult result;
  PacketBatch batch;
  for (const Bytes& frame : frames) {
    batch.Add(pool.Copy(frame));
    if (batch.full()) netdev.Send(0, batch, result);
  }
  if (!batch.empty()) netdev.Send(0, batch, result);
  CHECK(batch.empty());
  return result;
}

// All frames of ours that arrive until there are `n`, or for two seconds; sleeping as a thread of
// the datapath would.
std::vector<Bytes> Receive(Rxq& rxq, std::size_t n, bool all = false) {
  std::vector<Bytes> frames;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
  while (frames.size() < n && Clock::now() < end) {
    PacketBatch batch;
    rxq.Recv(batch);
    for (const Packet* packet : batch) {
      Bytes frame = Of(*packet);
      if (all || IsOurs(frame)) frames.push_back(std::move(frame));
    }
    if (batch.empty() && rxq.wait_fd() >= 0 && rxq.Arm()) {
      pollfd wait{rxq.wait_fd(), POLLIN, 0};
      poll(&wait, 1, 100);
    }
    rxq.Disarm();
  }
  return frames;
}

// ------------------------------------------------------------------------------- namespaces

class Namespace {
 public:
  // A new one. The calling thread stays where it is.
  Namespace() {
    const int home = Current();
    if (unshare(CLONE_NEWNET) == 0) {
      fd_ = Current();
      setns(home, CLONE_NEWNET);
    }
    close(home);
  }
  ~Namespace() {
    if (fd_ >= 0) close(fd_);
  }
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  void Enter() const { CHECK(setns(fd_, CLONE_NEWNET) == 0); }
  std::string path() const {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_);
  }

 private:
  static int Current() { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }
  int fd_ = -1;
};

// Runs a test in a thread with a network namespace of its own, so that the process's is never
// touched.
void Isolated(const std::function<void()>& test) {
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) {
      std::printf("SKIPPED: no network namespaces here: %s\n", std::strerror(errno));
      return;
    }
    test();
  }).join();
}

bool Run(const std::string& command) {
  const int status = std::system(command.c_str());
  CHECK_MESSAGE(status == 0, command);
  return status == 0;
}
std::string Output(const std::string& command) {
  std::string output;
  std::FILE* pipe = popen(command.c_str(), "re");
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  pclose(pipe);
  return output;
}

// A veth pair v0 - v1 in this namespace, up, without the host's own chatter.
void MakePair(const std::string& options = "") {
  Run("ip link add v0 " + options + " type veth peer name v1 " + options);
  for (const char* name : {"v0", "v1"}) {
    // With a small MTU there is no IPv6 to switch off.
    Run(std::string("f=/proc/sys/net/ipv6/conf/") + name +
        "/disable_ipv6; [ ! -e $f ] || echo 1 > $f");
    Run(std::string("ip link set ") + name + " up");
  }
}

// A plain packet socket on an interface, as another program would use it.
class Raw {
 public:
  explicit Raw(const char* name)
      : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex(name));
    const int on = 1;
    setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    const int bytes = 64 << 20;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    CHECK(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~Raw() { close(fd_); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  bool Send(const Bytes& frame) {
    return send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }
  // From here on, what is sent starts with a virtio_net_hdr.
  void OfferOffloads() {
    const int on = 1;
    CHECK(setsockopt(fd_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) == 0);
  }
  // A TCP/IPv4 frame with a partial checksum; gso_size 0: no GSO.
  bool SendOffloaded(const Bytes& frame, std::uint16_t gso_size, std::size_t csum_start) {
    struct {
      std::uint8_t flags, gso_type;
      std::uint16_t hdr_len, gso_size, csum_start, csum_offset;
    } header{1,
             static_cast<std::uint8_t>(gso_size != 0 ? 1 : 0),
             static_cast<std::uint16_t>(csum_start + 20),
             gso_size,
             static_cast<std::uint16_t>(csum_start),
             16};
    Bytes message(10);
    std::memcpy(message.data(), &header, 10);
    message.insert(message.end(), frame.begin(), frame.end());
    return Send(message);
  }
  std::vector<Bytes> Receive(std::size_t n) {
    std::vector<Bytes> frames;
    const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
    while (frames.size() < n && Clock::now() < end) {
      Bytes frame(70'000);
      const ssize_t size = recv(fd_, frame.data(), frame.size(), 0);
      if (size < 0) {
        pollfd wait{fd_, POLLIN, 0};
        poll(&wait, 1, 100);
        continue;
      }
      frame.resize(static_cast<std::size_t>(size));
      if (IsOurs(frame)) frames.push_back(std::move(frame));
    }
    return frames;
  }

 private:
  const int fd_;
};

std::size_t CountFds() {
  std::size_t n = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++n;
  closedir(dir);
  return n;
}

bool IsReadable(int fd) {
  pollfd wait{fd, POLLIN, 0};
  return poll(&wait, 1, 0) == 1;
}

// ------------------------------------------------------------------------------- the table

TEST_CASE("the table of types") {
  for (const char* name : {"memory", "null", "af_packet", "tap"}) {
    const pollux::NetdevType* type = pollux::FindNetdevType(name);
    REQUIRE(type != nullptr);
    CHECK(type->pmd_by_default == (std::string(name) != "tap"));
  }
  CHECK(pollux::FindNetdevType("memory")->unavailable().empty());
  CHECK(pollux::FindNetdevType("null")->unavailable().empty());
  CHECK(pollux::FindNetdevType("carrier pigeon") == nullptr);
  PacketPool pool;
  for (const char* name : {"af_xdp", "pcap", "dpdk", "vxlan", "geneve", "gre"}) {
    const pollux::NetdevType* type = pollux::FindNetdevType(name);
    REQUIRE(type != nullptr);
    CHECK(type->unavailable() == "not built yet: comes with a later version");
    const Result<std::unique_ptr<Netdev>> netdev = type->open(Spec(name, "p"), pool);
    REQUIRE(!netdev.ok());
    CHECK(netdev.error().number == EOPNOTSUPP);
    CHECK(netdev.error().code == "ERR_PORT_TYPE_UNAVAILABLE");
    CHECK(!netdev.error().hint.empty());
  }
}

TEST_CASE("what a failed send means") {
  for (const int error : {ENETDOWN, ENXIO, ENODEV, EBADFD}) {
    CHECK(pollux::SendErrorReason(error) == DropReason::kPortDown);
  }
  for (const int error : {ENOBUFS, EAGAIN, EBUSY}) {
    CHECK(pollux::SendErrorReason(error) == DropReason::kTxQueueFull);
  }
  CHECK(pollux::SendErrorReason(EMSGSIZE) == DropReason::kMtu);
  CHECK(pollux::SendErrorReason(EINVAL) == DropReason::kTxError);
}

TEST_CASE("VLAN tags do not count towards the MTU, up to two") {
  PacketPool pool;
  Bytes frame = Frame(1514);
  const auto fits = [&] { return pollux::FitsMtu(*pool.Copy(frame), 1500); };
  CHECK(fits());
  frame.resize(1518);
  CHECK(!fits());
  frame[12] = 0x81;
  frame[13] = 0;
  CHECK(fits());
  frame.resize(1522);
  CHECK(!fits());
  frame[16] = 0x81;
  frame[17] = 0;
  CHECK(fits());
  frame.resize(1526);
  frame[20] = 0x81;
  frame[21] = 0;
  CHECK(!fits());
}

// ---------------------------------------------------------------------------------- memory

struct Memory {
  explicit Memory(const NetdevSpec& spec)
      : netdev(Open(spec, pool)), memory(static_cast<MemoryNetdev&>(*netdev)) {}
  PacketPool pool;
  std::unique_ptr<Netdev> netdev;
  MemoryNetdev& memory;
};

TEST_CASE("memory: frames go in, and out, in order") {
  Memory m(Spec("memory", "m", 2));
  std::vector<Bytes> frames;
  for (std::uint32_t i = 0; i < 100; ++i) frames.push_back(Frame(18 + i * 20, i));
  frames.push_back(Frame(1));  // Too short for Ethernet: for the datapath to judge.
  frames.push_back(Frame(65'535));
  CHECK(m.memory.Inject(1, Views(frames)) == 102);
  CHECK(m.netdev->rxqs()[1]->injected() == 102);
  CHECK(m.netdev->rxqs()[1]->taken() == 0);

  std::vector<Bytes> got;
  SendResult result;
  for (int calls = 0; calls < 4; ++calls) {
    PacketBatch batch;
    m.netdev->rxqs()[0]->Recv(batch);
    CHECK(batch.empty());
    m.netdev->rxqs()[1]->Recv(batch);
    CHECK(batch.size() == (calls < 3 ? 32 : 6));
    for (const Packet* packet : batch) got.push_back(Of(*packet));
    m.netdev->Send(0, batch, result);
  }
  CHECK(got == frames);
  CHECK(m.netdev->rxqs()[1]->taken() == 102);
  CHECK(result.packets == 102);
  std::vector<PacketPtr> out;
  CHECK(m.memory.Drain(2, out) == 2);
  CHECK(m.memory.Drain(1000, out) == 100);
  REQUIRE(out.size() == 102);
  for (std::size_t i = 0; i < out.size(); ++i) CHECK(Of(*out[i]) == frames[i]);
  out.clear();
  CHECK(m.pool.held() == 0);
}

TEST_CASE("memory: queues are bounded, both ways") {
  NetdevSpec spec = Spec("memory", "m");
  spec.queue_length = 10;
  Memory m(spec);
  std::vector<Bytes> frames(12, Frame(60));
  CHECK(m.memory.Inject(0, Views(frames)) == 10);
  CHECK(m.netdev->stats().rx_dropped == 2);
  CHECK(m.memory.Inject(7, Views(frames)) == 0);
  const SendResult result = Send(*m.netdev, m.pool, frames);
  CHECK(result.packets == 10);
  CHECK(result.bytes == 600);
  CHECK(Dropped(result, DropReason::kTxQueueFull) == 2);
  CHECK(Receive(*m.netdev->rxqs()[0], 10).size() == 10);
  CHECK(m.memory.Inject(0, Views(frames)) == 10);
  // What was not taken is freed with the device.
  m.netdev.reset();
  CHECK(m.pool.held() == 0);
}

TEST_CASE("memory: default lengths") {
  Memory m(Spec("memory", "m"));
  const std::vector<Bytes> frames(5000, Frame(60));
  CHECK(m.memory.Inject(0, Views(frames)) == 1024);
  CHECK(Send(*m.netdev, m.pool, frames).packets == 4096);
}

TEST_CASE("memory: frames of impossible size are refused") {
  Memory m(Spec("memory", "m"));
  std::vector<Bytes> frames = {{}, Frame(60), Bytes(65'536), Frame(14)};
  CHECK(m.memory.Inject(0, Views(frames)) == 2);
  CHECK(m.netdev->stats().rx_errors == 2);
  CHECK(m.netdev->rxqs()[0]->injected() == 2);
}

TEST_CASE("memory: an MTU holds only when asked for") {
  NetdevSpec spec = Spec("memory", "m");
  spec.mtu = 100;
  Memory m(spec);
  const SendResult result =
      Send(*m.netdev, m.pool, {Frame(114), Frame(122), Frame(123), Frame(1000)});
  CHECK(result.packets == 2);
  CHECK(Dropped(result, DropReason::kMtu) == 2);
  Memory free_of_limits(Spec("memory", "m"));
  CHECK(Send(*free_of_limits.netdev, free_of_limits.pool, {Frame(65'535)}).packets == 1);
}

TEST_CASE("memory: a pool without memory drops, counted") {
  PacketPool pool(std::size_t{2} << 20);
  NetdevSpec spec = Spec("memory", "m");
  spec.queue_length = 4096;
  std::unique_ptr<Netdev> netdev = Open(spec, pool);
  const std::vector<Bytes> frames(2000, Frame(60));
  CHECK(static_cast<MemoryNetdev&>(*netdev).Inject(0, Views(frames)) == 1024);
  CHECK(netdev->stats().rx_dropped == 976);
}

TEST_CASE("memory: bad wishes, and a slow device") {
  PacketPool pool;
  CHECK(TryOpen(Spec("memory", "m", 0), pool).error().number == EINVAL);
  CHECK(TryOpen(Spec("memory", "m", 5000), pool).error().number == EINVAL);
  NetdevSpec spec = Spec("memory", "m");
  spec.open_delay_ms = 50;
  const Clock::time_point start = Clock::now();
  Open(spec, pool);
  CHECK(Clock::now() - start >= std::chrono::milliseconds(50));
}

TEST_CASE("memory: a sleeper is woken, and does not sleep over work") {
  Memory m(Spec("memory", "m"));
  Rxq& rxq = *m.netdev->rxqs()[0];
  const std::vector<Bytes> frames = {Frame(60)};
  m.memory.Inject(0, Views(frames));
  CHECK(!rxq.Arm());
  CHECK(Receive(rxq, 1).size() == 1);
  CHECK(rxq.Arm());
  CHECK(!IsReadable(rxq.wait_fd()));
  m.memory.Inject(0, Views(frames));
  CHECK(IsReadable(rxq.wait_fd()));
  rxq.Disarm();
  CHECK(!IsReadable(rxq.wait_fd()));
  CHECK(Receive(rxq, 1).size() == 1);
}

TEST_CASE("memory: many producers, one consumer that sleeps, many senders") {
  constexpr std::uint32_t kProducers = 3;
  constexpr std::uint32_t kFrames = 5000;
  NetdevSpec spec = Spec("memory", "m");
  spec.queue_length = 64;
  Memory m(spec);
  std::vector<std::thread> threads;
  for (std::uint32_t producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&, producer] {
      for (std::uint32_t i = 0; i < kFrames;) {
        const Bytes frame = Frame(60, producer << 24 | i);
        const std::span<const std::uint8_t> view = frame;
        if (m.memory.Inject(0, {&view, 1}) == 1) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  std::atomic<std::uint64_t> sent{0};
  std::atomic<bool> done{false};
  threads.emplace_back([&] {
    while (!done) {
      std::vector<PacketPtr> out;
      m.memory.Drain(100, out);
      sent += out.size();
      m.netdev->stats();
      std::this_thread::yield();
    }
  });
  threads.emplace_back([&] {
    while (!done) Send(*m.netdev, m.pool, {Frame(60)});
  });
  std::vector<std::uint32_t> next(kProducers);
  const std::vector<Bytes> got = Receive(*m.netdev->rxqs()[0], kProducers * kFrames);
  CHECK(got.size() == kProducers * kFrames);
  while (sent == 0) std::this_thread::yield();  // A busy machine may not have let them run yet.
  for (const Bytes& frame : got) {
    const std::uint32_t number = NumberOf(frame);
    CHECK((number & 0xffffff) == next[number >> 24]++);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(m.netdev->rxqs()[0]->injected() == m.netdev->rxqs()[0]->taken());
}

// ------------------------------------------------------------------------------------ null

TEST_CASE("null: swallows") {
  PacketPool pool;
  std::unique_ptr<Netdev> netdev = Open(Spec("null", "n"), pool);
  const SendResult result = Send(*netdev, pool, {Frame(60), Frame(65'535)});
  CHECK(result.packets == 2);
  CHECK(result.bytes == 65'595);
  CHECK(pool.held() == 0);
  PacketBatch batch;
  netdev->rxqs()[0]->Recv(batch);
  CHECK(batch.empty());
}

TEST_CASE("null: generates distinct flows in turn, to the exact limit") {
  for (const std::uint32_t size : {60u, 64u, 65u, 1500u, 9000u}) {
    for (const std::uint32_t flows : {1u, 7u, 100u}) {
      PacketPool pool;
      NetdevSpec spec = Spec("null", "n", 3);
      spec.generate = true;
      spec.generate_size = size;
      spec.generate_flows = flows;
      spec.generate_limit = 1000;
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      std::size_t total = 0;
      std::size_t queue = 0;
      for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
        std::size_t count = 0;
        std::map<Bytes, std::size_t> seen;
        for (;;) {
          PacketBatch batch;
          rxq->Recv(batch);
          if (batch.empty()) break;
          count += batch.size();
          for (const Packet* packet : batch) {
            CHECK(packet->size == size);
            const Bytes frame = Of(*packet);
            CHECK(pollux::Checksum(std::span(frame).subspan(14, 20)) == 0);
            CHECK((frame[16] << 8 | frame[17]) == static_cast<int>(size - 14));
            ++seen[Bytes(frame.begin() + 14 + 9, frame.begin() + 14 + 24)];
          }
        }
        CHECK(count == (queue++ == 0 ? 334 : 333));
        CHECK(seen.size() == std::min<std::size_t>(flows, count));
        for (const auto& [tuple, n] : seen) {
          CHECK(n <= count / flows + 1);
          CHECK(n >= count / flows);
        }
        total += count;
      }
      CHECK(total == 1000);
    }
  }
}

TEST_CASE("null: bad wishes; more flows than addresses") {
  PacketPool pool;
  NetdevSpec spec = Spec("null", "n");
  spec.generate = true;
  spec.generate_size = 41;
  CHECK(TryOpen(spec, pool).error().number == EINVAL);
  spec.generate_size = 65'536;
  CHECK(TryOpen(spec, pool).error().number == EINVAL);
  spec.generate_size = 42;
  spec.generate_flows = 0;
  CHECK(TryOpen(spec, pool).error().number == EINVAL);
  // The last queue starts behind 2^24 flows: other ports, the same addresses.
  spec.generate_flows = UINT32_MAX;
  spec.rxqs = 2;
  std::unique_ptr<Netdev> netdev = Open(spec, pool);
  PacketBatch batch;
  netdev->rxqs()[1]->Recv(batch);
  REQUIRE(batch.size() == 32);
  CHECK((batch[0]->data[34] << 8 | batch[0]->data[35]) == 1024 + 127);
  CHECK(pollux::Checksum({batch[31]->data + 14, 20}) == 0);
}

// ------------------------------------------------------------------------------- af_packet

TEST_CASE("af_packet: what cannot be opened says why") {
  Isolated([] {
    PacketPool pool;
    const auto error = [&](const NetdevSpec& spec) {
      Result<std::unique_ptr<Netdev>> netdev = TryOpen(spec, pool);
      CHECK(!netdev.ok());
      CHECK(netdev.error().port == spec.name);
      return netdev.error();
    };
    CHECK(error(Spec("af_packet", "nowhere")).number == ENODEV);
    CHECK(error(Spec("af_packet", "nowhere")).hint.find("ip link") != std::string::npos);
    CHECK(error(Spec("af_packet", "a-name-longer-than-fifteen")).number == ENODEV);
    CHECK(error(Spec("af_packet", "lo")).number == EINVAL);
    MakePair();
    CHECK(error(Spec("af_packet", "v0", 0)).number == EINVAL);
    NetdevSpec spec = Spec("af_packet", "port");
    spec.device = "v0";
    spec.mtu = 100'000;
    CHECK(error(spec).number == EINVAL);
    CHECK(error(spec).syscall == "ioctl");

    // Without capabilities. They are the thread's own.
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2]{};
    CHECK(syscall(SYS_capset, &header, none) == 0);
    spec.mtu = 0;
    const pollux::Error denied = error(spec);
    CHECK(denied.number == EPERM);
    CHECK(denied.hint.find("CAP_NET_RAW") != std::string::npos);
    CHECK(pollux::FindNetdevType("af_packet")->unavailable().find("CAP_NET_RAW") !=
          std::string::npos);
    CHECK(pollux::FindNetdevType("tap")->unavailable().find("CAP_NET_ADMIN") != std::string::npos);
    spec.mtu = 1400;
    CHECK(error(spec).hint.find("CAP_NET_ADMIN") != std::string::npos);
  });
}

TEST_CASE("af_packet: frames arrive and leave as they are") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    const std::size_t fds = CountFds();
    {
      NetdevSpec spec = Spec("af_packet", "port");
      spec.device = "v0";
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      if (netdev == nullptr) return;
      CHECK(netdev->mode() == "tpacket-v2");
      CHECK(netdev->mtu() == 1500);
      CHECK(netdev->link() != LinkState::kGone);
      CHECK(netdev->ifindex() == static_cast<int>(if_nametoindex("v0")));
      CHECK(Output("ip -d link show v0").find("promiscuity 1") != std::string::npos);
      Raw raw("v1");
      std::vector<Bytes> frames;
      for (std::uint32_t i = 0; i < 500; ++i) frames.push_back(Frame(18 + i % 1496, i));
      for (const Bytes& frame : frames) CHECK(raw.Send(frame));
      CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
      // Nothing waits any more, also by what it says to a sleeper.
      CHECK(netdev->rxqs()[0]->Arm());
      CHECK(!IsReadable(netdev->rxqs()[0]->wait_fd()));
      CHECK(raw.Send(frames[0]));
      CHECK(IsReadable(netdev->rxqs()[0]->wait_fd()));
      CHECK(!netdev->rxqs()[0]->Arm());
      CHECK(Receive(*netdev->rxqs()[0], 1).size() == 1);

      const SendResult result = Send(*netdev, pool, frames);
      CHECK(result.packets == frames.size());
      CHECK(raw.Receive(frames.size()) == frames);
      CHECK(netdev->stats().rx_dropped == 0);
      CHECK(netdev->stats().rx_errors == 0);
    }
    CHECK(Output("ip -d link show v0").find("promiscuity 0") != std::string::npos);
    CHECK(CountFds() == fds);
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_packet: a ring of slots wraps; what does not fit is counted") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    std::uint32_t next = 0;
    for (int round = 0; round < 30; ++round) {
      for (std::uint32_t i = 0; i < 400; ++i) raw.Send(Frame(60, round * 400 + i));
      for (const Bytes& frame : Receive(*netdev->rxqs()[0], 400)) CHECK(NumberOf(frame) == next++);
    }
    CHECK(next == 12'000);
    for (std::uint32_t i = 0; i < 6000; ++i) raw.Send(Frame(60, i));
    CHECK(netdev->stats().rx_dropped == 6000 - 4096);
    CHECK(netdev->stats().rx_dropped == 6000 - 4096);  // Not reset by looking.
    const std::vector<Bytes> got = Receive(*netdev->rxqs()[0], 4096);
    CHECK(got.size() == 4096);
    CHECK(NumberOf(got.back()) == 4095);
  });
}

TEST_CASE("af_packet: large frames between small ones, in order") {
  Isolated([] {
    MakePair("mtu 65535");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    CHECK(netdev->mtu() == 65'535);
    Raw raw("v1");
    std::vector<Bytes> frames;
    for (std::uint32_t i = 0; i < 120; ++i) {
      static constexpr std::size_t kSizes[] = {60, 65'535, 1971, 1972, 1973, 9014, 2048, 1728};
      frames.push_back(Frame(kSizes[i % 8], i));
    }
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
    CHECK(Send(*netdev, pool, frames).packets == frames.size());
    CHECK(raw.Receive(frames.size()) == frames);
    // More large frames than the socket can hold: truncated ones are errors, the others are right,
    // in order.
    std::uint32_t sent = 0;
    for (std::uint32_t i = 0; i < 2000; ++i) sent += raw.Send(Frame(60'000, i)) ? 1 : 0;
    const std::vector<Bytes> got = Receive(*netdev->rxqs()[0], sent);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i] == Frame(60'000, NumberOf(got[i])));
      if (i > 0) CHECK(NumberOf(got[i - 1]) < NumberOf(got[i]));
    }
    CHECK(got.size() > 50);
    CHECK(got.size() < sent);
    CHECK(netdev->stats().rx_errors + netdev->stats().rx_dropped + got.size() == sent);
    // And it goes on; also when the link fails between arrival and reading.
    CHECK(raw.Send(frames[1]));
    CHECK(raw.Send(frames[5]));
    Run("ip link set v0 down");
    CHECK(Receive(*netdev->rxqs()[0], 2) == std::vector<Bytes>{frames[1], frames[5]});
  });
}

TEST_CASE("af_packet: VLAN tags survive, both ways") {
  Isolated([] {
    MakePair("mtu 9000");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    std::vector<Bytes> frames;
    for (const std::size_t size : {18u, 60u, 1500u, 3000u}) {
      for (const Bytes& tags :
           {Bytes{0x81, 0, 0xe0, 5}, Bytes{0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0x20, 6},
            Bytes{0x81, 0, 0, 0}}) {
        Bytes frame = Frame(size, 7);
        frame.insert(frame.begin() + 12, tags.begin(), tags.end());
        frames.push_back(frame);
      }
    }
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
    // The other way, seen with the same eyes.
    std::unique_ptr<Netdev> peer = Open(Spec("af_packet", "v1"), pool);
    CHECK(Send(*netdev, pool, frames).packets == frames.size());
    CHECK(Receive(*peer->rxqs()[0], frames.size()) == frames);
  });
}

TEST_CASE("af_packet: the MTU is enforced, tags aside, and follows the interface") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    NetdevSpec spec = Spec("af_packet", "v0");
    spec.mtu = 1000;
    std::unique_ptr<Netdev> netdev = Open(spec, pool);
    if (netdev == nullptr) return;
    CHECK(Output("cat /proc/net/dev; ip link show v0").find("mtu 1000") != std::string::npos);
    Raw raw("v1");
    Bytes tagged = Frame(1014);
    tagged.insert(tagged.begin() + 12, {0x81, 0, 0, 5});
    SendResult result = Send(*netdev, pool, {Frame(1014), tagged, Frame(1015), Frame(1400)});
    CHECK(result.packets == 2);
    CHECK(result.bytes == 2032);
    CHECK(Dropped(result, DropReason::kMtu) == 2);
    // Lowered behind our back: the kernel says EMSGSIZE, for that packet alone.
    Run("ip link set v0 mtu 500");
    result = Send(*netdev, pool, {Frame(600), Frame(100), Frame(1000), Frame(101)});
    CHECK(result.packets == 2);
    CHECK(Dropped(result, DropReason::kMtu) == 2);
    netdev->LinkChanged(netdev->ifindex() + 100, LinkState::kGone, 7);
    CHECK(netdev->mtu() == 1000);
    netdev->LinkChanged(netdev->ifindex(), LinkState::kUp, 500);
    CHECK(netdev->mtu() == 500);
    // A smaller MTU at the peer is ENOBUFS; the next packet goes.
    Run("ip link set v1 mtu 200");
    result = Send(*netdev, pool, {Frame(100), Frame(400), Frame(100), Frame(400)});
    CHECK(result.packets == 2);
    CHECK(Dropped(result, DropReason::kTxQueueFull) == 2);
    // What is no frame at all.
    result = Send(*netdev, pool, {Frame(5), Frame(100)});
    CHECK(result.packets == 1);
    CHECK(Dropped(result, DropReason::kTxError) == 1);
  });
}

TEST_CASE("af_packet: an interface may be down, and come up") {
  Isolated([] {
    MakePair();
    Run("ip link set v0 down");
    PacketPool pool;
    for (const std::uint32_t rxqs : {1u, 2u}) {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0", rxqs), pool);
      if (netdev == nullptr) return;
      CHECK(netdev->link() == LinkState::kDown);
      Rxq& rxq = *netdev->rxqs()[0];
      for (int round = 0; round < 2; ++round) {
        const SendResult result = Send(*netdev, pool, {Frame(60), Frame(60), Frame(60)});
        CHECK(Dropped(result, DropReason::kPortDown) == 3);
        // The error on the socket keeps nobody awake.
        PacketBatch none;
        rxq.Recv(none);
        CHECK(rxq.Arm());
        CHECK(!IsReadable(rxq.wait_fd()));
        Run("ip link set v0 up");
        Raw raw("v1");
        for (int tries = 0; tries < 50 && !raw.Send(Frame(60)); ++tries) usleep(20'000);
        for (int tries = 0; tries < 30 && Send(*netdev, pool, {Frame(60, 9)}).packets == 0;
             ++tries) {
          usleep(10'000);
        }
        CHECK(raw.Receive(1).size() == 1);
        std::size_t got = 0;
        for (const std::unique_ptr<Rxq>& queue : netdev->rxqs()) {
          PacketBatch batch;
          queue->Recv(batch);
          got += batch.size();
        }
        CHECK(got >= 1);
        Run("ip link set v0 down");
      }
    }
  });
}

TEST_CASE("af_packet: several queues share the work, each frame once, the host's own not at all") {
  Isolated([] {
    MakePair();
    Run("ip addr add 10.9.0.1/24 dev v0 && ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:99 dev v0");
    PacketPool pool;
    std::unique_ptr<Netdev> first = Open(Spec("af_packet", "v0", 2), pool);
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0", 3), pool);  // A group of its own.
    if (netdev == nullptr || first == nullptr) return;
    const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    for (int i = 0; i < 50; ++i) {
      sendto(udp, "host", 4, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    close(udp);
    PacketPool source_pool;
    NetdevSpec spec = Spec("null", "source");
    spec.generate = true;
    spec.generate_flows = 300;
    spec.generate_limit = 3000;
    std::unique_ptr<Netdev> source = Open(spec, source_pool);
    Raw raw("v1");
    for (;;) {
      PacketBatch batch;
      source->rxqs()[0]->Recv(batch);
      if (batch.empty()) break;
      for (const Packet* packet : batch) CHECK(raw.Send(Of(*packet)));
    }
    for (Netdev* device : {netdev.get(), first.get()}) {
      std::map<std::uint32_t, std::size_t>
          queue_of;  // By source address: a flow keeps to its queue.
      std::size_t total = 0;
      for (std::size_t i = 0; i < device->rxqs().size(); ++i) {
        std::size_t count = 0;
        for (;;) {
          PacketBatch batch;
          device->rxqs()[i]->Recv(batch);
          if (batch.empty()) break;
          for (const Packet* packet : batch) {
            const Bytes frame = Of(*packet);
            CHECK(frame.size() == 60);
            CHECK(queue_of.try_emplace(NumberOf(frame, 26), i).first->second == i);
          }
          count += batch.size();
        }
        CHECK(count > 100);
        total += count;
      }
      CHECK(total == 3000);
      CHECK(queue_of.size() == 300);
    }
  });
}

TEST_CASE("af_packet: a group of queues that opens under traffic takes no frame twice") {
  Isolated([] {
    MakePair();
    std::atomic<bool> done{false};
    std::thread flood([&] {
      Raw raw("v1");
      for (std::uint32_t i = 0; !done; ++i) raw.Send(Frame(60, i));
    });
    PacketPool pool;
    for (int round = 0; round < 12; ++round) {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0", 4), pool);
      if (netdev == nullptr) break;
      std::set<std::uint32_t> numbers;
      std::size_t count = 0;
      for (int reads = 0; reads < 20; ++reads) {
        for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
          PacketBatch batch;
          rxq->Recv(batch);
          for (const Packet* packet : batch) numbers.insert(NumberOf(Of(*packet)));
          count += batch.size();
        }
        usleep(1000);
      }
      CHECK(count > 0);
      CHECK(numbers.size() == count);
    }
    done = true;
    flood.join();
  });
}

TEST_CASE("af_packet: deleted, recreated, bound anew") {
  Isolated([] {
    PacketPool pool;
    const std::size_t fds = CountFds();
    for (const std::uint32_t rxqs : {1u, 2u}) {
      MakePair();
      std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0", rxqs), pool);
      if (netdev == nullptr) return;
      const auto receive = [&](std::size_t n) {
        std::vector<Bytes> got;
        for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
          PacketBatch batch;
          rxq->Recv(batch);
          for (const Packet* packet : batch) got.push_back(Of(*packet));
        }
        CHECK(got.size() == n);
      };
      for (int round = 0; round < 5; ++round) {
        // One frame still in the ring when the interface goes.
        { CHECK(Raw("v1").Send(Frame(60))); }
        Run("ip link del v0");
        const SendResult gone = Send(*netdev, pool, {Frame(60), Frame(61)});
        CHECK(Dropped(gone, DropReason::kPortDown) == 2);
        CHECK(netdev->Rebind(netdev->ifindex()).error().number == ENODEV);
        netdev->LinkChanged(netdev->ifindex(), LinkState::kGone, 0);
        CHECK(netdev->link() == LinkState::kGone);
        MakePair();
        const int ifindex = static_cast<int>(if_nametoindex("v0"));
        CHECK(ifindex != netdev->ifindex());
        if (round != 1) receive(1);  // Else it is still there behind the new socket.
        CHECK(netdev->Rebind(ifindex).ok());
        CHECK(netdev->ifindex() == ifindex);
        CHECK(netdev->link() != LinkState::kGone);
        CHECK(Output("ip -d link show v0").find("promiscuity 0") == std::string::npos);
        Raw raw("v1");
        CHECK(raw.Send(Frame(60)));
        CHECK((IsReadable(netdev->rxqs().front()->wait_fd()) ||
               IsReadable(netdev->rxqs().back()->wait_fd())));
        receive(round != 1 ? 1 : 2);
        CHECK(Send(*netdev, pool, {Frame(60), Frame(61)}).packets == 2);
        CHECK(raw.Receive(2).size() == 2);
        // Twice, while alive: no frame twice.
        CHECK(netdev->Rebind(ifindex).ok());
        CHECK(netdev->Rebind(ifindex).ok());
        CHECK(raw.Send(Frame(60)));
        receive(1);
        netdev->LinkChanged(ifindex, LinkState::kUp, 1500);
      }
      netdev.reset();
      CHECK(CountFds() == fds);
      Run("ip link del v0");
    }
  });
}

TEST_CASE("af_packet: bound anew while threads poll, sleep, send and look") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0", 2), pool);
    if (netdev == nullptr) return;
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> received{0};
    std::vector<std::thread> threads;
    for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
      threads.emplace_back([&, queue = rxq.get()] {
        while (!done) {
          PacketBatch batch;
          queue->Recv(batch);
          received += batch.size();
          if (batch.empty() && queue->Arm()) {
            pollfd wait{queue->wait_fd(), POLLIN, 0};
            poll(&wait, 1, 1000);
          }
          queue->Disarm();
        }
      });
    }
    threads.emplace_back([&] {
      while (!done) {
        Send(*netdev, pool, {Frame(60), Frame(600)});
        netdev->stats();
        usleep(100);
      }
    });
    for (int round = 0; round < 20; ++round) {
      const bool recreate = round % 4 == 3;
      if (recreate) {
        Run("ip link del v0");
        MakePair();
      }
      const int ifindex = static_cast<int>(if_nametoindex("v0"));
      CHECK(netdev->Rebind(ifindex).ok());
      netdev->LinkChanged(ifindex, LinkState::kUp, 1500);
      const std::uint64_t before = received;
      Raw raw("v1");
      for (int i = 0; i < 100 && received == before; ++i) {
        raw.Send(Frame(60));
        usleep(1000);
      }
      CHECK(received > before);
    }
    done = true;
    for (int i = 0; i < 20; ++i) Raw("v1").Send(Frame(60, i));
    for (std::thread& thread : threads) thread.join();
  });
}

// Two namespaces with a kernel's own TCP in each, and our two ports between: a0 = a1 (ours) and b1
// (ours) = b0.
struct Between {
  Between() {
    Run("ip link add a1 type veth peer name a0 netns " + left.path());
    Run("ip link add b1 type veth peer name b0 netns " + right.path());
    Run("ip link set a1 up && ip link set b1 up");
    const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    left.Enter();
    Configure("a0", "1");
    right.Enter();
    Configure("b0", "2");
    setns(home, CLONE_NEWNET);
    close(home);
    a = Open(Spec("af_packet", "a1"), pool);
    b = Open(Spec("af_packet", "b1"), pool);
  }
  void Configure(const std::string& name, const std::string& host) {
    Run("ip link set lo up && ip link set " + name + " up");
    Run("ip addr add 10.9.0." + host + "/24 dev " + name);
    Run("ip addr add fd09::" + host + "/64 dev " + name + " nodad");
    vlan = Output("ip link add link " + name + " name " + name + ".7 type vlan id 7 2>&1").empty();
    if (!vlan) return;
    Run("ip link set " + name + ".7 up");
    Run("ip addr add 10.7.0." + host + "/24 dev " + name + ".7");
    Run("ip addr add fd07::" + host + "/64 dev " + name + ".7 nodad");
  }

  std::vector<const char*> Targets() const {
    if (vlan) return {"10.9.0.2", "fd09::2", "10.7.0.2", "fd07::2"};
    std::printf("SKIPPED: VLAN interfaces: this kernel has none\n");
    return {"10.9.0.2", "fd09::2"};
  }

  // Whether IP, TCP and UDP checksums of a frame are right, and its length allowed.
  static bool IsRight(const Packet& packet) {
    const std::uint8_t* data = packet.data;
    std::size_t l3 = 14;
    if (packet.size < 18) return false;
    if (data[12] == 0x81 && data[13] == 0) l3 += 4;
    if (packet.size > 1500 + l3) return false;
    const std::span<const std::uint8_t> ip(data + l3, packet.size - l3);
    if (data[l3 - 2] == 0x08 && data[l3 - 1] == 0) {
      const std::size_t header = (ip[0] & 15u) * 4;
      const std::size_t total = static_cast<std::size_t>(ip[2] << 8 | ip[3]);
      if (total > ip.size() || pollux::Checksum(ip.first(header)) != 0) return false;
      if (ip[9] != 6 && ip[9] != 17) return true;
      const std::span<const std::uint8_t> l4 = ip.subspan(header, total - header);
      if (ip[9] == 17 && l4[6] == 0 && l4[7] == 0) return false;
      return pollux::FinishSum(pollux::SumBytes(
                 l4, pollux::PseudoSum4(ip.subspan<12, 4>(), ip.subspan<16, 4>(), ip[9],
                                        static_cast<std::uint32_t>(l4.size())))) == 0;
    }
    if (data[l3 - 2] == 0x86 && data[l3 - 1] == 0xdd) {
      if (ip[6] != 6 && ip[6] != 17) return true;
      const std::span<const std::uint8_t> l4 =
          ip.subspan(40, static_cast<std::size_t>(ip[4] << 8 | ip[5]));
      return pollux::FinishSum(pollux::SumBytes(
                 l4, pollux::PseudoSum6(ip.subspan<8, 16>(), ip.subspan<24, 16>(), ip[6],
                                        static_cast<std::uint32_t>(l4.size())))) == 0;
    }
    return true;
  }

  void Forward() {
    for (auto [from, to] : {std::pair{a.get(), b.get()}, std::pair{b.get(), a.get()}}) {
      PacketBatch batch;
      from->rxqs()[0]->Recv(batch);
      for (const Packet* packet : batch) {
        if (!IsRight(*packet)) ++wrong;
        if (packet->size > 1400) ++full_sized;
      }
      forwarded += batch.size();
      if (!batch.empty()) to->Send(0, batch, result);
    }
  }

  PacketPool pool;
  Namespace left, right;
  std::unique_ptr<Netdev> a, b;
  bool vlan = false;
  std::uint64_t forwarded = 0, full_sized = 0, wrong = 0;
  SendResult result;
};

sockaddr_storage Address(const std::string& text, std::uint16_t port, socklen_t& size) {
  sockaddr_storage storage{};
  if (text.find(':') != std::string::npos) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(port);
    inet_pton(AF_INET6, text.c_str(), &address->sin6_addr);
    size = sizeof *address;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    inet_pton(AF_INET, text.c_str(), &address->sin_addr);
    size = sizeof *address;
  }
  return storage;
}

// Packets that the kernel gave to an interface, a GSO frame counting as one.
std::uint64_t KernelSent(const std::string& name) {
  const std::string line = Output("grep '" + name + ":' /proc/thread-self/net/dev");
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  std::sscanf(line.c_str(), " %*[^:]: %*u %lu %*u %*u %*u %*u %*u %*u %*u %lu", &received, &sent);
  return sent;
}

TEST_CASE(
    "af_packet: TCP of a real kernel, with its offloads on, gets through as ordinary segments") {
  Isolated([] {
    Between between;
    if (between.a == nullptr || between.b == nullptr) return;
    for (const char* target : between.Targets()) {
      socklen_t size = 0;
      const sockaddr_storage address = Address(target, 7000, size);
      const auto* name = reinterpret_cast<const sockaddr*>(&address);
      between.right.Enter();
      const int listener = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      const int on = 1;
      setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      CHECK(bind(listener, name, size) == 0);
      CHECK(listen(listener, 1) == 0);
      between.left.Enter();
      const std::uint64_t kernel_before = KernelSent("a0");
      const int client = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      connect(client, name, size);
      int server = -1;
      const std::uint64_t full_before = between.full_sized;
      constexpr std::size_t kTotal = 16 << 20;
      Bytes pattern(251 * 1024);
      for (std::size_t i = 0; i < pattern.size(); ++i)
        pattern[i] = static_cast<std::uint8_t>(i % 251);
      Bytes buffer(1 << 16);
      std::size_t written = 0;
      std::size_t read = 0;
      std::size_t bad = 0;
      const Clock::time_point start = Clock::now();
      while (read < kTotal && Clock::now() - start < std::chrono::seconds(20)) {
        between.Forward();
        if (server < 0) server = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (written < kTotal) {
          const std::size_t at = written % 251;
          const ssize_t n = send(client, pattern.data() + at,
                                 std::min(kTotal - written, pattern.size() - at), MSG_NOSIGNAL);
          if (n > 0) written += static_cast<std::size_t>(n);
        }
        ssize_t n = server < 0 ? -1 : recv(server, buffer.data(), buffer.size(), 0);
        for (ssize_t i = 0; i < n; ++i) {
          if (buffer[static_cast<std::size_t>(i)] != (read + static_cast<std::size_t>(i)) % 251)
            ++bad;
        }
        if (n > 0) read += static_cast<std::size_t>(n);
      }
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      CHECK(read == kTotal);
      CHECK(bad == 0);
      CHECK(between.wrong == 0);
      // The kernel really used GSO: far more segments came than packets left.
      const std::uint64_t kernel_sent = KernelSent("a0") - kernel_before;
      CHECK(between.full_sized - full_before > 11'000);
      CHECK(kernel_sent < 6000);
      std::printf("TCP to %-8s 16 MiB, %.2f Gbit/s, %lu kernel packets, %lu segments\n", target,
                  static_cast<double>(read) * 8e-9 / seconds, kernel_sent,
                  between.full_sized - full_before);
      close(server);
      close(client);
      close(listener);
    }
    CHECK(between.a->stats().rx_errors == 0);
    CHECK(between.b->stats().rx_errors == 0);
    CHECK(Dropped(between.result, DropReason::kMtu) == 0);
  });
}

TEST_CASE("af_packet: UDP segmentation offload is undone") {
  Isolated([] {
    Between between;
    if (between.a == nullptr || between.b == nullptr) return;
    for (const char* target : between.Targets()) {
      socklen_t size = 0;
      const sockaddr_storage address = Address(target, 7000, size);
      const auto* name = reinterpret_cast<const sockaddr*>(&address);
      between.right.Enter();
      const int server = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      CHECK(bind(server, name, size) == 0);
      between.left.Enter();
      const int client = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      const int segment = 1000;
      constexpr int kUdpSegment = 103;
      const bool uso = setsockopt(client, IPPROTO_UDP, kUdpSegment, &segment, sizeof segment) == 0;
      CHECK(uso);
      Bytes data(30'500);
      for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i % 241);
      CHECK(sendto(client, data.data(), data.size(), 0, name, size) ==
            static_cast<ssize_t>(data.size()));
      Bytes got;
      std::size_t datagrams = 0;
      const Clock::time_point start = Clock::now();
      while (got.size() < data.size() && Clock::now() - start < std::chrono::seconds(3)) {
        between.Forward();
        Bytes buffer(65'536);
        const ssize_t n = recv(server, buffer.data(), buffer.size(), 0);
        if (n <= 0) continue;
        CHECK(n == (datagrams < 30 ? 1000 : 500));
        ++datagrams;
        got.insert(got.end(), buffer.begin(), buffer.begin() + n);
      }
      CHECK(got == data);
      close(server);
      close(client);
    }
    CHECK(between.wrong == 0);
    CHECK(between.a->stats().rx_errors == 0);
  });
}

TEST_CASE("af_packet: offloads of tagged frames are undone behind the tags") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    raw.OfferOffloads();
    for (const std::size_t tags : {0u, 1u, 2u}) {
      for (const std::size_t payload : {10u, 1000u, 3000u, 50'000u}) {
        const std::size_t l3 = 14 + 4 * tags;
        Bytes frame = Frame(l3 + 40 + payload, 5);
        for (std::size_t i = 0; i < tags; ++i) {
          const Bytes tag = {static_cast<std::uint8_t>(i + 1 < tags ? 0x88 : 0x81),
                             static_cast<std::uint8_t>(i + 1 < tags ? 0xa8 : 0), 0, 9};
          std::copy(tag.begin(), tag.end(), frame.begin() + static_cast<long>(12 + 4 * i));
        }
        const std::size_t total = frame.size() - l3;
        const Bytes ip = {8,
                          0,
                          0x45,
                          0,
                          static_cast<std::uint8_t>(total >> 8),
                          static_cast<std::uint8_t>(total),
                          0,
                          1,
                          0x40,
                          0,
                          64,
                          6,
                          0,
                          0,
                          10,
                          0,
                          0,
                          1,
                          10,
                          0,
                          0,
                          2};
        std::copy(ip.begin(), ip.end(), frame.begin() + static_cast<long>(l3 - 2));
        const std::uint16_t ip_checksum = pollux::Checksum(std::span(frame).subspan(l3, 20));
        std::memcpy(frame.data() + l3 + 10, &ip_checksum, 2);
        frame[l3 + 32] = 0x50;
        const std::span<const std::uint8_t> addresses = std::span(frame).subspan(l3 + 12, 8);
        const std::uint16_t partial = pollux::FoldSum(pollux::PseudoSum4(
            addresses.first<4>(), addresses.last<4>(), 6, static_cast<std::uint32_t>(total - 20)));
        std::memcpy(frame.data() + l3 + 36, &partial, 2);
        const bool gso = payload > 1460;
        CHECK(raw.SendOffloaded(frame, gso ? 1448 : 0, l3 + 20));
        const std::size_t n = gso ? (payload + 1447) / 1448 : 1;
        std::size_t at = l3 + 40;
        const std::vector<Bytes> got = Receive(*netdev->rxqs()[0], n, true);
        CHECK(got.size() == n);
        for (const Bytes& segment : got) {
          PacketPtr packet = pool.Copy(segment);
          // Behind two tags, IsRight() does not look: take one off.
          if (tags == 2) {
            std::memmove(packet->data + 4, packet->data, 12);
            packet->Pull(4);
          }
          CHECK(Between::IsRight(*packet));
          CHECK(
              std::equal(segment.begin(), segment.begin() + static_cast<long>(l3), frame.begin()));
          CHECK(std::equal(segment.begin() + static_cast<long>(l3 + 40), segment.end(),
                           frame.begin() + static_cast<long>(at)));
          at += segment.size() - l3 - 40;
        }
        CHECK(at == frame.size());
      }
    }
    CHECK(netdev->stats().rx_errors == 0);
  });
}

TEST_CASE("af_packet: without packet memory, frames wait in the ring") {
  Isolated([] {
    MakePair();
    PacketPool pool(std::size_t{2} << 20);
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    PacketBatch kept[32];
    for (PacketBatch& batch : kept) CHECK(pool.AllocateBatch(batch, 32, 60) == 32);
    Raw raw("v1");
    for (std::uint32_t i = 0; i < 10; ++i) raw.Send(Frame(60, i));
    PacketBatch batch;
    netdev->rxqs()[0]->Recv(batch);
    CHECK(batch.empty());
    CHECK(!netdev->rxqs()[0]->Arm());
    kept[0].Clear();
    const std::vector<Bytes> got = Receive(*netdev->rxqs()[0], 10);
    CHECK(got.size() == 10);
    CHECK(netdev->stats().rx_dropped == 0);
  });
}

// ------------------------------------------------------------------------------------- tap

TEST_CASE("tap: frames go both ways, large ones too, and nothing is left") {
  Isolated([] {
    PacketPool pool;
    const std::size_t fds = CountFds();
    for (const std::uint32_t rxqs : {1u, 2u}) {
      NetdevSpec spec = Spec("tap", "host", rxqs);
      spec.mtu = 65'521;
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      if (netdev == nullptr) return;
      CHECK(netdev->mode() == "tap");
      CHECK(netdev->mtu() == 65'521);
      CHECK(netdev->ifindex() == static_cast<int>(if_nametoindex("host")));
      CHECK(TryOpen(spec, pool).ok() == (rxqs > 1));
      if (rxqs == 1) {
        const pollux::Error busy = TryOpen(spec, pool).error();
        CHECK(busy.number == EBUSY);
        CHECK(!busy.hint.empty());
      }
      Raw raw("host");
      std::vector<Bytes> frames;
      for (std::uint32_t i = 0; i < 100; ++i) {
        static constexpr std::size_t kSizes[] = {60, 1514, 1728, 1729, 1920, 1921, 9000, 65'535};
        frames.push_back(Frame(kSizes[i % 8], i));
      }
      CHECK(Send(*netdev, pool, frames).packets == frames.size());
      CHECK(raw.Receive(frames.size()) == frames);
      for (const Bytes& frame : frames) CHECK(raw.Send(frame));
      std::vector<Bytes> got;
      for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
        for (;;) {
          PacketBatch batch;
          rxq->Recv(batch);
          if (batch.empty()) break;
          for (const Packet* packet : batch) {
            if (IsOurs(Of(*packet))) got.push_back(Of(*packet));
          }
        }
      }
      CHECK(got == frames);  // One flow: one queue, in order.
      netdev.reset();
      CHECK(if_nametoindex("host") == 0);
      CHECK(CountFds() == fds + 1);  // The raw socket.
      CHECK(pool.held() == 0);
    }
  });
}

TEST_CASE("tap: names, the MTU, down, deleted, back again") {
  Isolated([] {
    PacketPool pool;
    CHECK(TryOpen(Spec("tap", "sixteen-letters!"), pool).error().number == EINVAL);
    CHECK(TryOpen(Spec("tap", "a/b"), pool).error().number == EINVAL);
    CHECK(TryOpen(Spec("tap", ""), pool).error().number == EINVAL);
    Run("ip link add notap type bridge");
    const pollux::Error error = TryOpen(Spec("tap", "notap"), pool).error();
    CHECK(error.number == EINVAL);
    CHECK(!error.hint.empty());

    NetdevSpec spec = Spec("tap", "a port with quite a long name");
    spec.device = "t0";
    spec.mtu = 1400;
    std::unique_ptr<Netdev> netdev = Open(spec, pool);
    if (netdev == nullptr) return;
    SendResult result = Send(*netdev, pool, {Frame(1414), Frame(1415), Frame(5)});
    CHECK(result.packets == 1);
    CHECK(Dropped(result, DropReason::kMtu) == 1);
    CHECK(Dropped(result, DropReason::kTxError) == 1);
    Run("ip link set t0 down");
    result = Send(*netdev, pool, {Frame(60), Frame(61)});
    CHECK(Dropped(result, DropReason::kPortDown) == 2);
    Run("ip link set t0 up");
    CHECK(Send(*netdev, pool, {Frame(60)}).packets == 1);

    Run("ip link del t0");
    result = Send(*netdev, pool, {Frame(60), Frame(61)});
    CHECK(Dropped(result, DropReason::kPortDown) == 2);
    Rxq& rxq = *netdev->rxqs()[0];
    PacketBatch batch;
    rxq.Recv(batch);
    CHECK(!IsReadable(rxq.wait_fd()));  // Nobody spins for a dead descriptor.
    Run("ip tuntap add t0 mode tap");
    CHECK(netdev->Rebind(static_cast<int>(if_nametoindex("t0"))).ok());
    CHECK(netdev->ifindex() == static_cast<int>(if_nametoindex("t0")));
    CHECK(Send(*netdev, pool, {Frame(60)}).packets == 1);
    Raw raw("t0");
    CHECK(raw.Send(Frame(60, 3)));
    CHECK(Receive(rxq, 1).size() == 1);
  });
}

TEST_CASE("tap: the host's own TCP offloads are finished by the kernel") {
  Isolated([] {
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("tap", "t0"), pool);
    if (netdev == nullptr) return;
    Run("ip addr add 10.9.0.1/24 dev t0 && ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:99 dev t0");
    const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = 0;
    const sockaddr_storage to = Address("10.9.0.2", 9, size);
    const int segment = 1000;
    CHECK(setsockopt(udp, IPPROTO_UDP, 103, &segment, sizeof segment) == 0);
    const Bytes data(10'000, 'x');
    CHECK(sendto(udp, data.data(), data.size(), 0, reinterpret_cast<const sockaddr*>(&to), size) ==
          10'000);
    close(udp);
    std::size_t datagrams = 0;
    for (;;) {
      PacketBatch batch;
      netdev->rxqs()[0]->Recv(batch);
      if (batch.empty()) break;
      for (const Packet* packet : batch) {
        CHECK(Between::IsRight(*packet));
        if (packet->size == 1042) ++datagrams;
      }
    }
    CHECK(datagrams == 10);
  });
}

// ---------------------------------------------------------------------------- link monitor

std::vector<LinkEvent> ReadEvents(LinkMonitor& monitor) {
  std::vector<LinkEvent> events;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(300);
  while (Clock::now() < end) {
    pollfd wait{monitor.fd(), POLLIN, 0};
    poll(&wait, 1, 20);
    monitor.Read([&](const LinkEvent& event) { events.push_back(event); });
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
    LinkEvent event = last();
    CHECK(event.name == "v0");
    CHECK(event.up);
    CHECK(event.mtu == 1234);
    Run("ip link set v1 down");
    CHECK(!last().up);  // No carrier.
    Run("ip link set v1 up; ip link set v0 name w0 mtu 1300");
    event = last();
    CHECK(event.up);
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
