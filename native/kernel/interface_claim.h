// InterfaceClaim: an interface is a port, and of whom.
//
// The kernel lets any number of packet sockets listen on an interface, and each gets every frame:
// two forwarders there duplicate everything without a word. So a port takes a claim. A second one
// in this process is refused; another process is found out by a name that it holds, an abstract
// unix socket called after the index of the interface: such names belong to a network namespace, as
// indices do, and go with their process, however it ends.
//
// Nobody is kept out by that name, since anybody could take it: it is a matter of a warning.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace pollux {

class InterfaceClaim {
 public:
  explicit InterfaceClaim(std::string port) : port_(std::move(port)) {}
  ~InterfaceClaim() { Release(); }
  InterfaceClaim(const InterfaceClaim&) = delete;
  InterfaceClaim& operator=(const InterfaceClaim&) = delete;

  // In the network namespace of the calling thread, in place of what was claimed before. EBUSY: a
  // port of this process has it.
  Status Take(int ifindex);
  void Release();
  // Another process has a port there, too.
  bool shared() const { return shared_; }
  // If so: perhaps that has gone.
  void TakeName();

 private:
  const std::string port_;
  ino_t namespace_ = 0;
  int ifindex_ = 0;  // 0: none is claimed.
  bool shared_ = false;
  Fd name_;
};

}  // namespace pollux
