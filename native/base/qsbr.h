// Qsbr: quiescent-state-based reclamation, for tables that readers walk without a lock.
//
// A writer unpublishes an object (a flow, an action list, a hash table that was outgrown), and
// passes what that gave it (base/published.h) to Retire(). The object is freed once every reader
// that was online has passed a quiescent state, a moment at which it holds no pointer into any
// table. For a forwarding thread that is the end of each iteration, so reading costs nothing and
// quiescing costs one load, plus one store when something was retired since. A reader that sleeps,
// or is not running, is offline and holds nobody up.
//
// Writers serialise among themselves with a mutex of their own (`flow_mutex_` of a datapath);
// Retire() and Reclaim() are called under it. Deleters run there too and must not take locks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/published.h"
#include "base/sync.h"

namespace pollux {

class Qsbr {
 public:
  using Epoch = std::uint64_t;

  // One for each reading thread (or role). Registered and unregistered under the writers' mutex.
  class Reader {
   public:
    explicit Reader(Qsbr& domain) : domain_(domain) { domain_.Register(this); }
    ~Reader() { domain_.Unregister(this); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // From here on the reader may look at tables. The loop makes sure that a writer either sees us
    // online, or we see everything it unpublished before it looked for us.
    void Online() {
      Epoch epoch = domain_.epoch_.load(std::memory_order_seq_cst);
      for (;;) {
        seen_.store(epoch, std::memory_order_seq_cst);
        const Epoch again = domain_.epoch_.load(std::memory_order_seq_cst);
        if (again == epoch) return;
        epoch = again;
      }
    }
    // The reader holds no pointer into any table now.
    void Quiesce() {
      const Epoch epoch = domain_.epoch_.load(std::memory_order_acquire);
      if (epoch != seen_.load(std::memory_order_relaxed))
        seen_.store(epoch, std::memory_order_seq_cst);
    }
    void Offline() { seen_.store(kOffline, std::memory_order_release); }

   private:
    friend class Qsbr;
    Qsbr& domain_;
    alignas(64) std::atomic<Epoch> seen_{kOffline};
  };

  Qsbr() = default;
  // All readers are gone: everything retired can go too.
  ~Qsbr() {
    for (Retired& retired : retired_) retired.free();
  }
  Qsbr(const Qsbr&) = delete;
  Qsbr& operator=(const Qsbr&) = delete;

  // Calls `free(what)` when no reader can hold it any more.
  template <typename T, typename Free>
  void Retire(Unpublished<T> gone, Free free) {
    const Epoch epoch = epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
    retired_.push_back({epoch, [what = gone.Take(), free = std::move(free)] { free(what); }});
  }
  // Frees what no reader can hold any more; returns how many still wait.
  std::size_t Reclaim() {
    if (retired_.empty()) return 0;
    Epoch oldest = epoch_.load(std::memory_order_seq_cst);
    {
      MutexLock lock(readers_mutex_);
      for (const Reader* reader : readers_) {
        const Epoch seen = reader->seen_.load(std::memory_order_seq_cst);
        if (seen != kOffline) oldest = std::min(oldest, seen);
      }
    }
    std::size_t freed = 0;
    while (freed < retired_.size() && retired_[freed].epoch <= oldest) retired_[freed++].free();
    retired_.erase(retired_.begin(), retired_.begin() + static_cast<std::ptrdiff_t>(freed));
    return retired_.size();
  }

 private:
  static constexpr Epoch kOffline = 0;
  struct Retired {
    Epoch epoch;
    std::function<void()> free;
  };

  void Register(Reader* reader) {
    MutexLock lock(readers_mutex_);
    readers_.push_back(reader);
  }
  void Unregister(Reader* reader) {
    MutexLock lock(readers_mutex_);
    std::erase(readers_, reader);
  }

  alignas(64) std::atomic<Epoch> epoch_{1};
  std::vector<Retired> retired_;  // Oldest first.
  Mutex readers_mutex_;
  std::vector<Reader*> readers_ GUARDED_BY(readers_mutex_);
};

}  // namespace pollux
