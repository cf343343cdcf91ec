// Actions in their three forms: what the tests of round trips share, and the table of them.
import { expect } from 'vitest';
import {
  decodeActions,
  encodeActions,
  formatActions,
  type KnownAction,
  parseActions,
} from '../../../src/odp/index.js';
import { noNames } from './refusals.js';

export const seeded = { seed: 20160412, numRuns: 300 };

export type Known = KnownAction<number>;

/** Canonical actions and their text, and whether the datapath may be asked to do them. */
export function check(actions: readonly Known[], text: string, encodable = true): void {
  expect(formatActions(actions)).toBe(text);
  expect(parseActions(text)).toEqual(actions);
  if (!encodable) {
    for (const given of [actions, text]) {
      expect(() => encodeActions(given, noNames)).toThrow(
        expect.objectContaining({ code: 'ERR_NOT_SUPPORTED' }),
      );
    }
    return;
  }
  const encoded = encodeActions(actions, noNames);
  expect(encodeActions(text, noNames)).toEqual(encoded);
  expect(decodeActions(encoded)).toEqual(actions);
}

const eth = { dst: 'f8:bc:12:44:34:b6', src: 'f8:bc:12:46:58:e0' };
export const ethText = 'eth(dst=f8:bc:12:44:34:b6,src=f8:bc:12:46:58:e0,dl_type=0x0800)';
const ethText6 = ethText.replace('0x0800', '0x86dd');
const ipv4 = { src: '1.1.2.88', dst: '1.1.2.92', proto: 17, tos: 0, ttl: 64, frag: 0x4000 };
export const ipv4Text = 'ipv4(src=1.1.2.88,dst=1.1.2.92,proto=17,tos=0,ttl=64,frag=0x4000)';
const ipv6 = {
  src: '2001:cafe::88',
  dst: '2001:cafe::92',
  label: 5,
  proto: 17,
  tclass: 0x70,
  hlimit: 64,
};
const ipv6Text = 'ipv6(src=2001:cafe::88,dst=2001:cafe::92,label=5,proto=17,tclass=0x70,hlimit=64)';
const udp = { src: 0, dst: 4789, csum: 0 };
export const udpText = 'udp(src=0,dst=4789,csum=0x0)';

