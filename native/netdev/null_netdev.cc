// null: swallows what it is given; with `generate`, an endless source of frames (generator.h). For
// benchmarks and examples.
//
// A frame is written whole into every packet, so that what is measured behind it starts from memory
// that was just written, as after a card's DMA. A queue generates its exact share of
// `generate_limit`. It never waits for anything, so there is nothing to wait on: wait_fd() is -1.
#include <algorithm>
#include <vector>

#include "netdev/netdev.h"

namespace pollux {
namespace {

constexpr std::uint32_t kMaxQueues = 1024;

class NullRxq final : public Rxq {
 public:
  NullRxq(const NetdevSpec& spec, std::uint32_t queue, PacketPool& pool)
      : pool_(pool), size_(spec.generator.size), generator_(spec.generator, queue, spec.rxqs) {
    if (!spec.generate) return;
    endless_ = spec.generate_limit == 0;
    left_ = spec.generate_limit / spec.rxqs + (queue < spec.generate_limit % spec.rxqs ? 1 : 0);
  }

  void Recv(PacketBatch& batch) override {
    std::size_t n = batch.room();
    if (!endless_) {
      if (left_ == 0) return;
      n = static_cast<std::size_t>(std::min<std::uint64_t>(n, left_));
    }
    const std::size_t first = batch.size();
    n = pool_.AllocateBatch(batch, n, size_);
    generator_.Write(n, [&](std::size_t i) { return batch[first + i]->data; });
    if (!endless_) left_ -= n;
  }

 private:
  PacketPool& pool_;
  const std::uint32_t size_;
  FrameGenerator generator_;
  bool endless_ = false;
  std::uint64_t left_ = 0;  // Frames still to generate, unless endless.
};

class NullNetdev final : public Netdev {
 public:
  NullNetdev(const NetdevSpec& spec, PacketPool& pool)
      : numa_(spec.numa.value_or(0)), mtu_(spec.mtu != 0 ? spec.mtu : kMaxFrame - kMinFrame) {
    for (std::uint32_t i = 0; i < spec.rxqs; ++i) {
      rxqs_.push_back(std::make_unique<NullRxq>(spec, i, pool));
    }
  }

  std::string mode() const override { return mode_; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_; }
  bool Fits(const Packet& /*packet*/) const override { return true; }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  Offloads tx_offloads() const override { return kOffloadAll | kOffloadUdpTunnel | kOffloadTunnel; }
  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    result.Accept(batch);
    batch.Clear();
  }

  NetdevStats stats() const override { return {}; }

 private:
  const std::string mode_ = "null";
  const std::uint32_t numa_;
  const std::uint32_t mtu_;
  std::vector<std::unique_ptr<Rxq>> rxqs_;
};

Status CheckGenerator(const GeneratorSpec& spec) {
  const auto refuse = [](std::string text, std::uint32_t least, std::uint32_t most,
                         const char* what) {
    text.append(std::to_string(least)).append(" to ").append(std::to_string(most)).append(what);
    return Invalid(std::move(text));
  };
  if (spec.size < FrameGenerator::kMinSize || spec.size > kMaxFrame)
    return refuse("a generated frame has ", FrameGenerator::kMinSize, kMaxFrame, " bytes");
  if (spec.masks < 1 || spec.masks > FrameGenerator::kMaxMasks)
    return refuse("a generator's flows take ", 1, FrameGenerator::kMaxMasks, " masks");
  if (spec.flows < 1 || spec.flows > FrameGenerator::kMaxFlows || spec.flows % spec.masks != 0) {
    return refuse("a generator has ", 1, FrameGenerator::kMaxFlows,
                  " flows, as many for each of its masks");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Netdev>> OpenNullNetdev(const NetdevSpec& spec, PacketPool& pool) {
  if (spec.rxqs < 1 || spec.rxqs > kMaxQueues) {
    return Invalid("a null port has 1 to " + std::to_string(kMaxQueues) + " receive queues");
  }
  if (spec.generate) {
    if (Status status = CheckGenerator(spec.generator); !status.ok()) return status.error();
  }
  return std::unique_ptr<Netdev>(std::make_unique<NullNetdev>(spec, pool));
}

}  // namespace pollux
