// A call into the core; flows in and out by apply() while a PMD thread forwards at full speed; and a dump.
import { setImmediate } from 'node:timers/promises';
import { ranNs } from '../processes.mjs';
import { datapathFlows, fiveTuple, rows as memoryRows } from '../rows.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

const kBatch = 4096;

/** Milliseconds that this thread has had a core. */
const ran = () => ranNs(process.pid, process.pid) / 1e6;

export async function crossing(bench) {
  const loop = await Loop.open(bench.cores);
  await loop.sink('to', 2);
  const { flows } = loop.datapath;
  const ns = new Series();
  const calls = 1_000_000;
  for (let round = 0; round <= bench.rounds; round++) {
    const begin = ran();
    let sum = 0;
    for (let i = 0; i < calls; i++) sum += flows.size;
    if (sum !== 0) throw new Error('there are no flows');
    if (round > 0) ns.add(((ran() - begin) * 1e6) / calls); // The first warms up.
  }
  bench.row('a call into the core and back', 'ns', ns.summary());
  await loop.close();
}

/** Thousands of flows a second. */
function applied(flows, changes) {
  const begin = ran();
  for (let at = 0; at < changes.length; at += kBatch) flows.apply(changes.slice(at, at + kBatch));
  return changes.length / (ran() - begin);
}

/** 'in_port(3),…' as the typed form has it. */
function typed(f) {
  return {
    inPort: 3,
    ethType: 0x0800,
    ipv4: { src: `10.${f >>> 16}.${(f >>> 8) & 255}.${f & 255}`, dst: '10.0.0.1', proto: 17 },
    udp: { src: 1024, dst: 9 },
  };
}

/** All flows of a dump, and the longest time that the event loop was kept from anything else. */
async function dumped(flows) {
  let running = true;
  let longest = 0;
  const watch = (async () => {
    for (let last = performance.now(); running; ) {
      await setImmediate();
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }
  })();
  const begin = ran();
  let count = 0;
  for await (const _ of flows.dump()) count++;
  const perMs = count / (ran() - begin);
  running = false;
  await watch;
  return { perMs, longest };
}

export async function flows(bench) {
  const count = bench.quick ? 20_000 : 100_000;
  const loop = await Loop.open(bench.cores);
  await loop.sink('to', 2);
  const { flows: table } = loop.datapath;
  table.put(fiveTuple(1), '2');
  await loop.source('from', 1, { flows: 1000, order: 'uniform' });

  const each = memoryRows.get('each/1/100000/64/uniform');
  const forms = {
    text: [...datapathFlows(each, 3, 2)]
      .slice(0, count)
      .map(([match, actions]) => ({ put: { match, actions } })),
    objects: Array.from({ length: count }, (_, f) => ({
      put: { match: typed(f), actions: [{ type: 'output', port: 2 }] },
    })),
  };
  const rates = { text: new Series(), objects: new Series(), delete: new Series() };
  const dumps = { perMs: new Series(), longest: new Series() };
  for (let round = 0; round < 3; round++) {
    for (const [form, puts] of Object.entries(forms)) {
      rates[form].add(applied(table, puts));
      if (form === 'text') {
        const { perMs, longest } = await dumped(table);
        dumps.perMs.add(perMs);
        dumps.longest.add(longest);
      }
      const deletions = puts.map(({ put }) => ({ delete: put.match }));
      rates.delete.add(applied(table, deletions));
    }
  }
  const more = { flows: count, batch: kBatch };
  bench.row('apply(), flows as text', 'thousand/s', rates.text.summary(), more);
  bench.row('apply(), flows as objects', 'thousand/s', rates.objects.summary(), more);
  bench.row('apply(), deletions', 'thousand/s', rates.delete.summary(), more);
  bench.row('dump()', 'thousand/s', dumps.perMs.summary(), more);
  bench.row('dump(), longest stop of the event loop', 'ms', dumps.longest.summary(), more);
  await loop.close();
}
