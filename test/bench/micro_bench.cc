// The parts of the pipeline alone, in nanoseconds, on memory that is in the cache. One thread on
// the last core; where there is a plain version of the same thing, it is measured beside it, window
// by window.
//
//   micro_bench [--windows=7] [--window-ms=40] [--row=TEXT]: rows whose name has the text in it
#include <arpa/inet.h>

#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "base/reload_gate.h"
#include "classifier/emc.h"
#include "flow/extract.h"
#include "forwarding/port_cache.h"
#include "loop.h"

namespace {

using namespace pollux;         // NOLINT: a program of one file.
using namespace pollux::bench;  // NOLINT

// One row: `run(n)` does the thing at least n times and returns how often.
struct Part {
  std::string name;
  std::string plain_name;  // Empty: there is no plain version.
  std::function<std::uint64_t(std::uint64_t)> run;
  std::function<std::uint64_t(std::uint64_t)> plain;
};

// Of this thread's time on its core.
std::int64_t RanNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

double NsEach(const std::function<std::uint64_t(std::uint64_t)>& run, std::uint64_t window_ms) {
  const auto window_ns = static_cast<std::int64_t>(window_ms) * 1'000'000;
  std::uint64_t done = 0;
  const std::int64_t begin = RanNs();
  std::int64_t now = begin;
  while (now - begin < window_ns) {
    done += run(1024);
    now = RanNs();
  }
  return static_cast<double>(now - begin) / static_cast<double>(done);
}

// ------------------------------------------------------------------ what the parts work on

constexpr std::size_t kFrames = 1024;

constexpr std::uint32_t kFlowsPerMask = 16;

// UDP 10.0.x.y:1024 -> 198.z.w.v:9, where z.w is i % kinds and v takes kFlowsPerMask values.
void WriteFrame(std::uint8_t* at, std::uint32_t i, std::uint32_t kinds) {
  static constexpr std::uint8_t kTemplate[60] = {
      2,    0, 0,  0,  0, 2, 2,  0, 0, 0, 0,   1,  8, 0, 0x45, 0, 0, 46, 0, 0,
      0x40, 0, 64, 17, 0, 0, 10, 0, 0, 0, 198, 18, 0, 1, 4,    0, 0, 9,  0, 26};
  std::memcpy(at, kTemplate, sizeof kTemplate);
  at[28] = static_cast<std::uint8_t>(i >> 8);
  at[29] = static_cast<std::uint8_t>(i);
  at[31] = static_cast<std::uint8_t>(i % kinds >> 8);
  at[32] = static_cast<std::uint8_t>(i % kinds);
  at[33] = static_cast<std::uint8_t>(i / kinds % kFlowsPerMask);
}

struct Frames {
  explicit Frames(std::uint32_t kinds = 1, std::uint32_t count = kFrames) {
    for (std::uint32_t i = 0; i < count; ++i) {
      packets.push_back(pool.Allocate(60));
      WriteFrame(packets.back()->data, i, kinds);
      packets.back()->in_port = PortNumber{1};
      keys.emplace_back();
      ExtractMiniflow(*packets.back(), keys.back());
    }
  }
  PacketPool pool;
  std::vector<PacketPtr> packets;
  std::vector<Miniflow> keys;
};

FlowPut PutOf(const Match& match) {
  FlowPut put;
  put.match = match;
  put.actions = OutputTo(2, match);
  return put;
}

void MustAll(const std::vector<FlowOutcome>& outcomes) {
  for (const FlowOutcome& outcome : outcomes) {
    if (!outcome.ok()) Fail(outcome.error().message);
  }
}

// A table with `masks` masks and kFlowsPerMask flows under each; all are hit by as many frames.
struct Masks {
  explicit Masks(std::uint32_t masks, std::uint32_t count = kFrames)
      : frames(masks, count), table(clock, 100'000, 0) {
    std::vector<FlowChange> changes;
    for (std::uint32_t flow = 0; flow < masks * kFlowsPerMask; ++flow) {
      matches.push_back(MatchOf(flow % masks, flow / masks));
      changes.emplace_back(PutOf(matches.back()));
    }
    MustAll(ApplyChanges(table, changes, true));
    if (table.masks() != masks) Fail("masks are not distinct");
    classifier = table.ClassifierOf(PortNumber{1});
    for (const Miniflow& key : frames.keys) {
      if (classifier->Lookup(key) == nullptr) Fail("a frame has no flow");
    }
  }
  // The plain version: look at one flow after the other.
  const Match* Scan(const Flow& key) const {
    for (const Match& match : matches) {
      if (ApplyMask(key, match.mask) == match.key) return &match;
    }
    return nullptr;
  }

