// The public API on memory ports: what it promises when nothing goes wrong.
import { once } from 'node:events';
import { Datapath, type Flow, type Port, type PortSpec } from 'pollux';
import { describe, expect, test } from 'vitest';
import {
  expectLedgerCloses,
  failure,
  makeDatapath,
  memoryPorts,
  udpFrame,
  udpFrames,
  until,
} from '../support/datapath.js';

const collect = async (flows: AsyncIterable<Flow>) => {
  const all: Flow[] = [];
  for await (const flow of flows) all.push(flow);
  return all;
};

describe('ports', () => {
  test('forward what is injected, byte for byte', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put({ inPort: a }, [{ type: 'output', port: b }]);
    const frames = udpFrames(100);
    expect(a.inject(frames)).toBe(100);
    await dp.settle();
    expect(b.drain()).toEqual(frames);
    expect(b.drain()).toEqual([]);
    expect(b.stats()).toMatchObject({ txPackets: 100n, txBytes: 6000n });
    expect(dp.stats().ports.a).toMatchObject({ rxPackets: 100n, rxBytes: 6000n });
  });

  test('drain takes at most max, oldest first', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', 'b');
    a.inject(udpFrames(5));
    await dp.settle();
    expect(b.drain(2)).toEqual(udpFrames(5).slice(0, 2));
    expect(b.drain(0)).toEqual([]);
    expect(b.drain()).toEqual(udpFrames(5).slice(2));
  });

  test('a drained frame belongs to the caller', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', 'b,b');
    a.inject(udpFrame());
    await dp.settle();
    const [first, second] = b.drain();
    first?.fill(0xff);
    expect(second).toEqual(udpFrame());
  });

  test('the queue takes what it holds and counts the rest', async () => {
    const dp = makeDatapath({ pmdCpus: [0] });
    const a = await dp.addPort({ name: 'a', type: 'memory', queueLength: 8, openDelayMs: 1 });
    const took = a.inject(udpFrames(5000));
    await dp.settle();
    expect(took).toBeGreaterThanOrEqual(8);
    expect(a.stats()).toMatchObject({
      rxPackets: BigInt(took),
      rxDropped: BigInt(5000 - took),
    });
  });

  test('frames too short for Ethernet are dropped, empty and oversized ones refused', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    expect(a.inject([Buffer.alloc(1), Buffer.alloc(13)])).toBe(2);
    expect(a.inject([Buffer.alloc(0), Buffer.alloc(65_536)])).toBe(0);
    await dp.settle();
    expect(dp.stats().drops.rx_invalid_packet).toBe(2n);
    expect(a.stats().rxErrors).toBeGreaterThanOrEqual(2n);
  });

  test('several queues', async () => {
    const dp = makeDatapath({ pmdCpus: '0x3' });
    const a = await dp.addPort({ name: 'a', type: 'memory', rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } });
    const [b] = await memoryPorts(dp, 'b');
    dp.flows.put('in_port(a)', 'b');
    a.inject(udpFrames(10), { rxq: 0 });
    a.inject(udpFrames(10), { rxq: 1 });
    await dp.settle();
    expect(b.drain()).toHaveLength(20);
    const queues = dp
      .stats()
      .pmds.flatMap(({ core, rxqs }) =>
        rxqs.filter(({ port }) => port === 'a').map(({ queue }) => [queue, core]),
      );
    expect(queues.sort()).toEqual([
      [0, 0],
      [1, 1],
    ]);
  });

  test('a handle says what it is', async () => {
    const dp = makeDatapath();
    const port = await dp.addPort({ name: 'p', type: 'memory', number: 9, pmd: false });
    expect(port).toMatchObject({ name: 'p', number: 9, type: 'memory', pmd: false, state: 'up' });
    expect(port.mode).toBe('memory');
    expect(JSON.parse(JSON.stringify(port))).toMatchObject({ name: 'p', number: 9 });
    expect(dp.ports.get('p')).toBe(port);
  });

  test('S37: a port is listed only when every thread can output to it', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    dp.flows.put('in_port(a)', '2');
    const adding = dp.addPort({ name: 'b', type: 'memory', openDelayMs: 30 });
    expect(dp.ports.has('b')).toBe(false);
    await until(() => dp.ports.has('b'));
    a.inject(udpFrame());
    await dp.settle();
    expect((await adding).drain()).toHaveLength(1);
    expect(dp.ports.get('b')).toBe(await adding);
  });

  test('lowest free numbers, from 1', async () => {
    const dp = makeDatapath();
    const ports = await memoryPorts(dp, 'a', 'b', 'c');
    expect(ports.map(({ number }) => number)).toEqual([1, 2, 3]);
    await dp.deletePort('b');
    expect((await dp.addPort({ name: 'd', type: 'null' })).number).toBe(2);
  });

  test('deletePort takes a handle, a name or a number', async () => {
    const dp = makeDatapath();
    const [a, b, c] = await memoryPorts(dp, 'a', 'b', 'c');
    await Promise.all([dp.deletePort(a), dp.deletePort('b'), dp.deletePort(3)]);
    expect(dp.ports.size).toBe(0);
    expect([a, b, c].map(({ state }) => state)).toEqual(['closed', 'closed', 'closed']);
  });

  test('after deletePort no thread reaches the port; delete and add again gives a new device', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', '2');
    a.inject(udpFrame());
    await dp.settle();
    await dp.deletePort(b);
    a.inject(udpFrames(3));
    await dp.settle();
    expect(dp.stats().drops.invalid_port).toBe(3n);
    const [again] = await memoryPorts(dp, 'b');
    expect(again).not.toBe(b);
    a.inject(udpFrame());
    await dp.settle();
    expect(again.drain()).toHaveLength(1);
  });

  test('renumberPort keeps the handle and moves the output', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', '2,20');
    expect(await dp.renumberPort('b', 20)).toBe(b);
    expect(b.number).toBe(20);
    a.inject(udpFrame());
    await dp.settle();
    expect(b.drain()).toHaveLength(1);
    expect(dp.stats().drops.invalid_port).toBe(1n);
  });

  test('reload reports every thread, or the one of a core', async () => {
    const dp = makeDatapath({ pmdCpus: [0, 1] });
    await memoryPorts(dp, 'a', 'b');
    const reports = await dp.reload();
    expect(reports.map(({ core }) => core)).toContain('non-pmd');
    for (const report of reports) {
      expect(report.ports).toBe(2);
      expect(report.latencyUs).toBeGreaterThanOrEqual(0);
    }
    expect(await dp.reload(1)).toMatchObject([{ core: 1 }]);
  });

  test('portTypes lists them all, with a reason where one is missing', () => {
    const types = Datapath.portTypes();
    expect(types.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['memory', 'null', 'af_packet', 'af_xdp', 'tap', 'pcap', 'dpdk']),
    );
    for (const { available, reason } of types) expect(reason === undefined).toBe(available);
  });

  test('a null port generates as much as it is told to', async () => {
    const dp = makeDatapath();
    const [b] = await memoryPorts(dp, 'b');
    dp.flows.put('in_port(5)', 'b');
    const generate = { size: 100, flows: 3, limit: 10 };
    await dp.addPort({ name: 'source', type: 'null', number: 5, generate });
    await until(() => b.stats().txPackets === 10n);
    const frames = b.drain();
    expect(new Set(frames.map((frame) => frame.length))).toEqual(new Set([100]));
    expect(new Set(frames.map((frame) => frame.toString('hex'))).size).toBe(3);
  });
});

