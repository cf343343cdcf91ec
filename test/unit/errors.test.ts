// Bad input: each is a DatapathError with a code and a hint, and nothing is half done.
import { Datapath, DatapathError, type DatapathOptions } from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame } from '../support/datapath.js';

let dp: Datapath;
beforeEach(async () => {
  dp = makeDatapath();
  await memoryPorts(dp, 'a', 'b');
  dp.flows.put('in_port(a)', 'b');
});

const any = (value: unknown) => value as never;
const frame = udpFrame();

/** What was there before is there after. */
async function refused(code: string, call: () => unknown): Promise<DatapathError> {
  const before = { ports: [...dp.ports], flows: dp.flows.size, stats: dp.stats().ledger };
  const error = await failure(code, call);
  expect([...dp.ports]).toEqual(before.ports);
  expect(dp.flows.size).toBe(before.flows);
  expect(dp.stats().ledger).toEqual(before.stats);
  expect(String(dp.flows.get('in_port(a)'))).toContain('actions:2');
  return error;
}

describe('refused, with a code and a hint', () => {
  const cases: [what: string, code: string | readonly string[], call: () => unknown][] = [
    [
      'an interface that does not exist',
      ['ENODEV', 'EPERM'], // without CAP_NET_RAW nobody gets as far as the interface
      () => dp.addPort({ name: 'n', type: 'af_packet', device: 'nosuch0' }),
    ],
    ['a port type that does not exist', 'EINVAL', () => dp.addPort(any({ name: 'n', type: 'x' }))],
    ['a port without a type', 'EINVAL', () => dp.addPort(any({ name: 'n' }))],
    [
      'a port type that is not built',
      'ERR_PORT_TYPE_UNAVAILABLE',
      () => dp.addPort({ name: 'n', type: 'vxlan' }),
    ],
    ['a name in use', 'EEXIST', () => dp.addPort({ name: 'a', type: 'memory' })],
    ['a number in use', 'EBUSY', () => dp.addPort({ name: 'n', type: 'memory', number: 2 })],
    ['a number in use, renumbering', 'EBUSY', () => dp.renumberPort('a', 2)],
    ['an unknown key', 'EINVAL', () => dp.addPort(any({ name: 'n', type: 'memory', nr: 1 }))],
    [
      'a key of another type',
      'EINVAL',
      () => dp.addPort(any({ name: 'n', type: 'memory', device: 'eth0' })),
    ],
    ...['2', '0x1f', '017', 'drop', 'trunc', 'userspace', 'set'].map(
      (name): (typeof cases)[number] => [
        ...([`the name ${name}, which in text is something else`, 'EINVAL'] as const),
        () => dp.addPort({ name, type: 'memory', number: 3 }),
      ],
    ),
    ['a name with a space', 'EINVAL', () => dp.addPort({ name: 'a b', type: 'memory' })],
    [
      'affinity of a queue that is not there',
      'EINVAL',
      () => dp.addPort({ name: 'n', type: 'memory', rxqAffinity: { 1: 0 } }),
    ],
    [
      'affinity to a core that is not there',
      'EINVAL',
      () => dp.addPort({ name: 'n', type: 'memory', rxqAffinity: { 0: 77 } }),
    ],
    ['deleting a port that does not exist', 'ENODEV', () => dp.deletePort('nosuch')],
    ['deleting a number that is not used', 'ENODEV', () => dp.deletePort(99)],
    ['renumbering a port that does not exist', 'ENODEV', () => dp.renumberPort('nosuch', 5)],
    ['a frame of 0 bytes', 'EINVAL', () => dp.execute(Buffer.alloc(0), 'b')],
    ['a frame of 13 bytes', 'EINVAL', () => dp.execute(Buffer.alloc(13), 'b')],
    ['a frame of 65,536 bytes', 'EINVAL', () => dp.execute(Buffer.alloc(65_536), 'b')],
    [
      'a flow that is there',
      'EEXIST',
      () => dp.flows.put('in_port(1)', 'a', { ifExists: 'error' }),
    ],
    ['a flow that overlaps', 'EINVAL', () => dp.flows.put('in_port(a),eth_type(0x0806)', 'b')],
    ['time, with the system clock', 'EINVAL', () => dp.advance(5)],
    ['a core without a thread', 'ENOENT', () => dp.reload(77)],
    ['a trace from a port that does not exist', 'ENODEV', () => dp.trace(frame, { inPort: 'x' })],
    [
      'modifying a flow that does not exist',
      'ENOENT',
      () => dp.flows.put('in_port(9)', 'a', { ifMissing: 'error' }),
    ],
    ['another topology', 'EINVAL', () => dp.configure({ topology: { numa: [[5]] } })],
    ['an unknown option', 'EINVAL', () => dp.configure(any({ maxIdle: 5 }))],
  ];
  test.each(cases)('%s', async (_, code, call) => {
    const codes = typeof code === 'string' ? [code] : code;
    const error = await refused(expect.stringMatching(`^(${codes.join('|')})$`) as never, call);
    expect(error.hint, error.message).toMatch(/\w/);
  });
});

