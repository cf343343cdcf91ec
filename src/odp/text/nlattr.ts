/**
 * Netlink attributes: a header of two 16-bit numbers in host order, length (header included) and
 * type, then the payload, padded to a multiple of four bytes.
 */
import { invalid } from '../../errors.js';

export const kHeaderSize = 4;
/** Longest attribute, header included. */
export const kMaxAttribute = 0xffff;
const kTypeMask = 0x3fff; // the upper two bits are flags

export function align(length: number): number {
  return (length + 3) & ~3;
}

export function putHeader(bytes: Uint8Array, at: number, length: number, type: number): void {
  bytes[at] = length;
  bytes[at + 1] = length >> 8;
  bytes[at + 2] = type;
  bytes[at + 3] = type >> 8;
}

/** An attribute's place: payload from `start` to `end`. */
export interface Attribute {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/** The attributes between `start` and `end`. Throws EINVAL if their lengths do not add up. */
export function attributes(bytes: Uint8Array, start: number, end: number): Attribute[] {
  const found: Attribute[] = [];
  let at = start;
  while (at < end) {
    if (end - at < kHeaderSize)
      throw invalid(`${end - at} bytes left over behind the last netlink attribute`);
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    if (length < kHeaderSize || at + length > end) {
      throw invalid(`netlink attribute of ${length} bytes where ${end - at} are left`);
    }
    const type = (bytes[at + 2]! | (bytes[at + 3]! << 8)) & kTypeMask;
    found.push({ type, start: at + kHeaderSize, end: at + length });
    at += align(length);
  }
  return found;
}

/** Appends attributes to a buffer that grows. */
export class AttributeWriter {
  #bytes = new Uint8Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  /**
   * Start an attribute of `size` bytes of payload and answer where the payload goes; it is zeroed,
   * padding included.
   */
  put(type: number, size: number): number {
    const at = this.#reserve(kHeaderSize + align(size));
    putHeader(this.#bytes, at, kHeaderSize + size, type);
    return at + kHeaderSize;
  }

  putU32(type: number, value: number): void {
    const at = this.put(type, 4);
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >> 8;
    bytes[at + 2] = value >> 16;
    bytes[at + 3] = value >> 24;
  }

  putBytes(type: number, ...parts: readonly Uint8Array[]): void {
    let at = this.put(
      type,
      parts.reduce((sum, part) => sum + part.length, 0),
    );
    for (const part of parts) {
      this.#bytes.set(part, at);
      at += part.length;
    }
  }

  /** Start an attribute that holds attributes; hand the answer to `end`. */
  begin(type: number): number {
    return this.put(type, 0) - kHeaderSize;
  }

  end(start: number, type: number): void {
    const length = this.#length - start;
    if (length > kMaxAttribute)
      throw invalid(`netlink attribute longer than ${kMaxAttribute} bytes`);
    putHeader(this.#bytes, start, length, type);
  }

  /** A copy of what was written. */
  take(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  #reserve(size: number): number {
    const at = this.#length;
    const needed = at + size;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    this.#bytes.fill(0, at, needed);
    this.#length = needed;
    return at;
  }
}
