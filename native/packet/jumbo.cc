#include "packet/jumbo.h"

#include <algorithm>
#include <cstring>

#include "packet/checksum.h"
#include "packet/header_bytes.h"
#include "packet/layers.h"

namespace pollux {
namespace {

constexpr std::size_t kOption = 8;  // A hop-by-hop header with nothing but the jumbo payload.
constexpr std::uint8_t kJumbo = 0xc2;
constexpr std::uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

}  // namespace

bool JumboCutter::Start(std::span<const std::uint8_t> frame, const OffloadHeader& header) {
  frame_ = frame;
  header_ = header;
  Stop();
  const std::uint8_t* data = frame.data();
  if (frame.size() < 128 || frame.size() > kMaxJumbo || header.gso_size == 0 ||
      !header.needs_checksum())
    return false;
  std::size_t type_at = 12;
  for (int tags = 0; tags < 2 && IsVlanTpid(LoadAs<std::uint16_t>(data + type_at)); ++tags)
    type_at += sizeof(VlanHeader);
  l3_ = type_at + 2;
  const std::uint8_t* ip = data + l3_;
  ipv4_ = Get16(data + type_at) == kEthTypeIpv4;
  option_ = 0;
  std::uint8_t protocol = 0;
  if (ipv4_) {
    const std::size_t length = Get16(ip + 2);
    if (ip[0] != 0x45 || (length != 0 && length != frame.size() - l3_)) return false;
    protocol = ip[9];
    l4_ = l3_ + sizeof(Ipv4Header);
  } else {
    if (Get16(data + type_at) != kEthTypeIpv6) return false;
    const std::size_t length = Get16(ip + 4);
    protocol = ip[6];
    l4_ = l3_ + sizeof(Ipv6Header);
    if (length == 0) {
      if (protocol != kProtoHopByHop || ip[41] != 0 || ip[42] != kJumbo || ip[43] != 4)
        return false;
      option_ = kOption;
      protocol = ip[40];
      l4_ += kOption;
    } else if (length != frame.size() - l4_) {
      return false;
    }
  }
  tcp_ = protocol == kProtoTcp;
  if (!tcp_ && protocol != kProtoUdp) return false;
  const std::size_t least = tcp_ ? sizeof(TcpHeader) : sizeof(UdpHeader);
  payload_ = l4_ + (tcp_ ? (data[l4_ + 12] >> 4) * 4u : least);
  if (header.csum_start != l4_ || payload_ < l4_ + least || payload_ >= frame.size()) return false;
  next_ = payload_;
  return true;
}

PacketPtr JumboCutter::Next(PacketPool& pool, bool& refused) {
  refused = false;
  const std::size_t headers = payload_ - option_;
  const std::size_t most = (kMaxFrame - headers) / header_.gso_size * header_.gso_size;
  const std::size_t length = std::min(most, frame_.size() - next_);
  if (most == 0) {
    refused = true;
    return nullptr;
  }
  PacketPtr packet = pool.Allocate(static_cast<std::uint32_t>(headers + length));
  if (packet == nullptr) return nullptr;
  std::uint8_t* data = packet->data;
  const std::size_t front = l4_ - option_;
  std::memcpy(data, frame_.data(), front);
  std::memcpy(data + front, frame_.data() + l4_, payload_ - l4_);
  std::memcpy(data + headers, frame_.data() + next_, length);

  std::uint8_t* ip = data + l3_;
  std::uint8_t* l4 = data + front;
  const auto l4_length = static_cast<std::uint32_t>(packet->size - front);
  const auto done = static_cast<std::uint32_t>(next_ - payload_);
  const std::uint8_t protocol = tcp_ ? kProtoTcp : kProtoUdp;
  if (ipv4_) {
    Put16(ip + 2, static_cast<std::uint32_t>(packet->size - l3_));
    Put16(ip + 4, (Get16(ip + 4) + done / header_.gso_size) & 0xffff);
    Put16(ip + 10, 0);
    PutChecksum(ip + 10, Checksum({ip, sizeof(Ipv4Header)}));
  } else {
    ip[6] = protocol;
    Put16(ip + 4, l4_length);
  }
  if (tcp_) {
    Put32(l4 + 4, Get32(l4 + 4) + done);
    if (next_ + length < frame_.size()) l4[13] &= static_cast<std::uint8_t>(~(kFin | kPsh));
    if (done > 0) l4[13] &= static_cast<std::uint8_t>(~kCwr);
  } else {
    Put16(l4 + 4, l4_length);
  }
  Layers layers;
  layers.l3 = static_cast<std::uint32_t>(l3_);
  layers.ipv4 = ipv4_;
  layers.protocol = protocol;
  PutChecksum(l4 + (tcp_ ? kTcpCheckAt : kUdpCheckAt), FoldSum(layers.PseudoSum(data, l4_length)));

  OffloadHeader header = header_;
  header.csum_start = static_cast<std::uint16_t>(front);
  next_ += length;
  refused = !AcceptOffloads(*packet, header);
  return refused ? nullptr : std::move(packet);
}

}  // namespace pollux
