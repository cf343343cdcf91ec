// Sends 60-byte UDP frames into a network interface. Prints one JSON object: frames sent, frames
// that the kernel refused, seconds.
//
//   veth_generator --device=NAME --to=MAC [--rate=0] [--steady=0] [--ms=1000] [--flows=1]
//   [--core=N] veth_generator --device=NAME --to=MAC --live=1 [--ms=1000] [--core=N]
//
// By a packet socket: queueing discipline bypassed, 64 frames a system call. rate: frames a second,
// 0 as fast as it goes. Paced frames go out in small bursts, each when it is due, and a generator
// that was held up does not catch up: it would make bursts that nobody asked for. What it then
// sends less is seen in `sent`. They carry the time (CLOCK_MONOTONIC, nanoseconds) at byte 42.
// steady: it sleeps between bursts, and goes before all others on its core, as a machine of its own
// would; so others have what it leaves of that core.
//
// live: frames that the kernel makes by itself and redirects to the interface, eight times as many
// as any socket sends. It does not tell how many; the receiving interface counts them.
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "bpf.h"

namespace {

using namespace pollux;         // NOLINT: a program of one file.
using namespace pollux::bench;  // NOLINT

constexpr std::size_t kFrame = 60;
constexpr std::size_t kBurst = 64;
constexpr std::size_t kPacedBurst = 8;
constexpr std::size_t kStamp = 42;

void Put16(std::uint8_t* at, std::uint32_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}

// 198.18.x.y:1024+z -> 198.19.0.1:9, of the blocks for benchmarks.
void WriteFrame(std::uint8_t* frame, const std::array<std::uint8_t, 6>& to, std::uint32_t flow) {
  std::memset(frame, 0, kFrame);
  std::memcpy(frame, to.data(), to.size());
  frame[6] = 2;
  frame[11] = 1;
  Put16(frame + 12, ETHERTYPE_IP);
  std::uint8_t* ip = frame + 14;
  ip[0] = 0x45;
  Put16(ip + 2, kFrame - 14);
  ip[8] = 64;
  ip[9] = 17;
  Put16(ip + 12, 198 << 8 | 18);
  Put16(ip + 14, flow & 0xffff);
  Put16(ip + 16, 198 << 8 | 19);
  Put16(ip + 18, 1);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 20; i += 2) sum += static_cast<std::uint32_t>(ip[i] << 8 | ip[i + 1]);
  sum = (sum & 0xffff) + (sum >> 16);
  Put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
  Put16(ip + 20, 1024 + (flow >> 16));
  Put16(ip + 22, 9);
  Put16(ip + 24, kFrame - 14 - 20);
}

volatile std::sig_atomic_t over = 0;

// Newer than the headers we may be built with.
constexpr std::uint32_t kLiveFrames = 1u << 1;
constexpr std::int32_t kRedirect = 23;

