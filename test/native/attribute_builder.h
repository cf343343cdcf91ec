// Netlink attributes for tests, one after the other:
//
//   A().Port(1).Type(0x8100).Vlan(0x1005).Encap(A().Type(0x0800).Ipv4(17))
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "flow/netlink.h"
#include "flow/ovs_attributes.h"
#include "packet/headers.h"

namespace pollux::test {

using Blob = std::vector<std::uint8_t>;

template <typename T>
Blob BlobOf(const T& value) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  return Blob(bytes, bytes + sizeof value);
}

class A {
 public:
  A& Add(std::uint16_t type, Bytes payload) {
    AppendAttribute(bytes_, type, payload);
    return *this;
  }
  template <typename T>
  A& Put(std::uint16_t type, const T& value) {
    return Add(type, Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value));
  }
  A& Be16(std::uint16_t type, std::uint16_t host) { return Put(type, ToBe16(host)); }
  A& Nest(std::uint16_t type, const A& inside) { return Add(type, inside.bytes_); }
  // All of another list's.
  A& Append(const A& other) {
    bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end());
    return *this;
  }

  A& Port(std::uint32_t port = 1) { return Put(OVS_KEY_ATTR_IN_PORT, port); }
  A& Type(std::uint16_t type) { return Be16(OVS_KEY_ATTR_ETHERTYPE, type); }
  A& Vlan(std::uint16_t tci) { return Be16(OVS_KEY_ATTR_VLAN, tci); }
  A& Encap(const A& inside) { return Nest(OVS_KEY_ATTR_ENCAP, inside); }
  A& Ipv4(std::uint8_t proto = 0, std::uint8_t frag = 0, std::uint32_t src = 0) {
    return Put(OVS_KEY_ATTR_IPV4, ovs_key_ipv4{src, 0, proto, 0, 0, frag});
  }
  A& Ipv6(std::uint8_t proto = 0, std::uint8_t frag = 0, std::uint32_t label = 0) {
    ovs_key_ipv6 ip{};
    ip.ipv6_proto = proto;
    ip.ipv6_frag = frag;
    ip.ipv6_label = ToBe32(label);
    return Put(OVS_KEY_ATTR_IPV6, ip);
  }
  A& Pair(std::uint16_t type, std::uint16_t src = 0, std::uint16_t dst = 0) {
    return Put(type, ovs_key_tcp{ToBe16(src), ToBe16(dst)});
  }
  A& Icmp(std::uint16_t type, std::uint8_t icmp_type, std::uint8_t code) {
    return Put(type, ovs_key_icmp{icmp_type, code});
  }
  A& Nd(std::uint8_t byte = 0) { return Add(OVS_KEY_ATTR_ND, Blob(sizeof(ovs_key_nd), byte)); }
  A& PacketType(std::uint16_t name_space, std::uint16_t id) {
    return Put(kKeyAttrPacketType, ToBe32(std::uint32_t{name_space} << 16 | id));
  }
  A& Mpls(std::initializer_list<std::uint32_t> entries) {
    Blob bytes;
    for (const std::uint32_t entry : entries) {
      const Blob one = BlobOf(ToBe32(entry));
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    return Add(OVS_KEY_ATTR_MPLS, bytes);
  }

  const Blob& blob() const { return bytes_; }
  operator Bytes() const { return bytes_; }  // NOLINT: implicit by design.

 private:
  Blob bytes_;
};

inline Match Decoded(Bytes key, Bytes mask = {}) {
  Result<Match> match = DecodeMatch(key, mask);
  if (!match.ok()) FAIL("refused: " << match.error().message);
  return *match;
}

inline void CheckError(const Error& error, const std::string& why) {
  CAPTURE(why);
  CHECK(error.number == EINVAL);
  CAPTURE(error.message);
  CHECK(error.message.find(why) != std::string::npos);
}
inline void CheckRefused(Bytes key, Bytes mask, const std::string& why) {
  CAPTURE(why);
  const Result<Match> match = DecodeMatch(key, mask);
  REQUIRE_FALSE(match.ok());
  CheckError(match.error(), why);
}

// The payload of an attribute, in whatever "encap"; nothing if it is not there.
inline std::optional<Blob> PayloadOf(Bytes attributes, std::uint16_t type) {
  AttributeReader reader(attributes);
  std::optional<Blob> found;
  while (reader.Next()) {
    if (reader.type() == type) found = Blob(reader.payload().begin(), reader.payload().end());
    if (reader.type() != OVS_KEY_ATTR_ENCAP || found.has_value()) continue;
    found = PayloadOf(reader.payload(), type);
  }
  return found;
}

}  // namespace pollux::test
