// Every action in its three forms, each way: by table, then at random with lists in lists.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { actionKinds } from '../../src/odp/actions/table.js';
import { formatAddress, prefixOf } from '../../src/odp/address.js';
import {
  type Action,
  decodeActions,
  encodeActions,
  formatActions,
  type KnownAction,
  type PortNames,
  parseActions,
} from '../../src/odp/index.js';
import { type Field, type Group, groupOf, groups } from '../../src/odp/schema.js';

const ports: PortNames = {
  number: () => {
    throw new Error('no names here');
  },
  name: () => undefined,
};
const seeded = { seed: 20160412, numRuns: 300 };

type Known = KnownAction<number>;

/** Canonical actions and their text, and whether the datapath may be asked to do them. */
function check(actions: readonly Known[], text: string, encodable = true): void {
  expect(formatActions(actions)).toBe(text);
  expect(parseActions(text)).toEqual(actions);
  if (!encodable) {
    for (const given of [actions, text]) {
      expect(() => encodeActions(given, ports)).toThrow(
        expect.objectContaining({ code: 'ERR_NOT_SUPPORTED' }),
      );
    }
    return;
  }
  const encoded = encodeActions(actions, ports);
  expect(encodeActions(text, ports)).toEqual(encoded);
  expect(decodeActions(encoded)).toEqual(actions);
}

// ---------- by table

const eth = { dst: 'f8:bc:12:44:34:b6', src: 'f8:bc:12:46:58:e0' };
const ethText = 'eth(dst=f8:bc:12:44:34:b6,src=f8:bc:12:46:58:e0,dl_type=0x0800)';
const ethText6 = ethText.replace('0x0800', '0x86dd');
const ipv4 = { src: '1.1.2.88', dst: '1.1.2.92', proto: 17, tos: 0, ttl: 64, frag: 0x4000 };
const ipv4Text = 'ipv4(src=1.1.2.88,dst=1.1.2.92,proto=17,tos=0,ttl=64,frag=0x4000)';
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
const udpText = 'udp(src=0,dst=4789,csum=0x0)';

