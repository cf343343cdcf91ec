// af_xdp: any Ethernet interface of the kernel, through AF_XDP sockets.
//
// A program on the interface (xdp_program.h) hands each received frame to the socket of the receive
// queue it came in on, before the kernel makes anything of it; packets of the pool live in memory
// that sockets share (xsk_umem.h), so what arrives on one port leaves on another by a descriptor of
// eight bytes (xsk_queue.h).
//
// Queues. Each receive queue of the device has a socket: a queue without one would be a hole, which
// the program closes by dropping. The port's own queues share them: queue i of n polls the sockets
// i, i+n, i+2n, … When the device gets more queues (ethtool -L), Probe() or news of the link find
// them, and they are served from then on. The device cannot get fewer than we use: the kernel
// refuses.
//
// Sending. A sender uses the socket of "its" queue, modulo those there are; where two meet, they
// wait for each other, once a batch. The kernel sends in the call that kicks the socket. Where a
// qdisc decides when frames leave, or the host's taps shall see them, all go through a packet
// socket instead (packet_sender.h): what goes by AF_XDP passes neither.
//
// Modes, best first: without copying (drivers of cards that can), native (the program runs in the
// driver, the kernel copies each frame once) and generic (any driver; slower, and frames that were
// merged, or that a sender on the same machine left to be segmented, come as they are and are
// dropped: there, GRO and TSO must be off, and so must the VLAN offload of the other end of a pair,
// since a tag beside the frame is lost).
//
// Offloads. Nothing beside the frame comes through. VLAN tags are put back by the program; partial
// checksums are recognized (partial_checksum.h) on devices that are no cards, and carried on. An
// interface with an XDP program gets no GSO frames: the kernel turns that off at the other end.
//
// Hot flows. Where the port was asked to (`offload_flows_above`), the program forwards flows by
// itself that OffloadFlows() has it told of: datapath/flow_offload.h. That takes native mode, and a
// kernel that tells which devices take redirected frames (Linux 6.3).
//
// Busy polling, if asked for: the driver's receiving (its NAPI) is done in our own calls, by the
// thread that polls, in place of an interrupt on whatever core that comes to. It pays where both
// would share a core; a veth pair's receiving else is its sender's work.
//
// Waiting. wait_fd() is an epoll descriptor that holds the sockets while a thread sleeps. It does
// not become readable when the interface goes down or away: the kernel tells that by rtnetlink
// alone.
//
// Should frames get past the program all the same (veth gives queues that come later none, until
// the program is attached anew), a second program keeps them out of the host's stack
// (ingress_drop.h).
//
// The interface's life. Down and up: sockets and program stay. Deleted, or moved to another
// namespace: everything is closed at once, so that the interface is clean wherever it is now.
// Rebind() opens it all anew. What we hold, we hold by descriptors: kill -9 leaves nothing behind.
//
// Not known to the kernel's AF_XDP, so done here: the MTU.
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/background.h"
#include "base/sync.h"
#include "kernel/bpf/ingress_drop.h"
#include "kernel/bpf/redirect_target.h"
#include "kernel/interface.h"
#include "kernel/interface_claim.h"
#include "kernel/rtnetlink.h"
#include "netdev/af_packet/packet_sender.h"
#include "netdev/af_xdp/af_xdp_modes.h"
#include "netdev/af_xdp/af_xdp_queues.h"
#include "netdev/af_xdp/xdp_flows.h"
#include "netdev/af_xdp/xdp_program.h"
#include "netdev/netdev.h"
#include "netdev/xsk/xsk_queue.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 64;
// Frames that all queues of a port may hold in each direction, and one at least and at most.
constexpr std::uint32_t kFramesOfPort = 8192;
constexpr std::uint32_t kMaxRing = 2048;
constexpr std::uint32_t kMinRing = 256;
// The kernel lets go of a queue only some time after its socket was closed (28 ms measured).
constexpr std::chrono::milliseconds kBusyLimit{500};
// Of an interface that is back: others wait for the same thread, and it is tried again anyway.
constexpr std::chrono::milliseconds kBusyLimitAgain{60};
constexpr std::chrono::milliseconds kBusyPause{2};

std::uint32_t RingFor(std::uint32_t queues) {
  std::uint32_t ring = kMaxRing;
  while (ring > kMinRing && ring * queues > kFramesOfPort) ring /= 2;
  return ring;
}

