// Network service headers as attributes (OVS_NSH_KEY_ATTR_*, inside of OVS_KEY_ATTR_NSH or of a
// push_nsh).
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "flow/attributes.h"
#include "flow/flow.h"

namespace pollux {

// For push_nsh(…): a whole header.
struct PushedNsh {
  NshFields fields;                    // context: only if mdtype is 1.
  std::vector<std::uint8_t> metadata;  // Only if mdtype is 2: at most 244 bytes, a multiple of 4.
};
// EINVAL with a sentence: unknown, doubled or broken attribute, wrong length, a value that its
// field has no room for, no base, metadata of a type that the base does not state.
Result<PushedNsh> DecodeNsh(Bytes attributes);

// For matches and for set(nsh(…)): fields with their masks. Fields that are not there: zero.
struct NshMatch {
  NshFields key;  // Not masked.
  NshFields mask;
};
// Key and mask in lists of their own; with no mask at all, whatever is in the key is exact. The
// mask of flags and ttl is canonical: 0xff when all bits they have on the wire are matched. The
// context can be matched where mdtype is, exactly, 1.
Result<NshMatch> DecodeNshMatch(Bytes key, std::optional<Bytes> mask);
// Each attribute holds the value and behind it its mask, as in set_masked.
Result<NshMatch> DecodeMaskedNsh(Bytes attributes);

// The attributes that `mask` looks at, filled with `values`.
std::vector<std::uint8_t> EncodeNsh(const NshFields& mask, const NshFields& values);

}  // namespace pollux
