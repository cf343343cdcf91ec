#include "kernel/interface_claim.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <utility>

#include "base/sync.h"
#include "kernel/interface.h"

namespace pollux {
namespace {

// The ports of this process, by namespace and index of their interfaces.
struct Registry {
  Mutex mutex;
  std::map<std::pair<ino_t, int>, std::string> ports GUARDED_BY(mutex);
};

Registry& Ports() {
  static Registry registry;
  return registry;
}

}  // namespace

Status InterfaceClaim::Take(int ifindex) {
  Release();
  const ino_t here = ThisNamespace();
  {
    Registry& registry = Ports();
    MutexLock lock(registry.mutex);
    const auto [claimed, is_new] = registry.ports.try_emplace({here, ifindex}, port_);
    if (!is_new) {
      Error error = SystemError(EBUSY, {}, "the interface is in use");
      error.message =
          "the interface is that of port \"" + claimed->second + "\" of this process already";
      error.hint = "each of two ports would receive every frame: use that one, or delete it first";
      return error;
    }
  }
  namespace_ = here;
  ifindex_ = ifindex;
  TakeName();
  return {};
}

void InterfaceClaim::Release() {
  if (ifindex_ == 0) return;
  name_ = Fd();
  shared_ = false;
  Registry& registry = Ports();
  MutexLock lock(registry.mutex);
  registry.ports.erase({namespace_, std::exchange(ifindex_, 0)});
}

void InterfaceClaim::TakeName() {
  if (ThisNamespace() != namespace_) return;
  const std::string name = "pollux-port-" + std::to_string(ifindex_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(&address.sun_path[1], name.data(), name.size());  // Abstract: after a NUL.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return;  // Nobody is told, then.
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) {
    name_ = std::move(fd);
    shared_ = false;
  } else {
    shared_ = errno == EADDRINUSE;
  }
}

}  // namespace pollux
