// Devices for tests, and frames to send through them.
//
//   PacketPool pool;
//   std::unique_ptr<Netdev> netdev = Open(Spec("af_packet", "v0"), pool);
//   CHECK(Send(*netdev, pool, {Frame(60, 1), Frame(1514, 2)}).packets == 2);
//   for (const Bytes& frame : Receive(*netdev->rxqs()[0], 10)) CHECK(NumberOf(frame) == next++);
//
// Frame() makes frames of any size that carry a number and are recognizable (IsOurs(), NumberOf()),
// so that a test can say which of them arrived, in what order, and that they are whole. Send() is a
// sending thread of the datapath in short, Receive() a polling one that sleeps when there is
// nothing. Interfaces of the kernel's, to open devices on, are in kernel_testbed.h.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "finished.h"
#include "netdev/netdev.h"

namespace pollux::test {

using Bytes = std::vector<std::uint8_t>;

inline std::uint32_t Dropped(const SendResult& result, DropReason reason) {
  return result.dropped(reason);
}

inline NetdevSpec Spec(const std::string& type, const std::string& name, std::uint32_t rxqs = 1) {
  NetdevSpec spec;
  spec.type = type;
  spec.name = name;
  spec.rxqs = rxqs;
  return spec;
}

inline Result<std::unique_ptr<Netdev>> TryOpen(const NetdevSpec& spec, PacketPool& pool) {
  return pollux::FindNetdevType(spec.type)->open(spec, pool);
}

inline std::unique_ptr<Netdev> Open(const NetdevSpec& spec, PacketPool& pool) {
  Result<std::unique_ptr<Netdev>> netdev = TryOpen(spec, pool);
  CHECK_MESSAGE(netdev.ok(), (netdev ? "" : netdev.error().message + "; " + netdev.error().hint));
  return netdev ? std::move(*netdev) : nullptr;
}

// Until ordinary frames go by an AF_XDP socket: a thread opens it, perhaps when one that was closed
// a moment ago has gone.
inline void AwaitXsk(Netdev& netdev) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (netdev.mode().find("xsk-tx") == std::string::npos &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    netdev.Probe();
  }
  CHECK(netdev.mode().find("xsk-tx") != std::string::npos);
}

// Frames as (destination, source, type, payload); the payload starts with a number.
inline Bytes Frame(std::size_t size, std::uint32_t number = 0) {
  Bytes frame(std::max<std::size_t>(size, 18));
  for (std::size_t i = 0; i < frame.size(); ++i) {
    frame[i] = static_cast<std::uint8_t>(i * 7 + number);
  }
  static constexpr std::uint8_t kHeader[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
  std::memcpy(frame.data(), kHeader, sizeof kHeader);
  std::memcpy(frame.data() + 14, &number, 4);
  frame.resize(size);
  return frame;
}
// Whether it is one of Frame()'s: the host chats on its interfaces, too.
inline bool IsOurs(const Bytes& frame) {
  return frame.size() >= 18 && frame[0] == 2 && frame[5] == 1 && frame[6] == 2;
}
inline std::uint32_t NumberOf(const Bytes& frame, std::size_t at = 14) {
  std::uint32_t number;
  std::memcpy(&number, frame.data() + at, 4);
  return number;
}
inline Bytes Of(const Packet& packet) { return {packet.data, packet.data + packet.size}; }

inline std::vector<std::span<const std::uint8_t>> Views(const std::vector<Bytes>& frames) {
  return {frames.begin(), frames.end()};
}

inline SendResult Send(Netdev& netdev, PacketPool& pool, const std::vector<Bytes>& frames) {
  SendResult result;
  PacketBatch batch;
  for (const Bytes& frame : frames) {
    batch.Add(pool.Copy(frame));
    if (batch.full()) netdev.Send(0, batch, result);
  }
  if (!batch.empty()) netdev.Send(0, batch, result);
  CHECK(batch.empty());
  return result;
}

// All frames of ours that arrive, finished, until there are `n`, or none came for five seconds;
// sleeping as a thread of the datapath would.
inline std::vector<Bytes> Receive(Rxq& rxq, std::size_t n, bool all = false) {
  std::vector<Bytes> frames;
  PacketPool pool;
  const auto patience = std::chrono::seconds(5);
  auto end = std::chrono::steady_clock::now() + patience;
  while (frames.size() < n && std::chrono::steady_clock::now() < end) {
    PacketBatch batch;
    rxq.Recv(batch);
    const bool nothing = batch.empty();
    for (Packet* packet : batch) {
      for (const PacketPtr& finished : Finished(pool, PacketPtr(packet))) {
        Bytes frame = Of(*finished);
        if (!all && !IsOurs(frame)) continue;
        frames.push_back(std::move(frame));
        end = std::chrono::steady_clock::now() + patience;
      }
    }
    batch.Release();
    if (nothing && rxq.wait_fd() >= 0 && rxq.Arm()) {
      pollfd wait{rxq.wait_fd(), POLLIN, 0};
      poll(&wait, 1, 100);
    }
    rxq.Disarm();
  }
  return frames;
}

inline bool IsReadable(int fd) {
  pollfd wait{fd, POLLIN, 0};
  return poll(&wait, 1, 0) == 1;
}

}  // namespace pollux::test
