// ActionParser: from netlink attributes to an ActionList. Everything that could go wrong with an
// action is found here, before a packet sees it.
//
// It goes through a list, and recursively through those nested in it, with what is Known of the
// packet at each point. A nested list starts with what is known where it stands; what it does to
// its packet is unknown to the list around it.
#pragma once

#include <string>
#include <vector>

#include "actions/action_list.h"
#include "actions/known.h"
#include "flow/attributes.h"

namespace pollux {

class ActionParser {
 public:
  explicit ActionParser(Bytes attributes)
      : storage_(std::make_shared<const std::vector<std::uint8_t>>(attributes.begin(),
                                                                   attributes.end())) {}
  Result<ActionListPtr> Parse(const KnownMatch& match);

 private:
  // One list, as far as it has been read.
  struct Scope {
    Known known;
    int depth = 0;
    std::vector<Action> actions = {};
    bool closed = false;  // A drop was there: nothing can follow.
  };

  Result<ActionListPtr> List(Bytes attributes, const Known& known, int depth);
  // A list nested in `scope`; `where` names it in messages, if there are several.
  Status Nested(Bytes attributes, const Scope& scope, const char* where, ActionListPtr& out);
  Status One(std::uint16_t type, Bytes payload, Scope& scope);

  Status Clone(Bytes payload, Scope& scope);
  Status Sample(Bytes payload, Scope& scope);
  Status CheckLength(Bytes payload, Scope& scope);
  Status DecTtl(Bytes payload, Scope& scope);

  const std::shared_ptr<const std::vector<std::uint8_t>> storage_;  // All lists point into it.
};

inline Error WrongSize(std::size_t is, std::size_t should_be) {
  return Invalid("has " + std::to_string(is) + " bytes instead of " + std::to_string(should_be));
}

// A payload of exactly one T.
template <typename T>
Status ReadValue(Bytes payload, T& out) {
  if (payload.size() != sizeof(T)) return WrongSize(payload.size(), sizeof(T));
  out = LoadAs<T>(payload.data());
  return {};
}

// A set or set_masked: the attribute inside it, to the action that it means (parse_set.cc).
Status ParseSet(Bytes payload, bool masked, Known& known, std::vector<Action>& out);

}  // namespace pollux