describe('flows', () => {
  test('typed and text are the same flow', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    const ufid = dp.flows.put({ inPort: a, ipv4: { dst: '10.0.0.0/8' } }, [
      { type: 'output', port: 'b' },
    ]);
    expect(ufid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    const text = 'in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/8)';
    const flow = dp.flows.get(text);
    expect(flow).toMatchObject({
      ufid,
      match: { inPort: 1, ethType: 0x0800, ipv4: { dst: '10.0.0.0/8' } },
      actions: [{ type: 'output', port: b.number }],
      packets: 0n,
      bytes: 0n,
      usedMs: null,
      tcpFlags: 0,
    });
    expect(String(flow)).toMatch(/in_port\(1\).*packets:0, bytes:0, used:never, actions:2$/);
    expect(dp.flows.delete({ inPort: 'a', ethType: 0x0800, ipv4: { dst: '10.0.0.0/8' } })).toBe(
      true,
    );
    expect(dp.flows.get(ufid)).toBeUndefined();
    expect(dp.flows.delete(ufid)).toBe(false);
  });

  test('count packets, bytes and time since use', async () => {
    const dp = makeDatapath({ clock: 'manual' });
    const [a] = await memoryPorts(dp, 'a', 'b');
    const ufid = dp.flows.put('in_port(a)', 'b');
    a.inject(udpFrames(3));
    await dp.settle();
    await dp.advance(250);
    expect(dp.flows.get(ufid)).toMatchObject({ packets: 3n, bytes: 180n, usedMs: 250 });
    expect(String(dp.flows.get(ufid))).toContain('packets:3, bytes:180, used:0.250s');
  });

  test('put replaces, unless it is told not to', async () => {
    const dp = makeDatapath();
    const [a, , c] = await memoryPorts(dp, 'a', 'b', 'c');
    const ufid = dp.flows.put('in_port(a)', 'b');
    expect(dp.flows.put('in_port(a)', 'c')).toBe(ufid);
    await failure('EEXIST', () => dp.flows.put('in_port(a)', 'b', { ifExists: 'error' }));
    expect(dp.flows.size).toBe(1);
    a.inject(udpFrame());
    await dp.settle();
    expect(c.drain()).toHaveLength(1);
  });

  test('a ufid of one’s own, as an option or in the text', () => {
    const dp = makeDatapath();
    const ufid = '01234567-89ab-cdef-0123-456789abcdef';
    expect(dp.flows.put('in_port(1)', '2', { ufid })).toBe(ufid);
    expect(dp.flows.get(ufid)?.match).toEqual({ inPort: 1 });
    expect(dp.flows.get(`ufid:${ufid}`)?.ufid).toBe(ufid);
    expect(dp.flows.delete(ufid)).toBe(true);
    expect(dp.flows.put(`ufid:${ufid},in_port(1)`, '2')).toBe(ufid);
  });

  test('apply: one answer for each change', () => {
    const dp = makeDatapath();
    const old = dp.flows.put('in_port(1)', '2');
    const answers = dp.flows.apply([
      { delete: old },
      { delete: 'in_port(9)' },
      { put: { match: 'in_port(2)', actions: 'drop' } },
    ]);
    expect(answers).toEqual([true, false, expect.any(String)]);
    expect(dp.flows.size).toBe(1);
  });

  test('apply, atomic: all or nothing', async () => {
    const dp = makeDatapath({ flowLimit: 3 });
    dp.flows.put('in_port(1)', '2');
    const changes = [
      { delete: 'in_port(1)' },
      ...[2, 3, 4, 5].map((n) => ({ put: { match: `in_port(${n})`, actions: '1' } })),
    ];
    const error = await failure('ENOSPC', () => dp.flows.apply(changes, { atomic: true }));
    expect(error.hint).toContain('flowLimit');
    expect((await collect(dp.flows.dump())).map(({ match }) => match.inPort)).toEqual([1]);
    // Without: all that is possible, and the error.
    await failure('ENOSPC', () => dp.flows.apply(changes));
    expect(dp.flows.size).toBe(3);
  });

  test('apply: what cannot be read is refused before anything is done', async () => {
    const dp = makeDatapath();
    const changes = [
      { put: { match: 'in_port(1)', actions: '2' } },
      { put: { match: 'in_port(1', actions: '2' } },
    ];
    await failure('EINVAL', () => dp.flows.apply(changes));
    expect(dp.flows.size).toBe(0);
  });

  test('dump: every flow once, by port, by core, until aborted', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a', 'b');
    dp.flows.apply(
      Array.from({ length: 1000 }, (_, i) => ({
        put: { match: { inPort: (i % 2) + 1, udp: { src: i }, ethType: 0x0800 }, actions: '2' },
      })),
    );
    const all = await collect(dp.flows.dump());
    expect(new Set(all.map(({ ufid }) => ufid)).size).toBe(1000);
    const fromA = await collect(dp.flows.dump({ inPort: 'a' }));
    expect(fromA).toHaveLength(500);
    expect(fromA.every(({ match }) => match.inPort === 1)).toBe(true);

    a.inject(udpFrame(0));
    await dp.settle();
    const packets = async (core: number | 'non-pmd') =>
      (await collect(dp.flows.dump({ core }))).reduce((sum, flow) => sum + flow.packets, 0n);
    expect(await packets('non-pmd')).toBe(0n);
    const busy = dp.stats().pmds.find((pmd) => pmd.packets > 0n);
    expect(await packets(busy?.core ?? -1)).toBe(1n);

    const controller = new AbortController();
    let seen = 0;
    await failure('ABORT_ERR', async () => {
      for await (const _ of dp.flows.dump(controller)) if (++seen === 300) controller.abort();
    });
    expect(seen).toBe(300);
  });

  test('clear answers how many there were', () => {
    const dp = makeDatapath();
    for (let i = 1; i <= 5; i++) dp.flows.put({ inPort: i }, 'drop');
    expect(dp.flows.clear()).toBe(5);
    expect(dp.flows.size).toBe(0);
  });

  test('age out, and say so with their final statistics', async () => {
    const dp = makeDatapath({ clock: 'manual', maxIdleMs: 1000 });
    const [a] = await memoryPorts(dp, 'a', 'b');
    const gone = dp.flows.put('in_port(a)', 'b');
    const kept = dp.flows.put('in_port(b)', 'a', { idleTimeoutMs: 0 });
    a.inject(udpFrames(2));
    await dp.settle();
    const removed = once(dp, 'flowsRemoved') as Promise<[readonly Flow[]]>;
    await dp.advance(5000);
    const [flows] = await removed;
    expect(flows).toHaveLength(1);
    expect(flows[0]).toMatchObject({ ufid: gone, packets: 2n, bytes: 120n, usedMs: 5000 });
    expect(flows[0]!.reason).toBe('idle');
    expect('reason' in dp.flows.get(kept)!).toBe(false);
    expect(dp.flows.get(gone)).toBeUndefined();
    expect(dp.flows.get(kept)).toBeDefined();
  });
});

