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

/** Many ports, one after the other; what the first and the last thousand of them cost, and a look at all. */
export async function manyPorts(bench) {
  const count = bench.quick ? 2000 : 10_000;
  const loop = await Loop.open(bench.cores);
  const { datapath } = loop;
  await loop.sink('to', 1);
  /** Milliseconds each of `n` calls took. */
  const each = async (from, n, call) => {
    const begin = performance.now();
    for (let i = from; i < from + n; i++) await call(`port-${i}`);
    return (performance.now() - begin) / n;
  };
  const add = (name) => datapath.addPort({ name, type: 'null' });
  const begin = performance.now();
  const first = await each(0, 1000, add);
  if (count > 2000) await each(1000, count - 2000, add);
  const last = await each(count - 1000, 1000, add);
  const row = (what, unit, value) =>
    bench.row(what, unit, Series.of([value]).summary(), { ports: count });
  row('many ports: all of them added', 's', (performance.now() - begin) / 1000);
  row('many ports: addPort() null, the first thousand', 'ms', first);
  row('many ports: addPort() null, the last thousand', 'ms', last);
  const looked = performance.now();
  datapath.stats();
  row('many ports: stats()', 'ms', performance.now() - looked);
  row(
    'many ports: deletePort() null',
    'ms',
    await each(0, count, (name) => datapath.deletePort(name)),
  );
  await loop.close();
}
