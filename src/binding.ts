/** The addon: the one declaration of what it offers. */
import { loadAddon } from './load-addon.js';

/** A core number, or the event-driven context. */
export type Core = number | 'non-pmd';

/** Names a port for good: never reused, unlike its number. */
export type PortId = number;

export interface NativeOptions {
  readonly name: string;
  readonly pmdCpus?: readonly number[];
  readonly topology: readonly (readonly number[])[];
  readonly manualClock: boolean;
  readonly flowLimit: number;
  readonly maxIdleMs: number;
  readonly emcInsertInvProb: number;
  readonly txFlushIntervalUs: number;
  /** Everywhere, then core, limit, core, limit, … */
  readonly pmdSleepMaxUs: readonly number[];
  readonly upcallQueueLength: number;
  readonly upcallFloodWhenFull: boolean;
  readonly snapLength: number;
}

export interface NativePortSpec {
  readonly type: string;
  readonly name: string;
  readonly number?: number;
  readonly rxqs?: number;
  readonly pmd?: boolean;
  /** Queue, core, queue, core, … */
  readonly rxqAffinity?: readonly number[];
  readonly pmdSleepMaxUs?: number;
  readonly mtu?: number;
  readonly numa?: number;
  readonly device?: string;
  readonly netns?: string;
  readonly wait?: boolean;
  readonly hostStack?: boolean;
  readonly visible?: boolean;
  readonly qdiscBypass?: boolean;
  readonly promiscuous?: boolean;
  readonly busyPoll?: boolean;
  readonly mode?: string;
  /** Packets a second. */
  readonly offloadFlowsAbove?: number;
  readonly queueLength?: number;
  readonly openDelayMs?: number;
  readonly generate?: boolean;
  readonly generateSize?: number;
  readonly generateFlows?: number;
  readonly generateMasks?: number;
  readonly generateOrder?: string;
  readonly generateStrangerEvery?: number;
  readonly generateLimit?: number;
  readonly read?: string;
  readonly write?: string;
  readonly loop?: boolean;
  readonly paced?: boolean;
}

export interface NativePort {
  readonly id: PortId;
  readonly number: number;
  readonly name: string;
  readonly type: string;
  readonly mode: string;
  readonly pmd: boolean;
  readonly link: 'up' | 'down' | 'gone';
}

export interface NativeReload {
  readonly core: Core;
  readonly numa: number;
  readonly ports: number;
  readonly rxqs: number;
  readonly latencyUs: number;
}

export interface NativeStats {
  /** Name, and counters in the order of `portStats`. */
  readonly ports: readonly (readonly [string, BigUint64Array])[];
  readonly pmds: readonly {
    readonly core: Core;
    readonly numa: number;
    /** usagePercent: negative if unknown. */
    readonly rxqs: readonly { port: string; queue: number; usagePercent: number }[];
    /** packets, EMC hits, megaflow hits, upcalls, lost upcalls, reloads */
    readonly counters: BigUint64Array;
    /** Negative if unknown. */
    readonly cyclesPerPacket: number;
    readonly busyPercent: number;
  }[];
  readonly flows: number;
  readonly masks: number;
  /** In the order of `dropReasons`. */
  readonly drops: BigUint64Array;
  /** received, executed, copied, transmitted, dropped, queued */
  readonly ledger: BigUint64Array;
}

export interface NativeEvent {
  readonly kind:
    | 'portUp'
    | 'portDown'
    | 'portGone'
    | 'flowsRemoved'
    | 'upcallOverflow'
    | 'portTrouble'
    | 'warning';
  readonly port: PortId;
  readonly text: string;
  readonly dropped: bigint;
  readonly errors: bigint;
  /** Flow records, with flowsRemoved. */
  readonly flows?: Buffer;
}

export interface NativeUpcalls {
  /** Upcall records; see upcalls/batch.ts. */
  readonly slab: Buffer;
  /** The id of the first; the others follow. */
  readonly first: number;
  readonly count: number;
  readonly dropped: bigint;
}

/** A step of a traced frame, as the core wrote it down. */
export interface NativeTraceStep {
  readonly kind:
    | 'parse'
    | 'cache'
    | 'tuple'
    | 'flow'
    | 'action'
    | 'end'
    | 'chance'
    | 'output'
    | 'upcall'
    | 'drop';
  readonly pass: number;
  readonly depth: number;
  /** cache, tuple */
  readonly hit: boolean;
  /** output: the port; chance: out of 2^32 */
  readonly number: number;
  /** parse, action, end: exact, without mask; tuple, flow */
  readonly key?: Buffer;
  readonly mask?: Buffer;
  /** flow */
  readonly ufid?: Buffer;
  /** flow: its actions; action: the one */
  readonly attributes?: Buffer;
  /** parse, action, end, output, upcall, drop */
  readonly frame?: Buffer;
  /** upcall */
  readonly reason?: 'miss' | 'action';
  /** drop; output and upcall that come to nothing */
  readonly drop?: string;
}

