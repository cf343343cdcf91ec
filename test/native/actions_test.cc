// Action lists: what is refused; and rewrites: a rewritten frame equals the frame that was built
// with the new values.
#include <doctest/doctest.h>
#include <linux/openvswitch.h>

#include <functional>
#include <random>

#include "actions/action_list.h"
#include "actions/execute.h"
#include "actions/rewrite.h"
#include "flow/extract.h"
#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux {
namespace {

using Blob = std::vector<std::uint8_t>;
using test::EthernetFrame;
using test::Frame;
using test::HeapPacket;
using test::Ip4;
using test::Ip6;
using test::Mac;
using test::Peek16;
using test::Poke16;

Flow KeyOf(std::span<const std::uint8_t> frame) {
  HeapPacket packet(frame);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return key.Expand();
}
Match ExactMatch(std::span<const std::uint8_t> frame) {
  const Flow key = KeyOf(frame);
  return {key, ExactMask(key)};
}

EthernetFrame V4(const test::Ip4Fields& fields = {}) {
  return EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2", fields);
}
EthernetFrame V6(const test::Ip6Fields& fields = {}) {
  return EthernetFrame().Ipv6("2001:db8::1", "2001:db8::2", fields);
}

// ---- Lists.

class A {
 public:
  A& Raw(std::uint16_t type, Bytes payload) {
    AppendAttribute(bytes_, type, payload);
    return *this;
  }
  template <typename T>
  A& Put(std::uint16_t type, const T& value) {
    return Raw(type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
  }
  A& Output(std::uint32_t port) { return Put(OVS_ACTION_ATTR_OUTPUT, port); }
  A& Pop() { return Raw(OVS_ACTION_ATTR_POP_VLAN, {}); }
  A& Push(std::uint16_t tpid = 0x8100, std::uint16_t tci = 0x1005) {
    return Put(OVS_ACTION_ATTR_PUSH_VLAN, ovs_action_push_vlan{ToBe16(tpid), ToBe16(tci)});
  }
  template <typename T>
  A& Set(std::uint16_t field, const T& value) {
    return Raw(OVS_ACTION_ATTR_SET, A().Put(field, value));
  }
  template <typename T>
  A& SetMasked(std::uint16_t field, const T& value, const T& mask) {
    struct Both {
      T value;
      T mask;
    };
    static_assert(sizeof(Both) == 2 * sizeof(T));
    return Raw(OVS_ACTION_ATTR_SET_MASKED, A().Put(field, Both{value, mask}));
  }
  A& Userspace(const A& inside) { return Raw(OVS_ACTION_ATTR_USERSPACE, inside); }
  operator Bytes() const { return bytes_; }  // NOLINT: implicit by design.
  std::size_t size() const { return bytes_.size(); }

 private:
  Blob bytes_;
};

std::shared_ptr<const ActionList> Accepted(Bytes attributes, const Match& match) {
  auto list = ActionList::Parse(attributes, match);
  if (!list.ok()) FAIL("refused: " << list.error().message);
  return *list;
}
void CheckRefused(Bytes attributes, const Match& match, const char* why) {
  CAPTURE(why);
  const auto list = ActionList::Parse(attributes, match);
  REQUIRE_FALSE(list.ok());
  CHECK(list.error().number == EINVAL);
  CAPTURE(list.error().message);
  CHECK(list.error().message.find(why) != std::string::npos);
}

const Match kAny{};

TEST_CASE("actions: lists") {
  SUBCASE("nothing: drop") {
    const auto list = Accepted({}, kAny);
    CHECK(list->actions().empty());
    CHECK(list->sole_output() == kNoPort);
  }
  SUBCASE("one output") {
    const A bytes = A().Output(65'535);
    const auto list = Accepted(bytes, kAny);
    REQUIRE(list->actions().size() == 1);
    CHECK(std::get<OutputAction>(list->actions()[0]).port == PortNumber{65'535});
    CHECK(list->sole_output() == PortNumber{65'535});
    CHECK(std::equal(list->attributes().begin(), list->attributes().end(), Bytes(bytes).begin(),
                     Bytes(bytes).end()));
  }
  SUBCASE("several") {
    const auto list = Accepted(A().Push().Output(1).Pop().Output(0).Output(0), kAny);
    REQUIRE(list->actions().size() == 5);
    CHECK(std::get<PushVlanAction>(list->actions()[0]).tag.tci == ToBe16(0x1005));
    CHECK(std::holds_alternative<PopVlanAction>(list->actions()[2]));
    CHECK(list->sole_output() == kNoPort);
    CHECK(Accepted(A().Push(), kAny)->sole_output() == kNoPort);
  }
  SUBCASE("userspace") {
    const auto list = Accepted(
        A().Userspace(A().Put(OVS_USERSPACE_ATTR_PID, 7).Put(OVS_USERSPACE_ATTR_USERDATA, 'x')),
        kAny);
    const auto& action = std::get<UserspaceAction>(list->actions()[0]);
    REQUIRE(action.userdata != nullptr);
    CHECK(*action.userdata == Blob{'x'});
    CHECK(std::get<UserspaceAction>(Accepted(A().Userspace({}), kAny)->actions()[0]).userdata ==
          nullptr);
    const Blob longest(65'512);
    CHECK(Accepted(A().Userspace(A().Raw(OVS_USERSPACE_ATTR_USERDATA, longest)), kAny)
              ->actions()
              .size() == 1);
  }
  SUBCASE("as long as can be") {
    A bytes;
    while (bytes.size() + 8 <= 65'531) bytes.Output(1);
    CHECK(Accepted(bytes, kAny)->actions().size() == 8191);
    CheckRefused(bytes.Output(1), kAny, "at most 65531");
    CheckRefused(Blob(800'000), kAny, "at most 65531");
  }
}

TEST_CASE("actions: refused") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match tcp = ExactMatch(V4().Tcp(1, 2).Build());
  const Match tcp6 = ExactMatch(V6().Tcp(1, 2).Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const Match vlan = ExactMatch(EthernetFrame().Vlan(5).Build());
  const Match qinq = ExactMatch(EthernetFrame().Vlan(5).Vlan(6).Build());
  const Match later = ExactMatch(V4({.fragment = 1, .protocol = 17}).Payload(8).Build());
  const ovs_key_ipv4 ip4{1, 2, 17, 0, 64, 0};

  SUBCASE("place and name") {
    CheckRefused(A().Output(1).Output(70'000), kAny,
                 "action 2 (output): port 70000 is not a number from 0 to 65535");
    CheckRefused(A().Pop(), kAny, "action 1 (pop_vlan)");
  }
  SUBCASE("not supported yet, by name") {
    const std::pair<std::uint16_t, const char*> kNames[] = {
        {OVS_ACTION_ATTR_SAMPLE, "sample"},
        {OVS_ACTION_ATTR_RECIRC, "recirc"},
        {OVS_ACTION_ATTR_HASH, "hash"},
        {OVS_ACTION_ATTR_PUSH_MPLS, "push_mpls"},
        {OVS_ACTION_ATTR_POP_MPLS, "pop_mpls"},
        {OVS_ACTION_ATTR_CT, "ct"},
        {OVS_ACTION_ATTR_TRUNC, "trunc"},
        {OVS_ACTION_ATTR_PUSH_ETH, "push_eth"},
        {OVS_ACTION_ATTR_POP_ETH, "pop_eth"},
        {OVS_ACTION_ATTR_CT_CLEAR, "ct_clear"},
        {OVS_ACTION_ATTR_PUSH_NSH, "push_nsh"},
        {OVS_ACTION_ATTR_POP_NSH, "pop_nsh"},
        {OVS_ACTION_ATTR_METER, "meter"},
        {OVS_ACTION_ATTR_CLONE, "clone"},
        {OVS_ACTION_ATTR_CHECK_PKT_LEN, "check_pkt_len"},
        {OVS_ACTION_ATTR_ADD_MPLS, "add_mpls"},
        {OVS_ACTION_ATTR_DEC_TTL, "dec_ttl"}};
    for (const auto& [type, name] : kNames) {
      CheckRefused(A().Put(type, 1), kAny, (std::string("not supported yet: ") + name).c_str());
    }
    for (std::uint16_t type : {0, OVS_ACTION_ATTR_MAX + 1, 99, 0x3fff}) {
      CheckRefused(A().Put(type, 1), kAny,
                   ("(type " + std::to_string(type) + "): unknown action").c_str());
    }
  }
  SUBCASE("sizes") {
    for (std::size_t n : {0, 1, 3, 5, 8}) {
      CheckRefused(A().Raw(OVS_ACTION_ATTR_OUTPUT, Blob(n)), kAny, "bytes instead of 4");
      CheckRefused(A().Raw(OVS_ACTION_ATTR_PUSH_VLAN, Blob(n)), kAny, "bytes instead of 4");
      if (n > 0)
        CheckRefused(A().Raw(OVS_ACTION_ATTR_POP_VLAN, Blob(n)), vlan, "bytes instead of 0");
      CheckRefused(A().Raw(OVS_ACTION_ATTR_SET, A().Raw(OVS_KEY_ATTR_UDP, Blob(n))), udp,
                   "bytes instead of 4");
      if (n != 8) {
        CheckRefused(A().Raw(OVS_ACTION_ATTR_SET_MASKED, A().Raw(OVS_KEY_ATTR_UDP, Blob(n))), udp,
                     "instead of 8");
      }
    }
    CheckRefused(A().Set(OVS_KEY_ATTR_ETHERNET, 1), kAny, "bytes instead of 12");
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_ETHERNET, 1, 1), kAny, "bytes instead of 24");
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV4, 1), udp, "bytes instead of 12");
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV6, 1), tcp6, "bytes instead of 40");
  }
  SUBCASE("malformed") {
    const A good = A().Output(1);
    for (std::size_t n = 1; n < good.size(); ++n)
      CheckRefused(Bytes(good).first(n), kAny, "malformed");
    CheckRefused(A().Raw(OVS_ACTION_ATTR_USERSPACE, Blob{1}), kAny, "malformed");
    CheckRefused(A().Raw(OVS_ACTION_ATTR_SET, {}), kAny, "names no field");
    CheckRefused(A().Raw(OVS_ACTION_ATTR_SET, Blob{1, 0, 0}), kAny, "names no field");
    CheckRefused(
        A().Raw(OVS_ACTION_ATTR_SET, A().Put(OVS_KEY_ATTR_UDP, 1).Put(OVS_KEY_ATTR_UDP, 1)), udp,
        "exactly one");
  }
  SUBCASE("userspace") {
    CheckRefused(A().Userspace(A().Put(OVS_USERSPACE_ATTR_PID, 'x')), kAny, "instead of 4");
    CheckRefused(A().Userspace(A().Put(OVS_USERSPACE_ATTR_PID, 1).Put(OVS_USERSPACE_ATTR_PID, 1)),
                 kAny, "duplicate pid");
    CheckRefused(A().Userspace(
                     A().Raw(OVS_USERSPACE_ATTR_USERDATA, {}).Raw(OVS_USERSPACE_ATTR_USERDATA, {})),
                 kAny, "duplicate userdata");
    CheckRefused(A().Userspace(A().Raw(OVS_USERSPACE_ATTR_USERDATA, Blob(65'513))), kAny,
                 "at most 65512");
    CheckRefused(A().Userspace(A().Put(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, 1)), kAny,
                 "not supported yet: tunnel_out_port");
    CheckRefused(A().Userspace(A().Raw(OVS_USERSPACE_ATTR_ACTIONS, {})), kAny,
                 "not supported yet: actions");
    CheckRefused(A().Userspace(A().Put(77, 1)), kAny, "unknown attribute 77");
  }
  SUBCASE("tags") {
    CheckRefused(A().Push(0x0800), kAny, "tpid");
    CheckRefused(A().Push(0x8100, 5), kAny, "cfi");
    for (std::uint16_t tpid : {0x8100, 0x88a8, 0x9100}) Accepted(A().Push(tpid), kAny);
    CheckRefused(A().Push().Push().Push(), kAny,
                 "action 3 (push_vlan): a packet has at most two tags");
    CheckRefused(A().Push().Push(), vlan, "at most two");
    CheckRefused(A().Push(), qinq, "at most two");
    Accepted(A().Pop().Pop().Push().Push(), qinq);
    CheckRefused(A().Pop().Pop().Pop(), qinq, "action 3 (pop_vlan)");
    Accepted(A().Pop(), vlan);
    CheckRefused(A().Pop().Pop(), vlan, "does not say that there is a tag");
    Accepted(A().Push().Pop().Push().Pop(), udp);
    CheckRefused(A().Pop(), udp, "does not say");
    Match wild = vlan;
    wild.mask.vlans[0].tci = ToBe16(0x0fff);  // The tag may be missing.
    CheckRefused(A().Pop(), wild, "does not say");
  }
  SUBCASE("sets need their header") {
    ovs_key_ipv4 mask4{};
    mask4.ipv4_src = UINT32_MAX;
    ovs_key_ipv6 mask6{};
    mask6.ipv6_hlimit = 0xff;
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), kAny, "\"eth_type(0x0800)\"");
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), tcp6, "\"eth_type(0x0800)\"");
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), arp, "\"eth_type(0x0800)\"");
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV6, mask6, mask6), udp, "\"eth_type(0x86dd)\"");
    CheckRefused(A().Set(OVS_KEY_ATTR_TCP, 1), udp, "\"ipv4(proto=6)\"");
    CheckRefused(A().Set(OVS_KEY_ATTR_UDP, 1), tcp, "\"ipv4(proto=17)\"");
    CheckRefused(A().Set(OVS_KEY_ATTR_UDP, 1), kAny, "\"ipv4(proto=17)\"");
    CheckRefused(A().Set(OVS_KEY_ATTR_UDP, 1), later, "a later fragment has no ports");
    Match wild = udp;
    wild.mask.nw_proto = 0xfe;
    CheckRefused(A().Set(OVS_KEY_ATTR_UDP, 1), wild, "\"ipv4(proto=17)\"");
    wild = udp;
    wild.mask.eth_type = 0x00ff;
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), wild, "\"eth_type(0x0800)\"");
    wild = udp;
    wild.mask.nw_frag = 0;
    Accepted(A().Set(OVS_KEY_ATTR_UDP, 1), wild);
    Accepted(A().Set(OVS_KEY_ATTR_TCP, 1), tcp6);
    Accepted(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), later);
  }
  SUBCASE("fields that others are decoded by cannot be set") {
    Accepted(A().Set(OVS_KEY_ATTR_IPV4, ip4), udp);  // It names them, with the values they have.
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV4, ip4), tcp, "\"proto\" cannot be set");
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{1, 2, 17, 0, 64, 1}), udp,
                 "\"frag\" cannot be set");
    Match wild = udp;
    wild.mask.nw_proto = 0;
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV4, ip4), wild, "\"proto\" cannot be set");
    ovs_key_ipv4 mask{};
    mask.ipv4_proto = 1;
    CheckRefused(A().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask), udp, "\"proto\" cannot be set");
    ovs_key_ipv6 ip6{};
    ip6.ipv6_proto = 6;
    Accepted(A().Set(OVS_KEY_ATTR_IPV6, ip6), tcp6);
    ip6.ipv6_label = ToBe32(0x100000);
    CheckRefused(A().Set(OVS_KEY_ATTR_IPV6, ip6), tcp6, "20 bits");
    for (std::uint16_t type :
         {OVS_KEY_ATTR_ENCAP, OVS_KEY_ATTR_IN_PORT, OVS_KEY_ATTR_VLAN, OVS_KEY_ATTR_ETHERTYPE,
          OVS_KEY_ATTR_TCP_FLAGS, OVS_KEY_ATTR_PACKET_TYPE}) {
      CheckRefused(A().Set(type, 1), udp, "cannot be set");
    }
    for (std::uint16_t type :
         {OVS_KEY_ATTR_PRIORITY, OVS_KEY_ATTR_ICMP, OVS_KEY_ATTR_ICMPV6, OVS_KEY_ATTR_ARP,
          OVS_KEY_ATTR_ND, OVS_KEY_ATTR_SKB_MARK, OVS_KEY_ATTR_TUNNEL, OVS_KEY_ATTR_SCTP,
          OVS_KEY_ATTR_DP_HASH, OVS_KEY_ATTR_RECIRC_ID, OVS_KEY_ATTR_MPLS, OVS_KEY_ATTR_NSH}) {
      CheckRefused(A().Set(type, 1), udp, "not supported yet: set of ");
    }
    CheckRefused(A().Set(60, 1), udp, "unknown field, attribute 60");
  }
  SUBCASE("bits outside of the mask are ignored") {
    const auto list = Accepted(
        A().SetMasked(OVS_KEY_ATTR_UDP, ovs_key_udp{0xffff, 0xffff}, ovs_key_udp{0x00f0, 0}), udp);
    const auto& set = std::get<SetAction>(list->actions()[0]);
    CHECK(set.group == SetAction::Group::kUdp);
    CHECK(set.value.tp_src == 0x00f0);
    CHECK(set.value.tp_dst == 0);
    CHECK(set.mask.tp_src == 0x00f0);
  }
}

