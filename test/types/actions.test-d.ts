// What the compiler knows of an action: every one there is, what its arguments may be, and lists in
// lists. `tsc --noEmit` is the test.
import {
  type Action,
  type ActionsLike,
  type Datapath,
  type KnownAction,
  parseActions,
} from '../../src/index.js';
import type * as contract from './pollux.js';

declare const datapath: Datapath;

// ---------- any of them, and lists of them

export const good: readonly KnownAction[] = [
  { type: 'output', port: 'eth0' },
  { type: 'drop', reason: 'congestion' },
  { type: 'userspace', cookie: { type: 'sFlow', vid: 5 } },
  { type: 'userspace', cookie: { type: 'slowPath', reasons: ['cfm', 0x100] }, tunnelOutPort: 1 },
  { type: 'set', field: { ipv4: { ttl: 64 } } },
  { type: 'set', field: { tunnel: { tunId: 5n, dst: '192.0.2.1' } } },
  { type: 'pushMpls', label: 16, ttl: 64, bos: 1, ethType: 0x8847 },
  { type: 'pushNsh', mdtype: 2, md2: new Uint8Array(4) },
  { type: 'hash', algorithm: 'sym_l4', basis: 1 },
  {
    type: 'sample',
    percent: 0.1,
    actions: [{ type: 'clone', actions: [{ type: 'output', port: 1 }] }],
  },
  { type: 'checkPktLen', size: 1500, greater: [], lessEqual: [{ type: 'popVlan' }] },
  { type: 'decTtl', actions: [{ type: 'drop' }] },
  { type: 'ct', commit: true, label: { value: 1n, mask: 1n }, nat: { side: 'src' } },
];
export const any: readonly Action[] = good;
datapath.flows.put({ inPort: 1 }, good);

// @ts-expect-error No such action.
export const unknown: KnownAction = { type: 'push_vlan', vid: 5 };
// @ts-expect-error A label needs a lifetime.
export const mpls: KnownAction = { type: 'pushMpls', label: 16, bos: 1, ethType: 0x8847 };
// @ts-expect-error A list, not a text.
export const text: KnownAction = { type: 'clone', actions: '1' };
// @ts-expect-error Nor is what is in the list any better.
export const inside: KnownAction = { type: 'clone', actions: [{ type: 'recirc' }] };
// @ts-expect-error
export const reason: KnownAction = { type: 'drop', reason: 'rain' };
// @ts-expect-error
export const algorithm: KnownAction = { type: 'hash', algorithm: 'l5' };
// @ts-expect-error
export const cookie: KnownAction = { type: 'userspace', cookie: { type: 'netflow' } };
// @ts-expect-error
export const branch: KnownAction = { type: 'checkPktLen', size: 1, greater: [] };

// ---------- what comes out can be told apart

export function ports(actions: readonly KnownAction<number>[]): number[] {
  return actions.flatMap((action) => {
    switch (action.type) {
      case 'output':
        return [action.port];
      case 'sample':
      case 'clone':
      case 'decTtl':
        return ports(action.actions);
      case 'checkPktLen':
        return [...ports(action.greater), ...ports(action.lessEqual)];
      default:
        return [];
    }
  });
}
export const found: number[] = ports(parseActions('1,clone(2)'));

// ---------- and goes in wherever the contract asks for actions

export const contracted: contract.ActionsLike = good;
export const ours: ActionsLike = [] as readonly contract.Action[];
