// ExecuteActions: runs an action list over a batch of packets of one flow.
//
// What needs the forwarding context (ports, the upcall queue, counters, memory) is asked of a host:
// a floor above supplies it and this one names what it must offer. Every packet handed in ends with
// the host: sent, parked, recirculated or dropped.
//
// A host that wants to watch offers Step(list, index, batch) as well. It is called before each
// action, of nested lists too, with the packets that are about to go through it; and with the index
// behind the last action, if packets are left there.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <utility>

#include "actions/action_list.h"
#include "actions/parting.h"
#include "actions/rewrite.h"
#include "packet/drop_reason.h"
#include "packet/offload.h"
#include "packet/segmenter.h"

namespace pollux {

template <typename Host>
concept ActionHost = requires(Host& host, PacketBatch batch, const PacketBatch& original,
                              PortNumber port, const UserspaceAction& userspace, DropReason reason,
                              std::uint32_t recirc_id, Segmenter& segmenter) {
  { host.Output(std::move(batch), port) } -> std::same_as<void>;
  { host.Upcall(std::move(batch), userspace) } -> std::same_as<void>;
  { host.Recirculate(std::move(batch), recirc_id) } -> std::same_as<void>;
  { host.Drop(std::move(batch), reason) } -> std::same_as<void>;
  // May have fewer packets than the original.
  { host.Clone(original) } -> std::same_as<PacketBatch>;
  // The next segments of a GSO frame; none if there is no memory for them, which ends it.
  { host.NextSegments(segmenter) } -> std::same_as<PacketBatch>;
  { host.Random() } -> std::same_as<std::uint32_t>;
};

// Some packets of a batch: bit i is packet i.
using PacketSet = std::uint32_t;
static_assert(kBatchSize == 32);

inline PacketSet FirstPackets(std::size_t n) {
  return n == kBatchSize ? ~PacketSet{0} : (PacketSet{1} << n) - 1;
}

// Bytes to be cut off each packet of a batch where it next leaves (trunc).
struct Cuts {
  bool pending = false;
  std::array<std::uint32_t, kBatchSize> bytes;  // Only if pending.
};

// One list over one batch. Whoever makes it owns the batch.
template <ActionHost Host>
class Execution {
 public:
  Execution(Host& host, PacketBatch& batch, Cuts& cuts) : host_(host), batch_(batch), cuts_(cuts) {}

  // The actions before `end`, which change packets and nothing else. Those that cannot be changed
  // leave the batch.
  void Change(const ActionList& list, std::size_t end) {
    for (std::size_t i = 0; i < end && !batch_.empty(); ++i)
      std::visit([&](const auto& action) { Do(action, false); }, list.actions()[i]);
  }

  // From action `first` on.
  void Run(const ActionList& list, std::size_t first = 0) {
    const std::span<const Action> actions = list.actions();
    for (std::size_t i = first; i < actions.size() && !batch_.empty(); ++i) {
      if (MayPart(actions[i]) && BeforePart(actions[i]) < batch_.size()) [[unlikely]]
        return RunInParts(list, i);
      Step(list, i);
      // The last user of a packet takes it; others get a copy.
      const bool last = i + 1 == actions.size();
      std::visit([&](const auto& action) { Do(action, last); }, actions[i]);
    }
    if (batch_.empty()) return;
    Step(list, actions.size());
    host_.Drop(std::move(batch_), actions.empty() ? DropReason::kAction : DropReason::kNoOutput);
  }

 private:
  void Step(const ActionList& list, std::size_t index) {
    if constexpr (requires { host_.Step(list, index, std::as_const(batch_)); })
      host_.Step(list, index, std::as_const(batch_));
  }

  PacketSet All() const { return FirstPackets(batch_.size()); }

  // ---- Where packets go.

  void Do(const OutputAction& output, bool last) { host_.Output(Leaving(last), output.port); }
  void Do(const UserspaceAction& userspace, bool last) { host_.Upcall(Leaving(last), userspace); }
  void Do(const RecircAction& recirc, bool last) {
    host_.Recirculate(last ? std::move(batch_) : host_.Clone(batch_), recirc.recirc_id);
  }
  void Do(const DropAction& drop, bool) { host_.Drop(std::move(batch_), drop.reason); }

  void Do(const TruncAction& trunc, bool) {
    cuts_.pending = true;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      const std::uint32_t size = OnWire(*batch_[i]).largest;
      cuts_.bytes[i] = size > trunc.max_length ? size - trunc.max_length : 0;
    }
  }

  // The packets, or copies of them, cut as they are to be.
  PacketBatch Leaving(bool last) {
    if (!cuts_.pending) [[likely]]
      return last ? std::move(batch_) : host_.Clone(batch_);
    Part leaving = last ? Take(All()) : Copy(All());
    for (std::size_t i = 0; i < leaving.packets.size(); ++i)
      Shorten(*leaving.packets[i], leaving.cuts.bytes[i]);
    return std::move(leaving.packets);
  }

  // ---- Nested lists.

  void Do(const CloneAction& clone, bool last) {
    Enter(*clone.actions, last ? Take(All()) : Copy(All()));
  }

  void Do(const SampleAction& sample, bool last) {
    PacketSet sampled = All();
    if (sample.probability != UINT32_MAX) {
      sampled =
          Where([&](const Packet&, std::uint32_t) { return host_.Random() < sample.probability; });
    }
    if (!last) return Enter(*sample.actions, Copy(sampled));
    Enter(*sample.actions, Take(sampled));
    if (!batch_.empty()) host_.Drop(std::move(batch_), DropReason::kSample);
  }

