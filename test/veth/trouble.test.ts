/** What goes wrong with ports in silence: the event `portTrouble`, and the warning where nobody listens. */
import { describe } from 'vitest';
import type { PortTrouble } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

/** Sends frames by a packet socket that leaves a checksum unfinished where nothing is known that has one there. */
const unfinished = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.setsockopt(263, 15, 1)
s.bind((sys.argv[1], 0))
header = struct.pack('=BBHHHH', 1, 0, 0, 0, 20, 8)
frame = bytes.fromhex('02000000000102000000000288b5') + bytes(46)
for _ in range(int(sys.argv[2])): s.send(header + frame)`;

describe('portTrouble', () => {
  sceneTest(
    'tells of frames that a port refuses: which counters rose, what it means, what to do',
    async ({ open, pair, run, until, assert, args }) => {
      await pair('near', 'far');
      const dp = await open({ ports: [{ name: 'in', type: 'af_packet', device: 'near' }] });
      const troubles: PortTrouble[] = [];
      dp.on('portTrouble', (trouble) => troubles.push(trouble));
      const begun = performance.now();
      const rose = () =>
        troubles.reduce((sum, { counters }) => sum + (counters.rxErrors ?? 0n), 0n);
      for (const sent of [5n, 12n]) {
        await run('python3', '-c', args, 'far', String(sent === 5n ? 5 : 7));
        await until('all is told', () => rose() === sent);
      }
      const stats = dp.ports.get('in')!.stats();
      assert.equal(stats.rxErrors, 12n);
      assert.equal(stats.rxChecksumErrors, 12n);
      const of = troubles.filter(({ reason }) => reason === 'rxChecksumErrors');
      assert.equal(of[0]!.port, 'in');
      assert.match(of[0]!.meaning, /left a checksum unfinished/);
      assert.equal(of[0]!.todo, 'sudo ethtool -K PEER tx off');
      assert.match(JSON.stringify(of[0]), /"rxErrors":"\d+"/);
      // One a second at most, however long this took.
      assert.ok(troubles.length <= 2 + Math.floor((performance.now() - begun) / 1000));
      // It helps.
      await run('ethtool', '-K', 'far', 'tx', 'off');
      await run('python3', '-c', args, 'far', '3');
      await until('the frames arrive', () => dp.ports.get('in')!.stats().rxPackets >= 3n);
      assert.equal(dp.ports.get('in')!.stats().rxErrors, 12n);
    },
    { args: unfinished },
  );

  sceneTest(
    'without a listener, a warning for each port and reason, once; less than was asked for, too',
    async ({ pair, run, packageUrl, assert, args }) => {
      interface Said {
        readonly warnings: { name: string; message: string; detail: string }[];
        readonly mode: string;
      }
      const program = (device: string, far: string, spec: string, wanted: number) => `
        const { Datapath } = await import(${JSON.stringify(packageUrl)});
        const { execFileSync } = await import('node:child_process');
        const { setTimeout: sleep } = await import('node:timers/promises');
        const warnings = [];
        process.on('warning', ({ name, message, detail }) => warnings.push({ name, message, detail }));
        const dp = await Datapath.open({
          ports: [{ name: 'in', type: 'af_packet', device: '${device}', ${spec} }],
        });
        const send = () => execFileSync('python3', ['-c', ${JSON.stringify(args)}, '${far}', '2']);
        const end = performance.now() + 10_000;
        while (warnings.length < ${wanted} && performance.now() < end) { send(); await sleep(100); }
        send();
        await sleep(1500);
        console.log(JSON.stringify({ warnings, mode: dp.ports.get('in').mode }));
        await dp.close();`;
      // It may open packet sockets, and load no program.
      const caps = '+net_raw,+net_admin';
      const power = ['--securebits=+noroot', `--inh-caps=${caps}`, `--ambient-caps=${caps}`];
      const node = [process.execPath, '--no-warnings', '--input-type=module', '--eval'];
      const say = async (near: string, far: string, spec: string, wanted: number) => {
        await pair(near, far);
        const text = program(near, far, spec, wanted);
        return JSON.parse(await run('setpriv', ...power, ...node, text)) as Said;
      };
      const [{ warnings, mode }, asked] = await Promise.all([
        say('near', 'far', '', 2),
        say('here', 'there', 'hostStack: true', 1),
      ]);
      assert.match(mode, / host-stack/);
      assert.deepEqual(
        warnings.map(({ name }) => name),
        ['PolluxWarning', 'PolluxWarning'],
      );
      const about = (what: RegExp) => warnings.find(({ message }) => what.test(message))!;
      assert.match(
        about(/port "in": what arrives also enters the host/).detail,
        /`hostStack: true`/,
      );
      assert.match(about(/port "in": frames arrive whose sender/).detail, /^sudo ethtool -K PEER/);
      assert.match(warnings[0]!.detail, /on\('portTrouble', …\)/);
      assert.match(asked.mode, / host-stack/);
      assert.deepEqual(
        asked.warnings.map(({ message }) => /frames arrive whose sender/.test(message)),
        [true],
      );
    },
    { args: unfinished },
  );

  sceneTest(
    'says nothing where all is well, nor of what the program itself hands in',
    async ({ open, pair, run, sleep, assert }) => {
      await pair('near', 'far');
      const dp = await open({
        ports: [
          { name: 'in', type: 'af_packet', device: 'near' },
          { name: 'hand', type: 'memory', queueLength: 1 },
        ],
      });
      const troubles: string[] = [];
      dp.on('portTrouble', ({ reason }) => troubles.push(reason));
      const hand = dp.ports.get('hand') as unknown as { inject(frames: Uint8Array[]): number };
      hand.inject([new Uint8Array(0), ...Array(50).fill(new Uint8Array(60))]);
      await run('ip', 'link', 'set', 'far', 'down');
      await sleep(1_500);
      assert.deepEqual(troubles, []);
    },
  );
});
