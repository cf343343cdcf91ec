// A thread of this process that does nothing while this object lives, not even answer a reload.
#pragma once

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

namespace pollux::test {

// It stands in the handler of a signal. That may be anywhere, so it must be idle when it is
// suspended: it could hold a lock otherwise. One at a time.
class SuspendedThread {
 public:
  explicit SuspendedThread(const std::string& name) {
    struct sigaction action {};
    action.sa_handler = Stand;
    sigaction(SIGUSR2, &action, &before_);
    state_ = State::kCalled;
    const long tid = Find(name);
    REQUIRE(tid != 0);
    REQUIRE(syscall(SYS_tgkill, getpid(), tid, SIGUSR2) == 0);
    while (state_ != State::kStands) Nap();
  }
  ~SuspendedThread() {
    state_ = State::kReleased;
    while (state_ != State::kGone) Nap();
    sigaction(SIGUSR2, &before_, nullptr);
  }
  SuspendedThread(const SuspendedThread&) = delete;
  SuspendedThread& operator=(const SuspendedThread&) = delete;

 private:
  enum class State { kCalled, kStands, kReleased, kGone };
  static void Nap() {
    const timespec ms{0, 1'000'000};
    nanosleep(&ms, nullptr);
  }
  static void Stand(int) {
    const int error = errno;
    state_ = State::kStands;
    while (state_ != State::kReleased) Nap();
    state_ = State::kGone;
    errno = error;
  }
  static long Find(const std::string& name) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream file(task.path() / "comm");
      std::string comm;
      std::getline(file, comm);
      if (comm == name) return std::atol(task.path().filename().c_str());
    }
    return 0;
  }

  static inline std::atomic<State> state_{State::kGone};
  struct sigaction before_ {};
};

}  // namespace pollux::test
