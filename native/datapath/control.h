// Control: the one thread of a datapath that carries out commands, in order, and looks after it at
// regular intervals; and, later, what was to be done later.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "base/idle_thread.h"
#include "base/result.h"
#include "base/sync.h"

namespace pollux {

class Control {
 public:
  using Command = std::function<void()>;

  // `tick` runs on the thread every `interval_ms`, between commands.
  Control(int interval_ms, Command tick) : interval_(interval_ms), tick_(std::move(tick)) {}
  ~Control() { Stop(); }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // When everything that commands and ticks use is there. EAGAIN: there are no more threads.
  Status Start() {
    Result<std::unique_ptr<IdleThread>> thread = IdleThread::Start("control");
    if (!thread) return thread.error();
    thread_ = std::move(*thread);
    thread_->Run([this] { Run(); });
    return {};
  }

  void Post(Command command) EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      commands_.push_back(std::move(command));
    }
    wake_.notify_one();
  }
  // Carries it out in `ms` milliseconds, unless the thread has ended by then.
  void PostIn(int ms, Command command) EXCLUDES(mutex_) {
    const auto due = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    {
      MutexLock lock(mutex_);
      later_.emplace(due, std::move(command));
    }
    wake_.notify_one();
  }
  bool running() const { return thread_ != nullptr; }
  // Carries out what was posted, then ends the thread. Not from the thread itself.
  void Stop() EXCLUDES(mutex_) {
    if (!running()) return;
    {
      MutexLock lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.reset();
  }

 private:
  void Run() EXCLUDES(mutex_) {
    auto next_tick = std::chrono::steady_clock::now() + interval_;
    for (;;) {
      Command command;
      {
        MutexLock lock(mutex_);
        while (commands_.empty() && !stop_) {
          const auto until =
              later_.empty() ? next_tick : std::min(next_tick, later_.begin()->first);
          if (wake_.wait_until(mutex_, until) == std::cv_status::timeout) break;
        }
        const auto now = std::chrono::steady_clock::now();
        while (!later_.empty() && later_.begin()->first <= now) {
          commands_.push_back(std::move(later_.begin()->second));
          later_.erase(later_.begin());
        }
        if (!commands_.empty()) {
          command = std::move(commands_.front());
          commands_.pop_front();
        } else if (stop_) {
          return;
        }
      }
      if (command) command();
      if (std::chrono::steady_clock::now() >= next_tick) {
        tick_();
        next_tick = std::chrono::steady_clock::now() + interval_;
      }
    }
  }

  const std::chrono::milliseconds interval_;
  const Command tick_;
  Mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Command> commands_ GUARDED_BY(mutex_);
  std::multimap<std::chrono::steady_clock::time_point, Command> later_ GUARDED_BY(mutex_);
  bool stop_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<IdleThread> thread_;
};

}  // namespace pollux
