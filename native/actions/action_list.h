// ActionList: what a flow does with its packets. Built once from netlink attributes
// (OVS_ACTION_ATTR_*), checked, immutable, and shared between flows, threads and parked packets.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "base/result.h"
#include "flow/flow.h"
#include "flow/netlink.h"

namespace pollux {

struct OutputAction {
  PortNumber port;
};
// Hands the packet to the program's upcall handler.
struct UserspaceAction {
  std::shared_ptr<const std::vector<std::uint8_t>> userdata;  // May be null.
};
// Overwrites header fields: every bit that is one in `mask` is taken from `value`. Both hold only
// fields of one group.
struct SetAction {
  enum class Group : std::uint8_t { kEthernet, kIpv4, kIpv6, kTcp, kUdp };
  Group group;
  Flow value;
  FlowMask mask;
};
struct PushVlanAction {
  VlanTag tag;
};
struct PopVlanAction {};

using Action =
    std::variant<OutputAction, UserspaceAction, SetAction, PushVlanAction, PopVlanAction>;

class ActionList {
 public:
  // Refuses what could not run on a packet that matches: EINVAL with the action's place and name.
  // `match` is what is known of the packets: the flow's match, or the exact key of one frame. An
  // empty list drops.
  static Result<std::shared_ptr<const ActionList>> Parse(Bytes attributes, const Match& match);

  std::span<const Action> actions() const { return actions_; }
  // The attributes it was made from.
  Bytes attributes() const { return attributes_; }
  // The list is exactly one output: the common case, for the fast path. kNoPort otherwise.
  PortNumber sole_output() const { return sole_output_; }

 private:
  ActionList() = default;

  std::vector<Action> actions_;
  std::vector<std::uint8_t> attributes_;
  PortNumber sole_output_ = kNoPort;
};

}  // namespace pollux
