/** Flows: the table of a datapath, and a flow as it is shown. */
import { setImmediate } from 'node:timers/promises';
import type { Core, NativeDatapath } from './binding.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkList,
  checkObject,
  checkOptions,
  show,
  signalOf,
  throwIfAborted,
} from './check.js';
import { DatapathError, fromNative, invalid } from './errors.js';
import {
  applyChanges,
  type Change,
  type FlowName,
  FlowRecord,
  type Put,
  packChanges,
} from './flow-records.js';
import {
  type Action as AnyAction,
  type FlowMatch as AnyFlowMatch,
  encodeActions,
  encodeMatch,
  type PortNames,
  parseUfid,
  type Ufid,
} from './odp/index.js';
import type { PortRef, PortTable } from './port.js';

export type FlowMatch = AnyFlowMatch<PortRef>;
export type Action = AnyAction<PortRef>;
/** Typed or text. */
export type MatchLike = FlowMatch | string;
export type ActionsLike = readonly Action[] | string;

export interface FlowSpec {
  readonly match: MatchLike;
  readonly actions: ActionsLike;
  /** Default: worked out from the match. */
  readonly ufid?: Ufid;
  /**
   * Removed when unused for this long. 0 pins the flow: it stays until it is deleted, and is never
   * evicted. Default: the datapath's maxIdleMs.
   */
  readonly idleTimeoutMs?: number;
}

/** A snapshot of one flow. */
export interface Flow {
  readonly ufid: Ufid;
  readonly match: FlowMatch;
  readonly actions: readonly Action[];
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Milliseconds since last use; null = never used. */
  readonly usedMs: number | null;
  /** All TCP flags seen, ORed. */
  readonly tcpFlags: number;
  /** Its own; undefined = the datapath's maxIdleMs. */
  readonly idleTimeoutMs: number | undefined;
  /** The line `ovs-appctl dpctl/dump-flows` prints. */
  toString(): string;
}

export interface PutOptions {
  readonly ufid?: Ufid;
  readonly idleTimeoutMs?: number;
  /** Default 'replace': its actions and timeout are replaced, its statistics kept. */
  readonly ifExists?: 'replace' | 'error';
  /** Default 'add'. 'error': only modify a flow that is there (ENOENT). */
  readonly ifMissing?: 'add' | 'error';
}

export type FlowChange = { readonly put: FlowSpec } | { readonly delete: Ufid | MatchLike };

export interface DumpFilter {
  readonly inPort?: PortRef;
  /** Only what this thread counted. */
  readonly core?: Core;
  readonly signal?: AbortSignal;
}

/**
 * Every verb is synchronous (memory only) and in force in all threads on return; `dump` alone takes
 * its time. Errors: EINVAL with `position` for text, ENODEV for an unknown port's name,
 * ERR_NOT_SUPPORTED for an action that is not built yet, ERR_DATAPATH_CLOSED.
 *
 * The table is bounded by `flowLimit`. When it is full, a new flow takes the place of the one least
 * recently used (nearly: of a sample), which is then told of by `flowsRemoved`. Pinned flows
 * (`idleTimeoutMs: 0`) stay; if there is nothing else, ENOSPC.
 */
export interface FlowTable {
  readonly size: number;
  /**
   * Adds the flow, or replaces actions and timeout of the flow that is there. EEXIST with ifExists
   * 'error', or if another flow has the ufid; ENOENT with ifMissing 'error'. EINVAL if it overlaps
   * another flow and has no ufid of its own.
   */
  put(match: MatchLike, actions: ActionsLike, options?: PutOptions): Ufid;
  /** Whether there was one. */
  delete(flow: Ufid | MatchLike): boolean;
  get(flow: Ufid | MatchLike): Flow | undefined;
  /**
   * Many changes in one crossing, in order; a ufid for each put, a boolean for each deletion. A
   * change that cannot be read throws before anything is done. One that the datapath refuses throws
   * too: with `atomic` everything is as before, evicted flows included, without it all others are
   * done (with several failures, `cause` is an AggregateError). No flow makes room for another one
   * of the same call.
   */
  apply(
    changes: readonly FlowChange[],
    options?: { readonly atomic?: boolean },
  ): readonly (Ufid | boolean)[];
  /**
   * All flows, in chunks between which the event loop runs. Flows that stay throughout are seen
   * exactly once. Once the signal is aborted the iteration throws ABORT_ERR.
   */
  dump(filter?: DumpFilter): AsyncIterableIterator<Flow>;
  /** How many there were. */
  clear(): number;
}

// ----------------------------------------------------------------------------------------------------------- encoding

