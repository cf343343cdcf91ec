// The parser on any frame: nothing outside is read, the offsets are inside, the map agrees with
// them, and the key can be said in netlink and is understood as the same.
#include "flow/extract.h"
#include "flow/netlink.h"
#include "frames.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.

void CheckOffsets(const Packet& packet, const Miniflow& mini) {
  constexpr std::uint16_t kNo = Packet::kNoOffset;
  const std::uint16_t l3 = packet.l3_offset;
  const std::uint16_t l4 = packet.l4_offset;
  const std::uint32_t first = packet.l3_type != 0 ? 0 : kMinFrame;
  POLLUX_CHECK(l3 == kNo || (l3 >= first && l3 + 20u <= packet.size));
  POLLUX_CHECK(l4 == kNo || (l3 != kNo && l4 >= l3 + 20u && l4 + 8u <= packet.size));
  POLLUX_CHECK(mini.map.Has(POLLUX_FLOW_WORD(tp_src)) == (l4 != kNo));
  POLLUX_CHECK(mini.map.Has(POLLUX_FLOW_WORD(ipv6_label)) == (l3 != kNo));
  for (const std::size_t word : {POLLUX_FLOW_WORD(mpls), POLLUX_FLOW_WORD(nsh)})
    POLLUX_CHECK(!mini.map.Has(word) || l3 == kNo);
}

// The key can be said and understood, and its exact mask looks at all of it.
void CheckKey(const Miniflow& mini) {
  const Flow key = mini.Expand();
  const FlowMask mask = ExactMask(key);
  POLLUX_CHECK(ApplyMask(key, mask) == key);
  for (std::size_t i = 0; i < kFlowWords; ++i)
    POLLUX_CHECK(!mini.map.Has(i) || ToWords(mask)[i] != 0 || mini.Word(i) == 0);
  const Result<Match> exact = DecodeMatch(EncodeKey(key), {});
  POLLUX_CHECK(exact.ok());
  POLLUX_CHECK(exact.value().key == key);
  POLLUX_CHECK(exact.value().mask == mask);
  const Result<Match> masked = DecodeMatch(EncodeKey(key, &mask), EncodeMask(key, mask));
  POLLUX_CHECK(masked.ok());
  POLLUX_CHECK(masked.value().key == key);
  POLLUX_CHECK(masked.value().mask == mask);
}

Miniflow Extracted(Packet& packet) {
  Miniflow mini;
  ExtractMiniflow(packet, mini);
  return mini;
}

// The same packet with more behind it has the same key, if IP states a length at all.
void CheckPadding(const Packet& packet, const Miniflow& mini) {
  if (packet.l3_offset == Packet::kNoOffset) return;
  test::Frame padded(packet.data, packet.data + packet.size);
  padded.resize(padded.size() + 64, 0xee);
  test::HeapPacket other(padded);
  other->recirc_id = packet.recirc_id;
  other->dp_hash = packet.dp_hash;
  other->skb_mark = packet.skb_mark;
  other->skb_priority = packet.skb_priority;
  other->l3_type = packet.l3_type;
  POLLUX_CHECK(Extracted(*other) == mini);
}

// A tunnel is told behind all else.
void CheckTunnel(const Packet& packet, const Miniflow& mini, const TunnelMetadata& tunnel) {
  static PacketPool pool(std::size_t{4} << 20);
  PacketPtr other = pool.Copy(packet.bytes());
  other->in_port = packet.in_port;
  other->recirc_id = packet.recirc_id;
  other->dp_hash = packet.dp_hash;
  other->skb_mark = packet.skb_mark;
  other->skb_priority = packet.skb_priority;
  other->l3_type = packet.l3_type;
  other->SetTunnel(tunnel);
  const Miniflow with = Extracted(*other);
  CheckOffsets(*other, with);
  CheckKey(with);
  Flow key = with.Expand();
  POLLUX_CHECK(std::memcmp(&key.tunnel, &tunnel, sizeof tunnel) == 0);
  key.tunnel = {};
  POLLUX_CHECK(key == mini.Expand());
}

void Check(pollux::fuzz::Input input) {
  const test::Frame frame = pollux::fuzz::TakeFrame(input);
  test::HeapPacket packet(frame);
  pollux::fuzz::TakeMetadata(input, *packet);
  const test::Frame before = packet.frame();
  const Miniflow mini = Extracted(*packet);
  POLLUX_CHECK(packet.frame() == before);
  CheckOffsets(*packet, mini);
  CheckKey(mini);
  CheckPadding(*packet, mini);
  if (!input.empty()) CheckTunnel(*packet, mini, pollux::fuzz::TakeTunnel(input));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Check(pollux::fuzz::Input(data, size));
  return 0;
}
