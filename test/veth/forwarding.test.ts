/** Frames between real interfaces, in every arrangement of threads. Between which types of port: pairs.test.ts. */
import { describe } from 'vitest';
import { Datapath } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

const types = [
  { type: 'af_packet', mode: '' },
  { type: 'af_xdp', mode: 'native-copy' },
] as const;

describe.each(types)('$type', (args) => {
  const { available, reason } = Datapath.portTypes().find(({ type }) => type === args.type)!;
  if (!available) console.log(`skipped: no ${args.type} here: ${reason}`);

  sceneTest(
    'carries bulk TCP on PMD threads; the interfaces have counted what we have',
    async ({ args, host, open, crossed, talk, expectLedgerCloses, dropped, assert, link }) => {
      const { type } = args;
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'left', type, number: 1 },
          { name: 'right', type, number: 2 },
        ],
        flows: crossed(1, 2),
      });
      for (const port of dp.ports.values()) {
        assert.equal(port.pmd, true);
        assert.ok(port.mode.startsWith(args.mode));
      }
      await talk(left, right, { megabytes: 60 });

      const stats = await expectLedgerCloses(dp);
      const { ports, ledger } = stats;
      assert.deepEqual(dropped(dp, stats), {});
      let sent = 0;
      for (const name of ['left', 'right']) {
        const { rxDropped, rxErrors } = ports[name]!;
        assert.equal(rxDropped + rxErrors, 0n);
        sent += (await link(name)).stats64.tx.packets;
      }
      // What we count as sent, the interfaces have counted, too: nothing went around us but what
      // the kernel has to say about itself.
      const others = sent - Number(ledger.transmitted);
      assert.ok(others >= 0 && others < 10, `${others} frames were sent by others`);
    },
    { args, skip: !available },
  );

  sceneTest(
    'does the same on the non-PMD thread',
    async ({ args, host, open, crossed, talk, expectLedgerCloses, dropped, assert }) => {
      const { type } = args;
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'left', type, number: 1, pmd: false },
          { name: 'right', type, number: 2, pmd: false },
        ],
        flows: crossed(1, 2),
      });
      await talk(left, right, { megabytes: 20 });
      await talk(left, right, { megabytes: 5, family: 6 });

      const stats = await expectLedgerCloses(dp);
      const { pmds } = stats;
      assert.deepEqual(dropped(dp, stats), {});
      const nonPmd = pmds.find(({ core }) => core === 'non-pmd')!;
      assert.equal(nonPmd.packets, stats.ledger.received);
    },
    { args, skip: !available },
  );

  sceneTest(
    'spreads two queues over two threads',
    async ({ args, host, open, crossed, ip, run, ...tools }) => {
      const { expectLedgerCloses, dropped, assert } = tools;
      const { type } = args;
      const left = await host('left', 1);
      const right = await host('right', 2);
      if (type === 'af_xdp') {
        // It goes by the queues of the device; af_packet has its own.
        for (const host of [left, right]) {
          await ip(`link set ${host.name} down`);
          for (const [at, device] of [
            [{ run }, host.name],
            [host, 'eth0'],
          ] as const)
            await at.run('ethtool', '-L', device, 'rx', '2', 'tx', '2');
          await ip(`link set ${host.name} up`);
        }
      }
      const dp = await open({
        topology: { numa: [[0, 1]] },
        pmdCpus: [0, 1],
        ports: [
          { name: 'left', type, number: 1, rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } },
          { name: 'right', type, number: 2, rxqs: 2, rxqAffinity: { 0: 0, 1: 1 } },
        ],
        flows: crossed(1, 2),
      });
      const port = await right.call('serve');
      // Sixteen connections: all in one queue once in 32,768 times.
      const transfers = await Promise.all(
        Array.from({ length: 16 }, (_, i) =>
          left.call('transfer', { name: `t${i}`, to: right.ipv4, port, bytes: 1_000_000 }),
        ),
      );
      for (const { equal } of transfers) assert.ok(equal);

      const stats = await expectLedgerCloses(dp);
      const { pmds } = stats;
      assert.deepEqual(dropped(dp, stats), {});
      const threads = pmds.filter(({ core }) => core !== 'non-pmd');
      assert.deepEqual(
        threads.map(({ rxqs }) => rxqs.map(({ port, queue }) => `${port} ${queue}`).sort()),
        [
          ['left 0', 'right 0'],
          ['left 1', 'right 1'],
        ],
      );
      for (const { packets } of threads) assert.ok(packets > 100n);
    },
    { args, skip: !available },
  );
});

describe('af_packet', () => {
  sceneTest(
    'tells tagged from untagged: a match without vlan() is not for tagged frames',
    async ({ pair, open, until, assert, expectLedgerCloses }) => {
      await pair('a0', 'a1');
      const dp = await open({
        ports: [
          { name: 'source', type: 'memory', number: 1 },
          { name: 'a0', type: 'af_packet', number: 2 },
          { name: 'a1', type: 'af_packet', number: 3 },
          { name: 'plain', type: 'memory', number: 4 },
          { name: 'five', type: 'memory', number: 5 },
        ],
        flows: [
          { match: 'in_port(1)', actions: '2' },
          { match: { inPort: 1, vlan: { vid: 5 } }, actions: '2' },
          { match: { inPort: 1, vlan: { vid: 6 } }, actions: '2' },
          { match: 'in_port(3)', actions: '4' },
          { match: { inPort: 3, vlan: { vid: 5 } }, actions: '5' },
        ],
      });
      const frame = (tag: string) =>
        Buffer.concat([
          Buffer.from(`ffffffffffff020000000001${tag}88b5`, 'hex'),
          Buffer.alloc(46, tag),
        ]);
      const frames = { plain: frame(''), five: frame('81000005'), six: frame('8100e006') };
      const source = dp.ports.get('source') as import('../../src/index.js').MemoryPort;
      source.inject([frames.plain, frames.five, frames.six]);
      const sink = (name: string) => dp.ports.get(name) as typeof source;
      await until('all three are out again', () => dp.stats().ports.a1!.rxPackets === 3n);
      const { drops } = await expectLedgerCloses(dp);
      assert.deepEqual(sink('plain').drain(), [frames.plain]);
      assert.deepEqual(sink('five').drain(), [frames.five]);
      assert.equal(drops.upcall_no_handler, 1n);
    },
  );

  sceneTest(
    'keeps to the MTU: what is longer is dropped and counted',
    async ({ host, open, crossed, expectLedgerCloses, dropped, assert }) => {
      const left = await host('left', 1, { mtu: 9000 });
      const right = await host('right', 2, { mtu: 9000 });
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1 },
          { name: 'right', type: 'af_packet', number: 2, mtu: 9000 },
        ],
        flows: crossed(1, 2),
      });
      const large = { to: right.ipv4, count: 10, size: 8_000, args: ['-M', 'do'] };
      assert.equal((await left.call('ping', large)).received, 10);
      assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});

      await dp.deletePort('right');
      await dp.addPort({ name: 'right', type: 'af_packet', number: 2, mtu: 1500 });
      const lost = await left.call('ping', { ...large, args: ['-M', 'do', '-w', 1] });
      assert.equal(lost.received, 0);
      const small = await left.call('ping', { to: right.ipv4, count: 5, size: 1_400 });
      assert.equal(small.received, 5);
      const { drops, ports } = await expectLedgerCloses(dp);
      assert.equal(drops.tx_mtu_exceeded, BigInt(lost.sent));
      assert.equal(ports.right!.txDropped, BigInt(lost.sent));
    },
  );
});
