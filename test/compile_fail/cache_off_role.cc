// expect: requires holding role
// The private port cache is its context's alone: loading it from elsewhere does not compile.
#include "forwarding/context.h"

void Control(pollux::Context& context) { context.LoadQueuesAndPorts(); }
