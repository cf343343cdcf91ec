#include "kernel/bpf/redirect_target.h"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pollux {
namespace {

// <linux/netdev.h>, newer than the headers we may be built with.
constexpr char kFamily[] = "netdev";
constexpr std::uint8_t kGetDevice = 1;        // NETDEV_CMD_DEV_GET
constexpr std::uint16_t kIfindex = 1;         // NETDEV_A_DEV_IFINDEX
constexpr std::uint16_t kFeatures = 3;        // NETDEV_A_DEV_XDP_FEATURES
constexpr std::uint64_t kTransmits = 1 << 2;  // NETDEV_XDP_ACT_NDO_XMIT

// Generic netlink: questions of one attribute, answers of which one attribute is wanted.
class Asker {
 public:
  Asker() : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC)) {}
  ~Asker() {
    if (fd_ >= 0) close(fd_);
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  template <typename T>
  std::optional<T> Ask(std::uint16_t family, std::uint8_t command, std::uint16_t attribute,
                       std::string_view value, std::uint16_t wanted) {
    struct {
      nlmsghdr header;
      genlmsghdr generic;
      nlattr attribute;
      char value[16];
    } request{};
    request.attribute.nla_type = attribute;
    request.attribute.nla_len = static_cast<std::uint16_t>(NLA_HDRLEN + value.size());
    std::memcpy(request.value, value.data(), value.size());
    request.generic.cmd = command;
    request.generic.version = 1;
    request.header.nlmsg_type = family;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.header.nlmsg_len = static_cast<std::uint32_t>(NLMSG_HDRLEN + GENL_HDRLEN +
                                                          NLA_ALIGN(request.attribute.nla_len));
    if (fd_ < 0 || send(fd_, &request, request.header.nlmsg_len, 0) < 0) return std::nullopt;
    // The kernel answers within the call that asks.
    alignas(nlmsghdr) char answer[8192];
    const ssize_t size = recv(fd_, answer, sizeof answer, MSG_DONTWAIT);
    nlmsghdr header;
    if (size < static_cast<ssize_t>(NLMSG_HDRLEN + GENL_HDRLEN)) return std::nullopt;
    std::memcpy(&header, answer, sizeof header);
    if (header.nlmsg_type != family) return std::nullopt;  // An error.
    const std::size_t end = std::min(static_cast<std::size_t>(size), std::size_t{header.nlmsg_len});
    for (std::size_t at = NLMSG_HDRLEN + GENL_HDRLEN; at + NLA_HDRLEN <= end;) {
      nlattr found;
      std::memcpy(&found, answer + at, sizeof found);
      if (found.nla_len < NLA_HDRLEN) break;
      T number{};
      if (found.nla_type == wanted && found.nla_len == NLA_HDRLEN + sizeof number &&
          at + found.nla_len <= end) {
        std::memcpy(&number, answer + at + NLA_HDRLEN, sizeof number);
        return number;
      }
      at += NLA_ALIGN(found.nla_len);
    }
    return std::nullopt;
  }

 private:
  const int fd_;
};

}  // namespace

std::optional<bool> TakesRedirectedFrames(int ifindex) {
  Asker asker;
  const std::optional<std::uint16_t> family =
      asker.Ask<std::uint16_t>(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME,
                               {kFamily, sizeof kFamily}, CTRL_ATTR_FAMILY_ID);
  if (!family) return std::nullopt;
  const std::optional<std::uint64_t> features = asker.Ask<std::uint64_t>(
      *family, kGetDevice, kIfindex, {reinterpret_cast<const char*>(&ifindex), sizeof ifindex},
      kFeatures);
  if (!features) return std::nullopt;
  return (*features & kTransmits) != 0;
}

}  // namespace pollux
