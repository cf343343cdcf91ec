/** Typed form ⇄ Match. */
import { invalid, show } from '../../errors.js';
import {
  type Field,
  fieldOf,
  type Group,
  groupByKey,
  groupOf,
  groups,
  kAny,
  type Member,
} from '../schema/compile.js';
import type { FlowMatch, PortNames } from '../types.js';
import { acquire, isFull, type Match, readInteger } from '../values/match.js';
import { portNumber } from '../values/port-ref.js';
import { putValue, takeValue } from '../values/value.js';
import { optionsFromTyped, typedFromOptions } from './geneve.js';
import { complete, imply } from './prerequisites.js';

const inPort = groupOf('inPort');
const inPortValue = fieldOf('inPort', '');

function refuse(_group: Group, message: string, hint?: string): never {
  throw invalid(`bad match: ${message}`, { hint });
}

/** A Match from the typed form, complete. Without `names` an in_port given by name stays a name. */
export function matchFromTyped(typed: FlowMatch, names: PortNames | undefined): Match {
  if (typeof typed !== 'object' || typed === null) {
    throw invalid(`a match must be an object or text, got ${show(typed)}`);
  }
  const match = acquire();
  for (const name in typed) {
    const value = typed[name];
    if (value === undefined) continue;
    const group = groupByKey.get(name);
    if (group === undefined)
      throw unknown('bad match: there is no field group', name, groupByKey.keys());
    if (group === inPort) {
      const number = portNumber(value, names, 'inPort');
      if (number === undefined) match.inPortName = value as string;
      match.setExact(inPort, inPortValue, number ?? 0);
    } else {
      putGroup(match, group, value);
    }
  }
  complete(match, true, refuse);
  return match;
}

/** Says whether a tag is `{ any: true }`: whatever tags there are, or none. */
function isAny(value: unknown, name: string): boolean {
  const any = (value as { readonly any?: unknown } | null)?.any;
  if (typeof value !== 'object' || any === undefined) return false;
  if (any !== true || Object.keys(value as object).length > 1) {
    throw invalid(`${name}.any is true, and stands alone`, {
      hint: `{ ${name}: { any: true } } is any tags or none`,
    });
  }
  return true;
}

/** Write the typed value of one group into `match`. */
export function putGroup(match: Match, group: Group, value: unknown): void {
  match.present[group.index] = 1;
  if (group.single === true) {
    putValue(match.key, match.mask, group.fields[0]!, value);
  } else if (group.entries !== undefined) {
    putEntries(match, group, value);
  } else if (group.layer === 'tag' && isAny(value, group.key)) {
    match.leaveOpen(group);
  } else {
    const fields = putMembers(match, group.key, group, value);
    imply(match, group, (field) => fields[field.key] !== undefined);
  }
}

type Fields = Readonly<Record<string, unknown>>;

function putEntries(match: Match, group: Group, value: unknown): void {
  const entries = group.entries as NonNullable<Group['entries']>;
  if (!Array.isArray(value) || value.length === 0 || value.length > entries.length) {
    const got = Array.isArray(value) ? `${value.length}` : show(value);
    throw invalid(`${group.key} must be an array of 1 to ${entries.length} entries, got ${got}`);
  }
  match.present[group.index] = value.length;
  value.forEach((entry, i) => {
    putMembers(match, `${group.key}[${i}]`, entries[i]!, entry);
  });
}

function putMembers(
  match: Match,
  label: string,
  members: { readonly byKey: ReadonlyMap<string, Member> },
  value: unknown,
): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${label} must be an object, got ${show(value)}`);
  }
  const fields = value as Fields;
  for (const name in fields) {
    const given = fields[name];
    if (given === undefined) continue;
    const member = members.byKey.get(name);
    if (member === undefined) throw unknown(`${label} has no field`, name, members.byKey.keys());
    if (member.kind === 'nest') putMembers(match, member.label, member, given);
    else if (member.kind === 'options') match.geneve = optionsFromTyped(given, member.label);
    else putValue(match.key, match.mask, member, given);
  }
  return fields;
}

function unknown(message: string, name: string, known: Iterable<string>) {
  return invalid(`${message} ${show(name)}`, { hint: `known: ${[...known].join(', ')}` });
}

/** The canonical typed form of a Match. */
export function typedFromMatch(match: Match): FlowMatch<string | number> {
  const typed: Record<string, unknown> = {
    inPort: match.inPortName ?? readInteger(match.key, inPortValue),
  };
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!;
    if (match.present[i] === 0 || group === inPort) continue;
    const value = takeGroup(match, group);
    if (value !== undefined) typed[group.key] = value;
  }
  return typed as unknown as FlowMatch<string | number>;
}

/** The typed value of a group; undefined if it says no more than its absence would. */
export function takeGroup(match: Match, group: Group): unknown {
  if (group.single === true) {
    const field = group.fields[0]!;
    if (match.wild(field)) return undefined;
    const value = takeValue(match.key, match.mask, field);
    return value === field.implied ? undefined : value;
  }
  if (group.entries !== undefined) {
    const count = match.present[group.index]!;
    return group.entries.slice(0, count).map(({ members }) => takeMembers(match, members));
  }
  return match.leavesOpen(group) && group.layer === 'tag'
    ? { [kAny]: true }
    : takeMembers(match, group.members);
}

function takeMembers(match: Match, members: readonly Member[]): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const member of members) {
    if (member.kind === 'options') {
      if (match.geneve !== undefined) out[member.key] = typedFromOptions(match.geneve);
    } else if (member.kind === 'nest') {
      if (member.fields.some((field) => !match.wild(field))) {
        out[member.key] = takeMembers(match, member.members);
      }
    } else if (says(match, member)) {
      out[member.key] = takeValue(match.key, match.mask, member);
    }
  }
  return out;
}

/** Says whether a field means more than its absence would. */
function says(match: Match, field: Field): boolean {
  if (field.implied === undefined) return !match.wild(field);
  return !isFull(match.mask, field) || readInteger(match.key, field) !== field.implied;
}
