#include "kernel/interface.h"

#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernel/rtnetlink.h"

namespace pollux {
namespace {

// Asks the kernel about one interface by ioctl(). Any socket does.
class Asker {
 public:
  explicit Asker(const std::string& device)
      : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
        failure_(fd_ < 0 ? errno : 0),
        named_(!device.empty() && device.size() < IFNAMSIZ) {
    if (named_) std::memcpy(request.ifr_name, device.data(), device.size());
  }
  ~Asker() {
    if (fd_ >= 0) close(fd_);
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  // It needs a descriptor, of which there may be none.
  Status opened() const {
    if (failure_ == 0) return {};
    return SystemError(failure_, "socket", "cannot ask about an interface");
  }
  bool Ask(unsigned long what) { return named_ && ioctl(fd_, what, &request) == 0; }
  // ethtool's commands answer in a structure of their own.
  template <typename T>
  bool AskEthtool(std::uint32_t command, T& answer) {
    answer.cmd = command;
    request.ifr_data = reinterpret_cast<char*>(&answer);
    return Ask(SIOCETHTOOL);
  }

  ifreq request{};

 private:
  const int fd_;
  const int failure_;  // An errno.
  const bool named_;
};

void AskQueues(Asker& asker, Interface& interface) {
  ethtool_channels channels{};
  if (!asker.AskEthtool(ETHTOOL_GCHANNELS, channels)) return;  // One each, then.
  interface.rx_queues = std::max(1u, channels.rx_count + channels.combined_count);
  interface.tx_queues = std::max(1u, channels.tx_count + channels.combined_count);
}

}  // namespace

LinkState Interface::link() const {
  return (flags & IFF_UP) != 0 && (flags & IFF_RUNNING) != 0 ? LinkState::kUp : LinkState::kDown;
}

ino_t ThisNamespace() {
  struct stat space {};
  return stat("/proc/thread-self/ns/net", &space) == 0 ? space.st_ino : 0;
}

Result<int> FindInterface(const std::string& device) {
  // Names that ioctl() has no room for are looked for in another way.
  if (device.size() >= IFNAMSIZ) {
    const Result<LinkDetails> link = FindLink(device);
    if (link) return link.value().index;
    if (link.error().number != ENODEV) return link.error();
  } else {
    Asker asker(device);
    if (Status status = asker.opened(); !status) return status.error();
    if (asker.Ask(SIOCGIFINDEX)) return asker.request.ifr_ifindex;
  }
  Error error = SystemError(ENODEV, "ioctl", "there is no interface \"" + device + "\"");
  error.hint = "`ip link` shows the interfaces of this network namespace";
  return error;
}

bool InterfaceIsGone(int ifindex) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex), name) != nullptr) return false;
  return errno == ENXIO || errno == ENODEV;
}

Result<Interface> QueryInterface(const std::string& device) {
  const Result<int> index = FindInterface(device);
  if (!index) return index.error();
  return QueryInterface(index.value());
}

Result<Interface> QueryInterface(int ifindex) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex), name) == nullptr) {
    // Perhaps there was no descriptor to ask by.
    if (errno != ENXIO && errno != ENODEV)
      return SystemError(errno, "ioctl", "cannot ask about an interface");
    return SystemError(ENODEV, "ioctl", "there is no such interface");
  }
  Asker asker(name);
  if (Status status = asker.opened(); !status) return status.error();
  Interface interface;
  interface.index = ifindex;
  interface.name = name;
  if (!asker.Ask(SIOCGIFFLAGS)) {
    return SystemError(errno, "ioctl", "cannot read the interface's flags");
  }
  interface.flags = static_cast<unsigned short>(asker.request.ifr_flags);
  if (!asker.Ask(SIOCGIFMTU)) {
    return SystemError(errno, "ioctl", "cannot read the interface's MTU");
  }
  interface.mtu = static_cast<std::uint32_t>(asker.request.ifr_mtu);
  if ((interface.flags & IFF_LOOPBACK) != 0) {
    return Invalid(
        "the loopback interface cannot be a port",
        "it has no wire side; use a veth pair: ip link add veth0 type veth peer name veth1");
  }
  if (!asker.Ask(SIOCGIFHWADDR)) {
    return SystemError(errno, "ioctl", "cannot read the interface's hardware address");
  }
  if (asker.request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return Invalid("the interface is not an Ethernet device");
  }
  AskQueues(asker, interface);
  ethtool_drvinfo driver{};
  interface.is_virtual = !asker.AskEthtool(ETHTOOL_GDRVINFO, driver) || driver.bus_info[0] == '\0';
  return interface;
}

bool MtuChange::Set(std::uint32_t mtu) const {
  ifreq request{};
  device_.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_mtu = static_cast<int>(mtu);
  return ioctl(socket_.get(), SIOCSIFMTU, &request) == 0;
}

Status MtuChange::Make(std::uint32_t mtu) {
  if (mtu == 0 || mtu == mtu_) return {};
  socket_ = Fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket_.get() < 0) return SystemError(errno, "socket", "cannot set the MTU");
  if (Set(mtu)) {
    mtu_ = mtu;
    return {};
  }
  Error error = SystemError(errno, "ioctl", "cannot set the MTU to " + std::to_string(mtu));
  if (error.number == EPERM) {
    error.hint = "setting an MTU needs CAP_NET_ADMIN; leave `mtu` out to keep the interface's own";
  } else if (error.number == EINVAL) {
    error.hint = "`ip -d link show` shows the device's minmtu and maxmtu";
  }
  return error;
}

MtuChange::~MtuChange() {
  if (mtu_ != before_) Set(before_);
}

std::uint32_t NumaOfInterface(const std::string& device) {
  const Result<Interface> interface = QueryInterface(device);
  if (!interface) return 0;
  const std::string path = "/sys/class/net/" + interface.value().name + "/device/numa_node";
  int node = 0;
  if (std::FILE* file = std::fopen(path.c_str(), "re"); file != nullptr) {
    if (std::fscanf(file, "%d", &node) != 1) node = 0;
    std::fclose(file);
  }
  return node > 0 ? static_cast<std::uint32_t>(node) : 0;
}

int HoldPromiscuous(int ifindex) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);  // Receives nothing.
  if (fd < 0) return -1;
  packet_mreq membership{};
  membership.mr_ifindex = ifindex;
  membership.mr_type = PACKET_MR_PROMISC;
  if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace pollux
