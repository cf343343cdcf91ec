/** News of the core, and errors that no call is there to throw: events, and warnings where nobody listens. */
import type { EventEmitter } from 'node:events';
import type { NativeDatapath, NativeEvent, PortId } from './binding.js';
import { DatapathError } from './errors.js';
import { FlowRecord } from './flows/records.js';
import type { Flow } from './flows/types.js';
import { jsonable } from './json.js';
import { DatapathPort } from './ports/handle.js';
import { type PortTrouble, troubleOf, warnsOf } from './ports/trouble.js';
import type { Port } from './ports/types.js';

export interface DatapathEvents {
  portUp: [port: Port];
  portDown: [port: Port, reason: DatapathError];
  /** The interface vanished; the port stays configured and returns when it does. */
  portGone: [port: Port];
  /** Flows that went by themselves, each with its `reason` and final statistics. */
  flowsRemoved: [flows: readonly Flow[]];
  /**
   * At most a few times a second: how many packets of a port found its queue full since the last
   * such event.
   */
  upcallOverflow: [info: { readonly port: string; readonly dropped: bigint }];
  /**
   * A port refuses or loses frames that arrive, or got less than it asked for. At most one a second and
   * port. Where nobody listens, Node prints a warning, once a port and reason, unless it is a matter of
   * speed alone.
   */
  portTrouble: [trouble: PortTrouble];
  /**
   * A verdict that could not be carried out, or a handler that failed: forwarding goes on, the packets
   * concerned are dropped. Unlike other emitters a datapath does not throw where nobody listens: it
   * warns (`process.emitWarning()`), once a second at most.
   */
  error: [error: DatapathError];
  close: [];
}

/** The least time between two warnings of errors that nobody listens to. */
const kWarningMs = 1000;
const kListen = "on('error', …) has each error, and ends these warnings";
const kListenToTroubles = "on('portTrouble', …) has each, with counters, and ends these warnings";

/** Tells a program of what happens to its datapath. */
export class News {
  readonly #datapath: EventEmitter<DatapathEvents> & { readonly name: string };
  readonly #native: NativeDatapath;
  readonly #portOf: (id: PortId) => DatapathPort | undefined;
  /** Errors that nobody listened to and no warning told of, and until when none does. */
  #untold = 0;
  #silentUntil = 0;

  /** `portOf`: the handle of a port; undefined for one that is gone, and once the datapath closes. */
  constructor(
    datapath: EventEmitter<DatapathEvents> & { readonly name: string },
    native: NativeDatapath,
    portOf: (id: PortId) => DatapathPort | undefined,
  ) {
    this.#datapath = datapath;
    this.#native = native;
    this.#portOf = portOf;
  }

  /** Turns what the core reports into events and warnings. */
  tell(event: NativeEvent): void {
    switch (event.kind) {
      case 'warning':
        process.emitWarning(`${this.#datapath.name}: ${event.text}`, 'PolluxWarning');
        return;
      case 'flowsRemoved':
        if (this.#datapath.listenerCount('flowsRemoved') === 0) return;
        this.#later('flowsRemoved', FlowRecord.of(event.flows ?? Buffer.alloc(0)));
        return;
      case 'upcallOverflow': {
        const port = this.#portOf(event.port);
        if (port === undefined) return;
        this.#later('upcallOverflow', jsonable({ port: port.name, dropped: event.dropped }));
        return;
      }
      case 'portTrouble':
        this.#tellOfTrouble(event);
        return;
      default:
        this.#tellOfPort(event);
    }
  }

  /** Emits an `error` event; where nobody listens, warns now and then. */
  fail(error: DatapathError): void {
    process.nextTick(() => {
      if (this.#datapath.listenerCount('error') > 0) this.#datapath.emit('error', error);
      else this.#warn(error);
    });
  }

  #warn(error: DatapathError): void {
    const now = performance.now();
    if (now < this.#silentUntil) {
      this.#untold++;
      return;
    }
    const more = this.#untold === 0 ? '' : ` (and ${this.#untold} more before that)`;
    this.#untold = 0;
    this.#silentUntil = now + kWarningMs;
    process.emitWarning(`${this.#datapath.name}: ${error.message}${more}`, {
      type: 'PolluxWarning',
      code: error.code,
      detail: `${error.hint === undefined ? '' : `${error.hint}\n`}${kListen}`,
    });
  }

  /**
   * Emits outside the addon's callback: what a listener throws is an uncaught exception like any
   * other.
   */
  #later<K extends keyof DatapathEvents>(event: K, ...args: DatapathEvents[K]): void {
    // The types of EventEmitter do not see that args belong to event.
    const emit: (event: K, ...args: DatapathEvents[K]) => boolean = this.#datapath.emit.bind(
      this.#datapath,
    ) as never;
    process.nextTick(emit, event, ...args);
  }

  #tellOfTrouble(event: NativeEvent): void {
    const port = this.#portOf(event.port);
    if (port === undefined) return;
    const record = DatapathPort.recordOf(port)!;
    const trouble = troubleOf(event, record);
    process.nextTick(() => {
      if (this.#datapath.emit('portTrouble', trouble) || record.warned.has(trouble.reason)) return;
      record.warned.add(trouble.reason);
      if (!warnsOf(trouble.reason)) return;
      process.emitWarning(`${this.#datapath.name}: port "${trouble.port}": ${trouble.meaning}`, {
        type: 'PolluxWarning',
        detail: `${trouble.todo}\n${kListenToTroubles}`,
      });
    });
  }

  #tellOfPort({ kind, port: id, text }: NativeEvent): void {
    const port = this.#portOf(id);
    if (port === undefined) return;
    const record = DatapathPort.recordOf(port)!;
    if (kind === 'portUp') {
      record.state = 'up';
      record.mode = this.#native.port(id)?.mode ?? record.mode;
      this.#later('portUp', port);
    } else if (kind === 'portGone') {
      record.state = 'gone';
      this.#later('portGone', port);
    } else {
      record.state = 'down';
      const reason = text === '' ? `port "${port.name}" is down` : text;
      this.#later(
        'portDown',
        port,
        new DatapathError(reason, { code: 'ENETDOWN', port: port.name }),
      );
    }
  }
}
