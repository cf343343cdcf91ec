// The table of device types: what there is, whether this machine can offer it, and how to open it.
//
// Drivers have no header; their factories are declared here and nowhere else. A type that is
// planned but not built stands in the table too, so that asking for it says why it is missing
// instead of "no such type".
#include "netdev/netdev.h"

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace pollux {

Result<std::unique_ptr<Netdev>> OpenMemoryNetdev(const NetdevSpec& spec, PacketPool& pool);
Result<std::unique_ptr<Netdev>> OpenNullNetdev(const NetdevSpec& spec, PacketPool& pool);
Result<std::unique_ptr<Netdev>> OpenAfPacketNetdev(const NetdevSpec& spec, PacketPool& pool);
Result<std::unique_ptr<Netdev>> OpenAfXdpNetdev(const NetdevSpec& spec, PacketPool& pool);
Result<std::unique_ptr<Netdev>> OpenTapNetdev(const NetdevSpec& spec, PacketPool& pool);
Result<std::unique_ptr<Netdev>> OpenPcapNetdev(const NetdevSpec& spec, PacketPool& pool);

namespace {

constexpr unsigned kCapBpf = 39;  // Newer than the headers we may be built with.
constexpr const char kNotBuilt[] = "not built yet: comes with a later version";

std::string Available() { return {}; }
std::string NotBuilt() { return kNotBuilt; }

Result<std::unique_ptr<Netdev>> OpenNotBuilt(const NetdevSpec& spec, PacketPool& /*pool*/) {
  Error error;
  error.number = EOPNOTSUPP;
  error.code = "ERR_PORT_TYPE_UNAVAILABLE";
  error.message = "port type \"" + spec.type + "\" is " + kNotBuilt;
  error.hint = "portTypes() lists the types this build offers";
  error.port = spec.name;
  return error;
}

// Whether this thread has a capability in force in its user namespace.
bool HasCapability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (syscall(SYS_capget, &header, data) != 0) return true;  // Cannot tell: let open() find out.
  return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
}

std::string AfPacketUnavailable() {
  if (HasCapability(CAP_NET_RAW)) return {};
  return "the process lacks CAP_NET_RAW";
}

std::string AfXdpUnavailable() {
  const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0 && errno == EAFNOSUPPORT) return "the kernel was built without CONFIG_XDP_SOCKETS";
  if (fd >= 0) close(fd);
  if (!HasCapability(CAP_NET_RAW)) return "the process lacks CAP_NET_RAW";
  if (!HasCapability(CAP_NET_ADMIN)) return "the process lacks CAP_NET_ADMIN";
  if (!HasCapability(kCapBpf) && !HasCapability(CAP_SYS_ADMIN)) {
    return "the process lacks CAP_BPF";
  }
  return {};
}

std::string TapUnavailable() {
  if (access("/dev/net/tun", F_OK) != 0) return "/dev/net/tun does not exist (module tun)";
  if (!HasCapability(CAP_NET_ADMIN)) return "the process lacks CAP_NET_ADMIN";
  return {};
}

constexpr NetdevType kTypes[] = {
    {"memory", true, false, Available, OpenMemoryNetdev},
    {"null", true, false, Available, OpenNullNetdev},
    {"af_packet", true, true, AfPacketUnavailable, OpenAfPacketNetdev},
    {"tap", false, true, TapUnavailable, OpenTapNetdev},
    {"af_xdp", true, true, AfXdpUnavailable, OpenAfXdpNetdev},
    {"pcap", true, false, Available, OpenPcapNetdev},
    {"dpdk", true, false, NotBuilt, OpenNotBuilt},
    {"vxlan", false, false, NotBuilt, OpenNotBuilt},
    {"geneve", false, false, NotBuilt, OpenNotBuilt},
    {"gre", false, false, NotBuilt, OpenNotBuilt},
};

}  // namespace

// Measured on veth and tap; the table is in the research on reliability. ENOBUFS and EBUSY may be
// permanent (the peer's MTU is smaller, its link is down), so they are drops like the others and
// nobody retries.
DropReason SendErrorReason(int error) {
  switch (error) {
    case ENETDOWN:
    case ENXIO:
    case ENODEV:
    case EBADFD:
    case EIO:  // A tap that is down.
      return DropReason::kPortDown;
    case EMSGSIZE:
      return DropReason::kMtu;
    case ENOBUFS:
    case EAGAIN:
    case EBUSY:
      return DropReason::kTxQueueFull;
    default:
      return DropReason::kTxError;
  }
}

bool FitsMtu(const Packet& packet, std::uint32_t mtu) {
  const std::uint64_t longest = std::uint64_t{mtu} + kMinFrame;
  if (packet.size <= longest) return true;
  const std::uint32_t size = OnWire(packet).largest;
  std::uint32_t tags = 0;
  for (std::uint32_t at = 12; tags < 2 && at + 4 <= packet.size; at += 4) {
    const std::uint32_t type =
        static_cast<std::uint32_t>(packet.data[at] << 8 | packet.data[at + 1]);
    if (type != 0x8100 && type != 0x88a8) break;
    ++tags;
  }
  return size <= longest + 4 * tags;
}

bool Netdev::Fits(const Packet& packet) const { return FitsMtu(packet, mtu()); }

std::span<const NetdevType> NetdevTypes() { return kTypes; }

const NetdevType* FindNetdevType(const std::string& name) {
  for (const NetdevType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

}  // namespace pollux
