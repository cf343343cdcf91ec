/**
 * Flows on their way between here and the core: fixed headers followed by netlink attributes, many
 * in one byte string, so that one crossing carries any number of them. All numbers are
 * little-endian.
 */
import { inspect } from 'node:util';
import type { NativeDatapath } from './binding.js';
import { type DatapathError, fromNative } from './errors.js';
import type { Action, Flow, FlowMatch } from './flow.js';
import { decodeActions, decodeMatch, formatFlow, formatUfid, type Ufid } from './odp/index.js';

// ------------------------------------------------------------------------------------------------------- changes, down

/** Which flow: by its 16 bytes of ufid, or by its match. */
export type FlowName =
  | { readonly ufid: Uint8Array }
  | { readonly ufid?: undefined; readonly key: Uint8Array; readonly mask: Uint8Array };

export interface Put {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
  readonly actions: Uint8Array;
  readonly ufid: Uint8Array | undefined;
  readonly idleTimeoutMs: number | undefined;
  /** False: EEXIST if the flow is there. */
  readonly replace: boolean;
  /** False: ENOENT if it is not. */
  readonly create: boolean;
}

/** A deletion is the name of a flow. */
export type Change = Put | FlowName;

/**
 * Flags, sizes of key, mask and actions (32 bits each), timeout (a double), ufid; then key, mask,
 * actions.
 */
const kChangeHeader = 40;
const kPut = 1;
const kByUfid = 2;
const kTimeout = 4;
const kReplace = 8;
const kCreate = 16;
const kNothing = new Uint8Array(0);

export function packChanges(changes: readonly Change[]): Buffer {
  let size = 0;
  for (const change of changes) {
    size += kChangeHeader;
    if ('key' in change) size += change.key.length + change.mask.length;
    if ('actions' in change) size += change.actions.length;
  }
  const records = Buffer.allocUnsafe(size); // What no flag tells of is not read.
  let at = 0;
  for (const change of changes) {
    const { key, mask } = 'key' in change ? change : { key: kNothing, mask: kNothing };
    const actions = 'actions' in change ? change.actions : kNothing;
    let flags = 0;
    if (change.ufid !== undefined) {
      flags |= kByUfid;
      records.set(change.ufid, at + 24);
    }
    if ('actions' in change) {
      flags |= kPut | (change.replace ? kReplace : 0) | (change.create ? kCreate : 0);
      if (change.idleTimeoutMs !== undefined) {
        flags |= kTimeout;
        records.writeDoubleLE(change.idleTimeoutMs, at + 16);
      }
    }
    records.writeUInt32LE(flags, at);
    records.writeUInt32LE(key.length, at + 4);
    records.writeUInt32LE(mask.length, at + 8);
    records.writeUInt32LE(actions.length, at + 12);
    at += kChangeHeader;
    for (const bytes of [key, mask, actions]) {
      records.set(bytes, at);
      at += bytes.length;
    }
  }
  return records;
}

/**
 * What became of a change (0 no flow to delete, 1 deleted, 2 put, 3 failed), and 16 bytes of ufid
 * if it was put.
 */
const kOutcomeSize = 17;

/**
 * A ufid for each put, whether it was there for each deletion, or why not; of atomic changes that
 * failed only the failure.
 */
export function applyChanges(
  native: NativeDatapath,
  changes: readonly Change[],
  atomic: boolean,
): (Ufid | boolean | DatapathError)[] {
  const out = Buffer.allocUnsafe(kOutcomeSize * changes.length);
  const errors = native.flowApply(packChanges(changes), atomic, out);
  if (atomic && errors !== undefined) return errors.map(fromNative);
  let failed = 0;
  return changes.map((_, i) => {
    const at = i * kOutcomeSize;
    const result = out[at];
    if (result === 3) return fromNative(errors?.[failed++]);
    return result === 2 ? formatUfid(out.subarray(at + 1, at + kOutcomeSize)) : result === 1;
  });
}

// ----------------------------------------------------------------------------------------------------------- flows, up

/**
 * Sizes of key, mask and actions and the TCP flags (32 bits each), packets and bytes (64 bits),
 * milliseconds since use (a double; negative: never), idle timeout in milliseconds (a double;
 * negative: the datapath's), ufid; then key, mask, actions.
 */
const kFlowHeader = 64;
const kUfidAt = 48;

/** Reads its part of a slab when somebody looks. */
export class FlowRecord implements Flow {
  readonly #slab: Buffer;
  readonly #at: number;
  #match: FlowMatch | undefined;
  #actions: readonly Action[] | undefined;

  constructor(slab: Buffer, at: number) {
    this.#slab = slab;
    this.#at = at;
  }

  /** All records of a slab. */
  static *of(slab: Buffer): Generator<FlowRecord> {
    for (let at = 0; at < slab.length; ) {
      yield new FlowRecord(slab, at);
      const sizes = slab.readUInt32LE(at) + slab.readUInt32LE(at + 4) + slab.readUInt32LE(at + 8);
      at += kFlowHeader + sizes;
    }
  }

  /** The netlink attributes of a flow. */
  static attributesOf(flow: FlowRecord): { key: Buffer; mask: Buffer; actions: Buffer } {
    const slab = flow.#slab;
    const key = flow.#at + kFlowHeader;
    const mask = key + slab.readUInt32LE(flow.#at);
    const actions = mask + slab.readUInt32LE(flow.#at + 4);
    const end = actions + slab.readUInt32LE(flow.#at + 8);
    return {
      key: slab.subarray(key, mask),
      mask: slab.subarray(mask, actions),
      actions: slab.subarray(actions, end),
    };
  }

  get ufid(): Ufid {
    return formatUfid(this.#slab.subarray(this.#at + kUfidAt, this.#at + kFlowHeader));
  }

  get match(): FlowMatch {
    if (this.#match === undefined) {
      const { key, mask } = FlowRecord.attributesOf(this);
      this.#match = decodeMatch(key, mask);
    }
    return this.#match;
  }

  get actions(): readonly Action[] {
    this.#actions ??= decodeActions(FlowRecord.attributesOf(this).actions);
    return this.#actions;
  }

  get tcpFlags(): number {
    return this.#slab.readUInt32LE(this.#at + 12);
  }
  get packets(): bigint {
    return this.#slab.readBigUInt64LE(this.#at + 16);
  }
  get bytes(): bigint {
    return this.#slab.readBigUInt64LE(this.#at + 24);
  }
  get usedMs(): number | null {
    const ms = this.#slab.readDoubleLE(this.#at + 32);
    return ms < 0 ? null : ms;
  }

  get idleTimeoutMs(): number | undefined {
    const ms = this.#slab.readDoubleLE(this.#at + 40);
    return ms < 0 ? undefined : ms;
  }

  toString(): string {
    const { match, actions, packets, bytes, usedMs, tcpFlags } = this;
    return formatFlow({ match, actions, packets, bytes, usedMs, tcpFlags });
  }

  [inspect.custom](): string {
    const { ufid, match, actions, packets, bytes, usedMs, tcpFlags, idleTimeoutMs } = this;
    const timeout = idleTimeoutMs === undefined ? {} : { idleTimeoutMs };
    return `Flow ${inspect({ ufid, match, actions, packets, bytes, usedMs, tcpFlags, ...timeout })}`;
  }
}
