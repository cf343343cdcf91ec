// Random packets through random lists: the fast executor and the slow one agree on every frame, on
// what is known of it, on where it ends and how many copies were made.
#include <random>

#include "action_generator.h"
#include "actions_testbed.h"
#include "both_executors.h"
#include "testbed.h"

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

Arrival RandomArrival(Random& random) {
  static const auto kKinds = EveryKind();
  Arrival arrival{kKinds[random.Below(static_cast<std::uint32_t>(kKinds.size()))].frame};
  Frame& frame = arrival.frame;
  if (random.OneIn(3)) {
    for (std::uint32_t changes = random.Below(4); changes > 0; --changes)
      frame[12 + random.Below(static_cast<std::uint32_t>(frame.size()) - 12)] = random.Byte();
  }
  if (random.OneIn(4))
    frame.resize(14 + random.Below(static_cast<std::uint32_t>(frame.size()) - 13));
  if (random.OneIn(4)) frame.resize(frame.size() + random.Below(40), 0xee);
  if (random.OneIn(30)) frame.resize(1000 + random.Below(64'000), 0x77);
  if (random.OneIn(5)) {
    const std::uint16_t type = Peek16(frame, 12);
    if (type >= 0x600 && !PlainView::IsTag(type)) {
      arrival.l3_type = type;
      frame = WithoutEthernet(frame);
    }
  }
  return arrival;
}

// Another packet, perhaps of the same flow.
Arrival Variation(Random& random, const Arrival& from) {
  Arrival arrival = from;
  Frame& frame = arrival.frame;
  if (frame.empty()) return arrival;
  if (random.OneIn(2)) frame[random.Below(static_cast<std::uint32_t>(frame.size()))] ^= 1;
  if (random.OneIn(2)) frame.resize(frame.size() + random.Below(60), 0x55);
  return arrival;
}

void Round(Random& random, BothExecutors& both) {
  const Arrival first = RandomArrival(random);
  const Flow key = both.KeyOf(first);
  const Match match = SomeMatch(random, key);
  const auto accepted = [&](const Actions& list) { return ActionList::Parse(list, match).ok(); };
  const Actions actions = SomeList(random, key, 3, accepted);
  const ActionListPtr list = Accepted(actions, match);
  std::vector<Arrival> arrivals = {first};
  // More packets of the flow; sometimes of no flow that the list was made for.
  const bool strangers = random.OneIn(4);
  for (std::uint32_t n = ThrowsDice(*list) ? 0 : random.Below(12); n > 0; --n) {
    Arrival more = strangers ? RandomArrival(random) : Variation(random, first);
    if (strangers || ApplyMask(both.KeyOf(more), match.mask) == match.key)
      arrivals.push_back(std::move(more));
  }
  REQUIRE(both.Difference(arrivals, *list, random.Number()) == "");
}

}  // namespace

TEST_CASE("actions: the fast executor does what the plain one does") {
  BothExecutors both;
  for (std::uint32_t seed = 0; seed < 3'000 / kSlowdown; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Round(random, both);
  }
}

}  // namespace pollux::test

TEST_SUITE_END();
