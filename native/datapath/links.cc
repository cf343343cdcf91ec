// The interfaces behind ports: they go down and up, vanish, come back under the same name, move to
// another namespace. The listener tells of it on the event thread; what follows is done here, on
// the control thread.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "datapath/datapath_impl.h"
#include "kernel/interface.h"
#include "kernel/rtnetlink.h"

namespace pollux {
namespace {

constexpr std::int64_t kProbeIntervalNs = 1'000'000'000;
constexpr char kDownReason[] = "the interface is down";
// Between attempts to open an interface that is back: each twice the one before.
constexpr int kFirstRetryMs = 10;
constexpr int kLastRetryMs = 1000;

}  // namespace

Status Datapath::Impl::StartWatching(const NetdevType& type, bool pmd) {
  if (!type.is_interface && pmd) return {};
  if (Status status = contexts.non_pmd().Start(); !status) return status;
  wants_link_monitor |= type.is_interface;
  OpenLinkMonitor();
  return {};
}

void Datapath::Impl::OpenLinkMonitor() {
  if (!wants_link_monitor) return;
  if (link_monitor != nullptr) return link_monitor->RefreshIfOwed();
  Result<std::unique_ptr<LinkMonitor>> opened = LinkMonitor::Open();
  if (opened.ok()) {
    link_monitor = std::move(opened.value());
    contexts.non_pmd().Watch(link_monitor->fd(), [this, monitor = link_monitor.get()] {
      monitor->Read(
          [this](const LinkEvent& event) { control.Post([this, event] { OnLink(event); }); });
    });
    return;
  }
  if (std::exchange(warned_of_link_monitor, true)) return;
  Event event{Event::Kind::kWarning};
  event.text = "changes of interfaces go unnoticed for now: " + opened.error().message;
  Emit(std::move(event));
}

void Datapath::Impl::CheckInterfaces() {
  const std::optional<std::vector<int>> shaped = InterfacesWithActingQdisc();
  for (const auto& [id, port] : members) {
    const int ifindex = port->netdev->ifindex();
    if (ifindex <= 0 || port->nsid != port->home) continue;
    if (port->space == nullptr && port->announced != LinkState::kGone) {
      std::optional<bool> acts;
      if (shaped) acts = std::binary_search(shaped->begin(), shaped->end(), ifindex);
      port->netdev->QdiscChanged(acts);
    }
    LookAt(*port);
  }
}

// What the listener may not have told of a port's interface: where there is one, of another
// namespace more than that it is gone.
void Datapath::Impl::LookAt(Port& port) {
  if (port.announced == LinkState::kGone) {
    if (port.space != nullptr && port.retry_ms == 0) Revive(port, kFirstRetryMs);
    return;
  }
  LinkEvent event;
  event.nsid = port.nsid;
  event.ifindex = port.netdev->ifindex();
  {
    const NamespaceVisit visit(port.space.get());
    if (!visit.status()) return;
    event.deleted = InterfaceIsGone(event.ifindex);
    if (!event.deleted && port.space == nullptr) return;
    Result<Interface> interface = QueryInterface(event.ifindex);
    event.up = interface && interface->link() == LinkState::kUp;
    event.mtu = interface ? interface->mtu : 0;
    if (interface) port.netdev->QdiscChanged(HasActingQdisc(event.ifindex));
  }
  const LinkState state = event.deleted ? LinkState::kGone
                          : event.up    ? LinkState::kUp
                                        : LinkState::kDown;
  if (state != port.announced || (event.mtu != 0 && event.mtu != port.netdev->mtu()))
    FollowLink(port, event);
}

void Datapath::Impl::OnLink(const LinkEvent& event) {
  if (event.list_is_complete) return CheckInterfaces();
  for (const auto& [id, port] : members) {
    if (port->netdev->ifindex() == 0) continue;
    if (port->announced == LinkState::kGone) {
      const bool is_back = event.nsid == port->home && !event.deleted && event.Is(port->device);
      if (is_back) Revive(*port, kFirstRetryMs);
    } else if (event.nsid == port->nsid && event.ifindex == port->netdev->ifindex()) {
      if (!event.qdisc_changed) {
        FollowLink(*port, event);
      } else if (event.nsid == port->home) {
        const NamespaceVisit visit(port->space.get());
        if (visit.status()) port->netdev->QdiscChanged(HasActingQdisc(event.ifindex));
      }
    }
  }
}

// What the kernel does not tell, such as a device's new queues.
void Datapath::Impl::ProbePorts() {
  const std::int64_t now = Clock::MonotonicNs();
  if (now < next_probe_ns) return;
  next_probe_ns = now + kProbeIntervalNs;
  for (const auto& [id, port] : members) {
    // Of other namespaces the listener may hear nothing, for want of a capability.
    if (port->space != nullptr) LookAt(*port);
    {
      const NamespaceVisit visit(port->space.get());
      if (visit.status()) port->netdev->Probe();
    }
    TellOfTrouble(*port);
  }
}

void Datapath::Impl::FollowLink(Port& port, const LinkEvent& event) {
  Netdev& netdev = *port.netdev;
  // Where it goes from elsewhere is told in numbers of that namespace.
  const bool followed = event.nsid == kHere && port.home == kHere && event.deleted &&
                        event.moved_ifindex != 0 && netdev.Follow(event.moved_ifindex);
  if (followed) {
    offload->LeavePort(port, true);
    port.nsid = event.moved_nsid;
    AnnounceLink(port, LinkState::kDown, kDownReason);  // It goes down on its way.
    return;
  }
  const LinkState state = event.deleted ? LinkState::kGone
                          : event.up    ? LinkState::kUp
                                        : LinkState::kDown;
  const bool shorter = event.mtu != 0 && event.mtu < netdev.mtu();
  if (state != LinkState::kUp || shorter) offload->LeavePort(port, state == LinkState::kGone);
  {
    const NamespaceVisit visit(port.space.get());
    // From here it would ask about another interface with that index. One that has gone is only
    // let go of; all else LookAt() finds the next time.
    if (!visit.status() && state != LinkState::kGone) return;
    netdev.LinkChanged(event.ifindex, state, event.mtu);
  }
  AnnounceLink(port, state, kDownReason);
  // It may be back already, and the report of that behind us.
  if (state == LinkState::kGone) Revive(port, kFirstRetryMs);
}

Result<int> Datapath::Impl::FindHome(const Port& port) {
  const NamespaceVisit visit(port.space.get());
  if (!visit.status()) return visit.status().error();
  return FindInterface(port.device);
}

void Datapath::Impl::Revive(Port& port, int retry_ms) {
  const Result<int> ifindex = FindHome(port);
  if (!ifindex && ifindex.error().number == ENODEV) return;  // The listener will tell.
  offload->LeavePort(port, true);
  Status status = ifindex ? Status() : Status(ifindex.error());
  if (status && port.awaited) {
    status = Arrive(port);
  } else if (status) {
    const NamespaceVisit visit(port.space.get());
    status = visit.status() ? port.netdev->Rebind(ifindex.value()) : visit.status();
  }
  if (status.ok()) {
    port.nsid = port.home;
    AnnounceLink(port, port.netdev->link(), kDownReason);
    return;
  }
  if (port.retry_ms != 0) return;  // The next attempt is on its way.
  // What hinders it (another program, a kernel that has not cleaned up) may end without a report.
  port.retry_ms = retry_ms;
  control.PostIn(retry_ms, [this, id = port.id] { RetryRevive(id); });
  if (retry_ms != kLastRetryMs || port.warned_of_retries) return;
  port.warned_of_retries = true;
  Event event{Event::Kind::kWarning};
  event.text = "port \"" + port.name +
               "\" cannot use its interface again: " + status.error().message +
               "; it is tried again every second";
  Emit(std::move(event));
}

void Datapath::Impl::RetryRevive(PortId id) {
  Port* port = FindMember(id);
  if (port == nullptr) return;
  const int waited = std::exchange(port->retry_ms, 0);
  if (port->announced == LinkState::kGone) Revive(*port, std::min(2 * waited, kLastRetryMs));
}

void Datapath::Impl::AnnounceLink(Port& port, LinkState state, const std::string& reason) {
  if (port.announced == state) return;
  port.announced = state;
  if (state != LinkState::kGone) port.warned_of_retries = false;
  Event event{state == LinkState::kUp     ? Event::Kind::kPortUp
              : state == LinkState::kDown ? Event::Kind::kPortDown
                                          : Event::Kind::kPortGone};
  event.port = port.id;
  event.text = reason;
  Emit(std::move(event));
}

}  // namespace pollux
