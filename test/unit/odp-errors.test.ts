// Every way to be refused: the code, the sentence, and for text the position.
import { describe, expect, test } from 'vitest';
import { DatapathError, fromNative, invalid } from '../../src/errors.js';
import {
  type ActionsLike,
  decodeActions,
  decodeMatch,
  encodeActions,
  encodeMatch,
  type FlowMatch,
  formatUfid,
  type PortNames,
  parseActions,
  parseMatch,
  parseUfid,
} from '../../src/odp/index.js';

const ports: PortNames = {
  number: (ref) => {
    if (ref === 'vm1') return 7;
    throw new DatapathError(`no port "${ref}"`, { code: 'ENODEV' });
  },
  name: () => undefined,
};

function thrown(run: () => unknown): DatapathError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(DatapathError);
    return error as DatapathError;
  }
  throw new Error('nothing was thrown');
}

/** The text with "^" where the error is expected, and a part of the message. */
function split(marked: string): { text: string; position: number } {
  return { text: marked.replace('^', ''), position: marked.indexOf('^') };
}

describe('match text', () => {
  test.each([
    // words
    ['in_port(1),^foo(1)', 'unknown field "foo"'],
    ['in_port(1),^ct_state(+trk)', 'not supported yet: "ct_state"'],
    ['^tunnel(tun_id=1),in_port(1)', 'not supported yet: "tunnel"'],
    ['in_port(1),^mpls(label=1)', 'not supported yet: "mpls"'],
    ['in_port(1),^nsh()', 'not supported yet: "nsh"'],
    ['in_port(1),^)', 'expected a field, found ")"'],
    ['in_port(1)^eth()', 'expected "," or the end, found "eth"'],
    ['in_port(1),eth^', 'expected "(" after "eth", found the end'],
    ['in_port(1),eth(^sc=00:00:00:00:00:01)', '"eth" has no field "sc"'],
    ['in_port(1),eth(src^)', 'expected "=" after "src", found ")"'],
    ['in_port(1),eth(src=00:00:00:00:00:01^', 'expected ")" to end "eth", found the end'],
    ['in_port(1),skb_mark(1^', 'expected ")" to end "skb_mark", found the end'],
    ['in_port(^1', 'expected ")" to end "in_port", found the end', 9],
    // twice
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
    // ports
    ['in_port(^vm2)', 'expected a port number or name, found "vm2"'],
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
    ['encap(encap(^encap(', 'more than 2 VLAN tags'],
    ['encap(encap(eth_type(0x8100),^vlan(', 'more than 2 VLAN tags'],
    // ufid
    ['ufid:^01234567-89ab-cdef-0123-456789abcde, in_port(1)', 'expected 8-4-4-4-12'],
    ['ufid:01234567-89ab-cdef-0123-456789abcdef^0 in_port(1)', 'expected "," or the end'],
  ])('%s', (marked, message, elsewhere?: number) => {
    const { text, position } = split(marked);
    const error = thrown(() => encodeMatch(text, ports));
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

  test('the cause of an unknown name is what the resolver threw', () => {
    const error = thrown(() => encodeMatch('in_port(vm2)', ports));
    expect(error.cause).toMatchObject({ code: 'ENODEV' });
  });

  test('long rubbish is refused quickly', () => {
    const start = performance.now();
    for (const text of [
      '('.repeat(1e5),
      'encap('.repeat(1e5),
      `in_port(${'9'.repeat(1e5)})`,
      `tcp_flags(${'+'.repeat(1e5)}`,
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
    [{ inPort: 1, vlan: { tpid: 0x1234 } }, '"vlan" needs an eth_type of'],
    [{ inPort: 1, nd: {} }, '"nd" needs an exact "icmpv6" type'],
  ])('%j', (match, message) => {
    const error = thrown(() => encodeMatch(match as unknown as FlowMatch, ports));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22 });
    expect('position' in error).toBe(false);
  });

  test('not a match at all', () => {
    expect(thrown(() => encodeMatch(null as unknown as string, ports)).message).toContain(
      'must be an object or text',
    );
    expect(thrown(() => parseMatch(1 as unknown as string)).message).toContain('expected text');
  });

  test('an unknown port is whatever the resolver says', () => {
    expect(thrown(() => encodeMatch({ inPort: 'vm2' }, ports)).code).toBe('ENODEV');
  });
});

describe('actions text', () => {
  test.each([
    ['^foo', 'unknown action "foo"'],
    ['1,^recirc(1)', 'not supported yet: "recirc"'],
    ['^sample(sample=1%,actions(1))', 'not supported yet: "sample"'],
    ['^ct', 'not supported yet: "ct"'],
    ['^meter(1)', 'not supported yet: "meter"'],
    ['^tnl_push(tnl_port(1))', 'not supported yet: "tnl_push"'],
    ['^(', 'expected an action, found "("'],
    ['1^)', 'expected "," or the end, found ")"'],
    ['1^(', 'expected "," or the end, found "("'],
    ['^65536', 'a port number must be from 0 to 65535'],
    ['1,^drop', '"drop" must be the only action'],
    ['^drop,1', '"drop" must be the only action'],
    ['^drop drop', '"drop" must be the only action', 5],
    ['set(^vlan(vid=1))', 'cannot set "vlan"'],
    ['set(^in_port(1))', 'cannot set "in_port"'],
    ['set(^encap())', 'cannot set "encap"'],
    ['set(^tunnel(tun_id=1))', 'not supported yet: "tunnel"'],
    ['set(ipv4(ttl=1,^proto=6))', 'cannot set "proto" of "ipv4"'],
    ['set(ipv6(^frag=no))', 'cannot set "frag" of "ipv6"'],
    ['set(ipv4(ttl=1)^', 'expected ")" to end "set", found the end'],
    ['set(ipv4(ttl=1)^,tcp(dst=1))', 'expected ")" to end "set"'],
    ['^push_vlan(pcp=1)', '"push_vlan" needs a vid'],
    ['^push_vlan(vid=1/1)', 'vid of a pushed tag cannot be masked'],
    ['^push_vlan(tpid=0x1234,vid=1)', 'tpid of a pushed tag must be one of'],
    ['push_vlan(vid=1,pcp=^8)', '"pcp" must be from 0 to 7'],
    ['userspace(pid=^x)', 'expected a number for "pid"'],
    ['userspace(^foo)', '"userspace" has no argument "foo"'],
    ['userspace(pid=1,^pid=2)', '"pid" of "userspace" is given twice'],
    ['userspace(pid=1,^sFlow(vid=1))', 'not supported yet: "sFlow" of "userspace"'],
    ['userspace(userdata(^012))', 'even number'],
    ['userspace(userdata(0^x))', 'expected hexadecimal digits'],
    ['userspace(pid=1^', 'expected ")" to end "userspace"'],
    ['pop_vlan^(1)', 'expected "," or the end'],
  ])('%s', (marked, message, elsewhere?: number) => {
    const { text, position } = split(marked);
    const error = thrown(() => parseActions(text));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22, position: elsewhere ?? position });
    expect(error.message).toMatch(/^bad actions at position /);
  });

  test('userdata is bounded', () => {
    expect(thrown(() => parseActions(`userspace(userdata(${'00'.repeat(65513)}))`)).position).toBe(
      19,
    );
  });

  test('a bare word may be a port, if somebody knows ports', () => {
    expect(parseActions('vm1', ports)).toEqual([{ type: 'output', port: 7 }]);
    expect(thrown(() => parseActions('vm2', ports)).message).toContain(
      'expected an action or a port, found "vm2"',
    );
  });
});