class AfXdpNetdev final : public Netdev {
 public:
  static Result<std::unique_ptr<Netdev>> Open(const NetdevSpec& spec, PacketPool& pool);
  ~AfXdpNetdev() override {
    MutexLock lock(mutex_);
    Detach();
  }

  std::string mode() const override { return mode_ + sender_.mode(); }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_.load(std::memory_order_relaxed); }
  LinkState link() const override { return link_.load(std::memory_order_relaxed); }
  int ifindex() const override { return ifindex_.load(std::memory_order_relaxed); }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  Status Rebind(int ifindex) override EXCLUDES(mutex_);
  Background::Work Close() override;
  void QdiscChanged(std::optional<bool> acts) override { sender_.QdiscChanged(acts); }
  bool sends_through_host() const override { return sender_.through(); }
  void LinkChanged(int ifindex, LinkState state, std::uint32_t mtu) override EXCLUDES(mutex_);
  void Probe() override EXCLUDES(mutex_);
  std::shared_ptr<XdpFlows> OffloadFlows(const HeaderMask& mask) override EXCLUDES(mutex_);
  void Send(std::uint32_t sender, PacketBatch& batch, SendResult& result) override;
  NetdevStats stats() const override EXCLUDES(mutex_);
  std::vector<const char*> troubles() const override;
  NetdevStats Count() const REQUIRES(mutex_);

 private:
  AfXdpNetdev(const NetdevSpec& spec, std::string device, bool find_checksums, PacketPool& pool);

  static AfXdpRxq& Queue(const std::unique_ptr<Rxq>& rxq) { return static_cast<AfXdpRxq&>(*rxq); }
  Status Attach(const Interface& interface, std::span<const XdpMode> modes) REQUIRES(mutex_);
  Status AttachAs(const Interface& interface, const XdpMode& mode) REQUIRES(mutex_);
  Status Serve(const Interface& interface, std::uint32_t queue) REQUIRES(mutex_);
  Result<std::unique_ptr<XskQueue>> OpenQueue(const XskQueue::Options& options) REQUIRES(mutex_);
  void Detach() REQUIRES(mutex_);
  std::uint64_t Unserved() const REQUIRES(mutex_);
  void ServeNewQueues() REQUIRES(mutex_);
  void SendLeft() REQUIRES(mutex_);
  void SetMtu(std::uint32_t mtu);

  PacketPool& pool_;
  const std::string device_;
  const std::uint32_t numa_;
  std::string mode_;
  const bool busy_poll_;
  bool offloads_flows_ = false;
  std::vector<const char*> troubles_;  // Those of the mode.
  const bool promiscuous_asked_;
  PacketSender sender_;
  // The control thread's.
  InterfaceClaim claim_;
  bool takes_all_ = true;  // Frames for foreign addresses come in.
  std::vector<std::unique_ptr<Rxq>> rxqs_;
  std::array<AfXdpLane, kMaxQueues> lanes_;
  std::atomic<std::uint32_t> lanes_used_{0};
  std::atomic<int> ifindex_{0};
  std::atomic<std::uint32_t> mtu_{0};
  std::atomic<std::uint32_t> max_frame_{0};
  std::atomic<LinkState> link_{LinkState::kDown};
  std::atomic<bool> silent_{false};  // The link is known to be down: nothing is sent.

  // As last counted, under the mutex.
  mutable LastNetdevStats last_stats_;
  mutable Mutex mutex_;
  const XdpMode* obtained_ GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<XdpProgram> program_ GUARDED_BY(mutex_);
  std::uint64_t unserved_before_ GUARDED_BY(mutex_) = 0;  // While the port was being opened.
  IngressDrop ingress_drop_ GUARDED_BY(mutex_);
  int promiscuous_ GUARDED_BY(mutex_) = -1;
  bool ever_attached_ GUARDED_BY(mutex_) = false;
  std::uint32_t ring_ GUARDED_BY(mutex_) = 0;
  // In the order of the device's queues.
  std::vector<std::unique_ptr<XskQueue>> queues_ GUARDED_BY(mutex_);
  NetdevStats closed_ GUARDED_BY(mutex_);  // Of queues that were closed.
};

AfXdpNetdev::AfXdpNetdev(const NetdevSpec& spec, std::string device, bool find_checksums,
                         PacketPool& pool)
    : pool_(pool),
      device_(std::move(device)),
      numa_(spec.numa ? *spec.numa : NumaOfInterface(device_)),
      busy_poll_(spec.busy_poll),
      promiscuous_asked_(spec.promiscuous),
      sender_(spec, false, pool),
      claim_(spec.name) {
  for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
    rxqs_.push_back(std::make_unique<AfXdpRxq>(find_checksums));
  }
}

