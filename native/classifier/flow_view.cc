#include "classifier/flow_view.h"

namespace pollux {

FlowView ViewOf(const Megaflow& flow, const FlowStats& stats, bool offloaded) {
  FlowView view;
  view.ufid = flow.ufid;
  view.mask = flow.mask;
  view.packed_key.assign(flow.packed_key(), flow.packed_key() + flow.mask->size());
  view.actions = flow.owned_actions;
  if (flow.idle_timeout_ms != Megaflow::kTableTimeout) view.idle_timeout_ms = flow.idle_timeout_ms;
  view.stats = stats;
  view.offloaded = offloaded;
  return view;
}

}  // namespace pollux
