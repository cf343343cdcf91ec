// configure(): what differs is changed and nothing else; all or nothing.
import type { Datapath, DatapathConfig, Port } from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts, udpFrame, until } from '../support/datapath.js';

const base: DatapathConfig = {
  ports: [
    { name: 'a', type: 'memory' },
    { name: 'b', type: 'memory' },
    { name: 'c', type: 'memory', number: 7 },
  ],
  flows: [
    { match: 'in_port(a)', actions: 'b' },
    { match: 'in_port(b)', actions: 'a' },
  ],
};
const flowFromA = 'recirc_id(0),in_port(1), actions:2';
const flowFromB = 'recirc_id(0),in_port(2), actions:1';

let dp: Datapath;
beforeEach(async () => {
  dp = makeDatapath({ clock: 'manual' });
  await dp.configure(base);
});

const numbers = () => Object.fromEntries([...dp.ports].map(([name, { number }]) => [name, number]));
const flows = async () => {
  const lines: string[] = [];
  for await (const flow of dp.flows.dump()) lines.push(String(flow));
  return lines.sort();
};
const seen = new Map<Port, number>();
/** A number for each handle: whether it is the same one. */
const identity = (port: Port) => {
  if (!seen.has(port)) seen.set(port, seen.size);
  return seen.get(port);
};
/** Everything that configure() could touch. */
const everything = async () => ({
  handles: [...dp.ports.values()].map(identity),
  numbers: numbers(),
  states: [...dp.ports.values()].map(({ state }) => state),
  flows: await flows(),
});

test('from nothing', async () => {
  const fresh = makeDatapath();
  expect(await fresh.configure(base)).toEqual({
    added: ['a', 'b', 'c', flowFromA, flowFromB],
    removed: [],
    changed: [],
    unchanged: [],
  });
  expect([...fresh.ports.keys()]).toEqual(['a', 'b', 'c']);
  expect(fresh.ports.get('c')?.number).toBe(7);
  expect(fresh.flows.size).toBe(2);
});

test('the same again touches nothing: same handles, same statistics, no reload', async () => {
  const before = await everything();
  const reloads = () => dp.stats().pmds.map(({ reloads }) => reloads);
  const first = reloads();
  expect(await dp.configure(base)).toEqual({
    added: [],
    removed: [],
    changed: [],
    unchanged: ['a', 'b', 'c', flowFromA, flowFromB],
  });
  expect(await everything()).toEqual(before);
  expect(reloads()).toEqual(first);
});

test('what is not mentioned stays; an empty list removes all', async () => {
  await dp.configure({});
  expect(dp.ports.size).toBe(3);
  await dp.configure({ ports: [...(base.ports ?? []), { name: 'd', type: 'null' }] });
  expect(dp.flows.size).toBe(2);
  await dp.configure({ flows: [] });
  expect(dp.flows.size).toBe(0);
  expect(await dp.configure({ ports: [] })).toMatchObject({ removed: ['a', 'b', 'c', 'd'] });
  expect(dp.ports.size).toBe(0);
});

test('a dry run says it and does nothing', async () => {
  const before = await everything();
  const wanted: DatapathConfig = {
    maxIdleMs: 777,
    flowLimit: 200_000,
    ports: [
      { name: 'a', type: 'memory' },
      { name: 'c', type: 'memory', number: 8 },
      { name: 'd', type: 'memory' },
    ],
    flows: [
      { match: 'in_port(a)', actions: 'd' },
      { match: 'in_port(d)', actions: 'a' },
    ],
  };
  const plan = await dp.configure(wanted, { dryRun: true });
  // d gets number 2, which b leaves: the flow from there is "changed" only if its actions are.
  expect(plan).toEqual({
    added: ['d'],
    removed: ['b'],
    changed: ['maxIdleMs', 'c'],
    unchanged: ['flowLimit', 'a', flowFromA, flowFromB],
  });
  expect(await everything()).toEqual(before);
  expect(await dp.configure(wanted)).toEqual(plan);
  expect(numbers()).toEqual({ a: 1, c: 8, d: 2 });
});

