/** Consumers of upcalls: the handler of `onUpcall()` and the iterator of `upcalls()`. */
import { setImmediate } from 'node:timers/promises';
import type { NativeDatapath } from '../binding.js';
import { abortError } from '../check.js';
import { DatapathError, isError, show } from '../errors.js';
import type { QueuedBatch } from './batch.js';
import type { UpcallBatch, UpcallHandler } from './types.js';

/** So many batches are handed out before the event loop gets its turn. */
const kBatchesPerTurn = 8;
/** The most batches whose handler has not finished. */
export const kMaxUnderWay = 8;

export interface Consumer {
  /** Upcalls may wait. */
  wake(): void;
  /** No more upcalls: the datapath closes. */
  end(): void;
}

/** Hands batches to a consumer. */
export interface BatchSupply {
  readonly native: NativeDatapath;
  /** Tells the program of an error; never throws. */
  readonly fail: (error: DatapathError) => void;
  /** The next batch, if anything waits. */
  take(): QueuedBatch | undefined;
  /** The consumer wants no more. */
  release(consumer: Consumer): void;
}

/** Calls a handler with each batch. */
export class HandlerConsumer implements Consumer {
  readonly #source: BatchSupply;
  readonly #handler: UpcallHandler;
  #underWay = 0;
  #ended = false;

  constructor(source: BatchSupply, handler: UpcallHandler) {
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

/** Hands out batches to whoever iterates. */
export class IteratorConsumer implements Consumer, AsyncIterableIterator<UpcallBatch> {
  readonly #source: BatchSupply;
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

  constructor(source: BatchSupply, signal: AbortSignal | undefined) {
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
