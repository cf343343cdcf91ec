// Every action in its three forms, each way: by table.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { actionKinds } from '../../../src/odp/actions/table.js';
import {
  type Action,
  decodeActions,
  encodeActions,
  formatActions,
  type PortNames,
  parseActions,
} from '../../../src/odp/index.js';
import {
  check,
  encodable,
  ethText,
  ipv4Text,
  type Known,
  refused,
  seeded,
  udpText,
} from './actions-samples.js';
import { noNames } from './refusals.js';

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
    expect(encodeActions(text, names)).toEqual(encodeActions(numbers, noNames));
    const typed: Action[] = [
      { type: 'clone', actions: [{ type: 'output', port: 'br0' }] },
      { type: 'userspace', cookie: { type: 'ipfix', outputPort: 'br0' }, tunnelOutPort: 'br0' },
    ];
    expect(formatActions(typed)).toBe(
      'clone(br0),userspace(pid=0,ipfix(output_port=br0),tunnel_out_port=br0)',
    );
    expect(encodeActions(typed, names)).toEqual(
      encodeActions('clone(7),userspace(pid=0,ipfix(output_port=7),tunnel_out_port=7)', noNames),
    );
    const push = `tnl_push(tnl_port(br0),header(size=50,type=4,${ethText},${ipv4Text},${udpText},vxlan(flags=0x8000000,vni=0x1c7)),out_port(br0)),tnl_pop(br0)`;
    expect(formatActions(parseActions(push, names), { ports: names })).toBe(push);
  });

  test('userdata that is a cookie is one; that is more than its text can say is none', () => {
    const text = 'userspace(pid=0,ipfix(output_port=10))';
    const encoded = encodeActions(text, noNames);
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
    const sample = encodeActions('userspace(pid=0,flow_sample(egress))', noNames).subarray(-48);
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
        encodeActions('1,2,3,4,5', noNames);
        return 7;
      },
      name: () => undefined,
    };
    const typed: Action[] = [
      { type: 'clone', actions: [{ type: 'output', port: 'a' }] },
      { type: 'output', port: 'b' },
    ];
    expect(encodeActions(typed, names)).toEqual(encodeActions('clone(7),7', noNames));
  });
});

// ---------- any probability

describe('sample', () => {
  const percentOf = (probability: number): number => {
    const bytes = encodeActions('sample(sample=1%,actions(1))', noNames);
    bytes.writeUInt32LE(probability, 8);
    const [action] = decodeActions(bytes) as [Extract<Known, { type: 'sample' }>];
    const text = formatActions([action]);
    expect(encodeActions(text, noNames)).toEqual(bytes);
    expect(encodeActions([action], noNames)).toEqual(bytes);
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
      const bytes = encodeActions(text, noNames);
      expect(bytes.readUInt32LE(8)).toBe(Math.floor(0xffffffff * (tenths / 10 / 100) + 0.5));
      expect(formatActions(text)).toBe(text);
    }
  });
});
