#include "packet/offload.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

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

// Where the layers of a TCP or UDP packet are. The rest behind `end` is padding.
struct Layers {
  std::uint32_t l3 = 0;
  std::uint32_t l4 = 0;
  std::uint32_t payload = 0;
  std::uint32_t end = 0;
  bool ipv4 = false;
  bool tcp = false;
  bool routed = false;  // The checksum is about a last destination that a routing header has.

  std::uint32_t check_at() const { return l4 + (tcp ? kTcpCheckAt : kUdpCheckAt); }
};

bool FindIpv4(const std::uint8_t* data, std::uint32_t size, Layers& layers,
              std::uint8_t& protocol) {
  if (size - layers.l3 < 20) return false;
  const std::uint8_t* ip = data + layers.l3;
  const std::uint32_t header = (ip[0] & 0xfu) * 4;
  const std::uint32_t total = Get16(ip + 2);
  if (ip[0] >> 4 != 4 || header < 20 || total < header || total > size - layers.l3) return false;
  if ((Get16(ip + 6) & 0x3fff) != 0) return false;  // A fragment.
  layers.l4 = layers.l3 + header;
  layers.end = layers.l3 + total;
  protocol = ip[9];
  return true;
}

// Hop-by-hop, routing and destination options are repeated in each segment. A fragment or what is
// authenticated cannot be cut.
bool FindIpv6(const std::uint8_t* data, std::uint32_t size, Layers& layers,
              std::uint8_t& protocol) {
  if (size - layers.l3 < 40) return false;
  const std::uint8_t* ip = data + layers.l3;
  const std::uint32_t total = Get16(ip + 4);
  if (ip[0] >> 4 != 6 || total > size - layers.l3 - 40) return false;
  layers.l4 = layers.l3 + 40;
  layers.end = layers.l4 + total;
  protocol = ip[6];
  while (protocol == 0 || protocol == 43 || protocol == 60) {
    if (protocol == 43) layers.routed = true;
    if (layers.end - layers.l4 < 8) return false;
    const std::uint32_t length = (data[layers.l4 + 1] + 1u) * 8;
    if (layers.end - layers.l4 < length) return false;
    protocol = data[layers.l4];
    layers.l4 += length;
  }
  return true;
}

std::optional<Layers> FindLayers(std::span<const std::uint8_t> frame) {
  const std::uint8_t* data = frame.data();
  if (frame.size() < kMinFrame || frame.size() > kMaxFrame) return {};
  const auto size = static_cast<std::uint32_t>(frame.size());
  Layers layers;
  layers.l3 = kMinFrame;
  for (std::uint32_t tags = 0; IsTag(Get16(data + layers.l3 - 2)); ++tags) {
    if (tags == kMaxTags || layers.l3 + 4 > size) return {};
    layers.l3 += 4;
  }
  const std::uint32_t ethertype = Get16(data + layers.l3 - 2);
  layers.ipv4 = ethertype == 0x0800;
  std::uint8_t protocol = 0;
  if (layers.ipv4) {
    if (!FindIpv4(data, size, layers, protocol)) return {};
  } else if (ethertype != 0x86dd || !FindIpv6(data, size, layers, protocol)) {
    return {};
  }
  layers.tcp = protocol == kTcp;
  if (!layers.tcp && protocol != kUdp) return {};
  const std::uint32_t room = layers.end - layers.l4;
  if (room < (layers.tcp ? 20 : 8)) return {};
  const std::uint32_t header = layers.tcp ? (data[layers.l4 + 12] >> 4) * 4u : 8;
  if (header < (layers.tcp ? 20 : 8) || header > room) return {};
  layers.payload = layers.l4 + header;
  return layers;
}

// The sum of the pseudo-header, as a sender leaves it to a card.
void WritePartialChecksum(std::uint8_t* data, const Layers& layers) {
  const std::uint8_t* ip = data + layers.l3;
  const std::uint8_t protocol = layers.tcp ? kTcp : kUdp;
  const std::uint32_t length = layers.end - layers.l4;
  const Sum sum =
      layers.ipv4 ? PseudoSum4(std::span<const std::uint8_t, 4>(ip + 12, 4),
                               std::span<const std::uint8_t, 4>(ip + 16, 4), protocol, length)
                  : PseudoSum6(std::span<const std::uint8_t, 16>(ip + 8, 16),
                               std::span<const std::uint8_t, 16>(ip + 24, 16), protocol, length);
  PutChecksum(data + layers.check_at(), FoldSum(sum));
}

