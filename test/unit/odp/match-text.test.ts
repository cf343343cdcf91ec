// The text is Open vSwitch's: what it prints is printed, what it reads is read.
import { describe, expect, test } from 'vitest';
import {
  type FlowMatch,
  formatActions,
  formatFlow,
  formatMatch,
  type PortNames,
  parseActions,
  parseMatch,
} from '../../../src/odp/index.js';
import { formatAddress, readAddress } from '../../../src/odp/text/address.js';

const ports: PortNames = {
  number: (ref) => (ref === 'vm1' ? 1 : 2),
  name: (number) => (number === 1 ? 'vm1' : undefined),
};

const eth = 'eth(src=00:01:02:03:04:05,dst=10:11:12:13:14:15)';
const ip = 'ipv4(src=35.8.2.41,dst=172.16.0.20,proto=';
const ip6 = 'ipv6(src=::1,dst=::2,label=0,proto=';
const nd = 'eth_type(0x86dd),ipv6(proto=58),icmpv6(type=136,code=0)';

describe('printed as it is read', () => {
  test.each([
    `${eth}`,
    `${eth},eth_type(0x1234)`,
    `${eth},eth_type(0x1234/0xfff0)`,
    `${eth},eth_type(0x0800),${ip}5,tos=0x81,ttl=128,frag=first)`,
    `${eth},eth_type(0x0800),ipv4(src=35.8.2.41/255.255.255.0,proto=5/0xf0,tos=0x80/0xf0,ttl=128/0xf0,frag=no)`,
    `${eth},eth_type(0x0800),${ip}6,tos=0,ttl=128,frag=no),tcp(src=80/0xff00,dst=8080)`,
    `${eth},eth_type(0x0800),${ip}6,tos=0,ttl=128,frag=no),tcp(src=80),tcp_flags(syn|ack)`,
    `eth_type(0x0800),ipv4(proto=6),tcp_flags(+syn-ack)`,
    `eth_type(0x0800),ipv4(proto=6),tcp_flags(0)`,
    `eth_type(0x0800),ipv4(proto=6),tcp_flags(ns|[200]|[800])`,
    `${eth},eth_type(0x0800),${ip}1,tos=0,ttl=128,frag=no),icmp(type=1/0xf0,code=2)`,
    `${eth},eth_type(0x86dd),${ip6}10,tclass=0x70,hlimit=128,frag=later)`,
    `eth_type(0x86dd),ipv6(src=::1/::255,label=0/0xf0,proto=58),icmpv6(type=1,code=2)`,
    `eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target=::3/::250,sll=00:05:06:07:08:09/ff:ff:ff:ff:ff:00)`,
    `${eth},eth_type(0x0806),arp(sip=1.2.3.4/255.255.255.250,op=1/0xf0,sha=00:0f:10:11:12:13,tha=00:14:15:16:17:18)`,
    `eth_type(0x8035),arp(op=3)`,
    `eth(),eth_type(0x8100),vlan(vid=99,pcp=7),encap(eth_type(0x0800),ipv4(ttl=3))`,
    `eth_type(0x88a8),vlan(vid=1/0xf,pcp=0/0x4),encap(eth_type(0x8100),vlan(),encap(eth_type(0x0806)))`,
    `eth_type(0x8100),vlan(vid=0,pcp=0,cfi=0),encap()`,
    `eth_type(0x8100),vlan(vid=1,cfi=1/0),encap()`,
    `skb_mark(0x1234/0xfff0),packet_type(ns=1,id=0x800),eth_type(0x0800)`,
    `packet_type(ns=1,id=0x86dd),eth_type(0x86dd),ipv6(proto=6),tcp(dst=80)`,
    `packet_type(ns=1/0x1),eth_type(0x0800)`,
    `packet_type(ns=0,id=0),eth(src=00:00:00:00:00:01)`,
    `ct_state(-inv+trk)`,
    `ct_state(-new+est-rel-rpl-inv+trk-snat-dnat),ct_zone(0x5/0xff),ct_mark(0x10305070/0xf0f0f0f0)`,
    `ct_label(0x1234567890abcdef1234567890abcdef/0x102030405060708090a0b0c0d0e0f0)`,
    `ct_label(0),eth()`,
    `ct_tuple4(src=10.10.10.10,dst=20.20.20.0/255.255.255.0,proto=17,tp_src=1,tp_dst=2/0xff),eth(),eth_type(0x0800)`,
    `ct_tuple6(src=fe80::1,dst=fe80::/ffc0::,proto=6,tp_src=1,tp_dst=2),eth_type(0x86dd)`,
    `${eth},eth_type(0x8847),mpls(label=100,tc=3,ttl=64,bos=1)`,
    `${eth},eth_type(0x8848),mpls(label=1000,tc=4,ttl=200,bos=0,label=5,tc=0,ttl=1,bos=1)`,
    `eth_type(0x8847),mpls(label=100/0xff,tc=7/7,ttl=64/0xff,bos=1/1)`,
    `eth_type(0x8847),mpls(label=0/0x0,tc=0/0,ttl=0/0x0,bos=0/0,label=5/0xfffff,tc=0/0,ttl=0/0x0,bos=0/0)`,
    `eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x123456,si=255,c1=0x0,c2=0x5,c3=0xffffffff,c4=0x1)`,
    `eth_type(0x894f),nsh(flags=0x02/0x02,ttl=0x10/0x30,mdtype=0x01/0x0f,spi=0x5/0x000000ff,si=0x07/0x0f)`,
    `${nd},nd(target=::3),nd_ext(nd_reserved=0x0,nd_options_type=2)`,
    `${nd},nd_ext(nd_reserved=0x20000000/0xe0000000,nd_options_type=2/0x3)`,
    `eth(),eth_type(0/0xffff)`,
    `eth_type(0x8100),vlan(vid=1),encap(eth_type(0/0xffff))`,
  ])('%s', (text) => {
    const whole = `recirc_id(0),in_port(1),${text}`;
    expect(formatMatch(whole)).toBe(whole);
    expect(formatMatch(parseMatch(whole))).toBe(whole);
  });

  test.each([
    'tun_id=0x0,flags(+key)',
    'tun_id=0x7f10354/0xff,src=10.10.10.10/255.255.255.0,dst=20.20.20.20,ttl=64,vxlan(gbp(id=10/0xff,flags=0xb)),flags(oam|csum|key)',
    'tun_id=0xfedcba9876543210,ipv6_src=fe80::1,ipv6_dst=fe80::/ffc0::,tos=0x8/0xfc,ttl=64,tp_src=1,tp_dst=4789/0xff00,flags(-df+csum+key)',
    'ttl=64,geneve({class=0,type=0,len=4,0xa/0xff}{class=0xffff,type=0x1,len=4,0xffffffff}),flags(0)',
    'geneve({type=0x80/0x80,len=0}{class=0x102/0xff,len=8}{len=124,0x1})',
    'geneve()',
    'erspan(ver=1,idx=0x7/0xf),flags(df|key)',
    'erspan(ver=2,dir=1,hwid=0x7/0xf)',
    'erspan(ver=0)',
    'gtpu(flags=0x30,msgtype=255)',
    'flags(-oam-key)',
  ])('tunnel(%s)', (inside) => {
    const whole = `recirc_id(0),tunnel(${inside}),in_port(1),eth()`;
    expect(formatMatch(whole)).toBe(whole);
    expect(formatMatch(parseMatch(whole))).toBe(whole);
  });

  test.each([
    'drop',
    '1',
    '1,2,3',
    'set(eth(src=00:01:02:03:04:05,dst=10:11:12:13:14:15))',
    'set(eth(dst=10:11:12:00:00:00/ff:ff:ff:00:00:00))',
    'set(ipv4(src=35.8.2.0/255.255.255.0,tos=0x80/0xfc,ttl=64))',
    'set(ipv4(tos=0/0x3))',
    'set(ipv6(label=0/0xfff,tclass=0x70,hlimit=1))',
    'set(tcp(src=80))',
    'set(udp(src=81,dst=6632))',
    'set(sctp(dst=6632))',
    'set(skb_priority(0x10))',
    'set(skb_mark(0x10/0xf0))',
    'push_vlan(vid=12,pcp=0)',
    'push_vlan(vid=13,pcp=5,cfi=0)',
    'push_vlan(tpid=0x9100,vid=13,pcp=5)',
    'pop_vlan',
    'userspace(pid=9765)',
    'userspace(pid=6633,userdata(0102030405060708090a0b0c0d0e0f))',
    'userspace(pid=6633,userdata())',
    'push_vlan(vid=1,pcp=2),set(ipv4(ttl=1)),3,pop_vlan,4',
  ])('%s', (text) => {
    expect(formatActions(text)).toBe(text);
    expect(formatActions(parseActions(text))).toBe(text);
  });
});