describe('typed actions', () => {
  test.each([
    [[{ type: 'recirc', id: 1 }], 'not supported yet: "recirc"'],
    [[{ type: 'push_vlan' }], 'unknown action "push_vlan"'],
    [[null], 'an action must be an object'],
    [7, 'actions must be an array or text'],
    [[{ type: 'drop' }, { type: 'popVlan' }], "'drop' must be the only action"],
    [[{ type: 'output' }], 'output port must be'],
    [[{ type: 'output', port: 65536 }], 'output port must be a port number from 0 to 65535'],
    [[{ type: 'set' }], 'a set action needs a field'],
    [[{ type: 'set', field: {} }], 'exactly one field group, got 0'],
    [
      [{ type: 'set', field: { ipv4: { ttl: 1 }, tcp: { dst: 1 } } }],
      'exactly one field group, got 2',
    ],
    [[{ type: 'set', field: { vlan: { vid: 1 } } }], 'cannot set "vlan"'],
    [[{ type: 'set', field: { ipv4: { proto: 1 } } }], 'cannot set ipv4.proto'],
    [[{ type: 'pushVlan' }], 'pushVlan needs a vid'],
    [[{ type: 'pushVlan', vid: 4096 }], 'vlan.vid must be an integer from 0 to 4095'],
    [
      [{ type: 'pushVlan', vid: 1, tpid: 1 }],
      'tpid of a pushed tag must be one of 0x8100, 0x88a8, 0x9100',
    ],
    [[{ type: 'pushVlan', vid: { value: 1, mask: 1 } }], 'vid of a pushed tag cannot be masked'],
    [[{ type: 'userspace', pid: -1 }], 'userspace pid must be'],
    [[{ type: 'userspace', userdata: 'x' }], 'userspace userdata must be a Uint8Array'],
    [[{ type: 'userspace', userdata: new Uint8Array(65513) }], 'at most 65512 bytes'],
  ])('%#', (actions, message) => {
    const error = thrown(() => encodeActions(actions as unknown as ActionsLike, ports));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22 });
  });
});

