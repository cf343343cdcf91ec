// bpf(2): the call, and what it means when it fails.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

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

// A descriptor, 0, or -1 with errno set. Old kernels refuse attributes that are longer than they
// know and not zero at the end.
int Bpf(int command, const void* attributes, std::size_t size);
inline int Bpf(int command, const bpf_attr& attributes) {
  return Bpf(command, &attributes, sizeof attributes);
}

// All zero, the bytes between the members too.
bpf_attr NoBpfAttributes();

// The descriptor of a loaded program, or -1. `flags`: BPF_F_…; `ifindex`: of the one interface that
// it is bound to, 0: of any.
int LoadBpfProgram(bpf_prog_type type, std::span<const bpf_insn> code, std::uint32_t flags = 0,
                   int ifindex = 0);

// Processors that a program may ever run on: one more than the last number of "0-3,8" in
// /sys/devices/system/cpu/possible.
std::uint32_t CountProcessors();

// From errno: "<what>: <why>".
Error BpfError(std::string what);

}  // namespace pollux
