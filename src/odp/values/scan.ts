/** Reading flow and action text: separators, words, numbers, and errors that say where. */
import { DatapathError, type DatapathErrorOptions } from '../../errors.js';
import { type Field, kFragNames } from '../schema/compile.js';
import { readAddress } from '../text/address.js';
import { readFlags } from '../text/flags.js';
import { parseBig, parseNumber } from '../text/number.js';
import { writeBig, writeInteger } from './match.js';
import { forgetUnmatched, isAddress, readAddressMask } from './value.js';

const kOpen = 40;
const kClose = 41;
const kSlash = 47;
const kEquals = 61;

/** Text shown on either side of an error. */
const kHintWidth = 30;

const kSeparators = ', \t\r\n';
/** By character code: 1 for separators, 2 for what else ends a word, number or address. */
const kClass = new Uint8Array(128);
for (const char of kSeparators) kClass[char.charCodeAt(0)] = 1;
for (const char of '()/={}') kClass[char.charCodeAt(0)] = 2;

function separates(code: number): boolean {
  // The NaN behind the end must not come here: it would be looked up as a name, slowly.
  return code < 128 && kClass[code] === 1;
}

/**
 * The end of a word, number or address. Answers true at the end of the text too, where the code is
 * NaN.
 */
function delimits(code: number): boolean {
  return code < 128 ? kClass[code] !== 0 : !(code >= 128);
}

/**
 * The error for text that cannot be read, EINVAL unless `of` knows better. `what` is "flow" or "actions";
 * `position` counts from 0.
 */
export function syntaxError(
  what: string,
  text: string,
  position: number,
  message: string,
  hint?: string,
  of: DatapathErrorOptions = {},
): DatapathError {
  return new DatapathError(`bad ${what} at position ${position}: ${message}`, {
    code: 'EINVAL',
    ...of,
    position,
    hint: hint === undefined ? pointer(text, position) : `${pointer(text, position)}\n${hint}`,
  });
}

/** The text around `position` with a caret under it. */
function pointer(text: string, position: number): string {
  const start = Math.max(0, position - kHintWidth);
  const end = Math.min(text.length, position + kHintWidth);
  const before = start > 0 ? '…' : '';
  const line = `${before}${text.slice(start, end)}${end < text.length ? '…' : ''}`;
  const indent = ' '.repeat(before.length + position - start);
  return `${line.replace(/\s/g, ' ')}\n${indent}^`;
}

/** The place of a field's value in the text, without its mask. */
export interface ScannedValue {
  readonly field: Field;
  readonly start: number;
  readonly end: number;
}

export class Scanner {
  at = 0;
  /** Gathers the places of the values that are read, if there is a list. */
  values: ScannedValue[] | undefined = undefined;
  /** Returns a hint for those who are used to another notation of a word. */
  habit: ((word: string) => string | undefined) | undefined = undefined;

  constructor(
    readonly text: string,
    readonly what: string,
  ) {}

  /** Throws; `position` defaults to where the scanner stands. */
  fail(message: string, position = this.at, hint?: string, of?: DatapathErrorOptions): never {
    throw syntaxError(this.what, this.text, position, message, hint, of);
  }

  /** Skip separators; true if there is text left. */
  next(): boolean {
    while (separates(this.text.charCodeAt(this.at))) this.at++;
    return this.at < this.text.length;
  }

  /** After an item: it must be followed by a separator, a ')' or the end. */
  endItem(): void {
    const code = this.text.charCodeAt(this.at);
    if (code >= 0 && !separates(code) && code !== kClose) {
      this.fail(`expected "," or the end, found ${this.found()}`);
    }
  }

  is(char: number): boolean {
    return this.text.charCodeAt(this.at) === char;
  }

  /** Take that character if it is next. */
  take(char: number): boolean {
    if (!this.is(char)) return false;
    this.at++;
    return true;
  }

  /** Everything up to the next delimiter; may be empty. */
  token(): string {
    const start = this.at;
    while (!delimits(this.text.charCodeAt(this.at))) this.at++;
    return this.text.slice(start, this.at);
  }

  /** Names the word that stands here, for a message. */
  found(position = this.at): string {
    if (position >= this.text.length) return 'the end';
    let end = position;
    while (end - position < 20 && !delimits(this.text.charCodeAt(end))) end++;
    return `"${this.text.slice(position, Math.max(end, position + 1))}"`;
  }

  open(name: string): void {
    if (this.take(kOpen)) return;
    const message = `expected "(" after "${name}", found ${this.found()}`;
    this.fail(message, this.at, this.habit?.(name));
  }

