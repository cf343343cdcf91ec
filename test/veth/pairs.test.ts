/**
 * Conversations of two hosts through two ports, for every pair of port types: ping with fragments, TCP and UDP, IPv4 and IPv6; bare,
 * with one tag and with two; with jumbo frames; with the kernel's offloads as they are and without. Nothing may get lost.
 *
 *     host ─── left ═══════════════ right ─── host
 *                 ╚═ out ── bridge ── in ═╝
 *
 * Bare frames take the upper way. Tagged ones take the lower, through a bridge of the kernel's, so that they come to a port as from
 * an interface for VLANs: with the tag left to the card. Both ports of a double line have the types of the pair.
 */
import { describe } from 'vitest';
import { Datapath, type PortSpec } from '../../src/index.js';
import { type Host, sceneTest } from '../support/netns.js';

interface Kind {
  readonly name: string;
  readonly type: PortSpec['type'];
  readonly mode?: string;
  /** What has to be off at the far end: generic mode sees frames and tags as the sender left them. */
  readonly off?: readonly string[];
}
const kinds: readonly Kind[] = [
  { name: 'af_packet', type: 'af_packet' },
  { name: 'af_xdp', type: 'af_xdp', mode: 'native' },
  {
    name: 'af_xdp in generic mode',
    type: 'af_xdp',
    mode: 'generic',
    off: ['tso', 'gso', 'txvlan'],
  },
  { name: 'tap', type: 'tap' },
];
const obstacles = new Map<PortSpec['type'], string | undefined>();
for (const { type, available, reason } of Datapath.portTypes()) {
  if (!available) obstacles.set(type, reason);
}
for (const { name, type } of kinds) {
  if (obstacles.has(type)) console.log(`skipped: no ${name} here: ${obstacles.get(type)}`);
}

/** Each with itself, and with each other. */
const pairs = kinds.flatMap((one, i) => kinds.slice(i).map((other) => ({ one, other })));

