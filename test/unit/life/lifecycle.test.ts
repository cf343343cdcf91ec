// How a datapath lives and dies with its process, its worker thread and its event loop.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Datapath } from 'pollux';
import { describe, expect, test } from 'vitest';
import { child } from '../../support/child.js';

const run = promisify(execFile);
const here = (file: string) => fileURLToPath(new URL(`./${file}`, import.meta.url));
const traffic = `import { traffic } from ${JSON.stringify(here('traffic.mjs'))};`;
const make = `
  import { Datapath } from 'pollux';
  const dp = new Datapath({ topology: { numa: [[0]] } });`;

describe('a process that runs out of descriptors', () => {
  /** What a shell prints that may open so many descriptors. */
  const limited = async (n: number, text: string) => {
    const script = `ulimit -n ${n}; exec "$@"`;
    const args = ['-c', script, 'sh', process.execPath, '--input-type=module', '--eval', text];
    const cwd = fileURLToPath(new URL('../../..', import.meta.url));
    return (await run('sh', args, { timeout: 10_000, cwd })).stdout.trim().split('\n');
  };

  test('is told so by the port that has none, and forwards as before', async () => {
    const printed = await limited(
      96,
      `${make}
      let added = 0;
      try {
        for (; added < 250; ++added) await dp.addPort({ name: 'p' + added, type: 'memory' });
      } catch (error) {
        console.log(error.code, error.port, error.hint);
      }
      await dp.configure({ pmdCpus: [0] });
      dp.flows.put('in_port(1)', '2');
      dp.ports.get('p0').inject(Buffer.alloc(60));
      await dp.settle();
      console.log(added > 20, dp.ports.size === added, dp.ports.get('p1').drain().length);
      await dp.close();`,
    );
    expect(printed[0]).toMatch(/^EMFILE p\d+ .*ulimit -n/);
    expect(printed[1]).toBe('true true 1');
  });

  test('is told so by new Datapath()', async () => {
    const printed = await limited(
      64,
      `import { Datapath } from 'pollux';
      const open = [];
      try {
        for (;;) open.push(new Datapath({ topology: { numa: [[0]] } }));
      } catch (error) {
        console.log(open.length > 3, error.code, error.hint);
      }
      for (const dp of open) await dp.close();`,
    );
    expect(printed[0]).toMatch(/^true EMFILE .*ulimit -n/);
  });
});

describe('close()', () => {
  test('refuses what is queued, and does not wait for it', async () => {
    const dp = new Datapath({ topology: { numa: [[0]] } });
    const first = dp.addPort({ name: 'first', type: 'memory', openDelayMs: 50 });
    const others = Array.from({ length: 500 }, (_, i) =>
      dp.addPort({ name: `p${i}`, type: 'memory', openDelayMs: 1000 }),
    );
    const settled = dp.settle();
    const closed = dp.close();
    const outcomes = await Promise.allSettled([first, ...others, settled]);
    await closed;
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ reason: { code: 'ERR_DATAPATH_CLOSED' } });
    }
  });

  test('resolves when threads and descriptors are gone', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const threads = () => readdirSync('/proc/self/task').length;
    const before = [open(), threads()];
    const dp = new Datapath({ topology: { numa: [[0, 1]] }, pmdCpus: [0, 1] });
    await dp.addPort({ name: 'a', type: 'memory', rxqs: 4 });
    await dp.addPort({ name: 'b', type: 'memory', pmd: false });
    expect(open()).toBeGreaterThan(before[0]! + 5);
    expect(threads()).toBe(before[1]! + 4);
    await dp.close();
    expect(open()).toBe(before[0]);
    // A thread that was joined may be listed a moment longer.
    await expect.poll(threads, { interval: 1 }).toBe(before[1]);
  });
});

