#include "changes/verdict_reader.h"

#include <utility>

#include "changes/records.h"
#include "packet/headers.h"

namespace pollux {

Status ReadVerdicts(Bytes headers, Bytes payload, std::span<UpcallVerdict> verdicts) {
  const auto cut_short = [] { return Invalid("a verdict is cut short"); };
  if (headers.size() % sizeof(VerdictHeader) != 0) return cut_short();
  for (; !headers.empty(); headers = headers.subspan(sizeof(VerdictHeader))) {
    const auto header = LoadAs<VerdictHeader>(headers.data());
    if (header.place >= verdicts.size()) return Invalid("a verdict is of no packet");
    UpcallVerdict& verdict = verdicts[header.place];
    const auto actions = PartOf(payload, header.actions_at, header.actions_size);
    if (!actions.has_value()) return cut_short();
    verdict.actions = *actions;
    verdict.kind = UpcallVerdict::Kind::kExecute;
    if ((header.flags & VerdictHeader::kInstall) == 0) continue;
    verdict.kind = UpcallVerdict::Kind::kInstall;
    verdict.idle_timeout_ms = header.idle_timeout_ms();
    if ((header.flags & VerdictHeader::kExact) != 0) continue;
    const auto match =
        PartOf(payload, header.key_at, std::size_t{header.key_size} + header.mask_size);
    if (!match.has_value()) return cut_short();
    verdict.matches_given = true;
    verdict.match_key = match->first(header.key_size);
    verdict.match_mask = match->subspan(header.key_size);
  }
  return {};
}

Status VerdictReader::Take(const UpcallVerdict& verdict, const Miniflow& packet,
                           ActionListPtr& actions, FlowChanges& flows) {
  const Flow key = packet.Expand();
  const FlowMask mask = ExactMask(key);
  Result<ActionListPtr> list = lists_.Get(verdict.actions, KnownMatch({key, mask}));
  if (!list.ok()) return std::move(list.error());
  actions = std::move(*list);
  if (verdict.kind != UpcallVerdict::Kind::kInstall) return {};
  PackedChange put;
  put.actions = actions;
  put.idle_timeout_ms = verdict.idle_timeout_ms.value_or(Megaflow::kTableTimeout);
  // Packets of one flow are parked until the first of them is answered. What was installed for
  // that one may be wider: the others need no flow of their own, only to go the same way.
  put.optional = true;
  if (!verdict.matches_given) {
    put.mask = Shared(mask);
    put.mask->Pack(key, match_.key.data());
    flows.Add(std::move(put), match_.key.data());
    return {};
  }
  Status status = shapes_.Pack(verdict.match_key, verdict.match_mask, match_);
  if (!status.ok()) return status;
  // What is right for this packet may not be for all that match.
  const Match match = match_.mask->UnpackMatch(match_.key.data());
  list = lists_.Get(verdict.actions, KnownMatch(match));
  if (!list.ok()) return std::move(list.error());
  put.actions = std::move(*list);
  put.mask = match_.mask;
  flows.Add(std::move(put), match_.key.data());
  return {};
}

const std::shared_ptr<const PackedMask>& VerdictReader::Shared(const FlowMask& mask) {
  if (exact_ == nullptr || !(mask == exact_mask_)) {
    exact_mask_ = mask;
    exact_ = std::make_shared<const PackedMask>(mask);
  }
  return exact_;
}

}  // namespace pollux
