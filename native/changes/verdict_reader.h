// Verdicts on parked packets: ReadVerdicts() takes their records apart, VerdictReader makes actions
// and flows of them.
#pragma once

#include <memory>
#include <span>

#include "changes/list_cache.h"
#include "changes/match_shapes.h"
#include "changes/verdict.h"
#include "classifier/flow_changes.h"

namespace pollux {

// Reads verdicts as TypeScript writes them (records.h), each into its packet's place; where there
// is no record, what stands there stays. They refer to the bytes. EINVAL: the records do not add
// up.
Status ReadVerdicts(Bytes headers, Bytes payload, std::span<UpcallVerdict> verdicts);

// What was worked out for one verdict is used again for others like it. For one thread at a time.
class VerdictReader {
 public:
  // The actions for a packet, given its key. The flow that is to be installed, if any, is added to
  // `flows`. EINVAL for actions that cannot be done with the packet, or with all that match.
  Status Take(const UpcallVerdict& verdict, const Miniflow& packet, ActionListPtr& actions,
              FlowChanges& flows);

 private:
  const std::shared_ptr<const PackedMask>& Shared(const FlowMask& mask);

  ActionListCache lists_;
  MatchShapes shapes_;
  MatchShapes::Packed match_;
  // Exact, of the packet before.
  FlowMask exact_mask_;
  std::shared_ptr<const PackedMask> exact_;
};

}  // namespace pollux
