// Which GSO frames cannot go through an action whole: those whose segments the action would treat
// differently from each other or from the frame, and those that would become a frame that
// packet/offload.h cannot describe.
#pragma once

#include <type_traits>
#include <variant>

#include "actions/action_list.h"
#include "packet/offload.h"

namespace pollux {

template <typename A>
bool MustPart(const A& action, const Packet& frame) {
  if constexpr (std::is_same_v<A, TruncAction>) {
    return OnWire(frame).largest > action.max_length;
  } else if constexpr (std::is_same_v<A, CheckLengthAction>) {
    const WireSize wire = OnWire(frame);
    return wire.largest > action.length && wire.smallest <= action.length;
  } else if constexpr (std::is_same_v<A, PushVlanAction>) {
    return frame.size + sizeof(VlanTag) > kMaxFrame;
  } else {
    return true;
  }
}

// The actions for which that is a question at all.
template <typename A>
inline constexpr bool kMayPart =
    std::is_same_v<A, TruncAction> || std::is_same_v<A, CheckLengthAction> ||
    std::is_same_v<A, PushVlanAction> || std::is_same_v<A, PushMplsAction> ||
    std::is_same_v<A, PopMplsAction> || std::is_same_v<A, PushEthAction> ||
    std::is_same_v<A, PopEthAction> || std::is_same_v<A, PushNshAction> ||
    std::is_same_v<A, PopNshAction>;

inline bool MayPart(const Action& action) {
  static constexpr std::uint64_t kAnswers =
      []<typename... As>(std::type_identity<std::variant<As...>>) {
        std::uint64_t answers = 0;
        std::size_t i = 0;
        ((answers |= std::uint64_t{kMayPart<As>} << i++), ...);
        return answers;
      }(std::type_identity<Action>());
  static_assert(std::variant_size_v<Action> <= 64);
  return (kAnswers >> action.index() & 1) != 0;
}

// Only for actions that MayPart().
inline bool MustPart(const Action& action, const Packet& frame) {
  return std::visit([&](const auto& which) { return MustPart(which, frame); }, action);
}

}  // namespace pollux
