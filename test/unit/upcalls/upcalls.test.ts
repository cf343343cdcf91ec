// Upcalls: handlers and iterators, verdicts, and handlers that misbehave.
import type {
  Datapath,
  DatapathError,
  InstalledFlow,
  MemoryPort,
  Upcall,
  UpcallBatch,
} from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  expectLedgerCloses,
  failure,
  makeDatapath,
  memoryPorts,
  udpFrame,
  udpFrames,
  until,
} from '../../support/datapath.js';

let dp: Datapath;
let a: MemoryPort;
let b: MemoryPort;
let errors: DatapathError[];

beforeEach(async () => {
  await start();
});

async function start(options = {}): Promise<void> {
  dp = makeDatapath(options);
  [a, b] = await memoryPorts(dp, 'a', 'b');
  errors = [];
  dp.on('error', (error) => errors.push(error));
}

/** Once every packet has its verdict. */
const answered = () => until(() => dp.stats().ledger.queued === 0n, 'the last verdict');

describe('a handler', () => {
  test('sees the packet and what is known of it', async () => {
    let seen: Upcall | undefined;
    dp.onUpcall((batch) => {
      [seen] = batch;
      expect(batch.length).toBe(1);
      expect(batch.droppedSinceLast).toBe(0n);
    });
    a.inject(udpFrame(1234));
    await dp.settle();
    await answered();
    expect(seen).toMatchObject({ reason: 'miss', inPort: a, wireLength: 60 });
    expect(seen?.frame).toEqual(udpFrame(1234));
    expect(seen?.userdata).toBeUndefined();
    expect(seen?.key).toMatchObject({
      inPort: 1,
      eth: { src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' },
      ethType: 0x0800,
      ipv4: { src: '10.0.0.1', dst: '10.0.0.2', proto: 17, ttl: 64, frag: 'no' },
      udp: { src: 1234, dst: 7 },
    });
    expect(dp.stats().drops.upcall_drop).toBe(1n);
  });

  test('install: this packet and the next go by the flow', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.install([{ type: 'output', port: b }]);
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    expect(dp.flows.size).toBe(1);
    a.inject(udpFrame());
    await dp.settle();
    expect(b.drain()).toEqual([udpFrame(), udpFrame()]);
    expect(dp.stats().pmds.reduce((sum, { upcalls }) => sum + upcalls, 0n)).toBe(1n);
  });

  test('install with a match and a timeout of its own', async () => {
    await start({ clock: 'manual' });
    dp.onUpcall((batch) => {
      for (const upcall of batch) {
        upcall.install('b', { match: { inPort: upcall.inPort }, idleTimeoutMs: 100 });
      }
    });
    a.inject(udpFrames(10));
    await dp.settle();
    await answered();
    expect(b.drain()).toHaveLength(10);
    expect(dp.flows.get('in_port(a)')).toBeDefined();
    expect(dp.flows.size).toBe(1);
    await dp.advance(1000);
    expect(dp.flows.size).toBe(0);
  });

  test('install says which flow it asks for, also after the handler', async () => {
    const matches = [
      undefined,
      { inPort: 'a', ethType: 0x0800, udp: { src: 1 } },
      'in_port(a),eth_type(0x0800),ipv4(proto=17),udp(src=2)',
      'in_port(a),eth_type(0x0800),ipv4(proto=17),udp(src=3/0xff)',
    ];
    const asked: InstalledFlow[] = [];
    const early: string[] = [];
    dp.onUpcall((batch) => {
      for (const upcall of batch) {
        const match = matches[upcall.frame.readUInt16BE(34)];
        asked.push(upcall.install('b', match === undefined ? {} : { match }));
        if (asked.length % 2 === 0) early.push(asked.at(-1)!.ufid);
      }
    });
    a.inject(udpFrames(matches.length));
    await dp.settle();
    await answered();
    const ufids = asked.map(({ ufid }) => ufid);
    expect(early).toEqual([ufids[1], ufids[3]]);
    expect(new Set(ufids).size).toBe(matches.length);
    for (const [n, ufid] of ufids.entries()) {
      const flow = dp.flows.get(ufid)!;
      expect(flow.packets).toBe(1n);
      if (n > 0) expect(dp.flows.get(matches[n]!)!.ufid).toBe(ufid);
      else expect(flow.match).toMatchObject({ inPort: 1, ipv4: { ttl: 64 }, udp: { src: 0 } });
    }
    expect(JSON.parse(JSON.stringify(asked))).toEqual(ufids.map((ufid) => ({ ufid })));
  });

  test('install remembers the match as it was given, whatever becomes of the object', async () => {
    const asked: InstalledFlow[] = [];
    const match = { inPort: 'a', ethType: 0x0800, udp: { src: 0 } };
    dp.onUpcall((batch) => {
      for (const upcall of batch) {
        match.udp.src = upcall.frame.readUInt16BE(34);
        asked.push(upcall.install('b', { match }));
      }
    });
    a.inject(udpFrames(3));
    await dp.settle();
    await answered();
    await dp.renumberPort('a', 9);
    for (const [src, { ufid }] of asked.entries())
      expect(dp.flows.get(ufid)?.match).toMatchObject({ inPort: 1, udp: { src } });
  });

  test('execute: this packet only', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.execute('push_vlan(vid=3,pcp=0),b');
    });
    a.inject(udpFrames(3));
    await dp.settle();
    await answered();
    expect(b.drain().map((frame) => frame.readUInt16BE(14) & 0xfff)).toEqual([3, 3, 3]);
    expect(dp.flows.size).toBe(0);
  });

  test('many verdicts of one batch: each packet gets its own, whatever becomes of the others', async () => {
    const port = (upcall: Upcall) => upcall.frame.readUInt16BE(34);
    const match = (n: number) => ({
      inPort: 1,
      ethType: 0x0800,
      ipv4: { src: '10.0.0.1', proto: 17 },
      udp: { src: n },
    });
    dp.onUpcall((batch) => {
      // The last comes first: what counts is the order of the packets.
      for (const upcall of [...batch].reverse()) {
        const n = port(upcall);
        if (n % 5 === 0) upcall.execute(`set(udp(dst=${n + 1})),b`);
        if (n % 5 === 1) upcall.install('b', { match: match(n), idleTimeoutMs: n });
        if (n % 5 === 2) upcall.install('set(ipv6(hlimit=1)),b', { match: match(n) });
        if (n % 5 === 3) upcall.drop();
      }
    });
    a.inject(udpFrames(50));
    await dp.settle();
    await answered();
    await until(() => errors.length === 10);
    expect(errors.map(({ code }) => code)).toEqual(errors.map(() => 'EINVAL'));
    expect(b.drain().map((frame) => [frame.readUInt16BE(34), frame.readUInt16BE(36)])).toEqual(
      Array.from({ length: 50 }, (_, n) => n)
        .filter((n) => n % 5 < 2)
        .map((n) => [n, n % 5 === 0 ? n + 1 : 7]),
    );
    expect(dp.stats().drops).toMatchObject({ upcall_drop: 20n, upcall_error: 10n });
    expect(dp.flows.size).toBe(10);
    for (let n = 1; n < 50; n += 5) expect(dp.flows.get(match(n))?.idleTimeoutMs).toBe(n);
  });

  test('what is given to install() may itself give verdicts', async () => {
    dp.onUpcall(([first, second, third]: any) => {
      const options = {
        get match() {
          second.install('b', { match: { inPort: 1, ethType: 0x0800, ipv4: { src: '10.0.0.1' } } });
          return { inPort: 1, ethType: 0x0806 };
        },
      };
      first.install('b', options);
      third.drop();
    });
    a.inject(udpFrames(3));
    await dp.settle();
    await answered();
    expect(b.drain()).toHaveLength(2);
    expect(dp.flows.size).toBe(2);
    expect(errors).toEqual([]);
  });

  test('a key is what the parser found, also long after the verdict', async () => {
    const seen: Upcall[] = [];
    dp.onUpcall((batch) => {
      for (const upcall of batch) {
        seen.push(upcall);
        upcall.execute('b');
      }
    });
    a.inject(udpFrames(100));
    await dp.settle();
    await answered();
    expect(seen.map(({ key }) => key.udp?.src)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect(seen[7]?.key).toBe(seen[7]?.key);
  });

  test('drop, and no verdict at all, are counted', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) if (upcall.frame[35] === 1) upcall.drop();
    });
    a.inject(udpFrames(2));
    await dp.settle();
    await answered();
    expect(dp.stats().drops.upcall_drop).toBe(2n);
  });

  test('gets userdata of a userspace action', async () => {
    dp.flows.put('in_port(a)', [{ type: 'userspace', userdata: Buffer.from('cookie') }]);
    let seen: Upcall | undefined;
    dp.onUpcall(([upcall]: any) => {
      seen = upcall;
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    expect(seen).toMatchObject({ reason: 'action', userdata: Buffer.from('cookie') });
  });

  test('gets batches, in order, all of them', async () => {
    const sizes: number[] = [];
    const ports: number[] = [];
    dp.onUpcall((batch) => {
      sizes.push(batch.length);
      for (const upcall of batch) ports.push(upcall.frame.readUInt16BE(34));
    });
    a.inject(udpFrames(1000));
    await dp.settle();
    await answered();
    expect(ports).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(64);
  });

  test('may be async: verdicts count until its promise settles', async () => {
    let open = 0;
    let most = 0;
    dp.onUpcall(async (batch) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 5));
      for (const upcall of batch) upcall.execute('b');
      open--;
    });
    a.inject(udpFrames(1000));
    await dp.settle();
    await answered();
    expect(b.drain()).toHaveLength(1000);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(8);
  });

  test('the first verdict wins; a second throws EALREADY', async () => {
    const results: DatapathError[] = [];
    let late: Upcall | undefined;
    dp.onUpcall(async ([upcall]: any) => {
      late = upcall;
      upcall.execute('b');
      results.push(await failure('EALREADY', () => upcall.drop()));
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    results.push(await failure('EALREADY', () => late?.install('b')));
    expect(results.every(({ hint }) => hint !== undefined)).toBe(true);
    expect(b.drain()).toHaveLength(1);
  });

  test('snapLength cuts what it sees, not the packet', async () => {
    await start({ upcall: { snapLength: 20 } });
    const lengths: number[] = [];
    dp.onUpcall((batch) => {
      for (const { frame, wireLength } of batch) lengths.push(frame.length, wireLength);
      for (const upcall of batch) upcall.execute('b');
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    expect(lengths).toEqual([20, 60]);
    expect(b.drain()).toEqual([udpFrame()]);
  });

  test('without one, misses are dropped and counted', async () => {
    a.inject(udpFrames(3));
    await dp.settle();
    expect(dp.stats().drops.upcall_no_handler).toBe(3n);
    dp.onUpcall(() => {});
    dp.onUpcall(null);
    a.inject(udpFrames(3));
    await dp.settle();
    await until(() => dp.stats().drops.upcall_no_handler === 6n);
  });

  test('there is one consumer at a time', async () => {
    dp.onUpcall(() => {});
    expect((await failure('EBUSY', () => dp.onUpcall(() => {}))).hint).toContain('onUpcall(null)');
    await failure('EBUSY', () => dp.upcalls());
    dp.onUpcall(null);
    const iterator = dp.upcalls();
    await failure('EBUSY', () => dp.onUpcall(() => {}));
    await iterator.return?.();
    dp.onUpcall(() => {});
  });
});

describe('a handler that', () => {
  test('throws: an error event, the batch is dropped, the handler stays', async () => {
    let calls = 0;
    dp.onUpcall((batch) => {
      calls++;
      for (const upcall of batch) upcall.execute('b');
      if (calls === 1) throw new TypeError('oops');
    });
    a.inject(udpFrame(1));
    await dp.settle();
    await answered();
    a.inject(udpFrame(2));
    await dp.settle();
    await answered();
    expect(calls).toBe(2);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({
      ...{ code: 'ERR_UPCALL_HANDLER', port: 'a', cause: { message: 'oops' } },
      message: 'the upcall handler failed with 1 packet of a: oops',
    });
    // It had given its verdict before it threw.
    expect(b.drain()).toHaveLength(2);
  });

  test('rejects, or throws something odd', async () => {
    const odd = [new Error('later'), undefined, 'text', null, 5n];
    let calls = 0;
    dp.onUpcall(async () => {
      throw odd[calls++];
    });
    for (let i = 0; i < odd.length; i++) {
      a.inject(udpFrame(i));
      await dp.settle();
      await answered();
    }
    expect(errors.map(({ code }) => code)).toEqual(odd.map(() => 'ERR_UPCALL_HANDLER'));
    expect(dp.stats().drops.upcall_drop).toBe(BigInt(odd.length));
  });

  test('throws always, under load: forwarding goes on', async () => {
    dp.flows.put('in_port(b)', 'a');
    dp.onUpcall(() => {
      throw new Error('always');
    });
    for (let i = 0; i < 20; i++) {
      a.inject(udpFrames(50));
      expect(b.inject(udpFrames(50))).toBe(50);
      await dp.settle();
    }
    await answered();
    expect(a.stats().txPackets).toBe(1000n);
    expect(errors.length).toBeGreaterThan(0);
  });

  test('returns garbage', async () => {
    const garbage: any[] = [1, 'x', {}, Object.fromEntries([['then', 5]]), [], () => 0];
    let calls = 0;
    dp.onUpcall(() => garbage[calls++]);
    for (let i = 0; i < garbage.length; i++) {
      a.inject(udpFrame(i));
      await dp.settle();
      await answered();
    }
    expect(calls).toBe(garbage.length);
    expect(errors).toEqual([]);
  });

  test('never finishes: at most eight batches are out, the rest waits or is counted', async () => {
    let calls = 0;
    dp.onUpcall(() => {
      calls++;
      return new Promise(() => {});
    });
    for (let i = 0; i < 30; i++) {
      a.inject(udpFrames(100));
      await dp.settle();
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(calls).toBe(8);
    expect(dp.stats().ledger.queued).toBe(1024n);
    expect(dp.stats().drops.upcall_queue_full).toBe(3000n - 1024n);
    expectLedgerCloses(dp);
  });

  test('gives actions that cannot be read: it throws, at the call', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.install('push_vlan(vid=9999)');
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    await until(() => errors.length > 0);
    expect(errors[0]).toMatchObject({ code: 'ERR_UPCALL_HANDLER', cause: { code: 'EINVAL' } });
  });

  test('installs: the flow counts the packet that it was put for, TCP flags too', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.install('b', { match: { inPort: 'a' } });
    });
    const syn = udpFrame(0, 74);
    syn[23] = 6; // TCP
    syn[46] = 0x50;
    syn[47] = 0x02;
    a.inject(syn);
    await dp.settle();
    await answered();
    expect(dp.flows.get('in_port(a)')).toMatchObject({ packets: 1n, bytes: 74n, tcpFlags: 2 });
    syn[47] = 0x10;
    a.inject([syn, udpFrame()]);
    await dp.settle();
    expect(dp.flows.get('in_port(a)')).toMatchObject({ packets: 3n, bytes: 208n, tcpFlags: 0x12 });
    expect(b.drain()).toHaveLength(3);
  });

  test('installs one flow for several packets of a batch: all of them count', async () => {
    const frames = udpFrames(300);
    dp.onUpcall((batch) => {
      for (const upcall of batch) upcall.install('b');
    });
    a.inject([...frames, ...frames]);
    await dp.settle();
    await answered();
    let packets = 0n;
    for await (const flow of dp.flows.dump()) packets += flow.packets;
    expect(packets).toBe(600n);
    expect(b.drain()).toHaveLength(600);
  });

  test('gives a verdict the core refuses: an error event, and the packet is counted', async () => {
    dp.onUpcall((batch) => {
      for (const upcall of batch) {
        upcall.install('set(ipv6(hlimit=1)),b', { match: { inPort: upcall.inPort } });
      }
    });
    a.inject(udpFrame());
    await dp.settle();
    await answered();
    await until(() => errors.length > 0);
    expect(errors[0]).toMatchObject({ code: 'EINVAL', port: 'a' });
    expect(errors[0]!.message).toMatch(/a packet of port "a" \(miss, 60 bytes\) was refused/);
    expect(dp.stats().drops.upcall_error).toBe(1n);
  });

  test('closes the datapath, or deletes the port', async () => {
    dp.onUpcall((batch) => {
      // Another batch finds it deleted.
      void dp.deletePort('a').then(
        () => dp.close(),
        () => {},
      );
      for (const upcall of batch) upcall.execute('b');
    });
    a.inject(udpFrames(200));
    await until(() => dp.state === 'closed');
    expect(errors).toEqual([]);
  });

  test('takes itself away', async () => {
    let calls = 0;
    dp.onUpcall(() => {
      calls++;
      dp.onUpcall(null);
    });
    a.inject(udpFrames(500));
    await dp.settle();
    await answered();
    expect(calls).toBe(1);
  });
});