describe('execute', () => {
  test('says what became of the frame, where that is asked for', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('recirc_id(5),in_port(1)', 'a,9');
    const frame = udpFrame();
    const actions = 'b,push_vlan(vid=5,pcp=0),a,recirc(5)';
    const tagged = dp.execute(frame, 'push_vlan(vid=5,pcp=0)');
    dp.flows.put('recirc_id(5),in_port(1),eth_type(0x8100),vlan(vid=5),encap()', 'b,9');
    expect(dp.execute(frame, actions, { inPort: 'a', report: true })).toEqual({
      frame: tagged,
      outputs: [
        { port: 'b', frame },
        { port: 'a', frame: tagged },
        { port: 'b', frame: tagged },
      ],
      dropped: ['invalid_port'],
    });
    expect([a.drain(), b.drain()]).toEqual([[tagged], [frame, tagged]]);
    expect(dp.stats().drops.invalid_port).toBe(1n);
    const report = dp.execute(frame, 'drop', { report: true });
    expect(report).toEqual({ frame, outputs: [], dropped: ['action_drop'] });
    expect(dp.execute(frame, 'userspace(pid=0)', { inPort: 1, report: true }).dropped).toEqual([
      'upcall_no_handler',
    ]);
    // What is left to chance falls as it is told.
    let sampled = 0;
    for (let i = 0; i < 100; i++) {
      const { outputs } = dp.execute(frame, 'sample(sample=50.0%,actions(b))', { report: true });
      expect(b.drain()).toHaveLength(outputs.length);
      sampled += outputs.length;
    }
    expect(sampled).toBeGreaterThan(0);
    expect(sampled).toBeLessThan(100);
  });

  test('sends, and returns the frame as the last action left it', async () => {
    const dp = makeDatapath();
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    const result = dp.execute(udpFrame(), 'a,push_vlan(vid=5,pcp=0),b', { inPort: a });
    expect(result).toHaveLength(64);
    expect(result.readUInt16BE(12)).toBe(0x8100);
    expect(a.drain()).toEqual([udpFrame()]);
    expect(b.drain()).toEqual([result]);
    expect(dp.stats().ledger).toMatchObject({ executed: 1n, copied: 1n, transmitted: 2n });
  });

  test('takes any Uint8Array and leaves it alone', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a');
    const bytes = new Uint8Array(udpFrame());
    dp.execute(bytes, [
      { type: 'pushVlan', vid: 1 },
      { type: 'output', port: 'a' },
    ]);
    expect(Buffer.from(bytes)).toEqual(udpFrame());
  });

  test('the longest and the shortest frame', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    for (const size of [14, 65_535]) {
      expect(dp.execute(Buffer.alloc(size), 'a')).toHaveLength(size);
      expect(a.drain()[0]).toHaveLength(size);
    }
  });

  test('S32: does not wait for a port being added', async () => {
    const dp = makeDatapath();
    await memoryPorts(dp, 'a');
    const slow = dp.addPort({ name: 'slow', type: 'memory', openDelayMs: 500 });
    const start = performance.now();
    for (let i = 0; i < 100; i++) dp.execute(udpFrame(i), 'a');
    expect(performance.now() - start).toBeLessThan(250);
    expect(dp.ports.has('slow')).toBe(false);
    await slow;
  });
});

