/** What the kernel leaves to a card: 64 KiB frames and partial checksums go through as they are, and are finished where they cannot. */
import { accessSync, constants } from 'node:fs';
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

function canOpenTun(): boolean {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

describe('offloads', () => {
  sceneTest(
    'cross two af_packet ports whole, with GRO on as well: TCP, and ping with fragments',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert, childProcess }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1 },
          { name: 'right', type: 'af_packet', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      for (const gro of ['off', 'on']) {
        // Without ethtool, as it is.
        for (const device of ['left', 'right'])
          childProcess.spawnSync('ethtool', ['-K', device, 'gro', gro]);
        await talk(left, right, { megabytes: 40 });
        await talk(left, right, { megabytes: 20, family: 6 });
        for (const size of [56, 1600, 3200]) {
          for (const to of [right.ipv4, right.ipv6]) {
            const { sent, received } = await left.call('ping', { to, count: 5, size });
            assert.equal(received, sent);
          }
        }
      }
      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      const { ports, ledger } = stats;
      // Statistics are about what the wire would see; the ledger about packets of ours.
      // What the kernel sends by itself between the opening of two ports goes nowhere.
      assert.ok(ports.left!.rxPackets - ports.right!.txPackets < 10n);
      assert.ok(ports.right!.rxPackets - ports.left!.txPackets < 10n);
      assert.ok(ports.left!.rxBytes > 120_000_000n);
      const wire = ports.left!.rxPackets + ports.right!.rxPackets;
      assert.ok(ledger.received < wire / 2n, `${ledger.received} packets for ${wire} of the wire`);
      assert.equal(ledger.copied, 0n);
      const flow = dp.flows.get('in_port(1)')!;
      assert.equal(flow.packets, ports.left!.rxPackets);
      assert.equal(flow.bytes, ports.left!.rxBytes);
    },
    { limitMs: 60_000 },
  );

  sceneTest(
    'are cut for a port that does not take them, and for the program',
    async ({ host, open, talk, until, expectLedgerCloses, assert }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'mirror', type: 'memory', number: 3, queueLength: 100_000 },
          { name: 'right', type: 'af_packet', number: 2 },
          { name: 'left', type: 'af_packet', number: 1 },
        ],
        flows: [
          { match: 'in_port(1)', actions: 'push_vlan(vid=9,pcp=0),3,pop_vlan,2' },
          { match: 'in_port(2)', actions: '1' },
        ],
      });
      await talk(left, right, { megabytes: 20, pings: 1 });
      const mirror = dp.ports.get('mirror') as import('../../src/index.js').MemoryPort;
      let bytes = 0;
      let longest = 0;
      for (const frame of mirror.drain()) {
        bytes += frame.length;
        longest = Math.max(longest, frame.length);
        assert.equal(frame.readUInt16BE(14), 9);
      }
      assert.equal(longest, 1518);
      assert.ok(bytes > 20_000_000);
      const { ports, ledger } = await expectLedgerCloses(dp);
      // Each frame was copied once, and most copies were cut.
      assert.ok(ledger.copied > ports.mirror!.txPackets - ledger.received);
      assert.equal(ports.mirror!.txPackets, ports.left!.rxPackets);

      // Frames of 64 KiB with nobody but the program to take them.
      const sizes: number[] = [];
      dp.onUpcall((batch) => {
        for (const upcall of batch) {
          sizes.push(upcall.wireLength);
          upcall.drop();
        }
      });
      const port = await right.call('serve', {});
      dp.flows.put('in_port(1)', 'userspace(pid=0),2');
      await left.call('transfer', { to: right.ipv4, port, bytes: 1_000_000 });
      await until('upcalls came', () => sizes.length > 600);
      assert.equal(Math.max(...sizes), 1514);
      await expectLedgerCloses(dp);
    },
    { limitMs: 60_000 },
  );

  sceneTest(
    'go to and from the host by LOCAL, its own tap, and back as large as they came',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert, ip }) => {
      const left = await host('left', 1);
      const here = await host('here', 9, { own: false });
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1 },
          { name: 'br0', type: 'tap', number: 0 },
        ],
        flows: crossed(0, 1),
      });
      await assert.rejects(
        dp.addPort({ name: 'zero', type: 'memory', number: 0 }),
        (error) => error.code === 'EINVAL' && /LOCAL/.test(error.message),
      );
      assert.equal(dp.ports.get('br0')!.number, 0);
      await ip(`addr add ${here.ipv4}/24 dev br0`);
      await talk(left, here, { megabytes: 40 });
      for (const size of [1600, 3200]) {
        const { sent, received } = await left.call('ping', { to: here.ipv4, count: 5, size });
        assert.equal(received, sent);
      }
      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      const { ports, ledger } = stats;
      for (const [a, b] of [
        ['left', 'br0'],
        ['br0', 'left'],
      ] as const) {
        assert.ok(ports[a]!.rxBytes > 40_000_000n);
        assert.ok(ports[a]!.rxPackets - ports[b]!.txPackets < 10n);
      }
      assert.ok(ledger.received < (ports.left!.rxPackets + ports.br0!.rxPackets) / 2n);
    },
    { limitMs: 60_000, skip: !canOpenTun() },
  );
});

describe('the host stack', () => {
  sceneTest(
    'hears nothing of what a port receives, unless it shall; and all of it again afterwards',
    async ({ host, open, assert, ip }) => {
      const left = await host('left', 1);
      // The middle has an address on the very interface that becomes a port.
      await ip('addr add 10.77.0.1/24 dev left');
      await left.run('ip', 'addr', 'add', '10.77.0.2/24', 'dev', 'eth0');
      const answers = async () => {
        const options = { to: '10.77.0.1', count: 3, args: ['-w', '1'] };
        return (await left.call('ping', options)).received;
      };
      assert.equal(await answers(), 3);
      const dp = await open({ ports: [{ name: 'left', type: 'af_packet', hostStack: true }] });
      assert.match(dp.ports.get('left')!.mode, /host-stack/);
      assert.equal(await answers(), 3);
      await dp.deletePort('left');
      const alone = await dp.addPort({ name: 'left', type: 'af_packet' });
      // Else the kernel cannot, and says so. It may take a few milliseconds.
      if (/ingress-drop/.test(alone.mode)) {
        for (let tries = 0; tries < 5 && (await answers()) > 0; tries += 1);
        assert.equal(await answers(), 0);
      } else {
        assert.equal(await answers(), 3);
      }
      await dp.deletePort('left');
      assert.equal(await answers(), 3);
    },
  );
});
