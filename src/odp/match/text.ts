/** ODP text ⇄ Match. */
import { habitOfMatch } from '../habits.js';
import { kDidYouMean, suggest } from '../nearest.js';
import {
  type Field,
  fieldOf,
  type Group,
  groupByName,
  groupOf,
  groups,
  kAny,
  type Member,
  tags,
} from '../schema/compile.js';
import { parseNumber } from '../text/number.js';
import type { PortNames, Ufid } from '../types.js';
import { acquire, isFull, Match, readInteger, writeInteger } from '../values/match.js';
import { kMaxPort, portText, resolve } from '../values/port-ref.js';
import { type ScannedValue, Scanner } from '../values/scan.js';
import { takeUfid } from '../values/ufid.js';
import { formatValue } from '../values/value.js';
import { formatOptions, readOptions } from './geneve.js';
import { complete, imply } from './prerequisites.js';

const inPort = groupOf('inPort');
const inPortValue = fieldOf('inPort', '');
const ethType = groupOf('ethType');
const ethTypeValue = fieldOf('ethType', '');
const ctState = groupOf('ctState');
const kOldQinq = 0x9100;
const kClose = 41;

/**
 * A Match from text, complete, and the ufid in front of it. An in_port name stays a name without
 * `names`. `values`: gathers where values stand.
 */
export function matchFromText(
  text: string,
  names: PortNames | undefined,
  values?: ScannedValue[],
): { match: Match; ufid?: Ufid } {
  const scanner = new Scanner(text, 'flow');
  scanner.values = values;
  scanner.habit = habitOfMatch;
  const match = acquire();
  const ufid = takeUfid(scanner);
  readLevel(scanner, match, 0, names);
  complete(match, false, (group, message, hint) =>
    scanner.fail(message, match.has(group) ? match.position[group.index] : text.length, hint),
  );
  return ufid === undefined ? { match } : { match, ufid };
}

/** One level of nesting: the whole text, or what is inside an encap(). */
function readLevel(
  scanner: Scanner,
  match: Match,
  depth: number,
  names: PortNames | undefined,
): void {
  const tag = tags[depth];
  let tagAt = -1;
  let encapAt = -1;
  // The type at this level is the payload's, or the TPID of a tag that may come later in the text:
  // keep it apart.
  let type: WrittenType | undefined;
  // The first header that would belong behind a tag.
  let inner: Group | undefined;

  while (scanner.next()) {
    if (depth > 0 && scanner.is(kClose)) break;
    const start = scanner.at;
    const name = scanner.token();
    if (name === 'encap') {
      if (encapAt >= 0) scanner.fail('"encap" is given twice', start);
      if (tag === undefined) scanner.fail(`more than ${tags.length} VLAN tags`, start);
      encapAt = start;
      scanner.open(name);
      readLevel(scanner, match, depth + 1, names);
      scanner.close(name);
      scanner.endItem();
      continue;
    }
    const group = findGroup(scanner, name, start);
    if (depth > 0 && (group.layer === 'meta' || group.layer === 'l2')) {
      scanner.fail(`"${name}" cannot be inside "encap"`, start);
    }
    if (group.layer === 'tag') {
      if (tagAt >= 0) scanner.fail(`"${name}" is given twice`, start);
      if (tag === undefined) scanner.fail(`more than ${tags.length} VLAN tags`, start);
      tagAt = start;
      if (!readAny(scanner, match, tag, start)) readGroup(scanner, match, tag, start);
    } else if (group === ethType) {
      if (type !== undefined) scanner.fail(`"${name}" is given twice`, start);
      readGroup(scanner, typeOnly, group, start);
      type = {
        value: readInteger(typeOnly.key, ethTypeValue),
        mask: readInteger(typeOnly.mask, ethTypeValue),
        at: start,
      };
    } else {
      if (match.has(group)) scanner.fail(`"${name}" is given twice`, start);
      let says = true;
      if (group === inPort) readInPort(scanner, match, start, names);
      else says = readGroup(scanner, match, group, start);
      // Fields that are all wildcarded ask for no header, as in the lines of `dump-flows -m`.
      if (says && kHeaderLayers.has(group.layer) && match.wildGroup(group)) match.remove(group);
      else if (group.layer !== 'meta' && group.layer !== 'l2') inner ??= group;
    }
    scanner.endItem();
  }

  // Open vSwitch leaves out what is wildcarded of a tag, and with it the word; its 0x9100 is a type
  // like others, with anything behind it.
  const isUnsaid =
    (depth > 0 && encapAt >= 0) ||
    (encapAt < 0 && type?.value === kOldQinq && type.mask === ethTypeValue.max);
  if (tagAt < 0 && tag !== undefined && isUnsaid && type !== undefined) {
    match.present[tag.index] = 1;
    match.position[tag.index] = type.at;
    imply(match, tag, (field) => field.name === 'tpid');
    finishTag(scanner, match, tag, type);
  } else if (tagAt >= 0 && tag !== undefined && !match.leavesOpen(tag)) {
    if (encapAt < 0)
      scanner.fail('"vlan" needs "encap" beside it, for what is behind the tag', tagAt);
    if (inner !== undefined) {
      const at = match.position[inner.index];
      scanner.fail(`"${inner.name}" is behind the tag and belongs inside "encap"`, at);
    }
    finishTag(scanner, match, tag, type);
  } else {
    if (encapAt >= 0 && tagAt >= 0) {
      scanner.fail('what is behind any tags stands beside "vlan(any)", not in "encap"', encapAt);
    }
    if (encapAt >= 0) scanner.fail('"encap" needs "vlan" beside it', encapAt);
    if (type !== undefined) {
      match.present[ethType.index] = 1;
      match.position[ethType.index] = type.at;
      writeInteger(match.key, ethTypeValue, type.value);
      writeInteger(match.mask, ethTypeValue, type.mask);
    }
  }
}