describe('stats', () => {
  test('say everything', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', 'b');
    a.inject(udpFrames(64));
    await dp.settle();
    const stats = dp.stats();
    expect(stats.flows).toEqual({ size: 1, masks: 1 });
    expect(stats.ledger).toEqual({
      received: 64n,
      executed: 0n,
      copied: 0n,
      transmitted: 64n,
      dropped: 0n,
      queued: 0n,
    });
    expect(Object.keys(stats.drops)).toContain('upcall_no_handler');
    const pmd = stats.pmds.find(({ packets }) => packets > 0n);
    expect(pmd).toMatchObject({ packets: 64n, upcalls: 0n, lostUpcalls: 0n, numa: 0 });
    expect((pmd?.emcHits ?? 0n) + (pmd?.megaflowHits ?? 0n)).toBe(64n);
    for (const { usagePercent } of pmd?.rxqs ?? []) {
      expect(usagePercent === null || usagePercent >= 0).toBe(true);
    }
    expectLedgerCloses(dp);
  });

  test('two datapaths share nothing', async () => {
    const one = makeDatapath({ name: 'one' });
    const two = makeDatapath({ name: 'two' });
    const [a] = await memoryPorts(one, 'a');
    const [b] = await memoryPorts(two, 'a');
    a.inject(udpFrames(5));
    await Promise.all([one.settle(), two.settle()]);
    expect(one.stats().ledger.received).toBe(5n);
    expect(two.stats().ledger.received).toBe(0n);
    expect(b).not.toBe(a);
    expect([one.name, two.name]).toEqual(['one', 'two']);
  });
});

