/** Ports of real interfaces come and go while threads forward. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

describe('ports on real interfaces', () => {
  sceneTest(
    'S7: a non-PMD port added while PMD threads run can be reached from them at once',
    async ({ pair, open, link, assert, expectLedgerCloses }) => {
      await pair('out', 'far');
      const dp = await open({
        topology: { numa: [[0], [1]] },
        pmdCpus: [0, 1],
        ports: [
          { name: 'source0', type: 'memory', number: 1, numa: 0 },
          { name: 'source1', type: 'memory', number: 2, numa: 1 },
        ],
        flows: [
          { match: 'in_port(1)', actions: '7' },
          { match: 'in_port(2)', actions: '7' },
        ],
      });
      type Memory = import('../../src/index.js').MemoryPort;
      const sources = ['source0', 'source1'].map((name) => dp.ports.get(name) as Memory);
      const frame = Buffer.alloc(60, 0x02);
      const rounds = 30;
      for (let round = 0; round < rounds; round++) {
        await dp.addPort({ name: 'out', type: 'af_packet', number: 7, pmd: false });
        for (const source of sources) source.inject(frame);
        await dp.settle();
        await dp.deletePort('out');
      }
      const { ledger } = await expectLedgerCloses(dp);
      assert.equal(ledger.dropped, 0n);
      assert.equal((await link('far')).stats64.rx.packets, 2 * rounds);
    },
  );

  sceneTest(
    'S17: delete, then add the same number on another device: traffic goes to the new one alone',
    async ({ pair, open, link, assert, expectLedgerCloses }) => {
      await pair('one', 'one-far');
      await pair('two', 'two-far');
      const dp = await open({
        ports: [{ name: 'source', type: 'memory', number: 1 }],
        flows: [{ match: 'in_port(1)', actions: '7' }],
      });
      const source = dp.ports.get('source') as import('../../src/index.js').MemoryPort;
      const frames = Array.from({ length: 100 }, () => Buffer.alloc(60, 0x02));
      const received = async () =>
        Promise.all(
          ['one-far', 'two-far'].map(async (device) => (await link(device)).stats64.rx.packets),
        );
      const expected = [0, 0];
      for (let round = 0; round < 10; round++) {
        const i = round % 2;
        await dp.addPort({ name: 'out', type: 'af_packet', number: 7, device: ['one', 'two'][i] });
        source.inject(frames);
        await dp.settle();
        expected[i]! += frames.length;
        assert.deepEqual(await received(), expected);
        await dp.deletePort('out');
      }
      source.inject(frames);
      await dp.settle();
      assert.deepEqual(await received(), expected);
      const { drops } = await expectLedgerCloses(dp);
      assert.equal(drops.invalid_port, BigInt(frames.length));
    },
  );

  for (const args of [
    { type: 'af_packet', rounds: 200 },
    { type: 'af_xdp', rounds: 10 },
    { type: 'tap', rounds: 200 },
  ] as const) {
    sceneTest(
      `S40: delete, then add the same ${args.type}, ${args.rounds} times: never busy, never there already`,
      async ({ args: { type, rounds }, host, open, until, assert, expectLedgerCloses, fs }) => {
        const left = type === 'tap' ? undefined : await host('left', 1);
        const dp = await open({ ports: [{ name: 'other', type: 'null' }] });
        const descriptors = () => fs.readdirSync('/proc/self/fd').length;
        const spec = { name: 'left', type, number: 7 } as const;
        await dp.addPort(spec);
        const before = descriptors();
        for (let round = 0; round < rounds; round++) {
          await dp.deletePort('left');
          const port = await dp.addPort(spec);
          assert.notEqual(port.state, 'gone');
          if (type !== 'tap') assert.equal(port.state, 'up');
        }
        // What is made ahead for the next port may be there, or not yet.
        await until('no descriptor has leaked', () => descriptors() <= before + 1);
        assert.deepEqual([...dp.ports.keys()].sort(), ['left', 'other']);
        await expectLedgerCloses(dp);
        await left?.stop();
      },
      { limitMs: 60_000, args },
    );
  }

  sceneTest(
    'S15: 1,000 deletions under traffic: the device is closed when the promise resolves',
    async ({ pair, open, until, ip, link, assert, expectLedgerCloses, fs }) => {
      const dp = await open({
        topology: { numa: [[0], [1]] },
        pmdCpus: [0, 1],
        ports: [
          // A thread that never rests, sending to the port that comes and goes; and one that mostly sleeps.
          { name: 'flood', type: 'null', number: 1, numa: 0, generate: { size: 60, flows: 16 } },
          { name: 'drip', type: 'memory', number: 2, numa: 1 },
        ],
        flows: [
          { match: 'in_port(1)', actions: '7' },
          { match: 'in_port(2)', actions: '7' },
        ],
      });
      /** How many descriptors of a kind this process has open. */
      const descriptors = (kind: RegExp) =>
        fs.readdirSync('/proc/self/fd').filter((fd) => {
          try {
            return kind.test(fs.readlinkSync(`/proc/self/fd/${fd}`));
          } catch {
            return false; // the one that lists
          }
        }).length;
      const sockets = () => descriptors(/^socket:/);
      const taps = () => descriptors(/\/net\/tun$/);
      /** The packet sockets in this namespace, by lines behind a heading. */
      const packetSockets = () =>
        fs.readFileSync('/proc/self/net/packet', 'utf8').trim().split('\n').length - 1;
      const tap = await dp.addPort({ name: 'probe', type: 'tap', device: 'probe' }).then(
        () => true,
        () => false,
      );
      if (tap) await dp.deletePort('probe');

      const drip = dp.ports.get('drip') as import('../../src/index.js').MemoryPort;
      const frame = Buffer.alloc(60, 0x02);
      await pair('veth', 'veth-far');
      // The first port of the kernel's brings the listener of link changes, which stays.
      await dp.addPort({ name: 'out', type: 'af_packet', number: 7, device: 'veth' });
      await dp.deletePort('out');
      let deletions = 0;
      let sent = 0n;
      // Two that send are kept for the next port, and one that receives is made ahead.
      await until('sockets are kept', () => packetSockets() === 3);
      const atRest = sockets();
      const once = async (spec: import('../../src/index.js').PortSpec, look = false) => {
        const port = await dp.addPort(spec);
        drip.inject(frame);
        if (spec.type === 'tap') assert.equal(taps(), 1);
        // Its sockets are those of the port before it, or are opened by a thread.
        if (look) assert.equal((await link('veth')).promiscuity, 1);
        sent += port.stats().txPackets;
        await dp.deletePort('out');
        assert.equal(taps(), 0);
        assert.ok(sockets() <= atRest);
        deletions++;
      };
      for (let round = 0; round < 200; round++) {
        const common = { name: 'out', number: 7 } as const;
        if (tap && round % 2 === 0) await once({ ...common, type: 'tap', device: 'tap7' });
        else {
          const out = { ...common, type: 'af_packet', device: 'veth' } as const;
          await once({ ...out, pmd: round % 4 === 1 }, round % 10 === 1);
        }
        for (let i = 0; i < 4; i++) await once({ ...common, type: 'memory' });
        if (round % 10 === 0) {
          // Nothing holds the interface: it goes and comes at once.
          assert.equal((await link('veth')).promiscuity, 0);
          await ip('link del veth');
          await pair('veth', 'veth-far');
        }
      }
      assert.equal(deletions, 1_000);
      // The traffic was there.
      assert.ok(sent > 0n);
      await dp.deletePort('flood');
      const { drops } = await expectLedgerCloses(dp);
      assert.ok(drops.invalid_port! > 0n);
    },
    { limitMs: 90_000 },
  );
});
