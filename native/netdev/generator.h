// FrameGenerator: Ethernet/IPv4/UDP frames of many flows, written whole, as a card's DMA would.
//
// Null ports use it, and so does the benchmarks' source of frames for DPDK programs
// (test/bench/dpdk/), which is why it knows nothing of packets: both sides of a comparison get the
// same frames at the same cost.
//
// Every flow has a five-tuple of its own, between 10.0.0.0/8 and 10.0.0.0/8, ports 0x4000 to 0x7fff
// (sources have others, too, beyond 2^22 flows). Flow f belongs to class f % masks. Classes are
// there to need a mask each: over 102 bits of a frame, in the order of kClassBits, a frame of class
// c has bit c set and all others clear. A rule that looks at the first c + 1 of them thus finds
// class c and nothing else.
//
// IPv4 and UDP checksums are right: sums over what stays the same are kept, the rest is added and
// folded.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace pollux {

// Which flow comes next: each in turn, any with the same chance, or by Zipf's law with exponent 1
// (among the flows of a class; classes always have the same share).
enum class FlowOrder : std::uint8_t { kTurn, kUniform, kZipf };

struct GeneratorSpec {
  std::uint32_t size = 60;  // Bytes of a frame, without FCS.
  std::uint32_t flows = 1;  // A multiple of `masks`.
  std::uint32_t masks = 1;
  FlowOrder order = FlowOrder::kTurn;
  std::uint32_t stranger_every =
      0;  // One frame in so many has random addresses and ports; 0: none.
};

class FrameGenerator {
 public:
  static constexpr std::uint32_t kMinSize = 14 + 20 + 8;
  static constexpr std::uint32_t kMaxFlows = 1 << 24;
  // The bits that tell classes apart: source and destination address, destination port, destination
  // and source MAC; the low ones of each, most significant first.
  static constexpr std::uint32_t kClassBits[] = {20, 20, 14, 24, 24};
  static constexpr std::uint32_t kMaxMasks = 20 + 20 + 14 + 24 + 24;
  // So much is written even if the frame is shorter.
  static constexpr std::uint32_t kShort = 64;

  // Sources that work side by side are `index` of `count`: each begins elsewhere.
  explicit FrameGenerator(const GeneratorSpec& spec, std::uint32_t index = 0,
                          std::uint32_t count = 1)
      : spec_(spec),
        variants_(spec.flows / spec.masks),
        seed_(0x9e3779b97f4a7c15 * (index + 1)),
        until_stranger_(spec.stranger_every),
        variant_(static_cast<std::uint32_t>(std::uint64_t{variants_} * index / count)) {
    for (std::uint32_t c = 0; c < spec.masks; ++c) templates_.push_back(MakeTemplate(c));
    if (spec.order == FlowOrder::kZipf) FillQuantiles();
  }

  // The next `n` frames; `at(i)` is where frame i goes.
  template <typename At>
  void Write(std::size_t n, At&& at) {
    switch (spec_.order) {
      case FlowOrder::kTurn:
        return WriteAll<FlowOrder::kTurn>(n, at);
      case FlowOrder::kUniform:
        return WriteAll<FlowOrder::kUniform>(n, at);
      case FlowOrder::kZipf:
        return WriteAll<FlowOrder::kZipf>(n, at);
    }
  }

 private:
  static constexpr std::size_t kIpAt = 14;
  static constexpr std::size_t kIpCheckAt = kIpAt + 10;
  static constexpr std::size_t kSourceAt = kIpAt + 12;
  static constexpr std::size_t kTargetAt = kIpAt + 16;
  static constexpr std::size_t kSourcePortAt = kIpAt + 20;
  static constexpr std::size_t kTargetPortAt = kIpAt + 22;
  static constexpr std::size_t kUdpLengthAt = kIpAt + 24;
  static constexpr std::size_t kUdpCheckAt = kIpAt + 26;
  static constexpr std::size_t kQuantiles = 1024;

