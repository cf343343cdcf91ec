// Bytes worked out by hand from linux/openvswitch.h: attribute numbers, struct layouts, padding.
import { describe, expect, test } from 'vitest';
import {
  decodeActions,
  decodeMatch,
  encodeActions,
  encodeMatch,
  type MatchLike,
  type PortNames,
} from '../../src/odp/index.js';

const ports: PortNames = {
  number: (ref) => {
    if (ref === 'vm1') return 7;
    if (typeof ref === 'object') return ref.number;
    throw new Error(`no port ${ref}`);
  },
  name: (number) => (number === 7 ? 'vm1' : undefined),
};

const bytes = (...parts: string[]) => Buffer.from(parts.join('').replace(/\s/g, ''), 'hex');

// Every key begins with these two, always exact.
const recirc0 = '0800 1400 00000000';
const inPort1 = '0800 0300 01000000';
const exact32 = (type: string) => `0800 ${type} ffffffff`;
const start = recirc0 + inPort1;
const startMask = exact32('1400') + exact32('0300');

describe('key and mask', () => {
  const cases: Record<string, [MatchLike, string, string]> = {
    'nothing but the port': [{ inPort: 1 }, start, startMask],
    'host order of the metadata': [
      { inPort: 0x1234, recircId: 0xdeadbeef, dpHash: 1, skbPriority: 2, skbMark: 3 },
      '0800 1400 efbeadde  0800 1300 01000000  0800 0200 02000000  0800 0300 34120000  0800 0f00 03000000',
      ['1400', '1300', '0200', '0300', '0f00'].map(exact32).join(''),
    ],
    'packet type: namespace, then id, big-endian': [
      { inPort: 1, packetType: { ns: 1, id: { value: 0x0800, mask: 0xff00 } } },
      `${start} 0800 1d00 00010800`,
      `${startMask} 0800 1d00 ffffff00`,
    ],
    'eth, exact and masked': [
      { inPort: 1, eth: { src: '02:00:00:00:00:0a', dst: '01:00:00:00:00:00/01:00:00:00:00:00' } },
      `${start} 1000 0400 02000000000a 010000000000`,
      `${startMask} 1000 0400 ffffffffffff 010000000000`,
    ],
    'two bytes and their padding': [
      { inPort: 1, ethType: 0x1234 },
      `${start} 0600 0600 1234 0000`,
      `${startMask} 0600 0600 ffff 0000`,
    ],
    'ipv4 supplies its eth_type': [
      {
        inPort: 1,
        ipv4: { src: '10.1.2.3', dst: '10.0.0.0/8', tos: 0xb8, ttl: 64, frag: 'first' },
      },
      `${start} 0600 0600 0800 0000  1000 0700 0a010203 0a000000 00 b8 40 01`,
      `${startMask} 0600 0600 ffff 0000  1000 0700 ffffffff ff000000 00 ff ff ff`,
    ],
    'ipv6: the label fills 20 bits of 32': [
      {
        inPort: 1,
        ipv6: { src: '2001:db8::1', label: 0x12345, proto: 6, hlimit: 255, frag: 'later' },
      },
      `${start} 0600 0600 86dd 0000  2c00 0800 20010db8000000000000000000000001
       00000000000000000000000000000000 00012345 06 00 ff 02`,
      `${startMask} 0600 0600 ffff 0000  2c00 0800 ffffffffffffffffffffffffffffffff
       00000000000000000000000000000000 000fffff ff 00 ff ff`,
    ],
    'arp: 22 bytes in a struct of 24': [
      {
        inPort: 1,
        arp: {
          sip: '1.2.3.4',
          tip: '5.6.7.8',
          op: 1,
          sha: '00:01:02:03:04:05',
          tha: '0a:0b:0c:0d:0e:0f',
        },
      },
      `${start} 0600 0600 0806 0000  1c00 0d00 01020304 05060708 0001 000102030405 0a0b0c0d0e0f 0000`,
      `${startMask} 0600 0600 ffff 0000  1c00 0d00 ffffffff ffffffff ffff ffffffffffff ffffffffffff 0000`,
    ],
    'tcp and its flags': [
      { inPort: 1, ipv4: {}, tcp: { dst: 80 }, tcpFlags: { value: 0x002, mask: 0x012 } },
      `${start} 0600 0600 0800 0000  1000 0700 00000000 00000000 06 00 00 00
       0800 0900 0000 0050  0600 1200 0002 0000`,
      `${startMask} 0600 0600 ffff 0000  1000 0700 00000000 00000000 ff 00 00 00
       0800 0900 0000 ffff  0600 1200 0012 0000`,
    ],
    'exact tcp_flags have twelve bits': [
      'in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(syn|ack)',
      `${start} 0600 0600 0800 0000  1000 0700 00000000 00000000 06 00 00 00  0600 1200 0012 0000`,
      `${startMask} 0600 0600 ffff 0000  1000 0700 00000000 00000000 ff 00 00 00  0600 1200 0fff 0000`,
    ],
    'udp over ipv6': [
      { inPort: 1, ethType: 0x86dd, udp: { src: 0x1234 } },
      `${start} 0600 0600 86dd 0000  2c00 0800 ${'00'.repeat(36)} 11000000  0800 0a00 1234 0000`,
      `${startMask} 0600 0600 ffff 0000  2c00 0800 ${'00'.repeat(36)} ff000000  0800 0a00 ffff 0000`,
    ],
    sctp: [
      { inPort: 1, ipv4: {}, sctp: { src: 1, dst: 2 } },
      `${start} 0600 0600 0800 0000  1000 0700 ${'00'.repeat(8)} 84000000  0800 1100 0001 0002`,
      `${startMask} 0600 0600 ffff 0000  1000 0700 ${'00'.repeat(8)} ff000000  0800 1100 ffff ffff`,
    ],
    'icmp needs no ipv4 to be said': [
      { inPort: 1, icmp: { type: 8 } },
      `${start} 0600 0600 0800 0000  1000 0700 ${'00'.repeat(8)} 01000000  0600 0b00 0800 0000`,
      `${startMask} 0600 0600 ffff 0000  1000 0700 ${'00'.repeat(8)} ff000000  0600 0b00 ff00 0000`,
    ],
    'nd supplies the code of its icmpv6': [
      { inPort: 1, icmpv6: { type: 136 }, nd: { target: 'fe80::1', tll: '00:01:02:03:04:05' } },
      `${start} 0600 0600 86dd 0000  2c00 0800 ${'00'.repeat(36)} 3a000000  0600 0c00 8800 0000
       2000 0e00 fe800000000000000000000000000001 000000000000 000102030405`,
      `${startMask} 0600 0600 ffff 0000  2c00 0800 ${'00'.repeat(36)} ff000000  0600 0c00 ffff 0000
       2000 0e00 ${'ff'.repeat(16)} 000000000000 ffffffffffff`,
    ],
    'one tag: TPID, TCI, and the rest in ENCAP': [
      { inPort: 1, ethType: 0x0800, vlan: { vid: 5, pcp: 3 } },
      `${start} 0600 0600 8100 0000  0600 0500 7005 0000  0c00 0100 0600 0600 0800 0000`,
      `${startMask} 0600 0600 ffff 0000  0600 0500 ffff 0000  0c00 0100 0600 0600 ffff 0000`,
    ],
    'any tag': [
      'in_port(1),eth_type(0x8100),vlan(),encap()',
      `${start} 0600 0600 8100 0000  0600 0500 1000 0000  0400 0100`,
      `${startMask} 0600 0600 ffff 0000  0600 0500 1000 0000  0400 0100`,
    ],
    'two tags': [
      {
        inPort: 1,
        vlan: { tpid: 0x88a8, vid: 1 },
        cvlan: { vid: { value: 2, mask: 0xff } },
        ethType: 0x0806,
      },
      `${start} 0600 0600 88a8 0000  0600 0500 1001 0000  2000 0100
         0600 0600 8100 0000  0600 0500 1002 0000  0c00 0100 0600 0600 0806 0000`,
      `${startMask} 0600 0600 ffff 0000  0600 0500 1fff 0000  2000 0100
         0600 0600 ffff 0000  0600 0500 10ff 0000  0c00 0100 0600 0600 ffff 0000`,
    ],
    'a frame that ends inside its tag': [
      'in_port(1),eth_type(0x8100),vlan(vid=0,pcp=0,cfi=0),encap()',
      `${start} 0600 0600 8100 0000  0600 0500 0000 0000  0400 0100`,
      `${startMask} 0600 0600 ffff 0000  0600 0500 ffff 0000  0400 0100`,
    ],
  };

  test.each(Object.entries(cases))('%s', (_, [match, key, mask]) => {
    const encoded = encodeMatch(match, ports);
    expect(encoded.key.toString('hex')).toBe(bytes(key).toString('hex'));
    expect(encoded.mask.toString('hex')).toBe(bytes(mask).toString('hex'));
    const again = encodeMatch(decodeMatch(encoded.key, encoded.mask), ports);
    expect(again).toEqual(encoded);
  });

  test('an upcall key has no mask and is exact', () => {
    const key = bytes(
      start,
      '1000 0400 020000000001 020000000002',
      '0600 0600 0800 0000',
      '1000 0700 0a000001 0a000002 06 00 40 00',
      '0800 0900 0001 0002',
      '0600 1200 0012 0000',
    );
    expect(decodeMatch(key)).toEqual({
      inPort: 1,
      eth: { src: '02:00:00:00:00:01', dst: '02:00:00:00:00:02' },
      ethType: 0x0800,
      ipv4: { src: '10.0.0.1', dst: '10.0.0.2', proto: 6, tos: 0, ttl: 64, frag: 'no' },
      tcp: { src: 1, dst: 2 },
      tcpFlags: 0x12,
    });
  });

  test('a key in any order, a mask without some attributes, flag bits in the type', () => {
    const key = bytes('1000 0480 020000000001 020000000002', inPort1, '0600 0600 0800 0000');
    const mask = bytes(exact32('0300'), '0600 0600 ffff 0000');
    expect(decodeMatch(key, mask)).toEqual({ inPort: 1, eth: {}, ethType: 0x0800 });
  });

  test('the label is exact whatever the upper twelve bits of its mask are', () => {
    const { key, mask } = encodeMatch({ inPort: 1, ipv6: { label: 1 } }, ports);
    mask.writeUInt32BE(0xffffffff, mask.length - 8);
    expect(decodeMatch(key, mask)).toEqual({ inPort: 1, ethType: 0x86dd, ipv6: { label: 1 } });
  });

  test('names and handles are resolved', () => {
    expect(encodeMatch('in_port(vm1)', ports).key).toEqual(encodeMatch({ inPort: 7 }, ports).key);
    expect(encodeMatch({ inPort: 'vm1' }, ports).key).toEqual(
      encodeMatch({ inPort: { number: 7 } }, ports).key,
    );
  });

  test('a ufid in front of the text comes back', () => {
    const text = 'ufid:01234567-89AB-cdef-0123-456789abcdef, in_port(1)';
    expect(encodeMatch(text, ports).ufid).toBe('01234567-89ab-cdef-0123-456789abcdef');
    expect('ufid' in encodeMatch('in_port(1)', ports)).toBe(false);
  });
});

