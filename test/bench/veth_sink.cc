// Counts the frames of veth_generator as they arrive at an interface, and drops them before the
// host's stack looks at them: where traffic control sees them, or, with --xdp=1, before the kernel
// makes a packet of them, which is quicker for frames that come by XDP and slower for others (and
// no time between two is measured). Says "ready"; then, for each line it reads, one JSON object:
// frames so far, and, since the last line, the longest time between two of them and the longest
// that one was on its way, in nanoseconds. Ends with its input.
//
//   veth_sink --device=NAME [--xdp=1]
#include <net/if.h>
#include <sys/mman.h>

#include <array>
#include <atomic>

#include "bpf.h"

namespace {

using namespace pollux::bench;  // NOLINT: a program of one file.

// Newer than the headers we may be built with.
constexpr std::uint32_t kTcxIngress = 46;
constexpr std::int32_t kNext = -1, kDrop = 2;

// Functions of the kernel.
constexpr std::int32_t kNow = 5;
constexpr std::int32_t kLoadBytes = 26;  // Frames may be in pieces.

constexpr std::int32_t kDestination = 30;
constexpr std::array<std::uint8_t, 2> kNetwork{198, 19};
constexpr std::int32_t kStamp = 42;  // When it was sent; 0: not told.

// What program and kernel share.
struct Seen {
  std::uint64_t frames;
  std::uint64_t last_ns;  // 0: none yet.
  std::uint64_t gap_ns;
  std::uint64_t delay_ns;
};

int MakeMap() {
  bpf_attr map;
  std::memset(&map, 0, sizeof map);
  map.map_type = BPF_MAP_TYPE_ARRAY;
  map.key_size = sizeof(std::uint32_t);
  map.value_size = sizeof(Seen);
  map.max_entries = 1;
  map.map_flags = BPF_F_MMAPABLE;
  const int fd = Bpf(BPF_MAP_CREATE, &map, sizeof map);
  if (fd < 0) Fail(std::string("cannot make a BPF map: ") + std::strerror(errno));
  return fd;
}

int LoadSink(int map) {
  std::uint16_t network = 0;
  std::memcpy(&network, kNetwork.data(), sizeof network);
  return LoadProgram(BPF_PROG_TYPE_SCHED_CLS,
                     std::array<bpf_insn, 39>{{
                         Move(BPF_REG_7, BPF_REG_1),
                         MoveNumber(BPF_REG_2, kDestination),
                         Move(BPF_REG_3, BPF_REG_10),
                         AddNumber(BPF_REG_3, -8),
                         MoveNumber(BPF_REG_4, sizeof network),
                         Call(kLoadBytes),
                         JumpIfNot(BPF_REG_0, 0, 30),
                         Load16(BPF_REG_1, BPF_REG_10, -8),
                         JumpIfNot(BPF_REG_1, network, 28),
                         // The address of what the map holds.
                         {BPF_LD | BPF_DW | BPF_IMM, BPF_REG_6, BPF_PSEUDO_MAP_VALUE, 0, map},
                         {0, 0, 0, 0, 0},
                         MoveNumber(BPF_REG_1, 1),
                         AddTo64(BPF_REG_6, offsetof(Seen, frames), BPF_REG_1),
                         Call(kNow),
                         Move(BPF_REG_8, BPF_REG_0),
                         Load64(BPF_REG_1, BPF_REG_6, offsetof(Seen, last_ns)),
                         Store64(BPF_REG_6, offsetof(Seen, last_ns), BPF_REG_0),
                         JumpIf(BPF_REG_1, 0, 4),
                         Subtract(BPF_REG_0, BPF_REG_1),
                         Load64(BPF_REG_2, BPF_REG_6, offsetof(Seen, gap_ns)),
                         JumpIfLess(BPF_REG_0, BPF_REG_2, 1),
                         Store64(BPF_REG_6, offsetof(Seen, gap_ns), BPF_REG_0),
                         Move(BPF_REG_1, BPF_REG_7),
                         MoveNumber(BPF_REG_2, kStamp),
                         Move(BPF_REG_3, BPF_REG_10),
                         AddNumber(BPF_REG_3, -16),
                         MoveNumber(BPF_REG_4, sizeof(std::uint64_t)),
                         Call(kLoadBytes),
                         JumpIfNot(BPF_REG_0, 0, 6),
                         Load64(BPF_REG_1, BPF_REG_10, -16),
                         JumpIf(BPF_REG_1, 0, 4),
                         Subtract(BPF_REG_8, BPF_REG_1),
                         Load64(BPF_REG_2, BPF_REG_6, offsetof(Seen, delay_ns)),
                         JumpIfLess(BPF_REG_8, BPF_REG_2, 1),
                         Store64(BPF_REG_6, offsetof(Seen, delay_ns), BPF_REG_8),
                         MoveNumber(BPF_REG_0, kDrop),
                         Exit(),
                         MoveNumber(BPF_REG_0, kNext),
                         Exit(),
                     }});
}

int LoadXdpSink(int map) {
  std::uint16_t network = 0;
  std::memcpy(&network, kNetwork.data(), sizeof network);
  return LoadProgram(BPF_PROG_TYPE_XDP,
                     std::array<bpf_insn, 15>{{
                         Load32(BPF_REG_2, BPF_REG_1, offsetof(xdp_md, data)),
                         Load32(BPF_REG_3, BPF_REG_1, offsetof(xdp_md, data_end)),
                         Move(BPF_REG_4, BPF_REG_2),
                         AddNumber(BPF_REG_4, kDestination + 4),
                         JumpIfLess(BPF_REG_3, BPF_REG_4, 8),
                         Load16(BPF_REG_5, BPF_REG_2, kDestination),
                         JumpIfNot(BPF_REG_5, network, 6),
                         // The address of what the map holds.
                         {BPF_LD | BPF_DW | BPF_IMM, BPF_REG_6, BPF_PSEUDO_MAP_VALUE, 0, map},
                         {0, 0, 0, 0, 0},
                         MoveNumber(BPF_REG_1, 1),
                         AddTo64(BPF_REG_6, offsetof(Seen, frames), BPF_REG_1),
                         MoveNumber(BPF_REG_0, XDP_DROP),
                         Exit(),
                         MoveNumber(BPF_REG_0, XDP_PASS),
                         Exit(),
                     }});
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::string device = options.Text("device", "");
  const unsigned ifindex = if_nametoindex(device.c_str());
  if (ifindex == 0) Fail("there is no interface " + device);

  const int map = MakeMap();
  void* shared = mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
  if (shared == MAP_FAILED) Fail("cannot map a BPF map");
  auto& seen = *static_cast<Seen*>(shared);
  bpf_attr link;
  std::memset(&link, 0, sizeof link);
  const bool xdp = options.Number("xdp", 0) != 0;
  link.link_create.prog_fd = static_cast<std::uint32_t>(xdp ? LoadXdpSink(map) : LoadSink(map));
  link.link_create.target_ifindex = ifindex;
  link.link_create.attach_type = xdp ? BPF_XDP : static_cast<bpf_attach_type>(kTcxIngress);
  if (Bpf(BPF_LINK_CREATE, &link, sizeof link) < 0)
    Fail("cannot watch " + device + ": " + std::strerror(errno));
  std::puts("ready");
  std::fflush(stdout);

  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    Row row;
    row.Put("frames", std::atomic_ref(seen.frames).load());
    row.Put("gap_ns", std::atomic_ref(seen.gap_ns).exchange(0));
    row.Put("delay_ns", std::atomic_ref(seen.delay_ns).exchange(0)).Print();
    std::atomic_ref(seen.last_ns).store(0);
    std::fflush(stdout);
  }
}
