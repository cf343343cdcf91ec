#include "netdev/ingress_drop.h"

#include <cerrno>
#include <climits>
#include <cstdint>
#include <utility>

#include "base/fd.h"
#include "base/sync.h"
#include "netdev/bpf.h"
#include "netdev/bpf_assembler.h"

namespace pollux {
namespace {

// Newer than the headers we may be built with.
constexpr std::uint32_t kLinkCreate = 28;
constexpr std::uint32_t kLinkUpdate = 29;
constexpr std::uint32_t kTcxIngress = 46;
constexpr std::int32_t kDrop = 2;   // TCX_DROP, or TC_ACT_SHOT.
constexpr std::int32_t kNext = -1;  // TCX_NEXT: as if it were not there.

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

Fd LoadVerdict(std::int32_t verdict) {
  BpfAssembler assembler;
  assembler.Return(verdict);
  return Fd(LoadBpfProgram(BPF_PROG_TYPE_SCHED_CLS, assembler.code()));
}

Fd Attached(const Fd& program, int ifindex) {
  LinkCreate attributes{};
  attributes.program = static_cast<std::uint32_t>(program.get());
  attributes.ifindex = static_cast<std::uint32_t>(ifindex);
  attributes.attach_type = kTcxIngress;
  return Fd(Bpf(kLinkCreate, &attributes, sizeof attributes));
}

// Asked about an interface that there is not, a kernel that knows of such links looks for it.
bool IsPossible(const Fd& program) {
  return program.get() >= 0 && Attached(program, INT_MAX).get() < 0 && errno == ENODEV;
}

}  // namespace

struct IngressDrop::Link {
  Mutex mutex;
  bool wanted GUARDED_BY(mutex) = true;
  bool failed GUARDED_BY(mutex) = false;
  Fd fd GUARDED_BY(mutex);
};

void IngressDrop::Attach(int ifindex, std::shared_future<void> first) {
  Detach();
  auto program = std::make_shared<Fd>(LoadVerdict(kDrop));
  if (!IsPossible(*program)) return;
  link_ = std::make_shared<Link>();
  background_.Run([link = link_, program, ifindex, first = std::move(first)] {
    if (first.valid()) first.wait();
    Fd attached = Attached(*program, ifindex);
    MutexLock lock(link->mutex);
    link->failed = attached.get() < 0;
    if (link->wanted) std::swap(link->fd, attached);
  });
}

void IngressDrop::Detach() {
  if (link_ == nullptr) return;
  const auto fd = std::make_shared<Fd>();
  {
    MutexLock lock(link_->mutex);
    link_->wanted = false;
    std::swap(*fd, link_->fd);
  }
  link_.reset();
  if (fd->get() < 0) return;
  // This does not wait.
  const Fd pass = LoadVerdict(kNext);
  LinkUpdate attributes{};
  attributes.link = static_cast<std::uint32_t>(fd->get());
  attributes.program = static_cast<std::uint32_t>(pass.get());
  Bpf(kLinkUpdate, &attributes, sizeof attributes);
  background_.Run([fd] { *fd = Fd(); });
}

bool IngressDrop::attached() const {
  if (link_ == nullptr) return false;
  MutexLock lock(link_->mutex);
  return !link_->failed;
}

}  // namespace pollux
