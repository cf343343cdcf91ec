// One list, the same packets, both executors: the fast one with all of them in a batch, the plain
// one with each alone. They must agree on every frame, on what is known of it, on where it ends and
// on how many copies were made.
#pragma once

#include <map>

#include "flow/extract.h"
#include "plain_executor.h"
#include "recording_host.h"

namespace pollux::test {

// What comes in. `l3_type` (host order) is not 0: without an Ethernet header, so it was
// recirculated.
struct Arrival {
  Frame frame;
  std::uint16_t l3_type = 0;
};

// Whether the order of packets matters for what happens to each: then run them one by one.
inline bool ThrowsDice(const ActionList& list) {
  for (const Action& action : list.actions()) {
    if (std::holds_alternative<SampleAction>(action)) return true;
    if (const auto* clone = std::get_if<CloneAction>(&action)) {
      if (ThrowsDice(*clone->actions)) return true;
    } else if (const auto* check = std::get_if<CheckLengthAction>(&action)) {
      if (ThrowsDice(*check->if_greater) || ThrowsDice(*check->otherwise)) return true;
    } else if (const auto* dec_ttl = std::get_if<DecTtlAction>(&action)) {
      if (ThrowsDice(*dec_ttl->expired)) return true;
    }
  }
  return false;
}

class BothExecutors {
 public:
  Flow KeyOf(const Arrival& arrival) {
    const PacketPtr packet = Make(arrival, 0);
    Miniflow key;
    ExtractMiniflow(*packet, key);
    return key.Expand();
  }

  // Where they differ first, in words; empty: nowhere.
  std::string Difference(const std::vector<Arrival>& arrivals, const ActionList& list,
                         std::uint32_t seed) {
    Outcome fast = Fast(arrivals, list, seed);
    Outcome plain = Plain(arrivals, list.attributes(), seed);
    const std::string what = "list " + Hex(list.attributes());
    if (!fast.misled.empty()) return what + "\nan offset misleads in " + fast.misled;
    for (std::uint32_t id = 0; id < arrivals.size(); ++id) {
      const auto& is = fast.events[id];
      const auto& should = plain.events[id];
      if (is == should) continue;
      const std::size_t at = static_cast<std::size_t>(
          std::mismatch(is.begin(), is.end(), should.begin(), should.end()).first - is.begin());
      const auto event = [at](const auto& events) {
        return at < events.size() ? events[at] : "nothing";
      };
      return what + "\nframe " + Hex(arrivals[id].frame) + " type " +
             std::to_string(arrivals[id].l3_type) + "\nfast:  " + event(is) +
             "\nplain: " + event(should);
    }
    if (fast.copies != plain.copies) {
      return what + "\nfast made " + std::to_string(fast.copies) + " copies, plain " +
             std::to_string(plain.copies);
    }
    return pool_.held() == 0 ? "" : what + "\npackets are left";
  }

 private:
  using Events = std::map<std::uint32_t, std::vector<std::string>>;  // By packet.
  struct Outcome {
    Events events;
    std::size_t copies = 0;
    std::string misled;
  };

  // Any numbers, the same for both.
  class Dice {
   public:
    explicit Dice(std::uint32_t seed) : state_(seed) {}
    std::uint32_t operator()() {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      return static_cast<std::uint32_t>(state_ >> 32);
    }

   private:
    std::uint64_t state_;
  };

  static std::string Hex(Bytes bytes) {
    std::string text;
    for (const std::uint8_t byte : bytes) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

  PacketPtr Make(const Arrival& arrival, std::uint32_t id) {
    PacketPtr packet = pool_.Allocate(static_cast<std::uint32_t>(arrival.frame.size()));
    std::copy(arrival.frame.begin(), arrival.frame.end(), packet->data);
    packet->in_port = PortNumber{id};  // Tells it and its copies from others.
    packet->l3_type = ToBe16(arrival.l3_type);
    packet->recirc_id = arrival.l3_type != 0 ? 7 : 0;
    Miniflow key;
    ExtractMiniflow(*packet, key);
    return packet;
  }

  static PlainPacket PlainOf(const Packet& packet) {
    PlainPacket plain;
    plain.bytes.assign(packet.data, packet.data + packet.size);
    plain.l3_type = FromBe16(packet.l3_type);
    plain.priority = packet.skb_priority;
    plain.mark = packet.skb_mark;
    plain.hash = packet.dp_hash;
    plain.recirc_id = packet.recirc_id;
    if (packet.has_tunnel) plain.tunnel = packet.tunnel();
    return plain;
  }

  Outcome Fast(const std::vector<Arrival>& arrivals, const ActionList& list, std::uint32_t seed) {
    Outcome outcome;
    RecordingHost host(pool_, [&](const std::string& what, const Packet& packet) {
      const PlainPacket plain = PlainOf(packet);
      outcome.events[static_cast<std::uint32_t>(packet.in_port)].push_back(what + " " +
                                                                           plain.Text());
      // The offsets lead where the headers are now, behind however many tags, or nowhere.
      const PlainView view(plain, SIZE_MAX);
      const auto is = [](std::uint16_t offset, std::size_t expected) {
        return offset == Packet::kNoOffset || offset == expected;
      };
      if (!is(packet.l3_offset, view.l3) || !is(packet.l4_offset, view.l4))
        outcome.misled = outcome.events[static_cast<std::uint32_t>(packet.in_port)].back();
    });
    host.dice = Dice(seed);
    // No list pushes more bytes than it has.
    host.guarded = list.attributes().size() <= PacketPool::kHeadroom;
    PacketBatch batch;
    for (const Arrival& arrival : arrivals) {
      batch.Add(Make(arrival, static_cast<std::uint32_t>(batch.size())));
      if (host.guarded) Guard(*batch[batch.size() - 1]);
    }
    ExecuteActions(host, std::move(batch), list);
    outcome.copies = host.copied;
    return outcome;
  }

  Outcome Plain(const std::vector<Arrival>& arrivals, Bytes list, std::uint32_t seed) {
    Outcome outcome;
    for (std::uint32_t id = 0; id < arrivals.size(); ++id) {
      PlainExecutor plain(
          Dice(seed), [&](const PlainPacket& packet, std::uint32_t algorithm, std::uint32_t basis) {
            const PacketPtr fresh = Make({packet.bytes, packet.l3_type}, 0);
            Apply(HashAction{HashAction::Algorithm{static_cast<std::uint8_t>(algorithm)}, basis},
                  *fresh);
            return fresh->dp_hash;
          });
      PlainPacket packet;
      packet.bytes = arrivals[id].frame;
      packet.l3_type = arrivals[id].l3_type;
      packet.recirc_id = packet.l3_type != 0 ? 7 : 0;
      plain.Run(PlainExecutor::Arrived(packet), list);
      outcome.events[id] = std::move(plain.events);
      outcome.copies += plain.copies;
    }
    return outcome;
  }

  PacketPool pool_;
};

}  // namespace pollux::test