test('a port with another spec is made anew, one with another number keeps its handle', async () => {
  const [a, b, c] = [...dp.ports.values()];
  await dp.configure({
    ports: [
      { name: 'a', type: 'memory', queueLength: 5 },
      { name: 'b', type: 'memory', number: 20 },
      { name: 'c', type: 'memory' },
    ],
  });
  expect(dp.ports.get('a')).not.toBe(a);
  expect(a?.state).toBe('closed');
  expect(dp.ports.get('b')).toBe(b);
  // Without a number the one it has will do.
  expect(dp.ports.get('c')).toBe(c);
  expect(numbers()).toEqual({ a: 1, b: 20, c: 7 });
});

test('ports may swap numbers', async () => {
  const before = [...dp.ports.values()].map(identity);
  const ports = [
    { name: 'a', type: 'memory', number: 2 },
    { name: 'b', type: 'memory', number: 7 },
    { name: 'c', type: 'memory', number: 1 },
  ] as const;
  expect(await dp.configure({ ports })).toMatchObject({ changed: ['a', 'b', 'c'] });
  expect(numbers()).toEqual({ a: 2, b: 7, c: 1 });
  expect([...dp.ports.values()].map(identity)).toEqual(before);
});

test('flows: changed actions keep their statistics, learned flows go', async () => {
  const [a] = [...dp.ports.values()] as any[];
  a.inject(udpFrame());
  await dp.settle();
  dp.flows.put('in_port(c)', 'a');
  expect(
    await dp.configure({
      flows: [
        { match: { inPort: 'a' }, actions: 'c' },
        { match: 'in_port(b)', actions: 'a' },
      ],
    }),
  ).toEqual({
    added: [],
    removed: ['recirc_id(0),in_port(7), actions:1'],
    changed: ['recirc_id(0),in_port(1), actions:7'],
    unchanged: [flowFromB],
  });
  expect(dp.flows.get('in_port(a)')?.packets).toBe(1n);
});

test('flows: another timeout or another ufid is a change', async () => {
  const ufid = '00000000-0000-0000-0000-000000000001';
  const wanted: DatapathConfig = {
    flows: [
      { match: 'in_port(a)', actions: 'b', idleTimeoutMs: 50 },
      { match: 'in_port(b)', actions: 'a', ufid },
    ],
  };
  expect(await dp.configure(wanted)).toMatchObject({ changed: [flowFromA, flowFromB] });
  expect(await dp.configure(wanted)).toMatchObject({ unchanged: [flowFromA, flowFromB] });
  expect(dp.flows.get(ufid)?.match).toEqual({ inPort: 2 });
  await dp.advance(1000);
  expect(dp.flows.size).toBe(1);
});

test('options of a running datapath', async () => {
  await memoryPorts(dp, 'x');
  expect(await dp.configure({ pmdCpus: '0x3', maxIdleMs: 5 })).toMatchObject({
    changed: ['pmdCpus', 'maxIdleMs'],
  });
  expect(
    dp
      .stats()
      .pmds.map(({ core }) => core)
      .sort(),
  ).toEqual([0, 1, 'non-pmd']);
  expect(await dp.configure({ pmdCpus: [0, 1] })).toMatchObject({ unchanged: ['pmdCpus'] });
});

