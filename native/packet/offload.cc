#include "packet/offload.h"

#include <algorithm>
#include <cstring>

#include "packet/checksum.h"

namespace pollux {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint32_t kMaxTags = 4;
constexpr std::uint32_t kUdpCheckAt = 6;
constexpr std::uint32_t kTcpCheckAt = 16;
constexpr std::uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

std::uint32_t Get16(const std::uint8_t* at) {
  return static_cast<std::uint32_t>(at[0] << 8 | at[1]);
}
std::uint32_t Get32(const std::uint8_t* at) { return Get16(at) << 16 | Get16(at + 2); }
void Put16(std::uint8_t* at, std::uint32_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
void Put32(std::uint8_t* at, std::uint32_t value) {
  Put16(at, value >> 16);
  Put16(at + 2, value & 0xffff);
}
// A checksum is already as it lies in the packet.
void PutChecksum(std::uint8_t* at, std::uint16_t checksum) { std::memcpy(at, &checksum, 2); }

bool IsTag(std::uint32_t type) { return type == 0x8100 || type == 0x88a8 || type == 0x9100; }

}  // namespace

bool FinishChecksum(std::span<std::uint8_t> frame, std::uint32_t csum_start,
                    std::uint32_t csum_offset) {
  const std::uint64_t field = std::uint64_t{csum_start} + csum_offset;
  if (csum_start < kMinFrame || field + 2 > frame.size()) return false;
  std::uint16_t checksum = Checksum(frame.subspan(csum_start));
  // In UDP, 0 says that there is no checksum. UDP's is the only checksum at this offset.
  if (checksum == 0 && csum_offset == kUdpCheckAt) checksum = 0xffff;
  PutChecksum(frame.data() + field, checksum);
  return true;
}

bool Segmenter::Start(std::span<const std::uint8_t> frame, const OffloadHeader& header) {
  Stop();
  const std::uint8_t type = header.gso_type & static_cast<std::uint8_t>(~OffloadHeader::kGsoEcn);
  const bool tcp = type == OffloadHeader::kGsoTcp4 || type == OffloadHeader::kGsoTcp6;
  if ((!tcp && type != OffloadHeader::kGsoUdp) || header.gso_size == 0) return false;
  const std::uint8_t protocol = tcp ? kTcp : kUdp;
  const std::uint8_t* data = frame.data();
  if (frame.size() > UINT32_MAX) return false;
  std::uint32_t size = static_cast<std::uint32_t>(frame.size());

  // Layer 2.
  if (size < kMinFrame) return false;
  std::uint32_t l3 = kMinFrame;
  for (std::uint32_t tags = 0; IsTag(Get16(data + l3 - 2)); ++tags) {
    if (tags == kMaxTags || l3 + 4 > size) return false;
    l3 += 4;
  }
  const std::uint32_t ethertype = Get16(data + l3 - 2);
  const bool ipv4 = ethertype == 0x0800;
  if (!ipv4 && ethertype != 0x86dd) return false;
  if (tcp && ipv4 != (type == OffloadHeader::kGsoTcp4)) return false;

  // Layer 3. Where its length field says less than the frame has, the rest is padding, which IP
  // would cut off too.
  std::uint32_t l4 = 0;
  bool partial = false;
  if (ipv4) {
    if (size - l3 < 20) return false;
    const std::uint8_t* ip = data + l3;
    const std::uint32_t ihl = (ip[0] & 0xfu) * 4;
    const std::uint32_t total = Get16(ip + 2);
    if (ip[0] >> 4 != 4 || ihl < 20 || size - l3 < ihl || ip[9] != protocol) return false;
    if ((Get16(ip + 6) & 0x3fff) != 0) return false;  // A fragment.
    if (total != 0) {                                 // 0: too long for the field.
      if (total < ihl || total > size - l3) return false;
      size = l3 + total;
    }
    l4 = l3 + ihl;
  } else {
    if (size - l3 < 40) return false;
    const std::uint8_t* ip = data + l3;
    const std::uint32_t total = Get16(ip + 4);
    if (ip[0] >> 4 != 6) return false;
    if (total != 0) {
      if (total > size - l3 - 40) return false;
      size = l3 + 40 + total;
    }
    std::uint8_t next = ip[6];
    l4 = l3 + 40;
    while (next != protocol) {
      // Hop-by-hop, routing and destination options are repeated in each segment. A fragment or
      // what is authenticated cannot be cut.
      if (next != 0 && next != 43 && next != 60) return false;
      // With a routing header the last destination counts in the checksum: only the sender's own
      // sum knows it.
      if (next == 43) partial = true;
      if (size - l4 < 8) return false;
      const std::uint32_t length = (data[l4 + 1] + 1u) * 8;
      if (size - l4 < length) return false;
      next = data[l4];
      l4 += length;
    }
  }

  // Layer 4.
  std::uint32_t payload = 0;
  if (tcp) {
    if (size - l4 < 20) return false;
    const std::uint32_t header_size = (data[l4 + 12] >> 4) * 4u;
    if (header_size < 20 || size - l4 < header_size) return false;
    payload = l4 + header_size;
  } else {
    if (size - l4 < 8) return false;
    payload = l4 + 8;
  }
  // A checksum that starts elsewhere means that the peer sees other headers than we do (a tunnel,
  // or a lie).
  if (header.needs_checksum() &&
      (header.csum_start != l4 || header.csum_offset != (tcp ? kTcpCheckAt : kUdpCheckAt))) {
    return false;
  }
  if (payload == size || (partial && !header.needs_checksum())) return false;
  if (payload - l3 + std::min<std::uint32_t>(header.gso_size, size - payload) > UINT16_MAX ||
      payload + std::min<std::uint32_t>(header.gso_size, size - payload) > kMaxFrame) {
    return false;
  }

  frame_ = frame;
  l3_ = l3;
  l4_ = l4;
  payload_ = payload;
  next_ = payload;
  end_ = size;
  segment_size_ = header.gso_size;
  ipv4_ = ipv4;
  partial_ = partial;
  tcp_ = tcp;
  // IPv4 allows UDP without a checksum, and a sender that wants none leaves 0.
  udp_checksum_ = header.needs_checksum() || !ipv4 || Get16(data + l4 + kUdpCheckAt) != 0;
  return true;
}

PacketPtr Segmenter::Next(PacketPool& pool) {
  const std::uint32_t length = std::min(segment_size_, end_ - next_);
  PacketPtr packet = pool.Allocate(payload_ + length);
  if (packet == nullptr) return nullptr;
  const bool first = next_ == payload_;
  const bool last = next_ + length == end_;
  const std::uint32_t l4_length = payload_ - l4_ + length;
  std::uint8_t* data = packet->data;
  std::memcpy(data, frame_.data(), payload_);
  std::memcpy(data + payload_, frame_.data() + next_, length);

  std::uint8_t* ip = data + l3_;
  std::uint8_t* l4 = data + l4_;
  Sum sum = 0;
  const std::uint8_t protocol = tcp_ ? kTcp : kUdp;
  if (ipv4_) {
    Put16(ip + 2, payload_ - l3_ + length);
    // Consecutive identifications, as if the sender had sent the segments one by one.
    Put16(ip + 4, (Get16(ip + 4) + (next_ - payload_) / segment_size_) & 0xffff);
    Put16(ip + 10, 0);
    PutChecksum(ip + 10, Checksum({ip, l4_ - l3_}));
    sum = PseudoSum4(std::span<const std::uint8_t, 4>(ip + 12, 4),
                     std::span<const std::uint8_t, 4>(ip + 16, 4), protocol, l4_length);
  } else {
    Put16(ip + 4, payload_ - l3_ - 40 + length);
    sum = partial_
              ? PartialSum(l4_length)
              : PseudoSum6(std::span<const std::uint8_t, 16>(ip + 8, 16),
                           std::span<const std::uint8_t, 16>(ip + 24, 16), protocol, l4_length);
  }

  if (tcp_) {
    Put32(l4 + 4, Get32(l4 + 4) + (next_ - payload_));
    if (!last) l4[13] &= static_cast<std::uint8_t>(~(kFin | kPsh));
    if (!first) l4[13] &= static_cast<std::uint8_t>(~kCwr);  // Said once.
    Put16(l4 + kTcpCheckAt, 0);
    PutChecksum(l4 + kTcpCheckAt, FinishSum(SumBytes({l4, l4_length}, sum)));
  } else {
    Put16(l4 + 4, l4_length);
    Put16(l4 + kUdpCheckAt, 0);
    if (udp_checksum_) {
      const std::uint16_t checksum = FinishSum(SumBytes({l4, l4_length}, sum));
      PutChecksum(l4 + kUdpCheckAt, checksum != 0 ? checksum : 0xffff);
    }
  }
  next_ += length;
  return packet;
}

// The pseudo-header's sum as the sender left it, with the segment's length in place of the whole's.
Sum Segmenter::PartialSum(std::uint32_t l4_length) const {
  const std::uint32_t check_at = l4_ + (tcp_ ? kTcpCheckAt : kUdpCheckAt);
  std::uint16_t sum = 0;
  std::memcpy(&sum, frame_.data() + check_at, 2);
  std::uint8_t lengths[8];
  Put32(lengths, ~(end_ - l4_));
  Put32(lengths + 4, l4_length);
  return SumBytes(lengths, sum);
}

bool Segment(PacketPool& pool, std::span<const std::uint8_t> frame, const OffloadHeader& header,
             std::vector<PacketPtr>& out) {
  Segmenter segmenter;
  if (!segmenter.Start(frame, header)) return false;
  const std::size_t before = out.size();
  while (!segmenter.done()) {
    PacketPtr packet = segmenter.Next(pool);
    if (packet == nullptr) {
      out.resize(before);
      return false;
    }
    out.push_back(std::move(packet));
  }
  return true;
}

}  // namespace pollux
