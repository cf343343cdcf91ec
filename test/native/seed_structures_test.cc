// S1..S6, S24..S31, S38, S39: the maps, their copies, and the lookups, taken apart. Requirements of
// the port cache by number; the others are in seed_control_test.cc.

#include <doctest/doctest.h>

#include <set>
#include <thread>

#include "forwarding/non_pmd.h"
#include "forwarding/pmd.h"
#include "testbed.h"

namespace pollux::test {
namespace {

// A device that knows whether it is still open, in plain memory: a use after close is a race that
// ThreadSanitizer sees.
class FakeNetdev : public Netdev {
 public:
  ~FakeNetdev() override { open_ = false; }
  std::string mode() const override { return mode_; }
  std::uint32_t mtu() const override { return 1500; }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return {}; }
  void Send(std::uint32_t, PacketBatch& batch, SendResult& result) override {
    POLLUX_CHECK(open_);
    result.packets += static_cast<std::uint32_t>(batch.size());
    result.bytes += batch.Bytes();
    sent.fetch_add(batch.size());
    batch.Clear();
  }
  NetdevStats stats() const override { return {}; }

  std::atomic<std::uint64_t> sent{0};

 private:
  const std::string mode_ = "fake";
  bool open_ = true;
};

// One frame a poll, for ever.
class EndlessRxq : public Rxq {
 public:
  explicit EndlessRxq(PacketPool& pool) : pool_(pool) {}
  void Recv(PacketBatch& batch) override {
    if (PacketPtr packet = pool_.Copy(frame_)) batch.Add(std::move(packet));
  }

 private:
  PacketPool& pool_;
  const std::vector<std::uint8_t> frame_ = PlainFrame();
};

// What contexts share, without a datapath.
struct Shared {
  Clock clock;
  PacketPool pool;
  FlowTable flows{clock, 1000, 0};
  UpcallQueue upcalls{64, [] {}};
  PmdKnobs knobs;

  PmdShared get() { return {pool, flows, upcalls, clock, knobs}; }
  void PutInPortTo(std::uint32_t in_port, std::initializer_list<std::uint32_t> to) {
    const Match match = MatchInPort(in_port);
    FlowPut put;
    put.match = match;
    put.actions = ActionList::Parse(OutputTo(to), match).value();
    REQUIRE(ApplyChanges(flows, {put}, false).front().ok());
  }
};

PacketBatch OnePacket(PacketPool& pool) {
  PacketBatch batch;
  batch.Add(pool.Copy(PlainFrame()));
  return batch;
}

}  // namespace