describe('an iterator', () => {
  test('gives batches; verdicts are sent when the next is asked for', async () => {
    a.inject(udpFrame());
    let seen = 0;
    const sending = setInterval(() => a.inject(udpFrame(seen)), 1);
    for await (const batch of dp.upcalls()) {
      for (const upcall of batch) {
        upcall.execute('b');
        seen++;
      }
      if (seen >= 20) break;
    }
    clearInterval(sending);
    await dp.settle();
    await answered();
    expect(b.stats().txPackets).toBe(BigInt(seen));
    // Breaking out has ended it.
    dp.onUpcall(null);
    dp.onUpcall(() => {});
  });

  test('does not starve the event loop', async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks++;
      a.inject(udpFrames(500));
    }, 1);
    let seen = 0;
    for await (const batch of dp.upcalls()) {
      seen += batch.length;
      if (seen > 5000) break;
    }
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(3);
  });

  test('throws when aborted, while it waits or in between', async () => {
    const controller = new AbortController();
    const waiting = failure('ABORT_ERR', async () => {
      for await (const _ of dp.upcalls(controller));
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort();
    await waiting;

    const second = new AbortController();
    await failure('ABORT_ERR', async () => {
      const iterator = dp.upcalls(second);
      a.inject(udpFrames(100));
      for await (const batch of iterator) {
        for (const upcall of batch) upcall.execute('b');
        second.abort();
      }
    });
    await dp.settle();
    await answered();
    expect(b.stats().txPackets).toBeGreaterThan(0n);
  });

  test('ends when the datapath closes', async () => {
    const iterator = dp.upcalls();
    const next = iterator.next();
    await dp.close();
    expect(await next).toEqual({ done: true, value: undefined });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  test('serves calls of next() in order', async () => {
    const iterator = dp.upcalls();
    const first = iterator.next();
    const second = iterator.next();
    a.inject(udpFrame(1));
    const one: UpcallBatch = (await first).value;
    expect(one.length).toBe(1);
    a.inject(udpFrame(2));
    const [upcall] = (await second).value as UpcallBatch;
    expect(upcall?.frame).toEqual(udpFrame(2));
    await iterator.return?.();
  });
});

describe('a queue that is full', () => {
  test('drops, counts, and says so', async () => {
    await start({ upcall: { queueLength: 10 } });
    const overflows: { port: string; dropped: bigint }[] = [];
    dp.on('upcallOverflow', (info) => overflows.push(info));
    const iterator = dp.upcalls();
    a.inject(udpFrames(100));
    await dp.settle();
    expect(dp.stats().drops.upcall_queue_full).toBe(90n);
    expectLedgerCloses(dp);
    const { value: batch } = await iterator.next();
    expect(batch).toMatchObject({ length: 10, droppedSinceLast: 90n });
    await until(() => overflows.length > 0, 'upcallOverflow');
    expect(overflows).toEqual([{ port: 'a', dropped: 90n }]);
    await iterator.return?.();
  });

  test('floods, if it is told to', async () => {
    await start({ upcall: { queueLength: 1, whenFull: 'flood' } });
    const [c] = await memoryPorts(dp, 'c');
    const iterator = dp.upcalls();
    a.inject(udpFrames(3));
    await dp.settle();
    expect([b.drain().length, c.drain().length, a.drain().length]).toEqual([2, 2, 0]);
    expectLedgerCloses(dp);
    await iterator.return?.();
  });
});

test('a blocked event loop costs no forwarded packet', async () => {
  dp.flows.put('in_port(a)', 'b');
  const generate = { limit: 100_000 };
  dp.flows.put('in_port(9)', '10');
  await dp.addPort({ name: 'sink', type: 'null', number: 10 });
  await dp.addPort({ name: 'source', type: 'null', number: 9, generate });
  dp.onUpcall(() => {});
  const end = Date.now() + 300;
  while (Date.now() < end);
  await until(() => dp.stats().ports.sink?.txPackets === 100_000n);
  expect(dp.stats().ledger.dropped).toBe(0n);
});
