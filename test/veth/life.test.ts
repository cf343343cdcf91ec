/** What an interface, a process and a privilege can do to a port: go, come back, be killed, be missing. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

describe('the life of an interface', () => {
  sceneTest(
    'down and up, deleted and recreated: events, and then traffic again',
    async ({ host, open, crossed, talk, until, assert, ip, expectLedgerCloses }) => {
      const left = await host('left', 1);
      const right = await host('right', 2);
      const dp = await open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1 },
          { name: 'right', type: 'af_packet', number: 2 },
        ],
        flows: crossed(1, 2),
      });
      const events: string[] = [];
      dp.on('portUp', (port) => events.push(`${port.name} up`));
      dp.on('portDown', (port, { code }) => events.push(`${port.name} down ${code}`));
      dp.on('portGone', (port) => events.push(`${port.name} gone`));
      const port = dp.ports.get('left')!;
      const told = (...expected: string[]) =>
        until(`${expected} but ${events}`, () => events.join() === expected.join());
      await talk(left, right, { megabytes: 1 });
      assert.deepEqual(events, []);

      await ip('link set left down');
      await told('left down ENETDOWN');
      assert.equal(port.state, 'down');
      await ip('link set left up');
      await told('left down ENETDOWN', 'left up');
      assert.equal(port.state, 'up');
      await talk(left, right, { megabytes: 1 });

      // The other end goes down: no carrier.
      events.length = 0;
      await left.ip('link set eth0 down');
      await told('left down ENETDOWN');
      await left.ip('link set eth0 up');
      await told('left down ENETDOWN', 'left up');

      events.length = 0;
      await ip('link del left');
      await until('gone', () => port.state === 'gone');
      assert.equal(events.at(-1), 'left gone');
      // It stays configured.
      assert.equal(dp.ports.get('left'), port);
      await left.connect();
      await until('back', () => port.state === 'up');
      assert.equal(events.at(-1), 'left up');
      await talk(left, right, { megabytes: 20 });
      assert.equal(dp.ports.get('right')!.state, 'up');
      await expectLedgerCloses(dp);
    },
  );

  sceneTest(
    'what is sent to a port that is down or gone is dropped and counted',
    async ({ pair, open, until, assert, ip, expectLedgerCloses }) => {
      await pair('out', 'far');
      const dp = await open({
        ports: [
          { name: 'source', type: 'memory', number: 1 },
          { name: 'out', type: 'af_packet', number: 2 },
        ],
        flows: [{ match: 'in_port(1)', actions: '2' }],
      });
      const source = dp.ports.get('source') as import('../../src/index.js').MemoryPort;
      const out = dp.ports.get('out')!;
      const send = async () => {
        source.inject(Array.from({ length: 10 }, () => Buffer.alloc(60)));
        await dp.settle();
        return out.stats();
      };
      assert.equal((await send()).txPackets, 10n);
      await ip('link set out down');
      await until('down', () => out.state === 'down');
      assert.equal((await send()).txDropped, 10n);
      await ip('link del out');
      await until('gone', () => out.state === 'gone');
      assert.equal((await send()).txDropped, 20n);
      await pair('out', 'far');
      await until('up', () => out.state === 'up');
      assert.equal((await send()).txPackets, 20n);
      const { drops } = await expectLedgerCloses(dp);
      assert.equal(drops.tx_port_down, 20n);
    },
  );
});

describe('the life of a process', () => {
  sceneTest(
    'SIGKILL under traffic leaves no promiscuous interface and no tap',
    async ({ host, link, ip, childProcess, packageUrl, until, assert }) => {
      const left = await host('left', 1);
      await host('right', 2);
      const program = `
      const { Datapath } = await import(${JSON.stringify(packageUrl)});
      const dp = await Datapath.open({
        ports: [
          { name: 'left', type: 'af_packet', number: 1, rxqs: 2 },
          { name: 'right', type: 'af_packet', number: 2 },
          { name: 'flood', type: 'null', number: 3, generate: true },
        ],
        flows: [
          { match: 'in_port(1)', actions: '2' },
          { match: 'in_port(2)', actions: '1' },
          { match: 'in_port(3)', actions: '1,2' },
        ],
      });
      await dp.addPort({ name: 'tap5', type: 'tap', number: 5 }).catch(() => {});
      console.log('ready');`;
      const promiscuity = async () => [
        (await link('left')).promiscuity,
        (await link('right')).promiscuity,
      ];
      for (let round = 0; round < 5; round++) {
        const child = childProcess.spawn(
          process.execPath,
          ['--input-type=module', '--eval', program],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        await new Promise((resolve) => child.stdout.once('data', resolve));
        assert.deepEqual(
          (await promiscuity()).map((n) => n > 0),
          [true, true],
        );
        const seen = (await link('left')).stats64.tx.packets;
        await until('traffic', async () => (await link('left')).stats64.tx.packets > seen + 1_000);

        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('exit', resolve));
        assert.deepEqual(await promiscuity(), [0, 0]);
        assert.doesNotMatch(await ip('link show'), /tap5/);
      }
      await left.stop();
    },
  );

  sceneTest(
    'what the process starts does not inherit a device',
    async ({ pair, open, childProcess, assert }) => {
      await pair('out', 'far');
      await open({ ports: [{ name: 'out', type: 'af_packet' }] });
      const { stdout } = childProcess.spawnSync('ls', ['-l', '/proc/self/fd'], {
        encoding: 'utf8',
      });
      const inherited = [...stdout.matchAll(/ (\d+) -> (\S+)/g)].filter(
        ([, fd, file]) => Number(fd) > 2 && /^(socket|anon_inode|\/dev\/net)/.test(file!),
      );
      assert.deepEqual(inherited, []);
    },
  );
});

describe('an interface that cannot be had', () => {
  sceneTest('unknown: ENODEV', async ({ open, assert, DatapathError }) => {
    const dp = await open();
    await assert.rejects(
      dp.addPort({ name: 'x', type: 'af_packet', device: 'nosuchdevice' }),
      (error) => {
        assert.ok(error instanceof DatapathError);
        assert.equal(error.code, 'ENODEV');
        assert.equal(error.port, 'x');
        assert.match(error.message, /nosuchdevice/);
        assert.match(error.hint!, /ip link/);
        return true;
      },
    );
    assert.equal(dp.ports.size, 0);
    // Its name and number are free.
    await dp.addPort({ name: 'x', type: 'memory', number: 1 });
  });

  sceneTest(
    'without the privilege: EPERM, and the hint names the capability',
    async ({ pair, childProcess, packageUrl, assert }) => {
      await pair('out', 'far');
      const program = `
      const { Datapath, DatapathError } = await import(${JSON.stringify(packageUrl)});
      const dp = new Datapath();
      const results = [];
      for (const spec of [
        { name: 'out', type: 'af_packet' },
        { name: 'tap5', type: 'tap' },
      ]) {
        const error = await dp.addPort(spec).then(() => ({}), (error) => error);
        const { code, errno, hint, port } = error;
        results.push({ ours: error instanceof DatapathError, code, errno, hint, port });
      }
      results.push(dp.ports.size);
      // And it works on, without privileges.
      await dp.addPort({ name: 'out', type: 'memory' });
      results.push(dp.ports.size);
      await dp.close();
      console.log(JSON.stringify(results));`;
      // Still root by name, which may read the package wherever it lies, but without any capability.
      const { stdout, stderr } = childProcess.spawnSync(
        'setpriv',
        [
          ...['--bounding-set=-all', '--inh-caps=-all', process.execPath],
          ...['--input-type=module', '--eval', program],
        ],
        { encoding: 'utf8', timeout: 10_000 },
      );
      assert.notEqual(stdout, '', stderr);
      const [packet, tap, ports, portsThen] = JSON.parse(stdout);
      assert.deepEqual(
        { ...packet, hint: '' },
        { ours: true, code: 'EPERM', errno: -1, hint: '', port: 'out' },
      );
      assert.match(packet.hint, /CAP_NET_RAW/);
      assert.ok(tap.ours);
      assert.match(tap.code, /^(EPERM|EACCES|ENOENT)$/); // without the device, in a container
      if (tap.code !== 'ENOENT') assert.match(tap.hint, /CAP_NET_ADMIN/);
      assert.equal(ports, 0);
      assert.equal(portsThen, 1);
    },
  );
});