const encodable: [Known | Known[], string][] = [
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

const refused: [Known, string][] = [
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

describe('every action', () => {
  test.each(encodable.map(([typed, text]) => ({ typed, text })))('$text', ({ typed, text }) => {
    check(Array.isArray(typed) ? typed : [typed], text);
  });

  test.each(refused.map(([typed, text]) => ({ typed, text })))('$text', ({ typed, text }) => {
    check([typed], text, false);
  });

  test('the samples have all there are', () => {
    const types = new Set(
      [...encodable, ...refused].flatMap(([typed]) => typed).map((a) => a.type),
    );
    expect([...types].sort()).toEqual(actionKinds.map((kind) => kind.type).sort());
  });

  test('what the datapath cannot do, it cannot do in lists of lists either', () => {
    for (const [typed, text] of refused) {
      const actions: Known[] = [{ type: 'clone', actions: [{ type: 'output', port: 1 }, typed] }];
      check(actions, `clone(1,${text})`, false);
    }
  });

  test('names of ports, wherever a port can be', () => {
    const names: PortNames = {
      number: (ref) => (ref === 'br0' ? 7 : 0),
      name: (number) => (number === 7 ? 'br0' : undefined),
    };
    const text =
      'br0,clone(br0,sample(sample=1.0%,actions(br0))),' +
      'userspace(pid=1,ipfix(output_port=br0),tunnel_out_port=br0),' +
      'userspace(pid=1,flow_sample(probability=0,collector_set_id=0,obs_domain_id=0,obs_point_id=0,output_port=br0))';
    expect(formatActions(parseActions(text, names), { ports: names })).toBe(text);
    const numbers = text.replaceAll('br0', '7');
    expect(formatActions(parseActions(text, names))).toBe(numbers);
    expect(encodeActions(text, names)).toEqual(encodeActions(numbers, ports));
    const typed: Action[] = [
      { type: 'clone', actions: [{ type: 'output', port: 'br0' }] },
      { type: 'userspace', cookie: { type: 'ipfix', outputPort: 'br0' }, tunnelOutPort: 'br0' },
    ];
    expect(formatActions(typed)).toBe(
      'clone(br0),userspace(pid=0,ipfix(output_port=br0),tunnel_out_port=br0)',
    );
    expect(encodeActions(typed, names)).toEqual(
      encodeActions('clone(7),userspace(pid=0,ipfix(output_port=7),tunnel_out_port=7)', ports),
    );
    const push = `tnl_push(tnl_port(br0),header(size=50,type=4,${ethText},${ipv4Text},${udpText},vxlan(flags=0x8000000,vni=0x1c7)),out_port(br0)),tnl_pop(br0)`;
    expect(formatActions(parseActions(push, names), { ports: names })).toBe(push);
  });

  test('userdata that is a cookie is one; that is more than its text can say is none', () => {
    const text = 'userspace(pid=0,ipfix(output_port=10))';
    const encoded = encodeActions(text, ports);
    const userdata = encoded.subarray(encoded.length - 48);
    expect(formatActions([{ type: 'userspace', userdata }])).toBe(text);
    for (const [at, byte] of [
      [0, 9],
      [1, 1],
      [4, 1],
      [8, 1],
      [47, 1],
    ] as const) {
      const other = Buffer.from(userdata);
      other[at] = byte;
      check(
        [{ type: 'userspace', userdata: other }],
        `userspace(pid=0,userdata(${other.toString('hex')}))`,
      );
    }
    const sample = encodeActions('userspace(pid=0,flow_sample(egress))', ports).subarray(-48);
    expect(sample[44]).toBe(2);
    sample[44] = 7;
    check(
      [{ type: 'userspace', userdata: sample }],
      `userspace(pid=0,userdata(${sample.toString('hex')}))`,
    );
    const longer = Buffer.concat([userdata, Buffer.of(0)]);
    check(
      [{ type: 'userspace', userdata: longer }],
      `userspace(pid=0,userdata(${longer.toString('hex')}))`,
    );
  });

  test('a resolver that encodes actions itself does no harm', () => {
    const names: PortNames = {
      number: () => {
        encodeActions('1,2,3,4,5', ports);
        return 7;
      },
      name: () => undefined,
    };
    const typed: Action[] = [
      { type: 'clone', actions: [{ type: 'output', port: 'a' }] },
      { type: 'output', port: 'b' },
    ];
    expect(encodeActions(typed, names)).toEqual(encodeActions('clone(7),7', ports));
  });
});

// ---------- any probability

describe('sample', () => {
  const percentOf = (probability: number): number => {
    const bytes = encodeActions('sample(sample=1%,actions(1))', ports);
    bytes.writeUInt32LE(probability, 8);
    const [action] = decodeActions(bytes) as [Extract<Known, { type: 'sample' }>];
    const text = formatActions([action]);
    expect(encodeActions(text, ports)).toEqual(bytes);
    expect(encodeActions([action], ports)).toEqual(bytes);
    expect(text).toMatch(/^sample\(sample=\d+\.\d{1,8}%,actions\(1\)\)$/);
    return action.percent;
  };

  test('every probability has a text of its own', () => {
    let last = -1;
    for (const probability of [0, 1, 2, 3, 42, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]) {
      const percent = percentOf(probability);
      expect(percent).toBeGreaterThan(last);
      last = percent;
    }
    expect(last).toBe(100);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (p) => void percentOf(p)),
      {
        ...seeded,
        numRuns: 2000,
      },
    );
  });

  test('one decimal, as Open vSwitch prints it, is read as Open vSwitch reads it', () => {
    for (let tenths = 0; tenths <= 1000; tenths++) {
      const text = `sample(sample=${(tenths / 10).toFixed(1)}%,actions(1))`;
      const bytes = encodeActions(text, ports);
      expect(bytes.readUInt32LE(8)).toBe(Math.floor(0xffffffff * (tenths / 10 / 100) + 0.5));
      expect(formatActions(text)).toBe(text);
    }
  });
});

// ---------- at random

const kAddressBytes = { mac: 6, ipv4: 4, ipv6: 16 } as const;
const u = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 });
const positive = (bits: number) => fc.integer({ min: 1, max: 2 ** bits - 1 });
const big = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const buffer = (options: fc.IntArrayConstraints) =>
  fc.uint8Array(options).map((bytes) => Buffer.from(bytes));

function bytesAsAddress(kind: keyof typeof kAddressBytes): fc.Arbitrary<string> {
  const size = kAddressBytes[kind];
  return fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => formatAddress(kind, bytes, 0));
}

