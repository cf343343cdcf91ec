/**
 * The `nat` of a `ct` action: `nat`, or `nat(src=ADDR-ADDR:PORT-PORT,persistent,random)` with as much
 * of the range as there is. Addresses of version 6 stand in brackets if ports follow them.
 */
import { checkInteger } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { formatAddress, readAddress } from '../text/address.js';
import type { CtNat } from '../types.js';
import type { Scanner } from '../values/scan.js';
import { checkKeys, type Given } from './kind.js';

const kOpen = 40;
const kClose = 41;
const kEquals = 61;
const kMaxPort = 0xffff;

const kSides = ['src', 'dst'] as const;
const kFlags = ['persistent', 'hash', 'random'] as const;
const kKeys = ['side', 'min', 'max', 'portMin', 'portMax', ...kFlags];

type Side = (typeof kSides)[number];
type Flag = (typeof kFlags)[number];
/** Must throw. */
type Complain = (message: string) => never;

/** Addresses as they are printed. A port of 0 is none. */
interface Range {
  readonly min: string;
  readonly max: string;
  readonly portMin: number;
  readonly portMax: number;
}

function refuse(message: string): never {
  throw invalid(message);
}

export function checkFlag(what: string, value: unknown): boolean {
  if (value === undefined) return false;
  if (typeof value === 'boolean') return value;
  throw invalid(`${what} must be true or false, got ${show(value)}`);
}

// ---------- what goes together

function versionOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}

function bytesOf(address: string): Uint8Array | undefined {
  const version = versionOf(address);
  const bytes = new Uint8Array(version === 'ipv4' ? 4 : 16);
  return readAddress(version, address, bytes, 0) ? bytes : undefined;
}

function canonical(address: string): string | undefined {
  const bytes = bytesOf(address);
  return bytes && formatAddress(versionOf(address), bytes, 0);
}

function checkFlags(side: Side | undefined, flags: readonly Flag[], complain: Complain): void {
  if (side === undefined && flags.length > 0) {
    complain('"nat" needs "src" or "dst" for what else it says');
  }
  if (flags.includes('hash') && flags.includes('random')) {
    complain('"hash" and "random" of "nat" exclude each other');
  }
}

function checkRange({ min, max, portMin, portMax }: Range, complain: Complain): void {
  const [low, high] = [bytesOf(min) as Uint8Array, bytesOf(max) as Uint8Array];
  if (low.length !== high.length) complain('a range of addresses must be of one version of IP');
  if (Buffer.compare(low, high) > 0) complain('a range of addresses must not end below its start');
  if (Math.max(portMin, portMax) > kMaxPort) complain(`a port must be from 0 to ${kMaxPort}`);
  if (portMax === 0) return;
  if (portMin === 0) complain('a range of ports cannot start at 0');
  if (portMax < portMin) complain('a range of ports must not end below its start');
}

// ---------- text to typed form

export function readNat(scanner: Scanner): CtNat {
  if (!scanner.take(kOpen)) return {};
  const start = scanner.at;
  const flags: Flag[] = [];
  let side: Side | undefined;
  let range: Range | undefined;
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const word = scanner.token();
    if (word === 'src' || word === 'dst') {
      if (side !== undefined) scanner.fail('"nat" has one of "src" and "dst", once', at);
      side = word;
      if (scanner.take(kEquals)) range = readRange(scanner, word);
    } else if ((kFlags as readonly string[]).includes(word)) {
      if (flags.includes(word as Flag)) scanner.fail(`"${word}" of "nat" is given twice`, at);
      flags.push(word as Flag);
    } else {
      const hint = `known: ${[...kSides, ...kFlags].join(', ')}`;
      scanner.fail(`"nat" has no argument ${scanner.found(at)}`, at, hint);
    }
    scanner.endItem();
  }
  scanner.close('nat');
  checkFlags(side, flags, (message) => scanner.fail(message, start));
  return {
    ...(side === undefined ? {} : { side }),
    ...(range === undefined ? {} : typedRange(range)),
    ...Object.fromEntries(flags.map((flag) => [flag, true])),
  };
}

