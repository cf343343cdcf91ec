// The af_packet driver, on veth pairs.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kernel_testbed.h"
#include "netdev/netdev.h"
#include "netdev_testbed.h"

namespace pollux::test {
namespace {

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
    const std::size_t fds = CountFds();
    {
      PacketPool pool;
      NetdevSpec spec = Spec("af_packet", "port");
      spec.device = "v0";
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      if (netdev == nullptr) return;
      AwaitXsk(*netdev);
      CHECK(netdev->mode() == "tpacket-v2 vnet-hdr xsk-tx ingress-drop");
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
      netdev.reset();
      CHECK(Output("ip -d link show v0").find("promiscuity 0") != std::string::npos);
      CHECK(pool.held() == 0);
    }
    CHECK(CountFds() == fds);
  });
}

TEST_CASE("af_packet: what closing leaves to be done holds nothing that others miss") {
  Isolated([] {
    MakePair();
    const std::size_t fds = CountFds();
    {
      PacketPool pool;
      std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
      if (netdev == nullptr) return;
      const std::size_t held = pool.held();
      pollux::Background::Work rest = netdev->Close();
      netdev.reset();
      REQUIRE(rest);
      // The next port of the interface does not wait for it.
      netdev = Open(Spec("af_packet", "v0"), pool);
      REQUIRE(netdev != nullptr);
      Raw raw("v1");
      CHECK(raw.Send(Frame(60, 1)));
      CHECK(Receive(*netdev->rxqs()[0], 1).size() == 1);
      rest();
      CHECK(raw.Send(Frame(60, 2)));
      CHECK(Receive(*netdev->rxqs()[0], 1).size() == 1);
      // Nor does it go without its AF_XDP socket for long.
      AwaitXsk(*netdev);
      CHECK(netdev->mode() == "tpacket-v2 vnet-hdr xsk-tx ingress-drop");
      CHECK(pool.held() == held);
    }
    CHECK(CountFds() == fds);
    CHECK(Output("ip -d link show v0").find("promiscuity 0") != std::string::npos);
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
    // Lowered behind our back: for frames that go through a packet socket the kernel says EMSGSIZE,
    // for that packet alone. One too short for AF_XDP makes a whole batch go there.
    Run("ip link set v0 mtu 500");
    result = Send(*netdev, pool, {Frame(600), Frame(100), Frame(1000), Frame(101), Frame(5)});
    CHECK(result.packets == 2);
    CHECK(Dropped(result, DropReason::kMtu) == 2);
    CHECK(Dropped(result, DropReason::kTxError) == 1);
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
        for (int tries = 0; tries < 1000 && !raw.Send(Frame(60)); ++tries) usleep(20'000);
        for (int tries = 0; tries < 2000 && Send(*netdev, pool, {Frame(60, 9)}).packets == 0;
             ++tries) {
          usleep(10'000);
        }
        CHECK(raw.Receive(1).size() == 1);
        // The kernel may hand it over later.
        std::size_t got = 0;
        for (int tries = 0; tries < 2000 && got == 0; ++tries) {
          for (const std::unique_ptr<Rxq>& queue : netdev->rxqs()) {
            PacketBatch batch;
            queue->Recv(batch);
            got += batch.size();
          }
          if (got == 0) usleep(10'000);
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
    Run("ip link add w0 type veth peer name w1");
    for (const char* name : {"w0", "w1"}) {
      Run(std::string("f=/proc/sys/net/ipv6/conf/") + name +
          "/disable_ipv6; [ ! -e $f ] || echo 1 > $f");
      Run(std::string("ip link set ") + name + " up");
    }
    Run("ip addr add 10.9.0.1/24 dev v0 && ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:99 dev v0");
    PacketPool pool;
    std::unique_ptr<Netdev> first = Open(Spec("af_packet", "w0", 2), pool);
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
    spec.generator.flows = 300;
    spec.generate_limit = 3000;
    std::unique_ptr<Netdev> source = Open(spec, source_pool);
    Raw raw("v1");
    Raw other("w1");
    for (;;) {
      PacketBatch batch;
      source->rxqs()[0]->Recv(batch);
      if (batch.empty()) break;
      for (const Packet* packet : batch) {
        CHECK(raw.Send(Of(*packet)));
        CHECK(other.Send(Of(*packet)));
      }
    }
    for (Netdev* device : {netdev.get(), first.get()}) {
      std::map<std::uint32_t, std::size_t> queue_of;  // By ports: a flow keeps to its queue.
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
            CHECK(queue_of.try_emplace(NumberOf(frame, 34), i).first->second == i);
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
    const std::size_t fds = CountFds();
    for (const std::uint32_t rxqs : {1u, 2u}) {
      MakePair();
      auto packets = std::make_unique<PacketPool>();
      PacketPool& pool = *packets;
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
      packets.reset();
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
      for (int i = 0; i < 10'000 && received == before; ++i) {
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

TEST_CASE("af_packet: packets know when they arrived, if somebody wants to know") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    const auto receive = [&](std::size_t size) {
      CHECK(raw.Send(Frame(size)));
      PacketBatch batch;
      for (int tries = 0; tries < 5000 && batch.empty(); ++tries) {
        netdev->rxqs()[0]->Recv(batch);
        if (batch.empty()) usleep(1000);
      }
      REQUIRE(batch.size() == 1);
      PacketPtr packet(batch[0]);
      batch.Release();
      return packet;
    };
    CHECK(!receive(60)->has_arrival);
    pool.WantArrivals(true);
    const auto now = [] {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(
                 std::chrono::system_clock::now().time_since_epoch())
          .count();
    };
    for (const std::size_t size : {60u, 1514u}) {
      const std::int64_t before = now();
      const PacketPtr packet = receive(size);
      REQUIRE(static_cast<bool>(packet->has_arrival));
      CHECK(packet->arrival().time_ns >= before);
      CHECK(packet->arrival().time_ns <= now());
      // So does a copy, and no later packet in the same place.
      const PacketPtr copy = pool.Clone(*packet);
      REQUIRE(static_cast<bool>(copy->has_arrival));
      CHECK(copy->arrival().time_ns == packet->arrival().time_ns);
    }
    pool.WantArrivals(false);
    CHECK(!receive(60)->has_arrival);
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

}  // namespace
}  // namespace pollux::test
