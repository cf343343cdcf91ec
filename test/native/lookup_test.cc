// What forwarding finds for a packet (keys made of its first bytes, caches, unions of masks)
// against what is obvious: the first rule whose masked key is the packet's.

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "flow/extract.h"
#include "packet_builder.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

constexpr std::uint32_t kFrom = 1;
constexpr std::uint32_t kFirstTo = 2;
constexpr std::uint32_t kTos = 4;

struct Rule {
  Match match;
  std::uint32_t to;
};

Flow KeyOf(const Frame& frame) {
  HeapPacket packet(frame);
  packet->in_port = PortNumber{kFrom};
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return key.Expand();
}

// Some frame of some kind, a few bytes of it changed; half of them of the most usual shape.
Frame RandomFrame(Random& random) {
  static const std::vector<NamedFrame> kKinds = EveryKind();
  Frame frame;
  if (random() % 2 == 0) {
    frame = kKinds[random() % kKinds.size()].frame;
  } else {
    EthernetFrame usual;
    usual.Ipv4("10.0.0.1", random() % 2 == 0 ? "10.0.0.2" : "10.0.0.3");
    frame = random() % 2 == 0 ? usual.Udp(1, static_cast<std::uint16_t>(random() % 4)).Build()
                              : usual.Tcp(1, static_cast<std::uint16_t>(random() % 4)).Build();
    frame.resize(60);
  }
  for (std::uint32_t edits = random() % 3; edits > 0; --edits)
    frame[random() % std::min<std::size_t>(frame.size(), 60)] ^=
        static_cast<std::uint8_t>(1u << random() % 8);
  return frame;
}

// Looks at one field in `one_in` of a frame's key.
Match RandomMatch(Random& random, const Flow& key, std::uint32_t one_in) {
  Match match;
  const auto some = [&](auto& field) {
    if (random() % one_in != 0) return;
    auto* bytes = reinterpret_cast<std::uint8_t*>(&field);
    const bool whole = random() % 2 == 0;
    for (std::size_t i = 0; i < sizeof field; ++i)
      bytes[i] = whole ? 0xff : static_cast<std::uint8_t>(random());
  };
#define X(member, text) some(match.mask.member);
  POLLUX_FLOW_FIELDS(X)
#undef X
  match.mask.in_port = UINT32_MAX;
  match.key = ApplyMask(key, match.mask);
  return match;
}

bool Takes(const Match& match, const Flow& key) { return ApplyMask(key, match.mask) == match.key; }
bool Overlap(const Match& a, const Match& b) {
  return ApplyMask(a.key, b.mask) == ApplyMask(b.key, a.mask);
}

class Scene {
 public:
  // `crowded`: with so many masks that those of the rules are not cached (classifier/dpcls.h).
  explicit Scene(std::uint32_t seed, bool crowded = false)
      : bed_(OneCore()), random_(seed), one_in_(2u << seed % 6) {
    from_ = bed_.Add(Memory("from", kFrom));
    for (std::uint32_t i = 0; i < kTos; ++i)
      to_.push_back(bed_.Add(Memory("to" + std::to_string(i), kFirstTo + i)));
    for (int i = 0; i < 40; ++i) frames_.push_back(RandomFrame(random_));
    if (crowded) Crowd();
  }

  // Rules are disjoint, as flows of a port should be: nothing decides between two that overlap.
  void Change() {
    if (!rules_.empty() && random_() % 3 == 0) {
      const std::size_t i = random_() % rules_.size();
      REQUIRE(ApplyChanges(bed_->flows(), {FlowDelete{rules_[i].match}}, false).front().ok());
      rules_.erase(rules_.begin() + static_cast<std::ptrdiff_t>(i));
      if (random_() % 2 == 0) bed_->flows().RemoveIdle();  // Profiles shrink.
      return;
    }
    const Match match = RandomMatch(random_, KeyOf(Pick()), one_in_);
    const bool overlaps = std::any_of(rules_.begin(), rules_.end(),
                                      [&](const Rule& rule) { return Overlap(rule.match, match); });
    if (overlaps) return;
    rules_.push_back({match, static_cast<std::uint32_t>(kFirstTo + random_() % kTos)});
    // With an id of its own: some lie beside those of Crowd(), which take no packets.
    FlowPut put;
    put.match = match;
    put.actions = ActionList::Parse(OutputTo({rules_.back().to}), match).value();
    put.ufid = Ufid{0, static_cast<std::uint8_t>(puts_), static_cast<std::uint8_t>(puts_ >> 8)};
    ++puts_;
    REQUIRE(ApplyChanges(bed_->flows(), {put}, false).front().ok());
  }

