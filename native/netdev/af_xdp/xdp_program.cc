#include "netdev/af_xdp/xdp_program.h"

#include <linux/if_link.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "kernel/bpf/bpf.h"
#include "kernel/bpf/bpf_assembler.h"
#include "kernel/bpf/btf.h"

namespace pollux {
namespace {

// r6 is the context throughout.
constexpr unsigned kContext = 6;

// If the driver keeps a VLAN tag beside the frame, writes it into the frame, behind the addresses.
void PutTag(BpfAssembler& assembler, std::uint32_t read_tag) {
  constexpr int kTypeAt = -2, kTagAt = -4;
  constexpr int kAdjustHead = 44;  // BPF_FUNC_xdp_adjust_head
  assembler.Add(kBpfStoreWordNumber, kBpfStack, 0, kTagAt, 0);
  assembler.Add(kBpfMove, 1, kContext, 0, 0);
  assembler.Add(kBpfMove, 2, kBpfStack, 0, 0);
  assembler.Add(kBpfAddNumber, 2, 0, 0, kTypeAt);
  assembler.Add(kBpfMove, 3, kBpfStack, 0, 0);
  assembler.Add(kBpfAddNumber, 3, 0, 0, kTagAt);
  assembler.CallKernel(read_tag);
  const std::size_t untagged = assembler.Jump(kBpfJumpUnlessNumber, 0, 0, 0);

  assembler.Add(kBpfMove, 1, kContext, 0, 0);
  assembler.Add(kBpfMoveNumber, 2, 0, 0, -4);
  assembler.Call(kAdjustHead);
  const std::size_t no_room = assembler.Jump(kBpfJumpUnlessNumber, 0, 0, 0);
  assembler.Add(kBpfLoadWord, 1, kContext, offsetof(xdp_md, data), 0);
  assembler.Add(kBpfLoadWord, 2, kContext, offsetof(xdp_md, data_end), 0);
  assembler.Add(kBpfMove, 3, 1, 0, 0);
  assembler.Add(kBpfAddNumber, 3, 0, 0, 18);
  const std::size_t too_short = assembler.Jump(kBpfJumpIfAbove, 3, 2, 0);
  for (int at = 0; at < 12; at += 4) {
    assembler.Add(kBpfLoadWord, 3, 1, at + 4, 0);
    assembler.Add(kBpfStoreWord, 1, 3, at, 0);
  }
  assembler.Add(kBpfLoadHalf, 3, kBpfStack, kTypeAt, 0);  // As it goes into the frame.
  assembler.Add(kBpfStoreHalf, 1, 3, 12, 0);
  assembler.Add(kBpfLoadHalf, 3, kBpfStack, kTagAt, 0);  // A number.
  assembler.Add(kBpfToBigEndian, 3, 0, 0, 16);
  assembler.Add(kBpfStoreHalf, 1, 3, 14, 0);
  const std::size_t done = assembler.Jump();
  assembler.Land({no_room, too_short});
  assembler.Return(XDP_DROP);
  assembler.Land({done, untagged});
}

// Sends the frame to the socket of its queue; where there is none, counts it and drops it.
void RedirectToSocket(BpfAssembler& assembler, int map, int unserved) {
  constexpr int kKeyAt = -4;
  assembler.Add(kBpfLoadWord, 2, kContext, offsetof(xdp_md, rx_queue_index), 0);
  assembler.LoadMap(1, map);
  assembler.Add(kBpfMoveNumber, 3, 0, 0, XDP_DROP);
  assembler.Call(BPF_FUNC_redirect_map);
  const std::size_t served = assembler.Jump(kBpfJumpUnlessNumber, 0, 0, XDP_DROP);

  assembler.Add(kBpfStoreWordNumber, kBpfStack, 0, kKeyAt, 0);
  assembler.Add(kBpfMove, 2, kBpfStack, 0, 0);
  assembler.Add(kBpfAddNumber, 2, 0, 0, kKeyAt);
  assembler.LoadMap(1, unserved);
  assembler.Call(BPF_FUNC_map_lookup_elem);
  const std::size_t uncounted = assembler.Jump(kBpfJumpIfNumber, 0, 0, 0);
  assembler.Add(kBpfLoadDouble, 1, 0, 0, 0);
  assembler.Add(kBpfAddNumber, 1, 0, 0, 1);
  assembler.Add(kBpfStoreDouble, 0, 1, 0, 0);
  assembler.Land(uncounted);
  assembler.Add(kBpfMoveNumber, 0, 0, 0, XDP_DROP);
  assembler.Land(served);
  assembler.Exit();
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
  bpf_attr attr = NoBpfAttributes();
  attr.map_type = BPF_MAP_TYPE_XSKMAP;
  attr.key_size = sizeof(std::uint32_t);
  attr.value_size = sizeof(int);
  attr.max_entries = queues;
  std::memcpy(attr.map_name, "pollux", sizeof "pollux");
  program->map_ = Bpf(BPF_MAP_CREATE, attr);
  if (program->map_ < 0) return BpfError("cannot make a map of AF_XDP sockets");
  attr = NoBpfAttributes();
  attr.map_type = BPF_MAP_TYPE_PERCPU_ARRAY;
  attr.key_size = sizeof(std::uint32_t);
  attr.value_size = sizeof(std::uint64_t);
  attr.max_entries = 1;
  std::memcpy(attr.map_name, "pollux_unserved", sizeof "pollux_unserved");
  program->unserved_ = Bpf(BPF_MAP_CREATE, attr);
  if (program->unserved_ < 0) return BpfError("cannot make a map of counters");

  if (Status status = program->Load(); !status) return status.error();
  attr = NoBpfAttributes();
  attr.link_create.prog_fd = static_cast<std::uint32_t>(program->program_);
  attr.link_create.target_ifindex = static_cast<std::uint32_t>(ifindex);
  attr.link_create.attach_type = BPF_XDP;
  attr.link_create.flags = mode == Mode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  program->link_ = Bpf(BPF_LINK_CREATE, attr);
  if (program->link_ < 0) return AttachError(mode);
  return program;
}

// The best program that this kernel takes; in the place of another, one that can do the same.
Status XdpProgram::Load() {
  // Searched for once: the kernel's types are megabytes.
  static const std::uint32_t kReadTag = FindKernelFunction("bpf_xdp_metadata_rx_vlan_tag");
  const std::uint32_t read_tag = mode_ == Mode::kNative ? kReadTag : 0;
  for (const bool tags : {true, false}) {
    if (tags && read_tag == 0) continue;
    if (link_ >= 0 && tags != tells_tags_) continue;
    BpfAssembler assembler;
    assembler.Add(kBpfMove, kContext, 1, 0, 0);
    if (tags) PutTag(assembler, read_tag);
    if (flows_ != nullptr) flows_->Assemble(assembler);
    RedirectToSocket(assembler, map_, unserved_);
    for (const std::uint32_t large : {BPF_F_XDP_HAS_FRAGS, 0U}) {
      if (link_ >= 0 && (large != 0) != takes_large_frames_) continue;
      program_ = LoadBpfProgram(BPF_PROG_TYPE_XDP, assembler.code(),
                                large | (tags ? BPF_F_XDP_DEV_BOUND_ONLY : 0), tags ? ifindex_ : 0);
      if (program_ < 0) continue;
      takes_large_frames_ = large != 0;
      tells_tags_ = tags;
      return {};
    }
  }
  return BpfError("cannot load an XDP program");
}

XdpProgram::~XdpProgram() {
  for (const int fd : {link_, program_, map_, unserved_}) {
    if (fd >= 0) close(fd);
  }
}

std::uint64_t XdpProgram::unserved() const {
  std::vector<std::uint64_t> counts(CountProcessors());
  const std::uint32_t key = 0;
  bpf_attr attr = NoBpfAttributes();
  attr.map_fd = static_cast<std::uint32_t>(unserved_);
  attr.key = reinterpret_cast<std::uintptr_t>(&key);
  attr.value = reinterpret_cast<std::uintptr_t>(counts.data());
  if (Bpf(BPF_MAP_LOOKUP_ELEM, attr) != 0) return 0;
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

Status XdpProgram::Renew() {
  // The kernel does nothing for a program that is there already: it takes another, of the same
  // text.
  const int old = program_;
  if (Status status = Load(); !status) {
    program_ = old;
    return status;
  }
  bpf_attr attr = NoBpfAttributes();
  attr.link_update.link_fd = static_cast<std::uint32_t>(link_);
  attr.link_update.new_prog_fd = static_cast<std::uint32_t>(program_);
  const bool updated = Bpf(BPF_LINK_UPDATE, attr) == 0;
  const Error error = updated ? Error{} : AttachError(mode_);
  close(updated ? old : program_);
  if (updated) return {};
  program_ = old;
  return error;
}

Status XdpProgram::Forward(std::shared_ptr<const XdpFlows> flows) {
  std::swap(flows_, flows);
  Status status = Renew();
  if (!status) std::swap(flows_, flows);
  return status;
}

Status XdpProgram::Serve(std::uint32_t queue, int socket) {
  bpf_attr attr = NoBpfAttributes();
  attr.map_fd = static_cast<std::uint32_t>(map_);
  attr.key = reinterpret_cast<std::uintptr_t>(&queue);
  attr.value = reinterpret_cast<std::uintptr_t>(&socket);
  if (Bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return BpfError("cannot direct frames to a socket");
  return {};
}

}  // namespace pollux