void SendLive(std::uint32_t ifindex, std::span<std::uint8_t> frame, std::int64_t duration) {
  const std::array program{MoveNumber(BPF_REG_1, static_cast<std::int32_t>(ifindex)),
                           MoveNumber(BPF_REG_2, 0), Call(kRedirect), Exit()};
  bpf_attr run;
  std::memset(&run, 0, sizeof run);
  run.test.prog_fd = static_cast<std::uint32_t>(LoadProgram(BPF_PROG_TYPE_XDP, program));
  run.test.data_in = reinterpret_cast<std::uintptr_t>(frame.data());
  run.test.data_size_in = static_cast<std::uint32_t>(frame.size());
  run.test.repeat = INT32_MAX;
  run.test.flags = kLiveFrames;
  // Ends the call: it waits for a grace period of the kernel each time.
  std::signal(SIGALRM, [](int) { over = 1; });
  const itimerval timer{{0, 10'000}, {duration / 1'000'000'000, duration % 1'000'000'000 / 1000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  while (over == 0) {
    if (Bpf(BPF_PROG_TEST_RUN, &run, sizeof run) < 0 && errno != EINTR && errno != EAGAIN)
      Fail(std::string("cannot run a BPF program: ") + std::strerror(errno));
  }
}

void GoFirst() {
  const sched_param priority{1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
    Fail(std::string("cannot go before others: ") + std::strerror(errno));
  prctl(PR_SET_TIMERSLACK, 1);
}

void SleepUntil(std::int64_t when) {
  const timespec time{when / 1'000'000'000, when % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::string device = options.Text("device", "");
  const std::string address = options.Text("to", "");
  const std::uint64_t rate = options.Number("rate", 0);
  const std::int64_t duration = static_cast<std::int64_t>(options.Number("ms", 1000)) * 1'000'000;
  const auto flows =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(options.Number("flows", 1), 1));

  std::array<std::uint8_t, 6> to;
  if (std::sscanf(address.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &to[0], &to[1], &to[2], &to[3],
                  &to[4], &to[5]) != 6) {
    Fail("--to is not a MAC address");
  }
  Pin(static_cast<std::uint32_t>(options.Number("core", AllowedCores().front())));

  if (options.Number("live", 0) != 0) {
    const unsigned ifindex = if_nametoindex(device.c_str());
    if (ifindex == 0) Fail("there is no interface " + device);
    std::array<std::uint8_t, kFrame> frame;
    WriteFrame(frame.data(), to, 0);
    SendLive(ifindex, frame, duration);
    std::puts("{}");
    return 0;
  }

  const int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0) Fail(std::string("cannot open a packet socket: ") + std::strerror(errno));
  const int on = 1;
  if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0)
    Fail("cannot bypass the qdisc");
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  if (where.sll_ifindex == 0 || bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
    Fail("cannot bind to " + device);

  std::array<std::array<std::uint8_t, kFrame>, kBurst> frames;
  std::array<iovec, kBurst> parts;
  std::array<mmsghdr, kBurst> messages{};
  for (std::size_t i = 0; i < kBurst; ++i) {
    WriteFrame(frames[i].data(), to, static_cast<std::uint32_t>(i) % flows);
    parts[i] = {frames[i].data(), kFrame};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }

  const bool steady = rate != 0 && options.Number("steady", 0) != 0;
  if (steady) GoFirst();
  const std::size_t burst = rate == 0 ? kBurst : kPacedBurst;
  const double gap = rate == 0 ? 0 : 1e9 * static_cast<double>(burst) / static_cast<double>(rate);
  std::uint64_t sent = 0, refused = 0;
  std::uint32_t flow = 0;
  const std::int64_t begin = Clock::MonotonicNs();
  auto due = static_cast<double>(begin);
  std::int64_t now = begin;
  while (now - begin < duration) {
    if (rate != 0) {
      if (steady) SleepUntil(static_cast<std::int64_t>(due));
      do {
        now = Clock::MonotonicNs();
      } while (static_cast<double>(now) < due);
      due = std::max(due + gap, static_cast<double>(now));
    }
    if (flows > kBurst) {
      for (std::size_t i = 0; i < burst; ++i) {
        WriteFrame(frames[i].data(), to, flow);
        if (++flow == flows) flow = 0;
      }
    }
    if (rate != 0) {
      for (std::size_t i = 0; i < burst; ++i) std::memcpy(&frames[i][kStamp], &now, sizeof now);
    }
    for (std::size_t next = 0; next < burst;) {
      const int n = sendmmsg(fd, &messages[next], static_cast<unsigned>(burst - next), 0);
      if (n > 0) {
        sent += static_cast<std::uint64_t>(n);
        next += static_cast<std::size_t>(n);
      } else if (errno == ENOBUFS || errno == EAGAIN) {
        ++refused;
        ++next;
      } else if (errno != EINTR) {
        Fail(std::string("cannot send: ") + std::strerror(errno));
      }
    }
    now = Clock::MonotonicNs();
  }
  Row row;
  row.Put("sent", sent).Put("refused", refused);
  row.Put("seconds", static_cast<double>(now - begin) / 1e9).Print();
}
