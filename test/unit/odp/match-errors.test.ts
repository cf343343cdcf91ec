// Every way for a match to be refused: the code, the sentence, and for text the position.
import { describe, expect, test } from 'vitest';
import {
  decodeMatch,
  encodeMatch,
  type FlowMatch,
  formatUfid,
  parseMatch,
  parseUfid,
} from '../../../src/odp/index.js';
import { hex, split, thrown, vm1 } from './refusals.js';

describe('match text', () => {
  test.each([
    // words
    ['in_port(1),^foo(1)', 'unknown field "foo"'],
    ['in_port(1),^ipv6_exthdrs(hdrs=1)', 'unknown field "ipv6_exthdrs"'],
    ['in_port(1),^)', 'expected a field, found ")"'],
    ['in_port(1)^eth()', 'expected "," or the end, found "eth"'],
    ['in_port(1),eth^', 'expected "(" after "eth", found the end'],
    ['in_port(1),eth(^sc=00:00:00:00:00:01)', '"eth" has no field "sc"'],
    ['in_port(1),eth(src^)', 'expected "=" after "src", found ")"'],
    ['in_port(1),eth(src=00:00:00:00:00:01^', 'expected ")" to end "eth", found the end'],
    ['in_port(1),skb_mark(1^', 'expected ")" to end "skb_mark", found the end'],
    ['in_port(^1', 'expected ")" to end "in_port", found the end', 9],
    // in parentheses of their own
    ['in_port(1),tunnel(^foo=1)', '"tunnel" has no field "foo"'],
    ['in_port(1),tunnel(vxlan^=1)', 'expected "(" after "vxlan", found "="'],
    ['in_port(1),tunnel(vxlan(^id=1))', '"vxlan" has no field "id"'],
    ['in_port(1),tunnel(vxlan(gbp(^idx=1)))', '"gbp" has no field "idx"'],
    ['in_port(1),tunnel(vxlan(gbp(id=1)^', 'expected ")" to end "vxlan", found the end'],
    ['in_port(1),tunnel(flags^=1)', 'expected "(" after "flags", found "="'],
    ['in_port(1),tunnel(flags(^foo))', 'expected a flag or number for "flags", found "foo"'],
    ['in_port(1),tunnel(gtpu(flags=1)^tos=1)', 'expected "," or the end, found "tos"'],
    // options
    ['in_port(1),tunnel(geneve(^class=1))', 'expected "{" to begin an option of "geneve"'],
    ['in_port(1),tunnel(geneve({^clas=1}))', 'an option of "geneve" has no field "clas"'],
    ['in_port(1),tunnel(geneve({class=^0x10000}))', '"class" must be from 0 to 65535'],
    ['in_port(1),tunnel(geneve({type=1/^0x100}))', '"type mask" must be from 0 to 255'],
    ['in_port(1),tunnel(geneve({len=^6}))', '"len" must be a multiple of 4, found 6'],
    ['in_port(1),tunnel(geneve({len=^128}))', '"len" must be from 0 to 124'],
    ['in_port(1),tunnel(geneve({len=4^/1}))', '"len" cannot be masked'],
    ['in_port(1),tunnel(geneve({^0x1,len=4}))', 'expected "len" in front of the data, found "0x1"'],
    ['in_port(1),tunnel(geneve({len=4,^5}))', 'expected 0x and hexadecimal digits, found "5"'],
    ['in_port(1),tunnel(geneve({len=4,^0x123456789}))', 'data of an option of "geneve" is longer'],
    ['in_port(1),tunnel(geneve({len=4,0x1/^}))', 'expected 0x and hexadecimal digits, found "}"'],
    [
      'in_port(1),tunnel(geneve({len=4,0x1,^0x2}))',
      '"data" of an option of "geneve" is given twice',
    ],
    [
      'in_port(1),tunnel(geneve({type=1,^type=1}))',
      '"type" of an option of "geneve" is given twice',
    ],
    ['in_port(1),tunnel(geneve({len=4^))', 'expected "}" to end an option of "geneve", found ")"'],
    [
      'in_port(1),tunnel(geneve({len=4^',
      'expected "}" to end an option of "geneve", found the end',
    ],
    [
      'in_port(1),tunnel(geneve({len=124}^{len=124}))',
      'the options of "geneve" are longer than 252 bytes',
    ],
    // entries
    ['in_port(1),eth_type(0x8847),mpls(^lable=1)', '"mpls" has no field "lable"'],
    [
      'in_port(1),eth_type(0x8847),mpls(ttl=1,ttl=2,ttl=3,^ttl=4)',
      '"mpls" has more than 3 entries',
    ],
    // twice
    ['in_port(1),tunnel(ttl=1,^ttl=2)', '"ttl" of "tunnel" is given twice'],
    ['in_port(1),tunnel(vxlan(),^vxlan())', '"vxlan" of "tunnel" is given twice'],
    ['in_port(1),ct_tuple6(tp_src=1,^src_port=1)', '"tp_src" of "ct_tuple6" is given twice'],
    ['in_port(1),^in_port(2)', '"in_port" is given twice'],
    ['in_port(1),eth_type(1),^eth_type(2)', '"eth_type" is given twice'],
    [
      'in_port(1),eth(src=00:00:00:00:00:01,^src=00:00:00:00:00:02)',
      '"src" of "eth" is given twice',
    ],
    ['in_port(1),eth_type(0x8100),vlan(),^vlan(),encap()', '"vlan" is given twice'],
    ['in_port(1),eth_type(0x8100),vlan(),encap(),^encap()', '"encap" is given twice'],
    // numbers
    ['in_port(1),skb_mark(^x)', 'expected a number for "skb_mark", found "x"'],
    ['in_port(1),skb_mark(^)', 'expected a number for "skb_mark", found ")"'],
    ['in_port(1),skb_mark(^-1)', 'expected a number'],
    ['in_port(1),skb_mark(^0x)', 'expected a number'],
    ['in_port(1),skb_mark(^08)', 'expected a number'],
    ['in_port(1),skb_mark(^4294967296)', '"skb_mark" must be from 0 to 4294967295'],
    ['in_port(1),skb_mark(1/^0x1ffffffff)', '"skb_mark mask" must be from 0 to 4294967295'],
    ['in_port(1),eth_type(0x0800),ipv4(ttl=^300)', '"ttl" must be from 0 to 255, found "300"'],
    ['in_port(1),eth_type(0x8100),vlan(vid=^4096),encap()', '"vid" must be from 0 to 4095'],
    ['in_port(1),eth_type(0x86dd),ipv6(label=^0x100000)', '"label" must be from 0 to 1048575'],
    ['in_port(1),tunnel(tun_id=^x)', 'expected a number for "tun_id", found "x"'],
    ['in_port(1),tunnel(tun_id=^0x10000000000000000)', '"tun_id" must have at most 64 bits'],
    [
      'in_port(1),tunnel(tun_id=1/^18446744073709551616)',
      '"tun_id mask" must have at most 64 bits',
    ],
    [`in_port(1),ct_label(^0x1${'0'.repeat(32)})`, '"ct_label" must have at most 128 bits'],
    ['in_port(1),ct_state(^0x100)', 'expected a flag or number for "ct_state"'],
    ['in_port(1),eth_type(0x894f),nsh(ttl=^64)', '"ttl" must be from 0 to 63'],
    // ports
    ['in_port(^70000)', '"in_port" must be from 0 to 65535'],
    ['in_port(1^/1)', '"in_port" cannot be masked'],
    ['in_port(1),recirc_id(0^/0)', '"recirc_id" cannot be masked'],
    ['eth()^', '"in_port" is missing'],
    ['^', '"in_port" is missing'],
    // addresses
    ['in_port(1),eth(src=^00:00:00:00:00)', 'expected a MAC address for "src"'],
    ['in_port(1),eth_type(0x0800),ipv4(src=^1.2.3)', 'expected an IPv4 address for "src"'],
    [
      'in_port(1),eth_type(0x0800),ipv4(src=1.2.3.4/^33)',
      'expected a mask or prefix length for "src"',
    ],
    [
      'in_port(1),eth_type(0x0800),ipv4(src=1.2.3.4/^)',
      'expected a mask or prefix length for "src"',
    ],
    ['in_port(1),eth_type(0x86dd),ipv6(src=^1::2::3)', 'expected an IPv6 address for "src"'],
    // enumerations and flags
    [
      'in_port(1),eth_type(0x0800),ipv4(frag=^maybe)',
      'expected "no", "first" or "later" for "frag"',
    ],
    ['in_port(1),eth_type(0x0800),ipv4(frag=no^/1)', '"frag" cannot be masked'],
    ['in_port(1),tcp_flags(syn|^foo)', 'expected a flag or number for "tcp_flags", found "foo"'],
    ['in_port(1),tcp_flags(syn|^)', 'expected a flag after "|"'],
    ['in_port(1),tcp_flags(+syn+^syn)', 'flag "syn" of "tcp_flags" is given twice'],
    ['in_port(1),tcp_flags(+^0x2)', 'expected a flag'],
    ['in_port(1),tcp_flags(^0x1000)', 'expected a flag or number'],
    // prerequisites
    ['in_port(1),^ipv4()', '"ipv4" needs eth_type(0x0800)'],
    ['in_port(1),^ipv6()', '"ipv6" needs eth_type(0x86dd)'],
    ['in_port(1),^arp()', '"arp" needs eth_type(0x0806)'],
    ['in_port(1),eth_type(0x0800/0xff00),^ipv4()', '"ipv4" needs an exact eth_type of 0x0800'],
    [
      'in_port(1),eth_type(0x86dd),^ipv4()',
      '"ipv4" needs an exact eth_type of 0x0800, found 0x86dd',
    ],
    ['in_port(1),eth_type(0x0800),ipv4(),^ipv6()', '"ipv6" and "ipv4" exclude each other'],
    ['in_port(1),eth_type(0x0800),^tcp()', '"tcp" needs ipv4(proto=6) or ipv6(proto=6)'],
    ['in_port(1),eth_type(0x0800),ipv4(),^tcp()', '"tcp" needs an exact proto=6 in "ipv4"'],
    [
      'in_port(1),eth_type(0x0800),ipv4(proto=6/7),^tcp()',
      '"tcp" needs an exact proto=6 in "ipv4"',
    ],
    ['in_port(1),eth_type(0x0800),ipv4(proto=17),^tcp()', 'found 17'],
    ['in_port(1),eth_type(0x0800),ipv4(proto=17),udp(),^tcp()', 'exclude each other', 43],
    ['in_port(1),eth_type(0x0800),ipv4(proto=17),^tcp_flags(syn),udp()', 'exclude each other', 58],
    ['in_port(1),eth_type(0x86dd),ipv6(proto=1),^icmp()', '"icmp" does not go with "ipv6"'],
    ['in_port(1),eth_type(0x0800),ipv4(proto=6,frag=later),^tcp()', 'not there in later fragments'],
    ['in_port(1),eth_type(0x86dd),ipv6(proto=58),^nd()', '"nd" needs an exact "icmpv6" type'],
    [
      'in_port(1),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=1,code=0),^nd()',
      '"nd" needs an exact "icmpv6" type',
    ],
    ['in_port(1),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),^nd()', 'code of 0'],
    [
      'in_port(1),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=137,code=0),^nd_ext()',
      '"nd_ext" needs an exact "icmpv6" type of 135 (solicitation) or 136 (advertisement)',
    ],
    ['in_port(1),^mpls(label=1)', '"mpls" needs eth_type(0x8847)'],
    [
      'in_port(1),eth_type(0x0800),^mpls(label=1)',
      '"mpls" needs an exact eth_type of 0x8847 or 0x8848, found 0x0800',
    ],
    [
      'in_port(1),eth_type(0x8847),^mpls(label=1,bos=1,label=2)',
      '"mpls" has an entry behind one with bos=1',
    ],
    ['in_port(1),^nsh()', '"nsh" needs eth_type(0x894f)'],
    ['in_port(1),eth_type(0x894f),^nsh(mdtype=2,c3=1)', '"c3" of "nsh" needs an exact mdtype=1'],
    ['in_port(1),eth_type(0x8847),mpls(),^ipv4()', '"ipv4" and "mpls" exclude each other'],
    ['in_port(1),^ct_tuple4(src=1.2.3.4)', '"ct_tuple4" needs eth_type(0x0800)'],
    [
      'in_port(1),^ct_tuple6(proto=6),eth_type(0x0800)',
      '"ct_tuple6" needs an exact eth_type of 0x86dd, found 0x0800',
    ],
    [
      'in_port(1),ct_tuple4(),^ct_tuple6(),eth_type(0x0800)',
      '"ct_tuple6" and "ct_tuple4" exclude each other',
    ],
    // tunnels
    ['in_port(1),^tunnel(tun_id=1,flags(df))', '"tun_id" of "tunnel" needs the flag "key"'],
    ['in_port(1),^tunnel(erspan(ver=2,idx=1))', '"idx" of "erspan" needs an exact ver=1'],
    ['in_port(1),^tunnel(erspan(idx=1,hwid=1))', '"hwid" of "erspan" needs an exact ver=2'],
    ['in_port(1),^tunnel(erspan(ver=3))', '"ver" of "erspan" must be 1, 2'],
    ['in_port(1),^tunnel(erspan(ver=1/1))', '"ver" of "erspan" must be 1, 2'],
    ['in_port(1),eth_type(0x8100),vlan(),encap(^tunnel())', '"tunnel" cannot be inside "encap"'],
    // packets without Ethernet header
    ['in_port(1),^packet_type(ns=2)', '"packet_type" must be (ns=0,id=0) or (ns=1)'],
    ['in_port(1),^packet_type(ns=0,id=0x800)', '"packet_type" must be (ns=0,id=0) or (ns=1)'],
    [
      'in_port(1),packet_type(ns=1,id=0x800),^eth()',
      '"eth" is not there in packets of packet_type(ns=1)',
    ],
    [
      'in_port(1),packet_type(ns=1),eth_type(0x8100),^vlan(),encap()',
      '"vlan" is not there in packets of packet_type(ns=1)',
    ],
    [
      'in_port(1),packet_type(ns=1,id=0x800),^eth_type(0x86dd)',
      'eth_type 0x86dd and the id 0x0800 of packet_type differ',
    ],
    [
      'in_port(1),packet_type(ns=1,id=0x800),^ipv6()',
      '"ipv6" needs an exact eth_type of 0x86dd, found 0x0800',
    ],
    // tags
    ['in_port(1),^eth_type(0x8100)', 'eth_type 0x8100 needs "vlan" beside it'],
    ['in_port(1),^vlan(vid=1),encap()', '"vlan" needs eth_type(0x8100)'],
    ['in_port(1),eth_type(0x8100),^vlan(vid=1)', '"vlan" needs "encap" beside it'],
    ['in_port(1),eth_type(0x8100),^encap()', '"encap" needs "vlan" beside it'],
    ['in_port(1),^eth_type(0x8100/0xff00),vlan(),encap()', '"vlan" needs an exact eth_type'],
    ['in_port(1),^eth_type(0x8100),vlan(tpid=0x88a8),encap()', 'differ'],
    [
      'in_port(1),eth_type(0x0800),^vlan(),encap()',
      '"vlan" needs an eth_type of 0x8100, 0x88a8, 0x9100, found 0x0800',
    ],
    [
      'in_port(1),eth_type(0x8100),^vlan(vid=1,cfi=0),encap()',
      'with cfi=0 cannot have a vid or pcp',
    ],
    ['in_port(1),eth_type(0x8100),^vlan(cfi=0),encap(eth_type(1))', 'cannot have anything inside'],
    ['in_port(1),eth_type(0x8100),vlan(),encap(),^ipv4()', 'belongs inside "encap"'],
    ['in_port(1),eth_type(0x8100),vlan(),encap(^eth())', '"eth" cannot be inside "encap"'],
    ['eth_type(0x8100),vlan(),encap(^in_port(1))', '"in_port" cannot be inside "encap"'],
    ['in_port(1),vlan(any^=1)', 'expected ")" to end "vlan", found "="'],
    ['in_port(1),vlan(any),^vlan(vid=1),encap()', '"vlan" is given twice'],
    ['in_port(1),vlan(any),^encap(eth_type(0x0800))', 'stands beside "vlan(any)"'],
    ['in_port(1),packet_type(ns=1,id=0x800),^vlan(any)', '"vlan" is not there in packets of'],
    ['encap(encap(^vlan(any', 'more than 2 VLAN tags'],
    ['encap(encap(^encap(', 'more than 2 VLAN tags'],
    ['encap(encap(eth_type(0x8100),^vlan(', 'more than 2 VLAN tags'],
    // ufid
    ['ufid:^01234567-89ab-cdef-0123-456789abcde, in_port(1)', 'expected 8-4-4-4-12'],
    ['ufid:01234567-89ab-cdef-0123-456789abcdef^0 in_port(1)', 'expected "," or the end'],
  ])('%s', (marked, message, elsewhere?: number) => {
    const { text, position } = split(marked);
    const error = thrown(() => encodeMatch(text, vm1));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22, position: elsewhere ?? position });
    expect(error.message).toMatch(new RegExp(`^bad flow at position ${elsewhere ?? position}: `));
  });

  test('the hint points at the place, in long texts too', () => {
    const short = thrown(() => parseMatch('in_port(1),skb_mark(x)')).hint?.split('\n');
    expect(short).toEqual(['in_port(1),skb_mark(x)', `${' '.repeat(20)}^`]);
    const text = `in_port(1)${','.repeat(500)}skb_mark(x)${' '.repeat(500)}`;
    const [line = '', caret = ''] = thrown(() => parseMatch(text)).hint?.split('\n') ?? [];
    expect(line.length).toBeLessThan(70);
    expect(line[caret.indexOf('^')]).toBe('x');
  });

  test('what is known follows the place', () => {
    const hint = thrown(() => parseMatch('in_port(1),eth(x=1)')).hint;
    expect(hint).toBe(`in_port(1),eth(x=1)\n${' '.repeat(15)}^\nknown: src, dst`);
  });

  test('an unknown name is what the resolver says, and where', () => {
    const error = thrown(() => encodeMatch('in_port(vm2)', vm1));
    expect(error).toMatchObject({ code: 'ENODEV', errno: -19, port: 'vm2', position: 8 });
    expect(error.message).toBe(
      'bad flow at position 8: expected a port number or name, found "vm2"',
    );
    expect('cause' in error).toBe(false);
    const odd = {
      number(): number {
        throw new TypeError('odd');
      },
      name: () => undefined,
    };
    const other = thrown(() => encodeMatch('in_port(vm2)', odd));
    expect(other).toMatchObject({ code: 'EINVAL', position: 8, cause: { message: 'odd' } });
  });

  test.each([
    ['in_port=left,ip,nw_src=10.0.0.1', 7, 'in_port(left)'],
    ['in_port(1),ip', 11, 'eth_type(0x0800)'],
    ['in_port(1),tcp,tp_dst=80', 14, 'eth_type(0x0800),ipv4(proto=6)'],
    ['in_port(1),nw_src=10.0.0.1', 11, 'ipv4(src=10.0.0.1)'],
    ['priority=5,in_port(1)', 0, 'no priority'],
    ['in_port(1),actions=2', 11, 'argument of their own'],
    ['in_port(1),ipv4x(ttl=5)', 11, 'did you mean "ipv4"'],
  ])('the habits of bridges: %s', (text, position, hint) => {
    const error = thrown(() => parseMatch(text));
    expect(error).toMatchObject({ code: 'EINVAL', position });
    expect(error.hint).toContain(hint);
  });

  test('long rubbish is refused quickly', () => {
    const start = performance.now();
    for (const text of [
      '('.repeat(1e5),
      'encap('.repeat(1e5),
      `in_port(${'9'.repeat(1e5)})`,
      `tcp_flags(${'+'.repeat(1e5)}`,
      `ct_state(${'new|'.repeat(1e5)}x`,
      `ct_label(${'9'.repeat(1e5)})`,
      `ct_label(0x${'0'.repeat(1e5)}1)`,
      `tunnel(${'vxlan('.repeat(1e5)}`,
      `tunnel(${'vxlan(),'.repeat(1e5)}`,
      `tunnel(geneve(${'{len=0}'.repeat(1e5)}))`,
      `tunnel(geneve({len=4,0x${'0'.repeat(1e5)}123456789}))`,
      `tunnel(geneve(${'{'.repeat(1e5)}`,
      `mpls(${'label=1,'.repeat(1e5)})`,
    ]) {
      const error = thrown(() => parseMatch(text));
      expect(error.message.length).toBeLessThan(200);
    }
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe('typed match', () => {
  test.each([
    [{}, '"inPort" is missing'],
    [{ inPort: -1 }, 'inPort must be a port number from 0 to 65535, got -1'],
    [{ inPort: 1.5 }, 'inPort must be a port number'],
    [{ inPort: {} }, "inPort must be a port, a port's name or its number"],
    [{ inPort: 1, ipv5: {} }, 'there is no field group "ipv5"'],
    [{ inPort: 1, ipv4: { tll: 1 } }, 'ipv4 has no field "tll"'],
    [{ inPort: 1, ipv4: 3 }, 'ipv4 must be an object, got 3'],
    [{ inPort: 1, ipv4: { ttl: 256 } }, 'ipv4.ttl must be an integer from 0 to 255, got 256'],
    [{ inPort: 1, ipv4: { ttl: '64' } }, 'ipv4.ttl must be a number or { value, mask }, got "64"'],
    [
      { inPort: 1, ipv4: { ttl: { value: 1, mask: -1 } } },
      'ipv4.ttl must be an integer from 0 to 255',
    ],
    [
      { inPort: 1, ipv4: { ttl: { value: 1 } } },
      'ipv4.ttl must be a number or { value, mask }, got an object',
    ],
    [{ inPort: 1, ipv4: { src: '1.2.3' } }, "ipv4.src must be an address like '10.0.0.1'"],
    [{ inPort: 1, ipv4: { src: '01.2.3.4' } }, 'ipv4.src must be an address'],
    [{ inPort: 1, ipv4: { src: '1.2.3.4/33' } }, 'ipv4.src must be an address'],
    [
      { inPort: 1, ipv4: { frag: 'maybe' } },
      "ipv4.frag must be 'no', 'first' or 'later', got \"maybe\"",
    ],
    [{ inPort: 1, recircId: { value: 0, mask: 0 } }, 'recircId cannot be masked'],
    [
      { inPort: 1, ethType: 0x86dd, ipv4: {} },
      '"ipv4" needs an exact eth_type of 0x0800, found 0x86dd',
    ],
    [{ inPort: 1, ipv4: {}, ipv6: {} }, '"ipv6" and "ipv4" exclude each other'],
    [{ inPort: 1, tcp: {} }, '"tcp" needs "ipv4" or "ipv6"'],
    [{ inPort: 1, ethType: 0x1234, tcp: {} }, '"tcp" needs "ipv4" or "ipv6"'],
    [{ inPort: 1, ipv4: {}, tcp: {}, udp: {} }, '"udp" and "tcp" exclude each other'],
    [{ inPort: 1, ipv4: {}, tcpFlags: 2, udp: {} }, '"udp" and "tcp_flags" exclude each other'],
    [
      { inPort: 1, ipv4: { proto: 17 }, tcp: {} },
      '"tcp" needs an exact proto=6 in "ipv4", found 17',
    ],
    [{ inPort: 1, ipv6: {}, icmp: {} }, '"icmp" does not go with "ipv6"'],
    [{ inPort: 1, ethType: 0x8100 }, 'ethType 0x8100 needs "vlan"'],
    [{ inPort: 1, ethType: 0x8100, vlan: {} }, 'ethType 0x8100 needs "cvlan"'],
    [{ inPort: 1, cvlan: {} }, '"cvlan" needs "vlan" around it'],
    [{ inPort: 1, cvlan: { any: true } }, '"cvlan" needs "vlan" around it'],
    [
      { inPort: 1, vlan: { any: true }, cvlan: {} },
      '"cvlan" needs a tag around it, and "vlan" is any',
    ],
    [{ inPort: 1, vlan: { any: true }, cvlan: { any: true } }, '"cvlan" needs a tag around it'],
    [{ inPort: 1, vlan: 'all' }, 'vlan must be an object, got "all"'],
    [{ inPort: 1, eth: 'any' }, 'eth must be an object, got "any"'],
    [
      { inPort: 1, packetType: { ns: 1 }, vlan: { any: true } },
      '"vlan" is not there in packets of',
    ],
    [{ inPort: 1, vlan: { tpid: 0x1234 } }, '"vlan" needs an eth_type of'],
    [{ inPort: 1, nd: {} }, '"nd" needs an exact "icmpv6" type'],
    [{ inPort: 1, ndExt: {} }, '"nd_ext" needs an exact "icmpv6" type'],
    [{ inPort: 1, ctLabel: -1 }, 'ctLabel must be a bigint or integer of at most 128 bits'],
    [{ inPort: 1, ctLabel: 1n << 128n }, 'ctLabel must be a bigint or integer of at most 128 bits'],
    [{ inPort: 1, tunnel: { tunId: 1.5 } }, 'tunnel.tunId must be a bigint or integer'],
    [{ inPort: 1, tunnel: { tunId: '1' } }, 'tunnel.tunId must be a bigint or integer'],
    [{ inPort: 1, tunnel: { tunId: { value: 1, mask: -1n } } }, 'tunnel.tunId must be a bigint'],
    [{ inPort: 1, tunnel: { id: 1 } }, 'tunnel has no field "id"'],
    [{ inPort: 1, tunnel: { vxlan: 1 } }, 'tunnel.vxlan must be an object, got 1'],
    [{ inPort: 1, tunnel: { vxlan: { gbp: { no: 1 } } } }, 'tunnel.vxlan.gbp has no field "no"'],
    [{ inPort: 1, tunnel: { flags: '+no' } }, 'expected a flag or number for "tunnel.flags"'],
    [{ inPort: 1, tunnel: { flags: 16 } }, 'tunnel.flags must be an integer from 0 to 15'],
    [{ inPort: 1, tunnel: { geneve: {} } }, 'tunnel.geneve must be an array, got an object'],
    [{ inPort: 1, tunnel: { geneve: [1] } }, 'tunnel.geneve[0] must be an object, got 1'],
    [{ inPort: 1, tunnel: { geneve: [{ kind: 1 }] } }, 'tunnel.geneve[0] has no field "kind"'],
    [
      { inPort: 1, tunnel: { geneve: [{}, { class: 0x10000 }] } },
      'tunnel.geneve[1].class must be an integer from 0 to 65535',
    ],
    [
      { inPort: 1, tunnel: { geneve: [{ len: 3 }] } },
      'tunnel.geneve[0].len must be a multiple of 4, got 3',
    ],
    [
      { inPort: 1, tunnel: { geneve: [{ data: new Uint8Array(3) }] } },
      'tunnel.geneve[0].len must be a multiple of 4, got 3',
    ],
    [
      { inPort: 1, tunnel: { geneve: [{ len: 4, data: new Uint8Array(8) }] } },
      'tunnel.geneve[0].data has 8 bytes, but len says 4',
    ],
    [
      { inPort: 1, tunnel: { geneve: [{ data: '0x1' }] } },
      'tunnel.geneve[0].data must be a Uint8Array or { value, mask } of two',
    ],
    [
      {
        inPort: 1,
        tunnel: { geneve: [{ data: { value: new Uint8Array(4), mask: new Uint8Array(8) } }] },
      },
      'tunnel.geneve[0].data has 4 bytes and its mask 8',
    ],
    [
      { inPort: 1, tunnel: { geneve: [{ len: 124 }, { len: 124 }] } },
      'tunnel.geneve has 256 bytes with its headers, more than 252',
    ],
    [{ inPort: 1, mpls: {} }, 'mpls must be an array of 1 to 3 entries, got an object'],
    [{ inPort: 1, mpls: [] }, 'mpls must be an array of 1 to 3 entries, got 0'],
    [{ inPort: 1, mpls: [{}, {}, {}, {}] }, 'mpls must be an array of 1 to 3 entries, got 4'],
    [{ inPort: 1, mpls: [{}, { tc: 8 }] }, 'mpls[1].tc must be an integer from 0 to 7, got 8'],
    [{ inPort: 1, mpls: [{}, 5] }, 'mpls[1] must be an object, got 5'],
    [{ inPort: 1, packetType: { ns: 1 }, eth: {} }, '"eth" is not there in packets of'],
  ])('%o', (match, message) => {
    const error = thrown(() => encodeMatch(match as unknown as FlowMatch, vm1));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22 });
    expect('position' in error).toBe(false);
  });

  test('not a match at all', () => {
    expect(thrown(() => encodeMatch(null as unknown as string, vm1)).message).toContain(
      'must be an object or text',
    );
    expect(thrown(() => parseMatch(1 as unknown as string)).message).toContain('expected text');
  });

  test('an unknown port is whatever the resolver says', () => {
    expect(thrown(() => encodeMatch({ inPort: 'vm2' }, vm1)).code).toBe('ENODEV');
  });
});

