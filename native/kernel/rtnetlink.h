// rtnetlink: what the kernel says of interfaces and their qdiscs when it is asked, and how its
// attributes are read. All of it is about the network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace pollux {

// Calls `each(type, value)` for the attributes that `bytes` holds, up to the first broken one.
template <typename Each>
void ForEachAttribute(std::span<const std::uint8_t> bytes, Each each) {
  constexpr std::size_t kHead = 4;
  while (bytes.size() >= kHead) {
    std::uint16_t size = 0;
    std::uint16_t type = 0;
    std::memcpy(&size, bytes.data(), sizeof size);
    std::memcpy(&type, bytes.data() + sizeof size, sizeof type);
    if (size < kHead || size > bytes.size()) return;
    constexpr std::uint16_t kFlags = 0xc000;  // NLA_F_NESTED, NLA_F_NET_BYTEORDER.
    each(static_cast<std::uint16_t>(type & ~kFlags), bytes.subspan(kHead, size - kHead));
    const std::size_t step = (size + 3u) & ~3u;
    if (step >= bytes.size()) return;
    bytes = bytes.subspan(step);
  }
}

// A value as an integer; 0 if it is too short for one.
template <typename T>
T NumberOf(std::span<const std::uint8_t> value) {
  T number = 0;
  if (value.size() >= sizeof number) std::memcpy(&number, value.data(), sizeof number);
  return number;
}
// A value as text, which ends where a NUL is.
inline std::string TextOf(std::span<const std::uint8_t> value) {
  const char* text = reinterpret_cast<const char*>(value.data());
  return {text, strnlen(text, value.size())};
}

struct LinkDetails {
  int index = 0;
  std::string name;
  std::string kind;       // "veth", "macvlan", …; empty for a card.
  bool takes_all = true;  // Frames for any address come in, if it is promiscuous.
  // The longest frames that the host's stack makes for it (GSO), and of what it receives (GRO).
  std::uint32_t max_gso = 0;
  std::uint32_t max_gro = 0;
};

// ENODEV: there is no such interface; EMFILE and the like: nobody could be asked.
Result<LinkDetails> DescribeLink(int ifindex);
// By its name, or one of those that it has besides, which may be longer.
Result<LinkDetails> FindLink(const std::string& name);
// Of all interfaces.
Result<std::vector<LinkDetails>> DescribeLinks();

// Whether somebody has put a qdisc on an interface that decides when frames leave, or which. That
// is any qdisc that has a handle: those that the kernel makes by itself (pfifo_fast, fq_codel or
// what net.core.default_qdisc says, below mq where there are several queues) have none. Of mq it is
// what stands below that counts; clsact counts, since its filters may drop and redirect. Nothing
// where nobody could be asked, or the answer is not whole.
std::optional<bool> HasActingQdisc(int ifindex);
// All interfaces of which that is so, in order.
std::optional<std::vector<int>> InterfacesWithActingQdisc();

}  // namespace pollux
