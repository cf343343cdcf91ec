/** What af_xdp ports alone have to do with. What can happen to every kind of interface: faults.test.ts. */
import { describe } from 'vitest';
import { Datapath } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

const offered = Datapath.portTypes().find(({ type }) => type === 'af_xdp')!;
if (!offered.available) console.log(`skipped: no af_xdp here: ${offered.reason}`);
const skip = !offered.available;

type Memory = import('../../src/index.js').MemoryPort;

/** Counts what the host gets to see of what arrives, until its input ends. */
const witness = `
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(('left', 3))
print('ready', flush=True)
n = 0
while True:
  ready = select.select([s, sys.stdin], [], [])[0]
  if s in ready and s.recvfrom(100)[1][2] != 4: n += 1
  elif sys.stdin in ready: break
print(n)`;

describe('the interface of an af_xdp port', () => {
  sceneTest(
    'gets more queues under traffic: they are served, and the host sees not one frame',
    async ({ open, until, sleep, ip, run, childProcess, expectLedgerCloses, assert, args }) => {
      const queues = 'numtxqueues 4 numrxqueues 4';
      await ip(`link add feed ${queues} type veth peer name left ${queues}`);
      for (const device of ['feed', 'left']) {
        await run('ethtool', '-L', device, 'rx', '1', 'tx', '1').catch(() => {}); // as it is
        await ip(`link set ${device} up`);
      }
      const dp = await open({
        ports: [
          { name: 'source', type: 'memory', number: 1, queueLength: 65_536 },
          { name: 'feed', type: 'af_xdp', number: 2 },
          { name: 'left', type: 'af_xdp', number: 3 },
          { name: 'sink', type: 'null', number: 4 },
        ],
        flows: [
          { match: 'in_port(1)', actions: '2' },
          { match: 'in_port(3)', actions: '4' },
        ],
      });
      // What the host gets to see, a packet socket sees.
      const witness = childProcess.spawn('python3', ['-c', args], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      let seen = '';
      witness.stdout.on('data', (text) => {
        seen += text;
      });
      await until('it looks', () => seen === 'ready\n');
      const left = dp.ports.get('left')!;
      const source = dp.ports.get('source') as Memory;
      // UDP flows, which spread over the queues.
      const frames = Array.from({ length: 64 }, (_, flow) => {
        const ip = '4500002e0000000040110000c6120001c6130001';
        const frame = Buffer.from(`020000000001020000000002${'0800'}${ip}`.padEnd(120, '0'), 'hex');
        frame.writeUInt16BE(1000 + flow, 34);
        return frame;
      });
      let flood = true;
      const flooded = (async () => {
        for (; flood; await sleep(1)) source.inject(frames);
      })();
      await until('traffic', () => left.stats().rxPackets > 1_000n);
      await run('ethtool', '-L', 'left', 'rx', '4');
      await run('ethtool', '-L', 'feed', 'rx', '4', 'tx', '4');
      // Once the sending port has found its own new queues, its thread has one of them.
      const onANewQueue = /rx_queue_[123]_xdp_packets: [1-9]/;
      await until('traffic', async () => onANewQueue.test(await run('ethtool', '-S', 'left')));
      flood = false;
      await flooded;
      await dp.settle();
      await sleep(50);
      const before = left.stats().rxPackets;
      for (let i = 0; i < 10; i++) source.inject(frames);
      await until('all are in', () => left.stats().rxPackets === before + 640n);
      witness.stdin.end();
      await until('it tells', () => /\d/.test(seen));
      assert.equal(seen, 'ready\n0\n');
      await expectLedgerCloses(dp);
    },
    { skip, args: witness },
  );

  sceneTest(
    'keeps to the MTU of the other end',
    async ({ pair, open, ip, link, assert, expectLedgerCloses }) => {
      await pair('out', 'far');
      const dp = await open({
        ports: [
          { name: 'source', type: 'memory', number: 1 },
          { name: 'out', type: 'af_xdp', number: 2 },
        ],
        flows: [{ match: 'in_port(1)', actions: '2' }],
      });
      const source = dp.ports.get('source') as Memory;
      const out = dp.ports.get('out')!;
      const send = async (size: number) => {
        const sent = out.stats().txPackets;
        source.inject(Array.from({ length: 10 }, () => Buffer.alloc(size, 2)));
        await dp.settle();
        return out.stats().txPackets - sent;
      };
      assert.equal(await send(500), 10n);
      await ip('link set far mtu 200');
      assert.equal(await send(500), 0n);
      assert.equal(await send(200), 10n);
      assert.equal((await link('far')).stats64.rx.packets, Number(out.stats().txPackets));
      const { drops } = await expectLedgerCloses(dp);
      assert.equal(drops.tx_queue_full, 10n);
    },
    { skip },
  );
});

describe('busyPoll', () => {
  sceneTest(
    'frames get through while threads poll, after they have slept, and when a port has come back',
    async ({ pair, open, until, sleep, assert, expectLedgerCloses }) => {
      await pair('left', 'right');
      const common = { type: 'af_xdp', busyPoll: true } as const;
      const dp = await open({
        ports: [
          { name: 'source', type: 'memory', number: 1 },
          { name: 'left', number: 2, ...common },
          { name: 'right', number: 3, ...common },
          { name: 'sink', type: 'memory', number: 4, queueLength: 4096 },
        ],
        flows: [
          { match: 'in_port(1)', actions: '2' },
          { match: 'in_port(3)', actions: '4' },
        ],
      });
      const port = (name: string) => dp.ports.get(name)!;
      assert.match(port('left').mode, / busy-poll$/);
      const source = port('source') as Memory;
      let sent = 0n;
      const send = async (count: number) => {
        for (let i = 0; i < count; i++) source.inject([Buffer.alloc(60 + (i % 1400), 2)]);
        sent += BigInt(count);
        await until('all are through', () => port('sink').stats().txPackets === sent);
      };
      await send(1_000);
      await sleep(300); // the threads sleep
      await send(1_000);
      await dp.deletePort('right');
      await dp.addPort({ name: 'right', number: 3, ...common });
      await send(1_000);
      assert.equal(port('right').stats().rxDropped, 0n);
      await expectLedgerCloses(dp);
    },
    { skip },
  );
});

describe('the process of an af_xdp port', () => {
  sceneTest(
    'what it lacks is said, with a hint that works: capabilities, locked memory, another program',
    async ({ pair, run, open, childProcess, packageUrl, assert, DatapathError }) => {
      await pair('out', 'far');
      const program = `
      const { Datapath } = await import(${JSON.stringify(packageUrl)});
      const dp = new Datapath();
      const error = await dp.addPort({ name: 'out', type: 'af_xdp' }).then(() => ({}), (e) => e);
      const { code, hint, port } = error;
      await dp.close();
      console.log(JSON.stringify({ code, hint, port, types: Datapath.portTypes() }));`;
      const attempt = (...wrapper: string[]) => {
        const [command, ...args] = [
          ...wrapper,
          ...[process.execPath, '--input-type=module', '--eval', program],
        ];
        const { stdout, stderr } = childProcess.spawnSync(command!, args, {
          encoding: 'utf8',
          timeout: 10_000,
        });
        assert.notEqual(stdout, '', stderr);
        return JSON.parse(stdout);
      };
      const without = (caps: string) => [
        ...['setpriv', `--bounding-set=-${caps}`, `--inh-caps=-${caps}`],
      ];
      const bare = attempt(...without('all'));
      assert.equal(bare.code, 'EPERM');
      assert.equal(bare.port, 'out');
      assert.match(bare.hint, /CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF/);
      const type = bare.types.find((one: { type: string }) => one.type === 'af_xdp');
      assert.equal(type.available, false);
      assert.match(type.reason, /CAP_NET_RAW/);

      const small = ['prlimit', '--memlock=65536', ...without('ipc_lock')];
      const locked = attempt(...small);
      assert.equal(locked.code, 'ENOBUFS');
      assert.match(locked.hint, /ulimit -l unlimited/);
      // One of the two that the hint offers. Not every machine lets a test raise limits.
      assert.equal(attempt('prlimit', '--memlock=65536').code, undefined);

      const dp = await open();
      await dp.addPort({ name: 'holder', type: 'af_xdp', device: 'out' });
      await assert.rejects(dp.addPort({ name: 'out', type: 'af_xdp' }), (error) => {
        assert.ok(error instanceof DatapathError);
        assert.equal(error.code, 'EBUSY');
        assert.match(error.message, /that of port "holder"/);
        return true;
      });
      await assert.rejects(
        dp.addPort({ name: 'far', type: 'af_xdp', mode: 'zerocopy' }),
        (error) => /^E(OP)?NOTSUPP?$/.test(error.code) && /"native"/.test(error.hint),
      );
      await dp.deletePort('holder');
      const port = await dp.addPort({ name: 'out', type: 'af_xdp', mode: 'native' });
      assert.equal(port.mode, 'native-copy');
      await assert.rejects(
        dp.addPort({ name: 'far', type: 'af_xdp', rxqs: 2 }),
        (error) => error.code === 'EINVAL' && /ethtool -L far rx 2/.test(error.hint),
      );
      await run('ip', 'link', 'show', 'far');
    },
    { skip },
  );
});
