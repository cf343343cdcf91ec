/** Unique flow identifiers: 16 bytes, printed 8-4-4-4-12 in hexadecimal with the bytes in order. */
import { invalid, show } from '../../errors.js';
import { formatHex, hexDigit } from '../text/address.js';
import type { Ufid } from '../types.js';
import type { Scanner } from './scan.js';

const kPrefix = 'ufid:';
const kLength = 36;

/** The bytes, or undefined if `text` has no identifier at `at`. */
function read(text: string, at: number): Buffer | undefined {
  const bytes = Buffer.alloc(16);
  let filled = 0;
  for (let i = 0; i < kLength; i++) {
    if (i === 8 || i === 13 || i === 18 || i === 23) {
      if (text.charCodeAt(at + i) !== 45) return undefined;
      continue;
    }
    const digit = hexDigit(text.charCodeAt(at + i));
    if (digit < 0) return undefined;
    bytes[filled >> 1] = (bytes[filled >> 1]! << 4) | digit;
    filled++;
  }
  return bytes;
}

/** The 16 bytes of an identifier, written with or without "ufid:" in front. Throws EINVAL. */
export function parseUfid(text: string): Buffer {
  if (typeof text === 'string') {
    const at = text.startsWith(kPrefix) ? kPrefix.length : 0;
    const bytes = read(text, at);
    if (bytes !== undefined && text.length === at + kLength) return bytes;
  }
  throw invalid(`a ufid must be 8-4-4-4-12 hexadecimal digits, got ${show(text)}`);
}

/** 8-4-4-4-12 hexadecimal, lower case. Throws EINVAL unless there are 16 bytes. */
export function formatUfid(bytes: Uint8Array): Ufid {
  if (bytes.length !== 16) throw invalid(`a ufid has 16 bytes, got ${bytes.length}`);
  const hex = formatHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The "ufid:…" that may stand in front of a flow. */
export function takeUfid(scanner: Scanner): Ufid | undefined {
  if (!scanner.next() || !scanner.text.startsWith(kPrefix, scanner.at)) return undefined;
  const at = scanner.at + kPrefix.length;
  const bytes = read(scanner.text, at);
  if (bytes === undefined) scanner.fail('expected 8-4-4-4-12 hexadecimal digits after "ufid:"', at);
  scanner.at = at + kLength;
  scanner.endItem();
  return formatUfid(bytes);
}