describe('refused', () => {
  const cases: [what: string, code: string, call: () => unknown][] = [
    ['a port that is no object', 'EINVAL', () => dp.addPort(any('eth0'))],
    [
      'a number that is none',
      'EINVAL',
      () => dp.addPort(any({ name: 'n', type: 'null', number: Number.NaN })),
    ],
    ['a number beyond 16 bits', 'EINVAL', () => dp.renumberPort('a', 65_536)],
    ['half a queue', 'EINVAL', () => dp.addPort({ name: 'n', type: 'memory', rxqs: 1.5 })],
    ['no queue', 'EINVAL', () => dp.addPort({ name: 'n', type: 'memory', rxqs: 0 })],
    ['an empty name', 'EINVAL', () => dp.addPort({ name: '', type: 'memory' })],
    ['a port by something else', 'EINVAL', () => dp.deletePort(any({ name: 'a' }))],
    ['a port by nothing', 'EINVAL', () => dp.deletePort(any(undefined))],
    ['a signal that is none', 'EINVAL', () => dp.deletePort('a', any({ signal: 1 }))],
    ['an unknown option of a verb', 'EINVAL', () => dp.deletePort('a', any({ force: true }))],
    ['a frame that is no bytes', 'EINVAL', () => dp.execute(any('frame'), 'b')],
    ['actions that are none', 'EINVAL', () => dp.execute(frame, any(5))],
    ['an action that is none', 'EINVAL', () => dp.execute(frame, any([{ type: 'jump' }]))],
    ['an output to a name that is not there', 'ENODEV', () => dp.execute(frame, 'nosuch')],
    ['a flow of a port that is not there', 'ENODEV', () => dp.flows.put('in_port(nosuch)', 'b')],
    ['the same, typed', 'ENODEV', () => dp.execute(frame, [{ type: 'output', port: 'nosuch' }])],
    ['an inPort that is not there', 'ENODEV', () => dp.execute(frame, 'b', { inPort: 'nosuch' })],
    ['a match without a port', 'EINVAL', () => dp.flows.put(any({ ethType: 5 }), 'b')],
    [
      'actions the match does not carry',
      'EINVAL',
      () => dp.flows.put('in_port(5)', 'set(ipv4(ttl=1))'),
    ],
    ['a flow by nothing', 'EINVAL', () => dp.flows.get(any(undefined))],
    ['a flow by a number', 'EINVAL', () => dp.flows.delete(any(5))],
    ['a ufid that is none', 'EINVAL', () => dp.flows.put('in_port(5)', 'b', { ufid: 'x' })],
    ['a negative timeout', 'EINVAL', () => dp.flows.put('in_port(5)', 'b', { idleTimeoutMs: -1 })],
    ['changes that are no list', 'EINVAL', () => dp.flows.apply(any({}))],
    ['a change that is none', 'EINVAL', () => dp.flows.apply(any([{}]))],
    [
      'an unknown choice',
      'EINVAL',
      () => dp.flows.put('in_port(5)', 'b', any({ ifExists: 'keep' })),
    ],
    ['a core that is none', 'EINVAL', () => dp.reload(-1)],
    ['a core by another name', 'EINVAL', () => dp.flows.dump(any({ core: 'main' }))],
    ['a handler that is none', 'EINVAL', () => dp.onUpcall(any('log'))],
    ['frames that are no bytes', 'EINVAL', () => (dp.ports.get('a') as any).inject(['x'])],
    [
      'a queue that is not there',
      'EINVAL',
      () => (dp.ports.get('a') as any).inject(frame, { rxq: 3 }),
    ],
    ['a negative number to drain', 'EINVAL', () => (dp.ports.get('a') as any).drain(-1)],
    ['a configuration that is none', 'EINVAL', () => dp.configure(any(null))],
    [
      'two ports of one name',
      'EEXIST',
      () =>
        dp.configure({
          ports: [
            { name: 'x', type: 'null' },
            { name: 'x', type: 'null' },
          ],
        }),
    ],
  ];
  test.each(cases)('%s', async (_, code, call) => {
    await refused(code, call);
  });
});

test('malformed text: the error says where', async () => {
  const match = 'in_port(1),eth_type(0x0800),ipv4(ttl=999)';
  const error = await refused('EINVAL', () => dp.flows.put(match, 'b'));
  expect(error).toMatchObject({ position: match.indexOf('999') });
  expect(error.message).toContain('ttl');
  expect(error.hint).toContain('^');
  const inActions = await refused('EINVAL', () =>
    dp.flows.put('in_port(5)', 'push_vlan(vid=5,pcp=9),b'),
  );
  expect(inActions).toMatchObject({ position: 'push_vlan(vid=5,pcp='.length });
});

test('names that only look odd are names, in text too', async () => {
  const names = ['-1', '1e5', '0x', '08', 'Drop', 'in_port', 'ufid:1', 'eth0.5', 'ü', 'vlan'];
  for (const name of names) {
    const port = await dp.addPort({ name, type: 'memory' });
    dp.flows.put(`in_port(${name})`, name);
    expect(String(dp.flows.get(`in_port(${name})`))).toContain(`actions:${port.number}`);
    expect(dp.flows.get(`in_port(${name})`)!.match.inPort).toBe(port.number);
  }
  await failure('EINVAL', () => dp.configure({ ports: [{ name: 'drop', type: 'memory' }] }));
});

