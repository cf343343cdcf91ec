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

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernel_testbed.h"
#include "netdev/netdev.h"
#include "netdev_testbed.h"
#include "packet/checksum.h"

namespace pollux::test {
namespace {

using Clock = std::chrono::steady_clock;

// Until ordinary frames go by an AF_XDP socket: a thread opens it, perhaps when one that was closed
// a moment ago has gone.
void AwaitXsk(Netdev& netdev) {
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  while (netdev.mode().find("xsk-tx") == std::string::npos && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    netdev.Probe();
  }
  CHECK(netdev.mode().find("xsk-tx") != std::string::npos);
}

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

// UDP with `payload` bytes behind two tags, its checksum partial, as a kernel leaves it.
Bytes TwiceTagged(std::size_t payload, std::uint32_t number) {
  constexpr std::size_t kL3 = 22;
  Bytes frame = Frame(kL3 + 28 + payload, number);
  const std::size_t total = 28 + payload;
  const Bytes header = {0x88,
                        0xa8,
                        0,
                        6,
                        0x81,
                        0,
                        0,
                        5,
                        8,
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
                        17,
                        0,
                        0,
                        10,
                        0,
                        0,
                        1,
                        10,
                        0,
                        0,
                        2,
                        0x10,
                        0,
                        0x10,
                        1,
                        static_cast<std::uint8_t>((total - 20) >> 8),
                        static_cast<std::uint8_t>(total - 20),
                        0,
                        0};
  std::copy(header.begin(), header.end(), frame.begin() + 12);
  const std::uint16_t ip = pollux::Checksum(std::span(frame).subspan(kL3, 20));
  std::memcpy(frame.data() + kL3 + 10, &ip, 2);
  const std::span<const std::uint8_t> addresses = std::span(frame).subspan(kL3 + 12, 8);
  const std::uint16_t partial = pollux::FoldSum(pollux::PseudoSum4(
      addresses.first<4>(), addresses.last<4>(), 17, static_cast<std::uint32_t>(total - 20)));
  std::memcpy(frame.data() + kL3 + 26, &partial, 2);
  return frame;
}

PacketPtr WithPartialChecksum(PacketPool& pool, const Bytes& frame, std::uint16_t gso_size = 0) {
  PacketPtr packet = pool.Copy(frame);
  pollux::OffloadHeader header;
  header.flags = pollux::OffloadHeader::kNeedsChecksum;
  header.gso_type = gso_size != 0 ? pollux::OffloadHeader::kGsoUdp : 0;
  header.gso_size = gso_size;
  header.csum_start = 42;
  header.csum_offset = 6;
  CHECK(AcceptOffloads(*packet, header));
  return packet;
}

TEST_CASE("af_packet: two tags do not count towards the MTU, whatever the packet lacks") {
  Isolated([] {
    for (const std::uint32_t mtu : {1500u, 9000u}) {
      // Room for one tag: the peer, too, lets another pass.
      MakePair("mtu " + std::to_string(mtu + 4));
      PacketPool pool;
      std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
      std::unique_ptr<Netdev> peer = Open(Spec("af_packet", "v1"), pool);
      if (netdev == nullptr || peer == nullptr) return;
      AwaitXsk(*netdev);

      std::vector<PacketPtr> sent;
      const std::size_t most = mtu - 28;
      const Bytes full = TwiceTagged(most, 1);
      sent.push_back(WithPartialChecksum(pool, full));
      sent.push_back(WithPartialChecksum(pool, TwiceTagged(10, 2)));
      sent.push_back(WithPartialChecksum(pool, TwiceTagged(3 * most - 7, 3),
                                         static_cast<std::uint16_t>(most)));
      sent.push_back(WithPartialChecksum(pool, TwiceTagged(most, 4)));
      sent.push_back(WithPartialChecksum(pool, TwiceTagged(most, 5)));
      FinishChecksum(*sent.back());
      std::vector<Bytes> expected;
      PacketBatch batch;
      std::uint64_t bytes = 0;
      for (PacketPtr& packet : sent) {
        for (const PacketPtr& piece : Finished(pool, pool.Clone(*packet))) {
          expected.push_back(Of(*piece));
          bytes += piece->size;
        }
        batch.Add(std::move(packet));
      }
      CHECK(expected.size() == 7);
      SendResult result;
      netdev->Send(0, batch, result);
      CHECK(result.packets == 5);
      CHECK(result.wire_packets == 7);
      CHECK(result.bytes == bytes);
      CHECK(Dropped(result, DropReason::kMtu) == 0);
      CHECK(Receive(*peer->rxqs()[0], expected.size()) == expected);

      // A byte above the MTU, the tags aside, is too long for all of them.
      batch.Add(WithPartialChecksum(pool, TwiceTagged(most + 5, 6)));
      netdev->Send(0, batch, result);
      CHECK(result.packets == 5);
      CHECK(Dropped(result, DropReason::kMtu) == 1);

      // Without an AF_XDP socket, the packet socket's opinion counts: it drops that frame alone.
      netdev.reset();
      pollux::Background::Work rest = peer->Close();
      peer.reset();
      if (rest) rest();
      std::unique_ptr<Netdev> owner = Open(Spec("af_packet", "v0"), pool);
      if (owner == nullptr) return;
      AwaitXsk(*owner);
      std::unique_ptr<Netdev> other = Open(Spec("af_packet", "v0"), pool);
      if (other == nullptr) return;
      CHECK(other->mode().find("xsk-tx") == std::string::npos);
      result = {};
      batch.Add(WithPartialChecksum(pool, full));
      batch.Add(WithPartialChecksum(pool, TwiceTagged(10, 7)));
      other->Send(0, batch, result);
      CHECK(result.packets == 1);
      CHECK(Dropped(result, DropReason::kMtu) == 1);
      other.reset();
      owner.reset();
      Run("ip link del v0");
    }
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
    spec.generator.flows = 300;
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

// Packets that the kernel gave to an interface, a GSO frame counting as one.
std::uint64_t KernelSent(const std::string& name) {
  const std::string line = Output("grep '" + name + ":' /proc/thread-self/net/dev");
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  std::sscanf(line.c_str(), " %*[^:]: %*u %lu %*u %*u %*u %*u %*u %*u %*u %lu", &received, &sent);
  return sent;
}

TEST_CASE(
    "af_packet: TCP of a real kernel, with its offloads on, gets through whole and in pieces") {
  Isolated([] {
    Between between;
    if (between.a == nullptr || between.b == nullptr) return;
    std::vector<const char*> targets = between.Targets();
    const std::size_t each = targets.size();
    targets.insert(targets.end(), targets.begin(), targets.begin() + static_cast<long>(each));
    for (std::size_t run = 0; run < targets.size(); ++run) {
      const char* target = targets[run];
      between.in_pieces = run >= each;
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

TEST_CASE("af_packet: UDP to be segmented gets through whole and in pieces") {
  Isolated([] {
    Between between;
    if (between.a == nullptr || between.b == nullptr) return;
    for (const char* target : between.Targets()) {
      between.in_pieces = !between.in_pieces;
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
      while (got.size() < data.size() && Clock::now() - start < std::chrono::seconds(20)) {
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

TEST_CASE("af_packet: offloads of tagged frames are known behind the tags") {
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

}  // namespace
}  // namespace pollux::test
