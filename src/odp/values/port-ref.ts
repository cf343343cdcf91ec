/** Ports in the flow language: by number, by name, or in the typed form by handle. */
import { kMaxU32 } from '../../check.js';
import { DatapathError, invalid, show } from '../../errors.js';
import { parseNumber } from '../text/number.js';
import type { PortNames, PortRefLike } from '../types.js';
import type { Scanner } from './scan.js';

/** Highest port number; 16 bits. */
export const kMaxPort = 0xffff;

/**
 * The number of a port named in text. Where the resolver knows of none, its own error says so, and this
 * one says where. `more`: other words that would do.
 */
export function resolve(
  scanner: Scanner,
  names: PortNames,
  word: string,
  at: number,
  what = 'a port number or name',
  more: (word: string) => string | undefined = () => undefined,
): number {
  try {
    return names.number(word);
  } catch (cause) {
    const message = `expected ${what}, found ${JSON.stringify(word.slice(0, 40))}`;
    if (!(cause instanceof DatapathError)) scanner.fail(message, at, undefined, { cause });
    const { code, hint = cause.message } = cause;
    scanner.fail(message, at, more(word) ?? hint, { code, port: word });
  }
}

/** A port in text: its name if `ports` knows one. */
export function portText(number: number, ports: PortNames | undefined): string {
  return ports?.name(number) ?? String(number);
}

/**
 * The number of a typed port. A number stands for itself and is not looked up; without `names`, only
 * numbers and handles can be resolved, and undefined says so.
 */
export function portNumber(
  ref: unknown,
  names: PortNames | undefined,
  what: string,
): number | undefined {
  if (typeof ref === 'number') {
    if (!Number.isInteger(ref) || ref < 0 || ref > kMaxPort) {
      throw invalid(`${what} must be a port number from 0 to ${kMaxPort}, got ${show(ref)}`);
    }
    return ref;
  }
  if (typeof ref === 'string') return names?.number(ref);
  if (
    typeof ref === 'object' &&
    ref !== null &&
    'number' in ref &&
    typeof ref.number === 'number'
  ) {
    return names === undefined ? ref.number : names.number(ref as PortRefLike);
  }
  throw invalid(`${what} must be a port, a port's name or its number, got ${show(ref)}`);
}

/**
 * A port in the text, where an argument of that name says one. No port has a number of more than 16
 * bits, but Open vSwitch has 32 for it, all of them set for no port.
 */
export function readPort(scanner: Scanner, names: PortNames | undefined, name: string): number {
  const start = scanner.at;
  const word = scanner.token();
  const number = parseNumber(word);
  if (number >= 0 && number <= kMaxU32) return number;
  if (number > kMaxU32) {
    scanner.fail(`"${name}" must be from 0 to ${kMaxU32}, found ${scanner.found(start)}`, start);
  }
  if (word === '' || names === undefined) {
    scanner.fail(`expected a port number for "${name}", found ${scanner.found(start)}`, start);
  }
  return resolve(scanner, names, word, start, `a port for "${name}"`);
}

/**
 * The number of a typed port that must have one: without `names`, a name throws EINVAL. `max`: the highest
 * number that is let through, for Open vSwitch's 32-bit "no port".
 */
export function portOf(
  ref: unknown,
  names: PortNames | undefined,
  what: string,
  max = kMaxPort,
): number {
  if (typeof ref === 'number' && ref > kMaxPort && ref <= max && Number.isInteger(ref)) return ref;
  const number = portNumber(ref, names, what);
  if (number === undefined) throw invalid(`no port names to find ${show(ref)} in`);
  return number;
}

/** The text of a typed port: its name if it is given by name or if `ports` knows one. */
export function portWord(
  ref: unknown,
  ports: PortNames | undefined,
  what: string,
  max = kMaxPort,
): string {
  if (typeof ref === 'string') return ref;
  return portText(portOf(ref, undefined, what, max), ports);
}
