#include "changes/change_reader.h"

#include <algorithm>
#include <utility>

#include "packet/headers.h"

namespace pollux {
namespace {

constexpr double kMaxExact = 9007199254740992.0;  // Integers above are not exact.

// nullopt: they are not all there.
std::optional<Bytes> Part(Bytes bytes, std::uint32_t at, std::size_t size) {
  if (at > bytes.size() || size > bytes.size() - at) return std::nullopt;
  return bytes.subspan(at, size);
}

}  // namespace

std::optional<std::int64_t> ChangeReader::IdleTimeoutOf(const Header& header) {
  if ((header.flags & kTimeout) == 0) return std::nullopt;
  return static_cast<std::int64_t>(std::clamp(header.idle_timeout_ms, 0.0, kMaxExact));
}

bool ChangeReader::Read(const ChangeRecords& records, FlowChanges& out, std::size_t max_unread,
                        std::vector<std::uint32_t>& unread) {
  const std::size_t n = records.headers.size() / sizeof(Header);
  if (records.headers.size() % sizeof(Header) != 0) return false;
  out.Reserve(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    const auto header = LoadAs<Header>(&records.headers[i * sizeof(Header)]);
    const bool is_text = (header.flags & kText) != 0;
    const auto key = Part(is_text ? records.texts : records.payload, header.key_at,
                          std::size_t{header.key_size} + header.mask_size);
    const auto actions = Part(records.payload, header.actions_at, header.actions_size);
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

void ChangeReader::ReadOne(const Header& header, Bytes key, Bytes mask, Bytes actions,
                           FlowChanges& out) {
  PackedChange change;
  const bool is_put = (header.flags & kPut) != 0;
  change.has_ufid = (header.flags & kByUfid) != 0;
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
    change.replace = (header.flags & kReplace) != 0;
    change.create = (header.flags & kCreate) != 0;
    change.idle_timeout_ms = IdleTimeoutOf(header).value_or(Megaflow::kTableTimeout);
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
