/** One field's value: between the typed form and bytes, and from bytes to text. */
import { checkInteger } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { type Field, kEthTypeMin, kFragNames } from '../schema/compile.js';
import {
  type AddressKind,
  formatAddress,
  kAddressSize,
  prefixOf,
  readAddress,
  writePrefix,
} from '../text/address.js';
import { formatFlags, readFlags } from '../text/flags.js';
import { formatHexNumber } from '../text/number.js';
import { isFull, isWild, readBig, readInteger, writeBig, writeInteger } from './match.js';

const kNumber = /^[0-9]{1,3}$/;

export function isAddress(field: Field): field is Field & { kind: AddressKind } {
  return field.kind === 'mac' || field.kind === 'ipv4' || field.kind === 'ipv6';
}

/**
 * The mask of an address, behind the '/': a prefix length or an address. Writes it into `mask` and
 * answers whether it was one.
 */
export function readAddressMask(
  field: Field & { kind: AddressKind },
  text: string,
  mask: Uint8Array,
): boolean {
  const size = kAddressSize[field.kind];
  if (!kNumber.test(text)) return readAddress(field.kind, text, mask, field.at);
  const prefix = Number(text);
  if (prefix > size * 8) return false;
  writePrefix(mask, field.at, size, prefix);
  return true;
}

/**
 * Zero what a mask leaves without meaning and without a notation: the value of a wildcarded field,
 * and flags that are not matched. Other values keep their unmatched bits, as Open vSwitch keeps
 * them.
 */
export function forgetUnmatched(key: Uint8Array, mask: Uint8Array, field: Field): void {
  if (field.kind === 'flags') {
    writeInteger(key, field, readInteger(key, field) & readInteger(mask, field));
  } else if (field.implied === undefined && isWild(mask, field)) {
    if (field.size <= 4) writeInteger(key, field, 0);
    else key.fill(0, field.at, field.at + field.size);
  }
}

/** Write a typed value into key and mask. Throws EINVAL for what is not a value of the field. */
export function putValue(key: Uint8Array, mask: Uint8Array, field: Field, value: unknown): void {
  if (isAddress(field)) {
    putAddress(key, mask, field, value);
  } else if (field.big) {
    putBig(key, mask, field, value);
  } else if (typeof value === 'number' && field.kind !== 'frag') {
    writeInteger(key, field, checkInteger(value, field.label, 0, field.max));
    writeInteger(mask, field, field.max);
  } else if (field.kind === 'frag') {
    const frag = (kFragNames as readonly unknown[]).indexOf(value);
    if (frag < 0) {
      throw invalid(`${field.label} must be 'no', 'first' or 'later', got ${show(value)}`);
    }
    writeInteger(key, field, frag);
    writeInteger(mask, field, field.max);
  } else if (isMasked(value)) {
    const bits = checkInteger(value.mask, field.label, 0, field.max);
    if (field.exact === true && bits !== field.max)
      throw invalid(`${field.label} cannot be masked`);
    writeInteger(key, field, checkInteger(value.value, field.label, 0, field.max));
    writeInteger(mask, field, bits);
    forgetUnmatched(key, mask, field);
  } else if (field.kind === 'flags' && typeof value === 'string') {
    putFlags(key, mask, field, value);
  } else {
    throw invalid(
      `${field.label} must be a number${field.exact === true ? '' : ' or { value, mask }'}, got ${show(value)}`,
    );
  }
}

/** Neither value need be of the right kind. */
export function isMasked(value: unknown): value is { value: unknown; mask: unknown } {
  return typeof value === 'object' && value !== null && 'value' in value && 'mask' in value;
}

function putBig(key: Uint8Array, mask: Uint8Array, field: Field, value: unknown): void {
  const [bits, care] = isMasked(value) ? [value.value, value.mask] : [value, undefined];
  writeBig(key, field, checkBig(field, bits));
  if (care === undefined) mask.fill(255, field.at, field.at + field.size);
  else writeBig(mask, field, checkBig(field, care));
  forgetUnmatched(key, mask, field);
}

function checkBig(field: Field, value: unknown): bigint {
  const big = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof big !== 'bigint' || big < 0n || big >> BigInt(8 * field.size) !== 0n) {
    throw invalid(
      `${field.label} must be a bigint or integer of at most ${8 * field.size} bits, or { value, mask } of them, got ${show(value)}`,
    );
  }
  return big;
}