  void Send() {
    std::vector<Frame> sent;
    std::vector<std::span<const std::uint8_t>> spans;
    const bool train = random_() % 4 == 0;  // Of one frame.
    const Frame& first = Pick();
    for (std::uint32_t n = 1 + random_() % 80; n > 0; --n) sent.push_back(train ? first : Pick());
    for (const Frame& frame : sent) spans.emplace_back(frame);
    REQUIRE(bed_->Inject(from_.id, 0, spans).value() == sent.size());
    bed_.Settle();

    std::vector<std::vector<Frame>> expected(kTos);
    for (const Frame& frame : sent) {
      const Flow key = KeyOf(frame);
      const auto rule = std::find_if(rules_.begin(), rules_.end(),
                                     [&](const Rule& r) { return Takes(r.match, key); });
      if (rule == rules_.end()) {
        ++missed_;
      } else {
        expected[rule->to - kFirstTo].push_back(frame);
        ++found_;
      }
    }
    for (std::uint32_t i = 0; i < kTos; ++i) {
      std::vector<Frame> out;
      for (const PacketPtr& packet : bed_.Drain(to_[i]))
        out.emplace_back(packet->data, packet->data + packet->size);
      std::sort(out.begin(), out.end());
      std::sort(expected[i].begin(), expected[i].end());
      REQUIRE(out == expected[i]);
    }
  }

  void CheckCounters() {
    CHECK(bed_.Drops(DropReason::kNoConsumer) == missed_);
    std::uint64_t hits = 0;
    for (const PmdStats& pmd : bed_->stats().pmds) hits += pmd.emc_hits + pmd.megaflow_hits;
    CHECK(hits == found_);
    bed_.CheckLedgerCloses();
  }
  std::uint64_t found() const { return found_; }

 private:
  static DatapathOptions OneCore() {
    DatapathOptions options;
    options.topology = {{0}};
    return options;
  }
  // Flows that take no frame, each with a mask of its own.
  void Crowd() {
    for (std::uint32_t i = 1; i <= Dpcls::kManyMasks; ++i) {
      Match match = MatchInPort(kFrom);
      match.key.ct_zone = static_cast<std::uint16_t>(i), match.mask.ct_zone = 0xffff;
      match.mask.ct_mark = i;
      FlowPut put;
      put.match = match;
      put.actions = ActionList::Parse(OutputTo({kFirstTo}), match).value();
      put.ufid = Ufid{static_cast<std::uint8_t>(i), 0xff};
      REQUIRE(ApplyChanges(bed_->flows(), {put}, false).front().ok());
    }
  }
  const Frame& Pick() { return frames_[random_() % frames_.size()]; }

  Testbed bed_;
  Random random_;
  const std::uint32_t one_in_;
  PortInfo from_;
  std::vector<PortInfo> to_;
  std::vector<Frame> frames_;
  std::vector<Rule> rules_;
  std::uint64_t found_ = 0;
  std::uint64_t missed_ = 0;
  std::uint32_t puts_ = 0;
};

}  // namespace

TEST_CASE("lookup: packets of every kind go where a scan of the rules says, while rules change") {
  std::uint64_t found = 0;
  for (std::uint32_t seed = 0; seed < 160u / kSlowdown; ++seed) {
    CAPTURE(seed);
    Scene scene(seed, seed % 4 == 3);
    for (int i = 0; i < 100; ++i) {
      for (std::uint32_t changes = static_cast<std::uint32_t>(i % 4); changes > 0; --changes)
        scene.Change();
      scene.Send();
    }
    scene.CheckCounters();
    found += scene.found();
  }
  CHECK(found > 1000);
}

// A flow that looks at more than the flows before it did is found with a key that says too little.
TEST_CASE("lookup: a flow that comes in the middle of a burst takes no packet of another") {
  DatapathOptions options;
  options.topology = {{0}};
  Testbed bed(options);
  const PortInfo to = bed.Add(Memory("to", 2));
  Match arp = MatchInPort(1);
  arp.key.eth_type = ToBe16(kEthTypeArp);
  arp.mask.eth_type = 0xffff;
  arp.mask.tp_src = ToBe16(1);  // So a burst has packets of two keys.
  bed.Put(arp, OutputTo({2}));

  PortSpec source = Null("from", 1, true);
  source.netdev.generator.flows = 16;
  source.netdev.generator.order = FlowOrder::kUniform;
  const PortInfo from = bed.Add(source);
  Match narrow = MatchInPort(1);
  narrow.key.tp_src = ToBe16(0x4003);  // Of one of the generator's flows.
  narrow.mask.tp_src = 0xffff;
  std::size_t taken = 0;
  for (int i = 0; i < 3'000 / kSlowdown || taken == 0; ++i) {
    bed.Put(narrow, OutputTo({2}));
    REQUIRE(ApplyChanges(bed->flows(), {FlowDelete{narrow}}, false).front().ok());
    bed->flows().RemoveIdle();
    for (const PacketPtr& packet : bed.Drain(to)) {
      REQUIRE(LoadAs<Be16>(packet->data + 34) == narrow.key.tp_src);
      ++taken;
    }
  }
  bed.Delete(from);
  bed.CheckLedgerCloses();
}

}  // namespace pollux::test
