// The table of types and what all drivers share; and the drivers of the program's own, memory and
// null, which work anywhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "netdev/netdev.h"
#include "netdev_testbed.h"
#include "packet/checksum.h"

namespace pollux::test {
namespace {

using Clock = std::chrono::steady_clock;

// ------------------------------------------------------------------------------- the table

TEST_CASE("the table of types") {
  for (const char* name : {"memory", "null", "af_packet", "af_xdp", "tap", "pcap"}) {
    const pollux::NetdevType* type = pollux::FindNetdevType(name);
    REQUIRE(type != nullptr);
    CHECK(type->pmd_by_default == (std::string(name) != "tap"));
  }
  CHECK(pollux::FindNetdevType("memory")->unavailable().empty());
  CHECK(pollux::FindNetdevType("null")->unavailable().empty());
  CHECK(pollux::FindNetdevType("carrier pigeon") == nullptr);
  PacketPool pool;
  for (const char* name : {"dpdk", "vxlan", "geneve", "gre"}) {
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
  for (const int error : {ENETDOWN, ENXIO, ENODEV, EBADFD, EIO}) {
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
  // Somebody else has nearly all.
  std::vector<PacketPtr> held;
  for (int i = 0; i < 1000; ++i) held.push_back(pool.Allocate(60));
  const std::vector<Bytes> frames(2000, Frame(60));
  CHECK(static_cast<MemoryNetdev&>(*netdev).Inject(0, Views(frames)) == 24);
  CHECK(netdev->stats().rx_dropped == 1976);
  CHECK(pool.refusals() > 0);
}

TEST_CASE("memory: a queue keeps to its share of the pool, and to little when memory is scarce") {
  // 1024 small chunks, of which half is a share.
  PacketPool pool(std::size_t{2} << 20);
  NetdevSpec spec = Spec("memory", "m");
  spec.queue_length = 4096;
  {
    std::unique_ptr<Netdev> netdev = Open(spec, pool);
    const std::vector<Bytes> frames(2000, Frame(60));
    CHECK(static_cast<MemoryNetdev&>(*netdev).Inject(0, Views(frames)) == 512);
    PacketBatch batch;
    netdev->rxqs()[0]->Recv(batch);
    CHECK(static_cast<MemoryNetdev&>(*netdev).Inject(0, Views(frames)) == batch.size());
  }
  std::unique_ptr<Netdev> netdev = Open(spec, pool);
  const auto sent = [&](int n) {
    std::uint32_t packets = 0;
    for (int i = 0; i < n; ++i) packets += Send(*netdev, pool, {Frame(60)}).packets;
    return packets;
  };
  CHECK(sent(600) == 512);
  CHECK(netdev->held() == 512);
  std::vector<PacketPtr> held;
  CHECK(static_cast<MemoryNetdev&>(*netdev).Drain(1000, held) == 512);
  while (!pool.scarce()) held.push_back(pool.Allocate(60));
  CHECK(sent(200) == 64);
  held.clear();
  CHECK_FALSE(pool.scarce());
  CHECK(sent(200) == 200);
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
      spec.generator.size = size;
      spec.generator.flows = flows;
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

// The five-tuple and what else of a frame may differ; the number of 32-frame bursts to take.
std::map<Bytes, std::size_t> Generate(const GeneratorSpec& generator, std::size_t bursts) {
  PacketPool pool;
  NetdevSpec spec = Spec("null", "n");
  spec.generate = true;
  spec.generator = generator;
  std::unique_ptr<Netdev> netdev = Open(spec, pool);
  std::map<Bytes, std::size_t> seen;
  for (std::size_t i = 0; i < bursts; ++i) {
    PacketBatch batch;
    netdev->rxqs()[0]->Recv(batch);
    REQUIRE(batch.size() == kBatchSize);
    for (const Packet* packet : batch) ++seen[Of(*packet)];
  }
  return seen;
}

bool ChecksumsAreRight(const Bytes& frame) {
  Bytes udp = {0, 17, frame[38], frame[39]};  // Of the pseudo-header, what the addresses are not.
  udp.insert(udp.end(), frame.begin() + 26, frame.end());
  return pollux::Checksum(std::span(frame).subspan(14, 20)) == 0 && pollux::Checksum(udp) == 0;
}

TEST_CASE("null: every order gives every flow, with right checksums") {
  for (const std::uint32_t size : {60u, 65u, 1514u}) {
    for (const FlowOrder order : {FlowOrder::kTurn, FlowOrder::kUniform, FlowOrder::kZipf}) {
      const auto seen = Generate({size, 200, 4, order}, 1000);
      CHECK(seen.size() == 200);
      for (const auto& [frame, n] : seen) CHECK(ChecksumsAreRight(frame));
      const auto most =
          std::max_element(seen.begin(), seen.end(),
                           [](const auto& a, const auto& b) { return a.second < b.second; });
      if (order == FlowOrder::kTurn) CHECK(most->second == 160);
      if (order == FlowOrder::kUniform) CHECK(most->second < 240);
      if (order == FlowOrder::kZipf) CHECK(most->second > 1000);
    }
  }
}

TEST_CASE("null: a class of flows is found by a mask of its own, and only by that") {
  // The bits of a frame that tell classes apart, in order: byte and bit.
  std::vector<std::pair<std::size_t, std::uint32_t>> bits;
  const std::size_t ends[] = {30, 34, 38, 6, 12};
  for (std::size_t i = 0; i < std::size(ends); ++i) {
    for (std::uint32_t bit = FrameGenerator::kClassBits[i]; bit-- > 0;) {
      bits.emplace_back(ends[i] - 1 - bit / 8, bit % 8);
    }
  }
  REQUIRE(bits.size() == FrameGenerator::kMaxMasks);
  std::map<std::size_t, std::size_t> classes;
  for (const auto& [frame, n] : Generate({60, 1020, FrameGenerator::kMaxMasks}, 1020 / 4)) {
    std::vector<std::size_t> set;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      if ((frame[bits[i].first] >> bits[i].second & 1) != 0) set.push_back(i);
    }
    REQUIRE(set.size() == 1);
    ++classes[set.front()];
    CHECK(ChecksumsAreRight(frame));
  }
  CHECK(classes.size() == FrameGenerator::kMaxMasks);
  for (const auto& [c, n] : classes) CHECK(n == 10);
}

TEST_CASE("null: strangers come as often as told") {
  const auto seen = Generate({60, 10, 1, FlowOrder::kUniform, 100}, 1000);
  CHECK(seen.size() == 10 + 320);
  for (const auto& [frame, n] : seen) CHECK(ChecksumsAreRight(frame));
}

TEST_CASE("null: bad wishes; as many flows as there may be") {
  PacketPool pool;
  NetdevSpec spec = Spec("null", "n");
  spec.generate = true;
  const auto refused = [&](const GeneratorSpec& generator) {
    spec.generator = generator;
    return TryOpen(spec, pool).error().number == EINVAL;
  };
  CHECK(refused({.size = 41}));
  CHECK(refused({.size = 65'536}));
  CHECK(refused({.flows = 0}));
  CHECK(refused({.flows = FrameGenerator::kMaxFlows + 1}));
  CHECK(refused({.masks = 0}));
  CHECK(refused({.flows = 7, .masks = 2}));
  CHECK(refused({.flows = 103, .masks = 103}));
  // The last queue starts in the middle of the flows.
  spec.generator = {.size = 42, .flows = FrameGenerator::kMaxFlows};
  spec.rxqs = 2;
  std::unique_ptr<Netdev> netdev = Open(spec, pool);
  PacketBatch batch;
  netdev->rxqs()[1]->Recv(batch);
  REQUIRE(batch.size() == 32);
  CHECK((batch[0]->data[34] << 8 | batch[0]->data[35]) == 0xc001);
  CHECK(ChecksumsAreRight(Of(*batch[31])));
}

}  // namespace
}  // namespace pollux::test
