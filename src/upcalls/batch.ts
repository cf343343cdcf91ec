/** Batches of upcalls as they were taken from the core, and their verdicts. */
import { inspect } from 'node:util';
import { addon, type NativeDatapath, type NativeUpcalls } from '../binding.js';
import { checkIdleTimeout, checkOptions } from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, fromNative } from '../errors.js';
import type { Attributes } from '../flows/change.js';
import type { ChangeBatch } from '../flows/change-batch.js';
import type { ActionsLike, FlowMatch, MatchLike } from '../flows/types.js';
import { forJson } from '../json.js';
import { decodeMatch, type Ufid } from '../odp/index.js';
import type { PortTable } from '../ports/table.js';
import type { Port } from '../ports/types.js';
import { kRecordLayouts } from '../record-layouts.js';
import type { InstalledFlow, Upcall, UpcallBatch } from './types.js';

/** The most packets that a batch has. */
export const kBatch = 64;

const kUpcall = kRecordLayouts.upcall;
const kNoMask = new Uint8Array(0);

/** Lends a batch of changes for verdicts, and is told of those that failed. */
export interface BatchOwner {
  readonly native: NativeDatapath;
  readonly ports: PortTable;
  /** Tells the program of an error; never throws. */
  readonly fail: (error: DatapathError) => void;
  /** Lends an empty batch of changes for verdicts. */
  borrow(): ChangeBatch;
  giveBack(verdicts: ChangeBatch): void;
}

/** Reads its part of the slab when somebody looks. */
class QueuedUpcall implements Upcall {
  readonly inPort: Port;
  readonly #batch: QueuedBatch;
  readonly #index: number;
  /** The upcall's record begins here in the slab. */
  readonly #at: number;
  #frame: Buffer | undefined;
  #key: FlowMatch | undefined;

  constructor(batch: QueuedBatch, index: number, inPort: Port, at: number) {
    this.inPort = inPort;
    this.#batch = batch;
    this.#index = index;
    this.#at = at;
  }

  /** The upcall's place in the batch that was taken. */
  get index(): number {
    return this.#index;
  }

  get reason(): 'miss' | 'action' {
    return this.#number(kUpcall.reason) === 0 ? 'miss' : 'action';
  }

  get wireLength(): number {
    return this.#number(kUpcall.wireLength);
  }

  get frame(): Buffer {
    this.#frame ??= this.#part(this.#at + kUpcall.size, this.#number(kUpcall.frameSize));
    return this.#frame;
  }

  get userdata(): Buffer | undefined {
    if (this.#number(kUpcall.hasUserdata) === 0) return undefined;
    const behind = this.#number(kUpcall.frameSize) + this.#number(kUpcall.keySize);
    return this.#part(this.#at + kUpcall.size + behind, this.#number(kUpcall.userdataSize));
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
    return this.#part(
      this.#at + kUpcall.size + this.#number(kUpcall.frameSize),
      this.#number(kUpcall.keySize),
    );
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
  /** The ufid follows from this: a match, or the packet, whose whole batch stays until the ufid is known. */
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

/** A batch that was taken, and the verdicts for it until they are sent. */
export class QueuedBatch implements UpcallBatch {
  readonly source: BatchOwner;
  readonly slab: Buffer;
  readonly droppedSinceLast: bigint;
  readonly #upcalls: QueuedUpcall[] = [];
  readonly #first: number;
  readonly #count: number;
  readonly #decided: Uint8Array;
  #verdicts: ChangeBatch | undefined;
  #answered = false;

  constructor(source: BatchOwner, { slab, first, count }: NativeUpcalls, dropped: bigint) {
    this.source = source;
    this.slab = slab;
    this.droppedSinceLast = dropped;
    this.#first = first;
    this.#count = count;
    this.#decided = new Uint8Array(count);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const id = slab.readUInt32LE(at + kUpcall.port);
      const port = id === 0 ? source.ports.none : source.ports.get(id);
      // A port that is gone: nothing is known of it any more, and the packet is dropped.
      if (port !== undefined) this.#upcalls.push(new QueuedUpcall(this, i, port, at));
      const sizes =
        slab.readUInt32LE(at + kUpcall.frameSize) +
        slab.readUInt32LE(at + kUpcall.keySize) +
        slab.readUInt32LE(at + kUpcall.userdataSize);
      at += kUpcall.size + sizes;
    }
  }

  get length(): number {
    return this.#upcalls.length;
  }

  /** The batch has as many packets as can be taken at a time, so that more may wait. */
  get full(): boolean {
    return this.#count === kBatch;
  }

  [Symbol.iterator](): Iterator<Upcall> {
    return this.#upcalls[Symbol.iterator]();
  }

  /** The batch of changes that takes the verdict of an upcall. Throws EALREADY if the upcall has one. */
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
