/** The rows of the benchmark: the flows of a row take every frame that its null port generates. */
import { describe, expect, test } from 'vitest';
import { chosenRows, datapathFlows, rows } from '../../scripts/bench/rows.mjs';
import { makeDatapath, until } from '../support/datapath.js';

const kFrames = 2_000;

describe('rows in memory', () => {
  test('each has a name of its own, and few are in the quick run', () => {
    expect(chosenRows({ full: true })).toHaveLength(rows.size);
    expect(chosenRows({}).length).toBeLessThan(rows.size / 4);
    expect(chosenRows({ quick: true })).toHaveLength(6);
  });

  test.each([
    'port/1/1',
    'masks/1/10000',
    'masks/20/1000',
    'masks/100/1000',
    'rewrite/1/10000',
    'each/1/1000',
    'each/20/1000',
    'each/100/1000',
  ])('%s', async (name) => {
    const row = rows.get(`${name}/64/uniform`);
    const dp = makeDatapath({ flowLimit: 20_000 });
    await dp.addPort({ name: 'to', type: 'null', number: 2 });
    const puts = [...datapathFlows(row, 1, 2)].map(([match, actions]) => ({
      put: { match, actions },
    }));
    dp.flows.apply(puts);
    const { size, flows, masks, order } = row;
    const generate = { size, flows, masks, order, limit: kFrames };
    await dp.addPort({ name: 'from', type: 'null', number: 1, generate });
    const received = () => dp.stats().ledger.received;
    await until(() => received() === BigInt(kFrames));
    expect(dp.stats().ledger).toMatchObject({ transmitted: BigInt(kFrames), dropped: 0n });
    expect(dp.stats().flows.masks).toBe(row.rules === 'port' ? 1 : masks);
  });
});
