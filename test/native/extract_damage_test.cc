// The parser on frames that are cut off, lie or are nonsense: it never leads outside, and shows
// nothing that the whole frame has not.
#include <doctest/doctest.h>

#include <random>

#include "parsed_packet.h"

namespace pollux {
namespace {

using namespace test;  // NOLINT: on every line.

// Cut at byte n, a frame shows no field that the whole one has not, and those it shows are the
// same.
void CheckSubset(const Parsed& cut, const Parsed& whole) {
  Flow a = cut.flow;
  Flow b = whole.flow;
  // ND options and labels may be cut off one by one.
  for (Flow* flow : {&a, &b}) {
    flow->arp_sha = flow->arp_tha = {};
    flow->nd_options_type = 0;
  }
  for (std::size_t i = 0; i < kMaxMplsLabels; ++i) {
    if (a.mpls[i] == 0) b.mpls[i] = 0;
  }
  // Where IPv6 extension headers break off, the first that is missing stands for the protocol.
  for (const std::uint8_t extension : {0, 43, 44, 51, 60}) {
    if (!cut.Has(kIp6Word) || a.nw_proto != extension) continue;
    CHECK((a.nw_frag == kFragNone || a.nw_frag == b.nw_frag));
    a.nw_proto = b.nw_proto;
    a.nw_frag = b.nw_frag;
    break;
  }
  const FlowWords a_words = ToWords(a);
  const FlowWords b_words = ToWords(b);
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    if (!cut.Has(i)) continue;
    CHECK(whole.Has(i));
    // A tag that is cut off leaves its TPID as EtherType.
    if (i >= kMplsWord) CHECK(a_words[i] == b_words[i]);
  }
}

TEST_CASE("extract: every kind of frame, cut at every byte") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    CAPTURE(name);
    const Parsed whole = Parse(frame);
    for (std::size_t n = kMinFrame; n < frame.size(); ++n) {
      CAPTURE(n);
      CheckSubset(Parse(std::span(frame).first(n)), whole);
    }
  }
}

TEST_CASE("extract: every kind of packet without Ethernet header, cut at every byte") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    CAPTURE(name);
    const auto bytes = std::span(kind.frame).subspan(kMinFrame);
    const std::uint16_t type = LoadAs<Net16>(kind.frame.data() + 12).value();
    if (type < kEthTypeMin) continue;
    const Parsed whole = ParseBare(type, bytes);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      CAPTURE(n);
      const Parsed p = ParseBare(type, bytes.first(n));
      CheckSubset(p, whole);
      CHECK(p.flow.packet_type == whole.flow.packet_type);
      CHECK(p.flow.eth_type == ToBe16(type));
    }
  }
}

TEST_CASE("extract: every kind of frame, cut at every byte, with a length that fits") {
  for (const auto& kind : test::EveryKind()) {
    const char* name = kind.name;
    const test::Frame& frame = kind.frame;
    CAPTURE(name);
    const Parsed whole = Parse(frame);
    if (whole.l3 == kNo || whole.Has(kArpWord)) continue;
    const bool ipv6 = whole.Has(kIp6Word);
    for (std::size_t n = whole.l3 + (ipv6 ? 40u : 20u); n < frame.size(); ++n) {
      CAPTURE(n);
      Frame cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n));
      Poke16(cut, whole.l3 + (ipv6 ? 4u : 2u),
             static_cast<std::uint16_t>(n - whole.l3 - (ipv6 ? 40 : 0)));
      const Parsed p = Parse(cut);
      CheckSubset(p, whole);
      if (p.l4 != kNo) CHECK(p.l4 == whole.l4);
    }
  }
}

TEST_CASE("extract: random changes never lead outside") {
  std::mt19937 random(20161103);
  const auto frames = test::EveryKind();
  for (int round = 0; round < 200'000; ++round) {
    Frame frame = frames[random() % frames.size()].frame;
    for (std::uint32_t changes = random() % 4; changes > 0; --changes) {
      frame[12 + random() % (frame.size() - 12)] = static_cast<std::uint8_t>(random());
    }
    if (random() % 4 == 0) frame.resize(kMinFrame + random() % (frame.size() - kMinFrame + 1));
    const bool bare = random() % 4 == 0;
    const std::uint16_t type = LoadAs<Net16>(frame.data() + 12).value();
    const Parsed p =
        bare && type != 0 ? ParseBare(type, std::span(frame).subspan(kMinFrame)) : Parse(frame);
    if (p.l3 != kNo) REQUIRE(p.l3 < frame.size());
    if (p.l4 != kNo) REQUIRE((p.l3 != kNo && p.l4 > p.l3 && p.l4 + 8u <= frame.size()));
    REQUIRE(p.Has(kPorts) == (p.l4 != kNo));
  }
}

}  // namespace
}  // namespace pollux
