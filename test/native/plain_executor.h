// The slow, obvious executor, against which the fast one is tested.
//
// One packet at a time, in a vector of bytes; after every action the packet is looked at anew;
// checksums are summed over all they cover, before and after. It works on the attributes of a list
// and shares nothing with native/actions: only the decoder of tunnel metadata and, handed in from
// outside, the hash and the dice are the core's.
#pragma once

#include <linux/openvswitch.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flow/attributes.h"
#include "flow/ovs_attributes.h"
#include "flow/tunnel_attributes.h"
#include "packet_builder.h"

namespace pollux::test {

struct PlainPacket {
  Frame bytes;
  std::uint16_t l3_type = 0;  // Host order; 0: there is an Ethernet header.
  std::uint32_t priority = 0;
  std::uint32_t mark = 0;
  std::uint32_t hash = 0;
  std::uint32_t recirc_id = 0;
  std::optional<TunnelMetadata> tunnel;
  std::size_t cut = 0;       // Bytes that trunc wants off the end.
  bool layers_known = true;  // Layer 3 is where it was when the packet came.
  std::size_t memory = 0;    // How long it can get.
  std::size_t padding = 0;   // Behind what IP said when layer 3 was last known.

  // All that can be seen of it from outside.
  std::string Text() const {
    std::string text;
    const auto hex = [&](const std::uint8_t* at, std::size_t n) {
      for (std::size_t i = 0; i < n; ++i) {
        text += "0123456789abcdef"[at[i] >> 4];
        text += "0123456789abcdef"[at[i] & 15];
      }
    };
    hex(bytes.data(), bytes.size());
    text += " type " + std::to_string(l3_type) + " priority " + std::to_string(priority) +
            " mark " + std::to_string(mark) + " hash " + std::to_string(hash) + " recirc_id " +
            std::to_string(recirc_id);
    if (tunnel.has_value()) {
      text += " tunnel ";
      hex(reinterpret_cast<const std::uint8_t*>(&*tunnel), sizeof *tunnel);
    }
    return text;
  }
};

// What a packet looks like to somebody who reads it from the front.
class PlainView {
 public:
  static constexpr std::size_t kNone = SIZE_MAX;

  PlainView(const PlainPacket& packet, std::size_t max_tags) : bytes_(packet.bytes) {
    std::size_t at = 0;
    type = packet.l3_type;
    if (type == 0) {
      if (bytes_.size() < 14) return;
      type_at = 12;
      type = Peek16(bytes_, type_at);
      at = 14;
      for (std::size_t n = 0; n < max_tags && IsTag(type) && bytes_.size() >= at + 4;
           ++n, at += 4) {
        type_at = at + 2;
        type = Peek16(bytes_, type_at);
      }
      if (type < 0x600) {
        static const Frame kSnap = {0xaa, 0xaa, 3, 0, 0, 0};
        if (bytes_.size() < at + 8 || !std::equal(kSnap.begin(), kSnap.end(),
                                                  bytes_.begin() + static_cast<std::ptrdiff_t>(at)))
          return;
        length_at = type_at;
        type_at = at + 6;
        type = Peek16(bytes_, type_at);
        at += 8;
        if (type < 0x600) return;
      }
    }
    typed = true;
    beyond = at;
    if (type == 0x0800) ReadIpv4();
    if (type == 0x86dd) ReadIpv6();
    if (type == 0x0806 || type == 0x8035) ReadArp();
  }

  static bool IsTag(std::uint16_t tpid) {
    return tpid == 0x8100 || tpid == 0x88a8 || tpid == 0x9100;
  }
  bool mpls() const { return typed && (type == 0x8847 || type == 0x8848); }
  bool HasLayer4(std::uint8_t which) const { return l4 != kNone && protocol == which; }
  std::size_t padding() const { return end == kNone ? 0 : bytes_.size() - end; }

  bool typed = false;  // There is an EtherType...
  std::uint16_t type = 0;
  std::size_t length_at = 0;
  std::size_t type_at = 0;  // ... here, if there is an Ethernet header...
  std::size_t beyond = 0;   // ... and what it speaks of starts here.

  // Only what is whole and sound.
  int ip = 0;  // 4 or 6.
  bool arp = false;
  std::size_t l3 = kNone;
  std::size_t end = kNone;  // Of what IP says is the packet.
  std::uint8_t protocol = 0;
  bool fragmented = false;
  bool later_fragment = false;
  bool segments_left = false;
  // Of a TCP header that may go on in the next fragment.
  std::size_t tcp_checksum = kNone;
  bool checksum_is_elsewhere = false;
  std::size_t l4 = kNone;

