/**
 * configure(): from what there is and what is wanted to a plan, and from the plan to steps that can
 * be undone.
 *
 * A plan fixes everything beforehand, port numbers included, so that flows can be read (and
 * refused) before anything is touched and a dry run says the truth. Steps run in order: options,
 * ports (removals, changes, additions), then all flows as one atomic change, which needs no undoing
 * of its own. When a step fails, those before it are undone in reverse.
 */
import { setImmediate } from 'node:timers/promises';
import type { NativeDatapath, NativeOptions, NativePortSpec } from './binding.js';
import { checkList, checkObject, throwIfAborted } from './check.js';
import { DatapathError, fromNative, invalid } from './errors.js';
import { type Change, encodePut, type Put } from './flows/change.js';
import { ChangeBatch } from './flows/change-batch.js';
import { FlowRecord } from './flows/records.js';
import { readFlowSpec } from './flows/table.js';
import type { FlowSpec } from './flows/types.js';
import {
  decodeActions,
  decodeMatch,
  formatActions,
  formatMatch,
  formatUfid,
  type PortNames,
  suggest,
} from './odp/index.js';
import { compareOptions, type DatapathOptions, optionKeys, readOptions } from './options.js';
import { DatapathPort, type PortRecord } from './ports/handle.js';
import { readPortSpec, sameSpec } from './ports/spec.js';
import type { PortTable } from './ports/table.js';
import type { PortSpec } from './ports/types.js';

export interface DatapathConfig extends DatapathOptions {
  readonly ports?: readonly PortSpec[];
  readonly flows?: readonly FlowSpec[];
}

/** Ports by name, flows as text (match and actions), options by key. */
export interface Changes {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
  readonly unchanged: readonly string[];
}

/** A configuration, checked. What is undefined is to stay as it is. */
export interface Wanted {
  readonly options: Partial<NativeOptions>;
  readonly ports: readonly NativePortSpec[] | undefined;
  readonly flows: readonly FlowSpec[] | undefined;
}

export function readConfig(value: unknown): Wanted {
  const config = checkObject(value, 'a configuration', [...optionKeys, 'ports', 'flows']);
  const { ports, flows } = config;
  const specs = ports === undefined ? undefined : checkList(ports, 'ports').map(readPortSpec);
  refuseTwins(specs ?? []);
  return {
    options: readOptions(config, ['ports', 'flows']),
    ports: specs,
    flows:
      flows === undefined
        ? undefined
        : checkList(flows, 'flows').map((flow, i) => readFlowSpec(flow, `flows[${i}]`)),
  };
}

function refuseTwins(specs: readonly NativePortSpec[]): void {
  const names = new Set<string>();
  const numbers = new Map<number, string>();
  for (const { name, number } of specs) {
    if (names.has(name)) {
      throw new DatapathError(`the configuration has two ports "${name}"`, {
        code: 'EEXIST',
        port: name,
        hint: 'give one of them another name',
      });
    }
    names.add(name);
    if (number === undefined) continue;
    const other = numbers.get(number);
    if (other !== undefined) {
      throw new DatapathError(`ports "${other}" and "${name}" have the same number ${number}`, {
        code: 'EBUSY',
        port: name,
        hint: 'a port without a number gets a free one',
      });
    }
    numbers.set(number, name);
  }
}

/** The datapath, as far as the configurator uses it. */
export interface Configurable {
  /** Throws once the datapath is closed. */
  live(): NativeDatapath;
  readonly ports: PortTable;
  options(): NativeOptions;
  setOptions(wanted: NativeOptions): Promise<void>;
  /** `revived`: the handle to bring back instead of making a new one. */
  addPort(spec: NativePortSpec, revived?: DatapathPort): Promise<DatapathPort>;
  deletePort(port: DatapathPort): Promise<void>;
  renumberPort(port: DatapathPort, number: number): Promise<unknown>;
}

interface Existing {
  readonly port: DatapathPort;
  readonly record: PortRecord;
}

