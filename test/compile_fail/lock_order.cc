// expect: must be acquired before
// Non-PMD mutex before port mutex, never the other way round.
#include "base/sync.h"

class Locks {
 public:
  void Inverted() {
    pollux::MutexLock inner(port_mutex_);
    pollux::MutexLock outer(non_pmd_mutex_);
  }

 private:
  pollux::Mutex non_pmd_mutex_ ACQUIRED_BEFORE(port_mutex_);
  pollux::Mutex port_mutex_;
};

void Use(Locks& locks) { locks.Inverted(); }
