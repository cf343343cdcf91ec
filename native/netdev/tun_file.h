// /dev/net/tun: a descriptor that is the other end of a tap interface.
//
// A virtio header stands in front of each frame, both ways (virtio_header.h).
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "packet/offload.h"

namespace pollux {

// A new descriptor of the interface, which it creates if need be; "%d" in the name stands for the
// first number that is free. The interface goes with its last descriptor. Errors of open(2) and
// ioctl(2), with hints.
Result<Fd> OpenTun(const std::string& device, bool multi_queue);

// Lets the host leave to us what a virtio header can say; returns what we may leave to the host.
// With kOffloadUdpTunnel, headers are VirtioTunnelHeader from now on.
Offloads OfferOffloads(const Fd& fd);

}  // namespace pollux
