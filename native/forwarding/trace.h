// Trace: the path of one packet, written down.
//
// The packet goes through the same rooms as any other: the parser, the non-PMD context's cache, the
// classifier, and ExecuteActions() with a host that is told what the actions ask for and does none
// of it. So what is written down is what would happen; and nothing is sent, parked, cached or
// counted. What a real packet leaves to chance, samples, follows from a seed here.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "actions/execute.h"
#include "classifier/flow_table.h"
#include "forwarding/context.h"
#include "forwarding/upcall_queue.h"
#include "packet/drop_reason.h"

namespace pollux {

// X(enumerator, text)
#define POLLUX_TRACE_STEPS(X)                                           \
  X(kParse, "parse")   /* the key found; the first step of each pass */ \
  X(kCache, "cache")   /* exact-match cache: hit or not */              \
  X(kTuple, "tuple")   /* a subtable of the classifier: hit or not */   \
  X(kFlow, "flow")     /* the flow found */                             \
  X(kAction, "action") /* about to run */                               \
  X(kEnd, "end")       /* of a list, with the packet still there */     \
  X(kChance, "chance") /* a number was drawn, for a sample */           \
  X(kOutput, "output") /* sent, or dropped if there is a reason */      \
  X(kUpcall, "upcall") /* handed to the program, or dropped likewise */ \
  X(kDrop, "drop")     /* for the reason given */

struct TraceStep {
  enum class Kind : std::uint8_t {
#define X(name, text) name,
    POLLUX_TRACE_STEPS(X)
#undef X
  };
  Kind kind{};
  std::uint32_t pass = 0;   // How often it was recirculated.
  std::uint32_t depth = 0;  // What an action does is one deeper than the action.
  bool hit = false;         // kCache, kTuple.

  // kParse, kAction, kEnd: the key that the parser finds. kTuple: the mask, in the shape of one of
  // the subtable's flows. kFlow: the flow's.
  Match match;
  Ufid ufid{};                           // kFlow
  std::vector<std::uint8_t> attributes;  // Of actions. kFlow: the list; kAction: the one.
  std::vector<std::uint8_t> frame;       // kParse, kAction, kEnd, kOutput, kUpcall, kDrop.
  std::uint32_t number = 0;              // kOutput: the port. kChance: out of 2^32.
  std::optional<UpcallReason> upcall;    // kUpcall
  std::optional<DropReason> drop;
};

class Tracer {
 public:
  // Draws the numbers that follow from `seed`.
  Tracer(Context& context, std::uint32_t seed);
  // Draws those that the context draws next; the caller has its role.
  explicit Tracer(Context& context);

  // The packet has its in_port; the caller has the context's role.
  std::vector<TraceStep> Run(PacketPtr packet);
  // Not by its flow, but by these actions.
  std::vector<TraceStep> RunActions(PacketPtr packet, const ActionList& actions);

  // The host of ExecuteActions().
  void Step(const ActionList& list, std::size_t index, const PacketBatch& batch);
  void Output(PacketBatch batch, PortNumber port);
  void Upcall(PacketBatch batch, const UserspaceAction& action);
  void Recirculate(PacketBatch batch, std::uint32_t recirc_id);
  void Drop(PacketBatch batch, DropReason reason);
  PacketBatch Clone(const PacketBatch& batch);
  // Frames that are traced lack nothing.
  PacketBatch NextSegments(Segmenter& segmenter) {
    segmenter.Stop();
    return {};
  }
  std::uint32_t Random();

 private:
  using Kind = TraceStep::Kind;

  // From the parser to the end of the actions.
  void Pass(PacketBatch batch);
  const Megaflow* FindFlow(const Packet& packet, const Miniflow& key);
  void NoteUpcall(const PacketBatch& batch, UpcallReason reason);
  // Why the port would not take the packet.
  std::optional<DropReason> RefusalOf(PortNumber port, const Packet& packet);
  TraceStep& Note(Kind kind);
  TraceStep& Note(Kind kind, const PacketBatch& batch);

  Context& context_;
  std::uint32_t random_;
  std::vector<TraceStep> steps_;
  std::uint32_t pass_ = 0;
  std::vector<const ActionList*> lists_;  // Under way, innermost last.
  std::size_t pass_lists_ = 0;            // Those of earlier passes among them.
};

static_assert(ActionHost<Tracer>);

}  // namespace pollux
