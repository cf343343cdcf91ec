/** wire(): two ports joined, whatever comes in at one goes out at the other. */
import { inspect } from 'node:util';
import type { NativeDatapath } from './binding.js';
import { entries } from './entry.js';
import { DatapathError, invalid, nativeErrors } from './errors.js';
import { ChangeBatch } from './flows/change-batch.js';
import type { PortNames, Ufid } from './odp/index.js';
import type { Port } from './ports/types.js';

/** Two ports that are joined, by a flow each way. */
export interface Wire {
  /** The two ports, in the order in which they were given. */
  readonly ports: readonly [Port, Port];
  /**
   * The ufids of the flow from the first port to the second, and of the flow back; statistics are found
   * there.
   */
  readonly ufids: readonly [Ufid, Ufid];
  /**
   * Deletes the flows with its matches, also where somebody has put another in place of one. Returns whether
   * either was there; false once the wire is removed.
   */
  remove(): boolean;
  toJSON(): object;
}

/** The datapath that has the flows; `live` throws once it is closed. */
export interface WireHost {
  readonly live: () => NativeDatapath;
  readonly names: PortNames;
}

export class PortWire implements Wire {
  readonly ports: readonly [Port, Port];
  readonly ufids: readonly [Ufid, Ufid];
  readonly #host: WireHost;
  #removed = false;

  /** Puts the flows, both or none. */
  constructor(host: WireHost, a: Port, b: Port) {
    if (a === b) {
      throw invalid(`port "${a.name}" cannot be wired to itself`, {
        hint: 'a wire has a port at either end',
      });
    }
    this.#host = host;
    this.ports = [a, b];
    const [there, back] = this.#apply((batch) => {
      putFlow(batch, a, b);
      putFlow(batch, b, a);
    });
    this.ufids = [there as Ufid, back as Ufid];
  }

  remove(): boolean {
    this.#host.live();
    if (this.#removed) return false;
    const removed = this.#apply((batch) => {
      for (const ufid of this.ufids) batch.deleteByUfid(ufid);
    });
    this.#removed = true;
    return removed.includes(true);
  }

  /** Two changes, both or none. */
  #apply(gather: (batch: ChangeBatch) => void): readonly (Ufid | boolean)[] {
    const { live, names } = this.#host;
    const native = live();
    const batch = new ChangeBatch(names);
    gather(batch);
    const outcomes = nativeErrors(() => batch.apply(native, true));
    for (const outcome of outcomes) if (outcome instanceof DatapathError) throw outcome;
    return outcomes as readonly (Ufid | boolean)[];
  }

  toJSON(): object {
    const [a, b] = this.ports;
    return { ports: [a.name, b.name], ufids: this.ufids };
  }

  [inspect.custom](): string {
    return `Wire ${inspect(this.toJSON())}`;
  }
}

entries(PortWire);

/** Whatever comes in at `from` goes out at `to`, for as long as the flow is there. */
function putFlow(batch: ChangeBatch, from: Port, to: Port): void {
  const spec = {
    match: { inPort: from.number, vlan: { any: true as const } },
    actions: [{ type: 'output', port: to.number }],
    idleTimeoutMs: 0,
  };
  batch.put(spec, { replace: false, create: true });
}
