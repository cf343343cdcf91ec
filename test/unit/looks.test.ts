// What the package hands out, as JSON, copied, and printed: nothing is lost in silence.
import { inspect } from 'node:util';
import {
  type Datapath,
  type Flow,
  formatActions,
  formatMatch,
  type MemoryPort,
  parseMatch,
  type Upcall,
  type UpcallBatch,
} from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

let dp: Datapath;
let a: MemoryPort;
let flow: Flow;
beforeEach(async () => {
  dp = makeDatapath();
  [a] = await memoryPorts(dp, 'a', 'b');
  dp.flows.put('in_port(a),ct_label(0x100000000000000000001)', 'a', { idleTimeoutMs: 5000 });
  dp.flows.put('in_port(b),eth_type(0x0800)', 'userspace(pid=0,userdata(0102))');
  dp.flows.delete('in_port(b),eth_type(0x0800)');
  dp.flows.put('in_port(b)', 'a');
  flow = dp.flows.get('in_port(a),ct_label(0x100000000000000000001)')!;
});

async function gather<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}
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

describe('a flow names itself', () => {
  test.each([
    ['as it was dumped', (one: Flow) => one],
    ['copied', (one: Flow) => ({ ...one })],
  ])('%s', (_, as) => {
    expect(dp.flows.get(as(flow))?.ufid).toBe(flow.ufid);
    dp.flows.apply([{ delete: as(flow) }, { put: { match: 'in_port(9)', actions: '1' } }]);
    expect(dp.flows.get(as(flow))).toBeUndefined();
    expect(dp.flows.delete(as(dp.flows.get('in_port(9)')!))).toBe(true);
    expect(dp.flows.delete(as(flow))).toBe(false);
  });

  test('a dump of one port has its flows alone', async () => {
    const all = await gather(dp.flows.dump());
    for (const inPort of [1, 2, 'b', 9]) {
      const number = typeof inPort === 'string' ? dp.ports.get(inPort)!.number : inPort;
      const wanted = all.filter(({ match }) => match.inPort === number).map(({ ufid }) => ufid);
      const found = await gather(dp.flows.dump({ inPort }));
      expect(found.map(({ ufid }) => ufid)).toEqual(wanted);
    }
  });
});

test('frames to inject may come from anything that can be iterated over', async () => {
  function* frames() {
    yield udpFrame(1);
    yield udpFrame(2);
  }
  expect(a.inject(frames())).toBe(2);
  expect(a.inject(new Set([udpFrame(3)]))).toBe(1);
  await failure('EINVAL', () => a.inject(['x'] as never));
  await failure('EINVAL', () => a.inject({} as never));
  await failure('EINVAL', () => a.inject(null as never));
  await failure('EINVAL', () => a.inject(new Set(['x']) as never));
  await dp.settle();
  expect(a.stats().rxPackets).toBe(3n);
});

test('a list that takes a frame away while it is read: what is left of it counts as an error', async () => {
  const before = a.stats();
  const [first, second] = [udpFrame(1), udpFrame(2)].map((frame) => new Uint8Array(frame));
  const list = [first!, second!];
  let looks = 0;
  Object.defineProperty(list, 1, {
    get() {
      // The check of the list looks once, the core once more.
      if (++looks === 2)
        structuredClone(first!.buffer, { transfer: [first!.buffer as ArrayBuffer] });
      return second;
    },
  });
  expect(a.inject(list)).toBe(1);
  expect(looks).toBe(2);
  await dp.settle();
  expect(a.stats().rxPackets - before.rxPackets).toBe(1n);
  expect(a.stats().rxErrors - before.rxErrors).toBe(1n);
});

test('whoever waits can give up', async () => {
  const { signal } = { signal: AbortSignal.abort('why') };
  for (const call of [
    () => dp.settle({ signal }),
    () => dp.reload(undefined, { signal }),
    () => dp.renumberPort('a', 9, { signal }),
    () => dp.advance(1, { signal }),
  ]) {
    expect((await failure('ABORT_ERR', call)).cause).toBe('why');
  }
  expect(a.number).toBe(1);
  // While it waits: a device that takes its time to open keeps the one behind it waiting.
  const adding = dp.addPort({ name: 'slow', type: 'memory', openDelayMs: 100 });
  const abort = new AbortController();
  const waiting = failure('ABORT_ERR', () => dp.settle({ signal: abort.signal }));
  setImmediate(() => abort.abort());
  await waiting;
  expect(dp.ports.has('slow')).toBe(false);
  await adding;
});

test('flows in text with the names of ports', () => {
  expect(formatMatch(flow.match, { ports: dp.ports })).toContain('in_port(a)');
  expect(formatActions(flow.actions, { ports: dp.ports })).toBe('a');
  expect(parseMatch('in_port(b)', dp.ports).inPort).toBe(2);
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
