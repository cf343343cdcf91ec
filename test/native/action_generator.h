// Action lists out of choices: dice for the random test, a fuzzer's bytes for the fuzzer. Most of
// what is tried is right where it stands, since only what ActionList::Parse() accepts is kept.
#pragma once

#include <algorithm>
#include <functional>

#include "action_builder.h"
#include "actions/action_list.h"

namespace pollux::test {

using Blob = std::vector<std::uint8_t>;

class Choices {
 public:
  virtual ~Choices() = default;
  // A number less than n. Where there is nothing to choose any more: 0.
  virtual std::uint32_t Below(std::uint32_t n) = 0;

  bool OneIn(std::uint32_t n) { return Below(n) == n - 1; }
  std::uint8_t Byte() { return static_cast<std::uint8_t>(Below(256)); }
  std::uint32_t Number() { return LoadAs<std::uint32_t>(Some(sizeof(std::uint32_t)).data()); }
  // Zeros and ones show what random bits seldom do.
  Blob Some(std::size_t n) {
    Blob bytes(n);
    const std::uint32_t kind = Below(6);
    if (kind == 1) std::fill(bytes.begin(), bytes.end(), 0xff);
    if (kind > 1) std::generate(bytes.begin(), bytes.end(), [this] { return Byte(); });
    return bytes;
  }
};

struct SettableField {
  std::uint16_t type;
  std::size_t size;
};
inline constexpr SettableField kSettableFields[] = {
    {OVS_KEY_ATTR_PRIORITY, 4},  {OVS_KEY_ATTR_SKB_MARK, 4},  {OVS_KEY_ATTR_DP_HASH, 4},
    {OVS_KEY_ATTR_RECIRC_ID, 4}, {OVS_KEY_ATTR_ETHERNET, 12}, {OVS_KEY_ATTR_IPV4, 12},
    {OVS_KEY_ATTR_IPV6, 40},     {OVS_KEY_ATTR_TCP, 4},       {OVS_KEY_ATTR_UDP, 4},
    {OVS_KEY_ATTR_SCTP, 4},      {OVS_KEY_ATTR_ICMP, 2},      {OVS_KEY_ATTR_ICMPV6, 2},
    {OVS_KEY_ATTR_ARP, 24},      {OVS_KEY_ATTR_ND, 28},       {kKeyAttrNdExtensions, 8},
    {OVS_KEY_ATTR_MPLS, 4},      {OVS_KEY_ATTR_NSH, 0},       {OVS_KEY_ATTR_TUNNEL, 0},
};

inline Actions SomeTunnel(Choices& choices) {
  Actions tunnel;
  if (choices.OneIn(2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_ID, choices.Some(8));
  if (choices.OneIn(2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_IPV4_DST, choices.Some(4));
  if (choices.OneIn(2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_TTL, choices.Some(1));
  if (choices.OneIn(2)) tunnel.Raw(OVS_TUNNEL_KEY_ATTR_CSUM, {});
  return tunnel;
}

inline Actions SomeNsh(Choices& choices, bool masked) {
  const auto value_and_mask = [&](Blob value, std::size_t fixed_at, std::size_t fixed) {
    if (!masked) return value;
    Blob mask = choices.Some(value.size());
    for (std::size_t i = fixed_at; i < fixed_at + fixed; ++i) mask[i] = 0;
    if (fixed > 0) mask[0] &= 3, mask[1] &= 63;
    value.insert(value.end(), mask.begin(), mask.end());
    return value;
  };
  Actions nsh;
  Blob base = choices.Some(8);
  base[0] &= 3;
  base[1] &= 63;
  base[2] = 1;
  base[3] = static_cast<std::uint8_t>(1 + choices.Below(4));
  nsh.Raw(OVS_NSH_KEY_ATTR_BASE, value_and_mask(base, 2, 2));
  if (choices.OneIn(2)) nsh.Raw(OVS_NSH_KEY_ATTR_MD1, value_and_mask(choices.Some(16), 0, 0));
  return nsh;
}

inline void AddSet(Choices& choices, const Flow& key, Actions& out) {
  const SettableField& field = kSettableFields[choices.Below(std::size(kSettableFields))];
  const bool masked = choices.OneIn(2);
  Actions inside;
  if (field.type == OVS_KEY_ATTR_NSH) {
    inside.Raw(field.type, SomeNsh(choices, masked));
  } else if (field.type == OVS_KEY_ATTR_TUNNEL) {
    inside.Raw(field.type, SomeTunnel(choices));
  } else {
    Blob value = choices.Some(field.size);
    Blob mask = choices.Some(masked ? field.size : 0);
    // What must stay.
    const std::size_t at = field.type == OVS_KEY_ATTR_IPV6 ? 36 : 8;
    if (field.type == OVS_KEY_ATTR_IPV6) value[32] = 0, value[33] &= 0x0f;
    if (field.type == OVS_KEY_ATTR_IPV4 || field.type == OVS_KEY_ATTR_IPV6) {
      value[at] = key.nw_proto;
      value[at + 3] = key.nw_frag;
      if (masked) mask[at] = mask[at + 3] = 0;
    }
    if (field.type == OVS_KEY_ATTR_ICMPV6 && choices.OneIn(2))
      value[0] = static_cast<std::uint8_t>(135 + choices.Below(2)), value[1] = 0;
    value.insert(value.end(), mask.begin(), mask.end());
    inside.Raw(field.type, value);
  }
  out.Raw(masked ? OVS_ACTION_ATTR_SET_MASKED : OVS_ACTION_ATTR_SET, inside);
}

inline std::uint16_t SomeEtherType(Choices& choices) {
  static constexpr std::uint16_t kTypes[] = {0x0800, 0x86dd, 0x8847, 0x8848,
                                             0x894f, 0x8100, 0x6558, 0x88b5};
  return kTypes[choices.Below(std::size(kTypes))];
}

using Acceptance = std::function<bool(const Actions&)>;
inline Actions SomeList(Choices& choices, const Flow& key, int depth, const Acceptance& accepted);

// One action more; it may not be right where it stands.
inline Actions WithOneMore(Choices& choices, const Flow& key, int depth, const Actions& list,
                           const Acceptance& accepted) {
  Actions more = list;
  const auto nested = [&](const std::function<Actions(const Actions&)>& around) {
    if (depth == 0) return Actions();
    return SomeList(choices, key, depth - 1,
                    [&](const Actions& inside) { return accepted(around(inside)); });
  };
  switch (choices.Below(26)) {
    case 0:
    case 1:
      return more.Output(choices.Below(4));
    case 2:
      return more.Userspace();
    case 3:
      return more.Recirc(choices.Number());
    case 4:
      return choices.OneIn(4) ? more.Drop(choices.Below(16)) : more.Output(9);
    case 5:
    case 6:
      return more.Trunc(choices.OneIn(2) ? choices.Below(30) : choices.Below(120));
    case 7:
      return more.Hash(choices.Below(2), choices.Number());
    case 8:
    case 9: {
      const Actions inside = nested([&](const Actions& in) { return Actions(list).Clone(in); });
      return more.Clone(inside);
    }
    case 10: {
      const std::uint32_t probability = choices.OneIn(3)   ? UINT32_MAX
                                        : choices.OneIn(3) ? 0
                                                           : 0x80000000;
      const Actions inside =
          nested([&](const Actions& in) { return Actions(list).Sample(probability, in); });
      return more.Sample(probability, inside);
    }
    case 11:
    case 12: {
      const auto length = static_cast<std::uint16_t>(choices.Below(110));
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
      return more.PushVlan(static_cast<std::uint16_t>(choices.Below(4096)), 0x88a8,
                           static_cast<std::uint8_t>(choices.Below(8)));
    case 15:
      return more.PopVlan();
    case 16:
      return more.PushMpls(choices.Number(), choices.OneIn(2) ? 0x8847 : 0x8848);
    case 17:
      return more.AddMpls(choices.Number(), static_cast<std::uint16_t>(choices.Below(2)));
    case 18:
      return more.PopMpls(SomeEtherType(choices));
    case 19:
      return more.PushEth();
    case 20:
      return more.PopEth();
    case 21: {
      const bool type1 = choices.OneIn(2);
      const ovs_nsh_key_base base{static_cast<std::uint8_t>(choices.Below(4)),
                                  static_cast<std::uint8_t>(choices.Below(64)),
                                  static_cast<std::uint8_t>(type1 ? 1 : 2), 3, choices.Number()};
      return more.PushNsh(base, choices.Some(type1 ? 16 : choices.Below(62) * 4));
    }
    case 22:
      return more.PopNsh();
    default:
      AddSet(choices, key, more);
      return more;
  }
}

inline Actions SomeList(Choices& choices, const Flow& key, int depth, const Acceptance& accepted) {
  Actions list;
  for (std::uint32_t tries = choices.Below(6 + 3 * static_cast<std::uint32_t>(depth)); tries > 0;
       --tries) {
    const Actions more = WithOneMore(choices, key, depth, list, accepted);
    if (more.size() < 20'000 && accepted(more)) list = more;
  }
  return list;
}

// The exact match, or one that does not look at some of the fields.
inline Match SomeMatch(Choices& choices, const Flow& key) {
  Match match{key, ExactMask(key)};
  if (choices.OneIn(2)) {
    FlowWords mask = ToWords(match.mask);
    for (std::uint64_t& word : mask) {
      if (choices.OneIn(4)) word = 0;
    }
    match.mask = FromWords(mask);
    match.mask.in_port = match.mask.recirc_id = UINT32_MAX;
  }
  match.key = ApplyMask(match.key, match.mask);
  return match;
}

}  // namespace pollux::test