export const encodable: [Known | Known[], string][] = [
  [{ type: 'output', port: 0 }, '0'],
  [{ type: 'output', port: 65535 }, '65535'],
  [{ type: 'drop' }, 'drop'],
  [{ type: 'drop', reason: 'of_pipeline' }, 'drop(reason=of_pipeline)'],
  [
    { type: 'drop', reason: 'tunnel_header_build_failed' },
    'drop(reason=tunnel_header_build_failed)',
  ],
  [{ type: 'drop', reason: 16 }, 'drop(reason=16)'],
  [
    [
      { type: 'output', port: 1 },
      { type: 'drop', reason: 'congestion' },
    ],
    '1,drop(reason=congestion)',
  ],

  [{ type: 'userspace' }, 'userspace(pid=0)'],
  [{ type: 'userspace', pid: 0xffffffff }, 'userspace(pid=4294967295)'],
  [{ type: 'userspace', userdata: Buffer.of() }, 'userspace(pid=0,userdata())'],
  [
    { type: 'userspace', pid: 1, userdata: Buffer.of(0, 0xff), actions: true, tunnelOutPort: 10 },
    'userspace(pid=1,userdata(00ff),actions,tunnel_out_port=10)',
  ],
  [
    { type: 'userspace', cookie: { type: 'sFlow', vid: 9, pcp: 7, output: 10 } },
    'userspace(pid=0,sFlow(vid=9,pcp=7,output=10))',
  ],
  [
    { type: 'userspace', cookie: { type: 'sFlow' } },
    'userspace(pid=0,sFlow(vid=0,pcp=0,output=0))',
  ],
  [
    { type: 'userspace', cookie: { type: 'slowPath', reasons: [] } },
    'userspace(pid=0,slow_path(0))',
  ],
  [
    { type: 'userspace', cookie: { type: 'slowPath', reasons: ['cfm', 'match', 0x80000100] } },
    'userspace(pid=0,slow_path(cfm,match,0x80000100))',
  ],
  [
    {
      type: 'userspace',
      cookie: {
        type: 'flowSample',
        probability: 123,
        collectorSetId: 1234,
        obsDomainId: 2345,
        obsPointId: 3456,
        outputPort: 0xffffffff,
      },
    },
    'userspace(pid=0,flow_sample(probability=123,collector_set_id=1234,obs_domain_id=2345,obs_point_id=3456,output_port=4294967295))',
  ],
  [
    { type: 'userspace', cookie: { type: 'flowSample', direction: 'egress' }, actions: true },
    'userspace(pid=0,flow_sample(probability=0,collector_set_id=0,obs_domain_id=0,obs_point_id=0,output_port=0,egress),actions)',
  ],
  [
    { type: 'userspace', cookie: { type: 'ipfix', outputPort: 10 }, tunnelOutPort: 0 },
    'userspace(pid=0,ipfix(output_port=10),tunnel_out_port=0)',
  ],
  [
    {
      type: 'userspace',
      cookie: {
        type: 'controller',
        reason: 1,
        dontSend: 1,
        continuation: 1,
        recircId: 4444,
        ruleCookie: 0xfedcba9876543210n,
        controllerId: 3,
        maxLen: 65535,
      },
    },
    'userspace(pid=0,controller(reason=1,dont_send=1,continuation=1,recirc_id=4444,rule_cookie=0xfedcba9876543210,controller_id=3,max_len=65535))',
  ],

  [
    { type: 'set', field: { eth: { src: '02:00:00:00:00:01' } } },
    'set(eth(src=02:00:00:00:00:01))',
  ],
  [
    { type: 'set', field: { mpls: [{ label: 5, tc: 1, ttl: 64, bos: 1 }] } },
    'set(mpls(label=5,tc=1,ttl=64,bos=1))',
  ],
  [
    { type: 'set', field: { mpls: [{ label: { value: 5, mask: 0xff } }] } },
    'set(mpls(label=5/0xff,tc=0/0,ttl=0/0x0,bos=0/0))',
  ],
  [
    { type: 'set', field: { nsh: { ttl: 3, spi: 0x10, si: 7, c1: { value: 1, mask: 0xff } } } },
    'set(nsh(ttl=3,spi=0x10,si=7,c1=0x1/0x000000ff))',
  ],
  [{ type: 'set', field: { icmp: { type: 1, code: 0 } } }, 'set(icmp(type=1,code=0))'],
  [{ type: 'set', field: { icmpv6: { type: 135, code: 0 } } }, 'set(icmpv6(type=135,code=0))'],
  [
    { type: 'set', field: { tunnel: { dst: '1.1.1.1', ttl: 64 } } },
    'set(tunnel(dst=1.1.1.1,ttl=64))',
  ],
  [
    {
      type: 'set',
      field: {
        tunnel: {
          tunId: 0xabcdef1234567890n,
          ipv6Src: '::1',
          ipv6Dst: '::2',
          tos: 8,
          ttl: 64,
          tpSrc: 1,
          tpDst: 6081,
          geneve: [
            { class: 1, type: 0x80, len: 4, data: Buffer.of(0, 0, 0, 5) },
            { class: 0xffff, type: 0, len: 0 },
          ],
          flags: 0xf,
        },
      },
    },
    'set(tunnel(tun_id=0xabcdef1234567890,ipv6_src=::1,ipv6_dst=::2,tos=0x8,ttl=64,tp_src=1,tp_dst=6081,geneve({class=0x1,type=0x80,len=4,0x5}{class=0xffff,type=0,len=0}),flags(oam|df|csum|key)))',
  ],
  [
    { type: 'set', field: { tunnel: { vxlan: { gbp: { id: 5, flags: 8 } }, flags: 2 } } },
    'set(tunnel(vxlan(gbp(id=5,flags=0x8)),flags(df)))',
  ],
  [
    { type: 'set', field: { tunnel: { erspan: { ver: 1, idx: 7 } } } },
    'set(tunnel(erspan(ver=1,idx=0x7)))',
  ],
  [
    { type: 'set', field: { tunnel: { erspan: { ver: 2, dir: 1, hwid: 7 } } } },
    'set(tunnel(erspan(ver=2,dir=1,hwid=0x7)))',
  ],
  [
    { type: 'set', field: { tunnel: { gtpu: { flags: 0x30, msgtype: 255 } } } },
    'set(tunnel(gtpu(flags=0x30,msgtype=255)))',
  ],
  [{ type: 'set', field: { recircId: 0 } }, 'set(recirc_id(0))'],
  [{ type: 'set', field: { dpHash: { value: 5, mask: 0xf } } }, 'set(dp_hash(0x5/0xf))'],
  [{ type: 'set', field: { skbMark: { value: 0, mask: 0 } } }, 'set(skb_mark(0/0))'],
  // Fields that cannot be set stand by where nothing is masked.
  [
    {
      type: 'set',
      field: {
        ipv4: { src: '1.2.3.4', dst: '5.6.7.8', proto: 6, tos: 0, ttl: 64, frag: 'no' },
      },
    },
    'set(ipv4(src=1.2.3.4,dst=5.6.7.8,proto=6,tos=0,ttl=64,frag=no))',
  ],

  [{ type: 'pushVlan', vid: 5 }, 'push_vlan(vid=5,pcp=0)'],
  [
    { type: 'pushVlan', vid: 4095, pcp: 7, tpid: 0x88a8, cfi: 0 },
    'push_vlan(tpid=0x88a8,vid=4095,pcp=7,cfi=0)',
  ],
  [{ type: 'popVlan' }, 'pop_vlan'],
  [
    { type: 'pushMpls', label: 0xfffff, tc: 7, ttl: 255, bos: 1, ethType: 0x8848 },
    'push_mpls(label=1048575,tc=7,ttl=255,bos=1,eth_type=0x8848)',
  ],
  [{ type: 'popMpls', ethType: 0x800 }, 'pop_mpls(eth_type=0x800)'],
  [
    { type: 'addMpls', label: 200, ttl: 64, bos: 0, ethType: 0x8847 },
    'add_mpls(label=200,tc=0,ttl=64,bos=0,eth_type=0x8847)',
  ],
  [
    { type: 'addMpls', label: 200, ttl: 64, bos: 0, ethType: 0x8847, tunFlags: 1 },
    'add_mpls(label=200,tc=0,ttl=64,bos=0,eth_type=0x8847,tun_flags=0x1)',
  ],
  [
    { type: 'pushEth', src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' },
    'push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)',
  ],
  [{ type: 'popEth' }, 'pop_eth'],
  [
    { type: 'pushNsh' },
    'push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x0,si=255,c1=0x0,c2=0x0,c3=0x0,c4=0x0)',
  ],
  [
    { type: 'pushNsh', flags: 2, ttl: 1, np: 1, spi: 0xffffff, si: 0, c1: 1, c4: 0xffffffff },
    'push_nsh(flags=2,ttl=1,mdtype=1,np=1,spi=0xffffff,si=0,c1=0x1,c2=0x0,c3=0x0,c4=0xffffffff)',
  ],
  [{ type: 'pushNsh', mdtype: 2 }, 'push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255)'],
  [
    { type: 'pushNsh', mdtype: 2, md2: Buffer.of(0, 1, 0, 2, 0, 0, 0, 0) },
    'push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x0001000200000000)',
  ],
  [{ type: 'popNsh' }, 'pop_nsh()'],
  [{ type: 'recirc', id: 0 }, 'recirc(0)'],
  [{ type: 'recirc', id: 0xffffffff }, 'recirc(0xffffffff)'],
  [{ type: 'hash', algorithm: 'l4' }, 'hash(l4(0))'],
  [{ type: 'hash', algorithm: 'sym_l4', basis: 0xffffffff }, 'hash(sym_l4(4294967295))'],
  [{ type: 'trunc', maxLen: 100 }, 'trunc(100)'],

  [
    { type: 'sample', percent: 9.7, actions: [{ type: 'output', port: 1 }] },
    'sample(sample=9.7%,actions(1))',
  ],
  [
    { type: 'sample', percent: 100, actions: [{ type: 'drop' }] },
    'sample(sample=100.0%,actions(drop))',
  ],
  [
    { type: 'clone', actions: [{ type: 'popVlan' }, { type: 'output', port: 2 }] },
    'clone(pop_vlan,2)',
  ],
  [
    {
      type: 'checkPktLen',
      size: 65535,
      greater: [{ type: 'drop', reason: 'congestion' }],
      lessEqual: [{ type: 'drop' }],
    },
    'check_pkt_len(size=65535,gt(drop(reason=congestion)),le(drop))',
  ],
  [{ type: 'decTtl', actions: [{ type: 'userspace', pid: 1 }] }, 'dec_ttl(le_1(userspace(pid=1)))'],
];

export const refused: [Known, string][] = [
  [{ type: 'ct' }, 'ct'],
  [{ type: 'ct', commit: true, zone: 5 }, 'ct(commit,zone=5)'],
  [
    {
      type: 'ct',
      forceCommit: true,
      mark: { value: 0xa0a0a0a0, mask: 0xfefefefe },
      label: { value: 0x1234567890abcdef1234567890abcdefn, mask: 1n },
      helper: 'tftp',
      timeout: 'ovs_tp_1_tcp4',
      nat: {},
    },
    'ct(force_commit,mark=0xa0a0a0a0/0xfefefefe,label=0x1234567890abcdef1234567890abcdef/0x1,helper=tftp,timeout=ovs_tp_1_tcp4,nat)',
  ],
  [{ type: 'ct', mark: 1, label: 0n }, 'ct(mark=0x1/0xffffffff,label=0)'],
  [{ type: 'ct', nat: { side: 'src' } }, 'ct(nat(src))'],
  [{ type: 'ct', nat: { side: 'dst', random: true } }, 'ct(nat(dst,random))'],
  [
    {
      type: 'ct',
      nat: {
        side: 'src',
        min: '10.0.0.240',
        max: '10.0.0.254',
        portMin: 32768,
        portMax: 65535,
        persistent: true,
        hash: true,
      },
    },
    'ct(nat(src=10.0.0.240-10.0.0.254:32768-65535,persistent,hash))',
  ],
  [
    { type: 'ct', nat: { side: 'dst', min: 'fe80::1', max: 'fe80::a18b' } },
    'ct(nat(dst=fe80::1-fe80::a18b))',
  ],
  [
    { type: 'ct', nat: { side: 'dst', min: 'fe80::1', max: 'fe80::2', portMin: 255 } },
    'ct(nat(dst=[fe80::1]-[fe80::2]:255))',
  ],
  [{ type: 'ctClear' }, 'ct_clear'],
  [{ type: 'meter', id: 7 }, 'meter(7)'],
  [{ type: 'lbOutput', bond: 1 }, 'lb_output(1)'],
  [{ type: 'tnlPop', port: 4 }, 'tnl_pop(4)'],
  [{ type: 'psample', group: 12 }, 'psample(group=12)'],
  [{ type: 'psample', group: 0, cookie: Buffer.of(0, 1, 2) }, 'psample(group=0,cookie=0x000102)'],
  [
    {
      type: 'tnlPush',
      tnlPort: 6,
      outPort: 1,
      header: { eth, ipv4, udp, vxlan: { flags: 0x8000000, vni: 0x1c7 } },
    },
    `tnl_push(tnl_port(6),header(size=50,type=4,${ethText},${ipv4Text},${udpText},vxlan(flags=0x8000000,vni=0x1c7)),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 6,
      outPort: 1,
      header: {
        eth,
        ipv6,
        udp,
        geneve: {
          oam: true,
          crit: true,
          vni: 1,
          options: [{ class: 0xffff, type: 0x80, len: 4, data: Buffer.of(0, 0, 0, 0xa) }],
        },
      },
    },
    `tnl_push(tnl_port(6),header(size=78,type=5,${ethText6},${ipv6Text},${udpText},geneve(oam,crit,vni=0x1,options({class=0xffff,type=0x80,len=4,0xa}))),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv4, gre: { flags: 0xb000, proto: 0x6558, csum: 0, key: 0x1e241, seq: 9 } },
    },
    `tnl_push(tnl_port(4),header(size=50,type=3,${ethText},${ipv4Text},gre((flags=0xb000,proto=0x6558),csum=0x0,key=0x1e241,seq=0x9)),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv6, gre: { flags: 0, proto: 0x6558 } },
    },
    `tnl_push(tnl_port(4),header(size=58,type=109,${ethText6},${ipv6Text},gre((flags=0x0,proto=0x6558))),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv4, erspan: { ver: 1, sid: 0x123, idx: 0 } },
    },
    `tnl_push(tnl_port(4),header(size=50,type=107,${ethText},${ipv4Text},erspan(ver=1,sid=0x123,idx=0x0)),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv6, erspan: { ver: 2, sid: 0, dir: 1, hwid: 0x3f } },
    },
    `tnl_push(tnl_port(4),header(size=74,type=108,${ethText6},${ipv6Text},erspan(ver=2,sid=0x0,dir=1,hwid=0x3f)),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv4, udp, gtpu: { flags: 0x30, msgtype: 255, teid: 0 } },
    },
    `tnl_push(tnl_port(4),header(size=50,type=110,${ethText},${ipv4Text},${udpText},gtpu(flags=0x30,msgtype=255,teid=0x0)),out_port(1))`,
  ],
  [
    {
      type: 'tnlPush',
      tnlPort: 4,
      outPort: 1,
      header: { eth, ipv6, srv6: { segments: ['2001:cafe::90', '2001:cafe::91'] } },
    },
    `tnl_push(tnl_port(4),header(size=94,type=112,${ethText6},${ipv6Text},srv6(segments_left=1,segs(2001:cafe::90,2001:cafe::91))),out_port(1))`,
  ],
];