// ---- Rewrites.

using Group = SetAction::Group;

// A set of whole fields: `edit` writes the values into a Flow and ones into the mask.
SetAction MakeSet(Group group, const std::function<void(Flow& value, FlowMask& mask)>& edit) {
  SetAction set{};
  set.group = group;
  edit(set.value, set.mask);
  return set;
}
template <typename T>
void Whole(T& value, T& mask, const T& is) {
  value = is;
  std::memset(&mask, 0xff, sizeof mask);
}
SetAction SetMacs(const char* dst, const char* src) {
  return MakeSet(Group::kEthernet, [&](Flow& v, FlowMask& m) {
    Whole(v.eth_dst, m.eth_dst, Mac(dst));
    Whole(v.eth_src, m.eth_src, Mac(src));
  });
}
SetAction Set4(const char* src, const char* dst, std::uint8_t tos, std::uint8_t ttl) {
  return MakeSet(Group::kIpv4, [&](Flow& v, FlowMask& m) {
    Whole(v.ipv4_src, m.ipv4_src, Ip4(src));
    Whole(v.ipv4_dst, m.ipv4_dst, Ip4(dst));
    Whole(v.nw_tos, m.nw_tos, tos);
    Whole(v.nw_ttl, m.nw_ttl, ttl);
  });
}
SetAction Set6(const char* src, const char* dst, std::uint8_t traffic_class, std::uint8_t limit,
               std::uint32_t label) {
  return MakeSet(Group::kIpv6, [&](Flow& v, FlowMask& m) {
    Whole(v.ipv6_src, m.ipv6_src, Ip6(src));
    Whole(v.ipv6_dst, m.ipv6_dst, Ip6(dst));
    Whole(v.nw_tos, m.nw_tos, traffic_class);
    Whole(v.nw_ttl, m.nw_ttl, limit);
    v.ipv6_label = ToBe32(label);
    m.ipv6_label = ToBe32(0xfffff);
  });
}
SetAction SetPorts(Group group, std::uint16_t src, std::uint16_t dst) {
  return MakeSet(group, [&](Flow& v, FlowMask& m) {
    Whole(v.tp_src, m.tp_src, ToBe16(src));
    Whole(v.tp_dst, m.tp_dst, ToBe16(dst));
  });
}

