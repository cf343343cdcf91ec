// ActionListCache: lists that were made before. Flows by the thousand have few different lists, and
// making one is most of the work of installing a flow.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "actions/action_list.h"
#include "actions/known.h"

namespace pollux {

// For one thread.
class ActionListCache {
 public:
  // As ActionList::Parse().
  Result<ActionListPtr> Get(Bytes attributes, const KnownMatch& match) {
    const KnownMatch::Words words = match.words();
    std::uint64_t hash = HashWords64(words.data(), words.size(), attributes.size());
    for (const std::uint8_t byte : attributes) hash = (hash ^ byte) * 0x100000001b3u;
    Entry& entry = entries_[(hash ^ hash >> 32) % kEntries];
    if (entry.list != nullptr && entry.match == words &&
        std::ranges::equal(entry.list->attributes(), attributes))
      return entry.list;
    Result<ActionListPtr> list = ActionList::Parse(attributes, match);
    if (list.ok()) entry = {words, *list};
    return list;
  }

 private:
  static constexpr std::size_t kEntries = 256;
  struct Entry {
    KnownMatch::Words match{};
    ActionListPtr list;
  };
  std::array<Entry, kEntries> entries_;
};

}  // namespace pollux