describe('bytes', () => {
  const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
  const inPort = '0800 0300 01000000';

  test.each([
    ['', 'no in_port'],
    ['0800', 'left over'],
    ['0300 0300', 'netlink attribute of 3 bytes'],
    ['0900 0300 01000000', 'netlink attribute of 9 bytes where 8 are left'],
    ['0600 0300 0100 0000', 'key attribute 3 has 2 bytes, not 4'],
    [inPort + inPort, 'key attribute 3 appears twice'],
    [`${inPort} 0800 1600 00000000`, 'unknown key attribute 22'],
    [`${inPort} 0600 0500 1005 0000`, 'without all of ETHERTYPE, VLAN and ENCAP'],
    [`${inPort} 0600 0600 0800 0000 1000 0700 00000000 00000000 00000003`, 'ipv4.frag cannot be 3'],
  ])('key %s', (key, message) => {
    expect(thrown(() => decodeMatch(hex(key))).message).toContain(message);
  });

  test('a mask that does not fit its key', () => {
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

  test.each([
    ['0800 0700 01000000', 'unknown action attribute 7'],
    ['0600 0100 0100 0000', 'not 4'],
    ['0800 0300 0400 0600', 'a set attribute holds exactly one field'],
    ['0c00 0300 0800 0400 00000000', 'eth attribute has 4 bytes, not 12'],
    ['0400 0300', 'a set attribute holds exactly one field'],
    ['0c00 0200 0800 0300 00000000', 'unknown userspace attribute 3'],
    ['0600 0400 8100 0000', 'push_vlan attribute has 2 bytes, not 4'],
  ])('actions %s', (actions, message) => {
    expect(thrown(() => decodeActions(hex(actions))).message).toContain(message);
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

describe('DatapathError', () => {
  test('carries what it is given and nothing else', () => {
    const bare = new DatapathError('no', { code: 'ERR_DATAPATH_CLOSED' });
    expect(bare).toBeInstanceOf(Error);
    expect([bare.name, bare.message, bare.code]).toEqual([
      'DatapathError',
      'no',
      'ERR_DATAPATH_CLOSED',
    ]);
    for (const key of ['errno', 'syscall', 'port', 'hint', 'position', 'cause'])
      expect(key in bare).toBe(false);
    const full = {
      code: 'EPERM',
      errno: -1,
      syscall: 'bpf',
      port: 'p1',
      hint: 'h',
      position: 3,
      cause: bare,
    };
    expect(new DatapathError('no', full)).toMatchObject(full);
  });

  test('code and errno give each other', () => {
    expect(new DatapathError('x', { code: 'ENODEV' }).errno).toBe(-19);
    expect(new DatapathError('x', { errno: -19 }).code).toBe('ENODEV');
    // Not among libuv's errors.
    expect(new DatapathError('x', { errno: -62 }).code).toBe('ETIME');
    expect(new DatapathError('x', { errno: -4095 }).code).toBe('EOF');
    expect(new DatapathError('x', { errno: -99999 }).code).toBe('ERR_DATAPATH');
    expect(new DatapathError('x').code).toBe('ERR_DATAPATH');
    expect(invalid('x', { position: 2 })).toMatchObject({
      code: 'EINVAL',
      errno: -22,
      position: 2,
    });
  });

  test('from the addon', () => {
    const native = Object.assign(new Error('cannot open'), {
      errno: -1,
      syscall: 'socket',
      port: 'p1',
      hint: 'root',
    });
    expect(fromNative(native)).toMatchObject({
      message: 'cannot open',
      code: 'EPERM',
      errno: -1,
      syscall: 'socket',
      port: 'p1',
      hint: 'root',
      cause: native,
    });
    expect(fromNative(Object.assign(new Error('x'), { code: 'EEXIST', errno: 17 }))).toMatchObject({
      code: 'EEXIST',
      errno: -17,
    });
    expect(fromNative(Object.assign(new Error('x'), { code: 'ERR_INVALID_ARG_TYPE' })).code).toBe(
      'ERR_INVALID_ARG_TYPE',
    );
    const own = new DatapathError('x');
    expect(fromNative(own)).toBe(own);
    expect(fromNative('text')).toMatchObject({ message: 'text', code: 'ERR_DATAPATH' });
    expect(fromNative(undefined).message).toBe('undefined');
  });
});
