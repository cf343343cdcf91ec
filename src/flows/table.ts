/** The flow table of a datapath. */
import { inspect } from 'node:util';
import type { Core, NativeDatapath } from '../binding.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkList,
  checkObject,
  checkOptions,
  type Fields,
  signalOf,
} from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, invalid, nativeErrors, show } from '../errors.js';
import type { Ufid } from '../odp/index.js';
import type { PortTable } from '../ports/table.js';
import type { PortRef } from '../ports/types.js';
import { kAddOrReplace } from './change.js';
import { ChangeBatch } from './change-batch.js';
import { FlowDump } from './dump.js';
import { FlowRecord } from './records.js';
import type {
  ActionsLike,
  DumpFilter,
  Flow,
  FlowChange,
  FlowMatch,
  FlowRef,
  FlowSpec,
  FlowTable,
  MatchLike,
  PutOptions,
} from './types.js';

// ----------------------------------------------------------------------------------------------------------- encoding

const kUfid = /^\s*(ufid:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\s*$/i;

/** Adds the deletion of a flow that is named by its ufid, by its match, or by a Flow (or a copy of one). */
function addDeletion(batch: ChangeBatch, flow: unknown): void {
  if (typeof flow === 'string') {
    if (kUfid.test(flow)) batch.deleteByUfid(flow.trim());
    else batch.delete(flow);
  } else if (typeof flow === 'object' && flow !== null) {
    const { ufid } = flow as Partial<Flow>;
    if (ufid === undefined) batch.delete(flow as FlowMatch);
    else batch.deleteByUfid(ufid);
  } else {
    throw invalid(`a flow is named by its ufid or its match, or by a Flow, got ${show(flow)}`);
  }
}

function addChange(batch: ChangeBatch, value: unknown, at: number): void {
  const change = checkFields(value, kChangeKeys, 'changes', at);
  if ((change.put === undefined) === (change.delete === undefined)) {
    throw invalid(`changes[${at}] must have either "put" or "delete"`);
  }
  if (change.put === undefined) addDeletion(batch, change.delete);
  else
    batch.put(
      checkFields(change.put, kSpecKeys, 'changes', at, '.put') as unknown as FlowSpec,
      kAddOrReplace,
    );
}

/**
 * Checks one of many objects as checkObject() does, but makes the words for people only when they are needed.
 */
function checkFields(value: unknown, keys: readonly string[], list: string, at: number, rest = '') {
  let known = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (known) for (const key in value as object) known &&= keys.includes(key);
  return known ? (value as Fields) : checkObject(value, `${list}[${at}]${rest}`, keys);
}

const kChangeKeys = ['put', 'delete'];
const kSpecKeys = ['match', 'actions', 'ufid', 'idleTimeoutMs'];

export function readFlowSpec(value: unknown, what: string): FlowSpec {
  return checkObject(value, what, kSpecKeys) as unknown as FlowSpec;
}

// -------------------------------------------------------------------------------------------------------------- table

/** Flows that cross at once in a dump. */
const kChunk = 256;

export class DatapathFlowTable implements FlowTable {
  readonly #native: () => NativeDatapath;
  readonly #ports: PortTable;
  #spare: ChangeBatch | undefined;

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
    return this.#one((batch) => batch.put(spec, { replace, create })) as Ufid;
  }

  delete(flow: FlowRef): boolean {
    this.#native();
    return this.#one((batch) => addDeletion(batch, flow)) as boolean;
  }

  get(flow: FlowRef): Flow | undefined {
    const native = this.#native();
    return this.#gather((batch) => {
      addDeletion(batch, flow);
      const slab = nativeErrors(() => batch.find(native));
      return slab === undefined ? undefined : new FlowRecord(slab, 0);
    });
  }

  apply(
    changes: readonly FlowChange[],
    options?: { readonly atomic?: boolean },
  ): readonly (Ufid | boolean)[] {
    this.#native();
    const { atomic } = checkOptions(options, 'the options of apply()', ['atomic']);
    const list = checkList(changes, 'changes');
    return this.#gather((batch) => {
      try {
        for (let i = 0; i < list.length; i++) addChange(batch, list[i], i);
      } catch (error) {
        batch.readTexts(); // An earlier change that cannot be read is told of first.
        throw error;
      }
      return this.#apply(batch, atomic !== undefined && checkBoolean(atomic, 'atomic'));
    });
  }

  /** Carries out one change, and returns its outcome. */
  #one(add: (batch: ChangeBatch) => void): Ufid | boolean {
    return this.#gather((batch) => {
      add(batch);
      return this.#apply(batch, true)[0]!;
    });
  }

  /** Lends an empty batch. Getters of what is given may come back here: let them find none. */
  #gather<T>(use: (batch: ChangeBatch) => T): T {
    const batch = this.#spare ?? new ChangeBatch(this.#ports);
    this.#spare = undefined;
    try {
      return use(batch);
    } finally {
      batch.clear();
      this.#spare = batch;
    }
  }

  #apply(batch: ChangeBatch, atomic: boolean): (Ufid | boolean)[] {
    const outcomes = nativeErrors(() => batch.apply(this.#native(), atomic));
    if (batch.failed === 0) return outcomes as (Ufid | boolean)[];
    const failures = outcomes.filter((outcome) => outcome instanceof DatapathError);
    const first = failures[0]!;
    if (failures.length === 1) throw first;
    throw new DatapathError(
      `${failures.length} of ${batch.length} changes failed, the first: ${first.message}`,
      { code: first.code, hint: first.hint, cause: new AggregateError(failures) },
    );
  }

  dump(filter?: DumpFilter): AsyncIterableIterator<Flow> {
    this.#native();
    const given = checkOptions(filter, 'the filter of dump()', ['inPort', 'core', 'signal']);
    const signal = signalOf(given);
    const inPort =
      given.inPort === undefined ? undefined : this.#ports.number(given.inPort as PortRef);
    const core = checkCore(given.core);
    const read = (cursor: number) => {
      const chunk = this.#native().flowDump(cursor, kChunk, core, inPort);
      if (chunk === undefined) throw noThread(core as Core);
      return chunk;
    };
    return new FlowDump(read, signal);
  }

  clear(): number {
    return this.#native().flowClear();
  }

  toJSON(): object {
    return { size: this.size };
  }

  [inspect.custom](): string {
    return `FlowTable ${inspect(this.toJSON())}`;
  }
}

entries(DatapathFlowTable);

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