/** A port that stays under its name; `spec` if it must be made anew. */
interface PortChange extends Existing {
  readonly number: number;
  readonly spec: NativePortSpec | undefined;
}

interface Plan {
  readonly options: NativeOptions | undefined;
  readonly removed: readonly Existing[];
  readonly changed: readonly PortChange[];
  readonly added: readonly NativePortSpec[];
  readonly flows: readonly Change[];
  readonly changes: Changes;
}

type MutableChanges = { -readonly [K in keyof Changes]: string[] };

export class Configurator {
  readonly #host: Configurable;
  /** One at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(host: Configurable) {
    this.#host = host;
  }

  /** Says what configure() would change. */
  async plan(wanted: Wanted): Promise<Changes> {
    return (await this.#plan(wanted)).changes;
  }

  configure(wanted: Wanted, options: { signal: AbortSignal | undefined }): Promise<Changes> {
    const result = this.#last.then(() => this.#configure(wanted, options.signal));
    this.#last = result.catch(() => {});
    return result;
  }

  async #configure(wanted: Wanted, signal: AbortSignal | undefined): Promise<Changes> {
    const plan = await this.#plan(wanted);
    const undo: (() => Promise<unknown>)[] = [];
    const ports = [...this.#host.ports.published.values()];
    try {
      await this.#apply(plan, undo, signal);
    } catch (error) {
      const failure = await rollBack(undo, fromNative(error));
      this.#host.ports.reorder(ports);
      throw failure;
    }
    return plan.changes;
  }

  // ------------------------------------------------------------------------------------------------------------- plan

  async #plan(wanted: Wanted): Promise<Plan> {
    const changes: MutableChanges = { added: [], removed: [], changed: [], unchanged: [] };
    const current = this.#host.options();
    const options = compareOptions(current, wanted.options);
    const fixed = options.changed.find((key) => ['name', 'topology', 'clock'].includes(key));
    if (fixed !== undefined) {
      throw invalid(`"${fixed}" of a running datapath cannot be changed`, {
        hint: 'close it and open another',
      });
    }
    changes.changed.push(...options.changed);
    changes.unchanged.push(...options.unchanged);

    const ports = this.#planPorts(wanted.ports, changes);
    const { flowLimit = current.flowLimit } = wanted.options;
    if (wanted.flows !== undefined && wanted.flows.length > flowLimit) {
      throw new DatapathError(`${wanted.flows.length} flows, and flowLimit is ${flowLimit}`, {
        code: 'ENOSPC',
        hint: 'raise flowLimit',
      });
    }
    const flows = await this.#planFlows(wanted.flows, ports.names, changes);
    return {
      options: options.changed.length === 0 ? undefined : { ...current, ...wanted.options },
      ...ports,
      flows,
      changes,
    };
  }

