// Layers: what stands in a frame from the outside in, through tunnels.
//
// A LayerWalk goes from one layer 4 to the next: to the TCP or UDP of the frame, and, if that is
// the UDP of a tunnel, on to what stands behind the tunnel's header, and so on. What kind of tunnel
// it is, nobody says: ports are the administrator's choice. The first bytes of the header tell
// VXLAN, its generic extension, Geneve, GUE and plain IP apart, since what one of them demands the
// others forbid. So UDP with the right bytes by chance is taken for a tunnel as well: whoever walks
// must know what he looks for (a checksum that starts here, a field of this value) and believe
// nothing else. GRE, IP in IP, Ethernet in IP, MPLS and a segment routing header say themselves
// what they are.
//
// Every length that a header states about itself is checked against what it stands in, and nothing
// outside of the frame is read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/checksum.h"

namespace pollux {

// What the first four bytes behind UDP are, under `mask`, in host order, if it is a tunnel. Plain
// IP is told by its version and its length.
enum class UdpTunnelKind : std::uint8_t { kVxlan, kVxlanGpe, kGeneve, kGue };
struct UdpTunnelMark {
  UdpTunnelKind kind;
  std::uint32_t mask;
  std::uint32_t value;
};
inline constexpr UdpTunnelMark kUdpTunnelMarks[] = {
    {UdpTunnelKind::kVxlan, 0xffffffff, 0x08000000},
    {UdpTunnelKind::kVxlan, 0xffb70000, 0x88000000},     // With a group policy.
    {UdpTunnelKind::kVxlanGpe, 0xffffff00, 0x0c000000},  // What follows, in the last byte.
    {UdpTunnelKind::kGeneve, 0xc03fffff, 0x00006558},    // So many options, and what follows.
    {UdpTunnelKind::kGeneve, 0xc03fffff, 0x00000800},
    {UdpTunnelKind::kGeneve, 0xc03fffff, 0x000086dd},
    {UdpTunnelKind::kGue, 0xe0ffffff, 0x00040000},
    {UdpTunnelKind::kGue, 0xe0ffffff, 0x00290000},
};

// A header that says how long what follows is, or sums it.
struct OuterHeader {
  enum class Kind : std::uint8_t { kIpv4, kIpv6, kUdp, kGre };
  Kind kind;
  std::uint16_t at;
};

struct Layers {
  static constexpr std::size_t kMaxOuter = 8;

  // Of the tunnels, from the outermost on.
  std::array<OuterHeader, kMaxOuter> outer;
  std::uint32_t outers = 0;
  bool tunnel = false;    // Labels or another IP header stand in front of layer 3...
  bool ethernet = false;  // ... and an Ethernet header right in front of it.

  std::uint32_t l3 = 0;
  std::uint32_t l4 = 0;
  std::uint32_t end = 0;  // Of what IP says is the packet; the rest is padding.
  std::uint8_t protocol = 0;
  bool ipv4 = false;
  bool fragment = false;
  bool routed = false;  // Checksums are about a last destination that a routing header has.

  std::uint32_t room() const { return end - l4; }
  // Where TCP's or UDP's payload starts; 0 if the header does not fit or lies.
  std::uint32_t PayloadAt(const std::uint8_t* frame) const;
  // The sum of the pseudo-header, for so many bytes of layer 4.
  Sum PseudoSum(const std::uint8_t* frame, std::uint32_t length) const;
};

class LayerWalk {
 public:
  explicit LayerWalk(std::span<const std::uint8_t> frame)
      : data_(frame.data()), size_(frame.size()) {}

  // Goes to the first layer 4, then to the next one inside of it. False: there is none, or nothing
  // known stands there, or it does not fit.
  bool Next();
  const Layers& layers() const { return layers_; }

 private:
  bool Enter(std::uint32_t ether_type, std::uint32_t at);
  bool EnterEthernet(std::uint32_t at);
  bool EnterMpls(std::uint32_t at);
  bool EnterIpv4(std::uint32_t at);
  bool EnterIpv6(std::uint32_t at);
  bool EnterIp(std::uint32_t at);
  bool EnterGre(std::uint32_t at);
  bool EnterUdp(std::uint32_t at);
  bool AddOuter(OuterHeader::Kind kind, std::uint32_t at);
  std::uint32_t Get16(std::uint32_t at) const {
    return static_cast<std::uint32_t>(data_[at] << 8 | data_[at + 1]);
  }
  bool Has(std::uint32_t at, std::uint32_t n) const {
    return at <= layers_.end && n <= layers_.end - at;
  }

  const std::uint8_t* data_;
  std::size_t size_;
  bool begun_ = false;
  Layers layers_;
};

}  // namespace pollux
