// Known: what is certain of every packet of a flow at one place of its action list.
//
// It starts with the flow's match and follows the actions. An action is accepted only where it is
// certain that the packet has what the action needs; so a list cannot mean one thing for one packet
// and another for the next. Headers that come to light when others are popped, and those that
// disappear behind pushed ones, were not parsed where they are now: to change them, a list must
// recirculate.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "flow/netlink.h"

namespace pollux {

// What is looked at in a match: lists that are right for one match are right for all that are equal
// to it in this.
struct KnownMatch {
  struct Fields {
    Be32 packet_type = 0;
    Be16 eth_type = 0;
    Be16 icmpv6_type = 0;  // As in tp_src; 0 with other protocols.
    std::array<VlanTag, kMaxVlanTags> vlans{};
    std::uint8_t nw_proto = 0;
    std::uint8_t nw_frag = 0;
    std::uint8_t nsh_mdtype = 0;
    std::uint8_t nsh_np = 0;
    std::uint32_t pad = 0;

    Fields() = default;
    Fields(const Flow& flow, bool icmpv6);
    // A flow with what Layer3Of() and Layer4Of() look at.
    Flow Layers() const;
  };
  using Words = std::array<std::uint64_t, 2 * sizeof(Fields) / sizeof(std::uint64_t)>;

  explicit KnownMatch(const Match& match);
  Words words() const { return std::bit_cast<Words>(*this); }

  Fields key;
  Fields mask;
};

class Known {
 public:
  explicit Known(const KnownMatch& match);

  // --- Headers that come and go: EINVAL where that is not possible.

  Status PushVlan();
  Status PopVlan();
  Status PushMpls(Be16 ether_type, bool before_ethernet);
  Status PopMpls(Be16 ether_type);
  Status PushEth();
  Status PopEth();
  Status PushNsh(std::uint8_t mdtype);
  Status PopNsh();

  // --- Headers to be changed: EINVAL where it is not certain that they are there.

  Status NeedEthernet() const;
  Status NeedMpls() const;
  Status NeedNsh() const;
  Status NeedLayer3(Layer3 layer3) const;
  Status NeedIp() const;
  Status NeedLayer4(Layer4 layer4) const;
  Status NeedNd() const;
  // The type of an ICMPv6 header was changed.
  void SetIcmpv6Type(std::uint8_t type) { icmpv6_type_ = type; }

  // --- Fields that others are decoded by and that are known; nullopt: not.

  std::optional<std::uint8_t> protocol() const;
  std::optional<std::uint8_t> fragment() const;
  std::optional<std::uint8_t> nsh_mdtype() const { return nsh_mdtype_; }
  std::optional<std::uint8_t> nsh_np() const { return nsh_np_; }

 private:
  // What the packet starts with.
  enum class Start {
    kEthernet,
    kLayer3,   // Of type `type_`.
    kUnknown,  // What a popped NSH contained.
  };

  Status NeedStart() const;
  Status NeedParsed(const char* what) const;
  void ForgetLayers() { parsed_ = false; }
  void StartWith(Start start, std::optional<Be16> type);

  KnownMatch match_;
  Start start_ = Start::kEthernet;
  std::optional<Be16> type_;   // What follows the Ethernet header and tags.
  std::size_t tags_ = 0;       // So many tags, from the outermost on, are certainly there...
  bool no_more_tags_ = false;  // ... and certainly no more.
  bool parsed_ = true;         // Layer 3 and 4 are where the parser found them.
  std::optional<std::uint8_t> icmpv6_type_;
  std::optional<std::uint8_t> nsh_mdtype_;
  std::optional<std::uint8_t> nsh_np_;
};

}  // namespace pollux
