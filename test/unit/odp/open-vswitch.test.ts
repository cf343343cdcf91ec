/**
 * "What Open vSwitch prints is read here": by the dumps of a real one. Its userspace datapath gets rules that look
 * at everything there is, and a packet for each; then its flows are dumped, plainly and with `-m`, and every line is
 * read, printed, and put. It runs on ports of its own that are no interfaces, in a folder of its own.
 */
import { writeFileSync } from 'node:fs';
import { Datapath, formatActions, formatMatch, parseActions } from 'pollux';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OpenVswitch, obstacle } from '../../../scripts/bench/ovs.mjs';
import { execute } from '../../../scripts/bench/processes.mjs';

const missing: string | undefined = obstacle();
if (missing !== undefined) console.log(`skipped: ${missing}`);

// ------------------------------------------------------------------------------------------------------------ packets

const hex = (n: number, bytes: number) => n.toString(16).padStart(2 * bytes, '0');
const kMacs = '020000000002020000000001';
const kToUnderlay = 'aa55aa550000020000000001';
const eth = (type: number, payload: string, macs = kMacs) => `${macs}${hex(type, 2)}${payload}`;
const tag = (tci: number, type: number, payload: string, tpid = 0x8100, macs = kMacs) =>
  `${macs}${hex(tpid, 2)}${hex(tci, 2)}${hex(type, 2)}${payload}`;
const octets = (address: string) =>
  address
    .split('.')
    .map((octet) => hex(Number(octet), 1))
    .join('');

function ipv4(
  proto: number,
  payload: string,
  { src = '10.0.0.1', dst = '10.0.0.2', frag = 0, tos = 0, ttl = 64 } = {},
): string {
  const header = (sum: number) =>
    `45${hex(tos, 1)}${hex(20 + payload.length / 2, 2)}0001${hex(frag, 2)}${hex(ttl, 1)}${hex(proto, 1)}` +
    `${hex(sum, 2)}${octets(src)}${octets(dst)}`;
  let sum = 0;
  for (const word of header(0).match(/..../g)!) sum += Number.parseInt(word, 16);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return header(~sum & 0xffff) + payload;
}

const k6 = { src: 'fd000000000000000000000000000001', dst: 'fd000000000000000000000000000002' };
const ipv6 = (next: number, payload: string, { label = 0, hop = 64 } = {}) =>
  `6${hex(label, 4).slice(1)}${hex(payload.length / 2, 2)}${hex(next, 1)}${hex(hop, 1)}${k6.src}${k6.dst}${payload}`;

const udp = (dst = 2000, payload = '00010203') =>
  `03e8${hex(dst, 2)}${hex(8 + payload.length / 2, 2)}0000${payload}`;
const tcp = (flags = 0x10) => `03e807d0000000010000000150${hex(flags, 1)}020000000000`;
const sctp = '03e807d00000000100000000';
const icmp = (type: number, code = 0) => `${hex(type, 1)}${hex(code, 1)}000000010001`;
const arp = (op: number) => `000108000604${hex(op, 2)}0200000000010a0000010000000000000a000002`;
const nd = (type: number, option: number) =>
  `${hex(type, 1)}0000002000000 0${k6.dst}${hex(option, 1)}01020000000003`.replace(' ', '');
const nsh = (si: number) =>
  `0fc60103000020${hex(si, 1)}${'0000000a0000000b0000000c0000000d'}${eth(0x0806, arp(1))}`;
const mpls = (label: number, bos: number) => hex((label << 12) | (bos << 8) | 64, 4);
const inner = () => eth(0x0800, ipv4(17, udp()));
const outer = (proto: number, payload: string) =>
  eth(0x0800, ipv4(proto, payload, { src: '1.1.2.92', dst: '1.1.2.88', tos: 4 }), kToUnderlay);

// -------------------------------------------------------------------------------------------------------------- books

interface Book {
  readonly groups?: readonly string[];
  /** `br1:`: of the bridge whose ports are tunnels. */
  readonly rules: readonly string[];
  /** What must be in the dump. */
  readonly shows: readonly string[];
  /** By the port they come in at. */
  readonly packets: readonly (readonly [port: string, ...frames: string[]])[];
}

