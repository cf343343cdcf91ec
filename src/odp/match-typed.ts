/** Typed form ⇄ Match. */
import { invalid } from '../errors.js';
import { acquire, isFull, type Match, readInteger } from './match.js';
import { complete, imply } from './prerequisites.js';
import { fieldOf, type Group, groupByKey, groupOf, groups } from './schema.js';
import type { FlowMatch, PortNames, PortRefLike } from './types.js';
import { putValue, show, takeValue } from './value.js';

const inPort = groupOf('inPort');
const inPortValue = fieldOf('inPort', '');

/** Highest port number; 16 bits. */
export const kMaxPort = 0xffff;

/**
 * The number of a port. A number stands for itself and is not looked up; without `names`, only
 * numbers and handles can be resolved, and undefined says so.
 */
export function portNumber(
  ref: unknown,
  names: PortNames | undefined,
  what: string,
): number | undefined {
  if (typeof ref === 'number') {
    if (!Number.isInteger(ref) || ref < 0 || ref > kMaxPort) {
      throw invalid(`${what} must be a port number from 0 to ${kMaxPort}, got ${show(ref)}`);
    }
    return ref;
  }
  if (typeof ref === 'string') return names?.number(ref);
  if (
    typeof ref === 'object' &&
    ref !== null &&
    'number' in ref &&
    typeof ref.number === 'number'
  ) {
    return names === undefined ? ref.number : names.number(ref as PortRefLike);
  }
  throw invalid(`${what} must be a port, a port's name or its number, got ${show(ref)}`);
}

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

/** Write the typed value of one group into `match`. */
export function putGroup(match: Match, group: Group, value: unknown): void {
  match.present[group.index] = 1;
  if (group.single === true) {
    putValue(match.key, match.mask, group.fields[0]!, value);
    return;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${group.key} must be an object, got ${show(value)}`);
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const name in fields) {
    const given = fields[name];
    if (given === undefined) continue;
    const field = group.byKey.get(name);
    if (field === undefined) throw unknown(`${group.key} has no field`, name, group.byKey.keys());
    putValue(match.key, match.mask, field, given);
  }
  imply(match, group, (field) => fields[field.key] !== undefined);
}

function unknown(message: string, name: string, known: Iterable<string>) {
  return invalid(`${message} ${show(name)}`, { hint: `known: ${[...known].join(', ')}` });
}

/** The canonical typed form of a Match. */
export function typedFromMatch(match: Match): FlowMatch<string | number> {
  const typed: Record<string, unknown> = {
    inPort: match.inPortName ?? readInteger(match.key, inPortValue),
  };
  for (const group of groups) {
    if (group === inPort || !match.has(group)) continue;
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
  const out: Record<string, unknown> = {};
  for (const field of group.fields) {
    if (field.implied === undefined) {
      if (!match.wild(field)) out[field.key] = takeValue(match.key, match.mask, field);
    } else if (!isFull(match.mask, field) || readInteger(match.key, field) !== field.implied) {
      out[field.key] = takeValue(match.key, match.mask, field);
    }
  }
  return out;
}
