// The tap driver: the host's own interfaces.
#include <doctest/doctest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel_testbed.h"
#include "netdev/netdev.h"
#include "netdev_testbed.h"

namespace pollux::test {
namespace {

TEST_CASE("tap: frames go both ways, large ones too, and nothing is left") {
  Isolated([] {
    PacketPool pool;
    const std::size_t fds = CountFds();
    for (const std::uint32_t rxqs : {1u, 2u}) {
      NetdevSpec spec = Spec("tap", "host", rxqs);
      spec.mtu = 65'521;
      std::unique_ptr<Netdev> netdev = Open(spec, pool);
      if (netdev == nullptr) return;
      CHECK(netdev->mode() == "tap vnet-hdr");
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

TEST_CASE("tap: what the host leaves to a card arrives whole") {
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
    std::size_t whole = 0;
    for (;;) {
      PacketBatch batch;
      netdev->rxqs()[0]->Recv(batch);
      if (batch.empty()) break;
      for (const Packet* packet : batch) {
        if (packet->is_gso()) ++whole;
        for (const PacketPtr& piece : Finished(pool, pool.Clone(*packet))) {
          CHECK(Between::IsRight(*piece));
          if (piece->size == 1042) ++datagrams;
        }
      }
    }
    CHECK(datagrams == 10);
    CHECK(whole == ((netdev->tx_offloads() & kOffloadUdp) != 0 ? 1 : 0));
  });
}

}  // namespace
}  // namespace pollux::test
