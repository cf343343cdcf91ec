// Action lists: what is accepted, and what is refused because a packet of the flow might not have
// what an action needs.
#include "actions_testbed.h"

namespace pollux::test {
namespace {

// How deep Clone() nests around a list.
Actions Nested(int depth, const Actions& innermost) {
  Actions list = innermost;
  for (int i = 0; i < depth; ++i) list = Actions().Clone(list);
  return list;
}

Match L3Match(std::uint16_t type, const Frame& frame) { return ExactMatch(frame, type); }

const ovs_nsh_key_base kNsh1{0, 63, 1, 3, ToBe32(0x123456ff)};
const Blob kContext(16, 7);

TEST_CASE("actions: lists") {
  SUBCASE("nothing: drop") {
    const auto list = Accepted({}, kAny);
    CHECK(list->actions().empty());
    CHECK(list->sole_output() == kNoPort);
  }
  SUBCASE("one output") {
    const Actions bytes = Actions().Output(65'535);
    const auto list = Accepted(bytes, kAny);
    REQUIRE(list->actions().size() == 1);
    CHECK(std::get<OutputAction>(list->actions()[0]).port == PortNumber{65'535});
    CHECK(list->sole_output() == PortNumber{65'535});
    CHECK(std::equal(list->attributes().begin(), list->attributes().end(), Bytes(bytes).begin(),
                     Bytes(bytes).end()));
  }
  SUBCASE("several") {
    const auto list = Accepted(Actions().PushVlan(5).Output(1).PopVlan().Output(0).Output(0), kAny);
    REQUIRE(list->actions().size() == 5);
    CHECK(std::get<PushVlanAction>(list->actions()[0]).tag.tci == ToBe16(0x1005));
    CHECK(std::holds_alternative<PopVlanAction>(list->actions()[2]));
    CHECK(list->sole_output() == kNoPort);
    CHECK(Accepted(Actions().PushVlan(), kAny)->sole_output() == kNoPort);
  }
  SUBCASE("as long as can be") {
    Actions bytes;
    while (bytes.size() + 8 <= 65'535) bytes.Output(1);
    CHECK(Accepted(bytes, kAny)->actions().size() == 8191);
    CheckRefused(bytes.Output(1), kAny, "at most 65535");
    CheckRefused(Blob(800'000), kAny, "at most 65535");
  }
}

TEST_CASE("actions: userspace") {
  const auto parsed = [](const Actions& inside) {
    return std::get<UserspaceAction>(Accepted(Actions().Userspace(inside), kAny)->actions()[0]);
  };
  const UserspaceAction empty = parsed({});
  CHECK(empty.pid == 0);
  CHECK(empty.userdata == nullptr);
  CHECK_FALSE(empty.egress_tunnel_port.has_value());
  CHECK_FALSE(empty.with_actions);
  const UserspaceAction full = parsed(Actions()
                                          .Put(OVS_USERSPACE_ATTR_PID, 7)
                                          .Put(OVS_USERSPACE_ATTR_USERDATA, 'x')
                                          .Put(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT, 9)
                                          .Raw(OVS_USERSPACE_ATTR_ACTIONS, {}));
  CHECK(full.pid == 7);
  REQUIRE(full.userdata != nullptr);
  CHECK(*full.userdata == Blob{'x'});
  CHECK(full.egress_tunnel_port == PortNumber{9});
  CHECK(full.with_actions);
  CHECK(parsed(Actions().Raw(OVS_USERSPACE_ATTR_USERDATA, Blob(65'512))).userdata->size() ==
        65'512);

  const auto refused = [](const Actions& inside, const char* why) {
    CheckRefused(Actions().Userspace(inside), kAny, why);
  };
  refused(Actions().Put(OVS_USERSPACE_ATTR_PID, 'x'), "instead of 4");
  refused(Actions().Put(OVS_USERSPACE_ATTR_PID, 1).Put(OVS_USERSPACE_ATTR_PID, 1),
          "duplicate \"pid\"");
  refused(Actions().Raw(OVS_USERSPACE_ATTR_USERDATA, {}).Raw(OVS_USERSPACE_ATTR_USERDATA, {}),
          "duplicate \"userdata\"");
  refused(Actions().Raw(OVS_USERSPACE_ATTR_USERDATA, Blob(65'513)), "at most 65512");
  refused(Actions().Put(OVS_USERSPACE_ATTR_ACTIONS, 1), "instead of 0");
  refused(Actions().Put(77, 1), "unknown attribute 77");
}

TEST_CASE("actions: nested lists") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  SUBCASE("each is a list of its own, with its own attributes") {
    const Actions inside = Actions().Output(3).PushVlan();
    const auto list = Accepted(
        Actions().Clone(inside).Sample(5, inside).CheckLength(100, inside, {}).DecTtl(inside), udp);
    REQUIRE(list->actions().size() == 4);
    const auto check = [&](const ActionList& nested) {
      REQUIRE(nested.actions().size() == 2);
      CHECK(std::get<OutputAction>(nested.actions()[0]).port == PortNumber{3});
      CHECK(std::equal(nested.attributes().begin(), nested.attributes().end(),
                       Bytes(inside).begin(), Bytes(inside).end()));
    };
    check(*std::get<CloneAction>(list->actions()[0]).actions);
    const auto& sample = std::get<SampleAction>(list->actions()[1]);
    CHECK(sample.probability == 5);
    check(*sample.actions);
    const auto& length = std::get<CheckLengthAction>(list->actions()[2]);
    CHECK(length.length == 100);
    check(*length.if_greater);
    CHECK(length.otherwise->actions().empty());
    check(*std::get<DecTtlAction>(list->actions()[3]).expired);
  }
  SUBCASE("attributes outlive the list around") {
    const Actions inside = Actions().Output(3);
    ActionListPtr nested;
    {
      const auto list = Accepted(Actions().Clone(inside), kAny);
      nested = std::get<CloneAction>(list->actions()[0]).actions;
    }
    CHECK(std::equal(nested->attributes().begin(), nested->attributes().end(),
                     Bytes(inside).begin(), Bytes(inside).end()));
  }
  SUBCASE("what happens inside does not show outside") {
    Accepted(Actions().PushVlan().Clone(Actions().PopVlan()).PopVlan(), udp);
    CheckRefused(Actions().Clone(Actions().PushVlan()).PopVlan(), udp,
                 "action 2 (pop_vlan): the flow does not say");
    CheckRefused(Actions().PushVlan().Clone(Actions().PopVlan().PopVlan()), udp,
                 "action 2 (clone): action 2 (pop_vlan): the flow does not say");
    Accepted(Actions().Clone(Actions().Drop()).Output(1), udp);
  }
  SUBCASE("errors name the way") {
    const Actions bad = Actions().Output(1).PopVlan();
    CheckRefused(Actions().Sample(1, bad), udp, "action 1 (sample): action 2 (pop_vlan): ");
    CheckRefused(Actions().CheckLength(1, bad, {}), udp,
                 "action 1 (check_pkt_len): gt: action 2 (pop_vlan): ");
    CheckRefused(Actions().CheckLength(1, {}, bad), udp,
                 "action 1 (check_pkt_len): le: action 2 (pop_vlan): ");
    CheckRefused(Actions().DecTtl(bad), udp, "action 1 (dec_ttl): action 2 (pop_vlan): ");
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_CLONE, Blob{1, 2, 3}), udp,
                 "action 1 (clone): malformed");
  }
  SUBCASE("depth") {
    Accepted(Nested(32, Actions().Output(1)), kAny);
    CheckRefused(Nested(33, Actions().Output(1)), kAny, "nested deeper than 32 lists");
    CheckRefused(Nested(10'000, {}), kAny, "nested deeper than 32 lists");
    CheckRefused(Nested(32, Actions().Sample(1, {})), kAny, "nested deeper than 32 lists");
    CheckRefused(Nested(32, Actions().CheckLength(1, {}, {})), kAny, "nested deeper than 32");
    CheckRefused(Nested(32, Actions().DecTtl()), udp, "nested deeper than 32");
  }
  SUBCASE("all parts must be there") {
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SAMPLE, {}), kAny, "has no probability");
    CheckRefused(
        Actions().Raw(OVS_ACTION_ATTR_SAMPLE, Actions().Put(OVS_SAMPLE_ATTR_PROBABILITY, 1)), kAny,
        "has no actions");
    CheckRefused(
        Actions().Raw(OVS_ACTION_ATTR_SAMPLE, Actions().Raw(OVS_SAMPLE_ATTR_PROBABILITY, {})), kAny,
        "instead of 4");
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_CHECK_PKT_LEN, {}), kAny, "has no size");
    Actions check;
    check.Put(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, std::uint16_t{1});
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_CHECK_PKT_LEN, check), kAny, "has no gt");
    check.Raw(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, {});
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_CHECK_PKT_LEN, check), kAny, "has no le");
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_DEC_TTL, {}), udp, "has no actions");
  }
}

TEST_CASE("actions: not supported yet, by name and with a code of its own") {
  const std::pair<std::uint16_t, const char*> kNames[] = {
      {12, "ct"},       {16, "ct_clear"}, {19, "meter"},    {25, "psample"},
      {26, "tnl_push"}, {27, "tnl_pop"},  {28, "lb_output"}};
  for (const auto& [type, name] : kNames) {
    const auto of = name;  // A lambda cannot capture a structured binding.
    CAPTURE(of);
    for (const Actions& actions :
         {Actions().Output(1).Put(type, 1), Actions().Output(1).Clone(Actions().Put(type, 1))}) {
      const auto list = ActionList::Parse(actions, kAny);
      REQUIRE_FALSE(list.ok());
      CHECK(list.error().number == EOPNOTSUPP);
      CHECK(list.error().code == "ERR_NOT_SUPPORTED");
      CHECK(list.error().message.find("not supported yet: " + std::string(name)) !=
            std::string::npos);
      CHECK(list.error().message.starts_with("action 2 ("));
    }
  }
  for (std::uint16_t type : {0, 29, 99, 0x3fff}) {
    CheckRefused(Actions().Put(type, 1), kAny,
                 "(type " + std::to_string(type) + "): unknown action");
  }
}

TEST_CASE("actions: refused") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match vlan = ExactMatch(EthernetFrame().Vlan(5).Build());

  SUBCASE("place and name") {
    CheckRefused(Actions().Output(1).Output(70'000), kAny,
                 "action 2 (output): port 70000 is not a number from 0 to 65535");
    CheckRefused(Actions().PopVlan(), kAny, "action 1 (pop_vlan)");
  }
  SUBCASE("values") {
    CheckRefused(Actions().Drop(16), kAny, "reason 16 is not a number from 0 to 15");
    CheckRefused(Actions().Hash(2, 0), kAny, "unknown algorithm 2");
    CheckRefused(Actions().PushMpls(0, 0x0800), kAny, "eth_type must be 0x8847 or 0x8848");
    CheckRefused(Actions().AddMpls(0, 1, 0x0800), kAny, "eth_type must be 0x8847 or 0x8848");
    CheckRefused(Actions().AddMpls(0, 2), kAny, "unknown flags 2");
    CheckRefused(Actions().PushMpls(0).PopMpls(0x05ff), kAny, "0x0600 or more");
    CheckRefused(Actions().PushVlan(5, 0x0800), kAny, "tpid");
    CheckRefused(Actions().Put(OVS_ACTION_ATTR_PUSH_VLAN, ovs_action_push_vlan{ToBe16(0x8100), 5}),
                 kAny, "cfi");
    CheckRefused(Actions().PushNsh({4, 63, 1, 3, 0}, kContext), kAny, "action 1 (push_nsh)");
    CheckRefused(Actions().PushNsh({0, 63, 2, 3, 0}, Blob(248)), kAny, "action 1 (push_nsh)");
  }
  SUBCASE("nothing follows a drop") {
    Accepted(Actions().Output(1).Drop(3), kAny);
    CheckRefused(Actions().Drop(3).Output(1), kAny, "action 2 (output): nothing can follow a drop");
  }
  SUBCASE("sizes") {
    const std::pair<std::uint16_t, std::size_t> kSizes[] = {
        {OVS_ACTION_ATTR_OUTPUT, 4}, {OVS_ACTION_ATTR_PUSH_VLAN, 4}, {OVS_ACTION_ATTR_RECIRC, 4},
        {OVS_ACTION_ATTR_HASH, 8},   {OVS_ACTION_ATTR_PUSH_MPLS, 8}, {OVS_ACTION_ATTR_POP_MPLS, 2},
        {OVS_ACTION_ATTR_TRUNC, 4},  {OVS_ACTION_ATTR_PUSH_ETH, 12}, {OVS_ACTION_ATTR_ADD_MPLS, 8},
        {Actions::kDropAction, 4},   {OVS_ACTION_ATTR_POP_VLAN, 0},  {OVS_ACTION_ATTR_POP_ETH, 0},
        {OVS_ACTION_ATTR_POP_NSH, 0}};
    for (const auto& [type, size] : kSizes) {
      const auto of = type;  // A lambda cannot capture a structured binding.
      CAPTURE(of);
      for (std::size_t n = 0; n < 20; ++n) {
        if (n == size) continue;
        CheckRefused(Actions().Raw(type, Blob(n)), vlan,
                     "has " + std::to_string(n) + " bytes instead of " + std::to_string(size));
      }
    }
  }
  SUBCASE("malformed") {
    const Actions good = Actions().Output(1);
    for (std::size_t n = 1; n < good.size(); ++n)
      CheckRefused(Bytes(good).first(n), kAny, "malformed");
    for (const std::uint16_t type :
         {OVS_ACTION_ATTR_USERSPACE, OVS_ACTION_ATTR_SAMPLE, OVS_ACTION_ATTR_CLONE,
          OVS_ACTION_ATTR_CHECK_PKT_LEN, OVS_ACTION_ATTR_PUSH_NSH, OVS_ACTION_ATTR_DEC_TTL}) {
      CheckRefused(Actions().Raw(type, Blob{1}), udp, "malformed");
    }
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET, {}), kAny, "names no field");
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET, Blob{1, 0, 0}), kAny, "names no field");
    CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET,
                               Actions().Put(OVS_KEY_ATTR_UDP, 1).Put(OVS_KEY_ATTR_UDP, 1)),
                 udp, "exactly one");
  }
}

