/**
 * Running a packet table: what it says and what happened are written down in the same way, so that
 * a difference reads like a table.
 */
import type { Datapath, MemoryPort, Upcall } from 'pollux';
import { type FlowMatch, parseMatch } from '../../src/odp/index.js';
import { expectLedgerCloses, makeDatapath, until } from '../support/datapath.js';
import type { Flow, Outcome, Output, Packet, Table } from './table.js';

/** How the packets of a table go in. */
export interface Mode {
  /** All at once, or one after the other. */
  readonly together: boolean;
  /** How many of each. */
  readonly copies: number;
  readonly emcInsertInvProb: number;
}

/** What happened, by where it shows ("out 2", "upcall", "drop"), in order. */
type Events = ReadonlyMap<string, string[]>;

const kEthernetHeader = 14;
const kUpcall = 'upcall';
const kDrop = 'drop';
const out = (port: number) => `out ${port}`;

/** Two texts, equal if all is as it should be. */
export interface Report {
  readonly expected: string;
  readonly seen: string;
}

/** Runs `table` on a datapath of its own. */
export async function runTable(table: Table, mode: Mode): Promise<Report> {
  const run = new Run(table, mode);
  await run.open();
  if (mode.together) await run.round(table.packets);
  else for (const packet of table.packets) await run.round([packet]);
  run.compareFlows();
  run.comparePorts();
  return run.close();
}

/** Asks trace() instead, which sends nothing and counts nothing. */
export async function traceTable(table: Table): Promise<Report> {
  const run = new Run(table, { together: false, copies: 1, emcInsertInvProb: 0 });
  await run.open();
  run.trace();
  return run.close();
}

class Run {
  readonly #expected: string[] = [];
  readonly #seen: string[] = [];
  readonly #table: Table;
  readonly #mode: Mode;
  readonly #datapath: Datapath;
  readonly #ports = new Map<number, MemoryPort>();
  readonly #ufids = new Map<Flow, string>();
  readonly #upcalls: Upcall[] = [];
  /** Frames drained from each port. */
  readonly #sent = new Map<number, { packets: number; bytes: number }>();
  /** The port that the outputs of a name leave by. */
  readonly #named = new Map<string, number>();

