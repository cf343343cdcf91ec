// The af_packet driver: what the kernel leaves to be done, checksums and segments, on veth pairs.
#include <doctest/doctest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel_testbed.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_sender.h"
#include "netdev_testbed.h"
#include "packet/checksum.h"

namespace pollux::test {
namespace {

using Clock = std::chrono::steady_clock;
using pollux::RxError;

// An IPv4 packet behind VLAN tags, of which only the last has type 0x8100. The checksum of what
// follows its header is partial, as a kernel leaves it.
Bytes Unfinished(std::size_t tags, std::uint8_t protocol, const Bytes& l4, std::size_t checksum_at,
                 std::size_t payload, std::uint32_t number) {
  const std::size_t l3 = 14 + 4 * tags;
  Bytes frame = Frame(l3 + 20 + l4.size() + payload, number);
  const auto put = [&frame](std::size_t at, const Bytes& bytes) {
    std::copy(bytes.begin(), bytes.end(), frame.begin() + static_cast<long>(at));
  };
  for (std::size_t i = 0; i < tags; ++i)
    put(12 + 4 * i, i + 1 < tags ? Bytes{0x88, 0xa8, 0, 9} : Bytes{0x81, 0, 0, 9});
  const std::size_t total = frame.size() - l3;
  put(l3 - 2, {8, 0, 0x45, 0});
  put(l3 + 2, {static_cast<std::uint8_t>(total >> 8), static_cast<std::uint8_t>(total)});
  put(l3 + 4, {0, 1, 0x40, 0, 64, protocol, 0, 0});
  put(l3 + 12, {10, 0, 0, 1, 10, 0, 0, 2});
  put(l3 + 20, l4);
  const std::uint16_t ip = pollux::Checksum(std::span(frame).subspan(l3, 20));
  std::memcpy(frame.data() + l3 + 10, &ip, sizeof ip);
  const std::span<const std::uint8_t> addresses = std::span(frame).subspan(l3 + 12, 8);
  const std::uint16_t partial = pollux::FoldSum(pollux::PseudoSum4(
      addresses.first<4>(), addresses.last<4>(), protocol, static_cast<std::uint32_t>(total - 20)));
  std::memcpy(frame.data() + l3 + 20 + checksum_at, &partial, sizeof partial);
  return frame;
}

Bytes TwiceTagged(std::size_t payload, std::uint32_t number) {
  const std::size_t size = 8 + payload;
  const Bytes udp = {
      0x10, 0, 0x10, 1, static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size),
      0,    0};
  return Unfinished(2, 17, udp, 6, payload, number);
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
      pollux::XskSender owner(pool);
      owner.Open(static_cast<int>(if_nametoindex("v0"))).wait();
      for (int tries = 0; tries < 2000 && !owner.is_open(); ++tries) {
        usleep(10'000);
        owner.OpenAgain();
      }
      REQUIRE(owner.is_open());
      std::unique_ptr<Netdev> other = Open(Spec("af_packet", "v0"), pool);
      if (other == nullptr) return;
      CHECK(other->mode().find("xsk-tx") == std::string::npos);
      // Which is told when it has been tried again.
      const auto lacks = [&] {
        const std::vector<const char*> troubles = other->troubles();
        return std::find(troubles.begin(), troubles.end(), std::string_view("no-xsk-tx")) !=
               troubles.end();
      };
      CHECK(!lacks());
      for (int tries = 0; tries < 2000 && !lacks(); ++tries) {
        usleep(1000);
        other->Probe();
      }
      CHECK(lacks());
      result = {};
      batch.Add(WithPartialChecksum(pool, full));
      batch.Add(WithPartialChecksum(pool, TwiceTagged(10, 7)));
      other->Send(0, batch, result);
      CHECK(result.packets == 1);
      CHECK(Dropped(result, DropReason::kMtu) == 1);
      other.reset();
      owner.Close();
      Run("ip link del v0");
    }
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

TEST_CASE("af_packet: an interface that came back under a qdisc sends when the qdisc has gone") {
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    for (int i = 0; i < 1000 && netdev->mode().find("xsk-tx") == std::string::npos; ++i)
      usleep(1000);
    const int old = netdev->ifindex();
    Run("ip link del v0");
    netdev->LinkChanged(old, LinkState::kGone, 0);
    MakePair();
    Run("tc qdisc add dev v0 root tbf rate 200mbit burst 30kb limit 20mb");
    REQUIRE(netdev->Rebind(static_cast<int>(if_nametoindex("v0"))).ok());
    CHECK(netdev->mode().find(" qdisc") != std::string::npos);
    Run("tc qdisc del dev v0 root");
    netdev->QdiscChanged(false);
    Raw raw("v1");
    bool arrived = false;
    for (int i = 0; i < 3 && !arrived; ++i) {
      Send(*netdev, pool, {Frame(60)});
      arrived = !raw.Receive(1).empty();
    }
    CHECK(arrived);
  });
}