TEST_CASE("actions: what is known of tags") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match vlan = ExactMatch(EthernetFrame().Vlan(5).Build());
  const Match qinq = ExactMatch(EthernetFrame().Vlan(5).Vlan(6).Build());
  for (std::uint16_t tpid : {0x8100, 0x88a8, 0x9100}) Accepted(Actions().PushVlan(5, tpid), kAny);
  CheckRefused(Actions().PushVlan().PushVlan().PushVlan(), kAny,
               "action 3 (push_vlan): a packet has at most two tags");
  CheckRefused(Actions().PushVlan().PushVlan(), vlan, "at most two");
  CheckRefused(Actions().PushVlan(), qinq, "at most two");
  Accepted(Actions().PopVlan().PopVlan().PushVlan().PushVlan(), qinq);
  CheckRefused(Actions().PopVlan().PopVlan().PopVlan(), qinq, "action 3 (pop_vlan)");
  Accepted(Actions().PopVlan(), vlan);
  CheckRefused(Actions().PopVlan().PopVlan(), vlan, "does not say that there is a tag");
  Accepted(Actions().PushVlan().PopVlan().PushVlan().PopVlan(), udp);
  CheckRefused(Actions().PopVlan(), udp, "does not say");
  Match wild = vlan;
  wild.mask.vlans[0].tci = ToBe16(0x0fff);  // The tag may be missing.
  CheckRefused(Actions().PopVlan(), wild, "does not say");
}

