// DecodeMatch on any bytes: refused with EINVAL and a sentence, or understood so that it can be
// said again.
#include "flow/extract.h"
#include "flow/netlink.h"
#include "frames.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.

void Check(Bytes key, Bytes mask) {
  const Result<Match> match = DecodeMatch(key, mask);
  if (!match.ok()) {
    POLLUX_CHECK(match.error().number == EINVAL && !match.error().message.empty());
    return;
  }
  const Match& m = match.value();
  POLLUX_CHECK(ApplyMask(m.key, m.mask) == m.key);
  POLLUX_CHECK(m.mask.in_port == UINT32_MAX && m.mask.recirc_id == UINT32_MAX);
  const Result<Match> again = DecodeMatch(EncodeKey(m.key, &m.mask), EncodeMask(m.key, m.mask));
  POLLUX_CHECK(again.ok());
  POLLUX_CHECK(again.value().key == m.key);
  POLLUX_CHECK(again.value().mask == m.mask);
}

// Bytes in a block of their own size.
std::vector<std::uint8_t> Own(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pollux::fuzz::Input input(data, size);
  if (pollux::fuzz::TakeByte(input) % 2 == 0) {
    const std::size_t n = pollux::fuzz::TakeByte(input) | pollux::fuzz::TakeByte(input) << 8;
    const auto key = Own(pollux::fuzz::TakeBytes(input, n));
    Check(key, Own(input));
    return 0;
  }
  // The right key and mask of some frame, damaged.
  test::HeapPacket packet(pollux::fuzz::TakeFrame(input));
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  const Flow flow = mini.Expand();
  auto key = EncodeKey(flow);
  auto mask = EncodeMask(flow, ExactMask(flow));
  while (!input.empty()) {
    auto& blob = pollux::fuzz::TakeByte(input) % 2 == 0 ? key : mask;
    const std::uint8_t at = pollux::fuzz::TakeByte(input);
    if (at < blob.size()) blob[at] = pollux::fuzz::TakeByte(input);
  }
  Check(key, mask);
  Check(key, {});
  return 0;
}
