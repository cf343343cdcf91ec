/** The description of one kind of action, and the tools that the loops over a list of actions lend it. */
import { invalid, show } from '../../errors.js';
import type { Attribute, AttributeWriter } from '../text/nlattr.js';
import type { KnownAction, PortNames } from '../types.js';
import type { Scanner } from '../values/scan.js';

/** A typed action as it was handed in. */
export interface Given {
  readonly type?: unknown;
  readonly [argument: string]: unknown;
}

/** Text being read. */
export interface Reader {
  readonly scanner: Scanner;
  readonly names: PortNames | undefined;
  /** The text is read for a datapath: an action that none could carry out is refused where it stands. */
  readonly runs: boolean;
  /** The list of actions in parentheses that follows; `owner` stands before it, at `start`. */
  list(owner: string, start: number): KnownAction<number>[];
}

/** Text being written. */
export interface Printer {
  readonly ports: PortNames | undefined;
  /** The text of a nested list, without its parentheses. `what` is for messages. */
  list(actions: unknown, what: string): string;
}

/** Attributes being written. */
export interface Encoder {
  readonly writer: AttributeWriter;
  readonly names: PortNames | undefined;
  /** A nested list, as an attribute of that type. `what` is for messages. */
  list(type: number, actions: unknown, what: string): void;
}

/** Attributes being read. */
export interface Decoder {
  readonly bytes: Uint8Array;
  list(start: number, end: number): KnownAction<number>[];
}

/** An action's attribute in a list of actions. */
export interface Wire {
  /** OVS_ACTION_ATTR_*. */
  readonly attributes: readonly number[];
  encode(action: Given, encoder: Encoder): void;
  decode(attribute: Attribute, decoder: Decoder): KnownAction<number>;
}

export interface ActionKind {
  /** ODP name. An output has none: it is a port. */
  readonly name: string;
  /** Name in the typed form. */
  readonly type: string;
  /** Names of the arguments in the typed form. */
  readonly keys: readonly string[];
  /** Read what is behind the name, which stands at `start`. */
  read(reader: Reader, start: number): KnownAction<number>;
  write(action: Given, printer: Printer): string;
  /** Absent: the datapath cannot do it yet. It can still be read and written. */
  readonly wire?: Wire;
}

/** Throws for a property that no argument is called by: most likely a slip of the pen. */
export function checkKeys(what: string, given: object, keys: readonly string[]): void {
  for (const key in given) {
    if (key === 'type' || keys.includes(key)) continue;
    if ((given as Given)[key] === undefined) continue;
    throw invalid(`${what} has no argument ${show(key)}`, {
      hint: keys.length === 0 ? 'it has none' : `known: ${keys.join(', ')}`,
    });
  }
}

export function checkSize(what: string, { start, end }: Attribute, size: number): void {
  if (end - start !== size)
    throw invalid(`${what} attribute has ${end - start} bytes, not ${size}`);
}

/** The payload of an attribute that is one 32-bit integer in host order. */
export function takeU32(bytes: Uint8Array, attribute: Attribute): number {
  checkSize('a 32-bit', attribute, 4);
  return readU32(bytes, attribute.start);
}

/** A 32-bit integer in host order. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  bytes[at + 2] = value >> 16;
  bytes[at + 3] = value >> 24;
}
