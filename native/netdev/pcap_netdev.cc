// pcap: a port that replays one capture file and records into another. Formats: pcap_file.h.
//
// No forwarding thread ever touches a file. A thread of the port's own reads ahead into a ring of
// bytes, where the queue's thread parses; another writes behind, from a ring into which senders put
// their records. So a slow disk, or a program at the other end of a pipe, delays nobody: a queue
// that finds the ring empty has nothing, and what finds it full is dropped as tx_queue_full.
//
// Reading. As fast as it is asked, or at the pace of the time stamps: the first frame at once, each
// other as long after it as in the capture. When all is read (`loop`: when all is read again) the
// port goes down, and says that it was at the end or which byte made no sense. A file that fits the
// ring is read once and repeated from there.
//
// Writing. pcapng, or pcap if the name ends in ".pcap"; nanoseconds. Frames count as sent when the
// ring has them. Closing the device writes the rest first.
//
// Names: "-" is standard input or output. Pipes have no end to come back from, and no loop.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/byte_ring.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/doorbell.h"
#include "base/epoll.h"
#include "base/fd.h"
#include "base/sync.h"
#include "netdev/netdev.h"
#include "netdev/pcap_file.h"

namespace pollux {
namespace {

constexpr std::size_t kReadAhead = 1 << 20;
constexpr std::size_t kReadSize = kReadAhead / 4;
constexpr std::size_t kWriteBehind = 4 << 20;
constexpr std::size_t kPipeWrite = 4096;  // What a pipe that is ready takes without blocking.
constexpr int kLastWordsMs = 1000;        // For a pipe whose reader is slow, at the end.
static_assert(kReadAhead - kReadSize >= PcapParser::kWindow);

struct File {
  ~File() {
    if (fd >= 0) close(fd);
  }
  int fd = -1;
  struct stat status {};
  bool regular() const { return S_ISREG(status.st_mode); }
};

Error FileError(int number, const char* syscall, const std::string& path, const char* what) {
  Error error = SystemError(number, syscall, std::string("cannot ") + what + " \"" + path + "\"");
  if (number == ENOENT) error.hint = "a path is taken from the folder the process runs in";
  if (number == EACCES) error.hint = "`ls -l` shows who may";
  if (number == ENXIO) error.hint = "nobody reads from this pipe: start its reader first";
  return error;
}

Status OpenFile(File& file, const std::string& path, int flags, int standard, const char* what) {
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

// ---------------------------------------------------------------------------- read ahead

class ReadAhead {
 public:
  ReadAhead(std::string path, bool loop) : path_(std::move(path)), loop_(loop), ring_(kReadAhead) {}
  ~ReadAhead() {
    if (!thread_.joinable()) return;
    stop_.store(true, std::memory_order_seq_cst);
    bell_.RingAlways();
    thread_.join();
  }

  // Refuses what is no capture, as far as a file's beginning tells; a pipe's is not known yet.
  Status Open() {
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
  Status Start() {
    return StartThread(thread_, "pcap-read", [this] { Run(); });
  }

  const std::string& path() const { return path_; }
  bool regular() const { return file_.regular(); }
  const struct stat& file_status() const { return file_.status; }

  // --- The queue's thread.

  std::span<const std::uint8_t> Filled() const { return ring_.Filled(); }
  void Take(std::size_t n) { ring_.Take(n); }
  // There is nothing behind what is filled. Ask before Filled().
  bool ended() const { return ended_.load(std::memory_order_seq_cst); }
  int failure() const { return failure_; }  // An errno; once ended().
  // Wakes the reader if it waits for room and there is some.
  void Took() {
    if (!ended() && ring_.size() - ring_.Filled().size() >= kReadSize) bell_.Ring();
  }
  // From the beginning, after the end.
  void Again() {
    if (size_ <= ring_.size()) {
      ring_.Rewind();
      return;
    }
    ended_.store(false, std::memory_order_seq_cst);
    bell_.Ring();
  }
  // Rung when something was read.
  Doorbell& news() { return news_; }

 private:
  Status Probe() const {
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

  std::string HintOf(const PcapParser& parser) const {
    if (parser.unpacker() == nullptr)
      return "`capinfos` or `file` says what it is; `editcap` and `tcpdump -w` convert";
    const std::string unpack = parser.unpacker();
    return path_ == "-" ? "unpack it on its way here: `" + unpack + " -c FILE | …`"
                        : "`" + unpack + " -k " + path_ + "` unpacks it";
  }

  // Reads once; sets ended_ at the end.
  void ReadSome() {
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

  void Run() {
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

  const std::string path_;
  const bool loop_;
  File file_;
  ByteRing ring_;
  Doorbell bell_;
  Doorbell news_;
  std::atomic<bool> ended_{false};
  std::atomic<bool> stop_{false};
  // The reading thread's, and of others while it waits after the end.
  std::uint64_t size_ = 0;  // Bytes read so far, all passes together.
  int failure_ = 0;
  bool at_end_ = false;
  std::thread thread_;
};

// --------------------------------------------------------------------------------- queue

class PcapRxq final : public Rxq {
 public:
  PcapRxq(std::unique_ptr<ReadAhead> file, bool loop, bool paced, PacketPool& pool)
      : pool_(pool),
        loop_(loop),
        paced_(paced),
        finite_(file->regular() && !loop && !paced),
        file_(std::move(file)),
        timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {}

  Status Open() {
    if (timer_.get() < 0) return SystemError(errno, "timerfd_create", "cannot open a timer");
    if (Status status = epoll_.opened(); !status) return status;
    for (const int fd : {timer_.get(), file_->news().fd()}) {
      if (Status status = epoll_.Watch(fd); !status) return status;
    }
    return {};
  }

  void Recv(PacketBatch& batch) override {
    const std::size_t before = batch.size();
    // What is no frame fills no room in the batch: bound that too.
    for (std::size_t budget = 2 * kBatchSize; budget > 0 && !batch.full(); --budget) {
      if (!next_.has_value() && !Advance()) break;
      if (!next_.has_value()) continue;
      if (due_ns_ > 0 && Clock::MonotonicNs() < due_ns_) break;
      PacketPtr packet = pool_.Copy(next_->frame);
      if (packet == nullptr) break;  // The frame waits in the ring.
      batch.Add(std::move(packet));
      file_->Take(next_->used);
      next_.reset();
    }
    if (batch.size() > before) file_->Took();
  }

  int wait_fd() const override { return epoll_.fd(); }
  bool Arm() override {
    if (finished()) return true;
    file_->news().Announce();
    if (next_.has_value()) {
      if (due_ns_ <= Clock::MonotonicNs()) return false;
      SetTimer(due_ns_);
      return true;
    }
    return starved_ && !file_->ended() && file_->Filled().size() == starved_at_;
  }
  void Disarm() override {
    file_->news().Awake();
    if (paced_) SetTimer(0);
  }

  // settle() waits for a file that is read as fast as possible, once.
  std::uint64_t injected() const override { return finite_ ? 1 : 0; }
  std::uint64_t taken() const override { return finite_ && finished() ? 1 : 0; }

  const RxErrors& rx_errors() const { return rx_errors_; }
  // No more frames will come, and why().
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  const std::string& why() const { return why_; }

 private:
  // Looks at what is next in the file. False: nothing for now.
  bool Advance() {
    if (finished()) return false;
    const bool ended = file_->ended();
    const std::span<const std::uint8_t> window = file_->Filled();
    const PcapParser::Step step = parser_.Next(window, ended);
    starved_ = false;
    switch (step.kind) {
      case PcapParser::Kind::kFrame:
        next_ = step;
        Schedule(step.time_ns);
        return true;
      case PcapParser::Kind::kBad:
        rx_errors_.Add(RxError::kBroken);
        [[fallthrough]];
      case PcapParser::Kind::kSkipped:
        file_->Take(step.used);
        file_->Took();
        return true;
      case PcapParser::Kind::kMore:
        starved_ = true;
        starved_at_ = window.size();
        return false;
      case PcapParser::Kind::kEnd:
        return StartOver();
      case PcapParser::Kind::kError:
        Finish(parser_.error());
        return false;
    }
    return false;
  }

  // When the frame that is next may go.
  void Schedule(std::int64_t time_ns) {
    frames_in_pass_ = true;
    due_ns_ = 0;
    if (!paced_ || time_ns == 0) return;
    if (!started_.has_value()) started_ = {Clock::MonotonicNs(), time_ns};
    const auto [start_ns, first_ns] = *started_;
    if (__builtin_sub_overflow(time_ns, first_ns, &due_ns_) ||
        __builtin_add_overflow(due_ns_, start_ns, &due_ns_)) {
      due_ns_ = INT64_MAX;
    }
  }

  bool StartOver() {
    if (file_->failure() != 0) {
      Finish(std::strerror(file_->failure()));
    } else if (!loop_ || !frames_in_pass_) {
      Finish("all is read");
    } else {
      parser_ = {};
      started_.reset();
      frames_in_pass_ = false;
      file_->Again();
      return true;
    }
    return false;
  }

  void Finish(const std::string& why) {
    why_ = "\"" + file_->path() + "\", " + why;
    finished_.store(true, std::memory_order_release);
  }

  // 0: none; it is no longer readable, either.
  void SetTimer(std::int64_t at_ns) const {
    itimerspec time{};
    time.it_value.tv_sec = static_cast<time_t>(at_ns / 1'000'000'000);
    time.it_value.tv_nsec = static_cast<long>(at_ns % 1'000'000'000);
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &time, nullptr);
  }

  PacketPool& pool_;
  const bool loop_;
  const bool paced_;
  const bool finite_;
  const std::unique_ptr<ReadAhead> file_;
  const Fd timer_;
  Epoll epoll_;
  PcapParser parser_;
  std::optional<PcapParser::Step> next_;  // A frame in the ring.
  std::int64_t due_ns_ = 0;               // Of that frame; 0: at once.
  // When the first frame of this pass was due, and its time stamp.
  std::optional<std::pair<std::int64_t, std::int64_t>> started_;
  bool frames_in_pass_ = false;
  bool starved_ = false;  // The parser wanted more than these bytes.
  std::size_t starved_at_ = 0;
  RxErrors rx_errors_;
  std::string why_;  // Before finished_.
  std::atomic<bool> finished_{false};
};

// -------------------------------------------------------------------------- write behind

class WriteBehind {
 public:
  WriteBehind(std::string path, std::string interface)
      : path_(std::move(path)),
        interface_(std::move(interface)),
        format_(PcapFormatOf(path_)),
        ring_(kWriteBehind) {}
  ~WriteBehind() {
    if (!thread_.joinable()) return;
    stop_.store(true, std::memory_order_seq_cst);
    bell_.RingAlways();
    thread_.join();
  }

  // `other`: a file that it must not be, or null.
  Status Open(const struct stat* other) {
    for (const Status& status : {ring_.opened(), bell_.opened()}) {
      if (!status) return status;
    }
    if (Status status = OpenFile(file_, path_, O_WRONLY | O_CREAT, STDOUT_FILENO, "write");
        !status) {
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

  PcapFormat format() const { return format_; }

  // Any thread.
  void Send(const PacketBatch& batch, std::uint32_t mtu, SendResult& result) EXCLUDES(mutex_) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const std::int64_t time_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
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
          WritePcapRecord(format_, packet->bytes(), time_ns, free.data());
          ring_.Fill(size);
          result.Accept(*packet);
        }
      }
    }
    bell_.Ring();
  }

  // The errno that ended the recording; 0: none.
  int failure() const { return failure_.load(std::memory_order_acquire); }
  std::string why() const { return "cannot write \"" + path_ + "\": " + std::strerror(failure()); }

 private:
  void Run() {
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

  void Write(std::span<const std::uint8_t> filled) {
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

  const std::string path_;
  const std::string interface_;
  const PcapFormat format_;
  File file_;
  Mutex mutex_;  // Among senders.
  ByteRing ring_;
  Doorbell bell_;
  std::atomic<bool> stop_{false};
  std::atomic<int> failure_{0};
  std::thread thread_;
};

// -------------------------------------------------------------------------------- netdev

class PcapNetdev final : public Netdev {
 public:
  static Result<std::unique_ptr<Netdev>> Open(const NetdevSpec& spec, PacketPool& pool) {
    if (spec.read.empty() && spec.write.empty()) {
      return Invalid("a pcap port has neither `read` nor `write`", "name a capture file");
    }
    if (spec.rxqs != 1) return Invalid("a pcap port has one receive queue");
    if (spec.read.empty() && (spec.loop || spec.paced)) {
      return Invalid("`loop` and `pace` are about what is read, and there is no `read`");
    }
    std::unique_ptr<PcapNetdev> netdev(new PcapNetdev(spec));
    ReadAhead* source = nullptr;
    if (!spec.read.empty()) {
      auto file = std::make_unique<ReadAhead>(spec.read, spec.loop);
      if (Status status = file->Open(); !status) return status.error();
      source = file.get();
      netdev->mode_ = "read";
      auto rxq = std::make_unique<PcapRxq>(std::move(file), spec.loop, spec.paced, pool);
      if (Status status = rxq->Open(); !status) return status.error();
      netdev->rxqs_.push_back(std::move(rxq));
    }
    if (!spec.write.empty()) {
      netdev->writer_ = std::make_unique<WriteBehind>(spec.write, spec.name);
      if (Status status =
              netdev->writer_->Open(source == nullptr ? nullptr : &source->file_status());
          !status)
        return status.error();
      if (!netdev->mode_.empty()) netdev->mode_ += ",";
      netdev->mode_ +=
          netdev->writer_->format() == PcapFormat::kPcap ? "write-pcap" : "write-pcapng";
    }
    if (source != nullptr) {
      if (Status status = source->Start(); !status) return status.error();
    }
    return std::unique_ptr<Netdev>(std::move(netdev));
  }

  std::string mode() const override { return mode_; }
  std::uint32_t numa() const override { return numa_; }
  std::uint32_t mtu() const override { return mtu_ != 0 ? mtu_ : kMaxFrame - kMinFrame; }
  bool Fits(const Packet& packet) const override { return mtu_ == 0 || FitsMtu(packet, mtu_); }
  LinkState link() const override { return fault().empty() ? LinkState::kUp : LinkState::kDown; }
  std::string fault() const override {
    if (writer_ != nullptr && writer_->failure() != 0) return writer_->why();
    const PcapRxq* rxq = queue();
    return rxq != nullptr && rxq->finished() ? rxq->why() : std::string();
  }
  std::span<const std::unique_ptr<Rxq>> rxqs() const override { return rxqs_; }

  void Send(std::uint32_t /*sender*/, PacketBatch& batch, SendResult& result) override {
    if (writer_ != nullptr) {
      writer_->Send(batch, mtu_, result);
    } else {
      result.Drop(DropReason::kTxError, static_cast<std::uint32_t>(batch.size()));
    }
    batch.Clear();
  }

  NetdevStats stats() const override {
    NetdevStats stats;
    if (const PcapRxq* rxq = queue()) rxq->rx_errors().AddTo(stats);
    return stats;
  }

 private:
  explicit PcapNetdev(const NetdevSpec& spec) : numa_(spec.numa.value_or(0)), mtu_(spec.mtu) {}

  const PcapRxq* queue() const {
    return rxqs_.empty() ? nullptr : static_cast<const PcapRxq*>(rxqs_.front().get());
  }

  std::string mode_;
  const std::uint32_t numa_;
  const std::uint32_t mtu_;  // 0: no limit.
  std::vector<std::unique_ptr<Rxq>> rxqs_;
  std::unique_ptr<WriteBehind> writer_;
};

}  // namespace

Result<std::unique_ptr<Netdev>> OpenPcapNetdev(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = PcapNetdev::Open(spec, pool);
  if (!netdev) netdev.error().port = spec.name;
  return netdev;
}

}  // namespace pollux
