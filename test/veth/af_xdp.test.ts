/** af_xdp ports between real hosts, whose offloads are as they come; and everything that can happen to an interface. */
import { describe } from 'vitest';
import { Datapath } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

const offered = Datapath.portTypes().find(({ type }) => type === 'af_xdp')!;
if (!offered.available) console.log(`skipped: no af_xdp here: ${offered.reason}`);
const skip = !offered.available;

describe('af_xdp', () => {
  sceneTest(
    'carries ping and TCP, both ways, IPv4 and IPv6, on PMD threads',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert, link }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1 },
          { name: 'right', type: 'af_xdp', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      for (const port of dp.ports.values()) {
        assert.equal(port.pmd, true);
        assert.equal(port.mode, 'native-copy');
      }
      await talk(left, right, { megabytes: 60 });
      await talk(left, right, { megabytes: 60, family: 6 });

      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      for (const name of ['left', 'right']) {
        const { rxDropped, rxErrors, txPackets } = stats.ports[name]!;
        assert.equal(rxDropped + rxErrors, 0n);
        const { stats64 } = await link(name);
        assert.equal(stats64.tx.packets, Number(txPackets));
      }
    },
    { limitMs: 60_000, skip },
  );

  for (const [what, spec] of [
    ['in generic mode', { type: 'af_xdp', mode: 'generic' }],
    ['on the non-PMD thread', { type: 'af_xdp', pmd: false }],
    ['to an af_packet port', { type: 'af_packet' }],
  ] as const) {
    sceneTest(
      `talks ${what}`,
      async ({ args, host, open, crossed, talk, expectLedgerCloses, dropped, assert }) => {
        const left = await host('left', 1);
        const right = await host('right', 2);
        // In generic mode, the other end of the pair goes on to send frames of 64 KiB.
        const generic = 'mode' in args;
        if (generic) await right.run('ethtool', '-K', 'eth0', 'tso', 'off', 'gso', 'off');
        const dp = await open({
          ports: [
            { name: 'left', type: 'af_xdp', number: 1 },
            { name: 'right', number: 2, ...args },
          ],
          flows: crossed(1, 2),
        });
        await talk(left, right, { megabytes: 20 });
        await talk(left, right, { megabytes: 5, family: 6 });
        for (const size of [56, 1_600, 3_200]) {
          const { sent, received } = await left.call('ping', { to: right.ipv4, count: 5, size });
          assert.equal(received, sent);
        }
        assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});
      },
      { limitMs: 60_000, skip, args: spec },
    );
  }

  sceneTest(
    'carries jumbo frames, in several chunks',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert }) => {
      const left = await host('left', 1, { mtu: 9000 });
      const right = await host('right', 2, { mtu: 9000 });
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1 },
          { name: 'right', type: 'af_xdp', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      const large = { to: right.ipv4, count: 10, size: 8_000, args: ['-M', 'do'] };
      assert.equal((await left.call('ping', large)).received, 10);
      await talk(left, right, { megabytes: 20 });
      assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});
    },
    { skip },
  );

  sceneTest(
    'carries tagged frames over a trunk',
    async ({ host, pair, open, talk, expectLedgerCloses, dropped, assert }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      await pair('trunk0', 'trunk1');
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1 },
          { name: 'right', type: 'af_xdp', number: 2 },
          { name: 'trunk0', type: 'af_xdp', number: 10 },
          { name: 'trunk1', type: 'af_xdp', number: 11 },
        ],
        flows: [
          { match: 'in_port(1)', actions: 'push_vlan(vid=5,pcp=0),10' },
          { match: { inPort: 11, vlan: { vid: 5 } }, actions: 'pop_vlan,2' },
          { match: 'in_port(2)', actions: 'push_vlan(vid=5,pcp=0),11' },
          { match: { inPort: 10, vlan: { vid: 5 } }, actions: 'pop_vlan,1' },
        ],
      });
      await talk(left, right, { megabytes: 20 });
      await talk(left, right, { megabytes: 5, family: 6 });
      assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});
    },
    { skip },
  );

  sceneTest(
    'spreads several queues over two threads',
    async ({ host, open, crossed, ip, run, expectLedgerCloses, dropped, assert }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      for (const name of ['left', 'right']) await ip(`link set ${name} down`);
      for (const name of ['left', 'right']) await run('ethtool', '-L', name, 'rx', '2', 'tx', '2');
      for (const host of [left, right]) {
        await host.run('ethtool', '-L', 'eth0', 'rx', '2', 'tx', '2');
      }
      for (const name of ['left', 'right']) await ip(`link set ${name} up`);
      const dp = await open({
        topology: { numa: [[0, 1]] },
        pmdCpus: [0, 1],
        ports: [
          { name: 'left', type: 'af_xdp', number: 1, rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } },
          { name: 'right', type: 'af_xdp', number: 2, rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } },
        ],
        flows: crossed(1, 2),
      });
      const port = await right.call('serve');
      const transfers = await Promise.all(
        Array.from({ length: 16 }, (_, i) =>
          left.call('transfer', { name: `t${i}`, to: right.ipv4, port, bytes: 1_000_000 }),
        ),
      );
      for (const { equal } of transfers) assert.ok(equal);
      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      for (const { core, packets } of stats.pmds) if (core !== 'non-pmd') assert.ok(packets > 100n);
    },
    { skip },
  );
});