describe('packet memory', () => {
  test('that is used up ends settle(), which says by whom, and close() does not wait', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pollux-memory-'));
    const file = join(folder, 'few.pcap');
    await using dp = new Datapath({ topology: { numa: [[0]] } });
    const source = await dp.addPort({ name: 'source', type: 'memory' });
    await dp.addPort({ name: 'record', type: 'pcap', number: 500, write: file });
    const large = Buffer.alloc(60_000, 1);
    dp.flows.put('in_port(source)', 'record');
    source.inject([large, large, large]);
    await dp.settle();
    await dp.deletePort('record');
    // Each keeps a few frames, however scarce memory is.
    const sinks = Array.from({ length: 140 }, (_, i) => `sink${i}`);
    for (const name of sinks) await dp.addPort({ name, type: 'memory' });
    dp.flows.put('in_port(source)', sinks.join(','));
    source.inject(Array.from({ length: 64 }, () => large));
    await dp.settle();
    const { ledger, drops } = dp.stats();
    expect(ledger.received + ledger.copied).toBe(ledger.transmitted + ledger.dropped);
    expect(drops.no_memory ?? 0n).toBeGreaterThan(0n);
    await dp.addPort({ name: 'replay', type: 'pcap', number: 501, read: file });
    await expect(dp.settle()).rejects.toMatchObject({
      code: 'ENOBUFS',
      port: 'replay',
      message: expect.stringMatching(/port "sink\d+" holds \d+ packets that nobody drains/),
      hint: expect.stringContaining('drain()'),
    });
    const waits = expect(dp.settle()).rejects.toMatchObject({ code: 'ERR_DATAPATH_CLOSED' });
    await dp.close();
    await waits;
    rmSync(folder, { recursive: true });
  });

  test('is not used up by ports that nobody drains', async () => {
    await using dp = new Datapath({ topology: { numa: [[0]] } });
    const source = await dp.addPort({ name: 'source', type: 'memory', queueLength: 16384 });
    const names = Array.from({ length: 12 }, (_, i) => `sink${i}`);
    for (const name of names) await dp.addPort({ name, type: 'memory', queueLength: 16384 });
    dp.flows.put('in_port(source)', names.join(','));
    const jumbo = Buffer.alloc(9000, 1);
    for (let i = 0; i < 16; i++) {
      source.inject(Array.from({ length: 1024 }, () => jumbo));
      await dp.settle();
    }
    const { ledger, drops } = dp.stats();
    expect(ledger.received).toBe(16n * 1024n);
    expect(drops.tx_queue_full).toBeGreaterThan(0n);
    expect(ledger.received + ledger.copied).toBe(ledger.transmitted + ledger.dropped);
    // There is memory for others.
    expect(dp.execute(jumbo, 'drop')).toHaveLength(9000);
    const [a, b] = [
      await dp.addPort({ name: 'a', type: 'memory' }),
      await dp.addPort({ name: 'b', type: 'memory' }),
    ];
    dp.flows.put('in_port(a)', 'b');
    a.inject(Array.from({ length: 50 }, () => jumbo));
    await dp.settle();
    expect(b.drain()).toHaveLength(50);
  });
});