TEST_CASE("actions: what is known of the Ethernet header") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match l3 = L3Match(0x0800, WithoutEthernet(V4().Udp(1, 2).Build()));
  const ovs_key_ethernet addresses{};
  SUBCASE("without one") {
    CheckRefused(Actions().PushVlan(), l3, "has no Ethernet header");
    CheckRefused(Actions().PopVlan(), l3, "has no Ethernet header");
    CheckRefused(Actions().PopEth(), l3, "has no Ethernet header");
    CheckRefused(Actions().Set(OVS_KEY_ATTR_ETHERNET, addresses), l3, "has no Ethernet header");
    Accepted(Actions().PushEth().PushVlan().PopVlan().PopEth(), l3);
    Accepted(Actions().PushEth().Set(OVS_KEY_ATTR_ETHERNET, addresses), l3);
    CheckRefused(Actions().PushEth().PushEth(), l3, "has an Ethernet header");
    Match only_namespace = kAny;
    only_namespace.key.packet_type = ToBe32(1 << 16);
    only_namespace.mask.packet_type = ToBe32(0xffff0000);
    Accepted(Actions().PushEth().Output(1), only_namespace);
    CheckRefused(Actions().PushVlan(), only_namespace, "has no Ethernet header");
    CheckRefused(Actions().PushEth().PopEth(), only_namespace, "does not say that there is no tag");
  }
  SUBCASE("with one, or taken to have one") {
    CheckRefused(Actions().PushEth(), udp, "has an Ethernet header");
    CheckRefused(Actions().PushEth(), kAny, "has an Ethernet header");
    Accepted(Actions().PopEth().PushEth(), udp);
    CheckRefused(Actions().PopEth().PushVlan(), udp, "has no Ethernet header");
    CheckRefused(Actions().PopEth().PopEth(), udp, "has no Ethernet header");
    CheckRefused(Actions().PopEth(), kAny, "does not say that there is no tag");
  }
  SUBCASE("tags and 802.2 stay") {
    CheckRefused(Actions().PushVlan().PopEth(), udp, "there is a tag");
    const Match vlan = ExactMatch(EthernetFrame().Vlan(5).Build());
    CheckRefused(Actions().PopEth(), vlan, "there is a tag");
    Accepted(Actions().PopVlan().PopEth(), vlan);
    const Match llc = ExactMatch(EthernetFrame().Type(40).Payload(40).Build());
    CheckRefused(Actions().PopEth(), llc, "802.2");
    CheckRefused(Actions().PushMpls(1), llc, "802.2");
    Accepted(Actions().AddMpls(1, 0), llc);
    const Match cut = ExactMatch(EthernetFrame().Type(0x8100).Build());
    CheckRefused(Actions().PopEth(), cut, "does not say that there is no tag");
  }
  SUBCASE("layer 3 is still known") {
    const ovs_key_ipv4 ip{1, 2, 17, 0, 64, 0};
    Accepted(Actions().PopEth().Set(OVS_KEY_ATTR_IPV4, ip).PushEth().Set(OVS_KEY_ATTR_IPV4, ip),
             udp);
    Accepted(Actions().Set(OVS_KEY_ATTR_IPV4, ip).PushEth().Set(OVS_KEY_ATTR_UDP, 1), l3);
  }
}