test('a port that is not there: the nearest name comes first, and not all are listed', async () => {
  const names = ['left', 'right', ...Array.from({ length: 40 }, (_, i) => `vm-${i}`)];
  await memoryPorts(dp, ...names);
  for (const call of [
    () => dp.flows.put('in_port(lfet)', 'b'),
    () => dp.flows.put('in_port(a)', 'lfet'),
    () => dp.flows.put({ inPort: 'lfet' }, 'b'),
    () => dp.execute(frame, [{ type: 'output', port: 'lfet' }]),
    () => dp.deletePort('Left'),
  ]) {
    const { hint } = await failure('ENODEV', call);
    expect(hint).toMatch(/did you mean "left"\? ports: left, a, b, /);
    expect(hint).toMatch(/vm-\d+ and 32 more$/);
  }
  expect((await failure('ENODEV', () => dp.deletePort('quite else'))).hint).not.toContain('mean');
});

test('a port deleted twice', async () => {
  const a = dp.ports.get('a')!;
  await dp.deletePort(a);
  for (const ref of [a, 'a', 1]) {
    const error = await failure('ENODEV', () => dp.deletePort(ref));
    expect(error.hint).toBeDefined();
  }
  expect(() => a.stats()).toThrow(DatapathError);
  // Twice at the same time: one of them wins.
  const both = await Promise.allSettled([dp.deletePort('b'), dp.deletePort('b')]);
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
});

test('a handle of another datapath', async () => {
  const other = makeDatapath();
  const [a] = await memoryPorts(other, 'a');
  expect((await refused('ENODEV', () => dp.deletePort(a))).port).toBe('a');
  await refused('ENODEV', () => dp.flows.put({ inPort: a }, 'b'));
});

test('one name, many times at once: one wins', async () => {
  const adding = Array.from({ length: 10 }, () => dp.addPort({ name: 'n', type: 'memory' }));
  const results = await Promise.allSettled(adding);
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'EEXIST' });
  }
  expect(dp.ports.get('n')?.state).toBe('up');
});

test('use after close', async () => {
  const a = dp.ports.get('a') as any;
  const iterator = dp.flows.dump();
  await dp.close();
  const verbs: (() => unknown)[] = [
    () => dp.addPort({ name: 'n', type: 'memory' }),
    () => dp.deletePort('a'),
    () => dp.renumberPort('a', 5),
    () => dp.reload(),
    () => dp.configure({}),
    () => dp.execute(frame, 'b'),
    () => dp.trace(frame, { inPort: 1 }),
    () => dp.onUpcall(() => {}),
    () => dp.upcalls(),
    () => dp.stats(),
    () => dp.settle(),
    () => dp.advance(1),
    () => dp.flows.put('in_port(1)', '2'),
    () => dp.flows.delete('in_port(1)'),
    () => dp.flows.get('in_port(1)'),
    () => dp.flows.apply([]),
    () => dp.flows.dump(),
    () => dp.flows.clear(),
    () => dp.flows.size,
    () => iterator.next(),
    () => a.stats(),
    () => a.inject(frame),
    () => a.drain(),
  ];
  for (const verb of verbs) {
    const error = await failure('ERR_DATAPATH_CLOSED', verb);
    expect(error.hint, String(verb)).toBeDefined();
  }
  // Nothing to complain about.
  dp.ref().unref();
  await dp.close();
});

describe('options that make no sense', () => {
  const cases: [unknown][] = [
    [5],
    [null],
    [{ nosuch: 1 }],
    [{ name: '' }],
    [{ clock: 'atomic' }],
    [{ flowLimit: 0 }],
    [{ flowLimit: -1 }],
    [{ flowLimit: Number.NaN }],
    [{ maxIdleMs: 1.5 }],
    [{ emcInsertInvProb: '1' }],
    [{ pmdSleepMaxUs: 2 ** 32 }],
    [{ pmdSleepMaxUs: { first: 0 } }],
    [{ pmdSleepMaxUs: { 0: -1 } }],
    [{ pmdSleepMaxUs: { 7: 0 }, topology: { numa: [[0]] } }],
    [{ txFlushIntervalUs: -1 }],
    [{ pmdCpus: 'abc xyz' }],
    [{ pmdCpus: '0x0' }],
    [{ pmdCpus: [] }],
    [{ pmdCpus: [0, 0] }],
    [{ pmdCpus: [7], topology: { numa: [[0]] } }],
    [{ topology: { numa: [] } }],
    [{ topology: { numa: [[0], [0]] } }],
    [{ topology: [[0]] }],
    [{ upcall: { queueLength: 0 } }],
    [{ upcall: { whenFull: 'wait' } }],
    [{ upcall: { snapLength: 5 } }],
    [{ upcall: { depth: 5 } }],
  ];
  test.each(cases)('%j', async (options) => {
    await failure('EINVAL', () => new Datapath(options as DatapathOptions));
  });
});
