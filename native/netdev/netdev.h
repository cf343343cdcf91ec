// Netdev: a device that packets come from and go to. Rxq: one of its receive queues.
//
// A driver is a file, <kind>_netdev.cc, with no header: it offers a factory, listed in the table of
// types in netdev.cc. What it is made of stands beside it, and a driver of several files has a
// folder. What drivers ask of the kernel, and packets do not come into, is in kernel/.
//
// Who calls what. Control opens and destroys a netdev; destruction closes the device and returns
// only when it is closed. A receive queue is polled by one thread at a time; Send() is called by
// any number of forwarding threads at once, each with a sender of its own, and a driver that shares
// something among senders locks inside, once a batch. Nobody polls or sends while or after the
// netdev is destroyed: the acknowledged reload sees to that.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/background.h"
#include "base/result.h"
#include "kernel/link_state.h"
#include "netdev/generator.h"
#include "netdev/rx_errors.h"
#include "packet/drop_reason.h"
#include "packet/offload.h"
#include "packet/packet.h"

namespace pollux {

class HeaderMask;
class XdpFlows;

// What a user asks for. Fields that a type does not use are ignored by it.
struct NetdevSpec {
  std::string type;    // "memory", "null", "af_packet", "af_xdp", "tap", "pcap".
  std::string name;    // The port's name.
  std::string device;  // The interface; empty: same as name.
  std::string netns;   // Where it is, a path; empty: in the process's own network namespace.
  bool wait = false;   // af_packet, af_xdp: the interface may come later.
  std::uint32_t rxqs = 1;
  std::uint32_t mtu = 0;  // Bytes above Ethernet; 0: leave as it is.
  std::string mode;       // af_xdp: "best", "zerocopy", "native", "generic"; empty: best.
  // af_xdp: flows with more packets a second may be forwarded by the XDP program; 0: none.
  std::uint32_t offload_flows_above = 0;
  bool busy_poll = false;          // af_xdp: the thread that polls does the driver's work, too.
  std::uint32_t queue_length = 0;  // memory: frames a queue holds; 0: the type's default.
  bool host_stack = false;         // af_packet: what arrives enters the host's own stack, too.
  // af_packet, af_xdp: what is sent is seen by the host's taps; it never goes through the
  // interface's qdisc; the interface takes frames for any address.
  bool visible = false;
  bool qdisc_bypass = false;
  bool promiscuous = true;
  // null: a source of frames.
  bool generate = false;
  GeneratorSpec generator;
  std::uint64_t generate_limit = 0;  // Frames in all; 0: endless.
  // pcap: capture files, "-" for standard input and output; either may be empty.
  std::string read;
  std::string write;
  bool loop = false;   // What is read is repeated,
  bool paced = false;  // and at the pace of its time stamps.
  std::optional<std::uint32_t>
      numa;  // Where the device is; default: what the kernel says, else node 0.
  std::uint32_t open_delay_ms = 0;  // memory: a device that is slow to open, for tests.
};

// What became of a batch handed to Send(). Every packet is in exactly one of the counts.
struct SendResult {
  std::uint32_t packets = 0;  // Accepted by the device.
  // What the wire sees of those: more packets where there were GSO frames.
  std::uint32_t wire_packets = 0;
  std::uint64_t bytes = 0;

  void Accept(const Packet& packet) {
    ++packets;
    if (!packet.is_gso()) [[likely]] {
      ++wire_packets;
      bytes += packet.size;
    } else {
      const WireSize wire = OnWire(packet);
      wire_packets += wire.packets;
      bytes += wire.bytes;
    }
  }

  void Accept(const PacketBatch& batch) {
    std::uint64_t sizes = 0;
    Offloads offloads = 0;
    for (const Packet* packet : batch) {
      sizes += packet->size;
      offloads |= packet->offloads;
    }
    if ((offloads & kOffloadGso) != 0) [[unlikely]] {
      for (const Packet* packet : batch) Accept(*packet);
      return;
    }
    packets += static_cast<std::uint32_t>(batch.size());
    wire_packets += static_cast<std::uint32_t>(batch.size());
    bytes += sizes;
  }

  void Drop(DropReason reason, std::uint32_t n = 1) {
    if (!has_drops_) dropped_.fill(0);
    has_drops_ = true;
    dropped_[static_cast<std::size_t>(reason)] += n;
  }
  std::uint32_t dropped(DropReason reason) const {
    return has_drops_ ? dropped_[static_cast<std::size_t>(reason)] : 0;
  }

 private:
  bool has_drops_ = false;
  // Only filled in by the first drop: most batches have none, and clearing all the counts for each
  // batch would take as long as looking up one of its packets.
  std::array<std::uint32_t, kDropReasons> dropped_;
};

class Rxq {
 public:
  virtual ~Rxq() = default;
  // Appends packets until the batch is full or nothing waits. Never blocks. The caller owns what
  // was appended; in_port and offsets are the caller's to set.
  virtual void Recv(PacketBatch& batch) = 0;

  // How an idle thread waits for this queue: the descriptor becomes readable when packets wait. -1:
  // it must be asked.
  virtual int wait_fd() const { return -1; }
  // Before sleeping on wait_fd(). False: packets wait already, do not sleep.
  virtual bool Arm() { return true; }
  virtual void Disarm() {}

