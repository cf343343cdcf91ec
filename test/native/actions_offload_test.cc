// Packets that lack something (a partial checksum, segmentation) through random lists: what leaves,
// finished and cut where it ends, is what leaves if it is finished and cut before.
#include <algorithm>
#include <map>
#include <random>

#include "action_generator.h"
#include "actions_testbed.h"
#include "finished.h"
#include "flow/extract.h"
#include "packet/checksum.h"
#include "packet/offload.h"
#include "recording_host.h"
#include "testbed.h"
#include "tunnel_builder.h"

TEST_SUITE_BEGIN("computing");

namespace pollux::test {
namespace {

class Random : public Choices {
 public:
  explicit Random(std::uint32_t seed) : engine_(seed) {}
  std::uint32_t Below(std::uint32_t n) override {
    return static_cast<std::uint32_t>(engine_()) % n;
  }

 private:
  std::mt19937 engine_;
};

// A frame as the kernel hands it over.
struct Unfinished {
  Frame frame;
  OffloadHeader header;
};

EthernetFrame SomeHeaders(Random& random, bool ipv6, bool tcp) {
  EthernetFrame frame;
  for (std::uint32_t tags = random.Below(3); tags > 0; --tags)
    frame.Vlan(static_cast<std::uint16_t>(random.Below(4096)), 1, tags == 2 ? 0x88a8 : 0x8100);
  if (!ipv6) {
    Ip4Fields fields;
    fields.options = random.OneIn(4) ? 8 : 0;
    fields.ttl = random.OneIn(4) ? 1 : 64;
    frame.Ipv4("10.0.0.1", "192.168.255.254", fields);
  } else {
    frame.Ipv6("2001:db8::1", "fe80::ffff:2");
    if (random.OneIn(4)) frame.Options(0);
    if (random.OneIn(4)) frame.Routing(static_cast<std::uint8_t>(random.Below(2)));
  }
  return tcp ? frame.Tcp(1000, 80, 0x099, random.OneIn(2) ? 12 : 0) : frame.Udp(1000, 53);
}

// What a sender leaves in the field: the sum that `checksum` completes.
std::uint16_t PseudoOf(const Frame& frame, std::size_t l4, std::size_t check_at,
                       std::uint16_t checksum) {
  Frame rest(frame.begin() + static_cast<std::ptrdiff_t>(l4), frame.end());
  rest[check_at] = rest[check_at + 1] = 0;
  const std::uint16_t sum = Checksum(rest);  // Complemented.
  return static_cast<std::uint16_t>(
      ~FinishSum(Sum{static_cast<std::uint16_t>(~checksum)} + Sum{sum}));
}

Unfinished SomeFrame(Random& random) {
  const bool ipv6 = random.OneIn(2);
  const bool tcp = random.OneIn(2);
  Unfinished made;
  // What is in a tunnel has no tags of its own here.
  const bool tunnel = random.OneIn(3);
  EthernetFrame inner = ipv6 ? EthernetFrame().Ipv6("2001:db8::1", "fe80::ffff:2")
                             : EthernetFrame().Ipv4("10.0.0.1", "192.168.255.254");
  if (tcp) {
    inner.Tcp(1000, 80, 0x099);
  } else {
    inner.Udp(1000, 53);
  }
  EthernetFrame headers = tunnel ? inner : SomeHeaders(random, ipv6, tcp);
  made.frame = headers.Payload(1 + random.Below(200)).Build();
  const Frame complete = made.frame;
  HeapPacket located(made.frame);
  Miniflow key;
  ExtractMiniflow(*located, key);
  const std::size_t l4 = located->l4_offset;
  REQUIRE(l4 < made.frame.size());
  const std::size_t check_at = tcp ? 16 : 6;
  std::uint8_t* field = made.frame.data() + l4 + check_at;
  const auto pseudo = PseudoOf(made.frame, l4, check_at, LoadAs<std::uint16_t>(field));
  std::memcpy(field, &pseudo, sizeof pseudo);
  made.header.flags = OffloadHeader::kNeedsChecksum;
  made.header.csum_start = static_cast<std::uint16_t>(l4);
  made.header.csum_offset = static_cast<std::uint16_t>(check_at);
  const bool whole = random.OneIn(3);
  if (tunnel) {
    const std::vector<Tunnel> tunnels = EveryTunnel();
    const Wrapping wrapping{tunnels[random.Below(static_cast<std::uint32_t>(tunnels.size()))],
                            random.OneIn(2), random.OneIn(2), ipv6};
    made.header.csum_start = static_cast<std::uint16_t>(l4 + OuterSize(wrapping));
    // As its sender sums it: what is inside counts as complete.
    Frame outside = Wrap(wrapping, complete, !whole);
    const std::size_t at = made.header.csum_start + check_at;
    std::memcpy(outside.data() + at, &pseudo, sizeof pseudo);
    made.frame = outside;
  }
  if (whole) return made;
  made.header.gso_type = !tcp   ? OffloadHeader::kGsoUdp
                         : ipv6 ? OffloadHeader::kGsoTcp6
                                : OffloadHeader::kGsoTcp4;
  made.header.gso_size = static_cast<std::uint16_t>(10 + random.Below(60));
  return made;
}

// Where what leaves goes, and what it is; sorted, since segments overtake each other on ways that
// part.
using Ends = std::map<std::string, std::vector<std::string>>;

std::string TextOf(const Packet& packet) {
  std::string text;
  for (const std::uint8_t byte : packet.bytes()) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  const std::uint32_t known[] = {packet.l3_type, packet.skb_priority, packet.skb_mark,
                                 packet.dp_hash, packet.recirc_id,    packet.has_tunnel};
  for (const std::uint32_t number : known) text += " " + std::to_string(number);
  return text;
}

class BothWays {
 public:
  PacketPtr Make(const Unfinished& made) {
    PacketPtr packet = pool_.Copy(made.frame);
    packet->in_port = PortNumber{3};
    REQUIRE(AcceptOffloads(*packet, made.header));
    Miniflow miniflow;
    ExtractMiniflow(*packet, miniflow);
    key = miniflow.Expand();
    return packet;
  }