// The kind of segmentation that the header asks for; 0: none that could be done.
Offloads GsoOf(const OffloadHeader& header, const Layers& layers) {
  const std::uint8_t type = header.gso_type & static_cast<std::uint8_t>(~OffloadHeader::kGsoEcn);
  const Offloads ecn = type == header.gso_type ? Offloads{0} : kOffloadEcn;
  if (type == OffloadHeader::kGsoTcp4 && layers.tcp && layers.ipv4) return kOffloadTcp4 | ecn;
  if (type == OffloadHeader::kGsoTcp6 && layers.tcp && !layers.ipv4) return kOffloadTcp6 | ecn;
  return type == OffloadHeader::kGsoUdp && !layers.tcp ? kOffloadUdp : Offloads{0};
}

// A checksum that starts elsewhere means that the peer sees other headers than we do (a tunnel, or
// a lie).
bool ChecksumFits(const OffloadHeader& header, const Layers& layers) {
  return header.csum_start == layers.l4 &&
         std::uint32_t{header.csum_start} + header.csum_offset == layers.check_at();
}

void NoteChecksum(Packet& packet, const Layers& layers) {
  packet.offloads = layers.tcp ? kOffloadTcpChecksum : kOffloadUdpChecksum;
  packet.csum_start = static_cast<std::uint16_t>(layers.l4);
}

bool AcceptGso(Packet& packet, const OffloadHeader& header) {
  const std::optional<Layers> layers = FindLayers(packet.bytes());
  if (!layers.has_value() || layers->payload == layers->end || header.gso_size == 0) return false;
  const Offloads gso = GsoOf(header, *layers);
  if (gso == 0) return false;
  if (header.needs_checksum()) {
    if (!ChecksumFits(header, *layers)) return false;
  } else {
    // Complete, as some cards leave it: it will not be once the frame is cut. Where only the
    // sender's own sum knows the last destination, nothing can be done.
    if (layers->routed) return false;
    WritePartialChecksum(packet.data, *layers);
  }
  const std::uint32_t payload = layers->end - layers->payload;
  if ((payload - 1) / header.gso_size >= kMaxSegments) return false;
  packet.size = layers->end;
  NoteChecksum(packet, *layers);
  if (payload <= header.gso_size) return true;  // Small enough as it is.
  packet.offloads |= gso;
  packet.gso_size = header.gso_size;
  return true;
}

// Of a GSO frame: all that is repeated in each segment.
std::uint32_t HeadersOf(const Packet& packet) {
  const std::uint32_t l4 = packet.csum_start;
  if ((packet.offloads & kOffloadUdp) != 0) return l4 + 8;
  return l4 + (packet.data[l4 + 12] >> 4) * 4u;
}

}  // namespace

bool AcceptOffloads(Packet& packet, const OffloadHeader& header) {
  if (header.needs_segmentation()) return AcceptGso(packet, header);
  if (!header.needs_checksum()) return true;
  const std::optional<Layers> layers = FindLayers(packet.bytes());
  if (!layers.has_value() || !ChecksumFits(header, *layers))
    return FinishChecksum(packet.bytes(), header.csum_start, header.csum_offset);
  NoteChecksum(packet, *layers);
  return true;
}

OffloadHeader OffloadsOf(const Packet& packet) {
  OffloadHeader header;
  if ((packet.offloads & kOffloadChecksum) == 0) return header;
  const bool tcp = (packet.offloads & kOffloadTcpChecksum) != 0;
  header.flags = OffloadHeader::kNeedsChecksum;
  header.csum_start = packet.csum_start;
  header.csum_offset = tcp ? kTcpCheckAt : kUdpCheckAt;
  if (!packet.is_gso()) return header;
  header.gso_type = (packet.offloads & kOffloadTcp4) != 0   ? OffloadHeader::kGsoTcp4
                    : (packet.offloads & kOffloadTcp6) != 0 ? OffloadHeader::kGsoTcp6
                                                            : OffloadHeader::kGsoUdp;
  if ((packet.offloads & kOffloadEcn) != 0) header.gso_type |= OffloadHeader::kGsoEcn;
  header.hdr_len = static_cast<std::uint16_t>(HeadersOf(packet));
  header.gso_size = packet.gso_size;
  return header;
}

