// From packets to flows: the keys they are looked up by, the cache, and behind it the classifier.
//
// Most packets are looked up by their first bytes (flow/header_key.h) and never parsed; the parser
// is for packets of other shapes and for what the cache does not know. Each step goes through the
// whole batch before the next begins, so that what one packet has to wait for (a set of the cache,
// an entry, a flow, its counters) is fetched while the others are in work.
//
// Control may add flows at any moment. A flow that is found is cached only if the profile that the
// key was made under covers the flow's mask: not all do (classifier/port_profile.h), and the flow
// may be newer.

#include <algorithm>
#include <bit>

#include "flow/extract.h"
#include "forwarding/context.h"

namespace pollux {
namespace {

// The shape of a packet that needs no parsing; its offsets and TCP flags are noted then.
HeaderShape TakeShape(Packet& packet, std::uint16_t& tcp_flags) {
  const HeaderShape shape = ShapeOf(packet);
  packet.l3_offset = kShapeL3Offset;
  packet.l4_offset = kShapeL4Offset;
  tcp_flags = shape == HeaderShape::kTcp ? ShapeTcpFlags(packet) : std::uint16_t{0};
  return shape;
}

// Notes the offsets of a packet whose key is not wanted; its TCP flags.
std::uint16_t Locate(Packet& packet) {
  std::uint16_t tcp_flags;
  if (TakeShape(packet, tcp_flags) != HeaderShape::kOther) [[likely]]
    return tcp_flags;
  Miniflow key;
  ExtractMiniflow(packet, key);
  return TcpFlagsOf(key);
}

template <typename Key>
Key PackedKeyOf(const Miniflow& key, const PortProfile& profile) {
  Key packed;
  // What the mask does not fill of the last pair; of the only one, if the mask is empty.
  const std::size_t last = 2 * PairsOf(profile.packed_id) - 2;
  packed[last] = packed[last + 1] = 0;
  profile.packed.Pack(key, packed.data());
  return packed;
}

// Whether all packets with the key that `flow` was found for are its packets too, or no flow's.
bool SpeaksForKey(const Megaflow* flow, const Dpcls& classifier, const PortProfile& profile) {
  if (profile.complete && classifier.profile() == &profile) [[likely]]
    return true;
  return flow != nullptr && profile.packed.Covers(*flow->mask);
}

}  // namespace

void Context::FindFlows(const PacketBatch& batch, Lookups& lookups) {
  const Dpcls* classifier = shared_.flows.ClassifierOf(batch[0]->in_port);  // Of all of them.
  if (classifier == nullptr) {
    FindNone(batch, lookups);
    return;
  }
  const PortProfile& profile = *classifier->profile();
  if (profile.constant && FindConstant(batch, *classifier, profile, lookups)) return;
  switch (profile.header.pairs()) {
    case 1:
      return FindKeyed<1>(batch, *classifier, profile, lookups);
    case 2:
      return FindKeyed<2>(batch, *classifier, profile, lookups);
    default:
      return FindKeyed<3>(batch, *classifier, profile, lookups);
  }
}

// With keys of kPairs pairs of words, for those that are made of the first bytes.
template <std::size_t kPairs>
void Context::FindKeyed(const PacketBatch& batch, const Dpcls& classifier,
                        const PortProfile& profile, Lookups& lookups) {
  if (MakeKeys<kPairs>(batch, classifier, profile, lookups) &&
      FindSame(batch, classifier, profile, lookups)) {
    return;
  }
  FindEach<kPairs>(batch, classifier, profile, lookups);
}

// One flow, or none, for the whole batch.
void Context::SetAll(Lookups& lookups, std::size_t n, Megaflow* flow, std::uint16_t tcp_flags) {
  lookups.same = flow != nullptr;
  lookups.tcp_flags[0] = tcp_flags;
  std::fill_n(lookups.flows.begin(), lookups.same ? 1 : n, flow);
}

// A port that never had a flow. Who gets its packets may ask where their layers are.
void Context::FindNone(const PacketBatch& batch, Lookups& lookups) {
  Miniflow key;
  for (Packet* packet : batch) ExtractMiniflow(*packet, key);
  lookups.flows.fill(nullptr);
}

// Flows that look at the port alone take all of its packets alike. What is read of them is for the
// statistics (TCP flags), and for actions that want to know where the layers are. False: the port
// got other flows meanwhile.
bool Context::FindConstant(const PacketBatch& batch, const Dpcls& classifier,
                           const PortProfile& profile, Lookups& lookups) {
  Flow flow;
  flow.in_port = static_cast<std::uint32_t>(batch[0]->in_port);
  flow.recirc_id = batch[0]->recirc_id;
  Miniflow look;
  look.map.Add(POLLUX_FLOW_WORD(in_port));
  look.values[0] = LoadAs<std::uint64_t>(&flow);
  Megaflow* const found = classifier.Lookup(look);
  if (classifier.profile() != &profile) return false;
  lookups.located = found == nullptr || ActionsOf(*found).sole_output() == kNoPort;
  std::uint16_t tcp_flags = 0;
  for (Packet* packet : batch) {
    if (!lookups.located && PlainlyNotTcp(*packet)) [[likely]]
      continue;
    tcp_flags |= Locate(*packet);
  }
  SetAll(lookups, batch.size(), found, tcp_flags);
  if (found != nullptr) counters_.megaflow_hits.Add(batch.size());
  return true;
}

// True: all packets have one and the same key, and only that of the first was written down. Packets
// too long for a key of this size have been looked up when it returns.
template <std::size_t kPairs>
bool Context::MakeKeys(const PacketBatch& batch, const Dpcls& classifier,
                       const PortProfile& profile, Lookups& lookups) {
  const std::size_t n = batch.size();
  const KeyId id = profile.header_id;
  const auto make_key = [&](std::size_t i) {
    role_.AssertHeld();
    const HeaderShape shape = TakeShape(*batch[i], lookups.tcp_flags[i]);
    if (shape == HeaderShape::kOther) [[unlikely]] {
      MakePackedKey(*batch[i], classifier, profile, i, lookups);
      return;
    }
    HeaderKey& key = lookups.keys[i];
    profile.header.MakeKey(*batch[i], shape, key, kPairs);
    lookups.ids[i] = id;
    lookups.hashes[i] = emc_.narrow.HashOf(key, id, kPairs);
  };

  make_key(0);
  std::size_t i = 1;
  if (lookups.ids[0] == id) {
    // A train, as far as it goes.
    const HeaderKey first = lookups.keys[0];
    for (; i < n; ++i) {
      const HeaderShape shape = TakeShape(*batch[i], lookups.tcp_flags[i]);
      if (shape == HeaderShape::kOther ||
          !profile.header.Matches(*batch[i], shape, first, kPairs)) {
        break;
      }
    }
    if (i == n) return true;
    for (std::size_t j = 1; j < i; ++j) {
      lookups.keys[j] = first;
      lookups.ids[j] = id;
      lookups.hashes[j] = lookups.hashes[0];
    }
  }
  for (; i < n; ++i) make_key(i);
  return false;
}

[[gnu::noinline]] void Context::MakePackedKey(Packet& packet, const Dpcls& classifier,
                                              const PortProfile& profile, std::size_t i,
                                              Lookups& lookups) {
  Miniflow key;
  ExtractMiniflow(packet, key);
  lookups.tcp_flags[i] = TcpFlagsOf(key);
  if (profile.packed.size() <= kHeaderKeyWords) {
    lookups.keys[i] = PackedKeyOf<HeaderKey>(key, profile);
    lookups.ids[i] = profile.packed_id;
    lookups.hashes[i] = emc_.narrow.HashOf(lookups.keys[i], profile.packed_id);
  } else {
    lookups.ids[i] = kNoKey;
    lookups.flows[i] = FindWide(key, classifier, profile);
  }
}

// Keys even longer are not cached.
Megaflow* Context::FindWide(const Miniflow& key, const Dpcls& classifier,
                            const PortProfile& profile) {
  if (profile.packed_id == kNoKey) return Classify(key, classifier);
  const auto packed = PackedKeyOf<Emc::Wide::Key>(key, profile);
  const std::uint64_t hash = emc_.wide.HashOf(packed, profile.packed_id);
  if (Megaflow* flow = emc_.wide.Lookup(packed, hash, profile.packed_id)) {
    counters_.emc_hits.Add(1);
    return flow;
  }
  Megaflow* flow = Classify(key, classifier);
  if (flow != nullptr && SpeaksForKey(flow, classifier, profile))
    emc_.wide.Insert(packed, hash, profile.packed_id, flow, emc_insert_inv_prob_, Random());
  return flow;
}

// A train of packets that no flow of the profile can tell apart. False: a flow that the profile
// does not cover may, and nothing is decided.
bool Context::FindSame(const PacketBatch& batch, const Dpcls& classifier,
                       const PortProfile& profile, Lookups& lookups) {
  const HeaderKey& key = lookups.keys[0];
  const KeyId id = lookups.ids[0];
  const std::uint64_t hash = lookups.hashes[0];
  Megaflow* flow = emc_.narrow.Lookup(key, hash, id);
  std::size_t hits = batch.size();
  if (flow == nullptr) {
    Miniflow miniflow;
    ExtractMiniflow(*batch[0], miniflow);
    flow = classifier.Lookup(miniflow, shared_.flows.HitsOf(slot_));
    if (!SpeaksForKey(flow, classifier, profile)) {
      std::fill_n(lookups.keys.begin(), batch.size(), HeaderKey(key));
      std::fill_n(lookups.ids.begin(), batch.size(), id);
      std::fill_n(lookups.hashes.begin(), batch.size(), hash);
      return false;
    }
    if (flow != nullptr) {
      counters_.megaflow_hits.Add(1);
      emc_.narrow.Insert(key, hash, id, flow, emc_insert_inv_prob_, Random());
      --hits;
    }
  }
  std::uint16_t tcp_flags = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) tcp_flags |= lookups.tcp_flags[i];
  SetAll(lookups, batch.size(), flow, tcp_flags);
  if (flow != nullptr) counters_.emc_hits.Add(hits);
  return true;
}

