/** Strings of bytes in the text of actions, in hexadecimal. */
import { formatHex, hexDigit } from '../text/address.js';
import type { Scanner } from '../values/scan.js';

/** Pairs of digits: `userdata(0102)`. */
export function readBytes(scanner: Scanner, name: string, max: number): Buffer {
  const start = scanner.at;
  const digits = scanner.token();
  if (digits.length % 2 !== 0)
    scanner.fail(`"${name}" needs an even number of hexadecimal digits`, start);
  return readDigits(scanner, name, max, start, digits);
}

/**
 * A number that stands for bytes: `cookie=0x0102`. Open vSwitch leaves zeros away that such a
 * string begins with; they are put back up to a multiple of `step` bytes. Of nothing but zeros it
 * leaves `0`, read as no bytes.
 */
export function readNumber(scanner: Scanner, name: string, max: number, step: number): Buffer {
  const start = scanner.at;
  const word = scanner.token();
  if (word === '0') return Buffer.alloc(0);
  if (!/^0[xX]./.test(word))
    scanner.fail(`expected "0x" and bytes for "${name}", found ${scanner.found(start)}`, start);
  const digits = word.slice(2);
  const length = Math.ceil(digits.length / 2 / step) * step * 2;
  const missing = length - digits.length;
  return readDigits(scanner, name, max, start + 2 - missing, digits.padStart(length, '0'));
}

/** `start` is where the first digit stands, or would. */
function readDigits(
  scanner: Scanner,
  name: string,
  max: number,
  start: number,
  digits: string,
): Buffer {
  if (digits.length / 2 > max) scanner.fail(`"${name}" is at most ${max} bytes`, start);
  const bytes = Buffer.alloc(digits.length / 2);
  for (let i = 0; i < digits.length; i++) {
    const digit = hexDigit(digits.charCodeAt(i));
    if (digit < 0)
      scanner.fail(`expected hexadecimal digits, found ${scanner.found(start + i)}`, start + i);
    bytes[i >> 1] = (bytes[i >> 1]! << 4) | digit;
  }
  return bytes;
}

export function printNumber(bytes: Uint8Array): string {
  return `0x${formatHex(bytes)}`;
}
