#include "datapath/flow_offload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "actions/action_list.h"
#include "flow/extract.h"
#include "kernel/bpf/redirect_target.h"

namespace pollux {
namespace {

constexpr std::int64_t kReviewIntervalNs = 1'000'000'000;
constexpr double kTicksPerSecond = 10;
// The score of a steady flow is so many times its samples a tick, in the end.
constexpr double kMemory = 8;
constexpr double kForgotten = 0.5;
constexpr std::uint32_t kSamplesPerSecond = 40;  // Of a flow at the threshold.
constexpr std::uint32_t kMaxInterval = 256;
constexpr std::size_t kMaxCandidates = 4096;
// Entries leave that had less than this share of the threshold for so many seconds.
constexpr std::uint64_t kColdShare = 4;
constexpr int kColdReviews = 2;

std::uint32_t IntervalOf(std::uint32_t packets_per_second) {
  return std::clamp(packets_per_second / kSamplesPerSecond, 1u, kMaxInterval);
}

// The score of a flow that is at the threshold.
double HotScore(std::uint32_t packets_per_second) {
  return kMemory * packets_per_second / IntervalOf(packets_per_second) / kTicksPerSecond;
}

// As the key is of a frame's first bytes, the rest of it can be anything that fits them.
std::array<std::uint8_t, 64> FrameOf(const FlowSampler::Header& header) {
  std::array<std::uint8_t, 64> frame{};
  std::copy(header.begin(), header.end(), frame.begin());
  const std::uint16_t length = ToBe16(40);  // Without options, without payload.
  std::memcpy(&frame[16], &length, sizeof length);
  if (frame[23] == kProtoTcp) frame[46] = static_cast<std::uint8_t>((frame[46] & 0xf) | 5 << 4);
  return frame;
}

// Types whose output is the interface's transmission, and nothing else.
bool SendsByInterface(const Port& port) {
  return port.type == "af_xdp" || port.type == "af_packet";
}

}  // namespace

std::size_t FlowOffload::KeyHash::operator()(const HeaderKey& key) const {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < key.size(); ++i) {
    hash = (hash ^ key[i] ^ HashSecrets()[i]) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

FlowOffload::FlowOffload(FlowTable& flows, const Clock& clock, PacketPool& pool)
    : flows_(flows), clock_(clock), pool_(pool) {
  flows_.SetCopies(this);
}

FlowOffload::~FlowOffload() { flows_.SetCopies(nullptr); }

std::vector<std::unique_ptr<FlowSampler>> FlowOffload::MakeSamplers(
    std::uint32_t packets_per_second, std::size_t queues) {
  std::vector<std::unique_ptr<FlowSampler>> samplers;
  for (std::size_t i = 0; i < queues && packets_per_second > 0; ++i)
    samplers.push_back(std::make_unique<FlowSampler>(IntervalOf(packets_per_second)));
  return samplers;
}

// -------------------------------------------------------------------- ports

void FlowOffload::AddPort(Port& port) { known_[port.number].port = &port; }

void FlowOffload::RemovePort(const Port& port) {
  LeavePort(port, true);
  known_.erase(port.number);
}

void FlowOffload::LeavePort(const Port& port, bool from_it) {
  const auto found = known_.find(port.number);
  if (found == known_.end() || found->second.port != &port) return;
  found->second.takes_frames.reset();
  if (from_it) found->second.candidates.clear();
  flows_.AtRest([&] {
    flows_.mutex().AssertHeld();
    if (!empty()) {
      LeaveIf([&](const Entry& entry) {
        return entry.out == &port || (from_it && entry.in->port == &port);
      });
      Settle();
    }
    if (from_it) offloading_.erase(port.number);
  });
}

bool FlowOffload::TakesFrames(Known& known) const {
  const Port& port = *known.port;
  const Netdev& netdev = *port.netdev;
  if (!SendsByInterface(port) || port.nsid != kHere || netdev.ifindex() == 0 ||
      netdev.link() != LinkState::kUp || netdev.sends_through_host()) {
    return false;
  }
  if (!known.takes_frames.has_value())
    known.takes_frames = TakesRedirectedFrames(netdev.ifindex()).value_or(false);
  return *known.takes_frames;
}

// ----------------------------------------------------------------- hot flows

void FlowOffload::Tick() {
  for (auto& [number, known] : known_) {
    if (known.port->samplers.empty()) continue;
    const std::optional<Mask> mask = MaskOf(*known.port);
    if (!mask.has_value()) continue;
    Score(known, *mask);
    const std::vector<HeaderKey> keys = HotKeys(known);
    if (!keys.empty()) Enter(known, *mask, keys);
  }
  const std::int64_t now = Clock::MonotonicNs();
  if (now < next_review_ns_) return;
  next_review_ns_ = now + kReviewIntervalNs;
  Review();
}

// What keys of the port's packets are made with now; nullopt: it has no flows.
std::optional<FlowOffload::Mask> FlowOffload::MaskOf(const Port& port) {
  std::optional<Mask> mask;
  flows_.AtRest([&] {
    const Dpcls* classifier = flows_.ClassifierOf(port.number);
    if (classifier == nullptr) return;
    const PortProfile& profile = *classifier->profile();
    mask.emplace(Mask{profile.header_id, profile.header});
  });
  return mask;
}

void FlowOffload::Score(Known& known, const Mask& mask) {
  if (std::exchange(known.scored_id, mask.id) != mask.id) known.candidates.clear();
  for (auto it = known.candidates.begin(); it != known.candidates.end();) {
    it->second.score *= 1 - 1 / kMemory;
    it = it->second.score < kForgotten ? known.candidates.erase(it) : std::next(it);
  }
  FlowSampler::Header header;
  for (const std::unique_ptr<FlowSampler>& sampler : known.port->samplers) {
    while (sampler->Take(header)) {
      const HeaderKey& word_masks =
          mask.header.mask(header[23] == kProtoTcp ? HeaderShape::kTcp : HeaderShape::kUdp);
      HeaderKey key{};
      for (std::size_t i = 0; i < 2 * mask.header.pairs(); ++i)
        key[i] = LoadAs<std::uint64_t>(header.data() + mask.header.place(i)) & word_masks[i];
      if (known.candidates.size() >= kMaxCandidates && !known.candidates.contains(key)) continue;
      Candidate& candidate = known.candidates[key];
      candidate.score += 1;
      candidate.header = header;
    }
  }
}

// The hottest first.
std::vector<HeaderKey> FlowOffload::HotKeys(Known& known) const {
  const double enough = HotScore(known.port->offload_above);
  std::vector<std::pair<double, HeaderKey>> hot;
  for (const auto& [key, candidate] : known.candidates) {
    if (candidate.score >= enough) hot.emplace_back(-candidate.score, key);
  }
  std::sort(hot.begin(), hot.end());
  std::vector<HeaderKey> keys;
  keys.reserve(hot.size());
  for (const auto& [score, key] : hot) keys.push_back(key);
  return keys;
}

void FlowOffload::Enter(Known& known, const Mask& mask, const std::vector<HeaderKey>& keys) {
  Offloading* offloading = ProgramFor(known, mask);
  if (offloading == nullptr) return;
  flows_.AtRest([&] {
    flows_.mutex().AssertHeld();
    const Dpcls* classifier = flows_.ClassifierOf(known.port->number);
    if (classifier == nullptr) return;  // Its flows have gone meanwhile.
    const PortProfile& profile = *classifier->profile();
    if (profile.header_id != offloading->key_id) return;  // It has changed.
    for (const HeaderKey& key : keys)
      EnterOne(*offloading, profile, key, known.candidates.at(key).header);
  });
}

// Control alone makes and removes programs, so what is found stays until control does something
// else.
FlowOffload::Offloading* FlowOffload::ProgramFor(const Known& known, const Mask& mask) {
  Offloading* found = nullptr;
  const auto look = [&] {
    flows_.mutex().AssertHeld();
    const auto it = offloading_.find(known.port->number);
    if (it != offloading_.end() && it->second.key_id == mask.id) found = &it->second;
  };
  flows_.AtRest(look);
  if (found != nullptr) return found;
  // The kernel takes its time, and no flow has to wait for it.
  std::shared_ptr<XdpFlows> program = known.port->netdev->OffloadFlows(mask.header);
  if (program == nullptr) return nullptr;
  flows_.AtRest([&] {
    flows_.mutex().AssertHeld();
    found = &offloading_[known.port->number];
    // Entries of another mask have left when the profile changed, or do now.
    if (!found->entries.empty()) {
      LeaveIf([&](const Entry& entry) { return entry.in == found; });
      Settle();
    }
    found->port = known.port;
    found->program = std::move(program);
    found->key_id = mask.id;
  });
  return found;
}

void FlowOffload::EnterOne(Offloading& offloading, const PortProfile& profile, const HeaderKey& key,
                           const FlowSampler::Header& header) {
  if (offloading.entries.contains(key)) return;
  const Megaflow* flow = FlowOf(*offloading.port, header);
  if (flow == nullptr || !profile.packed.Covers(*flow->mask)) return;
  const std::optional<Way> way = WayOf(*flow->owned_actions);
  if (!way.has_value()) return;
  const std::optional<XdpFlows::Entry> place = offloading.program->Add(key, way->target);
  if (!place.has_value()) return;
  auto entry = std::make_unique<Entry>();
  entry->in = &offloading;
  entry->out = way->out;
  entry->reason = way->reason;
  entry->flow = flow;
  entry->key = key;
  entry->place = *place;
  by_flow_.emplace(flow, entry.get());
  offloading.entries.emplace(key, std::move(entry));
  ++size_;
}

// As a forwarding thread finds it.
Megaflow* FlowOffload::FlowOf(const Port& port, const FlowSampler::Header& header) {
  const auto frame = FrameOf(header);
  const PacketPtr packet = pool_.Copy(frame);
  if (packet == nullptr) return nullptr;
  packet->in_port = port.number;
  Miniflow key;
  ExtractMiniflow(*packet, key);
  return flows_.ClassifierOf(port.number)->Lookup(key);
}

std::optional<FlowOffload::Way> FlowOffload::WayOf(const ActionList& actions) {
  Way way;
  if (actions.actions().empty()) return way;
  if (actions.actions().size() != 1) return std::nullopt;
  if (const auto* drop = std::get_if<DropAction>(actions.actions().data())) {
    way.reason = drop->reason;
    return way;
  }
  if (actions.sole_output() == kNoPort) return std::nullopt;
  const auto found = known_.find(actions.sole_output());
  if (found == known_.end() || !TakesFrames(found->second)) return std::nullopt;
  way.out = found->second.port;
  way.target.ifindex = way.out->netdev->ifindex();
  way.target.max_frame = way.out->netdev->mtu() + kMinFrame;
  return way;
}

// Entries that have cooled down leave, and those to where frames are no longer taken.
void FlowOffload::Review() {
  for (auto& [number, known] : known_) known.takes_frames.reset();
  flows_.AtRest([&] {
    flows_.mutex().AssertHeld();
    if (empty()) return;
    Count();
    LeaveIf([&](Entry& entry) {
      const std::uint64_t packets =
          entry.counted.packets - std::exchange(entry.counted_at_review, entry.counted.packets);
      const bool cold =
          packets < std::max<std::uint64_t>(1, entry.in->port->offload_above / kColdShare);
      entry.cold_reviews = cold ? entry.cold_reviews + 1 : 0;
      return entry.cold_reviews >= kColdReviews ||
             (entry.out != nullptr && !TakesFrames(known_.at(entry.out->number)));
    });
    Settle();
  });
}

// ------------------------------------------------------------------- leaving

template <typename Which>
void FlowOffload::LeaveIf(Which which) {
  for (auto& [number, offloading] : offloading_) {
    for (auto& [key, entry] : offloading.entries) {
      if (which(*entry)) StartLeaving(*entry);
    }
  }
}

void FlowOffload::StartLeaving(Entry& entry) {
  if (entry.leaving) return;
  entry.in->program->Remove(entry.place);
  entry.leaving = true;
  ++leaving_;
}

bool FlowOffload::Has(const Megaflow& flow) const {
  flows_.mutex().AssertHeld();
  return by_flow_.contains(&flow);
}

void FlowOffload::Leave(const Megaflow& flow) {
  flows_.mutex().AssertHeld();
  const auto [first, last] = by_flow_.equal_range(&flow);
  for (auto it = first; it != last; ++it) StartLeaving(*it->second);
}

void FlowOffload::Settle() {
  flows_.mutex().AssertHeld();
  for (auto& [number, offloading] : offloading_) {
    if (offloading.entries.empty()) continue;
    if (flows_.ClassifierOf(number)->profile()->header_id == offloading.key_id) continue;
    for (auto& [key, entry] : offloading.entries) StartLeaving(*entry);
  }
  if (leaving_ == 0) return;
  bool awaited = false;
  for (auto& [number, offloading] : offloading_) {
    for (auto it = offloading.entries.begin(); it != offloading.entries.end();) {
      Entry& entry = *it->second;
      if (!entry.leaving) {
        ++it;
        continue;
      }
      // For all programs at once.
      if (!std::exchange(awaited, true)) offloading.program->AwaitPrograms();
      CountOne(entry);
      offloading.program->Free(entry.place);
      const auto [first, last] = by_flow_.equal_range(entry.flow);
      by_flow_.erase(
          std::find_if(first, last, [&](const auto& one) { return one.second == &entry; }));
      it = offloading.entries.erase(it);
      --size_;
      --leaving_;
    }
  }
}

// ------------------------------------------------------------------ counting

void FlowOffload::Count() {
  flows_.mutex().AssertHeld();
  for (auto& [number, offloading] : offloading_) {
    for (auto& [key, entry] : offloading.entries) CountOne(*entry);
  }
}

void FlowOffload::CountOne(Entry& entry) {
  const XdpFlows::Counts counts = entry.in->program->CountsOf(entry.place);
  const std::uint64_t packets = counts.packets - entry.counted.packets;
  const std::uint64_t bytes = counts.bytes - entry.counted.bytes;
  entry.counted = counts;
  if (packets == 0) return;
  flows_.OffloadCountersOf(*entry.flow)
      .Hit(packets, bytes, static_cast<std::uint64_t>(clock_.NowMs()), counts.tcp_flags);
  received_.Add(packets);
  entry.in->port->offloaded.received.Add(packets, bytes);
  if (entry.out != nullptr) {
    transmitted_.Add(packets);
    entry.out->offloaded.transmitted.Add(packets, bytes);
  } else {
    drops_[static_cast<std::size_t>(entry.reason)].Add(packets);
  }
}

void FlowOffload::AddTo(Ledger& ledger) const {
  ledger.received += received_.Get();
  ledger.transmitted += transmitted_.Get();
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    ledger.drops[i] += drops_[i].Get();
    ledger.dropped += drops_[i].Get();
  }
}

}  // namespace pollux
