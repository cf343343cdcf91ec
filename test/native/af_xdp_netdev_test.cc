// The af_xdp driver, on veth pairs.
#include <doctest/doctest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernel_testbed.h"
#include "netdev/af_xdp/xdp_program.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_queue.h"
#include "netdev_testbed.h"
#include "packet/packet_region.h"

namespace pollux::test {
namespace {

// Whether this machine lets the test open such ports at all; says so if not.
bool Offered() {
  const std::string reason = pollux::FindNetdevType("af_xdp")->unavailable();
  if (!reason.empty()) std::printf("SKIPPED: af_xdp: %s\n", reason.c_str());
  return reason.empty();
}

void Isolated(const std::function<void()>& test) {
  if (Offered()) test::Isolated(test);
}

bool HasProgram(const std::string& device) {
  return Output("ip -d link show " + device).find("prog/xdp") != std::string::npos;
}

// Chunks of the pool's regions that are neither free nor anybody's: must be none.
std::size_t Chunks(const PacketPool& pool) {
  std::size_t chunks = 0;
  for (const PacketRegion* region : pool.regions()) chunks += region->chunks();
  return chunks;
}
std::size_t FreeChunks(const PacketPool& pool) {
  std::size_t chunks = 0;
  for (const PacketRegion* region : pool.regions()) chunks += region->free();
  return chunks;
}

// What arrives at any queue of a device, until there are `n` frames, for up to 20 s. Frames that
// the device drops, beyond `dropped` of them, count among the `n`.
std::vector<Bytes> ReceiveAny(Netdev& netdev, std::size_t n, std::uint64_t dropped = 0) {
  std::vector<Bytes> frames;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto seen = [&] { return frames.size() + netdev.stats().rx_dropped - dropped; };
  while (seen() < n && std::chrono::steady_clock::now() < end) {
    for (const std::unique_ptr<Rxq>& rxq : netdev.rxqs()) {
      PacketBatch batch;
      rxq->Recv(batch);
      for (const Packet* packet : batch) {
        if (IsOurs(Of(*packet))) frames.push_back(Of(*packet));
      }
    }
  }
  return frames;
}

TEST_CASE("af_xdp: what cannot be opened says why") {
  Isolated([] {
    PacketPool pool;
    const auto error = [&](const NetdevSpec& spec) {
      Result<std::unique_ptr<Netdev>> netdev = TryOpen(spec, pool);
      CHECK(!netdev.ok());
      CHECK(netdev.error().port == spec.name);
      return netdev.error();
    };
    CHECK(error(Spec("af_xdp", "nowhere")).number == ENODEV);
    CHECK(error(Spec("af_xdp", "nowhere")).hint.find("ip link") != std::string::npos);
    CHECK(error(Spec("af_xdp", "lo")).number == EINVAL);
    MakePair();
    CHECK(error(Spec("af_xdp", "v0", 0)).number == EINVAL);
    CHECK(error(Spec("af_xdp", "v0", 2)).hint.find("ethtool -L v0") != std::string::npos);
    NetdevSpec spec = Spec("af_xdp", "v0");
    spec.mode = "fast";
    CHECK(error(spec).number == EINVAL);
    spec.mode = "zerocopy";  // veth has none.
    CHECK(error(spec).number == EOPNOTSUPP);
    CHECK(error(spec).hint.find("\"native\"") != std::string::npos);
    CHECK(!HasProgram("v0"));
    {
      // Another port on the interface, and then the interface in the other mode.
      std::unique_ptr<Netdev> first = Open(Spec("af_xdp", "v0"), pool);
      CHECK(error(Spec("af_xdp", "v0")).number == EBUSY);
      CHECK(error(Spec("af_xdp", "v0")).hint.find("use that one") != std::string::npos);
      CHECK(HasProgram("v0"));
    }
    {
      // Somebody else's program.
      const auto other = pollux::XdpProgram::Attach(static_cast<int>(if_nametoindex("v0")),
                                                    pollux::XdpProgram::Mode::kNative, 1);
      REQUIRE(other.ok());
      CHECK(error(Spec("af_xdp", "v0")).number == EBUSY);
      CHECK(error(Spec("af_xdp", "v0")).hint.find("xdp off") != std::string::npos);
    }
    Open(Spec("af_xdp", "v0"), pool);  // At once again.

    // A pool that has not enough left.
    PacketPool small(std::size_t{4} << 20);
    Result<std::unique_ptr<Netdev>> starved = TryOpen(Spec("af_xdp", "v0"), small);
    CHECK(starved.error().number == ENOMEM);
    CHECK(!HasProgram("v0"));

    // Without capabilities. They are the thread's own.
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2]{};
    CHECK(syscall(SYS_capset, &header, none) == 0);
    const pollux::Error denied = error(Spec("af_xdp", "v0"));
    CHECK(denied.number == EPERM);
    CHECK(denied.hint.find("CAP_BPF") != std::string::npos);
    CHECK(pollux::FindNetdevType("af_xdp")->unavailable().find("CAP_NET_RAW") != std::string::npos);
  });
}

TEST_CASE("af_xdp: frames arrive and leave as they are") {
  Isolated([] {
    for (const std::string mode : {"best", "generic"}) {
      MakePair();
      PacketPool pool;
      const std::size_t fds = CountFds();
      {
        NetdevSpec spec = Spec("af_xdp", "port");
        spec.device = "v0";
        spec.mode = mode;
        std::unique_ptr<Netdev> netdev = Open(spec, pool);
        if (netdev == nullptr) return;
        CHECK(netdev->mode() == (mode == "best" ? "native-copy" : "generic-copy"));
        CHECK(netdev->mtu() == 1500);
        CHECK(netdev->ifindex() == static_cast<int>(if_nametoindex("v0")));
        CHECK(HasProgram("v0"));
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
      CHECK(!HasProgram("v0"));
      CHECK(CountFds() == fds);
      CHECK(pool.held() == 0);
      Run("ip link del v0");
    }
  });
}

TEST_CASE("af_xdp: busy polling receives and sends the same frames, and lets a thread sleep") {
  Isolated([] {
    for (const std::string mode : {"native", "generic"}) {
      MakePair();
      PacketPool pool;
      NetdevSpec spec = Spec("af_xdp", "v0");
      spec.mode = mode;
      spec.busy_poll = true;
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      if (netdev == nullptr) return;
      CHECK(netdev->mode() == mode + "-copy busy-poll");
      Rxq& rxq = *netdev->rxqs()[0];
      Raw raw("v1");
      std::vector<Bytes> frames;
      for (std::uint32_t i = 0; i < 500; ++i) frames.push_back(Frame(18 + i % 1496, i));
      for (int round = 0; round < 3; ++round) {
        for (const Bytes& frame : frames) CHECK(raw.Send(frame));
        CHECK(Receive(rxq, frames.size()) == frames);
        CHECK(Send(*netdev, pool, frames).packets == frames.size());
        CHECK(raw.Receive(frames.size()) == frames);
      }
      // Nobody calls: what arrives wakes all the same.
      CHECK(rxq.Arm());
      CHECK(!IsReadable(rxq.wait_fd()));
      CHECK(raw.Send(frames[0]));
      CHECK(IsReadable(rxq.wait_fd()));
      rxq.Disarm();
      CHECK(Receive(rxq, 1).size() == 1);
      CHECK(netdev->stats().rx_dropped == 0);
      Run("ip link del v0");
    }
  });
}

TEST_CASE("af_xdp: frames in several chunks, between others, in order") {
  Isolated([] {
    MakePair("mtu 9000");
    PacketPool pool;
    {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
      if (netdev == nullptr) return;
      CHECK(netdev->mtu() == 9000);
      Raw raw("v1");
      std::vector<Bytes> frames;
      for (std::uint32_t i = 0; i < 120; ++i) {
        static constexpr std::size_t kSizes[] = {60, 9014, 1791, 1792, 1793, 4096, 2048, 2049};
        frames.push_back(Frame(kSizes[i % 8], i));
      }
      for (const Bytes& frame : frames) CHECK(raw.Send(frame));
      CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
      CHECK(Send(*netdev, pool, frames).packets == frames.size());
      CHECK(raw.Receive(frames.size()) == frames);
      CHECK(netdev->stats().rx_errors == 0);
    }
    CHECK(pool.held() == 0);
  });
}

// A program of ours that takes part in sending on an interface: it pushes a VLAN tag, which the
// kernel then keeps beside the frame, as it does for VLAN interfaces. -1: not with this kernel.
int PushTagOnEgress(const char* device, std::uint32_t tag) {
  constexpr int kVlanPush = 18, kTcxEgress = 47;
  const bpf_insn code[] = {
      {BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0x0081},  // 802.1Q, as it goes into the frame.
      {BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, static_cast<std::int32_t>(tag)},
      {BPF_JMP | BPF_CALL, 0, 0, 0, kVlanPush},
      {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, -1},  // Go on.
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attr.expected_attach_type = static_cast<std::uint32_t>(kTcxEgress);
  attr.insns = reinterpret_cast<std::uintptr_t>(code);
  attr.insn_cnt = static_cast<std::uint32_t>(std::size(code));
  attr.license = reinterpret_cast<std::uintptr_t>("GPL");
  const auto program = static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
  if (program < 0) return -1;
  std::memset(&attr, 0, sizeof attr);
  attr.link_create.prog_fd = static_cast<std::uint32_t>(program);
  attr.link_create.target_ifindex = if_nametoindex(device);
  attr.link_create.attach_type = static_cast<std::uint32_t>(kTcxEgress);
  const auto link = static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr));
  close(program);
  return link;
}

TEST_CASE("af_xdp: takes large frames also when an af_packet port came first, in the same memory") {
  Isolated([] {
    MakePair("mtu 9000");
    Run("ip link add w0 mtu 9000 type veth peer name w1 mtu 9000");
    Run("ip link set w0 up && ip link set w1 up");
    PacketPool pool;
    {
      std::unique_ptr<Netdev> first = Open(Spec("af_packet", "w0"), pool);
      std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
      if (first == nullptr || netdev == nullptr) return;
      CHECK(pool.regions().size() == 1);
      CHECK(netdev->mtu() == 9000);
      Raw raw("v1");
      Raw sink("w1");
      const std::vector<Bytes> frames = {Frame(60, 1), Frame(9014, 2), Frame(1500, 3)};
      for (const Bytes& frame : frames) CHECK(raw.Send(frame));
      CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
      CHECK(Send(*netdev, pool, frames).packets == frames.size());
      CHECK(raw.Receive(frames.size()) == frames);
      CHECK(Send(*first, pool, frames).packets == frames.size());
      CHECK(sink.Receive(frames.size()).size() == frames.size());
    }
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_xdp: VLAN tags survive, in the frame or beside it") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    std::vector<Bytes> frames;
    for (const std::size_t size : {18u, 60u, 1500u}) {
      frames.push_back(Frame(size, 7));
      for (const Bytes& tags :
           {Bytes{0x81, 0, 0xe0, 5}, Bytes{0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0x20, 6}}) {
        Bytes frame = Frame(size, 7);
        frame.insert(frame.begin() + 12, tags.begin(), tags.end());
        frames.push_back(frame);
      }
    }
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
    CHECK(Send(*netdev, pool, frames).packets == frames.size());

    const int link = PushTagOnEgress("v1", 0x2007);
    if (link < 0) {
      std::printf("SKIPPED: tags beside the frame: no TCX programs here\n");
      return;
    }
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    for (Bytes& frame : frames) {
      const Bytes tag = {0x81, 0, 0x20, 7};
      frame.insert(frame.begin() + 12, tag.begin(), tag.end());
    }
    CHECK(Receive(*netdev->rxqs()[0], frames.size()) == frames);
    close(link);
  });
}

TEST_CASE("af_xdp: a packet goes from one port to another in the chunk it arrived in") {
  Isolated([] {
    MakePair();
    Run("ip link add w0 type veth peer name w1 && ip link set w0 up && ip link set w1 up");
    PacketPool pool;
    {
      std::unique_ptr<Netdev> from = Open(Spec("af_xdp", "v0"), pool);
      std::unique_ptr<Netdev> to = Open(Spec("af_xdp", "w0"), pool);
      if (from == nullptr || to == nullptr) return;
      REQUIRE(pool.regions().size() == 1);
      const PacketRegion& region = *pool.regions()[0];
      Raw source("v1");
      Raw sink("w1");
      std::size_t in_region = 0;
      std::vector<Bytes> sent;
      const auto forward = [&] {
        PacketBatch batch;
        from->rxqs()[0]->Recv(batch);
        for (const Packet* packet : batch) in_region += region.Holds(*packet) ? 1 : 0;
        SendResult result;
        const std::size_t n = batch.size();
        to->Send(0, batch, result);
        CHECK(result.packets == n);
      };
      for (std::uint32_t i = 0; i < 20'000; ++i) {
        sent.push_back(Frame(60 + i % 1000, i));
        CHECK(source.Send(sent.back()));
        forward();
        if (i % 200 != 199) continue;
        // The last may still be on their way, if the kernel was busy.
        for (int tries = 0; tries < 10'000 && in_region < sent.size(); ++tries) {
          usleep(1000);
          forward();
        }
        CHECK(sink.Receive(200) == std::vector<Bytes>(sent.end() - 200, sent.end()));
      }
      CHECK(in_region >= 20'000);
      // Every chunk is somewhere: free, or in one of the rings.
      CHECK(FreeChunks(pool) >= Chunks(pool) - 2 * 2 * 2048);
    }
    CHECK(FreeChunks(pool) == Chunks(pool));
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_xdp: packets that somebody keeps do not stop a port") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::vector<PacketPtr> hoard;
    {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
      if (netdev == nullptr) return;
      Raw raw("v1");
      // More than fit the rings, while the receiver reads nothing.
      const SendResult result = Send(*netdev, pool, std::vector<Bytes>(3000, Frame(60, 1)));
      CHECK(result.packets == 3000);
      CHECK(FreeChunks(pool) >= Chunks(pool) - 2 * 2048);

      // Packets that are kept: the port goes on receiving, by copies.
      std::size_t copied = 0;
      const auto receive = [&] {
        PacketBatch batch;
        netdev->rxqs()[0]->Recv(batch);
        for (Packet* packet : batch) {
          copied += pool.regions()[0]->Holds(*packet) ? 0 : 1;
          hoard.emplace_back(packet);
        }
        batch.Release();
      };
      for (std::uint32_t i = 0; i < 40'000; ++i) {
        CHECK(raw.Send(Frame(60, i)));
        receive();
      }
      for (int tries = 0; tries < 10'000 && hoard.size() < 40'000; ++tries) {
        usleep(1000);
        receive();
      }
      CHECK(hoard.size() >= 40'000);
      CHECK(copied > 20'000);
      CHECK(netdev->stats().rx_dropped == 0);
      // Some are left for sending.
      CHECK(Send(*netdev, pool, std::vector<Bytes>(100, Frame(60, 2))).packets == 100);
    }
    hoard.clear();
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_xdp: rings wrap; what does not fit is counted") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    std::uint32_t next = 0;
    for (int round = 0; round < 30; ++round) {
      for (std::uint32_t i = 0; i < 400; ++i) raw.Send(Frame(60, round * 400 + i));
      for (const Bytes& frame : Receive(*netdev->rxqs()[0], 400)) CHECK(NumberOf(frame) == next++);
    }
    CHECK(next == 12'000);
    for (std::uint32_t i = 0; i < 6000; ++i) raw.Send(Frame(60, i));
    const std::uint64_t dropped = netdev->stats().rx_dropped;
    CHECK(dropped > 3900);
    CHECK(netdev->stats().rx_dropped == dropped);  // Not reset by looking.
    CHECK(Receive(*netdev->rxqs()[0], 6000 - dropped).size() == 6000 - dropped);
    CHECK(raw.Send(Frame(60, 9)));
    CHECK(NumberOf(Receive(*netdev->rxqs()[0], 1)[0]) == 9);
  });
}

TEST_CASE("af_xdp: the MTU is enforced, tags aside, and follows the interface") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    NetdevSpec spec = Spec("af_xdp", "v0");
    spec.mtu = 1000;
    std::unique_ptr<Netdev> netdev = Open(spec, pool);
    if (netdev == nullptr) return;
    CHECK(Output("ip link show v0").find("mtu 1000") != std::string::npos);
    Raw raw("v1");
    Bytes tagged = Frame(1014);
    tagged.insert(tagged.begin() + 12, {0x81, 0, 0, 5});
    SendResult result = Send(*netdev, pool, {Frame(1014), tagged, Frame(1015), Frame(1400)});
    CHECK(result.packets == 2);
    CHECK(result.bytes == 2032);
    CHECK(Dropped(result, DropReason::kMtu) == 2);
    Run("ip link set v0 mtu 500");
    netdev->LinkChanged(netdev->ifindex() + 100, LinkState::kGone, 7);
    CHECK(netdev->mtu() == 1000);
    netdev->LinkChanged(netdev->ifindex(), LinkState::kUp, 500);
    CHECK(netdev->mtu() == 500);
    // A smaller MTU at the peer is EBUSY, for that packet alone.
    Run("ip link set v1 mtu 200");
    result = Send(*netdev, pool, {Frame(100), Frame(400), Frame(100), Frame(401)});
    CHECK(result.packets == 2);
    CHECK(result.bytes == 200);
    CHECK(Dropped(result, DropReason::kTxQueueFull) == 2);
    // What is no frame at all.
    result = Send(*netdev, pool, {Frame(5), Frame(100)});
    CHECK(result.packets == 1);
    CHECK(Dropped(result, DropReason::kTxError) == 1);
    CHECK(raw.Receive(5).size() == 5);
  });
}

TEST_CASE("af_xdp: an interface may be down, and come up; nothing stale is sent") {
  Isolated([] {
    MakePair();
    Run("ip link set v0 down");
    PacketPool pool;
    {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
      if (netdev == nullptr) return;
      CHECK(netdev->link() == LinkState::kDown);
      const int ifindex = netdev->ifindex();
      for (int round = 0; round < 3; ++round) {
        const SendResult down = Send(*netdev, pool, {Frame(60, 1), Frame(3, 1), Frame(60, 1)});
        CHECK(Dropped(down, DropReason::kPortDown) >= 2);
        CHECK(down.packets == 0);
        CHECK(down.bytes == 0);
        PacketBatch none;
        netdev->rxqs()[0]->Recv(none);
        CHECK(netdev->rxqs()[0]->Arm());
        Run("ip link set v0 up");
        Raw raw("v1");
        for (int tries = 0; tries < 1000 && !raw.Send(Frame(60)); ++tries) usleep(20'000);
        netdev->LinkChanged(ifindex, LinkState::kUp, 0);
        for (int tries = 0; tries < 2000 && Send(*netdev, pool, {Frame(60, 9)}).packets == 0;
             ++tries) {
          usleep(10'000);
        }
        const std::vector<Bytes> got = raw.Receive(1);
        CHECK(got.size() == 1);
        CHECK(NumberOf(got[0]) == 9);
        CHECK(Receive(*netdev->rxqs()[0], 1).size() == 1);
        Run("ip link set v0 down");
        // The first time by the kernel's word alone, then by that of the listener.
        if (round > 0) netdev->LinkChanged(ifindex, LinkState::kDown, 0);
      }
    }
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_xdp: every queue of the device is served, also new ones; without one, dropped") {
  Isolated([] {
    // Frames are counted here: no chatter of the host's.
    Run("f=/proc/sys/net/ipv6/conf/default/disable_ipv6; [ ! -e $f ] || echo 1 > $f");
    Run("ip link add v0 numrxqueues 4 numtxqueues 4 type veth peer name v1 numrxqueues 4 "
        "numtxqueues 4 && ethtool -L v0 rx 1 tx 1 && ethtool -L v1 rx 1 tx 1");
    Run("ip link set v0 up && ip link set v1 up");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
    if (netdev == nullptr) return;
    Raw leak("v0");  // What reaches the host's own stack passes here.
    Raw raw("v1");
    CHECK(raw.Send(Frame(60, 1)));
    CHECK(ReceiveAny(*netdev, 1).size() == 1);
    Run("ethtool -L v0 rx 4 tx 4");
    // The last one is somebody else's.
    PacketPool others;
    pollux::XskQueue::Options options;
    options.ifindex = netdev->ifindex();
    options.queue = 3;
    auto taken = pollux::XskQueue::Open(others, options);
    REQUIRE(taken.ok());
    netdev->Probe();
    Run("ethtool -L v1 tx 4");
    for (int tries = 0; tries < 2000 && !raw.Send(Frame(60, 0)); ++tries) usleep(10'000);
    // One UDP flow each, which the kernel spreads over its queues by their ports.
    std::vector<Bytes> frames;
    for (std::uint32_t flow = 0; flow < 400; ++flow) {
      Bytes frame = Frame(60, flow);
      const Bytes ip = {8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
      std::copy(ip.begin(), ip.end(), frame.begin() + 12);
      std::memcpy(frame.data() + 34, &flow, 4);
      frames.push_back(std::move(frame));
    }
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    // With the one before.
    const std::vector<Bytes> some = ReceiveAny(*netdev, frames.size() + 1);
    CHECK(some.size() < frames.size());
    const std::uint64_t unserved = netdev->stats().rx_dropped;
    CHECK(unserved > 0);
    CHECK(some.size() + unserved == frames.size() + 1);
    taken->reset();
    netdev->Probe();
    for (const Bytes& frame : frames) CHECK(raw.Send(frame));
    const std::vector<Bytes> got = ReceiveAny(*netdev, frames.size(), unserved);
    CHECK(netdev->stats().rx_dropped == unserved);
    CHECK(std::count_if(got.begin(), got.end(), [](const Bytes& frame) {
            return frame[12] == 8;
          }) == static_cast<std::ptrdiff_t>(frames.size()));
    // The frames did come in on several queues.
    const std::string counts = Output("ethtool -S v0");
    CHECK(counts.find("rx_queue_3_xdp_packets") != std::string::npos);
    CHECK(counts.find("xdp_packets: 0\n") == std::string::npos);
    CHECK(leak.Receive(1).empty());
    CHECK(Send(*netdev, pool, {Frame(60, 3), Frame(60, 4)}).packets == 2);
  });
}

TEST_CASE("af_xdp: deleted, recreated, renamed, moved; bound anew") {
  Isolated([] {
    PacketPool pool;
    MakePair();
    const std::size_t fds = CountFds();
    std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
    if (netdev == nullptr) return;
    const std::size_t open = CountFds();
    std::size_t regions = 0;
    for (int round = 0; round < 12; ++round) {
      CHECK(Raw("v1").Send(Frame(60)));  // Still in the ring when the interface goes.
      int ifindex = netdev->ifindex();
      if (round % 3 == 0) {
        Run("ip link del v0");
        CHECK(Dropped(Send(*netdev, pool, {Frame(60), Frame(61)}), DropReason::kPortDown) == 2);
        netdev->LinkChanged(ifindex, LinkState::kGone, 0);
        CHECK(netdev->Rebind(ifindex).error().number == ENODEV);
        CHECK(netdev->link() == LinkState::kGone);
        MakePair();
        ifindex = static_cast<int>(if_nametoindex("v0"));
        CHECK(netdev->Rebind(ifindex).ok());
      } else if (round % 3 == 1) {
        Run("ip link set v0 down && ip link set v0 name w0 && ip link set w0 up");
        Raw raw("v1");
        for (int tries = 0; tries < 2000 && !raw.Send(Frame(60, 5)); ++tries) usleep(10'000);
        CHECK(Receive(*netdev->rxqs()[0], 2).size() == 2);
        Run("ip link set w0 down && ip link set w0 name v0 && ip link set v0 up");
      } else {
        // To another namespace: there it must be as we found it. And back.
        const Namespace other;
        Run("ip link set v0 netns " + other.path());
        netdev->LinkChanged(ifindex, LinkState::kGone, 0);
        const int home = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        other.Enter();
        CHECK(!HasProgram("v0"));
        CHECK(Output("ip -d link show v0").find("promiscuity 0") != std::string::npos);
        Run("ip link set v0 netns /proc/" + std::to_string(getpid()) + "/fd/" +
            std::to_string(home));
        setns(home, CLONE_NEWNET);
        close(home);
        Run("ip link set v0 up");
        ifindex = static_cast<int>(if_nametoindex("v0"));
        CHECK(netdev->Rebind(ifindex).ok());
      }
      netdev->LinkChanged(ifindex, LinkState::kUp, 1500);
      CHECK(netdev->ifindex() == ifindex);
      Raw raw("v1");
      for (int tries = 0; tries < 2000 && !raw.Send(Frame(60, 5)); ++tries) usleep(10'000);
      CHECK(Receive(*netdev->rxqs()[0], 1).size() >= 1);
      for (int tries = 0; tries < 2000 && Send(*netdev, pool, {Frame(60, 6)}).packets == 0; ++tries)
        usleep(10'000);
      CHECK(NumberOf(raw.Receive(1).at(0)) == 6);
      CHECK(CountFds() == open + 1);  // Raw's.
      if (round == 0) regions = pool.regions().size();
      CHECK(pool.regions().size() == regions);
    }
    netdev.reset();
    CHECK(CountFds() == fds);
    CHECK(pool.held() == 0);
  });
}

TEST_CASE("af_xdp: bound anew while threads poll, sleep, send and look") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    {
      std::unique_ptr<Netdev> netdev = Open(Spec("af_xdp", "v0"), pool);
      if (netdev == nullptr) return;
      std::atomic<bool> done{false};
      std::atomic<std::uint64_t> received{0};
      std::vector<std::thread> threads;
      for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs()) {
        threads.emplace_back([&, queue = rxq.get()] {
          PacketCache cache(pool);
          PacketCacheScope scope(cache);
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
      for (int round = 0; round < 12; ++round) {
        if (round % 4 == 3) {
          const int gone = netdev->ifindex();
          Run("ip link del v0");
          netdev->LinkChanged(gone, LinkState::kGone, 0);
          MakePair();
        }
        const int ifindex = static_cast<int>(if_nametoindex("v0"));
        CHECK(netdev->Rebind(ifindex).ok());
        netdev->LinkChanged(ifindex, LinkState::kUp, 1500);
        netdev->Probe();
        const std::uint64_t before = received;
        Raw raw("v1");
        for (int i = 0; i < 10'000 && received == before; ++i) {
          raw.Send(Frame(60));
          usleep(1000);
        }
        CHECK(received > before);
      }
      done = true;
      for (int i = 0; i < 20; ++i) Raw("v1").Send(Frame(60, i));
      for (std::thread& thread : threads) thread.join();
    }
    CHECK(pool.held() == 0);
  });
}

}  // namespace
}  // namespace pollux::test
