#include "kernel/bpf/tcx_link.h"

#include <cerrno>
#include <climits>
#include <cstdint>
#include <span>
#include <utility>

#include "base/fd.h"
#include "base/sync.h"
#include "kernel/bpf/bpf.h"
#include "kernel/bpf/bpf_assembler.h"

namespace pollux {
namespace {

// Newer than the headers we may be built with.
constexpr std::uint32_t kLinkCreate = 28;
constexpr std::uint32_t kLinkUpdate = 29;
constexpr std::uint32_t kTcxIngress = 46;

struct LinkCreate {
  std::uint32_t program;
  std::uint32_t ifindex;
  std::uint32_t attach_type;
  std::uint32_t flags;
  std::uint64_t place_and_revision[2];  // Zero: behind the programs of others.
};

struct LinkUpdate {
  std::uint32_t link;
  std::uint32_t program;
  std::uint32_t flags;
  std::uint32_t old_program;
};

Fd Load(std::span<const bpf_insn> code) {
  return Fd(LoadBpfProgram(BPF_PROG_TYPE_SCHED_CLS, code));
}

Fd AttachTo(const Fd& program, int ifindex) {
  LinkCreate attributes{};
  attributes.program = static_cast<std::uint32_t>(program.get());
  attributes.ifindex = static_cast<std::uint32_t>(ifindex);
  attributes.attach_type = kTcxIngress;
  return Fd(Bpf(kLinkCreate, &attributes, sizeof attributes));
}

// Asked about an interface that there is not, a kernel that knows of such links looks for it.
bool IsPossible(const Fd& program) {
  return program.get() >= 0 && AttachTo(program, INT_MAX).get() < 0 && errno == ENODEV;
}

}  // namespace

struct TcxLink::Link {
  Mutex mutex;
  bool wanted GUARDED_BY(mutex) = true;
  bool failed GUARDED_BY(mutex) = false;
  Fd fd GUARDED_BY(mutex);
};

void TcxLink::Attach(int ifindex, std::span<const bpf_insn> code, std::shared_future<void> first) {
  Detach();
  auto program = std::make_shared<Fd>(Load(code));
  if (!IsPossible(*program)) return;
  link_ = std::make_shared<Link>();
  background_.Run([link = link_, runs = runs_, program, ifindex, first = std::move(first)] {
    if (first.valid()) first.wait();
    Fd attached = AttachTo(*program, ifindex);
    MutexLock lock(link->mutex);
    link->failed = attached.get() < 0;
    if (!link->wanted || link->failed) return;
    std::swap(link->fd, attached);
    runs->store(true, std::memory_order_release);
  });
}

void TcxLink::Detach() {
  if (link_ == nullptr) return;
  const auto fd = std::make_shared<Fd>();
  {
    MutexLock lock(link_->mutex);
    link_->wanted = false;
    runs_->store(false, std::memory_order_release);
    std::swap(*fd, link_->fd);
  }
  link_.reset();
  if (fd->get() < 0) return;
  // This does not wait.
  BpfAssembler nothing;
  nothing.Return(kTcxNext);
  const Fd pass = Load(nothing.code());
  LinkUpdate attributes{};
  attributes.link = static_cast<std::uint32_t>(fd->get());
  attributes.program = static_cast<std::uint32_t>(pass.get());
  Bpf(kLinkUpdate, &attributes, sizeof attributes);
  background_.Run([fd] { *fd = Fd(); });
}

bool TcxLink::attached() const {
  if (link_ == nullptr) return false;
  MutexLock lock(link_->mutex);
  return !link_->failed;
}

}  // namespace pollux
