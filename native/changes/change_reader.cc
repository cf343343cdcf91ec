#include "changes/change_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "packet/headers.h"

namespace pollux {

bool ChangeReader::Read(const ChangeRecords& records, FlowChanges& out, std::size_t max_unread,
                        std::vector<std::uint32_t>& unread) {
  const std::size_t n = records.headers.size() / sizeof(ChangeHeader);
  if (records.headers.size() % sizeof(ChangeHeader) != 0) return false;
  out.Reserve(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    const auto header = LoadAs<ChangeHeader>(&records.headers[i * sizeof(ChangeHeader)]);
    const bool is_text = (header.flags & ChangeHeader::kText) != 0;
    const auto key = PartOf(is_text ? records.texts : records.payload, header.key_at,
                            std::size_t{header.key_size} + header.mask_size);
    const auto actions = PartOf(records.payload, header.actions_at, header.actions_size);
    if (!key.has_value() || !actions.has_value()) return false;
    if (!is_text) {
      ReadOne(header, key->first(header.key_size), key->subspan(header.key_size), *actions, out);
      continue;
    }
    const std::string_view text(reinterpret_cast<const char*>(key->data()), key->size());
    if (const auto encoded = texts_.Find(text)) {
      // Once one is unread nothing will come of the others in this call.
      if (unread.empty()) ReadOne(header, encoded->key, encoded->mask, *actions, out);
    } else {
      unread.push_back(i);
      if (unread.size() == max_unread) return true;
    }
  }
  return true;
}

void ChangeReader::ReadOne(const ChangeHeader& header, Bytes key, Bytes mask, Bytes actions,
                           FlowChanges& out) {
  PackedChange change;
  const bool is_put = (header.flags & ChangeHeader::kPut) != 0;
  change.has_ufid = (header.flags & ChangeHeader::kByUfid) != 0;
  if (change.has_ufid) change.ufid = header.ufid;
  if (!is_put) {
    change.kind = PackedChange::Kind::kDelete;
    if (change.has_ufid) return out.Add(std::move(change), nullptr);
  }
  if (Status status = shapes_.Pack(key, mask, match_); !status.ok())
    return out.Refuse(std::move(status.error()));
  change.mask = match_.mask;
  if (is_put) {
    Result<ActionListPtr> list = ActionsOf(actions);
    if (!list.ok()) return out.Refuse(std::move(list.error()));
    change.actions = std::move(*list);
    change.replace = (header.flags & ChangeHeader::kReplace) != 0;
    change.create = (header.flags & ChangeHeader::kCreate) != 0;
    change.idle_timeout_ms = header.idle_timeout_ms().value_or(Megaflow::kTableTimeout);
  }
  out.Add(std::move(change), match_.key.data());
}

Result<ActionListPtr> ChangeReader::ActionsOf(Bytes attributes) {
  if (match_.shape != 0 && match_.shape == list_shape_ &&
      std::ranges::equal(list_->attributes(), attributes))
    return list_;
  const Match match = match_.mask->UnpackMatch(match_.key.data());
  Result<ActionListPtr> list = lists_.Get(attributes, KnownMatch(match));
  if (list.ok()) {
    list_shape_ = match_.shape;
    list_ = *list;
  }
  return list;
}

}  // namespace pollux
