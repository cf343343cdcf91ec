/**
 * Upcalls: packets that wait for the program's verdict.
 *
 * They are taken in batches, one copy of memory each, and answered in batches: verdicts are methods
 * of the upcall, collected and sent in one call when the handler is through with the batch. A
 * packet without a verdict is dropped. Between batches the event loop gets its turn, and no more
 * than a few batches are under way at a time: what comes beyond that waits in the core's bounded
 * queues.
 */
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { addon, type NativeDatapath, type NativeUpcalls } from '../binding.js';
import { abortError, checkIdleTimeout, checkOptions, throwIfAborted } from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, fromNative, invalid, isError, show } from '../errors.js';
import type { Attributes } from '../flows/change.js';
import { ChangeBatch } from '../flows/change-batch.js';
import type { ActionsLike, FlowMatch, MatchLike } from '../flows/types.js';
import { forJson } from '../json.js';
import { decodeMatch, type Ufid } from '../odp/index.js';
import type { PortTable } from '../ports/table.js';
import type { Port } from '../ports/types.js';

/** A flow that `install()` asked for. */
export interface InstalledFlow {
  /**
   * Of the flow with that match: it is in the table once the handler has returned, unless the verdict was
   * refused, another flow takes the packet, or the flow was put before under a ufid of its own. Worked out
   * when somebody looks first.
   */
  readonly ufid: Ufid;
}

/**
 * A packet that no flow matches, or that a `userspace` action hands over. It gets one verdict; a
 * second throws EALREADY.
 */
export interface Upcall {
  readonly reason: 'miss' | 'action';
  /**
   * Where it came from. Of a packet that `execute()` handed over without an `inPort`: a port of the name
   * "none", which is closed and has a number that no port has; a verdict may execute or drop it.
   */
  readonly inPort: Port;
  /**
   * A copy, up to `upcall.snapLength` bytes. It shares its memory with the other frames of the
   * batch.
   */
  readonly frame: Buffer;
  /** Bytes of the whole frame. */
  readonly wireLength: number;
  /** Every field the parser found, exact. */
  readonly key: FlowMatch;
  /** Of the `userspace` action. */
  readonly userdata?: Buffer;
  /**
   * Install a flow and forward this packet by it; the flow counts it. `match` defaults to the exact
   * key. Throws EINVAL for what cannot be read; what the datapath refuses becomes an `error` event that
   * names port and packet, and the packet is dropped. If another flow takes packets of this one (that
   * installed for a packet before it, perhaps), or the table is full of pinned flows, nothing is installed
   * and the packet is forwarded all the same.
   */
  install(
    actions: ActionsLike,
    options?: { readonly match?: MatchLike; readonly idleTimeoutMs?: number },
  ): InstalledFlow;
  /** Forward this packet, and let the next one ask again. Errors as for install(). */
  execute(actions: ActionsLike): void;
  drop(): void;
  /** The port by name, numbers of more than 53 bits as decimal strings. */
  toJSON(): object;
}

export interface UpcallBatch extends Iterable<Upcall> {
  readonly length: number;
  /** Packets that found their queue full since the last batch. */
  readonly droppedSinceLast: bigint;
  /** Its upcalls. */
  toJSON(): object;
}

/**
 * Verdicts are sent when it returns, or when the promise it returns settles. If it throws or
 * rejects, what has no verdict yet is dropped, the datapath emits `error` (ERR_UPCALL_HANDLER, or warns if nobody listens), and
 * the handler stays.
 */
export type UpcallHandler = (batch: UpcallBatch) => void | Promise<void>;

/** Packets in a batch. */
const kBatch = 64;
/** Batches before the event loop gets its turn. */
const kBatchesPerTurn = 8;
/** Batches whose handler has not finished. */
const kMaxUnderWay = 8;

/**
 * A record: reason, port (0: none), length of the whole frame, lengths of frame, key and userdata, and
 * whether there is userdata, 32 bits each; then frame, key (for `addon.encodeKey`), userdata.
 * Little-endian.
 */
const kHeaderSize = 28;
const kNoMask = new Uint8Array(0);

// ------------------------------------------------------------------------------------------------------------- batches

/** Reads its part of the slab when somebody looks. */
class QueuedUpcall implements Upcall {
  readonly inPort: Port;
  readonly #batch: QueuedBatch;
  readonly #index: number;
  /** Of its record. */
  readonly #at: number;
  #frame: Buffer | undefined;
  #key: FlowMatch | undefined;

  constructor(batch: QueuedBatch, index: number, inPort: Port, at: number) {
    this.inPort = inPort;
    this.#batch = batch;
    this.#index = index;
    this.#at = at;
  }

  /** Its place in the batch that was taken. */
  get index(): number {
    return this.#index;
  }

