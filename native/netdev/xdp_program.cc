#include "netdev/xdp_program.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "netdev/btf.h"

// Newer than the headers we may be built with.
#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif
#ifndef BPF_F_XDP_DEV_BOUND_ONLY
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif
#ifndef BPF_PSEUDO_KFUNC_CALL
#define BPF_PSEUDO_KFUNC_CALL 2
#endif

namespace pollux {
namespace {

int Bpf(int command, bpf_attr& attr, std::size_t size) {
  return static_cast<int>(syscall(SYS_bpf, command, &attr, size));
}
// Old kernels refuse attributes that are longer than they know and not zero at the end.
int Bpf(int command, bpf_attr& attr) { return Bpf(command, attr, sizeof attr); }

// ------------------------------------------------------------------------------------ assembler

constexpr std::uint8_t kLoadWord = BPF_LDX | BPF_MEM | BPF_W;
constexpr std::uint8_t kLoadHalf = BPF_LDX | BPF_MEM | BPF_H;
constexpr std::uint8_t kStoreWord = BPF_STX | BPF_MEM | BPF_W;
constexpr std::uint8_t kStoreHalf = BPF_STX | BPF_MEM | BPF_H;
constexpr std::uint8_t kMove = BPF_ALU64 | BPF_MOV | BPF_X;
constexpr std::uint8_t kMoveNumber = BPF_ALU64 | BPF_MOV | BPF_K;
constexpr std::uint8_t kAddNumber = BPF_ALU64 | BPF_ADD;  // BPF_K is 0, too.

constexpr bpf_insn Instruction(std::uint8_t code, unsigned to, unsigned from, int offset,
                               std::int32_t number) {
  bpf_insn instruction{};
  instruction.code = code;
  instruction.dst_reg = to & 0xf;
  instruction.src_reg = from & 0xf;
  instruction.off = static_cast<std::int16_t>(offset);
  instruction.imm = number;
  return instruction;
}

class Assembler {
 public:
  void Add(std::uint8_t code, unsigned to, unsigned from, int offset, std::int32_t number) {
    code_.push_back(Instruction(code, to, from, offset, number));
  }
  void Call(int function) { Add(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
  void CallKernel(std::uint32_t function) {
    Add(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, static_cast<std::int32_t>(function));
  }
  void LoadMap(unsigned to, int map) {
    Add(BPF_LD | BPF_IMM | BPF_DW, to, BPF_PSEUDO_MAP_FD, 0, map);
    Add(0, 0, 0, 0, 0);
  }
  void Return(int verdict) {
    Add(kMoveNumber, 0, 0, 0, verdict);
    Add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  // A jump whose target is named later.
  std::size_t Jump(std::uint8_t condition, unsigned a, unsigned b, std::int32_t number) {
    Add(condition, a, b, 0, number);
    return code_.size() - 1;
  }
  void Land(std::size_t jump) {
    code_[jump].off = static_cast<std::int16_t>(code_.size() - jump - 1);
  }
  std::span<const bpf_insn> code() const { return code_; }

 private:
  std::vector<bpf_insn> code_;
};

// r6 is the context throughout.
constexpr unsigned kContext = 6, kFrame = 10;

// If the driver keeps a VLAN tag beside the frame, writes it into the frame, behind the addresses.
void PutTag(Assembler& assembler, std::uint32_t read_tag) {
  constexpr int kTypeAt = -2, kTagAt = -4;
  constexpr int kAdjustHead = 44;  // BPF_FUNC_xdp_adjust_head
  assembler.Add(BPF_ST | BPF_MEM | BPF_W, kFrame, 0, kTagAt, 0);
  assembler.Add(kMove, 1, kContext, 0, 0);
  assembler.Add(kMove, 2, kFrame, 0, 0);
  assembler.Add(kAddNumber, 2, 0, 0, kTypeAt);
  assembler.Add(kMove, 3, kFrame, 0, 0);
  assembler.Add(kAddNumber, 3, 0, 0, kTagAt);
  assembler.CallKernel(read_tag);
  const std::size_t untagged = assembler.Jump(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 0);

  assembler.Add(kMove, 1, kContext, 0, 0);
  assembler.Add(kMoveNumber, 2, 0, 0, -4);
  assembler.Call(kAdjustHead);
  const std::size_t no_room = assembler.Jump(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 0);
  assembler.Add(kLoadWord, 1, kContext, offsetof(xdp_md, data), 0);
  assembler.Add(kLoadWord, 2, kContext, offsetof(xdp_md, data_end), 0);
  assembler.Add(kMove, 3, 1, 0, 0);
  assembler.Add(kAddNumber, 3, 0, 0, 18);
  const std::size_t too_short = assembler.Jump(BPF_JMP | BPF_JGT | BPF_X, 3, 2, 0);
  for (int at = 0; at < 12; at += 4) {
    assembler.Add(kLoadWord, 3, 1, at + 4, 0);
    assembler.Add(kStoreWord, 1, 3, at, 0);
  }
  assembler.Add(kLoadHalf, 3, kFrame, kTypeAt, 0);  // As it goes into the frame.
  assembler.Add(kStoreHalf, 1, 3, 12, 0);
  assembler.Add(kLoadHalf, 3, kFrame, kTagAt, 0);  // A number.
  assembler.Add(BPF_ALU | BPF_END | BPF_TO_BE, 3, 0, 0, 16);
  assembler.Add(kStoreHalf, 1, 3, 14, 0);
  const std::size_t done = assembler.Jump(BPF_JMP | BPF_JA, 0, 0, 0);
  assembler.Land(no_room);
  assembler.Land(too_short);
  assembler.Return(XDP_DROP);
  assembler.Land(done);
  assembler.Land(untagged);
}

// Sends the frame to the socket of its queue; where there is none, drops it.
void RedirectToSocket(Assembler& assembler, int map) {
  assembler.Add(kLoadWord, 2, kContext, offsetof(xdp_md, rx_queue_index), 0);
  assembler.LoadMap(1, map);
  assembler.Add(kMoveNumber, 3, 0, 0, XDP_DROP);
  assembler.Call(BPF_FUNC_redirect_map);
  assembler.Add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

int LoadProgram(std::span<const bpf_insn> code, std::uint32_t flags, int ifindex) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_type = BPF_PROG_TYPE_XDP;
  attr.expected_attach_type = BPF_XDP;
  attr.insns = reinterpret_cast<std::uintptr_t>(code.data());
  attr.insn_cnt = static_cast<std::uint32_t>(code.size());
  attr.license = reinterpret_cast<std::uintptr_t>("GPL");
  attr.prog_flags = flags;
  attr.prog_ifindex = static_cast<std::uint32_t>(ifindex);
  std::memcpy(attr.prog_name, "pollux", sizeof "pollux");
  return Bpf(BPF_PROG_LOAD, attr);
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

Error AttachError(XdpProgram::Mode mode) {
  const bool native = mode == XdpProgram::Mode::kNative;
  Error error = BpfError("cannot attach an XDP program");
  if (error.number == EBUSY || error.number == EEXIST) {
    error.hint =
        "the interface has another XDP program: `ip -d link show` names it, `ip link set dev … "
        "xdp off` takes it away unless a running process holds it";
  } else if (error.number == EOPNOTSUPP && native) {
    error.hint = "the driver runs no XDP programs: mode \"generic\" works with every driver";
  } else if (error.number == EINVAL || error.number == ERANGE) {
    error.hint =
        "too large an MTU for XDP, on the interface or on the other end of the pair (before Linux "
        "5.18 about 3,500 bytes), or a kernel before 5.9";
  }
  return error;
}

}  // namespace

Result<std::unique_ptr<XdpProgram>> XdpProgram::Attach(int ifindex, Mode mode,
                                                       std::uint32_t queues) {
  std::unique_ptr<XdpProgram> program(new XdpProgram(ifindex, mode));
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.map_type = BPF_MAP_TYPE_XSKMAP;
  attr.key_size = sizeof(std::uint32_t);
  attr.value_size = sizeof(int);
  attr.max_entries = queues;
  std::memcpy(attr.map_name, "pollux", sizeof "pollux");
  program->map_ = Bpf(BPF_MAP_CREATE, attr);
  if (program->map_ < 0) return BpfError("cannot make a map of AF_XDP sockets");

  if (Status status = program->Load(); !status) return status.error();
  std::memset(&attr, 0, sizeof attr);
  attr.link_create.prog_fd = static_cast<std::uint32_t>(program->program_);
  attr.link_create.target_ifindex = static_cast<std::uint32_t>(ifindex);
  attr.link_create.attach_type = BPF_XDP;
  attr.link_create.flags = mode == Mode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  program->link_ = Bpf(BPF_LINK_CREATE, attr);
  if (program->link_ < 0) return AttachError(mode);
  return program;
}

// The best program that this kernel takes.
Status XdpProgram::Load() {
  // Searched for once: the kernel's types are megabytes.
  static const std::uint32_t kReadTag = FindKernelFunction("bpf_xdp_metadata_rx_vlan_tag");
  const std::uint32_t read_tag = mode_ == Mode::kNative ? kReadTag : 0;
  for (const bool tags : {true, false}) {
    if (tags && read_tag == 0) continue;
    Assembler assembler;
    assembler.Add(kMove, kContext, 1, 0, 0);
    if (tags) PutTag(assembler, read_tag);
    RedirectToSocket(assembler, map_);
    for (const std::uint32_t large : {BPF_F_XDP_HAS_FRAGS, 0U}) {
      program_ = LoadProgram(assembler.code(), large | (tags ? BPF_F_XDP_DEV_BOUND_ONLY : 0),
                             tags ? ifindex_ : 0);
      if (program_ < 0) continue;
      takes_large_frames_ = large != 0;
      tells_tags_ = tags;
      return {};
    }
  }
  return BpfError("cannot load an XDP program");
}

XdpProgram::~XdpProgram() {
  for (const int fd : {link_, program_, map_}) {
    if (fd >= 0) close(fd);
  }
}

Status XdpProgram::Renew() {
  // The kernel does nothing for a program that is there already: it takes another, of the same
  // text.
  const int old = program_;
  if (Status status = Load(); !status) {
    program_ = old;
    return status;
  }
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.link_update.link_fd = static_cast<std::uint32_t>(link_);
  attr.link_update.new_prog_fd = static_cast<std::uint32_t>(program_);
  const bool updated = Bpf(BPF_LINK_UPDATE, attr) == 0;
  const Error error = updated ? Error{} : AttachError(mode_);
  close(updated ? old : program_);
  if (updated) return {};
  program_ = old;
  return error;
}

Status XdpProgram::Serve(std::uint32_t queue, int socket) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.map_fd = static_cast<std::uint32_t>(map_);
  attr.key = reinterpret_cast<std::uintptr_t>(&queue);
  attr.value = reinterpret_cast<std::uintptr_t>(&socket);
  if (Bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return BpfError("cannot direct frames to a socket");
  return {};
}

}  // namespace pollux
