/**
 * Datapath: ports, flows, packets and events, for TypeScript. What it does is done by the core; see
 * binding.ts.
 */
import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import {
  addon,
  type Core,
  type NativeDatapath,
  type NativeOptions,
  type NativePortSpec,
} from './binding.js';
import {
  checkBoolean,
  checkBytes,
  checkInteger,
  checkObject,
  checkOptions,
  kMaxU32,
  signalOf,
  throwIfAborted,
  untilAborted,
} from './check.js';
import { type Changes, Configurator, type DatapathConfig, readConfig } from './configure.js';
import { entries, pointAt } from './entry.js';
import { DatapathError, fromNative, invalid } from './errors.js';
import { checkCore, DatapathFlowTable } from './flows/table.js';
import type { ActionsLike, FlowTable } from './flows/types.js';
import { type DatapathEvents, News } from './news.js';
import { encodeActions } from './odp/index.js';
import { type DatapathOptions, readOptions, withDefaults } from './options.js';
import { DatapathPort } from './ports/handle.js';
import { readPortSpec } from './ports/spec.js';
import { type Ports, PortTable } from './ports/table.js';
import type { Port, PortNumber, PortOf, PortRef, PortSpec, PortType } from './ports/types.js';
import { type DatapathStats, statsOf } from './stats.js';
import { type Execution, executionOf, FrameTrace, type Trace } from './trace.js';
import { UpcallSource } from './upcalls/source.js';
import type { UpcallBatch, UpcallHandler } from './upcalls/types.js';
import { PortWire, type Wire } from './wire.js';

export interface Abortable {
  /** Aborted: rejects with ABORT_ERR, and nothing has changed. */
  readonly signal?: AbortSignal;
}

export interface ReloadReport {
  readonly core: Core;
  readonly numa: number;
  /** Entries in the thread's private port cache after the reload. */
  readonly ports: number;
  readonly rxqs: number;
  /** Request to acknowledgement. */
  readonly latencyUs: number;
}

/** One line of the table of port types. `reason`: why the type is not available. */
export interface PortTypeInfo {
  readonly type: PortType;
  readonly available: boolean;
  readonly reason?: string;
}

const kMinFrame = 14;
const kMaxFrame = 65_535;

/**
 * A datapath of its own: threads, ports, flow table. While it is open it keeps the process alive,
 * like a server that listens; see `unref()`.
 *
 * Errors, for every method: EINVAL for arguments that make no sense, ENODEV for a port that does
 * not exist, and ERR_DATAPATH_CLOSED once `close()` was called. All are `DatapathError`s, most with
 * a `hint`.
 */
export class Datapath extends EventEmitter<DatapathEvents> implements AsyncDisposable {
  readonly name: string;
  readonly flows: FlowTable;
  readonly #native: NativeDatapath;
  readonly #ports: PortTable;
  readonly #upcalls: UpcallSource;
  readonly #configurator: Configurator;
  readonly #news: News;
  #options: NativeOptions;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #closed: Promise<void> | undefined;

