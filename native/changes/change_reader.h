// ChangeReader: changes of flows as they come from TypeScript (records.h).
//
// Most changes are like one before (match_shapes.h, match_texts.h), and what was worked out for
// that one is not worked out again. For one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "changes/list_cache.h"
#include "changes/match_shapes.h"
#include "changes/match_texts.h"
#include "changes/records.h"
#include "classifier/flow_changes.h"

namespace pollux {

struct ChangeRecords {
  Bytes headers;
  Bytes payload;
  Bytes texts;
};

class ChangeReader {
 public:
  // Reads all changes. False: the records do not add up. `unread`: places of those whose text was
  // not learnt, up to `max_unread`, where reading ends.
  bool Read(const ChangeRecords& records, FlowChanges& out, std::size_t max_unread,
            std::vector<std::uint32_t>& unread);

  MatchTexts& texts() { return texts_; }

 private:
  void ReadOne(const ChangeHeader& header, Bytes key, Bytes mask, Bytes actions, FlowChanges& out);
  // For `match_`.
  Result<ActionListPtr> ActionsOf(Bytes attributes);

  MatchShapes shapes_;
  MatchTexts texts_;
  MatchShapes::Packed match_;  // Of the change that is being read.
  ActionListCache lists_;
  // The list that was made last, and for which shape: what its actions need to know of the packets
  // is in fields that do not differ among matches of a shape.
  std::uint64_t list_shape_ = 0;
  ActionListPtr list_;
};

}  // namespace pollux