// The frame after the set; `applied` is what ApplySet() says.
Frame After(const SetAction& set, const Frame& frame, bool applied = true) {
  HeapPacket packet(frame);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  CHECK(ApplySet(set, *packet) == applied);
  return packet.frame();
}

TEST_CASE("rewrite: Ethernet") {
  CHECK(After(SetMacs("02:11:11:11:11:11", "02:22:22:22:22:22"),
              EthernetFrame().Payload(9).Build()) ==
        EthernetFrame("02:11:11:11:11:11", "02:22:22:22:22:22").Payload(9).Build());
  const SetAction some = MakeSet(Group::kEthernet, [](Flow& v, FlowMask& m) {
    v.eth_src = Mac("ff:ff:ff:ff:ff:ff");
    m.eth_src = Mac("00:00:00:00:00:0f");
    v.eth_src = Mac("00:00:00:00:00:0f");
  });
  CHECK(After(some, EthernetFrame().Build()) ==
        EthernetFrame("02:00:00:00:00:02", "02:00:00:00:00:0f").Build());
}

TEST_CASE("rewrite: IPv4 addresses, tos, ttl; every protocol's checksum follows") {
  const SetAction set = Set4("192.168.255.254", "255.255.255.255", 0xfe, 1);
  const auto build = [](const char* src, const char* dst, std::uint8_t tos, std::uint8_t ttl,
                        int kind) {
    EthernetFrame f;
    if (kind & 1) f.Vlan(7);
    if (kind == 6) f.Snap();
    f.Ipv4(src, dst, {.tos = tos, .ttl = ttl, .options = kind & 2 ? 12u : 0u, .protocol = 47});
    switch (kind) {
      case 0:
      case 1:
        return f.Tcp(1, 2, 0x10, 4).Payload(33).Build();
      case 2:
      case 3:
        return f.Udp(1, 2).Payload(32).Build();
      case 4:
        return f.Udp(1, 2, false).Payload(7).Build();
      case 5:
        return f.Icmp(8, 0).Payload(3).Build();
      case 6:
        return f.Sctp(1, 2).Padding(20).Build();
      default:
        return f.Payload(9).Build();
    }
  };
  for (int kind = 0; kind < 8; ++kind) {
    CAPTURE(kind);
    CHECK(After(set, build("10.0.0.1", "10.0.0.2", 0, 64, kind)) ==
          build("192.168.255.254", "255.255.255.255", 0xfe, 1, kind));
  }
}

