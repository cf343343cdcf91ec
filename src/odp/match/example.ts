/**
 * A text as an example for others: where its values stand, in the text and in the key. The core
 * reads texts that differ from it in nothing but values.
 */
import { fieldOf, groups } from '../schema/compile.js';
import type { PortNames, Ufid } from '../types.js';
import { release } from '../values/match.js';
import { kMaxPort } from '../values/port-ref.js';
import type { ScannedValue } from '../values/scan.js';
import { encode } from './netlink.js';
import { matchFromText } from './text.js';

export interface Example {
  readonly key: Buffer;
  readonly mask: Buffer;
  /** Written in front. */
  readonly ufid?: Ufid;
  /**
   * Six numbers for each value: start and end in the text, place in the key, kind, size, maximum.
   * Undefined: the text is no example, for what it means depends on more than itself.
   */
  readonly values?: Uint32Array;
}

/** The numbers by which the core knows kinds of values. */
const kKinds = { number: 0, little: 1, mac: 2, ipv4: 3, ipv6: 4 };

const inPortValue = fieldOf('inPort', '');

/** Throws like `encodeMatch`. */
export function readExample(text: string, ports: PortNames): Example {
  let named = false;
  const names: PortNames = {
    number: (ref) => {
      named = true;
      return ports.number(ref);
    },
    name: (number) => ports.name(number),
  };
  const scanned: ScannedValue[] = [];
  const { match, ufid } = matchFromText(text, names, scanned);
  const places = new Int32Array(groups.length).fill(-1);
  const encoded = encode(match, places);
  release(match);
  if (ufid !== undefined) return { ...encoded, ufid };
  return named ? encoded : { ...encoded, values: valuesOf(scanned, places) };
}

function valuesOf(scanned: readonly ScannedValue[], places: Int32Array): Uint32Array {
  const numbers: number[] = [];
  for (const { field, start, end } of scanned) {
    const group = groups.find(({ slot, size }) => field.at >= slot && field.at < slot + size);
    const place = group === undefined ? -1 : places[group.index]!;
    const { kind, size } = field;
    const address = kind === 'mac' || kind === 'ipv4' || kind === 'ipv6';
    // A value that is part of a number, or has names, stays as it is.
    if (
      place < 0 ||
      (!address && (!field.whole || field.big || kind === 'flags' || kind === 'frag'))
    ) {
      continue;
    }
    const code = address ? kKinds[kind] : field.little ? kKinds.little : kKinds.number;
    const max = field === inPortValue ? kMaxPort : field.max;
    numbers.push(start, end, place + field.at - group!.slot, code, size, max);
  }
  return Uint32Array.from(numbers);
}
