/**
 * What a machine does to interfaces while packets flow: for each type of port that has one, flaps, deletion, renaming, another
 * namespace, another MTU; peers that take nothing; a process killed at any moment. Afterwards everything works as before, other
 * ports have lost nothing, nothing has leaked, and every packet is accounted for.
 */
import { describe } from 'vitest';
import { Datapath, type MemoryPort, type PortSpec } from '../../src/index.js';
import { sceneTest } from '../support/netns.js';

/**
 * The interface is `near`. `make`: what makes it, or makes it again; `far`: where frames sent to the port arrive, and whence
 * frames come to it. A tap's own interface is its far end.
 */
interface Type {
  readonly type: PortSpec['type'];
  readonly make: readonly string[];
  readonly made: boolean; // before the port, or by it
  readonly far: string;
  readonly moved: 'gone' | 'down'; // what it is for the port to be in another namespace
}
const veth = {
  make: ['link add near type veth peer name far', 'link set far up', 'link set near up'],
  made: true,
  far: 'far',
  moved: 'gone',
} as const;
const types: readonly Type[] = [
  { type: 'af_packet', ...veth },
  { type: 'af_xdp', ...veth },
  { type: 'tap', make: ['tuntap add dev near mode tap'], made: false, far: 'near', moved: 'down' },
];

