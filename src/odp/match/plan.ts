/**
 * Typed matches by the thousand. They are alike: the same groups and fields, and only addresses and
 * numbers differ. The first of its kind is encoded in the general way and leaves a *plan*: its
 * encoding, what must be the same for it to be right, and where the values go that may differ.
 */
import { fieldOf, type Group, groupByKey, groups, kAny, type Member } from '../schema/compile.js';
import { type AddressKind, readAddress } from '../text/address.js';
import type { FlowMatch, PortNames } from '../types.js';
import { release } from '../values/match.js';
import { kMaxPort } from '../values/port-ref.js';
import { isMasked } from '../values/value.js';
import { encode } from './netlink.js';
import { matchFromTyped } from './typed.js';

/** One value: the same as it was, or, if it has a place, one to be written there. */
interface Value {
  readonly name: string;
  /** The value that it had; undefined if it may differ. */
  readonly same: unknown;
  /** The mask of a number that is given with one. */
  readonly mask: unknown;
  /** In the key. */
  readonly place: number;
  /** Undefined: a number of `size` bytes. */
  readonly kind: AddressKind | undefined;
  /** Behind an address: '' or its mask with the slash. */
  readonly suffix: string;
  readonly size: number;
  readonly max: number;
  readonly little: boolean;
}

/** A group: its fields, or one value. */
interface Step {
  readonly name: string;
  readonly value: Value | undefined;
  readonly fields: readonly Value[];
}

export interface Encoded {
  readonly key: Buffer;
  readonly mask: Buffer;
}

/** Is not zero for the bytes of a key that may have any value without anything else having to change. */
export type FreeBytes = (key: Uint8Array) => Uint8Array;

export class MatchPlan {
  /** The key, and the mask behind it. What is the same in all is always there. */
  readonly bytes: Uint8Array;
  readonly keySize: number;
  readonly maskSize: number;
  readonly #steps: readonly Step[];
  #busy = false;

  private constructor({ key, mask }: Encoded, steps: readonly Step[]) {
    this.bytes = Uint8Array.from(Buffer.concat([key, mask]));
    this.keySize = key.length;
    this.maskSize = mask.length;
    this.#steps = steps;
  }

  /**
   * Encodes a match, and makes a plan for others unless it is of a kind that is not worth one.
   * Throws as `encodeMatch`.
   */
  static learn(
    typed: FlowMatch,
    ports: PortNames,
    freeBytes: FreeBytes,
  ): { encoded: Encoded; plan: MatchPlan | undefined } {
    const match = matchFromTyped(typed, ports);
    const places = new Int32Array(groups.length).fill(-1);
    const encoded = encode(match, places);
    release(match);
    const steps = stepsOf(typed, places, freeBytes(encoded.key));
    return { encoded, plan: steps && new MatchPlan(encoded, steps) };
  }

  /**
   * Makes `bytes` the encoding of a match. False, and rubbish in `bytes`: the match is another one
   * than was planned for, or none.
   */
  write(typed: FlowMatch): boolean {
    if (this.#busy) return false; // A getter of a match came back here.
    this.#busy = true;
    try {
      return this.#write(typed);
    } finally {
      this.#busy = false;
    }
  }

  #write(typed: FlowMatch): boolean {
    const steps = this.#steps;
    const out = this.bytes;
    let next = 0;
    for (const name in typed) {
      if (next === steps.length) return false;
      const step = steps[next++]!;
      if (step.name !== name) return false;
      const given: unknown = typed[name];
      if (step.value !== undefined) {
        if (!writeValue(step.value, given, out)) return false;
      } else if (!writeFields(step.fields, given, out)) {
        return false;
      }
    }
    return next === steps.length;
  }
}

function writeFields(fields: readonly Value[], given: unknown, out: Uint8Array): boolean {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return false;
  let next = 0;
  for (const name in given) {
    if (next === fields.length) return false;
    const field = fields[next++]!;
    if (field.name !== name) return false;
    if (!writeValue(field, (given as Record<string, unknown>)[name], out)) return false;
  }
  return next === fields.length;
}

function writeValue(value: Value, whole: unknown, out: Uint8Array): boolean {
  let given = whole;
  if (value.mask !== undefined) {
    if (!isMasked(whole) || whole.mask !== value.mask) return false;
    given = whole.value;
  }
  const { place } = value;
  if (place < 0) return given === value.same;
  if (value.kind !== undefined) {
    if (typeof given !== 'string') return false;
    if (value.suffix === '') return readAddress(value.kind, given, out, place);
    const slash = given.length - value.suffix.length;
    return (
      given.endsWith(value.suffix) && readAddress(value.kind, given.slice(0, slash), out, place)
    );
  }
  if (typeof given !== 'number' || !Number.isInteger(given)) return false;
  if (given < 0 || given > value.max) return false;
  const { size } = value;
  for (let i = 0; i < size; i++) {
    out[place + i] = given >>> (8 * (value.little ? i : size - 1 - i));
  }
  return true;
}

// ----------------------------------------------------------------------------------------------------------- learning

const inPortValue = fieldOf('inPort', '');

/** Undefined: there is something in it that plans do not know. */
function stepsOf(typed: FlowMatch, places: Int32Array, free: Uint8Array): Step[] | undefined {
  const steps: Step[] = [];
  for (const name in typed) {
    const group = groupByKey.get(name);
    const given: unknown = typed[name];
    if (group === undefined) return undefined;
    const place = places[group.index]!;
    if (group.single === true) {
      const value = readValue(name, group.fields[0]!, group, given, place, free);
      if (value === undefined) return undefined;
      steps.push({ name, value, fields: [] });
      continue;
    }
    if (typeof given !== 'object' || given === null || Array.isArray(given)) return undefined;
    if (kAny in given) return undefined;
    const fields: Value[] = [];
    for (const key in given) {
      const member = group.byKey.get(key);
      const inside = (given as Record<string, unknown>)[key];
      const value = member && readValue(key, member, group, inside, place, free);
      if (value === undefined) return undefined;
      fields.push(value);
    }
    steps.push({ name, value: undefined, fields });
  }
  return steps;
}

function isPlain(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'string' || typeof value === 'bigint';
}

function readValue(
  name: string,
  member: Member,
  group: Group,
  whole: unknown,
  groupPlace: number,
  free: Uint8Array,
): Value | undefined {
  const mask = isMasked(whole) ? whole.mask : undefined;
  const given = isMasked(whole) ? whole.value : whole;
  // A value that is not plain is left to the general way; so is the name of a port.
  if (!isPlain(given) || (mask !== undefined && !isPlain(mask))) return undefined;
  if (member.kind === 'nest' || member.kind === 'options') return undefined;
  if (member === inPortValue && typeof given === 'string') return undefined;
  const { kind, size, little, big } = member;
  const address = kind === 'mac' || kind === 'ipv4' || kind === 'ipv6' ? kind : undefined;
  const place = groupPlace < 0 ? -1 : groupPlace + member.at - group.slot;
  const differs =
    place >= 0 &&
    member.whole &&
    free.subarray(place, place + size).every((byte) => byte !== 0) &&
    (address !== undefined ? typeof given === 'string' : typeof given === 'number' && !big);
  const slash = typeof given === 'string' ? given.indexOf('/') : -1;
  return {
    name,
    same: differs ? undefined : given,
    mask,
    place: differs ? place : -1,
    kind: address,
    suffix: differs && slash >= 0 ? (given as string).slice(slash) : '',
    size,
    max: member === inPortValue ? kMaxPort : member.max,
    little,
  };
}