describe('a process', () => {
  test('ends when its datapath is closed', async () => {
    expect(await child(`${make} await dp.close(); console.log('closed');`)).toMatchObject({
      code: 0,
      stdout: 'closed',
    });
  });

  test('is kept alive by an open datapath, like a listening server', async () => {
    const text = `${make}
      process.on('exit', () => console.log('exit'));
      setTimeout(() => { console.log('alive'); dp.close(); }, 100).unref();`;
    expect(await child(text)).toMatchObject({ code: 0, stdout: 'alive\nexit' });
  });

  test('is not after unref(), and is again after ref()', async () => {
    const text = `${make}
      await dp.addPort({ name: 'a', type: 'memory' });
      const timer = setTimeout(() => { console.log('alive'); dp.close(); }, 100).unref();`;
    expect(await child(`${text} dp.unref();`)).toMatchObject({ code: 0, stdout: '' });
    expect(await child(`${text} dp.unref().ref();`)).toMatchObject({ code: 0, stdout: 'alive' });
  });

  test('waits for what it has asked for even after unref()', async () => {
    const text = `${make} dp.unref();
      await dp.addPort({ name: 'a', type: 'memory', openDelayMs: 50 });
      await dp.settle();
      await dp.close();
      console.log('done');`;
    expect(await child(text)).toMatchObject({ code: 0, stdout: 'done' });
  });

  test.each([
    [
      'process.exit() in an upcall handler',
      `await traffic({ onUpcall: () => process.exit(7) });`,
      7,
    ],
    [
      'process.exit() in between',
      `await traffic({ onRound: (n) => n === 20 && process.exit(7) });`,
      7,
    ],
    [
      'process.exit() while a port opens',
      `${make} dp.addPort({ name: 'a', type: 'memory', openDelayMs: 300 }); setTimeout(() => process.exit(7), 20);`,
      7,
    ],
    [
      'process.exit() in a continuation',
      `${make} await dp.addPort({ name: 'a', type: 'memory' }); process.exit(7);`,
      7,
    ],
    [
      'an uncaught exception',
      `await traffic({ onRound: (n) => { if (n === 20) throw new Error('on purpose'); } });`,
      1,
    ],
    [
      'an exception thrown by a timer',
      `setTimeout(() => { throw new Error('on purpose'); }, 30); await traffic();`,
      1,
    ],
  ])('survives %s', async (_, text, code) => {
    const result = await child(traffic + text);
    expect(result).toMatchObject({ code, signal: null });
    if (code === 1) expect(result.stderr).toContain('on purpose');
  });

  test('that is told to end (SIGTERM) ends', async () => {
    const text = `setTimeout(() => process.kill(process.pid, 'SIGTERM'), 50); await traffic();`;
    expect(await child(traffic + text)).toMatchObject({ signal: 'SIGTERM' });
  });

  test('goes on when errors happen that nobody listens to, and is warned of them, not of each', async () => {
    const text = `${make}
      const a = await dp.addPort({ name: 'a', type: 'memory' });
      const b = await dp.addPort({ name: 'b', type: 'memory' });
      const warnings = [];
      process.on('warning', (warning) => warnings.push(warning));
      let calls = 0;
      dp.onUpcall((batch) => {
        calls++;
        if (calls % 2 === 0) throw new Error('oops');
        // An ARP packet has no TTL.
        for (const packet of batch) packet.install('set(ipv4(ttl=1)),b');
      });
      for (let i = 0; i < 40; i++) {
        a.inject(Buffer.alloc(60));
        await dp.settle();
        while (calls <= i) await new Promise(setImmediate);
      }
      dp.onUpcall(null);
      dp.flows.put('in_port(a)', 'b');
      a.inject(Buffer.alloc(60));
      await dp.settle();
      console.log(calls, b.drain().length);
      for (const { name, code, message, detail } of warnings) console.log(name, code, message, detail);
      await dp.close();`;
    const { code, stdout } = await child(text);
    expect(code).toBe(0);
    const [forwarded, ...warnings] = stdout.split('\n');
    expect(forwarded).toBe('40 1');
    expect(warnings.join(' ')).toMatch(
      /^PolluxWarning EINVAL pollux: the verdict for a packet of port "a" \(miss, 60 bytes\) was refused: .*on\('error'/,
    );
    // At most one a second.
    expect(warnings.filter((line) => line.startsWith('PolluxWarning')).length).toBeLessThan(10);
  });

  test('sees what a listener of errors throws', async () => {
    const text = `${make}
      const a = await dp.addPort({ name: 'a', type: 'memory' });
      process.on('uncaughtException', (error) => { console.log(error.message); dp.close(); });
      dp.on('error', (error) => { throw error; });
      dp.onUpcall(() => { throw new Error('oops'); });
      a.inject(Buffer.alloc(60));`;
    expect(await child(text)).toMatchObject({
      code: 0,
      stdout: 'the upcall handler failed with 1 packet of a: oops',
    });
  });

  test('sees what a listener, a continuation or a tick throws', async () => {
    const text = `${make}
      const seen = [];
      process.on('uncaughtException', (error) => seen.push(error.message));
      const a = await dp.addPort({ name: 'a', type: 'memory' });
      dp.onUpcall(() => {
        process.nextTick(() => { throw new Error('tick'); });
        queueMicrotask(() => { throw new Error('microtask'); });
      });
      dp.on('close', () => { throw new Error('listener'); });
      a.inject(Buffer.alloc(60));
      setTimeout(async () => { await dp.close(); console.log(seen.join()); }, 100);`;
    expect(await child(text)).toMatchObject({ code: 0, stdout: 'tick,microtask,listener' });
  });
});

describe('the garbage collector', () => {
  test('takes datapaths that are closed, not those that are at work', async () => {
    const text = `
      import { Datapath } from 'pollux';
      let collected = 0;
      const registry = new FinalizationRegistry(() => collected++);
      const make = () => { const dp = new Datapath({ topology: { numa: [[0]] } }); registry.register(dp); return dp; };
      for (let i = 0; i < 20; i++) await make().close();
      (() => { make().unref(); make().unref(); })();
      for (let i = 0; i < 20; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      console.log(collected);`;
    const { code, stdout } = await child(text, '--expose-gc');
    expect(code).toBe(0);
    expect(Number(stdout)).toBeGreaterThanOrEqual(19);
    expect(Number(stdout)).toBeLessThanOrEqual(20);
  });

  test('runs at any moment', async () => {
    const text = `${traffic}
      await traffic({ onUpcall: () => gc(), onRound: (n) => { gc(); if (n === 100) process.exit(0); } });`;
    expect(await child(text, '--expose-gc')).toMatchObject({ code: 0, signal: null });
  });

  test('descriptors and threads do not pile up', async () => {
    const text = `
      import { readdirSync } from 'node:fs';
      import { Datapath } from 'pollux';
      const count = () => [readdirSync('/proc/self/fd').length, readdirSync('/proc/self/task').length];
      const round = async () => {
        const dp = new Datapath({ topology: { numa: [[0]] } });
        await dp.addPort({ name: 'a', type: 'memory' });
        await dp.close();
      };
      await round();
      await new Promise((resolve) => setTimeout(resolve, 20));
      const before = count();
      for (let i = 0; i < 100; i++) await round();
      await new Promise((resolve) => setTimeout(resolve, 20));
      console.log(JSON.stringify([before, count()]));`;
    const { stdout } = await child(text);
    const [before, after] = JSON.parse(stdout);
    expect(after).toEqual(before);
  });
});

describe('a worker thread', () => {
  const start = async (workerData: object = {}) => {
    const worker = new Worker(here('worker.mjs'), { workerData });
    await once(worker, 'message');
    return worker;
  };

  test('may be terminated at any moment, under traffic', async () => {
    for (let i = 0; i < 50; i++) {
      const worker = await start();
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 15));
      expect(await worker.terminate()).toBe(1);
    }
  });

  test('several at once', async () => {
    const workers = await Promise.all(Array.from({ length: 4 }, () => start()));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const codes = await Promise.all(workers.map((worker) => worker.terminate()));
    expect(codes).toEqual([1, 1, 1, 1]);
  });

  test('may be terminated while it starts', async () => {
    for (let i = 0; i < 10; i++) {
      const worker = new Worker(here('worker.mjs'));
      await new Promise((resolve) => setTimeout(resolve, 20 + i * 5));
      await worker.terminate();
    }
  });

  test('may exit, or throw, in an upcall handler', async () => {
    for (const [end, code] of [
      ['exit', 0],
      ['throw', 0],
    ] as const) {
      const worker = new Worker(here('worker.mjs'), { workerData: { end } });
      worker.on('error', () => {});
      if (end === 'throw') {
        await once(worker, 'message');
        await worker.terminate();
      } else {
        const [exitCode] = await once(worker, 'exit');
        expect(exitCode).toBe(code);
      }
    }
  });
});