const plainUdp = eth(0x0800, ipv4(17, udp()));
const books: Readonly<Record<string, Book>> = {
  tags: {
    shows: ['encap(eth_type(0x8100),vlan(', '/0x0),encap(', 'cfi=0),encap()', 'eth_type(0x9100),'],
    rules: [
      'priority=9,in_port=1,dl_vlan=5,actions=2',
      'priority=8,in_port=1,dl_vlan=6,dl_vlan_pcp=3,ip,nw_dst=10.0.0.0/8,actions=2',
      'priority=7,in_port=1,vlan_tci=0x1010/0x1ff0,actions=pop_vlan,resubmit(,1)',
      'priority=6,in_port=1,vlan_tci=0x1000/0x1000,actions=pop_vlan,2',
      'priority=5,in_port=1,vlan_tci=0x0000/0x1fff,udp,actions=push_vlan:0x88a8,set_field:4103->vlan_vid,2',
      'priority=1,in_port=1,actions=2',
      'table=1,priority=2,dl_vlan=7,udp,tp_dst=2000,actions=2',
      'table=1,priority=1,actions=drop',
    ],
    packets: [
      [
        'p1',
        plainUdp,
        eth(0x0806, arp(1)),
        tag(0x0005, 0x0800, ipv4(6, tcp())),
        tag(0x6005, 0x0806, arp(1)),
        tag(0x6006, 0x0800, ipv4(17, udp())),
        tag(0x4006, 0x86dd, ipv6(17, udp())),
        tag(0x0010, 0x8100, `00070800${ipv4(17, udp())}`, 0x88a8),
        tag(0x2011, 0x8100, `00080806${arp(1)}`, 0x88a8),
        tag(0x2012, 0x86dd, ipv6(6, tcp())),
        tag(0x0800, 0x0806, arp(2)),
        tag(0x0c00, 0x8100, `0c010806${arp(1)}`),
        tag(0x0400, 0x0800, ipv4(17, udp()), 0x9100),
        `${kMacs}8100`,
      ],
    ],
  },
  'IPv4 and fragments': {
    shows: ['frag=first)', 'frag=later)', 'tcp_flags(+syn-ack)', 'sctp(', 'icmp('],
    rules: [
      'priority=9,in_port=1,tcp,nw_src=10.0.0.0/8,tcp_flags=+syn-ack,actions=2',
      'priority=9,in_port=1,tcp,tp_dst=0x700/0xff00,actions=2',
      'priority=8,in_port=1,udp,nw_tos=32,tp_src=1000,actions=2',
      'priority=8,in_port=1,sctp,tp_src=1000,nw_ttl=64,actions=dec_ttl,2',
      'priority=8,in_port=1,icmp,icmp_type=8,icmp_code=0,actions=2',
      'priority=7,in_port=1,icmp,icmp_type=3,actions=2',
      'priority=6,in_port=1,ip,nw_frag=later,actions=2',
      'priority=6,in_port=1,ip,nw_frag=first,nw_dst=10.0.0.2,actions=2',
      'priority=5,in_port=1,ip,nw_ecn=1,actions=mod_nw_src:1.2.3.4,2',
      'priority=4,in_port=1,ip,nw_proto=47,actions=2',
      'priority=1,in_port=1,actions=drop',
    ],
    packets: [
      [
        'p1',
        ...[0x02, 0x12, 0x10, 0x29].map((flags) => eth(0x0800, ipv4(6, tcp(flags)))),
        eth(0x0800, ipv4(6, tcp(2), { src: '11.0.0.1' })),
        eth(0x0800, ipv4(17, udp(), { tos: 32 })),
        eth(0x0800, ipv4(17, udp(), { tos: 1 })),
        eth(0x0800, ipv4(132, sctp)),
        eth(0x0800, ipv4(132, sctp, { ttl: 2 })),
        eth(0x0800, ipv4(1, icmp(8))),
        eth(0x0800, ipv4(1, icmp(3, 1))),
        eth(0x0800, ipv4(1, icmp(255, 255))),
        eth(0x0800, ipv4(17, udp(), { frag: 0x2000 })),
        eth(0x0800, ipv4(17, '0001020304050607', { frag: 0x2001 })),
        eth(0x0800, ipv4(6, '0001020304050607', { frag: 0x0003 })),
        eth(0x0800, ipv4(47, '00000800')),
        eth(0x0800, ipv4(17, '0001')),
        eth(0x0800, '4500'),
      ],
    ],
  },
  'IPv6 and neighbours': {
    shows: ['frag=first)', 'frag=later)', 'label=0x12305/0xff', 'icmpv6(type=136)'],
    rules: [
      'priority=9,in_port=1,icmp6,icmpv6_type=135,nd_target=fd00::2,nd_sll=02:00:00:00:00:03,actions=2',
      'priority=9,in_port=1,icmp6,icmpv6_type=136,nd_tll=02:00:00:00:00:03/ff:ff:ff:00:00:00,actions=2',
      'priority=9,in_port=1,icmp6,icmpv6_type=136,nd_options_type=2,nd_reserved=0x20000000,actions=2',
      'priority=8,in_port=1,icmp6,icmpv6_type=128,icmpv6_code=0,actions=2',
      'priority=7,in_port=1,tcp6,ipv6_src=fd00::/16,tcp_flags=+syn,actions=2',
      'priority=7,in_port=1,udp6,ipv6_label=0x5/0xff,nw_ttl=64,actions=2',
      'priority=6,in_port=1,ipv6,nw_frag=later,actions=2',
      'priority=6,in_port=1,ipv6,nw_frag=first,ipv6_dst=fd00::2,actions=2',
      'priority=5,in_port=1,sctp6,tp_dst=2000,actions=set_field:fd00::9->ipv6_dst,2',
      'priority=1,in_port=1,actions=2',
    ],
    packets: [
      [
        'p1',
        eth(0x86dd, ipv6(58, nd(135, 1), { hop: 255 })),
        eth(0x86dd, ipv6(58, nd(136, 2), { hop: 255 })),
        eth(0x86dd, ipv6(58, nd(136, 2).slice(0, 48), { hop: 255 })),
        eth(0x86dd, ipv6(58, icmp(128))),
        eth(0x86dd, ipv6(58, icmp(129, 7))),
        eth(0x86dd, ipv6(58, icmp(135, 1))),
        ...[0x02, 0x10].map((flags) => eth(0x86dd, ipv6(6, tcp(flags)))),
        eth(0x86dd, ipv6(17, udp(), { label: 0x12305 })),
        eth(0x86dd, ipv6(17, udp(), { label: 0x12306 })),
        eth(0x86dd, ipv6(132, sctp)),
        eth(0x86dd, ipv6(44, `1100000100000001${udp()}`)),
        eth(0x86dd, ipv6(44, `1100001100000001${udp()}`)),
        eth(0x86dd, ipv6(60, `1100010400000000${udp()}`)),
        eth(0x86dd, ipv6(59, '')),
        eth(0x86dd, '6000'),
      ],
    ],
  },
  ARP: {
    shows: ['op=65535', 'eth_type(0x8035)', 'eth_type(0/0xffff)', 'sha='],
    rules: [
      'priority=9,in_port=1,arp,arp_op=1,arp_tpa=10.0.0.2,actions=2',
      'priority=8,in_port=1,arp,arp_op=2,arp_sha=02:00:00:00:00:01,arp_spa=10.0.0.0/24,actions=2',
      'priority=7,in_port=1,arp,arp_op=255,actions=2',
      'priority=6,in_port=1,rarp,arp_op=3,actions=2',
      'priority=5,in_port=1,dl_type=0x88cc,dl_src=02:00:00:00:00:00/ff:ff:ff:ff:ff:00,actions=2',
      'priority=1,in_port=1,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop',
      'priority=0,actions=drop',
    ],
    packets: [
      [
        'p1',
        ...[1, 2, 3, 254, 255, 256, 65535].map((op) => eth(0x0806, arp(op))),
        eth(0x8035, arp(3)),
        eth(0x8035, arp(4)),
        eth(0x0806, '0001'),
        eth(0x88cc, '00010203'),
        eth(0x1234, '00010203'),
        eth(0x0026, `424203${'00'.repeat(35)}`, `0180c2000000020000000001`),
        eth(0x000b, 'aaaa030000000800000102'),
        eth(0x000b, 'aaaa03000000abcd000102'),
      ],
    ],
  },
  'MPLS and NSH': {
    shows: ['mpls(', ',label=200', 'nsh(', 'mdtype=2', 'c1=0xa', 'push_nsh(', 'pop_mpls('],
    rules: [
      'priority=9,in_port=1,mpls,mpls_label=100,mpls_bos=0,actions=2',
      'priority=8,in_port=1,mpls,mpls_label=200,mpls_tc=0,mpls_bos=1,actions=pop_mpls:0x0800,resubmit(,1)',
      'priority=7,in_port=1,mplsm,actions=dec_mpls_ttl,2',
      'priority=6,in_port=1,udp,actions=push_mpls:0x8847,set_field:7->mpls_label,2',
      'priority=5,in_port=1,dl_type=0x894f,nsh_mdtype=1,nsh_spi=0x20,nsh_si=255,actions=2',
      'priority=5,in_port=1,dl_type=0x894f,nsh_mdtype=1,nsh_c1=0xa,nsh_c3=0xc/0xff,nsh_ttl=63,actions=2',
      'priority=4,in_port=1,dl_type=0x894f,nsh_np=3,nsh_flags=1,actions=2',
      'priority=3,in_port=1,dl_type=0x894f,actions=decap(),decap(),resubmit(,1)',
      'priority=2,in_port=1,arp,actions=encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,encap(ethernet),2',
      'table=1,priority=2,ip,nw_dst=10.0.0.2,actions=2',
      'table=1,priority=1,actions=2',
    ],
    packets: [
      [
        'p1',
        eth(0x8847, `${mpls(100, 0)}${mpls(200, 1)}${ipv4(17, udp())}`),
        eth(0x8847, `${mpls(200, 1)}${ipv4(17, udp())}`),
        eth(0x8847, `${mpls(300, 0)}${mpls(300, 0)}${mpls(300, 0)}${mpls(300, 1)}`),
        eth(0x8848, `${mpls(5, 1)}${ipv4(17, udp())}`),
        plainUdp,
        eth(0x894f, nsh(255)),
        eth(0x894f, nsh(254)),
        eth(0x894f, nsh(253).replace('0000000a', '0000000e')),
        eth(0x894f, `0fc20203000020fc${eth(0x0806, arp(1))}`),
        eth(0x0806, arp(1)),
      ],
    ],
  },
  'connections, recirculation, hashes': {
    shows: ['ct_state(', 'ct_label(', 'dp_hash(', 'skb_mark(', 'ct(commit', 'userspace('],
    groups: ['group_id=1,type=select,selection_method=dp_hash,bucket=output:2,bucket=output:10'],
    rules: [
      'priority=9,in_port=1,ip,actions=ct(table=1,zone=5)',
      'priority=9,in_port=1,ipv6,actions=ct(table=1,zone=6,nat)',
      'priority=8,in_port=1,arp,pkt_mark=0/0xff,actions=group:1',
      'table=1,priority=9,ct_state=+trk+new,udp,actions=ct(commit,zone=5,exec(set_field:0x7->ct_mark,set_field:0x123->ct_label)),2',
      'table=1,priority=9,ct_state=+trk+new,tcp6,actions=ct(commit,zone=6,nat(src=fd00::9)),2',
      'table=1,priority=8,ct_state=+trk+est,ct_mark=7/0xf,ct_label=0x100/0xf00,ct_nw_src=10.0.0.0/8,ct_nw_proto=17,ct_tp_dst=2000,udp,actions=2',
      'table=1,priority=7,ct_state=+trk+est,ct_ipv6_dst=fd00::2,ct_nw_proto=6,ct_tp_src=1000,tcp6,actions=2',
      'table=1,priority=6,ct_state=+trk-rel,ct_zone=5,actions=set_field:5->pkt_mark,resubmit(,2)',
      'table=1,priority=5,ct_state=+inv+trk,actions=drop',
      'table=2,pkt_mark=5/0xf,actions=controller(max_len=100),2',
    ],
    packets: [
      ['p1', plainUdp],
      ['p1', plainUdp],
      ['p1', eth(0x0800, ipv4(6, tcp(2))), eth(0x0800, ipv4(1, icmp(8)))],
      ['p1', eth(0x86dd, ipv6(6, tcp(2)))],
      ['p1', eth(0x86dd, ipv6(6, tcp(2)))],
      ['p1', eth(0x86dd, ipv6(17, udp()))],
      ['p1', eth(0x0806, arp(1)), eth(0x0806, arp(2))],
    ],
  },
  tunnels: {
    shows: [
      'geneve({class',
      'gtpu(',
      'flags(oam|key)',
      'packet_type(ns=1',
      'tnl_push(',
      'tnl_pop(',
    ],
    rules: [
      'priority=1,actions=normal',
      'br1:priority=9,in_port=11,tun_id=0x7b,tun_src=1.1.2.92,udp,actions=19',
      'br1:priority=8,in_port=12,tun_metadata0=0xa0b0c0d,tun_metadata1=0x1/0xff,actions=19',
      'br1:priority=7,in_port=12,tun_id=0x5/0xff,tun_flags=+oam,actions=19',
      'br1:priority=7,in_port=13,tun_id=0x2a,actions=19',
      'br1:priority=7,in_port=14,tun_gbp_id=0x10,tun_gbp_flags=0/0x8,actions=19',
      'br1:priority=7,in_port=15,tun_erspan_ver=1,tun_erspan_idx=0x3,actions=19',
      'br1:priority=6,in_port=16,tun_gtpu_flags=0x30,tun_gtpu_msgtype=255,actions=19',
      'br1:priority=5,in_port=19,udp,actions=set_field:0x7b->tun_id,11,13',
      'br1:priority=5,in_port=19,arp,actions=set_field:0x99->tun_metadata0,12',
      'br1:priority=1,actions=drop',
    ],
    packets: [
      [
        'p0',
        outer(17, udp(4789, `0800000000007b00${inner()}`)),
        outer(17, udp(4789, `0800000000007b00${eth(0x0806, arp(1))}`)),
        outer(
          17,
          udp(
            6081,
            `044065580000050 0ffff8001${'0a0b0c0d'}ffff8101000000ff${inner()}`.replace(' ', ''),
          ),
        ),
        outer(
          17,
          udp(
            6081,
            `04406558000005 00ffff8001${'0a0b0c0d'}ffff810100000001${inner()}`.replace(' ', ''),
          ),
        ),
        outer(17, udp(6081, `0080655800000500${inner()}`)),
        outer(47, `200065580000002a${inner()}`),
        outer(17, udp(4790, `8800001000007b00${inner()}`)),
        outer(47, `100088be00000001100000050000 0003${inner()}`.replace(' ', '')),
        outer(17, udp(2152, `30ff${hex(ipv4(17, udp()).length / 2, 2)}00000009${ipv4(17, udp())}`)),
      ],
      ['p19', inner(), eth(0x0806, arp(1))],
    ],
  },
};

