#include "kernel/packet_socket.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <thread>
#include <utility>

#include "kernel/interface.h"

// Newer than the headers we may be built with.
#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

namespace pollux {
namespace {

constexpr std::uint32_t kBlockSize = 128 * 1024;
constexpr int kReceiveBuffer = 16 << 20;  // For frames that do not fit a slot.
constexpr int kSendBuffer = 16 << 20;
// Of each kind, for the next ports: more stay closed.
constexpr std::size_t kIdleSenders = 2;
constexpr int kOn = 1;

Result<Fd> OpenSocket() {
  Fd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() >= 0) return fd;
  Error error = SystemError(errno, "socket", "cannot open a packet socket");
  if (error.number == EPERM || error.number == EACCES) {
    error.hint =
        "packet sockets need CAP_NET_RAW: run as root, give it with setcap "
        "cap_net_raw,cap_net_admin+ep "
        "or systemd's AmbientCapabilities=, or try in a namespace of your own (unshare -Urn)";
  }
  return error;
}

template <typename T>
int Set(const Fd& fd, int level, int option, const T& value) {
  return setsockopt(fd.get(), level, option, &value, sizeof value);
}

void SetBuffer(const Fd& fd, int force_option, int option, int bytes) {
  if (Set(fd, SOL_SOCKET, force_option, bytes) != 0) Set(fd, SOL_SOCKET, option, bytes);
}

constexpr std::uint32_t kWholeFrame = 0xffffffff;
constexpr sock_filter kDropAll[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
constexpr sock_filter kNotOutgoing[] = {
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 0),
    BPF_STMT(BPF_RET | BPF_K, kWholeFrame),
};

int SetFilter(const Fd& fd, std::span<const sock_filter> filter) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(filter.size());
  program.filter = const_cast<sock_filter*>(filter.data());  // The kernel only reads it.
  return Set(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
}

Status BindTo(const Fd& fd, int ifindex, std::uint16_t protocol) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = static_cast<std::uint16_t>(protocol << 8 | protocol >> 8);
  address.sll_ifindex = ifindex;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return {};
  return SystemError(errno, "bind", "cannot bind a packet socket");
}

}  // namespace

// -------------------------------------------------------------------------------------- sending

Status BindSender(const Fd& sender, int ifindex) {
  // An interface it was bound to has left an error when it went, which the next call would report.
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(sender.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return BindTo(sender, ifindex, 0);
}

Result<Fd> PacketSockets::TakeSender(bool past_qdisc) {
  {
    MutexLock lock(mutex_);
    EnterNamespace();
    std::vector<Fd>& idle = senders_[past_qdisc ? 1 : 0];
    if (!idle.empty()) {
      Fd sender = std::move(idle.back());
      idle.pop_back();
      return sender;
    }
  }
  Result<Fd> fd = OpenSocket();
  if (!fd) return fd;
  SetBuffer(*fd, SO_SNDBUFFORCE, SO_SNDBUF, kSendBuffer);
  if (Set(*fd, SOL_PACKET, PACKET_VNET_HDR, kOn) != 0)
    return SystemError(errno, "setsockopt", "cannot set up a packet socket for sending");
  if (past_qdisc) Set(*fd, SOL_PACKET, PACKET_QDISC_BYPASS, kOn);
  return fd;
}

Fd PacketSockets::GiveSender(Fd sender, bool past_qdisc) {
  if (sender.get() < 0 || !BindTo(sender, 0, 0)) return sender;
  MutexLock lock(mutex_);
  EnterNamespace();
  std::vector<Fd>& idle = senders_[past_qdisc ? 1 : 0];
  if (idle.size() == kIdleSenders) return sender;
  idle.push_back(std::move(sender));
  return Fd();
}

// ------------------------------------------------------------------------------------ receiving

Result<std::unique_ptr<PacketRing>> PacketRing::Make() {
  Result<Fd> opened = OpenSocket();
  if (!opened) return opened.error();
  std::unique_ptr<PacketRing> made(new PacketRing(std::move(*opened)));
  const Fd& fd = made->fd_;
  const int version = TPACKET_V2;
  tpacket_req request{};
  request.tp_block_size = kBlockSize;
  request.tp_block_nr = kBytes / kBlockSize;
  request.tp_frame_size = kSlotSize;
  request.tp_frame_nr = kSlots;
  SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, kReceiveBuffer);
  // The kernel wants version and virtio header before the ring.
  if (Set(fd, SOL_PACKET, PACKET_VERSION, version) != 0 ||
      Set(fd, SOL_PACKET, PACKET_VNET_HDR, kOn) != 0 ||
      Set(fd, SOL_PACKET, PACKET_COPY_THRESH, kOn) != 0 ||
      Set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, kOn) != 0 || SetFilter(fd, kDropAll) != 0 ||
      Set(fd, SOL_PACKET, PACKET_RX_RING, request) != 0) {
    Error error = SystemError(errno, "setsockopt", "cannot set up a receive ring");
    if (error.number == ENOMEM) error.hint = "a queue needs 8 MiB of kernel memory: use fewer rxqs";
    return error;
  }
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  void* ring = mmap(nullptr, kBytes, kProtection, MAP_SHARED | MAP_LOCKED, fd.get(), 0);
  if (ring == MAP_FAILED) ring = mmap(nullptr, kBytes, kProtection, MAP_SHARED, fd.get(), 0);
  if (ring == MAP_FAILED) return SystemError(errno, "mmap", "cannot map a receive ring");
  made->ring_ = static_cast<std::uint8_t*>(ring);
  madvise(ring, kBytes, MADV_DONTFORK);  // A child would keep the socket alive.
  return made;
}

