// ActionList: what a flow does with its packets. Built once from netlink attributes
// (OVS_ACTION_ATTR_*), checked, immutable, and shared between flows, threads and parked packets.
//
// Lists nest: what stands in a clone, a sample, a check_pkt_len or a dec_ttl is a list of its own,
// whose changes to the packet nobody else sees. Each action is a small struct; Action is one of
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/result.h"
#include "flow/flow.h"
#include "flow/netlink.h"
#include "packet/drop_reason.h"

namespace pollux {

struct KnownMatch;  // known.h
class ActionList;
using ActionListPtr = std::shared_ptr<const ActionList>;

// ---- Where a packet goes.

struct OutputAction {
  PortNumber port;
};
// Hands the packet to the program's upcall handler. There is one listener here, so `pid`, whom the
// kernel would tell, is only kept.
struct UserspaceAction {
  std::uint32_t pid = 0;
  std::shared_ptr<const std::vector<std::uint8_t>> userdata;  // May be null.
  std::optional<PortNumber> egress_tunnel_port;
  bool with_actions = false;  // The handler wants to see the flow's actions.
};
// Looks for the packet's flow again, under another recirc_id.
struct RecircAction {
  std::uint32_t recirc_id;
};
struct DropAction {
  DropReason reason;
};
// Cuts the packet to `max_length` bytes where it next leaves: at an output or a userspace, also
// inside of a nested list that a copy of it goes through.
struct TruncAction {
  std::uint32_t max_length;  // kMinFrame at least.
};

// ---- Nested lists.

struct CloneAction {
  ActionListPtr actions;
};
struct SampleAction {
  std::uint32_t probability;  // Of 2^32 - 1, which is always.
  ActionListPtr actions;
};
struct CheckLengthAction {
  std::uint16_t length;
  ActionListPtr if_greater;
  ActionListPtr otherwise;
};
// Takes one off the TTL or hop limit. A packet that cannot pay goes through `expired`, and no
// further in this list.
struct DecTtlAction {
  ActionListPtr expired;
};

// ---- What is changed beside the frame.

struct HashAction {
  enum class Algorithm : std::uint8_t { kLayer4, kSymmetricLayer4 };
  Algorithm algorithm;
  std::uint32_t basis;
};
struct SetMetadataAction {  // skb_priority, skb_mark, dp_hash, recirc_id.
  std::uint32_t Packet::*field;
  std::uint32_t value;
  std::uint32_t mask;
};
struct SetTunnelAction {
  std::shared_ptr<const TunnelMetadata> metadata;  // Null: all zero.
};

// ---- Sets of header fields: every bit that is one in `mask` is taken from `value`, where the
// others are zero.

template <typename Fields>
struct SetFields {
  Fields value;
  Fields mask;
};
struct EthernetFields {
  MacAddress src;
  MacAddress dst;
};
struct MplsFields {
  Be32 entry;  // The outermost one.
};
struct Ipv4Fields {
  Be32 src;
  Be32 dst;
  std::uint8_t tos;
  std::uint8_t ttl;
};
struct Ipv6Fields {
  Ipv6Address src;
  Ipv6Address dst;
  Be32 label;
  std::uint8_t traffic_class;
  std::uint8_t hop_limit;
};
template <std::uint8_t kProtocolNumber>
struct PortFields {
  static constexpr std::uint8_t kProtocol = kProtocolNumber;
  Be16 src;
  Be16 dst;
};
using TcpFields = PortFields<kProtoTcp>;
using UdpFields = PortFields<kProtoUdp>;
using SctpFields = PortFields<kProtoSctp>;
struct IcmpFields {  // ICMP over IPv4, ICMPv6 over IPv6.
  std::uint8_t type;
  std::uint8_t code;
};
struct ArpFields {
  Be32 spa;
  Be32 tpa;
  Be16 operation;
  MacAddress sha;
  MacAddress tha;
};
struct NdFields {
  Ipv6Address target;
  MacAddress sll;
  MacAddress tll;
};
struct NdExtensionFields {
  Be32 reserved;
  std::uint8_t option_type;  // Of the first link-layer address.
};

// ---- Headers that come and go.

struct PushVlanAction {
  VlanTag tag;
};
struct PopVlanAction {};
struct PushMplsAction {
  Be32 entry;
  Be16 ether_type;
  bool before_ethernet;  // add_mpls; else behind the Ethernet header and its tags.
};
struct PopMplsAction {
  Be16 ether_type;  // Of what comes to light.
};
struct PushEthAction {
  MacAddress src;
  MacAddress dst;
};
struct PopEthAction {};
struct PushNshAction {
  std::shared_ptr<const std::vector<std::uint8_t>> header;  // Without the next protocol.
};
struct PopNshAction {};

using Action =
    std::variant<OutputAction, UserspaceAction, RecircAction, DropAction, TruncAction, CloneAction,
                 SampleAction, CheckLengthAction, DecTtlAction, HashAction, SetMetadataAction,
                 SetTunnelAction, SetFields<EthernetFields>, SetFields<MplsFields>,
                 SetFields<NshFields>, SetFields<Ipv4Fields>, SetFields<Ipv6Fields>,
                 SetFields<TcpFields>, SetFields<UdpFields>, SetFields<SctpFields>,
                 SetFields<IcmpFields>, SetFields<ArpFields>, SetFields<NdFields>,
                 SetFields<NdExtensionFields>, PushVlanAction, PopVlanAction, PushMplsAction,
                 PopMplsAction, PushEthAction, PopEthAction, PushNshAction, PopNshAction>;

class ActionList {
 public:
  // How deep lists may be nested.
  static constexpr int kMaxDepth = 32;

  // Refuses what could not run on a packet that matches: EINVAL, or ERR_NOT_SUPPORTED for what is
  // not built yet, with the action's place and name. `match` is what is known of the packets: the
  // flow's match, or the exact key of one frame. An empty list drops.
  static Result<ActionListPtr> Parse(Bytes attributes, const Match& match);
  static Result<ActionListPtr> Parse(Bytes attributes, const KnownMatch& match);

  // Action i was made from attribute i.
  std::span<const Action> actions() const { return actions_; }
  Bytes attributes() const { return attributes_; }
  // The list is exactly one output: the common case, for the fast path. kNoPort otherwise.
  PortNumber sole_output() const { return sole_output_; }
  // Packets that go through the list together reach every destination in their order: no two places
  // of the list, nested ones included, lead to the same.
  bool keeps_order() const { return keeps_order_; }
  // Of a list that changes fields and tags and then outputs, where its outputs begin; kNone of
  // others.
  static constexpr std::size_t kNone = SIZE_MAX;
  std::size_t first_output() const { return first_output_; }

 private:
  friend class ActionParser;
  ActionList() = default;

  std::vector<Action> actions_;
  Bytes attributes_;  // In `storage_`, which all lists of a tree share.
  std::shared_ptr<const std::vector<std::uint8_t>> storage_;
  PortNumber sole_output_ = kNoPort;
  bool keeps_order_ = true;
  std::size_t first_output_ = kNone;
};

}  // namespace pollux
