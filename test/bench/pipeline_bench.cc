// Packets a second through one PMD thread: a null port that writes a whole 60-byte frame (64 on the
// wire) into every packet, the pipeline, a null port that takes them.
//
// The cases are interleaved: every round measures each of them once, on a datapath of its own, so
// that a bad second of the machine falls on all alike. A round's loss is counted when its source is
// gone and nothing is on its way: what was received and not sent makes the figure void.
//
//   pipeline_bench [--windows=5] [--window-ms=300] [--only=TEXT] [--quick=1]
#include <arpa/inet.h>

#include <filesystem>
#include <fstream>

#include "loop.h"

namespace {

using namespace pollux;         // NOLINT: a program of one file.
using namespace pollux::bench;  // NOLINT

struct Case {
  const char* rules;
  std::uint32_t flows;  // Distinct five-tuples, in turn.
  bool cache;
  std::vector<Match> (*matches)(std::uint32_t flows);

  Windows mpps;
  Windows hits;   // Percent of the packets that the exact-match cache answered.
  Windows ns;     // Of the PMD thread's processor time, for one packet.
  Windows share;  // Percent of the core that the PMD thread really had.
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
};

// The frames of a null port: UDP 10.x.y.z:1024 -> 198.18.0.1:9.
Match MatchUdp(std::uint32_t source, std::uint32_t source_mask) {
  Match match = MatchInPort(Loop::kFrom);
  match.key.eth_type = htons(0x0800);
  match.mask.eth_type = 0xffff;
  match.key.nw_proto = 17;
  match.mask.nw_proto = 0xff;
  match.key.ipv4_src = htonl(source);
  match.mask.ipv4_src = htonl(source_mask);
  match.key.ipv4_dst = htonl(0xc6120001);
  match.mask.ipv4_dst = UINT32_MAX;
  match.key.tp_src = htons(1024);
  match.mask.tp_src = 0xffff;
  match.key.tp_dst = htons(9);
  match.mask.tp_dst = 0xffff;
  return match;
}

std::vector<Match> OnePort(std::uint32_t) { return {MatchInPort(Loop::kFrom)}; }
std::vector<Match> OneMask(std::uint32_t) { return {MatchUdp(0x0a000000, 0xff000000)}; }
std::vector<Match> OneEach(std::uint32_t flows) {
  std::vector<Match> matches;
  for (std::uint32_t i = 0; i < flows; ++i) matches.push_back(MatchUdp(0x0a000000 + i, UINT32_MAX));
  return matches;
}

// How long the PMD thread of a core has been running on it.
double RunNs(std::uint32_t core) {
  char name[16];
  std::snprintf(name, sizeof name, "pmd-c%02u", core);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::ifstream(task.path() / "comm") >> comm;
    double ns = 0;
    if (comm == name && std::ifstream(task.path() / "schedstat") >> ns) return ns;
  }
  return 0;
}

void Measure(Case& c, std::uint32_t core, std::uint64_t window_ms) {
  Loop loop(core, c.cache);
  const PortInfo to = loop.Add("to", Loop::kTo);
  loop.Put(c.matches(c.flows), Loop::kTo);
  const PortInfo from = loop.Add("from", Loop::kFrom, c.flows);
  SleepMs(50 + window_ms / 4);  // Caches, page faults, the clock of the core.

  const auto sent = [&] { return Must(loop->port_stats(to.id)).tx_packets; };
  const auto hits = [&] {
    for (const PmdStats& pmd : loop->stats().pmds) {
      if (pmd.core == core) return pmd.emc_hits;
    }
    Fail("there is no PMD thread");
  };
  const double on_core = RunNs(core);
  const std::uint64_t hits_before = hits(), before = sent();
  const std::int64_t begin = Clock::MonotonicNs();
  SleepMs(window_ms);
  const std::uint64_t after = sent();
  const auto ns = static_cast<double>(Clock::MonotonicNs() - begin);
  const double ran = RunNs(core) - on_core;
  c.ns.Add(ran / static_cast<double>(after - before));
  c.share.Add(std::min(100.0, 100.0 * ran / ns));
  const std::uint64_t hits_after = hits();
  c.mpps.Add(static_cast<double>(after - before) * 1e3 / ns);
  c.hits.Add(std::min(100.0, 100.0 * static_cast<double>(hits_after - hits_before) /
                                 static_cast<double>(after - before)));

  loop.Delete(from);
  const Ledger ledger = loop->stats().ledger;
  c.received += ledger.received;
  c.lost += ledger.received - ledger.transmitted;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t windows = options.Number("windows", 5);
  const std::uint64_t window_ms = options.Number("window-ms", 300);
  const std::string only = options.Text("only", "");

  std::vector<Case> cases;
  std::vector<std::uint32_t> tuples = {1, 1'000, 10'000, 100'000};
  if (options.Number("quick", 0) != 0) tuples = {1, 1'000};
  for (const bool cache : {true, false}) {
    for (const std::uint32_t flows : tuples) {
      cases.push_back({"in_port", flows, cache, OnePort, {}, {}, {}, {}});
      cases.push_back({"one mask", flows, cache, OneMask, {}, {}, {}, {}});
      if (flows > 1) cases.push_back({"one rule each", flows, cache, OneEach, {}, {}, {}, {}});
    }
  }
  if (!only.empty()) {
    std::erase_if(cases, [&](const Case& c) {
      return (std::string(c.rules) + "/" + std::to_string(c.flows) +
              (c.cache ? "/cache" : "/plain"))
                 .find(only) == std::string::npos;
    });
  }

  const std::vector<std::uint32_t> cores = AllowedCores();
  Pin(cores.front());  // Everything but the PMD thread, which pins itself.
  for (std::uint64_t round = 0; round < windows; ++round) {
    for (Case& c : cases) Measure(c, cores.back(), window_ms);
  }
  for (const Case& c : cases) {
    Row row;
    row.Put("bench", "pipeline").Put("rules", c.rules).Put("flows", std::uint64_t{c.flows});
    row.Put("cache", c.cache ? "on" : "off").Put("unit", "Mpps").Put(c.mpps);
    row.Put("hit_percent", c.hits.median()).Put("ns_per_packet", c.ns.median());
    row.Put("core_percent", c.share.median())
        .Put("packets", c.received)
        .Put("lost", c.lost)
        .Print();
  }
}
