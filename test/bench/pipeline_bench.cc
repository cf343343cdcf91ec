// One row of the comparison in memory, without Node around it: for perf and callgrind.
//
// A null port that writes frames, one PMD thread on the last core, a null port that swallows them.
//
//   pipeline_bench [--rules=port|masks|each] [--masks=1] [--flows=1] [--order=uniform] [--size=60]
//                  [--windows=5] [--window-ms=200] [--cache=1] [--actions=output|rewrite|mirror]
//   perf record -g -- out/bench/bench/pipeline_bench --masks=20 --flows=100000 --windows=20
#include <arpa/inet.h>

#include "loop.h"

namespace {

using namespace pollux;         // NOLINT: a program of one file.
using namespace pollux::bench;  // NOLINT

Match MatchUdp() {
  Match match = MatchInPort(Loop::kFrom);
  match.key.eth_type = htons(0x0800);
  match.mask.eth_type = 0xffff;
  match.key.nw_proto = 17;
  match.mask.nw_proto = 0xff;
  match.mask.nw_frag = 0xff;
  return match;
}

void SetMac(MacAddress& mac, std::uint32_t low) {
  for (std::size_t i = 0; i < 3; ++i) mac[3 + i] = static_cast<std::uint8_t>(low >> 8 * (2 - i));
}

// What finds class c of the generator's flows; see netdev/generator.h.
Match MatchClass(std::uint32_t c) {
  std::uint32_t keys[5] = {}, masks[5] = {};
  std::uint32_t first = 0;
  for (std::size_t i = 0; i < 5 && first <= c; ++i) {
    const std::uint32_t width = FrameGenerator::kClassBits[i];
    const std::uint32_t looked = std::min(width, c + 1 - first);
    masks[i] = ((1u << looked) - 1) << (width - looked);
    if (c - first < width) keys[i] = 1u << (width - 1 - (c - first));
    first += width;
  }
  Match match = MatchUdp();
  match.key.ipv4_src = htonl(keys[0]);
  match.mask.ipv4_src = htonl(masks[0]);
  match.key.ipv4_dst = htonl(keys[1]);
  match.mask.ipv4_dst = htonl(masks[1]);
  match.key.tp_dst = htons(static_cast<std::uint16_t>(keys[2]));
  match.mask.tp_dst = htons(static_cast<std::uint16_t>(masks[2]));
  SetMac(match.key.eth_dst, keys[3]);
  SetMac(match.mask.eth_dst, masks[3]);
  SetMac(match.key.eth_src, keys[4]);
  SetMac(match.mask.eth_src, masks[4]);
  return match;
}

// One mask that reads the five-tuple, and that every flow fits.
Match MatchTuple() {
  Match match = MatchUdp();
  match.key.ipv4_src = match.key.ipv4_dst = htonl(0x0a000000);
  match.mask.ipv4_src = match.mask.ipv4_dst = htonl(0xff000000);
  match.key.tp_src = match.key.tp_dst = htons(0x4000);
  match.mask.tp_src = match.mask.tp_dst = htons(0xc000);
  return match;
}

// Flow f and no other.
Match MatchFlow(std::uint32_t f, std::uint32_t masks) {
  Match match = MatchClass(f % masks);
  match.key.ipv4_src |= htonl((f >> 14 & 15) << 20);
  match.key.ipv4_dst |= htonl((f >> 18 & 15) << 20);
  match.mask.ipv4_src |= htonl(15 << 20);
  match.mask.ipv4_dst |= htonl(15 << 20);
  match.key.tp_src = htons(static_cast<std::uint16_t>((f & 0x3fff) | 0x4000));
  match.mask.tp_src = 0xffff;
  return match;
}

std::vector<Match> Matches(const std::string& rules, const GeneratorSpec& generator) {
  if (rules == "port") return {MatchInPort(Loop::kFrom)};
  std::vector<Match> matches;
  if (rules == "each") {
    for (std::uint32_t f = 0; f < generator.flows; ++f)
      matches.push_back(MatchFlow(f, generator.masks));
  } else if (rules != "masks") {
    Fail("--rules is port, masks or each");
  } else if (generator.masks == 1) {
    matches.push_back(MatchTuple());
  } else {
    for (std::uint32_t c = 0; c < generator.masks; ++c) matches.push_back(MatchClass(c));
  }
  return matches;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const auto number = [&](const char* name, std::uint32_t otherwise) {
    return static_cast<std::uint32_t>(options.Number(name, otherwise));
  };
  GeneratorSpec generator;
  generator.size = number("size", 60);
  generator.masks = number("masks", 1);
  generator.flows = std::max(number("flows", 1), generator.masks);
  const std::string order = options.Text("order", "uniform");
  generator.order = order == "turn"   ? FlowOrder::kTurn
                    : order == "zipf" ? FlowOrder::kZipf
                                      : FlowOrder::kUniform;
  const std::uint64_t window_ms = options.Number("window-ms", 200);

  const std::vector<std::uint32_t> cores = AllowedCores();
  Pin(cores.front());  // Everything but the PMD thread, which pins itself.
  Loop loop(cores.back(), options.Number("cache", 1) != 0);
  const PortInfo to = loop.Add("to", Loop::kTo);
  const std::string actions = options.Text("actions", "output");
  Before before;
  before.rewrite = actions == "rewrite";
  if (actions == "mirror") {
    before.mirror = Loop::kTo + 1;
    loop.Add("mirror", before.mirror);
  }
  loop.Put(Matches(options.Text("rules", "masks"), generator), Loop::kTo, before);
  const PortInfo from = loop.AddSource("from", Loop::kFrom, generator);
  Loop::Confine(cores.front());
  SleepMs(2 * window_ms);  // Caches, page faults, the clock of the core.

  const auto sent = [&] { return Must(loop->port_stats(to.id)).tx_packets; };
  Windows mpps;
  Windows ns;  // Of the thread's time on its core, for a packet.
  for (std::uint64_t i = options.Number("windows", 5); i > 0; --i) {
    const std::uint64_t start = sent();
    const double ran = Loop::RanNs();
    const std::int64_t begin = Clock::MonotonicNs();
    SleepMs(window_ms);
    const auto packets = static_cast<double>(sent() - start);
    mpps.Add(packets * 1e3 / static_cast<double>(Clock::MonotonicNs() - begin));
    ns.Add((Loop::RanNs() - ran) / packets);
  }
  loop.Delete(from);
  const Ledger ledger = loop->stats().ledger;
  Row row;
  row.Put("bench", "pipeline").Put("unit", "Mpps").Put(mpps).Put("ns", ns.median());
  row.Put("packets", ledger.received)
      .Put("lost", ledger.received + ledger.copied - ledger.transmitted)
      .Print();
}
