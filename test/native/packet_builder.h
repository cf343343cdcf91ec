// Frames for tests, layer by layer:
//
//   EthernetFrame().Vlan(5).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Payload(20).Build()
//
// Build() fills in lengths, next protocols and checksums, so a frame is right unless a test makes
// it wrong: by Poke() on the result, or with Raw(). Checksums are computed here in the plainest
// way, byte by byte, and by no code of the core: the rewrites are tested against them. HeapPacket
// holds a frame in a block of exactly its size, so that AddressSanitizer sees every step outside.
#pragma once

#include <arpa/inet.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "packet/packet.h"

namespace pollux::test {

using Frame = std::vector<std::uint8_t>;

inline void Poke8(Frame& frame, std::size_t at, std::uint8_t value) { frame.at(at) = value; }
inline void Poke16(Frame& frame, std::size_t at, std::uint16_t value) {
  frame.at(at) = static_cast<std::uint8_t>(value >> 8);
  frame.at(at + 1) = static_cast<std::uint8_t>(value);
}
inline std::uint16_t Peek16(std::span<const std::uint8_t> frame, std::size_t at) {
  POLLUX_CHECK(at + 2 <= frame.size());
  return static_cast<std::uint16_t>(frame[at] << 8 | frame[at + 1]);
}

inline std::array<std::uint8_t, 6> Mac(const char* text) {
  unsigned b[6] = {};
  POLLUX_CHECK(std::sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) ==
               6);
  std::array<std::uint8_t, 6> mac;
  for (std::size_t i = 0; i < 6; ++i) mac[i] = static_cast<std::uint8_t>(b[i]);
  return mac;
}
// In network order, as in a Flow.
inline std::uint32_t Ip4(const char* text) {
  in_addr address;
  POLLUX_CHECK(inet_pton(AF_INET, text, &address) == 1);
  return address.s_addr;
}
inline std::array<std::uint8_t, 16> Ip6(const char* text) {
  std::array<std::uint8_t, 16> address;
  POLLUX_CHECK(inet_pton(AF_INET6, text, address.data()) == 1);
  return address;
}