TEST_CASE("S1 S28: a tx port is found by its number, and only by that") {
  FakeNetdev a, b;
  TxCounters counters;
  PortCache cache;
  CHECK(cache.Find(PortNumber{0}) == nullptr);
  const std::set<std::uint32_t> numbers = {0, 1, 7, 4096, 65'535};
  TxPortMap ports;
  for (std::uint32_t number : numbers) {
    ports.Put({PortNumber{number}, number == 7 ? &b : static_cast<Netdev*>(&a), &counters});
  }
  cache.Rebuild(ports);
  CHECK(cache.size() == 5);
  for (std::uint32_t number = 0; number < 65'536; ++number) {
    const PortCache::Entry* entry = cache.Find(PortNumber{number});
    REQUIRE((entry != nullptr) == numbers.contains(number));
    if (entry != nullptr)
      CHECK(entry->port.netdev == (number == 7 ? &b : static_cast<Netdev*>(&a)));
  }
  CHECK(cache.Find(kNoPort) == nullptr);
}

TEST_CASE("S26: the cache's memory follows the number of ports, down as well as up") {
  FakeNetdev device;
  TxCounters counters;
  TxPortMap many;
  TxPortMap one;
  one.Put({PortNumber{1}, &device, &counters});
  for (std::uint32_t i = 1; i <= 1000; ++i) many.Put({PortNumber{i}, &device, &counters});
  PortCache cache;
  cache.Rebuild(one);
  const std::size_t small = cache.memory_bytes();
  cache.Rebuild(many);
  CHECK(cache.memory_bytes() > 100 * small / 2);
  cache.Rebuild(one);
  CHECK(cache.memory_bytes() == small);
}

TEST_CASE(
    "S2 S4 S24: the private copy changes in LoadQueuesAndPorts alone, queues and ports together") {
  Shared shared;
  FakeNetdev device;
  EndlessRxq rxq(shared.pool);
  TxCounters tx;
  RxqCounters rx;
  shared.flows.AddContext(1);
  {
    Context context(shared.get(), 1);
    PacketCacheScope cache(context.packet_cache());
    RoleScope role(context.role());
    context.qsbr_reader().Online();
    context.AddTxPort({PortNumber{2}, &device, &tx});
    context.AddRxq({&rxq, 0, PortNumber{1}, &rx});
    CHECK(context.PollOnce() == 0);  // Not loaded: not polled,
    context.Output(OnePacket(shared.pool), PortNumber{2});
    context.FlushOutputs();
    CHECK(device.sent == 0);  // and not reachable.
    context.LoadQueuesAndPorts();
    CHECK(context.loaded_ports() == 1);
    CHECK(context.loaded_rxqs() == 1);
    CHECK(context.PollOnce() == 1);
    context.Output(OnePacket(shared.pool), PortNumber{2});
    context.FlushOutputs();
    CHECK(device.sent == 1);
    CHECK(context.RemovePort(PortNumber{2}));
    context.Output(OnePacket(shared.pool), PortNumber{2});
    context.LoadQueuesAndPorts();  // Flushes through the old device first.
    CHECK(device.sent == 2);
    context.Output(OnePacket(shared.pool), PortNumber{2});
    context.FlushOutputs();
    CHECK(device.sent == 2);
    CHECK(context.counters().drops[static_cast<std::size_t>(DropReason::kInvalidPort)].Get() == 2);
    context.qsbr_reader().Offline();
  }
  shared.flows.RemoveContext(1);
  CHECK(shared.pool.held() == 0);
}

TEST_CASE(
    "S13: removing a port takes its queues and its tx entry, and says whether either was there") {
  Shared shared;
  FakeNetdev device;
  EndlessRxq rxq(shared.pool);
  TxCounters tx;
  RxqCounters rx;
  Context context(shared.get(), 1);
  CHECK_FALSE(context.RemovePort(PortNumber{2}));
  context.AddTxPort({PortNumber{2}, &device, &tx});
  CHECK(context.RemovePort(PortNumber{2}));  // No queue: each context forgets it all the same.
  context.AddRxq({&rxq, 0, PortNumber{2}, &rx});
  CHECK(context.RemovePort(PortNumber{2}));
  CHECK(context.poll_list().empty());
  CHECK_FALSE(context.RemovePort(PortNumber{2}));
}

TEST_CASE(
    "S16 S29: output to a port that is not in the cache is a counted drop, and memory stays flat") {
  Shared shared;
  shared.flows.AddContext(1);
  {
    Context context(shared.get(), 1);
    RoleScope role(context.role());
    for (int i = 0; i < 10'000; ++i) context.Output(OnePacket(shared.pool), PortNumber{99});
    CHECK(context.counters().drops[static_cast<std::size_t>(DropReason::kInvalidPort)].Get() ==
          10'000);
    CHECK(shared.pool.held() == 0);
  }
  shared.flows.RemoveContext(1);
}

TEST_CASE(
    "S30 S31 S39: tunnel push and pop look ports up in the cache; a missing one drops the batch, "
    "once") {
  Shared shared;
  FakeNetdev device;
  TxCounters tx;
  Context context(shared.get(), 1);
  RoleScope role(context.role());
  context.AddTxPort({PortNumber{2}, &device, &tx, false});
  context.LoadQueuesAndPorts();
  for (const std::uint32_t port : {2u, 3u}) {  // One that cannot, one that is not there.
    PacketBatch original = OnePacket(shared.pool);
    context.TunnelPush(context.Clone(original), PortNumber{port});  // May not steal,
    context.TunnelPush(std::move(original), PortNumber{port});      // may steal.
    context.TunnelPop(OnePacket(shared.pool), PortNumber{port});
  }
  const auto drops = [&](DropReason reason) {
    return context.counters().drops[static_cast<std::size_t>(reason)].Get();
  };
  CHECK(drops(DropReason::kTunnelPush) == 4);
  CHECK(drops(DropReason::kInvalidTunnelPort) == 2);
  CHECK(shared.pool.held() == 0);
}

namespace {

std::uint64_t InvalidPortDrops(const Context& context) {
  return context.counters().drops[static_cast<std::size_t>(DropReason::kInvalidPort)].Get();
}

// Of a thread that runs anywhere.
std::unique_ptr<Pmd::Seat> SeatOn(std::uint32_t core) {
  Result<std::unique_ptr<Pmd::Seat>> seat = Pmd::Seat::Take(core, false);
  REQUIRE(seat.ok());
  return std::move(seat.value());
}

}  // namespace

TEST_CASE(
    "S25 S27 S38: a thread that starts acknowledges nothing; its first reload is answered with the "
    "current maps") {
  Shared shared;
  FakeNetdev device;
  TxCounters tx;
  shared.flows.AddContext(1);
  for (int i = 0; i < 10'000 / kSlowdown; ++i) {
    Pmd pmd(shared.get(), 0, 0, 1, SeatOn(0));
    pmd.context().AddTxPort({PortNumber{1}, &device, &tx});
    pmd.Start();
    // Every other time, what it loads as it starts is not yet all.
    while (i % 2 == 0 && pmd.context().loaded_ports() == 0) std::this_thread::yield();
    pmd.context().AddTxPort({PortNumber{2}, &device, &tx});
    pmd.AwaitReload(pmd.RequestReload());
    REQUIRE(pmd.context().loaded_ports() == 2);
    pmd.Stop();
    REQUIRE(pmd.context().loaded_ports() == 0);
    // S27: freed at exit, so that what is sent there now reaches nobody.
    const std::uint64_t drops = InvalidPortDrops(pmd.context());
    {
      RoleScope role(pmd.context().role());
      PacketBatch batch;
      batch.Add(shared.pool.Allocate(60));
      pmd.context().Output(std::move(batch), PortNumber{1});
      pmd.context().FlushOutputs();
    }
    REQUIRE(InvalidPortDrops(pmd.context()) == drops + 1);
  }
  shared.flows.RemoveContext(1);
}

TEST_CASE(
    "handshake: once a reload is acknowledged nobody uses the device, however the requests "
    "overlap") {
  Shared shared;
  shared.PutInPortTo(1, {2, 3});
  EndlessRxq rxq_a(shared.pool), rxq_b(shared.pool);
  RxqCounters rx_a, rx_b;
  shared.flows.AddContext(1);
  shared.flows.AddContext(2);
  Pmd a(shared.get(), 0, 0, 1, SeatOn(0)), b(shared.get(), 1, 1, 2, SeatOn(1));
  a.context().AddRxq({&rxq_a, 0, PortNumber{1}, &rx_a});
  b.context().AddRxq({&rxq_b, 0, PortNumber{1}, &rx_b});
  a.Start();
  b.Start();
  for (int round = 0; round < 400 / kSlowdown; ++round) {
    auto device = std::make_unique<FakeNetdev>();
    TxCounters counters_a, counters_b;
    for (Pmd* pmd : {&a, &b})
      pmd->context().AddTxPort(
          {PortNumber{2}, device.get(), pmd == &a ? &counters_a : &counters_b});
    const auto first_a = a.RequestReload();
    const auto first_b = b.RequestReload();
    // A second change follows the first request before it was answered.
    for (Pmd* pmd : {&a, &b})
      pmd->context().AddTxPort(
          {PortNumber{3}, device.get(), pmd == &a ? &counters_a : &counters_b});
    a.AwaitReload(first_a);
    b.AwaitReload(first_b);
    a.AwaitReload(a.RequestReload());
    b.AwaitReload(b.RequestReload());
    REQUIRE(a.context().loaded_ports() == 2);
    const std::uint64_t before = device->sent;
    while (device->sent < before + 8) std::this_thread::yield();  // Both numbers are in use.
    for (Pmd* pmd : {&a, &b}) {
      CHECK(pmd->context().RemovePort(PortNumber{2}));
      CHECK(pmd->context().RemovePort(PortNumber{3}));
    }
    const auto gone_a = a.RequestReload();
    const auto gone_b = b.RequestReload();
    a.AwaitReload(gone_a);
    b.AwaitReload(gone_b);
    device.reset();
  }
  a.Stop();
  b.Stop();
  shared.flows.RemoveContext(1);
  shared.flows.RemoveContext(2);
}

TEST_CASE("S22: reloading the non-PMD context needs no thread and no traffic") {
  Shared shared;
  FakeNetdev device;
  TxCounters tx;
  shared.flows.AddContext(0);
  NonPmd non_pmd(shared.get(), 0);
  non_pmd.context().AddTxPort({PortNumber{5}, &device, &tx});
  non_pmd.Reload();
  CHECK(non_pmd.context().loaded_ports() == 1);
  const Match match = MatchInPort(1);
  non_pmd.Execute(shared.pool.Copy(PlainFrame()), *ActionList::Parse(OutputTo({5}), match).value());
  CHECK(device.sent == 1);
  non_pmd.Stop();
  CHECK(non_pmd.context().loaded_ports() == 0);
}

}  // namespace pollux::test