 private:
  void ReadArp() {
    static const Frame kStart = {0, 1, 8, 0, 6, 4};
    if (bytes_.size() < beyond + 28 ||
        !std::equal(kStart.begin(), kStart.end(),
                    bytes_.begin() + static_cast<std::ptrdiff_t>(beyond)))
      return;
    arp = true;
    l3 = beyond;
  }

  void ReadIpv4() {
    if (bytes_.size() < beyond + 20 || bytes_[beyond] >> 4 != 4) return;
    const std::size_t header = (bytes_[beyond] & 15u) * 4;
    const std::size_t total = Peek16(bytes_, beyond + 2);
    if (header < 20 || total < header || beyond + total > bytes_.size()) return;
    ip = 4;
    l3 = beyond;
    end = beyond + total;
    protocol = bytes_[beyond + 9];
    const std::uint16_t fragment = Peek16(bytes_, beyond + 6);
    fragmented = (fragment & 0x3fff) != 0;
    later_fragment = (fragment & 0x1fff) != 0;
    if (!later_fragment) ReadLayer4(beyond + header);
  }

  void ReadIpv6() {
    if (bytes_.size() < beyond + 40 || bytes_[beyond] >> 4 != 6) return;
    const std::size_t limit = beyond + 40 + Peek16(bytes_, beyond + 4);
    if (limit > bytes_.size()) return;
    std::uint8_t next = bytes_[beyond + 6];
    std::size_t at = beyond + 40;
    bool later = false;
    bool split = false;
    bool left = false;
    bool broken = false;
    while (!later && (next == 0 || next == 43 || next == 44 || next == 51 || next == 60)) {
      broken = at + 8 > limit;
      if (broken) break;
      std::size_t length = (bytes_[at + 1] + 1u) * 8;
      if (next == 44) {
        length = 8;
        split |= (Peek16(bytes_, at + 2) & 0xfff9) != 0;
        later = (Peek16(bytes_, at + 2) & 0xfff8) != 0;
      }
      if (next == 51) length = (bytes_[at + 1] + 2u) * 4;
      if (next == 43 && bytes_[at + 3] > 0) left = true;
      broken = at + length > limit;
      if (later || broken) break;
      next = bytes_[at];
      at += length;
    }
    ip = 6;
    l3 = beyond;
    end = limit;
    protocol = later ? 44 : next;
    fragmented = split;
    later_fragment = later;
    segments_left = left;
    if (!later && !broken) ReadLayer4(at);
  }

  void ReadLayer4(std::size_t at) {
    const std::size_t room = end - at;
    const bool whole = protocol == 6 ? room >= 20 && bytes_[at + 12] >> 4 >= 5 &&
                                           (bytes_[at + 12] >> 4) * 4u <= room
                       : protocol == 17                 ? room >= 8
                       : protocol == 132                ? room >= 12
                       : protocol == (ip == 4 ? 1 : 58) ? room >= 8
                                                        : false;
    if (whole) l4 = at;
    if (protocol == 6 && room >= 20) tcp_checksum = at + 16;
    checksum_is_elsewhere = protocol == 6 && room < 20 && fragmented;
  }

  const Frame& bytes_;
};

class PlainExecutor {
 public:
  using Dice = std::function<std::uint32_t()>;
  using Hash = std::function<std::uint32_t(const PlainPacket&, std::uint32_t algorithm,
                                           std::uint32_t basis)>;
  PlainExecutor(Dice dice, Hash hash) : dice_(std::move(dice)), hash_(std::move(hash)) {}

  // What became of packets, in order: "<how> <Text()>".
  std::vector<std::string> events;
  std::size_t copies = 0;

  static PlainPacket Arrived(PlainPacket packet) {
    packet.layers_known = PlainView(packet, 2).l3 != PlainView::kNone;
    packet.memory = MemoryFor(packet.bytes.size());
    return packet;
  }

