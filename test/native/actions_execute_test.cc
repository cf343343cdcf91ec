// Execution: every packet ends with the host, in order; changes stay with whom they concern; the
// last user of a packet takes it, others get a copy.
#include "actions_testbed.h"

namespace pollux::test {
namespace {

using Log = std::vector<std::string>;

const Frame kUdp = V4().Udp(1, 2).Build();  // 42 bytes.

// Runs a list over frames in one batch; the log says what became of each and its size.
class Run {
 public:
  explicit Run(const Actions& actions, std::vector<Frame> frames = {kUdp},
               std::function<std::uint32_t()> dice = nullptr) {
    RecordingHost host(pool_, [this](const std::string& what, const Packet& packet) {
      log.push_back(what + ": " + std::to_string(packet.size));
      last = Frame(packet.data, packet.data + packet.size);
    });
    host.guarded = true;
    if (dice != nullptr) host.dice = std::move(dice);
    PacketBatch batch;
    Match match = ExactMatch(frames.at(0));
    for (const Frame& frame : frames) {
      PacketPtr packet = pool_.Copy(frame);
      KeyOf(*packet);
      Guard(*packet);
      batch.Add(std::move(packet));
    }
    ExecuteActions(host, std::move(batch), *Accepted(actions, match));
    CHECK(pool_.held() == 0);
    copied = host.copied;
  }

  Log log;
  Frame last;
  std::size_t copied = 0;