describe.each(types)('$type', (args) => {
  const { available, reason } = Datapath.portTypes().find(({ type }) => type === args.type)!;
  if (!available) console.log(`skipped: no ${args.type} here: ${reason}`);
  sceneTest(
    'deleted and recreated, renamed, moved to another namespace and back: 100 times each',
    async ({
      args,
      host,
      open,
      ip,
      ipShell,
      reaches,
      until,
      sleep,
      fs,
      assert,
      descriptors,
      expectLedgerCloses,
    }) => {
      const { make, made, far, moved } = args;
      const type = args.type as 'af_packet';
      const elsewhere = await host('elsewhere', 9, { own: true });
      const here = ipShell();
      const there = ipShell(elsewhere.pid);
      if (made) for (const line of make) await ip(line);
      // What comes in goes back out.
      const dp = await open({
        ports: [{ name: 'near', type, number: 1 }],
        flows: [{ match: 'in_port(1)', actions: '1' }],
      });
      const port = dp.ports.get('near')!;
      const probe = await open({
        ports: [
          { name: 'far', type: 'af_packet', device: far, number: 1 },
          { name: 'frames', type: 'memory', number: 2, queueLength: 100_000 },
        ],
        flows: [
          { match: 'in_port(2)', actions: '1' },
          { match: 'in_port(1),eth(src=02:00:00:00:00:01),eth_type(0x88b5)', actions: '2' },
        ],
      });
      const farPort = probe.ports.get('far')!;
      const frames = probe.ports.get('frames') as MemoryPort;
      const works = async () => {
        await reaches(port, 'up');
        await reaches(farPort, 'up');
        frames.drain();
        // Both are up as the kernel says, but one may have been told before the other.
        const end = Date.now() + 10_000;
        do {
          assert.ok(Date.now() < end, 'no frame comes back');
          frames.inject(Buffer.from(`020000000002${'020000000001'}88b5${'00'.repeat(46)}`, 'hex'));
          await sleep(1);
        } while (frames.drain().length === 0);
      };
      /** Waits for it to be in the namespace of a process. */
      const arrives = async (pid: number) => {
        const end = Date.now() + 10_000;
        while (!/^ *near:/m.test(fs.readFileSync(`/proc/${pid}/net/dev`, 'utf8'))) {
          assert.ok(Date.now() < end, 'it does not arrive');
          await sleep(1);
        }
      };
      await works();

      const rounds = 100;
      let before = 0;
      let memory = 0;
      const slowest = { deleted: 0, moved: 0 };
      const gone: string[] = [];
      dp.on('portGone', ({ name }) => gone.push(name));
      for (let round = 0; round < rounds; round++) {
        here.do('link del near');
        await reaches(port, 'gone');
        here.do(...make);
        let start = Date.now();
        await works();
        slowest.deleted = Math.max(slowest.deleted, Date.now() - start);

        // A name is nothing to those who hold the interface.
        here.do('link set near name other');
        await works();
        here.do('link set other name near');
        await works();

        here.do(`link set near netns ${elsewhere.pid}`);
        await reaches(port, moved);
        await arrives(elsewhere.pid);
        if (round === 0) {
          assert.doesNotMatch(
            await elsewhere.ip('-d link show near'),
            /prog\/xdp|promiscuity [1-9]/,
          );
        }
        there.do(`link set near netns ${process.pid}`);
        await arrives(process.pid);
        if (made) here.do('link set near up');
        start = Date.now();
        await works();
        slowest.moved = Math.max(slowest.moved, Date.now() - start);
        if (round === 9) {
          before = descriptors();
          memory = process.memoryUsage.rss();
        }
      }
      assert.ok(gone.length >= rounds);
      // Since then an af_packet port may have made a ring ahead, and opened its AF_XDP socket.
      await until('no descriptor has leaked', () => descriptors() <= before + 2);
      const grown = (process.memoryUsage.rss() - memory) / 1e6;
      assert.ok(grown < 64, `${grown} MB more`);
      for (const datapath of [dp, probe]) await expectLedgerCloses(datapath);
      return slowest;
    },
    { args, limitMs: 60_000, skip: !available },
  );

  sceneTest(
    'up and down 200 times under a flood: afterwards it loses nothing, and another port never did',
    async ({
      args,
      open,
      ip,
      ipShell,
      link,
      reaches,
      until,
      assert,
      descriptors,
      expectLedgerCloses,
    }) => {
      const { make, made, far } = args;
      const type = args.type as 'af_packet';
      const here = ipShell();
      if (made) for (const line of make) await ip(line);
      // All in one thread: who sends to a port that is down delays nobody.
      const dp = await open({
        topology: { numa: [[0]] },
        ports: [
          { name: 'near', type, number: 1 },
          { name: 'in', type: 'memory', number: 2, queueLength: 10_000 },
          { name: 'out', type: 'memory', number: 3, queueLength: 10_000 },
          { name: 'again', type: 'memory', number: 5, queueLength: 10_000 },
        ],
        flows: [
          { match: 'in_port(2)', actions: '3' },
          { match: 'in_port(4)', actions: '1' },
          { match: 'in_port(5)', actions: '1' },
        ],
      });
      const port = dp.ports.get('near')!;
      const [input, output, again] = ['in', 'out', 'again'].map(
        (name) => dp.ports.get(name) as MemoryPort,
      );
      let told = 0;
      dp.on('portUp', () => told++);
      await dp.addPort({ name: 'flood', type: 'null', number: 4, generate: true });
      const frames = Array.from({ length: 20 }, () => Buffer.alloc(60, 0x02));
      const before = descriptors();
      let other = 0;
      let got = 0;
      for (let i = 0; i < 200; i++) {
        here.do('link set near down');
        other += input!.inject(frames);
        // Now and then a state is waited for, now and then it is passed over.
        if (i % 3 === 0) await reaches(port, 'down');
        here.do('link set near up');
        if (i % 3 !== 1) await reaches(port, 'up');
        got += output!.drain().length;
      }
      await until('the last up', async () => (await link('near')).flags.includes('UP'));
      await reaches(port, 'up');
      await dp.deletePort('flood');
      await dp.settle();
      got += output!.drain().length;
      assert.equal(got, other);
      assert.equal(other, 4000);
      assert.equal(input!.stats().rxDropped, 0n);
      assert.ok(told >= 66, `${told} times up`);

      // At rest, and nothing is lost any more.
      await until('the flood has arrived', async () => {
        const seen = (await link(far)).stats64.rx.packets;
        await dp.settle();
        return (await link(far)).stats64.rx.packets === seen;
      });
      const seen = (await link(far)).stats64.rx.packets;
      const { drops } = dp.stats();
      assert.ok(drops.tx_port_down! > 0n);
      for (let i = 0; i < 50; i++) {
        again!.inject(frames);
        await dp.settle();
      }
      const then = await link(far);
      assert.equal(then.stats64.rx.packets - seen, 1000);
      assert.equal(dp.stats().drops.tx_port_down, drops.tx_port_down);
      // A driver may hold one more when it has looked round; not one more each time.
      assert.ok(descriptors() - before < 20);
      await expectLedgerCloses(dp);
    },
    { args, limitMs: 60_000, skip: !available },
  );

  sceneTest(
    'its MTU shrinks under a flow of 1500 bytes: nothing longer leaves, it is counted, and goes on when there is room',
    async ({ args, open, ip, link, until, assert, expectLedgerCloses }) => {
      const { make, made, far } = args;
      const type = args.type as 'af_packet';
      if (made) for (const line of make) await ip(line);
      const dp = await open({
        ports: [
          { name: 'near', type, number: 1 },
          { name: 'source', type: 'memory', number: 2 },
        ],
        flows: [{ match: 'in_port(2)', actions: '1' }],
      });
      const source = dp.ports.get('source') as MemoryPort;
      const port = dp.ports.get('near')!;
      const arrived = async () => (await link(far)).stats64.rx;
      const send = async (size: number, n = 10) => {
        source.inject(Array.from({ length: n }, () => Buffer.alloc(size, 0x02)));
        await dp.settle();
      };
      const tooLong = () => dp.stats().drops.tx_mtu_exceeded!;
      await send(1514);
      assert.equal(port.stats().txPackets, 10n);
      let sent = 10n;
      for (const mtu of [1499, 1000, 600]) {
        // The flow goes on meanwhile.
        const change = ip(`link set near mtu ${mtu}`);
        const counted = tooLong();
        await until('the port has noticed', async () => {
          await send(1514, 1);
          return tooLong() > counted;
        });
        await change;
        const { packets } = await arrived();
        const dropped = tooLong();
        sent = port.stats().txPackets;
        await send(1514);
        await send(mtu + 15);
        assert.equal(tooLong() - dropped, 20n);
        await send(mtu + 14);
        assert.equal(port.stats().txPackets - sent, 10n);
        const rx = await arrived();
        assert.equal(rx.packets - packets, 10);
        await ip('link set near mtu 1500');
        await until('there is room again', async () => {
          const { txPackets } = port.stats();
          await send(1514, 1);
          return port.stats().txPackets > txPackets;
        });
      }
      assert.equal(dp.stats().drops.tx_error, 0n);
      await expectLedgerCloses(dp);
    },
    { args, skip: !available },
  );
});

