/** Statistics, as the core counted them when it was asked. In JSON, counters are decimal strings. */
import { addon, type Core, type NativeStats } from './binding.js';
import { jsonable } from './json.js';

export interface PortStats {
  readonly rxPackets: bigint;
  readonly rxBytes: bigint;
  /** Frames that arrived and found no room, or (af_xdp) no socket on their queue. */
  readonly rxDropped: bigint;
  /** Frames that arrived and were refused. */
  readonly rxErrors: bigint;
  // The counters that follow split rxErrors by reason; each is there once it is not zero.
  /** Frames to be cut in a way that Pollux does not know. */
  readonly rxSegmentErrors?: bigint;
  /** Frames whose sender left a checksum unfinished that cannot be finished here. */
  readonly rxChecksumErrors?: bigint;
  /** Frames longer than a packet can be. */
  readonly rxLengthErrors?: bigint;
  /** Large frames that found the kernel's buffer for them full. */
  readonly rxBufferErrors?: bigint;
  /** Frames that were empty, or not of Ethernet. */
  readonly rxFrameErrors?: bigint;
  readonly txPackets: bigint;
  readonly txBytes: bigint;
  /** Frames that were not sent, for want of room or because the interface is down. */
  readonly txDropped: bigint;
  /** Frames that were not sent, because the device refused them. */
  readonly txErrors: bigint;
  /**
   * The part of rxPackets that the port's XDP program forwarded or dropped by itself (`offloadFlows`
   * of `PortSpec`), once there were any.
   */
  readonly offloadedPackets?: bigint;
}

/** Names of the core's list of drop reasons, one counter each. */
export type DropReason = string;

export interface PmdStats {
  readonly core: Core;
  readonly numa: number;
  /** `usagePercent`: of the thread's time; null: not known yet. */
  readonly rxqs: readonly {
    readonly port: string;
    readonly queue: number;
    readonly usagePercent: number | null;
  }[];
  readonly packets: bigint;
  readonly emcHits: bigint;
  readonly megaflowHits: bigint;
  /** Misses and `userspace` actions, those lost included. */
  readonly upcalls: bigint;
  readonly lostUpcalls: bigint;
  readonly cyclesPerPacket: number | null;
  readonly busyPercent: number;
  readonly reloads: bigint;
}

export interface DatapathStats {
  /** By port name. */
  readonly ports: Readonly<Record<string, PortStats>>;
  readonly pmds: readonly PmdStats[];
  /** `masks`: distinct ones, summed over input ports. */
  readonly flows: { readonly size: number; readonly masks: number };
  /** Every reason, also those that never occurred. */
  readonly drops: Readonly<Record<DropReason, bigint>>;
  /**
   * At rest: received + executed + copied = transmitted + dropped + queued. Always, for any input.
   */
  readonly ledger: {
    readonly received: bigint;
    readonly executed: bigint;
    readonly copied: bigint;
    readonly transmitted: bigint;
    readonly dropped: bigint;
    readonly queued: bigint;
  };
}

export function portStatsOf(counters: BigUint64Array): PortStats {
  const [
    rxPackets = 0n,
    rxBytes = 0n,
    rxDropped = 0n,
    rxErrors = 0n,
    txPackets = 0n,
    txBytes = 0n,
    txDropped = 0n,
    txErrors = 0n,
    offloadedPackets = 0n,
    ...errors
  ] = counters;
  const reasons = addon.rxErrors.map((reason, i) => [reason, errors[i] ?? 0n] as const);
  return jsonable({
    ...{ rxPackets, rxBytes, rxDropped, rxErrors },
    ...{ txPackets, txBytes, txDropped, txErrors },
    ...(offloadedPackets > 0n && { offloadedPackets }),
    ...Object.fromEntries(reasons.filter(([, count]) => count > 0n)),
  });
}

/** The core says "not known" with a negative number. */
function known(value: number): number | null {
  return value < 0 ? null : value;
}

function pmdStatsOf(pmd: NativeStats['pmds'][number]): PmdStats {
  const [
    packets = 0n,
    emcHits = 0n,
    megaflowHits = 0n,
    upcalls = 0n,
    lostUpcalls = 0n,
    reloads = 0n,
  ] = pmd.counters;
  return {
    core: pmd.core,
    numa: pmd.numa,
    rxqs: pmd.rxqs.map(({ port, queue, usagePercent }) => ({
      port,
      queue,
      usagePercent: known(usagePercent),
    })),
    packets,
    emcHits,
    megaflowHits,
    upcalls,
    lostUpcalls,
    cyclesPerPacket: known(pmd.cyclesPerPacket),
    busyPercent: pmd.busyPercent,
    reloads,
  };
}

export function statsOf(native: NativeStats): DatapathStats {
  const [received = 0n, executed = 0n, copied = 0n, transmitted = 0n, dropped = 0n, queued = 0n] =
    native.ledger;
  return jsonable({
    ports: Object.fromEntries(
      native.ports.map(([name, counters]) => [name, portStatsOf(counters)]),
    ),
    pmds: native.pmds.map(pmdStatsOf),
    flows: { size: native.flows, masks: native.masks },
    drops: Object.fromEntries(
      addon.dropReasons.map((reason, i) => [reason, native.drops[i] ?? 0n]),
    ),
    ledger: { received, executed, copied, transmitted, dropped, queued },
  });
}