TEST_CASE("actions: what is known of labels") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match mpls = ExactMatch(EthernetFrame().Mpls(5, true).Payload(30).Build());
  const Match l3 = L3Match(0x8847, WithoutEthernet(EthernetFrame().Mpls(5, true).Build()));
  const ovs_key_ipv4 ip{1, 2, 17, 0, 64, 0};
  CheckRefused(Actions().PopMpls(0x0800), udp, "does not say that there is a label");
  CheckRefused(Actions().PopMpls(0x0800), kAny, "does not say that there is a label");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_MPLS, 1), udp, "does not say that there is a label");
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_MPLS, 1, 1), udp, "does not say");
  CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET, Actions().Raw(OVS_KEY_ATTR_MPLS, Blob(8))), mpls,
               "has 8 bytes instead of 4");
  Accepted(Actions().Set(OVS_KEY_ATTR_MPLS, 1).PopMpls(0x0800), mpls);
  Accepted(Actions().PopMpls(0x8847).PopMpls(0x8848).PopMpls(0x0800), mpls);
  CheckRefused(Actions().PopMpls(0x0800).PopMpls(0x0800), mpls, "action 2 (pop_mpls)");
  Accepted(Actions().PushMpls(1).Set(OVS_KEY_ATTR_MPLS, 1).PopMpls(0x0800), udp);
  Accepted(Actions().PushMpls(1).PushMpls(2).PushMpls(3).PushMpls(4), kAny);
  SUBCASE("what labels hide or uncover is not known") {
    for (const Actions& actions :
         {Actions().PushMpls(1), Actions().AddMpls(1, 1), Actions().AddMpls(1, 0),
          Actions().PushMpls(1).PopMpls(0x0800)}) {
      for (const Actions& set : {Actions().Set(OVS_KEY_ATTR_IPV4, ip),
                                 Actions().Set(OVS_KEY_ATTR_UDP, 1), Actions().DecTtl()}) {
        const Actions both = Actions(actions).Append(set);
        CheckRefused(both, udp, "after MPLS or NSH came or went is unknown");
        CHECK(ActionList::Parse(both, udp).error().hint.find("Recirculate") != std::string::npos);
      }
    }
    Accepted(Actions().PushMpls(1).Recirc(1), udp);
  }
  SUBCASE("in front of Ethernet") {
    const Actions front = Actions().AddMpls(1, 0);
    CheckRefused(Actions(front).PushVlan(), udp, "has no Ethernet header");
    Accepted(Actions(front).PopMpls(0x6558).PushVlan(), udp);
    CheckRefused(Actions(front).PopMpls(0x6558).PopEth(), udp, "no tag");
    CheckRefused(Actions(front).PopMpls(0x0800).PushVlan(), udp, "has no Ethernet header");
    Accepted(Actions(front).PushEth().PopMpls(0x6558).PushVlan(), udp);
  }
  SUBCASE("without Ethernet") {
    Accepted(Actions().PopMpls(0x0800).PushEth(), l3);
    Accepted(Actions().PushMpls(1).AddMpls(1, 1).AddMpls(1, 0).PushEth(), l3);
    Accepted(Actions().PopMpls(0x6558).PushVlan(), l3);
    CheckRefused(Actions().PopMpls(0x6558).PushEth(), l3, "has an Ethernet header");
  }
  SUBCASE("a tag may come to light") {
    CheckRefused(Actions().PopMpls(0x8100).PopEth(), mpls, "does not say that there is no tag");
    CheckRefused(Actions().PopMpls(0x8100).PopVlan(), mpls, "does not say that there is a tag");
  }
}

