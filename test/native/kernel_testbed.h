// The kernel's side of a test of drivers: network namespaces, interfaces in them, and programs that
// use those.
//
//   Isolated([] {
//     MakePair();  // v0 - v1
//     PacketPool pool;
//     std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
//     Raw raw("v1");
//     CHECK(raw.Send(Frame(60)));
//     ...
//   });
//
// Isolated() runs a test in a namespace that it makes for it and that vanishes with its thread: the
// process's own is never touched, and nothing is left. Without the privileges for that, the test
// says so and is skipped. Run() and Output() are the shell's, for `ip` and the like; Raw is another
// program's packet socket; Between joins two namespaces, with a TCP of the kernel's own in each, by
// two of our ports, and looks at all that passes. Devices and frames are those of
// netdev_testbed.h.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "netdev_testbed.h"
#include "packet/checksum.h"

namespace pollux::test {

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
inline void Isolated(const std::function<void()>& test) {
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) {
      std::printf("SKIPPED: no network namespaces here: %s\n", std::strerror(errno));
      return;
    }
    test();
  }).join();
}

inline bool Run(const std::string& command) {
  const int status = std::system(command.c_str());
  CHECK_MESSAGE(status == 0, command);
  return status == 0;
}
inline std::string Output(const std::string& command) {
  std::string output;
  std::FILE* pipe = popen(command.c_str(), "re");
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  pclose(pipe);
  return output;
}

// A veth pair v0 - v1 in this namespace, up, without the host's own chatter.
inline void MakePair(const std::string& options = "") {
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
  // All frames of ours that arrive, until there are `n`, or none came for five seconds.
  std::vector<Bytes> Receive(std::size_t n) {
    std::vector<Bytes> frames;
    const auto patience = std::chrono::seconds(5);
    auto end = std::chrono::steady_clock::now() + patience;
    while (frames.size() < n && std::chrono::steady_clock::now() < end) {
      Bytes frame(70'000);
      const ssize_t size = recv(fd_, frame.data(), frame.size(), 0);
      if (size < 0) {
        pollfd wait{fd_, POLLIN, 0};
        poll(&wait, 1, 100);
        continue;
      }
      frame.resize(static_cast<std::size_t>(size));
      if (!IsOurs(frame)) continue;
      frames.push_back(std::move(frame));
      end = std::chrono::steady_clock::now() + patience;
    }
    return frames;
  }

 private:
  const int fd_;
};

inline std::size_t CountFds() {
  std::size_t n = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++n;
  closedir(dir);
  return n;
}

// Two namespaces with a kernel's own TCP in each, and our two ports between: a0 = a1 (ours) and b1
// (ours) = b0.
struct Between {
  explicit Between(const std::string& type = "af_packet") {
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
    a = Open(Spec(type, "a1"), pool);
    b = Open(Spec(type, "b1"), pool);
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
      PacketBatch pieces;
      for (const Packet* packet : batch) {
        for (PacketPtr& piece : Finished(pool, pool.Clone(*packet))) {
          if (!IsRight(*piece)) ++wrong;
          if (piece->size > 1400) ++full_sized;
          if (!in_pieces) continue;
          if (pieces.full()) to->Send(0, pieces, result);
          pieces.Add(std::move(piece));
        }
      }
      forwarded += batch.size();
      PacketBatch& sent = in_pieces ? pieces : batch;
      if (!sent.empty()) to->Send(0, sent, result);
    }
  }

  PacketPool pool;
  Namespace left, right;
  std::unique_ptr<Netdev> a, b;
  bool vlan = false;
  bool in_pieces = false;  // Finish in software what could go on as it is.
  std::uint64_t forwarded = 0, full_sized = 0, wrong = 0;
  SendResult result;
};

inline sockaddr_storage Address(const std::string& text, std::uint16_t port, socklen_t& size) {
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

}  // namespace pollux::test
