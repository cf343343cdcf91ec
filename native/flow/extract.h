// ExtractMiniflow: the one parser from bytes to flow key.
#pragma once

#include "flow/flow.h"

namespace pollux {

// Fills `key` with every field found in the packet and with what is known of it (in_port,
// recirc_id, dp_hash, skb_mark, skb_priority, packet type, tunnel), and sets the packet's layer
// offsets. Reads nothing outside the frame and nothing behind the length that a valid IP header
// states: Ethernet padding is never parsed. A layer whose header does not fit or contradicts itself
// is left out, with all above it: broken layer 3 leaves Ethernet and tags; behind an IPv6 extension
// header that does not fit there is no layer 4, and its number is the protocol; a later fragment
// has no layer 4; TCP needs a sane data offset. Behind MPLS labels and a network service header
// nothing is parsed; they are no layer 3 and have no offset. A frame with an Ethernet header
// (l3_type 0) is at least kMinFrame long.
void ExtractMiniflow(Packet& packet, Miniflow& key);

}  // namespace pollux