  get reason(): 'miss' | 'action' {
    return this.#number(0) === 0 ? 'miss' : 'action';
  }

  get wireLength(): number {
    return this.#number(8);
  }

  get frame(): Buffer {
    this.#frame ??= this.#part(this.#at + kHeaderSize, this.#number(12));
    return this.#frame;
  }

  get userdata(): Buffer | undefined {
    if (this.#number(24) === 0) return undefined;
    const behind = this.#number(12) + this.#number(16);
    return this.#part(this.#at + kHeaderSize + behind, this.#number(20));
  }

  get key(): FlowMatch {
    this.#key ??= decodeMatch(addon.encodeKey(this.#keyBytes()));
    return this.#key;
  }

  install(
    actions: ActionsLike,
    options?: { readonly match?: MatchLike; readonly idleTimeoutMs?: number },
  ): InstalledFlow {
    const verdicts = this.#batch.open(this.#index);
    let match: MatchLike | undefined;
    let idleTimeoutMs: number | undefined;
    if (options !== undefined) {
      const given = checkOptions(options, 'the options of install()', ['match', 'idleTimeoutMs']);
      idleTimeoutMs = checkIdleTimeout(given.idleTimeoutMs);
      match = given.match as MatchLike | undefined;
    }
    const encoded = verdicts.install(this.#index, actions, match, idleTimeoutMs);
    this.#batch.decide(this.#index);
    return new AskedFlow(encoded ?? this);
  }

  /** The ufid of a flow with the packet's exact key. Not for users. */
  static ufidOf(upcall: QueuedUpcall): Ufid {
    return addon.ufidOf(addon.encodeKey(upcall.#keyBytes()), kNoMask);
  }

  #keyBytes(): Buffer {
    return this.#part(this.#at + kHeaderSize + this.#number(12), this.#number(16));
  }

  execute(actions: ActionsLike): void {
    this.#batch.open(this.#index).execute(this.#index, actions);
    this.#batch.decide(this.#index);
  }

  drop(): void {
    this.#batch.open(this.#index);
    this.#batch.decide(this.#index);
  }

  #number(at: number): number {
    return this.#batch.slab.readUInt32LE(this.#at + at);
  }

  #part(at: number, size: number): Buffer {
    return this.#batch.slab.subarray(at, at + size);
  }

  toJSON(): object {
    const { reason, inPort, wireLength, key, userdata, frame } = this;
    return { reason, inPort: inPort.name, wireLength, key: forJson(key), userdata, frame };
  }

  [inspect.custom](): string {
    const { reason, inPort, wireLength, key, userdata, frame } = this;
    const shown = { reason, inPort: inPort.name, wireLength, key, userdata, frame };
    return `Upcall ${inspect(shown)}`;
  }
}

entries(QueuedUpcall);

/** Works out what it has when somebody looks: thousands a millisecond are made, and few are looked at. */
class AskedFlow implements InstalledFlow {
  /** What the ufid follows from: a match, or the packet, whose whole batch stays until it is known. */
  #from: Attributes | QueuedUpcall | Ufid;

  constructor(from: Attributes | QueuedUpcall) {
    this.#from = from;
  }

  get ufid(): Ufid {
    const from = this.#from;
    if (typeof from === 'string') return from;
    const ufid =
      from instanceof QueuedUpcall ? QueuedUpcall.ufidOf(from) : addon.ufidOf(from.key, from.mask);
    this.#from = ufid;
    return ufid;
  }

  toJSON(): object {
    return { ufid: this.ufid };
  }

  [inspect.custom](): string {
    return `InstalledFlow ${inspect(this.toJSON())}`;
  }
}

entries(AskedFlow);

class QueuedBatch implements UpcallBatch {
  readonly source: UpcallSource;
  readonly slab: Buffer;
  readonly droppedSinceLast: bigint;
  readonly #upcalls: QueuedUpcall[] = [];
  readonly #first: number;
  readonly #count: number;
  readonly #decided: Uint8Array;
  #verdicts: ChangeBatch | undefined;
  #answered = false;

  constructor(source: UpcallSource, { slab, first, count }: NativeUpcalls, dropped: bigint) {
    this.source = source;
    this.slab = slab;
    this.droppedSinceLast = dropped;
    this.#first = first;
    this.#count = count;
    this.#decided = new Uint8Array(count);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const id = slab.readUInt32LE(at + 4);
      const port = id === 0 ? source.ports.none : source.ports.get(id);
      // A port that is gone: nothing is known of it any more, and the packet is dropped.
      if (port !== undefined) this.#upcalls.push(new QueuedUpcall(this, i, port, at));
      const sizes =
        slab.readUInt32LE(at + 12) + slab.readUInt32LE(at + 16) + slab.readUInt32LE(at + 20);
      at += kHeaderSize + sizes;
    }
  }

