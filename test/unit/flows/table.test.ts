// The flow table: what put, modify and delete promise, timeouts, the limit and who goes when it is reached.
import { once } from 'node:events';
import type { Datapath, DumpFilter, Flow, Upcall } from 'pollux';
import { describe, expect, test } from 'vitest';
import {
  failure,
  makeDatapath,
  memoryPorts,
  udpFrame,
  udpFrames,
  until,
} from '../../support/datapath.js';

async function dump(dp: Datapath, filter?: DumpFilter): Promise<Flow[]> {
  const flows: Flow[] = [];
  for await (const flow of dp.flows.dump(filter)) flows.push(flow);
  return flows;
}

const inPorts = async (dp: Datapath) =>
  (await dump(dp)).map(({ match }) => match.inPort).toSorted((a, b) => Number(a) - Number(b));

/** The flows of the next `flowsRemoved`. */
async function removed(dp: Datapath): Promise<readonly Flow[]> {
  const [flows] = (await once(dp, 'flowsRemoved')) as [readonly Flow[]];
  return flows;
}

describe('put', () => {
  test('adds or replaces, or one of them only: EEXIST, ENOENT', async () => {
    const dp = makeDatapath();
    const error = await failure('ENOENT', () =>
      dp.flows.put('in_port(1)', '2', { ifMissing: 'error' }),
    );
    expect(error.hint).toContain('ifMissing');
    expect(dp.flows.size).toBe(0);
    const ufid = dp.flows.put('in_port(1)', '2', { ifExists: 'error' });
    await failure('EEXIST', () => dp.flows.put('in_port(1)', '3', { ifExists: 'error' }));
    expect(dp.flows.get(ufid)?.actions).toEqual([{ type: 'output', port: 2 }]);
    expect(dp.flows.put('in_port(1)', '3', { ifMissing: 'error' })).toBe(ufid);
    expect(dp.flows.get(ufid)?.actions).toEqual([{ type: 'output', port: 3 }]);
    await failure('EINVAL', () =>
      dp.flows.put('in_port(1)', '2', { ifExists: 'error', ifMissing: 'error' }),
    );
    await failure('EINVAL', () =>
      dp.flows.put('in_port(1)', '2', { ifMissing: 'create' as never }),
    );
  });

  test('replaces actions and timeout, keeps statistics', async () => {
    const dp = makeDatapath();
    const [a] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(a)', 'b', { idleTimeoutMs: 700 });
    a.inject(udpFrames(3));
    await dp.settle();
    expect(dp.flows.get('in_port(a)')).toMatchObject({ packets: 3n, idleTimeoutMs: 700 });
    dp.flows.put('in_port(a)', 'drop');
    expect(dp.flows.get('in_port(a)')).toMatchObject({
      packets: 3n,
      bytes: 180n,
      actions: [{ type: 'drop' }],
      idleTimeoutMs: undefined,
    });
  });

  test('is in force in every thread on return, for flows that caches hold, too', async () => {
    const dp = makeDatapath({ pmdCpus: [0, 1], emcInsertInvProb: 1 });
    const [, b, c] = await memoryPorts(dp, 'x', 'b', 'c');
    const a = await dp.addPort({ name: 'a', type: 'memory', rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } });
    const send = async () => {
      for (const rxq of [0, 1]) a.inject(udpFrame(), { rxq });
      await dp.settle();
      return [b.drain().length, c.drain().length];
    };
    dp.flows.put('in_port(a)', 'b');
    for (let i = 0; i < 3; i++) expect(await send()).toEqual([2, 0]);
    const hits = dp.stats().pmds.reduce((sum, { emcHits }) => sum + emcHits, 0n);
    expect(hits, 'cache hits').toBeGreaterThan(0n);
    dp.flows.put('in_port(a)', 'c');
    expect(await send()).toEqual([0, 2]);
    dp.flows.delete('in_port(a)');
    expect(await send()).toEqual([0, 0]);
    dp.flows.put('in_port(a)', 'b');
    expect(await send()).toEqual([2, 0]);
  });

  test('takes an exact in_port, and never a masked recirc_id', async () => {
    const dp = makeDatapath();
    await failure('EINVAL', () => dp.flows.put('in_port(1/0xff)', '2'));
    await failure('EINVAL', () => dp.flows.put('eth_type(0x0800)', '2'));
    await failure('EINVAL', () => dp.flows.put('recirc_id(0x1/0x1),in_port(1)', '2'));
    // Without recirc_id it is 0, exactly.
    dp.flows.put('in_port(1)', '2');
    dp.flows.put('recirc_id(0x1),in_port(1)', '3');
    expect(dp.flows.size).toBe(2);
    expect(dp.flows.get('recirc_id(0),in_port(1)')?.actions).toEqual([{ type: 'output', port: 2 }]);
  });

  test('refuses a flow whose packets another one takes, without harm to that one', async () => {
    const dp = makeDatapath();
    dp.flows.put('in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/8)', '2');
    const error = await failure('EINVAL', () =>
      dp.flows.put('in_port(1),eth_type(0x0800),ipv4(dst=10.1.0.0/16)', '3'),
    );
    expect(error.message).toContain('overlaps');
    dp.flows.put('in_port(1),eth_type(0x0800),ipv4(dst=11.0.0.0/8)', '3');
    expect(dp.flows.size).toBe(2);
  });

  test('a ufid covers the mask: equal keys under different masks are different flows', () => {
    const dp = makeDatapath();
    const narrow = dp.flows.put('in_port(1),eth_type(0x0800),ipv4(dst=0.0.0.0/16)', '2');
    const ufid = '00000000-0000-0000-0000-000000000007';
    expect(dp.flows.put('in_port(1),eth_type(0x0800),ipv4(dst=0.0.0.0/8)', '3', { ufid })).toBe(
      ufid,
    );
    const wide = makeDatapath().flows.put('in_port(1),eth_type(0x0800),ipv4(dst=0.0.0.0/8)', '3');
    expect(wide).not.toBe(narrow);
    expect(dp.flows.get(narrow)?.match).toMatchObject({ ipv4: { dst: '0.0.0.0/16' } });
    expect(dp.flows.get(ufid)?.match).toMatchObject({ ipv4: { dst: '0.0.0.0/8' } });
  });
});

