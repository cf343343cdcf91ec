#include "netdev/pcap/capture_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace pollux {
namespace {

constexpr std::size_t kReadAhead = 1 << 20;
constexpr std::size_t kReadSize = kReadAhead / 4;
constexpr std::size_t kWriteBehind = 4 << 20;
constexpr std::size_t kPipeWrite = 4096;  // What a pipe that is ready takes without blocking.
constexpr int kLastWordsMs = 1000;        // For a pipe whose reader is slow, at the end.
static_assert(kReadAhead - kReadSize >= PcapParser::kWindow);

Error FileError(int number, const char* syscall, const std::string& path, const char* what) {
  Error error = SystemError(number, syscall, std::string("cannot ") + what + " \"" + path + "\"");
  if (number == ENOENT) error.hint = "a path is taken from the folder the process runs in";
  if (number == EACCES) error.hint = "`ls -l` shows who may";
  if (number == ENXIO) error.hint = "nobody reads from this pipe: start its reader first";
  return error;
}

Status OpenFile(CaptureFile& file, const std::string& path, int flags, int standard,
                const char* what) {
  if (path == "-") {
    file.fd = fcntl(standard, F_DUPFD_CLOEXEC, 0);
  } else {
    file.fd = open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0666);
  }
  if (file.fd < 0 || fstat(file.fd, &file.status) != 0) {
    return FileError(errno, "open", path, what);
  }
  if (S_ISDIR(file.status.st_mode)) return FileError(EISDIR, "open", path, what);
  return {};
}

Status StartThread(std::thread& thread, const char* name, std::function<void()> run) {
  try {
    thread = std::thread(std::move(run));
  } catch (const std::system_error& error) {
    return SystemError(error.code().value(), "pthread_create",
                       "cannot start a thread for a capture file");
  }
  pthread_setname_np(thread.native_handle(), name);
  return {};
}

}  // namespace

// ---------------------------------------------------------------------------- read ahead

ReadAhead::ReadAhead(std::string path, bool loop)
    : path_(std::move(path)), loop_(loop), ring_(kReadAhead) {}

ReadAhead::~ReadAhead() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_seq_cst);
  bell_.RingAlways();
  thread_.join();
}

Status ReadAhead::Open() {
  for (const Status& status : {ring_.opened(), bell_.opened(), news_.opened()}) {
    if (!status) return status;
  }
  if (Status status = OpenFile(file_, path_, O_RDONLY, STDIN_FILENO, "read"); !status) {
    return status;
  }
  if (!file_.regular()) {
    if (!loop_) return {};
    return Invalid("\"" + path_ + "\" cannot be repeated: it is no file",
                   "leave `loop` out, or copy it into a file first");
  }
  posix_fadvise(file_.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  while (!ended() && ring_.Filled().size() < PcapParser::kWindow) ReadSome();
  return Probe();
}

Status ReadAhead::Start() {
  return StartThread(thread_, "pcap-read", [this] { Run(); });
}

Status ReadAhead::Probe() const {
  PcapParser parser;
  std::span<const std::uint8_t> window = ring_.Filled();
  for (;;) {
    const PcapParser::Step step = parser.Next(window, ended());
    if (step.kind == PcapParser::Kind::kError) {
      return Invalid("\"" + path_ + "\", " + parser.error(), HintOf(parser));
    }
    if (step.kind != PcapParser::Kind::kSkipped) return {};
    window = window.subspan(step.used);
    if (!ended() && window.size() < PcapParser::kWindow) return {};
  }
}

std::string ReadAhead::HintOf(const PcapParser& parser) const {
  if (parser.unpacker() == nullptr)
    return "`capinfos` or `file` says what it is; `editcap` and `tcpdump -w` convert";
  const std::string unpack = parser.unpacker();
  return path_ == "-" ? "unpack it on its way here: `" + unpack + " -c FILE | …`"
                      : "`" + unpack + " -k " + path_ + "` unpacks it";
}

void ReadAhead::Took() {
  if (!ended() && ring_.size() - ring_.Filled().size() >= kReadSize) bell_.Ring();
}

void ReadAhead::Again() {
  if (size_ <= ring_.size()) {
    ring_.Rewind();
    return;
  }
  ended_.store(false, std::memory_order_seq_cst);
  bell_.Ring();
}

// Reads once; sets ended_ at the end.
void ReadAhead::ReadSome() {
  const std::span<std::uint8_t> free = ring_.Free();
  const ssize_t n = read(file_.fd, free.data(), std::min(free.size(), kReadSize));
  if (n > 0) {
    size_ += static_cast<std::size_t>(n);
    ring_.Fill(static_cast<std::size_t>(n));
    return;
  }
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  failure_ = n < 0 ? errno : 0;
  at_end_ = true;
  ended_.store(true, std::memory_order_seq_cst);
}

void ReadAhead::Run() {
  for (;;) {
    bell_.Announce();
    if (stop_.load(std::memory_order_seq_cst)) return;
    if (at_end_ && !ended()) {  // Again().
      lseek(file_.fd, 0, SEEK_SET);
      at_end_ = false;
    }
    const bool may_read = !ended() && ring_.Free().size() >= kReadSize;
    pollfd fds[2] = {{bell_.fd(), POLLIN, 0}, {file_.fd, POLLIN, 0}};
    // A regular file is always ready.
    if (!may_read || !file_.regular()) poll(fds, may_read ? 2 : 1, -1);
    bell_.Awake();
    if (!may_read || (!file_.regular() && fds[1].revents == 0)) continue;
    ReadSome();
    news_.Ring();
  }
}

// -------------------------------------------------------------------------- write behind

WriteBehind::WriteBehind(std::string path, std::string interface, PacketPool& pool)
    : path_(std::move(path)),
      interface_(std::move(interface)),
      format_(PcapFormatOf(path_)),
      pool_(pool),
      ring_(kWriteBehind) {
  pool_.WantArrivals(true);
}

WriteBehind::~WriteBehind() {
  pool_.WantArrivals(false);
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_seq_cst);
  bell_.RingAlways();
  thread_.join();
}

