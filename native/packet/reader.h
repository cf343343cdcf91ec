// Reader: the one way to read protocol headers in a frame.
//
// A pointer to a header is only ever obtained from a Reader, which knows how many bytes are left
// and gives nullptr where a header does not fit. Lengths that a header states about itself are
// believed by ReadIpv4(), ReadIpv6() and SkipIpv6Extensions() only, after comparing them with what
// is there; these also shorten the Reader to what the header covers, so that nobody behind them
// reads padding. That is two layers, checked bytes and then a value that can only be valid, as in
// smoltcp's `wire/`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/sync.h"
#include "packet/headers.h"

namespace pollux {

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
