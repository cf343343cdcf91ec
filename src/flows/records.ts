/** Flows on their way up from the core: many in one byte string, decoded when somebody looks. */
import { inspect } from 'node:util';
import { addon } from '../binding.js';
import { forJson } from '../json.js';
import { decodeActions, decodeMatch, formatFlow, type Ufid } from '../odp/index.js';
import { kRecordLayouts } from '../record-layouts.js';
import type { Action, Flow, FlowMatch, FlowRemoval } from './types.js';

const kFlow = kRecordLayouts.flow;
/** Sizes of the parts behind the header stand here: key, mask, actions. */
const kSizes = [kFlow.keySize, kFlow.maskSize, kFlow.actionsSize] as const;
const kTcpFlags = 0xffff;
/** Why it went is in two of the flags' bits. */
const { offloaded: kOffloaded, reasonShift: kReasonShift } = kRecordLayouts.flowFlags;
const kReasons = [undefined, 'idle', 'evicted', 'purged'] as const;

/** A field that is worked out when somebody looks. */
function field(get: () => unknown): PropertyDescriptor {
  return { get, enumerable: true, configurable: true };
}

/** Reads its part of a slab. */
export class FlowRecord implements Flow {
  readonly #slab: Buffer;
  readonly #at: number;
  #match: FlowMatch | undefined;
  #actions: readonly Action[] | undefined;
  // Fields of its own, for whoever copies it; what takes time is worked out when it is asked for.
  declare readonly ufid: Ufid;
  declare readonly match: FlowMatch;
  declare readonly actions: readonly Action[];
  declare readonly packets: bigint;
  declare readonly bytes: bigint;
  declare readonly usedMs: number | null;
  declare readonly tcpFlags: number;
  declare readonly idleTimeoutMs: number | undefined;
  declare readonly offloaded: boolean;
  declare readonly reason?: FlowRemoval;

  static readonly #matchField = field(function (this: FlowRecord) {
    if (this.#match === undefined) {
      const { key, mask } = FlowRecord.attributesOf(this);
      this.#match = decodeMatch(key, mask);
    }
    return this.#match;
  });
  static readonly #actionsField = field(function (this: FlowRecord) {
    this.#actions ??= decodeActions(this.#part(2));
    return this.#actions;
  });

  constructor(slab: Buffer, at: number) {
    this.#slab = slab;
    this.#at = at;
    const self = this as { -readonly [Key in keyof Flow]: Flow[Key] };
    self.ufid = slab.toString('latin1', at + kFlow.ufid, at + kFlow.size);
    // One by one is three times as fast as both at once; all else of a record takes less.
    Object.defineProperty(this, 'match', FlowRecord.#matchField);
    Object.defineProperty(this, 'actions', FlowRecord.#actionsField);
    const flags = slab.readUInt32LE(at + kFlow.flags);
    const usedMs = slab.readDoubleLE(at + kFlow.usedMs);
    const idleTimeoutMs = slab.readDoubleLE(at + kFlow.idleTimeoutMs);
    self.packets = slab.readBigUInt64LE(at + kFlow.packets);
    self.bytes = slab.readBigUInt64LE(at + kFlow.bytes);
    self.usedMs = usedMs < 0 ? null : usedMs;
    self.tcpFlags = flags & kTcpFlags;
    self.idleTimeoutMs = idleTimeoutMs < 0 ? undefined : idleTimeoutMs;
    self.offloaded = (flags & kOffloaded) !== 0;
    const reason = kReasons[(flags >>> kReasonShift) & 3];
    if (reason !== undefined) self.reason = reason;
  }

  /** Reads all records of a slab. */
  static of(slab: Buffer): FlowRecord[] {
    const records: FlowRecord[] = [];
    for (let at = 0; at < slab.length; at = FlowRecord.endOf(slab, at)) {
      records.push(new FlowRecord(slab, at));
    }
    return records;
  }

  /** Returns where the record at `at` ends, and the next one begins. */
  static endOf(slab: Buffer, at: number): number {
    let end = at + kFlow.size;
    for (const size of kSizes) end += slab.readUInt32LE(at + size);
    return end;
  }

  /** The netlink attributes of a flow. */
  static attributesOf(flow: FlowRecord): { key: Buffer; mask: Buffer; actions: Buffer } {
    const { key, mask } = addon.encodeMatch(flow.#part(0), flow.#part(1));
    return { key, mask, actions: flow.#part(2) };
  }

  /** Returns the bytes of the key (0), the mask (1) or the actions (2). */
  #part(index: 0 | 1 | 2): Buffer {
    const slab = this.#slab;
    let start = this.#at + kFlow.size;
    for (let i = 0; i < index; i++) start += slab.readUInt32LE(this.#at + kSizes[i]!);
    return slab.subarray(start, start + slab.readUInt32LE(this.#at + kSizes[index]));
  }

  toJSON(): object {
    return forJson({ ...this }) as object;
  }

  toString(): string {
    const { match, actions, packets, bytes, usedMs, tcpFlags, offloaded } = this;
    return formatFlow({ match, actions, packets, bytes, usedMs, tcpFlags, offloaded });
  }

  [inspect.custom](): string {
    const { ufid, match, actions, packets, bytes, usedMs, tcpFlags, idleTimeoutMs } = this;
    const more = {
      ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
      ...(this.offloaded && { offloaded: true }),
      ...(this.reason !== undefined && { reason: this.reason }),
    };
    return `Flow ${inspect({ ufid, match, actions, packets, bytes, usedMs, tcpFlags, ...more })}`;
  }
}