  constructor(table: Table, mode: Mode) {
    this.#table = table;
    this.#mode = mode;
    this.#datapath = makeDatapath({
      clock: 'manual', // no flow ages
      emcInsertInvProb: mode.emcInsertInvProb,
      upcall: { queueLength: 65_536 },
    });
  }

  async open(): Promise<void> {
    for (const [number, mtu] of this.#table.ports) {
      const spec = { name: `p${number}`, type: 'memory', number, queueLength: 65_536 } as const;
      this.#ports.set(
        number,
        await this.#datapath.addPort(mtu === undefined ? spec : { ...spec, mtu }),
      );
      this.#sent.set(number, { packets: 0, bytes: 0 });
    }
    for (const flow of this.#table.flows) {
      try {
        const ufid = this.#datapath.flows.put(flow.match, flow.actions, { ifExists: 'error' });
        this.#ufids.set(flow, ufid);
      } catch (cause) {
        throw new Error(`line ${flow.line}: ${(cause as Error).message}`, { cause });
      }
    }
    if (this.#table.handler) {
      this.#datapath.onUpcall((batch) => {
        for (const upcall of batch) this.#upcalls.push(upcall);
      });
    }
  }

  async close(): Promise<Report> {
    await this.#datapath.close();
    return { expected: this.#expected.join('\n'), seen: this.#seen.join('\n') };
  }

  /** Sends packets through and compares what comes of them with what the table says. */
  async round(packets: readonly Packet[]): Promise<void> {
    const before = this.#datapath.stats().drops;
    this.#inject(packets);
    await this.#datapath.settle();
    await until(() => this.#datapath.stats().ledger.queued === 0n, 'the last verdict');
    expectLedgerCloses(this.#datapath);

    const seen = this.#events(before);
    const expected = this.#expectedEvents(packets, seen);
    const from = packets.map(({ line, port }) => `in ${port} (line ${line})`).join(', ');
    this.#compare(from, from);
    for (const place of [...seen.keys()].sort()) {
      this.#compare(this.#text(place, expected), this.#text(place, seen));
    }
  }

  /** Compares what trace() says of each packet with what the table says, and with nothing counted. */
  trace(): void {
    for (const packet of this.#table.packets) {
      const { port, frame, copies, outcomes, line } = packet;
      // Runts cannot be traced, and of many copies each may fare differently.
      if (frame.bytes.length < kEthernetHeader || copies > 1) continue;
      const { outputs, verdict } = this.#datapath.trace(frame.bytes, { inPort: port });
      const seen = this.#places();
      for (const output of outputs) {
        const place = output.port.replace(/^p/, 'out ');
        seen.set(place, [...(seen.get(place) ?? []), hex(output.frame)]);
      }
      const sends = ({ kind }: Outcome) => kind === 'out';
      const expected = this.#expectedEvents(
        [{ ...packet, outcomes: outcomes.filter(sends) }],
        seen,
      );
      const from = `in ${port} (line ${line})`;
      this.#compare(`${from} ${verdictOf(outcomes) ?? verdict}`, `${from} ${verdict}`);
      for (const place of [...seen.keys()].sort()) {
        this.#compare(this.#text(place, expected), this.#text(place, seen));
      }
    }
    const { ledger, drops } = this.#datapath.stats();
    const counted = [...Object.values(ledger), ...Object.values(drops)].some(
      (count) => count !== 0n,
    );
    this.#compare('nothing was counted', counted ? 'something was counted' : 'nothing was counted');
  }

  #inject(packets: readonly Packet[]): void {
    for (const [number, port] of this.#ports) {
      const frames = packets
        .filter((packet) => packet.port === number)
        .flatMap(({ frame, copies }) => Array.from({ length: copies }, () => frame.bytes));
      const all = Array.from({ length: this.#mode.copies }, () => frames).flat();
      if (port.inject(all) !== all.length)
        throw new Error(`port ${number} did not take all frames`);
    }
  }

  // ---------- events

  #events(before: Readonly<Record<string, bigint>>): Events {
    const events = this.#places();
    for (const [number, port] of this.#ports) {
      const sent = this.#sent.get(number)!;
      for (const frame of port.drain()) {
        events.get(out(number))!.push(hex(frame));
        sent.packets++;
        sent.bytes += frame.length;
      }
    }
    for (const { reason, userdata, frame, key } of this.#upcalls.splice(0)) {
      const cookie = userdata && Buffer.from(userdata).toString('hex');
      const told = this.#keyOf(frame) === undefined ? undefined : key;
      events.get(kUpcall)!.push(upcallText(reason, cookie, frame, told));
    }
    for (const [reason, count] of Object.entries(this.#datapath.stats().drops)) {
      const times = Number(count - (before[reason] ?? 0n));
      for (let i = 0; i < times; i++) events.get(kDrop)!.push(reason);
    }
    return events;
  }

  #expectedEvents(packets: readonly Packet[], seen: Events): Events {
    const events = this.#places();
    for (const { outcomes } of packets) {
      for (const outcome of outcomes) this.#expect(outcome, this.#mode.copies, seen, events);
    }
    return events;
  }

  #expect(outcome: Outcome, times: number, seen: Events, events: Events): void {
    const add = (place: string, text: string, least: number, most: number) => {
      const list = events.get(place)!;
      const there = count(seen.get(place)!, text) - count(list, text);
      const n = Math.min(Math.max(there, least * times), most * times);
      for (let i = 0; i < n; i++) list.push(text);
    };
    switch (outcome.kind) {
      case 'out': {
        const text = hex(outcome.frame.bytes);
        add(out(this.#portOf(outcome, text, seen)), text, outcome.least, outcome.most);
        break;
      }
      case 'drop':
        add(kDrop, outcome.reason, outcome.least, outcome.most);
        break;
      case 'upcall': {
        const { reason, userdata, frame, key } = outcome;
        const fields = key === undefined ? undefined : parseMatch(key);
        add(kUpcall, upcallText(reason, userdata, frame.bytes, fields), 1, 1);
        add(kDrop, 'upcall_drop', 1, 1); // our handler gives no other verdict
      }
    }
  }

  /** Where a frame went that may leave by several ports. */
  #portOf({ ports, name }: Output, text: string, seen: Events): number {
    const known = name === undefined ? undefined : this.#named.get(name);
    if (known !== undefined) return known;
    const port = ports.find((number) => seen.get(out(number))!.includes(text)) ?? ports[0]!;
    if (name !== undefined) this.#named.set(name, port);
    return port;
  }

  /** What the table says of the key of a frame that is handed up, if anything. */
  #keyOf(frame: Buffer): string | undefined {
    for (const { outcomes } of this.#table.packets) {
      for (const outcome of outcomes) {
        if (outcome.kind !== 'upcall' || outcome.key === undefined) continue;
        if (outcome.frame.bytes.equals(frame)) return outcome.key;
      }
    }
    return undefined;
  }

  #places(): Map<string, string[]> {
    return new Map([...[...this.#ports.keys()].map(out), kUpcall, kDrop].map((at) => [at, []]));
  }

  /** Equal events in a row on one line; sorted where the order does not count. */
  #text(place: string, events: Events): string {
    const there = events.get(place) ?? [];
    const ordered = place.startsWith('out') && !this.#mode.together;
    const texts = ordered ? there : [...there].sort();
    const lines: string[] = [];
    for (let i = 0; i < texts.length; ) {
      let n = 1;
      while (texts[i + n] === texts[i]) n++;
      lines.push(`  ${place} x${n} ${texts[i]}`);
      i += n;
    }
    return lines.join('\n');
  }

  // ---------- counters

  compareFlows(): void {
    const copies = BigInt(this.#mode.copies);
    for (const flow of this.#table.flows) {
      const line = (packets: bigint, bytes: bigint, flags: string) =>
        `flow (line ${flow.line}) packets:${packets}, bytes:${bytes}, flags:${flags}`;
      const found = this.#datapath.flows.get(this.#ufids.get(flow)!)!;
      const flags = String(found).match(/, flags:(\S+), actions:/)?.[1] ?? '';
      const expected =
        flow.packets === undefined || flow.bytes === undefined
          ? line(found.packets, found.bytes, flags)
          : line(flow.packets * copies, flow.bytes * copies, flow.flags);
      this.#compare(expected, line(found.packets, found.bytes, flags));
    }
  }

  /** What ports must have counted follows from the table, and from what was seen to leave. */
  comparePorts(): void {
    for (const { port, least, most } of this.#table.sent) {
      const { packets } = this.#sent.get(port)!;
      const line = (n: number) => `port ${port} sent ${n} packets, from ${least} to ${most} copies`;
      const n = Math.min(Math.max(packets, least * this.#mode.copies), most * this.#mode.copies);
      this.#compare(line(n), line(packets));
    }
    for (const [number, port] of this.#ports) {
      const came = this.#table.packets.filter((packet) => packet.port === number);
      const sum = (each: (packet: Packet) => number) =>
        came.reduce((total, packet) => total + packet.copies * each(packet), 0) * this.#mode.copies;
      const sent = this.#sent.get(number)!;
      const { rxPackets, rxBytes, rxDropped, txPackets, txBytes } = port.stats();
      const line = (...n: readonly unknown[]) =>
        `port ${number} received ${n[0]} packets, ${n[1]} bytes, dropped ${n[2]}; sent ${n[3]} packets, ${n[4]} bytes`;
      this.#compare(
        line(
          ...[sum(() => 1), sum(({ frame }) => frame.bytes.length), 0],
          ...[sent.packets, sent.bytes],
        ),
        line(rxPackets, rxBytes, rxDropped, txPackets, txBytes),
      );
    }
  }

  #compare(expected: string, seen: string): void {
    if (expected !== '') this.#expected.push(expected);
    if (seen !== '') this.#seen.push(seen);
  }
}

function count(texts: readonly string[], text: string): number {
  return texts.reduce((n, other) => (other === text ? n + 1 : n), 0);
}

/** The verdict on a packet of which all parts fare alike; of others it is a matter of taste. */
function verdictOf(outcomes: readonly Outcome[]): string | undefined {
  const kinds = new Set(outcomes.map(({ kind }) => kind));
  if (kinds.size > 1) return undefined;
  return { out: 'forwarded', drop: 'dropped', upcall: 'upcall' }[outcomes[0]!.kind];
}

/** One long line, in pairs of bytes as in the tables: differences are easier to see in one. */
function hex(bytes: Uint8Array): string {
  return (
    Buffer.from(bytes)
      .toString('hex')
      .match(/.{1,4}/g) ?? []
  ).join(' ');
}

function upcallText(
  reason: string,
  userdata: string | undefined,
  frame: Uint8Array,
  key: FlowMatch | undefined,
): string {
  const cookie = userdata === undefined ? '' : ` userdata=${userdata}`;
  const fields = key === undefined ? '' : `\n    key ${keyText(key)}`;
  return `${reason}${cookie} ${hex(frame)}${fields}`;
}

/**
 * A key as a list of its fields. Zero is how a key says that there is no such field, so zeros are left
 * out; a tag is there even if it is all zeros.
 */
function keyText(key: FlowMatch): string {
  const fields: string[] = [];
  const collect = (name: string, value: unknown): void => {
    if (typeof value !== 'object' || value === null) {
      if (!/^(no|[0:.x]*)$/.test(String(value))) fields.push(`${name}=${value}`);
      return;
    }
    if (/^c?vlan$/.test(name)) fields.push(name);
    for (const [inner, part] of Object.entries(value)) collect(`${name}.${inner}`, part);
  };
  for (const [group, value] of Object.entries(key)) collect(group, value);
  return fields.sort().join(' ');
}
