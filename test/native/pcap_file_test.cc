// Capture files: what the parser reads of each format, what it says of broken ones, and that what
// is written is read again. What other programs make of our files: test/unit/ports/pcap.test.ts.
#include "netdev/pcap/pcap_file.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace pollux::test {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Kind = PcapParser::Kind;

// Numbers one after the other, in either byte order.
struct Builder {
  bool big = false;
  Bytes bytes;

  template <typename T>
  Builder& Add(T value) {
    for (std::size_t i = 0; i < sizeof value; ++i) {
      const std::size_t byte = big ? sizeof value - 1 - i : i;
      bytes.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> 8 * byte));
    }
    return *this;
  }
  Builder& U16(std::uint32_t value) { return Add(static_cast<std::uint16_t>(value)); }
  Builder& U32(std::uint64_t value) { return Add(static_cast<std::uint32_t>(value)); }
  Builder& Raw(const Bytes& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
  Builder& Block(std::uint32_t type, const Bytes& body) {
    Bytes padded = body;
    padded.resize((body.size() + 3) / 4 * 4);
    const auto size = static_cast<std::uint32_t>(padded.size() + 12);
    return U32(type).U32(size).Raw(padded).U32(size);
  }
  Builder Inner() const { return {big, {}}; }

  Builder& Section() {
    return Block(0x0a0d0d0a, Inner().U32(0x1a2b3c4d).U16(1).U16(0).U32(~0ull).U32(~0ull).bytes);
  }
  Builder& Interface(std::uint16_t link_type = 1, const Bytes& options = {}) {
    return Block(1, Inner().U16(link_type).U16(0).U32(0).Raw(options).bytes);
  }
  Builder& Enhanced(std::uint32_t interface, std::uint64_t time, const Bytes& frame) {
    const auto size = static_cast<std::uint32_t>(frame.size());
    return Block(
        6, Inner().U32(interface).U32(time >> 32).U32(time).U32(size).U32(size).Raw(frame).bytes);
  }
  Builder& PcapHead(std::uint32_t magic, std::uint32_t link_type = 1) {
    return U32(magic).U16(2).U16(4).U32(0).U32(0).U32(65'535).U32(link_type);
  }
  Builder& Record(std::uint32_t seconds, std::uint32_t part, const Bytes& frame) {
    return U32(seconds).U32(part).U32(frame.size()).U32(frame.size()).Raw(frame);
  }
};

struct Read {
  std::vector<Bytes> frames;
  std::vector<std::int64_t> times;
  std::vector<std::uint32_t> cut_off;
  std::size_t bad = 0;
  std::string error;
};

Read ReadAll(const Bytes& file) {
  Read read;
  PcapParser parser;
  std::span<const std::uint8_t> window = file;
  for (;;) {
    const PcapParser::Step step = parser.Next(window, true);
    if (step.kind == Kind::kFrame) {
      CHECK(step.frame.data() >= window.data());
      CHECK(step.frame.data() + step.frame.size() <= window.data() + step.used);
      read.frames.emplace_back(step.frame.begin(), step.frame.end());
      read.times.push_back(step.time_ns);
      read.cut_off.push_back(step.cut_off);
    }
    if (step.kind == Kind::kBad) ++read.bad;
    if (step.kind == Kind::kEnd || step.kind == Kind::kError) {
      CHECK(parser.error().empty() == (step.kind == Kind::kEnd));
      read.error = parser.error();
      return read;
    }
    CHECK(step.kind != Kind::kMore);
    CHECK(step.used > 0);
    window = window.subspan(step.used);
  }
}

Bytes FrameOf(std::size_t size, std::uint8_t fill) { return Bytes(size, fill); }

TEST_CASE("pcap: both byte orders, micro- and nanoseconds") {
  for (const bool big : {false, true}) {
    for (const bool nano : {false, true}) {
      Builder file{big, {}};
      file.PcapHead(nano ? 0xa1b23c4d : 0xa1b2c3d4);
      file.Record(5, 7, FrameOf(60, 1)).Record(6, 999'999, FrameOf(61, 2));
      const Read read = ReadAll(file.bytes);
      CHECK(read.error.empty());
      CHECK(read.frames == std::vector{FrameOf(60, 1), FrameOf(61, 2)});
      const std::int64_t unit = nano ? 1 : 1000;
      CHECK(read.times ==
            std::vector<std::int64_t>{5'000'000'000 + 7 * unit, 6'000'000'000 + 999'999 * unit});
    }
  }
}

TEST_CASE("pcapng: sections, interfaces, all kinds of packet blocks, options, what is unknown") {
  const Bytes nanoseconds = {9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0};
  Builder file{false, {}};
  file.Section().Block(0x0bad, FrameOf(9, 9)).Interface().Interface(1, nanoseconds);
  file.Enhanced(0, 5'000'007, FrameOf(60, 1)).Enhanced(1, 5'000'000'007, FrameOf(63, 2));
  file.Block(3, file.Inner().U32(62).Raw(FrameOf(62, 3)).bytes);
  file.Block(2, file.Inner().U16(1).U16(0).U32(0).U32(9).U32(60).U32(60).Raw(FrameOf(60, 4)).bytes);
  // With an option behind the frame.
  file.Block(6, file.Inner()
                    .U32(0)
                    .U32(0)
                    .U32(1)
                    .U32(4)
                    .U32(99)
                    .Raw(FrameOf(4, 5))
                    .U16(1)
                    .U16(2)
                    .U32('x')
                    .U32(0)
                    .bytes);
  // The next section has the other byte order, and interfaces of its own.
  Builder other{true, {}};
  // 2^-10 seconds, from 100 seconds on.
  const Bytes binary = {0, 9, 0, 1, 0x8a, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 100};
  other.Section().Interface(1, binary).Enhanced(0, 1536, FrameOf(60, 6));
  file.Raw(other.bytes);
  const Read read = ReadAll(file.bytes);
  CHECK(read.error.empty());
  CHECK(read.frames == std::vector{FrameOf(60, 1), FrameOf(63, 2), FrameOf(62, 3), FrameOf(60, 4),
                                   FrameOf(4, 5), FrameOf(60, 6)});
  CHECK(read.times ==
        std::vector<std::int64_t>{5'000'007'000, 5'000'000'007, 0, 9, 1000, 101'500'000'000});
}

TEST_CASE("captures: frames that are too long, or empty, are stepped over") {
  Builder pcap{false, {}};
  pcap.PcapHead(0xa1b2c3d4).Record(0, 0, FrameOf(65'536, 1)).Record(0, 0, {});
  pcap.Record(0, 0, FrameOf(65'535, 2))
      .Record(0, 0, FrameOf(262'144, 3))
      .Record(0, 0, FrameOf(1, 4));
  Builder ng{true, {}};
  ng.Section().Interface().Enhanced(0, 0, FrameOf(65'536, 1)).Enhanced(0, 0, {});
  ng.Enhanced(0, 0, FrameOf(65'535, 2))
      .Enhanced(0, 0, FrameOf(200'000, 3))
      .Enhanced(0, 0, FrameOf(1, 4));
  for (const Bytes& file : {pcap.bytes, ng.bytes}) {
    const Read read = ReadAll(file);
    CHECK(read.error.empty());
    CHECK(read.bad == 3);
    CHECK(read.frames == std::vector{FrameOf(65'535, 2), FrameOf(1, 4)});
  }
}

TEST_CASE("captures: frames that are none of Ethernet are stepped over, and counted") {
  const Builder mixed = Builder{}
                            .Section()
                            .Interface(127)
                            .Interface()
                            .Enhanced(0, 0, FrameOf(60, 1))
                            .Enhanced(1, 0, FrameOf(61, 2))
                            .Enhanced(0, 0, FrameOf(62, 3));
  const Read read = ReadAll(mixed.bytes);
  CHECK(read.error.empty());
  CHECK(read.frames == std::vector<Bytes>{FrameOf(61, 2)});
  CHECK(read.bad == 2);
}

TEST_CASE("captures: a check sequence at the end of frames is none of them") {
  Bytes frame = FrameOf(64, 1);
  std::fill(frame.end() - 4, frame.end(), std::uint8_t{0xcc});
  for (const bool big : {false, true}) {
    // pcap says it in its link type, in words of 16 bits.
    Read read =
        ReadAll(Builder{big, {}}.PcapHead(0xa1b2c3d4, 0x24000001).Record(1, 2, frame).bytes);
    CHECK(read.frames == std::vector<Bytes>{FrameOf(60, 1)});
    read = ReadAll(Builder{big, {}}.PcapHead(0xa1b2c3d4, 0x20000001).Record(1, 2, frame).bytes);
    CHECK(read.frames == std::vector<Bytes>{frame});  // Says nothing.
    // pcapng in an option of the interface, in bits.
    const Bytes option = Builder{big, {}}.U16(13).U16(1).Raw({32, 0, 0, 0}).bytes;
    read = ReadAll(Builder{big, {}}.Section().Interface(1, option).Enhanced(0, 0, frame).bytes);
    CHECK(read.frames == std::vector<Bytes>{FrameOf(60, 1)});
    // Of frames that were kept in part, it may be what was left out.
    for (const std::uint32_t left_out : {1u, 3u, 4u, 9u}) {
      Builder cut = Builder{big, {}}.Section().Interface(1, option);
      const Bytes kept(frame.begin(), frame.end() - left_out);
      cut.Block(
          6,
          Builder{big, {}}.U32(0).U32(0).U32(0).U32(kept.size()).U32(frame.size()).Raw(kept).bytes);
      read = ReadAll(cut.bytes);
      CHECK(read.frames == std::vector<Bytes>{FrameOf(left_out <= 4 ? 60 : 64 - left_out, 1)});
      CHECK(read.cut_off == std::vector<std::uint32_t>{left_out <= 4 ? 0 : left_out - 4});
    }
    // Or each packet has it in its flags, in bytes, behind options of other kinds.
    for (const std::uint32_t flags : {4u << 5 | 3u, 0u << 5 | 3u}) {
      const Bytes options = Builder{big, {}}
                                .U16(1)
                                .U16(3)
                                .Raw({'a', 'b', 'c', 0})
                                .U16(2)
                                .U16(4)
                                .U32(flags)
                                .U32(0)
                                .bytes;
      Builder file = Builder{big, {}}.Section().Interface(1);
      file.Block(6, Builder{big, {}}
                        .U32(0)
                        .U32(0)
                        .U32(0)
                        .U32(frame.size())
                        .U32(frame.size())
                        .Raw(frame)
                        .Raw(options)
                        .bytes);
      read = ReadAll(file.bytes);
      CHECK(read.frames == std::vector<Bytes>{flags > 31 ? FrameOf(60, 1) : frame});
    }
  }
  // Nothing else.
  CHECK(ReadAll(Builder{}.PcapHead(0xa1b2c3d4, 0x24000001).Record(1, 2, FrameOf(4, 1)).bytes).bad ==
        1);
}

TEST_CASE("captures: what is wrong, and where") {
  const auto error = [](const Builder& file) { return ReadAll(file.bytes).error; };
  const auto little = [] { return Builder{false, {}}; };
  const auto pcap = [&] { return little().PcapHead(0xa1b2c3d4); };
  const auto ng = [&] { return little().Section().Interface(); };
  CHECK(error(little()) == "byte 0: the file ends inside its head");
  CHECK(error(little().Raw(FrameOf(100, 'x'))) == "byte 0: this is neither pcap nor pcapng");
  CHECK(error(little().U32(0xa1b2c3d4)) == "byte 0: the file ends inside its head");
  CHECK(error(little().PcapHead(0xa1b2c3d4, 113)) ==
        "byte 0: frames of link type 113, and only Ethernet (1) can be read");
  CHECK(error(little().U32(0xa1b2c3d4).U16(3).U16(0).Raw(FrameOf(16, 0))) ==
        "byte 0: pcap of version 3, and only 2 is known");
  CHECK(error(pcap().Record(0, 0, FrameOf(60, 1)).U32(0)) ==
        "byte 100: the file ends inside a record");
  CHECK(error(pcap().U32(0).U32(0).U32(60).U32(60).U32(0)) ==
        "byte 24: the file ends inside a frame");
  CHECK(error(pcap().U32(0).U32(0).U32(262'145).U32(60)) == "byte 24: a frame of 262145 bytes");
  CHECK(error(pcap().U32(0).U32(0).U32(70'000).U32(60)) == "byte 40: the file ends inside a block");
  CHECK(error(ng().U32(6).U32(8).U32(8)) == "byte 48: a block of 8 bytes");
  CHECK(error(ng().U32(6).U32(33).U32(8)) == "byte 48: a block of 33 bytes");
  CHECK(error(ng().U32(77).U32(0xfffffffc).U32(8)) == "byte 48: the file ends inside a block");
  CHECK(error(ng().U32(77).U32(12).U32(16)) == "byte 48: a block whose two lengths differ");
  CHECK(error(ng().Block(6, FrameOf(16, 0))) == "byte 48: a packet block of 28 bytes");
  CHECK(error(ng().Block(1, FrameOf(4, 0))) ==
        "byte 48: an interface description that is too short");
  CHECK(error(ng().Interface(1, {9, 0, 8, 0})) ==
        "byte 48: an interface description with a broken option");
  CHECK(error(ng().Interface(1, {9, 0, 1, 0, 20, 0, 0, 0})) ==
        "byte 48: a time stamp resolution beyond measure");
  CHECK(error(ng().Enhanced(1, 0, FrameOf(60, 1))) ==
        "byte 48: a packet of interface 1, which is not described");
  CHECK(error(ng().Block(
            6, little().U32(0).U32(0).U32(0).U32(61).U32(61).Raw(FrameOf(60, 1)).bytes)) ==
        "byte 48: a packet of 61 bytes in a block of 92");
  CHECK(error(little().Section().Section().Enhanced(0, 0, FrameOf(60, 1))) ==
        "byte 56: a packet of interface 0, which is not described");
  CHECK(
      error(little().Section().Interface(127).Interface().Enhanced(1, 0, FrameOf(60, 1))).empty());
  CHECK(error(little().Block(0x0a0d0d0a, FrameOf(16, 0))) ==
        "byte 0: a section header without a byte order");
  Builder many = little().Section();
  for (int i = 0; i < 4097; ++i) many.Interface();
  CHECK(error(many) == "byte 81948: more than 4096 interfaces");
}

TEST_CASE("captures: a parser that is given too little asks for more") {
  Builder file{false, {}};
  file.Section().Interface().Enhanced(0, 0, FrameOf(60, 1));
  PcapParser parser;
  std::size_t at = 0;
  std::size_t frames = 0;
  for (std::size_t end = 0; end <= file.bytes.size(); ++end) {
    const std::span<const std::uint8_t> all = file.bytes;
    const PcapParser::Step step = parser.Next(all.subspan(at, end - at), false);
    CHECK(step.kind != Kind::kError);
    if (step.kind == Kind::kFrame) ++frames;
    at += step.used;
  }
  CHECK(frames == 1);
  CHECK(at == file.bytes.size());
  CHECK(parser.Next({}, false).kind == Kind::kMore);
  CHECK(parser.Next({}, true).kind == Kind::kEnd);
}

TEST_CASE("captures: a frame longer than can be said is written as long as can be") {
  for (const PcapFormat format : {PcapFormat::kPcap, PcapFormat::kPcapng}) {
    Bytes file = PcapHead(format, "p");
    const Bytes frame = FrameOf(100, 1);
    const std::size_t at = file.size();
    file.resize(at + PcapRecordSize(format, frame.size()));
    WritePcapRecord(format, frame, {1'700'000'000'000'000'000, UINT32_MAX - 10}, &file[at]);
    const Read read = ReadAll(file);
    CHECK(read.frames == std::vector<Bytes>{frame});
    CHECK(read.cut_off == std::vector<std::uint32_t>{UINT32_MAX - 100});
  }
}

TEST_CASE("captures: what is written is read again") {
  CHECK(PcapFormatOf("a.pcap") == PcapFormat::kPcap);
  CHECK(PcapFormatOf("a.pcapng") == PcapFormat::kPcapng);
  CHECK(PcapFormatOf("-") == PcapFormat::kPcapng);
  for (const PcapFormat format : {PcapFormat::kPcap, PcapFormat::kPcapng}) {
    for (const char* name : {"", "p", "a port's name"}) {
      Bytes file = PcapHead(format, name);
      std::vector<Bytes> frames;
      std::vector<std::int64_t> times;
      std::vector<std::uint32_t> cut_off;
      for (std::uint8_t i = 0; i < 9; ++i) {
        frames.push_back(FrameOf(i == 8 ? 65'535 : 60 + i, i));
        times.push_back(1'700'000'000'123'456'789 + i);
        const std::size_t at = file.size();
        file.resize(at + PcapRecordSize(format, frames.back().size()), 0xee);
        cut_off.push_back(i * 100u);
        WritePcapRecord(format, frames.back(), {times.back(), cut_off.back()}, &file[at]);
      }
      const Read read = ReadAll(file);
      CHECK(read.error.empty());
      CHECK(read.frames == frames);
      CHECK(read.times == times);
      CHECK(read.cut_off == cut_off);
      // However it is cut, it is not read beyond its end.
      for (std::size_t size = 0; size < 700; ++size) {
        const Bytes part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
        CHECK(ReadAll(part).frames.size() <= frames.size());
      }
    }
  }
}

}  // namespace
}  // namespace pollux::test