TEST_CASE("actions: what is known of NSH") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const Match nsh = ExactMatch(EthernetFrame().Nsh().Payload(30).Build());
  const auto l3 = [](const NshValues& values) {
    return L3Match(0x894f, WithoutEthernet(EthernetFrame().Nsh(values).Payload(30).Build()));
  };
  CheckRefused(Actions().PopNsh(), udp, "does not say that there is an NSH");
  CheckRefused(Actions().PopNsh(), nsh, "an Ethernet header in front");
  Accepted(Actions().PopEth().PopNsh(), nsh);
  Accepted(Actions().PushNsh(kNsh1, kContext).PushEth(), udp);
  Accepted(Actions().PushNsh(kNsh1, kContext).PopNsh().PushVlan(), udp);
  Accepted(Actions().PopEth().PushNsh(kNsh1, kContext).PushNsh(kNsh1, kContext), udp);
  CheckRefused(Actions().PopEth().PushNsh(kNsh1, kContext), arp, "an NSH can contain");
  CheckRefused(Actions().PushNsh(kNsh1, kContext).PushVlan(), udp, "has no Ethernet header");
  const ovs_key_ipv4 ip{1, 2, 17, 0, 64, 0};
  CheckRefused(Actions().PushNsh(kNsh1, kContext).Set(OVS_KEY_ATTR_IPV4, ip), udp, "is unknown");
  SUBCASE("what it contains, if the match says so") {
    CheckRefused(Actions().PopNsh().PushVlan(), l3({.np = 1}), "has no Ethernet header");
    Accepted(Actions().PopNsh().PushEth(), l3({.np = 2}));
    Accepted(Actions().PopNsh().PushVlan(), l3({.np = 3}));
    Accepted(Actions().PopNsh().PopNsh(), l3({.np = 4}));
    for (const Actions& action :
         {Actions().PushVlan(), Actions().PushEth(), Actions().PopEth(), Actions().PushMpls(1),
          Actions().PushNsh(kNsh1, kContext), Actions().AddMpls(1, 0)}) {
      const Actions both = Actions().PopNsh().Append(action);
      CheckRefused(both, l3({.np = 5}), "what the popped NSH contained is not known");
      Match wild = l3({.np = 1});
      wild.mask.nsh.np = 0;
      CheckRefused(both, wild, "what the popped NSH contained is not known");
    }
    Accepted(Actions().PopNsh().Output(1).Recirc(1), l3({.np = 5}));
    CheckRefused(Actions().PopNsh().PopNsh(), l3({.np = 1}), "does not say that there is an NSH");
  }
}