describe('all or nothing', () => {
  const cases: [what: string, code: string, config: DatapathConfig][] = [
    [
      'a device that does not open, after everything else',
      'ERR_PORT_TYPE_UNAVAILABLE',
      {
        maxIdleMs: 1,
        ports: [
          { name: 'a', type: 'memory', queueLength: 9 },
          { name: 'b', type: 'memory', number: 30 },
          { name: 'n', type: 'memory' },
          { name: 'x', type: 'dpdk', devargs: 'net_null0' },
        ],
        flows: [],
      },
    ],
    [
      'flows that do not fit',
      'ENOSPC',
      {
        flowLimit: 2,
        ports: [{ name: 'a', type: 'memory' }],
        flows: [1, 2, 3].map((n) => ({ match: { inPort: n }, actions: 'a' })),
      },
    ],
    [
      'flows that overlap',
      'EINVAL',
      {
        ports: [{ name: 'q', type: 'memory' }],
        flows: [
          { match: 'in_port(1)', actions: 'q' },
          { match: 'in_port(1),eth_type(0x0800)', actions: 'q' },
        ],
      },
    ],
    [
      'a flow of a port that will not be there',
      'ENODEV',
      { ports: [{ name: 'a', type: 'memory' }], flows: [{ match: 'in_port(b)', actions: 'a' }] },
    ],
    [
      'two flows of one match',
      'EINVAL',
      {
        flows: [
          { match: 'in_port(1)', actions: 'b' },
          { match: { inPort: 'a' }, actions: 'c' },
        ],
      },
    ],
  ];
  test.each(cases)('%s', async (_, code, config) => {
    const before = await everything();
    await failure(code, () => dp.configure(config));
    expect(await everything()).toEqual(before);
    // In force, too, not only shown.
    const [a, b] = [...dp.ports.values()] as any[];
    a.inject(udpFrame());
    await dp.settle();
    expect(b.drain()).toHaveLength(1);
    expect(await dp.configure(base)).toMatchObject({ added: [], removed: [], changed: [] });
  });

  test('aborted half-way', async () => {
    const before = await everything();
    const controller = new AbortController();
    const ports = [
      { name: 'n', type: 'memory' },
      { name: 'slow', type: 'memory', openDelayMs: 50 },
    ] as const;
    const configuring = failure('ABORT_ERR', () => dp.configure({ ports }, controller));
    await until(() => dp.ports.has('n'));
    controller.abort();
    await configuring;
    expect(await everything()).toEqual(before);
  });

  test('closed half-way', async () => {
    const ports = [{ name: 'slow', type: 'memory', openDelayMs: 20 }] as const;
    const configuring = failure('ERR_DATAPATH_CLOSED', () => dp.configure({ ports }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    await dp.close();
    await configuring;
  });
});

test('two at a time: one after the other', async () => {
  const x: DatapathConfig = { ports: [{ name: 'x', type: 'memory' }] };
  const y: DatapathConfig = { ports: [{ name: 'y', type: 'memory' }] };
  const [first, second] = await Promise.all([dp.configure(x), dp.configure(y)]);
  expect(first).toMatchObject({ added: ['x'], removed: ['a', 'b', 'c'] });
  expect(second).toMatchObject({ added: ['y'], removed: ['x'] });
  expect([...dp.ports.values()].map((port: Port) => port.name)).toEqual(['y']);
});

test('a number that a port has taken meanwhile is EBUSY, and all is as before', async () => {
  const many = Array.from({ length: 3000 }, (_, i) => ({
    match: `in_port(a),eth_type(0x0800),ipv4(src=10.0.${i >> 8}.${i & 255})`,
    actions: 'b',
  }));
  await dp.configure({ flows: many });
  const before = numbers();
  // The plan takes some turns of the event loop: the new port comes in between.
  const configured = dp.configure({
    ports: [...base.ports!.slice(1), { name: 'a', type: 'memory', number: 9 }],
    flows: [],
  });
  await dp.addPort({ name: 'other', type: 'memory', number: 9 });
  expect(await failure('EBUSY', () => configured)).toMatchObject({ port: 'other' });
  expect(numbers()).toEqual({ ...before, other: 9 });
  expect(dp.flows.size).toBe(3000);
  await dp.configure(base);
  expect(numbers()).toEqual({ a: 1, b: 2, c: 7 });
});