/** An eth_type that was read, and where it stood. */
interface WrittenType {
  readonly value: number;
  readonly mask: number;
  readonly at: number;
}
const typeOnly = new Match();

/** The eth_type beside a tag is the tag's TPID. */
function finishTag(
  scanner: Scanner,
  match: Match,
  tag: Group,
  type: WrittenType | undefined,
): void {
  const tpid = tag.fields[0]!;
  const written = match.exact(tpid);
  if (type === undefined) {
    if (written !== undefined) return;
    scanner.fail(
      '"vlan" needs eth_type(0x8100) or eth_type(0x88a8) beside it',
      match.position[tag.index],
    );
  }
  if (type.mask !== tpid.max) scanner.fail('"vlan" needs an exact eth_type beside it', type.at);
  if (written !== undefined && written !== type.value) {
    scanner.fail('"eth_type" and the tpid of "vlan" differ', type.at);
  }
  match.setExact(tag, tpid, type.value);
}

function findGroup(scanner: Scanner, name: string, start: number): Group {
  const group = groupByName.get(name);
  if (group !== undefined) return group;
  if (name === '') scanner.fail(`expected a field, found ${scanner.found(start)}`, start);
  const near = suggest(name, groupByName.keys(), 'fields');
  const hint = habitOfMatch(name) ?? (near?.startsWith(kDidYouMean) ? near : undefined);
  scanner.fail(`unknown field ${scanner.found(start)}`, start, hint ?? `known: ${kGroupNames}`);
}

const kGroupNames = [...new Set(groups.map((group) => group.name)), 'encap'].join(', ');

/** `(any)` behind "vlan": answers whether that is what stands there, and takes it. */
function readAny(scanner: Scanner, match: Match, tag: Group, start: number): boolean {
  const open = scanner.at;
  scanner.open(tag.name);
  scanner.next();
  if (scanner.token() !== kAny) {
    scanner.at = open;
    return false;
  }
  scanner.next();
  scanner.close(tag.name);
  match.leaveOpen(tag);
  match.position[tag.index] = start;
  return true;
}

/** Groups of the layers of packets. */
const kHeaderLayers: ReadonlySet<string> = new Set(['l3', 'l4', 'nd']);

/**
 * From the '(' to the ')' of a group. `visit` sees each named field and where it stands. Answers whether
 * there was any.
 */
