// Capture files: pcap (both byte orders, micro- and nanoseconds) and pcapng, as bytes. No input or
// output here; see pcap_netdev.cc.
//
// Files come from strangers. The parser looks at the bytes it is given and nothing else, keeps
// nothing but the list of a section's interfaces (bounded), and handles one record a call, so that
// a call costs little whatever the file says. What it does not need it steps over without having
// seen it: a block of 4 GiB is no trouble.
//
// Of pcapng it reads section headers (a file may have several, each in a byte order of its own),
// interface descriptions (time stamp resolution and offset), and the three kinds of packet blocks.
// Frames are delivered as stored, without the check sequences that the file announces: those cut
// short by the capture's snap length stay short. Only Ethernet is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "packet/packet.h"

namespace pollux {

class PcapParser {
 public:
  // As many bytes as the parser may want to see at once: a record with the longest frame, options
  // included.
  static constexpr std::size_t kWindow = 128 * 1024;

  enum class Kind : std::uint8_t {
    kFrame,
    kSkipped,  // Something that is no frame: call again.
    kBad,      // A frame that is empty, longer than kMaxFrame, or not of Ethernet.
    kMore,     // The window must grow before anything can be said.
    kEnd,
    kError,  // See error(). For good.
  };
  struct Step {
    Kind kind = Kind::kError;
    std::size_t used = 0;                 // Bytes of the window that this step was about.
    std::span<const std::uint8_t> frame;  // In the window.
    std::int64_t time_ns = 0;             // Since 1970; 0: not known.
    std::uint32_t cut_off = 0;            // Bytes that the wire had behind it.
  };

  // `window`: what follows the bytes used so far, at least kWindow of them unless there are none;
  // `at_end`: the file has no more.
  Step Next(std::span<const std::uint8_t> window, bool at_end);

  // "byte 24: …", or empty.
  const std::string& error() const { return error_; }
  // Of an error: the program that unpacks the file, which is compressed; else nullptr.
  const char* unpacker() const { return unpacker_; }

 private:
  enum class Format : std::uint8_t { kUnknown, kPcap, kPcapng };
  struct Interface {
    std::uint16_t link_type = 0;
    std::uint32_t snap_length = 0;
    std::uint32_t check_sequence = 0;  // Bytes at the end of each frame that are none of it.
    std::uint64_t ticks = 1'000'000;   // A second.
    std::int64_t offset = 0;           // Seconds.
  };

  Step StartFile(std::span<const std::uint8_t> window, bool at_end);
  Step NextRecord(std::span<const std::uint8_t> window, bool at_end);
  Step NextBlock(std::span<const std::uint8_t> window, bool at_end);
  Step StartSection(std::span<const std::uint8_t> block, std::uint32_t size);
  Step AddInterface(std::span<const std::uint8_t> block);
  Step ReadPacket(std::span<const std::uint8_t> block, std::uint32_t size, std::uint32_t type);
  std::uint32_t CheckSequenceOf(std::span<const std::uint8_t> block, std::size_t options_at) const;
  // What has `n` bytes, as far as they are in the window; the rest is stepped over.
  Step Skip(std::span<const std::uint8_t> window, std::uint64_t n, Kind kind);
  Step Fail(const std::string& what);
  Step Cut(bool at_end, const char* what);

  std::uint16_t Load16(const std::uint8_t* at) const;
  std::uint32_t Load32(const std::uint8_t* at) const;

  Format format_ = Format::kUnknown;
  const char* unpacker_ = nullptr;
  bool swapped_ = false;
  std::uint64_t position_ = 0;  // Of the window.
  std::uint64_t skip_ = 0;      // Bytes still to be stepped over.
  std::uint64_t ticks_ = 0;     // pcap: a second.
  std::uint32_t check_sequence_ = 0;
  std::vector<Interface> interfaces_;
  std::string error_;
};

enum class PcapFormat : std::uint8_t { kPcap, kPcapng };

// "pcap" by the ending ".pcap", else pcapng.
PcapFormat PcapFormatOf(const std::string& path);

// What a file starts with: `interface` is the name that pcapng gives to where the frames come from.
// Times are in nanoseconds, in both formats.
std::vector<std::uint8_t> PcapHead(PcapFormat format, const std::string& interface);
// Bytes of the record of a frame, and the record itself; `arrival`: when, and what the wire had
// behind the frame.
std::size_t PcapRecordSize(PcapFormat format, std::size_t frame_size);
void WritePcapRecord(PcapFormat format, std::span<const std::uint8_t> frame,
                     const PacketArrival& arrival, std::uint8_t* out);

}  // namespace pollux
