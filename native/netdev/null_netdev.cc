// null: swallows what it is given; with `generate`, an endless source of frames. For benchmarks and
// examples.
//
// The generator writes a whole Ethernet/IPv4/UDP frame into every packet, as a card's DMA would, so
// that what is measured behind it starts from memory that was just written. Frames of one flow are
// equal; flows differ in the source address (10.0.0.0/8, 2^24 flows) and above that in the source
// port. The IPv4 checksum is right: it is the template's sum plus what differs, folded. The UDP
// checksum is 0, which IPv4 allows and which means "none".
//
// A queue starts at its own place in the cycle of flows and generates its exact share of
// `generate_limit`. It never waits for anything, so there is nothing to wait on: wait_fd() is -1.
//
// Cost a frame of 60 bytes: one packet from the thread's cache, four vector stores, a dozen
// instructions for the flow.
#include <algorithm>
#include <cstring>
#include <vector>

#include "netdev/netdev.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 1024;
constexpr std::uint32_t kHeaders = 14 + 20 + 8;
constexpr std::uint32_t kShort = 64;  // Frames up to here are copied by a copy of fixed size.
constexpr std::uint32_t kIpAt = 14;
constexpr std::uint32_t kIpCheckAt = kIpAt + 10;
constexpr std::uint32_t kIpSourceAt = kIpAt + 12;
constexpr std::uint32_t kUdpAt = kIpAt + 20;
constexpr std::uint32_t kFirstPort = 1024;

void Put16(std::uint8_t* at, std::uint32_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}
void Put32(std::uint8_t* at, std::uint32_t value) {
  Put16(at, value >> 16);
  Put16(at + 2, value & 0xffff);
}

class NullRxq final : public Rxq {
 public:
  NullRxq(const NetdevSpec& spec, std::uint32_t queue, PacketPool& pool)
      : pool_(pool),
        size_(spec.generate_size),
        flows_(spec.generate_flows),
        endless_(spec.generate_limit == 0),
        flow_(static_cast<std::uint32_t>(std::uint64_t{spec.generate_flows} * queue / spec.rxqs)) {
    if (!spec.generate) {
      endless_ = false;
      return;
    }
    left_ = spec.generate_limit / spec.rxqs + (queue < spec.generate_limit % spec.rxqs ? 1 : 0);
    template_.assign(std::max(size_, kShort), 0);
    static constexpr std::uint8_t kEthernet[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    std::memcpy(template_.data(), kEthernet, sizeof kEthernet);
    std::uint8_t* ip = template_.data() + kIpAt;
    ip[0] = 0x45;
    Put16(ip + 2, size_ - kIpAt);
    ip[6] = 0x40;  // Do not fragment.
    ip[8] = 64;
    ip[9] = 17;
    Put32(ip + 16, 0xc6120001);  // 198.18.0.1, of the block for benchmarks.
    for (std::size_t i = 0; i < 20; i += 2)
      ip_sum_ += static_cast<std::uint32_t>(ip[i] << 8 | ip[i + 1]);
    std::uint8_t* udp = template_.data() + kUdpAt;
    Put16(udp, kFirstPort);
    Put16(udp + 2, 9);  // The discard port.
    Put16(udp + 4, size_ - kUdpAt);
  }

  void Recv(PacketBatch& batch) override {
    std::size_t n = batch.room();
    if (!endless_) {
      if (left_ == 0) return;
      n = static_cast<std::size_t>(std::min<std::uint64_t>(n, left_));
    }
    const std::size_t first = batch.size();
    n = pool_.AllocateBatch(batch, n, size_);
    if (size_ <= kShort) {
      for (std::size_t i = first; i < first + n; ++i) {
        std::memcpy(batch[i]->data, template_.data(), kShort);
        PutFlow(batch[i]->data);
      }
    } else {
      for (std::size_t i = first; i < first + n; ++i) {
        std::memcpy(batch[i]->data, template_.data(), size_);
        PutFlow(batch[i]->data);
      }
    }
    if (!endless_) left_ -= n;
  }

 private:
  void PutFlow(std::uint8_t* frame) {
    const std::uint32_t source = 0x0a000000 | (flow_ & 0xffffff);
    std::uint32_t sum = ip_sum_ + (source >> 16) + (source & 0xffff);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    Put32(frame + kIpSourceAt, source);
    Put16(frame + kIpCheckAt, ~sum & 0xffff);
    if (flow_ > 0xffffff) Put16(frame + kUdpAt, kFirstPort + (flow_ >> 24));
    if (++flow_ == flows_) flow_ = 0;
  }

  PacketPool& pool_;
  const std::uint32_t size_;
  const std::uint32_t flows_;
  bool endless_;
  std::uint32_t flow_;      // Of the next frame.
  std::uint64_t left_ = 0;  // Frames still to generate, unless endless.
  std::uint32_t ip_sum_ = 0;
  std::vector<std::uint8_t> template_;
};

class NullNetdev final : public Netdev {
 public:
  NullNetdev(const NetdevSpec& spec, PacketPool& pool)
      : numa_(spec.numa.value_or(0)), mtu_(spec.mtu != 0 ? spec.mtu : kMaxFrame - kMinFrame) {
    for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
      rxqs_.push_back(std::make_unique<NullRxq>(spec, i, pool));
    }
  }

  const std::string& mode() const override { return mode_; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_; }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    result.packets += static_cast<std::uint32_t>(batch.size());
    result.bytes += batch.Bytes();
    batch.Clear();
  }

  NetdevStats stats() const override { return {}; }

 private:
  const std::string mode_ = "null";
  const std::uint32_t numa_;
  const std::uint32_t mtu_;
  std::vector<std::unique_ptr<Rxq>> rxqs_;
};

}  // namespace

Result<std::unique_ptr<Netdev>> OpenNullNetdev(const NetdevSpec& spec, PacketPool& pool) {
  if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
    return Invalid("a null port has 1 to " + std::to_string(kMaxQueues) + " receive queues");
  }
  if (spec.generate && (spec.generate_size < kHeaders || spec.generate_size > kMaxFrame)) {
    return Invalid("a generated frame has " + std::to_string(kHeaders) + " to " +
                   std::to_string(kMaxFrame) + " bytes");
  }
  if (spec.generate && spec.generate_flows < 1) return Invalid("a generator has at least 1 flow");
  return std::unique_ptr<Netdev>(std::make_unique<NullNetdev>(spec, pool));
}

}  // namespace pollux