describe('a peer that takes nothing', () => {
  sceneTest(
    'drops are counted, nobody tries again for ever, and another port of the same thread loses nothing',
    async ({ open, pair, ip, childProcess, link, assert, reaches, expectLedgerCloses }) => {
      await pair('slow', 'slow-far');
      await pair('fast', 'fast-far');
      const dp = await open({
        topology: { numa: [[0]] },
        ports: [
          { name: 'slow', type: 'af_packet', number: 1 },
          { name: 'fast', type: 'af_packet', number: 2 },
          { name: 'source', type: 'memory', number: 3 },
        ],
        flows: [{ match: 'in_port(3)', actions: '1,2' }],
      });
      const source = dp.ports.get('source') as MemoryPort;
      const slow = dp.ports.get('slow')!;
      const frames = Array.from({ length: 100 }, () => Buffer.alloc(1000, 0x02));
      const hindrances = [
        // [what, how, what ends it, whether the kernel drops or queues without a word]
        [
          'a slow queue',
          'qdisc add dev slow root tbf rate 8kbit burst 2kb latency 50ms',
          'qdisc del dev slow root',
        ],
        ['a smaller MTU', 'link set slow-far mtu 600', 'link set slow-far mtu 1500'],
        ['down', 'link set slow-far down', 'link set slow-far up'],
      ] as const;
      for (const [what, start, end] of hindrances) {
        const run = async (command: string) => {
          if (command.startsWith('link')) await ip(command);
          else childProcess.execFileSync('tc', command.split(' '));
        };
        await run(start);
        if (what === 'down') await reaches(slow, 'down');
        const before = { slow: slow.stats(), far: (await link('fast-far')).stats64.rx.packets };
        for (let i = 0; i < 20; i++) {
          assert.equal(source.inject(frames), 100);
          await dp.settle();
        }
        const { txPackets, txDropped } = slow.stats();
        const tried = txPackets - before.slow.txPackets + txDropped - before.slow.txDropped;
        assert.equal(tried, 2000n, what);
        if (what !== 'a slow queue') assert.equal(txPackets, before.slow.txPackets, what);
        assert.equal((await link('fast-far')).stats64.rx.packets - before.far, 2000, what);
        await run(end);
      }
      await reaches(slow, 'up');
      const seen = (await link('slow-far')).stats64.rx.packets;
      source.inject(frames);
      await dp.settle();
      assert.equal((await link('slow-far')).stats64.rx.packets - seen, 100);
      assert.equal(dp.ports.get('fast')!.stats().txDropped, 0n);
      await expectLedgerCloses(dp);
    },
  );
});

