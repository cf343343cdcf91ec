#include "packet/segmenter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "packet/header_bytes.h"
#include "packet/offload.h"

namespace pollux {
namespace {

constexpr std::uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;
constexpr std::uint32_t kGreCheckAt = 4;

using Kind = OuterHeader::Kind;

}  // namespace

bool Segmenter::Start(PacketPtr& packet, Offloads taken) {
  Stop();
  if (!packet->is_gso()) return false;
  // Actions keep the frame's shape. We look all the same.
  LayerWalk walk(packet->bytes());
  bool found = false;
  while (!found && walk.Next()) found = walk.layers().l4 == packet->csum_start;
  layers_ = walk.layers();
  payload_ = found && !layers_.fragment ? layers_.PayloadAt(packet->data) : 0;
  if (payload_ == 0) return false;
  packet_ = std::move(packet);
  next_ = payload_;
  end_ = layers_.end;
  segment_size_ = packet_->gso_size;
  const bool by_udp = layers_.outers >= 2 && layers_.outer[1].kind == Kind::kUdp;
  datagram_ = (taken & kOffloadUdp) != 0 && by_udp ? layers_.outer[1].at + sizeof(UdpHeader) : 0;
  if (segments_left() == 1) datagram_ = 0;
  return true;
}

PacketPtr Segmenter::Next(PacketPool& pool) {
  if (datagram_ != 0 && segments_left() > 1) return NextDatagrams(pool);
  const std::uint32_t length = std::min(segment_size_, end_ - next_);
  PacketPtr packet = pool.Allocate(payload_ + length);
  if (packet == nullptr) return nullptr;
  PacketPool::CopyMetadata(*packet_, *packet);
  packet->l3_offset = packet_->l3_offset;
  packet->l4_offset = packet_->l4_offset;
  WriteSegment(packet->data, 0, next_, length);
  next_ += length;
  return packet;
}

// As many as a length of 16 bits can say, but for the last one all of one length.
PacketPtr Segmenter::NextDatagrams(PacketPool& pool) {
  const std::uint32_t inside = payload_ - datagram_;
  const std::uint32_t each = inside + segment_size_;
  const std::uint32_t most = std::min((kMaxFrame - datagram_) / each, kMaxDatagrams);
  const std::uint32_t n = std::min(segments_left(), std::max(most, 1u));
  const std::uint32_t payload = std::min(n * segment_size_, end_ - next_);
  PacketPtr packet = pool.Allocate(datagram_ + n * inside + payload);
  if (packet == nullptr) return nullptr;
  PacketPool::CopyMetadata(*packet_, *packet);
  packet->l3_offset = packet_->l3_offset;
  packet->l4_offset = packet_->l4_offset;
  std::uint8_t* data = packet->data;
  const std::uint32_t first = next_;
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t length = std::min(segment_size_, end_ - next_);
    WriteSegment(data + i * each, datagram_, next_, length);
    next_ += length;
  }
  std::memcpy(data, packet_->data, datagram_);
  const std::uint32_t l3 = layers_.outer[0].at;
  const std::uint32_t udp = layers_.outer[1].at;
  const bool ipv4 = layers_.outer[0].kind == Kind::kIpv4;
  FinishIp(data + l3, ipv4, packet->size - l3, first);
  Put16(data + udp + 4, packet->size - udp);
  Layers outside;
  outside.l3 = l3;
  outside.ipv4 = ipv4;
  outside.protocol = kProtoUdp;
  PutChecksum(data + udp + kUdpCheckAt, FoldSum(outside.PseudoSum(data, packet->size - udp)));
  packet->csum_start = static_cast<std::uint16_t>(udp);
  packet->offloads = kOffloadUdpChecksum;
  if (n > 1) packet->offloads |= kOffloadUdp;
  packet->gso_size = static_cast<std::uint16_t>(each);
  return packet;
}

