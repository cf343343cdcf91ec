// Action lists for tests and fuzzers, as netlink attributes:
//
//   Actions().PushVlan(5).Output(1).PopVlan().Clone(Actions().Output(2))
#pragma once

#include <linux/openvswitch.h>

#include <cstdint>
#include <vector>

#include "flow/attributes.h"
#include "flow/ovs_attributes.h"
#include "packet/headers.h"

namespace pollux::test {

class Actions {
 public:
  Actions() = default;
  explicit Actions(Bytes bytes) : bytes_(bytes.begin(), bytes.end()) {}

  Actions& Raw(std::uint16_t type, Bytes payload) {
    AppendAttribute(bytes_, type, payload);
    return *this;
  }
  template <typename T>
  Actions& Put(std::uint16_t type, const T& value) {
    return Raw(type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
  }
  Actions& Append(const Actions& other) {
    bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end());
    return *this;
  }

  Actions& Output(std::uint32_t port) { return Put(OVS_ACTION_ATTR_OUTPUT, port); }
  Actions& Userspace(const Actions& inside = {}) { return Raw(OVS_ACTION_ATTR_USERSPACE, inside); }
  Actions& Recirc(std::uint32_t id) { return Put(OVS_ACTION_ATTR_RECIRC, id); }
  Actions& Drop(std::uint32_t reason = 0) { return Put(kDropAction, reason); }
  Actions& Trunc(std::uint32_t max_length) { return Put(OVS_ACTION_ATTR_TRUNC, max_length); }
  Actions& Hash(std::uint32_t algorithm, std::uint32_t basis) {
    return Put(OVS_ACTION_ATTR_HASH, ovs_action_hash{algorithm, basis});
  }

  Actions& Clone(const Actions& inside) { return Raw(OVS_ACTION_ATTR_CLONE, inside); }
  Actions& Sample(std::uint32_t probability, const Actions& inside) {
    return Raw(OVS_ACTION_ATTR_SAMPLE, Actions()
                                           .Put(OVS_SAMPLE_ATTR_PROBABILITY, probability)
                                           .Raw(OVS_SAMPLE_ATTR_ACTIONS, inside));
  }
  Actions& CheckLength(std::uint16_t length, const Actions& greater, const Actions& otherwise) {
    return Raw(OVS_ACTION_ATTR_CHECK_PKT_LEN,
               Actions()
                   .Put(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN, length)
                   .Raw(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER, greater)
                   .Raw(OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL, otherwise));
  }
  Actions& DecTtl(const Actions& expired = {}) {
    return Raw(OVS_ACTION_ATTR_DEC_TTL, Actions().Raw(OVS_DEC_TTL_ATTR_ACTION, expired));
  }

  template <typename T>
  Actions& Set(std::uint16_t field, const T& value) {
    return Raw(OVS_ACTION_ATTR_SET, Actions().Put(field, value));
  }
  template <typename T>
  Actions& SetMasked(std::uint16_t field, const T& value, const T& mask) {
    struct Both {
      T value;
      T mask;
    };
    static_assert(sizeof(Both) == 2 * sizeof(T));
    return Raw(OVS_ACTION_ATTR_SET_MASKED, Actions().Put(field, Both{value, mask}));
  }

  Actions& PushVlan(std::uint16_t vid = 5, std::uint16_t tpid = 0x8100, std::uint8_t pcp = 0) {
    return Put(OVS_ACTION_ATTR_PUSH_VLAN,
               ovs_action_push_vlan{ToBe16(tpid),
                                    ToBe16(static_cast<std::uint16_t>(pcp << 13 | 0x1000 | vid))});
  }
  Actions& PopVlan() { return Raw(OVS_ACTION_ATTR_POP_VLAN, {}); }
  Actions& PushMpls(std::uint32_t entry, std::uint16_t type = 0x8847) {
    return Put(OVS_ACTION_ATTR_PUSH_MPLS, ovs_action_push_mpls{ToBe32(entry), ToBe16(type)});
  }
  Actions& PopMpls(std::uint16_t type) { return Put(OVS_ACTION_ATTR_POP_MPLS, ToBe16(type)); }
  // `flags`: 1 behind Ethernet, 0 in front of it.
  Actions& AddMpls(std::uint32_t entry, std::uint16_t flags, std::uint16_t type = 0x8847) {
    return Put(OVS_ACTION_ATTR_ADD_MPLS, ovs_action_add_mpls{ToBe32(entry), ToBe16(type), flags});
  }
  Actions& PushEth(const ovs_key_ethernet& addresses = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}) {
    return Put(OVS_ACTION_ATTR_PUSH_ETH, ovs_action_push_eth{addresses});
  }
  Actions& PopEth() { return Raw(OVS_ACTION_ATTR_POP_ETH, {}); }
  // Metadata: of type 1 sixteen bytes, of type 2 as many as there are.
  Actions& PushNsh(const ovs_nsh_key_base& base, Bytes metadata) {
    const bool type1 = base.mdtype == 1;
    return Raw(
        OVS_ACTION_ATTR_PUSH_NSH,
        Actions().Raw(OVS_KEY_ATTR_NSH,
                      Actions()
                          .Put(OVS_NSH_KEY_ATTR_BASE, base)
                          .Raw(type1 ? OVS_NSH_KEY_ATTR_MD1 : OVS_NSH_KEY_ATTR_MD2, metadata)));
  }
  Actions& PopNsh() { return Raw(OVS_ACTION_ATTR_POP_NSH, {}); }

  static constexpr std::uint16_t kDropAction = 24;

  operator Bytes() const { return bytes_; }  // NOLINT: implicit by design.
  std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::uint8_t> bytes_;
};

}  // namespace pollux::test
