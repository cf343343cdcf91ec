// Visits to other network namespaces, and the way back.
#include "kernel/network_namespace.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string>

namespace pollux::test {
namespace {

constexpr int kSkipped = 77;

// In a process of its own, which is nobody in the user namespace that its network namespace
// belongs to, but may enter one that is a child's.
int VisitWithoutWayBack() {
  std::array<int, 2> ready{};
  std::array<int, 2> end{};
  if (unshare(CLONE_NEWUSER) != 0 || pipe(ready.data()) != 0 || pipe(end.data()) != 0)
    return kSkipped;
  const pid_t child = fork();
  char byte = 0;
  if (child == 0) {
    close(end[1]);
    if (unshare(CLONE_NEWNET) == 0 && write(ready[1], &byte, 1) == 1 && read(end[0], &byte, 1) == 0)
      _exit(0);
    _exit(kSkipped);
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) return kSkipped;
  const auto there = NetworkNamespace::Open("/proc/" + std::to_string(child) + "/ns/net");
  if (!there) return kSkipped;
  const NamespaceVisit visit(there.value().get());
  return !visit.status() && visit.status().error().number == EPERM ? 0 : 1;
}

TEST_CASE("link: who could not come back from a network namespace does not go there") {
  const pid_t child = fork();
  if (child == 0) _exit(VisitWithoutWayBack());
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kSkipped) {
    std::printf("SKIPPED: no user namespaces here\n");
    return;
  }
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace pollux::test