  #planPorts(wanted: Wanted['ports'], changes: MutableChanges) {
    const { ports: table } = this.#host;
    if (wanted === undefined) {
      return { removed: [], changed: [], added: [], names: table };
    }
    const present = new Map<string, Existing>(
      [...table.published].map(([name, port]) => [name, table.resolve(port)]),
    );
    const numbers = assignNumbers(wanted, present);
    const removed = [...present.values()].filter(({ record }) => !numbers.has(record.name));
    const changed: PortChange[] = [];
    const added: NativePortSpec[] = [];
    for (const spec of wanted) {
      const { name } = spec;
      const number = numbers.get(name)!;
      const existing = present.get(name);
      if (existing === undefined) {
        added.push({ ...spec, number });
        changes.added.push(name);
        continue;
      }
      const same = existing.record.spec !== undefined && sameSpec(existing.record.spec, spec);
      if (same && existing.record.number === number) {
        changes.unchanged.push(name);
      } else {
        changed.push({ ...existing, number, spec: same ? undefined : { ...spec, number } });
        changes.changed.push(name);
      }
    }
    changes.removed.push(...removed.map(({ record }) => record.name));
    return { removed, changed, added, names: namesOf(numbers) };
  }

  async #planFlows(wanted: Wanted['flows'], names: PortNames, changes: MutableChanges) {
    const flows: Change[] = [];
    if (wanted === undefined) return flows;

    const native = this.#host.live();
    const batch = new ChangeBatch(names);
    const puts: Put[] = [];
    const staying = new Set<string>();
    const seen = new Map<string, number>();
    wanted.forEach((spec, i) => {
      const put = encodePut(spec, names);
      const identity = Buffer.concat([put.key, put.mask]).toString('latin1');
      const twin = seen.get(identity);
      if (twin !== undefined) {
        throw invalid(`flows[${twin}] and flows[${i}] have the same match`, {
          hint: 'a match has one list of actions',
        });
      }
      seen.set(identity, i);
      const text = flowText(put.key, put.mask, put.actions);
      batch.clear();
      batch.add({ key: put.key, mask: put.mask });
      const found = batch.find(native);
      const flow = found && new FlowRecord(found, 0);
      if (flow !== undefined) {
        const renamed = put.ufid !== undefined && formatUfid(put.ufid) !== flow.ufid;
        const sameTimeout = flow.idleTimeoutMs === spec.idleTimeoutMs;
        if (!renamed && sameTimeout && FlowRecord.attributesOf(flow).actions.equals(put.actions)) {
          staying.add(flow.ufid);
          changes.unchanged.push(text);
          return;
        }
        changes.changed.push(text);
        staying.add(flow.ufid);
        if (renamed) flows.push({ key: put.key, mask: put.mask });
      } else {
        changes.added.push(text);
      }
      puts.push(put);
    });

    for (let cursor = 0; ; await setImmediate()) {
      const chunk = this.#host.live().flowDump(cursor, 256);
      if (chunk?.slab === undefined) break;
      cursor = chunk.cursor;
      for (const flow of FlowRecord.of(chunk.slab)) {
        if (staying.has(flow.ufid)) continue;
        const { key, mask, actions } = FlowRecord.attributesOf(flow);
        flows.push({ key, mask });
        changes.removed.push(flowText(key, mask, actions));
      }
    }
    // Removals first: they make room, and end overlaps.
    flows.push(...puts);
    return flows;
  }

  // ------------------------------------------------------------------------------------------------------------ apply

  async #apply(
    plan: Plan,
    undo: (() => Promise<unknown>)[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const host = this.#host;
    const step = async <T>(run: () => Promise<T>, back: (result: T) => Promise<unknown>) => {
      throwIfAborted(signal);
      const result = await run();
      undo.push(() => back(result));
      return result;
    };
    const remove = ({ port, record }: Existing) => {
      const waits = record.state === 'gone' && ['af_packet', 'af_xdp'].includes(record.type);
      // One whose interface is gone comes back as it was.
      const spec = { ...record.spec!, number: record.number, ...(waits && { wait: true }) };
      return step(
        () => host.deletePort(port),
        () => host.addPort(spec, port),
      );
    };
    const add = (spec: NativePortSpec) =>
      step(
        () => host.addPort(spec),
        (port) => host.deletePort(port),
      );
    const renumber = ({ port, record }: Existing, number: number) => {
      const before = record.number;
      return step(
        () => host.renumberPort(port, number),
        () => host.renumberPort(port, before),
      );
    };

    const setOptions = (wanted: NativeOptions) => {
      const before = host.options();
      return step(
        () => host.setOptions(wanted),
        () => host.setOptions(before),
      );
    };

    // A lower limit removes flows for good: it comes last, when nothing can fail any more.
    const { options } = plan;
    const roomy = Math.max(options?.flowLimit ?? 0, host.options().flowLimit);
    if (options !== undefined) await setOptions({ ...options, flowLimit: roomy });
    for (const port of plan.removed) await remove(port);
    // Ports that are made anew go first: one may want the interface that another has.
    for (const change of plan.changed) if (change.spec !== undefined) await remove(change);

    const waiting = [...plan.changed];
    while (waiting.length > 0) {
      const taken = new Set([...host.ports.published.values()].map(({ number }) => number));
      const next = waiting.findIndex(
        ({ record, number }) => record.number === number || !taken.has(number),
      );
      // Whoever steps aside is there.
      const present = waiting.findIndex(({ spec }) => spec === undefined);
      const change = waiting[next < 0 ? Math.max(present, 0) : next]!;
      if (next < 0) {
        const owner = [...host.ports.published.values()].find(
          ({ number }) => number === change.number,
        );
        if (owner !== undefined && !waiting.some(({ port }) => port === owner)) {
          throw new DatapathError(
            `port number ${change.number} is in use by "${owner.name}", which was added meanwhile`,
            {
              code: 'EBUSY',
              port: owner.name,
              hint: 'call configure() again, with that port in it or without',
            },
          );
        }
        // They wait for each other's numbers: one steps aside.
        let aside = 65_535;
        while (taken.has(aside)) aside--;
        await renumber(change, aside);
        continue;
      }
      waiting.splice(next, 1);
      if (change.spec === undefined) {
        await renumber(change, change.number);
      } else {
        await add(change.spec);
      }
    }
    for (const spec of plan.added) await add(spec);
    throwIfAborted(signal);
    const batch = new ChangeBatch(host.ports);
    for (const change of plan.flows) batch.add(change);
    const outcomes = batch.apply(host.live(), true);
    const failure = outcomes.find((outcome) => outcome instanceof DatapathError);
    if (failure !== undefined) throw failure;
    if (options !== undefined && options.flowLimit < roomy) await host.setOptions(options);
  }
}

