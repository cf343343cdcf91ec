// XdpProgram: the program of ours that an interface runs on every frame it receives, and the map
// by which it finds sockets.
//
// It redirects a frame to the AF_XDP socket of the receive queue that the frame came in on. Where
// there is none it drops the frame: a port is wholly ours, and what we do not forward the host must
// not see. It counts what it drops.
//
// A VLAN tag that the sender left to the card (any sender on the other end of a veth pair) is not
// in the frame but beside it, where a socket never sees it. The program asks the driver for it and
// writes it into the frame. That takes a function that kernels from 6.8 on offer to programs which
// are loaded for one interface; tells_tags() says whether it is there.
//
// It can be given flows to forward by itself (xdp_flows.h), before anything goes to a socket.
//
// The program hangs on the interface by a link, and the link on a descriptor: whatever ends the
// process ends them. Written as instructions and loaded with bpf(2): no library, no compiler.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "netdev/af_xdp/xdp_flows.h"

namespace pollux {

class XdpProgram {
 public:
  enum class Mode : std::uint8_t {
    kNative,   // In the driver.
    kGeneric,  // In the kernel's receive path, for any driver.
  };

  // `queues`: sockets it can be given. Errors: EPERM, EBUSY (another program is attached),
  // EOPNOTSUPP (not in this mode, or an old kernel).
  static Result<std::unique_ptr<XdpProgram>> Attach(int ifindex, Mode mode, std::uint32_t queues);
  ~XdpProgram();
  XdpProgram(const XdpProgram&) = delete;
  XdpProgram& operator=(const XdpProgram&) = delete;

  // From now on, frames of the queue go to the socket; when it is closed, they are dropped again.
  Status Serve(std::uint32_t queue, int socket);

  // Attaches it anew. A driver may have given queues that came since then no program (veth): their
  // frames would go to the host.
  Status Renew();

  // From now on it forwards these by itself, and no others; null: none. If that fails, all is as it
  // was.
  Status Forward(std::shared_ptr<const XdpFlows> flows);

  // Frames dropped so far, for want of a socket.
  std::uint64_t unserved() const;

  // It takes frames of several buffers (above about 3,500 bytes).
  bool takes_large_frames() const { return takes_large_frames_; }
  bool tells_tags() const { return tells_tags_; }

 private:
  XdpProgram(int ifindex, Mode mode) : ifindex_(ifindex), mode_(mode) {}
  Status Load();

  const int ifindex_;
  const Mode mode_;
  std::shared_ptr<const XdpFlows> flows_;
  int map_ = -1;
  int unserved_ = -1;  // A map of one number per processor.
  int program_ = -1;
  int link_ = -1;
  bool takes_large_frames_ = false;
  bool tells_tags_ = false;
};

}  // namespace pollux