describe('actions', () => {
  const cases: Record<string, [string, string]> = {
    drop: ['drop', ''],
    output: ['1,0x10', '0800 0100 01000000  0800 0100 10000000'],
    'userspace(pid=0)': ['userspace(pid=0)', '0c00 0200 0800 0100 00000000'],
    'userdata is padded inside its nest': [
      'userspace(pid=258,userdata(0102030405))',
      '1800 0200 0800 0100 02010000  0900 0200 0102030405 000000',
    ],
    'set of every field': ['set(tcp(src=1,dst=2))', '0c00 0300 0800 0900 0001 0002'],
    'set of one field is masked: value, then mask': [
      'set(ipv4(ttl=64))',
      `2000 0b00 1c00 0700 ${'00'.repeat(10)} 40 00 ${'00'.repeat(10)} ff 00`,
    ],
    'set of some bits; the others are zero': [
      'set(udp(src=0x1234/0xff00,dst=5/0))',
      '1000 0b00 0c00 0a00 1200 0000 ff00 0000',
    ],
    'set of eth': [
      'set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02))',
      '1400 0300 1000 0400 020000000001 020000000002',
    ],
    'set of a host order field': ['set(skb_mark(0x1234))', '0c00 0300 0800 0f00 34120000'],
    'set of ipv6 label': [
      'set(ipv6(label=0x12345))',
      `5800 0b00 5400 0800 ${'00'.repeat(32)} 00012345 00000000 ${'00'.repeat(32)} 000fffff 00000000`,
    ],
    'push_vlan sets the CFI bit': ['push_vlan(vid=5,pcp=3)', '0800 0400 8100 7005'],
    'push_vlan with a tpid': ['push_vlan(tpid=0x88a8,vid=5,pcp=0)', '0800 0400 88a8 1005'],
    pop_vlan: ['pop_vlan', '0400 0500'],
  };

  test.each(Object.entries(cases))('%s', (_, [text, expected]) => {
    const encoded = encodeActions(text, ports);
    expect(encoded.toString('hex')).toBe(bytes(expected).toString('hex'));
    expect(encodeActions(decodeActions(encoded), ports)).toEqual(encoded);
  });

  test('typed actions', () => {
    const encoded = encodeActions(
      [
        { type: 'set', field: { ipv4: { ttl: 64 } } },
        { type: 'pushVlan', vid: 5 },
        { type: 'userspace', userdata: Uint8Array.of(1) },
        { type: 'output', port: 'vm1' },
        { type: 'output', port: { number: 3 } },
      ],
      ports,
    );
    expect(encoded).toEqual(
      encodeActions(
        'set(ipv4(ttl=64)),push_vlan(vid=5,pcp=0),userspace(pid=0,userdata(01)),7,3',
        ports,
      ),
    );
    expect(decodeActions(encoded)).toEqual([
      { type: 'set', field: { ipv4: { ttl: 64 } } },
      { type: 'pushVlan', vid: 5 },
      { type: 'userspace', userdata: Buffer.of(1) },
      { type: 'output', port: 7 },
      { type: 'output', port: 3 },
    ]);
  });

  test('dropping in four ways', () => {
    for (const actions of ['drop', '', [], [{ type: 'drop' }] as const]) {
      expect(encodeActions(actions, ports).length).toBe(0);
    }
    expect(decodeActions(new Uint8Array())).toEqual([{ type: 'drop' }]);
  });

  test('the longest userdata and the longest list', () => {
    const userdata = new Uint8Array(65512).fill(0xa5);
    const encoded = encodeActions([{ type: 'userspace', userdata }], ports);
    expect(encoded.length).toBe(65528);
    expect(decodeActions(encoded)).toEqual([
      { type: 'userspace', userdata: Buffer.from(userdata) },
    ]);
    const list = '1,'.repeat(8191);
    expect(encodeActions(list, ports).length).toBe(65528);
    expect(() => encodeActions(`${list}1`, ports)).toThrow(/longer than/);
  });
});
