// The parser on any frame: nothing outside is read, the offsets are inside, the map agrees with
// them, and the key can be said in netlink and is understood as the same.
#include "flow/extract.h"
#include "flow/netlink.h"
#include "frames.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.

void Check(const test::Frame& frame) {
  test::HeapPacket packet(frame);
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  constexpr std::uint16_t kNo = Packet::kNoOffset;
  const std::uint16_t l3 = packet->l3_offset;
  const std::uint16_t l4 = packet->l4_offset;
  const auto has = [&](std::size_t word) { return (mini.map >> word & 1) != 0; };
  POLLUX_CHECK(l3 == kNo || (l3 >= kMinFrame && l3 + 20u <= frame.size()));
  POLLUX_CHECK(l4 == kNo || (l3 != kNo && l4 >= l3 + 20u && l4 + 8u <= frame.size()));
  POLLUX_CHECK(has(POLLUX_FLOW_WORD(tp_src)) == (l4 != kNo));
  POLLUX_CHECK(has(POLLUX_FLOW_WORD(ipv6_label)) == (l3 != kNo));
  POLLUX_CHECK(packet.frame() == frame);

  const Flow key = mini.Expand();
  const FlowMask mask = ExactMask(key);
  POLLUX_CHECK(ApplyMask(key, mask) == key);
  // A word that the packet has is looked at.
  for (std::size_t i = 0; i < kFlowWords; ++i)
    POLLUX_CHECK(!has(i) || ToWords(mask)[i] != 0 || mini.Word(i) == 0);
  const Result<Match> match = DecodeMatch(EncodeKey(key), {});
  POLLUX_CHECK(match.ok());
  POLLUX_CHECK(match.value().key == key);
  POLLUX_CHECK(match.value().mask == mask);

  // The same frame with padding behind it has the same key, if IP states a length at all.
  if (l3 != kNo) {
    test::Frame padded = frame;
    padded.resize(frame.size() + 64, 0xee);
    test::HeapPacket other(padded);
    Miniflow again;
    ExtractMiniflow(*other, again);
    POLLUX_CHECK(again == mini);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pollux::fuzz::Input input(data, size);
  Check(pollux::fuzz::TakeFrame(input));
  return 0;
}
