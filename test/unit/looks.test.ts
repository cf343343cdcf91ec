// What the package hands out, as JSON, copied, and printed: nothing is lost in silence.
import { inspect } from 'node:util';
import type { Datapath, Flow, MemoryPort, Upcall, UpcallBatch } from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from './support.js';

let dp: Datapath;
let a: MemoryPort;
let flow: Flow;
beforeEach(async () => {
  dp = makeDatapath();
  [a] = await memoryPorts(dp, 'a', 'b');
  dp.flows.put('in_port(a),ct_label(0x100000000000000000001)', 'a', { idleTimeoutMs: 5000 });
  dp.flows.put('in_port(a),eth_type(0x0800)', 'userspace(pid=0,userdata(0102))');
  dp.flows.delete('in_port(a),eth_type(0x0800)');
  dp.flows.put('in_port(b)', 'a');
  flow = dp.flows.get('in_port(a),ct_label(0x100000000000000000001)')!;
});

const json = (value: unknown) => JSON.parse(JSON.stringify(value));
const fields = (one: Flow) => ({
  ...{ ufid: one.ufid, match: one.match, actions: one.actions, packets: one.packets },
  ...{ bytes: one.bytes, usedMs: one.usedMs, tcpFlags: one.tcpFlags },
  ...{ idleTimeoutMs: one.idleTimeoutMs, offloaded: one.offloaded },
});

describe('JSON', () => {
  test('of a flow', () => {
    expect(json(flow)).toEqual({
      ufid: flow.ufid,
      match: { inPort: 1, ctLabel: String(0x100000000000000000001n) },
      actions: [{ type: 'output', port: 1 }],
      ...{ packets: '0', bytes: '0', usedMs: null, tcpFlags: 0 },
      ...{ idleTimeoutMs: 5000, offloaded: false },
    });
  });

  test('of statistics, counters as decimal strings', async () => {
    a.inject(udpFrame());
    await dp.settle();
    const stats = json(dp.stats());
    expect(stats.ports.a).toMatchObject({ rxPackets: '1', txPackets: '0' });
    expect(stats.ledger.received).toBe('1');
    expect(stats.pmds[0].packets).toMatch(/^\d+$/);
    expect(json(a.stats())).toEqual(stats.ports.a);
    // And no comparison sees how.
    expect(Object.keys(dp.stats())).not.toContain('toJSON');
    expect(structuredClone(dp.stats()).ledger.received).toBe(1n);
  });

  test('of ports and a datapath', async () => {
    const shown = { name: 'a', number: 1, type: 'memory', pmd: true, state: 'up', mode: a.mode };
    expect(json(a)).toEqual(shown);
    expect(json(dp.ports)).toEqual([shown, json(dp.ports.get('b'))]);
    expect(json(dp)).toEqual({ name: 'pollux', state: 'open', ports: json(dp.ports), flows: 2 });
    expect(json(dp.flows)).toEqual({ size: 2 });
    await dp.close();
    expect(json(dp)).toEqual({ name: 'pollux', state: 'closed', ports: [], flows: 0 });
  });

  test('of upcalls and traces', async () => {
    let batch: UpcallBatch | undefined;
    dp.onUpcall((one) => {
      batch = one;
    });
    a.inject(udpFrame());
    await until(() => batch !== undefined);
    const [upcall] = batch as Iterable<Upcall>;
    expect(json(batch)).toEqual([json(upcall)]);
    expect(json(upcall)).toMatchObject({
      ...{ reason: 'miss', inPort: 'a', wireLength: 60, key: { inPort: 1, ethType: 0x0800 } },
      frame: udpFrame().toJSON(),
    });
    expect(json(dp.trace(udpFrame(), { inPort: 'a' }))).toMatchObject({ verdict: 'upcall' });
  });
});

describe('copies', () => {
  test('of a flow have its fields', () => {
    expect({ ...flow }).toEqual(fields(flow));
    expect(structuredClone(flow)).toEqual(fields(flow));
    expect(Object.keys(flow)).toEqual(Object.keys(fields(flow)));
  });

  test('of a port have its fields', () => {
    expect({ ...a }).toEqual(json(a));
    expect(structuredClone(a)).toEqual(json(a));
  });
});

describe('printed', () => {
  test('a datapath shows what a person asks for', () => {
    const text = inspect(dp);
    expect(text).toMatch(/^Datapath \{ ?\s*name: 'pollux',\s*state: 'open',/);
    expect(text).toContain('Ports(2)');
    expect(text).not.toMatch(/_events|captureRejections/);
    expect(inspect(dp.flows)).toBe('FlowTable { size: 2 }');
    expect(inspect(flow)).toMatch(/^Flow \{/);
    expect(inspect({ deep: { inside: a } })).toContain("name: 'a'");
  });
});

describe('ports', () => {
  test('are there to look at, by name or number', async () => {
    const ports = dp.ports as any;
    for (const change of ['delete', 'set', 'clear']) expect(ports[change]).toBeUndefined();
    expect(() => Map.prototype.delete.call(ports, 'a')).toThrow(TypeError);
    expect(dp.ports.get(1)).toBe(a);
    expect(dp.ports.get(99)).toBeUndefined();
    expect(dp.ports.has(2)).toBe(true);
    expect(dp.ports.name(2)).toBe('b');
    await dp.renumberPort('b', 7);
    expect([dp.ports.get(2), dp.ports.get(7)]).toEqual([undefined, dp.ports.get('b')]);
    const seen: string[] = [];
    dp.ports.forEach((port, name, map) => {
      expect(map).toBe(dp.ports);
      seen.push(`${name}=${port.number}`);
    });
    expect(seen).toEqual(['a=1', 'b=7']);
    expect([...dp.ports.keys()]).toEqual(['a', 'b']);
    expect(new Map(dp.ports)).toEqual(new Map(dp.ports.entries()));
    await dp.deletePort(7);
    expect([dp.ports.get(7), dp.ports.size]).toEqual([undefined, 1]);
  });

  test('that swap numbers are found by their new ones', async () => {
    const config = { ports: [...dp.ports.values()].map(({ name }) => ({ name, type: 'memory' })) };
    const swapped = config.ports.map((port, i) => ({ ...port, number: 2 - i }));
    await dp.configure({ ports: swapped } as never);
    expect([dp.ports.get(1)?.name, dp.ports.get(2)?.name]).toEqual(['b', 'a']);
    await failure('ENODEV', () => dp.deletePort(3));
  });
});