function putFlags(key: Uint8Array, mask: Uint8Array, field: Field, text: string): void {
  const names = field.names as readonly string[];
  const read = readFlags(text, names, field.max, field.label);
  if ('wrong' in read) throw invalid(read.wrong, { hint: `flags: ${names.join(', ')}` });
  writeInteger(key, field, read.value);
  writeInteger(mask, field, read.mask);
}

const kExamples: Readonly<Record<AddressKind, string>> = {
  mac: '02:00:00:00:00:01',
  ipv4: '10.0.0.1',
  ipv6: '2001:db8::1',
};

function putAddress(
  key: Uint8Array,
  mask: Uint8Array,
  field: Field & { kind: AddressKind },
  value: unknown,
): void {
  if (typeof value === 'string') {
    const slash = value.indexOf('/');
    if (slash < 0) {
      if (readAddress(field.kind, value, key, field.at)) {
        mask.fill(255, field.at, field.at + field.size);
        return;
      }
    } else if (
      readAddress(field.kind, value.slice(0, slash), key, field.at) &&
      readAddressMask(field, value.slice(slash + 1), mask)
    ) {
      forgetUnmatched(key, mask, field);
      return;
    }
  }
  const example = kExamples[field.kind];
  throw invalid(
    `${field.label} must be an address like '${example}' or '${example}/mask', got ${show(value)}`,
  );
}

/** The typed value of a field that is matched at least in part. */
export function takeValue(key: Uint8Array, mask: Uint8Array, field: Field): unknown {
  if (isAddress(field)) {
    const text = formatAddress(field.kind, key, field.at);
    if (isFull(mask, field)) return text;
    const prefix = prefixOf(mask, field.at, field.size);
    // Prefixes of a MAC address are nobody's habit.
    if (prefix < 0 || field.kind === 'mac')
      return `${text}/${formatAddress(field.kind, mask, field.at)}`;
    return `${text}/${prefix}`;
  }
  if (field.big) {
    const value = readBig(key, field);
    return isFull(mask, field) ? value : { value, mask: readBig(mask, field) };
  }
  const value = readInteger(key, field);
  const bits = readInteger(mask, field);
  if (bits !== field.max && field.exact === true) throw invalid(`${field.label} cannot be masked`);
  if (field.kind === 'frag') {
    const name = kFragNames[value];
    if (name === undefined) throw invalid(`${field.label} cannot be ${value}`);
    return name;
  }
  return bits === field.max ? value : { value, mask: bits };
}

/** The field's value as Open vSwitch prints it, with its mask unless that is full. */
export function formatValue(key: Uint8Array, mask: Uint8Array, field: Field): string {
  if (isAddress(field)) {
    const text = formatAddress(field.kind, key, field.at);
    return isFull(mask, field) ? text : `${text}/${formatAddress(field.kind, mask, field.at)}`;
  }
  if (field.big) {
    const value = readBig(key, field);
    const text = field.kind === 'padded' ? `0x${value.toString(16)}` : formatHexNumber(value);
    return isFull(mask, field) ? text : `${text}/${formatHexNumber(readBig(mask, field))}`;
  }
  const value = readInteger(key, field);
  const bits = readInteger(mask, field);
  const full = bits === field.max;
  switch (field.kind) {
    case 'dec':
      return full ? String(value) : `${value}/${formatHexNumber(bits)}`;
    case 'ethType':
      // Frames that have a length in place of a type.
      if (full && value < kEthTypeMin) return '0/0xffff';
      return full ? padded(value, 4) : `${padded(value, 4)}/${padded(bits, 4)}`;
    case 'padded':
      if (full) return field.size === 1 ? String(value) : padded(value, 0);
      return `${padded(value, field.size === 1 ? 2 : 0)}/${padded(bits, 2 * field.size)}`;
    case 'frag':
      return kFragNames[value] ?? String(value);
    case 'flags':
      return formatFlags(
        value,
        bits,
        field.names as readonly string[],
        field.signed === true ? undefined : field.max,
      );
    default:
      return full ? formatHexNumber(value) : `${formatHexNumber(value)}/${formatHexNumber(bits)}`;
  }
}

function padded(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}
