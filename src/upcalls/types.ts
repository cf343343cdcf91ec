/** Upcalls as the API has them: packets that wait for the program's verdict. */
import type { ActionsLike, FlowMatch, MatchLike } from '../flows/types.js';
import type { Ufid } from '../odp/index.js';
import type { Port } from '../ports/types.js';

/** A flow that `install()` asked for. */
export interface InstalledFlow {
  /**
   * The ufid of the flow with that match: it is in the table once the handler has returned, unless the verdict was
   * refused, another flow takes the packet, or the flow was put before under a ufid of its own. Worked out
   * when somebody looks first.
   */
  readonly ufid: Ufid;
}

/**
 * A packet that no flow matches, or that a `userspace` action hands over. It gets one verdict; a
 * second throws EALREADY.
 */
export interface Upcall {
  readonly reason: 'miss' | 'action';
  /**
   * Where it came from. Of a packet that `execute()` handed over without an `inPort`: a port of the name
   * "none", which is closed and has a number that no port has; a verdict may execute or drop it.
   */
  readonly inPort: Port;
  /**
   * A copy, up to `upcall.snapLength` bytes. It shares its memory with the other frames of the
   * batch.
   */
  readonly frame: Buffer;
  /** Bytes of the whole frame. */
  readonly wireLength: number;
  /** Every field the parser found, exact. */
  readonly key: FlowMatch;
  /** The userdata of the `userspace` action. */
  readonly userdata?: Buffer;
  /**
   * Install a flow and forward this packet by it; the flow counts it. `match` defaults to the exact
   * key. Throws EINVAL for what cannot be read; what the datapath refuses becomes an `error` event that
   * names port and packet, and the packet is dropped. If another flow takes packets of this one (that
   * installed for a packet before it, perhaps), or the table is full of pinned flows, nothing is installed
   * and the packet is forwarded all the same.
   */
  install(
    actions: ActionsLike,
    options?: { readonly match?: MatchLike; readonly idleTimeoutMs?: number },
  ): InstalledFlow;
  /** Forward this packet, and let the next one ask again. Errors as for install(). */
  execute(actions: ActionsLike): void;
  drop(): void;
  /** The port by name, numbers of more than 53 bits as decimal strings. */
  toJSON(): object;
}

export interface UpcallBatch extends Iterable<Upcall> {
  readonly length: number;
  /** Packets that found their queue full since the last batch. */
  readonly droppedSinceLast: bigint;
  /** A list of its upcalls. */
  toJSON(): object;
}

/**
 * Verdicts are sent when it returns, or when the promise it returns settles. If it throws or
 * rejects, what has no verdict yet is dropped, the datapath emits `error` (ERR_UPCALL_HANDLER, or warns if nobody listens), and
 * the handler stays.
 */
export type UpcallHandler = (batch: UpcallBatch) => void | Promise<void>;
