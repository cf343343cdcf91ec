/** The `ct` action. The datapath cannot do it yet. */
import { checkInteger } from '../../check.js';
import { invalid, show } from '../../errors.js';
import { compileField, type Field } from '../schema/compile.js';
import type { KnownAction } from '../types.js';
import { isWild } from '../values/match.js';
import type { Scanner } from '../values/scan.js';
import { formatValue, putValue, takeValue } from '../values/value.js';
import type { ActionKind, Given } from './kind.js';
import { checkFlag, printNat, readNat } from './nat.js';

const kOpen = 40;
const kClose = 41;
const kMaxU16 = 0xffff;

/** Values with a mask, in the order of output, by ODP and typed name. */
const maskedFields: readonly Field[] = [
  compileField({}, { name: 'mark', key: 'mark', offset: 0, size: 4, kind: 'hex' }, 0, 0, 'ct.mark'),
  compileField(
    {},
    { name: 'label', key: 'label', offset: 4, size: 16, kind: 'hex' },
    0,
    1,
    'ct.label',
  ),
];
const kMaskedSize = 20;

/** Longest names of the kernel's helpers and timeout policies, by argument. */
const kNames = { helper: 15, timeout: 31 } as const;
type NameArgument = keyof typeof kNames;
const kNamePattern = /^[^\s,(){}=/]+$/;

const kFlags = { commit: 'commit', force_commit: 'forceCommit' } as const;

type Ct = Extract<KnownAction<number>, { type: 'ct' }>;

function read(scanner: Scanner): Ct {
  const typed: Record<string, unknown> = { type: 'ct' };
  if (!scanner.take(kOpen)) return typed as Ct;
  const key = new Uint8Array(kMaskedSize);
  const mask = new Uint8Array(kMaskedSize);
  const seen = new Set<string>();
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const name = scanner.token();
    if (seen.has(name)) scanner.fail(`"${name}" of "ct" is given twice`, at);
    seen.add(name);
    const field = maskedFields.find((candidate) => candidate.name === name);
    if (name === 'commit' || name === 'force_commit') {
      if (seen.has('commit') && seen.has('force_commit')) {
        scanner.fail('"commit" and "force_commit" of "ct" exclude each other', at);
      }
      typed[kFlags[name]] = true;
    } else if (name === 'nat') {
      typed.nat = readNat(scanner);
    } else if (name === 'zone') {
      scanner.equals(name);
      const zone = scanner.number(name, kMaxU16);
      if (zone !== 0) typed.zone = zone;
    } else if (field !== undefined) {
      scanner.equals(name);
      scanner.value(field, name, key, mask);
      if (!isWild(mask, field)) typed[name] = takeValue(key, mask, field);
    } else if (Object.hasOwn(kNames, name)) {
      scanner.equals(name);
      typed[name] = readName(scanner, name as NameArgument);
    } else {
      const hint = 'known: commit, force_commit, zone, mark, label, helper, timeout, nat';
      scanner.fail(`"ct" has no argument ${scanner.found(at)}`, at, hint);
    }
    scanner.endItem();
  }
  scanner.close('ct');
  return typed as Ct;
}

function readName(scanner: Scanner, name: NameArgument): string {
  const at = scanner.at;
  const word = scanner.token();
  if (word === '' || word.length > kNames[name]) {
    const found = scanner.found(at);
    scanner.fail(`"${name}" must be 1 to ${kNames[name]} characters, found ${found}`, at);
  }
  return word;
}

function write(action: Given): string {
  const { zone = 0, nat } = action;
  const items: string[] = [];
  for (const [name, key] of Object.entries(kFlags)) {
    if (checkFlag(`ct.${key}`, action[key])) items.push(name);
  }
  if (items.length > 1) throw invalid('ct.commit and ct.forceCommit exclude each other');
  if (checkInteger(zone, 'ct.zone', 0, kMaxU16) !== 0) items.push(`zone=${zone}`);
  const key = new Uint8Array(kMaskedSize);
  const mask = new Uint8Array(kMaskedSize);
  for (const field of maskedFields) {
    const value = action[field.key];
    if (value === undefined) continue;
    putValue(key, mask, field, value);
    if (!isWild(mask, field)) items.push(`${field.name}=${writeMasked(key, mask, field)}`);
  }
  for (const [name, max] of Object.entries(kNames)) {
    const value = action[name];
    if (value === undefined) continue;
    if (typeof value !== 'string' || value.length > max || !kNamePattern.test(value)) {
      throw invalid(`ct.${name} must be a name of 1 to ${max} characters, got ${show(value)}`);
    }
    items.push(`${name}=${value}`);
  }
  if (nat !== undefined) items.push(printNat(nat));
  return items.length === 0 ? 'ct' : `ct(${items.join(',')})`;
}

/** Open vSwitch always prints the mask of a mark. */
function writeMasked(key: Uint8Array, mask: Uint8Array, field: Field): string {
  const text = formatValue(key, mask, field);
  return field.name === 'mark' && !text.includes('/') ? `${text}/0xffffffff` : text;
}

export const ct: ActionKind = {
  name: 'ct',
  type: 'ct',
  keys: ['commit', 'forceCommit', 'zone', 'mark', 'label', 'helper', 'timeout', 'nat'],
  read: ({ scanner }) => read(scanner),
  write,
};
