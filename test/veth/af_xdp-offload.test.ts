/** af_xdp ports whose hot flows the XDP program forwards by itself, between real hosts. */
import { describe, expect, test } from 'vitest';
import { Datapath, DatapathError } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

const offered = Datapath.portTypes().find(({ type }) => type === 'af_xdp')!;
if (!offered.available) console.log(`skipped: no af_xdp here: ${offered.reason}`);
const skip = !offered.available;

describe('offloadFlows', () => {
  test.each([
    [1, 'offloadFlows must be an object'],
    [{ packetsPerSecond: 0 }, 'packetsPerSecond must be an integer from 1'],
    [{ packetsPerSecond: 1.5 }, 'packetsPerSecond must be an integer from 1'],
    [{ above: 7 }, 'above'],
  ])('%j is refused', async (offloadFlows, message) => {
    const dp = new Datapath();
    const error = await dp
      .addPort({ name: 'x', type: 'af_xdp', offloadFlows } as never)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DatapathError);
    expect(error).toMatchObject({ code: 'EINVAL', message: expect.stringContaining(message) });
    await dp.close();
  });

  sceneTest(
    'leaves alone what is to pass the qdisc or the taps of the other interface',
    async ({ host, open, crossed, talk, expectLedgerCloses, ip, assert, run, sleep, until }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      for (const one of [left, right]) {
        await one.run('ethtool', '-K', 'eth0', 'gro', 'on');
        await one.run('ethtool', '-K', 'eth0', 'tx', 'off');
      }
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1, offloadFlows: { packetsPerSecond: 1 } },
          { name: 'right', type: 'af_packet', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      const offloaded = () => dp.ports.get('left')!.stats().offloadedPackets ?? 0n;
      await talk(left, right, { megabytes: 20 });
      assert.ok(offloaded() > 1_000n, `${offloaded()}`);

      await run(
        'tc',
        ...'qdisc add dev right root tbf rate 1gbit burst 256k latency 50ms'.split(' '),
      );
      await until('the port knows', () => / qdisc/.test(dp.ports.get('right')!.mode));
      await sleep(1500); // Once a second it is looked at which flows may stay.
      const before = offloaded();
      await talk(left, right, { megabytes: 20 });
      assert.equal(offloaded(), before);

      await dp.deletePort('right');
      await ip('link set right up');
      await dp.addPort({ name: 'right', type: 'af_packet', number: 2, visible: true });
      await talk(left, right, { megabytes: 5 });
      assert.equal(offloaded(), before);
      await expectLedgerCloses(dp);
    },
    { limitMs: 60_000, skip },
  );

  sceneTest(
    'carries TCP with partial checksums and with whole ones; the latter goes by the program',
    async ({ host, open, crossed, talk, expectLedgerCloses, dropped, assert, until }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      for (const one of [left, right]) await one.run('ethtool', '-K', 'eth0', 'gro', 'on');
      const offloadFlows = { packetsPerSecond: 1 };
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1, offloadFlows },
          { name: 'right', type: 'af_xdp', number: 2, offloadFlows },
        ],
        flows: crossed(1, 2),
      });
      for (const port of dp.ports.values()) assert.equal(port.mode, 'native-copy flow-offload');
      const offloaded = () => dp.ports.get('left')!.stats().offloadedPackets ?? 0n;

      await talk(left, right, { megabytes: 20 });
      await talk(left, right, { megabytes: 5, family: 6 });
      // All the host sends is left unfinished, and none of it can be redirected.
      assert.ok(offloaded() < 100n, `${offloaded()}`);

      for (const one of [left, right]) await one.run('ethtool', '-K', 'eth0', 'tx', 'off');
      await talk(left, right, { megabytes: 40 });
      const { rxPackets } = dp.ports.get('left')!.stats();
      assert.ok(offloaded() > 5_000n, `${offloaded()} of ${rxPackets}`);
      await until('the flow has counted every packet of its port', () => {
        const { packets } = dp.flows.get('in_port(1)')!;
        return packets === dp.ports.get('left')!.stats().rxPackets;
      });

      // What is in pieces, or of another kind, goes the usual way beside it.
      const transfer = async () => {
        const port = await right.call('serve');
        return left.call('transfer', { to: right.ipv4, port, bytes: 20_000_000 });
      };
      const beside = transfer();
      await until('the flow is offloaded', () => dp.flows.get('in_port(1)')!.offloaded);
      assert.match(`${dp.flows.get('in_port(1)')}`, /, offloaded:yes, actions:2$/);
      for (const size of [56, 1_600, 3_200]) {
        const { sent, received } = await left.call('ping', { to: right.ipv4, count: 5, size });
        assert.equal(received, sent);
      }
      assert.ok((await beside).equal);
      assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});
    },
    { limitMs: 60_000, skip },
  );

  sceneTest(
    'says in its mode where it cannot be had',
    async ({ pair, open, assert }) => {
      await pair('out', 'far');
      const dp = await open();
      const spec = { name: 'out', type: 'af_xdp', offloadFlows: true } as const;
      const port = await dp.addPort({ ...spec, mode: 'generic' });
      assert.equal(port.mode, 'generic-copy no-flow-offload');
      await dp.deletePort(port);
      assert.equal((await dp.addPort(spec)).mode, 'native-copy flow-offload');
    },
    { skip },
  );

  sceneTest(
    'SIGKILL with hot flows leaves no program, and nothing is forwarded any more',
    async ({ host, run, childProcess, packageUrl, until, link, assert }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      for (const one of [left, right]) {
        await one.run('ethtool', '-K', 'eth0', 'gro', 'on', 'tx', 'off');
      }
      const program = `
      const { Datapath } = await import(${JSON.stringify(packageUrl)});
      const offloadFlows = { packetsPerSecond: 1 };
      const dp = await Datapath.open({
        ports: [
          { name: 'left', type: 'af_xdp', number: 1, offloadFlows },
          { name: 'right', type: 'af_xdp', number: 2, offloadFlows },
        ],
        flows: [{ match: 'in_port(1)', actions: '2' }, { match: 'in_port(2)', actions: '1' }],
      });
      console.log('ready');
      const timer = setInterval(() => {
        if (!dp.flows.get('in_port(1)').offloaded) return;
        console.log('hot');
        clearInterval(timer);
      }, 10);`;
      for (let round = 0; round < 3; round++) {
        const args = ['--input-type=module', '--eval', program];
        const child = childProcess.spawn(process.execPath, args, {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        let said = '';
        child.stdout.on('data', (text) => {
          said += text;
        });
        await until('ready', () => said.includes('ready'));
        const port = await right.call('serve');
        const name = `t${round}`;
        const transfer = left.call('transfer', { name, to: right.ipv4, port });
        transfer.catch(() => {});
        await until('hot', () => said.includes('hot'));
        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('exit', resolve));
        await until(
          'no program',
          async () => !/prog\/xdp/.test(await run('ip', '-d', 'link')),
          500,
        );
        const seen = (await link('right')).stats64.tx.packets;
        await left.run('sleep', '0.3');
        assert.equal((await link('right')).stats64.tx.packets, seen);
        await left.call('finish', { name });
      }
    },
    { skip },
  );
});