export function readGroup(
  scanner: Scanner,
  match: Match,
  group: Group,
  start: number,
  visit?: Visit,
): boolean {
  match.present[group.index] = 1;
  match.position[group.index] = start;
  scanner.open(group.name);
  if (group.single === true) {
    scanner.value(group.fields[0]!, group.name, match.key, match.mask);
    scanner.close(group.name);
    return true;
  }
  if (group.entries !== undefined) {
    const any = readEntries(scanner, match, group, visit);
    scanner.close(group.name);
    return any;
  }
  const seen = readMembers(scanner, match, group, visit);
  scanner.close(group.name);
  // In text the TPID of a tag is the eth_type beside it.
  imply(match, group, (field) => field.name === 'tpid' || (seen & (1 << field.order)) !== 0);
  return seen !== 0;
}

type Visit = (field: Field, at: number) => void;

/** The parenthesis that is read: that of a group, or one inside it. */
interface Parenthesis {
  readonly name: string;
  readonly members: readonly Member[];
  readonly byName: ReadonlyMap<string, Member>;
}

/** Everything up to the ')'. Answers which members were there, a bit for each. */
function readMembers(
  scanner: Scanner,
  match: Match,
  inside: Parenthesis,
  visit: Visit | undefined,
): number {
  let seen = 0;
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const member = findMember(scanner, inside);
    const bit = 1 << member.order;
    if ((seen & bit) !== 0) {
      scanner.fail(`"${member.name}" of "${inside.name}" is given twice`, at);
    }
    seen |= bit;
    readMember(scanner, match, member, at, visit);
  }
  return seen;
}

/** A list of entries without anything between them: one ends where a field comes again. */
function readEntries(
  scanner: Scanner,
  match: Match,
  group: Group,
  visit: Visit | undefined,
): boolean {
  const entries = group.entries as NonNullable<Group['entries']>;
  let entry = 0;
  let seen = 0;
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const { order } = findMember(scanner, group);
    if ((seen & (1 << order)) !== 0) {
      seen = 0;
      if (++entry === entries.length) {
        scanner.fail(`"${group.name}" has more than ${entries.length} entries`, at);
      }
    }
    seen |= 1 << order;
    readMember(scanner, match, entries[entry]!.members[order]!, at, visit);
  }
  match.present[group.index] = entry + 1;
  return seen !== 0;
}

function findMember(scanner: Scanner, inside: Parenthesis): Member {
  const at = scanner.at;
  const member = inside.byName.get(scanner.token());
  if (member !== undefined) return member;
  scanner.fail(
    `"${inside.name}" has no field ${scanner.found(at)}`,
    at,
    `known: ${inside.members.map((known) => known.name).join(', ')}`,
  );
}

/** Reads the value behind the name of a member. */
function readMember(
  scanner: Scanner,
  match: Match,
  member: Member,
  at: number,
  visit: Visit | undefined,
): void {
  const { name } = member;
  if (member.kind === 'nest') {
    scanner.open(name);
    readMembers(scanner, match, member, visit);
    scanner.close(name);
  } else if (member.kind === 'options') {
    scanner.open(name);
    match.geneve = readOptions(scanner);
    scanner.close(name);
  } else {
    visit?.(member, at);
    const bracketed = member.kind === 'flags';
    if (bracketed) scanner.open(name);
    else scanner.equals(name);
    scanner.value(member, name, match.key, match.mask);
    if (bracketed) scanner.close(name);
  }
  scanner.endItem();
}

/** `in_port(NUMBER)` or `in_port(NAME)`; a name is everything up to the ')'. */
function readInPort(
  scanner: Scanner,
  match: Match,
  start: number,
  names: PortNames | undefined,
): void {
  scanner.open(inPort.name);
  const at = scanner.at;
  const close = scanner.text.indexOf(')', at);
  if (close < 0) scanner.fail(`expected ")" to end "in_port", found the end`, scanner.text.length);
  const word = scanner.text.slice(at, close);
  const slash = word.indexOf('/');
  if (
    parseNumber(slash < 0 ? word : word.slice(0, slash)) < 0 &&
    (names === undefined ? isName(word) : true)
  ) {
    const number = names === undefined ? 0 : resolve(scanner, names, word, at);
    if (names === undefined) match.inPortName = word;
    match.setExact(inPort, inPortValue, number);
    match.position[inPort.index] = start;
    scanner.at = close + 1;
    return;
  }
  scanner.at = at - 1;
  readGroup(scanner, match, inPort, start);
  const number = readInteger(match.key, inPortValue);
  if (number > kMaxPort)
    scanner.fail(`"in_port" must be from 0 to ${kMaxPort}, found "${number}"`, at);
}

