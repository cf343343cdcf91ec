/** BIG TCP: hosts whose kernels make frames of more than 64 KiB. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

describe('frames above 64 KiB', () => {
  sceneTest(
    'are cut on receipt, and nothing is lost',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert, ip }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      const sizes = 'gso_max_size 196608';
      for (const h of [left, right]) {
        await h.ip(`link set eth0 ${sizes}`);
        await ip(`link set ${h.name} ${sizes}`);
      }
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1 },
          { name: 'right', type: 'af_packet', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      await talk(left, right, { megabytes: 40, family: 6 });
      await talk(left, right, { megabytes: 40 });
      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      for (const port of Object.values(stats.ports)) assert.equal(port.rxErrors, 0n);
    },
    { limitMs: 30_000 },
  );
});
