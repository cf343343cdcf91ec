/** Ports as arguments of actions: by number, by name, or in the typed form by handle. */
import { invalid } from '../../errors.js';
import { portText, resolve } from '../match/text.js';
import { kMaxPort, portNumber } from '../match/typed.js';
import { parseNumber } from '../text/number.js';
import type { PortNames } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { show } from '../values/value.js';
import { kMaxU32, type Reader } from './kind.js';

/**
 * A port in the text, where an argument of that name says one. No port has a number of more than 16
 * bits, but Open vSwitch has 32 for it, all of them set for no port.
 */
export function readPort(reader: Reader, name: string): number {
  const { names } = reader;
  const scanner: Scanner = reader.scanner;
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

/** The number of a typed port. */
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