describe('read in other spellings', () => {
  test.each([
    ['in_port(1)', 'recirc_id(0),in_port(1)'],
    [' ,in_port(0x1)\t\r\n,, recirc_id(010) ,', 'recirc_id(0x8),in_port(1)'],
    ['in_port(1/0xffffffff),recirc_id(0/0xffffffff)', 'recirc_id(0),in_port(1)'],
    // prefix lengths, which Open vSwitch does not read
    [
      'in_port(1),eth_type(0x0800),ipv4(src=10.1.2.3/9)',
      'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(src=10.1.2.3/255.128.0.0)',
    ],
    [
      'in_port(1),eth_type(0x86dd),ipv6(src=fe80::1/10)',
      'recirc_id(0),in_port(1),eth_type(0x86dd),ipv6(src=fe80::1/ffc0::)',
    ],
    [
      'in_port(1),eth(src=1:2:3:4:5:6/8)',
      'recirc_id(0),in_port(1),eth(src=01:02:03:04:05:06/ff:00:00:00:00:00)',
    ],
    // what says nothing
    ['in_port(1),skb_mark(5/0),eth_type(7/0)', 'recirc_id(0),in_port(1)'],
    ['in_port(1),eth_type(0x0800),ipv4(ttl=3/0)', 'recirc_id(0),in_port(1),eth_type(0x0800)'],
    ['in_port(1),eth(src=00:00:00:00:00:01/00:00:00:00:00:00)', 'recirc_id(0),in_port(1),eth()'],
    ['in_port(1),packet_type(ns=0),eth()', 'recirc_id(0),in_port(1),packet_type(ns=0)'],
    // any order, at every level
    [
      'encap(ipv4(ttl=1),eth_type(0x0800)),vlan(pcp=1,vid=2),eth_type(0x8100),in_port(1)',
      'recirc_id(0),in_port(1),eth_type(0x8100),vlan(vid=2,pcp=1),encap(eth_type(0x0800),ipv4(ttl=1))',
    ],
    [
      'in_port(1),vlan(tpid=0x88a8,vid=1),encap()',
      'recirc_id(0),in_port(1),eth_type(0x88a8),vlan(vid=1),encap()',
    ],
    [
      'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(0x12)',
      'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(syn|ack)',
    ],
    [
      'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(0x2/0x12)',
      'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(+syn-ack)',
    ],
    [
      'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(syn|0x10)',
      'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(syn|ack)',
    ],
    ['in_port(1),ct_state(0x21/0x31)', 'recirc_id(0),in_port(1),ct_state(+new-inv+trk)'],
    [
      'in_port(1),ct_state(est|trk)',
      'recirc_id(0),in_port(1),ct_state(-new+est-rel-rpl-inv+trk-snat-dnat)',
    ],
    // an id is there only with its flag; the fields of ERSPAN only with their version
    [
      'in_port(1),tunnel(tun_id=5,flags(+csum))',
      'recirc_id(0),tunnel(tun_id=0x5,flags(+csum+key)),in_port(1)',
    ],
    [
      'in_port(1),tunnel(erspan(ver=1/0,idx=0x7/0xf))',
      'recirc_id(0),tunnel(erspan(ver=1,idx=0x7/0xf)),in_port(1)',
    ],
    [
      'in_port(1),tunnel(tun_id=0x10/010)',
      'recirc_id(0),tunnel(tun_id=0x10/0x8,flags(+key)),in_port(1)',
    ],
    // options in any spacing; what is not written of them is wildcarded
    [
      'in_port(1),tunnel(geneve({len=4,type=1 class=0x10} , {len=8,0x00a/0xFF}))',
      'recirc_id(0),tunnel(geneve({class=0x10,type=0x1,len=4}{len=8,0xa/0xff})),in_port(1)',
    ],
    ['in_port(1),tunnel(geneve({}))', 'recirc_id(0),tunnel(geneve({len=0})),in_port(1)'],
    [
      'in_port(1),tunnel(geneve({class=0xffff/0,type=0x1/0,len=4/0,0xffffffff/0}))',
      'recirc_id(0),in_port(1)',
    ],
    // label stack entries end where a field comes again, and at the last that says something
    [
      'in_port(1),eth_type(0x8847),mpls(label=1,tc=2,label=3,bos=1)',
      'recirc_id(0),in_port(1),eth_type(0x8847),mpls(label=1/0xfffff,tc=2/7,ttl=0/0x0,bos=0/0,label=3/0xfffff,tc=0/0,ttl=0/0x0,bos=1/1)',
    ],
    [
      'in_port(1),eth_type(0x8847),mpls(label=1,tc=2,ttl=3,bos=0,label=3/0,label=0/0)',
      'recirc_id(0),in_port(1),eth_type(0x8847),mpls(label=1,tc=2,ttl=3,bos=0)',
    ],
    ['in_port(1),eth_type(0x8847),mpls()', 'recirc_id(0),in_port(1),eth_type(0x8847)'],
    // a packet type says what the Ethernet type is
    [
      'in_port(1),packet_type(ns=1,id=0x0800),ipv4(ttl=3)',
      'recirc_id(0),in_port(1),packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(ttl=3)',
    ],
    ['in_port(1),eth_type(0x05dc)', 'recirc_id(0),in_port(1),eth_type(0/0xffff)'],
    // more bits than the header has
    [
      'in_port(1),eth_type(0x894f),nsh(flags=2/0xfe,ttl=3/0xff)',
      'recirc_id(0),in_port(1),eth_type(0x894f),nsh(flags=0x02/0x02,ttl=3)',
    ],
  ])('%s', (text, printed) => {
    expect(formatMatch(text)).toBe(printed);
    expect(formatMatch(parseMatch(text))).toBe(printed);
  });

  test.each([
    ['', 'drop'],
    [' , ', 'drop'],
    ['1 2\t3,', '1,2,3'],
    ['push_vlan(pcp=1,vid=0x2,tpid=0x8100,cfi=1)', 'push_vlan(vid=2,pcp=1)'],
    ['push_vlan(vid=2)', 'push_vlan(vid=2,pcp=0)'],
    ['userspace()', 'userspace(pid=0)'],
    ['set(tcp(src=80/0xff00,dst=1/0xffff))', 'set(tcp(src=0/0xff00,dst=1))'],
  ])('%j', (text, printed) => {
    expect(formatActions(text)).toBe(printed);
  });
});

