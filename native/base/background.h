// Background: work that is carried out on threads of its own.
//
// For calls that wait for the kernel: closing a socket or a program takes it one or more grace
// periods (5 to 15 ms each). Several such calls at once wait for the same ones.
//
// Belongs to one thread, which starts work and, at the latest when it destroys the object, waits
// for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace pollux {

class Background {
 public:
  using Work = std::function<void()>;

  Background() = default;
  ~Background() { Wait(); }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Starts it; when much is under way already, waits for the oldest first.
  void Run(Work work) {
    while (!jobs_.empty() && (jobs_.size() == kMost || jobs_.front().done->load())) JoinOldest();
    const auto done = std::make_shared<std::atomic<bool>>(false);
    const auto run = [work = std::move(work), done] {
      work();
      done->store(true);
    };
    try {
      jobs_.push_back({std::thread(run), done});
    } catch (const std::system_error&) {  // The thread library's way to say EAGAIN.
      run();
    }
  }

  // For all that was started.
  void Wait() {
    while (!jobs_.empty()) JoinOldest();
  }

 private:
  static constexpr std::size_t kMost = 16;

  struct Job {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };

  void JoinOldest() {
    jobs_.front().thread.join();
    jobs_.pop_front();
  }

  std::deque<Job> jobs_;
};

// Does all at once, and returns when all is done.
inline void DoTogether(std::vector<Background::Work> parts) {
  Background together;
  for (Background::Work& part : parts) together.Run(std::move(part));
}

}  // namespace pollux
