// DecodeMatch on any bytes: refused with EINVAL and a sentence, or understood so that it can be
// said again. So are the lists inside of "tunnel" and "nsh" that actions have.
#include "flow/extract.h"
#include "flow/netlink.h"
#include "flow/nsh_attributes.h"
#include "flow/tunnel_attributes.h"
#include "frames.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.

using Blob = std::vector<std::uint8_t>;

template <typename T>
bool Understood(const Result<T>& result) {
  if (result.ok()) return true;
  POLLUX_CHECK(result.error().number == EINVAL && !result.error().message.empty());
  return false;
}

void CheckMatch(Bytes key, Bytes mask) {
  const Result<Match> match = DecodeMatch(key, mask);
  if (!Understood(match)) return;
  const Match& m = match.value();
  POLLUX_CHECK(ApplyMask(m.key, m.mask) == m.key);
  POLLUX_CHECK(m.mask.in_port == UINT32_MAX && m.mask.recirc_id == UINT32_MAX);
  const Result<Match> again = DecodeMatch(EncodeKey(m.key, &m.mask), EncodeMask(m.key, m.mask));
  POLLUX_CHECK(again.ok());
  POLLUX_CHECK(again.value().key == m.key);
  POLLUX_CHECK(again.value().mask == m.mask);
}

void CheckLists(Bytes bytes) {
  if (const auto tunnel = DecodeTunnel(bytes); Understood(tunnel)) {
    const auto again = DecodeTunnel(EncodeTunnel(tunnel.value()));
    POLLUX_CHECK(again.ok());
    POLLUX_CHECK(std::memcmp(&again.value(), &tunnel.value(), sizeof(TunnelMetadata)) == 0);
  }
  if (const auto nsh = DecodeNsh(bytes); Understood(nsh)) {
    POLLUX_CHECK(nsh.value().metadata.size() <= 244);
    POLLUX_CHECK(nsh.value().fields.flags <= 3 && nsh.value().fields.ttl <= 63);
  }
  Understood(DecodeMaskedNsh(bytes));
}

// Bytes in a block of their own size.
Blob Own(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

// The key of some packet.
Flow TakeKey(fuzz::Input& input) {
  static PacketPool pool(std::size_t{16} << 20);  // A slab of each kind of chunk.
  PacketPtr packet = pool.Copy(fuzz::TakeFrame(input));
  packet->in_port = PortNumber{1};
  fuzz::TakeMetadata(input, *packet);
  const std::uint8_t more = fuzz::TakeByte(input);
  if ((more & 1) != 0) packet->SetTunnel(fuzz::TakeTunnel(input));
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  Flow key = mini.Expand();
  // As connection tracking will make it.
  if ((more & 2) != 0) {
    key.ct_state = fuzz::TakeByte(input);
    key.ct_zone = fuzz::Take<std::uint16_t>(input);
    key.ct_mark = fuzz::Take<std::uint32_t>(input);
    key.ct_label = fuzz::Take<decltype(key.ct_label)>(input);
    if (Layer3Of(key) == Layer3::kIpv4 || Layer3Of(key) == Layer3::kIpv6) {
      key.ct_proto = fuzz::TakeByte(input);
      key.ct_tp_dst = key.ct_proto != 0 ? fuzz::Take<Be16>(input) : Be16{0};
    }
  }
  return key;
}

// The right attributes of a key, exactly or under any mask, and then damaged.
void CheckDamaged(fuzz::Input input) {
  const Flow flow = TakeKey(input);
  const FlowMask mask = ExactMask(flow);
  POLLUX_CHECK(ApplyMask(flow, mask) == flow);
  Blob key = EncodeKey(flow);
  const Result<Match> exact = DecodeMatch(key, {});
  POLLUX_CHECK(exact.ok());
  POLLUX_CHECK(exact.value().key == flow && exact.value().mask == mask);
  Blob bits = EncodeMask(flow, mask);
  while (!input.empty()) {
    Blob& blob = fuzz::TakeByte(input) % 2 == 0 ? key : bits;
    const auto at = fuzz::Take<std::uint16_t>(input);
    const std::uint8_t value = fuzz::TakeByte(input);
    if (at < blob.size()) blob[at] = value;
  }
  CheckMatch(key, bits);
  CheckMatch(key, {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pollux::fuzz::Input input(data, size);
  switch (pollux::fuzz::TakeByte(input) % 4) {
    case 0: {
      const auto n = pollux::fuzz::Take<std::uint16_t>(input);
      const Blob key = Own(pollux::fuzz::TakeBytes(input, n));
      CheckMatch(key, Own(input));
      break;
    }
    case 1:
      CheckLists(Own(input));
      break;
    default:
      CheckDamaged(input);
  }
  return 0;
}
