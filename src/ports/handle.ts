/** The handle of a port, and the record behind it. */
import { inspect } from 'node:util';
import { isUint8Array } from 'node:util/types';
import type { NativeDatapath, NativePortSpec, PortId } from '../binding.js';
import { checkBytes, checkInteger, checkOptions, kMaxU32 } from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, fromNative } from '../errors.js';
import { type PortStats, portStatsOf } from '../stats.js';
import type { MemoryPort, Port, PortNumber, PortType } from './types.js';

/** All that the package knows of a port; the handle shows parts of it. */
export interface PortRecord {
  readonly native: () => NativeDatapath;
  readonly name: string;
  readonly type: PortType;
  id: PortId;
  number: PortNumber;
  pmd: boolean;
  mode: string;
  state: Port['state'];
  /** The request it was made from; undefined while only the core knows. */
  spec: NativePortSpec | undefined;
  /** Troubles that a warning told of. */
  readonly warned: Set<string>;
}

/** The mode that the port has now, or for a port that is going, the last one known. */
function modeOf(record: PortRecord): string {
  if (record.state === 'closed') return record.mode;
  try {
    record.mode = record.native().port(record.id)?.mode ?? record.mode;
  } catch {
    // The datapath is closing.
  }
  return record.mode;
}

const kShown = ['name', 'number', 'type', 'pmd', 'state', 'mode'] as const;

export class DatapathPort implements Port {
  readonly #record: PortRecord;
  // Fields of its own, for whoever copies it.
  declare readonly name: string;
  declare readonly number: PortNumber;
  declare readonly type: PortType;
  declare readonly pmd: boolean;
  declare readonly state: Port['state'];
  declare readonly mode: string;

  constructor(record: PortRecord) {
    this.#record = record;
    for (const key of kShown) {
      const get = key === 'mode' ? () => modeOf(record) : () => record[key];
      Object.defineProperty(this, key, { get, enumerable: true });
    }
  }

  /** The record behind a handle, undefined for anything else. Not for users. */
  static recordOf(value: unknown): PortRecord | undefined {
    return typeof value === 'object' && value !== null && #record in value
      ? value.#record
      : undefined;
  }

  stats(): PortStats {
    return portStatsOf(ask(this, (native, id) => native.portStats(id)));
  }

  toJSON(): object {
    return { ...this };
  }

  [inspect.custom](): string {
    return `Port ${inspect(this.toJSON())}`;
  }
}

export class DatapathMemoryPort extends DatapathPort implements MemoryPort {
  declare readonly type: 'memory';

  inject(frames: Uint8Array | Iterable<Uint8Array>, options?: { readonly rxq?: number }): number {
    const { rxq = 0 } = checkOptions(options, 'the options of inject()', ['rxq']);
    const queue = checkInteger(rxq, 'rxq', 0, kMaxU32);
    const list = typeof frames === 'object' && !isUint8Array(frames) ? listOf(frames) : frames;
    if (Array.isArray(list)) {
      for (let i = 0; i < list.length; i++) checkBytes(list[i], `frames[${i}]`);
    } else {
      checkBytes(list, 'frames');
    }
    return ask(this, (native, id) => native.inject(id, queue, list));
  }

  drain(max: number = kMaxU32): Buffer[] {
    const limit = checkInteger(max, 'max', 0, kMaxU32);
    const { slab, lengths } = ask(this, (native, id) => native.drain(id, limit));
    let end = 0;
    return Array.from(lengths, (length) => {
      end += length;
      return slab.subarray(end - length, end);
    });
  }
}

entries(DatapathPort);
entries(DatapathMemoryPort);

/** Anything that can be gone through, as a list. */
function listOf(frames: Iterable<Uint8Array>): Uint8Array | readonly Uint8Array[] {
  if (Array.isArray(frames)) return frames;
  const iterable = typeof frames?.[Symbol.iterator] === 'function';
  return iterable ? [...frames] : (frames as unknown as Uint8Array);
}

/** Asks the core about a port, if it still is one. */
function ask<T>(port: DatapathPort, call: (native: NativeDatapath, id: PortId) => T): T {
  const record = DatapathPort.recordOf(port)!;
  const native = record.native();
  if (record.state === 'closed') throw deleted(record.name);
  try {
    return call(native, record.id);
  } catch (error) {
    throw fromNative(error);
  }
}

export function deleted(name: string): DatapathError {
  return new DatapathError(`port "${name}" is deleted`, {
    code: 'ENODEV',
    port: name,
    hint: 'a handle ends with its port; add the port again for a new one',
  });
}
