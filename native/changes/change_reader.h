// ChangeReader: changes of flows as they come from TypeScript, any number in three byte strings.
//
//   headers   one Header for each change
//   payload   what they point to: keys (each with its mask behind it) and actions as netlink
//             attributes
//   texts     matches as text, which they point to too
//
// Most changes are like one before (match_shapes.h, match_texts.h), and what was worked out for
// that one is not worked out again. For one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "changes/list_cache.h"
#include "changes/match_shapes.h"
#include "changes/match_texts.h"
#include "classifier/flow_changes.h"

namespace pollux {

struct ChangeRecords {
  Bytes headers;
  Bytes payload;
  Bytes texts;
};

class ChangeReader {
 public:
  struct Header {
    std::uint32_t flags;
    std::uint32_t key_at;  // In the payload; of a text, in the texts.
    std::uint32_t key_size;
    std::uint32_t mask_size;  // Of a text: 0.
    std::uint32_t actions_at;
    std::uint32_t actions_size;
    double idle_timeout_ms;
    Ufid ufid;
  };
  static_assert(sizeof(Header) == 48);
  // Flags.
  static constexpr std::uint32_t kPut = 1;  // Else a deletion.
  static constexpr std::uint32_t kByUfid = 2;
  static constexpr std::uint32_t kTimeout = 4;
  static constexpr std::uint32_t kReplace = 8;
  static constexpr std::uint32_t kCreate = 16;
  static constexpr std::uint32_t kText = 32;
  static constexpr std::uint32_t kExact = 64;  // Of verdicts: no match, the packet's exact key.

  static std::optional<std::int64_t> IdleTimeoutOf(const Header& header);

  // Reads all changes. False: the records do not add up. `unread`: places of those whose text was
  // not learnt, up to `max_unread`, where reading ends.
  bool Read(const ChangeRecords& records, FlowChanges& out, std::size_t max_unread,
            std::vector<std::uint32_t>& unread);

  MatchTexts& texts() { return texts_; }

 private:
  void ReadOne(const Header& header, Bytes key, Bytes mask, Bytes actions, FlowChanges& out);
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
