// ExecuteActions: runs an action list over a batch of packets of one flow.
//
// What needs the forwarding context (ports, the upcall queue, counters, memory) is asked of a host:
// a floor above supplies it and this one names what it must offer. Every packet handed in ends with
// the host: sent, parked or dropped.
#pragma once

#include <concepts>
#include <utility>

#include "actions/action_list.h"
#include "actions/rewrite.h"
#include "packet/drop_reason.h"

namespace pollux {

template <typename Host>
concept ActionHost = requires(Host& host, PacketBatch batch, const PacketBatch& original,
                              PortNumber port, const UserspaceAction& userspace,
                              DropReason reason) {
  { host.Output(std::move(batch), port) } -> std::same_as<void>;
  { host.Upcall(std::move(batch), userspace) } -> std::same_as<void>;
  { host.Drop(std::move(batch), reason) } -> std::same_as<void>;
  { host.Clone(original) } -> std::same_as<PacketBatch>;
};

// Applies one rewriting action to all packets; those it cannot be applied to are dropped.
template <ActionHost Host>
void Rewrite(Host& host, PacketBatch& batch, const Action& action) {
  PacketBatch kept;
  PacketBatch failed;
  for (Packet* packet : batch) {
    bool done = true;
    if (const auto* set = std::get_if<SetAction>(&action)) {
      ApplySet(*set, *packet);  // A broken packet without the header goes on unchanged.
    } else if (const auto* push = std::get_if<PushVlanAction>(&action)) {
      done = PushVlan(push->tag, *packet);
    } else if (std::holds_alternative<PopVlanAction>(action)) {
      done = PopVlan(*packet);
    }
    (done ? kept : failed).AddRaw(packet);
  }
  batch.Release();
  if (!failed.empty()) host.Drop(std::move(failed), DropReason::kRewrite);
  batch = std::move(kept);
}

template <ActionHost Host>
void ExecuteActions(Host& host, PacketBatch batch, const ActionList& list) {
  const std::span<const Action> actions = list.actions();
  if (actions.empty()) {
    host.Drop(std::move(batch), DropReason::kAction);
    return;
  }
  for (std::size_t i = 0; i < actions.size() && !batch.empty(); ++i) {
    const bool last = i + 1 == actions.size();
    // The last user of a packet takes it; others get a copy.
    if (const auto* output = std::get_if<OutputAction>(&actions[i])) {
      if (last) return host.Output(std::move(batch), output->port);
      host.Output(host.Clone(batch), output->port);
    } else if (const auto* userspace = std::get_if<UserspaceAction>(&actions[i])) {
      if (last) return host.Upcall(std::move(batch), *userspace);
      host.Upcall(host.Clone(batch), *userspace);
    } else {
      Rewrite(host, batch, actions[i]);
    }
  }
  if (!batch.empty()) host.Drop(std::move(batch), DropReason::kNoOutput);
}

}  // namespace pollux
