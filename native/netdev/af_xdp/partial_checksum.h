// Partial checksums that nobody tells of.
//
// A sender on the same machine leaves the checksum of TCP and UDP to the card: the field holds the
// sum of the pseudo-header, and a flag beside the frame says so. An AF_XDP socket gets the frame
// without the flag. So the field is compared with that sum: if they are equal, the packet is noted
// to have a partial checksum, as if we had been told. A checksum that is complete, right, and equal
// to that sum by chance will come out as it was when it is finished; a wrong one that is equal by
// chance (one in 65,536 of the damaged ones) will come out right. SCTP's field is zero until it is
// summed, which is done at once.
#pragma once

#include "packet/packet.h"

namespace pollux {

// Looks behind VLAN tags and IPv6 extension headers, and through tunnels: what they carry is where
// the kernel leaves the checksum.
void FindPartialChecksum(Packet& packet);

}  // namespace pollux