test('a flow is seen once; its statistics are the sum over threads, or of one', async () => {
  const dp = makeDatapath({ pmdCpus: [0, 1] });
  const [b] = await memoryPorts(dp, 'b');
  const a = await dp.addPort({ name: 'a', type: 'memory', rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } });
  const ufid = dp.flows.put('in_port(a)', 'b');
  a.inject(udpFrames(3), { rxq: 0 });
  a.inject(udpFrames(4), { rxq: 1 });
  await dp.settle();
  dp.execute(udpFrame(), 'recirc(0x5)', { inPort: a });
  expect(b.drain()).toHaveLength(7);
  const all = await dump(dp);
  expect(all).toHaveLength(1);
  expect(all[0]).toMatchObject({ ufid, packets: 7n, bytes: 420n });
  const of = async (core: number | 'non-pmd') => (await dump(dp, { core }))[0]?.packets;
  expect([await of(0), await of(1), await of('non-pmd')]).toEqual([3n, 4n, 0n]);
  await failure('ENOENT', () => dump(dp, { core: 77 }));
  // What threads counted stays when they go.
  await dp.deletePort(a);
  await dp.configure({ pmdCpus: [0] });
  expect(dp.flows.get(ufid)?.packets).toBe(7n);
});

describe('the limit', () => {
  test('a new flow takes the place of the least recently used, told of with final statistics', async () => {
    const dp = makeDatapath({ flowLimit: 3, clock: 'manual', maxIdleMs: 0 });
    const [a, b, c] = await memoryPorts(dp, 'a', 'b', 'c');
    for (const port of ['a', 'b', 'c']) dp.flows.put(`in_port(${port})`, 'drop');
    for (const [i, port] of [b, a, c].entries()) {
      await dp.advance(10);
      port.inject(udpFrames(i + 1));
      await dp.settle();
    }
    const news = removed(dp);
    dp.flows.put('in_port(7)', 'drop');
    expect(await inPorts(dp)).toEqual([1, 3, 7]);
    const flows = await news;
    expect(flows).toHaveLength(1);
    expect(flows[0]).toMatchObject({ match: { inPort: 2 }, packets: 1n, bytes: 60n, usedMs: 20 });
    b.inject(udpFrame());
    await dp.settle();
    expect(dp.stats().drops).toMatchObject({ action_drop: 6n, upcall_no_handler: 1n });
  });

  test('pinned flows stay; when there is nothing else, ENOSPC', async () => {
    const dp = makeDatapath({ flowLimit: 2 });
    dp.flows.put('in_port(1)', '9', { idleTimeoutMs: 0 });
    dp.flows.put('in_port(2)', '9');
    const news = removed(dp);
    dp.flows.put('in_port(3)', '9', { idleTimeoutMs: 0 });
    expect((await news).map(({ match }) => match.inPort)).toEqual([2]);
    const error = await failure('ENOSPC', () => dp.flows.put('in_port(4)', '9'));
    expect(error.hint).toContain('idleTimeoutMs');
    expect(await inPorts(dp)).toEqual([1, 3]);
    // Not pinned any more.
    dp.flows.put('in_port(1)', '9');
    dp.flows.put('in_port(4)', '9');
    expect(await inPorts(dp)).toEqual([3, 4]);
  });

  test('an atomic apply that evicts and then fails leaves all as it was', async () => {
    const dp = makeDatapath({ flowLimit: 4 });
    const told: (readonly Flow[])[] = [];
    dp.on('flowsRemoved', (flows) => told.push(flows));
    for (let i = 1; i <= 4; i++) dp.flows.put(`in_port(${i})`, String(i + 10));
    const before = (await dump(dp)).map(String).toSorted();
    const puts = [5, 6, 7].map((i) => ({ put: { match: `in_port(${i})`, actions: '9' } }));
    const changes = [...puts, { put: { match: 'in_port(7),eth_type(0x0806)', actions: '9' } }];
    await failure('EINVAL', () => dp.flows.apply(changes, { atomic: true }));
    expect((await dump(dp)).map(String).toSorted()).toEqual(before);
    dp.flows.apply(puts, { atomic: true });
    expect(dp.flows.size).toBe(4);
    await until(() => told.length > 0, 'flowsRemoved');
    expect(told.flat().map(({ reason }) => reason)).toEqual(Array(3).fill('evicted'));
  });

  test('lowered, it evicts down to it', async () => {
    const dp = makeDatapath({ clock: 'manual' });
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    dp.flows.put('in_port(9)', 'drop', { idleTimeoutMs: 0 });
    for (let i = 1; i <= 6; i++) dp.flows.put(`in_port(${i})`, 'drop');
    await dp.advance(10);
    for (const port of [a, b]) port.inject(udpFrame());
    await dp.settle();
    const news = removed(dp);
    expect(await dp.configure({ flowLimit: 3 })).toMatchObject({ changed: ['flowLimit'] });
    expect(await inPorts(dp)).toEqual([1, 2, 9]);
    expect((await news).map(({ reason }) => reason)).toEqual(Array(4).fill('purged'));
  });

  test('is kept while handlers install without end, and what is in use stays', async () => {
    const dp = makeDatapath({ flowLimit: 100, clock: 'manual', upcall: { queueLength: 4096 } });
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    let gone = 0;
    dp.on('flowsRemoved', (flows) => {
      gone += flows.length;
    });
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.install('b');
    });
    const quiet = () => until(() => dp.stats().ledger.queued === 0n, 'the last verdict');
    const frames = udpFrames(2000);
    for (let i = 0; i < frames.length; i += 50) {
      await dp.advance(1); // Or all happens within the millisecond that uses are told apart by.
      a.inject([...frames.slice(0, 10), ...frames.slice(i, i + 50)]);
      await dp.settle();
      await quiet();
      expect(dp.flows.size).toBeLessThanOrEqual(100);
    }
    await until(() => gone >= 1900, 'flowsRemoved');
    expect(b.drain().length).toBe(60 * 40);
    const sources = new Set((await dump(dp)).map(({ match }) => match.udp?.src));
    for (let n = 0; n < 10; n++) expect(sources).toContain(n);
  });
});

