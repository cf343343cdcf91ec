#include "kernel/network_namespace.h"

#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "base/sync.h"

namespace pollux {
namespace {

constexpr char kHint[] =
    "`ip netns add NAME` makes /var/run/netns/NAME; that of a process is /proc/PID/ns/net";

// Of a request about a namespace: its descriptor, and the number that it gets (-1: any).
struct Request {
  nlmsghdr header;
  rtgenmsg family;
  alignas(4) rtattr fd_head;
  std::int32_t fd;
  rtattr number_head;
  std::int32_t number;
};

// Sends a request and reads the one message of the answer; its size, or a negative errno.
int Ask(const Fd& socket, std::uint16_t type, int namespace_fd, std::span<std::uint8_t> answer) {
  Request request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.fd_head = {RTA_LENGTH(sizeof request.fd), NETNSA_FD};
  request.fd = namespace_fd;
  request.number_head = {RTA_LENGTH(sizeof request.number), NETNSA_NSID};
  request.number = NETNSA_NSID_NOT_ASSIGNED;
  if (type == RTM_GETNSID)
    request.header.nlmsg_len = static_cast<std::uint32_t>(offsetof(Request, number_head));
  if (send(socket.get(), &request, request.header.nlmsg_len, 0) < 0) return -errno;
  const ssize_t n = recv(socket.get(), answer.data(), answer.size(), 0);
  if (n < 0) return -errno;
  nlmsghdr header;
  if (static_cast<std::size_t>(n) < sizeof header) return -EIO;
  std::memcpy(&header, answer.data(), sizeof header);
  if (header.nlmsg_type != NLMSG_ERROR) return static_cast<int>(n);
  std::int32_t error = -EIO;
  if (static_cast<std::size_t>(n) >= NLMSG_LENGTH(sizeof error))
    std::memcpy(&error, answer.data() + NLMSG_LENGTH(0), sizeof error);
  return error;
}

// The number that an answer tells, or that of no namespace.
int NumberIn(std::span<const std::uint8_t> answer) {
  constexpr std::size_t kHead = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(rtgenmsg)));
  for (std::size_t at = kHead; at + sizeof(rtattr) <= answer.size();) {
    rtattr head;
    std::memcpy(&head, answer.data() + at, sizeof head);
    if (head.rta_len < sizeof head || at + head.rta_len > answer.size()) break;
    std::int32_t number = NETNSA_NSID_NOT_ASSIGNED;
    if (head.rta_type == NETNSA_NSID && head.rta_len >= RTA_LENGTH(sizeof number)) {
      std::memcpy(&number, answer.data() + at + RTA_LENGTH(0), sizeof number);
      return number;
    }
    at += RTA_ALIGN(head.rta_len);
  }
  return NETNSA_NSID_NOT_ASSIGNED;
}

ino_t InodeOf(const Fd& fd) {
  struct stat status {};
  return fstat(fd.get(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

Result<std::shared_ptr<const NetworkNamespace>> NetworkNamespace::Open(const std::string& path) {
  Fd there(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (there.get() < 0) {
    Error error = SystemError(errno, "open", "there is no network namespace \"" + path + "\"");
    if (error.number == EACCES || error.number == EPERM)
      error.message = "the network namespace \"" + path + "\" cannot be opened";
    error.hint = kHint;
    return error;
  }
  if (ioctl(there.get(), NS_GET_NSTYPE) != CLONE_NEWNET)
    return Invalid("\"" + path + "\" is no network namespace", kHint);
  Fd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (home.get() < 0) return SystemError(errno, "open", "cannot leave a network namespace again");
  const bool is_home = InodeOf(there) == InodeOf(home);
  return std::shared_ptr<const NetworkNamespace>(
      new NetworkNamespace(std::move(there), std::move(home), is_home));
}

int NetworkNamespace::Number() const {
  const Fd asks(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (asks.get() < 0) return kUnheard;
  alignas(nlmsghdr) std::array<std::uint8_t, 4096> answer;
  Ask(asks, RTM_NEWNSID, there_.get(), answer);  // EEXIST will do, and EPERM shows below.
  const int n = Ask(asks, RTM_GETNSID, there_.get(), answer);
  if (n < 0) return kUnheard;
  const int number = NumberIn(std::span(answer).first(static_cast<std::size_t>(n)));
  return number >= 0 ? number : kUnheard;
}

NamespaceVisit::NamespaceVisit(const NetworkNamespace* where) : where_(where) {
  if (where_ == nullptr) return;
  // First to where it is: a user namespace may allow the way there, but not the way back.
  if (setns(where_->home_.get(), CLONE_NEWNET) == 0 &&
      setns(where_->there_.get(), CLONE_NEWNET) == 0) {
    return;
  }
  Error error = SystemError(errno, "setns", "cannot enter the network namespace");
  if (error.number == EPERM) {
    error.hint =
        "it needs CAP_SYS_ADMIN, in the user namespaces of both ends of the way as well: run as "
        "root, or with a network namespace of your own (unshare -Urn)";
  }
  status_ = std::move(error);
  where_ = nullptr;
}

NamespaceVisit::~NamespaceVisit() {
  if (where_ == nullptr) return;
  // It was allowed on the way there, and takes no memory that it has not: who stayed would open
  // other people's interfaces.
  POLLUX_CHECK(setns(where_->home_.get(), CLONE_NEWNET) == 0);
}

}  // namespace pollux