Result<std::unique_ptr<Netdev>> AfXdpNetdev::Open(const NetdevSpec& spec, PacketPool& pool) {
  const std::string& device = spec.device.empty() ? spec.name : spec.device;
  if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
    return Invalid("an af_xdp port has 1 to " + std::to_string(kMaxQueues) + " receive queues");
  }
  Result<Interface> interface = QueryInterface(device);
  if (!interface) return interface.error();
  if (interface->rx_queues < spec.rxqs) {
    return Invalid("the interface has " + std::to_string(interface->rx_queues) +
                       " receive queues, fewer than `rxqs`",
                   "`ethtool -L " + device + " rx " + std::to_string(spec.rxqs) +
                       "` (or combined) gives it more, if it was made with as many; or use fewer "
                       "rxqs");
  }
  if (Status status = PacketSender::Check(spec); !status) return status.error();
  Result<std::span<const XdpMode>> modes = ModesFor(spec.mode, *interface);
  if (!modes) return modes.error();
  std::unique_ptr<AfXdpNetdev> netdev(new AfXdpNetdev(spec, device, interface->is_virtual, pool));
  for (const std::unique_ptr<Rxq>& rxq : netdev->rxqs_) {
    if (Status status = Queue(rxq).opened(); !status) return status.error();
  }
  MtuChange mtu_change(interface->name, interface->mtu);
  if (Status status = mtu_change.Make(spec.mtu); !status) return status.error();
  interface->mtu = mtu_change.mtu();
  MutexLock lock(netdev->mutex_);
  if (Status status = netdev->Attach(*interface, *modes); !status) return status.error();
  if (spec.mtu > netdev->mtu()) {
    return Invalid("this kernel's AF_XDP takes frames of at most " +
                       std::to_string(netdev->max_frame_.load()) + " bytes",
                   "lower `mtu`, or use type \"af_packet\"");
  }
  netdev->mode_ = netdev->obtained_->obtained;
  if (spec.busy_poll) {
    const bool polls = netdev->queues_.front()->socket().busy_polls();
    netdev->mode_ += polls ? " busy-poll" : " no-busy-poll";
    if (!polls) netdev->troubles_.push_back("no-busy-poll");
  }
  if (spec.offload_flows_above > 0) {
    netdev->offloads_flows_ = netdev->obtained_->program == XdpProgram::Mode::kNative &&
                              TakesRedirectedFrames(interface->index).has_value();
    netdev->mode_ += netdev->offloads_flows_ ? " flow-offload" : " no-flow-offload";
    if (!netdev->offloads_flows_) netdev->troubles_.push_back("no-flow-offload");
  }
  mtu_change.Keep();
  return std::unique_ptr<Netdev>(std::move(netdev));
}

Status AfXdpNetdev::Attach(const Interface& interface, std::span<const XdpMode> modes) {
  Status status = claim_.Take(interface.index);
  if (!status) return status;
  if (Result<LinkDetails> link = DescribeLink(interface.index); link) takes_all_ = link->takes_all;
  for (const XdpMode& mode : modes) {
    status = AttachAs(interface, mode);
    if (status) break;
    Detach();
    if (mode.zero_copy && status.error().number == EOPNOTSUPP) {
      status.error().hint = "this device cannot do without copying: mode \"native\" copies once";
    }
    if (status.error().number == EBUSY && claim_.shared()) {
      status.error().hint =
          "another process has a Pollux port there: stop it, or use an interface of your own";
    }
    // Only this may be otherwise in the next mode.
    if (status.error().number != EOPNOTSUPP && status.error().number != EINVAL) break;
  }
  if (status) status = sender_.Bind(interface.index);
  if (!status) Detach();
  return status;
}

Status AfXdpNetdev::AttachAs(const Interface& interface, const XdpMode& mode) {
  Result<std::unique_ptr<XdpProgram>> program =
      XdpProgram::Attach(interface.index, mode.program, kMaxQueues);
  if (!program) return program.error();
  program_ = std::move(*program);
  unserved_before_ = 0;  // It counts from the start, and may have to go before it is complete.
  obtained_ = &mode;
  if (promiscuous_asked_) {
    promiscuous_ = HoldPromiscuous(interface.index);
    if (promiscuous_ < 0)
      return SystemError(errno, "setsockopt", "cannot make the interface promiscuous");
  }
  const std::uint32_t queues = std::min(interface.rx_queues, kMaxQueues);
  ring_ = RingFor(queues);
  for (std::uint32_t queue = 0; queue < queues; ++queue) {
    if (Status status = Serve(interface, queue); !status) return status;
  }
  ifindex_.store(interface.index, std::memory_order_relaxed);
  SetMtu(interface.mtu);
  link_.store(interface.link(), std::memory_order_relaxed);
  silent_.store(false, std::memory_order_relaxed);
  ever_attached_ = true;
  unserved_before_ = program_->unserved();
  return {};
}