describe('a second packet of a flow, answered after the first', () => {
  /** Two packets of one flow, parked; both are then answered at once. */
  async function twoParked(dp: Datapath, answer: (upcalls: readonly Upcall[]) => void) {
    const [a, b] = await memoryPorts(dp, 'a', 'b');
    const errors: Error[] = [];
    dp.on('error', (error) => errors.push(error));
    const batches = dp.upcalls();
    a.inject([udpFrame(1), udpFrame(1)]);
    await dp.settle();
    const upcalls: Upcall[] = [];
    while (upcalls.length < 2) upcalls.push(...(await batches.next()).value!);
    answer(upcalls);
    await batches.return?.();
    await until(() => dp.stats().ledger.queued === 0n, 'the last verdict');
    expect(errors).toEqual([]);
    return { a, b };
  }

  test('installs nothing where the first one’s flow takes it, and goes its way', async () => {
    const dp = makeDatapath();
    const { b } = await twoParked(dp, ([first, second]) => {
      first!.install('b', { match: 'in_port(a)' });
      second!.install('push_vlan(vid=7,pcp=0),b');
    });
    expect(b.drain().map(({ length }) => length)).toEqual([60, 64]);
    expect(await inPorts(dp)).toEqual([1]);
    expect(dp.stats().drops.upcall_error).toBe(0n);
  });

  test('is forwarded though the table is full of pinned flows', async () => {
    const dp = makeDatapath({ flowLimit: 1 });
    dp.flows.put('in_port(9)', 'drop', { idleTimeoutMs: 0 });
    const { b } = await twoParked(dp, (upcalls) => {
      for (const upcall of upcalls) upcall.install('b');
    });
    expect(b.drain()).toHaveLength(2);
    expect(await inPorts(dp)).toEqual([9]);
  });
});