  // For settle(): frames handed in by the program and frames taken by Recv() so far. Queues of
  // kernel devices say 0 and 0.
  virtual std::uint64_t injected() const { return 0; }
  virtual std::uint64_t taken() const { return 0; }
};

class Netdev {
 public:
  virtual ~Netdev() = default;

  // What was really obtained: words, e.g. "tpacket-v2 vnet-hdr ingress-drop".
  virtual std::string mode() const = 0;
  virtual std::uint32_t numa() const { return 0; }
  virtual std::uint32_t mtu() const = 0;  // Bytes above Ethernet.
  // Whether a packet is short enough to be sent; by default FitsMtu().
  virtual bool Fits(const Packet& packet) const;
  virtual LinkState link() const { return LinkState::kUp; }
  // Of devices that are no interface of the kernel's: why link() is not kUp, in a sentence.
  virtual std::string fault() const { return {}; }
  // The kernel interface behind it, 0 if none; for the listener of link changes.
  virtual int ifindex() const { return 0; }
  // The interface with this device's name is there (again): bind to it anew. Called by the thread
  // that polls link changes, while others may send or poll.
  virtual Status Rebind(int /*ifindex*/) { return {}; }
  // The interface has gone to another network namespace, where it has this index. True: so has the
  // device, which works on.
  virtual bool Follow(int /*ifindex*/) { return false; }
  // What the listener of link changes learned about ifindex(). Same thread as Rebind().
  virtual void LinkChanged(int /*ifindex*/, LinkState /*state*/, std::uint32_t /*mtu*/) {}

  // When nobody polls or sends any more: closes the device. What the kernel takes long for, and
  // nobody needs to wait for, is returned, to be done on any thread while the pool is there.
  // Nothing but destruction may follow; without this call, that does it all.
  virtual Background::Work Close() { return {}; }

  // The listener heard of a change of qdiscs: whether there is one that decides when frames leave
  // (HasActingQdisc()). Nothing: nobody could be asked, all stays as it is, and Probe() asks. Same
  // thread as Rebind().
  virtual void QdiscChanged(std::optional<bool> /*acts*/) {}
  // Its frames go through the host's taps and qdisc now: none may be handed to the driver past
  // them.
  virtual bool sends_through_host() const { return false; }

  // About once a second, on the same thread: a look at what the kernel does not tell of.
  virtual void Probe() {}

  virtual std::span<const std::unique_ptr<Rxq>> rxqs() const = 0;

  // Has the device itself forward flows, with keys under this mask: none at first, and no longer
  // those it was given before. As NetdevSpec::offload_flows_above asks for it; nullptr: it cannot.
  // Same thread as Rebind(), after which it must be asked anew. What it so forwards is in none of
  // our counts.
  virtual std::shared_ptr<XdpFlows> OffloadFlows(const HeaderMask& /*mask*/) { return nullptr; }

  // What Send() takes unfinished. Packets that lack something else are finished before.
  virtual Offloads tx_offloads() const { return 0; }
  // Whether it takes GSO frames of tunnels by UDP whole at this moment, though tx_offloads() does
  // not have kOffloadUdpTunnel. Asked when there is one; by any number of threads.
  virtual bool TakesTunnel() const { return false; }
  // Takes every packet of the batch, sent or not. `sender` is the calling context's slot, 0..63.
  virtual void Send(std::uint32_t sender, PacketBatch& batch, SendResult& result) = 0;

  // Packets that wait in it for the program.
  virtual std::size_t held() const { return 0; }
  virtual NetdevStats stats() const = 0;
  // What was asked for and not obtained, and what is amiss with the interface: words, those of
  // src/ports/trouble.ts. Same thread as Probe().
  virtual std::vector<const char*> troubles() const { return {}; }
};

// A netdev that the program itself feeds and drains.
class MemoryNetdev : public Netdev {
 public:
  // Hands frames to queue `rxq` as if they had arrived; returns how many it took, the rest counts
  // as rx_dropped.
  virtual std::size_t Inject(std::uint32_t rxq,
                             std::span<const std::span<const std::uint8_t>> frames) = 0;
  // Removes up to `max` sent frames, oldest first, and appends them to `out`.
  virtual std::size_t Drain(std::size_t max, std::vector<PacketPtr>& out) = 0;
};

// For drivers: what a failed send on a kernel device means, and whether a frame is short enough for
// a device. VLAN tags (up to two) do not count towards the MTU.
DropReason SendErrorReason(int error);
bool FitsMtu(const Packet& packet, std::uint32_t mtu);

// One line of the table of types.
struct NetdevType {
  const char* name;
  bool pmd_by_default;
  bool is_interface;  // Of the kernel's: what becomes of it is listened for.
  // Empty: this build and machine can offer the type; else the reason why not.
  std::string (*unavailable)();
  Result<std::unique_ptr<Netdev>> (*open)(const NetdevSpec& spec, PacketPool& pool);
};

// What stands for an interface until it is there.
Result<std::unique_ptr<Netdev>> MakeAbsentNetdev(const NetdevSpec& spec);

std::span<const NetdevType> NetdevTypes();
// nullptr: there is no such type.
const NetdevType* FindNetdevType(const std::string& name);

}  // namespace pollux
