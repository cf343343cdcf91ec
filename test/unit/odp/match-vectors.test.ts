// Bytes worked out by hand from linux/openvswitch.h: attribute numbers, struct layouts, padding.
import { describe, expect, test } from 'vitest';
import {
  decodeActions,
  decodeMatch,
  encodeActions,
  encodeMatch,
  type MatchLike,
  type PortNames,
} from '../../../src/odp/index.js';

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
    'any tags or none: a mask of no bits for a tag that is not in the key': [
      { inPort: 1, vlan: { any: true } },
      start,
      `${startMask} 0600 0500 0000 0000`,
    ],
    'any tags or none, and what is behind them': [
      'in_port(1),vlan(any),eth_type(0x0806)',
      `${start} 0600 0600 0806 0000`,
      `${startMask} 0600 0500 0000 0000  0600 0600 ffff 0000`,
    ],
    'a tag, and anything behind it': [
      { inPort: 1, vlan: { vid: 5 }, cvlan: { any: true } },
      `${start} 0600 0600 8100 0000  0600 0500 1005 0000  0400 0100`,
      `${startMask} 0600 0600 ffff 0000  0600 0500 1fff 0000  0c00 0100 0600 0500 0000 0000`,
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
    'state of a connection, host order': [
      {
        inPort: 1,
        ctState: '+trk-inv',
        ctZone: 0x1234,
        ctMark: { value: 1, mask: 0xff },
        ctLabel: 0x0102n,
      },
      `${start} 0800 1600 20000000  0600 1700 3412 0000  0800 1800 01000000
       1400 1900 0201${'00'.repeat(14)}`,
      `${startMask} 0800 1600 30000000  0600 1700 ffff 0000  0800 1800 ff000000
       1400 1900 ${'ff'.repeat(16)}`,
    ],
    'all of ct_state is eight bits': [
      'in_port(1),ct_state(new|dnat)',
      `${start} 0800 1600 81000000`,
      `${startMask} 0800 1600 ff000000`,
    ],
    'tuple of a connection: 13 bytes in a struct of 16': [
      { inPort: 1, ctTuple4: { src: '10.0.0.1', dst: '10.0.0.0/8', proto: 6, tpSrc: 1, tpDst: 2 } },
      `${start} 1400 1a00 0a000001 0a000000 0001 0002 06 000000  0600 0600 0800 0000`,
      `${startMask} 1400 1a00 ffffffff ff000000 ffff ffff ff 000000  0600 0600 ffff 0000`,
    ],
    'tuple of a connection over ipv6: 37 bytes in a struct of 40': [
      { inPort: 1, ctTuple6: { dst: '::1', proto: 17, tpDst: { value: 2, mask: 0xff } } },
      `${start} 2c00 1b00 ${'00'.repeat(31)}01 0000 0002 11 000000  0600 0600 86dd 0000`,
      `${startMask} 2c00 1b00 ${'00'.repeat(16)}${'ff'.repeat(16)} 0000 00ff ff 000000  0600 0600 ffff 0000`,
    ],
    'mpls: as many entries as are matched': [
      { inPort: 1, mpls: [{ label: 0x12345, ttl: 64 }, { tc: 5, bos: 1 }, {}] },
      `${start} 0600 0600 8847 0000  0c00 1500 12345040 00000b00`,
      `${startMask} 0600 0600 ffff 0000  0c00 1500 fffff0ff 00000f00`,
    ],
    'nsh: the base header': [
      { inPort: 1, nsh: { flags: 1, ttl: 63, np: 3, spi: 0x123456, si: { value: 255, mask: 15 } } },
      `${start} 0600 0600 894f 0000  1000 1c00 0c00 0100 01 3f 00 03 123456ff`,
      `${startMask} 0600 0600 ffff 0000  1000 1c00 0c00 0100 03 3f 00 ff ffffff0f`,
    ],
    'nsh: metadata of type 1': [
      { inPort: 1, nsh: { c2: 5 } },
      `${start} 0600 0600 894f 0000  2400 1c00 0c00 0100 00 00 01 00 00000000
       1400 0200 00000000 00000005 00000000 00000000`,
      `${startMask} 0600 0600 ffff 0000  2400 1c00 0c00 0100 00 00 ff 00 00000000
       1400 0200 00000000 ffffffff 00000000 00000000`,
    ],
    'nd_ext: 5 bytes in a struct of 8': [
      { inPort: 1, icmpv6: { type: 135 }, ndExt: { ndReserved: 0x20000000, ndOptionsType: 2 } },
      `${start} 0600 0600 86dd 0000  2c00 0800 ${'00'.repeat(36)} 3a000000  0600 0c00 8700 0000
       0c00 1e00 20000000 02 000000`,
      `${startMask} 0600 0600 ffff 0000  2c00 0800 ${'00'.repeat(36)} ff000000  0600 0c00 ffff 0000
       0c00 1e00 ffffffff ff 000000`,
    ],
    'a packet without Ethernet header': [
      { inPort: 1, packetType: { ns: 1, id: 0x0800 }, ipv4: { ttl: 3 } },
      `${start} 0800 1d00 00010800  0600 0600 0800 0000  1000 0700 ${'00'.repeat(10)} 03 00`,
      `${startMask} 0800 1d00 ffffffff  0600 0600 ffff 0000  1000 0700 ${'00'.repeat(10)} ff 00`,
    ],
    'a frame with a length in place of a type': [
      'in_port(1),eth_type(0/0xffff)',
      `${start} 0600 0600 05ff 0000`,
      `${startMask} 0600 0600 ffff 0000`,
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

  // In a tunnel the key lacks what is zero, and a flag is an attribute without payload.
  const tunnels: Record<string, [string, string, string]> = {
    addresses: [
      'src=1.2.3.4,dst=5.6.7.0/255.255.255.0,tos=0x8,ttl=64,tp_src=1,tp_dst=4789/0xff00',
      '0800 0100 01020304  0800 0200 05060700  0500 0300 08 000000  0500 0400 40 000000  0600 0900 0001 0000  0600 0a00 12b5 0000',
      '0800 0100 ffffffff  0800 0200 ffffff00  0500 0300 ff 000000  0500 0400 ff 000000  0600 0900 ffff 0000  0600 0a00 ff00 0000',
    ],
    'addresses of version 6': [
      'ipv6_src=fe80::1,ipv6_dst=::/ffff::',
      `1400 0c00 fe80${'00'.repeat(13)}01`,
      `1400 0c00 ${'ff'.repeat(16)}  1400 0d00 ffff${'00'.repeat(14)}`,
    ],
    'an id': ['tun_id=0x0102/0xffff', '0c00 0000 0000000000000102', '0c00 0000 000000000000ffff'],
    'no key': ['tun_id=0,flags(-key)', '', '0c00 0000 ffffffffffffffff'],
    'any key': ['flags(+key)', '0c00 0000 0000000000000000', '0c00 0000 0000000000000000'],
    'flags that are set, and one that is not': [
      'flags(+df+csum-oam)',
      '0400 0500  0400 0600',
      '0400 0700  0400 0500  0400 0600',
    ],
    'group policy of vxlan': [
      'vxlan(gbp(id=0x1234,flags=0xb/0xf))',
      '0c00 0b00 0800 0100 34120b00',
      '0c00 0b00 0800 0100 ffff0f00',
    ],
    'erspan, version 1': [
      'erspan(ver=1,idx=0x12345)',
      '1000 0f00 01000000 00012345 00000000',
      '1000 0f00 ff000000 ffffffff 00000000',
    ],
    'erspan, version 2: bit fields': [
      'erspan(ver=2,dir=1,hwid=0x2a/0x3c)',
      '1000 0f00 02000000 00000000 0000 02 a8',
      '1000 0f00 ff000000 00000000 0000 03 c8',
    ],
    'no erspan': ['erspan(ver=0)', '', '1000 0f00 ff000000 00000000 00000000'],
    gtpu: ['gtpu(flags=0x30,msgtype=255)', '0600 1200 30 ff 0000', '0600 1200 ff ff 0000'],
    'geneve options': [
      'geneve({class=0x102,type=0x80/0x80,len=4,0xabcd/0xff}{len=0})',
      '1000 0800 0102 80 01 0000abcd 0000 00 00',
      '1000 0800 ffff 80 1f 000000ff 0000 00 1f',
    ],
    'no geneve options': ['geneve()', '', '0400 0800'],
  };

  test.each(Object.entries(tunnels))('tunnel: %s', (_, [text, key, mask]) => {
    const encoded = encodeMatch(`in_port(1),tunnel(${text})`, ports);
    const nest = (inside: string) => {
      const length = Buffer.alloc(2);
      length.writeUInt16LE(4 + bytes(inside).length);
      return `${length.toString('hex')} 1000 ${inside}`;
    };
    expect(encoded.key.toString('hex')).toBe(bytes(recirc0, nest(key), inPort1).toString('hex'));
    expect(encoded.mask.toString('hex')).toBe(
      bytes(exact32('1400'), nest(mask), exact32('0300')).toString('hex'),
    );
    expect(encodeMatch(decodeMatch(encoded.key, encoded.mask), ports)).toEqual(encoded);
  });

  test('a tunnel in an upcall: every flag is matched, everything else that is there', () => {
    const inside =
      '0c00 0000 0000000000000005  0800 0100 01020304  0400 0600  0800 0800 0102 03 e0';
    const key = bytes(inPort1, `2400 1000 ${inside}`);
    expect(decodeMatch(key)).toEqual({
      inPort: 1,
      tunnel: {
        tunId: 5n,
        src: '1.2.3.4',
        geneve: [{ class: 0x102, type: 3, len: 0 }],
        flags: 0b1100,
      },
    });
  });

  test('what is in the mask only is matched as zero', () => {
    const mask = bytes(
      exact32('0300'),
      exact32('1300'),
      '0600 0600 ffff 0000',
      '0c00 1000 0500 0400 ff 000000',
    );
    expect(decodeMatch(bytes(inPort1), mask)).toEqual({
      inPort: 1,
      dpHash: 0,
      ethType: 0x05ff,
      tunnel: { ttl: 0 },
    });
  });

  test('flags in words, bigints as numbers', () => {
    const words = { inPort: 1, ipv4: {}, tcpFlags: 'syn|ack', tunnel: { tunId: 7, flags: '+df' } };
    const numbers = {
      inPort: 1,
      ipv4: {},
      tcpFlags: 0x12,
      tunnel: { tunId: 7n, flags: { value: 0b1010, mask: 0b1010 } },
    };
    expect(encodeMatch(words, ports)).toEqual(encodeMatch(numbers, ports));
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
