/** Flows as the API has them: the table, a flow as it is shown, and changes of flows. */
import type { Core } from '../binding.js';
import type { Action as AnyAction, FlowMatch as AnyFlowMatch, Ufid } from '../odp/index.js';
import type { PortRef } from '../ports/types.js';

export type FlowMatch = AnyFlowMatch<PortRef>;
export type Action = AnyAction<PortRef>;

/** Typed or text. */
export type MatchLike = FlowMatch | string;
export type ActionsLike = readonly Action[] | string;

export interface FlowSpec {
  readonly match: MatchLike;
  readonly actions: ActionsLike;
  /** Default: worked out from the match. */
  readonly ufid?: Ufid;
  /**
   * Removed when unused for this long. 0 pins the flow: it stays until it is deleted, and is never
   * evicted. Default: the datapath's maxIdleMs.
   */
  readonly idleTimeoutMs?: number;
}

/**
 * Why a flow went by itself: it was not used for its timeout, another one took its place, or `flowLimit`
 * was lowered.
 */
export type FlowRemoval = 'idle' | 'evicted' | 'purged';

/** A snapshot of one flow. Copies (`{ ...flow }`, `structuredClone(flow)`) have all of its fields. */
export interface Flow {
  readonly ufid: Ufid;
  readonly match: FlowMatch;
  readonly actions: readonly Action[];
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Milliseconds since last use; null = never used. */
  readonly usedMs: number | null;
  /** The OR of all TCP flags seen. */
  readonly tcpFlags: number;
  /** The timeout that it was put with; undefined = the datapath's maxIdleMs. */
  readonly idleTimeoutMs: number | undefined;
  /**
   * Its packets, or the most of them, are forwarded by the XDP program of the port they come in on: see
   * `offloadFlows` of `PortSpec`. They are counted here all the same.
   */
  readonly offloaded: boolean;
  /** With `flowsRemoved`: why it went. */
  readonly reason?: FlowRemoval;
  /** The line `ovs-appctl dpctl/dump-flows` prints. */
  toString(): string;
  /** Counters as decimal strings. */
  toJSON(): object;
}

export interface PutOptions {
  readonly ufid?: Ufid;
  readonly idleTimeoutMs?: number;
  /** Default 'replace': its actions and timeout are replaced, its statistics kept. */
  readonly ifExists?: 'replace' | 'error';
  /** Default 'add'. 'error': only modify a flow that is there (ENOENT). */
  readonly ifMissing?: 'add' | 'error';
}

/** Names a flow: its ufid, its match, or the flow as `get()` and `dump()` show it. */
export type FlowRef = Ufid | MatchLike | Flow;
export type FlowChange = { readonly put: FlowSpec } | { readonly delete: FlowRef };

export interface DumpFilter {
  readonly inPort?: PortRef;
  /** Shows only what this thread counted. */
  readonly core?: Core;
  readonly signal?: AbortSignal;
}

/**
 * Every verb is synchronous (memory only) and in force in all threads on return; `dump` alone takes
 * its time. Errors: EINVAL with `position` for text, ENODEV for an unknown port's name,
 * ERR_NOT_SUPPORTED for an action that is not built yet, ERR_DATAPATH_CLOSED.
 *
 * The table is bounded by `flowLimit`. When it is full, a new flow takes the place of the one least
 * recently used (nearly: of a sample), which is then told of by `flowsRemoved`. Pinned flows
 * (`idleTimeoutMs: 0`) stay; if there is nothing else, ENOSPC.
 */
export interface FlowTable {
  readonly size: number;
  /**
   * Adds the flow, or replaces actions and timeout of the flow that is there. EEXIST with ifExists
   * 'error', or if another flow has the ufid; ENOENT with ifMissing 'error'. EINVAL if there is
   * a packet that it and another flow would take, and it has no ufid of its own.
   */
  put(match: MatchLike, actions: ActionsLike, options?: PutOptions): Ufid;
  /** Deletes a flow; returns whether there was one. */
  delete(flow: FlowRef): boolean;
  get(flow: FlowRef): Flow | undefined;
  /**
   * Many changes in one crossing, in order; a ufid for each put, a boolean for each deletion. A
   * change that cannot be read throws before anything is done. One that the datapath refuses throws
   * too: with `atomic` everything is as before, evicted flows included, without it all others are
   * done (with several failures, `cause` is an AggregateError). No flow makes room for another one
   * of the same call.
   *
   * Changes that are alike but for their values are the fastest, in either form: about a
   * microsecond each. The event loop stands still for as long as a call takes: put a million flows
   * in calls of some thousand, with `setImmediate` between them.
   */
  apply(
    changes: readonly FlowChange[],
    options?: { readonly atomic?: boolean },
  ): readonly (Ufid | boolean)[];
  /**
   * All flows, in chunks between which the event loop runs. Flows that stay throughout are seen
   * exactly once. Once the signal is aborted the iteration throws ABORT_ERR.
   */
  dump(filter?: DumpFilter): AsyncIterableIterator<Flow>;
  /** Deletes all flows; returns how many there were. */
  clear(): number;
}
