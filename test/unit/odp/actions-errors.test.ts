// Every way for actions to be refused: the code, the sentence, and for text the position.
import { describe, expect, test } from 'vitest';
import {
  type Action,
  type ActionsLike,
  decodeActions,
  encodeActions,
  formatActions,
  parseActions,
} from '../../../src/odp/index.js';
import { hex, split, thrown, vm1 } from './refusals.js';

const nest = (depth: number, inside: string) => 'clone('.repeat(depth) + inside + ')'.repeat(depth);

describe('text', () => {
  test.each([
    // lists
    ['^foo', 'unknown action "foo"'],
    ['1,^output(2)', 'unknown action "output"'],
    ['^encap_nsh@:{@', 'unknown action "encap_nsh@:"'],
    ['^constructor', 'unknown action "constructor"'],
    ['^(', 'expected an action, found "("'],
    ['1^)', 'expected "," or the end, found ")"'],
    ['1^(', 'expected "," or the end, found "("'],
    ['^65536', 'a port number must be from 0 to 65535'],
    ['pop_vlan^(1)', 'expected "," or the end'],
    ['pop_nsh(^1)', 'expected ")" to end "pop_nsh"'],
    ['clone(1^', 'expected ")" to end "clone", found the end'],
    ['clone^', 'expected "(" after "clone", found the end'],
    ['clone(1,^foo)', 'unknown action "foo"'],
    ['clone(1)^2', 'expected "," or the end, found "2"'],
    [`${nest(32, '')}`.replace('()', '(^clone(1))'), 'can be nested 32 deep'],
    [nest(31, 'sample(sample=1%,actions(sample(^actions(1))))'), 'can be nested 32 deep'],
    // drop
    ['1,^drop', '"drop" must be the only action'],
    ['^drop,1', '"drop" must be the only action'],
    ['^drop drop', '"drop" must be the only action', 5],
    ['clone(1,^drop)', '"drop" must be the only action'],
    ['^drop(reason=congestion),1', '"drop" with a reason must be the last action'],
    ['1,drop(^because)', 'expected "reason", found "because"'],
    ['drop(reason=^rain)', 'expected a reason for "drop", found "rain"'],
    ['drop(reason=^4294967296)', 'expected a reason for "drop"'],
    // set
    ['set^', 'expected "(" after "set", found the end'],
    ['set(^foo(1))', 'cannot set "foo"'],
    ['set(^encap())', 'cannot set "encap"'],
    ['set(ipv4(ttl=1)^', 'expected ")" to end "set", found the end'],
    ['set(ipv4(ttl=1)^,tcp(dst=1))', 'expected ")" to end "set"'],
    ['set(^icmp(type=1))', '"icmp" can only be set as a whole, and "code" is missing'],
    ['set(icmp(^type=1/3,code=1))', '"type" of "icmp" cannot be masked in a set'],
    ['set(icmpv6(type=1,^code=1/0x7f))', '"code" of "icmpv6" cannot be masked in a set'],
    ['set(tunnel(tun_id=1,^src=1.1.1.1/24))', '"src" of "tunnel" cannot be masked in a set'],
    ['set(tunnel(^tun_id=1/0xff))', '"tun_id" of "tunnel" cannot be masked in a set'],
    ['set(tunnel(^flags(+df-csum)))', '"flags" of "tunnel" cannot be masked in a set'],
    ['set(^tunnel(tun_id=1,flags(df)))', '"tun_id" of "tunnel" needs the flag "key"'],
    ['set(^tunnel(erspan(ver=1,dir=1)))', '"dir" of "erspan" needs an exact ver=2'],
    ['set(^tunnel(erspan(ver=3)))', '"ver" of "erspan" must be 1, 2 or'],
    [
      'set(^tunnel(geneve({class=1/0xff,type=0,len=0})))',
      '"geneve" of "tunnel" cannot be masked in a set',
    ],
    ['set(^mpls(label=1,label=2))', 'only one entry of "mpls" can be set, the outermost'],
    ['set(recirc_id(1^/1))', '"recirc_id" cannot be masked'],
    // structures
    ['^push_vlan(pcp=1)', '"push_vlan" needs "vid"'],
    ['push_vlan(vid=1^/1)', '"vid" cannot be masked'],
    [
      'push_vlan(tpid=^0x1234,vid=1)',
      '"tpid" must be one of 0x8100, 0x88a8, 0x9100, found "0x1234"',
    ],
    ['push_vlan(vid=1,pcp=^8)', '"pcp" must be from 0 to 7'],
    ['push_vlan(vid=1,^vid=1)', '"vid" of "push_vlan" is given twice'],
    ['push_vlan(vid=1,^foo=1)', '"push_vlan" has no argument "foo"'],
    ['push_vlan(vid^)', 'expected "=" after "vid", found ")"'],
    ['^push_mpls(label=1,ttl=1,bos=1)', '"push_mpls" needs "eth_type"'],
    ['push_mpls(label=^0x100000,ttl=1,bos=1,eth_type=0x8847)', '"label" must be from 0 to 1048575'],
    ['push_mpls(label=1,ttl=1,bos=1,eth_type=^0x800)', '"eth_type" must be one of 0x8847, 0x8848'],
    ['add_mpls(label=1,ttl=1,bos=^2,eth_type=0x8847)', '"bos" must be from 0 to 1'],
    ['pop_mpls(^type=1)', '"pop_mpls" has no argument "type"'],
    ['push_eth(src=^1.2.3.4,dst=00:00:00:00:00:01)', 'expected a MAC address for "src"'],
    ['push_eth(src=^00:00:00:00:00:01/8,dst=00:00:00:00:00:01)', '"src" cannot be masked'],
    ['recirc(^x)', 'expected a number for "recirc"'],
    ['recirc(1^,2)', 'expected ")" to end "recirc"'],
    ['trunc(^4294967296)', '"trunc" must be from 0 to 4294967295'],
    ['trunc(^)', 'expected a number for "trunc", found ")"'],
    ['hash(^l5(0))', 'unknown hash algorithm "l5"'],
    ['hash(l4(^-1))', 'expected a number for "l4"'],
    ['meter(^a)', 'expected a number for "meter"'],
    ['tnl_pop(^vm9)', 'expected a port number for "tnl_pop", found "vm9"'],
    // nsh
    ['push_nsh(ttl=^64)', '"ttl" must be from 0 to 63'],
    ['push_nsh(flags=^4)', '"flags" must be from 0 to 3'],
    ['push_nsh(mdtype=^3)', '"mdtype" must be one of 0x1, 0x2'],
    ['push_nsh(^md2=0x01)', '"md2" of "push_nsh" needs mdtype=2'],
    ['^push_nsh(mdtype=2,c1=1)', '"c1" to "c4" of "push_nsh" need mdtype=1'],
    ['push_nsh(mdtype=2,md2=^01)', 'expected "0x" and bytes for "md2", found "01"'],
    ['push_nsh(mdtype=2,md2=0x00^x0)', 'expected hexadecimal digits, found "x0"'],
    ['push_nsh(mdtype=2,md2=0x01,^md2=0x01)', '"md2" of "push_nsh" is given twice'],
    [`push_nsh(mdtype=2,md2=0x^${'00'.repeat(248)})`, '"md2" is at most 244 bytes'],
    // userspace
    ['userspace(pid=^x)', 'expected a number for "pid"'],
    ['userspace(^foo)', '"userspace" has no argument "foo"'],
    ['userspace(pid=1,^pid=2)', '"pid" of "userspace" is given twice'],
    ['userspace(userdata(^012))', 'even number'],
    ['userspace(userdata(0^x))', 'expected hexadecimal digits'],
    ['userspace(pid=1^', 'expected ")" to end "userspace"'],
    ['userspace(userdata(),^ipfix())', '"userspace" has either a cookie or userdata'],
    ['userspace(sFlow(),^slow_path(0))', '"userspace" has either a cookie or userdata'],
    ['userspace(sFlow(vid=^4096))', '"vid" must be from 0 to 4095'],
    ['userspace(slow_path(cfm,^foo))', 'expected a reason for "slow_path", found "foo"'],
    ['userspace(slow_path(cfm|^foo))', 'expected a reason for "slow_path"'],
    ['userspace(flow_sample(ingress,^egress))', '"direction" of "flow_sample" is given twice'],
    ['userspace(flow_sample(^direction=1))', '"flow_sample" has no argument "direction"'],
    ['userspace(controller(dont_send=^2))', '"dont_send" must be from 0 to 1'],
    [
      'userspace(controller(rule_cookie=^0x10000000000000000))',
      '"rule_cookie" must have at most 64 bits',
    ],
    ['userspace(tunnel_out_port=^vm1)', 'expected a port number for "tunnel_out_port"'],
    // nested lists
    ['^sample(actions(1))', '"sample" needs "sample", a percentage'],
    ['^sample(sample=1%)', '"sample" needs "actions"'],
    [
      'sample(sample=^1,actions(1))',
      'expected a percentage from 0% to 100% for "sample", found "1"',
    ],
    ['sample(sample=^100.1%,actions(1))', 'expected a percentage'],
    ['sample(sample=^-1%,actions(1))', 'expected a percentage'],
    ['sample(sample=^1e1%,actions(1))', 'expected a percentage'],
    ['sample(sample=1%,^sample=2%,actions(1))', '"sample" of "sample" is given twice'],
    ['sample(sample=1%,actions(1),^actions(1))', '"actions" of "sample" is given twice'],
    ['sample(sample=1%,actions(1),^le(1))', '"sample" has no argument "le"'],
    ['^check_pkt_len(gt(1),le(2))', '"check_pkt_len" needs "size"'],
    ['^check_pkt_len(size=1,gt(1))', '"check_pkt_len" needs "le"'],
    ['check_pkt_len(size=^65536,gt(1),le(2))', '"size" must be from 0 to 65535'],
    ['^dec_ttl()', '"dec_ttl" needs "le_1"'],
    ['dec_ttl(le_1(1,^drop))', '"drop" must be the only action'],
    // ct
    ['ct(commit,^force_commit)', '"commit" and "force_commit" of "ct" exclude each other'],
    ['ct(commit,^commit)', '"commit" of "ct" is given twice'],
    ['ct(zone=^65536)', '"zone" must be from 0 to 65535'],
    ['ct(^foo=1)', '"ct" has no argument "foo"'],
    ['ct(^toString)', '"ct" has no argument "toString"'],
    ['ct(mark=^x)', 'expected a number for "mark"'],
    [`ct(label=^0x1${'0'.repeat(32)})`, '"label" must have at most 128 bits'],
    [`ct(helper=^${'a'.repeat(16)})`, '"helper" must be 1 to 15 characters'],
    ['ct(helper=^)', '"helper" must be 1 to 15 characters, found ")"'],
    [`ct(timeout=^${'a'.repeat(32)})`, '"timeout" must be 1 to 31 characters'],
    ['ct(nat(src,^dst))', '"nat" has one of "src" and "dst", once'],
    ['ct(nat(src=^foo))', 'expected a range of addresses for "src", found "foo"'],
    ['ct(nat(src=^1.2.3.4.5))', 'expected a range of addresses'],
    ['ct(nat(src=^1.2.3.4-))', 'expected a range of addresses'],
    ['ct(nat(src=^1.2.3.4:x))', 'expected a range of addresses'],
    ['ct(nat(src=^1.2.3.4:70000))', 'a port must be from 0 to 65535'],
    ['ct(nat(src=^1.2.3.4:0-4))', 'a range of ports cannot start at 0'],
    ['ct(nat(src=^1.2.3.4:5-4))', 'a range of ports must not end below its start'],
    ['ct(nat(src=^1.2.3.4-1.2.3.3))', 'a range of addresses must not end below its start'],
    ['ct(nat(src=^1.2.3.4-::1))', 'a range of addresses must be of one version of IP'],
    ['ct(nat(src=^[::1))', 'expected a range of addresses'],
    ['ct(nat(^random))', '"nat" needs "src" or "dst" for what else it says'],
    ['ct(nat(^src,hash,random))', '"hash" and "random" of "nat" exclude each other'],
    ['ct(nat(src,^port=1))', '"nat" has no argument "port"'],
    // psample
    ['^psample()', '"psample" needs "group"'],
    ['psample(^group_id=12)', '"psample" has no argument "group_id"'],
    ['psample(group=12,cookie=0x010203,^group=12)', '"group" of "psample" is given twice'],
    ['psample(group=^abc)', 'expected a number for "group"'],
    ['psample(group=12,cookie=^wrong)', 'expected "0x" and bytes for "cookie"'],
    [`psample(group=12,cookie=0x^${'01'.repeat(17)})`, '"cookie" is at most 16 bytes'],
  ])('%s', (marked, message, elsewhere?: number) => {
    const { text, position } = split(marked);
    const error = thrown(() => parseActions(text));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22, position: elsewhere ?? position });
    expect(error.message).toMatch(/^bad actions at position /);
  });

  test.each([
    ['set(^in_port(1))', 'cannot set "in_port"'],
    ['set(^eth_type(0x800))', 'cannot set "eth_type"'],
    ['set(^vlan(vid=1))', 'cannot set "vlan"'],
    ['set(^ct_state(+new))', 'cannot set "ct_state"'],
    ['set(^ct_zone(1))', 'cannot set "ct_zone"'],
    ['set(^ct_mark(1))', 'cannot set "ct_mark"'],
    ['set(^ct_label(1))', 'cannot set "ct_label"'],
    ['set(^ct_tuple4())', 'cannot set "ct_tuple4"'],
    ['set(^ct_tuple6())', 'cannot set "ct_tuple6"'],
    ['set(^tcp_flags(syn))', 'cannot set "tcp_flags"'],
    ['set(^packet_type(ns=0,id=0))', 'cannot set "packet_type"'],
    ['set(ipv4(ttl=1,^proto=6))', 'cannot set "proto" of "ipv4"'],
    ['set(ipv6(^frag=no))', 'cannot set "frag" of "ipv6"'],
    ['set(nsh(ttl=1,^mdtype=1))', 'cannot set "mdtype" of "nsh"'],
    ['set(nsh(^np=1))', 'cannot set "np" of "nsh"'],
  ])('read, and refused where it is to run: %s', (marked, message) => {
    const { text, position } = split(marked);
    const error = thrown(() => encodeActions(text, vm1));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', position });
    // As Open vSwitch reads and shows it.
    const typed = parseActions(text);
    expect(parseActions(formatActions(typed))).toEqual(typed);
    expect(thrown(() => encodeActions(typed, vm1)).code).toBe('EINVAL');
  });

  test('bits outside of a mask are of no account', () => {
    for (const [text, same] of [
      ['set(ipv4(src=1.2.3.4/255.255.0.0))', 'set(ipv4(src=1.2.0.0/255.255.0.0))'],
      ['set(tcp(src=80/0xff00))', 'set(tcp(src=0/0xff00))'],
      [
        'set(eth(dst=01:02:03:04:05:06/ff:00:00:00:00:00))',
        'set(eth(dst=01:00:00:00:00:00/ff:00:00:00:00:00))',
      ],
    ] as const) {
      expect(encodeActions(text, vm1)).toEqual(encodeActions(same, vm1));
    }
  });

  const eth = 'eth(dst=00:00:00:00:00:01,src=00:00:00:00:00:02,dl_type=0x0800)';
  const ipv4 = 'ipv4(src=1.1.2.88,dst=1.1.2.92,proto=17,tos=0,ttl=64,frag=0x4000)';
  const udp = 'udp(src=0,dst=4789,csum=0x0)';
  const vxlan = 'vxlan(flags=0x8000000,vni=0x1c7)';
  const all = `${eth},${ipv4},${udp},${vxlan}`;

  test.each([
    [`^header(size=50,type=4,${all})`, '', 'needs "out_port"'],
    [`^header(size=50,${all})`, ',out_port(1)', 'needs "type"'],
    [`header(^size=51,type=4,${all})`, ',out_port(1)', '"size" is 51, but the headers make it 50'],
    [`header(size=50,^type=5,${all})`, ',out_port(1)', '"type" is 5, but the headers make it 4'],
    [
      `header(size=50,type=4,^${all.replace('0x0800', '0x86dd')})`,
      ',out_port(1)',
      '"dl_type" is 34525, but the headers make it 2048',
    ],
    [`header(size=50,type=4,${all},^${udp})`, ',out_port(1)', '"udp" of "header" is given twice'],
    [`^header(size=50,type=4,${eth},${ipv4},${vxlan})`, ',out_port(1)', '"vxlan" goes with "udp"'],
    [`^header(size=50,type=4,${eth},${udp},${vxlan})`, ',out_port(1)', 'one of "ipv4" and "ipv6"'],
    [`^header(size=50,type=4,${ipv4},${udp},${vxlan})`, ',out_port(1)', 'has "eth"'],
    [`^header(size=50,type=4,${eth},${ipv4},${udp})`, ',out_port(1)', 'one of vxlan, geneve, gre'],
    [
      `^header(size=50,type=4,${all},gtpu(flags=0,msgtype=1,teid=0))`,
      ',out_port(1)',
      'one of vxlan, geneve, gre',
    ],
    [
      `header(size=1,type=3,${eth},${ipv4},^gre((flags=0x2000,proto=0x6558)))`,
      ',out_port(1)',
      '"gre" has "key" if, and only if, its flags have 0x2000',
    ],
    [
      `header(size=1,type=3,${eth},${ipv4},^gre((flags=0,proto=0x6558),seq=0x1))`,
      ',out_port(1)',
      '"gre" has "seq" if, and only if, its flags have 0x1000',
    ],
    [
      `header(size=1,type=3,${eth},${ipv4},^erspan(ver=1,sid=1,hwid=2))`,
      ',out_port(1)',
      '"erspan" of version 1 has no "dir" and "hwid"',
    ],
    [
      `^header(size=1,type=112,${eth},${ipv4},srv6(segments_left=0,segs(::1)))`,
      ',out_port(1)',
      '"srv6" does not go with "ipv4"',
    ],
    [
      `header(size=1,type=112,${eth},${ipv4},^srv6(segments_left=1,segs(::1)))`,
      ',out_port(1)',
      '"srv6" has 1 segments, but segments_left=1',
    ],
    [
      `header(size=1,type=5,${eth},${ipv4},${udp},geneve(vni=1,^options({class=1/1,len=0})))`,
      ',out_port(1)',
      '"options" of "geneve" cannot be masked',
    ],
    [`header(^foo(1))`, ',out_port(1)', '"header" has no argument "foo"'],
    [`header(^hasOwnProperty)`, ',out_port(1)', '"header" has no argument "hasOwnProperty"'],
  ])('tnl_push(…%s%s)', (marked, rest, message) => {
    const front = 'tnl_push(tnl_port(4),';
    const whole = message === 'needs "out_port"';
    const { text, position } = split(`${front}${marked}${rest})`);
    const error = thrown(() => parseActions(text));
    expect(error.message).toContain(message);
    expect(error.position).toBe(
      whole ? 0 : message.startsWith('"dl_type"') ? text.indexOf('eth(') : position,
    );
  });

  test('userdata is bounded', () => {
    const userdata = (bytes: number) => `userdata(${'00'.repeat(bytes)})`;
    expect(thrown(() => parseActions(`userspace(${userdata(65513)})`)).position).toBe(19);
    const beside = `tunnel_out_port=1,${userdata(65509)}`;
    const error = thrown(() => parseActions(`userspace(${beside})`));
    expect(error.message).toContain('"userdata" is at most 65508 bytes beside "tunnel_out_port"');
    expect(error.position).toBe(beside.indexOf('00') + 10);
  });

  test('a bare word may be a port, if somebody knows ports', () => {
    expect(parseActions('vm1,clone(vm1)', vm1)).toEqual([
      { type: 'output', port: 7 },
      { type: 'clone', actions: [{ type: 'output', port: 7 }] },
    ]);
    for (const [text, position] of [
      ['vm2', 0],
      ['clone(1,vm2)', 8],
    ] as const) {
      const error = thrown(() => parseActions(text, vm1));
      expect(error.message).toContain('expected an action or a port, found "vm2"');
      expect(error).toMatchObject({ position, code: 'ENODEV', port: 'vm2' });
    }
    const error = thrown(() => parseActions('userspace(tunnel_out_port=vm2)', vm1));
    expect(error.message).toContain('expected a port for "tunnel_out_port", found "vm2"');
    expect(error.position).toBe(26);
  });

  test.each([
    ['output:2', 'the port alone: 2'],
    ['strip_vlan,2', 'pop_vlan'],
    ['mod_vlan_vid:7,2', 'push_vlan(vid=7,pcp=0)'],
    ['NORMAL', 'learning-switch'],
    ['resubmit(,1)', 'recirc(1)'],
    ['push_vln(vid=5,pcp=0)', 'did you mean "push_vlan"'],
    ['dorp', 'did you mean "drop"'],
  ])('the habits of bridges, and typing errors: %s', (text, hint) => {
    for (const names of [vm1, undefined]) {
      const error = thrown(() => parseActions(text, names));
      expect(error.position).toBe(0);
      expect(error.hint).toContain(hint);
    }
  });

  test('long texts take time in proportion', () => {
    const n = 100_000;
    const texts = [
      '('.repeat(n),
      'clone('.repeat(n),
      'sample(sample=1%,actions('.repeat(n),
      `clone(${'1,'.repeat(n)}`,
      `clone(${'drop,'.repeat(n)})`,
      `set(eth(${'src=,'.repeat(n)}`,
      `userspace(slow_path(${'cfm|'.repeat(n)}`,
      `userspace(slow_path(${'cfm,'.repeat(n)}`,
      `userspace(userdata(${'0'.repeat(n)}x`,
      `ct(nat(src=${'1:'.repeat(n)}x`,
      `ct(nat(src=${'1.2.3.4-'.repeat(n)}x`,
      `ct(nat(src=[${'1:'.repeat(n)}`,
      `ct(nat(${'src,'.repeat(n)}`,
      `ct(label=${'9'.repeat(n)})`,
      `recirc(${'9'.repeat(n)})`,
      `sample(sample=${'9'.repeat(n)}%,actions(1))`,
      `sample(sample=0.${'9'.repeat(n)}x,actions(1))`,
      `push_nsh(mdtype=2,md2=0x${'0'.repeat(n)})`,
      `psample(cookie=0x${'0'.repeat(n)})`,
      `set(tunnel(geneve(${'{class=1,type=1,len=0}'.repeat(n)})))`,
      `set(mpls(${'label=1,'.repeat(n)}))`,
      `tnl_push(header(srv6(segs(${'::1,'.repeat(n)})))`,
      `hash(${'l'.repeat(n)}`,
      'x'.repeat(n),
    ];
    const start = performance.now();
    for (const text of texts) {
      const error = thrown(() => parseActions(text));
      expect(error.message.length).toBeLessThan(200);
    }
    // A list as long as this is no error before it is encoded.
    expect(thrown(() => encodeActions('1,'.repeat(n), vm1)).message).toContain('longer than');
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('typed form', () => {
  const deep = (depth: number): unknown[] =>
    depth === 0 ? [] : [{ type: 'clone', actions: deep(depth - 1) }];
  const endless: { type: string; actions: unknown[] } = { type: 'clone', actions: [] };
  endless.actions.push(endless);

  test.each([
    [[{ type: 'push_vlan' }], 'unknown action "push_vlan"'],
    [[{ type: '' }], 'unknown action ""'],
    [[{}], 'unknown action undefined'],
    [[null], 'an action must be an object, got null'],
    [['pop_vlan'], 'an action must be an object, got "pop_vlan"'],
    [7, 'actions must be an array of actions, got 7'],
    [[{ type: 'popVlan', vid: 1 }], 'popVlan has no argument "vid"'],
    [[{ type: 'output' }], 'output port must be'],
    [[{ type: 'output', port: 65536 }], 'output port must be a port number from 0 to 65535'],
    [[{ type: 'output', port: 1, prot: 2 }], 'output has no argument "prot"'],
    // drop
    [[{ type: 'drop' }, { type: 'popVlan' }], '"drop" must be the only action'],
    [
      [{ type: 'drop', reason: 1 }, { type: 'popVlan' }],
      '"drop" with a reason must be the last action',
    ],
    [[{ type: 'drop', reason: 'rain' }], 'drop.reason must be a name or a number, got "rain"'],
    [[{ type: 'drop', reason: -1 }], 'drop.reason must be a name or a number'],
    // set
    [[{ type: 'set' }], 'a set action needs a field'],
    [[{ type: 'set', field: {} }], 'exactly one field group, got 0'],
    [
      [{ type: 'set', field: { ipv4: { ttl: 1 }, tcp: { dst: 1 } } }],
      'exactly one field group, got 2',
    ],
    [[{ type: 'set', field: { icmp: { type: 1 } } }], '"icmp" can only be set as a whole'],
    [
      [{ type: 'set', field: { icmpv6: { type: { value: 1, mask: 1 }, code: 0 } } }],
      '"type" of "icmpv6" cannot be masked in a set',
    ],
    [
      [{ type: 'set', field: { tunnel: { tos: { value: 1, mask: 1 } } } }],
      '"tos" of "tunnel" cannot be masked in a set',
    ],
    [[{ type: 'set', field: { mpls: [] } }], 'mpls must be an array of 1 to 3 entries, got 0'],
    [[{ type: 'set', field: { mpls: [{}, {}] } }], 'only one entry of "mpls" can be set'],
    // structures
    [[{ type: 'pushVlan' }], 'pushVlan.vid is missing'],
    [[{ type: 'pushVlan', vid: 4096 }], 'pushVlan.vid must be an integer from 0 to 4095, got 4096'],
    [
      [{ type: 'pushVlan', vid: 1, tpid: 1 }],
      'pushVlan.tpid must be one of 0x8100, 0x88a8, 0x9100',
    ],
    [[{ type: 'pushVlan', vid: { value: 1, mask: 1 } }], 'pushVlan.vid cannot be masked'],
    [[{ type: 'pushMpls', label: 1, ttl: 1, bos: 1 }], 'pushMpls.ethType is missing'],
    [[{ type: 'popMpls', ethType: 0x10000 }], 'popMpls.ethType must be an integer from 0 to 65535'],
    [[{ type: 'pushEth', src: 'x', dst: 'y' }], 'pushEth.src must be an address'],
    [[{ type: 'pushEth', src: '00:00:00:00:00:01/8', dst: 'y' }], 'pushEth.src cannot be masked'],
    [[{ type: 'recirc', id: 1.5 }], 'recirc.id must be an integer from 0 to 4294967295'],
    [[{ type: 'recirc' }], 'recirc.id is missing'],
    [[{ type: 'hash' }], 'unknown hash.algorithm undefined'],
    [[{ type: 'hash', algorithm: 'l4', basis: -1 }], 'hash.basis must be an integer'],
    [[{ type: 'pushNsh', md2: Buffer.alloc(4) }], 'pushNsh.md2 needs an mdtype of 2'],
    [[{ type: 'pushNsh', mdtype: 2, md2: 'x' }], 'pushNsh.md2 must be a Uint8Array'],
    [[{ type: 'pushNsh', mdtype: 2, md2: Buffer.alloc(5) }], 'a multiple of 4, got 5'],
    [[{ type: 'pushNsh', mdtype: 2, c1: 1 }], 'pushNsh has no argument "c1"'],
    // userspace
    [[{ type: 'userspace', pid: -1 }], 'userspace.pid must be an integer'],
    [[{ type: 'userspace', userdata: 'x' }], 'userspace.userdata must be a Uint8Array'],
    [[{ type: 'userspace', userdata: new Uint8Array(65513) }], 'at most 65512 bytes'],
    [
      [{ type: 'userspace', userdata: new Uint8Array(65509), tunnelOutPort: 1 }],
      'at most 65508 bytes',
    ],
    [[{ type: 'userspace', actions: 1 }], 'userspace.actions must be true or false'],
    [[{ type: 'userspace', cookie: 'sFlow' }], 'userspace.cookie must be an object'],
    [[{ type: 'userspace', cookie: { type: 'netflow' } }], 'unknown type of userspace.cookie'],
    [
      [{ type: 'userspace', cookie: { type: 'sFlow' }, userdata: new Uint8Array() }],
      'userspace has either a cookie or userdata',
    ],
    [[{ type: 'userspace', cookie: { type: 'sFlow', foo: 1 } }], 'sFlow has no argument "foo"'],
    [
      [{ type: 'userspace', cookie: { type: 'slowPath', reasons: 'cfm' } }],
      'slowPath.reasons must be an array',
    ],
    [
      [{ type: 'userspace', cookie: { type: 'slowPath', reasons: ['foo'] } }],
      'slowPath.reasons holds names and numbers, got "foo"',
    ],
    [
      [{ type: 'userspace', cookie: { type: 'flowSample', direction: 'up' } }],
      'flowSample.direction must be one of ingress, egress, got "up"',
    ],
    [
      [{ type: 'userspace', cookie: { type: 'controller', ruleCookie: 1n << 64n } }],
      'controller.ruleCookie must be a bigint or integer of at most 64 bits',
    ],
    // lists
    [[{ type: 'clone' }], 'clone.actions must be an array of actions, got undefined'],
    [[{ type: 'clone', actions: '1' }], 'clone.actions must be an array of actions, got "1"'],
    [[{ type: 'clone', actions: [{ type: 'foo' }] }], 'unknown action "foo"'],
    [
      [{ type: 'clone', actions: [{ type: 'popVlan' }, { type: 'drop' }] }],
      '"drop" must be the only action',
    ],
    [deep(33), 'can be nested 32 deep'],
    [[endless], 'can be nested 32 deep'],
    [
      [{ type: 'sample', percent: 101, actions: [] }],
      'sample.percent must be a number from 0 to 100',
    ],
    [[{ type: 'sample', percent: Number.NaN, actions: [] }], 'sample.percent must be a number'],
    [[{ type: 'sample', percent: '1%', actions: [] }], 'sample.percent must be a number'],
    [
      [{ type: 'checkPktLen', size: 65536, greater: [], lessEqual: [] }],
      'checkPktLen.size must be an integer from 0 to 65535',
    ],
    [
      [{ type: 'checkPktLen', size: 1, greater: [] }],
      'checkPktLen.lessEqual must be an array of actions',
    ],
    [[{ type: 'decTtl', actions: {} }], 'decTtl.actions must be an array of actions'],
  ])('%#', (actions, message) => {
    const given = actions as unknown as ActionsLike;
    for (const run of [() => encodeActions(given, vm1), () => formatActions(given)]) {
      const error = thrown(run);
      expect(error.message).toContain(message);
      expect(error).toMatchObject({ code: 'EINVAL', errno: -22 });
      expect('position' in error).toBe(false);
    }
  });

  test.each([
    [[{ type: 'set', field: { vlan: { vid: 1 } } }], 'cannot set "vlan"'],
    [[{ type: 'set', field: { ctMark: 1 } }], 'cannot set "ctMark"'],
    [[{ type: 'set', field: { tcpFlags: 1 } }], 'cannot set "tcpFlags"'],
    [[{ type: 'set', field: { inPort: 1 } }], 'cannot set "inPort"'],
    [[{ type: 'set', field: { ipv4: { proto: 1 } } }], 'cannot set "proto" of "ipv4"'],
  ])('shown, and refused where it is to run: %#', (actions, message) => {
    const given = actions as unknown as ActionsLike;
    expect(formatActions(given)).toMatch(/^set\(/);
    expect(thrown(() => encodeActions(given, vm1)).message).toContain(message);
  });

  const eth = { dst: '00:00:00:00:00:01', src: '00:00:00:00:00:02' };
  const ipv4 = { src: '1.1.1.1', dst: '1.1.1.2', proto: 17, tos: 0, ttl: 1, frag: 0 };
  const push = (header: unknown) => ({ type: 'tnlPush', tnlPort: 1, outPort: 2, header });

  // These are never encoded: what is wrong with them shows when they are written.
  test.each([
    [{ type: 'ct', commit: true, forceCommit: true }, 'ct.commit and ct.forceCommit exclude'],
    [{ type: 'ct', commit: 1 }, 'ct.commit must be true or false'],
    [{ type: 'ct', zone: 65536 }, 'ct.zone must be an integer'],
    [{ type: 'ct', mark: 'x' }, 'ct.mark must be a number or { value, mask }'],
    [{ type: 'ct', label: -1n }, 'ct.label must be a bigint or integer'],
    [{ type: 'ct', helper: 'a,b' }, 'ct.helper must be a name of 1 to 15 characters'],
    [{ type: 'ct', timeout: 'a'.repeat(32) }, 'ct.timeout must be a name of 1 to 31 characters'],
    [{ type: 'ct', nat: true }, 'ct.nat must be an object'],
    [{ type: 'ct', nat: { side: 'left' } }, "ct.nat.side must be 'src' or 'dst'"],
    [{ type: 'ct', nat: { foo: 1 } }, 'ct.nat has no argument "foo"'],
    [{ type: 'ct', nat: { persistent: true } }, '"nat" needs "src" or "dst"'],
    [{ type: 'ct', nat: { min: '1.2.3.4' } }, 'ct.nat.min needs a side'],
    [{ type: 'ct', nat: { side: 'src', max: '1.2.3.4' } }, 'need ct.nat.min'],
    [{ type: 'ct', nat: { side: 'src', min: '1.2.3' } }, 'ct.nat.min must be an address'],
    [
      { type: 'ct', nat: { side: 'src', min: '1.2.3.4', portMax: 5 } },
      'a range of ports cannot start at 0',
    ],
    [
      { type: 'ct', nat: { side: 'src', min: '1.2.3.4', portMin: 6, portMax: 5 } },
      'a range of ports must not end below its start',
    ],
    [{ type: 'ct', nat: { side: 'src', min: '1.2.3.4', max: '::1' } }, 'of one version of IP'],
    [{ type: 'psample', group: 1, cookie: new Uint8Array(17) }, 'psample.cookie must be 1 to 16'],
    [{ type: 'psample', group: 1, cookie: new Uint8Array() }, 'psample.cookie must be 1 to 16'],
    [{ type: 'meter', id: -1 }, 'meter.id must be an integer'],
    [push(undefined), 'tnlPush.header must be an object'],
    [push({ foo: {} }), 'tnlPush.header has no argument "foo"'],
    [push({ eth: 1 }), 'tnlPush.header.eth must be an object'],
    [push({ eth, ipv4 }), 'one of vxlan, geneve, gre'],
    [push({ eth, ipv4, vxlan: { flags: 0, vni: 0 } }), '"vxlan" goes with "udp"'],
    [push({ eth: { ...eth, dlType: 1 }, ipv4, gre: { flags: 0, proto: 0 } }), 'has no argument'],
    [push({ eth, ipv4, gre: { flags: 0x2000, proto: 0 } }), '"gre" has "key" if, and only if'],
    [push({ eth, ipv4, erspan: { ver: 3, sid: 1 } }), 'erspan.ver must be 1 or 2, got 3'],
    [push({ eth, ipv4, erspan: { ver: 1, sid: 1, dir: 0 } }), 'erspan has no argument "dir"'],
    [push({ eth, ipv6: { ...ipv4 }, srv6: { segments: ['::1'] } }), 'ipv6 has no argument "tos"'],
  ])('%#: never encoded', (action, message) => {
    const error = thrown(() => formatActions([action] as unknown as Action[]));
    expect(error.message).toContain(message);
    expect(error.code).toBe('EINVAL');
  });

  test('what the datapath cannot do is said so', () => {
    const error = thrown(() => encodeActions([{ type: 'ctClear' }], vm1));
    expect(error.message).toBe('the datapath does not support the action "ctClear" yet');
    expect(error).toMatchObject({
      code: 'ERR_NOT_SUPPORTED',
      hint: 'it can be parsed and formatted, but not installed or executed',
    });
  });

  test('an unknown port is whatever the resolver says', () => {
    for (const action of [
      { type: 'output', port: 'vm2' },
      { type: 'clone', actions: [{ type: 'output', port: 'vm2' }] },
      { type: 'userspace', tunnelOutPort: 'vm2' },
      { type: 'userspace', cookie: { type: 'ipfix', outputPort: 'vm2' } },
    ] as Action[]) {
      expect(thrown(() => encodeActions([action], vm1)).code).toBe('ENODEV');
    }
    // And the next list is none the worse for it.
    expect(encodeActions('1', vm1).toString('hex')).toBe('0800010001000000');
  });
});

describe('limits', () => {
  test('depth', () => {
    for (const text of [nest(32, '1'), nest(31, 'dec_ttl(le_1(1))')]) {
      const typed = parseActions(text);
      expect(formatActions(typed)).toBe(text);
      expect(decodeActions(encodeActions(typed, vm1))).toEqual(typed);
    }
    // Lists beside each other are not inside of each other.
    const beside = Array.from({ length: 40 }, () => 'clone(clone(1))').join(',');
    expect(formatActions(beside)).toBe(beside);
    let bytes = Buffer.alloc(0);
    for (let depth = 0; depth < 33; depth++) {
      const outer = Buffer.alloc(4 + bytes.length);
      outer.writeUInt16LE(outer.length, 0);
      outer.writeUInt16LE(20, 2);
      bytes.copy(outer, 4);
      bytes = outer;
    }
    expect(thrown(() => decodeActions(bytes)).message).toContain('can be nested 32 deep');
    expect(decodeActions(bytes.subarray(4))).toHaveLength(1);
  });

  test('the longest userdata', () => {
    for (const [size, extra] of [
      [65512, {}],
      [65512, { actions: true }],
      [65508, { tunnelOutPort: 10 }],
    ] as const) {
      const action = { type: 'userspace', userdata: Buffer.alloc(size, 0xa5), ...extra } as const;
      const encoded = encodeActions([action], vm1);
      expect(decodeActions(encoded)).toEqual([action]);
      expect(parseActions(formatActions([action]))).toEqual([action]);
      expect(encoded.length).toBeLessThanOrEqual(65535);
      const longer = { ...action, userdata: Buffer.alloc(size + 1) };
      expect(thrown(() => encodeActions([longer], vm1)).message).toContain(
        `is at most ${size} bytes, got ${size + 1}`,
      );
    }
    // Together they do not fit, though either would.
    const both = {
      type: 'userspace',
      userdata: Buffer.alloc(65508),
      actions: true,
      tunnelOutPort: 1,
    } as const;
    expect(thrown(() => encodeActions([both], vm1)).message).toContain('longer than 65535 bytes');
  });

  test('the longest list', () => {
    const list = 'pop_vlan,'.repeat(16383);
    expect(encodeActions(list, vm1).length).toBe(65532);
    expect(thrown(() => encodeActions(`${list}pop_vlan`, vm1)).message).toBe(
      'actions are longer than 65535 bytes of netlink attributes',
    );
    // Nested lists count, and so do their headers.
    const inside = 'pop_vlan,'.repeat(16382);
    expect(encodeActions(`clone(${inside})`, vm1).length).toBe(65532);
    for (const text of [`clone(${inside}pop_vlan)`, `clone(${inside}),pop_vlan`]) {
      expect(thrown(() => encodeActions(text, vm1)).message).toContain('longer than 65535');
    }
  });
});

describe('bytes', () => {
  test.each([
    ['0400 0000', 'unknown action attribute 0'],
    ['0400 0c00', 'unknown action attribute 12'],
    ['0400 1900', 'unknown action attribute 25'],
    ['0600 0100 0100 0000', 'a 32-bit attribute has 2 bytes, not 4'],
    ['0800 0300 0400 0600', 'a set attribute holds exactly one field'],
    ['0400 0300', 'a set attribute holds exactly one field'],
    ['0c00 0300 0400 0400 0400 0400', 'a set attribute holds exactly one field'],
    ['0c00 0300 0800 0400 00000000', 'eth attribute has 4 bytes, not 12'],
    ['1000 0b00 0c00 0900 00010002 ffff', 'netlink attribute of 16 bytes where 14 are left'],
    ['0c00 0300 0800 0b00 0102 0000', 'icmp attribute has 4 bytes, not 2'],
    ['0c00 0b00 0800 0b00 0102 ff00', '"icmp" can only be set as a whole'],
    ['0c00 0b00 0800 0b00 0102 ff0f', '"code" of "icmp" cannot be masked in a set'],
    ['0c00 0300 0800 1000 0400 0900', 'key attribute 9 has 0 bytes, not 2'],
    ['0c00 0300 0800 1000 0400 1f00', 'unknown attribute 31 in "tunnel"'],
    ['0c00 0b00 0800 1c00 0400 0900', 'unknown attribute 9 in "nsh"'],
    ['1400 0300 1000 1c00 0c00 0100 00000300 00000000', 'cannot set "mdtype" of "nsh"'],
    ['0800 0200 0400 0900', 'unknown userspace attribute 9'],
    ['0600 0400 8100 0000', 'push_vlan attribute has 2 bytes, not 4'],
    ['0800 0500 00000000', 'pop_vlan attribute has 4 bytes, not 0'],
    ['0800 0600 0400 0200', 'sample attribute must hold each of its members once'],
    ['1400 0600 0800 0100 00000000 0400 0200 0400 0200', 'each of its members once'],
    ['1000 0600 0600 0100 0000 0000 0400 0200', 'a 32-bit attribute has 2 bytes, not 4'],
    ['0c00 1500 0600 0100 0000 0000', 'check_pkt_len attribute must hold each of its members'],
    ['1400 1500 0800 0100 00000000 0400 0200 0400 0300', 'a 16-bit attribute has 4 bytes, not 2'],
    ['0400 1700', 'dec_ttl attribute must hold each of its members once'],
    ['0c00 1400 0c00 0d00 0100 0000', 'netlink attribute of 12 bytes where 8 are left'],
    ['0c00 0800 02000000 00000000', 'unknown hash algorithm 2'],
    ['0800 0800 00000000', 'hash attribute has 4 bytes, not 8'],
    ['0400 1100', 'a push_nsh attribute holds one other, the header'],
    ['0800 1100 0400 0100', 'a push_nsh attribute holds one other, the header'],
    ['0c00 1100 0800 1c00 0400 0100', 'nsh base attribute has 0 bytes, not 8'],
    ['0c00 1100 0800 1c00 0400 0500', 'unknown nsh attribute 5'],
    ['0600 1800 0000 0000', 'a 32-bit attribute has 2 bytes'],
  ])('%s', (actions, message) => {
    const error = thrown(() => decodeActions(hex(actions)));
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: 'EINVAL', errno: -22 });
  });
});
