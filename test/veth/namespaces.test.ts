/** Interfaces that are elsewhere: in another network namespace, or not there yet. */
import { describe } from 'vitest';
import { sceneTest } from '../support/netns.js';

describe('a port of another network namespace', () => {
  for (const type of ['af_packet', 'af_xdp'] as const) {
    sceneTest(
      `${type}: two namespaces joined, with interfaces of one name and one index`,
      async ({ args, host, open, talk, until, reaches, assert, descriptors, link }) => {
        const left = await host('left', 1, { wired: false });
        const right = await host('right', 2, { wired: false });
        const connect = async (of: typeof left) => {
          await of.ip('link add p0 type veth peer name eth0');
          await of.ip(`addr add ${of.ipv4}/24 dev eth0`);
          for (const device of ['eth0', 'p0']) await of.ip(`link set ${device} up`);
        };
        await connect(left);
        await connect(right);
        const dp = await open({});
        const events: string[] = [];
        dp.on('portUp', ({ name }) => events.push(`${name} up`));
        dp.on('portDown', ({ name }) => events.push(`${name} down`));
        dp.on('portGone', ({ name }) => events.push(`${name} gone`));
        const before = descriptors();
        const { type } = args;
        const one = await dp.addPort({ name: 'left', type, device: 'p0', netns: left.pid });
        const netns = `/proc/${right.pid}/ns/net`;
        const other = await dp.addPort({ name: 'right', type, device: 'p0', netns });
        assert.deepEqual([one.state, other.state], ['up', 'up']);
        const wire = dp.wire(one, other);
        await talk(left, right, { megabytes: 2 });
        assert.ok(one.stats().rxPackets > 0n && other.stats().rxPackets > 0n);

        // What becomes of the one is not told of the other.
        await left.ip('link set p0 down');
        await reaches(one, 'down');
        await left.ip('link set p0 up');
        await reaches(one, 'up');
        await left.ip('link del p0');
        await reaches(one, 'gone');
        assert.deepEqual(
          events.filter((event) => event.startsWith('right')),
          [],
        );
        await connect(left);
        await reaches(one, 'up');
        await talk(left, right, { megabytes: 2 });

        wire.remove();
        await dp.deletePort(one);
        await dp.deletePort(other);
        await until('descriptors are given back', () => descriptors() <= before + 2);
        // All else is where it was.
        await assert.rejects(link('p0'), () => true);
        await assert.rejects(
          dp.addPort({ name: 'here', type, device: 'p0' }),
          ({ code }) => code === 'ENODEV',
        );
      },
      { args: { type } },
    );
  }

  sceneTest('tap: it is made there', async ({ host, open, assert, run }) => {
    const left = await host('left', 1, { wired: false });
    const dp = await open({});
    const port = await dp.addPort({ name: 'inside', type: 'tap', netns: left.pid });
    assert.equal(port.state, 'up');
    assert.match(await left.run('ip', 'link'), /inside/);
    assert.doesNotMatch(await run('ip', 'link'), /inside/);
  });

  sceneTest('its own, by a path', async ({ open, pair, reaches, assert, ip }) => {
    await pair('one', 'far');
    const dp = await open({});
    const netns = '/proc/self/ns/net';
    const port = await dp.addPort({ name: 'one', type: 'af_packet', netns });
    assert.equal(port.state, 'up');
    await ip('link del one');
    await reaches(port, 'gone');
    await pair('one', 'far');
    await reaches(port, 'up');
  });

  sceneTest('what is no namespace, and what may not enter one', async ({ open, assert, host }) => {
    const dp = await open({});
    const refused = async (netns: string | number, code: string, words: RegExp) => {
      const port = { name: 'p', type: 'af_packet', netns } as const;
      const error = await dp.addPort(port).then(
        () => assert.ok(false, `${netns} is taken`),
        (failure) => failure,
      );
      assert.equal(error.code, code, error.message);
      assert.match(`${error.message} ${error.hint}`, words);
    };
    await refused('blue', 'EINVAL', /\/var\/run\/netns\/blue/);
    await refused('/nowhere', 'ENOENT', /there is no network namespace "\/nowhere"/);
    await refused('/proc/self/ns/uts', 'EINVAL', /is no network namespace/);
    await refused('/etc/passwd', 'EINVAL', /is no network namespace/);
    await refused(0, 'EINVAL', /netns/);
    await refused(4_194_304, 'ENOENT', /there is no network namespace/);
    const left = await host('left', 1, { wired: false });
    await refused(left.pid, 'ENODEV', /there is no interface "p"/);
  });
});

