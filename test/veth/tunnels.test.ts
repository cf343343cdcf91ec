/** What hosts do inside tunnels of their kernels: segments and checksums that are left to a card there are carried, or finished. */
import { accessSync, constants } from 'node:fs';
import { release } from 'node:os';
import { describe } from 'vitest';
import { type Scene, sceneTest } from '../support/netns.js';

function canOpenTun(): boolean {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Linux 6.17. */
function tellsOfTunnels(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return canOpenTun() && (major > 6 || (major === 6 && minor >= 17));
}

interface Args {
  type: 'af_packet' | 'af_xdp' | 'tap';
  /** What the kernel shall make; MINE and OTHER are the two hosts' addresses. */
  devices: string[];
  /** The kernel can be told of a tunnel's segments by a tap: from the second round on, they leave whole by af_packet, too. */
  whole: boolean;
}

// Runs in a process of its own: nothing of this file is seen there.
const scene = async ({
  args,
  host,
  open,
  crossed,
  expectLedgerCloses,
  startCounting,
  dropped,
  assert,
  until,
  link,
  ip,
}: Scene<Args>) => {
  const tap = args.type === 'tap';
  const hosts = [
    await host('left', 1, { wired: !tap }),
    await host('right', 2, { wired: !tap }),
  ] as const;
  const dp = await open({
    ports: [
      { name: 'left', type: args.type, number: 1 },
      { name: 'right', type: args.type, number: 2 },
    ],
    flows: crossed(1, 2),
  });
  if (tap) for (const h of hosts) await h.adopt(h.name);
  startCounting(dp);
  const counters = async () => {
    const bad: Record<string, number> = {};
    for (const h of hosts) {
      const text = await h.run('nstat', '-asz');
      for (const name of [
        'UdpInCsumErrors',
        'TcpInCsumErrors',
        'Udp6InCsumErrors',
        'IpInHdrErrors',
        'UdpInErrors',
      ]) {
        const value = Number(text.match(new RegExp(`^${name}\\s+(\\d+)`, 'm'))?.[1] ?? 0);
        if (value > 0) bad[`${h.name} ${name}`] = value;
      }
    }
    return bad;
  };
  const transfer = async (name: string, from: number, to: string, family: 4 | 6) => {
    const port = await hosts[1 - from]!.call('serve', { family });
    const bytes = 20_000_000;
    const result = await hosts[from]!.call('transfer', { to, port, bytes });
    assert.ok(result.equal, `TCP ${name}: other bytes arrived`);
  };
  await transfer('plain', 0, hosts[1].ipv4, 4);
  for (const [i, device] of args.devices.entries()) {
    for (const [n, h] of hosts.entries()) {
      const other = hosts[1 - n]!;
      const words = device
        .replace('MINE4', h.ipv4)
        .replace('OTHER4', other.ipv4)
        .replace('MINE6', h.ipv6)
        .replace('OTHER6', other.ipv6);
      await h.ip(`link add tun${i} ${words}`);
      await h.ip(`addr add 10.88.${i}.${n + 1}/24 dev tun${i}`);
      await h.ip(`addr add fd88:${i}::${n + 1}/64 dev tun${i} nodad`);
      await h.ip(`link set tun${i} up`);
    }
  }
  // What a host says before the other has its end is refused there, rightly.
  const before = await counters();
  const round = async () => {
    for (const [i, device] of args.devices.entries()) {
      for (const family of [4, 6] as const) {
        const name = `${device.split(' ').slice(1, 4).join(' ')} ${i}, IPv${family} inside`;
        const address = (n: number) =>
          family === 4 ? `10.88.${i}.${n + 1}` : `fd88:${i}::${n + 1}`;
        const { sent, received } = await hosts[0].call('ping', {
          to: address(1),
          count: 5,
          size: 1200,
        });
        assert.equal(received, sent, `ping ${name}`);
        await transfer(name, 0, address(1), family);
        await transfer(`${name}, back`, 1, address(0), family);
        const port = await hosts[1].call('echo', { family });
        const sizes = [4, 100, 1000, 1300, 4000].flatMap((size) => [size, size + 1, size + 7]);
        const echoed = await hosts[0].call('datagrams', { to: address(1), port, family, sizes });
        assert.equal(echoed, sizes.length, `datagrams ${name}`);
      }
    }
  };
  await round();
  const present = async () => (await ip('-o link')).match(/pollux-gso\d/g)?.sort() ?? [];
  if (args.whole) {
    const taps = ['pollux-gso0', 'pollux-gso1'];
    await until('each port has a tap', async () => (await present()).join() === taps.join());
    await round();
    // Four ways through four tunnels, half of them by each port.
    for (const tap of taps) assert.ok((await link(tap)).stats64.rx.bytes > 8 * 20_000_000 * 0.8);
    assert.deepEqual(dropped(dp, await expectLedgerCloses(dp)), {});
    await dp.deletePort('left');
    await until('one tap is left', async () => (await present()).length === 1);
    await dp.addPort({ name: 'left', type: args.type, number: 1 });
    // What a host said while its port was away is rightly dropped.
    startCounting(dp);
    await round();
  }
  assert.deepEqual(await counters(), before);
  const stats = await expectLedgerCloses(dp);
  assert.deepEqual(dropped(dp, stats), {});
  for (const port of Object.values(stats.ports)) assert.equal(port.rxErrors, 0n);
  if (args.whole) {
    // Somebody takes the taps down: what is in them then is lost, and nothing after that.
    await until('each port has a tap again', async () => (await present()).length === 2);
    for (const tap of await present()) await ip(`link set ${tap} down`);
    await round();
    const { drops } = await expectLedgerCloses(dp);
    const lost = drops.tx_port_down! - stats.drops.tx_port_down!;
    assert.ok(lost >= 1n && lost < 100n, `${lost} lost`);
  }
};

const vxlan = [
  'type vxlan id 1 local MINE4 remote OTHER4 dstport 4789 dev eth0 udpcsum',
  'type vxlan id 2 local MINE4 remote OTHER4 dstport 4790 dev eth0 noudpcsum',
  'type vxlan id 3 local MINE6 remote OTHER6 dstport 4791 dev eth0 udp6zerocsumtx udp6zerocsumrx',
  'type vxlan id 4 local MINE6 remote OTHER6 dstport 4792 dev eth0',
];

describe.each(['af_packet', 'af_xdp', 'tap'] as const)(
  'through tunnels of the kernel, between two %s ports',
  (type) => {
    sceneTest('TCP and datagrams arrive whole', scene, {
      limitMs: 60_000,
      skip: type === 'tap' && !canOpenTun(),
      args: { type, devices: vxlan, whole: type === 'af_packet' && tellsOfTunnels() },
    });
  },
);
