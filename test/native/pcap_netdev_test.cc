// The pcap driver, with the threads it has: what is read is what was written, whoever sends, and
// however slowly the queue is asked. Through the API, with other programs:
// test/unit/ports/pcap.test.ts.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "netdev/netdev.h"
#include "netdev_testbed.h"

namespace pollux::test {
namespace {

// A folder that goes with its files.
class Folder {
 public:
  Folder() { CHECK(mkdtemp(path_) != nullptr); }
  ~Folder() {
    for (const std::string& name : names_) unlink(name.c_str());
    rmdir(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string File(const std::string& name) {
    return *names_.insert(std::string(path_) + "/" + name).first;
  }

 private:
  char path_[32] = "/tmp/pollux-pcap-XXXXXX";
  std::set<std::string> names_;
};

NetdevSpec PcapSpec(const std::string& read, const std::string& write) {
  NetdevSpec spec = Spec("pcap", "capture");
  spec.read = read;
  spec.write = write;
  return spec;
}

void Record(const std::string& path, std::uint32_t frames, PacketPool& pool) {
  const std::unique_ptr<Netdev> netdev = Open(PcapSpec("", path), pool);
  for (std::uint32_t i = 0; i < frames; ++i) {
    CHECK(Send(*netdev, pool, {Frame(60 + i % 1400, i)}).packets == 1);
  }
}

TEST_CASE("pcap: several threads record, and every frame is there once") {
  constexpr std::uint32_t kSenders = 3;
  constexpr std::uint32_t kFrames = 2000;
  Folder folder;
  PacketPool pool;
  for (const char* name : {"a.pcapng", "a.pcap"}) {
    const std::string path = folder.File(name);
    {
      const std::unique_ptr<Netdev> netdev = Open(PcapSpec("", path), pool);
      CHECK(netdev->rxqs().empty());
      std::vector<std::thread> threads;
      for (std::uint32_t sender = 0; sender < kSenders; ++sender) {
        threads.emplace_back([&, sender] {
          SendResult result;
          for (std::uint32_t i = 0; i < kFrames; ++i) {
            PacketBatch batch;
            batch.Add(pool.Copy(Frame(60, sender * kFrames + i)));
            netdev->Send(sender, batch, result);
          }
          CHECK(result.packets == kFrames);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    const std::unique_ptr<Netdev> netdev = Open(PcapSpec(path, ""), pool);
    std::set<std::uint32_t> numbers;
    for (const Bytes& frame : Receive(*netdev->rxqs()[0], kSenders * kFrames)) {
      CHECK(frame == Frame(60, NumberOf(frame)));
      numbers.insert(NumberOf(frame));
    }
    CHECK(numbers.size() == kSenders * kFrames);
  }
  CHECK(pool.held() == 0);
}

TEST_CASE("pcap: a file larger than what is read ahead, round and round, in order") {
  constexpr std::uint32_t kFrames = 4000;  // About 3 MB.
  Folder folder;
  PacketPool pool;
  const std::string path = folder.File("large.pcapng");
  Record(path, kFrames, pool);
  NetdevSpec spec = PcapSpec(path, "");
  spec.loop = true;
  const std::unique_ptr<Netdev> netdev = Open(spec, pool);
  std::uint32_t n = 0;
  while (n < 3 * kFrames) {
    const std::vector<Bytes> frames = Receive(*netdev->rxqs()[0], 32);
    REQUIRE(!frames.empty());
    for (const Bytes& frame : frames) {
      const std::uint32_t number = n++ % kFrames;
      CHECK(frame == Frame(60 + number % 1400, number));
    }
  }
  CHECK(netdev->link() == LinkState::kUp);
}

TEST_CASE("pcap: at its end it is down, says why, and does not wake anybody") {
  Folder folder;
  PacketPool pool;
  const std::string path = folder.File("short.pcapng");
  Record(path, 10, pool);
  const std::unique_ptr<Netdev> netdev = Open(PcapSpec(path, ""), pool);
  Rxq& rxq = *netdev->rxqs()[0];
  CHECK(rxq.injected() == 1);
  CHECK(rxq.taken() == 0);
  CHECK(Receive(rxq, 10).size() == 10);
  PacketBatch none;
  rxq.Recv(none);
  CHECK(none.empty());
  CHECK(rxq.taken() == 1);
  CHECK(netdev->link() == LinkState::kDown);
  CHECK(netdev->fault() == "\"" + path + "\", all is read");
  rxq.Disarm();
  CHECK(rxq.Arm());
  CHECK(!IsReadable(rxq.wait_fd()));
  // What is sent to it has nowhere to go.
  const SendResult result = Send(*netdev, pool, {Frame(60)});
  CHECK(Dropped(result, DropReason::kTxError) == 1);
}

TEST_CASE("pcap: without memory a frame waits") {
  Folder folder;
  PacketPool pool;
  const std::string path = folder.File("wait.pcapng");
  Record(path, 1500, pool);
  PacketPool small(std::size_t{2} << 20);
  const std::unique_ptr<Netdev> netdev = Open(PcapSpec(path, ""), small);
  Rxq& rxq = *netdev->rxqs()[0];
  std::vector<PacketBatch> held;
  std::uint32_t n = 0;
  for (bool waits_for_memory = false; !waits_for_memory;) {
    held.emplace_back();
    rxq.Recv(held.back());
    n += static_cast<std::uint32_t>(held.back().size());
    REQUIRE(n < 1500);
    if (held.back().full()) continue;
    if (rxq.Arm()) {  // There may be more, and it is still being read.
      pollfd wait{rxq.wait_fd(), POLLIN, 0};
      REQUIRE(poll(&wait, 1, 2000) == 1);
    } else {
      waits_for_memory = held.back().empty();
    }
    rxq.Disarm();
  }
  CHECK(n > 0);
  held.clear();
  for (const Bytes& frame : Receive(rxq, 1500 - n)) CHECK(NumberOf(frame) == n++);
  CHECK(n == 1500);
}

}  // namespace
}  // namespace pollux::test
