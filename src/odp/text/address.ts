/**
 * Addresses between text and bytes. The `read` functions write into `bytes` at `at` and answer
 * whether the text was an address; they leave rubbish behind when it was not. Leading zeros in
 * dotted quads are refused: half the world reads them as octal.
 */

export type AddressKind = 'mac' | 'ipv4' | 'ipv6';

/** Bytes of an address. */
export const kAddressSize: Readonly<Record<AddressKind, number>> = { mac: 6, ipv4: 4, ipv6: 16 };

/** Value of a hexadecimal digit, or -1. */
export function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

export function readAddress(
  kind: AddressKind,
  text: string,
  bytes: Uint8Array,
  at: number,
): boolean {
  if (kind === 'mac') return readMac(text, bytes, at);
  if (kind === 'ipv4') return readIpv4(text, 0, text.length, bytes, at);
  return readIpv6(text, bytes, at);
}

export function formatAddress(kind: AddressKind, bytes: Uint8Array, at: number): string {
  if (kind === 'mac') return formatMac(bytes, at);
  if (kind === 'ipv4') return formatIpv4(bytes, at);
  return formatIpv6(bytes, at);
}

/** Six groups of one or two hexadecimal digits. */
function readMac(text: string, bytes: Uint8Array, at: number): boolean {
  let i = 0;
  for (let group = 0; group < 6; group++) {
    if (group > 0 && text.charCodeAt(i++) !== 58) return false;
    const high = hexDigit(text.charCodeAt(i));
    if (high < 0) return false;
    i++;
    const low = hexDigit(text.charCodeAt(i));
    if (low < 0) {
      bytes[at + group] = high;
    } else {
      bytes[at + group] = (high << 4) | low;
      i++;
    }
  }
  return i === text.length;
}

function readIpv4(text: string, from: number, to: number, bytes: Uint8Array, at: number): boolean {
  let i = from;
  for (let octet = 0; octet < 4; octet++) {
    if (octet > 0 && text.charCodeAt(i++) !== 46) return false;
    const start = i;
    let value = 0;
    while (i < to) {
      const digit = text.charCodeAt(i) - 48;
      if (!(digit >= 0 && digit <= 9)) break;
      value = value * 10 + digit;
      if (value > 255 || (i > start && text.charCodeAt(start) === 48)) return false;
      i++;
    }
    if (i === start) return false;
    bytes[at + octet] = value;
  }
  return i === to;
}

/** RFC 4291 text, with `::` and with a dotted quad at the end. */
function readIpv6(text: string, bytes: Uint8Array, at: number): boolean {
  const length = text.length;
  let i = 0;
  let filled = 0;
  let gap = -1;
  if (text.charCodeAt(0) === 58) {
    if (text.charCodeAt(1) !== 58) return false;
    gap = 0;
    i = 2;
  }
  while (i < length) {
    const start = i;
    let value = 0;
    while (i < length) {
      const digit = hexDigit(text.charCodeAt(i));
      if (digit < 0) break;
      value = value * 16 + digit;
      if (++i - start > 4) return false;
    }
    if (text.charCodeAt(i) === 46) {
      if (filled > 12 || !readIpv4(text, start, length, bytes, at + filled)) return false;
      filled += 4;
      i = length;
      break;
    }
    if (i === start || filled === 16) return false;
    bytes[at + filled] = value >> 8;
    bytes[at + filled + 1] = value & 255;
    filled += 2;
    if (i === length) break;
    if (text.charCodeAt(i++) !== 58) return false;
    if (text.charCodeAt(i) === 58) {
      if (gap >= 0) return false;
      gap = filled;
      i++;
    } else if (i === length) {
      return false;
    }
  }
  if (gap < 0) return filled === 16;
  // "::" stands for at least one group.
  if (filled > 14) return false;
  const moved = filled - gap;
  bytes.copyWithin(at + 16 - moved, at + gap, at + filled);
  bytes.fill(0, at + gap, at + 16 - moved);
  return true;
}

const kHexByte: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0'),
);

/** Two hexadecimal digits for each byte. */
export function formatHex(bytes: Uint8Array, from = 0, to = bytes.length): string {
  let out = '';
  for (let i = from; i < to; i++) out += kHexByte[bytes[i]!];
  return out;
}

function formatMac(bytes: Uint8Array, at: number): string {
  let out = kHexByte[bytes[at]!]!;
  for (let i = at + 1; i < at + 6; i++) out += `:${kHexByte[bytes[i]!]}`;
  return out;
}

function formatIpv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/**
 * Prints an address as `inet_ntop` of the C library does: the longest run of zeros is shortened, embedded IPv4
 * addresses are dotted.
 */
function formatIpv6(bytes: Uint8Array, at: number): string {
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push((bytes[at + i]! << 8) | bytes[at + i + 1]!);
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && words[i + run] === 0) run++;
    if (run > length) {
      start = i;
      length = run;
    }
    i += run;
  }
  const dotted = start === 0 && (length === 6 || (length === 5 && words[5] === 0xffff));
  let out = '';
  for (let i = 0; i < 8; i++) {
    if (i === start) {
      out += '::';
      i += length - 1;
    } else if (dotted && i === 6) {
      return `${out}${length === 5 ? ':' : ''}${formatIpv4(bytes, at + 12)}`;
    } else {
      out += `${i === 0 || i === start + length ? '' : ':'}${words[i]!.toString(16)}`;
    }
  }
  return out;
}

/** Write a mask of `prefix` leading ones over `size` bytes. */
export function writePrefix(bytes: Uint8Array, at: number, size: number, prefix: number): void {
  for (let i = 0; i < size; i++) {
    const ones = Math.min(8, Math.max(0, prefix - 8 * i));
    bytes[at + i] = (0xff00 >> ones) & 255;
  }
}

/** Number of leading ones, or -1 if there are ones behind a zero. */
export function prefixOf(bytes: Uint8Array, at: number, size: number): number {
  let prefix = 0;
  let ended = false;
  for (let i = at; i < at + size; i++) {
    const byte = bytes[i]!;
    if (ended) {
      if (byte !== 0) return -1;
    } else if (byte === 255) {
      prefix += 8;
    } else {
      const ones = Math.clz32(~byte << 24);
      if (((byte << ones) & 255) !== 0) return -1;
      prefix += ones;
      ended = true;
    }
  }
  return prefix;
}
