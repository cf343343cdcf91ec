/** Lists of actions: text ⇄ typed form ⇄ netlink attributes. What an action is, table.ts says. */
import { DatapathError, invalid, show } from '../../errors.js';
import { habitOfActions } from '../habits.js';
import { kDidYouMean, suggest } from '../nearest.js';
import { AttributeWriter, attributes } from '../text/nlattr.js';
import { parseNumber } from '../text/number.js';
import type { Action, KnownAction, PortNames } from '../types.js';
import { kMaxPort, resolve } from '../values/port-ref.js';
import { Scanner } from '../values/scan.js';
import {
  type ActionKind,
  checkKeys,
  type Decoder,
  type Encoder,
  type Given,
  type Printer,
  type Reader,
} from './kind.js';
import { kindByName, kindByType, wireByAttribute } from './table.js';

const kOpen = 40;
const kClose = 41;

/** Lists inside of lists inside of … the list. */
const kMaxDepth = 32;
/** Longest list, nested ones included, in bytes of attributes. */
const kMaxBytes = 0xffff;

const kTooDeep = `lists of actions can be nested ${kMaxDepth} deep`;

const knownNames = `known: a port number, ${[...kindByName.keys()].join(', ')}`;
const knownTypes = `known: ${[...kindByType.keys()].join(', ')}`;

// ---------- text to typed form

class TextReader implements Reader {
  #depth = 0;

  constructor(
    readonly scanner: Scanner,
    readonly names: PortNames | undefined,
    readonly runs: boolean,
  ) {}

  list(owner: string, start: number): KnownAction<number>[] {
    const scanner: Scanner = this.scanner;
    scanner.open(owner);
    if (this.#depth === kMaxDepth) scanner.fail(kTooDeep, start);
    this.#depth++;
    const actions = readItems(this, true);
    this.#depth--;
    scanner.close(owner);
    return actions;
  }
}

function readItems(reader: TextReader, nested: boolean): KnownAction<number>[] {
  const scanner: Scanner = reader.scanner;
  const actions: KnownAction<number>[] = [];
  let dropAt = -1;
  while (scanner.next() && !(nested && scanner.is(kClose))) {
    const start = scanner.at;
    const action = readItem(reader, scanner, start);
    actions.push(action);
    scanner.endItem();
    if (!nested && scanner.is(kClose)) scanner.fail('expected "," or the end, found ")"');
    if (action.type === 'drop') dropAt = start;
    if (dropAt >= 0) {
      const fault = dropFault(actions);
      if (fault !== undefined) scanner.fail(fault, dropAt);
    }
  }
  return actions.length === 0 ? [{ type: 'drop' }] : actions;
}

function readItem(reader: TextReader, scanner: Scanner, start: number): KnownAction<number> {
  const word = scanner.token();
  const port = parseNumber(word);
  if (port >= 0) {
    if (port <= kMaxPort) return { type: 'output', port };
    const found = scanner.found(start);
    scanner.fail(`a port number must be from 0 to ${kMaxPort}, found ${found}`, start);
  }
  const kind = kindByName.get(word);
  if (kind !== undefined) return kind.read(reader, start);
  const { names } = reader;
  if (word !== '' && names !== undefined && !scanner.is(kOpen)) {
    const number = resolve(scanner, names, word, start, 'an action or a port', otherAction);
    return { type: 'output', port: number };
  }
  const what = word === '' ? 'expected an action, found' : 'unknown action';
  scanner.fail(`${what} ${scanner.found(start)}`, start, otherAction(word) ?? knownNames);
}

/** A hint for a word that is no action, if it looks like one. */
function otherAction(word: string): string | undefined {
  const habit = habitOfActions(word);
  if (habit !== undefined) return habit;
  const near = suggest(word, kindByName.keys(), 'actions');
  return near?.startsWith(kDidYouMean) ? near : undefined;
}

/** Says what is wrong with the places at which a list has drops, or undefined. */
function dropFault(actions: readonly Given[]): string | undefined {
  if (actions.length === 1) return undefined;
  const alone = actions.some(({ type, reason }) => type === 'drop' && reason === undefined);
  if (alone) return '"drop" must be the only action';
  const early = actions.some(({ type }, i) => type === 'drop' && i < actions.length - 1);
  return early ? '"drop" with a reason must be the last action' : undefined;
}

/**
 * The actions of a text. With `names`, a bare word may be the name of a port. `runs`: they are to be
 * carried out, not only to be read.
 */
export function readActions(
  text: string,
  names: PortNames | undefined,
  runs = false,
): KnownAction<number>[] {
  return readItems(new TextReader(new Scanner(text, 'actions'), names, runs), false);
}

// ---------- the typed form, checked

/** The action's entry in the table. */
function kindOf(action: unknown): ActionKind {
  if (typeof action !== 'object' || action === null) {
    throw invalid(`an action must be an object, got ${show(action)}`);
  }
  const kind = kindByType.get((action as Given).type);
  if (kind === undefined) {
    throw invalid(`unknown action ${show((action as Given).type)}`, { hint: knownTypes });
  }
  checkKeys(kind.type, action, kind.keys);
  return kind;
}

function checkList(actions: unknown, what: string): asserts actions is readonly Given[] {
  if (!Array.isArray(actions)) {
    throw invalid(`${what} must be an array of actions, got ${show(actions)}`);
  }
}

/** To be called where there is a drop. */
function checkDrops(actions: readonly Given[]): void {
  const fault = dropFault(actions);
  if (fault !== undefined) throw invalid(fault);
}

function checkDepth(depth: number): void {
  if (depth > kMaxDepth) throw invalid(kTooDeep);
}

// ---------- typed form to text

class TextPrinter implements Printer {
  #depth = 0;