  struct alignas(64) Template {
    std::uint8_t bytes[kShort];
    std::uint32_t source, target;   // Addresses of flow 0.
    std::uint32_t ip_sum, udp_sum;  // Of what flow 0 has, its source port left out.
  };

  static void Put16(std::uint8_t* at, std::uint32_t value) {
    const auto big = __builtin_bswap16(static_cast<std::uint16_t>(value));
    std::memcpy(at, &big, sizeof big);
  }
  static void Put32(std::uint8_t* at, std::uint32_t value) {
    const std::uint32_t big = __builtin_bswap32(value);
    std::memcpy(at, &big, sizeof big);
  }
  static std::uint32_t Sum(const std::uint8_t* at, std::size_t n) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < n; i += 2)
      sum += static_cast<std::uint32_t>(at[i] << 8 | at[i + 1]);
    return sum;
  }
  static std::uint32_t Checksum(std::uint32_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
  }
  static std::uint32_t UdpChecksum(std::uint32_t sum) {
    const std::uint32_t check = Checksum(sum);
    return check == 0 ? 0xffff : check;  // 0 would mean "none".
  }

  Template MakeTemplate(std::uint32_t c) const {
    std::uint32_t fields[std::size(kClassBits)] = {};
    std::uint32_t first = 0;
    for (std::size_t i = 0; i < std::size(kClassBits); ++i) {
      if (c >= first && c - first < kClassBits[i])
        fields[i] = 1u << (kClassBits[i] - 1 - (c - first));
      first += kClassBits[i];
    }
    Template t{};
    t.source = 0x0a000000 | fields[0];
    t.target = 0x0a000000 | fields[1];
    static constexpr std::uint8_t kFixed[kIpAt + 10] = {2, 0, 0,    0, 0, 0, 2, 0, 1,    0, 0,  0,
                                                        8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17};
    std::memcpy(t.bytes, kFixed, sizeof kFixed);
    for (std::size_t i = 0; i < 3; ++i) {
      t.bytes[3 + i] = static_cast<std::uint8_t>(fields[3] >> 8 * (2 - i));
      t.bytes[9 + i] = static_cast<std::uint8_t>(fields[4] >> 8 * (2 - i));
    }
    Put16(t.bytes + kIpAt + 2, spec_.size - kIpAt);
    Put32(t.bytes + kSourceAt, t.source);
    Put32(t.bytes + kTargetAt, t.target);
    Put16(t.bytes + kTargetPortAt, 0x4000 | fields[2]);
    Put16(t.bytes + kUdpLengthAt, spec_.size - kSourcePortAt);
    t.ip_sum = Sum(t.bytes + kIpAt, 20);
    t.udp_sum =
        Sum(t.bytes + kSourceAt, kUdpLengthAt + 2 - kSourceAt) + 17 + spec_.size - kSourcePortAt;
    return t;
  }

  template <FlowOrder order, typename At>
  void WriteAll(std::size_t n, At& at) {
    // Copies: a frame is bytes, which might be anything's, and would have all members read anew.
    const std::uint32_t masks = spec_.masks, variants = variants_, size = spec_.size;
    const Template* const templates = templates_.data();
    const float* const quantiles = quantiles_.data();
    std::uint64_t seed = seed_;
    std::uint32_t c = class_, v = variant_;
    for (std::size_t i = 0; i < n; ++i) {
      std::uint8_t* const frame = at(i);
      if constexpr (order == FlowOrder::kTurn) {
        if (++c >= masks) {
          c = 0;
          if (++v >= variants) v = 0;
        }
      } else {
        const std::uint64_t random = Random(seed);
        const std::uint64_t high = random >> 32;
        c = static_cast<std::uint32_t>((random & UINT32_MAX) * masks >> 32);
        v = order == FlowOrder::kUniform ? static_cast<std::uint32_t>(high * variants >> 32)
                                         : Zipf(high, quantiles, variants);
      }
      WriteFlow(frame, templates[c], v * masks + c, size);
    }
    seed_ = seed;
    class_ = c;
    variant_ = v;
    if (spec_.stranger_every != 0) WriteStrangers(n, at);
  }

  static void WriteFlow(std::uint8_t* frame, const Template& from, std::uint32_t flow,
                        std::uint32_t size) {
    std::memcpy(frame, from.bytes, kShort);
    if (size > kShort) std::memset(frame + kShort, 0, size - kShort);
    const std::uint32_t source_bits = flow >> 14 & 0xf;
    const std::uint32_t target_bits = flow >> 18 & 0xf;
    const std::uint32_t source_port = (flow & 0x3fff) | ((flow >> 22 ^ 1) & 3) << 14;
    const std::uint32_t added = (source_bits + target_bits) << 4;  // To the high halves.
    Put16(frame + kIpCheckAt, Checksum(from.ip_sum + added));
    Put32(frame + kSourceAt, from.source | source_bits << 20);
    Put32(frame + kTargetAt, from.target | target_bits << 20);
    Put16(frame + kSourcePortAt, source_port);
    Put16(frame + kUdpCheckAt, UdpChecksum(from.udp_sum + added + source_port));
  }

  static std::uint64_t Random(std::uint64_t& seed) {
    seed += 0xa0761d6478bd642f;
    const unsigned __int128 product =
        static_cast<unsigned __int128>(seed) * (seed ^ 0xe7037ed1a0b428db);
    return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
  }

  // The chance to be among the first k of n is log(k + 1) / log(n + 1): of this, the inverse, in
  // straight pieces.
  void FillQuantiles() {
    for (std::size_t i = 0; i <= kQuantiles; ++i) {
      const double x = std::pow(variants_ + 1.0, static_cast<double>(i) / kQuantiles) - 1;
      quantiles_.push_back(static_cast<float>(x));
    }
  }
  static std::uint32_t Zipf(std::uint64_t random, const float* quantiles, std::uint32_t variants) {
    const float* const from = quantiles + (random >> 22);
    const float part = static_cast<float>(random & 0x3fffff) * 0x1p-22f;
    const auto rank = static_cast<std::uint32_t>(from[0] + (from[1] - from[0]) * part);
    return std::min(rank, variants - 1);
  }

  // In place of some of `n` frames.
  template <typename At>
  void WriteStrangers(std::size_t n, At& at) {
    for (; until_stranger_ <= n; until_stranger_ += spec_.stranger_every) {
      WriteStranger(at(until_stranger_ - 1));
    }
    until_stranger_ -= n;
  }
  void WriteStranger(std::uint8_t* frame) {
    const std::uint64_t addresses = Random(seed_);
    const std::uint64_t ports = Random(seed_);
    Put32(frame + kSourceAt, static_cast<std::uint32_t>(addresses));
    Put32(frame + kTargetAt, static_cast<std::uint32_t>(addresses >> 32));
    Put16(frame + kSourcePortAt, ports & 0xffff);
    Put16(frame + kTargetPortAt, ports >> 16 & 0xffff);
    Put16(frame + kIpCheckAt, 0);
    Put16(frame + kIpCheckAt, Checksum(Sum(frame + kIpAt, 20)));
    const std::uint32_t length = spec_.size - static_cast<std::uint32_t>(kSourcePortAt);
    Put16(frame + kUdpCheckAt,
          UdpChecksum(Sum(frame + kSourceAt, kUdpCheckAt - kSourceAt) + 17 + length));
  }

  const GeneratorSpec spec_;
  const std::uint32_t variants_;  // Flows of a class.
  std::uint64_t seed_;
  std::size_t until_stranger_;
  std::uint32_t class_ = 0;
  std::uint32_t variant_;
  std::vector<Template> templates_;
  std::vector<float> quantiles_;
};

}  // namespace pollux
