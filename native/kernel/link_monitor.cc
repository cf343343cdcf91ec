#include "kernel/link_monitor.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "kernel/rtnetlink.h"

namespace pollux {
namespace {

constexpr std::size_t kBufferSize = 64 * 1024;  // The kernel's own messages are at most 32 KiB.
constexpr int kSocketBuffer = 1 << 20;
constexpr std::uint32_t kSkipStatistics = 1 << 3;  // RTEXT_FILTER_SKIP_STATS

// Newer than the headers we may be built with.
constexpr unsigned short kNewNamespace = 45;  // IFLA_NEW_NETNSID
constexpr unsigned short kNewIfindex = 49;    // IFLA_NEW_IFINDEX
constexpr unsigned short kProperties = 52;    // IFLA_PROP_LIST
constexpr unsigned short kAltName = 53;       // IFLA_ALT_IFNAME
#ifndef NETLINK_LISTEN_ALL_NSID
#define NETLINK_LISTEN_ALL_NSID 8
#endif

// The namespace that a message is from.
int NamespaceOf(const msghdr& message) {
  int nsid = kHere;
  for (const cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr;
       at = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(at))) {
    if (at->cmsg_level == SOL_NETLINK && at->cmsg_type == NETLINK_LISTEN_ALL_NSID) {
      std::memcpy(&nsid, CMSG_DATA(at), sizeof nsid);
    }
  }
  return nsid;
}

// The attributes of a link that we want.
void ReadAttributes(std::span<const std::uint8_t> attributes, LinkEvent& event) {
  ForEachAttribute(attributes, [&](std::uint16_t type, std::span<const std::uint8_t> value) {
    if (type == IFLA_IFNAME) event.name = TextOf(value);
    if (type == kProperties) {
      ForEachAttribute(value, [&](std::uint16_t inner, std::span<const std::uint8_t> name) {
        if (inner == kAltName) event.other_names.push_back(TextOf(name));
      });
    }
    if (type == IFLA_MTU) event.mtu = NumberOf<std::uint32_t>(value);
    if (type == kNewNamespace) event.moved_nsid = NumberOf<std::int32_t>(value);
    if (type == kNewIfindex) event.moved_ifindex = NumberOf<std::int32_t>(value);
  });
}

}  // namespace

Result<std::unique_ptr<LinkMonitor>> LinkMonitor::Open() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return SystemError(errno, "socket", "cannot open a netlink socket");
  std::unique_ptr<LinkMonitor> monitor(new LinkMonitor(fd));
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof kSocketBuffer);
  }
  const int on = 1;  // Without CAP_NET_BROADCAST, what happens elsewhere stays unknown.
  setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_TC;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return SystemError(errno, "bind", "cannot listen for link changes");
  }
  monitor->Refresh();
  return monitor;
}

LinkMonitor::LinkMonitor(int fd) : fd_(fd), buffer_(kBufferSize) {}
LinkMonitor::~LinkMonitor() { close(fd_); }

void LinkMonitor::Refresh() {
  MutexLock lock(mutex_);
  AskForList();
}

void LinkMonitor::RefreshIfOwed() {
  MutexLock lock(mutex_);
  if (stale_ && !listing_) AskForList();
}

void LinkMonitor::AskForList() {
  if (listing_) {  // The kernel makes one list at a time.
    stale_ = true;
    return;
  }
  struct {
    nlmsghdr header;
    ifinfomsg link;
    rtattr attribute;
    std::uint32_t filter;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.header.nlmsg_seq = ++generation_;
  request.attribute.rta_type = IFLA_EXT_MASK;
  request.attribute.rta_len = RTA_LENGTH(sizeof request.filter);
  request.filter = kSkipStatistics;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  list_started_ = false;
  listing_ = sendto(fd_, &request, sizeof request, 0, reinterpret_cast<const sockaddr*>(&kernel),
                    sizeof kernel) >= 0;
  stale_ = !listing_;
}

void LinkMonitor::Read(const Callback& callback) {
  MutexLock lock(mutex_);
  for (;;) {
    sockaddr_nl sender{};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int)) * 2];
    iovec part{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(fd_, &message, 0);
    if (n >= 0) {
      if (sender.nl_pid == 0) Parse(static_cast<std::size_t>(n), NamespaceOf(message), callback);
    } else if (errno == ENOBUFS) {
      AskForList();
    } else if (errno != EINTR) {
      return;
    }
  }
}

