// HeaderKey: the front of a packet as the key of a cache, without parsing it.
//
// Most packets have one shape: Ethernet without a tag, IPv4 without options and not a fragment, TCP
// or UDP, nothing known of them but their bytes. Every field of such a packet has a fixed place in
// its first 48 bytes. So these bytes, under a mask that has a flow mask's bits at the places of the
// fields, say as much as the flow key under the flow mask: two packets of the shape have equal
// HeaderKeys if and only if their keys are equal under the flow mask. A cache can be asked with
// them, and only a miss needs the parser.
//
// ShapeOf() accepts a packet only if the parser (extract.h) would find exactly this shape.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "flow/flow.h"
#include "packet/headers.h"
#include "packet/packet.h"

namespace pollux {

inline constexpr std::size_t kHeaderKeyWords = 6;
inline constexpr std::uint32_t kHeaderKeyBytes = kHeaderKeyWords * sizeof(std::uint64_t);
using HeaderKey = std::array<std::uint64_t, kHeaderKeyWords>;

enum class HeaderShape : std::uint8_t { kUdp, kTcp, kOther };

// Where things are in a packet of the shape.
inline constexpr std::uint16_t kShapeL3Offset = 14;
inline constexpr std::uint16_t kShapeL4Offset = 34;

// Shorter frames than a HeaderKey are never of the shape: its bytes can always be read.
inline HeaderShape ShapeOf(const Packet& packet) {
  const std::uint8_t* at = packet.data;
  if (packet.size < kHeaderKeyBytes || packet.has_metadata()) return HeaderShape::kOther;
  // EtherType 0x0800; version 4, five words of header; neither "more fragments" nor an offset.
  const std::uint32_t type_version = LoadAs<std::uint32_t>(at + 12) & ToBe32(0xffffff00);
  const std::uint16_t fragment = LoadAs<std::uint16_t>(at + 20) & ToBe16(0x3fff);
  if (((type_version ^ ToBe32(0x08004500)) | fragment) != 0) return HeaderShape::kOther;
  const std::uint32_t length = FromBe16(LoadAs<std::uint16_t>(at + 16));
  if (length > packet.size - kShapeL3Offset) return HeaderShape::kOther;
  if (at[23] == kProtoUdp) {
    return length >= 20 + sizeof(UdpHeader) ? HeaderShape::kUdp : HeaderShape::kOther;
  }
  if (at[23] != kProtoTcp) return HeaderShape::kOther;
  const std::uint32_t tcp_length = (at[46] >> 4) * 4u;
  return tcp_length >= sizeof(TcpHeader) && 20 + tcp_length <= length ? HeaderShape::kTcp
                                                                      : HeaderShape::kOther;
}

// The TCP flags of a packet of shape kTcp.
inline std::uint16_t ShapeTcpFlags(const Packet& packet) {
  return FromBe16(LoadAs<Be16>(packet.data + 46)) & TcpHeader::kFlagsMask;
}

// Whether a packet plainly has no TCP header, for whom nothing else matters.
inline bool PlainlyNotTcp(const Packet& packet) {
  return packet.size >= 24 && packet.l3_type == 0 &&
         LoadAs<Be16>(packet.data + 12) == ToBe16(kEthTypeIpv4) && packet.data[23] != kProtoTcp;
}

// Calls `each(i)` for the first word i of each of `pairs` pairs of words, at least one. Keys have
// one, two or three, so this is straight code.
template <typename Each>
inline void ForPairs(std::size_t pairs, Each each) {
  each(std::size_t{0});
  if (pairs == 1) return;
  each(std::size_t{2});
  if (pairs == 2) return;
  for (std::size_t i = 4; i < 2 * pairs; i += 2) each(i);
}

// Which of the first bytes a mask looks at, in pairs of words: each word is eight bytes from
// somewhere in them, so that the five-tuple, say, is one pair.
class HeaderMask {
 public:
  explicit HeaderMask(const FlowMask& mask);

  // 1 to 3. Of a key, so many pairs of words mean something.
  std::size_t pairs() const { return pairs_; }

  // Word i of a key of the shape is the word at place(i) of the packet, under mask(shape)[i].
  std::uint32_t place(std::size_t i) const { return places_[i]; }
  const HeaderKey& mask(HeaderShape shape) const { return masks_[static_cast<std::size_t>(shape)]; }

  // The key of a packet of the shape.
  void MakeKey(const Packet& packet, HeaderShape shape, HeaderKey& key) const {
    MakeKey(packet, shape, key, pairs_);
  }
  // Whether that key is `key`.
  bool Matches(const Packet& packet, HeaderShape shape, const HeaderKey& key) const {
    return Matches(packet, shape, key, pairs_);
  }

  // The same for those who know the number of pairs beforehand.
  void MakeKey(const Packet& packet, HeaderShape shape, HeaderKey& key, std::size_t pairs) const {
    const HeaderKey& mask = masks_[static_cast<std::size_t>(shape)];
    ForPairs(pairs, [&](std::size_t i) {
      key[i] = LoadAs<std::uint64_t>(packet.data + places_[i]) & mask[i];
      key[i + 1] = LoadAs<std::uint64_t>(packet.data + places_[i + 1]) & mask[i + 1];
    });
  }
  bool Matches(const Packet& packet, HeaderShape shape, const HeaderKey& key,
               std::size_t pairs) const {
    const HeaderKey& mask = masks_[static_cast<std::size_t>(shape)];
    std::uint64_t different = 0;
    ForPairs(pairs, [&](std::size_t i) {
      different |= (LoadAs<std::uint64_t>(packet.data + places_[i]) & mask[i]) ^ key[i];
      different |= (LoadAs<std::uint64_t>(packet.data + places_[i + 1]) & mask[i + 1]) ^ key[i + 1];
    });
    return different == 0;
  }

 private:
  std::size_t pairs_ = 0;
  std::array<std::uint32_t, kHeaderKeyWords> places_{};  // Where in the packet each word is.
  std::array<HeaderKey, 2> masks_{};                     // By shape: only TCP has flags.
};

}  // namespace pollux
