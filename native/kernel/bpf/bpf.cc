#include "kernel/bpf/bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

namespace pollux {

int Bpf(int command, const void* attributes, std::size_t size) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, size));
}

bpf_attr NoBpfAttributes() {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  return attributes;
}

int LoadBpfProgram(bpf_prog_type type, std::span<const bpf_insn> code, std::uint32_t flags,
                   int ifindex) {
  bpf_attr attributes = NoBpfAttributes();
  attributes.prog_type = type;
  if (type == BPF_PROG_TYPE_XDP) attributes.expected_attach_type = BPF_XDP;
  attributes.insns = reinterpret_cast<std::uintptr_t>(code.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(code.size());
  // The kernel's helpers and functions are for programs under the GPL alone; this says that ours
  // may be used under it.
  attributes.license = reinterpret_cast<std::uintptr_t>("GPL");
  attributes.prog_flags = flags;
  attributes.prog_ifindex = static_cast<std::uint32_t>(ifindex);
  std::memcpy(attributes.prog_name, "pollux", sizeof "pollux");
  return Bpf(BPF_PROG_LOAD, attributes);
}

std::uint32_t CountProcessors() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string list;
  std::getline(file, list);
  const std::size_t last = list.find_last_of("-,");
  const std::string number = last == std::string::npos ? list : list.substr(last + 1);
  const long processors = std::strtol(number.c_str(), nullptr, 10) + 1;
  return static_cast<std::uint32_t>(std::clamp(processors, 1L, 8192L));
}

Error BpfError(std::string what) {
  Error error = SystemError(errno, "bpf", std::move(what));
  if (error.number == EPERM || error.number == EACCES) {
    error.hint =
        "XDP needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN) of the "
        "machine itself, not of a user namespace: run as root, or give them with setcap "
        "cap_net_admin,cap_net_raw,cap_bpf+ep or systemd's AmbientCapabilities=; type "
        "\"af_packet\" needs CAP_NET_RAW alone";
  } else if (error.number == ENOSYS) {
    error.hint = "the kernel was built without CONFIG_BPF_SYSCALL: use type \"af_packet\"";
  }
  return error;
}

}  // namespace pollux
