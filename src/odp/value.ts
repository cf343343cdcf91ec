/** One field's value: between the typed form and bytes, and from bytes to text. */
import { invalid } from '../errors.js';
import {
  type AddressKind,
  formatAddress,
  kAddressSize,
  prefixOf,
  readAddress,
  writePrefix,
} from './address.js';
import { isFull, isWild, readInteger, writeInteger } from './match.js';
import { type Field, kFragNames, kTcpFlagNames } from './schema.js';

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
  } else if (typeof value === 'number' && field.kind !== 'frag') {
    writeInteger(key, field, checkInteger(field, value));
    writeInteger(mask, field, field.max);
  } else if (field.kind === 'frag') {
    const frag = (kFragNames as readonly unknown[]).indexOf(value);
    if (frag < 0) {
      throw invalid(`${field.label} must be 'no', 'first' or 'later', got ${show(value)}`);
    }
    writeInteger(key, field, frag);
    writeInteger(mask, field, field.max);
  } else if (typeof value === 'object' && value !== null && 'value' in value && 'mask' in value) {
    const bits = checkInteger(field, value.mask);
    if (field.exact === true && bits !== field.max)
      throw invalid(`${field.label} cannot be masked`);
    writeInteger(key, field, checkInteger(field, value.value));
    writeInteger(mask, field, bits);
    forgetUnmatched(key, mask, field);
  } else {
    throw invalid(
      `${field.label} must be a number${field.exact === true ? '' : ' or { value, mask }'}, got ${show(value)}`,
    );
  }
}

function checkInteger(field: Field, value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > field.max) {
    throw invalid(`${field.label} must be an integer from 0 to ${field.max}, got ${show(value)}`);
  }
  return value;
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

function hash(value: number): string {
  return value === 0 ? '0' : `0x${value.toString(16)}`;
}

/** The field's value as Open vSwitch prints it, with its mask unless that is full. */
export function formatValue(key: Uint8Array, mask: Uint8Array, field: Field): string {
  if (isAddress(field)) {
    const text = formatAddress(field.kind, key, field.at);
    return isFull(mask, field) ? text : `${text}/${formatAddress(field.kind, mask, field.at)}`;
  }
  const value = readInteger(key, field);
  const bits = readInteger(mask, field);
  const full = bits === field.max;
  switch (field.kind) {
    case 'dec':
      return full ? String(value) : `${value}/${hash(bits)}`;
    case 'hex4': {
      const text = `0x${value.toString(16).padStart(4, '0')}`;
      return full ? text : `${text}/0x${bits.toString(16).padStart(4, '0')}`;
    }
    case 'frag':
      return kFragNames[value] ?? String(value);
    case 'flags':
      return full ? flagList(value) : flagChanges(value, bits);
    default:
      return full ? hash(value) : `${hash(value)}/${hash(bits)}`;
  }
}

function flagList(value: number): string {
  const names = kTcpFlagNames.filter((_, bit) => (value >> bit) & 1);
  return names.length === 0 ? '0' : names.join('|');
}

function flagChanges(value: number, bits: number): string {
  if (bits === 0) return '0/0';
  let out = '';
  kTcpFlagNames.forEach((name, bit) => {
    if ((bits >> bit) & 1) out += ((value >> bit) & 1 ? '+' : '-') + name;
  });
  return out;
}

/** A value for an error message, short. */
export function show(value: unknown): string {
  let text: string;
  if (typeof value === 'string') text = JSON.stringify(value);
  else if (typeof value === 'bigint') text = `${value}n`;
  else if (typeof value === 'object' && value !== null)
    text = Array.isArray(value) ? 'an array' : 'an object';
  else if (typeof value === 'function') text = 'a function';
  else text = String(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