describe('open and close', () => {
  test('open builds what it is told, await using takes it down', async () => {
    const ports: PortSpec[] = [
      { name: 'a', type: 'memory' },
      { name: 'b', type: 'memory' },
    ];
    let seen: Datapath;
    {
      await using dp = await Datapath.open({
        topology: { numa: [[0]] },
        ports,
        flows: [{ match: 'in_port(a)', actions: 'b' }],
      });
      seen = dp;
      expect([...dp.ports.keys()]).toEqual(['a', 'b']);
      expect(dp.flows.size).toBe(1);
    }
    expect(seen.state).toBe('closed');
  });

  test('open is all or nothing', async () => {
    const flows = [{ match: 'in_port(a)', actions: 'nosuch' }];
    await failure('ENODEV', () => Datapath.open({ ports: [{ name: 'a', type: 'memory' }], flows }));
    await failure('ABORT_ERR', () => Datapath.open({}, { signal: AbortSignal.abort() }));
  });

  test('close is idempotent, tells its listeners and ends its ports', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    const events: string[] = [];
    dp.on('close', () => events.push(dp.state));
    const closing = dp.close();
    expect(dp.state).toBe('closing');
    expect(dp.close()).toBe(closing);
    await closing;
    await dp.close();
    expect(events).toEqual(['closed']);
    expect(a.state).toBe('closed');
    expect(dp.ports.size).toBe(0);
  });

  test('close rejects what is still to be done', async () => {
    const dp = makeDatapath();
    const slow = dp.addPort({ name: 'slow', type: 'memory', openDelayMs: 50 });
    const after = dp.addPort({ name: 'after', type: 'memory' });
    const failures = [slow, after].map((adding) => failure('ERR_DATAPATH_CLOSED', () => adding));
    await dp.close();
    for (const error of await Promise.all(failures)) expect(error.hint).toBeDefined();
  });
});

describe('AbortSignal', () => {
  test('aborted before: nothing is done', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a');
    const aborted = { signal: AbortSignal.abort('why') };
    const error = await failure('ABORT_ERR', () =>
      dp.addPort({ name: 'b', type: 'memory' }, aborted),
    );
    expect(error.cause).toBe('why');
    await failure('ABORT_ERR', () => dp.deletePort(a, aborted));
    await failure('ABORT_ERR', () => dp.configure({ ports: [] }, aborted));
    await failure('ABORT_ERR', () => dp.upcalls(aborted));
    expect([...dp.ports.keys()]).toEqual(['a']);
    expect(a.state).toBe('up');
  });

  test('aborted while the device opens: it is closed again', async () => {
    const dp = makeDatapath();
    const controller = new AbortController();
    const spec = { name: 'a', type: 'memory', openDelayMs: 30 } as const;
    const adding = failure('ABORT_ERR', () => dp.addPort(spec, controller));
    setTimeout(() => controller.abort(), 5);
    await adding;
    expect(dp.ports.size).toBe(0);
    expect(dp.stats().ports).toEqual({});
    const [again] = await memoryPorts(dp, 'a');
    expect(again.number).toBe(1);
  });
});

test('events are emitted outside the addon: a port’s handle is known by then', async () => {
  const dp = makeDatapath();
  const ports: Port[] = [];
  dp.on('portUp', (port) => ports.push(port));
  const [a] = await memoryPorts(dp, 'a');
  expect(ports.every((port) => port === a)).toBe(true);
});