TEST_CASE("rewrite: IPv6") {
  const SetAction set = Set6("2001:db8:ffff::1", "fe80::ffff", 0xfd, 2, 0xfedcb);
  const auto build = [](const char* src, const char* dst, const test::Ip6Fields& fields, int kind) {
    EthernetFrame f;
    if (kind == 1) f.Vlan(1).Vlan(2);
    f.Ipv6(src, dst, fields);
    switch (kind) {
      case 0:
        return f.Tcp(1, 2).Payload(33).Build();
      case 1:
        return f.Udp(1, 2).Payload(32).Build();
      case 2:
        return f.Icmp(135, 0).NdTarget("fe80::1").NdOption(1, 1, "02:00:00:00:00:0a").Build();
      case 3:
        return f.Options(0).Options(60, 2).Authentication().Tcp(1, 2).Payload(4).Build();
      case 4:
        return f.Udp(1, 2, false).Build();
      case 5:
        return f.Fragment(0, true).Udp(3, 4).Payload(16).Build();
      case 6:
        return f.Routing(0).Tcp(3, 4).Build();
      case 7:
        // The checksum is over the last segment, not over the destination.
        return f.Routing(1).Tcp(3, 4).Build();
      case 8:
        return f.Fragment(0, false).Udp(3, 4).Payload(16).Build();
      default:
        return f.Payload(9).Build();
    }
  };
  for (int kind = 0; kind < 10; ++kind) {
    CAPTURE(kind);
    CHECK(After(set, build("2001:db8::1", "2001:db8::2", {}, kind)) ==
          build("2001:db8:ffff::1", "fe80::ffff",
                {.traffic_class = 0xfd, .hop_limit = 2, .label = 0xfedcb}, kind));
  }
}

