/**
 * Upcalls: packets that wait for the program's verdict.
 *
 * They are taken in batches, one copy of memory each, and answered in batches: verdicts are methods
 * of the upcall, collected and sent in one call when the handler is through with the batch. A
 * packet without a verdict is dropped. Between batches the event loop gets its turn, and no more
 * than a few batches are under way at a time: what comes beyond that waits in the core's bounded
 * queues.
 */
import type { NativeDatapath } from '../binding.js';
import { throwIfAborted } from '../check.js';
import { DatapathError, invalid, show } from '../errors.js';
import { ChangeBatch } from '../flows/change-batch.js';
import type { PortTable } from '../ports/table.js';
import { type BatchOwner, kBatch, QueuedBatch } from './batch.js';
import {
  type BatchSupply,
  type Consumer,
  HandlerConsumer,
  IteratorConsumer,
  kMaxUnderWay,
} from './consumers.js';
import type { UpcallBatch, UpcallHandler } from './types.js';

/** The upcalls of one datapath, and who takes them. */
export class UpcallSource implements BatchOwner, BatchSupply {
  readonly native: NativeDatapath;
  readonly ports: PortTable;
  /** Tells the program of an error; never throws. */
  readonly fail: (error: DatapathError) => void;
  #consumer: Consumer | undefined;
  readonly #spare: ChangeBatch[] = [];
  /** Packets that were lost since the last batch that was not empty. */
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
