// FlowOffload: which flows the XDP programs of ports forward by themselves, and why that is right.
//
// A port that was asked to (`offloadFlows`) has its packets sampled (forwarding/flow_sampler.h).
// Control counts the samples by key, and what is hot, and simple enough, is entered into the port's
// program (netdev/xdp_flows.h): flows that drop, or output to one port with an interface of its own
// that takes redirected frames. Everything else stays in user space, and so does a hot flow until
// it is entered and after it has left.
//
// An entry is for a key, a packet under K, the union of what the port's flows look at. It is as
// right as an entry of the exact-match cache (classifier/port_profile.h), for the same reason: all
// packets with the key are packets of the flow. It is stricter in that it does not outlive what it
// was made from:
//
//   - a flow that is deleted, evicted, idle or given other actions: the table tells (FlowCopies)
//     before;
//   - K that changes, since a flow came that looks at more, say: the table has us look at the end
//     of each change, and all entries of the port leave. The next program has another mask;
//   - a port, in or out, that is deleted, renumbered, down, gone or moved, or whose MTU shrinks, or
//     whose far end no longer takes redirected frames: control tells, or looks once a second;
//   - a flow that has cooled down.
//
// Whoever makes an entry leave holds the flow mutex, has the kernel delete it, and waits until no
// program is under way that found it: once for all entries of a change, tens of milliseconds. What
// the entry counted is then added to the flow's statistics, the ports' and the ledger, exactly.
// Without entries, none of this costs anything.
//
// Statistics are brought up to date whenever somebody asks, and once a second, so that a flow the
// program forwards is in use. A frame that a program forwarded was received and transmitted (or
// dropped); that is all one can know.
//
// Ports and candidates are control's own. Programs and their entries are guarded by the flow mutex:
// control makes entries, whoever puts, deletes or shows flows has them leave and counts them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "classifier/flow_copies.h"
#include "classifier/flow_table.h"
#include "datapath/port.h"
#include "forwarding/counters.h"
#include "forwarding/flow_sampler.h"
#include "netdev/af_xdp/xdp_flows.h"

namespace pollux {

class FlowOffload final : public FlowCopies {
 public:
  FlowOffload(FlowTable& flows, const Clock& clock, PacketPool& pool);
  ~FlowOffload() override;

  // Samplers for the queues of a port that is to have its flows offloaded above so many packets a
  // second.
  static std::vector<std::unique_ptr<FlowSampler>> MakeSamplers(std::uint32_t packets_per_second,
                                                                std::size_t queues);

  // --- Control.

  // The port is in use, under its number; it stays until RemovePort().
  void AddPort(Port& port);
  // No program knows the port any more, as a source or as a target.
  void RemovePort(const Port& port);
  // Nothing is forwarded to it for now. `from_it`: nor from it, and its program is another one
  // from now on.
  void LeavePort(const Port& port, bool from_it);
  // Enters what is hot; now and then, lets go of what is not any more. Every tick.
  void Tick();

  // --- Any thread.

  // What programs forwarded up to the last Count().
  void AddTo(Ledger& ledger) const;

  // --- FlowCopies.

  bool Has(const Megaflow& flow) const override;
  void Leave(const Megaflow& flow) override;
  void Settle() override;
  void Count() override;

 private:
  struct Offloading;
  struct Entry {
    Offloading* in = nullptr;
    Port* out = nullptr;  // Null: dropped, for this reason.
    DropReason reason = DropReason::kAction;
    const Megaflow* flow = nullptr;
    HeaderKey key{};
    XdpFlows::Entry place = 0;
    XdpFlows::Counts counted;
    std::uint64_t counted_at_review = 0;
    int cold_reviews = 0;
    bool leaving = false;
  };
  struct KeyHash {
    std::size_t operator()(const HeaderKey& key) const;
  };
  struct Candidate {
    double score = 0;  // Samples of late: each tick, an eighth is forgotten.
    FlowSampler::Header header{};
  };
  struct Known {
    Port* port = nullptr;
    // Whether it takes redirected frames; not set: to be asked.
    std::optional<bool> takes_frames;
    // Of a port whose flows are offloaded.
    KeyId scored_id = kNoKey;  // Of the profile that the keys of candidates are of.
    std::unordered_map<HeaderKey, Candidate, KeyHash> candidates;
  };
  // A port with a program for its flows.
  struct Offloading {
    Port* port = nullptr;
    std::shared_ptr<XdpFlows> program;
    KeyId key_id = kNoKey;  // Of the profile that the program's mask is of.
    std::unordered_map<HeaderKey, std::unique_ptr<Entry>, KeyHash> entries;
  };
  // What an entry is made from.
  struct Way {
    Port* out = nullptr;
    DropReason reason = DropReason::kAction;
    XdpFlows::Target target;
  };
  struct Mask {
    KeyId id;
    HeaderMask header;
  };

  std::optional<Mask> MaskOf(const Port& port);
  void Score(Known& known, const Mask& mask);
  std::vector<HeaderKey> HotKeys(Known& known) const;
  void Enter(Known& known, const Mask& mask, const std::vector<HeaderKey>& keys);
  // The port's program for the mask; nullptr: there is none.
  Offloading* ProgramFor(const Known& known, const Mask& mask);
  void EnterOne(Offloading& offloading, const PortProfile& profile, const HeaderKey& key,
                const FlowSampler::Header& header) REQUIRES(flows_.mutex());
  Megaflow* FlowOf(const Port& port, const FlowSampler::Header& header);
  std::optional<Way> WayOf(const ActionList& actions);
  bool TakesFrames(Known& known) const;
  void Review();

  template <typename Which>
  void LeaveIf(Which which) REQUIRES(flows_.mutex());
  void StartLeaving(Entry& entry) REQUIRES(flows_.mutex());
  void CountOne(Entry& entry) REQUIRES(flows_.mutex());

  FlowTable& flows_;
  const Clock& clock_;
  PacketPool& pool_;

  // Control's own.
  std::map<PortNumber, Known> known_;
  std::int64_t next_review_ns_ = 0;

  std::map<PortNumber, Offloading> offloading_ GUARDED_BY(flows_.mutex());
  std::unordered_multimap<const Megaflow*, Entry*> by_flow_ GUARDED_BY(flows_.mutex());
  std::size_t leaving_ GUARDED_BY(flows_.mutex()) = 0;

  Counter received_;
  Counter transmitted_;
  std::array<Counter, kDropReasons> drops_;
};

}  // namespace pollux
