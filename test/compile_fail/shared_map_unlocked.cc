// expect: requires holding mutex 'port_mutex_'
// The shared maps are read and written under the context's port mutex only.
#include "base/sync.h"
#include "forwarding/port_cache.h"

class Context {
 public:
  void AddTxPort(const pollux::TxPort& port) { tx_ports_.Put(port); }

 private:
  pollux::Mutex port_mutex_;
  pollux::TxPortMap tx_ports_ GUARDED_BY(port_mutex_);
};

void Use(Context& context) { context.AddTxPort({}); }