Status WriteBehind::Open(const struct stat* other) {
  for (const Status& status : {ring_.opened(), bell_.opened()}) {
    if (!status) return status;
  }
  if (Status status = OpenFile(file_, path_, O_WRONLY | O_CREAT, STDOUT_FILENO, "write"); !status) {
    return status;
  }
  if (file_.regular()) {
    if (other != nullptr && other->st_ino == file_.status.st_ino &&
        other->st_dev == file_.status.st_dev) {
      return Invalid("`read` and `write` are the same file", "give another file to `write`");
    }
    if (path_ != "-" && ftruncate(file_.fd, 0) != 0) {
      return FileError(errno, "ftruncate", path_, "write");
    }
  }
  const std::vector<std::uint8_t> head = PcapHead(format_, interface_);
  std::copy(head.begin(), head.end(), ring_.Free().begin());
  ring_.Fill(head.size());
  return StartThread(thread_, "pcap-write", [this] { Run(); });
}

void WriteBehind::Send(const PacketBatch& batch, std::uint32_t mtu, SendResult& result) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t now_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  {
    MutexLock lock(mutex_);
    for (const Packet* packet : batch) {
      const std::size_t size = PcapRecordSize(format_, packet->size);
      const std::span<std::uint8_t> free = ring_.Free();
      if (failure() != 0) {
        result.Drop(DropReason::kPortDown);
      } else if (mtu != 0 && !FitsMtu(*packet, mtu)) {
        result.Drop(DropReason::kMtu);
      } else if (size > free.size()) {
        result.Drop(DropReason::kTxQueueFull);
      } else {
        PacketArrival arrival{now_ns, 0};
        if (packet->has_arrival) {
          arrival.cut_off = packet->arrival().cut_off;
          if (packet->arrival().time_ns > 0) arrival.time_ns = packet->arrival().time_ns;
        }
        WritePcapRecord(format_, packet->bytes(), arrival, free.data());
        ring_.Fill(size);
        result.Accept(*packet);
      }
    }
  }
  bell_.Ring();
}

std::string WriteBehind::why() const {
  return "cannot write \"" + path_ + "\": " + std::strerror(failure());
}

void WriteBehind::Run() {
  // A pipe whose reader is gone says EPIPE; the signal is for nobody.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  std::int64_t give_up_ns = 0;
  for (;;) {
    bell_.Announce();
    const bool stop = stop_.load(std::memory_order_seq_cst);
    const std::span<const std::uint8_t> filled = ring_.Filled();
    if (stop) {
      if (give_up_ns == 0) give_up_ns = Clock::MonotonicNs() + kLastWordsMs * 1'000'000LL;
      if (filled.empty() || (!file_.regular() && Clock::MonotonicNs() > give_up_ns)) return;
    }
    pollfd fds[2] = {{bell_.fd(), POLLIN, 0}, {file_.fd, POLLOUT, 0}};
    const bool wait_for_file = !filled.empty() && !file_.regular();
    if (filled.empty() || wait_for_file) poll(fds, wait_for_file ? 2 : 1, stop ? 10 : -1);
    bell_.Awake();
    if (filled.empty() || (wait_for_file && fds[1].revents == 0)) continue;
    Write(filled);
  }
}

void WriteBehind::Write(std::span<const std::uint8_t> filled) {
  if (failure() != 0) {
    ring_.Take(filled.size());
    return;
  }
  const std::size_t most = file_.regular() ? kWriteBehind : kPipeWrite;
  const ssize_t n = write(file_.fd, filled.data(), std::min(filled.size(), most));
  if (n >= 0) {
    ring_.Take(static_cast<std::size_t>(n));
  } else if (errno != EINTR && errno != EAGAIN) {
    failure_.store(errno, std::memory_order_release);
  }
}

}  // namespace pollux
