/** The ports of one datapath: the table that the package works with, and the view of it that a program gets. */
import { inspect } from 'node:util';
import type { NativeDatapath, NativePort, NativePortSpec, PortId } from '../binding.js';
import { checkInteger } from '../check.js';
import { entries } from '../entry.js';
import { DatapathError, invalid, show } from '../errors.js';
import { type PortNames, type PortRefLike, suggest } from '../odp/index.js';
import { DatapathMemoryPort, DatapathPort, deleted, type PortRecord } from './handle.js';
import type { Port, PortNumber, PortType } from './types.js';

/**
 * Ports by name, in the order in which they were added, to look at: what is here changes as ports come
 * and go, by nothing else.
 */
export interface Ports extends ReadonlyMap<string, Port> {
  /** By name or number. */
  get(port: string | PortNumber): Port | undefined;
  has(port: string | PortNumber): boolean;
  /**
   * `number()` and `name()` serve texts: of `formatMatch()`, `parseMatch()` and the like. ENODEV for an
   * unknown name.
   */
  number(port: PortRefLike): PortNumber;
  name(number: PortNumber): string | undefined;
  toJSON(): object;
}

class PortsView implements Ports {
  readonly #byName: ReadonlyMap<string, Port>;
  readonly #byNumber: ReadonlyMap<PortNumber, Port>;

  constructor(byName: ReadonlyMap<string, Port>, byNumber: ReadonlyMap<PortNumber, Port>) {
    this.#byName = byName;
    this.#byNumber = byNumber;
  }