const nonzero = (kind: 'ipv4' | 'ipv6') =>
  bytesAsAddress(kind).filter((address) => /[^0.:]/.test(address));

/** An address of which only the bits that matter are there. */
function maskedAddress(kind: keyof typeof kAddressBytes): fc.Arbitrary<string> {
  const size = kAddressBytes[kind];
  const raw = fc.uint8Array({ minLength: size, maxLength: size });
  return fc
    .tuple(
      raw,
      raw.filter((mask) => mask.some((byte) => byte !== 0)),
    )
    .map(([value, mask]) => {
      const address = formatAddress(
        kind,
        value.map((byte, i) => byte & mask[i]!),
        0,
      );
      const prefix = kind === 'mac' ? -1 : prefixOf(mask, 0, size);
      if (prefix === size * 8) return address;
      return `${address}/${prefix < 0 ? formatAddress(kind, mask, 0) : prefix}`;
    });
}

/** The canonical value of a field in a set action, masked if it may be. */
function fieldValue(field: Field, masks: boolean): fc.Arbitrary<unknown> {
  const { kind } = field;
  if (kind === 'mac' || kind === 'ipv4' || kind === 'ipv6') {
    return masks && field.exact !== true
      ? fc.oneof(bytesAsAddress(kind), maskedAddress(kind))
      : bytesAsAddress(kind);
  }
  if (field.big) return big(8 * field.size);
  const exact = fc.integer({ min: 0, max: field.max });
  if (!masks || field.exact === true || field.max === 1) return exact;
  const masked = fc
    .record({ value: exact, mask: fc.integer({ min: 1, max: field.max - 1 }) })
    .map(({ value, mask }) => ({ value: (value & mask) >>> 0, mask }));
  return fc.oneof(exact, masked);
}

function someFields(fields: readonly Field[], masks: boolean, all = false) {
  const parts = fields
    .filter((field) => field.set === true)
    .map((field) => [field.key, fieldValue(field, masks)] as const);
  return fc.record(Object.fromEntries(parts), all ? {} : { requiredKeys: [] });
}

const geneveOption = fc
  .tuple(u(16), u(8), fc.integer({ min: 0, max: 4 }))
  .chain(([cls, type, words]) =>
    buffer({ minLength: 4 * words, maxLength: 4 * words }).map((data) => ({
      class: cls,
      type,
      len: 4 * words,
      ...(words === 0 ? {} : { data }),
    })),
  );
const erspan = fc.oneof(
  fc.record({ ver: fc.constant(1), idx: u(32) }),
  fc.record({ ver: fc.constant(2), dir: u(1), hwid: u(6) }),
);
const tunnel = fc
  .record(
    {
      tunId: big(64),
      src: nonzero('ipv4'),
      dst: nonzero('ipv4'),
      ipv6Src: nonzero('ipv6'),
      ipv6Dst: nonzero('ipv6'),
      tos: positive(8),
      ttl: positive(8),
      tpSrc: positive(16),
      tpDst: positive(16),
      vxlan: fc.record({ gbp: fc.record({ id: positive(16), flags: positive(8) }) }),
      geneve: fc.array(geneveOption, { minLength: 1, maxLength: 4 }),
      erspan,
      gtpu: fc.record({ flags: positive(8), msgtype: positive(8) }),
      flags: fc.integer({ min: 1, max: 15 }),
    },
    { requiredKeys: [] },
  )
  .map(({ tunId, flags = 0, ...rest }) => {
    // The id and the flag "key" are one.
    const all = tunId === undefined ? flags & ~8 : flags | 8;
    return {
      ...rest,
      ...(tunId === undefined ? {} : { tunId }),
      ...(all === 0 ? {} : { flags: all }),
    };
  });

function setOf(group: Group): fc.Arbitrary<Record<string, unknown>> {
  const value =
    group === groupOf('tunnel')
      ? tunnel
      : group.single === true
        ? fieldValue(group.fields[0]!, true)
        : group.entries !== undefined
          ? someFields(group.fields, true).map((entry) => [entry])
          : someFields(group.fields, group.setsWhole !== true, group.setsWhole === true);
  return value.map((given) => ({ [group.key]: given }));
}

const settable = groups.filter((group) => group.settable);
const set = fc
  .oneof(...settable.map(setOf))
  .map((field) => ({ type: 'set', field }) as unknown as Known);

