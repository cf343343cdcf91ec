/**
 * Words that stand for numbers in actions, in the order of the numbers. The types of the API are computed
 * from these lists, so they stand below the actions that read and write them.
 */

/** Names of reasons by their number, those of Open vSwitch's `drop_action_*` counters. */
export const kDropReasons = [
  'of_pipeline',
  'bridge_not_found',
  'recursion_too_deep',
  'too_many_resubmit',
  'stack_too_deep',
  'no_recirculation_context',
  'recirculation_conflict',
  'too_many_mpls_labels',
  'invalid_tunnel_metadata',
  'unsupported_packet_type',
  'congestion',
  'forwarding_disabled',
  'tunnel_routing_failed',
  'tunnel_output_no_ethernet',
  'tunnel_neigh_cache_miss',
  'tunnel_header_build_failed',
] as const;
export type NamedDropReason = (typeof kDropReasons)[number];

/** OVS_HASH_ALG_* in order. */
export const kHashAlgorithms = ['l4', 'sym_l4'] as const;

/** The way that a sampled packet goes; by default it is not said. */
export const kSampleDirections = ['ingress', 'egress'] as const;

/** Names of the bits of a slow path's reason, lowest first. */
export const kSlowPathReasons = ['cfm', 'bfd', 'lacp', 'stp', 'lldp', 'action', 'match'] as const;
