/** One flow as a line of `dpctl/dump-flows`. */
import { readActions, writeActions } from './actions/list.js';
import { type FormatOptions, formatMatchText, matchFromText } from './match/text.js';
import { matchFromTyped } from './match/typed.js';
import type { ActionsLike, MatchLike, Ufid } from './types.js';
import { release } from './values/match.js';

export interface FlowLine {
  /** Printed in front when given; OVS does so only with `-m`. */
  readonly ufid?: Ufid | undefined;
  readonly match: MatchLike;
  readonly actions: ActionsLike;
  readonly packets: bigint | number;
  readonly bytes: bigint | number;
  /** Milliseconds since the flow was last used; null: never. */
  readonly usedMs: number | null;
  /** The OR of all TCP flags seen. */
  readonly tcpFlags: number;
  /** Some of its packets are forwarded by the device; printed when true, OVS does so only with `-m`. */
  readonly offloaded?: boolean;
}

/** Letters of the TCP flags in the order in which they are printed. */
const kTcpFlagLetters: readonly (readonly [number, string])[] = [
  [0x002, 'S'],
  [0x001, 'F'],
  [0x008, 'P'],
  [0x004, 'R'],
  [0x020, 'U'],
  [0x010, '.'],
  [0x040, 'E'],
  [0x080, 'C'],
  [0x100, 'N'],
  [0x200, '[200]'],
  [0x400, '[400]'],
  [0x800, '[800]'],
];

/** The line `ovs-appctl dpctl/dump-flows` prints for a flow, without a newline. */
export function formatFlow(flow: FlowLine, options?: FormatOptions): string {
  const match =
    typeof flow.match === 'string'
      ? matchFromText(flow.match, undefined).match
      : matchFromTyped(flow.match, undefined);
  const ufid = flow.ufid === undefined ? '' : `ufid:${flow.ufid}, `;
  const key = formatMatchText(match, options);
  release(match);
  const used = flow.usedMs === null ? 'never' : `${(flow.usedMs / 1000).toFixed(3)}s`;
  let flags = '';
  for (const [bit, letter] of kTcpFlagLetters) {
    if ((flow.tcpFlags & bit) !== 0) flags += letter;
  }
  const seen = flags === '' ? '' : `, flags:${flags}`;
  const offloaded = flow.offloaded === true ? ', offloaded:yes' : '';
  const typed =
    typeof flow.actions === 'string' ? readActions(flow.actions, undefined) : flow.actions;
  const actions = writeActions(typed, options?.ports);
  return `${ufid}${key}, packets:${flow.packets}, bytes:${flow.bytes}, used:${used}${seen}${offloaded}, actions:${actions}`;
}
