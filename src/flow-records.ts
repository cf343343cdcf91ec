/** Flows on their way up from the core: many in one byte string, decoded when somebody looks. */
import { inspect } from 'node:util';
import type { Action, Flow, FlowMatch } from './flow.js';
import { decodeActions, decodeMatch, formatFlow, formatUfid, type Ufid } from './odp/index.js';

/**
 * Sizes of key, mask and actions (32 bits each), TCP flags and whether it is offloaded (32 bits), packets and bytes (64 bits),
 * milliseconds since use (a double; negative: never), idle timeout in milliseconds (a double;
 * negative: the datapath's), ufid; then key, mask, actions.
 */
const kFlowHeader = 64;
const kUfidAt = 48;
const kTcpFlags = 0xffff;
const kOffloaded = 0x10000;

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
    return this.#slab.readUInt32LE(this.#at + 12) & kTcpFlags;
  }
  get offloaded(): boolean {
    return (this.#slab.readUInt32LE(this.#at + 12) & kOffloaded) !== 0;
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
    const { match, actions, packets, bytes, usedMs, tcpFlags, offloaded } = this;
    return formatFlow({ match, actions, packets, bytes, usedMs, tcpFlags, offloaded });
  }

  [inspect.custom](): string {
    const { ufid, match, actions, packets, bytes, usedMs, tcpFlags, idleTimeoutMs } = this;
    const more = {
      ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
      ...(this.offloaded && { offloaded: true }),
    };
    return `Flow ${inspect({ ufid, match, actions, packets, bytes, usedMs, tcpFlags, ...more })}`;
  }
}
