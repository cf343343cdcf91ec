#include "classifier/dpcls.h"

#include <algorithm>
#include <array>
#include <utility>

#include "packet/packet.h"

namespace pollux {
namespace {

// What a hit costs, summed over all: the subtables asked.
std::uint64_t CostOf(const std::vector<Subtable*>& order) {
  std::uint64_t cost = 0;
  for (std::size_t i = 0; i < order.size(); ++i) cost += order[i]->recent_hits() * (i + 1);
  return cost;
}

// Subtables of more flows are not summed up: it is taken for granted that they are busy.
constexpr std::size_t kManyFlows = 256;

std::uint64_t PacketsOf(const Subtable& subtable, const Dpcls::Counts& counts) {
  if (subtable.size() > kManyFlows) return subtable.counted_packets() + Dpcls::kBusyPackets;
  std::uint64_t packets = 0;
  subtable.buckets().ForEach([&](const Megaflow& flow) {
    packets += counts.packets(flow);
    return true;
  });
  return packets;
}

// On a busy port, the subtables that take next to no packets are not cached.
void LeaveOutRare(std::vector<Subtable*> subtables) {
  std::sort(subtables.begin(), subtables.end(), [](const Subtable* a, const Subtable* b) {
    return a->recent_packets() < b->recent_packets();
  });
  if (subtables.back()->recent_packets() < Dpcls::kBusyPackets) return;
  std::uint64_t left_out = 0;
  for (Subtable* subtable : subtables) {
    left_out += subtable->recent_packets();
    if (left_out > Dpcls::kRarePackets) break;
    subtable->cached = false;
  }
}

// If those that are not cached have many hits, the ones with most are, from now on.
void TakeInHit(std::vector<Subtable*> subtables) {
  std::erase_if(subtables, [](const Subtable* subtable) { return subtable->cached; });
  std::sort(subtables.begin(), subtables.end(),
            [](const Subtable* a, const Subtable* b) { return a->new_hits() > b->new_hits(); });
  std::uint64_t hits = 0;
  for (const Subtable* subtable : subtables) hits += subtable->new_hits();
  for (Subtable* subtable : subtables) {
    if (hits <= Dpcls::kUncachedHits) break;
    subtable->cached = true;
    hits -= subtable->new_hits();
  }
}

}  // namespace

Dpcls::Dpcls()
    : tuples_(new TupleList(std::vector<Subtable*>())), profile_(new PortProfile(FlowMask{})) {}

Dpcls::~Dpcls() {
  delete tuples_.Get();
  delete profile_.Get();
}

// ------------------------------------------------------------------ writers

Subtable* Dpcls::FindSubtable(const PackedMask& mask) const {
  const auto found = subtables_.find(&mask);
  return found == subtables_.end() ? nullptr : found->second.get();
}

std::shared_ptr<const PackedMask> Dpcls::Share(const PackedMask& mask) const {
  const Subtable* subtable = FindSubtable(mask);
  return subtable == nullptr ? std::make_shared<const PackedMask>(mask) : subtable->mask();
}

void Dpcls::Insert(Megaflow* flow, Qsbr& qsbr) {
  TupleList& tuples = *tuples_.Get();
  if (Subtable* subtable = FindSubtable(*flow->mask)) {
    if (subtable->Insert(flow))
      qsbr.Retire(tuples.Renew(*subtable), [](FlowBuckets outgrown) { outgrown.Free(); });
    return;
  }
  auto fresh = std::make_unique<Subtable>(flow->mask);
  Subtable* subtable = fresh.get();
  (void)subtable->Insert(flow);  // It is the first: the buckets do not grow.
  // Published last, with its first flow in it; the profile before it.
  AddToProfile(*subtable, qsbr);
  if (!tuples.Append(subtable)) {
    std::vector<Subtable*> order = Order();
    order.push_back(subtable);
    Publish(order, qsbr);
  }
  subtables_.emplace(flow->mask.get(), std::move(fresh));
}

Unpublished<Megaflow*> Dpcls::Remove(Megaflow* flow, Qsbr& qsbr) {
  const auto found = subtables_.find(flow->mask.get());
  POLLUX_CHECK(found != subtables_.end());
  Unpublished<Megaflow*> unlinked = found->second->Remove(flow);
  if (found->second->size() > 0) return unlinked;
  Subtable* gone = found->second.release();
  subtables_.erase(found);
  TupleList& tuples = *tuples_.Get();
  // Whoever finds no buckets in the list does not ask whose they were.
  qsbr.Retire(tuples.Remove(*gone), [gone](FlowBuckets) { delete gone; });
  if (tuples.size() / 2 > subtables_.size()) Publish(Order(), qsbr);
  return unlinked;
}

Megaflow* Dpcls::FindExact(const PackedMask& mask, const std::uint64_t* packed) const {
  const Subtable* subtable = FindSubtable(mask);
  return subtable == nullptr ? nullptr : subtable->FindExact(packed);
}

const Megaflow* Dpcls::FindOverlap(const PackedMask& mask, const std::uint64_t* packed) {
  if (subtables_.size() == 1 && *subtables_.begin()->first == mask) return nullptr;
  const SpreadKey key(mask, packed);
  for (const auto& [other, subtable] : subtables_) {
    if (const Megaflow* found = subtable->FindOverlap(key)) return found;
  }
  return nullptr;
}

std::vector<Subtable*> Dpcls::Order() const {
  std::vector<Subtable*> order;
  order.reserve(subtables_.size() + 1);
  for (const auto& [mask, subtable] : subtables_) order.push_back(subtable.get());
  std::sort(order.begin(), order.end(),
            [](const Subtable* a, const Subtable* b) { return a->place < b->place; });
  return order;
}

void Dpcls::Publish(const std::vector<Subtable*>& order, Qsbr& qsbr) {
  qsbr.Retire(tuples_.Replace(new TupleList(order)), [](TupleList* old) { delete old; });
}

// ------------------------------------------------------------------ the profile

void Dpcls::Publish(const PortProfile* profile, Qsbr& qsbr) {
  qsbr.Retire(profile_.Replace(profile), [](const PortProfile* old) { delete old; });
}

void Dpcls::AddToProfile(Subtable& fresh, Qsbr& qsbr) {
  const PortProfile& known = *profile();
  fresh.cached = known.packed.Covers(*fresh.mask());
  if (fresh.cached || !known.complete) return;
  if (subtables_.size() < kManyMasks) {
    fresh.cached = true;
    Publish(new PortProfile(Union(known.mask, fresh.mask()->Unpack())), qsbr);
  } else {
    Publish(new PortProfile(known, false), qsbr);
    wants_review_ = true;
  }
}

// From the masks that are cached.
void Dpcls::RenewProfile(Qsbr& qsbr) {
  FlowWords words{};
  for (const auto& [mask, subtable] : subtables_) {
    if (subtable->cached) mask->AddTo(words);
  }
  const FlowMask k = FromWords(words);
  const PackedMask packed(k);
  bool complete = true;
  for (const auto& [mask, subtable] : subtables_) {
    subtable->cached = packed.Covers(*mask);
    complete &= subtable->cached;
  }
  if (k != profile()->mask) {
    Publish(new PortProfile(k, complete), qsbr);
  } else if (complete != profile()->complete) {
    Publish(new PortProfile(*profile(), complete), qsbr);
  }
}

void Dpcls::Review(const Counts& counts, Qsbr& qsbr) {
  wants_review_ = false;
  std::vector<Subtable*> order = Order();
  for (Subtable* subtable : order) {
    subtable->NoteHits(counts.hits(subtable->id()));
    if (order.size() > kFewMasks) subtable->NotePackets(PacketsOf(*subtable, counts));
  }
  if (order.size() > kFewMasks) {
    LeaveOutRare(order);
    TakeInHit(order);
  } else {
    for (Subtable* subtable : order) subtable->cached = true;
  }
  RenewProfile(qsbr);
  const std::uint64_t cost = CostOf(order);
  std::stable_sort(order.begin(), order.end(), [](const Subtable* a, const Subtable* b) {
    return a->recent_hits() > b->recent_hits();
  });
  if (CostOf(order) < cost - cost / 10) Publish(order, qsbr);
}

// ------------------------------------------------------------------ readers

Megaflow* Dpcls::Lookup(const Miniflow& key, TupleHits* hits) const {
  const TupleList& tuples = *tuples_.Get();
  TupleList::Query query;
  tuples.Start(key, query);
  for (tuples.Seek(query, 0); query.place != TupleList::kEnd; tuples.Seek(query, query.place + 1)) {
    Megaflow* flow = tuples.Find(query);
    if (flow == nullptr) continue;
    if (hits != nullptr) hits->Count(tuples.At(query.place).id());
    return flow;
  }
  return nullptr;
}

void Dpcls::LookupBatch(const Miniflow* keys, std::size_t n, Megaflow** flows,
                        TupleHits* hits) const {
  const TupleList& tuples = *tuples_.Get();
  std::array<TupleList::Query, kBatchSize> queries;
  // The keys whose search is not over.
  std::array<std::size_t, kBatchSize> open;
  std::size_t n_open = 0;
  const auto seek = [&](std::size_t i, std::size_t from) {
    tuples.Seek(queries[i], from);
    if (queries[i].place == TupleList::kEnd) return;
    queries[i].buckets.Prefetch(queries[i].hash);
    open[n_open++] = i;
  };
  for (std::size_t i = 0; i < n; ++i) {
    flows[i] = nullptr;
    tuples.Start(keys[i], queries[i]);
    seek(i, 0);
  }
  while (n_open > 0) {
    for (std::size_t j = 0; j < n_open; ++j)
      queries[open[j]].buckets.PrefetchFlow(queries[open[j]].hash);
    for (std::size_t j = 0, was_open = std::exchange(n_open, 0); j < was_open; ++j) {
      const std::size_t i = open[j];
      const std::size_t place = queries[i].place;
      flows[i] = tuples.Find(queries[i]);
      if (flows[i] == nullptr) {
        seek(i, place + 1);
      } else if (hits != nullptr) {
        hits->Count(tuples.At(place).id());
      }
    }
  }
}

}  // namespace pollux