// ---------------------------------------------------------------------------------------------------------------- test

interface Line {
  readonly text: string;
  readonly ufid: string | undefined;
  readonly match: string;
  readonly actions: string;
}

const kLine =
  /^(?:ufid:(?<ufid>\S+), )?(?<match>.*?), packets:\d+, bytes:\d+, used:\S+?(?:, flags:\S+)?(?:, dp:\S+)?, actions:(?<actions>.*?)(?:, dp-extra-info:\S+)?$/;

function linesOf(dump: string): Line[] {
  return dump
    .split('\n')
    .filter((text) => text.includes('actions:'))
    .map((text) => {
      const { ufid, match, actions } = text.match(kLine)!.groups as Record<string, string>;
      return { text, ufid, match: match!, actions: actions! };
    });
}

/** A match without what says nothing, and without what is said otherwise here. */
function meant(text: string): string {
  const otherNsh = /mdtype=[^1]/.test(text);
  const shorter = text
    // Values of which no bit matters.
    .replace(/\w+=[^,()]+\/(?:0x)?0(?=[,)]),?/g, '')
    .replaceAll(',)', ')')
    // Context headers that there are none of.
    .replace(otherNsh ? /,c\d=0x0/g : /$^/, '')
    // A frame that ends inside its tag.
    .replace(/eth_type\(0x9100\)$/, 'eth_type(0x9100),vlan(),encap()');
  return sorted(shorter);
}