// The segment whose payload starts at `next` of the frame, from byte `from` on: `data` is where
// byte 0 would be. Finished from the inside out: a sum outside covers those inside.
void Segmenter::WriteSegment(std::uint8_t* data, std::uint32_t from, std::uint32_t next,
                             std::uint32_t length) const {
  std::memcpy(data + from, packet_->data + from, payload_ - from);
  std::memcpy(data + payload_, packet_->data + next, length);
  const std::uint32_t size = payload_ + length;
  const std::uint32_t l4_length = size - layers_.l4;
  FinishLayer4(data, next, length);
  FinishIp(data + layers_.l3, layers_.ipv4, size - layers_.l3, next);
  // Of what a right checksum covers, the sum is that of its pseudo-header, complemented.
  const Sum inside = FinishSum(PartialSum(l4_length));
  for (std::uint32_t i = layers_.outers; i-- > 0 && layers_.outer[i].at >= from;) {
    const OuterHeader& header = layers_.outer[i];
    std::uint8_t* at = data + header.at;
    const std::span<const std::uint8_t> covered{at, layers_.l4 - header.at};
    switch (header.kind) {
      case Kind::kIpv4:
      case Kind::kIpv6:
        FinishIp(at, header.kind == Kind::kIpv4, size - header.at, next);
        break;
      case Kind::kGre:
        if (!sums(header)) break;
        Put16(at + kGreCheckAt, 0);
        PutChecksum(at + kGreCheckAt, FinishSum(SumBytes(covered, inside)));
        break;
      case Kind::kUdp: {
        Put16(at + 4, size - header.at);
        if (!sums(header)) break;
        Put16(at + kUdpCheckAt, 0);
        Layers outside;
        outside.l3 = layers_.outer[i - 1].at;
        outside.ipv4 = layers_.outer[i - 1].kind == Kind::kIpv4;
        outside.protocol = kProtoUdp;
        const Sum pseudo = FoldSum(outside.PseudoSum(data, size - header.at));
        const std::uint16_t checksum = FinishSum(SumBytes(covered, inside + pseudo));
        PutChecksum(at + kUdpCheckAt, checksum != 0 ? checksum : 0xffff);
      }
    }
  }
}

// Whether a header of a tunnel has a checksum over what it carries.
bool Segmenter::sums(const OuterHeader& header) const {
  const std::uint8_t* at = packet_->data + header.at;
  if (header.kind == Kind::kUdp) return Get16(at + kUdpCheckAt) != 0;
  return header.kind == Kind::kGre && (at[0] & 0x80) != 0;
}

// `bytes`, from the header on, is what the segment has. Identifications are consecutive, as if the
// sender had sent the segments one by one.
void Segmenter::FinishIp(std::uint8_t* ip, bool ipv4, std::uint32_t bytes,
                         std::uint32_t next) const {
  if (!ipv4) {
    Put16(ip + 4, bytes - static_cast<std::uint32_t>(sizeof(Ipv6Header)));
    return;
  }
  Put16(ip + 2, bytes);
  Put16(ip + 4, (Get16(ip + 4) + (next - payload_) / segment_size_) & 0xffff);
  Put16(ip + 10, 0);
  PutChecksum(ip + 10, Checksum({ip, (ip[0] & 0x0fu) * 4}));
}

void Segmenter::FinishLayer4(std::uint8_t* data, std::uint32_t next, std::uint32_t length) const {
  std::uint8_t* l4 = data + layers_.l4;
  const std::uint32_t l4_length = payload_ - layers_.l4 + length;
  const bool first = next == payload_;
  const bool last = next + length == end_;
  const Sum sum = PartialSum(l4_length);
  if (layers_.protocol == kProtoTcp) {
    Put32(l4 + 4, Get32(l4 + 4) + (next - payload_));
    if (!last) l4[13] &= static_cast<std::uint8_t>(~(kFin | kPsh));
    if (!first) l4[13] &= static_cast<std::uint8_t>(~kCwr);  // Said once.
    Put16(l4 + kTcpCheckAt, 0);
    PutChecksum(l4 + kTcpCheckAt, FinishSum(SumBytes({l4, l4_length}, sum)));
  } else {
    Put16(l4 + 4, l4_length);
    Put16(l4 + kUdpCheckAt, 0);
    const std::uint16_t checksum = FinishSum(SumBytes({l4, l4_length}, sum));
    PutChecksum(l4 + kUdpCheckAt, checksum != 0 ? checksum : 0xffff);
  }
}

// The pseudo-header's sum as the sender left it, with the segment's length in place of the whole's.
Sum Segmenter::PartialSum(std::uint32_t l4_length) const {
  const bool tcp = layers_.protocol == kProtoTcp;
  std::uint16_t sum = 0;
  std::memcpy(&sum, packet_->data + layers_.l4 + (tcp ? kTcpCheckAt : kUdpCheckAt), 2);
  std::uint8_t lengths[8];
  Put32(lengths, ~(end_ - layers_.l4));
  Put32(lengths + 4, l4_length);
  return SumBytes(lengths, sum);
}

}  // namespace pollux
