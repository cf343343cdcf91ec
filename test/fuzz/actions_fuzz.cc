// Any frame and any action list. A list that is accepted for a frame's flow is run on it, and on
// another frame that it was not made for, by the fast executor and by the plain one, which must
// agree; and none of that steps outside of the frame.
//
// The bytes: a frame, another one, how the flow matches; then choices for the generator of lists,
// or a list as it stands.
#include "../native/action_generator.h"
#include "../native/both_executors.h"
#include "frames.h"

namespace {

using namespace pollux;        // NOLINT: a program of one file.
using namespace pollux::test;  // NOLINT

class Bytewise : public Choices {
 public:
  explicit Bytewise(fuzz::Input& input) : input_(input) {}
  std::uint32_t Below(std::uint32_t n) override {
    std::uint32_t number = fuzz::TakeByte(input_);
    for (std::uint32_t range = n - 1; range > 0xff; range >>= 8)
      number = number << 8 | fuzz::TakeByte(input_);
    return number % n;
  }

 private:
  fuzz::Input& input_;
};

// Every eighth frame comes without its Ethernet header.
Arrival TakeArrival(fuzz::Input& input) {
  const bool bare = fuzz::TakeByte(input) % 8 == 7;
  Arrival arrival{fuzz::TakeFrame(input)};
  const std::uint16_t type = Peek16(arrival.frame, 12);
  if (!bare || type < kEthTypeMin || PlainView::IsTag(type)) return arrival;
  arrival.l3_type = type;
  arrival.frame.erase(arrival.frame.begin(), arrival.frame.begin() + kMinFrame);
  return arrival;
}

void Check(fuzz::Input input) {
  static BothExecutors both;
  const Arrival arrival = TakeArrival(input);
  const Arrival stranger = TakeArrival(input);
  Bytewise choices(input);
  const Flow key = both.KeyOf(arrival);
  const Match match = SomeMatch(choices, key);
  Actions actions;
  if (choices.OneIn(4)) {
    actions = Actions(input);
  } else {
    actions = SomeList(choices, key, 3,
                       [&](const Actions& list) { return ActionList::Parse(list, match).ok(); });
  }
  auto list = ActionList::Parse(actions, match);
  if (!list.ok()) {
    const Error& error = list.error();
    POLLUX_CHECK(!error.message.empty());
    POLLUX_CHECK(error.number == EINVAL || error.code == "ERR_NOT_SUPPORTED");
    return;
  }
  POLLUX_CHECK(std::equal(Bytes(actions).begin(), Bytes(actions).end(),
                          list.value()->attributes().begin(), list.value()->attributes().end()));
  for (const Arrival& each : {arrival, stranger}) {
    const std::string difference = both.Difference({each}, *list.value(), 1);
    if (difference.empty()) continue;
    std::fprintf(stderr, "%s\n", difference.c_str());
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Check(pollux::fuzz::Input(data, size));
  return 0;
}