// The Internet checksum, slowly; in host order. Of bytes that contain their right checksum: 0.
inline std::uint16_t SlowChecksum(std::span<const std::uint8_t> bytes, std::uint64_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += i % 2 == 0 ? std::uint64_t{bytes[i]} << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

struct Ip4Fields {
  std::uint8_t tos = 0;
  std::uint8_t ttl = 64;
  std::uint16_t fragment = 0;   // Flags and offset, as on the wire.
  std::size_t options = 0;      // Bytes, a multiple of four.
  std::uint8_t protocol = 253;  // Unless a layer follows that says its own.
};
struct Ip6Fields {
  std::uint8_t traffic_class = 0;
  std::uint8_t hop_limit = 64;
  std::uint32_t label = 0;
  std::uint8_t next_header = 59;  // Unless a layer follows.
};

struct NshValues {
  std::uint8_t flags = 0;
  std::uint8_t ttl = 63;
  std::uint8_t mdtype = 1;   // 1: sixteen bytes of metadata follow, c0 c1 c2 …
  std::size_t metadata = 0;  // Bytes, a multiple of four, of another type of metadata.
  std::uint8_t np = 1;
  std::uint32_t path = 0x123456fe;
};

class EthernetFrame {
 public:
  explicit EthernetFrame(const char* dst = "02:00:00:00:00:02",
                         const char* src = "02:00:00:00:00:01", std::uint16_t type = 0x88b5) {
    for (std::uint8_t byte : Mac(dst)) Add8(byte);
    for (std::uint8_t byte : Mac(src)) Add8(byte);
    type_at_ = frame_.size();
    Add16(type);
  }

  EthernetFrame& Vlan(std::uint16_t vid, std::uint8_t pcp = 0, std::uint16_t tpid = 0x8100) {
    Type(tpid);
    Add16(static_cast<std::uint16_t>(pcp << 13 | vid));
    type_at_ = frame_.size();
    Add16(0x88b5);
    return *this;
  }
  // An 802.3 length, LLC and SNAP.
  EthernetFrame& Snap() {
    length_at_ = type_at_;
    Add({0xaa, 0xaa, 0x03, 0, 0, 0});
    type_at_ = frame_.size();
    Add16(0x88b5);
    return *this;
  }
  // The EtherType of what follows. Labels and service headers hide it.
  EthernetFrame& Type(std::uint16_t type) {
    if (type_at_ != 0) Poke16(frame_, type_at_, type);
    return *this;
  }
  EthernetFrame& Mpls(std::uint32_t label, bool bottom, std::uint8_t tc = 0, std::uint8_t ttl = 64,
                      std::uint16_t type = 0x8847) {
    Type(type);
    type_at_ = 0;
    Add32(label << 12 | static_cast<std::uint32_t>(tc) << 9 | (bottom ? 0x100u : 0u) | ttl);
    return *this;
  }
  EthernetFrame& Nsh(const NshValues& nsh = {}) {
    Type(0x894f);
    type_at_ = 0;
    const std::size_t metadata = nsh.mdtype == 1 ? 16 : nsh.metadata;
    Add16(static_cast<std::uint16_t>(nsh.flags << 12 | nsh.ttl << 6 | (8 + metadata) / 4));
    Add({nsh.mdtype, nsh.np});
    Add32(nsh.path);
    for (std::size_t i = 0; i < metadata; ++i) Add8(static_cast<std::uint8_t>(0xc0 + i));
    return *this;
  }

  EthernetFrame& Arp(std::uint16_t operation, const char* sip, const char* tip,
                     const char* sha = "02:00:00:00:00:01", const char* tha = "00:00:00:00:00:00") {
    Type(0x0806);
    Add16(1);
    Add16(0x0800);
    Add({6, 4});
    Add16(operation);
    for (std::uint8_t byte : Mac(sha)) Add8(byte);
    AddIp4(sip);
    for (std::uint8_t byte : Mac(tha)) Add8(byte);
    AddIp4(tip);
    return *this;
  }

  EthernetFrame& Ipv4(const char* src, const char* dst, const Ip4Fields& fields = {}) {
    Type(0x0800);
    ip_at_ = frame_.size();
    ip4_ = true;
    ip_header_ = 20 + fields.options;
    Add8(static_cast<std::uint8_t>(0x40 | ip_header_ / 4));
    Add8(fields.tos);
    Add16(0);
    Add16(0x1234);
    Add16(fields.fragment);
    Add8(fields.ttl);
    next_at_ = frame_.size();
    Add8(fields.protocol);
    Add16(0);
    AddIp4(src);
    AddIp4(dst);
    for (std::size_t i = 0; i < fields.options; ++i) Add8(1);
    return *this;
  }
  EthernetFrame& Ipv6(const char* src, const char* dst, const Ip6Fields& fields = {}) {
    Type(0x86dd);
    ip_at_ = frame_.size();
    ip6_ = true;
    ip_header_ = 40;
    Add32(6u << 28 | std::uint32_t{fields.traffic_class} << 20 | fields.label);
    Add16(0);
    next_at_ = frame_.size();
    Add8(fields.next_header);
    Add8(fields.hop_limit);
    for (std::uint8_t byte : Ip6(src)) Add8(byte);
    for (std::uint8_t byte : Ip6(dst)) Add8(byte);
    return *this;
  }
  // Hop-by-hop (0), destination options (60): `units` of eight bytes.
  EthernetFrame& Options(std::uint8_t type, std::size_t units = 1) {
    Next(type);
    Add8(static_cast<std::uint8_t>(units - 1));
    Add({1, static_cast<std::uint8_t>(units * 8 - 4)});
    for (std::size_t i = 4; i < units * 8; ++i) Add8(0);
    return *this;
  }
  EthernetFrame& Routing(std::uint8_t segments_left, const char* segment = "2001:db8::99") {
    Next(43);
    Add({2, 0, segments_left, 0, 0, 0, 0});
    for (std::uint8_t byte : Ip6(segment)) Add8(byte);
    if (segments_left > 0) final_ = Ip6(segment);
    return *this;
  }
  EthernetFrame& Authentication() {
    Next(51);
    Add({4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9});
    return *this;
  }
  // Offset in units of eight bytes.
  EthernetFrame& Fragment(std::uint16_t offset, bool more) {
    Next(44);
    Add8(0);
    Add16(static_cast<std::uint16_t>(offset << 3 | (more ? 1 : 0)));
    Add32(0xabcdef01);
    return *this;
  }

  EthernetFrame& Tcp(std::uint16_t src, std::uint16_t dst, std::uint16_t flags = 0x010,
                     std::size_t options = 0) {
    Layer4(6, 16);
    Add16(src);
    Add16(dst);
    Add32(1);
    Add32(2);
    Add16(static_cast<std::uint16_t>((5 + options / 4) << 12 | flags));
    Add16(1000);
    Add16(0);
    Add16(0);
    for (std::size_t i = 0; i < options; ++i) Add8(1);
    return *this;
  }
  EthernetFrame& Udp(std::uint16_t src, std::uint16_t dst, bool checksum = true) {
    Layer4(17, checksum ? 6 : 0);
    Add16(src);
    Add16(dst);
    Add16(0);
    Add16(0);
    return *this;
  }
  EthernetFrame& Sctp(std::uint16_t src, std::uint16_t dst) {
    Layer4(132, 0);
    Add16(src);
    Add16(dst);
    Add32(7);
    Add32(0);
    return *this;
  }
  // ICMP over IPv4, ICMPv6 over IPv6.
  EthernetFrame& Icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest = 0) {
    Layer4(ip6_ ? 58 : 1, 2);
    Add({type, code, 0, 0});
    Add32(rest);
    return *this;
  }
  // What follows the ICMPv6 header of a solicitation (135) or advertisement (136).
  EthernetFrame& NdTarget(const char* target) {
    for (std::uint8_t byte : Ip6(target)) Add8(byte);
    return *this;
  }
  EthernetFrame& NdOption(std::uint8_t type, std::uint8_t length, const char* mac) {
    Add({type, length});
    for (std::uint8_t byte : Mac(mac)) Add8(byte);
    return *this;
  }

  EthernetFrame& Payload(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) Add8(static_cast<std::uint8_t>(i * 7 + 3));
    return *this;
  }
  EthernetFrame& Raw(std::initializer_list<std::uint8_t> bytes) { return Add(bytes); }
  // Behind what IP says it is long.
  EthernetFrame& Padding(std::size_t n) {
    padding_ = n;
    return *this;
  }

  // Where things are, for Poke().
  std::size_t ip_at() const { return ip_at_; }
  std::size_t l4_at() const { return l4_at_; }
  std::size_t size() const { return frame_.size(); }

  Frame Build() const {
    Frame frame = frame_;
    if (length_at_ != 0)
      Poke16(frame, length_at_, static_cast<std::uint16_t>(frame.size() - length_at_ - 2));
    if (ip4_) Poke16(frame, ip_at_ + 2, static_cast<std::uint16_t>(frame.size() - ip_at_));
    if (ip6_) Poke16(frame, ip_at_ + 4, static_cast<std::uint16_t>(frame.size() - ip_at_ - 40));
    if (l4_at_ != 0 && protocol_ == 17)
      Poke16(frame, l4_at_ + 4, static_cast<std::uint16_t>(frame.size() - l4_at_));
    if (ip4_)
      Poke16(frame, ip_at_ + 10, SlowChecksum(std::span(frame).subspan(ip_at_, ip_header_)));
    if (checksum_at_ != 0) {
      Poke16(frame, checksum_at_, 0);
      std::uint16_t checksum = Layer4Checksum(frame);
      if (protocol_ == 17 && checksum == 0) checksum = 0xffff;
      Poke16(frame, checksum_at_, checksum);
    }
    for (std::size_t i = 0; i < padding_; ++i)
      frame.push_back(0xee);  // Not zero: reading it must show.
    return frame;
  }

 private:
  EthernetFrame& Add(std::initializer_list<std::uint8_t> bytes) {
    frame_.insert(frame_.end(), bytes);
    return *this;
  }
  void Add8(std::uint8_t value) { frame_.push_back(value); }
  void Add16(std::uint16_t value) {
    Add8(static_cast<std::uint8_t>(value >> 8));
    Add8(static_cast<std::uint8_t>(value));
  }
  void Add32(std::uint32_t value) {
    Add16(static_cast<std::uint16_t>(value >> 16));
    Add16(static_cast<std::uint16_t>(value));
  }
  void AddIp4(const char* text) {
    const std::uint32_t address = Ip4(text);
    std::uint8_t bytes[4];
    std::memcpy(bytes, &address, 4);
    Add({bytes[0], bytes[1], bytes[2], bytes[3]});
  }
  // An extension header: says its type in the header before and starts with the place of the next
  // one's.
  void Next(std::uint8_t type) {
    frame_.at(next_at_) = type;
    next_at_ = frame_.size();
    Add8(59);
  }
  void Layer4(std::uint8_t protocol, std::size_t checksum_offset) {
    if (next_at_ != 0) frame_.at(next_at_) = protocol;
    protocol_ = protocol;
    l4_at_ = frame_.size();
    checksum_at_ = checksum_offset != 0 ? l4_at_ + checksum_offset : 0;
  }
  std::uint16_t Layer4Checksum(const Frame& frame) const {
    const auto l4 = std::span(frame).subspan(l4_at_);
    std::uint64_t sum = 0;
    if (ip4_ && protocol_ == 1) return SlowChecksum(l4);
    if (ip4_) {
      for (std::size_t i = 12; i < 20; i += 2) sum += Peek16(frame, ip_at_ + i);
    } else {
      for (std::size_t i = 8; i < 24; i += 2) sum += Peek16(frame, ip_at_ + i);
      for (std::size_t i = 0; i < 16; i += 2) {
        sum += final_.empty() ? Peek16(frame, ip_at_ + 24 + i) : Peek16(final_, i);
      }
    }
    return SlowChecksum(l4, sum + protocol_ + l4.size());
  }

  // An address, or nothing.
  struct Final : std::vector<std::uint8_t> {
    Final& operator=(const std::array<std::uint8_t, 16>& address) {
      assign(address.begin(), address.end());
      return *this;
    }
  };

  Frame frame_;
  std::size_t type_at_ = 0;
  std::size_t length_at_ = 0;
  std::size_t next_at_ = 0;
  std::size_t ip_at_ = 0;
  std::size_t ip_header_ = 0;
  std::size_t l4_at_ = 0;
  std::size_t checksum_at_ = 0;
  std::size_t padding_ = 0;
  std::uint8_t protocol_ = 0;
  bool ip4_ = false;
  bool ip6_ = false;
  Final final_;  // The last segment, if the destination address is not the final one.
};

