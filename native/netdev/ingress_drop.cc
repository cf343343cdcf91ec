#include "netdev/ingress_drop.h"

#include <unistd.h>

#include <cstdint>

#include "netdev/bpf.h"
#include "netdev/bpf_assembler.h"

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

int LoadDrop() {
  BpfAssembler assembler;
  assembler.Return(kDrop);
  return LoadBpfProgram(BPF_PROG_TYPE_SCHED_CLS, assembler.code());
}

}  // namespace

bool IngressDrop::Attach(int ifindex) {
  Detach();
  const int program = LoadDrop();
  if (program < 0) return false;
  LinkCreate attributes{};
  attributes.program = static_cast<std::uint32_t>(program);
  attributes.ifindex = static_cast<std::uint32_t>(ifindex);
  attributes.attach_type = kTcxIngress;
  link_ = Bpf(kLinkCreate, &attributes, sizeof attributes);
  close(program);  // The link holds it.
  return attached();
}

void IngressDrop::Detach() {
  if (link_ >= 0) close(std::exchange(link_, -1));
}

}  // namespace pollux
