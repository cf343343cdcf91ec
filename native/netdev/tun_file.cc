#include "netdev/tun_file.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "netdev/virtio_header.h"

namespace pollux {
namespace {

// Newer than the headers we may be built with.
constexpr unsigned kUdp4 = 0x20;  // TUN_F_USO4
constexpr unsigned kUdp6 = 0x40;
constexpr unsigned kUdpTunnel = 0x80;           // TUN_F_UDP_TUNNEL_GSO
constexpr unsigned kUdpTunnelChecksum = 0x100;  // TUN_F_UDP_TUNNEL_GSO_CSUM

}  // namespace

Result<Fd> OpenTun(const std::string& device, bool multi_queue) {
  Fd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) {
    Error error = SystemError(errno, "open", "cannot open /dev/net/tun");
    if (error.number == ENOENT || error.number == ENODEV || error.number == ENXIO) {
      error.hint =
          "load the module (modprobe tun); in a container, pass the device in (--device "
          "/dev/net/tun)";
    } else if (error.number == EACCES || error.number == EPERM) {
      error.hint = "run as root, or give the process CAP_NET_ADMIN and access to /dev/net/tun";
    }
    return error;
  }
  ifreq request{};
  std::memcpy(request.ifr_name, device.data(), std::min<std::size_t>(device.size(), IFNAMSIZ - 1));
  request.ifr_flags =
      static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0));
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    Error error = SystemError(errno, "ioctl", "cannot create the tap interface " + device);
    switch (error.number) {
      case EPERM:
        error.hint =
            "taps need CAP_NET_ADMIN: run as root, give it with setcap "
            "cap_net_raw,cap_net_admin+ep or "
            "systemd's AmbientCapabilities=, or try in a namespace of your own (unshare -Urn)";
        break;
      case EBUSY:
        error.hint = "another program holds this tap: choose another name, or stop that program";
        break;
      case EINVAL:
        error.hint =
            "an interface of this name exists and is not a tap, or a tap with another number of "
            "queues "
            "(`ip -d link` shows it)";
        break;
      default:
        break;
    }
    return error;
  }
  return fd;
}

Offloads OfferOffloads(const Fd& fd) {
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  constexpr unsigned kTunnels = kUdpTunnel | kUdpTunnelChecksum;
  constexpr int kLong = sizeof(VirtioTunnelHeader);
  constexpr int kShort = sizeof(VirtioNetHeader);
  if (ioctl(fd.get(), TUNSETVNETHDRSZ, &kLong) == 0 &&
      ioctl(fd.get(), TUNSETOFFLOAD, kTcp | kUdp4 | kUdp6 | kTunnels) == 0)
    return kOffloadAll | kOffloadUdpTunnel;
  (void)ioctl(fd.get(), TUNSETVNETHDRSZ, &kShort);
  if (ioctl(fd.get(), TUNSETOFFLOAD, kTcp | kUdp4 | kUdp6) == 0) return kOffloadAll;
  // The host may not: it finishes frames itself then. What we write it takes all the same.
  (void)ioctl(fd.get(), TUNSETOFFLOAD, kTcp);
  return kOffloadAll & ~kOffloadUdp;
}

}  // namespace pollux
