// A thread without packets: what it takes of its core, and how soon it has the first packet after a while.
import { setTimeout as sleep } from 'node:timers/promises';
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

  const frame = Buffer.alloc(60);
  const us = [];
  for (let i = 0; i < (bench.quick ? 100 : 500); i++) {
    await sleep(5);
    const begin = performance.now();
    from.inject(frame);
    while (to.drain(1).length === 0);
    us.push((performance.now() - begin) * 1e3);
  }
  us.sort((a, b) => a - b);
  bench.row('first packet after 5 ms of idleness', 'µs', Series.of(us).summary(), {
    p99: us[Math.floor(us.length * 0.99)],
  });
  await loop.close();
}