  void Run(PlainPacket packet, Bytes list) {
    const std::vector<Attribute> actions = Split(list);
    for (std::size_t i = 0; i < actions.size(); ++i) {
      const auto& [type, payload] = actions[i];
      const bool last = i + 1 == actions.size();
      const char* dropped = nullptr;
      switch (type) {
        case OVS_ACTION_ATTR_OUTPUT:
          Event("output " + std::to_string(Get<std::uint32_t>(payload)), Cut(Mine(packet, last)));
          if (last) return;
          break;
        case OVS_ACTION_ATTR_USERSPACE:
          Event("upcall", Cut(Mine(packet, last)));
          if (last) return;
          break;
        case OVS_ACTION_ATTR_RECIRC: {
          if (!last) ++copies;
          Event("recirc " + std::to_string(Get<std::uint32_t>(payload)), packet);
          if (last) return;
          break;
        }
        case 24:
          return Event(StatedReason(Get<std::uint32_t>(payload)), packet);
        case OVS_ACTION_ATTR_TRUNC: {
          const std::size_t most = std::max(Get<std::uint32_t>(payload), 14u);
          packet.cut = packet.bytes.size() > most ? packet.bytes.size() - most : 0;
          break;
        }
        case OVS_ACTION_ATTR_CLONE:
          Run(Mine(packet, last), payload);
          if (last) return;
          break;
        case OVS_ACTION_ATTR_SAMPLE: {
          const auto probability = Get<std::uint32_t>(Find(payload, OVS_SAMPLE_ATTR_PROBABILITY));
          if (probability == UINT32_MAX || dice_() < probability) {
            Run(Mine(packet, last), Find(payload, OVS_SAMPLE_ATTR_ACTIONS));
          } else if (last) {
            Event("sample_error", packet);
          }
          if (last) return;
          break;
        }
        case OVS_ACTION_ATTR_CHECK_PKT_LEN: {
          const std::size_t length =
              std::min(packet.bytes.size() - Padding(packet), Cut(packet).bytes.size());
          const bool greater =
              length > Get<std::uint16_t>(Find(payload, OVS_CHECK_PKT_LEN_ATTR_PKT_LEN));
          Run(Mine(packet, last),
              Find(payload, greater ? OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER
                                    : OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL));
          if (last) return;
          break;
        }
        case OVS_ACTION_ATTR_DEC_TTL:
          if (Layers(packet).ip == 0) {
            dropped = "rewrite_error";
          } else if (!DecTtl(packet)) {
            return Run(packet, Find(payload, OVS_DEC_TTL_ATTR_ACTION));
          }
          break;
        case OVS_ACTION_ATTR_HASH: {
          const auto hash = Get<ovs_action_hash>(payload);
          packet.hash = hash_(packet, hash.hash_alg, hash.hash_basis);
          break;
        }
        case OVS_ACTION_ATTR_POP_NSH:
          if (!PopNsh(packet)) dropped = "nsh_decap_error";
          break;
        default:
          if (!Change(packet, type, payload)) dropped = "rewrite_error";
      }
      if (dropped != nullptr) return Event(dropped, packet);
    }
    Event(actions.empty() ? "action_drop" : "no_output", packet);
  }

