// Capture files: the parser reads nothing outside its window, always gets on, and what it found is
// found again when it is written in either format.
#include <cstring>
#include <vector>

#include "base/sync.h"
#include "netdev/pcap/pcap_file.h"

namespace {

using namespace pollux;  // NOLINT: a program of one file.
using Bytes = std::vector<std::uint8_t>;
using Kind = PcapParser::Kind;

std::vector<Bytes> FramesOf(const Bytes& file) {
  std::vector<Bytes> frames;
  PcapParser parser;
  std::size_t at = 0;
  for (;;) {
    // In a block of its own size, so that reading past it is noticed; now and then too short.
    const Bytes window(file.begin() + static_cast<std::ptrdiff_t>(at), file.end());
    const Bytes half(window.begin(),
                     window.begin() + static_cast<std::ptrdiff_t>(window.size() / 2));
    PcapParser cautious = parser;
    const PcapParser::Step early = cautious.Next(half, false);
    const PcapParser::Step step = parser.Next(window, true);
    POLLUX_CHECK(early.used <= half.size() && step.used <= window.size());
    POLLUX_CHECK(early.kind == Kind::kMore || early.kind == step.kind ||
                 (early.kind == Kind::kError && step.kind == Kind::kError));
    POLLUX_CHECK(step.kind != Kind::kMore);
    POLLUX_CHECK((step.kind == Kind::kError) == !parser.error().empty());
    if (step.kind == Kind::kEnd || step.kind == Kind::kError) return frames;
    POLLUX_CHECK(step.used > 0);
    if (step.kind == Kind::kFrame) {
      POLLUX_CHECK(!step.frame.empty() && step.frame.size() <= kMaxFrame);
      frames.emplace_back(step.frame.begin(), step.frame.end());
    }
    at += step.used;
  }
}

void Check(const Bytes& file) {
  const std::vector<Bytes> frames = FramesOf(file);
  for (const PcapFormat format : {PcapFormat::kPcap, PcapFormat::kPcapng}) {
    Bytes written = PcapHead(format, "fuzz");
    for (const Bytes& frame : frames) {
      const std::size_t at = written.size();
      written.resize(at + PcapRecordSize(format, frame.size()));
      WritePcapRecord(format, frame, {1, 0}, &written[at]);
    }
    POLLUX_CHECK(FramesOf(written) == frames);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Check(Bytes(data, data + size));
  return 0;
}
