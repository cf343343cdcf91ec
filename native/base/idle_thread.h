// IdleThread: a thread that has been started, and waits for its work.
//
// Starting a thread may fail (EAGAIN), and so may pinning it. Whoever needs several things of which
// each may fail takes them all first and only then changes something: so nothing has to be undone.
// A thread that gets no work ends with the object.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/result.h"

namespace pollux {

class IdleThread {
 public:
  using Work = std::function<void()>;

  // `name`: as the system shows it, up to 15 bytes. `core`: where it is pinned to; without, it runs
  // anywhere. EAGAIN: the system starts no more threads; EINVAL: no such core.
  static Result<std::unique_ptr<IdleThread>> Start(const std::string& name,
                                                   std::optional<std::uint32_t> core = {}) {
    std::unique_ptr<IdleThread> made(new IdleThread);
    try {
      made->thread_ = std::thread([idle = made.get()] {
        idle->begun_.wait(false, std::memory_order_acquire);
        if (idle->work_) idle->work_();
      });
    } catch (const std::system_error& error) {  // The thread library's way to say EAGAIN.
      Error failure = SystemError(error.code().value(), "pthread_create", "cannot start a thread");
      if (failure.number == EAGAIN)
        failure.hint =
            "there are as many threads as allowed: see `ulimit -u` and the cgroup's pids.max";
      return failure;
    }
    pthread_setname_np(made->thread_.native_handle(), name.c_str());
    if (core.has_value() && *core < CPU_SETSIZE) {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(*core, &cpus);
      const int error = pthread_setaffinity_np(made->thread_.native_handle(), sizeof cpus, &cpus);
      if (error != 0) {
        return SystemError(error, "pthread_setaffinity_np",
                           "cannot pin a thread to core " + std::to_string(*core));
      }
    }
    return made;
  }
  // Waits until its work is done.
  ~IdleThread() { Join(); }
  IdleThread(const IdleThread&) = delete;
  IdleThread& operator=(const IdleThread&) = delete;

  // Once.
  void Run(Work work) {
    work_ = std::move(work);
    Begin();
  }
  void Join() {
    if (!thread_.joinable()) return;
    Begin();
    thread_.join();
  }

 private:
  IdleThread() = default;
  void Begin() {
    // Sequentially consistent, so that notify_one() looks for the waiter afterwards.
    begun_.store(true, std::memory_order_seq_cst);
    begun_.notify_one();
  }

  std::atomic<bool> begun_{false};
  Work work_;
  std::thread thread_;
};

}  // namespace pollux
