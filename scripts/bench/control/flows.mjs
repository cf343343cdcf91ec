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

/** Puts of `count` flows whose texts are as a dump has them: of one mask, or of many. */
export function texts(count, masks) {
  const row = memoryRows.get(`each/${masks}/1000000/64/uniform`);
  const puts = [];
  for (const [match, actions] of datapathFlows(row, 3, 2)) {
    puts.push({ put: { match, actions } });
    if (puts.length === count) return puts;
  }
  throw new Error('there are not so many flows');
}

export async function flows(bench) {
  const count = bench.quick ? 20_000 : 100_000;
  const loop = await Loop.open(bench.cores);
  await loop.sink('to', 2);
  const { flows: table } = loop.datapath;
  table.put(fiveTuple(1), '2');
  await loop.source('from', 1, { flows: 1000, order: 'uniform' });

  const forms = {
    text: texts(count, 1),
    'text, 20 masks': texts(count, 20),
    objects: Array.from({ length: count }, (_, f) => ({
      put: { match: typed(f), actions: [{ type: 'output', port: 2 }] },
    })),
  };
  const rates = new Map(Object.keys(forms).map((form) => [form, new Series()]));
  const deletions = new Series();
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [form, puts] of Object.entries(forms)) {
      const rate = applied(table, puts);
      if (table.size !== count + 1) throw new Error(`${table.size} flows instead of ${count + 1}`);
      const deleted = applied(
        table,
        puts.map(({ put }) => ({ delete: put.match })),
      );
      if (round === 0) continue; // The first warms up.
      rates.get(form).add(rate);
      deletions.add(deleted);
    }
  }
  const more = { flows: count, batch: kBatch };
  for (const [form, series] of rates)
    bench.row(`apply(), flows as ${form}`, 'thousand/s', series.summary(), more);
  bench.row('apply(), deletions', 'thousand/s', deletions.summary(), more);

  await dumps(bench, table);
  await loop.close();
}

/** A million flows put in one call, and dumps of them: how long the event loop is kept from anything else. */
async function dumps(bench, table) {
  const count = bench.quick ? 100_000 : 1_000_000;
  const puts = texts(count, 1);
  const begin = performance.now();
  table.apply(puts);
  const ms = performance.now() - begin;
  bench.row('apply(), one call', 'ms', Series.of([ms]).summary(), { flows: count });
  const perMs = new Series();
  const longest = new Series();
  for (let round = 0; round < 3; round++) {
    const dump = await dumped(table);
    perMs.add(dump.perMs);
    longest.add(dump.longest);
  }
  bench.row('dump()', 'thousand/s', perMs.summary(), { flows: count });
  bench.row('dump(), longest stop of the event loop', 'ms', longest.summary(), { flows: count });
}