  Clock clock;
  Frames frames;
  FlowTable table;
  const Dpcls* classifier = nullptr;
  std::vector<Match> matches;

 private:
  // Mask i: a source prefix of 1 to 16 bits, and i / 16 bits of the ports.
  static Match MatchOf(std::uint32_t i, std::uint32_t v) {
    const std::uint32_t source_bits = std::min(i / 16, 16u);
    const std::uint32_t target_bits = i / 16 - source_bits;
    Match match = MatchInPort(1);
    match.key.eth_type = htons(0x0800);
    match.mask.eth_type = 0xffff;
    match.key.nw_proto = 17;
    match.mask.nw_proto = 0xff;
    match.key.ipv4_src = htonl(0x0a000000);
    match.mask.ipv4_src = htonl(~(0x7fffffffu >> (i % 16)));
    match.key.ipv4_dst = htonl(0xc6000000 | i << 8 | v);
    match.mask.ipv4_dst = UINT32_MAX;
    match.key.tp_src = htons(1024);
    match.mask.tp_src = htons(static_cast<std::uint16_t>(0xffff0000u >> source_bits));
    match.key.tp_dst = htons(9);
    match.mask.tp_dst = htons(static_cast<std::uint16_t>(0xffff0000u >> target_bits));
    match.key = ApplyMask(match.key, match.mask);
    return match;
  }
};

// ------------------------------------------------------------------ the parts

void AddParser(std::vector<Part>& parts) {
  auto frames = std::make_shared<Frames>();
  parts.push_back({"ExtractMiniflow",
                   "",
                   [=](std::uint64_t n) {
                     for (std::uint64_t i = 0; i < n; ++i) {
                       const std::size_t at = i % kFrames;
                       ExtractMiniflow(*frames->packets[at], frames->keys[at]);
                       Use(frames->keys[at]);
                     }
                     return n;
                   },
                   {}});
}

struct Source {
  PacketPool pool;
  PacketCache cache{pool};
  std::unique_ptr<Netdev> netdev;
};

// What the null ports' frames cost: written into one buffer, and by a port into packets that are
// then freed.
void AddGenerator(std::vector<Part>& parts) {
  for (const std::uint32_t size : {60u, 508u, 1514u}) {
    GeneratorSpec spec;
    spec.size = size;
    spec.flows = 1000;
    spec.order = FlowOrder::kUniform;
    auto generator = std::make_shared<FrameGenerator>(spec);
    auto buffers = std::make_shared<std::array<std::array<std::uint8_t, 2048>, kBatchSize>>();
    parts.push_back({"generator alone: write a frame of " + std::to_string(size) + " bytes",
                     "",
                     [=](std::uint64_t n) {
                       std::uint64_t done = 0;
                       for (; done < n; done += kBatchSize) {
                         generator->Write(kBatchSize,
                                          [&](std::size_t i) { return (*buffers)[i].data(); });
                         Use(*buffers);
                       }
                       return done;
                     },
                     {}});
    NetdevSpec netdev_spec;
    netdev_spec.type = "null";
    netdev_spec.generate = true;
    netdev_spec.generator = spec;
    auto source = std::make_shared<Source>();
    source->netdev = Must(FindNetdevType("null")->open(netdev_spec, source->pool));
    parts.push_back(
        {"generator alone: receive and free a frame of " + std::to_string(size) + " bytes",
         "",
         [=](std::uint64_t n) {
           PacketCacheScope scope(source->cache);
           std::uint64_t done = 0;
           while (done < n) {
             PacketBatch batch;
             source->netdev->rxqs()[0]->Recv(batch);
             done += batch.size();
           }
           return done;
         },
         {}});
  }
}

void AddCache(std::vector<Part>& parts) {
  // The last: more than the first caches of a core hold.
  for (const std::uint32_t flows : {1u, 1024u, 8192u}) {
    auto masks = std::make_shared<Masks>(1, flows);
    // Under a profile that looks at everything a HeaderKey holds: a key for each frame.
    auto emc = std::make_shared<Emc::Narrow>();
    const PortProfile profile(ExactMask(masks->frames.keys[0].Expand()));
    auto keys = std::make_shared<std::vector<HeaderKey>>();
    auto held = std::make_shared<std::vector<std::size_t>>();
    const KeyId id = profile.header_id;
    for (const PacketPtr& packet : masks->frames.packets)
      profile.header.MakeKey(*packet, ShapeOf(*packet), keys->emplace_back());
    for (std::size_t i = 0; i < flows; ++i) {
      emc->Insert((*keys)[i], emc->HashOf((*keys)[i], id), id,
                  masks->classifier->Lookup(masks->frames.keys[i]), 1, 0);
    }
    for (std::size_t i = 0; i < flows; ++i) {
      if (emc->Peek((*keys)[i], id) != nullptr) held->push_back(i);
    }
    std::shuffle(held->begin(), held->end(), std::mt19937(1));
    const auto over_all = [=](auto look) {
      return [=](std::uint64_t n) {
        const std::size_t size = held->size();
        std::size_t next = 0;
        for (std::uint64_t i = 0; i < n; ++i) {
          const std::size_t at = (*held)[next];
          if (++next == size) next = 0;
          Use(look(at));
        }
        return n;
      };
    };
    if (flows == 1024) {
      parts.push_back({"EmcTable::HashOf",
                       "",
                       over_all([=](std::size_t at) { return emc->HashOf((*keys)[at], id); }),
                       {}});
    }
    // The plain version: the classifier, which the cache stands in front of.
    parts.push_back({"EmcTable::Lookup hit, " + std::to_string(held->size()) + " keys",
                     "Dpcls::Lookup, 1 mask", over_all([=](std::size_t at) {
                       const HeaderKey& key = (*keys)[at];
                       return emc->Lookup(key, emc->HashOf(key, id), id);
                     }),
                     over_all([=](std::size_t at) {
                       return masks->classifier->Lookup(masks->frames.keys[at]);
                     })});
  }
}

// Packets of the flows, of all masks alike; and strangers, for whom every mask is asked in vain.
void AddClassifier(std::vector<Part>& parts) {
  for (const std::uint32_t count : {1u, 4u, 20u, 100u, 500u}) {
    auto masks = std::make_shared<Masks>(count);
    auto keys = std::make_shared<std::vector<Flow>>();
    auto strangers = std::make_shared<std::vector<Miniflow>>();
    for (const Miniflow& key : masks->frames.keys) {
      keys->push_back(key.Expand());
      Flow stranger = keys->back();
      stranger.ipv4_dst ^= htonl(0x02000000);
      strangers->push_back(Compress(stranger));
      if (masks->classifier->Lookup(strangers->back()) != nullptr) Fail("a stranger has a flow");
    }
    const std::string of = std::to_string(count) + (count == 1 ? " mask" : " masks");
    Part part;
    part.name = "Dpcls::Lookup, " + of;
    part.run = [=](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i)
        Use(masks->classifier->Lookup(masks->frames.keys[i % kFrames]));
      return n;
    };
    if (count <= 20) {
      part.plain_name = "linear scan";
      part.plain = [=](std::uint64_t n) {
        for (std::uint64_t i = 0; i < n; ++i) Use(masks->Scan((*keys)[i % kFrames]));
        return n;
      };
    }
    parts.push_back(std::move(part));
    const auto one_by_one = [=](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i)
        Use(masks->classifier->Lookup((*strangers)[i % kFrames]));
      return n;
    };
    parts.push_back({"Dpcls::Lookup of a stranger, " + of, "", one_by_one, {}});
    const auto batches = [=](const std::vector<Miniflow>& of_keys) {
      return [masks, &of_keys](std::uint64_t n) {
        std::uint64_t done = 0;
        for (; done < n; done += kBatchSize) {
          std::array<Megaflow*, kBatchSize> flows;
          masks->classifier->LookupBatch(&of_keys[done % kFrames], kBatchSize, flows.data());
          Use(flows);
        }
        return done;
      };
    };
    parts.push_back({"Dpcls::LookupBatch, " + of, "", batches(masks->frames.keys), {}});
    parts.push_back({"Dpcls::LookupBatch of strangers, " + of,
                     "",
                     [=](std::uint64_t n) { return batches(*strangers)(n); },
                     {}});
  }
}

