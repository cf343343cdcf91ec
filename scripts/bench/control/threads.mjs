// Two PMD threads on two cores, each with ports of its own, against one.
import { setTimeout as sleep } from 'node:timers/promises';
import { fiveTuple } from '../rows.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

export async function twoThreads(bench) {
  const { toolCore, core } = bench.cores;
  if (toolCore === core) return bench.skip('two PMD threads: there is one core');
  const loop = await Loop.open(bench.cores, { pmdCpus: [toolCore, core] });
  const { datapath } = loop;
  const pairs = [
    { from: 'from0', core: toolCore },
    { from: 'from1', core },
  ];
  const generate = { flows: 1000, order: 'uniform' };
  await loop.sink('to0', 2);
  await loop.sink('to1', 4);
  const add = (i) =>
    loop.source(pairs[i].from, 1 + 2 * i, generate, { rxqAffinity: { 0: pairs[i].core } });
  for (const i of [0, 1]) datapath.flows.put(fiveTuple(1 + 2 * i), `${2 + 2 * i}`);
  const one = new Series();
  const two = new Series();
  const ratio = new Series();
  for (let round = 0; round < bench.rounds; round++) {
    await add(1);
    await sleep(100);
    const alone = await loop.rate('from1', bench.windowMs, core);
    await add(0);
    await sleep(100);
    const both = await Promise.all(
      pairs.map((pair) => loop.rate(pair.from, bench.windowMs, pair.core)),
    );
    await datapath.deletePort('from0');
    await datapath.deletePort('from1');
    one.add(alone);
    two.add(both[0] + both[1]);
    ratio.add((both[0] + both[1]) / alone);
  }
  bench.row('one PMD thread', 'Mpps', one.summary());
  bench.row('two PMD threads on two cores', 'Mpps', two.summary());
  bench.row('two PMD threads against one', '', ratio.summary());
  await loop.close();
}