const optional = { requiredKeys: ['type'] as const } as { requiredKeys: ['type'] };
const type = <T extends string>(name: T) => fc.constant(name);

const cookie = fc.oneof(
  fc.record(
    {
      type: type('sFlow'),
      vid: fc.integer({ min: 1, max: 4095 }),
      pcp: fc.integer({ min: 1, max: 7 }),
      output: fc.integer({ min: 1, max: 0xffffffff }),
    },
    optional,
  ),
  fc.record(
    {
      type: type('controller'),
      reason: fc.integer({ min: 1, max: 0xffff }),
      dontSend: fc.constant(1),
      continuation: fc.constant(1),
      recircId: fc.integer({ min: 1, max: 0xffffffff }),
      ruleCookie: big(64).filter((value) => value !== 0n),
      controllerId: fc.integer({ min: 1, max: 0xffff }),
      maxLen: fc.integer({ min: 1, max: 0xffff }),
    },
    optional,
  ),
  fc.record(
    {
      type: type('flowSample'),
      probability: fc.integer({ min: 1, max: 0xffff }),
      collectorSetId: fc.integer({ min: 1, max: 0xffffffff }),
      obsDomainId: fc.integer({ min: 1, max: 0xffffffff }),
      obsPointId: fc.integer({ min: 1, max: 0xffffffff }),
      outputPort: fc.integer({ min: 1, max: 0xffffffff }),
      direction: fc.constantFrom('ingress', 'egress'),
    },
    optional,
  ),
);

const userspace = fc
  .record(
    {
      type: type('userspace'),
      pid: fc.integer({ min: 1, max: 0xffffffff }),
      userdata: fc.oneof(
        buffer({ maxLength: 40 }).map((userdata) => ({ userdata })),
        cookie.map((value) => ({ cookie: value })),
      ),
      actions: fc.constant(true),
      tunnelOutPort: u(32),
    },
    optional,
  )
  .map(({ userdata, ...rest }) => ({ ...rest, ...userdata }));

const label = { label: u(20), tc: fc.integer({ min: 1, max: 7 }), ttl: u(8), bos: u(1) };
const labelled = ['type', 'label', 'ttl', 'bos', 'ethType'] as const;
const mplsType = fc.constantFrom(0x8847, 0x8848);

const leaf: fc.Arbitrary<Known> = fc.oneof(
  fc.record({ type: type('output'), port: u(16) }),
  userspace,
  set,
  fc.record(
    {
      type: type('pushVlan'),
      vid: u(12),
      pcp: fc.integer({ min: 1, max: 7 }),
      tpid: fc.constantFrom(0x88a8, 0x9100),
      cfi: fc.constant(0),
    },
    { requiredKeys: ['type', 'vid'] },
  ),
  fc.record(
    { type: type('pushMpls'), ...label, ethType: mplsType },
    { requiredKeys: [...labelled] },
  ),
  fc.record(
    {
      type: type('addMpls'),
      ...label,
      ethType: mplsType,
      tunFlags: fc.integer({ min: 1, max: 0xffff }),
    },
    { requiredKeys: [...labelled] },
  ),
  fc.record({ type: type('popMpls'), ethType: u(16) }),
  fc.record({ type: type('pushEth'), src: bytesAsAddress('mac'), dst: bytesAsAddress('mac') }),
  fc.record(
    {
      type: type('pushNsh'),
      flags: fc.integer({ min: 1, max: 3 }),
      ttl: fc.integer({ min: 0, max: 62 }),
      np: fc.integer({ min: 4, max: 255 }),
      spi: fc.integer({ min: 1, max: 0xffffff }),
      si: fc.integer({ min: 0, max: 254 }),
      c1: fc.integer({ min: 1, max: 0xffffffff }),
      c4: fc.integer({ min: 1, max: 0xffffffff }),
    },
    optional,
  ),
  fc
    .integer({ min: 1, max: 61 })
    .chain((words) => buffer({ minLength: 4 * words, maxLength: 4 * words }))
    .map((md2) => ({ type: 'pushNsh' as const, mdtype: 2, md2 })),
  fc.constantFrom('popVlan', 'popEth', 'popNsh').map((name) => ({ type: name }) as Known),
  fc.record({ type: type('recirc'), id: u(32) }),
  fc.record({ type: type('trunc'), maxLen: u(32) }),
  fc.record(
    {
      type: type('hash'),
      algorithm: fc.constantFrom('l4' as const, 'sym_l4' as const),
      basis: fc.integer({ min: 1, max: 0xffffffff }),
    },
    { requiredKeys: ['type', 'algorithm'] },
  ),
) as fc.Arbitrary<Known>;