/** The number of every wanted port: its own, else the one it has, else the lowest that is free. */
function assignNumbers(
  wanted: readonly NativePortSpec[],
  present: ReadonlyMap<string, Existing>,
): Map<string, number> {
  const numbers = new Map<string, number>();
  const taken = new Set<number>();
  const assign = (name: string, number: number) => {
    numbers.set(name, number);
    taken.add(number);
  };
  for (const { name, number } of wanted) if (number !== undefined) assign(name, number);
  for (const { name } of wanted) {
    const number = present.get(name)?.record.number;
    if (!numbers.has(name) && number !== undefined && !taken.has(number)) assign(name, number);
  }
  let free = 1;
  for (const { name } of wanted) {
    if (numbers.has(name)) continue;
    while (taken.has(free)) free++;
    assign(name, free);
  }
  return numbers;
}

/** Names as they will be. */
function namesOf(numbers: ReadonlyMap<string, number>): PortNames {
  return {
    number(ref) {
      if (typeof ref === 'number') return ref;
      const name = typeof ref === 'string' ? ref : DatapathPort.recordOf(ref)?.name;
      const number = name === undefined ? undefined : numbers.get(name);
      if (number !== undefined) return number;
      throw new DatapathError(`the configuration has no port ${JSON.stringify(name)}`, {
        code: 'ENODEV',
        port: name,
        hint: suggest(String(name), numbers.keys(), 'ports') ?? 'it has no ports',
      });
    },
    name(number) {
      for (const [name, its] of numbers) if (its === number) return name;
      return undefined;
    },
  };
}

function flowText(key: Uint8Array, mask: Uint8Array, actions: Uint8Array): string {
  return `${formatMatch(decodeMatch(key, mask))}, actions:${formatActions(decodeActions(actions))}`;
}

/** Undoes in reverse; returns the error to throw. */
async function rollBack(
  undo: readonly (() => Promise<unknown>)[],
  error: DatapathError,
): Promise<DatapathError> {
  const failures: unknown[] = [];
  for (const back of undo.toReversed()) {
    try {
      await back();
    } catch (failure) {
      failures.push(failure);
    }
  }
  // A datapath that is closed needs no undoing.
  if (failures.length === 0 || error.code === 'ERR_DATAPATH_CLOSED') return error;
  return new DatapathError(`${error.message}; and not everything could be undone`, {
    code: error.code,
    hint: 'call configure() again, or look at ports and flows',
    cause: new AggregateError([error, ...failures]),
  });
}
