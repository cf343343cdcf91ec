/** ODP text ⇄ Match. */
import { acquire, Match, readInteger } from './match.js';
import { kMaxPort } from './match-typed.js';
import { complete, imply } from './prerequisites.js';
import { parseNumber, Scanner } from './scan.js';
import {
  type Field,
  fieldOf,
  type Group,
  groupByName,
  groupOf,
  groups,
  kUnsupportedGroups,
  tags,
} from './schema.js';
import type { PortNames, Ufid } from './types.js';
import { takeUfid } from './ufid.js';
import { formatValue } from './value.js';

const inPort = groupOf('inPort');
const inPortValue = fieldOf('inPort', '');
const ethType = groupOf('ethType');
const kClose = 41;

/**
 * A Match from text, complete, and the ufid in front of it. An in_port name stays a name without
 * `names`.
 */
export function matchFromText(
  text: string,
  names: PortNames | undefined,
): { match: Match; ufid?: Ufid } {
  const scanner = new Scanner(text, 'flow');
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
  let type: Match | undefined;
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
      readGroup(scanner, match, tag, start);
    } else if (group === ethType) {
      if (type !== undefined) scanner.fail(`"${name}" is given twice`, start);
      type = new Match();
      readGroup(scanner, type, group, start);
    } else {
      if (match.has(group)) scanner.fail(`"${name}" is given twice`, start);
      if (group === inPort) readInPort(scanner, match, start, names);
      else readGroup(scanner, match, group, start);
      if (group.layer !== 'meta' && group.layer !== 'l2') inner ??= group;
    }
    scanner.endItem();
  }

  if (tagAt >= 0 && tag !== undefined) {
    if (encapAt < 0)
      scanner.fail('"vlan" needs "encap" beside it, for what is behind the tag', tagAt);
    if (inner !== undefined) {
      const at = match.position[inner.index];
      scanner.fail(`"${inner.name}" is behind the tag and belongs inside "encap"`, at);
    }
    finishTag(scanner, match, tag, type);
  } else {
    if (encapAt >= 0) scanner.fail('"encap" needs "vlan" beside it', encapAt);
    if (type !== undefined) match.copy(ethType, type);
  }
}

/** The eth_type beside a tag is the tag's TPID. */
function finishTag(scanner: Scanner, match: Match, tag: Group, type: Match | undefined): void {
  const tpid = tag.fields[0]!;
  const written = match.exact(tpid);
  if (type === undefined) {
    if (written !== undefined) return;
    scanner.fail(
      '"vlan" needs eth_type(0x8100) or eth_type(0x88a8) beside it',
      match.position[tag.index],
    );
  }
  const at = type.position[ethType.index];
  const value = type.exact(ethType.fields[0]!);
  if (value === undefined) scanner.fail('"vlan" needs an exact eth_type beside it', at);
  if (written !== undefined && written !== value) {
    scanner.fail('"eth_type" and the tpid of "vlan" differ', at);
  }
  match.setExact(tag, tpid, value);
}

function findGroup(scanner: Scanner, name: string, start: number): Group {
  const group = groupByName.get(name);
  if (group !== undefined) return group;
  if (kUnsupportedGroups.has(name)) scanner.fail(`not supported yet: "${name}"`, start);
  if (name === '') scanner.fail(`expected a field, found ${scanner.found(start)}`, start);
  scanner.fail(`unknown field ${scanner.found(start)}`, start, `known: ${kGroupNames}`);
}

const kGroupNames = [...new Set(groups.map((group) => group.name)), 'encap'].join(', ');

/** From the '(' to the ')' of a group. `visit` sees each named field and where it stands. */
export function readGroup(
  scanner: Scanner,
  match: Match,
  group: Group,
  start: number,
  visit?: (field: Field, at: number) => void,
): void {
  match.present[group.index] = 1;
  match.position[group.index] = start;
  scanner.open(group.name);
  if (group.single === true) {
    scanner.value(group.fields[0]!, group.name, match.key, match.mask);
    scanner.close(group.name);
    return;
  }
  let seen = 0;
  while (scanner.next() && !scanner.is(kClose)) {
    const at = scanner.at;
    const name = scanner.token();
    const field = group.byName.get(name);
    if (field === undefined) {
      scanner.fail(
        `"${group.name}" has no field ${scanner.found(at)}`,
        at,
        `known: ${group.fields.map((known) => known.name).join(', ')}`,
      );
    }
    const bit = 1 << group.fields.indexOf(field);
    if ((seen & bit) !== 0) scanner.fail(`"${name}" of "${group.name}" is given twice`, at);
    seen |= bit;
    visit?.(field, at);
    scanner.equals(name);
    scanner.value(field, name, match.key, match.mask);
    scanner.endItem();
  }
  scanner.close(group.name);
  // In text the TPID of a tag is the eth_type beside it.
  imply(
    match,
    group,
    (field) => field.name === 'tpid' || (seen & (1 << group.fields.indexOf(field))) !== 0,
  );
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

/**
 * The number of a port named in text. The resolver's own error becomes the cause of one that says
 * where.
 */
export function resolve(
  scanner: Scanner,
  names: PortNames,
  word: string,
  at: number,
  what = 'a port number or name',
): number {
  try {
    return names.number(word);
  } catch (cause) {
    scanner.fail(
      `expected ${what}, found ${JSON.stringify(word.slice(0, 40))}`,
      at,
      undefined,
      cause,
    );
  }
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
    } else if (group.layer === 'tag') {
      out += `eth_type(${formatValue(match.key, match.mask, group.fields[0]!)}),vlan(${formatTag(match, group, verbose)}),encap(`;
      depth++;
    } else {
      out += formatGroup(match, group, verbose);
    }
  }
  return out + ')'.repeat(depth);
}

export function portText(number: number, ports: PortNames | undefined): string {
  return ports?.name(number) ?? String(number);
}

export function formatGroup(match: Match, group: Group, verbose: boolean): string {
  if (group.single === true) {
    return `${group.name}(${formatValue(match.key, match.mask, group.fields[0]!)})`;
  }
  let inside = '';
  for (const field of group.fields) {
    // A wildcarded enumeration has no text, not even in verbose form.
    if (match.wild(field) && (!verbose || field.kind === 'frag')) continue;
    inside += `${inside === '' ? '' : ','}${field.name}=${formatValue(match.key, match.mask, field)}`;
  }
  return `${group.name}(${inside})`;
}

/**
 * The inside of vlan(): no tpid, which is the eth_type beside it, and no cfi where it is as usual.
 */
function formatTag(match: Match, tag: Group, verbose: boolean): string {
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