  constructor(readonly ports: PortNames | undefined) {}

  list(actions: unknown, what: string): string {
    checkDepth(++this.#depth);
    checkList(actions, what);
    const text = this.items(actions);
    this.#depth--;
    return text;
  }

  items(actions: readonly Given[]): string {
    let text = '';
    for (const action of actions) {
      const kind = kindOf(action);
      const item = kind.write(action, this);
      text = text === '' ? item : `${text},${item}`;
      if (kind.type === 'drop') checkDrops(actions);
    }
    return text === '' ? 'drop' : text;
  }
}

/** The text of typed actions. */
export function writeActions(actions: readonly Action[], ports: PortNames | undefined): string {
  checkList(actions, 'actions');
  return new TextPrinter(ports).items(actions);
}

// ---------- typed form to attributes

let spare: AttributeWriter | undefined;

class ListEncoder implements Encoder {
  #depth = 0;

  constructor(
    readonly writer: AttributeWriter,
    readonly names: PortNames | undefined,
  ) {}

  list(type: number, actions: unknown, what: string): void {
    checkDepth(++this.#depth);
    checkList(actions, what);
    const start = this.writer.begin(type);
    this.items(actions);
    this.writer.end(start, type);
    this.#depth--;
  }

  items(actions: readonly Given[]): void {
    for (const action of actions) {
      const { wire, type } = kindOf(action);
      if (wire === undefined) {
        throw new DatapathError(`the datapath does not support the action "${type}" yet`, {
          code: 'ERR_NOT_SUPPORTED',
          hint: 'it can be parsed and formatted, but not installed or executed',
        });
      }
      if (type === 'drop') checkDrops(actions);
      wire.encode(action, this);
      if (this.writer.length > kMaxBytes) {
        throw invalid(`actions are longer than ${kMaxBytes} bytes of netlink attributes`);
      }
    }
  }
}

/** The attributes of a list of actions. An empty list drops. */
export function encodeActionList(actions: readonly Action[], names: PortNames | undefined): Buffer {
  checkList(actions, 'actions');
  // Finding a port by its name is foreign code, which may come back here: let it find no writer.
  const writer = spare ?? new AttributeWriter();
  spare = undefined;
  writer.reset();
  new ListEncoder(writer, names).items(actions);
  const bytes = writer.take();
  spare = writer;
  return bytes;
}

// ---------- attributes to typed form

class ListDecoder implements Decoder {
  #depth = 0;

  constructor(readonly bytes: Uint8Array) {}

  list(start: number, end: number): KnownAction<number>[] {
    checkDepth(this.#depth++);
    const actions = attributes(this.bytes, start, end).map((attribute) => {
      const wire = wireByAttribute.get(attribute.type);
      if (wire === undefined) throw invalid(`unknown action attribute ${attribute.type}`);
      return wire.decode(attribute, this);
    });
    this.#depth--;
    return actions.length === 0 ? [{ type: 'drop' }] : actions;
  }
}

/**
 * The canonical typed form of attributes that `encodeActionList` made. Throws EINVAL for any other.
 */
export function decodeActionList(bytes: Uint8Array): KnownAction<number>[] {
  return new ListDecoder(bytes).list(0, bytes.length);
}
