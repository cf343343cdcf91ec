// Headers that come and go, and the length of a packet.

#include "actions/locate.h"
#include "actions/rewrite.h"
#include "packet/offload.h"
#include "packet/reader.h"

namespace pollux {
namespace {

constexpr std::uint32_t kAddresses = 2 * sizeof(MacAddress);

// Adds bytes at the front; nullptr if there is no room. A packet without headroom moves back to the
// end of its chunk.
std::uint8_t* Prepend(Packet& packet, std::uint32_t n) {
  if (packet.size + n > kMaxFrame) return nullptr;
  if (packet.headroom() < n) {
    const std::uint32_t room = packet.headroom() + packet.tailroom();
    if (room < n) return nullptr;
    std::memmove(packet.chunk + room, packet.data, packet.size);
    packet.data = packet.chunk + room;
  }
  return packet.Push(n);
}

// Makes room for, or closes the gap of, bytes behind the first `front` bytes of the packet.
std::uint8_t* Insert(Packet& packet, std::uint32_t front, std::uint32_t n) {
  std::uint8_t* data = Prepend(packet, n);
  if (data == nullptr) return nullptr;
  std::memmove(data, data + n, front);
  return data + front;
}
void Remove(Packet& packet, std::uint32_t front, std::uint32_t n) {
  std::memmove(packet.data + n, packet.data, front);
  packet.Pull(n);
}

void ShiftOffsets(Packet& packet, int by) {
  for (std::uint16_t* offset : {&packet.l3_offset, &packet.l4_offset}) {
    if (*offset != Packet::kNoOffset) *offset = static_cast<std::uint16_t>(*offset + by);
  }
}
// Where layer 3 is cannot be told any more, but how much padding stands behind it.
void ForgetOffsets(Packet& packet, std::uint32_t padding) {
  packet.l3_offset = packet.l4_offset = Packet::kNoOffset;
  packet.padded = padding > 0;
  if (packet.padded) packet.gso_size = static_cast<std::uint16_t>(padding);
}
// Of a GSO frame there is none.
std::uint32_t PaddingOf(const Packet& packet) {
  return packet.is_gso() ? 0 : packet.size - LengthOf(packet);
}

// What grows or shrinks behind an 802.3 length changes it. False: a length cannot say that.
bool ChangeLength(Packet& packet, const Beyond& beyond, int by) {
  if (beyond.length_at == 0) return true;
  const int length = FromBe16(LoadAs<Be16>(packet.data + beyond.length_at)) + by;
  if (length < 0 || length >= kEthTypeMin) return false;
  const Be16 be = ToBe16(static_cast<std::uint16_t>(length));
  std::memcpy(packet.data + beyond.length_at, &be, sizeof be);
  return true;
}

// Bytes taken off the end; an Ethernet header always stays.
std::uint32_t SizeWithout(std::uint32_t size, std::uint32_t by) {
  const std::uint32_t least = std::min(size, kMinFrame);
  return size < least + by ? least : size - by;
}

void Write16(Packet& packet, std::uint32_t at, Be16 value) {
  std::memcpy(packet.data + at, &value, sizeof value);
}

}  // namespace

bool Apply(const PushVlanAction& push, Packet& packet) {
  if (packet.l3_type != 0 || packet.size < kMinFrame) return false;
  std::uint8_t* at = Insert(packet, kAddresses, sizeof(VlanTag));
  if (at == nullptr) return false;
  // CFI means "there is a tag" in keys; on the wire it is another bit, which we clear.
  const VlanTag tag{push.tag.tpid, static_cast<Be16>(push.tag.tci & ~ToBe16(kVlanCfi))};
  std::memcpy(at, &tag, sizeof tag);
  ShiftOffsets(packet, sizeof tag);
  return true;
}

bool Apply(const PopVlanAction&, Packet& packet) {
  if (packet.l3_type != 0 || packet.size < kMinFrame + sizeof(VlanTag) ||
      !IsVlanTpid(LoadAs<Be16>(packet.data + kAddresses)))
    return false;
  Remove(packet, kAddresses, sizeof(VlanTag));
  ShiftOffsets(packet, -static_cast<int>(sizeof(VlanTag)));
  return true;
}

bool Apply(const PushMplsAction& push, Packet& packet) {
  FinishChecksum(packet);
  const bool in_front = push.before_ethernet || packet.l3_type != 0;
  const auto beyond = in_front ? Beyond{} : BeyondEthernet(packet);
  if (!beyond.has_value()) return false;
  const std::uint32_t padding = PaddingOf(packet);
  std::uint8_t* at = Insert(packet, beyond->at, sizeof push.entry);
  if (at == nullptr) return false;
  if (!ChangeLength(packet, *beyond, sizeof push.entry)) return false;
  std::memcpy(at, &push.entry, sizeof push.entry);
  if (in_front) {
    packet.l3_type = push.ether_type;
  } else {
    Write16(packet, beyond->type_at, push.ether_type);
  }
  ForgetOffsets(packet, padding);
  return true;
}

bool Apply(const PopMplsAction& pop, Packet& packet) {
  FinishChecksum(packet);
  const auto beyond = BeyondEthernet(packet);
  if (!beyond.has_value() || !IsMplsType(beyond->type) ||
      packet.size < beyond->at + sizeof(MplsHeader))
    return false;
  const bool bridged = packet.l3_type != 0 && pop.ether_type == ToBe16(kEthTypeBridged);
  if (bridged && packet.size < sizeof(MplsHeader) + kMinFrame) return false;
  const std::uint32_t padding = PaddingOf(packet);
  if (!ChangeLength(packet, *beyond, -static_cast<int>(sizeof(MplsHeader)))) return false;
  Remove(packet, beyond->at, sizeof(MplsHeader));
  if (packet.l3_type != 0) {
    packet.l3_type = bridged ? Be16{0} : pop.ether_type;
  } else {
    Write16(packet, beyond->type_at, pop.ether_type);
  }
  ForgetOffsets(packet, padding);
  return true;
}

bool Apply(const PushEthAction& push, Packet& packet) {
  FinishChecksum(packet);
  if (packet.l3_type == 0) return false;
  auto* at = reinterpret_cast<EthernetHeader*>(Prepend(packet, sizeof(EthernetHeader)));
  if (at == nullptr) return false;
  std::memcpy(at->dst, push.dst.data(), push.dst.size());
  std::memcpy(at->src, push.src.data(), push.src.size());
  at->type.set_raw(std::exchange(packet.l3_type, Be16{0}));
  ShiftOffsets(packet, sizeof *at);
  return true;
}

bool Apply(const PopEthAction&, Packet& packet) {
  FinishChecksum(packet);
  if (packet.l3_type != 0 || packet.size < kMinFrame ||
      IsVlanTpid(LoadAs<Be16>(packet.data + kAddresses)))
    return false;
  const auto beyond = BeyondEthernet(packet);
  if (!beyond.has_value()) return false;
  packet.Pull(beyond->at);
  packet.l3_type = beyond->type;
  ShiftOffsets(packet, -static_cast<int>(beyond->at));
  return true;
}

bool Apply(const PushNshAction& push, Packet& packet) {
  FinishChecksum(packet);
  const std::uint8_t np = packet.l3_type == 0 ? kNshEthernet : NshProtocolOf(packet.l3_type);
  if (np == 0) return false;
  const std::uint32_t padding = PaddingOf(packet);
  const std::vector<std::uint8_t>& header = *push.header;
  std::uint8_t* at = Prepend(packet, static_cast<std::uint32_t>(header.size()));
  if (at == nullptr) return false;
  std::memcpy(at, header.data(), header.size());
  reinterpret_cast<NshHeader*>(at)->np = np;
  packet.l3_type = ToBe16(kEthTypeNsh);
  ForgetOffsets(packet, padding);
  return true;
}

bool Apply(const PopNshAction&, Packet& packet) {
  FinishChecksum(packet);
  const auto* nsh = HeaderAt<NshHeader>(packet, 0);
  if (packet.l3_type != ToBe16(kEthTypeNsh) || nsh == nullptr || !NshFits(*nsh, packet.size))
    return false;
  const std::uint32_t length = nsh->length();
  const bool ethernet = nsh->np == kNshEthernet;
  const Be16 type = NshEtherTypeOf(nsh->np);
  if (ethernet ? packet.size < length + kMinFrame : type == 0) return false;
  const std::uint32_t padding = PaddingOf(packet);
  packet.Pull(length);
  packet.l3_type = type;
  ForgetOffsets(packet, padding);
  return true;
}

std::uint32_t LengthOf(const Packet& packet) {
  if (packet.is_gso()) return OnWire(packet).largest;
  const bool ipv4 = HasLayer3(packet, kEthTypeIpv4);
  if (!ipv4 && !HasLayer3(packet, kEthTypeIpv6)) {
    const std::uint32_t padding = packet.padded ? packet.gso_size : 0;
    return packet.size - std::min(packet.size, padding);
  }
  Reader reader(packet.data + packet.l3_offset, packet.size - packet.l3_offset);
  const bool read = ipv4 ? ReadIpv4(reader) != nullptr : ReadIpv6(reader) != nullptr;
  if (!read) return packet.size;
  return static_cast<std::uint32_t>(reader.data() + reader.size() - packet.data);
}

std::uint32_t LengthOf(const Packet& packet, std::uint32_t cut) {
  if (cut == 0) [[likely]]
    return LengthOf(packet);
  return std::min(LengthOf(packet), SizeWithout(OnWire(packet).largest, cut));
}

void Shorten(Packet& packet, std::uint32_t by) {
  if (by > 0) FinishChecksum(packet);
  const std::uint32_t padding = PaddingOf(packet);
  packet.size = SizeWithout(packet.size, by);
  ForgetOffsets(packet, padding > by ? padding - by : 0);
}

}  // namespace pollux