// A packet outside of any pool, in a block of exactly `headroom` bytes and the frame.
class HeapPacket {
 public:
  explicit HeapPacket(std::span<const std::uint8_t> frame, std::uint32_t in_port = 1,
                      std::size_t headroom = 0)
      : block_(static_cast<std::uint8_t*>(std::malloc(headroom + frame.size()))) {
    if (!frame.empty()) std::memcpy(block_.get() + headroom, frame.data(), frame.size());
    packet_.chunk = block_.get();
    packet_.chunk_size = static_cast<std::uint32_t>(headroom + frame.size());
    packet_.data = block_.get() + headroom;
    packet_.size = static_cast<std::uint32_t>(frame.size());
    packet_.in_port = PortNumber{in_port};
  }

  Packet& operator*() { return packet_; }
  Packet* operator->() { return &packet_; }
  Frame frame() const { return Frame(packet_.data, packet_.data + packet_.size); }

 private:
  struct FreeBlock {
    void operator()(std::uint8_t* block) const { std::free(block); }
  };
  std::unique_ptr<std::uint8_t[], FreeBlock> block_;
  Packet packet_;
};

// One frame of every kind the parser knows. `name` is for messages.
struct NamedFrame {
  const char* name;
  Frame frame;
};
inline std::vector<NamedFrame> EveryKind() {
  const auto v4 = [](const Ip4Fields& fields = {}) {
    return EthernetFrame().Ipv4("10.0.0.1", "10.0.0.2", fields);
  };
  const auto v6 = [](const Ip6Fields& fields = {}) {
    return EthernetFrame().Ipv6("2001:db8::1", "2001:db8::2", fields);
  };
  return {
      {"ethernet", EthernetFrame().Payload(46).Build()},
      {"802.2", EthernetFrame().Type(40).Raw({0x42, 0x42, 0x03}).Payload(37).Build()},
      {"snap ipv4 udp", EthernetFrame().Snap().Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Build()},
      {"arp", EthernetFrame().Arp(1, "10.0.0.1", "10.0.0.2").Build()},
      {"rarp", EthernetFrame().Arp(3, "0.0.0.0", "0.0.0.0").Type(0x8035).Build()},
      {"ipv4", v4().Payload(8).Build()},
      {"ipv4 tcp", v4().Tcp(1000, 80, 0x002).Payload(5).Build()},
      {"ipv4 tcp options", v4({.options = 8}).Tcp(1000, 80, 0x1ff, 12).Payload(6).Build()},
      {"ipv4 udp", v4().Udp(1000, 53).Payload(7).Build()},
      {"ipv4 udp no checksum", v4().Udp(1000, 53, false).Payload(7).Build()},
      {"ipv4 sctp", v4().Sctp(1000, 36412).Payload(4).Build()},
      {"ipv4 icmp", v4().Icmp(8, 0).Payload(16).Build()},
      {"ipv4 first fragment", v4({.fragment = 0x2000}).Udp(5, 6).Payload(16).Build()},
      {"ipv4 later fragment", v4({.fragment = 0x0003, .protocol = 17}).Payload(16).Build()},
      {"ipv4 options udp", v4({.tos = 0xb9, .options = 40}).Udp(7, 8).Build()},
      {"ipv6", v6().Payload(9).Build()},
      {"ipv6 tcp",
       v6({.traffic_class = 0xab, .label = 0x12345}).Tcp(1, 2, 0x018).Payload(3).Build()},
      {"ipv6 udp", v6().Udp(1, 2).Payload(4).Build()},
      {"ipv6 sctp", v6().Sctp(1, 2).Build()},
      {"ipv6 icmpv6", v6().Icmp(128, 0).Payload(8).Build()},
      {"ipv6 extensions tcp", v6().Options(0).Options(60, 3).Authentication().Tcp(9, 10).Build()},
      {"ipv6 routing udp", v6().Routing(1).Udp(9, 10).Payload(5).Build()},
      {"ipv6 used routing udp", v6().Routing(0).Udp(9, 10).Payload(5).Build()},
      {"ipv6 first fragment", v6().Fragment(0, true).Udp(9, 10).Payload(8).Build()},
      {"ipv6 later fragment", v6().Fragment(2, false).Payload(24).Build()},
      {"nd solicitation",
       v6().Icmp(135, 0).NdTarget("fe80::1").NdOption(1, 1, "02:00:00:00:00:0a").Build()},
      {"nd advertisement",
       v6().Icmp(136, 0).NdTarget("fe80::1").NdOption(2, 1, "02:00:00:00:00:0b").Build()},
      {"vlan", EthernetFrame().Vlan(5, 3).Payload(40).Build()},
      {"vlan ipv4 tcp", EthernetFrame().Vlan(5).Ipv4("10.0.0.1", "10.0.0.2").Tcp(1, 2).Build()},
      {"qinq ipv4 udp", EthernetFrame()
                            .Vlan(5, 0, 0x88a8)
                            .Vlan(6, 7)
                            .Ipv4("10.0.0.1", "10.0.0.2")
                            .Udp(1, 2)
                            .Payload(1)
                            .Build()},
      {"qinq ipv6 udp",
       EthernetFrame().Vlan(0, 0, 0x9100).Vlan(4095).Ipv6("::1", "::2").Udp(1, 2).Build()},
      {"three tags",
       EthernetFrame().Vlan(1).Vlan(2).Vlan(3).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Build()},
      {"all zero", EthernetFrame("00:00:00:00:00:00", "00:00:00:00:00:00")
                       .Ipv4("0.0.0.0", "0.0.0.0", {.ttl = 0})
                       .Udp(0, 0)
                       .Build()},
      {"ipv4 proto 0", v4({.protocol = 0}).Payload(8).Build()},
      {"nd extensions", v6().Icmp(136, 0, 0x60000001)
                            .NdTarget("fe80::1")
                            .NdOption(2, 1, "02:00:00:00:00:0b")
                            .NdOption(1, 1, "02:00:00:00:00:0a")
                            .Build()},
      {"mpls ipv4",
       EthernetFrame().Mpls(100, true, 3).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Build()},
      {"mpls three labels", EthernetFrame()
                                .Mpls(16, false, 7, 1, 0x8848)
                                .Mpls(0xfffff, false, 0, 255)
                                .Mpls(0, true, 0, 0)
                                .Payload(20)
                                .Build()},
      {"mpls four labels", EthernetFrame()
                               .Vlan(9)
                               .Mpls(16, false)
                               .Mpls(17, false)
                               .Mpls(18, false)
                               .Mpls(19, true)
                               .Payload(20)
                               .Build()},
      {"nsh", EthernetFrame().Nsh({.flags = 2}).Ipv4("10.0.0.1", "10.0.0.2").Udp(1, 2).Build()},
      {"nsh type 2",
       EthernetFrame().Vlan(9).Nsh({.mdtype = 2, .metadata = 12}).Payload(20).Build()},
      {"nsh bare", EthernetFrame().Nsh({.ttl = 0, .mdtype = 2, .path = 0}).Payload(20).Build()},
      {"snap mpls", EthernetFrame().Snap().Mpls(5, true).Payload(20).Build()},
  };
}

}  // namespace pollux::test
