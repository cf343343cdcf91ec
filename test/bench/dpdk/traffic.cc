// A source of frames inside a DPDK program, loaded into it before it starts (LD_PRELOAD).
//
// The null devices of DPDK hand out buffers with no frame in them. This writes the frames
// of FrameGenerator, those that our own null ports give, into every buffer that net_null0 receives,
// by a receive callback, a public means that any program has. So testpmd and Open vSwitch see the
// traffic that Pollux sees, and pay for it the same.
//
// Whoever measures talks to it through a page of memory, a file named by POLLUX_TRAFFIC.
//
//   g++ -O3 -std=c++20 -shared -fPIC -I native traffic.cc $(pkg-config --cflags --libs libdpdk)
#include <fcntl.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "netdev/generator.h"

namespace {

// scripts/bench/dpdk.mjs knows these offsets.
struct Page {
  volatile std::uint32_t generation;  // Changed last, when what follows was changed.
  volatile std::uint32_t running;     // 0: nothing is received.
  volatile std::uint32_t size, flows, masks, order, stranger_every;
  alignas(64) volatile std::uint64_t written;  // Frames given to the program.
  alignas(64) volatile std::uint64_t sent;     // Frames that the program has given to net_null1.
  volatile std::uint32_t attached;             // The callback is there.
};

static_assert(offsetof(Page, size) == 8 && offsetof(Page, written) == 64);
static_assert(offsetof(Page, sent) == 128 && offsetof(Page, attached) == 136);

constexpr char kFrom[] = "net_null0";
constexpr char kTo[] = "net_null1";

Page* page = nullptr;

// Called by the one thread that polls the one queue of the port.
std::uint16_t OnReceive(std::uint16_t, std::uint16_t, rte_mbuf** packets, std::uint16_t n,
                        std::uint16_t, void*) {
  static std::uint32_t generation = 0;
  static std::unique_ptr<pollux::FrameGenerator> generator;
  static std::uint16_t size = 0;
  if (page->generation != generation) {
    generation = page->generation;
    size = static_cast<std::uint16_t>(page->size);
    generator = std::make_unique<pollux::FrameGenerator>(
        pollux::GeneratorSpec{page->size, page->flows, page->masks,
                              static_cast<pollux::FlowOrder>(page->order), page->stranger_every});
  }
  if (page->running == 0 || generator == nullptr) {
    rte_pktmbuf_free_bulk(packets, n);
    return 0;
  }
  generator->Write(
      n, [packets](std::size_t i) { return rte_pktmbuf_mtod(packets[i], std::uint8_t*); });
  for (std::uint16_t i = 0; i < n; ++i) packets[i]->data_len = packets[i]->pkt_len = size;
  page->written = page->written + n;
  return n;
}

// Attaches the callback as soon as the port is there, and tells what was sent.
[[noreturn]] void Watch() {
  for (;; usleep(5'000)) {
    std::uint16_t port = 0;
    rte_eth_dev_info info{};
    if (page->attached == 0 && rte_eth_dev_get_port_by_name(kFrom, &port) == 0 &&
        rte_eth_dev_info_get(port, &info) == 0 && info.nb_rx_queues > 0) {
      page->attached = rte_eth_add_rx_callback(port, 0, OnReceive, nullptr) != nullptr ? 1 : 0;
    }
    rte_eth_stats stats{};
    if (rte_eth_dev_get_port_by_name(kTo, &port) == 0 && rte_eth_stats_get(port, &stats) == 0) {
      page->sent = stats.opackets;
    }
  }
}

__attribute__((constructor)) void Start() {
  const char* name = std::getenv("POLLUX_TRAFFIC");
  const int file = name != nullptr ? open(name, O_RDWR | O_CLOEXEC) : -1;
  void* memory =
      file < 0 ? MAP_FAILED : mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "traffic: POLLUX_TRAFFIC does not name a file\n");
    std::exit(1);
  }
  close(file);
  page = static_cast<Page*>(memory);
  std::thread(Watch).detach();
}

}  // namespace