function isName(word: string): boolean {
  return word !== '' && !/[\s,/(=]/.test(word);
}

export interface FormatOptions {
  /** Print port names instead of numbers where there are any. */
  readonly ports?: PortNames;
  /** Print the wildcarded fields of each group too, as OVS does with `-m`. */
  readonly verbose?: boolean;
}

/** The text of a complete Match, as Open vSwitch prints a flow with its mask. */
export function formatMatchText(match: Match, options: FormatOptions = {}): string {
  const verbose = options.verbose === true;
  let out = '';
  let depth = 0;
  for (const group of groups) {
    if (!match.has(group)) continue;
    if (out !== '' && !out.endsWith('(')) out += ',';
    if (group === inPort) {
      out += `in_port(${match.inPortName ?? portText(readInteger(match.key, inPortValue), options.ports)})`;
    } else if (group.layer === 'tag' && match.leavesOpen(group)) {
      out += `${group.name}(${kAny})`;
    } else if (group.layer === 'tag') {
      out += `eth_type(${formatValue(match.key, match.mask, group.fields[0]!)}),vlan(${formatTag(match, group, verbose)}),encap(`;
      depth++;
    } else {
      out += formatGroup(match, group, verbose);
    }
  }
  return out + ')'.repeat(depth);
}

export function formatGroup(match: Match, group: Group, verbose: boolean): string {
  const inside =
    group.single === true
      ? formatSingle(match, group, verbose)
      : group.entries === undefined
        ? // A member with an attribute of its own is not there while it is wildcarded.
          formatMembers(match, group.members, verbose && group.parts === undefined)
        : formatEntries(match, group);
  return `${group.name}(${inside})`;
}

function formatSingle(match: Match, group: Group, verbose: boolean): string {
  const field = group.fields[0]!;
  // With every detail asked for, the state of a connection is a number.
  const shown: Field = verbose && group === ctState ? { ...field, kind: 'hex' } : field;
  return formatValue(match.key, match.mask, shown);
}

function formatMembers(match: Match, members: readonly Member[], verbose: boolean): string {
  let out = '';
  for (const member of members) {
    const text = formatMember(match, member, verbose);
    if (text !== '') out += `${out === '' ? '' : ','}${text}`;
  }
  return out;
}

/** The text of a member; '' for one that is wildcarded. */
function formatMember(match: Match, member: Member, verbose: boolean): string {
  const { name } = member;
  if (member.kind === 'options') {
    return match.geneve === undefined ? '' : `${name}(${formatOptions(match.geneve)})`;
  }
  if (member.kind === 'nest') {
    const inside = formatMembers(match, member.members, verbose);
    return inside === '' ? '' : `${name}(${inside})`;
  }
  // A wildcarded enumeration has no text, not even in verbose form.
  if (match.wild(member) && (!verbose || member.kind === 'frag')) return '';
  const value = formatValue(match.key, match.mask, member);
  return member.kind === 'flags' ? `${name}(${value})` : `${name}=${value}`;
}

/**
 * Entries with every field: it is from those that a reader knows where the next one begins. One
 * mask makes all of them be printed, small ones without 0x.
 */
function formatEntries(match: Match, group: Group): string {
  const fields = group
    .entries!.slice(0, match.present[group.index])
    .flatMap((entry) => entry.fields);
  const exact = fields.every((field) => isFull(match.mask, field));
  return fields
    .map((field) => {
      const text = `${field.name}=${readInteger(match.key, field)}`;
      if (exact) return text;
      const mask = readInteger(match.mask, field).toString(16);
      return `${text}/${field.max < 16 ? '' : '0x'}${mask}`;
    })
    .join(',');
}

/**
 * The inside of vlan(): no tpid, which is the eth_type beside it, and no cfi where it is as usual.
 */
export function formatTag(match: Match, tag: Group, verbose: boolean): string {
  const [, vid, pcp, cfi] = tag.fields as [Field, Field, Field, Field];
  const parts: string[] = [];
  for (const field of [vid, pcp]) {
    if (verbose || !match.wild(field))
      parts.push(`${field.name}=${formatValue(match.key, match.mask, field)}`);
  }
  if (readInteger(match.key, cfi) !== 1 || match.wild(cfi)) {
    parts.push(`cfi=${formatValue(match.key, match.mask, cfi)}`);
  }
  return parts.join(',');
}