  get length(): number {
    return this.#upcalls.length;
  }

  /** As many as can be taken at a time: more may wait. */
  get full(): boolean {
    return this.#count === kBatch;
  }

  [Symbol.iterator](): Iterator<Upcall> {
    return this.#upcalls[Symbol.iterator]();
  }

  /** Where the verdict of an upcall goes that has none. */
  open(index: number): ChangeBatch {
    if (this.#answered || this.#decided[index] !== 0) {
      throw new DatapathError('this upcall has its verdict', {
        code: 'EALREADY',
        hint: this.#answered
          ? 'verdicts are sent when the handler returns (or its promise settles), or when the next batch is asked for'
          : 'call one of install(), execute() and drop(), once',
      });
    }
    this.#verdicts ??= this.source.borrow();
    return this.#verdicts;
  }

  decide(index: number): void {
    this.#decided[index] = 1;
  }

  /** Sends the verdicts, once. Never throws. */
  answer(): void {
    if (this.#answered) return;
    this.#answered = true;
    const { source } = this;
    const verdicts = this.#verdicts ?? source.borrow();
    this.#verdicts = undefined;
    try {
      const failed = verdicts.answer(source.native, this.#first, this.#count);
      for (const [place, error] of failed ?? []) {
        source.fail(this.#refused(place, fromNative(error)));
      }
    } catch (error) {
      const failure = fromNative(error);
      // Closing has dropped and counted the packets.
      if (failure.code !== 'ERR_DATAPATH_CLOSED') source.fail(failure);
    }
    source.giveBack(verdicts);
  }

  /** The error of a verdict, with the packet that it was for. */
  #refused(place: number, error: DatapathError): DatapathError {
    const upcall = this.#upcalls.find((one) => one.index === place);
    if (upcall === undefined) return error;
    const { inPort, reason, wireLength } = upcall;
    const packet = `a packet of port "${inPort.name}" (${reason}, ${wireLength} bytes)`;
    return new DatapathError(`the verdict for ${packet} was refused: ${error.message}`, {
      ...{ code: error.code, errno: error.errno, hint: error.hint, port: inPort.name },
    });
  }

  /** Names of the ports of its packets. */
  get ports(): string[] {
    return [...new Set(this.#upcalls.map(({ inPort }) => inPort.name))];
  }

  toJSON(): object {
    return this.#upcalls;
  }

  [inspect.custom](): string {
    return `UpcallBatch ${inspect(this.#upcalls)}`;
  }
}

// -------------------------------------------------------------------------------------------------------------- source

/** What a consumer does with the news that upcalls may wait. */
interface Consumer {
  wake(): void;
  /** No more upcalls: the datapath closes. */
  end(): void;
}

/** The upcalls of one datapath, and who takes them. */
export class UpcallSource {
  readonly native: NativeDatapath;
  readonly ports: PortTable;
  /** Tells the program of an error; never throws. */
  readonly fail: (error: DatapathError) => void;
  #consumer: Consumer | undefined;
  readonly #spare: ChangeBatch[] = [];
  /** Lost before a batch that was empty. */
  #dropped = 0n;

  constructor(native: NativeDatapath, ports: PortTable, fail: (error: DatapathError) => void) {
    this.native = native;
    this.ports = ports;
    this.fail = fail;
  }

  /** The next batch, if anything waits. */
  take(): QueuedBatch | undefined {
    const taken = this.native.takeUpcalls(kBatch);
    this.#dropped += taken.dropped;
    if (taken.count === 0) return undefined;
    const batch = new QueuedBatch(this, taken, this.#dropped);
    this.#dropped = 0n;
    return batch;
  }

  /** Lends an empty batch for verdicts. */
  borrow(): ChangeBatch {
    return this.#spare.pop() ?? new ChangeBatch(this.ports);
  }

  giveBack(verdicts: ChangeBatch): void {
    verdicts.clear();
    if (this.#spare.length < kMaxUnderWay) this.#spare.push(verdicts);
  }

  setHandler(handler: UpcallHandler | null): void {
    if (handler === null) {
      if (this.#consumer instanceof HandlerConsumer) this.release(this.#consumer);
      return;
    }
    if (typeof handler !== 'function') {
      throw invalid(`an upcall handler must be a function or null, got ${show(handler)}`);
    }
    this.#install(new HandlerConsumer(this, handler));
  }

  iterate(signal: AbortSignal | undefined): AsyncIterableIterator<UpcallBatch> {
    throwIfAborted(signal);
    const consumer = new IteratorConsumer(this, signal);
    this.#install(consumer);
    return consumer;
  }

  #install(consumer: Consumer): void {
    if (this.#consumer !== undefined) {
      throw new DatapathError('the datapath has a consumer of upcalls', {
        code: 'EBUSY',
        hint: 'there is one at a time: call onUpcall(null), or return() of the iterator, before the next',
      });
    }
    this.#consumer = consumer;
    this.native.setUpcallConsumer(true);
  }

  release(consumer: Consumer): void {
    if (this.#consumer !== consumer) return;
    this.#consumer = undefined;
    consumer.end();
    try {
      this.native.setUpcallConsumer(false);
    } catch {
      // Closed.
    }
  }

  wake(): void {
    this.#consumer?.wake();
  }

  end(): void {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    consumer?.end();
  }
}

class HandlerConsumer implements Consumer {
  readonly #source: UpcallSource;
  readonly #handler: UpcallHandler;
  #underWay = 0;
  #ended = false;

  constructor(source: UpcallSource, handler: UpcallHandler) {
    this.#source = source;
    this.#handler = handler;
  }

  wake(): void {
    for (let turn = 0; turn < kBatchesPerTurn; turn++) {
      // The handler may have taken itself away, or closed the datapath.
      if (this.#ended || this.#underWay >= kMaxUnderWay) return;
      const batch = this.#source.take();
      if (batch === undefined) return;
      this.#handle(batch);
      if (!batch.full) return;
    }
    if (!this.#ended) this.#source.native.signal();
  }

  #handle(batch: QueuedBatch): void {
    try {
      const handler = this.#handler;
      const result: unknown = batch.length > 0 ? handler(batch) : undefined;
      if (typeof (result as PromiseLike<unknown> | undefined)?.then === 'function') {
        this.#underWay++;
        Promise.resolve(result).then(
          () => this.#finish(batch),
          (error) => this.#finish(batch, { error }),
        );
        return;
      }
    } catch (error) {
      this.#fail(error, batch);
    }
    batch.answer();
  }

  #finish(batch: QueuedBatch, failed?: { error: unknown }): void {
    if (failed !== undefined) this.#fail(failed.error, batch);
    batch.answer();
    // Somebody may have been told to wait.
    if (this.#underWay-- >= kMaxUnderWay && !this.#ended) this.#source.native.signal();
  }

  #fail(cause: unknown, { length, ports }: QueuedBatch): void {
    const text = isError(cause) ? cause.message : show(cause);
    const [port] = ports;
    const packets = `${length} ${length === 1 ? 'packet' : 'packets'} of ${ports.join(', ')}`;
    this.#source.fail(
      new DatapathError(`the upcall handler failed with ${packets}: ${text}`, {
        code: 'ERR_UPCALL_HANDLER',
        port: ports.length === 1 ? port : undefined,
        hint: 'packets of the batch that had no verdict are dropped; the handler stays installed',
        cause,
      }),
    );
  }

  end(): void {
    this.#ended = true;
  }
}

class IteratorConsumer implements Consumer, AsyncIterableIterator<UpcallBatch> {
  readonly #source: UpcallSource;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => {
    this.#aborted = true;
    this.#source.release(this);
  };
  #aborted = false;
  #ended = false;
  #current: QueuedBatch | undefined;
  #inARow = 0;
  /** Calls of next() are served one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #wakeUp: (() => void) | undefined;

  constructor(source: UpcallSource, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  next(): Promise<IteratorResult<UpcallBatch, undefined>> {
    const result = this.#last.then(() => this.#next());
    this.#last = result.catch(() => {});
    return result;
  }

  async #next(): Promise<IteratorResult<UpcallBatch, undefined>> {
    this.#answer();
    if (++this.#inARow >= kBatchesPerTurn) {
      this.#inARow = 0;
      await setImmediate();
    }
    for (;;) {
      if (this.#aborted) {
        this.#aborted = false;
        throw abortError(this.#signal as AbortSignal);
      }
      if (this.#ended) return { done: true, value: undefined };
      const batch = this.#take();
      if (batch !== undefined) {
        this.#current = batch;
        return { done: false, value: batch };
      }
      await new Promise<void>((resolve) => {
        this.#wakeUp = resolve;
      });
      this.#inARow = 0;
    }
  }

  #take(): QueuedBatch | undefined {
    for (;;) {
      const batch = this.#source.take();
      if (batch === undefined || batch.length > 0) return batch;
      batch.answer();
    }
  }

  #answer(): void {
    this.#current?.answer();
    this.#current = undefined;
  }

  async return(): Promise<IteratorResult<UpcallBatch, undefined>> {
    this.#answer();
    this.#source.release(this);
    this.#aborted = false;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  wake(): void {
    const wakeUp = this.#wakeUp;
    this.#wakeUp = undefined;
    wakeUp?.();
  }

  end(): void {
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.wake();
  }
}
