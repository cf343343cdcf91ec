// What stands for an interface that is not there yet. It is gone, receives nothing and drops what
// it is given to send, until control puts the interface's own netdev in its place.
#include <string>
#include <vector>

#include "base/epoll.h"
#include "netdev/netdev.h"

namespace pollux {
namespace {

class AbsentRxq final : public Rxq {
 public:
  Status opened() const { return never_.opened(); }
  void Recv(PacketBatch& /*batch*/) override {}
  int wait_fd() const override { return never_.fd(); }

 private:
  const Epoll never_;  // Of nothing: whoever polls the queue may sleep.
};

class AbsentNetdev final : public Netdev {
 public:
  explicit AbsentNetdev(const NetdevSpec& spec) : numa_(spec.numa.value_or(0)) {}

  Status Open(std::uint32_t rxqs) {
    for (std::uint32_t i = 0; i < rxqs; ++i) {
      auto rxq = std::make_unique<AbsentRxq>();
      if (Status status = rxq->opened(); !status) return status;
      rxqs_.push_back(std::move(rxq));
    }
    return {};
  }

  std::string mode() const override { return "waiting"; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return 0; }
  bool Fits(const Packet& /*packet*/) const override { return true; }
  LinkState link() const override { return LinkState::kGone; }
  int ifindex() const override { return -1; }  // It will be one, and is none.
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  Offloads tx_offloads() const override { return kOffloadAll | kOffloadUdpTunnel | kOffloadTunnel; }
  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    result.Drop(DropReason::kPortDown, static_cast<std::uint32_t>(batch.size()));
    batch.Clear();
  }
  NetdevStats stats() const override { return {}; }

 private:
  const std::uint32_t numa_;
  std::vector<std::unique_ptr<Rxq>> rxqs_;
};

}  // namespace

Result<std::unique_ptr<Netdev>> MakeAbsentNetdev(const NetdevSpec& spec) {
  auto netdev = std::make_unique<AbsentNetdev>(spec);
  if (Status status = netdev->Open(spec.rxqs); !status) return status.error();
  return std::unique_ptr<Netdev>(std::move(netdev));
}

}  // namespace pollux