describe('configure', () => {
  test('sees the timeouts of flows that others installed', async () => {
    const dp = makeDatapath({ clock: 'manual' });
    dp.flows.put('in_port(1)', '2', { idleTimeoutMs: 500 });
    dp.flows.put('in_port(2)', '1');
    const wanted = {
      flows: [
        { match: 'in_port(1)', actions: '2', idleTimeoutMs: 500 },
        { match: 'in_port(2)', actions: '1' },
      ],
    };
    expect((await dp.configure(wanted)).unchanged).toHaveLength(2);
    dp.flows.put('in_port(1)', '2');
    expect((await dp.configure(wanted)).changed).toHaveLength(1);
    expect(dp.flows.get('in_port(1)')?.idleTimeoutMs).toBe(500);
  });

  test('a failure loses no flow to the lower limit that came with it', async () => {
    const dp = makeDatapath();
    for (let i = 1; i <= 5; i++) dp.flows.put(`in_port(${i})`, '9');
    await failure('ERR_PORT_TYPE_UNAVAILABLE', () =>
      dp.configure({ flowLimit: 2, ports: [{ name: 'x', type: 'dpdk', devargs: '0000:00:00.0' }] }),
    );
    expect(dp.flows.size).toBe(5);
    const flows = [1, 2, 3].map((i) => ({ match: `in_port(${i})`, actions: '9' }));
    await failure('ENOSPC', () => dp.configure({ flowLimit: 2, flows }));
    expect(dp.flows.size).toBe(5);
    await dp.configure({ flowLimit: 3, flows });
    expect(await inPorts(dp)).toEqual([1, 2, 3]);
    dp.flows.put('in_port(8)', '9');
    expect(dp.flows.size).toBe(3);
  });
});
