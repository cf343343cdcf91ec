// How long adding and deleting a port takes, at rest and while a PMD thread forwards at full speed. What other flows notice of
// it is measured by churn_bench.cc; kernel devices by veth.mjs.
import { fiveTuple } from '../rows.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

export async function ports(bench) {
  const loop = await Loop.open(bench.cores);
  const { datapath } = loop;
  await loop.sink('to', 2);
  datapath.flows.put(fiveTuple(1), '2');
  for (const load of ['at rest', 'at full load']) {
    if (load !== 'at rest') await loop.source('from', 1, { flows: 1000, order: 'uniform' });
    const added = new Series();
    const deleted = new Series();
    for (let i = 0; i < 20 * bench.rounds; i++) {
      const begin = performance.now();
      const port = await datapath.addPort({ name: 'third', type: 'memory', number: 3 });
      const between = performance.now();
      await datapath.deletePort(port);
      added.add(between - begin);
      deleted.add(performance.now() - between);
    }
    bench.row(`addPort() memory, ${load}`, 'ms', added.summary());
    bench.row(`deletePort() memory, ${load}`, 'ms', deleted.summary());
  }
  await datapath.deletePort('from');
  await datapath.settle();
  const { received, transmitted } = datapath.stats().ledger;
  const lost = Number(received - transmitted);
  bench.row('packets lost meanwhile', '', Series.of([lost]).summary());
  await loop.close();
}
