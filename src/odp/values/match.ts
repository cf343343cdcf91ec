/**
 * A match as bytes: for each group of the field table a slot in `key` and the same slot in `mask`,
 * laid out like the netlink attribute. All conversions meet here.
 */
import { type Field, type Group, groupOf, groups, kMatchSize } from '../schema/compile.js';

/** Geneve options as they stand in the header; `mask` is as long as `key`. */
export interface GeneveBytes {
  readonly key: Uint8Array;
  readonly mask: Uint8Array;
}

const tunnel = groupOf('tunnel');

/** `Match.present` of a tag that stands for any tags or none. */
const kAnyTags = 2;

export class Match {
  readonly key: Uint8Array = new Uint8Array(kMatchSize);
  readonly mask: Uint8Array = new Uint8Array(kMatchSize);
  /**
   * By `Group.index`: 0 for groups that are not part of the match, otherwise 1, or the number of
   * entries of groups that have them; for "any" tags see `leavesOpen`.
   */
  readonly present: Uint8Array = new Uint8Array(groups.length);
  /**
   * Where in the text each group stood, for errors found later. Meaningful only while text is being
   * read.
   */
  readonly position: Int32Array = new Int32Array(groups.length);
  /** The in_port, while it is a name that nobody has resolved. */
  inPortName: string | undefined = undefined;
  /** Part of `tunnel`. */
  geneve: GeneveBytes | undefined = undefined;

  clear(): void {
    this.key.fill(0);
    this.mask.fill(0);
    this.present.fill(0);
    this.inPortName = undefined;
    this.geneve = undefined;
  }

  has(group: Group): boolean {
    return this.present[group.index] !== 0;
  }

  /** This tag, and what tags are inside of it, does not matter; it may not be there at all. */
  leavesOpen(tag: Group): boolean {
    return this.present[tag.index] === kAnyTags;
  }

  leaveOpen(tag: Group): void {
    this.present[tag.index] = kAnyTags;
  }

  remove(group: Group): void {
    this.present[group.index] = 0;
    if (group === tunnel) this.geneve = undefined;
    this.key.fill(0, group.slot, group.slot + group.size);
    this.mask.fill(0, group.slot, group.slot + group.size);
  }

  /** Match `value` and nothing else in this integer field. */
  setExact(group: Group, field: Field, value: number): void {
    this.present[group.index] = 1;
    writeInteger(this.key, field, value);
    writeInteger(this.mask, field, field.max);
  }

  /** The field's value if it is matched exactly, otherwise undefined. Integer fields only. */
  exact(field: Field): number | undefined {
    return readInteger(this.mask, field) === field.max ? readInteger(this.key, field) : undefined;
  }

  /** No bit of the field is matched. */
  wild(field: Field): boolean {
    return isWild(this.mask, field);
  }

  /** No bit of the group is matched. */
  wildGroup(group: Group): boolean {
    if (group === tunnel && this.geneve !== undefined) return false;
    for (let i = group.slot; i < group.slot + group.size; i++) {
      if (this.mask[i] !== 0) return false;
    }
    return true;
  }
}

let spare: Match | undefined;

/**
 * An empty Match. Hand it back with `release` to save the next caller an allocation; forgetting to
 * is harmless.
 */
export function acquire(): Match {
  const match = spare;
  if (match === undefined) return new Match();
  spare = undefined;
  match.clear();
  return match;
}

export function release(match: Match): void {
  spare = match;
}

/** The value of an integer field (at most four bytes). */
export function readInteger(bytes: Uint8Array, field: Field): number {
  const raw = readRaw(bytes, field);
  return field.whole ? raw : (raw >>> field.shift) & field.max;
}

/** Write an integer field; the bits around it stay. */
export function writeInteger(bytes: Uint8Array, field: Field, value: number): void {
  let raw = value;
  if (!field.whole) {
    raw = (readRaw(bytes, field) & ~(field.max << field.shift)) | (value << field.shift);
  }
  const { at, size } = field;
  if (size === 1) {
    bytes[at] = raw;
  } else if (field.little) {
    bytes[at] = raw;
    bytes[at + 1] = raw >> 8;
    if (size === 2) return;
    bytes[at + 2] = raw >> 16;
    bytes[at + 3] = raw >> 24;
  } else if (size === 2) {
    bytes[at] = raw >> 8;
    bytes[at + 1] = raw;
  } else {
    bytes[at] = raw >> 24;
    bytes[at + 1] = raw >> 16;
    bytes[at + 2] = raw >> 8;
    bytes[at + 3] = raw;
  }
}

function readRaw(bytes: Uint8Array, field: Field): number {
  const { at, size } = field;
  const a = bytes[at]!;
  if (size === 1) return a;
  const b = bytes[at + 1]!;
  if (size === 2) return field.little ? (b << 8) | a : (a << 8) | b;
  const c = bytes[at + 2]!;
  const d = bytes[at + 3]!;
  return field.little
    ? ((d << 24) | (c << 16) | (b << 8) | a) >>> 0
    : ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

/** The value of a field of more than four bytes that is a number. */
export function readBig(bytes: Uint8Array, field: Field): bigint {
  let value = 0n;
  for (let i = 0; i < field.size; i++) {
    const at = field.little ? field.size - 1 - i : i;
    value = (value << 8n) | BigInt(bytes[field.at + at]!);
  }
  return value;
}

export function writeBig(bytes: Uint8Array, field: Field, value: bigint): void {
  let rest = value;
  for (let i = 0; i < field.size; i++) {
    bytes[field.at + (field.little ? i : field.size - 1 - i)] = Number(rest & 255n);
    rest >>= 8n;
  }
}

/** No bit of the field is set in `mask`. */
export function isWild(mask: Uint8Array, field: Field): boolean {
  return field.size <= 4 ? readInteger(mask, field) === 0 : isAll(mask, field, 0);
}

/** Every bit of the field is set in `mask`. */
export function isFull(mask: Uint8Array, field: Field): boolean {
  return field.size <= 4 ? readInteger(mask, field) === field.max : isAll(mask, field, 255);
}

function isAll(bytes: Uint8Array, field: Field, byte: number): boolean {
  for (let i = field.at; i < field.at + field.size; i++) {
    if (bytes[i] !== byte) return false;
  }
  return true;
}
