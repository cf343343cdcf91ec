// Keys that packets have, and masks that fit them, at random.
#pragma once

#include <cstring>
#include <random>

#include "flow/extract.h"
#include "flow/flow.h"
#include "packet/headers.h"
#include "packet_builder.h"

namespace pollux::test {

using Random = std::mt19937_64;
inline bool Sometimes(Random& random, std::uint64_t one_in) { return random() % one_in == 0; }

template <typename T>
void Fill(T& field, Random& random) {
  std::array<std::uint8_t, sizeof field> bytes;
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  std::memcpy(&field, bytes.data(), sizeof field);
}

// As a set(tunnel) or a tunnel port makes it.
inline TunnelMetadata RandomTunnel(Random& random) {
  TunnelMetadata tunnel;
  const auto maybe = [&](auto&... fields) {
    ((Sometimes(random, 2) ? Fill(fields, random) : void()), ...);
  };
  maybe(tunnel.ipv4_src, tunnel.ipv4_dst, tunnel.ipv6_src, tunnel.ipv6_dst, tunnel.tos, tunnel.ttl,
        tunnel.tp_src, tunnel.tp_dst, tunnel.gbp_id, tunnel.gbp_flags, tunnel.gtpu_flags,
        tunnel.gtpu_message);
  tunnel.flags = static_cast<std::uint16_t>(random()) & kTunnelFlags;
  if ((tunnel.flags & kTunnelKey) != 0) maybe(tunnel.id);
  tunnel.erspan_version = static_cast<std::uint8_t>(random() % 3);
  if (tunnel.erspan_version == 1) maybe(tunnel.erspan_index);
  if (tunnel.erspan_version == 2) {
    tunnel.erspan_direction = random() & 1;
    tunnel.erspan_hardware = random() & 0x3f;
  }
  for (std::size_t options = random() % 4; options > 0; --options) {
    const std::size_t words = Sometimes(random, 2) ? random() % 4 : random() % 32;
    if (tunnel.options_size + 4 + words * 4 > kMaxTunnelOptions) break;
    std::uint8_t* option = tunnel.options.data() + tunnel.options_size;
    for (std::size_t i = 0; i < 4 + words * 4; ++i) option[i] = static_cast<std::uint8_t>(random());
    option[3] = static_cast<std::uint8_t>(words);
    tunnel.options_size = static_cast<std::uint8_t>(tunnel.options_size + 4 + words * 4);
  }
  return tunnel;
}

// A key that some packet has.
inline Flow RandomKey(Random& random, PacketPool& pool) {
  static const auto kFrames = test::EveryKind();
  test::Frame frame = kFrames[random() % kFrames.size()].frame;
  for (std::uint64_t changes = random() % 8 == 0 ? 3 : 0; changes > 0; --changes)
    frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
  if (Sometimes(random, 16)) frame.resize(kMinFrame + random() % (frame.size() - kMinFrame));
  PacketPtr packet = pool.Copy(frame);
  packet->in_port = PortNumber{static_cast<std::uint32_t>(random() % 65'536)};
  for (std::uint32_t* field :
       {&packet->recirc_id, &packet->dp_hash, &packet->skb_mark, &packet->skb_priority}) {
    if (Sometimes(random, 4)) Fill(*field, random);
  }
  if (Sometimes(random, 8)) {
    packet->Pull(kMinFrame);
    packet->l3_type = LoadAs<Be16>(frame.data() + 12);
  }
  if (Sometimes(random, 4)) packet->SetTunnel(RandomTunnel(random));
  Miniflow mini;
  ExtractMiniflow(*packet, mini);
  Flow key = mini.Expand();
  // As connection tracking will make it.
  if (Sometimes(random, 4)) {
    key.ct_state = random() & kCtStateMask;
    key.ct_zone = static_cast<std::uint16_t>(random());
    key.ct_mark = static_cast<std::uint32_t>(random());
    Fill(key.ct_label, random);
    const Layer3 layer3 = Layer3Of(key);
    if (layer3 == Layer3::kIpv4) Fill(key.ct_ipv4_src, random), Fill(key.ct_ipv4_dst, random);
    if (layer3 == Layer3::kIpv6) Fill(key.ct_ipv6_src, random), Fill(key.ct_ipv6_dst, random);
    if (layer3 == Layer3::kIpv4 || layer3 == Layer3::kIpv6) {
      key.ct_proto = static_cast<std::uint8_t>(1 + random() % 255);
      Fill(key.ct_tp_src, random), Fill(key.ct_tp_dst, random);
    }
  }
  return key;
}

// Takes all bits, some or none out of a field of a mask. Whether it is zero then.
template <typename T>
bool Loosen(T& field, Random& random) {
  std::array<std::uint8_t, sizeof field> bits;
  std::memcpy(bits.data(), &field, sizeof field);
  switch (random() % 3) {
    case 0:
      break;
    case 1:
      bits.fill(0);
      break;
    default:
      for (std::uint8_t& byte : bits) byte &= static_cast<std::uint8_t>(random());
  }
  std::memcpy(&field, bits.data(), sizeof field);
  return IsZero(field);
}

inline void LoosenTunnel(const TunnelMetadata& key, TunnelMetadata& mask, Random& random) {
  if (Sometimes(random, 4)) {
    mask = {};
    return;
  }
  const TunnelMetadata exact = mask;
  const auto loosen = [&](auto&... fields) { (Loosen(fields, random), ...); };
  loosen(mask.id, mask.ipv4_src, mask.ipv4_dst, mask.ipv6_src, mask.ipv6_dst, mask.flags, mask.tos,
         mask.ttl, mask.tp_src, mask.tp_dst, mask.gbp_id, mask.gbp_flags, mask.gtpu_flags,
         mask.gtpu_message);
  if (mask.id != 0) mask.flags |= kTunnelKey;
  if (Sometimes(random, 2)) {
    mask.erspan_version = 0;
    mask.erspan_index = mask.erspan_direction = mask.erspan_hardware = 0;
  } else {
    loosen(mask.erspan_index, mask.erspan_direction, mask.erspan_hardware);
  }
  if (Sometimes(random, 2)) {
    mask.options_size = 0;
    mask.options = {};
    return;
  }
  Loosen(mask.options, random);
  for (std::size_t at = 0; at < key.options_size; at += 4 + key.options[at + 3] * 4u)
    mask.options[at + 3] = exact.options[at + 3];
}

// Takes bits out of an exact mask, but none that something else needs.
inline FlowMask Loosened(const Flow& key, Random& random) {
  FlowMask mask = ExactMask(key);
  const auto loosen = [&](auto& field) { return Loosen(field, random); };
  loosen(mask.eth_dst);
  loosen(mask.eth_src);
  loosen(mask.dp_hash);
  loosen(mask.skb_mark);
  loosen(mask.skb_priority);
  loosen(mask.packet_type);
  loosen(mask.ct_state);
  loosen(mask.ct_zone);
  loosen(mask.ct_mark);
  loosen(mask.ct_label);
  LoosenTunnel(key.tunnel, mask.tunnel, random);
  const bool no_ethernet = (FromBe32(mask.packet_type) >> 16) == UINT16_MAX && key.packet_type != 0;
  for (std::size_t i = 0; i < kMaxVlanTags && !no_ethernet; ++i) {
    // Untagged is matched wholly or not at all; in a tag every bit may be left out.
    if (key.vlans[i].tci == 0 && random() % 2 == 0) mask.vlans[i] = {};
    if (key.vlans[i].tci != 0) {
      loosen(mask.vlans[i].tpid);
      loosen(mask.vlans[i].tci);
    }
  }
  // From the top down: a layer that nothing looks at need not be known.
  bool free = true;
  for (auto* field : {&mask.tp_dst, &mask.tcp_flags}) free &= loosen(*field);
  free &= loosen(mask.nd_target);
  free &= loosen(mask.arp_sha);
  free &= loosen(mask.arp_tha);
  free &= loosen(mask.nd_options_type);
  free &= loosen(mask.nd_reserved);
  const bool nd = IsNd(key) && !free;
  if (!nd)
    free &= loosen(mask.tp_src);
  else
    free = false;
  if (Layer3Of(key) == Layer3::kArp || free) free &= loosen(mask.nw_proto);
  if (random() % 2 == 0) mask.nw_frag = 0;
  free &= mask.nw_frag == 0 && mask.nw_proto == 0;
  free &= loosen(mask.nw_tos);
  free &= loosen(mask.nw_ttl);
  free &= loosen(mask.ipv4_src);
  free &= loosen(mask.ipv4_dst);
  free &= loosen(mask.ipv6_src);
  free &= loosen(mask.ipv6_dst);
  free &= loosen(mask.ipv6_label);
  for (Be32& entry : mask.mpls) free &= loosen(entry);
  if (loosen(mask.nsh.context)) loosen(mask.nsh.mdtype);
  loosen(mask.nsh.np);
  loosen(mask.nsh.path);
  // Two bits and six, widened when exact.
  loosen(mask.nsh.flags);
  mask.nsh.flags = (mask.nsh.flags & 3) == 3 ? 0xff : mask.nsh.flags & 3;
  loosen(mask.nsh.ttl);
  mask.nsh.ttl = (mask.nsh.ttl & 0x3f) == 0x3f ? 0xff : mask.nsh.ttl & 0x3f;
  free &= IsZero(mask.nsh);
  free &= loosen(mask.ct_proto);
  free &= loosen(mask.ct_tp_src);
  free &= loosen(mask.ct_tp_dst);
  free &= loosen(mask.ct_ipv4_src);
  free &= loosen(mask.ct_ipv4_dst);
  free &= loosen(mask.ct_ipv6_src);
  free &= loosen(mask.ct_ipv6_dst);
  // A packet type that says it all says the EtherType too.
  if (free && !(no_ethernet && mask.packet_type == UINT32_MAX)) loosen(mask.eth_type);
  // ICMP type and code: eight bits, widened when exact.
  if (Layer4Of(key) == Layer4::kIcmp || Layer4Of(key) == Layer4::kIcmpv6) {
    for (auto* field : {&mask.tp_src, &mask.tp_dst}) {
      const std::uint16_t low = FromBe16(*field) & 0xff;
      *field = low == 0xff ? 0xffff : ToBe16(low);
    }
  }
  return mask;
}

}  // namespace pollux::test
