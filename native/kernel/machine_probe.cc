#include "kernel/machine_probe.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/if_xdp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "kernel/bpf/bpf.h"
#include "kernel/bpf/bpf_assembler.h"

// Newer than the headers we may be built with.
#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif

namespace pollux {
namespace {

// A descriptor, or the errno that there is instead, closed at the end.
class Try {
 public:
  explicit Try(long fd) : fd_(static_cast<int>(fd)), error_(fd < 0 ? errno : 0) {}
  ~Try() {
    if (fd_ >= 0) close(fd_);
  }
  Try(const Try&) = delete;
  Try& operator=(const Try&) = delete;

  int fd() const { return fd_; }
  int error() const { return error_; }
  // What a call with this descriptor says.
  template <typename Call>
  int Then(Call call) const {
    if (error_ != 0) return error_;
    return call(fd_) < 0 ? errno : 0;
  }

 private:
  const int fd_;
  const int error_;
};

// "Let every frame pass", which is never attached to anything.
int LoadXdpProgram() {
  BpfAssembler assembler;
  assembler.Return(XDP_PASS);
  return LoadBpfProgram(BPF_PROG_TYPE_XDP, assembler.code());
}

int RegisterUmem(int fd) {
  void* memory = mmap(nullptr, kUmemProbe, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -1;
  // As the first kernels with AF_XDP have it.
  struct {
    std::uint64_t address;
    std::uint64_t size;
    std::uint32_t chunk_size;
    std::uint32_t headroom;
  } umem{reinterpret_cast<std::uintptr_t>(memory), kUmemProbe, 2048, 0};
  const int result = setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem);
  const int error = errno;
  munmap(memory, kUmemProbe);
  errno = error;
  return result;
}

}  // namespace

std::vector<MachineProbe> ProbeMachine() {
  // Without a protocol it receives nothing.
  const Try packet(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  const Try tun(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  const Try xdp(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  const Try program(LoadXdpProgram());
  const int ring = packet.Then([](int fd) {
    const int version = TPACKET_V2;
    const int on = 1;
    const int versioned = setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version);
    return versioned < 0 ? -1 : setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on);
  });
  const int features = tun.Then([](int fd) {
    unsigned flags = 0;
    if (ioctl(fd, TUNGETFEATURES, &flags) < 0) return -1;
    constexpr unsigned kWanted = IFF_TAP | IFF_MULTI_QUEUE | IFF_VNET_HDR;
    errno = EOPNOTSUPP;
    return (flags & kWanted) == kWanted ? 0 : -1;
  });
  return {
      {"packetSocket", packet.error()},
      {"packetRing", ring},
      {"tun", tun.error()},
      {"tunFeatures", features},
      {"xdpSocket", xdp.error()},
      {"umem", xdp.Then(RegisterUmem)},
      {"xdpProgram", program.error()},
  };
}

}  // namespace pollux