TEST_CASE("rewrite: IPv6 class and label leave each other and the version alone") {
  const SetAction tos = MakeSet(Group::kIpv6, [](Flow& v, FlowMask& m) {
    v.nw_tos = 0x5a;
    m.nw_tos = 0xff;
  });
  const SetAction label = MakeSet(Group::kIpv6, [](Flow& v, FlowMask& m) {
    v.ipv6_label = ToBe32(0x00f0f);
    m.ipv6_label = ToBe32(0x00fff);
  });
  const auto build = [](std::uint8_t traffic_class, std::uint32_t bits) {
    return V6({.traffic_class = traffic_class, .label = bits}).Udp(1, 2).Build();
  };
  CHECK(After(tos, build(0xff, 0xabcde)) == build(0x5a, 0xabcde));
  CHECK(After(label, build(0xff, 0xabcde)) == build(0xff, 0xabf0f));
}

TEST_CASE("rewrite: ports") {
  CHECK(After(SetPorts(Group::kTcp, 0xffff, 0), V4().Tcp(1, 2).Payload(5).Build()) ==
        V4().Tcp(0xffff, 0).Payload(5).Build());
  CHECK(After(SetPorts(Group::kUdp, 7, 8), V4().Udp(1, 2).Payload(5).Build()) ==
        V4().Udp(7, 8).Payload(5).Build());
  CHECK(After(SetPorts(Group::kUdp, 7, 8), V4().Udp(1, 2, false).Build()) ==
        V4().Udp(7, 8, false).Build());
  CHECK(After(SetPorts(Group::kTcp, 7, 8), V6().Options(0).Tcp(1, 2).Build()) ==
        V6().Options(0).Tcp(7, 8).Build());
  CHECK(After(SetPorts(Group::kUdp, 7, 8), V6().Routing(1).Udp(1, 2).Build()) ==
        V6().Routing(1).Udp(7, 8).Build());
  CHECK(After(SetPorts(Group::kUdp, 7, 8), V4({.fragment = 0x2000}).Udp(1, 2).Payload(8).Build()) ==
        V4({.fragment = 0x2000}).Udp(7, 8).Payload(8).Build());
}