TEST_CASE("actions: sets need their header") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match tcp = ExactMatch(V4().Tcp(1, 2).Build());
  const Match tcp6 = ExactMatch(V6().Tcp(1, 2).Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const Match later = ExactMatch(V4({.fragment = 1, .protocol = 17}).Payload(8).Build());
  const Match echo = ExactMatch(V4().Icmp(8, 0).Build());
  const Match echo6 = ExactMatch(V6().Icmp(128, 0).Build());
  const Match nd = ExactMatch(V6().Icmp(135, 0).NdTarget("fe80::1").Build());
  const ovs_key_ipv4 ip4{1, 2, 17, 0, 64, 0};
  ovs_key_ipv4 mask4{};
  mask4.ipv4_src = UINT32_MAX;
  ovs_key_ipv6 mask6{};
  mask6.ipv6_hlimit = 0xff;
  const std::uint16_t icmp = 0;

  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), kAny, "\"eth_type(0x0800)\"");
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), tcp6, "\"eth_type(0x0800)\"");
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), arp, "\"eth_type(0x0800)\"");
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV6, mask6, mask6), udp, "\"eth_type(0x86dd)\"");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_ARP, ovs_key_arp{}), udp, "\"eth_type(0x0806)\"");
  Accepted(Actions().Set(OVS_KEY_ATTR_ARP, ovs_key_arp{}), arp);
  CheckRefused(Actions().Set(OVS_KEY_ATTR_TCP, 1), udp, "\"ipv4(proto=6)\"");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_UDP, 1), tcp, "\"ipv4(proto=17)\"");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_UDP, 1), kAny, "\"ipv4(proto=17)\"");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_SCTP, 1), udp, "\"ipv4(proto=132)\"");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_UDP, 1), later, "a later fragment has no layer 4");
  Match wild = udp;
  wild.mask.nw_proto = 0xfe;
  CheckRefused(Actions().Set(OVS_KEY_ATTR_UDP, 1), wild, "\"ipv4(proto=17)\"");
  wild = udp;
  wild.mask.eth_type = 0x00ff;
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), wild, "\"eth_type(0x0800)\"");
  wild = udp;
  wild.mask.nw_frag = 0;
  Accepted(Actions().Set(OVS_KEY_ATTR_UDP, 1), wild);
  Accepted(Actions().Set(OVS_KEY_ATTR_TCP, 1), tcp6);
  Accepted(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4), later);
  Accepted(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask4),
           L3Match(0x0800, WithoutEthernet(V4().Udp(1, 2).Build())));

  CheckRefused(Actions().DecTtl(), kAny, "\"eth_type(0x0800)\"");
  CheckRefused(Actions().DecTtl(), arp, "needs a flow");
  Accepted(Actions().DecTtl(), udp);
  Accepted(Actions().DecTtl(), tcp6);

  Accepted(Actions().Set(OVS_KEY_ATTR_ICMP, icmp), echo);
  CheckRefused(Actions().Set(OVS_KEY_ATTR_ICMP, icmp), echo6, "\"ipv4(proto=1)\"");
  Accepted(Actions().Set(OVS_KEY_ATTR_ICMPV6, icmp), echo6);
  CheckRefused(Actions().Set(OVS_KEY_ATTR_ICMPV6, icmp), echo, "\"ipv6(proto=58)\"");
  for (const std::uint16_t type : {OVS_KEY_ATTR_ICMP, OVS_KEY_ATTR_ICMPV6})
    CheckRefused(Actions().SetMasked(type, icmp, icmp), echo, "cannot be set with a mask");

  const Actions set_nd = Actions().Set(OVS_KEY_ATTR_ND, ovs_key_nd{});
  const Actions set_nd_ext = Actions().Set(kKeyAttrNdExtensions, KeyNdExtensions{});
  for (const Actions& set : {set_nd, set_nd_ext}) {
    Accepted(set, nd);
    CheckRefused(set, echo6, "\"icmpv6(type=135)\"");
    CheckRefused(set, tcp6, "\"ipv6(proto=58)\"");
    const auto becomes = [&](std::uint8_t type) {
      return Actions().Set(OVS_KEY_ATTR_ICMPV6, ovs_key_icmpv6{type, 0}).Append(set);
    };
    Accepted(becomes(136), echo6);
    CheckRefused(becomes(1), nd, "\"icmpv6(type=135)\"");
  }
}

