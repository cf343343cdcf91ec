/** dump(): all flows, chunk by chunk; between chunks the event loop gets its turn. */
import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../check.js';
import { FlowRecord } from './records.js';
import type { Flow } from './types.js';

/** Flows behind a cursor, and the cursor behind them; no slab at the end. */
type Chunk = { readonly cursor: number; readonly slab?: Buffer };

/** The iterator is written out, because an async generator would take twice as long for a flow as all else. */
export class FlowDump implements AsyncIterableIterator<Flow> {
  readonly #read: (cursor: number) => Chunk;
  readonly #signal: AbortSignal | undefined;
  #cursor = 0;
  #slab: Buffer | undefined;
  /** The next flow begins here in the slab. */
  #at = 0;
  #ended = false;
  /** Calls of next() that wait, each for the one before. */
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(read: (cursor: number) => Chunk, signal: AbortSignal | undefined) {
    this.#read = read;
    this.#signal = signal;
  }

  next(): Promise<IteratorResult<Flow, undefined>> {
    if (this.#waiting === 0) {
      try {
        const flow = this.#take();
        if (flow !== undefined) return Promise.resolve({ done: false, value: flow });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    this.#waiting++;
    const result = this.#last.then(() => this.#next()).finally(() => this.#waiting--);
    this.#last = result.catch(() => {});
    return result;
  }

  /** A flow that is there already. */
  #take(): Flow | undefined {
    if (this.#ended) return undefined;
    if (this.#signal?.aborted) this.#ended = true;
    throwIfAborted(this.#signal);
    const slab = this.#slab;
    if (slab === undefined || this.#at === slab.length) return undefined;
    const flow = new FlowRecord(slab, this.#at);
    this.#at = FlowRecord.endOf(slab, this.#at);
    return flow;
  }

  async #next(): Promise<IteratorResult<Flow, undefined>> {
    try {
      for (;;) {
        const flow = this.#take();
        if (flow !== undefined) return { done: false, value: flow };
        if (this.#ended) return { done: true, value: undefined };
        if (this.#slab !== undefined) await setImmediate(); // The event loop gets its turn.
        const { cursor, slab } = this.#read(this.#cursor);
        this.#cursor = cursor;
        this.#slab = slab;
        this.#at = 0;
        if (slab === undefined) this.#ended = true;
      }
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Flow, undefined>> {
    this.#ended = true;
    this.#slab = undefined;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
