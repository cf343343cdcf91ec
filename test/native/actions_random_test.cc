// Random packets through random lists: the fast executor and the slow one agree on every frame, on
// what is known of it, on where it ends and how many copies were made.
#include <random>

#include "actions_testbed.h"
#include "both_executors.h"
#include "testbed.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

std::uint32_t Below(Random& random, std::uint32_t n) { return random() % n; }
bool OneIn(Random& random, std::uint32_t n) { return Below(random, n) == 0; }

Blob RandomBytes(Random& random, std::size_t n) {
  Blob bytes(n);
  // Zeros and ones show what random bits seldom do.
  const std::uint32_t kind = Below(random, 6);
  for (std::uint8_t& byte : bytes)
    byte = kind == 0 ? 0 : kind == 1 ? 0xff : static_cast<std::uint8_t>(random());
  return bytes;
}

// ---- Packets.

Arrival RandomArrival(Random& random) {
  static const auto kKinds = EveryKind();
  Arrival arrival{kKinds[Below(random, static_cast<std::uint32_t>(kKinds.size()))].frame};
  Frame& frame = arrival.frame;
  if (OneIn(random, 3)) {
    for (std::uint32_t changes = Below(random, 4); changes > 0; --changes)
      frame[12 + Below(random, static_cast<std::uint32_t>(frame.size()) - 12)] =
          static_cast<std::uint8_t>(random());
  }
  if (OneIn(random, 4))
    frame.resize(14 + Below(random, static_cast<std::uint32_t>(frame.size()) - 13));
  if (OneIn(random, 4)) frame.resize(frame.size() + Below(random, 40), 0xee);
  if (OneIn(random, 30)) frame.resize(1000 + Below(random, 64'000), 0x77);
  if (OneIn(random, 5)) {
    const std::uint16_t type = Peek16(frame, 12);
    if (type >= 0x600 && !PlainView::IsTag(type)) {
      arrival.l3_type = type;
      frame = WithoutEthernet(frame);
    }
  }
  return arrival;
}

// ---- Lists.

struct Field {
  std::uint16_t type;
  std::size_t size;
};
constexpr Field kFields[] = {
    {OVS_KEY_ATTR_PRIORITY, 4},  {OVS_KEY_ATTR_SKB_MARK, 4},  {OVS_KEY_ATTR_DP_HASH, 4},
    {OVS_KEY_ATTR_RECIRC_ID, 4}, {OVS_KEY_ATTR_ETHERNET, 12}, {OVS_KEY_ATTR_IPV4, 12},
    {OVS_KEY_ATTR_IPV6, 40},     {OVS_KEY_ATTR_TCP, 4},       {OVS_KEY_ATTR_UDP, 4},
    {OVS_KEY_ATTR_SCTP, 4},      {OVS_KEY_ATTR_ICMP, 2},      {OVS_KEY_ATTR_ICMPV6, 2},
    {OVS_KEY_ATTR_ARP, 24},      {OVS_KEY_ATTR_ND, 28},       {kKeyAttrNdExtensions, 8},
    {OVS_KEY_ATTR_MPLS, 4},      {OVS_KEY_ATTR_NSH, 0},       {OVS_KEY_ATTR_TUNNEL, 0},
};

Actions RandomTunnel(Random& random) {
  Actions tunnel;
  if (OneIn(random, 2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_ID, RandomBytes(random, 8));
  if (OneIn(random, 2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_IPV4_DST, RandomBytes(random, 4));
  if (OneIn(random, 2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_TTL, RandomBytes(random, 1));
  if (OneIn(random, 2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_CSUM, {});
  return tunnel;
}

Actions RandomNsh(Random& random, bool masked) {
  const auto value_and_mask = [&](Blob value, std::size_t fixed_at, std::size_t fixed) {
    if (!masked) return value;
    Blob mask = RandomBytes(random, value.size());
    for (std::size_t i = fixed_at; i < fixed_at + fixed; ++i) mask[i] = 0;
    if (fixed > 0) mask[0] &= 3, mask[1] &= 63;
    value.insert(value.end(), mask.begin(), mask.end());
    return value;
  };
  Actions nsh;
  Blob base = RandomBytes(random, 8);
  base[0] &= 3;
  base[1] &= 63;
  base[2] = 1;
  base[3] = static_cast<std::uint8_t>(1 + Below(random, 4));
  nsh.Raw(OVS_NSH_KEY_ATTR_BASE, value_and_mask(base, 2, 2));
  if (OneIn(random, 2))
    nsh.Raw(OVS_NSH_KEY_ATTR_MD1, value_and_mask(RandomBytes(random, 16), 0, 0));
  return nsh;
}

void AddSet(Random& random, const Flow& key, Actions& out) {
  const Field& field = kFields[Below(random, std::size(kFields))];
  const bool masked = OneIn(random, 2);
  Actions inside;
  if (field.type == OVS_KEY_ATTR_NSH) {
    inside.Raw(field.type, RandomNsh(random, masked));
  } else if (field.type == OVS_KEY_ATTR_TUNNEL) {
    inside.Raw(field.type, RandomTunnel(random));
  } else {
    Blob value = RandomBytes(random, field.size);
    Blob mask = RandomBytes(random, masked ? field.size : 0);
    // What must stay.
    const std::size_t at = field.type == OVS_KEY_ATTR_IPV6 ? 36 : 8;
    if (field.type == OVS_KEY_ATTR_IPV6) value[32] = 0, value[33] &= 0x0f;
    if (field.type == OVS_KEY_ATTR_IPV4 || field.type == OVS_KEY_ATTR_IPV6) {
      value[at] = key.nw_proto;
      value[at + 3] = key.nw_frag;
      if (masked) mask[at] = mask[at + 3] = 0;
    }
    if (field.type == OVS_KEY_ATTR_ICMPV6 && OneIn(random, 2))
      value[0] = static_cast<std::uint8_t>(135 + Below(random, 2)), value[1] = 0;
    value.insert(value.end(), mask.begin(), mask.end());
    inside.Raw(field.type, value);
  }
  out.Raw(masked ? OVS_ACTION_ATTR_SET_MASKED : OVS_ACTION_ATTR_SET, inside);
}

std::uint16_t RandomEtherType(Random& random) {
  static constexpr std::uint16_t kTypes[] = {0x0800, 0x86dd, 0x8847, 0x8848,
                                             0x894f, 0x8100, 0x6558, 0x88b5};
  return kTypes[Below(random, std::size(kTypes))];
}

using Acceptance = std::function<bool(const Actions&)>;
Actions RandomList(Random& random, const Flow& key, int depth,
                   const Acceptance& accepted);  // Below.

// One action more; it may not be right where it stands.
Actions WithOneMore(Random& random, const Flow& key, int depth, const Actions& list,
                    const Acceptance& accepted) {
  Actions more = list;
  const auto nested = [&](const std::function<Actions(const Actions&)>& around) {
    if (depth == 0) return Actions();
    return RandomList(random, key, depth - 1,
                      [&](const Actions& inside) { return accepted(around(inside)); });
  };
  switch (Below(random, 26)) {
    case 0:
    case 1:
      return more.Output(Below(random, 4));
    case 2:
      return more.Userspace();
    case 3:
      return more.Recirc(random());
    case 4:
      return OneIn(random, 4) ? more.Drop(Below(random, 16)) : more.Output(9);
    case 5:
    case 6:
      return more.Trunc(OneIn(random, 2) ? Below(random, 30) : Below(random, 120));
    case 7:
      return more.Hash(Below(random, 2), random());
    case 8:
    case 9: {
      const Actions inside = nested([&](const Actions& in) { return Actions(list).Clone(in); });
      return more.Clone(inside);
    }
    case 10: {
      const std::uint32_t probability = OneIn(random, 3)   ? UINT32_MAX
                                        : OneIn(random, 3) ? 0
                                                           : 0x80000000;
      const Actions inside =
          nested([&](const Actions& in) { return Actions(list).Sample(probability, in); });
      return more.Sample(probability, inside);
    }
    case 11:
    case 12: {
      const auto length = static_cast<std::uint16_t>(Below(random, 110));
      const Actions greater =
          nested([&](const Actions& in) { return Actions(list).CheckLength(length, in, {}); });
      const Actions otherwise =
          nested([&](const Actions& in) { return Actions(list).CheckLength(length, greater, in); });
      return more.CheckLength(length, greater, otherwise);
    }
    case 13: {
      const Actions expired = nested([&](const Actions& in) { return Actions(list).DecTtl(in); });
      return more.DecTtl(expired);
    }
    case 14:
      return more.PushVlan(static_cast<std::uint16_t>(Below(random, 4096)), 0x88a8,
                           static_cast<std::uint8_t>(Below(random, 8)));
    case 15:
      return more.PopVlan();
    case 16:
      return more.PushMpls(random(), OneIn(random, 2) ? 0x8847 : 0x8848);
    case 17:
      return more.AddMpls(random(), static_cast<std::uint16_t>(Below(random, 2)));
    case 18:
      return more.PopMpls(RandomEtherType(random));
    case 19:
      return more.PushEth();
    case 20:
      return more.PopEth();
    case 21: {
      const bool type1 = OneIn(random, 2);
      const ovs_nsh_key_base base{
          static_cast<std::uint8_t>(Below(random, 4)), static_cast<std::uint8_t>(Below(random, 64)),
          static_cast<std::uint8_t>(type1 ? 1 : 2), 3, static_cast<Be32>(random())};
      return more.PushNsh(base, RandomBytes(random, type1 ? 16 : Below(random, 62) * 4));
    }
    case 22:
      return more.PopNsh();
    default:
      AddSet(random, key, more);
      return more;
  }
}

Actions RandomList(Random& random, const Flow& key, int depth, const Acceptance& accepted) {
  Actions list;
  for (std::uint32_t tries = Below(random, 6 + 3 * static_cast<std::uint32_t>(depth)); tries > 0;
       --tries) {
    const Actions more = WithOneMore(random, key, depth, list, accepted);
    if (more.size() < 20'000 && accepted(more)) list = more;
  }
  return list;
}

// The exact match, or one that does not look at some of the fields.
Match RandomMatch(Random& random, const Flow& key) {
  Match match{key, ExactMask(key)};
  if (OneIn(random, 2)) {
    FlowWords mask = ToWords(match.mask);
    for (std::uint64_t& word : mask) {
      if (OneIn(random, 4)) word = 0;
    }
    match.mask = FromWords(mask);
    match.mask.in_port = match.mask.recirc_id = UINT32_MAX;
  }
  match.key = ApplyMask(match.key, match.mask);
  return match;
}

// ---- Rounds.

// Another packet, perhaps of the same flow.
Arrival Variation(Random& random, const Arrival& from) {
  Arrival arrival = from;
  Frame& frame = arrival.frame;
  if (frame.empty()) return arrival;
  if (OneIn(random, 2)) frame[Below(random, static_cast<std::uint32_t>(frame.size()))] ^= 1;
  if (OneIn(random, 2)) frame.resize(frame.size() + Below(random, 60), 0x55);
  return arrival;
}

void Round(Random& random) {
  BothExecutors both;
  const Arrival first = RandomArrival(random);
  const Flow key = both.KeyOf(first);
  const Match match = RandomMatch(random, key);
  const auto accepted = [&](const Actions& list) { return ActionList::Parse(list, match).ok(); };
  const Actions actions = RandomList(random, key, 3, accepted);
  const ActionListPtr list = Accepted(actions, match);
  std::vector<Arrival> arrivals = {first};
  // More packets of the flow; sometimes of no flow that the list was made for.
  const bool strangers = OneIn(random, 4);
  for (std::uint32_t n = ThrowsDice(*list) ? 0 : Below(random, 12); n > 0; --n) {
    Arrival more = strangers ? RandomArrival(random) : Variation(random, first);
    if (strangers || ApplyMask(both.KeyOf(more), match.mask) == match.key)
      arrivals.push_back(std::move(more));
  }
  REQUIRE(both.Difference(arrivals, *list, random()) == "");
}

}  // namespace

TEST_CASE("actions: the fast executor does what the plain one does") {
  for (std::uint32_t seed = 0; seed < 10'000 / kSlowdown; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Round(random);
  }
}

}  // namespace pollux::test