TEST_CASE("actions: sets of fields that others are decoded by") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match tcp = ExactMatch(V4().Tcp(1, 2).Build());
  const Match tcp6 = ExactMatch(V6().Tcp(1, 2).Build());
  const ovs_key_ipv4 ip4{1, 2, 17, 0, 64, 0};
  Accepted(Actions().Set(OVS_KEY_ATTR_IPV4, ip4), udp);  // It names them, as they are.
  CheckRefused(Actions().Set(OVS_KEY_ATTR_IPV4, ip4), tcp, "\"proto\" cannot be set");
  CheckRefused(Actions().Set(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{1, 2, 17, 0, 64, 1}), udp,
               "\"frag\" cannot be set");
  Match wild = udp;
  wild.mask.nw_proto = 0;
  CheckRefused(Actions().Set(OVS_KEY_ATTR_IPV4, ip4), wild, "\"proto\" cannot be set");
  ovs_key_ipv4 mask{};
  mask.ipv4_proto = 1;
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_IPV4, ip4, mask), udp, "\"proto\" cannot be set");
  ovs_key_ipv6 ip6{};
  ip6.ipv6_proto = 6;
  Accepted(Actions().Set(OVS_KEY_ATTR_IPV6, ip6), tcp6);
  ip6.ipv6_label = ToBe32(0x100000);
  CheckRefused(Actions().Set(OVS_KEY_ATTR_IPV6, ip6), tcp6, "20 bits");
  for (std::uint16_t type :
       {OVS_KEY_ATTR_ENCAP, OVS_KEY_ATTR_IN_PORT, OVS_KEY_ATTR_VLAN, OVS_KEY_ATTR_ETHERTYPE,
        OVS_KEY_ATTR_TCP_FLAGS, OVS_KEY_ATTR_CT_STATE, OVS_KEY_ATTR_CT_ZONE, OVS_KEY_ATTR_CT_MARK,
        OVS_KEY_ATTR_CT_LABELS, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4, OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6}) {
    CheckRefused(Actions().Set(type, 1), udp, "\" cannot be set");
  }
  CheckRefused(Actions().Set(kKeyAttrPacketType, 1), udp, "\"packet_type\" cannot be set");
  CheckRefused(Actions().SetMasked(OVS_KEY_ATTR_TUNNEL, 1, 1), udp, "cannot be set with a mask");
  CheckRefused(Actions().Set(60, 1), udp, "unknown field, attribute 60");
}

