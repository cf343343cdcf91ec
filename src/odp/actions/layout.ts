/**
 * Arguments that are a C structure: named values at fixed places in a few bytes. As with the groups
 * of a match, all conversions meet at the bytes, and each is a loop over a table. There are no
 * masks here.
 */
import { kMaxU32 } from '../../check.js';
import { invalid, show } from '../../errors.js';
import {
  compileField,
  type Field,
  type FieldKind,
  type FieldSpec,
  type GroupKey,
  type GroupSpec,
  kGroupSpecs,
} from '../schema/compile.js';
import type { PortNames } from '../types.js';
import { isFull, readInteger, writeInteger } from '../values/match.js';
import { portOf, portWord, readPort } from '../values/port-ref.js';
import type { Scanner } from '../values/scan.js';
import { formatValue, putValue, takeValue } from '../values/value.js';
import { checkKeys, type Given, type Printer, type Reader } from './kind.js';

const kClose = 41;

export interface ArgumentSpec extends Omit<FieldSpec, 'kind' | 'alias' | 'exact' | 'set'> {
  /**
   * `port` is 32 bits, written as a number or a name. A `word` stands for itself, without a name in
   * front; a `flag` does so with its name, and its typed form is `true`.
   */
  readonly kind: FieldKind | 'port' | 'word' | 'flag';
  /**
   * What it is when it is not given; the typed form leaves it out then. Without it the argument
   * must be given.
   */
  readonly implied?: number;
  /** The text, too, leaves it out. */
  readonly quiet?: true;
  /** Other values make no sense. */
  readonly oneOf?: readonly number[];
  /** The words that a `word` can be. Their values count from 1; 0 is none. */
  readonly words?: readonly string[];
}

export interface LayoutSpec {
  /** ODP name, for what stands in front of the parenthesis. */
  readonly name: string;
  /** Name in the typed form, for messages. */
  readonly key: string;
  readonly size: number;
  /** One argument, written without its name. */
  readonly single?: true;
  readonly fields: readonly ArgumentSpec[];
}

interface Argument {
  readonly spec: ArgumentSpec;
  readonly field: Field;
  /** For messages: "pushVlan.vid". */
  readonly label: string;
  /** Words that stand for themselves, by their value less 1. */
  readonly words: readonly string[] | undefined;
}

export interface Layout {
  readonly spec: LayoutSpec;
  readonly arguments: readonly Argument[];
  /** By what they are called or begin with in text. */
  readonly byName: ReadonlyMap<string, Argument>;
  /** Names of the arguments in the typed form. */
  readonly keys: readonly string[];
}

function compileArgument(layout: LayoutSpec, spec: ArgumentSpec, order: number): Argument {
  const { kind } = spec;
  const label = `${layout.key}.${spec.key}`;
  const integer = kind === 'port' || kind === 'word' || kind === 'flag';
  const field = { ...spec, kind: integer ? 'dec' : kind, exact: true } as const;
  return {
    spec,
    field: compileField({ host: undefined }, field, 0, order, label),
    label,
    words: kind === 'flag' ? [spec.name] : spec.words,
  };
}

export function compileLayout(spec: LayoutSpec): Layout {
  const all = spec.fields.map((argument, order) => compileArgument(spec, argument, order));
  return {
    spec,
    arguments: all,
    byName: new Map(
      all.flatMap((argument) =>
        (argument.words ?? [argument.spec.name]).map((name) => [name, argument] as const),
      ),
    ),
    keys: all.map((argument) => argument.spec.key),
  };
}

/** The fields of a group of a match, as arguments. */
export function fieldsOf(
  key: GroupKey,
  more: Readonly<Record<string, Partial<ArgumentSpec>>> = {},
): ArgumentSpec[] {
  const { fields } = kGroupSpecs.find((spec) => spec.key === key) as GroupSpec;
  return (fields as readonly FieldSpec[]).map((field) => ({ ...field, ...more[field.key] }));
}

// The functions that read a value write its mask, too. It is looked at once and forgotten.
const mask = new Uint8Array(64);
/** Values that are written are never masked. */
const fullMask = new Uint8Array(64).fill(255);

/**
 * The bytes of the arguments in the parentheses that follow; what they belong to began at `start`.
 * `other` is asked about names that the layout does not know; it reads them, or answers false.
 */
export function readLayout(
  layout: Layout,
  reader: Reader,
  start: number,
  other?: (name: string, at: number) => boolean,
): Uint8Array {
  const scanner: Scanner = reader.scanner;
  const { name, size, single } = layout.spec;
  const bytes = new Uint8Array(size);
  scanner.open(name);
  if (single === true) {
    readValue(layout.arguments[0]!, name, bytes, reader);
    scanner.close(name);
    return bytes;
  }
  let given = 0;
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const word = scanner.token();
    const argument = layout.byName.get(word);
    if (argument === undefined) {
      if (other?.(word, at) === true) {
        scanner.endItem();
        continue;
      }
      const known = [...layout.byName.keys()].join(', ');
      scanner.fail(`"${name}" has no argument ${scanner.found(at)}`, at, `known: ${known}`);
    }
    const bit = 1 << argument.field.order;
    if ((given & bit) !== 0) {
      scanner.fail(`"${argument.spec.name}" of "${name}" is given twice`, at);
    }
    given |= bit;
    if (argument.words !== undefined) {
      writeInteger(bytes, argument.field, argument.words.indexOf(word) + 1);
    } else {
      scanner.equals(word);
      readValue(argument, word, bytes, reader);
    }
    scanner.endItem();
  }
  scanner.close(name);
  for (const argument of layout.arguments) {
    if ((given & (1 << argument.field.order)) !== 0) continue;
    const { implied } = argument.spec;
    if (implied === undefined) scanner.fail(`"${name}" needs "${argument.spec.name}"`, start);
    imply(argument, bytes, implied);
  }
  return bytes;
}

