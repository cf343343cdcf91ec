// A datapath for tests: the asynchronous verbs made to wait, flows in two words, and the checks
// that every test that moves packets ends with.
#pragma once

#include <doctest/doctest.h>
#include <linux/openvswitch.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "actions/action_list.h"
#include "datapath/datapath.h"
#include "support/flow_changes.h"

namespace pollux::test {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr int kSlowdown = 20;  // Sanitizers: fewer rounds of the long loops.
#else
inline constexpr int kSlowdown = 1;
#endif

template <typename T>
std::vector<std::uint8_t> Attribute(std::uint16_t type, const T& value) {
  std::vector<std::uint8_t> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  std::vector<std::uint8_t> out;
  AppendAttribute(out, type, bytes);
  return out;
}

inline Match MatchInPort(std::uint32_t port) {
  Result<Match> match = DecodeMatch(Attribute(OVS_KEY_ATTR_IN_PORT, port), {});
  REQUIRE(match.ok());
  return match.value();
}

inline std::vector<std::uint8_t> OutputTo(std::initializer_list<std::uint32_t> ports) {
  std::vector<std::uint8_t> actions;
  for (const std::uint32_t port : ports) {
    const auto one = Attribute(OVS_ACTION_ATTR_OUTPUT, port);
    actions.insert(actions.end(), one.begin(), one.end());
  }
  return actions;
}

// A 60-byte IPv4-less frame; `tag` tells frames apart.
inline std::vector<std::uint8_t> PlainFrame(std::uint32_t tag = 0, std::size_t size = 60) {
  std::vector<std::uint8_t> frame(size, 0);
  frame[5] = 2;
  frame[11] = 1;
  frame[12] = 0x88;
  frame[13] = 0xb5;  // For local experiments.
  if (size >= 18) std::memcpy(frame.data() + 14, &tag, sizeof tag);
  return frame;
}
inline std::uint32_t TagOf(const Packet& packet) {
  std::uint32_t tag = 0;
  std::memcpy(&tag, packet.data + 14, sizeof tag);
  return tag;
}

inline PortSpec Memory(std::string name, std::optional<std::uint32_t> number = {}) {
  PortSpec spec;
  spec.netdev.type = "memory";
  spec.netdev.name = std::move(name);
  spec.number = number;
  return spec;
}
// Swallows what is sent to it, and generates `limit` frames (0: endless) if `generate`.
inline PortSpec Null(std::string name, std::optional<std::uint32_t> number = {},
                     bool generate = false, std::uint64_t limit = 0) {
  PortSpec spec = Memory(std::move(name), number);
  spec.netdev.type = "null";
  spec.netdev.generate = generate;
  spec.netdev.generate_limit = limit;
  return spec;
}
inline PortSpec OnNode(PortSpec spec, std::uint32_t numa) {
  spec.netdev.numa = numa;
  return spec;
}
inline PortSpec NotPolled(PortSpec spec) {
  spec.pmd = false;
  return spec;
}

class Testbed {
 public:
  explicit Testbed(DatapathOptions options = {}) {
    auto created = Datapath::Create(std::move(options));
    REQUIRE(created.ok());
    datapath_ = std::move(created.value());
  }

  Datapath& operator*() { return *datapath_; }
  Datapath* operator->() { return datapath_.get(); }

  // Starts a command; wait for it with .get().
  std::future<Result<PortInfo>> StartAdd(PortSpec spec) {
    auto promise = std::make_shared<std::promise<Result<PortInfo>>>();
    datapath_->AddPort(std::move(spec), [promise](Result<PortInfo> result) {
      promise->set_value(std::move(result));
    });
    return promise->get_future();
  }
  Result<PortInfo> TryAdd(PortSpec spec) { return StartAdd(std::move(spec)).get(); }
  PortInfo Add(PortSpec spec) {
    Result<PortInfo> info = TryAdd(std::move(spec));
    INFO((info.ok() ? "" : info.error().message));
    REQUIRE(info.ok());
    return info.value();
  }
  Status TryDelete(PortId id) {
    return Wait([&](auto done) { datapath_->DeletePort(id, done); });
  }
  void Delete(const PortInfo& port) { REQUIRE(TryDelete(port.id).ok()); }
  Result<PortInfo> Renumber(const PortInfo& port, std::uint32_t number) {
    std::promise<Result<PortInfo>> promise;
    datapath_->RenumberPort(port.id, number,
                            [&](Result<PortInfo> r) { promise.set_value(std::move(r)); });
    return promise.get_future().get();
  }
  std::vector<ReloadReport> Reload(std::optional<std::uint32_t> core = {}) {
    std::promise<Result<std::vector<ReloadReport>>> promise;
    datapath_->Reload(
        core, [&](Result<std::vector<ReloadReport>> r) { promise.set_value(std::move(r)); });
    auto result = promise.get_future().get();
    REQUIRE(result.ok());
    return result.value();
  }
  Status SetOptions(DatapathOptions options) {
    return Wait([&](auto done) { datapath_->SetOptions(options, done); });
  }
  void SetCores(std::vector<std::uint32_t> cores) {
    DatapathOptions options = datapath_->options();
    options.pmd_cpus = std::move(cores);
    REQUIRE(SetOptions(options).ok());
  }
  void Settle() {
    REQUIRE(Wait([&](auto done) { datapath_->Settle(done); }).ok());
  }
  void Advance(std::int64_t ms) {
    REQUIRE(Wait([&](auto done) { datapath_->Advance(ms, done); }).ok());
  }
  void Close() {
    REQUIRE(Wait([&](auto done) { datapath_->Close(done); }).ok());
  }