TEST_CASE("af_packet: what is to be segmented and what is not leave by one queue, in order") {
  Isolated([] {
    MakePair();
    // With room for all, and slow enough that frames wait.
    Run("tc qdisc add dev v0 root tbf rate 200mbit burst 30kb limit 20mb");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    CHECK(netdev->mode().find(" qdisc") != std::string::npos);
    CHECK(netdev->mode().find("xsk-tx") == std::string::npos);
    Raw raw("v1");
    constexpr std::uint32_t kFrames = 200;
    constexpr std::size_t kNumberAt = 14 + 20 + 8;
    SendResult result;
    PacketBatch batch;
    for (std::uint32_t i = 0; i < kFrames; ++i) {
      const bool whole = i % 3 == 0;
      const std::size_t payload = whole ? 12'000 : 600;
      const std::size_t size = 8 + payload;
      const Bytes udp = {
          0x10, 0, 0x10, 1, static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size),
          0,    0};
      Bytes frame = Unfinished(0, 17, udp, 6, payload, 0);
      std::memcpy(frame.data() + kNumberAt, &i, sizeof i);
      PacketPtr packet = pool.Copy(frame);
      pollux::OffloadHeader header;
      header.flags = pollux::OffloadHeader::kNeedsChecksum;
      header.csum_start = 34;
      header.csum_offset = 6;
      if (whole) header.gso_type = pollux::OffloadHeader::kGsoUdp;
      if (whole) header.gso_size = 1200;
      CHECK(AcceptOffloads(*packet, header));
      // Those that lack nothing are what AF_XDP is for.
      if (i % 3 == 1) FinishChecksum(*packet);
      batch.Add(std::move(packet));
      if (batch.full() || i + 1 == kFrames) netdev->Send(0, batch, result);
    }
    CHECK(result.packets == kFrames);
    const std::vector<Bytes> arrived = raw.Receive(kFrames);
    REQUIRE(arrived.size() == kFrames);
    for (std::uint32_t i = 0; i < kFrames; ++i) CHECK(NumberOf(arrived[i], kNumberAt) == i);
    // All of them were counted, and so limited, by the qdisc, with the headers of each segment.
    const std::string counted = Output("tc -s qdisc show dev v0");
    CHECK_MESSAGE(
        counted.find(" Sent " + std::to_string(result.bytes) + " bytes ") != std::string::npos,
        counted);
  });
}

