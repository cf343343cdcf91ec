#include "netdev/ingress_drop.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace pollux {
namespace {

// Newer than the headers we may be built with.
constexpr std::uint32_t kLinkCreate = 28;
constexpr std::uint32_t kTcxIngress = 46;
constexpr std::int32_t kDrop = 2;  // TCX_DROP, or TC_ACT_SHOT.

struct LinkCreate {
  std::uint32_t program;
  std::uint32_t ifindex;
  std::uint32_t attach_type;
  std::uint32_t flags;
  std::uint64_t place_and_revision[2];  // Zero: behind the programs of others.
};

template <typename Attributes>
int Bpf(std::uint32_t command, Attributes& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

int LoadProgram() {
  bpf_insn program[2]{};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  program[0].dst_reg = BPF_REG_0;
  program[0].imm = kDrop;
  program[1].code = BPF_JMP | BPF_EXIT;
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program);
  attributes.insn_cnt = 2;
  attributes.license = reinterpret_cast<std::uintptr_t>("Apache-2.0");
  return Bpf(BPF_PROG_LOAD, attributes);
}

}  // namespace

bool IngressDrop::Attach(int ifindex) {
  Detach();
  const int program = LoadProgram();
  if (program < 0) return false;
  LinkCreate attributes{};
  attributes.program = static_cast<std::uint32_t>(program);
  attributes.ifindex = static_cast<std::uint32_t>(ifindex);
  attributes.attach_type = kTcxIngress;
  link_ = Bpf(kLinkCreate, attributes);
  close(program);  // The link holds it.
  return attached();
}

void IngressDrop::Detach() {
  if (link_ >= 0) close(std::exchange(link_, -1));
}

}  // namespace pollux
