// Frames in tunnels, as kernels make them: what is inside (packet_builder.h), and around it what
// the tunnel adds. Lengths and checksums are written here in the plainest way, and checked so, too.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "packet_builder.h"

namespace pollux::test {

struct Tunnel {
  enum class Kind : std::uint8_t { kIp, kUdp, kGre };

  const char* name = "";
  Kind kind = Kind::kUdp;
  std::uint8_t protocol = 17;        // Of the outer IP.
  std::vector<std::uint8_t> header;  // Behind IP, or UDP. Its inner type is filled in.
  bool ethernet = true;              // Inside; else IP.
  // Where the header says what is inside: an EtherType, or a small number; 0: nowhere.
  std::size_t type_at = 0;
  std::size_t next_at = 0;
};

inline std::vector<Tunnel> EveryTunnel() {
  using Kind = Tunnel::Kind;
  return {
      {"vxlan", Kind::kUdp, 17, {8, 0, 0, 0, 0, 0, 7, 0}, true},
      {"vxlan with a group policy", Kind::kUdp, 17, {0x88, 0, 0x12, 0x34, 0, 0, 7, 0}, true},
      {"vxlan-gpe", Kind::kUdp, 17, {12, 0, 0, 3, 0, 0, 7, 0}, true},
      {"vxlan-gpe, IP", Kind::kUdp, 17, {12, 0, 0, 0, 0, 0, 7, 0}, false, 0, 3},
      {"geneve", Kind::kUdp, 17, {0, 0, 0x65, 0x58, 0, 0, 7, 0}, true},
      {"geneve with options",
       Kind::kUdp,
       17,
       {3, 0x40, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 2, 8, 8, 8, 8, 9, 9, 9, 9},
       true},
      {"geneve, IP", Kind::kUdp, 17, {0, 0, 0, 0, 0, 0, 7, 0}, false, 2},
      {"fou", Kind::kUdp, 17, {}, false},
      {"gue", Kind::kUdp, 17, {0, 0, 0, 0}, false, 0, 1},
      {"gretap", Kind::kGre, 47, {0, 0, 0x65, 0x58}, true},
      {"gre", Kind::kGre, 47, {0, 0, 0, 0}, false, 2},
      {"gre with checksum, key and sequence",
       Kind::kGre,
       47,
       {0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1},
       true},
      {"ip in ip", Kind::kIp, 0, {}, false},
      {"ethernet in ip", Kind::kIp, 143, {}, true},
  };
}

// How a packet goes through a tunnel.
struct Wrapping {
  Tunnel tunnel;
  bool ipv6 = false;
  bool checksum = false;  // Of UDP.
  bool ipv6_inside = false;
};

inline Frame Inside(const Tunnel& tunnel, const Frame& frame) {
  return tunnel.ethernet ? frame : Frame(frame.begin() + 14, frame.end());
}
inline std::size_t OuterSize(const Wrapping& wrapping) {
  return 14 + (wrapping.ipv6 ? 40u : 20u) + (wrapping.tunnel.kind == Tunnel::Kind::kUdp ? 8u : 0u) +
         wrapping.tunnel.header.size() - (wrapping.tunnel.ethernet ? 0u : 14u);
}
// The sum of the outer pseudo-header, in host order.
inline std::uint64_t OuterPseudo(const Frame& frame, bool ipv6, std::size_t length) {
  std::uint64_t sum = 17 + length;
  for (std::size_t at = ipv6 ? 22 : 26; at < (ipv6 ? 54u : 34u); at += 2) sum += Peek16(frame, at);
  return sum;
}

// `frame` without tags through a tunnel. `gso`: the outer checksum is that of the pseudo-header.
inline Frame Wrap(const Wrapping& wrapping, const Frame& frame, bool gso) {
  const Tunnel& tunnel = wrapping.tunnel;
  const Frame inside = Inside(tunnel, frame);
  std::vector<std::uint8_t> header = tunnel.header;
  if (tunnel.type_at != 0) Poke16(header, tunnel.type_at, wrapping.ipv6_inside ? 0x86dd : 0x0800);
  if (tunnel.next_at != 0) {
    const bool gue = tunnel.next_at == 1;
    Poke8(header, tunnel.next_at,
          static_cast<std::uint8_t>(gue ? (wrapping.ipv6_inside ? 41 : 4)
                                        : (wrapping.ipv6_inside ? 2 : 1)));
  }
  std::uint8_t protocol = tunnel.protocol;
  if (protocol == 0) protocol = wrapping.ipv6_inside ? 41 : 4;
  EthernetFrame outer;
  if (wrapping.ipv6) {
    outer.Ipv6("fd00::1", "fd00::2", {.next_header = protocol});
  } else {
    outer.Ipv4("172.16.0.1", "172.16.0.2", {.protocol = protocol});
  }
  const std::size_t l4 = outer.size();
  if (tunnel.kind == Tunnel::Kind::kUdp) outer.Udp(50'000, 4789, false);
  for (const std::uint8_t byte : header) outer.Raw({byte});
  for (const std::uint8_t byte : inside) outer.Raw({byte});
  Frame made = outer.Build();
  if (tunnel.kind == Tunnel::Kind::kUdp && wrapping.checksum) {
    const std::uint64_t pseudo = OuterPseudo(made, wrapping.ipv6, made.size() - l4);
    const auto folded = static_cast<std::uint16_t>(~SlowChecksum({}, pseudo));
    const std::uint16_t whole = SlowChecksum(std::span(made).subspan(l4), pseudo);
    Poke16(made, l4 + 6, gso ? folded : whole != 0 ? whole : 0xffff);
  }
  if (tunnel.kind == Tunnel::Kind::kGre && (header[0] & 0x80) != 0 && !gso)
    Poke16(made, l4 + 4, SlowChecksum(std::span(made).subspan(l4)));
  return made;
}

// What is inside of a frame of the wire, if all that is around it is right; else empty, and `why`.
inline Frame Unwrap(const Wrapping& wrapping, const Frame& frame, std::string& why) {
  const bool udp = wrapping.tunnel.kind == Tunnel::Kind::kUdp;
  const std::size_t l4 = wrapping.ipv6 ? 54 : 34;
  const auto wrong = [&](const char* what) {
    why = what;
    return Frame();
  };
  if (frame.size() < OuterSize(wrapping)) return wrong("short");
  if (wrapping.ipv6) {
    if (Peek16(frame, 18) != frame.size() - 54) return wrong("outer payload length");
  } else {
    if (Peek16(frame, 16) != frame.size() - 14) return wrong("outer total length");
    if (SlowChecksum(std::span(frame).subspan(14, 20)) != 0) return wrong("outer header checksum");
  }
  const auto bytes = std::span(frame).subspan(l4);
  if (udp) {
    if (Peek16(frame, l4 + 4) != bytes.size()) return wrong("UDP length");
    const std::uint16_t field = Peek16(frame, l4 + 6);
    if (!wrapping.checksum && field != 0) return wrong("a checksum where there was none");
    if (wrapping.checksum &&
        (field == 0 || SlowChecksum(bytes, OuterPseudo(frame, wrapping.ipv6, bytes.size())) != 0))
      return wrong("UDP checksum");
  }
  if (wrapping.tunnel.kind == Tunnel::Kind::kGre && (wrapping.tunnel.header[0] & 0x80) != 0 &&
      SlowChecksum(bytes) != 0)
    return wrong("GRE checksum");
  Frame inside;
  if (!wrapping.tunnel.ethernet) {
    inside = EthernetFrame().Type(wrapping.ipv6_inside ? 0x86dd : 0x0800).Build();
  }
  const std::size_t at = l4 + (udp ? 8 : 0) + wrapping.tunnel.header.size();
  inside.insert(inside.end(), frame.begin() + static_cast<std::ptrdiff_t>(at), frame.end());
  return inside;
}

}  // namespace pollux::test