/** Less what goes without saying. */
function typedRange({ min, max, portMin, portMax }: Range): CtNat {
  return {
    min,
    ...(max === min ? {} : { max }),
    ...(portMin === 0 ? {} : { portMin }),
    ...(portMax === 0 || portMax === portMin ? {} : { portMax }),
  };
}

/** An address, in brackets or bare; a bare one of version 6 takes all colons there are. */
const kAddress = String.raw`(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:.]+))`;
const kRange = new RegExp(`^${kAddress}(?:-${kAddress})?(?::(\\d+)(?:-(\\d+))?)?$`);
/** No range needs so many characters. */
const kMaxRange = 128;

function readRange(scanner: Scanner, name: string): Range {
  const at = scanner.at;
  const word = scanner.token();
  const [whole, boxedMin, bareMin, boxedMax, bareMax, portMin = '0', portMax = '0'] =
    (word.length <= kMaxRange && kRange.exec(word)) || [];
  const first = boxedMin ?? bareMin ?? '';
  const min = canonical(first);
  const max = canonical(boxedMax ?? bareMax ?? first);
  if (whole === undefined || min === undefined || max === undefined) {
    scanner.fail(`expected a range of addresses for "${name}", found ${scanner.found(at)}`, at);
  }
  const range = { min, max, portMin: Number(portMin), portMax: Number(portMax) };
  checkRange(range, (message) => scanner.fail(message, at));
  return range;
}

// ---------- typed form to text

export function printNat(given: unknown): string {
  if (typeof given !== 'object' || given === null) {
    throw invalid(`ct.nat must be an object, got ${show(given)}`);
  }
  checkKeys('ct.nat', given, kKeys);
  const nat = given as Given;
  const side = sideOf(nat.side);
  const flags = kFlags.filter((flag) => checkFlag(`ct.nat.${flag}`, nat[flag]));
  checkFlags(side, flags, refuse);
  const range = rangeOf(nat);
  if (side === undefined) {
    if (range !== undefined) refuse('ct.nat.min needs a side');
    return 'nat';
  }
  const front = range === undefined ? side : `${side}=${printRange(range)}`;
  return `nat(${[front, ...flags].join(',')})`;
}

function sideOf(side: unknown): Side | undefined {
  if (side === undefined || side === 'src' || side === 'dst') return side;
  throw invalid(`ct.nat.side must be 'src' or 'dst', got ${show(side)}`);
}

function rangeOf({ min, max, portMin = 0, portMax = 0 }: Given): Range | undefined {
  const ports = {
    portMin: checkInteger(portMin, 'ct.nat.portMin', 0, kMaxPort),
    portMax: checkInteger(portMax, 'ct.nat.portMax', 0, kMaxPort),
  };
  if (min === undefined) {
    if (max === undefined && portMin === 0 && portMax === 0) return undefined;
    throw invalid('ct.nat.max and ports need ct.nat.min');
  }
  const first = addressOf('ct.nat.min', min);
  const range = {
    min: first,
    max: max === undefined ? first : addressOf('ct.nat.max', max),
    ...ports,
  };
  checkRange(range, refuse);
  return range;
}

function addressOf(what: string, value: unknown): string {
  const address = typeof value === 'string' ? canonical(value) : undefined;
  if (address === undefined) throw invalid(`${what} must be an address, got ${show(value)}`);
  return address;
}

function printRange({ min, max, portMin, portMax }: Range): string {
  const boxed = portMin !== 0 && versionOf(min) === 'ipv6';
  const addresses = (max === min ? [min] : [min, max]).map((address) =>
    boxed ? `[${address}]` : address,
  );
  const ports = portMax === 0 || portMax === portMin ? [portMin] : [portMin, portMax];
  return addresses.join('-') + (portMin === 0 ? '' : `:${ports.join('-')}`);
}
