// expect: requires holding role
// So does polling its queues.
#include "forwarding/context.h"

std::size_t Control(pollux::Context& context) { return context.PollOnce(); }
