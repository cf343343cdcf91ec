/**
 * Geneve options: text, typed form, and the bytes of the header.
 *
 * Each option is a class (16 bits), a type (8), a length (5 bits, in words; the three above it are
 * reserved and not matched) and that much data. A match holds all options of a packet, in their
 * order, as they stand in the header. The lengths say where each begins: they are matched as soon
 * as anything is, and so is the number of options, be it none.
 */
import { isUint8Array } from 'node:util/types';
import { invalid, show } from '../../errors.js';
import { formatHex, hexDigit } from '../text/address.js';
import { formatHexNumber } from '../text/number.js';
import type { GeneveOption } from '../types.js';
import type { GeneveBytes } from '../values/match.js';
import type { Scanner } from '../values/scan.js';
import { isMasked } from '../values/value.js';

/** The header has room for so many bytes of options: its six bits count words of four bytes. */
export const kMaxOptions = 252;

const kOptionHeader = 4;
const kMaxData = 124;
const kLengthBits = 0x1f;

const kOpen = 123;
const kClose = 125;
const kParen = 41;
const kSlash = 47;
const kEquals = 61;

interface Masked<T> {
  readonly value: T;
  readonly mask: T;
}

/** An option, what may be masked with its mask. `len` counts bytes. */
interface Option {
  readonly class: Masked<number>;
  readonly type: Masked<number>;
  readonly len: number;
  readonly data: Masked<Uint8Array>;
}

const kWild: Masked<number> = { value: 0, mask: 0 };
const kMaxClass = 0xffff;
const kMaxType = 0xff;

// ---------- bytes

function sizeOf(options: readonly Option[]): number {
  return options.reduce((sum, { len }) => sum + kOptionHeader + len, 0);
}

function pack(options: readonly Option[]): GeneveBytes {
  const size = sizeOf(options);
  const key = new Uint8Array(size);
  const mask = new Uint8Array(size);
  let at = 0;
  for (const option of options) {
    packSide(key, at, option, 'value', option.len / 4);
    packSide(mask, at, option, 'mask', kLengthBits);
    at += kOptionHeader + option.len;
  }
  return { key, mask };
}

function packSide(
  bytes: Uint8Array,
  at: number,
  option: Option,
  side: 'value' | 'mask',
  length: number,
): void {
  bytes[at] = option.class[side] >> 8;
  bytes[at + 1] = option.class[side];
  bytes[at + 2] = option.type[side];
  bytes[at + 3] = length;
  bytes.set(option.data[side], at + kOptionHeader);
}

function unpack({ key, mask }: GeneveBytes): Option[] {
  const options: Option[] = [];
  for (let at = 0; at < key.length; ) {
    const len = 4 * (key[at + 3]! & kLengthBits);
    const start = at + kOptionHeader;
    options.push({
      class: {
        value: (key[at]! << 8) | key[at + 1]!,
        mask: (mask[at]! << 8) | mask[at + 1]!,
      },
      type: { value: key[at + 2]!, mask: mask[at + 2]! },
      len,
      data: { value: key.subarray(start, start + len), mask: mask.subarray(start, start + len) },
    });
    at = start + len;
  }
  return options;
}

/**
 * Options out of an attribute, and its mask; undefined if nothing of them is matched. Without
 * `mask` everything is exact. Throws EINVAL unless the lengths add up.
 */
export function decodeOptions(
  key: Uint8Array,
  mask: Uint8Array | undefined,
): GeneveBytes | undefined {
  if (mask !== undefined && mask.length !== key.length) {
    throw invalid(`geneve options have ${key.length} bytes and their mask ${mask.length}`);
  }
  if (key.length > kMaxOptions) {
    throw invalid(`geneve options have ${key.length} bytes, more than ${kMaxOptions}`);
  }
  for (let at = 0; at < key.length; ) {
    const rest = key.length - at - kOptionHeader;
    if (rest < 0 || rest < 4 * (key[at + 3]! & kLengthBits)) {
      throw invalid(`geneve options of ${key.length} bytes end inside an option`);
    }
    at += kOptionHeader + 4 * (key[at + 3]! & kLengthBits);
  }
  if (mask !== undefined && mask.length > 0 && isZero(mask)) return undefined;
  const all = mask ?? new Uint8Array(key.length).fill(255);
  return pack(unpack({ key, mask: all }).map(forgetUnmatched));
}

/** Zeroes what is wildcarded, as forgetUnmatched() of values/value.ts does for other fields. */
function forgetUnmatched(option: Option): Option {
  return {
    class: option.class.mask === 0 ? kWild : option.class,
    type: option.type.mask === 0 ? kWild : option.type,
    len: option.len,
    data: isZero(option.data.mask) ? wildData(option.len) : option.data,
  };
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function isOnes(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 255);
}

function wildData(length: number): Masked<Uint8Array> {
  const none = new Uint8Array(length);
  return { value: none, mask: none };
}