template <std::size_t kPairs>
void Context::FindEach(const PacketBatch& batch, const Dpcls& classifier,
                       const PortProfile& profile, Lookups& lookups) {
  const std::size_t n = batch.size();
  auto& [keys, ids, hashes, flows, tcp_flags, located, same] = lookups;
  emc_.narrow.LookupBatch<kPairs>(n, keys.data(), hashes.data(), ids.data(), profile.header_id,
                                  flows.data());
  std::size_t hits = 0;
  Misses misses;
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] == kNoKey) [[unlikely]]
      continue;
    if (flows[i] == nullptr) [[unlikely]] {
      misses.places[misses.n++] = i;
      continue;
    }
    ++hits;
  }
  counters_.emc_hits.Add(hits);
  if (misses.n > 0) [[unlikely]]
    ClassifyAndCache(batch, misses, classifier, profile, lookups);
}

// Asks the classifier for all of them at once, then goes through them in their order: the second
// packet of a new key finds it in the cache, as it would have one by one.
void Context::ClassifyAndCache(const PacketBatch& batch, const Misses& misses,
                               const Dpcls& classifier, const PortProfile& profile,
                               Lookups& lookups) {
  std::array<Miniflow, kBatchSize> miniflows;
  for (std::size_t k = 0; k < misses.n; ++k)
    ExtractMiniflow(*batch[misses.places[k]], miniflows[k]);
  std::array<Megaflow*, kBatchSize> found;
  classifier.LookupBatch(miniflows.data(), misses.n, found.data(), shared_.flows.HitsOf(slot_));
  for (std::size_t k = 0; k < misses.n; ++k) {
    if (found[k] == nullptr) continue;
    const std::size_t i = misses.places[k];
    const HeaderKey& key = lookups.keys[i];
    const KeyId id = lookups.ids[i];
    const std::uint64_t hash = lookups.hashes[i];
    lookups.flows[i] = k == 0 ? nullptr : emc_.narrow.Lookup(key, hash, id);
    if (lookups.flows[i] != nullptr) {
      counters_.emc_hits.Add(1);
      continue;
    }
    lookups.flows[i] = found[k];
    counters_.megaflow_hits.Add(1);
    if (SpeaksForKey(found[k], classifier, profile))
      emc_.narrow.Insert(key, hash, id, found[k], emc_insert_inv_prob_, Random());
  }
}

Megaflow* Context::Classify(const Miniflow& key, const Dpcls& classifier) {
  Megaflow* flow = classifier.Lookup(key, shared_.flows.HitsOf(slot_));
  if (flow != nullptr) counters_.megaflow_hits.Add(1);
  return flow;
}

const Megaflow* Context::PeekCache(const Packet& packet, const Miniflow& key,
                                   const PortProfile& profile) const {
  if (profile.constant) return nullptr;
  if (const HeaderShape shape = ShapeOf(packet); shape != HeaderShape::kOther) {
    HeaderKey header;
    profile.header.MakeKey(packet, shape, header);
    return emc_.narrow.Peek(header, profile.header_id);
  }
  if (profile.packed_id == kNoKey) return nullptr;
  if (profile.packed.size() <= kHeaderKeyWords)
    return emc_.narrow.Peek(PackedKeyOf<HeaderKey>(key, profile), profile.packed_id);
  return emc_.wide.Peek(PackedKeyOf<Emc::Wide::Key>(key, profile), profile.packed_id);
}

}  // namespace pollux