  Result<Ufid> TryPut(const Match& match, const std::vector<std::uint8_t>& actions) {
    auto list = ActionList::Parse(actions, match);
    if (!list.ok()) return list.error();
    FlowPut put;
    put.match = match;
    put.actions = list.value();
    auto outcome = ApplyChanges(datapath_->flows(), {put}, false);
    if (!outcome.front().ok()) return outcome.front().error();
    return std::get<Ufid>(outcome.front().value());
  }
  Ufid Put(const Match& match, const std::vector<std::uint8_t>& actions) {
    Result<Ufid> ufid = TryPut(match, actions);
    INFO((ufid.ok() ? "" : ufid.error().message));
    REQUIRE(ufid.ok());
    return ufid.value();
  }
  // in_port(from) -> to...
  Ufid Connect(const PortInfo& from, std::initializer_list<std::uint32_t> to) {
    return Put(MatchInPort(static_cast<std::uint32_t>(from.number)), OutputTo(to));
  }

  std::size_t Inject(const PortInfo& port, std::size_t n = 1, std::uint32_t first_tag = 0,
                     std::uint32_t rxq = 0) {
    std::vector<std::vector<std::uint8_t>> frames;
    std::vector<std::span<const std::uint8_t>> spans;
    for (std::size_t i = 0; i < n; ++i)
      frames.push_back(PlainFrame(first_tag + static_cast<std::uint32_t>(i)));
    for (const auto& frame : frames) spans.emplace_back(frame);
    Result<std::size_t> taken = datapath_->Inject(port.id, rxq, spans);
    REQUIRE(taken.ok());
    return taken.value();
  }
  std::vector<PacketPtr> Drain(const PortInfo& port, std::size_t max = 100'000) {
    std::vector<PacketPtr> out;
    REQUIRE(datapath_->Drain(port.id, max, out).ok());
    return out;
  }
  Result<std::vector<std::uint8_t>> Execute(const std::vector<std::uint8_t>& actions,
                                            std::uint32_t tag = 0) {
    return datapath_->Execute(PlainFrame(tag), actions, kNoPort);
  }
  std::uint64_t Drops(DropReason reason) {
    return datapath_->stats().ledger.drops[static_cast<std::size_t>(reason)];
  }
  void CheckLedgerCloses() {
    const Ledger ledger = datapath_->stats().ledger;
    CHECK(ledger.received + ledger.executed + ledger.copied ==
          ledger.transmitted + ledger.dropped + ledger.queued);
  }

 private:
  template <typename Start>
  static Status Wait(Start&& start) {
    std::promise<Status> promise;
    start([&](Status status) { promise.set_value(std::move(status)); });
    return promise.get_future().get();
  }

  std::unique_ptr<Datapath> datapath_;
};

// What this process holds.
inline std::size_t OpenDescriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++n;
  return n;
}
inline std::size_t RunningThreads() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    ++n;
  return n;
}
// A thread that was joined may be listed a moment longer.
inline bool ThreadsComeDownTo(std::size_t expected) {
  for (int i = 0; i < 2000 && RunningThreads() > expected; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return RunningThreads() <= expected;
}
inline std::size_t ResidentKib() {
  std::ifstream status("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  status >> total >> resident;
  return resident * 4;
}

inline DatapathOptions TwoNodes() {
  DatapathOptions options;
  options.topology = {{0, 1}, {2, 3}};
  return options;
}

}  // namespace pollux::test