describe('a tap', () => {
  sceneTest(
    'moved into the namespace of a host, it is followed and works there',
    async ({ host, open, crossed, ip, reaches, assert, expectLedgerCloses }) => {
      const right = await host('right', 2);
      const inside = await host('inside', 3);
      const dp = await open({
        ports: [
          { name: 'near', type: 'tap', number: 1 },
          { name: 'right', type: 'af_packet', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      const port = dp.ports.get('near')!;
      const events: string[] = [];
      dp.on('portDown', (_, reason) => events.push(reason.message));
      dp.on('portUp', ({ name }) => events.push(`${name} up`));
      dp.on('portGone', ({ name }) => events.push(`${name} gone`));
      await ip(`link set near netns ${inside.pid}`);
      await reaches(port, 'down');
      await inside.ip('addr flush dev eth0');
      await inside.ip('addr add 192.0.2.3/24 dev near');
      await inside.ip('link set near up');
      await reaches(port, 'up');
      const { sent, received } = await right.call('ping', { to: '192.0.2.3', count: 20 });
      assert.equal(received, sent);
      await inside.ip('link set near down');
      await reaches(port, 'down');
      await inside.ip('link set near up');
      await reaches(port, 'up');
      await inside.ip('link del near');
      await reaches(port, 'gone');
      const down = 'the interface is down';
      assert.deepEqual(events, [down, 'near up', down, 'near up', down, 'near gone']);
      await expectLedgerCloses(dp);
    },
  );

  sceneTest(
    'held by another program when it comes back, it is tried until that lets go',
    async ({ open, ip, reaches, sleep, assert, childProcess }) => {
      const dp = await open({ ports: [{ name: 'near', type: 'tap', number: 1 }] });
      const port = dp.ports.get('near')!;
      const warnings: string[] = [];
      process.on('warning', ({ message }) => warnings.push(message));
      await ip('link del near');
      await reaches(port, 'gone');
      // Makes the interface and holds its file.
      const program = `
import fcntl, struct, sys
tun = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'near', 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
fcntl.ioctl(tun, 0x400454cb, 1)  # TUNSETPERSIST
print('held', flush=True)
sys.stdin.read()`;
      const holder = childProcess.spawn('python3', ['-c', program], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => holder.stdout.once('data', resolve));
      for (const end = Date.now() + 10_000; warnings.length === 0 && Date.now() < end; )
        await sleep(10);
      assert.match(warnings.join(), /"near" cannot use its interface again: .*busy.*every second/i);
      assert.equal(port.state, 'gone');
      holder.stdin.end();
      await new Promise((resolve) => holder.once('exit', resolve));
      await reaches(port, 'up');
      assert.equal(warnings.length, 1);
      await ip('tuntap del dev near mode tap').catch(() => {});
    },
  );
});

describe('a process', () => {
  sceneTest(
    'killed at any moment of opening, closing and forwarding, it leaves nothing behind',
    async ({ pair, ip, childProcess, packageUrl, sleep, until, assert, Datapath }) => {
      await pair('one', 'one-far');
      await pair('two', 'two-far');
      const offered = Datapath.portTypes().find(({ type }) => type === 'af_xdp')!;
      const second = offered.available ? 'af_xdp' : 'af_packet';
      const program = `
      const { Datapath } = await import(${JSON.stringify(packageUrl)});
      const dp = await Datapath.open({ flows: [
        { match: 'in_port(1)', actions: '2,3' },
        { match: 'in_port(2)', actions: '1,3' },
        { match: 'in_port(4)', actions: '1,2,3' },
      ] });
      process.stdout.write('ready');
      const specs = [
        { name: 'one', type: 'af_packet', number: 1, rxqs: 2 },
        { name: 'two', type: '${second}', number: 2 },
        { name: 'near', type: 'tap', number: 3 },
        { name: 'flood', type: 'null', number: 4, generate: true },
      ];
      for (;;) {
        for (const spec of specs) await dp.addPort(spec);
        await dp.reload();
        for (const { name } of specs) await dp.deletePort(name);
      }`;
      const snapshot = async () => {
        const links = JSON.parse(await ip('-d -j link show'));
        const queues = childProcess.execFileSync('tc', ['qdisc', 'show'], { encoding: 'utf8' });
        return [
          queues,
          ...links.map(({ ifname, promiscuity, allmulti, xdp, mtu, flags }: any) =>
            JSON.stringify({ ifname, promiscuity, allmulti, xdp, mtu, flags }),
          ),
        ];
      };
      const before = await snapshot();
      const rounds = 15;
      for (let round = 0; round < rounds; round++) {
        const child = childProcess.spawn(
          process.execPath,
          ['--input-type=module', '--eval', program],
          {
            stdio: ['ignore', 'pipe', 'inherit'],
          },
        );
        const exited = new Promise<NodeJS.Signals>((resolve) =>
          child.once('exit', (_, signal) => resolve(signal!)),
        );
        await new Promise((resolve) => child.stdout.once('data', resolve));
        await sleep((round * 97) / rounds);
        child.kill('SIGKILL');
        assert.equal(await exited, 'SIGKILL');
        await until('all is as before', async () => `${await snapshot()}` === `${before}`);
      }
    },
    { limitMs: 60_000 },
  );
});