TEST_CASE("rewrite: a packet without the header is left as it is") {
  const SetAction sets[] = {Set4("1.1.1.1", "2.2.2.2", 1, 1), Set6("::1", "::2", 1, 1, 1),
                            SetPorts(Group::kTcp, 1, 1), SetPorts(Group::kUdp, 1, 1)};
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    const Flow key = KeyOf(frame);
    HeapPacket probe(frame);
    Miniflow mini;
    ExtractMiniflow(*probe, mini);
    const bool l3 = probe->l3_offset != Packet::kNoOffset;
    const bool l4 = probe->l4_offset != Packet::kNoOffset;
    const bool has[] = {l3 && Layer3Of(key) == Layer3::kIpv4, l3 && Layer3Of(key) == Layer3::kIpv6,
                        l4 && Layer4Of(key) == Layer4::kTcp, l4 && Layer4Of(key) == Layer4::kUdp};
    for (std::size_t i = 0; i < std::size(sets); ++i) {
      CAPTURE(name);
      CAPTURE(i);
      const Frame after = After(sets[i], frame, has[i]);
      CHECK((after == frame) == !has[i]);
    }
  }
}

TEST_CASE("rewrite: in a later fragment addresses change, payload does not") {
  const auto build = [](const char* src) {
    return EthernetFrame()
        .Ipv4(src, "10.0.0.2", {.fragment = 3, .protocol = 17})
        .Payload(40)
        .Build();
  };
  const SetAction set = MakeSet(
      Group::kIpv4, [](Flow& v, FlowMask& m) { Whole(v.ipv4_src, m.ipv4_src, Ip4("9.9.9.9")); });
  CHECK(After(set, build("10.0.0.1")) == build("9.9.9.9"));
  const auto build6 = [](const char* src) {
    return EthernetFrame().Ipv6(src, "::2").Fragment(3, true).Payload(40).Build();
  };
  const SetAction set6 = MakeSet(
      Group::kIpv6, [](Flow& v, FlowMask& m) { Whole(v.ipv6_src, m.ipv6_src, Ip6("::9")); });
  CHECK(After(set6, build6("::1")) == build6("::9"));
}

TEST_CASE("rewrite: UDP checksums around zero") {
  // Some destination port makes the checksum come out as zero, which is sent as 0xffff.
  const Frame from = V4().Udp(1, 2).Build();
  int found = 0;
  for (std::uint32_t port = 0; port < 65'536; ++port) {
    HeapPacket packet(from);
    Miniflow key;
    ExtractMiniflow(*packet, key);
    REQUIRE(ApplySet(SetPorts(Group::kUdp, 1, static_cast<std::uint16_t>(port)), *packet));
    const std::uint16_t checksum = Peek16(packet.frame(), 40);
    REQUIRE(checksum != 0);
    if (checksum == 0xffff) {
      ++found;
      CHECK(packet.frame() == V4().Udp(1, static_cast<std::uint16_t>(port)).Build());
      // And away from it again.
      REQUIRE(ApplySet(SetPorts(Group::kUdp, 1, 2), *packet));
      CHECK(packet.frame() == from);
    }
  }
  CHECK(found == 1);
}

TEST_CASE("rewrite: a checksum that was wrong stays exactly as wrong") {
  const Frame good = V4().Tcp(1, 2).Payload(3).Build();
  for (const std::uint32_t error : {1u, 0x1234u, 0x8000u}) {
    Frame bad = good;
    const auto wrong = [&](std::size_t at) {  // One's complement addition.
      const std::uint32_t sum = Peek16(bad, at) + error;
      Poke16(bad, at, static_cast<std::uint16_t>(sum > 0xffff ? sum - 0xffff : sum));
    };
    wrong(24);
    wrong(50);
    Frame expected = EthernetFrame()
                         .Ipv4("1.2.3.4", "5.6.7.8", {.tos = 3, .ttl = 9})
                         .Tcp(1, 2)
                         .Payload(3)
                         .Build();
    const auto as_wrong = [&](std::size_t at) {
      const std::uint32_t sum = Peek16(expected, at) + error;
      Poke16(expected, at, static_cast<std::uint16_t>(sum > 0xffff ? sum - 0xffff : sum));
    };
    as_wrong(24);
    as_wrong(50);
    CHECK(After(Set4("1.2.3.4", "5.6.7.8", 3, 9), bad) == expected);
  }
}

