// Any frame and any action list: a list that is accepted for the frame's flow runs on it, and on
// other frames, without stepping outside; and no rewrite changes how right or wrong a checksum is.
#include <linux/openvswitch.h>

#include "actions/action_list.h"
#include "actions/rewrite.h"
#include "flow/extract.h"
#include "frames.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.
using Blob = std::vector<std::uint8_t>;

// What is missing to right checksums; one's complement has two zeros.
struct Wrongness {
  std::uint16_t ip = 0;
  std::uint16_t layer4 = 0;
  bool operator==(const Wrongness&) const = default;
};

std::uint16_t Fold(Sum sum) { return FoldSum(sum) == UINT16_MAX ? 0 : FoldSum(sum); }

Wrongness WrongnessOf(Packet& packet) {
  Wrongness wrongness;
  if (packet.l3_offset == Packet::kNoOffset) return wrongness;
  const std::uint16_t type = LoadAs<Net16>(packet.data + packet.l3_offset - 2).value();
  Reader rest(packet.data + packet.l3_offset, packet.size - packet.l3_offset);
  Sum pseudo = 0;
  std::uint8_t protocol = 0;
  if (type == kEthTypeIpv4) {
    const auto* ip = ReadIpv4(rest);
    POLLUX_CHECK(ip != nullptr);
    wrongness.ip = Fold(SumBytes({&ip->version_ihl, ip->header_length()}));
    protocol = ip->protocol;
    pseudo = PseudoSum4(std::span<const std::uint8_t, 4>(ip->src.bytes),
                        std::span<const std::uint8_t, 4>(ip->dst.bytes), protocol,
                        static_cast<std::uint32_t>(rest.size()));
  } else if (type == kEthTypeIpv6) {
    const auto* ip = ReadIpv6(rest);
    Ipv6Chain chain;
    POLLUX_CHECK(ip != nullptr && SkipIpv6Extensions(rest, ip->next_header, chain));
    protocol = chain.protocol;
    if (chain.segments_left) return wrongness;
    pseudo = PseudoSum6(std::span<const std::uint8_t, 16>(ip->src),
                        std::span<const std::uint8_t, 16>(ip->dst), protocol,
                        static_cast<std::uint32_t>(rest.size()));
  }
  if (packet.l4_offset == Packet::kNoOffset) return wrongness;
  POLLUX_CHECK(rest.data() == packet.data + packet.l4_offset);
  const bool icmp6 = protocol == kProtoIcmpv6 && type == kEthTypeIpv6;
  const auto* udp = rest.Peek<UdpHeader>();
  if (protocol == kProtoTcp || icmp6 || (protocol == kProtoUdp && udp->checksum.raw() != 0)) {
    wrongness.layer4 = Fold(SumBytes({rest.data(), rest.size()}, pseudo));
  }
  return wrongness;
}

void Run(const ActionList& list, const test::Frame& frame) {
  test::HeapPacket packet(frame, 1, frame.size() % 16);
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  for (const Action& action : list.actions()) {
    const Wrongness before = WrongnessOf(*packet);
    if (const auto* set = std::get_if<SetAction>(&action)) {
      ApplySet(*set, *packet);
    } else if (const auto* push = std::get_if<PushVlanAction>(&action)) {
      PushVlan(push->tag, *packet);
    } else if (std::holds_alternative<PopVlanAction>(action)) {
      PopVlan(*packet);
    }
    POLLUX_CHECK(before == WrongnessOf(*packet));
  }
  POLLUX_CHECK(packet->size >= kMinFrame);
}

// Lists that are nearly right: the sizes are, the fields are chosen among those that can be set.
void AppendOne(Blob& out, fuzz::Input& input) {
  const std::uint8_t what = fuzz::TakeByte(input);
  const auto fill = [&](std::size_t n) {
    const fuzz::Input bytes = fuzz::TakeBytes(input, n);
    Blob blob(bytes.begin(), bytes.end());
    blob.resize(n);
    return blob;
  };
  struct Field {
    std::uint16_t type;
    std::size_t size;
  };
  static constexpr Field kFields[] = {{OVS_KEY_ATTR_ETHERNET, 12},
                                      {OVS_KEY_ATTR_IPV4, 12},
                                      {OVS_KEY_ATTR_IPV6, 40},
                                      {OVS_KEY_ATTR_TCP, 4},
                                      {OVS_KEY_ATTR_UDP, 4}};
  const Field& field = kFields[what / 8 % 5];
  Blob nested;
  switch (what % 8) {
    case 0:
      AppendAttribute(out, OVS_ACTION_ATTR_POP_VLAN, {});
      break;
    case 1: {
      Blob tag = fill(2);
      tag[0] |= 0x10;  // CFI.
      tag.insert(tag.begin(), {0x81, 0x00});
      AppendAttribute(out, OVS_ACTION_ATTR_PUSH_VLAN, tag);
      break;
    }
    case 2: {
      Blob both = fill(2 * field.size);
      if (field.type == OVS_KEY_ATTR_IPV4) both[12 + 8] = both[12 + 11] = 0;
      if (field.type == OVS_KEY_ATTR_IPV6) {
        both[32] = both[33] = 0;
        both[40 + 36] = both[40 + 39] = 0;
      }
      AppendAttribute(nested, field.type, both);
      AppendAttribute(out, OVS_ACTION_ATTR_SET_MASKED, nested);
      break;
    }
    case 3:
      AppendAttribute(nested, field.type, fill(field.size));
      AppendAttribute(out, OVS_ACTION_ATTR_SET, nested);
      break;
    case 4:
      AppendAttribute(nested, OVS_USERSPACE_ATTR_USERDATA, fill(fuzz::TakeByte(input)));
      AppendAttribute(out, OVS_ACTION_ATTR_USERSPACE, nested);
      break;
    default:
      AppendAttribute(out, fuzz::TakeByte(input) % 28, fill(fuzz::TakeByte(input) % 8));
  }
}

void Check(fuzz::Input input) {
  const test::Frame frame = fuzz::TakeFrame(input);
  const test::Frame other = fuzz::TakeFrame(input);
  test::HeapPacket packet(frame);
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  const Flow key = mini.Expand();
  Blob actions;
  if (fuzz::TakeByte(input) % 4 == 0) {
    actions.assign(input.begin(), input.end());
  } else {
    while (!input.empty() && actions.size() < 4096) AppendOne(actions, input);
  }
  const auto list = ActionList::Parse(actions, {key, ExactMask(key)});
  if (!list.ok()) {
    POLLUX_CHECK(list.error().number == EINVAL && !list.error().message.empty());
    return;
  }
  const ActionList& accepted = *list.value();
  POLLUX_CHECK(std::equal(actions.begin(), actions.end(), accepted.attributes().begin(),
                          accepted.attributes().end()));
  Run(accepted, frame);
  Run(accepted, other);  // Not of this flow: whatever happens, it happens inside the frame.
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Check(pollux::fuzz::Input(data, size));
  return 0;
}
