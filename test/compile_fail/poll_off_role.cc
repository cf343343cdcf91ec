// expect: requires holding role
// So does polling its queues.
#include "pmd/context.h"

std::size_t Control(pollux::Context& context) { return context.PollOnce(); }