// Lines of `ovs-appctl dpctl/dump-flows` of Open vSwitch 3.1, the second of each pair with `-m --names`,
// and what they are here.
describe('as a running Open vSwitch prints it', () => {
  const rest = 'packet_type(ns=0/0,id=0/0)';
  const noMac = '00:00:00:00:00:00/00:00:00:00:00:00';
  const noEth = `eth(src=${noMac},dst=${noMac})`;
  const noCt = 'ct_state(0/0),ct_zone(0/0),ct_mark(0/0),ct_label(0/0)';
  const geneve =
    'tunnel(tun_id=0x7f10354/0xff,src=10.10.10.10/255.255.255.0,dst=20.20.20.20,ttl=64,' +
    'geneve({class=0,type=0,len=4,0xa/0xff}{class=0xffff,type=0x1,len=4,0xffffffff}),flags(-df+csum+key))';
  const gtpu =
    'tunnel(tun_id=0x1,ipv6_src=fe80::1,ipv6_dst=fe80::2,tos=0x8/0xfc,ttl=64,tp_dst=4789,gtpu(flags=0x30,msgtype=255),flags(key))';
  const erspan = 'tunnel(tun_id=0x1,src=1.1.1.1,dst=2.2.2.2,ttl=64,';
  const tuple4 =
    'ct_tuple4(src=10.10.10.10,dst=20.20.20.0/255.255.255.0,proto=17,tp_src=1,tp_dst=2/0xff)';
  const ct =
    'ct_zone(0x5/0xff),ct_mark(0x10305070/0xf0f0f0f0),ct_label(0x1234567890abcdef1234567890abcdef/0x102030405060708090a0b0c0d0e0f0)';
  const udp = 'ipv4(dst=10.0.0.0/255.0.0.0,proto=17,frag=no),udp(src=1,dst=2)';
  const tuple6 = 'ct_tuple6(src=fe80::1,dst=fe80::/ffc0::,proto=6,';
  const tcp6 = 'ipv6(label=0x5/0xff,proto=6,frag=first),tcp(src=1,dst=2/0xff),tcp_flags(+syn-ack)';
  const mpls = (ttl: number) =>
    `mpls(label=100/0xfffff,tc=7/7,ttl=${ttl}/0x0,bos=0/1,label=200/0xff,tc=0/0,ttl=0/0x0,bos=1/1)`;
  const ufid = (key: string) => `ufid:47612718-6710-4cdc-b113-355437220785, ${key}`;

  const cases: [string, string, string][] = [
    [
      `${geneve},recirc_id(0),in_port(1),eth(),eth_type(0x1234)`,
      `skb_priority(0/0),${geneve},skb_mark(0/0),${noCt},recirc_id(0),dp_hash(0/0),in_port(p1),${rest},${noEth},eth_type(0x1234)`,
      `recirc_id(0),${geneve},in_port(1),eth(),eth_type(0x1234)`,
    ],
    [
      `${gtpu},recirc_id(0),in_port(1),eth(),eth_type(0x1234)`,
      `skb_priority(0/0),${gtpu},skb_mark(0/0),${noCt},recirc_id(0),dp_hash(0/0),in_port(p1),${rest},${noEth},eth_type(0x1234)`,
      `recirc_id(0),${gtpu},in_port(1),eth(),eth_type(0x1234)`,
    ],
    [
      `${erspan}erspan(),flags(df|key)),recirc_id(0),in_port(1),eth(),eth_type(0x1234)`,
      `skb_priority(0/0),${erspan}erspan(ver=2/0,dir=1/0,hwid=0x7/0),flags(df|key)),recirc_id(0),in_port(p1),${rest},${noEth},eth_type(0x1234)`,
      `recirc_id(0),${erspan}flags(df|key)),in_port(1),eth(),eth_type(0x1234)`,
    ],
    [
      `ct_state(-inv+trk),${ct},${tuple4},recirc_id(0),in_port(1),eth(),eth_type(0x0800),${udp}`,
      `skb_priority(0/0),skb_mark(0/0),ct_state(0x20/0x30),${ct},${tuple4},recirc_id(0),dp_hash(0/0),in_port(p1),${rest},${noEth},eth_type(0x0800),` +
        'ipv4(src=0.0.0.0/0.0.0.0,dst=10.0.0.0/255.0.0.0,proto=17,tos=0/0,ttl=0/0,frag=no),udp(src=1,dst=2)',
      `recirc_id(0),in_port(1),ct_state(-inv+trk),${ct},${tuple4},eth(),eth_type(0x0800),${udp}`,
    ],
    [
      `ct_state(-new+est-rel-rpl-inv+trk-snat-dnat),${tuple6}src_port=1,dst_port=2),recirc_id(0),in_port(1),eth(),eth_type(0x86dd),${tcp6}`,
      `ct_state(0x22/0xff),ct_zone(0/0),ct_mark(0/0),ct_label(0/0),${tuple6}src_port=1,dst_port=2),recirc_id(0),in_port(p1),${rest},${noEth},eth_type(0x86dd),` +
        'ipv6(src=::/::,dst=::/::,label=0x5/0xff,proto=6,tclass=0/0,hlimit=0/0,frag=first),tcp(src=1,dst=2/0xff),tcp_flags(+syn-ack)',
      `recirc_id(0),in_port(1),ct_state(-new+est-rel-rpl-inv+trk-snat-dnat),${tuple6}tp_src=1,tp_dst=2),eth(),eth_type(0x86dd),${tcp6}`,
    ],
    [
      `recirc_id(0),in_port(1),eth(src=00:01:02:03:04:05),eth_type(0x8847),${mpls(64)}`,
      `skb_priority(0/0),${noCt},recirc_id(0),in_port(p1),${rest},eth(src=00:01:02:03:04:05,dst=${noMac}),eth_type(0x8847),${mpls(64)}`,
      `recirc_id(0),in_port(1),eth(src=00:01:02:03:04:05),eth_type(0x8847),${mpls(0)}`,
    ],
    [
      'recirc_id(0),in_port(1),packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(src=1.2.3.4,proto=132),sctp(src=1,dst=2)',
      `skb_priority(0/0),${noCt},recirc_id(0),in_port(p1),packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(src=1.2.3.4,dst=0.0.0.0/0.0.0.0,proto=132,tos=0/0,ttl=0/0),sctp(src=1,dst=2)`,
      'recirc_id(0),in_port(1),packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(src=1.2.3.4,proto=132),sctp(src=1,dst=2)',
    ],
  ];
  const named: PortNames = { number: () => 1, name: () => undefined };

  test.each(cases)('%s', (short, long, ours) => {
    expect(formatMatch(short)).toBe(ours);
    expect(formatMatch(parseMatch(ufid(long), named))).toBe(ours);
  });
});