// ---------- text

/** The members of an option that were read. */
interface Read {
  class?: Masked<number>;
  type?: Masked<number>;
  len?: Masked<number>;
  data?: Masked<Uint8Array>;
}

/**
 * The options in a text, up to the ')' behind them; undefined if all of them are wildcarded, even
 * their lengths.
 */
export function readOptions(scanner: Scanner): GeneveBytes | undefined {
  const options: Option[] = [];
  let size = 0;
  let wild = 0;
  while (scanner.next() && !scanner.is(kParen)) {
    const start = scanner.at;
    if (!scanner.take(kOpen)) {
      scanner.fail(`expected "{" to begin an option of "geneve", found ${scanner.found()}`);
    }
    const { class: cls = kWild, type = kWild, len, data } = readOption(scanner);
    const length = len?.value ?? 0;
    const option = forgetUnmatched({
      class: cls,
      type,
      len: length,
      data: data ?? wildData(length),
    });
    size += kOptionHeader + length;
    if (size > kMaxOptions) {
      scanner.fail(`the options of "geneve" are longer than ${kMaxOptions} bytes`, start);
    }
    options.push(option);
    if (len?.mask === 0 && cls.mask === 0 && type.mask === 0 && isZero(option.data.mask)) wild++;
  }
  return wild > 0 && wild === options.length ? undefined : pack(options);
}

function readOption(scanner: Scanner): Read {
  const read: Read = {};
  while (scanner.next() && !scanner.is(kClose) && !scanner.is(kParen)) {
    const start = scanner.at;
    const word = scanner.token();
    const name = scanner.is(kEquals) ? word : 'data';
    if (name !== 'class' && name !== 'type' && name !== 'len' && name !== 'data') {
      scanner.fail(
        `an option of "geneve" has no field "${name}"`,
        start,
        'known: class, type, len',
      );
    }
    if (read[name] !== undefined) {
      scanner.fail(`"${name}" of an option of "geneve" is given twice`, start);
    }
    if (name === 'data') {
      scanner.at = start;
      read.data = readData(scanner, read.len?.value);
    } else {
      scanner.equals(name);
      read[name] = name === 'len' ? readLength(scanner) : readNumber(scanner, name);
    }
    if (!scanner.is(kClose)) scanner.endItem();
  }
  if (!scanner.take(kClose)) {
    scanner.fail(`expected "}" to end an option of "geneve", found ${scanner.found()}`);
  }
  return read;
}

function readNumber(scanner: Scanner, name: 'class' | 'type'): Masked<number> {
  const max = name === 'class' ? kMaxClass : kMaxType;
  const value = scanner.number(name, max);
  return { value, mask: scanner.take(kSlash) ? scanner.number(`${name} mask`, max) : max };
}

function readLength(scanner: Scanner): Masked<number> {
  const start = scanner.at;
  const value = scanner.number('len', kMaxData);
  if (value % 4 !== 0) scanner.fail(`"len" must be a multiple of 4, found ${value}`, start);
  if (!scanner.take(kSlash)) return { value, mask: kLengthBits };
  const maskAt = scanner.at;
  const mask = scanner.number('len mask', 0xff);
  if (mask !== 0 && mask !== 0xff) scanner.fail('"len" cannot be masked', maskAt - 1);
  return { value, mask: mask & kLengthBits };
}

/** One number, right-aligned in the data, and perhaps a mask. */
function readData(scanner: Scanner, len: number | undefined): Masked<Uint8Array> {
  const value = readDataBytes(scanner, len);
  const mask = scanner.take(kSlash)
    ? readDataBytes(scanner, len)
    : new Uint8Array(len ?? 0).fill(255);
  return { value, mask };
}

function readDataBytes(scanner: Scanner, len: number | undefined): Uint8Array {
  const start = scanner.at;
  const word = scanner.token();
  if (len === undefined) {
    scanner.fail(`expected "len" in front of the data, found ${scanner.found(start)}`, start);
  }
  const bytes = new Uint8Array(len);
  if (word === '0') return bytes;
  if (!/^0[xX][0-9a-fA-F]+$/.test(word)) {
    scanner.fail(`expected 0x and hexadecimal digits, found ${scanner.found(start)}`, start);
  }
  const digits = word.slice(2).replace(/^0+/, '');
  if (digits.length > 2 * len) {
    scanner.fail(`data of an option of "geneve" is longer than its "len" of ${len}`, start);
  }
  for (let i = 1; i <= digits.length; i++) {
    const at = len - ((i + 1) >> 1);
    const digit = hexDigit(digits.charCodeAt(digits.length - i));
    bytes[at] = bytes[at]! | (i % 2 === 1 ? digit : digit << 4);
  }
  return bytes;
}

/** Prints options as Open vSwitch does. */
export function formatOptions(options: GeneveBytes): string {
  return unpack(options).map(formatOption).join('');
}

