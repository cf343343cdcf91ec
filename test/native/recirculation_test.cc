// Actions in their context: recirculation, upcalls of recirculated packets, packets that no port
// can send, and what execute() gives back.
#include "action_builder.h"
#include "attribute_builder.h"
#include "packet_builder.h"
#include "testbed.h"

namespace pollux::test {
namespace {

Blob BlobOf(const Actions& actions) { return Blob(Bytes(actions).begin(), Bytes(actions).end()); }

Match Recirculated(std::uint32_t recirc_id, const A& more = {}) {
  return Decoded(A().Port(1).Put(OVS_KEY_ATTR_RECIRC_ID, recirc_id).Append(more));
}

// Ports 1 and 2.
struct Bed : Testbed {
  PortInfo in = Add(Memory("in", 1));
  PortInfo out = Add(Memory("out", 2));

  void Flow(const Match& match, const Actions& actions) { Put(match, BlobOf(actions)); }
  // Everything that comes out of port 2 when these go in at port 1.
  std::vector<Frame> Through(const std::vector<Frame>& frames) {
    std::vector<std::span<const std::uint8_t>> spans(frames.begin(), frames.end());
    REQUIRE((**this).Inject(in.id, 0, spans).value() == frames.size());
    Settle();
    std::vector<Frame> taken;
    for (const PacketPtr& packet : Drain(out))
      taken.emplace_back(packet->data, packet->data + packet->size);
    CheckLedgerCloses();
    return taken;
  }
  std::uint64_t HitsOf(const Match& match) {
    const auto view = FindFlow((**this).flows(), match);
    REQUIRE(view.has_value());
    return view->stats.packets;
  }
};

const Frame kUdp = EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();

}  // namespace

TEST_CASE("recirculation: a packet is looked for again, as it is now and under another number") {
  Bed bed;
  const Match first = MatchInPort(1);
  const Match tagged = Recirculated(7, A().Type(0x8100).Vlan(0x1005));
  bed.Flow(first, Actions().PushVlan(5).Recirc(7));
  bed.Flow(Recirculated(7), Actions().Output(9));  // Untagged: another packet.
  bed.Flow(tagged, Actions().PopVlan().Output(2));
  CHECK(bed.Through({kUdp, kUdp, kUdp}) == std::vector<Frame>{kUdp, kUdp, kUdp});
  // Once more, now that caches know them.
  CHECK(bed.Through({kUdp}) == std::vector<Frame>{kUdp});
  CHECK(bed.HitsOf(first) == 4);
  CHECK(bed.HitsOf(tagged) == 4);
  CHECK(bed.Drops(DropReason::kInvalidPort) == 0);
}

TEST_CASE("recirculation: what came to light is parsed, and can be changed") {
  Bed bed;
  const Frame labelled =
      EthernetFrame().Mpls(5, true).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();
  bed.Flow(Decoded(A().Port().Type(0x8847)), Actions().PopMpls(0x0800).Recirc(1));
  bed.Flow(Recirculated(1, A().Type(0x0800).Ipv4(6, 0, Ip4("10.0.0.1"))), Actions().Output(9));
  Match udp = Decoded(A().Port()
                          .Put(OVS_KEY_ATTR_RECIRC_ID, 1)
                          .Type(0x0800)
                          .Put(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{0, 0, 17, 0, 0, 0}),
                      A().Port(UINT32_MAX)
                          .Put(OVS_KEY_ATTR_RECIRC_ID, UINT32_MAX)
                          .Type(0xffff)
                          .Put(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{0, 0, 0xff, 0, 0, 0}));
  bed.Flow(udp, Actions().Set(OVS_KEY_ATTR_UDP, ovs_key_udp{ToBe16(7), ToBe16(8)}).Output(2));
  CHECK(bed.Through({labelled}) ==
        std::vector<Frame>{
            EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2").Udp(7, 8).Payload(20).Build()});
}

TEST_CASE("recirculation: eight times, not nine") {
  Bed bed;
  bed.Flow(MatchInPort(1), Actions().Recirc(1));
  for (std::uint32_t id = 1; id < 8; ++id) bed.Flow(Recirculated(id), Actions().Recirc(id + 1));
  bed.Flow(Recirculated(8), Actions().Output(2));
  CHECK(bed.Through({kUdp}).size() == 1);
  CHECK(bed.Drops(DropReason::kRecirculation) == 0);
  bed.Flow(Recirculated(8), Actions().Output(2).Recirc(9));
  bed.Flow(Recirculated(9), Actions().Output(2));
  CHECK(bed.Through({kUdp, kUdp}).size() == 2);
  CHECK(bed.Drops(DropReason::kRecirculation) == 2);
  // Round and round.
  bed.Flow(Recirculated(1), Actions().Recirc(1));
  CHECK(bed.Through(std::vector<Frame>(40, kUdp)).empty());
  CHECK(bed.Drops(DropReason::kRecirculation) == 42);
  // A copy of each at every turn.
  bed.Flow(Recirculated(1), Actions().Output(2).Recirc(1));
  CHECK(bed.Through({kUdp}).size() == 8);
}

TEST_CASE("recirculation: a miss is an upcall that knows the number and all that actions noted") {
  Bed bed;
  bed->SetUpcallConsumer(true);
  bed.Flow(MatchInPort(1), Actions().Hash(0, 1).Set(OVS_KEY_ATTR_SKB_MARK, 77u).PopEth().Recirc(7));
  CHECK(bed.Through({kUdp}).empty());
  std::uint64_t dropped = 0;
  std::vector<UpcallView> upcalls = bed->TakeUpcalls(10, dropped);
  REQUIRE(upcalls.size() == 1);
  const Flow key = upcalls[0].key->Expand();
  CHECK(upcalls[0].reason == UpcallReason::kMiss);
  CHECK(key.recirc_id == 7);
  CHECK(key.skb_mark == 77);
  CHECK(key.dp_hash != 0);
  CHECK(key.packet_type == PacketTypeOf(ToBe16(0x0800)));
  CHECK(key.ipv4_src == Ip4("10.0.0.1"));
  UpcallVerdict verdict;
  verdict.id = upcalls[0].id;
  verdict.kind = UpcallVerdict::Kind::kInstall;
  const auto actions = BlobOf(Actions().PushEth().Output(2));
  verdict.actions = actions;
  for (const Status& status : bed->AnswerUpcalls({verdict})) CHECK(status.ok());
  bed.Settle();
  const auto taken = bed.Drain(bed.out);
  REQUIRE(taken.size() == 1);
  CHECK(Frame(taken[0]->data, taken[0]->data + taken[0]->size) == kUdp);
  // The flow is there for the next one.
  CHECK(bed.Through({kUdp}).size() == 1);
}

TEST_CASE("output: a packet without an Ethernet header cannot be sent") {
  Bed bed;
  bed.Flow(MatchInPort(1), Actions().Clone(Actions().PopEth().Output(2)).Output(2));
  CHECK(bed.Through({kUdp}) == std::vector<Frame>{kUdp});
  CHECK(bed.Drops(DropReason::kPacketType) == 1);
  // Also when a single output is all that a flow does.
  bed.Flow(MatchInPort(1), Actions().PopEth().Recirc(1));
  bed.Flow(Recirculated(1, A().PacketType(1, 0x0800)), Actions().Output(2));
  CHECK(bed.Through({kUdp}).empty());
  CHECK(bed.Drops(DropReason::kPacketType) == 2);
}

TEST_CASE("execute: the frame as the last action of the list left it") {
  Bed bed;
  bed.Flow(Decoded(A().Port().Put(OVS_KEY_ATTR_RECIRC_ID, 1)), Actions().PushVlan(9).Output(2));
  const auto execute = [&](const Actions& actions) {
    auto frame = bed->Execute(kUdp, BlobOf(actions), PortNumber{1});
    REQUIRE(frame.ok());
    bed.Settle();
    bed.CheckLedgerCloses();
    return frame.value();
  };
  const Frame tagged =
      EthernetFrame().Vlan(5).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build();
  CHECK(execute({}) == kUdp);
  CHECK(execute(Actions().Output(2)) == kUdp);
  CHECK(execute(Actions().PushVlan(5).Output(2)) == tagged);
  CHECK(execute(Actions().Output(2).PushVlan(5)) == tagged);
  CHECK(execute(Actions().PushVlan(5).Output(2).PopVlan().Output(2)) == kUdp);
  // What happens in a list inside, to a shorter copy, or later, is not the list's.
  CHECK(execute(Actions().Clone(Actions().PushVlan(5).Output(2))) == kUdp);
  CHECK(execute(Actions().Clone(Actions().PushVlan(5).Output(2)).Output(2)) == kUdp);
  CHECK(execute(Actions().PushVlan(5).Clone(Actions().PopVlan().Output(2))) == tagged);
  CHECK(execute(Actions().Trunc(20).Output(2)) == kUdp);
  bed.Drain(bed.out);
  CHECK(execute(Actions().Recirc(1)) == kUdp);
  const auto taken = bed.Drain(bed.out);
  REQUIRE(taken.size() == 1);
  CHECK(taken[0]->size == kUdp.size() + 4);
}

}  // namespace pollux::test
