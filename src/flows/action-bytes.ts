import { encodeActions, type PortNames } from '../odp/index.js';
import type { ActionsLike } from './types.js';

/** Texts that are remembered, and the longest of them, in characters. */
const kMaxKnown = 1024;
const kMaxKnownText = 256;

/** Actions as attributes; a text that was seen before is not read again. */
export class ActionBytes {
  /** The list that was appended last, and where. */
  placed: Uint8Array | undefined;
  place = 0;
  readonly #ports: PortNames;
  readonly #known = new Map<string, Uint8Array>();
  #output: Uint8Array | undefined;
  #outputPort = -1;

  constructor(ports: PortNames) {
    this.#ports = ports;
  }

  forgetPlace(): void {
    this.placed = undefined;
  }

  of(actions: ActionsLike): Uint8Array {
    if (typeof actions === 'string') return this.#ofText(actions);
    const port = soleOutput(actions);
    if (port < 0) return encodeActions(actions, this.#ports);
    if (port !== this.#outputPort || this.#output === undefined) {
      this.#output = encodeActions(actions, this.#ports);
      this.#outputPort = port;
    }
    return this.#output;
  }

  #ofText(text: string): Uint8Array {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    let named = false;
    const bytes = encodeActions(text, {
      number: (ref) => {
        named ||= typeof ref !== 'number';
        return this.#ports.number(ref);
      },
      name: (number) => this.#ports.name(number),
    });
    // A name may come to mean another port.
    if (named || text.length > kMaxKnownText) return bytes;
    if (this.#known.size === kMaxKnown) this.#known.clear();
    this.#known.set(text, bytes);
    return bytes;
  }
}

/** The port, if the actions are one output to a number and nothing else; else -1. */
function soleOutput(actions: unknown): number {
  if (!Array.isArray(actions) || actions.length !== 1) return -1;
  const action = actions[0] as unknown;
  if (typeof action !== 'object' || action === null) return -1;
  let keys = 0;
  for (const _ in action) keys++;
  const { type, port } = action as { type?: unknown; port?: unknown };
  const plain = keys === 2 && type === 'output' && typeof port === 'number';
  return plain && Number.isInteger(port) && port >= 0 && port <= 0xffff ? port : -1;
}
