// Protocol headers, as they lie in a frame, and the one way to read them: through a Reader.
//
// Every header here is made of bytes alone: it has alignment 1, so that it may stand at any
// address, and a multi-byte field is a Net16 or Net32, which cannot be mistaken for a number: one
// asks for its value() (host order) or its raw() bytes (network order). The sizes are asserted
// where the headers are declared.
//
// A pointer to a header is only ever obtained from a Reader, which knows how many bytes are left
// and gives nullptr where a header does not fit. Lengths that a header states about itself are
// believed by ReadIpv4(), ReadIpv6() and SkipIpv6Extensions() only, after comparing them with what
// is there; these also shorten the Reader to what the header covers, so that nobody behind them
// reads padding. That is two layers, checked bytes and then a value that can only be valid, as in
// smoltcp's `wire/`.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "base/sync.h"

namespace pollux {

constexpr std::uint16_t ToBe16(std::uint16_t host) {
  return std::endian::native == std::endian::little ? __builtin_bswap16(host) : host;
}
constexpr std::uint32_t ToBe32(std::uint32_t host) {
  return std::endian::native == std::endian::little ? __builtin_bswap32(host) : host;
}
constexpr std::uint16_t FromBe16(std::uint16_t be) { return ToBe16(be); }
constexpr std::uint32_t FromBe32(std::uint32_t be) { return ToBe32(be); }

// A value of any trivial type out of bytes that need not be aligned.
template <typename T>
T LoadAs(const void* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Whether all bytes of a value are zero.
template <typename T>
bool IsZero(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  return std::all_of(bytes, bytes + sizeof value, [](std::uint8_t byte) { return byte == 0; });
}

struct Net16 {
  std::uint8_t bytes[2];

  std::uint16_t raw() const { return LoadAs<std::uint16_t>(bytes); }
  std::uint16_t value() const { return FromBe16(raw()); }
  void set_raw(std::uint16_t be) { std::memcpy(bytes, &be, sizeof be); }
  void set_value(std::uint16_t host) { set_raw(ToBe16(host)); }
};
struct Net32 {
  std::uint8_t bytes[4];

  std::uint32_t raw() const { return LoadAs<std::uint32_t>(bytes); }
  std::uint32_t value() const { return FromBe32(raw()); }
  void set_raw(std::uint32_t be) { std::memcpy(bytes, &be, sizeof be); }
  void set_value(std::uint32_t host) { set_raw(ToBe32(host)); }
};

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

// The bytes of a frame from front to back. No way leads past the end.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

  // The header that starts here; nullptr if it does not fit.
  template <typename Header>
  const Header* Peek() const {
    static_assert(alignof(Header) == 1);
    return size_ >= sizeof(Header) ? reinterpret_cast<const Header*>(data_) : nullptr;
  }
  // As Peek(), and goes behind it.
  template <typename Header>
  const Header* Take() {
    const Header* header = Peek<Header>();
    if (header != nullptr) Advance(sizeof(Header));
    return header;
  }
  // False, and nothing done, if there are fewer than `n` bytes.
  bool Skip(std::size_t n) {
    if (n > size_) return false;
    Advance(n);
    return true;
  }
  // Forgets all behind the next `n` bytes. False, and nothing done, if there are fewer.
  bool Limit(std::size_t n) {
    if (n > size_) return false;
    size_ = n;
    return true;
  }

 private:
  void Advance(std::size_t n) {
    POLLUX_DCHECK(n <= size_);
    data_ += n;
    size_ -= n;
  }

  const std::uint8_t* data_;
  std::size_t size_;
};

// Takes the LLC and SNAP of a frame whose type field is a length (802.2); returns the EtherType
// that they state, as on the wire, or kEthTypeNone.
inline std::uint16_t TakeSnap(Reader& reader) {
  const auto* snap = reader.Peek<SnapHeader>();
  static constexpr std::uint8_t kEthernetSnap[] = {0xaa, 0xaa, 0x03, 0, 0, 0};
  if (snap == nullptr || std::memcmp(snap, kEthernetSnap, sizeof kEthernetSnap) != 0)
    return ToBe16(kEthTypeNone);
  reader.Skip(sizeof *snap);
  return snap->type.value() >= kEthTypeMin ? snap->type.raw() : ToBe16(kEthTypeNone);
}

// Calls `each(at)` with the offset of the length of every Geneve option. False, at the first one
// that is longer than what is left.
template <typename Each>
bool ForEachGeneveLength(const std::uint8_t* options, std::size_t size, Each each) {
  Reader rest(options, size);
  while (rest.size() > 0) {
    const auto* option = rest.Peek<GeneveOption>();
    if (option == nullptr || !rest.Skip(option->size())) return false;
    each(static_cast<std::size_t>(&option->length - options));
  }
  return true;
}

// Takes an IPv4 header with its options and limits `reader` to its payload: what the total length
// says, without padding. nullptr if the header does not fit or its lengths cannot be true.
inline const Ipv4Header* ReadIpv4(Reader& reader) {
  const auto* ip = reader.Peek<Ipv4Header>();
  if (ip == nullptr) [[unlikely]]
    return nullptr;
  const std::size_t header_length = ip->header_length();
  const std::size_t total_length = ip->total_length.value();
  if (ip->version() != 4 || header_length < sizeof(Ipv4Header) || total_length < header_length ||
      !reader.Limit(total_length)) [[unlikely]] {
    return nullptr;
  }
  reader.Skip(header_length);  // Cannot fail: no more than the total length.
  return ip;
}

// Takes an IPv6 header, without extensions, and limits `reader` to its payload. A jumbogram states
// a length of zero, so it has no payload for us.
inline const Ipv6Header* ReadIpv6(Reader& reader) {
  const auto* ip = reader.Take<Ipv6Header>();
  if (ip == nullptr || ip->version() != 6 || !reader.Limit(ip->payload_length.value())) [[unlikely]]
    return nullptr;
  return ip;
}

// What a chain of IPv6 extension headers tells.
struct Ipv6Chain {
  std::uint8_t protocol =
      0;  // The first next header that is no extension; kProtoFragment in a later fragment.
  // From the fragment header. A packet with one that is neither is whole.
  bool later = false;          // The offset is not zero: no layer 4 follows.
  bool more = false;           // There are fragments behind it.
  bool segments_left = false;  // There is a routing header that is not used up: the destination is
                               // not the final one.
};

// Takes the extension headers that follow an IPv6 header whose next header is `next_header`. False
// if one does not fit; `chain` then tells of those before it, and its protocol is the one that does
// not. There is no limit to their number: each takes eight bytes at least, so they cost no more
// than a sum over the packet would, and a limit would be a way around rules for what stands behind
// it.
inline bool SkipIpv6Extensions(Reader& reader, std::uint8_t next_header, Ipv6Chain& chain) {
  chain.protocol = next_header;
  for (;;) {
    std::size_t length = 0;
    const auto* extension = reader.Peek<Ipv6Extension>();
    switch (chain.protocol) {
      case kProtoHopByHop:
      case kProtoDestination:
      case kProtoRouting:
      case kProtoAuthentication:
      case kProtoFragment:
        if (extension == nullptr) return false;
        break;
      default:
        return true;
    }
    switch (chain.protocol) {
      case kProtoAuthentication:
        length = (extension->length + 2u) * 4;
        break;
      case kProtoFragment: {
        length = sizeof(Ipv6Extension);
        chain.more |= (extension->offset_flags() & 1) != 0;
        if ((extension->offset_flags() & 0xfff8) != 0) {
          chain.later = true;
          reader.Skip(length);
          chain.protocol = kProtoFragment;
          return true;
        }
        break;
      }
      case kProtoRouting:
        chain.segments_left |= extension->segments_left > 0;
        [[fallthrough]];
      default:
        length = (extension->length + 1u) * 8;
    }
    if (!reader.Skip(length)) return false;
    chain.protocol = extension->next_header;
  }
}

// A neighbour solicitation or advertisement behind its ICMPv6 header.
struct NdMessage {
  const std::uint8_t* target = nullptr;  // 16 bytes; nullptr: something is wrong with the message.
  const NdOption* source = nullptr;      // Link-layer addresses.
  const NdOption* destination = nullptr;
  const NdOption* first = nullptr;  // Whichever of them comes first.
};

inline NdMessage ReadNd(Reader reader) {
  struct Target {
    std::uint8_t bytes[16];
  };
  NdMessage nd;
  const auto* target = reader.Take<Target>();
  if (target == nullptr) return nd;
  while (const auto* option = reader.Peek<NdOption>()) {
    // A length of zero or past the end: what follows cannot be told apart, the walk ends here.
    const std::size_t length = option->length * std::size_t{8};
    if (length == 0 || !reader.Skip(length)) break;
    const bool source = option->type == NdOption::kSourceAddress;
    if ((!source && option->type != NdOption::kTargetAddress) || length != sizeof(NdOption))
      continue;
    const NdOption*& place = source ? nd.source : nd.destination;
    // Two addresses of one kind: nobody can say which one the receiver believes.
    if (place != nullptr) return {};
    place = option;
    if (nd.first == nullptr) nd.first = option;
  }
  nd.target = target->bytes;
  return nd;
}

}  // namespace pollux