 private:
  struct Attribute {
    std::uint16_t type;
    Bytes payload;
  };
  static std::vector<Attribute> Split(Bytes list) {
    std::vector<Attribute> attributes;
    while (list.size() >= 4) {
      const std::size_t length = Get<std::uint16_t>(list.first(2));
      const auto type = Get<std::uint16_t>(list.subspan(2, 2));
      attributes.push_back({type, list.subspan(4, length - 4)});
      list = list.subspan(std::min(list.size(), (length + 3) / 4 * 4));
    }
    return attributes;
  }
  static Bytes Find(Bytes list, std::uint16_t type) {
    for (const Attribute& attribute : Split(list)) {
      if (attribute.type == type) return attribute.payload;
    }
    return {};
  }
  template <typename T>
  static T Get(Bytes bytes) {
    T value;
    POLLUX_CHECK(bytes.size() >= sizeof value);
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  static std::string StatedReason(std::size_t number) {
    static const char* const kNames[] = {"of_pipeline",
                                         "bridge_not_found",
                                         "recursion_too_deep",
                                         "too_many_resubmit",
                                         "stack_too_deep",
                                         "no_recirculation_context",
                                         "recirculation_conflict",
                                         "too_many_mpls_labels",
                                         "invalid_tunnel_metadata",
                                         "unsupported_packet_type",
                                         "congestion",
                                         "forwarding_disabled",
                                         "tunnel_routing_failed",
                                         "tunnel_output_no_ethernet",
                                         "tunnel_neigh_cache_miss",
                                         "tunnel_header_build_failed"};
    return std::string("drop_action_") + kNames[number];
  }

  void Event(const std::string& what, const PlainPacket& packet) {
    events.push_back(what + " " + packet.Text());
  }

  // The packet itself for the last action, a copy for others. What is to be cut off goes with it.
  PlainPacket Mine(PlainPacket& packet, bool last) {
    PlainPacket mine = packet;
    packet.cut = 0;
    if (last) return mine;
    ++copies;
    mine.memory = MemoryFor(mine.bytes.size());
    return mine;
  }
  static std::size_t MemoryFor(std::size_t size) {
    return PacketPool::ChunkSizeFor(static_cast<std::uint32_t>(size));
  }
  static PlainPacket Cut(PlainPacket packet) {
    const std::size_t least = std::min<std::size_t>(packet.bytes.size(), 14);
    packet.bytes.resize(
        std::max(least, packet.bytes.size() - std::min(packet.cut, packet.bytes.size())));
    return packet;
  }

  static std::size_t Padding(const PlainPacket& packet) {
    return packet.layers_known ? Layers(packet).padding() : packet.padding;
  }
  static void Forget(PlainPacket& packet, std::size_t padding) {
    packet.layers_known = false;
    packet.padding = padding;
  }
  // The length of 802.3, where there is one, speaks of so many bytes more.
  static bool Lengthen(PlainPacket& packet, const PlainView& front, int by) {
    if (packet.l3_type != 0 || front.length_at == 0) return true;
    const int length = Peek16(packet.bytes, front.length_at) + by;
    if (length < 0 || length >= 0x600) return false;
    Poke16(packet.bytes, front.length_at, static_cast<std::uint16_t>(length));
    return true;
  }

  static PlainView Layers(const PlainPacket& packet) {
    PlainView view(packet, SIZE_MAX);
    if (!packet.layers_known) {
      view.l3 = view.l4 = view.end = view.tcp_checksum = PlainView::kNone;
      view.ip = 0;
      view.arp = false;
    }
    return view;
  }

  // ---- Checksums.

  // The words that a checksum covers, without itself.
  static std::vector<std::uint16_t> Covered(const Frame& bytes, std::size_t from, std::size_t to,
                                            std::size_t field) {
    std::vector<std::uint16_t> words;
    for (std::size_t at = from; at < to; at += 2) {
      if (at == field) continue;
      words.push_back(
          static_cast<std::uint16_t>(bytes[at] << 8 | (at + 1 < to ? bytes[at + 1] : 0)));
    }
    return words;
  }
  static std::uint64_t SumOf(const std::vector<std::uint16_t>& words) {
    std::uint64_t sum = 0;
    for (const std::uint16_t word : words) sum += word;
    return sum % 0xffff;
  }

  struct Sums {
    std::vector<std::uint16_t> ip;
    std::vector<std::uint16_t> l4;
    std::size_t l4_field = PlainView::kNone;
  };
  static Sums SumsOf(const PlainPacket& packet) {
    const PlainView view = Layers(packet);
    const Frame& bytes = packet.bytes;
    Sums sums;
    if (view.ip == 4)
      sums.ip = Covered(bytes, view.l3, view.l3 + (bytes[view.l3] & 15u) * 4, view.l3 + 10);
    if (view.tcp_checksum != PlainView::kNone) {
      sums.l4_field = view.tcp_checksum;
    } else {
      if (view.l4 == PlainView::kNone || view.protocol == 132) return sums;
      sums.l4_field = view.l4 + (view.protocol == 17 ? 6 : 2);
    }
    sums.l4 =
        Covered(bytes, view.protocol == 6 ? sums.l4_field - 16 : view.l4, view.end, sums.l4_field);
    std::vector<std::uint16_t> addresses;
    if (view.ip == 6) {
      addresses = Covered(bytes, view.l3 + 8, view.l3 + (view.segments_left ? 24 : 40), 0);
    } else if (view.protocol != 1) {
      addresses = Covered(bytes, view.l3 + 12, view.l3 + 20, 0);
    }
    sums.l4.insert(sums.l4.end(), addresses.begin(), addresses.end());
    return sums;
  }
  // The sum over all stays what it was; so what was right is right, and what was wrong is as wrong.
  static void FixField(Frame& bytes, std::size_t field, const std::vector<std::uint16_t>& before,
                       const std::vector<std::uint16_t>& after) {
    if (before == after) return;
    const std::uint64_t all = Peek16(bytes, field) + SumOf(before);
    Poke16(bytes, field, static_cast<std::uint16_t>((all + 0xffff - SumOf(after)) % 0xffff));
  }
  template <typename Edit>
  static void Sound(PlainPacket& packet, Edit edit) {
    const PlainView view = Layers(packet);
    const Sums before = SumsOf(packet);
    edit(packet.bytes);
    const Sums after = SumsOf(packet);
    if (view.ip == 4) FixField(packet.bytes, view.l3 + 10, before.ip, after.ip);
    if (before.l4_field == PlainView::kNone) return;
    const bool udp = view.protocol == 17;
    if (udp && Peek16(packet.bytes, before.l4_field) == 0) return;
    FixField(packet.bytes, before.l4_field, before.l4, after.l4);
    if (udp && Peek16(packet.bytes, before.l4_field) == 0)
      Poke16(packet.bytes, before.l4_field, 0xffff);
  }

  static std::uint32_t Crc32c(const Frame& bytes, std::size_t from, std::size_t to) {
    std::uint32_t crc = UINT32_MAX;
    for (std::size_t at = from; at < to; ++at) {
      // The checksum itself counts as zero.
      crc ^= at >= from + 8 && at < from + 12 ? 0 : bytes[at];
      for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
  }

  // ---- Sets.

  template <typename T>
  struct Valued {
    T value;
    T mask;
  };
  template <typename T>
  static Valued<T> Read(Bytes payload, bool masked) {
    Valued<T> valued{Get<T>(payload), {}};
    if (masked) {
      valued.mask = Get<T>(payload.subspan(sizeof(T)));
    } else {
      std::memset(&valued.mask, 0xff, sizeof(T));
    }
    return valued;
  }
  template <typename T>
  static void Mix(Frame& bytes, std::size_t at, const T& value, const T& mask) {
    const auto* v = reinterpret_cast<const std::uint8_t*>(&value);
    const auto* m = reinterpret_cast<const std::uint8_t*>(&mask);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes.at(at + i) = static_cast<std::uint8_t>((bytes.at(at + i) & ~m[i]) | (v[i] & m[i]));
    }
  }

  static bool Set(PlainPacket& packet, Bytes payload, bool masked) {
    const Attribute field = Split(payload).at(0);
    const PlainView view = Layers(packet);
    Frame& bytes = packet.bytes;
    const auto number = [&](std::uint32_t& metadata) {
      const auto set = Read<std::uint32_t>(field.payload, masked);
      metadata = (metadata & ~set.mask) | (set.value & set.mask);
      return true;
    };
    switch (field.type) {
      case OVS_KEY_ATTR_PRIORITY:
        return number(packet.priority);
      case OVS_KEY_ATTR_SKB_MARK:
        return number(packet.mark);
      case OVS_KEY_ATTR_DP_HASH:
        return number(packet.hash);
      case OVS_KEY_ATTR_RECIRC_ID:
        return number(packet.recirc_id);
      case OVS_KEY_ATTR_TUNNEL: {
        const TunnelMetadata tunnel = *DecodeTunnel(field.payload);
        packet.tunnel.reset();
        const auto* at = reinterpret_cast<const std::uint8_t*>(&tunnel);
        if (std::any_of(at, at + sizeof tunnel, [](std::uint8_t byte) { return byte != 0; }))
          packet.tunnel = tunnel;
        return true;
      }
      case OVS_KEY_ATTR_ETHERNET: {
        const auto set = Read<ovs_key_ethernet>(field.payload, masked);
        if (packet.l3_type != 0) return false;
        Mix(bytes, 0, set.value.eth_dst, set.mask.eth_dst);
        Mix(bytes, 6, set.value.eth_src, set.mask.eth_src);
        return true;
      }
      case OVS_KEY_ATTR_MPLS: {
        const auto set = Read<std::uint32_t>(field.payload, masked);
        const PlainView front(packet, 2);
        if (!front.mpls() || bytes.size() < front.beyond + 4) return false;
        Mix(bytes, front.beyond, set.value, set.mask);
        return true;
      }
      case OVS_KEY_ATTR_NSH:
        return SetNsh(packet, field.payload, masked);
      case OVS_KEY_ATTR_ARP: {
        const auto set = Read<ovs_key_arp>(field.payload, masked);
        if (!view.arp) return false;
        Mix(bytes, view.l3 + 6, set.value.arp_op, set.mask.arp_op);
        Mix(bytes, view.l3 + 8, set.value.arp_sha, set.mask.arp_sha);
        Mix(bytes, view.l3 + 14, set.value.arp_sip, set.mask.arp_sip);
        Mix(bytes, view.l3 + 18, set.value.arp_tha, set.mask.arp_tha);
        Mix(bytes, view.l3 + 24, set.value.arp_tip, set.mask.arp_tip);
        return true;
      }
      case OVS_KEY_ATTR_IPV4: {
        const auto set = Read<ovs_key_ipv4>(field.payload, masked);
        if (view.ip != 4) return false;
        const Frame before = bytes;
        Sound(packet, [&](Frame& frame) {
          Mix(frame, view.l3 + 1, set.value.ipv4_tos, set.mask.ipv4_tos);
          Mix(frame, view.l3 + 8, set.value.ipv4_ttl, set.mask.ipv4_ttl);
          Mix(frame, view.l3 + 12, set.value.ipv4_src, set.mask.ipv4_src);
          Mix(frame, view.l3 + 16, set.value.ipv4_dst, set.mask.ipv4_dst);
        });
        return !view.checksum_is_elsewhere || Same(before, bytes, view.l3 + 12, 8);
      }
      case OVS_KEY_ATTR_IPV6: {
        const auto set = Read<ovs_key_ipv6>(field.payload, masked);
        if (view.ip != 6) return false;
        const Frame before = bytes;
        Sound(packet, [&](Frame& frame) {
          const auto word = [](const ovs_key_ipv6& key) {
            return htonl(std::uint32_t{key.ipv6_tclass} << 20 | (ntohl(key.ipv6_label) & 0xfffff));
          };
          Mix(frame, view.l3, word(set.value), word(set.mask));
          Mix(frame, view.l3 + 7, set.value.ipv6_hlimit, set.mask.ipv6_hlimit);
          Mix(frame, view.l3 + 8, set.value.ipv6_src, set.mask.ipv6_src);
          Mix(frame, view.l3 + 24, set.value.ipv6_dst, set.mask.ipv6_dst);
        });
        return !view.checksum_is_elsewhere ||
               Same(before, bytes, view.l3 + 8, view.segments_left ? 16 : 32);
      }
      case OVS_KEY_ATTR_TCP:
      case OVS_KEY_ATTR_UDP: {
        const auto set = Read<std::uint32_t>(field.payload, masked);
        if (!view.HasLayer4(field.type == OVS_KEY_ATTR_TCP ? 6 : 17)) return view.later_fragment;
        Sound(packet, [&](Frame& frame) { Mix(frame, view.l4, set.value, set.mask); });
        return true;
      }
      case OVS_KEY_ATTR_SCTP: {
        const auto set = Read<std::uint32_t>(field.payload, masked);
        if (!view.HasLayer4(132)) return view.later_fragment;
        if (view.fragmented) return false;
        const auto stated = Get<std::uint32_t>(Bytes(bytes).subspan(view.l4 + 8));
        const std::uint32_t wrong = stated ^ Crc32c(bytes, view.l4, view.end);
        Mix(bytes, view.l4, set.value, set.mask);
        const std::uint32_t now = Crc32c(bytes, view.l4, view.end) ^ wrong;
        std::memcpy(bytes.data() + view.l4 + 8, &now, sizeof now);
        return true;
      }
      case OVS_KEY_ATTR_ICMP:
      case OVS_KEY_ATTR_ICMPV6: {
        const auto set = Read<std::uint16_t>(field.payload, masked);
        if (!view.HasLayer4(view.ip == 4 ? 1 : 58)) return view.later_fragment;
        Sound(packet, [&](Frame& frame) { Mix(frame, view.l4, set.value, set.mask); });
        return true;
      }
      case OVS_KEY_ATTR_ND: {
        const auto set = Read<ovs_key_nd>(field.payload, masked);
        const auto nd = NdOf(packet);
        if (!nd.has_value()) return view.later_fragment;
        Sound(packet, [&](Frame& frame) {
          Mix(frame, view.l4 + 8, set.value.nd_target, set.mask.nd_target);
          if (nd->sll != 0) Mix(frame, nd->sll + 2, set.value.nd_sll, set.mask.nd_sll);
          if (nd->tll != 0) Mix(frame, nd->tll + 2, set.value.nd_tll, set.mask.nd_tll);
        });
        return true;
      }
      case kKeyAttrNdExtensions: {
        const Bytes mask = masked ? field.payload.subspan(8) : Bytes(kOnes, 8);
        const auto nd = NdOf(packet);
        if (!nd.has_value()) return view.later_fragment;
        Sound(packet, [&](Frame& frame) {
          Mix(frame, view.l4 + 4, Get<std::uint32_t>(field.payload), Get<std::uint32_t>(mask));
          const std::size_t first = nd->sll == 0   ? nd->tll
                                    : nd->tll == 0 ? nd->sll
                                                   : std::min(nd->sll, nd->tll);
          if (first != 0) Mix(frame, first, field.payload[4], mask[4]);
        });
        return true;
      }
      default:
        POLLUX_CHECK(false);
        return false;
    }
  }
  static constexpr std::uint8_t kOnes[8] = {255, 255, 255, 255, 255, 255, 255, 255};

  struct Nd {
    std::size_t sll = 0;  // Where the options are; 0: there is none.
    std::size_t tll = 0;
  };
  static std::optional<Nd> NdOf(const PlainPacket& packet) {
    const PlainView view = Layers(packet);
    const Frame& bytes = packet.bytes;
    if (view.ip != 6 || !view.HasLayer4(58) || bytes[view.l4 + 1] != 0 ||
        (bytes[view.l4] != 135 && bytes[view.l4] != 136) || view.end < view.l4 + 24)
      return {};
    Nd nd;
    std::size_t length = 0;
    for (std::size_t at = view.l4 + 24; at + 8 <= view.end; at += length) {
      length = bytes[at + 1] * 8u;
      if (length == 0 || at + length > view.end) break;
      if ((bytes[at] != 1 && bytes[at] != 2) || length != 8) continue;
      std::size_t& place = bytes[at] == 1 ? nd.sll : nd.tll;
      if (place != 0) return {};
      place = at;
    }
    return nd;
  }

  static bool NshFits(const Frame& bytes, std::size_t at) {
    if (bytes.size() < at + 8 || bytes[at] >> 6 != 0) return false;
    const std::size_t length = (bytes[at + 1] & 63u) * 4;
    return length >= 8 && at + length <= bytes.size() && (bytes[at + 2] != 1 || length == 24);
  }
  static bool SetNsh(PlainPacket& packet, Bytes payload, bool masked) {
    const PlainView front(packet, 2);
    Frame& bytes = packet.bytes;
    const std::size_t at = front.beyond;
    if (!front.typed || front.type != 0x894f || !NshFits(bytes, at)) return false;
    if (const Bytes base = Find(payload, OVS_NSH_KEY_ATTR_BASE); !base.empty()) {
      const auto set = Read<ovs_nsh_key_base>(base, masked);
      const auto fields = [](const ovs_nsh_key_base& key) {
        return htons(static_cast<std::uint16_t>((key.flags & 3) << 12 | (key.ttl & 63) << 6));
      };
      Mix(bytes, at, fields(set.value), fields(set.mask));
      Mix(bytes, at + 4, set.value.path_hdr, set.mask.path_hdr);
    }
    const Bytes context = Find(payload, OVS_NSH_KEY_ATTR_MD1);
    if (context.empty()) return true;
    const auto set = Read<ovs_nsh_key_md1>(context, masked);
    if (bytes[at + 2] == 1) {
      Mix(bytes, at + 8, set.value, set.mask);
      return true;
    }
    const auto* mask = reinterpret_cast<const std::uint8_t*>(&set.mask);
    return std::all_of(mask, mask + sizeof set.mask, [](std::uint8_t byte) { return byte == 0; });
  }

  static bool Same(const Frame& a, const Frame& b, std::size_t at, std::size_t n) {
    return std::memcmp(a.data() + at, b.data() + at, n) == 0;
  }

  // False: it cannot pay.
  static bool DecTtl(PlainPacket& packet) {
    const PlainView view = Layers(packet);
    const std::size_t at = view.l3 + (view.ip == 4 ? 8 : 7);
    if (packet.bytes[at] <= 1) return false;
    Sound(packet, [&](Frame& frame) { --frame[at]; });
    return true;
  }

  // ---- Headers.

  static bool Insert(PlainPacket& packet, std::size_t at, const Frame& header) {
    const std::size_t most = std::min<std::size_t>(packet.memory, 65'535);
    if (packet.bytes.size() + header.size() > most) return false;
    packet.bytes.insert(packet.bytes.begin() + static_cast<std::ptrdiff_t>(at), header.begin(),
                        header.end());
    return true;
  }
  static void Erase(PlainPacket& packet, std::size_t at, std::size_t n) {
    const auto from = packet.bytes.begin() + static_cast<std::ptrdiff_t>(at);
    packet.bytes.erase(from, from + static_cast<std::ptrdiff_t>(n));
  }

  static bool PushMpls(PlainPacket& packet, Bytes entry, std::uint16_t type, bool in_front) {
    const PlainView front(packet, 2);
    const std::size_t padding = Padding(packet);
    in_front = in_front || packet.l3_type != 0;
    if (!in_front && !front.typed) return false;
    const Frame header(entry.begin(), entry.end());
    if (!in_front && !Lengthen(packet, front, 4)) return false;
    if (!Insert(packet, in_front ? 0 : front.beyond, header)) return false;
    if (in_front) {
      packet.l3_type = type;
    } else {
      Poke16(packet.bytes, front.type_at, type);
    }
    Forget(packet, padding);
    return true;
  }

  static bool PopMpls(PlainPacket& packet, std::uint16_t type) {
    const PlainView front(packet, 2);
    if (!front.mpls() || packet.bytes.size() < front.beyond + 4) return false;
    const bool bridged = packet.l3_type != 0 && type == 0x6558;
    if (bridged && packet.bytes.size() < 18) return false;
    const std::size_t padding = Padding(packet);
    if (!Lengthen(packet, front, -4)) return false;
    Erase(packet, front.beyond, 4);
    if (packet.l3_type == 0) {
      Poke16(packet.bytes, front.type_at, type);
    } else {
      packet.l3_type = bridged ? 0 : type;
    }
    Forget(packet, padding);
    return true;
  }

  static bool PushNsh(PlainPacket& packet, Bytes payload) {
    const std::uint16_t type = packet.l3_type;
    const std::uint8_t np = type == 0        ? 3
                            : type == 0x0800 ? 1
                            : type == 0x86dd ? 2
                            : type == 0x894f ? 4
                                             : 0;
    if (np == 0) return false;
    const std::size_t padding = Padding(packet);
    const Bytes nsh = Find(payload, OVS_KEY_ATTR_NSH);
    const auto base = Get<ovs_nsh_key_base>(Find(nsh, OVS_NSH_KEY_ATTR_BASE));
    Frame header(8);
    const Bytes metadata =
        Find(nsh, base.mdtype == 1 ? OVS_NSH_KEY_ATTR_MD1 : OVS_NSH_KEY_ATTR_MD2);
    header.insert(header.end(), metadata.begin(), metadata.end());
    Poke16(header, 0,
           static_cast<std::uint16_t>(base.flags << 12 | base.ttl << 6 | header.size() / 4));
    header[2] = base.mdtype;
    header[3] = np;
    std::memcpy(header.data() + 4, &base.path_hdr, 4);
    if (!Insert(packet, 0, header)) return false;
    packet.l3_type = 0x894f;
    Forget(packet, padding);
    return true;
  }

  static bool PopNsh(PlainPacket& packet) {
    if (packet.l3_type != 0x894f || !NshFits(packet.bytes, 0)) return false;
    const std::size_t length = (packet.bytes[1] & 63u) * 4;
    const std::uint8_t np = packet.bytes[3];
    if (np < 1 || np > 4 || (np == 3 && packet.bytes.size() < length + 14)) return false;
    const std::size_t padding = Padding(packet);
    Erase(packet, 0, length);
    packet.l3_type = np == 1 ? 0x0800 : np == 2 ? 0x86dd : np == 4 ? 0x894f : 0;
    Forget(packet, padding);
    return true;
  }

  static bool PopEth(PlainPacket& packet) {
    const PlainView front(packet, 2);
    if (packet.l3_type != 0 || !front.typed || PlainView::IsTag(Peek16(packet.bytes, 12)))
      return false;
    Erase(packet, 0, front.beyond);
    packet.l3_type = front.type;
    return true;
  }

  static bool Change(PlainPacket& packet, std::uint16_t type, Bytes payload) {
    switch (type) {
      case OVS_ACTION_ATTR_SET:
        return Set(packet, payload, false);
      case OVS_ACTION_ATTR_SET_MASKED:
        return Set(packet, payload, true);
      case OVS_ACTION_ATTR_PUSH_VLAN: {
        Frame tag(payload.begin(), payload.end());
        tag[2] = static_cast<std::uint8_t>(tag[2] & ~0x10);
        return packet.l3_type == 0 && Insert(packet, 12, tag);
      }
      case OVS_ACTION_ATTR_POP_VLAN:
        if (packet.l3_type != 0 || packet.bytes.size() < 18 ||
            !PlainView::IsTag(Peek16(packet.bytes, 12)))
          return false;
        Erase(packet, 12, 4);
        return true;
      case OVS_ACTION_ATTR_PUSH_MPLS:
        return PushMpls(packet, payload.first(4), Peek16(payload, 4), false);
      case OVS_ACTION_ATTR_ADD_MPLS:
        return PushMpls(packet, payload.first(4), Peek16(payload, 4),
                        Get<ovs_action_add_mpls>(payload).tun_flags == 0);
      case OVS_ACTION_ATTR_POP_MPLS:
        return PopMpls(packet, Peek16(payload, 0));
      case OVS_ACTION_ATTR_PUSH_ETH: {
        if (packet.l3_type == 0) return false;
        Frame header(payload.begin() + 6, payload.begin() + 12);
        header.insert(header.end(), payload.begin(), payload.begin() + 6);
        header.resize(14);
        Poke16(header, 12, packet.l3_type);
        if (!Insert(packet, 0, header)) return false;
        packet.l3_type = 0;
        return true;
      }
      case OVS_ACTION_ATTR_POP_ETH:
        return PopEth(packet);
      case OVS_ACTION_ATTR_PUSH_NSH:
        return PushNsh(packet, payload);
      default:
        POLLUX_CHECK(false);
        return false;
    }
  }

  Dice dice_;
  Hash hash_;
};

}  // namespace pollux::test
