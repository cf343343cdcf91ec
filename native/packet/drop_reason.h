// Why a packet was dropped: one list that gives enum, text and counter. Names follow Open vSwitch's
// coverage counters where it has one.
#pragma once

#include <array>
#include <cstddef>

namespace pollux {

// X(enumerator, text)
#define POLLUX_DROP_REASONS(X)                                                                   \
  X(kRxInvalid, "rx_invalid_packet")        /* shorter than an Ethernet header */                \
  X(kAction, "action_drop")                 /* the flow says drop */                             \
  X(kNoOutput, "no_output")                 /* actions ended without sending it */               \
  X(kInvalidPort, "invalid_port")           /* output to a port that is not in the cache */      \
  X(kNoConsumer, "upcall_no_handler")       /* a miss, and nobody listens */                     \
  X(kUpcallFull, "upcall_queue_full")       /* a miss, and the port's queue is full */           \
  X(kUpcallVerdict, "upcall_drop")          /* the handler said drop, or nothing */              \
  X(kUpcallError, "upcall_error")           /* the handler's verdict could not be carried out */ \
  X(kRewrite, "rewrite_error")              /* no room for a header, or none to change */        \
  X(kNoMemory, "no_memory")                 /* the packet pool is exhausted */                   \
  X(kTxQueueFull, "tx_queue_full")          /* the device takes no more */                       \
  X(kMtu, "tx_mtu_exceeded")                /* longer than the port's MTU */                     \
  X(kPortDown, "tx_port_down")              /* the interface is down or gone */                  \
  X(kTxError, "tx_error")                   /* any other refusal by the kernel */                \
  X(kTunnelPush, "tunnel_push_error")       /* push to a port that is not in the cache */        \
  X(kInvalidTunnelPort, "invalid_tnl_port") /* pop on a port that is not in the cache */         \
  X(kClosed, "datapath_closed")             /* still queued when the datapath closed */

enum class DropReason : std::size_t {
#define X(name, text) name,
  POLLUX_DROP_REASONS(X)
#undef X
};

inline constexpr const char* kDropReasonText[] = {
#define X(name, text) text,
    POLLUX_DROP_REASONS(X)
#undef X
};
inline constexpr std::size_t kDropReasons = sizeof kDropReasonText / sizeof kDropReasonText[0];

}  // namespace pollux
