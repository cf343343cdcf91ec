// A thread without packets: what it takes of its core, and how soon it has the first packet after a while.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { execute, threads } from '../processes.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

export async function idle(bench) {
  const loop = await Loop.open(bench.cores);
  const { datapath } = loop;
  const from = await datapath.addPort({ name: 'from', type: 'memory', number: 1 });
  const to = await datapath.addPort({ name: 'to', type: 'memory', number: 2 });
  await loop.confine();
  datapath.flows.put('in_port(1)', '2');

  const busy = new Series();
  for (let round = 0; round < bench.rounds; round++) {
    await sleep(50);
    const before = loop.sample('from');
    await sleep(bench.quick ? 300 : 1_000);
    const after = loop.sample('from');
    busy.add((100 * (after.ns - before.ns)) / ((after.at - before.at) * 1e6));
  }
  bench.row('idle PMD thread: share of its core', '%', busy.summary());

  // Beside it, what a machine takes to wake any thread: no packet can be faster, unless its thread spins.
  const frame = Buffer.alloc(60);
  const sleeper = await Sleeper.start(loop.core);
  const packet = [];
  const bare = [];
  for (let i = 0; i < (bench.quick ? 100 : 500); i++) {
    await sleep(5);
    const begin = performance.now();
    from.inject(frame);
    while (to.drain(1).length === 0);
    packet.push((performance.now() - begin) * 1e3);
    await sleep(5);
    bare.push(sleeper.wake());
  }
  await sleeper.stop();
  await loop.close();
  for (const [name, us] of [
    ['first packet after 5 ms of idleness', packet],
    ['a sleeping thread woken after 5 ms, nothing else', bare],
  ]) {
    us.sort((a, b) => a - b);
    bench.row(name, 'µs', Series.of(us).summary(), { p99: us[Math.floor(us.length * 0.99)] });
  }
}

/** A thread that sleeps on a futex and, woken, says so. */
class Sleeper {
  #worker;
  #cells = new Int32Array(new SharedArrayBuffer(8)); // Called; answered.

  static async start(core) {
    const others = new Set(threads(process.pid, '').map(([tid]) => tid));
    const sleeper = new Sleeper();
    const answer = `
      const { workerData: cells, parentPort } = require('node:worker_threads');
      parentPort.postMessage('ready');
      for (let seen = 0; seen >= 0; ) {
        Atomics.wait(cells, 0, seen);
        seen = Atomics.load(cells, 0);
        Atomics.store(cells, 1, seen);
      }`;
    sleeper.#worker = new Worker(answer, { eval: true, workerData: sleeper.#cells });
    await once(sleeper.#worker, 'message');
    for (const [tid] of threads(process.pid, '')) {
      if (!others.has(tid)) await execute('taskset', ['-cp', String(core), String(tid)]);
    }
    return sleeper;
  }

  /** Microseconds until it has answered. */
  wake() {
    const begin = performance.now();
    const call = Atomics.add(this.#cells, 0, 1) + 1;
    Atomics.notify(this.#cells, 0);
    while (Atomics.load(this.#cells, 1) !== call);
    return (performance.now() - begin) * 1e3;
  }

  async stop() {
    Atomics.store(this.#cells, 0, -1);
    Atomics.notify(this.#cells, 0);
    await once(this.#worker, 'exit');
  }
}