/** A probability by the text that stands for it. */
const percent = u(32).map((probability) => {
  const bytes = encodeActions('sample(sample=1%,actions(1))', ports);
  bytes.writeUInt32LE(probability, 8);
  return (decodeActions(bytes)[0] as Extract<Known, { type: 'sample' }>).percent;
});

const drop = fc
  .oneof(
    fc.constantFrom('of_pipeline', 'congestion', 'forwarding_disabled'),
    fc.integer({ min: 16, max: 0xffffffff }),
  )
  .map((reason) => ({ type: 'drop', reason }) as Known);

const { list } = fc.letrec<{ list: Known[]; action: Known; nested: Known }>((tie) => ({
  list: fc
    .tuple(fc.array(tie('action'), { maxLength: 4 }), fc.option(drop, { nil: undefined, freq: 4 }))
    .map(([actions, last]): Known[] => {
      const all = last === undefined ? actions : [...actions, last];
      return all.length === 0 ? [{ type: 'drop' }] : all;
    }),
  action: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    { arbitrary: leaf, weight: 4 },
    { arbitrary: tie('nested'), weight: 1 },
  ),
  nested: fc.oneof(
    tie('list').map((actions): Known => ({ type: 'clone', actions })),
    tie('list').map((actions): Known => ({ type: 'decTtl', actions })),
    fc
      .tuple(percent, tie('list'))
      .map(([p, actions]): Known => ({ type: 'sample', percent: p, actions })),
    fc
      .tuple(u(16), tie('list'), tie('list'))
      .map(
        ([size, greater, lessEqual]): Known => ({ type: 'checkPktLen', size, greater, lessEqual }),
      ),
  ),
}));