  close(name: string): void {
    if (!this.take(kClose)) this.fail(`expected ")" to end "${name}", found ${this.found()}`);
  }

  equals(name: string): void {
    if (!this.take(kEquals)) this.fail(`expected "=" after "${name}", found ${this.found()}`);
  }

  /** A number of at most `max`. */
  number(name: string, max: number): number {
    const start = this.at;
    const value = parseNumber(this.token());
    if (value < 0) this.fail(`expected a number for "${name}", found ${this.found(start)}`, start);
    if (value > max) {
      this.fail(`"${name}" must be from 0 to ${max}, found ${this.found(start)}`, start);
    }
    return value;
  }

  /** The value of `field`, with its mask if one follows, written into key and mask. */
  value(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    const start = this.at;
    if (isAddress(field)) this.#address(field, name, key, mask);
    else if (field.big) this.#big(field, name, key, mask);
    else if (field.kind === 'flags') this.#flags(field, name, key, mask);
    else if (field.kind === 'frag') this.#frag(field, name, key, mask);
    else this.#integer(field, name, key, mask);
    forgetUnmatched(key, mask, field);
    if (this.values !== undefined) {
      const slash = this.text.indexOf('/', start);
      this.values.push({ field, start, end: slash < 0 ? this.at : Math.min(slash, this.at) });
    }
  }

  #integer(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    writeInteger(key, field, this.number(name, field.max));
    let bits = field.max;
    if (this.take(kSlash)) {
      const start = this.at;
      // Open vSwitch has more bits here than the header; they make no difference.
      const wide = field.kind === 'padded' ? 2 ** (8 * field.size) - 1 : field.max;
      bits = this.number(`${name} mask`, wide);
      if (bits > field.max) bits &= field.max;
      if (field.exact === true && bits !== field.max) {
        this.fail(`"${name}" cannot be masked`, start - 1);
      }
    }
    writeInteger(mask, field, bits);
  }

  #address(
    field: Field & { kind: 'mac' | 'ipv4' | 'ipv6' },
    name: string,
    key: Uint8Array,
    mask: Uint8Array,
  ): void {
    const start = this.at;
    const kind =
      field.kind === 'mac'
        ? 'a MAC address'
        : `an ${field.kind === 'ipv4' ? 'IPv4' : 'IPv6'} address`;
    if (!readAddress(field.kind, this.token(), key, field.at)) {
      this.fail(`expected ${kind} for "${name}", found ${this.found(start)}`, start);
    }
    mask.fill(255, field.at, field.at + field.size);
    if (this.take(kSlash)) {
      const maskStart = this.at;
      if (!readAddressMask(field, this.token(), mask)) {
        this.fail(
          `expected a mask or prefix length for "${name}", found ${this.found(maskStart)}`,
          maskStart,
        );
      }
    }
  }

  #frag(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    const start = this.at;
    const value = (kFragNames as readonly string[]).indexOf(this.token());
    if (value < 0) {
      this.fail(
        `expected "no", "first" or "later" for "${name}", found ${this.found(start)}`,
        start,
      );
    }
    if (this.is(kSlash)) this.fail(`"${name}" cannot be masked`);
    writeInteger(key, field, value);
    writeInteger(mask, field, field.max);
  }

  #big(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    writeBig(key, field, this.#bits(field, name));
    if (this.take(kSlash)) writeBig(mask, field, this.#bits(field, `${name} mask`));
    else mask.fill(255, field.at, field.at + field.size);
  }

  #bits(field: Field, name: string): bigint {
    const start = this.at;
    const value = parseBig(this.token());
    if (value === -1n) {
      this.fail(`expected a number for "${name}", found ${this.found(start)}`, start);
    }
    if (value === undefined || value >> BigInt(8 * field.size) !== 0n) {
      this.fail(
        `"${name}" must have at most ${8 * field.size} bits, found ${this.found(start)}`,
        start,
      );
    }
    return value;
  }

  #flags(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    const start = this.at;
    const token = this.token();
    if (this.is(kSlash)) {
      this.at = start;
      this.#integer(field, name, key, mask);
      return;
    }
    const names = field.names as readonly string[];
    const read = readFlags(token, names, field.max, name);
    if ('wrong' in read) {
      this.fail(read.wrong, start + read.at, `flags: ${names.join(', ')}`);
    }
    writeInteger(key, field, read.value);
    writeInteger(mask, field, read.mask);
  }
}
