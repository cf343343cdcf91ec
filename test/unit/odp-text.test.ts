// The text is Open vSwitch's: what it prints is printed, what it reads is read.
import { describe, expect, test } from 'vitest';
import { formatAddress, readAddress } from '../../src/odp/address.js';
import {
  type FlowMatch,
  formatActions,
  formatFlow,
  formatMatch,
  type PortNames,
  parseActions,
  parseMatch,
} from '../../src/odp/index.js';

const ports: PortNames = {
  number: (ref) => (ref === 'vm1' ? 1 : 2),
  name: (number) => (number === 1 ? 'vm1' : undefined),
};

const eth = 'eth(src=00:01:02:03:04:05,dst=10:11:12:13:14:15)';
const ip = 'ipv4(src=35.8.2.41,dst=172.16.0.20,proto=';
const ip6 = 'ipv6(src=::1,dst=::2,label=0,proto=';

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
    `skb_mark(0x1234/0xfff0),packet_type(ns=1,id=0x800)`,
    `packet_type(ns=0,id=0),eth(src=00:00:00:00:00:01)`,
  ])('%s', (text) => {
    const whole = `recirc_id(0),in_port(1),${text}`;
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