void FinishChecksum(Packet& packet) {
  if ((packet.offloads & kOffloadChecksum) == 0) return;
  POLLUX_DCHECK(!packet.is_gso());
  const bool tcp = (packet.offloads & kOffloadTcpChecksum) != 0;
  packet.offloads = 0;
  FinishChecksum(packet.bytes(), packet.csum_start, tcp ? kTcpCheckAt : kUdpCheckAt);
}

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

WireSize OnWire(const Packet& packet) {
  if (!packet.is_gso()) return {1, packet.size, packet.size, packet.size};
  const std::uint32_t headers = HeadersOf(packet);
  const std::uint32_t payload = packet.size - headers;
  const std::uint32_t segments = (payload + packet.gso_size - 1) / packet.gso_size;
  return {segments, std::uint64_t{segments} * headers + payload, headers + packet.gso_size,
          headers + payload - (segments - 1) * packet.gso_size};
}

bool Segmenter::Start(PacketPtr& packet) {
  Stop();
  if (!packet->is_gso()) return false;
  // Actions keep the frame's shape. We look all the same.
  const std::optional<Layers> layers = FindLayers(packet->bytes());
  if (!layers.has_value() || layers->l4 != packet->csum_start) return false;
  packet_ = std::move(packet);
  l3_ = layers->l3;
  l4_ = layers->l4;
  payload_ = layers->payload;
  next_ = layers->payload;
  end_ = layers->end;
  segment_size_ = packet_->gso_size;
  ipv4_ = layers->ipv4;
  tcp_ = layers->tcp;
  return true;
}

PacketPtr Segmenter::Next(PacketPool& pool) {
  const std::uint32_t length = std::min(segment_size_, end_ - next_);
  PacketPtr packet = pool.Allocate(payload_ + length);
  if (packet == nullptr) return nullptr;
  PacketPool::CopyMetadata(*packet_, *packet);
  packet->l3_offset = packet_->l3_offset;
  packet->l4_offset = packet_->l4_offset;
  const bool first = next_ == payload_;
  const bool last = next_ + length == end_;
  const std::uint32_t l4_length = payload_ - l4_ + length;
  std::uint8_t* data = packet->data;
  std::memcpy(data, packet_->data, payload_);
  std::memcpy(data + payload_, packet_->data + next_, length);

  std::uint8_t* ip = data + l3_;
  std::uint8_t* l4 = data + l4_;
  if (ipv4_) {
    Put16(ip + 2, payload_ - l3_ + length);
    // Consecutive identifications, as if the sender had sent the segments one by one.
    Put16(ip + 4, (Get16(ip + 4) + (next_ - payload_) / segment_size_) & 0xffff);
    Put16(ip + 10, 0);
    PutChecksum(ip + 10, Checksum({ip, l4_ - l3_}));
  } else {
    Put16(ip + 4, payload_ - l3_ - 40 + length);
  }

  const Sum sum = PartialSum(l4_length);
  if (tcp_) {
    Put32(l4 + 4, Get32(l4 + 4) + (next_ - payload_));
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
  next_ += length;
  return packet;
}

// The pseudo-header's sum as the sender left it, with the segment's length in place of the whole's.
Sum Segmenter::PartialSum(std::uint32_t l4_length) const {
  const std::uint32_t check_at = l4_ + (tcp_ ? kTcpCheckAt : kUdpCheckAt);
  std::uint16_t sum = 0;
  std::memcpy(&sum, packet_->data + check_at, 2);
  std::uint8_t lengths[8];
  Put32(lengths, ~(end_ - l4_));
  Put32(lengths + 4, l4_length);
  return SumBytes(lengths, sum);
}

}  // namespace pollux
