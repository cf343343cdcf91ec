#include "netdev/af_packet/packet_sender.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>

#include "kernel/rtnetlink.h"
#include "netdev/virtio_header.h"
#include "netdev/xsk/xsk_sender.h"

namespace pollux {
namespace {

constexpr std::uint32_t kTagSize = 4;
constexpr std::uint32_t kTagAt = 12;

}  // namespace

// Packets as sendmmsg() wants them.
class PacketSender::Messages {
 public:
  void Add(const Packet& packet) {
    const VirtioNetHeader* header = &kNothingLacks;
    if (packet.offloads != 0) {
      headers_[size_] = VirtioNetHeader::Of(packet);
      header = &headers_[size_];
    }
    parts_[size_][0] = {const_cast<VirtioNetHeader*>(header), sizeof *header};
    parts_[size_][1] = {packet.data, packet.size};
    messages_[size_] = {};
    messages_[size_].msg_hdr.msg_iov = parts_[size_].data();
    messages_[size_].msg_hdr.msg_iovlen = 2;
    packets_[size_++] = &packet;
  }
  std::size_t size() const { return size_; }
  const Packet& packet(std::size_t i) const { return *packets_[i]; }
  mmsghdr* at(std::size_t i) { return &messages_[i]; }

 private:
  std::size_t size_ = 0;
  std::array<const Packet*, kBatchSize> packets_;
  std::array<VirtioNetHeader, kBatchSize> headers_;
  std::array<std::array<iovec, 2>, kBatchSize> parts_;
  std::array<mmsghdr, kBatchSize> messages_;
};

PacketSender::PacketSender(const NetdevSpec& spec, bool goes_past, PacketPool& pool)
    : pool_(pool),
      sockets_(pool.Shared<PacketSockets>()),
      visible_(spec.visible),
      bypass_(spec.qdisc_bypass),
      goes_past_(goes_past && !spec.visible),
      elsewhere_(!spec.netns.empty()) {}

Status PacketSender::Check(const NetdevSpec& spec) {
  if (!spec.visible || !spec.qdisc_bypass) return {};
  return Invalid("`visible` and `qdisc: 'bypass'` exclude each other",
                 "taps see only what goes through the interface's qdisc: leave one of them out");
}

Status PacketSender::Bind(int ifindex) {
  tunnel_gso_->Stop();
  for (Fd* socket : {&past_, &through_}) {
    const bool past = socket == &past_;
    if (past && !goes_past_) continue;
    if (socket->get() < 0) {
      Result<Fd> taken = sockets_.TakeSender(past);
      if (!taken) return taken.error();
      *socket = std::move(*taken);
    }
    if (Status status = BindSender(*socket, ifindex); !status) return status;
  }
  QdiscChanged(HasActingQdisc(ifindex));
  return {};
}

void PacketSender::Probe(int ifindex) {
  // Only once somebody needs it: most ports never see a tunnel.
  if (saw_tunnel_.load(std::memory_order_relaxed) && !tunnel_gso_->is_open() &&
      !tunnel_gso_->impossible())
    tunnel_gso_->Open(ifindex);
}

PacketSender::Rest PacketSender::Close() {
  Rest rest;
  for (Fd* socket : {&past_, &through_}) {
    // What is kept for the next port would keep another namespace alive.
    rest.sockets.push_back(elsewhere_ ? std::move(*socket)
                                      : sockets_.GiveSender(std::move(*socket), socket == &past_));
  }
  tunnel_gso_->Stop();
  rest.tunnel_gso = std::move(tunnel_gso_);
  return rest;
}

std::string PacketSender::mode() const {
  if (visible_) return " visible";
  if (!acts()) return {};
  return bypass_ ? " qdisc-bypass" : " qdisc";
}

void PacketSender::Send(const PacketBatch& batch, std::uint32_t mtu, XskSender* xsk,
                        SendResult& result) {
  Messages messages;
  for (const Packet* packet : batch) messages.Add(*packet);
  // Runs of packets that take the same way.
  // Who has another way for frames that go past may have asked a moment before the qdisc went.
  const bool through = !goes_past_ || this->through();
  const auto way_of = [&](std::size_t i) { return WayOf(messages.packet(i), mtu, through); };
  for (std::size_t next = 0; next < messages.size();) {
    const Way way = way_of(next);
    std::size_t end = next + 1;
    while (end < messages.size() && way_of(end) == way) ++end;
    if (way == Way::kTunnel) {
      for (; next < end; ++next) SendTunnel(messages.packet(next), result);
      continue;
    }
    if (way == Way::kTags && xsk != nullptr && SendFinished(messages, next, end, *xsk, result)) {
      next = end;
      continue;
    }
    const int fd = (way == Way::kThrough ? through_ : past_).get();
    if (!SendRun(fd, messages, next, end, result)) {
      result.Drop(DropReason::kPortDown, static_cast<std::uint32_t>(messages.size() - next));
      break;
    }
  }
}

void PacketSender::SendTunnel(const Packet& packet, SendResult& result) const {
  if (tunnel_gso_->Send(packet)) {
    result.Accept(packet);
  } else {
    result.Drop(tunnel_gso_->runs() ? SendErrorReason(errno) : DropReason::kPortDown);
  }
}

PacketSender::Way PacketSender::WayOf(const Packet& packet, std::uint32_t mtu, bool through) const {
  if ((packet.offloads & kOffloadUdpTunnel) != 0) [[unlikely]]
    return Way::kTunnel;
  if (through || packet.is_gso()) return Way::kThrough;
  const std::uint32_t longest = mtu + kMinFrame;
  if (packet.size <= longest) [[likely]]
    return Way::kPast;
  const bool tag = packet.data[kTagAt] == 0x81 && packet.data[kTagAt + 1] == 0;
  return packet.size <= longest + (tag ? kTagSize : 0) ? Way::kPast : Way::kTags;
}

// What a packet socket refuses for its tags. Copies, since they are rare, and `messages` has no
// packets to give away. False, and nothing done: the AF_XDP socket does not take them either.
bool PacketSender::SendFinished(const Messages& messages, std::size_t next, std::size_t end,
                                XskSender& xsk, SendResult& result) {
  PacketBatch finished;
  for (; next < end; ++next) {
    PacketPtr copy = pool_.Clone(messages.packet(next));
    if (copy == nullptr) return false;
    FinishChecksum(*copy);
    finished.Add(std::move(copy));
  }
  return xsk.SendLong(finished, result);
}

// Sends or drops messages up to `end`, and moves `next` along. False: the interface is down, and
// those from `next` on wait.
bool PacketSender::SendRun(int fd, Messages& messages, std::size_t& next, std::size_t end,
                           SendResult& result) {
  while (next < end) {
    const int sent =
        sendmmsg(fd, messages.at(next), static_cast<unsigned>(end - next), MSG_DONTWAIT);
    if (sent > 0) {
      const std::size_t done = next + static_cast<std::size_t>(sent);
      for (; next < done; ++next) result.Accept(messages.packet(next));
      continue;
    }
    const DropReason reason = SendErrorReason(errno);
    if (reason == DropReason::kPortDown) return false;
    result.Drop(reason);
    ++next;
  }
  return true;
}

}  // namespace pollux
