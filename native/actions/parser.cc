#include "actions/parser.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "actions/parting.h"
#include "actions/rewrite.h"
#include "flow/nsh_attributes.h"
#include "flow/ovs_attributes.h"
#include "packet/headers.h"

namespace pollux {
namespace {

// Open vSwitch's limit: userdata of the greatest length fits with all that may stand beside it.
constexpr std::size_t kMaxListBytes = 65'535;
constexpr std::size_t kMaxUserdata = 65'512;

// Open vSwitch's userspace has more actions than the kernel's header names.
constexpr std::uint16_t kActionDrop = 24;
constexpr std::uint32_t kMplsBehindEthernet = 1;  // A flag of add_mpls.

// By number. Those that One() does not know are not supported yet.
constexpr const char* kActionNames[] = {
    nullptr,   "output",  "userspace", "set",           "push_vlan", "pop_vlan",
    "sample",  "recirc",  "hash",      "push_mpls",     "pop_mpls",  "set",
    "ct",      "trunc",   "push_eth",  "pop_eth",       "ct_clear",  "push_nsh",
    "pop_nsh", "meter",   "clone",     "check_pkt_len", "add_mpls",  "dec_ttl",
    "drop",    "psample", "tnl_push",  "tnl_pop",       "lb_output",
};
static_assert(std::string_view(kActionNames[OVS_ACTION_ATTR_DEC_TTL]) == "dec_ttl");

const char* NameOf(std::uint16_t type) {
  return type < std::size(kActionNames) ? kActionNames[type] : nullptr;
}

Error NotSupportedYet(const std::string& what) {
  Error error = Invalid("not supported yet: " + what);
  error.number = EOPNOTSUPP;
  error.code = "ERR_NOT_SUPPORTED";
  return error;
}

// The errors of nested lists name the way to them, outermost first.
Error At(std::string where, Error error) {
  error.message = std::move(where) + ": " + error.message;
  return error;
}

Status Output(Bytes payload, std::vector<Action>& out) {
  std::uint32_t port = 0;
  if (Status status = ReadValue(payload, port); !status.ok()) return status;
  if (port > UINT16_MAX)
    return Invalid("port " + std::to_string(port) + " is not a number from 0 to 65535");
  out.emplace_back(OutputAction{PortNumber{port}});
  return {};
}

Status Userspace(Bytes payload, std::vector<Action>& out) {
  static constexpr AttributeInfo kKnown[] = {
      {}, {"pid", 4}, {"userdata"}, {"tunnel_out_port", 4}, {"actions", 0}};
  auto attributes = AttributeSet::Read(payload, kKnown, "userspace");
  if (!attributes.ok()) return attributes.error();
  UserspaceAction action;
  action.pid = attributes->Get<std::uint32_t>(OVS_USERSPACE_ATTR_PID);
  if (attributes->Has(OVS_USERSPACE_ATTR_USERDATA)) {
    const Bytes userdata = (*attributes)[OVS_USERSPACE_ATTR_USERDATA];
    if (userdata.size() > kMaxUserdata) {
      return Invalid("userdata has " + std::to_string(userdata.size()) +
                     " bytes; at most 65512 are allowed");
    }
    action.userdata =
        std::make_shared<const std::vector<std::uint8_t>>(userdata.begin(), userdata.end());
  }
  if (attributes->Has(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT)) {
    action.egress_tunnel_port =
        PortNumber{attributes->Get<std::uint32_t>(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT)};
  }
  action.with_actions = attributes->Has(OVS_USERSPACE_ATTR_ACTIONS);
  out.emplace_back(std::move(action));
  return {};
}

Status Recirc(Bytes payload, std::vector<Action>& out) {
  RecircAction recirc{};
  if (Status status = ReadValue(payload, recirc.recirc_id); !status.ok()) return status;
  out.emplace_back(recirc);
  return {};
}

Status Drop(Bytes payload, std::vector<Action>& out) {
  std::uint32_t reason = 0;
  if (Status status = ReadValue(payload, reason); !status.ok()) return status;
  if (reason >= kStatedDropReasons) {
    return Invalid("reason " + std::to_string(reason) + " is not a number from 0 to " +
                   std::to_string(kStatedDropReasons - 1));
  }
  out.emplace_back(DropAction{StatedDropReason(reason)});
  return {};
}

Status Trunc(Bytes payload, std::vector<Action>& out) {
  ovs_action_trunc trunc{};
  if (Status status = ReadValue(payload, trunc); !status.ok()) return status;
  out.emplace_back(TruncAction{std::max<std::uint32_t>(trunc.max_len, kMinFrame)});
  return {};
}

Status Hash(Bytes payload, std::vector<Action>& out) {
  ovs_action_hash hash{};
  if (Status status = ReadValue(payload, hash); !status.ok()) return status;
  if (hash.hash_alg > 1)
    return Invalid("unknown algorithm " + std::to_string(hash.hash_alg) + "; 0 is l4, 1 is sym_l4");
  out.emplace_back(HashAction{
      hash.hash_alg == 0 ? HashAction::Algorithm::kLayer4 : HashAction::Algorithm::kSymmetricLayer4,
      hash.hash_basis});
  return {};
}

Status PushVlan(Bytes payload, Known& known, std::vector<Action>& out) {
  ovs_action_push_vlan push{};
  if (Status status = ReadValue(payload, push); !status.ok()) return status;
  if (!IsVlanTpid(push.vlan_tpid)) return Invalid("tpid must be 0x8100, 0x88a8 or 0x9100");
  if ((push.vlan_tci & ToBe16(kVlanCfi)) == 0) return Invalid("cfi must be 1");
  if (Status status = known.PushVlan(); !status.ok()) return status;
  out.emplace_back(PushVlanAction{{push.vlan_tpid, push.vlan_tci}});
  return {};
}

// push_mpls and add_mpls.
Status PushMpls(PushMplsAction push, Known& known, std::vector<Action>& out) {
  if (!IsMplsType(push.ether_type)) return Invalid("eth_type must be 0x8847 or 0x8848");
  Status status = known.PushMpls(push.ether_type, push.before_ethernet);
  if (status.ok()) out.emplace_back(push);
  return status;
}

Status PushMpls(Bytes payload, Known& known, std::vector<Action>& out) {
  ovs_action_push_mpls push{};
  if (Status status = ReadValue(payload, push); !status.ok()) return status;
  return PushMpls({push.mpls_lse, push.mpls_ethertype, false}, known, out);
}

Status AddMpls(Bytes payload, Known& known, std::vector<Action>& out) {
  ovs_action_add_mpls add{};
  if (Status status = ReadValue(payload, add); !status.ok()) return status;
  if ((add.tun_flags & ~kMplsBehindEthernet) != 0)
    return Invalid("unknown flags " + std::to_string(add.tun_flags));
  const bool before_ethernet = (add.tun_flags & kMplsBehindEthernet) == 0;
  return PushMpls({add.mpls_lse, add.mpls_ethertype, before_ethernet}, known, out);
}

Status PopMpls(Bytes payload, Known& known, std::vector<Action>& out) {
  PopMplsAction pop{};
  if (Status status = ReadValue(payload, pop.ether_type); !status.ok()) return status;
  if (FromBe16(pop.ether_type) < kEthTypeMin) return Invalid("eth_type must be 0x0600 or more");
  Status status = known.PopMpls(pop.ether_type);
  if (status.ok()) out.emplace_back(pop);
  return status;
}

Status PushEth(Bytes payload, Known& known, std::vector<Action>& out) {
  ovs_action_push_eth push{};
  if (Status status = ReadValue(payload, push); !status.ok()) return status;
  Status status = known.PushEth();
  if (status.ok()) {
    out.emplace_back(PushEthAction{LoadAs<MacAddress>(push.addresses.eth_src),
                                   LoadAs<MacAddress>(push.addresses.eth_dst)});
  }
  return status;
}

// The header as it will stand in packets; what follows it is theirs.
std::vector<std::uint8_t> HeaderOf(const PushedNsh& nsh) {
  const bool type1 = nsh.fields.mdtype == NshHeader::kMdType1;
  const std::size_t metadata = type1 ? sizeof(NshContext) : nsh.metadata.size();
  const std::size_t length = sizeof(NshHeader) + metadata;
  NshHeader fixed{};
  fixed.version_flags_ttl_length.set_value(
      static_cast<std::uint16_t>(nsh.fields.flags << 12 | nsh.fields.ttl << 6 | length / 4));
  fixed.mdtype = nsh.fields.mdtype;
  fixed.path.set_raw(nsh.fields.path);
  std::vector<std::uint8_t> header(length);
  std::memcpy(header.data(), &fixed, sizeof fixed);
  const void* from =
      type1 ? static_cast<const void*>(nsh.fields.context.data()) : nsh.metadata.data();
  if (metadata > 0) std::memcpy(header.data() + sizeof fixed, from, metadata);
  return header;
}

Status PushNsh(Bytes payload, Known& known, std::vector<Action>& out) {
  AttributeReader reader(payload);
  const bool any = reader.Next();
  const Bytes header = any ? reader.payload() : Bytes();
  const bool known_type = any && reader.type() == OVS_KEY_ATTR_NSH;
  const bool alone = any && !reader.Next();
  if (reader.broken()) return Invalid("malformed attribute");
  if (!known_type || !alone) return Invalid("there must be one attribute, the header");
  auto nsh = DecodeNsh(header);
  if (!nsh.ok()) return nsh.error();
  Status status = known.PushNsh(nsh->fields.mdtype);
  if (status.ok()) {
    out.emplace_back(
        PushNshAction{std::make_shared<const std::vector<std::uint8_t>>(HeaderOf(*nsh))});
  }
  return status;
}

// An action without arguments.
template <typename T>
Status Plain(Bytes payload, Status (Known::*change)(), Known& known, std::vector<Action>& out) {
  if (!payload.empty()) return WrongSize(payload.size(), 0);
  Status status = (known.*change)();
  if (status.ok()) out.emplace_back(T{});
  return status;
}

}  // namespace

// ---- Nested lists.

Status ActionParser::Nested(Bytes attributes, const Scope& scope, const char* where,
                            ActionListPtr& out) {
  if (scope.depth == ActionList::kMaxDepth)
    return Invalid("nested deeper than " + std::to_string(ActionList::kMaxDepth) + " lists");
  auto list = List(attributes, scope.known, scope.depth + 1);
  if (!list.ok())
    return where == nullptr ? std::move(list.error()) : At(where, std::move(list.error()));
  out = std::move(*list);
  return {};
}

Status ActionParser::Clone(Bytes payload, Scope& scope) {
  CloneAction clone;
  if (Status status = Nested(payload, scope, nullptr, clone.actions); !status.ok()) return status;
  scope.actions.emplace_back(std::move(clone));
  return {};
}

Status ActionParser::Sample(Bytes payload, Scope& scope) {
  static constexpr AttributeInfo kKnown[] = {{}, {"probability", 4}, {"actions"}};
  auto attributes = AttributeSet::Read(payload, kKnown, "sample");
  if (!attributes.ok()) return attributes.error();
  if (!attributes->Has(OVS_SAMPLE_ATTR_PROBABILITY)) return Invalid("has no probability");
  if (!attributes->Has(OVS_SAMPLE_ATTR_ACTIONS)) return Invalid("has no actions");
  SampleAction sample{attributes->Get<std::uint32_t>(OVS_SAMPLE_ATTR_PROBABILITY), nullptr};
  Status status = Nested((*attributes)[OVS_SAMPLE_ATTR_ACTIONS], scope, nullptr, sample.actions);
  if (status.ok()) scope.actions.emplace_back(std::move(sample));
  return status;
}

Status ActionParser::CheckLength(Bytes payload, Scope& scope) {
  static constexpr AttributeInfo kKnown[] = {{}, {"size", 2}, {"gt"}, {"le"}};
  auto attributes = AttributeSet::Read(payload, kKnown, "check_pkt_len");
  if (!attributes.ok()) return attributes.error();
  for (std::size_t type = 1; type < std::size(kKnown); ++type) {
    if (!attributes->Has(type)) return Invalid(std::string("has no ") + kKnown[type].name);
  }
  CheckLengthAction check{attributes->Get<std::uint16_t>(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN), nullptr,
                          nullptr};
  Status status = Nested((*attributes)[OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER], scope, "gt",
                         check.if_greater);
  if (status.ok()) {
    status = Nested((*attributes)[OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL], scope, "le",
                    check.otherwise);
  }
  if (status.ok()) scope.actions.emplace_back(std::move(check));
  return status;
}

Status ActionParser::DecTtl(Bytes payload, Scope& scope) {
  static constexpr AttributeInfo kKnown[] = {{}, {"actions"}};
  auto attributes = AttributeSet::Read(payload, kKnown, "dec_ttl");
  if (!attributes.ok()) return attributes.error();
  if (!attributes->Has(OVS_DEC_TTL_ATTR_ACTION)) return Invalid("has no actions");
  if (Status status = scope.known.NeedIp(); !status.ok()) return status;
  DecTtlAction dec_ttl;
  Status status = Nested((*attributes)[OVS_DEC_TTL_ATTR_ACTION], scope, nullptr, dec_ttl.expired);
  if (status.ok()) scope.actions.emplace_back(std::move(dec_ttl));
  return status;
}

// ---- Lists.

Status ActionParser::One(std::uint16_t type, Bytes payload, Scope& scope) {
  std::vector<Action>& out = scope.actions;
  if (scope.closed) return Invalid("nothing can follow a drop");
  switch (type) {
    case OVS_ACTION_ATTR_OUTPUT:
      return Output(payload, out);
    case OVS_ACTION_ATTR_USERSPACE:
      return Userspace(payload, out);
    case OVS_ACTION_ATTR_SET:
      return ParseSet(payload, false, scope.known, out);
    case OVS_ACTION_ATTR_SET_MASKED:
      return ParseSet(payload, true, scope.known, out);
    case OVS_ACTION_ATTR_PUSH_VLAN:
      return PushVlan(payload, scope.known, out);
    case OVS_ACTION_ATTR_POP_VLAN:
      return Plain<PopVlanAction>(payload, &Known::PopVlan, scope.known, out);
    case OVS_ACTION_ATTR_SAMPLE:
      return Sample(payload, scope);
    case OVS_ACTION_ATTR_RECIRC:
      return Recirc(payload, out);
    case OVS_ACTION_ATTR_HASH:
      return Hash(payload, out);
    case OVS_ACTION_ATTR_PUSH_MPLS:
      return PushMpls(payload, scope.known, out);
    case OVS_ACTION_ATTR_POP_MPLS:
      return PopMpls(payload, scope.known, out);
    case OVS_ACTION_ATTR_TRUNC:
      return Trunc(payload, out);
    case OVS_ACTION_ATTR_PUSH_ETH:
      return PushEth(payload, scope.known, out);
    case OVS_ACTION_ATTR_POP_ETH:
      return Plain<PopEthAction>(payload, &Known::PopEth, scope.known, out);
    case OVS_ACTION_ATTR_PUSH_NSH:
      return PushNsh(payload, scope.known, out);
    case OVS_ACTION_ATTR_POP_NSH:
      return Plain<PopNshAction>(payload, &Known::PopNsh, scope.known, out);
    case OVS_ACTION_ATTR_CLONE:
      return Clone(payload, scope);
    case OVS_ACTION_ATTR_CHECK_PKT_LEN:
      return CheckLength(payload, scope);
    case OVS_ACTION_ATTR_ADD_MPLS:
      return AddMpls(payload, scope.known, out);
    case OVS_ACTION_ATTR_DEC_TTL:
      return DecTtl(payload, scope);
    case kActionDrop:
      scope.closed = true;
      return Drop(payload, out);
    default:
      break;
  }
  const char* name = NameOf(type);
  return name != nullptr ? NotSupportedYet(name) : Invalid("unknown action");
}

namespace {

// Where the actions of a list lead, with those of nested lists.
struct Destinations {
  std::vector<PortNumber> ports;
  std::size_t handlers = 0;
  std::size_t recirculations = 0;

