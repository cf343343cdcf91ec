/**
 * The actions of the flow language, one entry each: ODP name, typed name, OVS_ACTION_ATTR_*, and
 * the ways between text, typed form and attributes. A new action is an entry here and a member of
 * `KnownAction`.
 *
 *            read                       encode
 *     text ---------> typed actions --------------> attributes
 *          <---------               <--------------
 *            write                      decode
 *
 * Unlike a match, which is bytes in the middle, a list of actions is its typed form: what each way
 * gives is canonical, so that going on from it loses nothing. Arguments that are a C structure are
 * tables again (layout.ts); fields to be set are those of the match (set.ts). Lists of actions are
 * the business of list.ts, and actions that hold lists (nested.ts) get at them through what they are
 * lent: a Reader, a Printer, an Encoder, a Decoder (kind.ts).
 *
 * What the datapath cannot do, yet, has no attribute: it can be read and written, and is refused
 * where it is to be encoded.
 */
import { ct } from './ct.js';
import { drop } from './drop.js';
import { hash } from './hash.js';
import type { ActionKind, Wire } from './kind.js';
import { checkPktLen, clone, decTtl, sample } from './nested.js';
import { pushNsh } from './nsh.js';
import { plainKinds } from './plain.js';
import { psample } from './psample.js';
import { set } from './set.js';
import { tnlPush } from './tnl-push.js';
import { userspace } from './userspace.js';

export const actionKinds: readonly ActionKind[] = [
  ...plainKinds,
  drop,
  userspace,
  set,
  pushNsh,
  hash,
  sample,
  clone,
  checkPktLen,
  decTtl,
  ct,
  tnlPush,
  psample,
];

export const kindByName: ReadonlyMap<string, ActionKind> = new Map(
  actionKinds.filter((kind) => kind.name !== '').map((kind) => [kind.name, kind]),
);
export const kindByType: ReadonlyMap<unknown, ActionKind> = new Map(
  actionKinds.map((kind) => [kind.type, kind]),
);
export const wireByAttribute: ReadonlyMap<number, Wire> = new Map(
  actionKinds.flatMap(({ wire }) =>
    wire === undefined ? [] : wire.attributes.map((attribute) => [attribute, wire] as const),
  ),
);
