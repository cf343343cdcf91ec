#include "netdev/pcap/pcap_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

namespace pollux {
namespace {

constexpr std::uint32_t kMicroseconds = 0xa1b2c3d4;
constexpr std::uint32_t kNanoseconds = 0xa1b23c4d;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kPacket = 2;  // Obsolete, still met.
constexpr std::uint32_t kSimplePacket = 3;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint16_t kOptionFlags = 2;  // Of a packet,
constexpr std::uint16_t kOptionName = 2;   // and of an interface.
constexpr std::uint16_t kOptionResolution = 9;
constexpr std::uint16_t kOptionCheckSequence = 13;  // In bits.
constexpr std::uint16_t kOptionOffset = 14;

constexpr std::uint32_t kHasCheckSequence = 0x04000000;  // In the link type of pcap.
constexpr std::size_t kPcapHead = 24;
constexpr std::size_t kPcapRecord = 16;
constexpr std::size_t kBlockHead = 8;
constexpr std::size_t kBlockFrame = 12;  // Head, and the size once more behind.
constexpr std::size_t kPacketHead = 28;  // Of an enhanced packet block, block head included.
constexpr std::uint32_t kEthernet = 1;
constexpr std::uint32_t kLongest = 262'144;  // The longest frame that capture programs write.
constexpr std::size_t kMaxInterfaces = 4096;

constexpr std::size_t Padded(std::size_t n) { return (n + 3) / 4 * 4; }

// Time in ticks as nanoseconds; what does not fit is as far as it goes.
std::int64_t Nanoseconds(std::uint64_t ticks, std::uint64_t per_second, std::int64_t offset) {
  const std::uint64_t seconds = ticks / per_second;
  const double part = static_cast<double>(ticks % per_second) / static_cast<double>(per_second);
  std::int64_t whole = 0;
  std::int64_t ns = 0;
  if (seconds > INT64_MAX ||
      __builtin_add_overflow(static_cast<std::int64_t>(seconds), offset, &whole) ||
      __builtin_mul_overflow(whole, std::int64_t{1'000'000'000}, &ns) ||
      __builtin_add_overflow(ns, std::int64_t{std::llround(part * 1e9)}, &ns)) {
    return INT64_MAX;
  }
  return ns;
}

template <typename T>
void Put(std::uint8_t*& at, T value) {
  std::memcpy(at, &value, sizeof value);
  at += sizeof value;
}

// A frame of which `kept` bytes stand in the file, of `original` with a check sequence of `check`
// bytes.
struct Kept {
  std::uint32_t frame;    // Without the check sequence.
  std::uint32_t cut_off;  // Of the frame.
};
Kept WithoutCheckSequence(std::uint32_t kept, std::uint32_t original, std::uint32_t check) {
  original = std::max(original, kept);
  const std::uint32_t whole = original - std::min(original, check);
  const std::uint32_t frame = std::min(kept, whole);
  return {frame, whole - frame};
}

// What undoes the compression that a file begins with; nullptr: none.
const char* UnpackerOf(std::span<const std::uint8_t> head) {
  const auto begins = [&](std::initializer_list<std::uint8_t> magic) {
    return std::equal(magic.begin(), magic.end(), head.begin());
  };
  if (begins({0x1f, 0x8b})) return "gunzip";
  if (begins({0x28, 0xb5, 0x2f, 0xfd})) return "unzstd";
  if (begins({0xfd, '7', 'z', 'X'})) return "unxz";
  if (begins({'B', 'Z', 'h'})) return "bunzip2";
  return nullptr;
}

}  // namespace

// ------------------------------------------------------------------ reading

std::uint16_t PcapParser::Load16(const std::uint8_t* at) const {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return swapped_ ? __builtin_bswap16(value) : value;
}

std::uint32_t PcapParser::Load32(const std::uint8_t* at) const {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return swapped_ ? __builtin_bswap32(value) : value;
}

PcapParser::Step PcapParser::Fail(const std::string& what) {
  error_ = "byte " + std::to_string(position_) + ": " + what;
  return {};
}

// The window ends inside something.
PcapParser::Step PcapParser::Cut(bool at_end, const char* what) {
  if (at_end) return Fail(std::string("the file ends inside ") + what);
  Step step;
  step.kind = Kind::kMore;
  return step;
}

PcapParser::Step PcapParser::Skip(std::span<const std::uint8_t> window, std::uint64_t n,
                                  Kind kind) {
  Step step;
  step.kind = kind;
  step.used = static_cast<std::size_t>(std::min<std::uint64_t>(n, window.size()));
  skip_ = n - step.used;
  return step;
}

PcapParser::Step PcapParser::Next(std::span<const std::uint8_t> window, bool at_end) {
  if (!error_.empty()) return {};
  Step step;
  if (skip_ > 0) {
    step = window.empty() ? Cut(at_end, "a block") : Skip(window, skip_, Kind::kSkipped);
  } else if (format_ == Format::kUnknown) {
    step = StartFile(window, at_end);
  } else if (window.empty()) {
    step.kind = at_end ? Kind::kEnd : Kind::kMore;
  } else {
    step = format_ == Format::kPcap ? NextRecord(window, at_end) : NextBlock(window, at_end);
  }
  position_ += step.used;
  return step;
}

PcapParser::Step PcapParser::StartFile(std::span<const std::uint8_t> window, bool at_end) {
  if (window.size() < 4) return Cut(at_end, "its head");
  const std::uint32_t magic = Load32(window.data());
  if (magic == kSectionHeader) {
    format_ = Format::kPcapng;
    return NextBlock(window, at_end);
  }
  const std::uint32_t other = __builtin_bswap32(magic);
  const auto is = [&](std::uint32_t known) { return magic == known || other == known; };
  if (const char* program = UnpackerOf(window)) {
    unpacker_ = program;
    return Fail("this is compressed");
  }
  if (!is(kMicroseconds) && !is(kNanoseconds)) return Fail("this is neither pcap nor pcapng");
  if (window.size() < kPcapHead) return Cut(at_end, "its head");
  swapped_ = magic != kMicroseconds && magic != kNanoseconds;
  ticks_ = is(kMicroseconds) ? 1'000'000 : 1'000'000'000;
  const std::uint16_t major = Load16(window.data() + 4);
  if (major != 2) return Fail("pcap of version " + std::to_string(major) + ", and only 2 is known");
  const std::uint32_t network = Load32(window.data() + 20);
  if ((network & 0xffff) != kEthernet) {
    return Fail("frames of link type " + std::to_string(network & 0xffff) +
                ", and only Ethernet (1) can be read");
  }
  // The upper half may say how long the frames' check sequences are, in units of 16 bits.
  check_sequence_ = (network & kHasCheckSequence) != 0 ? (network >> 28) * 2 : 0;
  format_ = Format::kPcap;
  return Skip(window, kPcapHead, Kind::kSkipped);
}

PcapParser::Step PcapParser::NextRecord(std::span<const std::uint8_t> window, bool at_end) {
  if (window.size() < kPcapRecord) return Cut(at_end, "a record");
  const std::uint32_t size = Load32(window.data() + 8);
  if (size > kLongest) return Fail("a frame of " + std::to_string(size) + " bytes");
  if (size == 0 || size > kMaxFrame) return Skip(window, kPcapRecord + size, Kind::kBad);
  if (window.size() < kPcapRecord + size) return Cut(at_end, "a frame");
  Step step = Skip(window, kPcapRecord + size, Kind::kFrame);
  const Kept kept = WithoutCheckSequence(size, Load32(window.data() + 12), check_sequence_);
  if (kept.frame == 0) step.kind = Kind::kBad;
  step.frame = window.subspan(kPcapRecord, kept.frame);
  step.cut_off = kept.cut_off;
  const std::uint64_t seconds = Load32(window.data());
  step.time_ns = Nanoseconds(seconds * ticks_ + Load32(window.data() + 4), ticks_, 0);
  return step;
}

PcapParser::Step PcapParser::NextBlock(std::span<const std::uint8_t> window, bool at_end) {
  if (window.size() < kBlockFrame) return Cut(at_end, "a block");
  // Reads the same in both byte orders; what follows says which it is.
  const std::uint32_t type = Load32(window.data());
  if (type == kSectionHeader) {
    swapped_ = false;
    const std::uint32_t order = Load32(window.data() + kBlockHead);
    if (order != kByteOrder && __builtin_bswap32(order) != kByteOrder) {
      return Fail("a section header without a byte order");
    }
    swapped_ = order != kByteOrder;
  }
  const std::uint32_t size = Load32(window.data() + 4);
  if (size < kBlockFrame || size % 4 != 0) {
    return Fail("a block of " + std::to_string(size) + " bytes");
  }
  if (size > window.size()) {
    if (at_end) return Fail("the file ends inside a block");
    if (window.size() < kWindow) return Cut(at_end, "a block");
  } else if (Load32(window.data() + size - 4) != size) {
    return Fail("a block whose two lengths differ");
  }
  // The block, without the length behind it.
  const std::span<const std::uint8_t> block =
      window.first(std::min<std::size_t>(size - 4, window.size()));
  Step step;
  switch (type) {
    case kSectionHeader:
      step = StartSection(block, size);
      break;
    case kInterfaceDescription:
      step = AddInterface(block);
      break;
    case kPacket:
    case kSimplePacket:
    case kEnhancedPacket:
      step = ReadPacket(block, size, type);
      break;
    default:
      step.kind = Kind::kSkipped;
      break;
  }
  if (step.kind == Kind::kError) return step;
  const std::span<const std::uint8_t> frame = step.frame;
  const std::int64_t time_ns = step.time_ns;
  const std::uint32_t cut_off = step.cut_off;
  step = Skip(window, size, step.kind);
  step.frame = frame;
  step.time_ns = time_ns;
  step.cut_off = cut_off;
  return step;
}

PcapParser::Step PcapParser::StartSection(std::span<const std::uint8_t> block, std::uint32_t size) {
  if (size < 28) return Fail("a section header of " + std::to_string(size) + " bytes");
  const std::uint16_t major = Load16(block.data() + 12);
  if (major != 1) {
    return Fail("pcapng of version " + std::to_string(major) + ", and only 1 is known");
  }
  interfaces_.clear();
  Step step;
  step.kind = Kind::kSkipped;
  return step;
}

PcapParser::Step PcapParser::AddInterface(std::span<const std::uint8_t> block) {
  if (block.size() < 16) return Fail("an interface description that is too short");
  if (interfaces_.size() == kMaxInterfaces) {
    return Fail("more than " + std::to_string(kMaxInterfaces) + " interfaces");
  }
  Interface interface;
  interface.link_type = Load16(block.data() + 8);
  interface.snap_length = Load32(block.data() + 12);
  for (std::size_t at = 16; at + 4 <= block.size();) {
    const std::uint16_t code = Load16(block.data() + at);
    const std::uint16_t size = Load16(block.data() + at + 2);
    at += 4;
    if (code == 0) break;
    if (size > block.size() - at) return Fail("an interface description with a broken option");
    const std::uint8_t* value = block.data() + at;
    if (code == kOptionResolution && size == 1) {
      const unsigned exponent = *value & 0x7fu;
      const bool binary = (*value & 0x80u) != 0;
      if (exponent > (binary ? 63u : 19u)) return Fail("a time stamp resolution beyond measure");
      interface.ticks = 1;
      for (unsigned i = 0; i < exponent; ++i) interface.ticks *= binary ? 2 : 10;
    } else if (code == kOptionCheckSequence && size == 1) {
      interface.check_sequence = *value / 8u;
    } else if (code == kOptionOffset && size == 8) {
      const std::uint64_t one = Load32(value);
      const std::uint64_t two = Load32(value + 4);
      const bool big = swapped_ == (std::endian::native == std::endian::little);
      interface.offset = static_cast<std::int64_t>(big ? one << 32 | two : two << 32 | one);
    }
    at += Padded(size);
  }
  interfaces_.push_back(interface);
  Step step;
  step.kind = Kind::kSkipped;
  return step;
}

// Bytes of the check sequence that the flags of an enhanced packet block speak of; 0: they do not.
std::uint32_t PcapParser::CheckSequenceOf(std::span<const std::uint8_t> block,
                                          std::size_t options_at) const {
  for (std::size_t at = options_at; at + 8 <= block.size();) {
    const std::uint16_t code = Load16(block.data() + at);
    const std::uint16_t size = Load16(block.data() + at + 2);
    if (code == 0) return 0;
    if (code == kOptionFlags && size == 4) return Load32(block.data() + at + 4) >> 5 & 15;
    at += 4 + Padded(size);
  }
  return 0;
}

PcapParser::Step PcapParser::ReadPacket(std::span<const std::uint8_t> block, std::uint32_t size,
                                        std::uint32_t type) {
  const bool simple = type == kSimplePacket;
  const std::size_t head = simple ? 12 : kPacketHead;
  if (size < head + 4) return Fail("a packet block of " + std::to_string(size) + " bytes");
  const std::uint8_t* at = block.data() + kBlockHead;
  std::uint32_t id = 0;
  if (type == kEnhancedPacket) id = Load32(at);
  if (type == kPacket) id = Load16(at);
  if (id >= interfaces_.size()) {
    return Fail("a packet of interface " + std::to_string(id) + ", which is not described");
  }
  const Interface& interface = interfaces_[id];
  Step step;
  std::uint32_t frame_size = Load32(simple ? at : at + 12);
  if (simple && interface.snap_length != 0)
    frame_size = std::min(frame_size, interface.snap_length);
  if (frame_size > size - 4 - head) {
    return Fail("a packet of " + std::to_string(frame_size) + " bytes in a block of " +
                std::to_string(size));
  }
  if (frame_size == 0 || frame_size > kMaxFrame || interface.link_type != kEthernet) {
    step.kind = Kind::kBad;
    return step;
  }
  std::uint32_t check_sequence = interface.check_sequence;
  if (type == kEnhancedPacket) {
    const std::uint32_t own = CheckSequenceOf(block, head + Padded(frame_size));
    if (own != 0) check_sequence = own;
  }
  const Kept kept = WithoutCheckSequence(frame_size, Load32(simple ? at : at + 16), check_sequence);
  step.kind = kept.frame == 0 ? Kind::kBad : Kind::kFrame;
  step.frame = block.subspan(head, kept.frame);
  step.cut_off = kept.cut_off;
  if (!simple) {
    const std::uint64_t ticks = std::uint64_t{Load32(at + 4)} << 32 | Load32(at + 8);
    step.time_ns = Nanoseconds(ticks, interface.ticks, interface.offset);
  }
  return step;
}

// ------------------------------------------------------------------ writing

PcapFormat PcapFormatOf(const std::string& path) {
  return path.ends_with(".pcap") ? PcapFormat::kPcap : PcapFormat::kPcapng;
}

std::vector<std::uint8_t> PcapHead(PcapFormat format, const std::string& interface) {
  if (format == PcapFormat::kPcap) {
    std::vector<std::uint8_t> head(kPcapHead);
    std::uint8_t* at = head.data();
    Put(at, kNanoseconds);
    Put(at, std::uint16_t{2});
    Put(at, std::uint16_t{4});
    Put(at, std::uint64_t{0});
    Put(at, kLongest);
    Put(at, kEthernet);
    return head;
  }
  constexpr std::uint32_t kSection = 28;
  const auto name = static_cast<std::uint16_t>(std::min<std::size_t>(interface.size(), 255));
  const auto description = static_cast<std::uint32_t>(16 + 4 + Padded(name) + 8 + 4 + 4);
  std::vector<std::uint8_t> head(kSection + description);
  std::uint8_t* at = head.data();
  Put(at, kSectionHeader);
  Put(at, kSection);
  Put(at, kByteOrder);
  Put(at, std::uint16_t{1});
  Put(at, std::uint16_t{0});
  Put(at, std::numeric_limits<std::uint64_t>::max());  // The section's length: not known.
  Put(at, kSection);
  Put(at, kInterfaceDescription);
  Put(at, description);
  Put(at, static_cast<std::uint16_t>(kEthernet));
  Put(at, std::uint16_t{0});
  Put(at, std::uint32_t{0});  // No snap length.
  Put(at, kOptionName);
  Put(at, name);
  std::copy_n(interface.data(), name, at);
  at += Padded(name);
  Put(at, kOptionResolution);
  Put(at, std::uint16_t{1});
  *at = 9;  // Nanoseconds.
  at += 4;
  Put(at, std::uint32_t{0});  // The end of the options.
  Put(at, description);
  return head;
}

std::size_t PcapRecordSize(PcapFormat format, std::size_t frame_size) {
  return format == PcapFormat::kPcap ? kPcapRecord + frame_size
                                     : kPacketHead + Padded(frame_size) + 4;
}

void WritePcapRecord(PcapFormat format, std::span<const std::uint8_t> frame,
                     const PacketArrival& arrival, std::uint8_t* out) {
  const auto size = static_cast<std::uint32_t>(frame.size());
  // A capture may claim any length for a frame that has grown since.
  const std::uint32_t original = size + std::min(arrival.cut_off, UINT32_MAX - size);
  const auto time = static_cast<std::uint64_t>(arrival.time_ns);
  if (format == PcapFormat::kPcap) {
    Put(out, static_cast<std::uint32_t>(time / 1'000'000'000));
    Put(out, static_cast<std::uint32_t>(time % 1'000'000'000));
    Put(out, size);
    Put(out, original);
    std::memcpy(out, frame.data(), size);
    return;
  }
  const auto block = static_cast<std::uint32_t>(PcapRecordSize(format, size));
  Put(out, kEnhancedPacket);
  Put(out, block);
  Put(out, std::uint32_t{0});
  Put(out, static_cast<std::uint32_t>(time >> 32));
  Put(out, static_cast<std::uint32_t>(time));
  Put(out, size);
  Put(out, original);
  std::memcpy(out, frame.data(), size);
  out += size;
  std::memset(out, 0, Padded(size) - size);
  out += Padded(size) - size;
  Put(out, block);
}

}  // namespace pollux