describe('printing', () => {
  const match: FlowMatch = { inPort: 1, ipv4: { ttl: 64 } };

  test('names of ports', () => {
    expect(formatMatch(match, { ports })).toBe(
      'recirc_id(0),in_port(vm1),eth_type(0x0800),ipv4(ttl=64)',
    );
    expect(formatMatch('in_port(vm2)')).toBe('recirc_id(0),in_port(vm2)');
    expect(parseMatch('in_port(vm1)')).toEqual({ inPort: 'vm1' });
    expect(parseMatch('in_port(vm1)', ports)).toEqual({ inPort: 1 });
    expect(formatActions('1,2', { ports })).toBe('vm1,2');
    expect(formatActions([{ type: 'output', port: 'vm9' }])).toBe('vm9');
  });

  test('verbose', () => {
    expect(formatMatch(match, { verbose: true })).toBe(
      'recirc_id(0),in_port(1),eth_type(0x0800),ipv4(src=0.0.0.0/0.0.0.0,dst=0.0.0.0/0.0.0.0,proto=0/0,tos=0/0,ttl=64)',
    );
  });

  test('verbose: tunnels have what is matched, the state of a connection is a number', () => {
    const { tunnel, ctState }: Pick<FlowMatch, 'tunnel' | 'ctState'> = {
      tunnel: { tunId: 5, ttl: { value: 3, mask: 1 } },
      ctState: '+trk-inv',
    };
    expect(
      formatMatch(
        { inPort: 1, tunnel, ctState, ndExt: {}, icmpv6: { type: 135 } },
        { verbose: true },
      ),
    ).toBe(
      'recirc_id(0),tunnel(tun_id=0x5,ttl=3/0x1,flags(+key)),in_port(1),ct_state(0x20/0x30),eth_type(0x86dd),' +
        'ipv6(src=::/::,dst=::/::,label=0/0,proto=58,tclass=0/0,hlimit=0/0),icmpv6(type=135,code=0)',
    );
  });

  test('the line of a flow', () => {
    const flow = {
      match: { inPort: 1, eth: { src: '00:00:00:00:00:01' }, ethType: 0x1234 },
      actions: [{ type: 'output', port: 2 }] as const,
      packets: 0n,
      bytes: 0n,
      usedMs: null,
      tcpFlags: 0,
    };
    const key = 'recirc_id(0),in_port(1),eth(src=00:00:00:00:00:01),eth_type(0x1234)';
    expect(formatFlow(flow)).toBe(`${key}, packets:0, bytes:0, used:never, actions:2`);
    expect(
      formatFlow({ ...flow, packets: 3n, bytes: 180n, usedMs: 12, tcpFlags: 0x1b, actions: [] }),
    ).toBe(`${key}, packets:3, bytes:180, used:0.012s, flags:SFP., actions:drop`);
    expect(formatFlow({ ...flow, usedMs: 61_000, tcpFlags: 0xfe4, actions: 'drop' })).toBe(
      `${key}, packets:0, bytes:0, used:61.000s, flags:RUECN[200][400][800], actions:drop`,
    );
    const ufid = '00112233-4455-6677-8899-aabbccddeeff';
    expect(formatFlow({ ...flow, ufid, match: 'in_port(1)', actions: '1' }, { ports })).toBe(
      `ufid:${ufid}, recirc_id(0),in_port(vm1), packets:0, bytes:0, used:never, actions:vm1`,
    );
  });
});