function readValue(argument: Argument, name: string, bytes: Uint8Array, reader: Reader): void {
  const scanner: Scanner = reader.scanner;
  const { field, spec } = argument;
  const at = scanner.at;
  if (spec.kind === 'port') {
    writeInteger(bytes, field, readPort(scanner, reader.names, name));
    return;
  }
  scanner.value(field, name, bytes, mask);
  if (!isFull(mask, field)) scanner.fail(`"${name}" cannot be masked`, at);
  if (!isAllowed(argument, bytes)) {
    scanner.fail(`"${name}" must be one of ${choices(spec)}, found ${scanner.found(at)}`, at);
  }
}

/** The bytes of typed arguments. */
export function layOut(layout: Layout, given: Given, names: PortNames | undefined): Uint8Array {
  checkKeys(layout.spec.key, given, layout.keys);
  const bytes = new Uint8Array(layout.spec.size);
  for (const argument of layout.arguments) putArgument(argument, given, bytes, names);
  return bytes;
}

function putArgument(
  argument: Argument,
  given: Given,
  bytes: Uint8Array,
  names: PortNames | undefined,
): void {
  const { spec, field, label, words } = argument;
  const value = given[spec.key];
  if (value === undefined) {
    if (spec.implied === undefined) throw invalid(`${label} is missing`);
    imply(argument, bytes, spec.implied);
  } else if (spec.kind === 'port') {
    writeInteger(bytes, field, portOf(value, names, label, kMaxU32));
  } else if (spec.kind === 'flag') {
    if (typeof value !== 'boolean') {
      throw invalid(`${label} must be true or false, got ${show(value)}`);
    }
    writeInteger(bytes, field, value ? 1 : 0);
  } else if (words !== undefined) {
    const word = words.indexOf(value as string);
    if (word < 0) throw invalid(`${label} must be one of ${words.join(', ')}, got ${show(value)}`);
    writeInteger(bytes, field, word + 1);
  } else {
    putValue(bytes, mask, field, value);
    if (!isFull(mask, field)) throw invalid(`${label} cannot be masked`);
    if (!isAllowed(argument, bytes)) {
      throw invalid(`${label} must be one of ${choices(spec)}, got ${show(value)}`);
    }
  }
}

/** The text of typed arguments, without parentheses. */
export function printLayout(layout: Layout, given: Given, { ports }: Printer): string {
  checkKeys(layout.spec.key, given, layout.keys);
  const bytes = new Uint8Array(layout.spec.size);
  const items: string[] = [];
  for (const argument of layout.arguments) {
    const { spec, field, label, words } = argument;
    const value = given[spec.key];
    if (spec.kind === 'port' && value !== undefined) {
      items.push(named(layout, spec, portWord(value, ports, label, kMaxU32)));
      continue;
    }
    putArgument(argument, given, bytes, undefined);
    if (words !== undefined) {
      const word = words[readInteger(bytes, field) - 1];
      if (word !== undefined) items.push(word);
    } else if (spec.quiet !== true || !isImplied(argument, bytes)) {
      items.push(named(layout, spec, formatValue(bytes, fullMask, field)));
    }
  }
  return items.join(',');
}

function named({ spec: { single } }: Layout, { name }: ArgumentSpec, text: string): string {
  return single === true ? text : `${name}=${text}`;
}

/**
 * The typed arguments, less those that go without saying and words that are not among those known.
 */
export function takeLayout(layout: Layout, bytes: Uint8Array): Record<string, unknown> {
  const typed: Record<string, unknown> = {};
  for (const argument of layout.arguments) {
    if (isImplied(argument, bytes)) continue;
    const { spec, field, words } = argument;
    if (words === undefined) {
      typed[spec.key] = takeValue(bytes, fullMask, field);
    } else {
      const word = words[readInteger(bytes, field) - 1];
      if (word !== undefined) typed[spec.key] = spec.kind === 'flag' ? true : word;
    }
  }
  return typed;
}

function imply({ field }: Argument, bytes: Uint8Array, value: number): void {
  putValue(bytes, mask, field, field.big ? BigInt(value) : value);
}

function isImplied({ spec, field }: Argument, bytes: Uint8Array): boolean {
  const { implied } = spec;
  return implied !== undefined && Number(takeValue(bytes, fullMask, field)) === implied;
}

function isAllowed({ spec, field }: Argument, bytes: Uint8Array): boolean {
  return spec.oneOf === undefined || spec.oneOf.includes(readInteger(bytes, field));
}

function choices(spec: ArgumentSpec): string {
  return (spec.oneOf ?? []).map((value) => `0x${value.toString(16)}`).join(', ');
}
