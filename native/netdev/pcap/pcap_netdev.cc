// pcap: a port that replays one capture file and records into another. Formats: pcap_file.h.
//
// No forwarding thread ever touches a file (capture_streams.h). A thread of the port's own reads
// ahead into a ring of bytes, where the queue's thread parses; another writes behind, from a ring
// into which senders put their records. So a slow disk, or a program at the other end of a pipe,
// delays nobody: a queue that finds the ring empty has nothing, and what finds it full is dropped
// as tx_queue_full.
//
// Reading. As fast as it is asked, or at the pace of the time stamps: the first frame at once, each
// other as long after it as in the capture. When all is read (`loop`: when all is read again) the
// port goes down, and says that it was at the end or which byte made no sense. A file that fits the
// ring is read once and repeated from there.
//
// Writing. pcapng, or pcap if the name ends in ".pcap"; nanoseconds. Frames count as sent when the
// ring has them. Closing the device writes the rest first. A record has the time at which its
// packet arrived and the length that it had on the wire, where the device it came from tells; else
// the time at which it is sent.
//
// Names: "-" is standard input or output. Pipes have no end to come back from, and no loop.
#include <sys/timerfd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/epoll.h"
#include "base/fd.h"
#include "netdev/netdev.h"
#include "netdev/pcap/capture_streams.h"
#include "netdev/pcap/pcap_file.h"

namespace pollux {
namespace {

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
    const bool notes_arrivals = pool_.wants_arrivals();
    // What is no frame fills no room in the batch: bound that too.
    for (std::size_t budget = 2 * kBatchSize; budget > 0 && !batch.full(); --budget) {
      if (!next_.has_value() && !Advance()) break;
      if (!next_.has_value()) continue;
      if (due_ns_ > 0 && Clock::MonotonicNs() < due_ns_) break;
      PacketPtr packet = pool_.Copy(next_->frame);
      if (packet == nullptr) break;  // The frame waits in the ring.
      if (notes_arrivals) packet->SetArrival({next_->time_ns, next_->cut_off});
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
      netdev->writer_ = std::make_unique<WriteBehind>(spec.write, spec.name, pool);
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