describe.each(pairs)('$one.name and $other.name', (pair) => {
  sceneTest(
    'carry ping, TCP and UDP: bare and tagged, jumbo frames, with offloads and without',
    async ({ args, host, open, crossed, ip, run, ...tools }) => {
      const { assert, startCounting, expectLedgerCloses, dropped } = tools;
      const { one, other } = args;
      const left = await host('left', 1, { wired: one.type !== 'tap' });
      const right = await host('right', 2, { wired: other.type !== 'tap' });
      await ip('link add bridge up type bridge forward_delay 0 mcast_snooping 0');

      const five = 'eth_type(0x8100),vlan(vid=5),encap()';
      const sixFive = `eth_type(0x88a8),vlan(vid=6),encap(${five})`;
      const pushes = 'push_vlan(vid=5,pcp=0),push_vlan(tpid=0x88a8,vid=6,pcp=0)';
      // What takes packets off the bridge stands first: the last of a connection may still be on their way
      // when these replace what was before.
      const ways = {
        bare: crossed(1, 2),
        VLAN: [
          { match: `in_port(4),${five}`, actions: 'pop_vlan,2' },
          { match: `in_port(3),${five}`, actions: 'pop_vlan,1' },
          { match: 'in_port(1)', actions: 'push_vlan(vid=5,pcp=0),3' },
          { match: 'in_port(2)', actions: 'push_vlan(vid=5,pcp=0),4' },
        ],
        QinQ: [
          { match: `in_port(4),${sixFive}`, actions: 'pop_vlan,pop_vlan,2' },
          { match: `in_port(3),${sixFive}`, actions: 'pop_vlan,pop_vlan,1' },
          { match: 'in_port(1)', actions: `${pushes},3` },
          { match: 'in_port(2)', actions: `${pushes},4` },
        ],
      };

      // The far end of a port is at a host, or in the bridge. A tap is its own far end.
      const middle = { ip, run };
      const places = [
        { ...one, port: 'left', number: 1, host: left, at: left, far: 'eth0' },
        { ...other, port: 'right', number: 2, host: right, at: right, far: 'eth0' },
        { ...other, port: 'out', number: 3, host: undefined, at: middle, far: 'out-far' },
        { ...one, port: 'in', number: 4, host: undefined, at: middle, far: 'in-far' },
      ];
      const switchOff = async (place: (typeof places)[number], features: readonly string[]) => {
        const off = features.flatMap((feature) => [feature, 'off']);
        await place.at.run('ethtool', '-K', place.far, ...off);
      };
      const dp = await open({ flows: ways.bare });
      for (const place of places) {
        const { port, number, type, mode, host, far, off } = place;
        if (type !== 'tap' && !host) await ip(`link add ${port} up type veth peer name ${far}`);
        await dp.addPort({ name: port, number, type, ...(mode && { mode }) } as PortSpec);
        if (type === 'tap' && host) await host.adopt(port);
        if (type === 'tap' && !host) await ip(`link set ${port} name ${far}`);
        if (!host) await ip(`link set ${far} up master bridge`);
        if (off) await switchOff(place, off);
      }
      startCounting(dp);
      const setMtu = async (mtu: number) => {
        for (const { port, type, host, at, far } of places) {
          const room = host ? mtu : mtu + 4; // a bridge lets one tag pass, not two
          await at.ip(`link set ${far} mtu ${room}`);
          if (type !== 'tap') await ip(`link set ${port} mtu ${room}`);
        }
      };

      const pings = async (to: string, sizes: number[]) => {
        // All at once, and patiently: ping waits for the last answer as long as the interval is.
        const burst = { to, count: 3, interval: 1, args: ['-l', 3] };
        const all = sizes.map((size) => left.call('ping', { ...burst, size }));
        for (const { sent, received } of await Promise.all(all)) {
          assert.equal(received, sent, 'pings answered');
        }
      };
      const udp = async (to: string, family: number, sizes: number[]) => {
        const port = await right.call('echo', { family });
        const returned = await left.call('datagrams', { to, port, family, sizes });
        assert.equal(returned, sizes.length, 'datagrams returned');
      };
      const tcp = async (from: Host, to: Host, family: number) => {
        const port = await to.call('serve', { family });
        const address = family === 4 ? to.ipv4 : to.ipv6;
        const transfer = { name: `to ${address}`, to: address, port, timeout: 5_000 };
        const { equal } = await from.call('transfer', { ...transfer, bytes: 2_000_000 });
        assert.ok(equal, 'TCP: other bytes arrived');
      };
      const converse = async (mtu: number) => {
        const small = [4, 6].flatMap((family) => {
          const to = family === 4 ? right.ipv4 : right.ipv6;
          const most = mtu - (family === 4 ? 20 : 40) - 8;
          const datagrams = [4, 18, 19, 512, most, most + 1, 3200, 10_000];
          return [
            pings(to, [56, 1600, 3200, most]),
            udp(to, family, Array(10).fill(datagrams).flat()),
          ];
        });
        await Promise.all(small);
        for (const family of [4, 6]) {
          await tcp(left, right, family);
          await tcp(right, left, family);
        }
      };
      const checksumErrors = async (at: Host) => {
        const counters = await at.run('nstat', '-asz', '*CsumErrors', '*InErrors');
        return counters.split('\n').filter((line) => /Err/.test(line) && !/ 0 +0\.0/.test(line));
      };

      for (const offloads of ['as they are', 'off']) {
        if (offloads === 'off') {
          for (const place of places) {
            await switchOff(place, ['tx', 'sg', 'tso', 'gso', 'gro', 'txvlan']);
            const features = await place.at.run('ethtool', '-k', place.far);
            for (const name of ['tx-checksumming', 'tcp-segmentation-offload']) {
              assert.match(features, new RegExp(`^${name}: off`, 'm'));
            }
          }
        }
        for (const mtu of [1500, 9000]) {
          await setMtu(mtu);
          for (const [way, flows] of Object.entries(ways)) {
            for (const { match, actions } of flows) dp.flows.put(match, actions);
            await converse(mtu).catch((error) => {
              const what = `${way}, MTU ${mtu}, offloads ${offloads}`;
              const lost = Object.entries(dropped(dp, dp.stats())).join('; ');
              throw new Error(`${what}: ${error.message}; dropped: ${lost || 'nothing'}`);
            });
          }
        }
      }
      const stats = await expectLedgerCloses(dp);
      assert.deepEqual(dropped(dp, stats), {});
      for (const { port } of places) {
        const { rxPackets, txPackets, rxDropped, rxErrors } = stats.ports[port]!;
        assert.equal(rxDropped + rxErrors, 0n, port);
        assert.ok(rxPackets > 1_000n && txPackets > 1_000n, port);
      }
      for (const at of [left, right]) assert.deepEqual(await checksumErrors(at), []);
    },
    {
      args: pair,
      limitMs: 60_000,
      skip: [pair.one, pair.other].some(({ type }) => obstacles.has(type)),
    },
  );
});
