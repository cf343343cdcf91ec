// The program of offloaded flows decides as the datapath does, or leaves the frame to it.

#include "netdev/af_xdp/xdp_flows.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernel/bpf/bpf.h"
#include "kernel/bpf/bpf_assembler.h"
#include "nearly_of_the_shape.h"
#include "netdev/af_xdp/partial_checksum.h"
#include "packet/checksum.h"
#include "packet_builder.h"
#include "testbed.h"
#include "tunnel_builder.h"

namespace pollux::test {
namespace {

using Random = std::mt19937;

// The program of `flows` by itself; what it leaves passes.
class Program {
 public:
  explicit Program(const XdpFlows& flows) {
    BpfAssembler assembler;
    assembler.Add(kBpfMove, 6, 1, 0, 0);
    flows.Assemble(assembler);
    assembler.Return(XDP_PASS);
    fd_ = LoadBpfProgram(BPF_PROG_TYPE_XDP, assembler.code(), BPF_F_XDP_HAS_FRAGS);
    CHECK_MESSAGE(fd_ >= 0, "the kernel refuses the program: " << std::strerror(errno));
  }
  ~Program() { close(fd_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::uint32_t Run(const Frame& frame) const {
    bpf_attr attributes = NoBpfAttributes();
    attributes.test.prog_fd = static_cast<std::uint32_t>(fd_);
    attributes.test.data_in = reinterpret_cast<std::uintptr_t>(frame.data());
    attributes.test.data_size_in = static_cast<std::uint32_t>(frame.size());
    attributes.test.repeat = 1;
    CHECK(Bpf(BPF_PROG_TEST_RUN, attributes) == 0);
    return attributes.test.retval;
  }

 private:
  int fd_ = -1;
};

std::unique_ptr<XdpFlows> MakeFlows(const HeaderMask& mask) {
  Result<std::unique_ptr<XdpFlows>> flows = XdpFlows::Make(mask);
  if (flows) return std::move(*flows);
  if (flows.error().number == EPERM) {
    std::printf("SKIPPED: no BPF here\n");
  } else {
    FAIL_CHECK(flows.error().message);
  }
  return nullptr;
}

// What the datapath finds: a key, or nothing that can be offloaded.
std::optional<HeaderKey> KeyOf(const Frame& frame, const HeaderMask& mask) {
  HeapPacket packet(frame);
  const HeaderShape shape = ShapeOf(*packet);
  if (shape == HeaderShape::kOther) return std::nullopt;
  FindPartialChecksum(*packet);
  // Of a padded frame it is finished on the spot.
  if (packet->offloads != 0 || !std::equal(frame.begin(), frame.end(), packet->data))
    return std::nullopt;
  HeaderKey key{};
  mask.MakeKey(*packet, shape, key);
  return key;
}

Frame WithPartialChecksum(Frame frame) {
  const bool tcp = frame[23] == kProtoTcp;
  const std::size_t at = tcp ? 50 : 40;
  const auto length = static_cast<std::uint32_t>(frame.size() - 34);
  const std::uint16_t sum =
      FoldSum(PseudoSum4(std::span<const std::uint8_t, 4>(&frame[26], 4),
                         std::span<const std::uint8_t, 4>(&frame[30], 4), frame[23], length));
  std::memcpy(frame.data() + at, &sum, 2);
  return frame;
}

}  // namespace

TEST_CASE("xdp flows: any frame, damaged or not, goes as the datapath would have it go") {
  Random random(7);
  std::size_t taken = 0, left = 0, partial = 0;
  for (int round = 0; round < 12; ++round) {
    const HeaderMask mask(round == 0 ? FlowMask{} : RandomMask(random));
    const std::unique_ptr<XdpFlows> flows = MakeFlows(mask);
    if (flows == nullptr) return;
    const Program program(*flows);
    std::map<HeaderKey, std::pair<XdpFlows::Entry, XdpFlows::Counts>> entries;
    for (int i = 0; i < 2'000; ++i) {
      const Frame frame = NearlyOfTheShape(random);
      const std::optional<HeaderKey> key = KeyOf(frame, mask);
      if (key && random() % 4 == 0 && !entries.contains(*key)) {
        const auto entry = flows->Add(*key, {});
        REQUIRE(entry);
        entries[*key] = {*entry, {}};
      }
      const bool hot = key && entries.contains(*key) && frame.size() >= XdpFlows::kMinFrame;
      REQUIRE(program.Run(frame) == (hot ? XDP_DROP : XDP_PASS));
      ++(hot ? taken : left);
      if (!hot) continue;
      HeapPacket packet(frame);
      XdpFlows::Counts& counts = entries[*key].second;
      ++counts.packets;
      counts.bytes += frame.size();
      if (ShapeOf(*packet) == HeaderShape::kTcp) counts.tcp_flags |= ShapeTcpFlags(*packet);
      // The same, with its checksum left to the card.
      const Frame unfinished = WithPartialChecksum(frame);
      if (KeyOf(unfinished, mask)) continue;
      ++partial;
      REQUIRE(program.Run(unfinished) == XDP_PASS);
    }
    for (const auto& [key, known] : entries) {
      const XdpFlows::Counts counts = flows->CountsOf(known.first);
      REQUIRE(counts.packets == known.second.packets);
      REQUIRE(counts.bytes == known.second.bytes);
      REQUIRE(counts.tcp_flags == known.second.tcp_flags);
    }
  }
  CHECK(taken > 1'000);
  CHECK(left > 1'000);
  CHECK(partial > 100);
}

TEST_CASE("xdp flows: what tunnels carry is looked at by us") {
  const std::unique_ptr<XdpFlows> flows = MakeFlows(HeaderMask(FlowMask{}));
  if (flows == nullptr) return;
  const Program program(*flows);
  const Frame plain =
      EthernetFrame().Ipv4("172.16.0.1", "172.16.0.2").Udp(50'000, 4789, false).Payload(40).Build();
  REQUIRE(flows->Add(*KeyOf(plain, HeaderMask(FlowMask{})), {}));
  REQUIRE(program.Run(plain) == XDP_DROP);
  for (const Tunnel& tunnel : EveryTunnel()) {
    if (tunnel.kind != Tunnel::Kind::kUdp) continue;
    for (const bool ipv6 : {false, true}) {
      CAPTURE(tunnel.name);
      const Frame inner = ipv6 ? EthernetFrame().Ipv6("::1", "::2").Tcp(1, 2).Payload(40).Build()
                               : EthernetFrame().Ipv4("1.1.1.1", "2.2.2.2").Tcp(1, 2).Build();
      CHECK(program.Run(Wrap({tunnel, false, false, ipv6}, inner, false)) == XDP_PASS);
    }
  }
}

TEST_CASE("xdp flows: entries come and go, as many as there is room for") {
  FlowMask mask;
  mask.ipv4_dst = static_cast<Be32>(UINT32_MAX);
  const std::unique_ptr<XdpFlows> flows = MakeFlows(HeaderMask(mask));
  if (flows == nullptr) return;
  const Program program(*flows);
  const auto frame_to = [](std::uint32_t host) {
    EthernetFrame frame;
    const std::string to = "10.0." + std::to_string(host / 256) + "." + std::to_string(host % 256);
    frame.Ipv4("10.0.0.1", to.c_str());
    return frame.Udp(1, 2).Payload(18).Build();
  };
  const auto key_of = [&](std::uint32_t host) { return *KeyOf(frame_to(host), HeaderMask(mask)); };

  std::vector<XdpFlows::Entry> entries;
  for (std::uint32_t host = 0; host < XdpFlows::kMaxEntries; ++host) {
    const auto entry = flows->Add(key_of(host), {});
    REQUIRE(entry);
    entries.push_back(*entry);
    REQUIRE(program.Run(frame_to(host)) == XDP_DROP);
  }
  CHECK_FALSE(flows->Add(key_of(XdpFlows::kMaxEntries), {}));
  flows->Remove(entries[7]);
  CHECK(program.Run(frame_to(7)) == XDP_PASS);
  CHECK(program.Run(frame_to(8)) == XDP_DROP);
  flows->AwaitPrograms();
  CHECK(flows->CountsOf(entries[7]).packets == 1);
  flows->Free(entries[7]);
  const auto again = flows->Add(key_of(2'000), {});
  REQUIRE(again);
  CHECK(flows->CountsOf(*again).packets == 0);
  CHECK(program.Run(frame_to(2'000)) == XDP_DROP);
  CHECK(flows->CountsOf(*again).packets == 1);
}

}  // namespace pollux::test