/**
 * A datapath. Every method throws, and every promise rejects with, an Error that has `errno`
 * (negative) and perhaps `code`, `syscall`, `port` and `hint`; `fromNative` makes a DatapathError
 * of it.
 */
export interface NativeDatapath {
  addPort(spec: NativePortSpec): Promise<NativePort>;
  deletePort(id: PortId): Promise<void>;
  renumberPort(id: PortId, number: number): Promise<NativePort>;
  reload(core?: Core): Promise<NativeReload[]>;
  setOptions(options: NativeOptions): Promise<void>;
  settle(): Promise<void>;
  advance(ms: number): Promise<void>;
  close(): Promise<void>;

  port(id: PortId): NativePort | undefined;
  /**
   * rx packets, bytes, dropped, errors, the same of tx, offloaded packets, then rx errors in the order of
   * `rxErrors`.
   */
  portStats(id: PortId): BigUint64Array;
  inject(id: PortId, rxq: number, frames: Uint8Array | readonly Uint8Array[]): number;
  drain(id: PortId, max: number): { slab: Buffer; lengths: Uint32Array };
  execute(
    frame: Uint8Array,
    actions: Uint8Array,
    inPort: number | undefined,
    report: false,
  ): Buffer;
  execute(
    frame: Uint8Array,
    actions: Uint8Array,
    inPort: number | undefined,
    report: true,
  ): { frame: Buffer; steps: NativeTraceStep[] };
  trace(frame: Uint8Array, inPort: number, seed: number): NativeTraceStep[];
  stats(): NativeStats;

  /**
   * Changes as records; flows/change-batch.ts has their layout, flows/outcomes.ts that of what is written to
   * `out`. Returns the errors of changes that failed, in order; one that another flow is in the way of has the
   * place of its `change`, and in `overlaps` key and mask of that flow. Or returns the places of changes whose
   * texts the core cannot read, up to `maxUnread` of them; then nothing was done.
   */
  flowApply(
    headers: Uint8Array,
    payload: Uint8Array,
    texts: Uint8Array,
    maxUnread: number,
    atomic: boolean,
    out: Uint8Array,
  ): Error[] | Uint32Array | undefined;
  /** From now on the core reads texts like this one; `values` as of an `Example`. */
  learnText(text: Uint8Array, values: Uint32Array, key: Uint8Array, mask: Uint8Array): void;
  /** The record of a deletion. The answer is a flow record. */
  flowFind(header: Uint8Array, payload: Uint8Array): Buffer | undefined;
  /**
   * Flow records from `cursor` on, none at the end; undefined: no such core. With `inPort`, of that port
   * alone.
   */
  flowDump(
    cursor: number,
    n: number,
    core?: Core,
    inPort?: number,
  ): { cursor: number; slab?: Buffer } | undefined;
  flowClear(): number;
  flowSize(): number;

  takeEvents(): NativeEvent[];
  setUpcallConsumer(present: boolean): void;
  takeUpcalls(max: number): NativeUpcalls;
  /**
   * Sends the verdicts of upcalls `first` to `first + count - 1` as records; record-layouts.ts has their
   * layout. Upcalls without one are dropped. Returns those that could not be carried out, by place.
   */
  answerUpcalls(
    first: number,
    count: number,
    headers: Uint8Array,
    payload: Uint8Array,
  ): [number, Error][] | undefined;
  /** Calls `wake` again, behind what else the event loop has to do. */
  signal(): void;
  setRef(ref: boolean): void;
}

interface Addon {
  /**
   * `wake` is called on the event loop when events or upcalls may wait to be taken. It must not
   * throw.
   */
  readonly NativeDatapath: new (
    options: Partial<NativeOptions>,
    wake: () => void,
  ) => NativeDatapath;
  readonly defaultOptions: NativeOptions;
  readonly dropReasons: readonly string[];
  readonly rxErrors: readonly string[];
  readonly flowFields: readonly string[];
  /** The core's record-layouts.ts. */
  readonly recordLayouts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** The key of an upcall record as netlink attributes. */
  encodeKey(key: Uint8Array): Buffer;
  /** Key and mask of a flow record as netlink attributes. */
  encodeMatch(key: Uint8Array, mask: Uint8Array): { key: Buffer; mask: Buffer };
  /** The ufid of a flow that is put without one. Without a mask (no bytes) the key is exact. */
  ufidOf(key: Uint8Array, mask: Uint8Array): string;
  /** Is not zero for those bytes of a key whose value nothing else depends on. */
  freeBytes(key: Uint8Array): Uint8Array;
  /** Tries what drivers need, one harmless call each: a negative errno, or 0 if it works. */
  probeMachine(): Readonly<Record<string, number>>;
  /**
   * The interfaces there are, and the longest frames that the kernel makes for each, and of what it receives.
   */
  links(): readonly { readonly name: string; readonly maxGso: number; readonly maxGro: number }[];
  portTypes(): { type: string; available: boolean; reason?: string }[];
}

export const addon = loadAddon() as Addon;
