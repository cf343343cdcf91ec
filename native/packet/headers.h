// Protocol headers, as they lie in a frame.
//
// Every header here is made of bytes alone: it has alignment 1, so that it may stand at any
// address. The sizes are asserted where the headers are declared. A pointer to a header is only
// ever obtained from a Reader (packet/reader.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "packet/net.h"

namespace pollux {

// EtherTypes, in host order.
inline constexpr std::uint16_t kEthTypeMin = 0x0600;  // What is smaller is a length: 802.2.
inline constexpr std::uint16_t kEthTypeNone =
    0x05ff;  // Our eth_type of an 802.2 frame without a SNAP EtherType.
inline constexpr std::uint16_t kEthTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEthTypeArp = 0x0806;
inline constexpr std::uint16_t kEthTypeRarp = 0x8035;
inline constexpr std::uint16_t kEthTypeBridged = 0x6558;  // An Ethernet header follows.
inline constexpr std::uint16_t kEthTypeVlan = 0x8100;
inline constexpr std::uint16_t kEthTypeIpv6 = 0x86dd;
inline constexpr std::uint16_t kEthTypeMpls = 0x8847;
inline constexpr std::uint16_t kEthTypeMplsMulticast = 0x8848;
inline constexpr std::uint16_t kEthTypeServiceVlan = 0x88a8;
inline constexpr std::uint16_t kEthTypeNsh = 0x894f;
inline constexpr std::uint16_t kEthTypeOldQinq = 0x9100;

constexpr bool IsVlanTpid(std::uint16_t be) {
  return be == ToBe16(kEthTypeVlan) || be == ToBe16(kEthTypeServiceVlan) ||
         be == ToBe16(kEthTypeOldQinq);
}

constexpr bool IsMplsType(std::uint16_t be) {
  return be == ToBe16(kEthTypeMpls) || be == ToBe16(kEthTypeMplsMulticast);
}

// IP protocols and IPv6 next headers.
inline constexpr std::uint8_t kProtoHopByHop = 0;
inline constexpr std::uint8_t kProtoIcmp = 1;
inline constexpr std::uint8_t kProtoTcp = 6;
inline constexpr std::uint8_t kProtoUdp = 17;
inline constexpr std::uint8_t kProtoRouting = 43;
inline constexpr std::uint8_t kProtoFragment = 44;
inline constexpr std::uint8_t kProtoAuthentication = 51;
inline constexpr std::uint8_t kProtoIcmpv6 = 58;
inline constexpr std::uint8_t kProtoDestination = 60;
inline constexpr std::uint8_t kProtoSctp = 132;

inline constexpr std::uint8_t kNdSolicitation = 135;
inline constexpr std::uint8_t kNdAdvertisement = 136;

struct EthernetHeader {
  std::uint8_t dst[6];
  std::uint8_t src[6];
  Net16 type;
};
static_assert(sizeof(EthernetHeader) == 14 && alignof(EthernetHeader) == 1);

struct VlanHeader {  // What follows the TPID.
  Net16 tci;
  Net16 type;
};
static_assert(sizeof(VlanHeader) == 4 && alignof(VlanHeader) == 1);

struct SnapHeader {  // 802.2 LLC and SNAP; follows the length.
  std::uint8_t dsap;
  std::uint8_t ssap;
  std::uint8_t control;
  std::uint8_t oui[3];
  Net16 type;
};
static_assert(sizeof(SnapHeader) == 8 && alignof(SnapHeader) == 1);

struct MplsHeader {
  static constexpr std::uint32_t kBottomOfStack = 0x100;

  Net32 entry;  // Label (20 bits), traffic class (3), bottom of stack (1), time to live (8).

  bool bottom() const { return (entry.bytes[2] & 1) != 0; }
};
static_assert(sizeof(MplsHeader) == 4 && alignof(MplsHeader) == 1);

struct NshHeader {  // RFC 8300; metadata follows.
  static constexpr std::uint8_t kMdType1 = 1;
  static constexpr std::uint8_t kMdType2 = 2;
  static constexpr std::uint8_t kMaxFlags = 0x03;
  static constexpr std::uint8_t kMaxTtl = 0x3f;
  static constexpr std::size_t kMaxLength = 252;  // The length has 6 bits, of 4 bytes.

  Net16 version_flags_ttl_length;
  std::uint8_t mdtype;
  std::uint8_t np;  // What follows the header.
  Net32 path;

  std::uint32_t version() const { return version_flags_ttl_length.bytes[0] >> 6; }
  std::uint8_t flags() const { return version_flags_ttl_length.bytes[0] >> 4 & kMaxFlags; }
  std::uint8_t ttl() const { return version_flags_ttl_length.value() >> 6 & kMaxTtl; }
  std::uint32_t length() const { return (version_flags_ttl_length.bytes[1] & 0x3fu) * 4; }
  void SetFlagsAndTtl(std::uint8_t flags, std::uint8_t ttl) {
    version_flags_ttl_length.set_value(
        static_cast<std::uint16_t>((version_flags_ttl_length.value() & 0xc03f) |
                                   (flags & kMaxFlags) << 12 | (ttl & kMaxTtl) << 6));
  }
};
static_assert(sizeof(NshHeader) == 8 && alignof(NshHeader) == 1);

struct NshContext {  // Metadata of type 1.
  Net32 words[4];
};
static_assert(sizeof(NshContext) == 16 && alignof(NshContext) == 1);

// Whether a header with its metadata can be what it says, if so many bytes are there.
inline bool NshFits(const NshHeader& nsh, std::size_t bytes) {
  const bool type1 = nsh.mdtype == NshHeader::kMdType1;
  return nsh.version() == 0 && nsh.length() >= sizeof nsh && nsh.length() <= bytes &&
         (!type1 || nsh.length() == sizeof nsh + sizeof(NshContext));
}

// What follows an NSH: its next protocol, and the EtherType that says the same (as it lies in a
// packet); Ethernet has none. 0 is neither.
inline constexpr std::uint8_t kNshEthernet = 3;
constexpr std::uint8_t NshProtocolOf(std::uint16_t ether_type) {
  return ether_type == ToBe16(kEthTypeIpv4)   ? 1
         : ether_type == ToBe16(kEthTypeIpv6) ? 2
         : ether_type == ToBe16(kEthTypeNsh)  ? 4
                                              : 0;
}
constexpr std::uint16_t NshEtherTypeOf(std::uint8_t protocol) {
  for (const std::uint16_t type : {kEthTypeIpv4, kEthTypeIpv6, kEthTypeNsh}) {
    if (NshProtocolOf(ToBe16(type)) == protocol) return ToBe16(type);
  }
  return 0;
}

struct GeneveOption {                                // Data follows.
  static constexpr std::uint8_t kLengthMask = 0x1f;  // The other bits are reserved.

