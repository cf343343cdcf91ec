/** Reading flow and action text: separators, words, numbers, and errors that say where. */
import { type DatapathError, invalid } from '../errors.js';
import { hexDigit, readAddress } from './address.js';
import { writeInteger } from './match.js';
import type { Field } from './schema.js';
import { kFragNames, kTcpFlagNames } from './schema.js';
import { forgetUnmatched, isAddress, readAddressMask } from './value.js';

const kTab = 9;
const kNewline = 10;
const kReturn = 13;
const kBlank = 32;
const kOpen = 40;
const kClose = 41;
const kComma = 44;
const kSlash = 47;
const kEquals = 61;

/** Text shown on either side of an error. */
const kHintWidth = 30;

function separates(code: number): boolean {
  return (
    code === kComma || code === kBlank || code === kTab || code === kNewline || code === kReturn
  );
}

/**
 * The end of a word, number or address. Answers true at the end of the text too, where the code is
 * NaN.
 */
function delimits(code: number): boolean {
  return (
    !(code >= 0) ||
    separates(code) ||
    code === kOpen ||
    code === kClose ||
    code === kSlash ||
    code === kEquals
  );
}

/**
 * The error for text that cannot be read. `what` is "flow" or "actions"; `position` counts from 0.
 */
export function syntaxError(
  what: string,
  text: string,
  position: number,
  message: string,
  hint?: string,
  cause?: unknown,
): DatapathError {
  return invalid(`bad ${what} at position ${position}: ${message}`, {
    position,
    hint: hint === undefined ? pointer(text, position) : `${pointer(text, position)}\n${hint}`,
    cause,
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

/**
 * Unsigned number in decimal, 0x hexadecimal or 0 octal; -1 if it is none, Infinity if it is huge.
 */
export function parseNumber(text: string): number {
  const length = text.length;
  if (length === 0) return -1;
  let base = 10;
  let i = 0;
  if (text.charCodeAt(0) === 48 && length > 1) {
    base = (text.charCodeAt(1) | 32) === 120 ? 16 : 8;
    i = base === 16 ? 2 : 1;
    if (i === length) return -1;
  }
  let value = 0;
  for (; i < length; i++) {
    const digit = hexDigit(text.charCodeAt(i));
    if (digit < 0 || digit >= base) return -1;
    value = value * base + digit;
  }
  return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
}

export class Scanner {
  at = 0;

  constructor(
    readonly text: string,
    readonly what: string,
  ) {}

  /** Throws; `position` defaults to where the scanner stands. */
  fail(message: string, position = this.at, hint?: string, cause?: unknown): never {
    throw syntaxError(this.what, this.text, position, message, hint, cause);
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

  /** What stands here, for a message. */
  found(position = this.at): string {
    if (position >= this.text.length) return 'the end';
    let end = position;
    while (end - position < 20 && !delimits(this.text.charCodeAt(end))) end++;
    return `"${this.text.slice(position, Math.max(end, position + 1))}"`;
  }

  open(name: string): void {
    if (!this.take(kOpen)) this.fail(`expected "(" after "${name}", found ${this.found()}`);
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
    if (isAddress(field)) this.#address(field, name, key, mask);
    else if (field.kind === 'flags') this.#flags(field, name, key, mask);
    else if (field.kind === 'frag') this.#frag(field, name, key, mask);
    else this.#integer(field, name, key, mask);
    forgetUnmatched(key, mask, field);
  }

  #integer(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    writeInteger(key, field, this.number(name, field.max));
    let bits = field.max;
    if (this.take(kSlash)) {
      const start = this.at;
      bits = this.number(`${name} mask`, field.max);
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

  /** `a|b`: these and no others; `+a-b`: only these matter; a number, masked or not. */
  #flags(field: Field, name: string, key: Uint8Array, mask: Uint8Array): void {
    const start = this.at;
    const token = this.token();
    if (this.is(kSlash)) {
      this.at = start;
      this.#integer(field, name, key, mask);
      return;
    }
    let value = 0;
    let bits = 0;
    const signed = token.startsWith('+') || token.startsWith('-');
    let at = 0;
    while (at < token.length || at === 0) {
      const sign = token[at];
      if (signed) at++;
      let end = at;
      while (end < token.length && !isFlagEnd(token[end]!, signed)) end++;
      const word = token.slice(at, end);
      const bit = (kTcpFlagNames as readonly string[]).indexOf(word);
      const number = bit >= 0 ? 1 << bit : signed ? -1 : parseNumber(word);
      if (number < 0 || number > field.max) {
        this.fail(
          `expected a flag or number for "${name}", found "${word.slice(0, 20)}"`,
          start + at,
          `flags: ${kTcpFlagNames.join(', ')}`,
        );
      }
      if (signed && (bits & number) !== 0) {
        this.fail(`flag "${word}" of "${name}" is given twice`, start + at);
      }
      if (sign !== '-') value |= number;
      bits |= number;
      at = signed ? end : end + 1;
      if (!signed && at === token.length) this.fail(`expected a flag after "|"`, start + at);
    }
    writeInteger(key, field, value);
    writeInteger(mask, field, signed ? bits : field.max);
  }
}

function isFlagEnd(char: string, signed: boolean): boolean {
  return signed ? char === '+' || char === '-' : char === '|';
}