TEST_CASE("af_packet: what is refused is counted by reason") {
  struct Row {
    const char* what;
    pollux::OffloadHeader header;
    RxError reason;
  };
  using Header = pollux::OffloadHeader;
  const Row rows[] = {
      {"UDP of several datagrams that has TCP's checksum",
       {Header::kNeedsChecksum, Header::kGsoUdp, 42, 1200, 34, 16},
       RxError::kSegments},
      {"TCP of IPv6 over IPv4",
       {Header::kNeedsChecksum, Header::kGsoTcp6, 54, 1200, 34, 16},
       RxError::kSegments},
      {"a checksum at no place of its protocol's",
       {Header::kNeedsChecksum, 0, 0, 0, 34, 8},
       RxError::kChecksum},
  };
  PacketPool own;
  for (const Row& row : rows) {
    CAPTURE(row.what);
    const Bytes udp = {0x10, 0, 0x10, 1, 0x0b, 0xc0, 0, 0};
    PacketPtr packet = own.Copy(Unfinished(0, 17, udp, 6, 3000, 1));
    CHECK(!AcceptOffloads(*packet, row.header));
    CHECK(RefusalOf(row.header) == row.reason);
  }
  Isolated([] {
    MakePair();
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    Raw raw("v1");
    Raw plain("v1");
    raw.OfferOffloads();
    // Its place says SCTP, and it is none.
    Bytes message(10);
    const std::uint16_t places[] = {20, 8};
    message[0] = 1;
    std::memcpy(message.data() + 6, places, sizeof places);
    const Bytes frame = Frame(60, 1);
    message.insert(message.end(), frame.begin(), frame.end());
    for (int i = 0; i < 3; ++i) CHECK(raw.Send(message));
    CHECK(plain.Send(Frame(60, 2)));
    CHECK(NumberOf(Receive(*netdev->rxqs()[0], 1).at(0)) == 2);
    const pollux::NetdevStats stats = netdev->stats();
    CHECK(stats.rx_errors == 3);
    CHECK(stats.rx_errors_by[static_cast<std::size_t>(RxError::kChecksum)] == 3);
  });
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

TEST_CASE("af_packet: datagrams that just do not fit a packet are cut on receipt") {
  Isolated([] {
    MakePair();
    Run("ip link set v1 gso_max_size 196608");
    Run("echo 0 > /proc/sys/net/ipv6/conf/v1/disable_ipv6 && ip addr add fd09::1/64 dev v1 nodad "
        "&& "
        "ip neigh add fd09::2 lladdr 02:00:00:00:00:99 dev v1");
    PacketPool pool;
    std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
    if (netdev == nullptr) return;
    const int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = 0;
    const sockaddr_storage to = Address("fd09::2", 9, size);
    const int segment = 1400;
    constexpr int kUdpSegment = 103;
    CHECK(setsockopt(udp, IPPROTO_UDP, kUdpSegment, &segment, sizeof segment) == 0);
    constexpr std::size_t kHeaders = 14 + 40 + 8;
    // The last that fits, the first that does not, and the longest that UDP has.
    for (const std::size_t length : {65'535 - kHeaders, 65'536 - kHeaders, std::size_t{65'527}}) {
      CAPTURE(length);
      Bytes data(length);
      for (std::size_t i = 0; i < length; ++i) data[i] = static_cast<std::uint8_t>(i % 251);
      CHECK(sendto(udp, data.data(), length, 0, reinterpret_cast<const sockaddr*>(&to), size) ==
            static_cast<ssize_t>(length));
      Bytes got;
      std::size_t whole = 0;
      for (const Clock::time_point start = Clock::now();
           got.size() < length && Clock::now() - start < std::chrono::seconds(5);) {
        PacketBatch batch;
        netdev->rxqs()[0]->Recv(batch);
        for (const Packet* packet : batch) {
          if (packet->is_gso()) ++whole;
          for (const PacketPtr& piece : Finished(pool, pool.Clone(*packet))) {
            if (piece->data[20] != 17) continue;  // The host's own chat.
            CHECK(Between::IsRight(*piece));
            CHECK(piece->size <= kHeaders + 1400);
            got.insert(got.end(), piece->data + kHeaders, piece->data + piece->size);
          }
        }
      }
      CHECK(got == data);
      CHECK(whole == 1);
    }
    CHECK(netdev->stats().rx_errors == 0);
    close(udp);
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
        const Bytes tcp = {0x10, 0, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0};
        const Bytes frame = Unfinished(tags, 6, tcp, 16, payload, 5);
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

}  // namespace
}  // namespace pollux::test