  Ends Late(const Unfinished& made, const ActionList& list) {
    std::vector<PacketPtr> packets;
    packets.push_back(Make(made));
    return Run(std::move(packets), list);
  }
  Ends Early(const Unfinished& made, const ActionList& list) {
    std::vector<PacketPtr> packets = Finished(pool_, Make(made));
    REQUIRE(packets.size() <= kBatchSize);
    return Run(std::move(packets), list);
  }
  std::size_t held() const { return pool_.held(); }

  Flow key;  // Of what was made last.

 private:
  Ends Run(std::vector<PacketPtr> packets, const ActionList& list) {
    Ends ends;
    std::size_t count = 0;
    RecordingHost host(pool_, [&](const std::string& what, const Packet& packet) {
      ++count;
      for (const PacketPtr& end : Finished(pool_, pool_.Clone(packet)))
        ends[what].push_back(TextOf(*end));
    });
    host.dice = [] { return 0x40000000u; };
    PacketBatch batch;
    const std::size_t came = packets.size();
    for (PacketPtr& packet : packets) batch.Add(std::move(packet));
    ExecuteActions(host, std::move(batch), list);
    CHECK(came + host.copied == count);
    for (auto& [what, texts] : ends) std::sort(texts.begin(), texts.end());
    return ends;
  }

  PacketPool pool_;
};

}  // namespace

TEST_CASE("actions: finishing a packet where it leaves is finishing it before") {
  BothWays both;
  std::size_t frames = 0;
  for (std::uint32_t seed = 0; seed < 6'000 / kSlowdown; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Unfinished made = SomeFrame(random);
    const PacketPtr packet = both.Make(made);
    frames += packet->is_gso() ? 1 : 0;
    const Match match = SomeMatch(random, both.key);
    const auto accepted = [&](const Actions& list) { return ActionList::Parse(list, match).ok(); };
    const Actions actions = SomeList(random, both.key, 3, accepted);
    const ActionListPtr list = Accepted(actions, match);
    const Ends late = both.Late(made, *list);
    const Ends early = both.Early(made, *list);
    REQUIRE(late == early);
  }
  CHECK(frames > 1'000 / kSlowdown);
  CHECK(both.held() == 0);
}

// Every change of a field that checksums cover, on both kinds of packets, since dice may miss some.
TEST_CASE("actions: tags, sets and lengths keep a packet unfinished; other headers finish it") {
  PacketPool pool;
  struct Case {
    const char* name;
    Actions list;
    bool stays;
  };
  const std::vector<Case> cases = {
      {"output", Actions().Output(1), true},
      {"push_vlan", Actions().PushVlan(5).Output(1), true},
      {"push and pop", Actions().PushVlan(5).PopVlan().Output(1), true},
      {"trunc that cuts nothing", Actions().Trunc(1514).Output(1), true},
      {"check_pkt_len", Actions().CheckLength(1514, Actions(), Actions().Output(1)), true},
      {"clone", Actions().Clone(Actions().PushVlan(7).Output(1)), true},
      {"recirc", Actions().Recirc(1), true},
      {"push_mpls", Actions().PushMpls(0x1140, 0x8847).Output(1), false},
      {"pop_eth", Actions().PopEth().PushEth().Output(1), false},
      {"trunc", Actions().Trunc(60).Output(1), false},
  };
  for (const std::uint16_t gso_size : {0, 1000}) {
    for (const Case& test : cases) {
      CAPTURE(test.name);
      CAPTURE(gso_size);
      const Frame frame = EthernetFrame()
                              .Ipv4("10.0.0.1", "10.0.0.2")
                              .Tcp(1, 2)
                              .Payload(gso_size == 0 ? 900 : 30'000)
                              .Build();
      PacketPtr packet = pool.Copy(frame);
      OffloadHeader header;
      header.gso_type = OffloadHeader::kGsoTcp4;
      header.gso_size = gso_size == 0 ? UINT16_MAX : gso_size;
      REQUIRE(AcceptOffloads(*packet, header));
      CHECK(packet->is_gso() == (gso_size != 0));
      CHECK((packet->offloads & kOffloadChecksum) != 0);
      Miniflow key;
      ExtractMiniflow(*packet, key);
      const Match match{key.Expand(), ExactMask(key.Expand())};
      std::size_t ends = 0;
      RecordingHost host(pool, [&](const std::string&, const Packet& end) {
        ++ends;
        CHECK((end.offloads != 0) == test.stays);
        if (test.stays) CHECK(OnWire(end).largest <= 1518);
      });
      PacketBatch batch;
      batch.Add(std::move(packet));
      ExecuteActions(host, std::move(batch), *Accepted(test.list, match));
      CHECK(ends == (test.stays || gso_size == 0 ? 1u : 30u));
    }
  }
}

}  // namespace pollux::test

TEST_SUITE_END();