void LinkMonitor::Parse(std::size_t size, int nsid, const Callback& callback) {
  const char* at = buffer_.data();
  while (size >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size) return;
    const bool of_list = nsid == kHere && listing_ && header.nlmsg_seq == generation_;
    if (of_list) list_started_ = true;
    if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) stale_ = true;  // Changed while it was made.

    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
      if (of_list) {
        listing_ = false;
        if (header.nlmsg_type == NLMSG_ERROR) {
          stale_ = true;  // Not at once: the kernel may go on failing.
        } else if (stale_) {
          AskForList();
        } else {
          ReportMissing(callback);
        }
      }
    } else if ((header.nlmsg_type == RTM_NEWQDISC || header.nlmsg_type == RTM_DELQDISC) &&
               header.nlmsg_len >= NLMSG_LENGTH(sizeof(tcmsg))) {
      tcmsg qdisc;
      std::memcpy(&qdisc, at + NLMSG_LENGTH(0), sizeof qdisc);
      LinkEvent event;
      event.nsid = nsid;
      event.ifindex = qdisc.tcm_ifindex;
      event.qdisc_changed = true;
      callback(event);
    } else if ((header.nlmsg_type == RTM_NEWLINK || header.nlmsg_type == RTM_DELLINK) &&
               header.nlmsg_len >= NLMSG_LENGTH(sizeof(ifinfomsg))) {
      ifinfomsg link;
      std::memcpy(&link, at + NLMSG_LENGTH(0), sizeof link);
      // A bridge reports its ports in a family of its own, also when they leave it.
      if (link.ifi_family == AF_UNSPEC) {
        LinkEvent event;
        event.nsid = nsid;
        event.ifindex = link.ifi_index;
        event.deleted = header.nlmsg_type == RTM_DELLINK;
        event.up =
            !event.deleted && (link.ifi_flags & IFF_UP) != 0 && (link.ifi_flags & IFF_RUNNING) != 0;
        const std::size_t fixed = NLMSG_LENGTH(0) + NLMSG_ALIGN(sizeof link);
        const auto* message = reinterpret_cast<const std::uint8_t*>(at);
        if (header.nlmsg_len > fixed)
          ReadAttributes({message + fixed, message + header.nlmsg_len}, event);
        if (nsid != kHere) {
          // Not on our list.
        } else if (event.deleted) {
          links_.erase(event.ifindex);
        } else {
          // What was still queued when the list was asked for may be older than what was lost.
          const bool older = listing_ && !list_started_;
          links_[event.ifindex] = {event.name, older ? generation_ - 1 : generation_};
        }
        callback(event);
      }
    }
    const std::size_t step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), size);
    at += step;
    size -= step;
  }
}

// A list is complete: what is not on it, and was not reported since it was asked for, is gone.
void LinkMonitor::ReportMissing(const Callback& callback) {
  std::vector<LinkEvent> gone;
  std::erase_if(links_, [&](const auto& entry) {
    mutex_.AssertHeld();
    if (entry.second.generation == generation_) return false;
    LinkEvent event;
    event.ifindex = entry.first;
    event.name = entry.second.name;
    event.deleted = true;
    gone.push_back(std::move(event));
    return true;
  });
  for (const LinkEvent& event : gone) callback(event);
  LinkEvent complete;
  complete.list_is_complete = true;
  callback(complete);
}

}  // namespace pollux
