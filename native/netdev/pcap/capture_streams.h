// Capture files as streams: one that a thread of its own reads ahead, and one that a thread of its
// own writes behind. Forwarding threads meet them at rings of bytes, and never touch a file.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <thread>

#include "base/byte_ring.h"
#include "base/doorbell.h"
#include "base/result.h"
#include "base/sync.h"
#include "netdev/netdev.h"
#include "netdev/pcap/pcap_file.h"

namespace pollux {

// An open file, pipe or standard stream.
struct CaptureFile {
  CaptureFile() = default;
  ~CaptureFile() {
    if (fd >= 0) close(fd);
  }
  CaptureFile(const CaptureFile&) = delete;
  CaptureFile& operator=(const CaptureFile&) = delete;

  bool regular() const { return S_ISREG(status.st_mode); }

  int fd = -1;
  struct stat status {};
};

class ReadAhead {
 public:
  ReadAhead(std::string path, bool loop);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Refuses what is no capture, as far as a file's beginning tells; a pipe's is not known yet.
  Status Open();
  Status Start();

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
  void Took();
  // From the beginning, after the end.
  void Again();
  // Rung when something was read.
  Doorbell& news() { return news_; }

 private:
  Status Probe() const;
  std::string HintOf(const PcapParser& parser) const;
  void ReadSome();
  void Run();

  const std::string path_;
  const bool loop_;
  CaptureFile file_;
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

class WriteBehind {
 public:
  WriteBehind(std::string path, std::string interface, PacketPool& pool);
  ~WriteBehind();
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // `other`: a file that it must not be, or null.
  Status Open(const struct stat* other);
  PcapFormat format() const { return format_; }

  // Any thread. `mtu` 0: no limit.
  void Send(const PacketBatch& batch, std::uint32_t mtu, SendResult& result) EXCLUDES(mutex_);

  // The errno that ended the recording; 0: none.
  int failure() const { return failure_.load(std::memory_order_acquire); }
  std::string why() const;

 private:
  void Run();
  void Write(std::span<const std::uint8_t> filled);

  const std::string path_;
  const std::string interface_;
  const PcapFormat format_;
  PacketPool& pool_;
  CaptureFile file_;
  Mutex mutex_;  // Among senders.
  ByteRing ring_;
  Doorbell bell_;
  std::atomic<bool> stop_{false};
  std::atomic<int> failure_{0};
  std::thread thread_;
};

}  // namespace pollux
