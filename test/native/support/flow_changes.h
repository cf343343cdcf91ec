// Changes of a flow table in few words, for tests and benchmarks: matches as they are, and one
// answer for each change. The table itself takes them packed (classifier/flow_changes.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "classifier/flow_table.h"

namespace pollux::test {

struct FlowPut {
  Match match;
  std::shared_ptr<const ActionList> actions;
  std::optional<Ufid> ufid;
  std::optional<std::int64_t> idle_timeout_ms;  // Default: the table's. 0: never, and pinned.
  bool replace = true;                          // False: EEXIST if the flow is there.
  bool create = true;                           // False: ENOENT if it is not.
  bool optional = false;                        // As PackedChange::optional.
};
using FlowName = std::variant<Ufid, Match>;
struct FlowDelete {
  FlowName which;
};
using FlowChange = std::variant<FlowPut, FlowDelete>;
// What became of a change: the id of the flow put, whether the deletion found one, or why not.
using FlowOutcome = Result<std::variant<Ufid, bool>>;

// A change that names a flow; `key` receives the packed key of a match.
inline PackedChange Pack(const FlowName& which, PackedWords& key) {
  PackedChange change;
  if (const auto* match = std::get_if<Match>(&which)) {
    change.mask = std::make_shared<const PackedMask>(match->mask);
    change.mask->Pack(match->key, key.data());
  } else {
    change.has_ufid = true;
    change.ufid = std::get<Ufid>(which);
  }
  return change;
}

inline PackedChange Pack(const FlowPut& put, PackedWords& key) {
  PackedChange change = Pack(FlowName(put.match), key);
  change.actions = put.actions;
  change.has_ufid = put.ufid.has_value();
  if (put.ufid.has_value()) change.ufid = *put.ufid;
  change.idle_timeout_ms = put.idle_timeout_ms.value_or(Megaflow::kTableTimeout);
  change.replace = put.replace;
  change.create = put.create;
  change.optional = put.optional;
  return change;
}

inline PackedChange Pack(const FlowDelete& del, PackedWords& key) {
  PackedChange change = Pack(del.which, key);
  change.kind = PackedChange::Kind::kDelete;
  return change;
}

// FlowTable::Apply(), with an answer for each change that was tried.
inline std::vector<FlowOutcome> ApplyChanges(FlowTable& table,
                                             const std::vector<FlowChange>& changes, bool atomic) {
  FlowChanges packed;
  PackedWords key;
  for (const FlowChange& change : changes) {
    packed.Add(std::visit([&](const auto& one) { return Pack(one, key); }, change), key.data());
  }
  FlowOutcomes outcomes = table.Apply(packed, atomic);
  std::vector<FlowOutcome> answers;
  auto error = outcomes.errors.begin();
  for (const FlowOutcomes::One& one : outcomes.each) {
    using Answer = std::variant<Ufid, bool>;
    switch (one.kind) {
      case FlowOutcomes::Kind::kFailed:
        answers.emplace_back(std::move(*error++));
        break;
      case FlowOutcomes::Kind::kPut:
        answers.emplace_back(Answer(one.ufid));
        break;
      default:
        answers.emplace_back(Answer(one.kind == FlowOutcomes::Kind::kDeleted));
    }
  }
  return answers;
}

inline std::optional<FlowView> FindFlow(const FlowTable& table, const FlowName& which) {
  PackedWords key;
  const PackedChange named = Pack(which, key);
  return table.Find(named, key.data());
}

}  // namespace pollux::test
