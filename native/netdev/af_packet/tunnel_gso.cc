#include "netdev/af_packet/tunnel_gso.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>

#include "kernel/bpf/bpf_assembler.h"
#include "netdev/tun_file.h"
#include "netdev/virtio_header.h"

namespace pollux {

void TunnelGso::Open(int ifindex) {
  if (tap_.get() < 0 && !MakeTap()) {
    impossible_ = true;
    return;
  }
  BpfAssembler assembler;
  assembler.Add(kBpfMoveNumber, 1, 0, 0, ifindex);
  assembler.Add(kBpfMoveNumber, 2, 0, 0, 0);
  assembler.Call(BPF_FUNC_redirect);
  assembler.Exit();
  link_.Attach(tap_ifindex_, assembler.code());
  impossible_ = !link_.attached();
}

bool TunnelGso::MakeTap() {
  Result<Fd> tap = OpenTun("pollux-gso%d", false);
  if (!tap || (OfferOffloads(*tap) & kOffloadUdpTunnel) == 0) return false;
  ifreq request{};
  const Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (ioctl(tap->get(), TUNGETIFF, &request) != 0 || ioctl(any.get(), SIOCGIFINDEX, &request) != 0)
    return false;
  tap_ifindex_ = request.ifr_ifindex;
  // Nobody shall look for neighbours there.
  if (ioctl(any.get(), SIOCGIFFLAGS, &request) != 0) return false;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_NOARP);
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return false;
  tap_ = std::move(*tap);
  return true;
}

bool TunnelGso::Send(const Packet& packet) const {
  if (!runs()) return false;
  VirtioTunnelHeader header = VirtioTunnelHeader::Of(packet);
  const iovec parts[2] = {{&header, sizeof header}, {packet.data, packet.size}};
  if (writev(tap_.get(), parts, 2) >= 0) return true;
  // EIO: it is down. EBADFD: it is gone.
  if (errno == EIO || errno == EBADFD) broken_.store(true, std::memory_order_relaxed);
  return false;
}

}  // namespace pollux
