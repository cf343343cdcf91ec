// FlowCopies: whoever forwards packets by copies of flows, out of reach of the table's own threads.
//
// The table tells before a flow changes and waits before the change is done, so that what it
// promises of its threads holds for copies too: a change is in force when the call that made it
// returns, and nothing a copy counted is lost. All of this runs under the flow mutex.
#pragma once

#include <cstddef>

#include "classifier/megaflow.h"

namespace pollux {

class FlowCopies {
 public:
  virtual ~FlowCopies() = default;

  // There are no copies: nothing below needs to be called.
  bool empty() const { return size_ == 0; }
  virtual bool Has(const Megaflow& flow) const = 0;

  // The flow is about to be unlinked, or to get other actions.
  virtual void Leave(const Megaflow& flow) = 0;
  // The table has changed. Returns when no copy is in use any more of a flow that left, or that was
  // made under another profile than its port has now; what they counted is the flows'.
  virtual void Settle() = 0;
  // What copies counted so far becomes the flows'.
  virtual void Count() = 0;

 protected:
  std::size_t size_ = 0;
};

}  // namespace pollux