  /** Needs no privilege and opens no device. Throws EINVAL for options that make no sense. */
  constructor(options: DatapathOptions = {}) {
    super();
    try {
      this.#options = withDefaults(readOptions(options));
      this.name = this.#options.name;
      this.#native = new addon.NativeDatapath(this.#options, () => this.#wake());
    } catch (error) {
      throw pointAt(fromNative(error), Datapath);
    }
    const live = () => this.#live();
    this.#ports = new PortTable(live);
    this.flows = new DatapathFlowTable(live, this.#ports);
    this.#news = new News(this, this.#native, (id) =>
      this.#state === 'open' ? this.#ports.get(id) : undefined,
    );
    this.#upcalls = new UpcallSource(this.#native, this.#ports, (error) => this.#news.fail(error));
    this.#configurator = new Configurator({
      live,
      ports: this.#ports,
      options: () => this.#options,
      setOptions: (wanted) => this.#setOptions(wanted),
      addPort: (spec, revived) => this.#addPort(spec, undefined, revived),
      deletePort: (port) => this.#deletePort(port),
      renumberPort: (port, number) => this.#renumberPort(port, number),
    });
  }

  /** `new`, then ports and flows of the configuration; all or nothing. */
  static async open(config: DatapathConfig, options?: Abortable): Promise<Datapath> {
    const signal = signalOf(checkOptions(options, 'the options of open()', ['signal']));
    throwIfAborted(signal);
    const { options: _, ...contents } = readConfig(config);
    const datapath = new Datapath(
      Object.fromEntries(
        Object.entries(config).filter(([key]) => key !== 'ports' && key !== 'flows'),
      ),
    );
    try {
      await datapath.#configurator.configure({ ...contents, options: {} }, { signal });
      return datapath;
    } catch (error) {
      await datapath.close();
      throw error;
    }
  }

  /** Every port type, and the reason for those that this build and this machine cannot offer. */
  static portTypes(): readonly PortTypeInfo[] {
    return addon.portTypes() as PortTypeInfo[];
  }

  /** Typed as it was before there was `portTrouble`: whoever wrote that type down still compiles. */
  override eventNames(): Exclude<keyof DatapathEvents, 'portTrouble'>[] {
    return super.eventNames() as Exclude<keyof DatapathEvents, 'portTrouble'>[];
  }

  get state(): 'open' | 'closing' | 'closed' {
    return this.#state;
  }

  /**
   * By name or number, to look at. A port is in it from the moment every thread can output to it until its deletion
   * begins.
   */
  get ports(): Ports {
    return this.#ports.view;
  }

  // ------------------------------------------------------------------------------------------------------------ ports

  /**
   * Resolves when every thread can output to the port. EEXIST name in use, EBUSY number in use,
   * EFBIG no number left, ENODEV no such interface, EPERM with a hint naming the capability.
   * Aborted while the device opens: it is closed again first.
   */
  async addPort<T extends PortSpec>(spec: T, options?: Abortable): Promise<PortOf<T>> {
    this.#live();
    const wanted = readPortSpec(spec);
    const signal = signalOf(checkOptions(options, 'the options of addPort()', ['signal']));
    throwIfAborted(signal);
    return (await this.#addPort(wanted, signal)) as unknown as PortOf<T>;
  }

  /**
   * Resolves when no thread can reach the port any more and its device is closed. ENODEV unknown
   * port. Cannot be aborted once it has begun.
   */
  async deletePort(port: PortRef, options?: Abortable): Promise<void> {
    this.#live();
    const signal = signalOf(checkOptions(options, 'the options of deletePort()', ['signal']));
    throwIfAborted(signal);
    await this.#deletePort(this.#ports.resolve(port).port);
  }

  /**
   * Gives a port another number; resolves when every thread uses the new one. EBUSY number in use. Cannot be
   * aborted once it has begun.
   */
  async renumberPort(port: PortRef, number: PortNumber, options?: Abortable): Promise<Port> {
    this.#live();
    throwIfAborted(signalOf(checkOptions(options, 'the options of renumberPort()', ['signal'])));
    const wanted = checkInteger(number, "a port's number", 0, 65_535);
    return this.#renumberPort(this.#ports.resolve(port).port, wanted);
  }

  /**
   * Asks every thread (or the PMD thread of one core) to reload its queues and ports; resolves when
   * all have acknowledged. ENOENT no thread on that core. Aborted: nobody waits for it any more.
   */
  async reload(core?: number, options?: Abortable): Promise<readonly ReloadReport[]> {
    const native = this.#live();
    const signal = signalOf(checkOptions(options, 'the options of reload()', ['signal']));
    throwIfAborted(signal);
    return untilAborted(this.#ask(native.reload(checkCore(core))), signal);
  }

  /**
   * Joins two ports: whatever comes in at one, tagged or not, of any type, goes out at the other, until the
   * wire is removed. It is two flows without a timeout, both or none; deleting or renumbering a port leaves
   * them. EINVAL for a port and itself, and where a flow of either port overlaps; EEXIST where one with that
   * match is there.
   */
  wire(a: PortRef, b: PortRef): Wire {
    this.#live();
    const { port: from } = this.#ports.resolve(a);
    const { port: to } = this.#ports.resolve(b);
    return new PortWire({ live: () => this.#live(), names: this.#ports }, from, to);
  }

  async #addPort(
    spec: NativePortSpec,
    signal: AbortSignal | undefined,
    revived?: DatapathPort,
  ): Promise<DatapathPort> {
    const info = await this.#ask(this.#live().addPort(spec));
    const port = this.#ports.enter(info, spec, revived);
    if (signal?.aborted) {
      await this.#deletePort(port);
      throwIfAborted(signal);
    }
    // Closing has begun: the port is going, and who awaits it must not use it.
    this.#live();
    this.#ports.publish(port);
    return port;
  }

  async #deletePort(port: DatapathPort): Promise<void> {
    const record = DatapathPort.recordOf(port)!;
    const native = this.#live();
    this.#ports.unpublish(port);
    await this.#ask(native.deletePort(record.id));
    this.#ports.remove(port);
  }

  async #renumberPort(port: DatapathPort, number: number): Promise<Port> {
    const record = DatapathPort.recordOf(port)!;
    return this.#ports.enter(await this.#ask(this.#live().renumberPort(record.id, number)));
  }

  // ---------------------------------------------------------------------------------------------------- configuration

  /**
   * Make the running datapath equal to `config`, touching only what differs; all or nothing. What
   * `config` does not mention stays: without `ports` all ports, without `flows` all flows, and
   * every option that is left out. An empty list removes all. Ports are told apart by name, flows
   * by match. `dryRun` only says what would change. The name, the topology and the clock cannot be
   * changed (EINVAL).
   */
  async configure(
    config: DatapathConfig,
    options?: { readonly dryRun?: boolean } & Abortable,
  ): Promise<Changes> {
    this.#live();
    const wanted = readConfig(config);
    const given = checkOptions(options, 'the options of configure()', ['dryRun', 'signal']);
    const signal = signalOf(given);
    throwIfAborted(signal);
    const dryRun = given.dryRun !== undefined && checkBoolean(given.dryRun, 'dryRun');
    if (dryRun) return this.#configurator.plan(wanted);
    return this.#configurator.configure(wanted, { signal });
  }

  async #setOptions(wanted: NativeOptions): Promise<void> {
    await this.#ask(this.#live().setOptions(wanted));
    this.#options = wanted;
  }

  // ---------------------------------------------------------------------------------------------------------- packets

  /**
   * Run one frame through actions in the caller's thread, on the non-PMD context. Returns the frame
   * as the last action left it. Never waits for a port being added or deleted. EINVAL: frame under
   * 14 or over 65535 bytes, bad actions. With `report`, what became of it, too.
   */
  execute(
    frame: Uint8Array,
    actions: ActionsLike,
    options: { readonly inPort?: PortRef; readonly report: true },
  ): Execution;
  execute(
    frame: Uint8Array,
    actions: ActionsLike,
    options?: { readonly inPort?: PortRef; readonly report?: false },
  ): Buffer;
  execute(
    frame: Uint8Array,
    actions: ActionsLike,
    options?: { readonly inPort?: PortRef; readonly report?: boolean },
  ): Buffer | Execution {
    const native = this.#live();
    checkFrame(frame);
    const given = checkOptions(options, 'the options of execute()', ['inPort', 'report']);
    const { inPort } = given as { readonly inPort?: PortRef };
    const report = given.report !== undefined && checkBoolean(given.report, 'report');
    const number = inPort === undefined ? undefined : this.#ports.number(inPort);
    const encoded = encodeActions(actions, this.#ports);
    try {
      if (!report) return native.execute(frame, encoded, number, false);
      const { frame: left, steps } = native.execute(frame, encoded, number, true);
      return executionOf(left, steps, this.#ports);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * The path a frame would take if it came from this port now, step by step: through parser, cache,
   * classifier and the actions of its flow, recirculated as often as they say. Nothing is sent,
   * handed to the program, cached or counted. The cache asked is that of the non-PMD context; what a PMD
   * thread has cached for its ports only that thread knows, and it matters only where flows overlap (see
   * `TraceStep`). `seed`: where a sample is left to chance, the numbers drawn follow from it; default 0.
   * Errors as for execute().
   */
  trace(frame: Uint8Array, options: { readonly inPort: PortRef; readonly seed?: number }): Trace {
    const native = this.#live();
    checkFrame(frame);
    const { inPort, seed = 0 } = checkObject(options, 'the options of trace()', ['inPort', 'seed']);
    const number = this.#ports.number(inPort as PortRef);
    const checked = checkInteger(seed, 'seed', 0, kMaxU32);
    try {
      return new FrameTrace(native.trace(frame, number, checked), number, this.#ports);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * One consumer of packets that no flow matches (or that a `userspace` action hands over). null:
   * none; such packets are then dropped and counted. EBUSY there is one already.
   */
  onUpcall(handler: UpcallHandler | null): void {
    this.#live();
    this.#upcalls.setHandler(handler);
  }

  /**
   * The one consumer of upcalls, as an iterator: it is the consumer from this call on until it ends. The verdicts
   * of a batch are sent when the next one is asked for. Ends when the datapath closes; throws ABORT_ERR once the
   * signal is aborted. EBUSY there is a consumer already.
   */
  upcalls(options?: Abortable): AsyncIterableIterator<UpcallBatch> {
    this.#live();
    const signal = signalOf(checkOptions(options, 'the options of upcalls()', ['signal']));
    return this.#upcalls.iterate(signal);
  }

  stats(): DatapathStats {
    return statsOf(this.#live().stats());
  }

  /**
   * Resolves when every frame handed in before the call has been forwarded, dropped or queued for
   * an upcall.
   */
  async settle(options?: Abortable): Promise<void> {
    const native = this.#live();
    const signal = signalOf(checkOptions(options, 'the options of settle()', ['signal']));
    throwIfAborted(signal);
    await untilAborted(this.#ask(native.settle()), signal);
  }

  /** Moves the clock, and does what becomes due. EINVAL unless the option `clock` is 'manual'. */
  async advance(ms: number, options?: Abortable): Promise<void> {
    const native = this.#live();
    throwIfAborted(signalOf(checkOptions(options, 'the options of advance()', ['signal'])));
    await this.#ask(native.advance(checkInteger(ms, 'ms', 0, kMaxU32)));
  }

  // ------------------------------------------------------------------------------------------------------------- life

  /** The opposite of `unref()`. */
  ref(): this {
    this.#native.setRef(true);
    return this;
  }

  /** Let the process end when nothing but this datapath is left. */
  unref(): this {
    this.#native.setRef(false);
    return this;
  }

  /**
   * Idempotent. Stops threads, closes devices, frees everything; packets still queued are dropped.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#state = 'closing';
    this.#upcalls.end();
    try {
      await this.#native.close();
    } catch (error) {
      throw fromNative(error);
    } finally {
      this.#state = 'closed';
      this.#ports.clear();
    }
    // Listeners have been called when the promise resolves, and what they throw is not its
    // business.
    await new Promise<void>((resolve) => {
      process.nextTick(() => {
        resolve();
        this.emit('close');
      });
    });
  }

  toJSON(): object {
    return {
      name: this.name,
      state: this.#state,
      ports: [...this.ports.values()],
      flows: this.#state === 'open' ? this.flows.size : 0,
    };
  }

  [inspect.custom](): string {
    const flows = this.#state === 'open' ? this.flows.size : 0;
    return `Datapath ${inspect({ name: this.name, state: this.#state, ports: this.ports, flows })}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #live(): NativeDatapath {
    if (this.#state === 'open') return this.#native;
    throw this.#closedError();
  }

  #closedError(cause?: unknown): DatapathError {
    return new DatapathError(`datapath "${this.name}" is ${this.#state}`, {
      code: 'ERR_DATAPATH_CLOSED',
      hint: 'a closed datapath does not come back: make a new one',
      cause,
    });
  }

  /** A command's promise, rejecting with a DatapathError. */
  async #ask<T>(command: Promise<T>): Promise<T> {
    try {
      return await command;
    } catch (error) {
      const failure = fromNative(error);
      throw failure.code === 'ERR_DATAPATH_CLOSED' ? this.#closedError(failure) : failure;
    }
  }

  // ------------------------------------------------------------------------------------------------------------- news

  /** Called by the event loop through the addon: takes what is there. Must not throw. */
  #wake(): void {
    try {
      for (const event of this.#native.takeEvents()) this.#news.tell(event);
      if (this.#state === 'open') this.#upcalls.wake();
    } catch (error) {
      const failure = fromNative(error);
      if (failure.code !== 'ERR_DATAPATH_CLOSED') this.#news.fail(failure);
    }
  }
}

entries(Datapath, ['open', 'portTypes']);

function checkFrame(frame: unknown): void {
  const { length } = checkBytes(frame, 'frame');
  if (length >= kMinFrame && length <= kMaxFrame) return;
  throw invalid(`a frame has ${kMinFrame} to ${kMaxFrame} bytes, this one has ${length}`, {
    hint:
      length < kMinFrame
        ? 'it starts with the Ethernet header: destination, source, type'
        : 'cut it into smaller ones: the length of a packet has 16 bits',
  });
}
