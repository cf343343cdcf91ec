// What a call that ought to be short may be kept waiting: put(), stats() and port.stats() beside a million flows that are looked
// at for their age twice a second, ports that come and go, and a PMD thread that forwards.
import { setImmediate } from 'node:timers/promises';
import { fiveTuple } from '../rows.mjs';
import { Series } from '../series.mjs';
import { texts } from './flows.mjs';
import { Loop } from './loop.mjs';

/** Calls `call` for `ms`, the event loop free in between: { median, p99, worst }, in microseconds. */
async function timed(call, ms) {
  const times = [];
  for (const end = performance.now() + ms; performance.now() < end; await setImmediate()) {
    const begin = performance.now();
    call(times.length);
    times.push((performance.now() - begin) * 1000);
  }
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))];
  return { median: at(0.5), p99: at(0.99), worst: times.at(-1) };
}

export async function stalls(bench) {
  const count = bench.quick ? 100_000 : 1_000_000;
  const ms = bench.quick ? 1500 : 4000;
  // None of them is idle for that long, and each is asked.
  const loop = await Loop.open(bench.cores, { maxIdleMs: 3_600_000 });
  const { datapath } = loop;
  await loop.sink('to', 2);
  datapath.flows.put(fiveTuple(1), '2');
  await loop.source('from', 1, { flows: 1000, order: 'uniform' });
  datapath.flows.apply(texts(count, 1));

  let running = true;
  const churn = (async () => {
    while (running) {
      const port = await datapath.addPort({ name: 'third', type: 'memory', number: 3 });
      await datapath.deletePort(port);
    }
  })();
  const port = datapath.ports.get('from');
  const more = fiveTuple(4);
  const calls = {
    'put()': () => datapath.flows.put(more, '2'),
    'stats()': () => datapath.stats(),
    'port.stats()': () => port.stats(),
  };
  for (const [name, call] of Object.entries(calls)) {
    const rounds = [];
    for (let round = 0; round < 3; round++) rounds.push(await timed(call, ms / 3));
    const series = (what) => Series.of(rounds.map((one) => one[what])).summary();
    const beside = `${name} beside ports that come and go`;
    bench.row(beside, 'µs', { ...series('median'), p99: series('p99').median }, { flows: count });
    bench.row(`${beside}, the worst`, 'µs', series('worst'), { flows: count });
  }
  running = false;
  await churn;
  await loop.close();
}
