#include "kernel/rtnetlink.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "base/fd.h"

namespace pollux {
namespace {

constexpr std::size_t kBufferSize = 64 * 1024;  // The kernel's own messages are at most 32 KiB.

// Newer than the headers we may be built with.
constexpr std::uint16_t kAltName = 53;         // IFLA_ALT_IFNAME
constexpr std::uint16_t kGroMaxSize = 58;      // IFLA_GRO_MAX_SIZE
constexpr std::uint16_t kGsoIpv4MaxSize = 63;  // IFLA_GSO_IPV4_MAX_SIZE
constexpr std::uint16_t kGroIpv4MaxSize = 64;  // IFLA_GRO_IPV4_MAX_SIZE

using Each = std::function<void(std::uint16_t type, std::span<const std::uint8_t> payload)>;

// Asks, and calls `each` for every message of the answer. EINTR: of all there are, some changed
// meanwhile, and may be missing.
template <typename Body>
Status Ask(std::uint16_t type, bool all, const Body& body, const Each& each) {
  const Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (fd.get() < 0) return SystemError(errno, "socket", "cannot ask about an interface");
  struct {
    nlmsghdr header;
    Body body;
  } request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof body);
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (all ? NLM_F_DUMP : 0));
  request.body = body;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd.get(), &request, request.header.nlmsg_len, 0,
             reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0) {
    return SystemError(errno, "sendto", "cannot ask about an interface");
  }
  std::vector<std::uint8_t> buffer(kBufferSize);
  bool whole = true;
  for (;;) {
    const ssize_t n = recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(errno, "recv", "cannot ask about an interface");
    std::span<const std::uint8_t> left(buffer.data(), static_cast<std::size_t>(n));
    while (left.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      std::memcpy(&header, left.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > left.size()) break;
      const auto payload = left.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
      whole = whole && (header.nlmsg_flags & NLM_F_DUMP_INTR) == 0;
      // Both tell how it ended.
      if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
        const int number = NumberOf<std::int32_t>(payload);
        if (number >= 0 && whole) return {};
        const int error = number < 0 ? -number : EINTR;
        return SystemError(error, "recv", "the kernel does not tell of an interface");
      }
      each(header.nlmsg_type, payload);
      if (!all) return {};
      left = left.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), left.size()));
    }
  }
}

bool IsMacvlan(const std::string& kind) { return kind == "macvlan" || kind == "macvtap"; }

void ReadLinkInfo(std::span<const std::uint8_t> info, LinkDetails& link) {
  std::uint32_t mode = 0;
  ForEachAttribute(info, [&](std::uint16_t type, std::span<const std::uint8_t> value) {
    if (type == IFLA_INFO_KIND) link.kind = TextOf(value);
    if (type != IFLA_INFO_DATA || !IsMacvlan(link.kind)) return;
    ForEachAttribute(value, [&](std::uint16_t inner, std::span<const std::uint8_t> number) {
      if (inner == IFLA_MACVLAN_MODE) mode = NumberOf<std::uint32_t>(number);
    });
  });
  link.takes_all = !IsMacvlan(link.kind) || mode == MACVLAN_MODE_PASSTHRU;
}

LinkDetails ReadLink(std::span<const std::uint8_t> payload) {
  LinkDetails link;
  ifinfomsg message;
  if (payload.size() < sizeof message) return link;
  std::memcpy(&message, payload.data(), sizeof message);
  link.index = message.ifi_index;
  const auto attributes =
      payload.subspan(std::min(payload.size(), std::size_t{NLMSG_ALIGN(sizeof message)}));
  ForEachAttribute(attributes, [&](std::uint16_t type, std::span<const std::uint8_t> value) {
    switch (type) {
      case IFLA_IFNAME:
        link.name = TextOf(value);
        break;
      case IFLA_LINKINFO:
        ReadLinkInfo(value, link);
        break;
      case IFLA_GSO_MAX_SIZE:
      case kGsoIpv4MaxSize:
        link.max_gso = std::max(link.max_gso, NumberOf<std::uint32_t>(value));
        break;
      case kGroMaxSize:
      case kGroIpv4MaxSize:
        link.max_gro = std::max(link.max_gro, NumberOf<std::uint32_t>(value));
        break;
      default:
        break;
    }
  });
  return link;
}

}  // namespace

Result<LinkDetails> DescribeLink(int ifindex) {
  ifinfomsg message{};
  message.ifi_index = ifindex;
  LinkDetails link;
  const Status status = Ask(RTM_GETLINK, false, message,
                            [&](std::uint16_t type, std::span<const std::uint8_t> payload) {
                              if (type == RTM_NEWLINK) link = ReadLink(payload);
                            });
  if (!status) return status.error();
  return link;
}

Result<LinkDetails> FindLink(const std::string& name) {
  constexpr std::size_t kLongest = 128;
  struct {
    ifinfomsg message;
    rtattr head;
    char name[kLongest];
  } body{};
  if (name.empty() || name.size() >= kLongest)
    return SystemError(ENODEV, "recv", "the kernel does not tell of an interface");
  body.head = {RTA_LENGTH(kLongest), kAltName};
  name.copy(body.name, kLongest - 1);
  LinkDetails link;
  const Status status =
      Ask(RTM_GETLINK, false, body, [&](std::uint16_t type, std::span<const std::uint8_t> payload) {
        if (type == RTM_NEWLINK) link = ReadLink(payload);
      });
  if (!status) return status.error();
  return link;
}

Result<std::vector<LinkDetails>> DescribeLinks() {
  std::vector<LinkDetails> links;
  const Status status = Ask(RTM_GETLINK, true, ifinfomsg{},
                            [&](std::uint16_t type, std::span<const std::uint8_t> payload) {
                              if (type == RTM_NEWLINK) links.push_back(ReadLink(payload));
                            });
  // Where interfaces come and go all the time, no list is ever whole.
  if (!status && status.error().number != EINTR) return status.error();
  return links;
}

std::optional<std::vector<int>> InterfacesWithActingQdisc() {
  std::vector<int> acting;
  // The kernel offers no shorter list. What it is asked of one interface, it tells everybody who
  // listens.
  const auto read = [&](std::uint16_t type, std::span<const std::uint8_t> payload) {
    tcmsg message;
    if (type != RTM_NEWQDISC || payload.size() < sizeof message) return;
    std::memcpy(&message, payload.data(), sizeof message);
    if (message.tcm_handle == 0) return;
    std::string kind;
    ForEachAttribute(payload.subspan(NLMSG_ALIGN(sizeof message)),
                     [&](std::uint16_t attribute, std::span<const std::uint8_t> value) {
                       if (attribute == TCA_KIND) kind = TextOf(value);
                     });
    // What is for frames that come in is no matter of ours.
    if (kind != "noqueue" && kind != "mq" && kind != "ingress")
      acting.push_back(message.tcm_ifindex);
  };
  if (!Ask(RTM_GETQDISC, true, tcmsg{}, read)) return std::nullopt;
  std::sort(acting.begin(), acting.end());
  return acting;
}

std::optional<bool> HasActingQdisc(int ifindex) {
  const std::optional<std::vector<int>> acting = InterfacesWithActingQdisc();
  if (!acting) return std::nullopt;
  return std::binary_search(acting->begin(), acting->end(), ifindex);
}

}  // namespace pollux