// More flows than the caches of a core hold, asked for in random order: one by one, and a burst at
// once.
struct ManyFlows {
  static constexpr std::uint32_t kMasks = 4;
  static constexpr std::uint32_t kFlows = 1 << 18;

  ManyFlows() : table(clock, kFlows, 0) {
    for (std::uint32_t i = 0; i < kFlows; i += 1024) {
      std::vector<FlowChange> changes;
      for (std::uint32_t j = i; j < i + 1024; ++j) changes.emplace_back(PutOf(MatchOf(j)));
      MustAll(ApplyChanges(table, changes, true));
    }
    if (table.masks() != kMasks) Fail("masks are not distinct");
    for (std::uint32_t i = 0; i < kFlows; ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    for (Miniflow& key : burst) key = Compress(MatchOf(1).key);
    classifier = table.ClassifierOf(PortNumber{1});
  }
  static Match MatchOf(std::uint32_t i) {
    Match match = MatchInPort(1);
    match.key.eth_type = htons(0x0800);
    match.mask.eth_type = 0xffff;
    match.key.ipv4_src = htonl(0x0a000000);
    match.mask.ipv4_src = htonl(0xff000000 | (1u << i % kMasks));
    match.key.ipv4_dst = htonl(i);
    match.mask.ipv4_dst = UINT32_MAX;
    return match;
  }
  // The next keys.
  const std::array<Miniflow, kBatchSize>& NextBurst() {
    constexpr std::size_t kWord = POLLUX_FLOW_WORD(ipv4_src);
    for (Miniflow& key : burst) {
      key.values[key.map.Rank(kWord)] = std::bit_cast<std::uint64_t>(
          std::array<std::uint32_t, 2>{htonl(0x0a000000), htonl(order[next++ % kFlows])});
    }
    return burst;
  }

  Clock clock;
  FlowTable table;
  const Dpcls* classifier = nullptr;
  std::vector<std::uint32_t> order;
  std::size_t next = 0;
  std::array<Miniflow, kBatchSize> burst;
};

void AddManyFlows(std::vector<Part>& parts) {
  auto many = std::make_shared<ManyFlows>();
  const auto bursts = [many](auto look) {
    return [many, look](std::uint64_t n) {
      std::uint64_t done = 0;
      for (; done < n; done += kBatchSize) {
        std::array<Megaflow*, kBatchSize> flows;
        look(many->NextBurst(), flows);
        Use(flows);
      }
      return done;
    };
  };
  parts.push_back({"Dpcls::LookupBatch, 4 masks, 262,144 flows", "Dpcls::Lookup",
                   bursts([many](const auto& keys, auto& flows) {
                     many->classifier->LookupBatch(keys.data(), kBatchSize, flows.data());
                   }),
                   bursts([many](const auto& keys, auto& flows) {
                     for (std::size_t i = 0; i < kBatchSize; ++i)
                       flows[i] = many->classifier->Lookup(keys[i]);
                   })});
}

void AddFlowTable(std::vector<Part>& parts) {
  for (const std::uint32_t others : {0u, 50'000u}) {
    auto clock = std::make_shared<Clock>();
    auto table = std::make_shared<FlowTable>(*clock, 1'000'000, 0);
    const auto change = [=](std::uint32_t first, std::uint32_t count, bool put) {
      std::vector<FlowChange> changes;
      for (std::uint32_t i = first; i < first + count; ++i) {
        Match match = MatchInPort(1);
        match.key.eth_type = htons(0x0800);
        match.mask.eth_type = 0xffff;
        match.key.ipv4_src = htonl(i);
        match.mask.ipv4_src = UINT32_MAX;
        if (put) {
          changes.emplace_back(PutOf(match));
        } else {
          changes.emplace_back(FlowDelete{match});
        }
      }
      return changes;
    };
    MustAll(ApplyChanges(*table, change(1'000'000, others, true), true));
    constexpr std::uint32_t kBatch = 256;
    auto puts = std::make_shared<std::vector<FlowChange>>(change(0, kBatch, true));
    auto deletions = std::make_shared<std::vector<FlowChange>>(change(0, kBatch, false));
    parts.push_back({"FlowTable: put a flow and delete it, " + std::to_string(others) + " others",
                     "",
                     [=](std::uint64_t n) {
                       std::uint64_t done = 0;
                       for (; done < n; done += kBatch) {
                         MustAll(ApplyChanges(*table, *puts, true));
                         MustAll(ApplyChanges(*table, *deletions, true));
                         table->Reclaim();
                       }
                       return done;
                     },
                     {}});
  }
}

void AddPorts(std::vector<Part>& parts) {
  for (const std::uint32_t count : {2u, 64u, 1024u}) {
    auto ports = std::make_shared<TxPortMap>();
    for (std::uint32_t i = 1; i <= count; ++i) ports->Put({PortNumber{i}});
    auto cache = std::make_shared<PortCache>();
    cache->Rebuild(*ports);
    auto order = std::make_shared<std::vector<PortNumber>>();
    std::mt19937 random(1);
    for (std::size_t i = 0; i < kFrames; ++i)
      order->push_back(PortNumber{1 + static_cast<std::uint32_t>(random()) % count});
    const auto find = [=](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) Use(cache->Find((*order)[i % kFrames]));
      return n;
    };
    const std::string name = "PortCache::Find, " + std::to_string(count) + " ports";
    // Other ways to lay it out: a place for every number there may be, and no search at all, as if
    // the action knew its entry.
    auto index = std::make_shared<std::vector<std::uint16_t>>(65'536);
    for (std::uint32_t i = 1; i <= count; ++i)
      (*index)[i] =
          static_cast<std::uint16_t>(cache->Find(PortNumber{i}) - cache->entries().data());
    parts.push_back({name, "an index by number", find, [=](std::uint64_t n) {
                       const auto* entries = cache->entries().data();
                       for (std::uint64_t i = 0; i < n; ++i) {
                         const auto number = static_cast<std::size_t>((*order)[i % kFrames]);
                         Use(entries[(*index)[number]].port.netdev);
                       }
                       return n;
                     }});
    auto resolved = std::make_shared<std::vector<PortCache::Entry*>>();
    for (const PortNumber number : *order) resolved->push_back(cache->Find(number));
    parts.push_back({name, "no search", find, [=](std::uint64_t n) {
                       for (std::uint64_t i = 0; i < n; ++i)
                         Use((*resolved)[i % kFrames]->port.netdev);
                       return n;
                     }});
    // What the cache is there to avoid: a shared map, and its lock around every lookup.
    auto map = std::make_shared<std::map<PortNumber, TxPort>>();
    for (const TxPort& port : *ports) map->emplace(port.number, port);
    auto mutex = std::make_shared<std::mutex>();
    parts.push_back({name, "std::map", find, [=](std::uint64_t n) {
                       for (std::uint64_t i = 0; i < n; ++i) Use(map->find((*order)[i % kFrames]));
                       return n;
                     }});
    parts.push_back({name, "std::map under a mutex", find, [=](std::uint64_t n) {
                       for (std::uint64_t i = 0; i < n; ++i) {
                         const std::lock_guard lock(*mutex);
                         Use(map->find((*order)[i % kFrames]));
                       }
                       return n;
                     }});
  }
}

void AddPool(std::vector<Part>& parts) {
  auto pool = std::make_shared<PacketPool>();
  auto cache = std::make_shared<PacketCache>(*pool);
  const auto burst = [=](std::uint64_t n) {
    std::uint64_t done = 0;
    while (done < n) {
      PacketBatch batch;
      done += pool->AllocateBatch(batch, kBatchSize, 60);
      Use(batch);
    }
    return done;
  };
  parts.push_back({"pool: allocate and free a packet, in bursts of 32", "pool without thread cache",
                   [=](std::uint64_t n) {
                     PacketCacheScope scope(*cache);
                     return burst(n);
                   },
                   burst});
}

// ------------------------------------------------------------------ the reload handshake

// The gate alone: from Request() to the end of Await(), with a thread that does nothing but look.
Windows GateRoundTrips(std::uint32_t core, std::size_t times) {
  ReloadGate gate;
  std::atomic<bool> stop{false};
  std::thread server([&] {
    Pin(core);
    while (!stop.load(std::memory_order_relaxed)) {
      if (gate.Pending()) gate.Serve([] {});
    }
  });
  Windows us;
  for (std::size_t i = 0; i < times; ++i) {
    const std::int64_t begin = Clock::MonotonicNs();
    gate.Await(gate.Request());
    us.Add(static_cast<double>(Clock::MonotonicNs() - begin) / 1e3);
  }
  stop = true;
  server.join();
  return us;
}

// A reload of a real thread, request to acknowledgement as the datapath reports it.
Windows Reloads(std::uint32_t core, bool busy, std::size_t times) {
  Loop loop(core);
  loop.Add("to", Loop::kTo);
  loop.Put({MatchInPort(Loop::kFrom)}, Loop::kTo);
  if (busy) loop.AddSource("from", Loop::kFrom, {});
  SleepMs(50);
  Windows us;
  for (std::size_t i = 0; i < times; ++i) {
    for (const ReloadReport& report : loop.Reload()) {
      if (report.core == core) us.Add(report.latency_us);
    }
    SleepMs(2);  // Let it fall asleep again.
  }
  return us;
}

void PrintReload(const char* name, const Windows& us) {
  Row row;
  row.Put("bench", "reload")
      .Put("name", name)
      .Put("unit", "us")
      .Put(us)
      .Put("p99", us.p99())
      .Print();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t windows = options.Number("windows", 7);
  const std::uint64_t window_ms = options.Number("window-ms", 40);
  const std::vector<std::uint32_t> cores = AllowedCores();

  const std::string wanted = options.Text("row", "");
  if (wanted.empty()) {
    Pin(cores.front());
    const std::size_t times = windows * 30;
    PrintReload("ReloadGate alone, spinning thread", GateRoundTrips(cores.back(), times));
    PrintReload("PMD thread asleep", Reloads(cores.back(), false, times));
    PrintReload("PMD thread forwarding at full speed", Reloads(cores.back(), true, times));
  }

  Pin(cores.back());
  std::vector<Part> parts;
  AddGenerator(parts);
  AddParser(parts);
  AddCache(parts);
  AddClassifier(parts);
  AddManyFlows(parts);
  AddFlowTable(parts);
  AddPorts(parts);
  AddPool(parts);
  std::erase_if(parts,
                [&](const Part& part) { return part.name.find(wanted) == std::string::npos; });
  std::vector<Windows> ns(parts.size()), plain(parts.size());
  for (std::uint64_t round = 0; round < windows; ++round) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      ns[i].Add(NsEach(parts[i].run, window_ms));
      if (parts[i].plain) plain[i].Add(NsEach(parts[i].plain, window_ms));
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Row row;
    row.Put("bench", "micro").Put("name", parts[i].name).Put("unit", "ns").Put(ns[i]);
    if (parts[i].plain) {
      row.Put("plain", parts[i].plain_name).Put("plain_median", plain[i].median());
      row.Put("plain_min", plain[i].min()).Put("plain_max", plain[i].max());
    }
    row.Print();
  }
}
