// Why a packet was dropped: one list that gives enum, text and counter. Names follow Open vSwitch's
// coverage counters where it has one. The last ones are those that a `drop` action states, in the
// order of their numbers.
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
  X(kClosed, "datapath_closed")             /* still queued when the datapath closed */          \
  X(kPacketType, "tx_packet_type")          /* output without an Ethernet header */              \
  X(kRecirculation, "recirc_error")         /* recirculated too often */                         \
  X(kSample, "sample_error")                /* not sampled, and no action follows */             \
  X(kNshDecap, "nsh_decap_error")           /* no NSH to pop, or unknown contents */             \
  X(kOfPipeline, "drop_action_of_pipeline")                                                      \
  X(kBridgeNotFound, "drop_action_bridge_not_found")                                             \
  X(kRecursionTooDeep, "drop_action_recursion_too_deep")                                         \
  X(kTooManyResubmit, "drop_action_too_many_resubmit")                                           \
  X(kStackTooDeep, "drop_action_stack_too_deep")                                                 \
  X(kNoRecirculationContext, "drop_action_no_recirculation_context")                             \
  X(kRecirculationConflict, "drop_action_recirculation_conflict")                                \
  X(kTooManyMplsLabels, "drop_action_too_many_mpls_labels")                                      \
  X(kInvalidTunnelMetadata, "drop_action_invalid_tunnel_metadata")                               \
  X(kUnsupportedPacketType, "drop_action_unsupported_packet_type")                               \
  X(kCongestion, "drop_action_congestion")                                                       \
  X(kForwardingDisabled, "drop_action_forwarding_disabled")                                      \
  X(kTunnelRoutingFailed, "drop_action_tunnel_routing_failed")                                   \
  X(kTunnelOutputNoEthernet, "drop_action_tunnel_output_no_ethernet")                            \
  X(kTunnelNeighCacheMiss, "drop_action_tunnel_neigh_cache_miss")                                \
  X(kTunnelHeaderBuildFailed, "drop_action_tunnel_header_build_failed")

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

// The counter of a `drop` action's reason: a number below kStatedDropReasons.
inline constexpr std::size_t kStatedDropReasons =
    kDropReasons - static_cast<std::size_t>(DropReason::kOfPipeline);
constexpr DropReason StatedDropReason(std::size_t number) {
  return static_cast<DropReason>(static_cast<std::size_t>(DropReason::kOfPipeline) + number);
}
static_assert(kStatedDropReasons == 16);

}  // namespace pollux
