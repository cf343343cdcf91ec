/**
 * The flow language: typed form, ODP text and netlink attributes, each way. See schema/compile.ts for how
 * it hangs together.
 */
import { checkBoolean, checkOptions } from '../check.js';
import { entry } from '../entry.js';
import { invalid, show } from '../errors.js';
import { decodeActionList, encodeActionList, readActions, writeActions } from './actions/list.js';
import { kindByName } from './actions/table.js';
import { decode, encode } from './match/netlink.js';
import { type FormatOptions, formatMatchText, matchFromText } from './match/text.js';
import { matchFromTyped, typedFromMatch } from './match/typed.js';
import { parseNumber } from './text/number.js';
import type { ActionsLike, FlowMatch, KnownAction, MatchLike, PortNames, Ufid } from './types.js';
import { release } from './values/match.js';
import { formatUfid, parseUfid } from './values/ufid.js';

export { type FlowLine, formatFlow } from './flow-line.js';
export { readExample } from './match/example.js';
export { MatchPlan } from './match/plan.js';
export type { FormatOptions } from './match/text.js';
export { suggest } from './nearest.js';
export type {
  Action,
  ActionsLike,
  CtNat,
  FieldGroups,
  FlowMatch,
  GeneveOption,
  KnownAction,
  Maskable,
  MatchLike,
  PortNames,
  PortRefLike,
  SettableGroups,
  TunnelHeader,
  Ufid,
  UserspaceCookie,
} from './types.js';
export { formatUfid, parseUfid };

/**
 * The netlink attributes of a match: key and mask, with the same attributes in both. `ufid` is the
 * one written in front of a text. Throws EINVAL, with `position` for text, and whatever `ports`
 * throws for an unknown port.
 */
export function encodeMatch(
  match: MatchLike,
  ports: PortNames,
): { key: Buffer; mask: Buffer; ufid?: Ufid } {
  if (typeof match === 'string') {
    const read = matchFromText(match, ports);
    const encoded = encode(read.match);
    release(read.match);
    return read.ufid === undefined ? encoded : { ...encoded, ufid: read.ufid };
  }
  const complete = matchFromTyped(match, ports);
  const encoded = encode(complete);
  release(complete);
  return encoded;
}

/**
 * The typed form of a key and its mask. Without a mask every field of the key is exact, as in an
 * upcall. What says nothing is left out: wildcarded fields, a `recircId` of 0, a tag's `tpid` of
 * 0x8100 and `cfi` of 1. Throws EINVAL for bytes that are no flow key.
 */
export function decodeMatch(key: Uint8Array, mask?: Uint8Array): FlowMatch<number> {
  const match = decode(key, mask);
  const typed = typedFromMatch(match);
  release(match);
  return typed as FlowMatch<number>;
}

/** The netlink attributes of actions; no bytes at all mean drop. Throws like `encodeMatch`. */
export function encodeActions(actions: ActionsLike, ports: PortNames): Buffer {
  return encodeActionList(
    typeof actions === 'string' ? readActions(actions, ports, true) : actions,
    ports,
  );
}

/**
 * The typed form of actions; no bytes give one `drop`. Throws EINVAL for bytes that are no actions.
 */
export function decodeActions(bytes: Uint8Array): KnownAction<number>[] {
  return decodeActionList(bytes);
}

/**
 * The typed form of ODP text. Without `ports` an in_port written as a name stays a name. A leading
 * "ufid:…" is accepted and not returned: `encodeMatch` has it. Throws EINVAL with `position`.
 */
export const parseMatch = entry(function parseMatch(
  text: string,
  ports?: PortNames,
): FlowMatch<string | number> {
  const { match } = matchFromText(checkText(text), ports);
  const typed = typedFromMatch(match);
  release(match);
  return typed;
});

/**
 * ODP text as Open vSwitch prints it: its order of fields, its notation of masks, wildcarded fields
 * left out.
 */
export const formatMatch = entry(function formatMatch(
  match: MatchLike,
  options?: FormatOptions,
): string {
  const given = readFormatOptions(options);
  const complete =
    typeof match === 'string'
      ? matchFromText(match, undefined).match
      : matchFromTyped(match, undefined);
  const text = formatMatchText(complete, given);
  release(complete);
  return text;
});

/**
 * The typed form of ODP text; "drop" and an empty text give one `drop`. What Open vSwitch reads is read,
 * also what no datapath carries out: `put()` and the like refuse that. Throws EINVAL with `position`.
 */
export const parseActions = entry(function parseActions(
  text: string,
  ports?: PortNames,
): KnownAction<number>[] {
  return readActions(checkText(text), ports);
});

/** ODP text as Open vSwitch prints it. An output to a port given by name prints the name. */
export const formatActions = entry(function formatActions(
  actions: ActionsLike,
  options?: Pick<FormatOptions, 'ports'>,
): string {
  const { ports } = readFormatOptions(options);
  const typed = typeof actions === 'string' ? readActions(actions, undefined) : actions;
  return writeActions(typed, ports);
});

/** Says what a word means in actions or an in_port, other than a port's name; undefined if it can be one. */
export function otherMeaning(word: string): string | undefined {
  if (parseNumber(word) >= 0) return 'a number';
  return kindByName.has(word) ? 'an action' : undefined;
}

function readFormatOptions(options: unknown): FormatOptions {
  const { ports, verbose } = checkOptions(options, 'the options', ['ports', 'verbose']);
  if (verbose !== undefined) checkBoolean(verbose, 'verbose');
  if (ports !== undefined && typeof (ports as Partial<PortNames> | null)?.name !== 'function') {
    throw invalid(`ports must have names, got ${show(ports)}`, { hint: 'the ports of a datapath' });
  }
  return options === undefined ? {} : (options as FormatOptions);
}

function checkText(text: unknown): string {
  if (typeof text !== 'string') throw invalid(`expected text, got ${typeof text}`);
  return text;
}
