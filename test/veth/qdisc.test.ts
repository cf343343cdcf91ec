/** One way out at a time: what leaves by an interface with a qdisc, and who sees it. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

/** Sends a frame as any program of the host does. */
const hostFrame = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(bytes.fromhex('02000000000102000000000288b5') + b'host' * 12)`;

describe("an interface's qdisc", () => {
  sceneTest(
    'takes all frames of a port or none, and its mode follows',
    async ({ open, pair, run, until, assert, DatapathError }) => {
      const dp = await open();
      const words = (name: string) => dp.ports.get(name)!.mode.split(' ');
      for (const type of ['af_packet', 'af_xdp'] as const) {
        await pair('near', 'far');
        await dp.addPort({ name: 'use', type, device: 'near' });
        await dp.addPort({ name: 'bypass', type, device: 'far', qdisc: 'bypass' });
        for (const name of ['use', 'bypass']) assert.ok(!/qdisc/.test(dp.ports.get(name)!.mode));
        const tc = (what: string) =>
          Promise.all(
            ['near', 'far'].map((device) =>
              run('tc', ...`qdisc ${what} dev ${device} root`.split(' '), ...limits(what)),
            ),
          );
        const limits = (what: string) =>
          what === 'add' ? 'tbf rate 1gbit burst 1mb limit 10mb'.split(' ') : [];
        await tc('add');
        await until('it is seen', () => words('use').includes('qdisc'));
        await until('it is bypassed', () => words('bypass').includes('qdisc-bypass'));
        assert.ok(!words('use').includes('xsk-tx'));
        const sent = async (device: string) =>
          Number((await run('tc', '-s', 'qdisc', 'show', 'dev', device)).match(/(\d+) pkt/)![1]);
        const before = [await sent('near'), await sent('far')];
        for (let i = 0; i < 100; i++) {
          for (const name of ['use', 'bypass']) dp.execute(new Uint8Array(100), name);
        }
        assert.equal((await sent('near')) - before[0]!, 100);
        assert.equal((await sent('far')) - before[1]!, 0);
        await tc('del');
        await until('it is gone', () => !words('use').includes('qdisc'));
        await until('and there', () => !words('bypass').includes('qdisc-bypass'));
        const stats = [dp.ports.get('use')!.stats(), dp.ports.get('bypass')!.stats()];
        assert.deepEqual(
          stats.map(({ txPackets, txDropped }) => [txPackets, txDropped]),
          [
            [100n, 0n],
            [100n, 0n],
          ],
        );
        for (const name of ['use', 'bypass']) await dp.deletePort(name);
        await run('ip', 'link', 'del', 'near');
      }
      await pair('near', 'far');
      await assert.rejects(
        dp.addPort({ name: 'near', type: 'af_packet', visible: true, qdisc: 'bypass' }),
        (error) =>
          error instanceof DatapathError &&
          error.code === 'EINVAL' &&
          /leave one/.test(error.hint!),
      );
      // There when the port comes; and what the kernel itself puts there is none of it.
      await run('tc', ...'qdisc add dev near root tbf rate 1gbit burst 1mb limit 10mb'.split(' '));
      assert.match((await dp.addPort({ name: 'near', type: 'af_packet' })).mode, / qdisc/);
      await run('ip', ...'tuntap add dev other mode tap'.split(' '));
      assert.match(await run('tc', 'qdisc', 'show', 'dev', 'other'), /^$|qdisc (?!noqueue)\w+ 0:/);
      await run('ip', 'link', 'set', 'other', 'up');
      assert.doesNotMatch((await dp.addPort({ name: 'other', type: 'af_packet' })).mode, /qdisc/);
    },
  );

  sceneTest(
    'taps of the host see what is sent with `visible`, and not without',
    async ({ open, pair, run, childProcess, until, assert, args }) => {
      const dp = await open();
      for (const type of ['af_packet', 'af_xdp'] as const) {
        await pair('near', 'far');
        for (const visible of [false, true]) {
          const port = await dp.addPort({ name: 'out', type, device: 'near', visible });
          assert.equal(/ visible/.test(port.mode), visible);
          assert.ok(!visible || !/xsk-tx/.test(port.mode));
          const tap = childProcess.spawn(
            'tcpdump',
            '-n --immediate-mode -i near -Q out -U -w -'.split(' '),
            {
              stdio: ['ignore', 'pipe', 'pipe'],
            },
          );
          let [seen, said] = [Buffer.alloc(0), ''];
          tap.stdout.on('data', (bytes) => {
            seen = Buffer.concat([seen, bytes]);
          });
          tap.stderr.on('data', (text) => {
            said += text;
          });
          await until('it listens', () => /listening on/.test(said));
          const frame = Buffer.from(`${'020000000001020000000002'}88b5${'5a'.repeat(46)}`, 'hex');
          for (let i = 0; i < 10; i++) dp.execute(frame, 'out');
          // Something that it sees in any case, behind them.
          await run('python3', '-c', args, 'near');
          const count = (mark: string) => seen.toString('latin1').split(mark).length - 1;
          await until('it sees the host', () => count('host'.repeat(11)) === 1);
          assert.equal(count('Z'.repeat(46)), visible ? 10 : 0);
          const gone = new Promise((resolve) => tap.once('exit', resolve));
          tap.kill();
          await gone;
          assert.equal(port.stats().txPackets, 10n);
          await dp.deletePort('out');
        }
        await run('ip', 'link', 'del', 'near');
      }
    },
    { args: hostFrame },
  );
});
