// wire(): whatever comes in at one port goes out at the other, by one flow a direction.
import { inspect } from 'node:util';
import type { MemoryPort } from 'pollux';
import { expect, test } from 'vitest';
import { failure, makeDatapath, memoryPorts } from '../support/datapath.js';

const kMacs = '020000000002020000000001';
const frame = (behind: string) => Buffer.from(`${kMacs}${behind}`.padEnd(120, '0'), 'hex');

const ipv4 = '4500002000010000401166ca0a0000010a00000203e807d0000c0000';
const frames: Readonly<Record<string, Buffer>> = {
  untagged: frame(`0800${ipv4}`),
  'a tag of 0x8100': frame(`81006005 0800${ipv4}`.replace(' ', '')),
  'a tag of 0x9100': frame(`910060050800${ipv4}`),
  'a tag of vid 0': frame(`810000000800${ipv4}`),
  'two tags, 0x88a8 outside': frame(`88a80005810000070800${ipv4}`),
  'three tags': frame(`88a8000581000007810000090800${ipv4}`),
  'cut inside its tag': Buffer.from(`${kMacs}8100`, 'hex'),
  MPLS: frame(`8847000640400006414${ipv4}`),
  ARP: frame('0806000108000604000102000000000 10a000001'.replace(' ', '')),
  IPv6: frame('86dd6000000000083a40fe80'),
  NSH: frame('894f0fc60103'),
  'LLC and SNAP': frame('0026aaaa030000000800'),
  '802.3, spanning tree': frame('0026424203'),
  'a fragment': frame(`0800${ipv4.replace('00010000', '00012000')}`),
  'TCP with flags': frame(
    '080045000028000100004006 66c80a0000010a00000203e807d0000000000000000050020000'.replace(
      ' ',
      '',
    ),
  ),
};

const kinds = Object.entries(frames);

/** What crosses, one frame at a time. */
async function crossing(dp: ReturnType<typeof makeDatapath>, from: MemoryPort, to: MemoryPort) {
  const crossed: string[] = [];
  for (const [name, bytes] of kinds) {
    from.inject(bytes);
    await dp.settle();
    const [out, ...more] = to.drain();
    expect(more).toEqual([]);
    if (out?.equals(bytes)) crossed.push(name);
  }
  return crossed;
}

test('every kind of frame crosses, both ways, by one flow each', async () => {
  const dp = makeDatapath();
  const [a, b, other] = await memoryPorts(dp, 'a', 'b', 'c');
  const wire = dp.wire(a, 'b');
  const names = kinds.map(([name]) => name);
  expect(await crossing(dp, a, b)).toEqual(names);
  expect(await crossing(dp, b, a)).toEqual(names);
  expect(dp.flows.size).toBe(2);
  expect(wire.ports).toEqual([a, b]);
  for (const [at, text] of ['in_port(1),vlan(any)', 'in_port(2),vlan(any)'].entries()) {
    const flow = dp.flows.get(wire.ufids[at]!)!;
    expect(flow).toMatchObject({ packets: BigInt(kinds.length), idleTimeoutMs: 0 });
    expect(`${flow}`).toContain(`${text}, packets:`);
    expect(dp.flows.get(text)?.ufid).toBe(wire.ufids[at]);
  }
  // One that is not wired.
  other.inject(frames.untagged!);
  await dp.settle();
  expect(dp.stats().drops.upcall_no_handler).toBe(1n);

  expect(wire.remove()).toBe(true);
  expect(wire.remove()).toBe(false);
  // What took its place is not its own.
  const another = dp.wire('b', 'a');
  expect(wire.remove()).toBe(false);
  expect(another.remove()).toBe(true);
  expect(dp.flows.size).toBe(0);
  expect(await crossing(dp, a, b)).toEqual([]);
});

test('in_port alone is for untagged frames, and any is not for one type', async () => {
  const dp = makeDatapath();
  const [a, b] = await memoryPorts(dp, 'a', 'b');
  dp.flows.put({ inPort: 'a' }, 'b');
  expect(await crossing(dp, a, b)).not.toContain('a tag of 0x8100');
  dp.flows.clear();
  dp.flows.put({ inPort: 'a', vlan: { any: true }, ethType: 0x0800 }, 'b');
  expect(await crossing(dp, a, b)).toEqual([
    'untagged',
    'a tag of 0x8100',
    'a tag of 0x9100',
    'a tag of vid 0',
    'two tags, 0x88a8 outside',
    'LLC and SNAP',
    'a fragment',
    'TCP with flags',
  ]);
});

test('both flows or none', async () => {
  const dp = makeDatapath();
  const [a, b, c] = await memoryPorts(dp, 'a', 'b', 'c');
  const wire = dp.wire(a, b);
  const exists = await failure('EEXIST', () => dp.wire(c, a));
  expect(exists.stack).toMatch(/wire\.test\.ts/);
  expect(exists.stack).not.toMatch(/src\/wire\.ts/);
  expect(dp.flows.size).toBe(2);
  expect(dp.flows.get({ inPort: 'a', vlan: { any: true } })?.actions).toEqual([
    { type: 'output', port: 2 },
  ]);
  wire.remove();

  dp.flows.put({ inPort: 'b', ethType: 0x0806 }, 'drop');
  const overlap = await failure('EINVAL', () => dp.wire(a, b));
  expect(overlap.message).toContain('in_port(2),vlan(any)');
  expect(overlap.message).toContain('in_port(2),eth_type(0x0806)');
  expect(dp.flows.size).toBe(1);

  await failure('EINVAL', () => dp.wire(a, 'a'));
  await failure('ENODEV', () => dp.wire(a, 'd'));
  await failure('ENODEV', () => dp.wire(7, a));
  await failure('EINVAL', () => dp.wire(a, undefined as never));
  expect(dp.flows.size).toBe(1);
});

test('plain text and typed form, by the thousand', async () => {
  const dp = makeDatapath({ flowLimit: 5000 });
  const typed = Array.from({ length: 1000 }, (_, inPort) => ({
    put: { match: { inPort, vlan: { any: true as const } }, actions: 'drop' },
  }));
  const text = typed.map(({ put }) => ({
    put: { match: `in_port(${put.match.inPort}),vlan(any)`, actions: 'drop' },
  }));
  expect(dp.flows.apply(typed)).toEqual(dp.flows.apply(text));
  expect(dp.flows.size).toBe(1000);
  for await (const { match } of dp.flows.dump()) {
    expect(match).toEqual({ inPort: match.inPort, vlan: { any: true } });
  }
});

test('a wire says what it is', async () => {
  const dp = makeDatapath();
  const [a, b] = await memoryPorts(dp, 'a', 'b');
  const wire = dp.wire(a, b);
  expect(JSON.parse(JSON.stringify(wire))).toEqual({ ports: ['a', 'b'], ufids: [...wire.ufids] });
  expect(inspect(wire)).toMatch(/^Wire \{\s+ports: \[ 'a', 'b' \]/);
  await dp.close();
  await failure('ERR_DATAPATH_CLOSED', () => wire.remove());
  await failure('ERR_DATAPATH_CLOSED', () => dp.wire('a', 'b'));
});
