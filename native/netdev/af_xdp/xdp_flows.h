// XdpFlows: flows that an interface's XDP program forwards by itself.
//
// A frame that user space forwards costs the kernel two sockets. One that the program redirects to
// another device never becomes a packet of ours. So the program can be given *entries*: a key as
// the exact-match cache makes it, of the frame's first bytes under a mask (flow/header_key.h), and
// where frames of that key go. It decides as the datapath would, or not at all:
//
//   - It takes frames that ShapeOf() finds to be of a shape, by the same conditions, and makes the
//     same key. (Not all: those shorter than 54 bytes or of several buffers are left to us.) Every
//     other frame, and every frame without an entry, goes on to the socket.
//   - A frame whose checksum its sender left to a card goes to the socket, recognized as
//     FindPartialChecksum() does: redirected it would arrive with a wrong one. So does what looks
//     like a tunnel by UDP, whatever is in it.
//   - So does a frame that is longer than its way out takes, and one whose way out has gone (the
//     kernel empties its place in the map): they are dropped, and counted, by us.
//
// Counting is exact. The program counts in memory that it shares with us, a line for each entry on
// each processor, and after the kernel has accepted the redirection. Whoever removes an entry calls
// AwaitPrograms() and reads the counts then: no run of the program that found it is still under
// way, and frames it sent have left. What a target loses later (the ring of the far end of a veth
// pair is full, the interface has just been set down) the kernel tells nobody: as everywhere in
// XDP, it counts as sent.
//
// An XdpFlows has one mask. For another one a new XdpFlows is made, and a new program with it.
//
// Control adds; anybody removes and reads; one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "flow/header_key.h"

namespace pollux {

class BpfAssembler;

class XdpFlows {
 public:
  static constexpr std::uint32_t kMaxEntries = 1024;
  static constexpr std::uint32_t kMaxTargets = 64;
  static constexpr std::uint32_t kMinFrame = 54;  // Shorter ones go to the socket.

  // Where frames go.
  struct Target {
    int ifindex = 0;  // 0: they are dropped.
    std::uint32_t max_frame = 0;
  };
  // Of all frames that went by an entry.
  struct Counts {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint16_t tcp_flags = 0;
  };
  using Entry = std::uint32_t;

  // ENOSYS and others: the kernel is too old (6.3 is not).
  static Result<std::unique_ptr<XdpFlows>> Make(const HeaderMask& mask);
  ~XdpFlows();
  XdpFlows(const XdpFlows&) = delete;
  XdpFlows& operator=(const XdpFlows&) = delete;

  // The program's text: ends with a verdict for frames that have an entry, and goes on behind it
  // with all others. Register r6 holds the context, before and behind.
  void Assemble(BpfAssembler& assembler) const;

  // From now on. nullopt: no room, or no such device.
  std::optional<Entry> Add(const HeaderKey& key, const Target& target);
  // No frame that arrives from now on goes by it. Its counts still grow: AwaitPrograms().
  void Remove(Entry entry);
  // When it returns, no run of a program that began before the call is under way.
  void AwaitPrograms() const;
  Counts CountsOf(Entry entry) const;
  // After Remove(), AwaitPrograms() and CountsOf().
  void Free(Entry entry);

 private:
  // As the program reads and writes them.
  struct Value {
    std::uint32_t place;  // Of the target; kDrop.
    std::uint32_t max_frame;
    Entry entry;
    std::uint32_t none;
  };
  struct Line {
    std::uint64_t packets;
    std::uint64_t bytes;
    std::uint64_t tcp_flags;
    std::uint64_t none;
  };
  struct Way {
    std::uint32_t place = 0;
    std::uint32_t entries = 0;
  };
  static constexpr std::uint32_t kDrop = UINT32_MAX;

  explicit XdpFlows(const HeaderMask& mask);
  Status MakeMaps();
  std::optional<std::uint32_t> PlaceOf(int ifindex);
  void LeavePlace(int ifindex);
  std::uint64_t lines() const { return std::uint64_t{processors_} * kMaxEntries; }
  std::size_t bytes_of_lines() const;

  void AssembleShape(BpfAssembler& assembler, std::vector<std::size_t>& others) const;
  void AssembleKey(BpfAssembler& assembler) const;

  const HeaderMask mask_;
  const std::uint32_t processors_;
  int entries_ = -1;  // A map from keys to values.
  int targets_ = -1;  // A map from places to devices.
  int counts_ = -1;   // A map of lines.
  int inner_ = -1;    // Maps of nothing but the wait that comes with a change of the outer one.
  int outer_ = -1;
  Line* lines_ = nullptr;

  struct Known {
    HeaderKey key{};
    int ifindex = 0;
  };
  std::array<Known, kMaxEntries> known_;
  std::vector<Entry> free_;
  std::map<int, Way> ways_;  // By ifindex.
};

}  // namespace pollux