  // Packets that go the same way go together as far as their order allows.
  void Do(const CheckLengthAction& check, bool last) {
    PacketSet greater = Where([&](const Packet& packet, std::uint32_t cut) {
      return LengthOf(packet, cut) > check.length;
    });
    for (std::size_t at = 0, left = batch_.size(); left > 0;) {
      const bool is_greater = (greater & 1) != 0;
      const auto run = std::min<std::size_t>(
          left, static_cast<std::size_t>(std::countr_one(is_greater ? greater : ~greater)));
      Enter(is_greater ? *check.if_greater : *check.otherwise,
            last ? Take(FirstPackets(run)) : Copy(FirstPackets(run) << at));
      at += run;
      left -= run;
      greater = run == kBatchSize ? 0 : greater >> run;
    }
  }

  void Do(const DecTtlAction& dec_ttl, bool) {
    const PacketSet left =
        Where([](Packet& packet, std::uint32_t) { return !DecrementTtl(packet); });
    if (left == 0) [[likely]]
      return;
    Part part = Take(left);
    Execution expired(host_, part.packets, part.cuts);
    const PacketSet without = expired.Where([](Packet& p, std::uint32_t) { return !HasTtl(p); });
    if (without != 0) host_.Drop(expired.Take(without).packets, DropReason::kRewrite);
    expired.Enter(*dec_ttl.expired, expired.Take(expired.All()));
  }

  // ---- All others change packets.

  template <typename Change>
  void Do(const Change& change, bool) {
    constexpr DropReason kReason =
        std::same_as<Change, PopNshAction> ? DropReason::kNshDecap : DropReason::kRewrite;
    const PacketSet failed =
        Where([&](Packet& packet, std::uint32_t) { return !Apply(change, packet); });
    if (failed != 0) [[unlikely]]
      host_.Drop(Take(failed).packets, kReason);
  }

  // ---- GSO frames that an action cannot take whole.

  // How many packets stand before the first of those.
  std::size_t BeforePart(const Action& action) const {
    const auto must_part = [&](const Packet* packet) {
      return packet->is_gso() && MustPart(action, *packet);
    };
    return static_cast<std::size_t>(std::find_if(batch_.begin(), batch_.end(), must_part) -
                                    batch_.begin());
  }

  // The list from action `first` on, with segments in place of those frames; one after the other,
  // since the order must stay.
  void RunInParts(const ActionList& list, std::size_t first) {
    while (!batch_.empty()) {
      const std::size_t n = BeforePart(list.actions()[first]);
      if (n > 0) {
        Part whole = Take(FirstPackets(n));
        Execution(host_, whole.packets, whole.cuts).Run(list, first);
      } else {
        RunSegments(list, first, Take(1).packets);
      }
    }
  }

  // Nothing is to be cut off them: what trunc would cut is in parts since then.
  void RunSegments(const ActionList& list, std::size_t first, PacketBatch frame) {
    PacketPtr packet(frame[0]);
    frame.Release();
    Segmenter segmenter;
    if (!segmenter.Start(packet)) {
      frame.Add(std::move(packet));
      host_.Drop(std::move(frame), DropReason::kRewrite);
    }
    while (!segmenter.done()) {
      PacketBatch segments = host_.NextSegments(segmenter);
      Cuts none;
      Execution(host_, segments, none).Run(list, first);
    }
  }

  // ---- Parts of the batch.

  // The packets for which `predicate(packet, bytes to be cut off)` says yes.
  template <typename Predicate>
  PacketSet Where(Predicate predicate) {
    PacketSet found = 0;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      if (predicate(*batch_[i], cuts_.pending ? cuts_.bytes[i] : 0)) found |= PacketSet{1} << i;
    }
    return found;
  }

  struct Part {
    PacketBatch packets;
    Cuts cuts;
  };

  void Enter(const ActionList& list, Part part) {
    if (!part.packets.empty()) Execution(host_, part.packets, part.cuts).Run(list);
  }

  // Takes packets out of the batch. What is to be cut off them goes with them.
  Part Take(PacketSet which) {
    Part taken;
    PacketBatch rest;
    taken.cuts.pending = cuts_.pending;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      const bool mine = (which >> i & 1) != 0;
      PacketBatch& to = mine ? taken.packets : rest;
      if (cuts_.pending) (mine ? taken.cuts : cuts_).bytes[to.size()] = cuts_.bytes[i];
      to.AddRaw(batch_[i]);
    }
    batch_.Release();
    batch_ = std::move(rest);
    return taken;
  }

  // Copies packets of the batch. What is to be cut off goes with the copy.
  Part Copy(PacketSet which) {
    Part copy;
    if (!cuts_.pending) {
      CopyTo(copy.packets, which);
      return copy;
    }
    copy.cuts.pending = true;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      if ((which >> i & 1) == 0) continue;
      // One by one: there may be no memory for all of them.
      const std::size_t place = copy.packets.size();
      CopyTo(copy.packets, PacketSet{1} << i);
      const std::uint32_t cut = std::exchange(cuts_.bytes[i], 0);
      if (copy.packets.size() > place) copy.cuts.bytes[place] = cut;
    }
    return copy;
  }

  void CopyTo(PacketBatch& out, PacketSet which) {
    PacketBatch originals;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      if ((which >> i & 1) != 0) originals.AddRaw(batch_[i]);
    }
    PacketBatch copies = host_.Clone(originals);
    originals.Release();
    for (Packet* packet : copies) out.AddRaw(packet);
    copies.Release();
  }

  Host& host_;
  PacketBatch& batch_;
  Cuts& cuts_;
};

template <ActionHost Host>
void ExecuteActions(Host& host, PacketBatch batch, const ActionList& list) {
  Cuts cuts;
  Execution<Host>(host, batch, cuts).Run(list);
}

}  // namespace pollux