describe('at random', () => {
  test('typed, text, netlink and back, lists in lists', () => {
    fc.assert(
      fc.property(list, (actions) => {
        const text = formatActions(actions);
        check(actions, text);
        expect(formatActions(text)).toBe(text);
        const encoded = encodeActions(text, ports);
        expect(formatActions(decodeActions(encoded))).toBe(text);
      }),
      { ...seeded, numRuns: 1000 },
    );
  });

  test('any spacing, and sub-fields in any order, mean the same', () => {
    const separators = fc.array(fc.constantFrom(',', ' ', '\t', ', ', ',,', '\r\n'), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(list, separators, fc.nat(), (actions, between, turn) => {
        const text = formatActions(actions);
        expect(parseActions(shuffle(text, between, turn))).toEqual(actions);
      }),
      seeded,
    );
  });

  test('a set that is not canonical becomes so once and for all', () => {
    const group = fc.constantFrom(
      ...settable.filter(({ single, setsWhole, entries }) => !single && !setsWhole && !entries),
    );
    const loose = group.chain((g) =>
      fc
        .record(
          Object.fromEntries(
            g.fields
              .filter(({ set: can, kind }) => can === true && !(kind in kAddressBytes))
              .map((field) => [
                field.key,
                fc.record({ value: u(1).map((b) => b * field.max), mask: u(1) }),
              ]),
          ),
          { requiredKeys: [] },
        )
        .map((field): Action => ({ type: 'set', field: { [g.key]: field } })),
    );
    fc.assert(
      fc.property(loose, (action) => {
        const encoded = encodeActions([action], ports);
        const canonical = decodeActions(encoded);
        check(canonical, formatActions([action]));
        expect(encodeActions(canonical, ports)).toEqual(encoded);
      }),
      seeded,
    );
  });

  test('rubbish made of words is refused with a position inside the text, never otherwise', () => {
    const words = [
      ...actionKinds.map(({ name }) => name),
      ...['(', ')', '=', '/', ',', '{', '}', '1', '0x', '-1', '9.7%', 'é', '[::1]', '[', '-', ':'],
      ...[
        'actions',
        'actions(',
        'sample=',
        'size=1',
        'gt(',
        'le(',
        'le_1(',
        'vid=1',
        'tpid=0x8100',
      ],
      ...['nat(', 'src=', 'commit', 'mark=', 'label=0x1', 'helper=', 'header(', 'gre((', 'eth('],
      ...[
        'ipv4(',
        'tunnel(',
        'geneve(',
        'geneve({',
        'flags(',
        'mpls(',
        'nsh(',
        'md2=0x0',
        'mdtype=2',
      ],
      ...['controller(', 'slow_path(', 'userdata(', 'reason=', 'constructor', '__proto__', 'l4(1)'],
    ];
    const text = fc
      .array(fc.constantFrom(...words), { maxLength: 14 })
      .map((some) => some.join(''));
    fc.assert(
      fc.property(text, (rubbish) => {
        let actions: Known[];
        try {
          actions = parseActions(rubbish);
        } catch (error) {
          expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL', errno: -22 });
          const { position } = error as { position: number };
          expect(position).toBeGreaterThanOrEqual(0);
          expect(position).toBeLessThanOrEqual(rubbish.length);
          return;
        }
        expect(parseActions(formatActions(actions))).toEqual(actions);
      }),
      { ...seeded, numRuns: 5000 },
    );
  });

  test('text with a character changed is refused with a position, or means something', () => {
    const char = fc.constantFrom(...'(),=/{}[]:-.%0x1fz \u00e9');
    fc.assert(
      fc.property(
        list.map((actions) => formatActions(actions)),
        fc.nat(),
        char,
        (text, at, other) => {
          const place = at % text.length;
          const changed = text.slice(0, place) + other + text.slice(place + 1);
          let actions: Known[];
          try {
            actions = parseActions(changed);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            const { position } = error as { position: number };
            expect(position).toBeGreaterThanOrEqual(0);
            expect(position).toBeLessThanOrEqual(changed.length);
            return;
          }
          expect(parseActions(formatActions(actions))).toEqual(actions);
        },
      ),
      { ...seeded, numRuns: 3000 },
    );
  });

  test('bytes with a byte changed are refused with EINVAL, or mean something', () => {
    fc.assert(
      fc.property(
        list.map((actions) => encodeActions(actions, ports)),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (bytes, edits) => {
          if (bytes.length === 0) return;
          for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
          let actions: Known[];
          try {
            actions = decodeActions(bytes);
          } catch (error) {
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            return;
          }
          let text: string;
          try {
            text = formatActions(actions);
          } catch (error) {
            // A drop that is not the last action, or fields that need each other.
            expect(error).toMatchObject({ name: 'DatapathError', code: 'EINVAL' });
            return;
          }
          expect(parseActions(text)).toEqual(actions);
        },
      ),
      { ...seeded, numRuns: 3000 },
    );
  });
});

/** Lists whose items' order means nothing, by what is in front of their parenthesis. */
const kUnordered =
  /(?:^|[^a-z_0-9])(?:userspace|push_vlan|push_mpls|add_mpls|push_eth|push_nsh|sample|check_pkt_len|ipv4|ipv6|arp|tcp|nd|tunnel|controller|flow_sample|sFlow)$/;

/** The same text in other words: items turned round where they may be, other separators. */
function shuffle(text: string, separators: readonly string[], turn: number): string {
  let out = '';
  let start = 0;
  let count = 0;
  const flush = (end: number) => {
    out += text.slice(start, end);
  };
  for (let i = 0; i < text.length; i++) {
    if (text[i] === ',' && !inBraces(text, i)) {
      flush(i);
      out += separators[count++ % separators.length];
      start = i + 1;
    } else if (text[i] === '(') {
      flush(i + 1);
      const close = matching(text, i);
      const items = split(text.slice(i + 1, close));
      const from = kUnordered.test(text.slice(0, i)) ? turn % items.length : 0;
      const turned = [...items.slice(from), ...items.slice(0, from)];
      out += turned.map((item) => shuffle(item, separators, turn)).join(separators[0]);
      i = close - 1;
      start = close;
    }
  }
  flush(text.length);
  return out;
}

function inBraces(text: string, at: number): boolean {
  return text.lastIndexOf('{', at) > text.lastIndexOf('}', at);
}

function matching(text: string, open: number): number {
  let depth = 0;
  for (let i = open; ; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')' && --depth === 0) return i;
  }
}

function split(text: string): string[] {
  const items: string[] = [];
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '(') i = matching(text, i);
    if (i === text.length || (text[i] === ',' && !inBraces(text, i))) {
      items.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return items;
}