TEST_CASE("rewrite: random values and masks, against building the frame anew") {
  std::mt19937 random(7);
  const auto ip = [&] {
    const std::uint32_t bits = random() % 4 == 0 ? (random() % 2 == 0 ? 0 : UINT32_MAX) : random();
    char text[INET_ADDRSTRLEN];
    REQUIRE(inet_ntop(AF_INET, &bits, text, sizeof text) != nullptr);
    return std::string(text);
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::string src = ip(), dst = ip(), value_src = ip(), value_dst = ip(), mask_src = ip(),
                      mask_dst = ip();
    const auto value_ports = static_cast<std::uint16_t>(random());
    const auto mask_ports = static_cast<std::uint16_t>(random());
    const auto port = static_cast<std::uint16_t>(random());
    const std::size_t payload = random() % 40;
    const bool tcp = random() % 2 == 0;
    const auto build = [&](const std::string& s, const std::string& d, std::uint16_t p,
                           std::uint8_t ttl) {
      EthernetFrame f = EthernetFrame().Ipv4(s.c_str(), d.c_str(), {.ttl = ttl});
      if (tcp) {
        f.Tcp(p, 80);
      } else {
        f.Udp(p, 80);
      }
      return f.Payload(payload).Build();
    };
    const auto mix = [](const std::string& old, const std::string& value, const std::string& mask) {
      const std::uint32_t m = Ip4(mask.c_str());
      const std::uint32_t bits = (Ip4(old.c_str()) & ~m) | (Ip4(value.c_str()) & m);
      char text[INET_ADDRSTRLEN];
      inet_ntop(AF_INET, &bits, text, sizeof text);
      return std::string(text);
    };
    HeapPacket packet(build(src, dst, port, 64));
    Miniflow key;
    ExtractMiniflow(*packet, key);
    REQUIRE(ApplySet(MakeSet(Group::kIpv4,
                             [&](Flow& v, FlowMask& m) {
                               v.ipv4_src = Ip4(value_src.c_str());
                               m.ipv4_src = Ip4(mask_src.c_str());
                               v.ipv4_dst = Ip4(value_dst.c_str());
                               m.ipv4_dst = Ip4(mask_dst.c_str());
                               v.nw_ttl = 0x0f;
                               m.nw_ttl = 0xf0;
                             }),
                     *packet));
    REQUIRE(ApplySet(MakeSet(tcp ? Group::kTcp : Group::kUdp,
                             [&](Flow& v, FlowMask& m) {
                               v.tp_src = ToBe16(value_ports);
                               m.tp_src = ToBe16(mask_ports);
                             }),
                     *packet));
    const auto new_port =
        static_cast<std::uint16_t>((port & ~mask_ports) | (value_ports & mask_ports));
    REQUIRE(packet.frame() == build(mix(src, value_src, mask_src), mix(dst, value_dst, mask_dst),
                                    new_port, 64 & 0x0f));
  }
}

TEST_CASE("rewrite: push and pop VLAN") {
  const auto build = [](int tags) {
    EthernetFrame f;
    if (tags > 1) f.Vlan(100, 5, 0x88a8);
    if (tags > 0) f.Vlan(7);
    return f.Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(4).Build();
  };
  const auto check_offsets = [](const Packet& packet, std::uint16_t l3) {
    CHECK(packet.l3_offset == l3);
    CHECK(packet.l4_offset == l3 + 20);
  };
  HeapPacket packet(build(0), 1, 8);
  Miniflow key;
  ExtractMiniflow(*packet, key);
  REQUIRE(PushVlan({ToBe16(0x8100), ToBe16(0x1007)}, *packet));
  CHECK(packet.frame() == build(1));
  check_offsets(*packet, 18);
  REQUIRE(PushVlan({ToBe16(0x88a8), ToBe16(0xb064)}, *packet));
  CHECK(packet.frame() == build(2));
  check_offsets(*packet, 22);
  CHECK_FALSE(PushVlan({ToBe16(0x8100), ToBe16(0x1001)}, *packet));  // No headroom left.
  CHECK(packet.frame() == build(2));
  check_offsets(*packet, 22);
  // The offsets still lead to the headers.
  CHECK(ApplySet(SetPorts(Group::kUdp, 1, 2), *packet));
  CHECK(ApplySet(Set4("10.0.0.1", "10.0.0.2", 0, 64), *packet));
  CHECK(packet.frame() == build(2));
  REQUIRE(PopVlan(*packet));
  CHECK(packet.frame() == build(1));
  REQUIRE(PopVlan(*packet));
  CHECK(packet.frame() == build(0));
  check_offsets(*packet, 14);
  CHECK_FALSE(PopVlan(*packet));
  CHECK(packet.frame() == build(0));
}

TEST_CASE("rewrite: push and pop VLAN at the limits") {
  HeapPacket no_layers(EthernetFrame().Build(), 1, 4);
  Miniflow key;
  ExtractMiniflow(*no_layers, key);
  REQUIRE(PushVlan({ToBe16(0x8100), ToBe16(0x1000)}, *no_layers));
  CHECK(no_layers->l3_offset == Packet::kNoOffset);
  CHECK(no_layers->l4_offset == Packet::kNoOffset);
  CHECK(no_layers->size == 18);
  REQUIRE(PopVlan(*no_layers));
  CHECK(no_layers.frame() == EthernetFrame().Build());

  Frame cut = EthernetFrame().Vlan(5).Build();
  for (std::size_t n = 14; n < 18; ++n) {
    HeapPacket packet(Frame(cut.begin(), cut.begin() + static_cast<std::ptrdiff_t>(n)));
    CHECK_FALSE(PopVlan(*packet));
    CHECK(packet->size == n);
  }
  HeapPacket huge(Frame(kMaxFrame), 1, 64);
  CHECK_FALSE(PushVlan({ToBe16(0x8100), ToBe16(0x1000)}, *huge));
  HeapPacket large(Frame(kMaxFrame - 4), 1, 64);
  CHECK(PushVlan({ToBe16(0x8100), ToBe16(0x1000)}, *large));
  CHECK(large->size == kMaxFrame);
}