TEST_CASE("actions: sets of NSH") {
  const Match nsh = ExactMatch(EthernetFrame().Nsh({.np = 1}).Payload(30).Build());
  const Match type2 =
      ExactMatch(EthernetFrame().Nsh({.mdtype = 2, .metadata = 4, .np = 1}).Payload(30).Build());
  const auto set = [](const ovs_nsh_key_base& base) {
    return Actions().Raw(
        OVS_ACTION_ATTR_SET,
        Actions().Raw(OVS_KEY_ATTR_NSH, Actions().Put(OVS_NSH_KEY_ATTR_BASE, base)));
  };
  struct BaseAndMask {
    ovs_nsh_key_base base;
    ovs_nsh_key_base mask;
  };
  const auto set_masked = [](const ovs_nsh_key_base& mask) {
    const BaseAndMask both{{0, 9, 1, 1, 0}, mask};
    return Actions().Raw(
        OVS_ACTION_ATTR_SET_MASKED,
        Actions().Raw(OVS_KEY_ATTR_NSH, Actions().Put(OVS_NSH_KEY_ATTR_BASE, both)));
  };
  const auto set_context = [](bool masked) {
    const ovs_nsh_key_base base{2, 9, 1, 3, 77};
    Actions inside;
    if (!masked) inside.Put(OVS_NSH_KEY_ATTR_BASE, base);
    inside.Raw(OVS_NSH_KEY_ATTR_MD1, Blob(masked ? 32 : 16, 0xff));
    return Actions().Raw(masked ? OVS_ACTION_ATTR_SET_MASKED : OVS_ACTION_ATTR_SET,
                         Actions().Raw(OVS_KEY_ATTR_NSH, inside));
  };
  const ovs_nsh_key_base same{2, 9, 1, 1, 77};
  Accepted(set(same), nsh);
  CheckRefused(set({2, 9, 2, 1, 77}), nsh, "\"mdtype\" cannot be set");
  CheckRefused(set({2, 9, 1, 3, 77}), nsh, "\"np\" cannot be set");
  CheckRefused(set(same), ExactMatch(V4().Udp(1, 2).Build()), "does not say that there is an NSH");
  Match wild = nsh;
  wild.mask.nsh.np = 0;
  CheckRefused(set(same), wild, "\"np\" cannot be set");
  Accepted(set_masked({3, 63, 0, 0, 1}), wild);
  CheckRefused(set_masked({0, 0, 1, 0, 0}), nsh, "\"mdtype\" cannot be set");
  CheckRefused(set_masked({0, 0, 0, 1, 0}), nsh, "\"np\" cannot be set");
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  Accepted(set_context(true), nsh);
  CheckRefused(set_context(true), type2, "\"nsh(mdtype=1)\"");
  for (const bool masked : {false, true}) {
    Accepted(Actions().PushNsh(kNsh1, kContext).Append(set_context(masked)), udp);
    CheckRefused(Actions().PushNsh({0, 63, 2, 3, 0}, Blob(8)).Append(set_context(masked)), udp,
                 masked ? "\"nsh(mdtype=1)\"" : "\"mdtype\" cannot be set");
  }
  Accepted(Actions().PushNsh(kNsh1, kContext).Append(set({2, 9, 1, 3, 77})), udp);
}

TEST_CASE("actions: set sizes") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const Match tcp6 = ExactMatch(V6().Tcp(1, 2).Build());
  const Match nd = ExactMatch(V6().Icmp(135, 0).NdTarget("fe80::1").Build());
  const Match arp = ExactMatch(EthernetFrame().Arp(1, "1.1.1.1", "2.2.2.2").Build());
  const struct {
    std::uint16_t type;
    std::size_t size;
    const Match& match;
  } kFields[] = {{OVS_KEY_ATTR_ETHERNET, 12, kAny}, {OVS_KEY_ATTR_IPV4, 12, udp},
                 {OVS_KEY_ATTR_IPV6, 40, tcp6},     {OVS_KEY_ATTR_TCP, 4, tcp6},
                 {OVS_KEY_ATTR_UDP, 4, udp},        {OVS_KEY_ATTR_ND, 28, nd},
                 {kKeyAttrNdExtensions, 8, nd},     {OVS_KEY_ATTR_ICMPV6, 2, nd},
                 {OVS_KEY_ATTR_ARP, 24, arp},       {OVS_KEY_ATTR_PRIORITY, 4, kAny},
                 {OVS_KEY_ATTR_SKB_MARK, 4, kAny},  {OVS_KEY_ATTR_DP_HASH, 4, kAny},
                 {OVS_KEY_ATTR_RECIRC_ID, 4, kAny}};
  for (const auto& [type, size, match] : kFields) {
    const auto of = type;  // A lambda cannot capture a structured binding.
    CAPTURE(of);
    for (std::size_t n = 0; n < 90; ++n) {
      const Actions inside = Actions().Raw(type, Blob(n));
      if (n != size) {
        CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET, inside), match,
                     "bytes instead of " + std::to_string(size));
      }
      if (n != 2 * size && type != OVS_KEY_ATTR_ICMPV6) {
        CheckRefused(Actions().Raw(OVS_ACTION_ATTR_SET_MASKED, inside), match,
                     "bytes instead of " + std::to_string(2 * size));
      }
    }
  }
}

TEST_CASE("actions: bits outside of a set's mask are ignored") {
  const Match udp = ExactMatch(V4().Udp(1, 2).Build());
  const auto list =
      Accepted(Actions()
                   .SetMasked(OVS_KEY_ATTR_UDP, ovs_key_udp{0xffff, 0xffff}, ovs_key_udp{0x00f0, 0})
                   .SetMasked(OVS_KEY_ATTR_SKB_MARK, 0xffffffffu, 0xf0u),
               udp);
  const auto& ports = std::get<SetFields<UdpFields>>(list->actions()[0]);
  CHECK(ports.value.src == 0x00f0);
  CHECK(ports.value.dst == 0);
  CHECK(ports.mask.src == 0x00f0);
  const auto& mark = std::get<SetMetadataAction>(list->actions()[1]);
  CHECK(mark.value == 0xf0);
  CHECK(mark.field == &Packet::skb_mark);
}

}  // namespace
}  // namespace pollux::test