/** The items of a match in an order of their own, at every level: Open vSwitch has another one for metadata. */
function sorted(text: string): string {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '(' || text[i] === '{') depth++;
    if (text[i] === ')' || text[i] === '}') depth--;
    if (i < text.length && (text[i] !== ',' || depth > 0)) continue;
    items.push(text.slice(start, i));
    start = i + 1;
  }
  return items.sort().join(',');
}

describe.skipIf(missing !== undefined)('the dumps of a real Open vSwitch', () => {
  let ovs: OpenVswitch;
  let dp: Datapath;

  const ofctl = (command: string, bridge: string, ...args: string[]) =>
    execute('ovs-ofctl', ['-O', 'OpenFlow15', command, `unix:${ovs.dir}/${bridge}.mgmt`, ...args]);

  /** The lines of a dump of what the rules make of the packets: plain, and with `-m`. */
  async function flowsOf({ groups = [], rules, shows, packets }: Book): Promise<[Line[], Line[]]> {
    for (const bridge of ['br0', 'br1']) {
      await ofctl('del-groups', bridge);
      const file = `${ovs.dir}/rules`;
      const ours = rules.filter((rule) => rule.startsWith('br1:') === (bridge === 'br1'));
      writeFileSync(file, ours.map((rule) => rule.replace(/^br1:/, '')).join('\n'));
      await ofctl('del-flows', bridge);
      if (bridge === 'br0') for (const group of groups) await ofctl('add-group', bridge, group);
      await ofctl('add-flows', bridge, file);
    }
    await ovs.appctl('dpctl/del-flows');
    for (const [port, ...frames] of packets) {
      await ovs.appctl('netdev-dummy/receive', port, ...frames);
    }
    const dump = async (...options: string[]) =>
      linesOf(await ovs.appctl('dpctl/dump-flows', ...options));
    // It takes packets in its own time.
    for (const end = Date.now() + 5_000; ; ) {
      const [plain, verbose] = [await dump(), await dump('-m')];
      const text = plain.map((line) => line.text).join('\n');
      const complete =
        shows.every((words) => text.includes(words)) && plain.length === verbose.length;
      if (complete || Date.now() > end) return [plain, verbose];
    }
  }

  beforeAll(async () => {
    ovs = await OpenVswitch.start({
      ...{ core: 0, toolCore: 1, type: 'dummy', settings: ['vlan-limit=2'] },
      wrap: (...words: string[]) => [
        ...words,
        ...['--disable-system', '--disable-system-route', '--enable-dummy'],
      ],
    });
    const any = 'protocols=OpenFlow10,OpenFlow13,OpenFlow15';
    await ovs.vsctl('set', 'bridge', 'br0', any);
    await ovs.vsctl(
      ...['add-br', 'br1', '--', 'set', 'bridge', 'br1', 'datapath_type=dummy', any],
      'fail_mode=secure',
    );
    await ovs.addPorts(
      { name: 'p0', number: 10, type: 'dummy' },
      { name: 'p1', number: 1, type: 'dummy' },
      { name: 'p2', number: 2, type: 'dummy' },
    );
    await ovs.vsctl('set', 'bridge', 'br0', 'other_config:hwaddr=aa:55:aa:55:00:00');
    const tunnel = (number: number, type: string, ...options: string[]) => [
      ...['--', 'add-port', 'br1', `t${number}`, '--', 'set', 'interface', `t${number}`],
      ...[`type=${type}`, `ofport_request=${number}`, 'options:remote_ip=1.1.2.92'],
      ...['options:key=flow', ...options.map((option) => `options:${option}`)],
    ];
    await ovs.vsctl(
      ...tunnel(11, 'vxlan').slice(1),
      ...tunnel(12, 'geneve'),
      ...tunnel(13, 'gre'),
      ...tunnel(14, 'vxlan', 'exts=gbp', 'dst_port=4790'),
      ...tunnel(15, 'erspan', 'erspan_ver=flow'),
      ...tunnel(16, 'gtpu'),
      ...['--', 'add-port', 'br1', 'p19', '--', 'set', 'interface', 'p19', 'type=dummy'],
      'ofport_request=19',
    );
    await ofctl(
      ...(['add-tlv-map', 'br1', '{class=0xffff,type=0x80,len=4}->tun_metadata0'] as const),
    );
    await ofctl(
      ...(['add-tlv-map', 'br1', '{class=0xffff,type=0x81,len=4}->tun_metadata1'] as const),
    );
    await ovs.appctl('netdev-dummy/ip4addr', 'br0', '1.1.2.88/24');
    await ovs.appctl('ovs/route/add', '1.1.2.92/24', 'br0');
    await ovs.appctl('tnl/neigh/set', 'br0', '1.1.2.92', 'f8:bc:12:44:34:b6');
    // Ports of the datapath have numbers of their own.
    dp = new Datapath({ topology: { numa: [[0]] } });
    const shown = await ovs.appctl('dpctl/show');
    for (const [, number, name] of shown.matchAll(/^ +port (\d+): (\S+)/gm)) {
      if (number === '0') continue;
      await dp.addPort({ name: name!, type: 'memory', number: Number(number) });
    }
  });
  afterAll(async () => {
    await ovs?.stop();
    await dp?.close();
  });

  test.each(Object.entries(books))('%s', async (_, book) => {
    const [plain, verbose] = await flowsOf(book);
    const dump = plain.map(({ text }) => text).join('\n');
    for (const words of book.shows) expect(dump).toContain(words);
    const wrong: unknown[] = [];
    for (const line of [...plain, ...verbose]) wrong.push(...faultsOf(line));
    expect(wrong).toEqual([]);
    // Both dumps say the same.
    expect(verbose.map(printed).sort()).toEqual(plain.map(printed).sort());
  });

  /** As it is printed here, with the number of the port. */
  function printed({ match }: Line): string {
    const number = (_: string, name: string) => `in_port(${dp.ports.number(name)})`;
    return formatMatch(match.replace(/in_port\(([^\d)][^)]*)\)/, number));
  }

  /** Reads the line, puts the flow, takes it out again: whatever is not as it should be. */
  function faultsOf(line: Line): unknown[] {
    const { match, actions, ufid: given } = line;
    const faults: unknown[] = [];
    const same = (what: string, found: unknown, wanted: unknown) => {
      if (found !== wanted) faults.push({ what, found, wanted, line: line.text });
    };
    try {
      const text = printed(line);
      if (given === undefined) same('text', meant(text), meant(match));
      const ufid = dp.flows.put(match, 'drop', given === undefined ? {} : { ufid: given });
      if (given !== undefined) same('ufid', ufid, given);
      const flow = dp.flows.get(ufid)!;
      const forms = [
        ...[match, text, flow.match],
        ...[formatMatch(flow.match), formatMatch(flow.match, { verbose: true })],
      ];
      for (const form of forms) same('the flow by its match', dp.flows.get(form)?.ufid, ufid);
      dp.flows.delete(ufid);
      const names = given === undefined ? {} : { ports: dp.ports };
      same('actions', formatActions(parseActions(actions, dp.ports), names), actions);
    } catch (error) {
      faults.push({ what: (error as Error).message, line: line.text });
    }
    return faults;
  }
});