// A socket for a queue of the device: the next one.
Status AfXdpNetdev::Serve(const Interface& interface, std::uint32_t queue) {
  XskQueue::Options options;
  options.ifindex = interface.index;
  options.queue = queue;
  options.ring = ring_;
  options.zero_copy = obtained_->zero_copy;
  options.busy_poll = busy_poll_;
  Result<std::unique_ptr<XskQueue>> opened = OpenQueue(options);
  if (!opened) return opened.error();
  const bool large_frames =
      (*opened)->umem().takes_large_frames() && program_->takes_large_frames();
  max_frame_.store(XskQueue::MaxFrame(large_frames), std::memory_order_relaxed);
  if (Status status = program_->Serve(queue, (*opened)->socket().fd()); !status) return status;
  Queue(rxqs_[queue % rxqs_.size()]).Add(opened->get());
  if (queue < interface.tx_queues) {
    lanes_[queue].Set(opened->get());
    lanes_used_.store(queue + 1, std::memory_order_release);
  }
  queues_.push_back(std::move(*opened));
  return {};
}

// Waits for the kernel to let go of the queue, if it has been closed a moment ago.
Result<std::unique_ptr<XskQueue>> AfXdpNetdev::OpenQueue(const XskQueue::Options& options) {
  const auto limit = ever_attached_ ? kBusyLimitAgain : kBusyLimit;
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    Result<std::unique_ptr<XskQueue>> queue = XskQueue::Open(pool_, options);
    if (queue || queue.error().number != EBUSY || std::chrono::steady_clock::now() > end) {
      return queue;
    }
    std::this_thread::sleep_for(kBusyPause);
  }
}

// Leaves nothing on the interface, wherever it is.
void AfXdpNetdev::Detach() {
  lanes_used_.store(0, std::memory_order_release);
  for (AfXdpLane& lane : lanes_) lane.Set(nullptr);
  for (const std::unique_ptr<Rxq>& rxq : rxqs_) Queue(rxq).Forget();
  for (const std::unique_ptr<XskQueue>& queue : queues_) {
    closed_ += queue->stats();
  }
  closed_.rx_dropped += Unserved();
  std::vector<Background::Work> closings = {
      [program = program_.release()] { delete program; },
      [drop = &ingress_drop_] { drop->Detach(); },
  };
  for (std::unique_ptr<XskQueue>& queue : queues_) {
    closings.emplace_back([closed = queue.release()] { delete closed; });
  }
  DoTogether(std::move(closings));
  queues_.clear();
  if (promiscuous_ >= 0) close(promiscuous_);
  promiscuous_ = -1;
}

// Frames of queues without a socket, since the port is complete.
std::uint64_t AfXdpNetdev::Unserved() const {
  if (program_ == nullptr || queues_.empty()) return 0;
  return program_->unserved() - unserved_before_;
}

void AfXdpNetdev::SetMtu(std::uint32_t mtu) {
  const std::uint32_t limit = max_frame_.load(std::memory_order_relaxed) - kMinFrame - 4;
  mtu_.store(std::min(mtu, limit), std::memory_order_relaxed);
}

// ------------------------------------------------------------------------------- the interface's
// life

Status AfXdpNetdev::Rebind(int ifindex) {
  Result<Interface> interface = QueryInterface(ifindex);
  if (!interface) return interface.error();
  MutexLock lock(mutex_);
  Detach();
  return Attach(*interface, std::span(obtained_, 1));
}

void AfXdpNetdev::LinkChanged(int ifindex, LinkState state, std::uint32_t mtu) {
  if (ifindex != this->ifindex()) return;
  link_.store(state, std::memory_order_relaxed);
  silent_.store(state != LinkState::kUp, std::memory_order_relaxed);
  if (mtu != 0) SetMtu(mtu);
  MutexLock lock(mutex_);
  if (state == LinkState::kGone) {
    Detach();
    claim_.Release();
    return;
  }
  ServeNewQueues();
  if (state == LinkState::kUp) SendLeft();
}

