// Tunnel metadata as attributes (OVS_TUNNEL_KEY_ATTR_*, inside of OVS_KEY_ATTR_TUNNEL).
//
// An attribute that is missing is a field that is zero. Two things are said by presence alone: a
// flag (don't fragment, checksum, OAM) is an attribute without payload, and "there is a key" is an
// attribute ID. In a mask, presence says that the flag is matched, so key and mask may have
// different attributes: a mask that has what the key lacks matches zero.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "flow/attributes.h"
#include "flow/flow.h"
#include "packet/tunnel.h"

namespace pollux {

// For set(tunnel(…)). EINVAL with a sentence: unknown, doubled or broken attribute, wrong length,
// Geneve options that do not end where the attribute does, an ERSPAN version that is not 1 or 2.
Result<TunnelMetadata> DecodeTunnel(Bytes attributes);
std::vector<std::uint8_t> EncodeTunnel(const TunnelMetadata& tunnel);

struct TunnelMatch {
  TunnelMetadata key;  // Not masked.
  TunnelMetadata mask;
};
// With no mask at all everything is matched, whether there is an attribute or not. If the mask has
// Geneve options, their number and lengths are matched exactly; if it has ERSPAN fields, so is the
// version.
Result<TunnelMatch> DecodeTunnelMatch(Bytes key, std::optional<Bytes> mask);
// Only fields that the mask looks at. The second one: filled with the mask's bits.
std::vector<std::uint8_t> EncodeTunnelKey(const TunnelMetadata& key, const TunnelMetadata& mask);
std::vector<std::uint8_t> EncodeTunnelMask(const TunnelMetadata& key, const TunnelMetadata& mask);

}  // namespace pollux