// Whatever a match allows can be done to every packet that matches, cut or damaged as it may be.
TEST_CASE("rewrite: every set on every kind of frame, damaged") {
  std::mt19937 random(8);
  const auto frames = test::EveryKind();
  const SetAction sets[] = {SetMacs("02:03:04:05:06:07", "02:03:04:05:06:08"),
                            Set4("1.1.1.1", "2.2.2.2", 1, 1), Set6("::1", "::2", 1, 1, 1),
                            SetPorts(Group::kTcp, 1, 1), SetPorts(Group::kUdp, 1, 1)};
  for (int round = 0; round < 100'000; ++round) {
    Frame frame = frames[random() % frames.size()].frame;
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      frame[12 + random() % (frame.size() - 12)] = static_cast<std::uint8_t>(random());
    }
    if (random() % 2 == 0) frame.resize(kMinFrame + random() % (frame.size() - kMinFrame + 1));
    HeapPacket packet(frame, 1, random() % 9);
    Miniflow key;
    ExtractMiniflow(*packet, key);
    for (std::uint32_t steps = random() % 6; steps > 0; --steps) {
      const std::uint32_t what = random() % 7;
      if (what < 5) {
        ApplySet(sets[what], *packet);
      } else if (what == 5) {
        PushVlan({ToBe16(0x8100), ToBe16(0x1005)}, *packet);
      } else {
        PopVlan(*packet);
      }
    }
    REQUIRE(packet->size >= kMinFrame);
    // The offsets that were kept up to date are those that the parser finds, as far as it looks:
    // behind two tags.
    const std::uint16_t l3 = packet->l3_offset;
    const std::uint16_t l4 = packet->l4_offset;
    ExtractMiniflow(*packet, key);
    if (packet->l3_offset != Packet::kNoOffset && l3 != Packet::kNoOffset) {
      REQUIRE(packet->l3_offset == l3);
      REQUIRE(packet->l4_offset == l4);
    }
  }
}

// ---- Execution.

// Notes what became of every packet.
struct Recorder {
  PacketPool& pool;
  std::vector<std::string> log;

  void Output(PacketBatch batch, PortNumber port) {
    Note("output " + std::to_string(static_cast<std::uint32_t>(port)), batch);
  }
  void Upcall(PacketBatch batch, const UserspaceAction&) { Note("upcall", batch); }
  void Drop(PacketBatch batch, DropReason reason) {
    Note(kDropReasonText[static_cast<std::size_t>(reason)], batch);
  }
  PacketBatch Clone(const PacketBatch& batch) {
    PacketBatch copy;
    for (const Packet* packet : batch) copy.Add(pool.Clone(*packet));
    return copy;
  }
  void Note(const std::string& what, const PacketBatch& batch) {
    std::string text = what + ":";
    for (const Packet* packet : batch) text += " " + std::to_string(packet->size);
    log.push_back(text);
  }
};

TEST_CASE(
    "execute: every packet ends with the host, in order, and changes stay with whom they concern") {
  PacketPool pool;
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const auto run = [&](const A& actions) {
    Recorder recorder{pool, {}};
    PacketBatch batch;
    for (std::size_t n : {0, 1}) {
      PacketPtr packet = pool.Copy(V4().Udp(1, 2).Payload(n).Build());
      Miniflow key;
      ExtractMiniflow(*packet, key);
      batch.Add(std::move(packet));
    }
    ExecuteActions(recorder, std::move(batch), *Accepted(actions, udp));
    CHECK(pool.held() == 0);
    return recorder.log;
  };
  using Log = std::vector<std::string>;
  CHECK(run({}) == Log{"action_drop: 42 43"});
  CHECK(run(A().Output(1)) == Log{"output 1: 42 43"});
  CHECK(run(A().Push()) == Log{"no_output: 46 47"});
  CHECK(run(A().Output(1).Push().Userspace({}).Pop().Output(2)) ==
        Log{"output 1: 42 43", "upcall: 46 47", "output 2: 42 43"});
  CHECK(run(A().Output(1).Push()) == Log{"output 1: 42 43", "no_output: 46 47"});
}

TEST_CASE("execute: a packet that cannot be rewritten is dropped, the others go on") {
  PacketPool pool;
  Recorder recorder{pool, {}};
  const auto list = Accepted(A().Pop().Output(1), ExactMatch(EthernetFrame().Vlan(5).Build()));
  PacketBatch batch;
  batch.Add(pool.Copy(EthernetFrame().Vlan(5).Build()));
  batch.Add(pool.Copy(EthernetFrame().Payload(6).Build()));
  ExecuteActions(recorder, std::move(batch), *list);
  CHECK(recorder.log == std::vector<std::string>{"rewrite_error: 20", "output 1: 14"});
  CHECK(pool.held() == 0);
}

}  // namespace
}  // namespace pollux