describe('bytes', () => {
  const inPort = '0800 0300 01000000';

  test.each([
    ['', 'no in_port'],
    ['0800', 'left over'],
    ['0300 0300', 'netlink attribute of 3 bytes'],
    ['0900 0300 01000000', 'netlink attribute of 9 bytes where 8 are left'],
    ['0600 0300 0100 0000', 'key attribute 3 has 2 bytes, not 4'],
    [inPort + inPort, 'key attribute 3 appears twice'],
    [`${inPort} 0800 2000 00000000`, 'unknown key attribute 32'],
    [`${inPort} 0800 1600 0000`, 'netlink attribute of 8 bytes where 6 are left'],
    [`${inPort} 0600 1600 0000 0000`, 'key attribute 22 has 2 bytes, not 4'],
    [`${inPort} 0400 1500`, 'key attribute 21 has 0 bytes, not 4 to 12'],
    [`${inPort} 0600 1500 0000 0000`, 'key attribute 21 has 2 bytes, not 4 to 12'],
    [`${inPort} 1400 1500 ${'00'.repeat(16)}`, 'key attribute 21 has 16 bytes, not 4 to 12'],
    [`${inPort} 0800 1000 0400 1f00`, 'unknown attribute 31 in "tunnel"'],
    [`${inPort} 0c00 1000 0400 0500 0400 0500`, 'key attribute 5 appears twice'],
    [`${inPort} 0c00 1000 0600 0300 0102 0000`, 'key attribute 3 has 2 bytes, not 1'],
    [`${inPort} 0800 1000 0800 0400`, 'netlink attribute of 8 bytes where 4 are left'],
    [`${inPort} 0c00 1000 0600 0800 0102 0000`, 'geneve options of 2 bytes end inside an option'],
    [`${inPort} 0c00 1000 0800 0800 01020301`, 'geneve options of 4 bytes end inside an option'],
    [
      `${inPort} 0801 1000 0401 0800 ${'00'.repeat(256)}`,
      'geneve options have 256 bytes, more than 252',
    ],
    [`${inPort} 0800 1c00 0400 0300`, 'unknown attribute 3 in "nsh"'],
    [`${inPort} 0600 0500 1005 0000`, 'without all of ETHERTYPE, VLAN and ENCAP'],
    [`${inPort} 0600 0600 0800 0000 1000 0700 00000000 00000000 00000003`, 'ipv4.frag cannot be 3'],
  ])('key %s', (key, message) => {
    expect(thrown(() => decodeMatch(hex(key))).message).toContain(message);
  });

  test('a mask that does not fit its key', () => {
    const two = `${inPort} 0c00 1500 0000000000000000`;
    expect(
      thrown(() => decodeMatch(hex(two), hex(`${inPort} 0800 1500 00000000`))).message,
    ).toContain('mask attribute 21 has 4 bytes, not 8');
    const options = `${inPort} 0c00 1000 0800 0800 01020300`;
    expect(
      thrown(() => decodeMatch(hex(options), hex(`${inPort} 0800 1000 0400 0800`))).message,
    ).toContain('geneve options have 4 bytes and their mask 0');
    expect(
      thrown(() => decodeMatch(hex(inPort), hex(`${inPort} 0800 0900 ffff0000`))).message,
    ).toContain('key attribute 9 is in the mask but not in the flow key');
    expect(thrown(() => decodeMatch(hex(inPort), hex('0600 0300 ffff 0000'))).message).toContain(
      'mask attribute 3 has 2',
    );
    const key = hex(`${inPort} 0600 0600 0800 0000 1000 0700 00000000 00000000 00000000`);
    const mask = hex(`${inPort} 0600 0600 ffff 0000 1000 0700 00000000 00000000 00000001`);
    expect(thrown(() => decodeMatch(key, mask)).message).toContain('ipv4.frag cannot be masked');
  });

  test('more than two tags', () => {
    const tag = '0600 0600 8100 0000 0600 0500 1000 0000';
    const three = `${inPort} ${tag} 2c00 0100 ${tag} 1800 0100 ${tag} 0400 0100`;
    expect(thrown(() => decodeMatch(hex(three))).message).toContain('more than 2 VLAN tags');
  });
});

test('ufids', () => {
  const text = '00112233-4455-6677-8899-aabbccddeeff';
  expect(parseUfid(text).toString('hex')).toBe('00112233445566778899aabbccddeeff');
  expect(formatUfid(parseUfid(`ufid:${text.toUpperCase()}`))).toBe(text);
  for (const bad of [
    '',
    'ufid:',
    text.slice(1),
    `${text}0`,
    text.replace('-', '0'),
    text.replace('0', 'g'),
    7,
  ]) {
    expect(thrown(() => parseUfid(bad as string)).code).toBe('EINVAL');
  }
  expect(thrown(() => formatUfid(new Uint8Array(15))).message).toContain('16 bytes');
});