  get size(): number {
    return this.#byName.size;
  }
  get(port: string | PortNumber): Port | undefined {
    return typeof port === 'number' ? this.#byNumber.get(port) : this.#byName.get(port);
  }
  has(port: string | PortNumber): boolean {
    return this.get(port) !== undefined;
  }
  number(port: PortRefLike): PortNumber {
    if (typeof port === 'number') return port;
    const found = typeof port === 'string' ? this.#byName.get(port) : port;
    if (found !== undefined) return found.number;
    throw unknownPort(port, this.#byName);
  }
  name(number: PortNumber): string | undefined {
    return this.#byNumber.get(number)?.name;
  }
  keys() {
    return this.#byName.keys();
  }
  values() {
    return this.#byName.values();
  }
  entries() {
    return this.#byName.entries();
  }
  [Symbol.iterator]() {
    return this.#byName.entries();
  }
  forEach(
    call: (value: Port, key: string, map: ReadonlyMap<string, Port>) => void,
    self?: unknown,
  ): void {
    for (const [name, port] of this.#byName) call.call(self, port, name, this);
  }
  get [Symbol.toStringTag](): string {
    return 'Ports';
  }

  toJSON(): object {
    return [...this.values()];
  }

  [inspect.custom](): string {
    return `Ports(${this.size}) ${inspect(Object.fromEntries(this.#byName))}`;
  }
}

entries(PortsView);

/** The ports of one datapath. */
export class PortTable implements PortNames {
  /** Ports that can be used: they are added, and their deletion has not begun. */
  readonly published = new Map<string, Port>();
  readonly #byNumber = new Map<PortNumber, Port>();
  readonly view: Ports = new PortsView(this.published, this.#byNumber);
  /** All ports that the core knows, also those that are being added or deleted. */
  readonly #byId = new Map<PortId, DatapathPort>();
  readonly #native: () => NativeDatapath;

  /** Stands for the port of packets that come from none; it is not in the table. */
  readonly none: Port = new DatapathPort({
    native: () => this.#native(),
    name: 'none',
    type: 'null',
    id: 0,
    number: 0xffffffff,
    pmd: false,
    mode: '',
    state: 'closed',
    spec: undefined,
    warned: new Set(),
  });

  constructor(native: () => NativeDatapath) {
    this.#native = native;
  }

  /** The published port that is meant. ENODEV, EINVAL. */
  resolve(ref: unknown): { port: DatapathPort; record: PortRecord } {
    const port = this.#find(ref);
    const record = DatapathPort.recordOf(port);
    if (record !== undefined && this.published.get(record.name) === port) {
      return { port: port as DatapathPort, record };
    }
    if (record !== undefined) {
      if (record.state === 'closed' || this.#byId.get(record.id) === port) {
        throw deleted(record.name);
      }
      throw new DatapathError(`port "${record.name}" belongs to another datapath`, {
        code: 'ENODEV',
        port: record.name,
        hint: 'a handle is good for the datapath that made it',
      });
    }
    throw unknownPort(ref, this.published);
  }

  #find(ref: unknown): unknown {
    if (typeof ref === 'string') return this.published.get(ref);
    if (typeof ref === 'number') {
      return this.#byNumber.get(checkInteger(ref, "a port's number", 0, 65_535));
    }
    if (DatapathPort.recordOf(ref) !== undefined) return ref;
    throw invalid(`a port is given by handle, name or number, got ${show(ref)}`);
  }

  /**
   * Returns a port's number. A number need not be that of a port: flows may speak of ports that are yet to
   * come.
   */
  number(ref: PortRefLike): PortNumber {
    if (typeof ref === 'number') return checkInteger(ref, "a port's number", 0, 65_535);
    return this.resolve(ref).record.number;
  }

  name(number: PortNumber): string | undefined {
    return this.#byNumber.get(number)?.name;
  }

  /** The handle of a port that the core knows, published or not. */
  get(id: PortId): DatapathPort | undefined {
    const known = this.#byId.get(id);
    if (known !== undefined) return known;
    // News of a port can overtake the answer to addPort().
    const info = this.#native().port(id);
    return info === undefined ? undefined : this.enter(info);
  }

  /**
   * A handle for what the core says, or the one there is; brings `revived` back instead of making a
   * new one.
   */
  enter(info: NativePort, spec?: NativePortSpec, revived?: DatapathPort): DatapathPort {
    let port = revived ?? this.#byId.get(info.id);
    if (port === undefined) {
      const record: PortRecord = {
        native: this.#native,
        name: info.name,
        type: info.type as PortType,
        id: info.id,
        number: info.number,
        pmd: info.pmd,
        mode: info.mode,
        state: info.link,
        spec,
        warned: new Set(),
      };
      port = info.type === 'memory' ? new DatapathMemoryPort(record) : new DatapathPort(record);
    } else {
      const { id, number, pmd, mode } = info;
      const record = DatapathPort.recordOf(port) as PortRecord;
      this.#unnumber(port);
      Object.assign(record, { id, number, pmd, mode, state: info.link });
      if (this.published.get(port.name) === port) this.#byNumber.set(number, port);
      if (spec !== undefined) record.spec = spec;
    }
    this.#byId.set(info.id, port);
    return port;
  }

  publish(port: Port): void {
    this.published.set(port.name, port);
    this.#byNumber.set(port.number, port);
  }

  unpublish(port: Port): void {
    this.#unnumber(port);
    if (this.published.get(port.name) === port) this.published.delete(port.name);
  }

  #unnumber(port: Port): void {
    if (this.#byNumber.get(port.number) === port) this.#byNumber.delete(port.number);
  }

  /** Lists ports in the order of `first`, any others behind them. */
  reorder(first: readonly Port[]): void {
    const listed = [...first, ...this.published.values()].filter(
      (port) => this.published.get(port.name) === port,
    );
    this.published.clear();
    for (const port of listed) this.published.set(port.name, port);
  }

  /** The port is no more. */
  remove(port: DatapathPort): void {
    const record = DatapathPort.recordOf(port) as PortRecord;
    this.unpublish(port);
    this.#byId.delete(record.id);
    record.state = 'closed';
  }

  clear(): void {
    for (const port of [...this.#byId.values()]) this.remove(port);
  }
}

function unknownPort(ref: unknown, known: ReadonlyMap<string, Port>): DatapathError {
  return new DatapathError(`there is no port ${show(ref)}`, {
    code: 'ENODEV',
    ...(typeof ref === 'string' && { port: ref }),
    hint: suggest(String(ref), known.keys(), 'ports') ?? 'the datapath has no ports',
  });
}
