// FlowView: what control shows of a flow.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "classifier/flow_slots.h"
#include "classifier/megaflow.h"

namespace pollux {

// Why a flow went by itself: unused for too long; for another one to have its place; because the
// limit was lowered.
enum class Departure : std::uint8_t { kNone, kIdle, kEvicted, kPurged };

// A flow as it is shown: a snapshot.
struct FlowView {
  Ufid ufid{};
  std::shared_ptr<const PackedMask> mask;
  std::vector<std::uint64_t> packed_key;
  std::shared_ptr<const ActionList> actions;
  std::optional<std::int64_t> idle_timeout_ms;  // Not set: the table's.
  FlowStats stats;
  bool offloaded = false;  // Some of its packets are forwarded without any context.
  Departure departure = Departure::kNone;

  Match match() const { return mask->UnpackMatch(packed_key.data()); }
};

// For a flow that is linked, under the flow mutex; or for one that nobody else can reach any more.
FlowView ViewOf(const Megaflow& flow, const FlowStats& stats, bool offloaded);

}  // namespace pollux
