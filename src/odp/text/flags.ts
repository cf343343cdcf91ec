/** Fields whose bits have names: tcp_flags, ct_state, the flags of a tunnel. */
import { parseNumber } from './number.js';

export interface FlagsRead {
  readonly value: number;
  readonly mask: number;
}

/** Why a text is no flags: what was expected, and where in it. */
export interface FlagsWrong {
  readonly wrong: string;
  readonly at: number;
}

/**
 * `a|b`: these, and no others; a number stands for its bits. `+a-b`: only these matter. `names` are
 * those of the bits, lowest first, and `max` has all bits there are. `what` is the field's name.
 */
export function readFlags(
  text: string,
  names: readonly string[],
  max: number,
  what: string,
): FlagsRead | FlagsWrong {
  const signed = text.startsWith('+') || text.startsWith('-');
  let value = 0;
  let mask = 0;
  let at = 0;
  while (at < text.length || at === 0) {
    const sign = text[at];
    if (signed) at++;
    let end = at;
    while (end < text.length && !endsWord(text.charCodeAt(end), signed)) end++;
    const word = text.slice(at, end);
    const bit = names.indexOf(word);
    const bits = bit >= 0 ? 1 << bit : signed ? -1 : parseNumber(word);
    if (bits < 0 || bits > max) {
      return { wrong: `expected a flag or number for "${what}", found "${word.slice(0, 20)}"`, at };
    }
    if (signed && (mask & bits) !== 0)
      return { wrong: `flag "${word}" of "${what}" is given twice`, at };
    if (sign !== '-') value |= bits;
    mask |= bits;
    at = signed ? end : end + 1;
    if (!signed && at === text.length) return { wrong: 'expected a flag after "|"', at };
  }
  return { value, mask: signed ? mask : max };
}

const kBar = 124;
const kPlus = 43;
const kMinus = 45;

function endsWord(code: number, signed: boolean): boolean {
  return signed ? code === kPlus || code === kMinus : code === kBar;
}

/** Prints flags as Open vSwitch does. With the mask `full`, those that are set suffice. */
export function formatFlags(
  value: number,
  mask: number,
  names: readonly string[],
  full: number | undefined,
): string {
  if (mask === full) {
    const set = names.filter((_, bit) => (value >> bit) & 1);
    return set.length === 0 ? '0' : set.join('|');
  }
  if (mask === 0) return '0/0';
  let out = '';
  names.forEach((name, bit) => {
    if ((mask >> bit) & 1) out += ((value >> bit) & 1 ? '+' : '-') + name;
  });
  return out;
}