  void Add(const ActionList& list) {
    for (const Action& action : list.actions()) {
      if (const auto* output = std::get_if<OutputAction>(&action)) {
        ports.push_back(output->port);
      } else if (std::holds_alternative<UserspaceAction>(action)) {
        ++handlers;
      } else if (std::holds_alternative<RecircAction>(action)) {
        ++recirculations;  // To anywhere.
      } else if (const auto* clone = std::get_if<CloneAction>(&action)) {
        Add(*clone->actions);
      } else if (const auto* sample = std::get_if<SampleAction>(&action)) {
        Add(*sample->actions);
      } else if (const auto* check = std::get_if<CheckLengthAction>(&action)) {
        Add(*check->if_greater);
        Add(*check->otherwise);
      } else if (const auto* dec_ttl = std::get_if<DecTtlAction>(&action)) {
        Add(*dec_ttl->expired);
      }
    }
  }
  bool distinct() {
    std::sort(ports.begin(), ports.end());
    return std::adjacent_find(ports.begin(), ports.end()) == ports.end() && handlers <= 1 &&
           (recirculations == 0 || (recirculations == 1 && ports.empty() && handlers == 0));
  }
};

// Changes after which a packet that had an Ethernet header has one, and outputs behind them.
std::size_t FirstOutput(std::span<const Action> actions) {
  const auto is_output = [](const Action& action) {
    return std::holds_alternative<OutputAction>(action);
  };
  const auto is_change = [](const Action& action) {
    return std::visit(
        []<typename A>(const A&) {
          return requires(const A& change, Packet& packet) { Apply(change, packet); }
          &&!(kMayPart<A> && !std::is_same_v<A, PushVlanAction>);
        },
        action);
  };
  const auto first = std::find_if(actions.begin(), actions.end(), is_output);
  if (first == actions.end() || !std::all_of(actions.begin(), first, is_change) ||
      !std::all_of(first, actions.end(), is_output))
    return ActionList::kNone;
  return static_cast<std::size_t>(first - actions.begin());
}

}  // namespace

Result<ActionListPtr> ActionParser::List(Bytes attributes, const Known& known, int depth) {
  Scope scope{known, depth};
  AttributeReader reader(attributes);
  for (std::size_t place = 1; reader.Next(); ++place) {
    Status status = One(reader.type(), reader.payload(), scope);
    if (status.ok()) continue;
    const char* name = NameOf(reader.type());
    return At("action " + std::to_string(place) + " (" +
                  (name != nullptr ? name : "type " + std::to_string(reader.type())) + ")",
              std::move(status.error()));
  }
  if (reader.broken()) return Invalid("malformed attribute in actions");
  std::shared_ptr<ActionList> list(new ActionList);
  scope.actions.shrink_to_fit();
  list->actions_ = std::move(scope.actions);
  list->attributes_ = attributes;
  list->storage_ = storage_;
  Destinations destinations;
  destinations.Add(*list);
  list->keeps_order_ = destinations.distinct();
  if (list->keeps_order_) list->first_output_ = FirstOutput(list->actions_);
  if (list->actions_.size() == 1) {
    if (const auto* output = std::get_if<OutputAction>(&list->actions_[0]))
      list->sole_output_ = output->port;
  }
  return ActionListPtr(std::move(list));
}

Result<ActionListPtr> ActionParser::Parse(const KnownMatch& match) {
  return List(*storage_, Known(match), 0);
}

Result<ActionListPtr> ActionList::Parse(Bytes attributes, const Match& match) {
  return Parse(attributes, KnownMatch(match));
}

Result<ActionListPtr> ActionList::Parse(Bytes attributes, const KnownMatch& match) {
  if (attributes.size() > kMaxListBytes) {
    return Invalid("the actions have " + std::to_string(attributes.size()) +
                   " bytes; at most 65535 are allowed");
  }
  return ActionParser(attributes).Parse(match);
}

}  // namespace pollux