  Net16 option_class;
  std::uint8_t type;
  std::uint8_t length;  // Of the data, in units of four bytes.

  std::size_t size() const { return sizeof(GeneveOption) + (length & kLengthMask) * 4u; }
};
static_assert(sizeof(GeneveOption) == 4 && alignof(GeneveOption) == 1);

struct ArpHeader {
  Net16 hardware;
  Net16 protocol;
  std::uint8_t hardware_size;
  std::uint8_t protocol_size;
  Net16 operation;
  std::uint8_t sha[6];
  Net32 spa;
  std::uint8_t tha[6];
  Net32 tpa;
};
static_assert(sizeof(ArpHeader) == 28 && alignof(ArpHeader) == 1);

struct Ipv4Header {
  static constexpr std::uint16_t kMoreFragments = 0x2000;
  static constexpr std::uint16_t kOffsetMask = 0x1fff;

  std::uint8_t version_ihl;
  std::uint8_t tos;
  Net16 total_length;
  Net16 id;
  Net16 fragment;  // Flags and offset.
  std::uint8_t ttl;
  std::uint8_t protocol;
  Net16 checksum;
  Net32 src;
  Net32 dst;

  std::uint32_t version() const { return version_ihl >> 4; }
  std::uint32_t header_length() const { return (version_ihl & 0x0fu) * 4; }
};
static_assert(sizeof(Ipv4Header) == 20 && alignof(Ipv4Header) == 1);
static_assert(offsetof(Ipv4Header, checksum) == 10 && offsetof(Ipv4Header, src) == 12);

struct Ipv6Header {
  static constexpr std::uint32_t kLabelMask = 0x000fffff;

  Net32 version_class_label;
  Net16 payload_length;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  std::uint8_t src[16];
  std::uint8_t dst[16];

  std::uint32_t version() const { return version_class_label.bytes[0] >> 4; }
  std::uint8_t traffic_class() const {
    return static_cast<std::uint8_t>(version_class_label.bytes[0] << 4 |
                                     version_class_label.bytes[1] >> 4);
  }
};
static_assert(sizeof(Ipv6Header) == 40 && alignof(Ipv6Header) == 1);
static_assert(offsetof(Ipv6Header, src) == 8 && offsetof(Ipv6Header, dst) == 24);

struct Ipv6Extension {  // The eight bytes that every extension header has at least.
  std::uint8_t next_header;
  std::uint8_t length;  // Its unit depends on the header.
  std::uint8_t type;    // Routing header.
  std::uint8_t segments_left;
  std::uint8_t rest[4];

  // Fragment header.
  std::uint16_t offset_flags() const {
    return static_cast<std::uint16_t>(type << 8 | segments_left);
  }
};
static_assert(sizeof(Ipv6Extension) == 8 && alignof(Ipv6Extension) == 1);

struct TcpHeader {
  static constexpr std::uint16_t kFlagsMask = 0x0fff;

  Net16 src;
  Net16 dst;
  Net32 sequence;
  Net32 acknowledgement;
  Net16 offset_flags;
  Net16 window;
  Net16 checksum;
  Net16 urgent;

  std::uint32_t header_length() const { return (offset_flags.bytes[0] >> 4) * 4u; }
};
static_assert(sizeof(TcpHeader) == 20 && alignof(TcpHeader) == 1 &&
              offsetof(TcpHeader, checksum) == 16);

struct UdpHeader {
  Net16 src;
  Net16 dst;
  Net16 length;
  Net16 checksum;
};
static_assert(sizeof(UdpHeader) == 8 && alignof(UdpHeader) == 1);

struct SctpHeader {
  Net16 src;
  Net16 dst;
  Net32 tag;
  Net32 checksum;  // CRC-32C.
};
static_assert(sizeof(SctpHeader) == 12 && alignof(SctpHeader) == 1);

struct IcmpHeader {  // ICMP and ICMPv6.
  std::uint8_t type;
  std::uint8_t code;
  Net16 checksum;
  std::uint8_t rest[4];
};
static_assert(sizeof(IcmpHeader) == 8 && alignof(IcmpHeader) == 1);

struct NdOption {  // A link-layer address; other options have at least this size too.
  static constexpr std::uint8_t kSourceAddress = 1;
  static constexpr std::uint8_t kTargetAddress = 2;

  std::uint8_t type;
  std::uint8_t length;  // In units of eight bytes, this header included.
  std::uint8_t address[6];
};
static_assert(sizeof(NdOption) == 8 && alignof(NdOption) == 1);

}  // namespace pollux