// What is left to the destructor takes no longer than it must.
Background::Work AfXdpNetdev::Close() {
  // A function can be copied; what it closes cannot.
  const auto rest = std::make_shared<PacketSender::Rest>(sender_.Close());
  return [rest] { *rest = {}; };
}

void AfXdpNetdev::Probe() {
  if (claim_.shared()) claim_.TakeName();
  if (sender_.asks_again()) QdiscChanged(HasActingQdisc(ifindex()));
  MutexLock lock(mutex_);
  ServeNewQueues();
  if (link() == LinkState::kUp) SendLeft();
  // Not when it opens: that takes a grace period, and the program does without for a while. An old
  // kernel cannot at all.
  if (!queues_.empty() && !ingress_drop_.attached()) ingress_drop_.Attach(ifindex());
}

std::shared_ptr<XdpFlows> AfXdpNetdev::OffloadFlows(const HeaderMask& mask) {
  MutexLock lock(mutex_);
  if (!offloads_flows_ || program_ == nullptr) return nullptr;
  Result<std::unique_ptr<XdpFlows>> made = XdpFlows::Make(mask);
  if (!made) return nullptr;
  std::shared_ptr<XdpFlows> flows = std::move(*made);
  return program_->Forward(flows) ? flows : nullptr;
}

void AfXdpNetdev::SendLeft() {
  const std::uint32_t lanes = lanes_used_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < lanes; ++i) lanes_[i].SendLeft();
}

// What cannot be served now is tried again at the next probe; the program drops its frames.
void AfXdpNetdev::ServeNewQueues() {
  if (queues_.empty()) return;
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex()), name) == nullptr) return;
  Result<Interface> interface = QueryInterface(name);
  if (!interface) return;
  const std::uint32_t queues = std::min(interface->rx_queues, kMaxQueues);
  if (queues <= queues_.size() || !program_->Renew()) return;
  for (auto queue = static_cast<std::uint32_t>(queues_.size()); queue < queues; ++queue) {
    if (!Serve(*interface, queue)) return;
  }
}

// --------------------------------------------------------------------------------------- sending

void AfXdpNetdev::Send(std::uint32_t sender, PacketBatch& batch, SendResult& result) {
  const std::uint32_t lanes = lanes_used_.load(std::memory_order_acquire);
  if (lanes == 0 || silent_.load(std::memory_order_relaxed)) {
    result.Drop(DropReason::kPortDown, static_cast<std::uint32_t>(batch.size()));
    batch.Clear();
    return;
  }
  const std::uint32_t mtu = this->mtu();
  PacketBatch fitting;
  PacketBatch others;
  for (Packet* packet : batch) {
    if (packet->size < kMinFrame) {
      result.Drop(DropReason::kTxError);
      others.AddRaw(packet);
    } else if (!FitsMtu(*packet, mtu)) {
      result.Drop(DropReason::kMtu);
      others.AddRaw(packet);
    } else {
      fitting.AddRaw(packet);
    }
  }
  batch.Release();
  if (fitting.empty()) return;
  if (sender_.through()) {
    sender_.Send(fitting, mtu, nullptr, result);
  } else {
    lanes_[sender % lanes].Send(fitting, result);
  }
}

std::vector<const char*> AfXdpNetdev::troubles() const {
  std::vector<const char*> troubles = troubles_;
  if (claim_.shared()) troubles.push_back("shared");
  if (promiscuous_asked_ && !takes_all_) troubles.push_back("macvlan");
  return troubles;
}

NetdevStats AfXdpNetdev::stats() const {
  // While the interface is opened or closed, which takes its time, the last figures will do.
  if (!mutex_.TryLock()) return last_stats_.Get();
  const NetdevStats stats = Count();
  last_stats_.Set(stats);
  mutex_.Unlock();
  return stats;
}

NetdevStats AfXdpNetdev::Count() const {
  NetdevStats stats = closed_;
  stats.rx_dropped += Unserved();
  for (const std::unique_ptr<XskQueue>& queue : queues_) {
    stats += queue->stats();
  }
  return stats;
}

}  // namespace

Result<std::unique_ptr<Netdev>> OpenAfXdpNetdev(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = AfXdpNetdev::Open(spec, pool);
  if (!netdev) {
    netdev.error().port = spec.name;
    const std::string& device = spec.device.empty() ? spec.name : spec.device;
    netdev.error().message = device + ": " + netdev.error().message;
  }
  return netdev;
}

}  // namespace pollux