// The mapping holds the socket too, so it goes first.
PacketRing::~PacketRing() {
  if (ring_ != nullptr) munmap(ring_, kBytes);
}

Status PacketRing::Bind(int ifindex, bool promiscuous) {
  if (Status status = BindTo(fd_, ifindex, ETH_P_ALL); !status) return status;
  if (!promiscuous) return {};
  packet_mreq membership{};
  membership.mr_ifindex = ifindex;
  membership.mr_type = PACKET_MR_PROMISC;
  if (Set(fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership) != 0) {
    return SystemError(errno, "setsockopt", "cannot make the interface promiscuous");
  }
  return {};
}

Status PacketRing::Share(int& group) {
  // The first asks for a group number that nobody has.
  const bool first = group == 0;
  int type = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
  if (first) type |= PACKET_FANOUT_FLAG_UNIQUEID;
  socklen_t size = sizeof group;
  if (Set(fd_, SOL_PACKET, PACKET_FANOUT, group | type << 16) != 0 ||
      (first && getsockopt(fd(), SOL_PACKET, PACKET_FANOUT, &group, &size) != 0)) {
    Error error = SystemError(errno, "setsockopt", "cannot spread frames over several queues");
    if (error.number == EINVAL) error.hint = "older kernels want the interface up for that";
    return error;
  }
  group &= 0xffff;
  return {};
}

void PacketRing::Start() { SetFilter(fd_, kNotOutgoing); }
void PacketRing::Stop() { SetFilter(fd_, kDropAll); }

std::uint64_t PacketRing::TakeDrops() {
  tpacket_stats stats{};
  socklen_t size = sizeof stats;
  if (getsockopt(fd(), SOL_PACKET, PACKET_STATISTICS, &stats, &size) != 0) return 0;
  return stats.tp_drops;
}

// ---------------------------------------------------------------------------------- made ahead

Result<std::vector<std::unique_ptr<PacketRing>>> PacketSockets::OpenRings(int ifindex,
                                                                          std::uint32_t n,
                                                                          bool promiscuous) {
  std::vector<std::unique_ptr<PacketRing>> rings(n);
  std::vector<Status> made(n);
  rings.front() = TakeRing();
  std::vector<Background::Work> makings;
  for (std::uint32_t i = rings.front() == nullptr ? 0 : 1; i < n; ++i) {
    makings.emplace_back([&ring = rings[i], &status = made[i]] {
      Result<std::unique_ptr<PacketRing>> result = PacketRing::Make();
      if (result) {
        ring = std::move(*result);
      } else {
        status = result.error();
      }
    });
  }
  DoTogether(std::move(makings));
  int group = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    if (!made[i]) return made[i].error();
    if (Status status = rings[i]->Bind(ifindex, promiscuous); !status) return status.error();
    if (n == 1) break;
    if (Status status = rings[i]->Share(group); !status) return status.error();
  }
  return rings;
}

// nullptr: none is ready.
std::unique_ptr<PacketRing> PacketSockets::TakeRing() {
  MutexLock lock(mutex_);
  EnterNamespace();
  return std::move(ring_);
}

void PacketSockets::MakeRingAhead() {
  ino_t here = 0;
  {
    MutexLock lock(mutex_);
    if (ring_ != nullptr || std::exchange(making_, true)) return;
    here = namespace_;
  }
  // Without the mutex, which the work takes: where no thread is to be had, it is done right here.
  MutexLock control(control_);
  background_.Run([this, here] {
    // It takes a core for a millisecond, which whoever adds the port still needs.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // What fails here fails again, and is told, when somebody waits for it.
    Result<std::unique_ptr<PacketRing>> ring = PacketRing::Make();
    MutexLock done(mutex_);
    if (ring && namespace_ == here) ring_ = std::move(*ring);
    making_ = false;
  });
}

// A socket belongs to its network namespace for ever, so what another one has left is of no use.
void PacketSockets::EnterNamespace() {
  const ino_t here = ThisNamespace();
  if (std::exchange(namespace_, here) == here) return;
  ring_.reset();
  for (std::vector<Fd>& idle : senders_) idle.clear();
}

}  // namespace pollux