describe('an interface by another name', () => {
  for (const type of ['af_packet', 'af_xdp'] as const) {
    sceneTest(
      `${type}: however long, also when it comes back, and it is one interface`,
      async ({ args, open, pair, reaches, assert, ip }) => {
        const { type } = args;
        const device = 'the-interface-at-the-left-of-the-lab';
        const connect = async () => {
          await pair('near', 'far');
          await ip(`link property add dev near altname ${device}`);
          await ip('link property add dev near altname short');
        };
        await connect();
        const dp = await open({});
        const port = await dp.addPort({ name: 'long', type, device, mtu: 1400 });
        assert.equal(port.state, 'up');
        for (const other of ['near', 'short', device]) {
          await assert.rejects(
            dp.addPort({ name: 'again', type, device: other }),
            ({ code }) => code === 'EBUSY',
          );
        }
        await ip('link set near down');
        await reaches(port, 'down');
        await ip('link del near');
        await reaches(port, 'gone');
        await connect();
        await reaches(port, 'up');
        await dp.deletePort(port);
        const short = await dp.addPort({ name: 'short', type });
        assert.equal(short.state, 'up');
        await ip('link del near');
        await reaches(short, 'gone');
        await connect();
        await reaches(short, 'up');
        await assert.rejects(
          dp.addPort({ name: 'none', type, device: `${device}-2` }),
          ({ code, message }) => code === 'ENODEV' && message.includes(`"${device}-2"`),
        );
      },
      { args: { type } },
    );
  }
});

describe('a port that waits for its interface', () => {
  for (const type of ['af_packet', 'af_xdp'] as const) {
    sceneTest(
      `${type}: gone, and up when it comes`,
      async ({ args, host, open, talk, reaches, assert, expectLedgerCloses, ip }) => {
        const { type } = args;
        const dp = await open({});
        await assert.rejects(dp.addPort({ name: 'a', type }), ({ code }) => code === 'ENODEV');
        const events: string[] = [];
        dp.on('portUp', (port) => events.push(`${port.name} up ${port.mode.split(' ')[0]}`));
        const one = await dp.addPort({ name: 'left', type, wait: true });
        const other = await dp.addPort({ name: 'right', type, wait: true });
        assert.deepEqual([one.state, one.mode], ['gone', 'waiting']);
        dp.wire(one, other);
        dp.execute(Buffer.alloc(60), 'left');
        assert.equal(dp.stats().drops.tx_port_down, 1n);
        await ip('link add decoy type veth peer name decoy2');
        const left = await host('left', 1);
        await reaches(one, 'up');
        assert.equal(other.state, 'gone');
        const right = await host('right', 2);
        await reaches(other, 'up');
        await talk(left, right, { megabytes: 2 });
        assert.ok(!one.mode.includes('waiting'), one.mode);
        assert.equal(events.length, 2);
        assert.ok(one.stats().rxPackets > 0n);
        // From then on it is like any other.
        await ip('link del left');
        await reaches(one, 'gone');
        await left.connect();
        await reaches(one, 'up');
        await talk(left, right, { megabytes: 2 });
        await dp.deletePort(one);
        await expectLedgerCloses(dp);
      },
      { args: { type } },
    );
  }

  sceneTest('in another namespace, deleted while it waits, and renumbered', async (scene) => {
    const { host, open, reaches, assert, talk } = scene;
    const left = await host('left', 1, { wired: false });
    const right = await host('right', 2);
    const dp = await open({});
    const netns = left.pid;
    const wait = { type: 'af_packet', device: 'p0', netns, wait: true } as const;
    const never = await dp.addPort({ ...wait, name: 'never', device: 'never' });
    const one = await dp.addPort({ ...wait, name: 'one' });
    const other = await dp.addPort({ name: 'right', type: 'af_packet' });
    assert.equal(never.state, 'gone');
    await dp.deletePort(never);
    await dp.renumberPort(one, 77);
    await dp.configure({ pmdCpus: [0] });
    dp.wire(one, other);
    await left.ip('link add p0 type veth peer name eth0');
    await left.ip(`addr add ${left.ipv4}/24 dev eth0`);
    for (const device of ['eth0', 'p0']) await left.ip(`link set ${device} up`);
    await reaches(one, 'up');
    await talk(left, right, { megabytes: 2 });
    assert.equal(one.number, 77);
  });
});