const kUfid = /^(ufid:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A timeout in milliseconds, checked; undefined stays undefined. */
export function checkIdleTimeout(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  return checkInteger(value, 'idleTimeoutMs', 0, Number.MAX_SAFE_INTEGER);
}

export function encodePut(
  spec: FlowSpec,
  ports: PortNames,
  { replace = true, create = true } = {},
): Put {
  const { key, mask, ufid: written } = encodeMatch(spec.match, ports);
  const actions = encodeActions(spec.actions, ports);
  const ufid = spec.ufid ?? written;
  return {
    key,
    mask,
    actions,
    ufid: ufid === undefined ? undefined : parseUfid(ufid),
    idleTimeoutMs: checkIdleTimeout(spec.idleTimeoutMs),
    replace,
    create,
  };
}

function encodeName(flow: unknown, ports: PortNames): FlowName {
  if (typeof flow === 'string' && kUfid.test(flow.trim())) return { ufid: parseUfid(flow.trim()) };
  if (typeof flow !== 'string' && (typeof flow !== 'object' || flow === null)) {
    throw invalid(`a flow is named by its ufid or its match, got ${show(flow)}`);
  }
  const { key, mask, ufid } = encodeMatch(flow as MatchLike, ports);
  return ufid === undefined ? { key, mask } : { ufid: parseUfid(ufid) };
}

function encodeChange(value: unknown, at: number, ports: PortNames): Change {
  const what = `changes[${at}]`;
  const change = checkObject(value, what, ['put', 'delete']);
  if ((change.put === undefined) === (change.delete === undefined)) {
    throw invalid(`${what} must have either "put" or "delete"`);
  }
  if (change.put === undefined) return encodeName(change.delete, ports);
  return encodePut(readFlowSpec(change.put, `${what}.put`), ports);
}

export function readFlowSpec(value: unknown, what: string): FlowSpec {
  return checkObject(value, what, [
    'match',
    'actions',
    'ufid',
    'idleTimeoutMs',
  ]) as unknown as FlowSpec;
}

// -------------------------------------------------------------------------------------------------------------- table

/** Flows that cross at once in a dump. */
const kChunk = 256;

export class DatapathFlowTable implements FlowTable {
  readonly #native: () => NativeDatapath;
  readonly #ports: PortTable;

  /** `native` throws once the datapath is closed. */
  constructor(native: () => NativeDatapath, ports: PortTable) {
    this.#native = native;
    this.#ports = ports;
  }

  get size(): number {
    return this.#native().flowSize();
  }

  put(match: MatchLike, actions: ActionsLike, options?: PutOptions): Ufid {
    this.#native();
    const given = checkOptions(options, 'the options of put()', [
      'ufid',
      'idleTimeoutMs',
      'ifExists',
      'ifMissing',
    ]) as PutOptions;
    const { ufid, idleTimeoutMs, ifExists = 'replace', ifMissing = 'add' } = given;
    const replace = checkChoice(ifExists, 'ifExists', ['replace', 'error']) === 'replace';
    const create = checkChoice(ifMissing, 'ifMissing', ['add', 'error']) === 'add';
    if (!replace && !create) {
      throw invalid("a flow is there or it is not: ifExists and ifMissing are both 'error'");
    }
    const spec = {
      match,
      actions,
      ...(ufid !== undefined && { ufid }),
      ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    };
    return this.#apply([encodePut(spec, this.#ports, { replace, create })], true)[0] as Ufid;
  }

  delete(flow: Ufid | MatchLike): boolean {
    this.#native();
    return this.#apply([encodeName(flow, this.#ports)], true)[0] as boolean;
  }

  get(flow: Ufid | MatchLike): Flow | undefined {
    const native = this.#native();
    const name = encodeName(flow, this.#ports);
    try {
      const slab = native.flowFind(packChanges([name]));
      return slab === undefined ? undefined : new FlowRecord(slab, 0);
    } catch (error) {
      throw fromNative(error);
    }
  }

  apply(
    changes: readonly FlowChange[],
    options?: { readonly atomic?: boolean },
  ): readonly (Ufid | boolean)[] {
    this.#native();
    const { atomic } = checkOptions(options, 'the options of apply()', ['atomic']);
    const list = checkList(changes, 'changes').map((change, i) =>
      encodeChange(change, i, this.#ports),
    );
    return this.#apply(list, atomic !== undefined && checkBoolean(atomic, 'atomic'));
  }

  #apply(changes: readonly Change[], atomic: boolean): (Ufid | boolean)[] {
    let outcomes: (Ufid | boolean | DatapathError)[];
    try {
      outcomes = applyChanges(this.#native(), changes, atomic);
    } catch (error) {
      throw fromNative(error);
    }
    const failures = outcomes.filter((outcome) => outcome instanceof DatapathError);
    const first = failures[0];
    if (first === undefined) return outcomes as (Ufid | boolean)[];
    if (failures.length === 1) throw first;
    throw new DatapathError(
      `${failures.length} of ${changes.length} changes failed, the first: ${first.message}`,
      { code: first.code, hint: first.hint, cause: new AggregateError(failures) },
    );
  }

  dump(filter?: DumpFilter): AsyncIterableIterator<Flow> {
    this.#native();
    const given = checkOptions(filter, 'the filter of dump()', ['inPort', 'core', 'signal']);
    const signal = signalOf(given);
    const inPort =
      given.inPort === undefined ? undefined : this.#ports.number(given.inPort as PortRef);
    return this.#dump(inPort, checkCore(given.core), signal);
  }

  async *#dump(
    inPort: number | undefined,
    core: Core | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Flow, void, undefined> {
    for (let cursor = 0; ; ) {
      throwIfAborted(signal);
      const chunk = this.#native().flowDump(cursor, kChunk, core);
      if (chunk === undefined) throw noThread(core as Core);
      if (chunk.slab === undefined) return;
      cursor = chunk.cursor;
      for (const flow of FlowRecord.of(chunk.slab)) {
        if (inPort !== undefined && flow.match.inPort !== inPort) continue;
        yield flow;
        throwIfAborted(signal);
      }
      await setImmediate();
    }
  }

  clear(): number {
    return this.#native().flowClear();
  }
}

/** A core number or 'non-pmd'; undefined stays undefined. */
export function checkCore(value: unknown): Core | undefined {
  if (value === undefined || value === 'non-pmd') return value;
  if (typeof value !== 'number') {
    throw invalid(`core must be a core number or 'non-pmd', got ${show(value)}`);
  }
  return checkInteger(value, 'core', 0, 0xffff_fffe);
}

function noThread(core: Core): DatapathError {
  return new DatapathError(`no thread runs on core ${core}`, {
    code: 'ENOENT',
    hint: 'stats().pmds lists the threads',
  });
}
