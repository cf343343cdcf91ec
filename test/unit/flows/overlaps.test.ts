// Flows of a port have no priority: two that overlap are refused, whichever comes first, by whatever way.
import { Datapath, type DatapathError, type FlowSpec } from 'pollux';
import { beforeEach, describe, expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts } from '../../support/datapath.js';

let dp: Datapath;
beforeEach(async () => {
  dp = makeDatapath();
  await memoryPorts(dp, 'a', 'b');
});

const general = 'in_port(1)';
const special = 'in_port(1),eth_type(0x0800),ipv4(proto=17)';
const spec = (match: FlowSpec['match']): FlowSpec => ({ match, actions: '2' });
const ports = ['a', 'b'].map((name) => ({ name, type: 'memory' as const }));

const ways: [way: string, put: (match: FlowSpec['match']) => unknown][] = [
  ['put', (match) => dp.flows.put(match, '2')],
  ['apply', (match) => dp.flows.apply([{ put: spec(match) }])],
  ['apply, atomic', (match) => dp.flows.apply([{ put: spec(match) }], { atomic: true })],
];

describe.each([
  ['the general one first', general, special],
  ['the special one first', special, general],
] as const)('%s', (_, first, second) => {
  const named = ({ message }: DatapathError) => {
    const wanted = [first, second].map((match) => match.replace('in_port(1)', ''));
    for (const part of wanted) expect(message).toContain(part);
    expect(message).toMatch(/^the flow .*in_port\(1\).* overlaps the flow .*in_port\(1\)/);
  };

  test.each(ways)('%s', async (_way, put) => {
    put(first);
    named(await failure('EINVAL', () => put(second)));
    expect(dp.flows.size).toBe(1);
    expect(String(dp.flows.get(first))).toContain('actions:2');
    // In its own place it is what it was.
    dp.flows.put(first, 'a');
    dp.flows.delete(first);
    put(second);
  });

  test('apply, both in one call', async () => {
    const changes = [{ put: spec('in_port(2)') }, { put: spec(first) }, { put: spec(second) }];
    named(await failure('EINVAL', () => dp.flows.apply(changes, { atomic: true })));
    expect(dp.flows.size).toBe(0);
    named(await failure('EINVAL', () => dp.flows.apply(changes)));
    expect(dp.flows.size).toBe(2);
  });

  test('configure and open', async () => {
    const flows = [spec(first), spec(second)];
    named(await failure('EINVAL', () => dp.configure({ flows })));
    expect(dp.flows.size).toBe(0);
    named(await failure('EINVAL', () => Datapath.open({ ports, flows })));
  });

  test('a ufid of its own lets it in', () => {
    dp.flows.put(first, '2');
    dp.flows.put(second, '2', { ufid: '01234567-89ab-cdef-0123-456789abcdef' });
    expect(dp.flows.size).toBe(2);
  });
});

test('flows of masks neither of which covers the other', async () => {
  const from = 'in_port(1),eth_type(0x0800),ipv4(src=10.0.0.0/8)';
  const to = 'in_port(1),eth_type(0x0800),ipv4(dst=10.9.0.1)';
  for (const [first, second] of [
    [from, to],
    [to, from],
  ] as const) {
    dp.flows.clear();
    dp.flows.put(first, '2');
    const { message } = await failure('EINVAL', () => dp.flows.put(second, '2'));
    expect(message).toContain('src=10.0.0.0');
    expect(message).toContain('dst=10.9.0.1');
  }
  dp.flows.put('in_port(1),eth_type(0x0800),ipv4(src=11.0.0.0/8,dst=10.9.0.2)', '2');
  expect(dp.flows.size).toBe(2);
});

test('typed flows are named in text', async () => {
  dp.flows.put({ inPort: 'a', ipv4: { proto: 6 } }, '2');
  const { message } = await failure('EINVAL', () => dp.flows.put({ inPort: 'a' }, '2'));
  expect(message).toBe(
    'the flow recirc_id(0),in_port(1) overlaps the flow recirc_id(0),in_port(1),eth_type(0x0800),ipv4(proto=6)',
  );
});

test('what only looks alike does not overlap', () => {
  dp.flows.put('in_port(1),eth_type(0x0800),ipv4(src=10.0.0.0/8)', '2');
  dp.flows.put('in_port(1),eth_type(0x0800),ipv4(src=11.0.0.0/9)', '2');
  dp.flows.put('in_port(1),eth_type(0x0800),ipv4(src=11.128.0.0/16)', '2');
  dp.flows.put('in_port(2)', '1');
  dp.flows.put('in_port(1),eth_type(0x0806)', '2');
  dp.flows.put('recirc_id(5),in_port(1)', '2');
  dp.flows.put('in_port(1),eth_type(0x8100),vlan(vid=5),encap()', '2');
  expect(dp.flows.size).toBe(7);
});