function formatOption({ class: cls, type, len, data }: Option): string {
  const parts: string[] = [];
  if (cls.mask !== 0) parts.push(`class=${formatHexNumber(cls.value)}${slash(cls, kMaxClass)}`);
  if (type.mask !== 0) parts.push(`type=${formatHexNumber(type.value)}${slash(type, kMaxType)}`);
  parts.push(`len=${len}`);
  if (!isZero(data.mask)) {
    const mask = isOnes(data.mask) ? '' : `/${formatData(data.mask)}`;
    parts.push(`${formatData(data.value)}${mask}`);
  }
  return `{${parts.join(',')}}`;
}

function slash({ mask }: Masked<number>, full: number): string {
  return mask === full ? '' : `/${formatHexNumber(mask)}`;
}

function formatData(bytes: Uint8Array): string {
  const digits = formatHex(bytes).replace(/^0+/, '');
  return digits === '' ? '0' : `0x${digits}`;
}

// ---------- typed form

/** Options from the typed form. Throws EINVAL. */
export function optionsFromTyped(value: unknown, label: string): GeneveBytes {
  if (!Array.isArray(value)) throw invalid(`${label} must be an array, got ${show(value)}`);
  const options = value.map((option, i) => forgetUnmatched(fromTyped(option, `${label}[${i}]`)));
  const size = sizeOf(options);
  if (size > kMaxOptions) {
    throw invalid(`${label} has ${size} bytes with its headers, more than ${kMaxOptions}`);
  }
  return pack(options);
}

function fromTyped(option: unknown, label: string): Option {
  if (typeof option !== 'object' || option === null) {
    throw invalid(`${label} must be an object, got ${show(option)}`);
  }
  const { class: cls, type, len, data, ...rest } = option as Record<keyof GeneveOption, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    throw invalid(`${label} has no field ${show(unknown)}`, {
      hint: 'known: class, type, len, data',
    });
  }
  const given = data === undefined ? undefined : dataFromTyped(data, `${label}.data`);
  const length = lengthFromTyped(len ?? given?.value.length ?? 0, `${label}.len`);
  if (given !== undefined && given.value.length !== length) {
    throw invalid(`${label}.data has ${given.value.length} bytes, but len says ${length}`);
  }
  return {
    class: numberFromTyped(cls, `${label}.class`, kMaxClass),
    type: numberFromTyped(type, `${label}.type`, kMaxType),
    len: length,
    data: given ?? wildData(length),
  };
}

function numberFromTyped(value: unknown, label: string, max: number): Masked<number> {
  if (value === undefined) return kWild;
  if (isMasked(value)) {
    return {
      value: checkNumber(value.value, label, max),
      mask: checkNumber(value.mask, label, max),
    };
  }
  return { value: checkNumber(value, label, max), mask: max };
}

function checkNumber(value: unknown, label: string, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
    throw invalid(`${label} must be an integer from 0 to ${max}, got ${show(value)}`);
  }
  return value;
}

function lengthFromTyped(given: unknown, label: string): number {
  const length = checkNumber(given, label, kMaxData);
  if (length % 4 !== 0) throw invalid(`${label} must be a multiple of 4, got ${length}`);
  return length;
}

function dataFromTyped(given: unknown, label: string): Masked<Uint8Array> {
  const { value, mask } = isMasked(given) ? given : { value: given, mask: undefined };
  if (!isUint8Array(value) || !(mask === undefined || isUint8Array(mask))) {
    throw invalid(`${label} must be a Uint8Array or { value, mask } of two, got ${show(given)}`);
  }
  if (mask !== undefined && mask.length !== value.length) {
    throw invalid(`${label} has ${value.length} bytes and its mask ${mask.length}`);
  }
  return { value, mask: mask ?? new Uint8Array(value.length).fill(255) };
}

/** The canonical typed form. */
export function typedFromOptions(options: GeneveBytes): GeneveOption[] {
  return unpack(options).map(({ class: cls, type, len, data }) => ({
    ...(cls.mask === 0 ? {} : { class: typedNumber(cls, kMaxClass) }),
    ...(type.mask === 0 ? {} : { type: typedNumber(type, kMaxType) }),
    len,
    ...(isZero(data.mask) ? {} : { data: typedData(data) }),
  }));
}

function typedNumber(number: Masked<number>, full: number): number | Masked<number> {
  return number.mask === full ? number.value : number;
}

function typedData({ value, mask }: Masked<Uint8Array>): Buffer | Masked<Buffer> {
  const copy = Buffer.from(value);
  return isOnes(mask) ? copy : { value: copy, mask: Buffer.from(mask) };
}

/** Some field is matched in part. Where there are no masks, like in actions, that has no meaning. */
export function hasMasks(options: GeneveBytes): boolean {
  return typedFromOptions(options).some((option) => Object.values(option).some(isMasked));
}