describe('addresses', () => {
  // Right: as inet_ntop of glibc prints it.
  test.each([
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['0:1:2:3:4:5:6:7', '0:1:2:3:4:5:6:7'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['FE80::ABCD', 'fe80::abcd'],
    ['::ffff:1.2.3.4', '::ffff:1.2.3.4'],
    ['::ffff:102:304', '::ffff:1.2.3.4'],
    ['::1.2.3.4', '::1.2.3.4'],
    ['::102:304', '::1.2.3.4'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ])('%s', (text, printed) => {
    const bytes = new Uint8Array(16).fill(0xee);
    expect(readAddress('ipv6', text, bytes, 0)).toBe(true);
    expect(formatAddress('ipv6', bytes, 0)).toBe(printed);
  });

  test.each([
    '',
    ':',
    ':::',
    '1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:',
    ':1:2:3:4:5:6:7',
    '1::2::3',
    '12345::',
    '1:2:3:4:5:6:7:8::',
    '::1:2:3:4:5:6:7:8',
    'g::',
    '::1.2.3',
    '::1.2.3.4.5',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    '1.2.3.4',
    '::1 ',
    '::%1',
  ])('%j is no IPv6 address', (text) => {
    expect(readAddress('ipv6', text, new Uint8Array(16), 0)).toBe(false);
  });

  test.each([
    '',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.04',
    '1..2.3',
    '1.2.3.4 ',
    'a.b.c.d',
    '-1.2.3.4',
  ])('%j is no IPv4 address', (text) => {
    expect(readAddress('ipv4', text, new Uint8Array(4), 0)).toBe(false);
  });

  test.each([
    '',
    '1:2:3:4:5',
    '1:2:3:4:5:6:7',
    '001:2:3:4:5:6',
    '1:2:3:4:5:g',
    '1-2-3-4-5-6',
    ':1:2:3:4:5',
  ])('%j is no MAC address', (text) => {
    expect(readAddress('mac', text, new Uint8Array(6), 0)).toBe(false);
  });
});

// As `dump-flows -m` prints them: every field, wildcarded or not; and what it leaves out.
describe('lines of Open vSwitch with wildcarded headers', () => {
  test.each([
    [
      'eth_type(0x0800),ipv4(proto=6/0,frag=no),tcp(src=443/0,dst=1000/0),tcp_flags(0/0)',
      'eth_type(0x0800),ipv4(frag=no)',
    ],
    [
      'eth_type(0x0800),ipv4(src=10.0.0.1/0.0.0.0,proto=17/0,frag=no),udp(src=1/0,dst=2/0)',
      'eth_type(0x0800),ipv4(frag=no)',
    ],
    [
      'eth_type(0x86dd),ipv6(proto=132/0,frag=no),sctp(src=1/0,dst=2/0)',
      'eth_type(0x86dd),ipv6(frag=no)',
    ],
    [
      'eth_type(0x0800),ipv4(proto=1/0,frag=no),icmp(type=8/0,code=0/0)',
      'eth_type(0x0800),ipv4(frag=no)',
    ],
    [
      'eth_type(0x86dd),ipv6(proto=58/0,frag=no),icmpv6(type=135/0,code=0/0)',
      'eth_type(0x86dd),ipv6(frag=no)',
    ],
    [
      'eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=135/0,code=0/0),nd(target=::1/::,sll=00:00:00:00:00:01/00:00:00:00:00:00)',
      'eth_type(0x86dd),ipv6(proto=58,frag=no)',
    ],
    ['eth_type(0x0806/0x0000),arp(sip=1.2.3.4/0.0.0.0,op=1/0)', ''],
    [
      'eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=135),nd(target=fe80::1)',
      'eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=135,code=0),nd(target=fe80::1)',
    ],
    [
      'eth_type(0x88a8),vlan(vid=1,pcp=4/0x0),encap(eth_type(0x8100),encap(eth_type(0x0800),ipv4(frag=no)))',
      'eth_type(0x88a8),vlan(vid=1),encap(eth_type(0x8100),vlan(),encap(eth_type(0x0800),ipv4(frag=no)))',
    ],
    ['eth_type(0x9100)', 'eth_type(0x9100),vlan(),encap()'],
    [
      'eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=2,np=1,spi=0x20,si=255,c1=0x0,c2=0x0,c3=0x0,c4=0x0)',
      'eth_type(0x894f),nsh(flags=0,ttl=63,mdtype=2,np=1,spi=0x20,si=255)',
    ],
  ])('%s', (text, meant) => {
    const start = 'recirc_id(0),in_port(1)';
    const expected = meant === '' ? start : `${start},${meant}`;
    expect(formatMatch(`${start},${text}`)).toBe(expected);
    expect(formatMatch(expected)).toBe(expected);
    expect(parseMatch(`${start},${text}`)).toEqual(parseMatch(expected));
  });

  test('what is asked for is still needed', () => {
    for (const text of [
      'eth_type(0x0800),ipv4(proto=6/0),tcp(src=443,dst=1000/0)',
      'eth_type(0x894f),nsh(mdtype=2,c1=0x1)',
      'eth_type(0x894f),nsh(c1=0x0)',
      'encap(eth_type(0x0800))',
      'eth_type(0x0800),encap(eth_type(0x0800))',
      'eth_type(0x8100)',
      'eth_type(0x8100),encap(eth_type(0x0800),ipv4(frag=no))',
      'eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),nd()',
    ]) {
      expect(() => formatMatch(`in_port(1),${text}`), text).toThrow(/needs/);
    }
  });
});
