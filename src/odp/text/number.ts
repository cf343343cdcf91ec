/** Numbers as the flow language writes them: decimal, 0x hexadecimal, 0 octal; never negative. */
import { hexDigit } from './address.js';

/** Reads a number: -1 if the text is none, Infinity if it is huge. */
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

/** No field has so many digits; reading longer texts would cost more than they say. */
const kMaxDigits = 64;

/** Reads a number of any size: -1n if the text is no number, undefined if it has too many digits. */
export function parseBig(text: string): bigint | undefined {
  const number = parseNumber(text);
  if (number < 0) return -1n;
  if (number !== Number.POSITIVE_INFINITY) return BigInt(number);
  if (text.length > kMaxDigits) return undefined;
  const octal = text.charCodeAt(0) === 48 && (text.charCodeAt(1) | 32) !== 120;
  return BigInt(octal ? `0o${text.slice(1)}` : text);
}

/** 0 or 0x and digits. */
export function formatHexNumber(value: number | bigint): string {
  return value === 0 || value === 0n ? '0' : `0x${value.toString(16)}`;
}