 private:
  PacketPool pool_;
};

Frame UdpOf(std::size_t payload) { return V4().Udp(1, 2).Payload(payload).Build(); }
const std::vector<Frame> kTwo = {kUdp, UdpOf(1)};

}  // namespace

TEST_CASE("execute: outputs, and what nobody took") {
  CHECK(Run({}, kTwo).log == Log{"action_drop: 42", "action_drop: 43"});
  CHECK(Run(Actions().Output(1), kTwo).log == Log{"output 1: 42", "output 1: 43"});
  CHECK(Run(Actions().PushVlan(), kTwo).log == Log{"no_output: 46", "no_output: 47"});
  const Run run(Actions().Output(1).PushVlan().Userspace().PopVlan().Output(2), kTwo);
  CHECK(run.log == Log{"output 1: 42", "output 1: 43", "upcall: 46", "upcall: 47", "output 2: 42",
                       "output 2: 43"});
  CHECK(run.copied == 4);
  CHECK(Run(Actions().Output(1).PushVlan()).log == Log{"output 1: 42", "no_output: 46"});
  CHECK(Run(Actions().Recirc(7)).log == Log{"recirc 7: 42"});
  CHECK(Run(Actions().Recirc(7).PushVlan().Output(1)).log == Log{"recirc 7: 42", "output 1: 46"});
}

TEST_CASE("execute: stated drops, each with its counter") {
  const char* const kNames[] = {"of_pipeline",
                                "bridge_not_found",
                                "recursion_too_deep",
                                "too_many_resubmit",
                                "stack_too_deep",
                                "no_recirculation_context",
                                "recirculation_conflict",
                                "too_many_mpls_labels",
                                "invalid_tunnel_metadata",
                                "unsupported_packet_type",
                                "congestion",
                                "forwarding_disabled",
                                "tunnel_routing_failed",
                                "tunnel_output_no_ethernet",
                                "tunnel_neigh_cache_miss",
                                "tunnel_header_build_failed"};
  for (std::uint32_t i = 0; i < std::size(kNames); ++i)
    CHECK(Run(Actions().Drop(i)).log == Log{"drop_action_" + std::string(kNames[i]) + ": 42"});
  const Run run(Actions().Output(1).Drop(3));
  CHECK(run.log == Log{"output 1: 42", "drop_action_too_many_resubmit: 42"});
  CHECK(run.copied == 1);
}

TEST_CASE("execute: a packet that cannot be rewritten is dropped, the others go on") {
  PacketPool pool;
  Log log;
  RecordingHost host(pool, [&](const std::string& what, const Packet& packet) {
    log.push_back(what + ": " + std::to_string(packet.size));
  });
  PacketBatch batch;
  for (int i = 0; i < 5; ++i) {
    EthernetFrame frame;
    if (i != 1 && i != 3) frame.Vlan(5);
    batch.Add(pool.Copy(frame.Payload(static_cast<std::size_t>(i)).Build()));
  }
  ExecuteActions(
      host, std::move(batch),
      *Accepted(Actions().PopVlan().Output(1), ExactMatch(EthernetFrame().Vlan(5).Build())));
  CHECK(log == Log{"rewrite_error: 15", "rewrite_error: 17", "output 1: 14", "output 1: 16",
                   "output 1: 18"});
  CHECK(pool.held() == 0);
}

TEST_CASE("execute: clone") {
  const Run before(Actions().Clone(Actions().PushVlan().Output(1)).Output(2));
  CHECK(before.log == Log{"output 1: 46", "output 2: 42"});
  CHECK(before.copied == 1);
  const Run last(Actions().Output(2).Clone(Actions().PushVlan().Output(1)));
  CHECK(last.log == Log{"output 2: 42", "output 1: 46"});
  CHECK(last.copied == 1);
  CHECK(Run(Actions().Clone({}).Output(2)).log == Log{"action_drop: 42", "output 2: 42"});
  CHECK(Run(Actions().Clone(Actions().PushVlan())).log == Log{"no_output: 46"});
  // Also what is beside the frame stays inside.
  PacketPool pool;
  std::vector<std::uint32_t> marks;
  RecordingHost host(
      pool, [&](const std::string&, const Packet& packet) { marks.push_back(packet.skb_mark); });
  PacketBatch batch;
  batch.Add(pool.Copy(kUdp));
  ExecuteActions(host, std::move(batch),
                 *Accepted(Actions()
                               .Set(OVS_KEY_ATTR_SKB_MARK, 1u)
                               .Clone(Actions().Set(OVS_KEY_ATTR_SKB_MARK, 2u).Output(1))
                               .Output(2),
                           kAny));
  CHECK(marks == std::vector<std::uint32_t>{2, 1});
  Actions deep = Actions().Output(1);
  for (int i = 0; i < 32; ++i) deep = Actions().Clone(deep).Output(static_cast<std::uint32_t>(i));
  const Run nested(deep);
  CHECK(nested.log.size() == 33);
  CHECK(nested.copied == 32);
}

TEST_CASE("execute: sample") {
  const auto dice = [](std::vector<std::uint32_t> numbers) {
    return [numbers, next = std::size_t{0}]() mutable { return numbers.at(next++); };
  };
  const auto half = Actions().Sample(100, Actions().PushVlan().Output(1)).Output(2);
  CHECK(Run(half, kTwo, dice({99, 100})).log ==
        Log{"output 1: 46", "output 2: 42", "output 2: 43"});
  CHECK(Run(half, kTwo, dice({100, 99})).log ==
        Log{"output 1: 47", "output 2: 42", "output 2: 43"});
  CHECK(Run(half, kTwo, dice({100, 99})).copied == 1);
  const auto last = Actions().Sample(100, Actions().PushVlan().Output(1));
  CHECK(Run(last, kTwo, dice({99, 100})).log == Log{"output 1: 46", "sample_error: 43"});
  CHECK(Run(last, kTwo, dice({99, 100})).copied == 0);
  CHECK(Run(last, kTwo, dice({1, 2})).log == Log{"output 1: 46", "output 1: 47"});
  // Never and always.
  CHECK(Run(Actions().Sample(0, Actions().Output(1)), {kUdp}, dice({0})).log ==
        Log{"sample_error: 42"});
  CHECK(Run(Actions().Sample(UINT32_MAX, Actions().Output(1)), {kUdp}, dice({})).log ==
        Log{"output 1: 42"});
}

TEST_CASE("execute: check_pkt_len") {
  const auto check = Actions().CheckLength(43, Actions().Output(1), Actions().Output(2));
  const std::vector<Frame> frames = {UdpOf(1), UdpOf(2), UdpOf(3), UdpOf(0), UdpOf(9)};
  // In the order of arrival.
  const Run run(check, frames);
  CHECK(run.log ==
        Log{"output 2: 43", "output 1: 44", "output 1: 45", "output 2: 42", "output 1: 51"});
  CHECK(run.copied == 0);
  const Run not_last(Actions(check).Output(3), frames);
  CHECK(not_last.log.size() == 10);
  CHECK(not_last.copied == 5);
  CHECK(not_last.log[5] == "output 3: 43");
  // A whole batch one way.
  CHECK(Run(check, std::vector<Frame>(32, UdpOf(2))).log == Log(32, "output 1: 44"));
  CHECK(Run(check, std::vector<Frame>(32, UdpOf(1))).log == Log(32, "output 2: 43"));
  // Padding does not count.
  CHECK(Run(check, {V4().Udp(1, 2).Padding(18).Build()}).log == Log{"output 2: 60"});
  CHECK(Run(Actions().CheckLength(0, Actions().Output(1), {})).log == Log{"output 1: 42"});
  CHECK(Run(Actions().CheckLength(65'535, Actions().Output(1), {})).log == Log{"action_drop: 42"});
}

TEST_CASE("execute: dec_ttl") {
  const auto ttl = [](std::uint8_t n) { return V4({.ttl = n}).Udp(1, 2).Build(); };
  const Actions actions = Actions().DecTtl(Actions().Userspace()).Output(1);
  const Run some(actions, {ttl(1), ttl(2), ttl(0), ttl(64)});
  CHECK(some.log == Log{"upcall: 42", "upcall: 42", "output 1: 42", "output 1: 42"});
  CHECK(some.copied == 0);
  CHECK(Run(actions, {ttl(2)}).last == ttl(1));
  CHECK(Run(actions, {ttl(1)}).last == ttl(1));
  CHECK(Run(Actions().DecTtl().Output(1), {ttl(1)}).log == Log{"action_drop: 42"});
  CHECK(Run(Actions().DecTtl(), {ttl(2)}).log == Log{"no_output: 42"});
  CHECK(Run(actions, {V6({.hop_limit = 9}).Udp(1, 2).Build()}).last ==
        V6({.hop_limit = 8}).Udp(1, 2).Build());
}

TEST_CASE("execute: trunc") {
  const Frame frame = UdpOf(58);  // 100 bytes.
  const auto first = [&](std::size_t n) {
    return Frame(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n));
  };
  SUBCASE("the next output, and no other") {
    const Run run(Actions().Trunc(60).Output(1).Output(2), {frame, kUdp});
    CHECK(run.log == Log{"output 1: 60", "output 1: 42", "output 2: 100", "output 2: 42"});
    CHECK(run.copied == 2);
    CHECK(Run(Actions().Trunc(60).Output(1), {frame}).last == first(60));
    CHECK(Run(Actions().Trunc(60).Userspace().Output(1), {frame}).log ==
          Log{"upcall: 60", "output 1: 100"});
    CHECK(Run(Actions().Trunc(60).Trunc(70).Output(1), {frame}).log == Log{"output 1: 70"});
  }
  SUBCASE("limits") {
    for (const std::uint32_t n : {0u, 1u, 13u, 14u})
      CHECK(Run(Actions().Trunc(n).Output(1), {frame}).log == Log{"output 1: 14"});
    for (const std::uint32_t n : {100u, 101u, 65'535u, UINT32_MAX})
      CHECK(Run(Actions().Trunc(n).Output(1), {frame}).last == frame);
  }
  SUBCASE("bytes are taken off the end, whatever comes to the front in between") {
    CHECK(Run(Actions().Trunc(60).PushVlan().Output(1), {frame}).log == Log{"output 1: 64"});
    CHECK(Run(Actions().PushVlan().Trunc(60).PopVlan().Output(1), {frame}).log ==
          Log{"output 1: 56"});
    CHECK(Run(Actions().PushVlan().Trunc(14).PopVlan().Output(1), {frame}).log ==
          Log{"output 1: 14"});
  }
  SUBCASE("checksums are over the whole") {
    CHECK(
        Run(Actions().Trunc(60).Set(OVS_KEY_ATTR_UDP, ovs_key_udp{ToBe16(7), ToBe16(8)}).Output(1),
            {frame})
            .last == [] {
          Frame expected = V4().Udp(7, 8).Payload(58).Build();
          expected.resize(60);
          return expected;
        }());
  }
  SUBCASE("it goes with the packet into a list") {
    CHECK(Run(Actions().Trunc(60).Clone(Actions().Output(1)).Output(2), {frame}).log ==
          Log{"output 1: 60", "output 2: 100"});
    CHECK(Run(Actions().Trunc(60).Clone(Actions().Output(1)), {frame}).log == Log{"output 1: 60"});
    CHECK(Run(Actions().Clone(Actions().Trunc(60)).Output(2), {frame}).log ==
          Log{"no_output: 100", "output 2: 100"});
    const auto check = [](std::uint16_t n) {
      return Actions().Trunc(60).CheckLength(n, Actions().Output(1), Actions().Output(2)).Output(3);
    };
    CHECK(Run(check(59), {frame}).log == Log{"output 1: 60", "output 3: 100"});
    CHECK(Run(check(60), {frame}).log == Log{"output 2: 60", "output 3: 100"});
    CHECK(Run(Actions().Trunc(60).Sample(UINT32_MAX, Actions().Output(1)).Output(2), {frame}).log ==
          Log{"output 1: 60", "output 2: 100"});
    CHECK(Run(Actions().Trunc(60).Sample(0, Actions().Output(1)).Output(2), {frame}).log ==
          Log{"output 2: 60"});
  }
  SUBCASE("it does not go into recirculation") {
    CHECK(Run(Actions().Trunc(60).Recirc(1), {frame}).log == Log{"recirc 1: 100"});
    CHECK(Run(Actions().Trunc(60).Recirc(1).Output(2), {frame}).log ==
          Log{"recirc 1: 100", "output 2: 60"});
  }
  SUBCASE("each packet its own") {
    const Actions split =
        Actions().Trunc(60).CheckLength(50, Actions().Output(1), Actions().Output(2));
    CHECK(Run(split, {frame, kUdp, UdpOf(10), UdpOf(30)}).log ==
          Log{"output 1: 60", "output 2: 42", "output 1: 52", "output 1: 60"});
    CHECK(Run(Actions(split).Output(3), {frame, kUdp, UdpOf(10), UdpOf(30)}).log ==
          Log{"output 1: 60", "output 2: 42", "output 1: 52", "output 1: 60", "output 3: 100",
              "output 3: 42", "output 3: 52", "output 3: 72"});
  }
}

TEST_CASE("execute: when copies fail, what there is goes its way") {
  // A host that copies every other packet only.
  struct Poor : RecordingHost<std::function<void(const std::string&, const Packet&)>> {
    using RecordingHost::RecordingHost;
    PacketBatch Clone(const PacketBatch& batch) {
      PacketBatch some;
      for (Packet* packet : batch) {
        if (asked++ % 2 == 0) some.AddRaw(packet);
      }
      PacketBatch copies = RecordingHost::Clone(some);
      some.Release();
      return copies;
    }
    int asked = 0;
  };
  const auto run = [](const Actions& actions) {
    PacketPool pool;
    Log log;
    Poor host(pool, [&](const std::string& what, const Packet& packet) {
      log.push_back(what + ": " + std::to_string(packet.size));
    });
    PacketBatch batch;
    for (std::size_t i = 0; i < 4; ++i) batch.Add(pool.Copy(UdpOf(10 * i)));
    ExecuteActions(host, std::move(batch), *Accepted(actions, kAny));
    CHECK(pool.held() == 0);
    return log;
  };
  CHECK(run(Actions().Output(1).Drop()) ==
        Log{"output 1: 42", "output 1: 62", "drop_action_of_pipeline: 42",
            "drop_action_of_pipeline: 52", "drop_action_of_pipeline: 62",
            "drop_action_of_pipeline: 72"});
  // Each copy is cut by what its original was to be cut.
  const Log cut = {"output 1: 40", "output 1: 40", "output 2: 42",
                   "output 2: 52", "output 2: 62", "output 2: 72"};
  CHECK(run(Actions().Trunc(40).Output(1).Output(2)) == cut);
  CHECK(run(Actions().Trunc(40).Clone(Actions().Output(1)).Output(2)) == cut);
}

TEST_CASE("execute: a host that watches sees each step, and the end") {
  struct Watching : RecordingHost<std::function<void(const std::string&, const Packet&)>> {
    using RecordingHost::RecordingHost;
    void Step(const ActionList& list, std::size_t index, const PacketBatch& batch) {
      steps.push_back(std::to_string(list.actions().size()) + "/" + std::to_string(index) + ": " +
                      std::to_string(batch[0]->size));
    }
    Log steps;
  };
  const auto steps = [](const Actions& actions) {
    PacketPool pool;
    Watching host(pool, [](const std::string&, const Packet&) {});
    PacketBatch batch;
    batch.Add(pool.Copy(kUdp));
    ExecuteActions(host, std::move(batch), *Accepted(actions, ExactMatch(kUdp)));
    return host.steps;
  };
  CHECK(steps(Actions().PushVlan().Clone(Actions().PopVlan()).Output(1)) ==
        Log{"3/0: 42", "3/1: 46", "1/0: 46", "1/1: 42", "3/2: 46"});
  CHECK(steps(Actions().PushVlan()) == Log{"1/0: 42", "1/1: 46"});
  CHECK(steps({}) == Log{"0/0: 42"});
  CHECK(steps(Actions().Output(1)) == Log{"1/0: 42"});
}

}  // namespace pollux::test
