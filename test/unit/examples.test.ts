// The examples run, on memory ports.
import type { Datapath, MemoryPort } from 'pollux';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { expectLedgerCloses, until } from '../support/datapath.js';

const mac = (n: number) => `0200000000${n.toString(16).padStart(2, '0')}`;
const frame = (from: number, to: number | 'all') =>
  Buffer.concat([
    Buffer.from(`${to === 'all' ? 'ffffffffffff' : mac(to)}${mac(from)}88b5`, 'hex'),
    Buffer.alloc(46),
  ]);

let ports: MemoryPort[];
let dp: Datapath;
beforeEach(async () => {
  const { argv } = process;
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  process.argv = ['node', 'learning-switch', '--memory', 'a', 'b', 'c'];
  vi.resetModules();
  ({ dp } = await import('../../examples/learning-switch.js'));
  process.argv = argv;
  log.mockRestore();
  ports = [...dp.ports.values()] as MemoryPort[];
});
afterEach(async () => {
  expectLedgerCloses(dp);
  await dp.close();
});

const settled = async () => {
  await dp.settle();
  await until(() => dp.stats().ledger.queued === 0n);
};

/** A frame of station `from` comes in at a port; how many go out of each. */
async function sendAt(port: number, from: number, to: number | 'all') {
  ports[port]!.inject(frame(from, to));
  await settled();
  return ports.map((out) => out.drain().length);
}
const send = (from: number, to: number | 'all') => sendAt(from, from, to);

test('learning-switch', async () => {
  expect(await send(0, 'all')).toEqual([0, 1, 1]); // learns 0, floods
  expect(await send(1, 0)).toEqual([1, 0, 0]); // learns 1, knows 0
  expect(dp.flows.size).toBe(1);
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(dp.flows.size).toBe(2);
  expect(dp.stats().pmds.reduce((sum, { upcalls }) => sum + upcalls, 0n)).toBe(3n);
});

test('learning-switch: a station that moves, and moves back', async () => {
  await send(0, 'all');
  await send(1, 0);
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(await sendAt(2, 1, 0)).toEqual([1, 0, 0]); // 1 is behind c now
  expect(await send(0, 1)).toEqual([0, 0, 1]);
  expect(await send(0, 1)).toEqual([0, 0, 1]);
  expect(await sendAt(1, 1, 0)).toEqual([1, 0, 0]); // and behind b again
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(dp.flows.size).toBe(2);
});

test('learning-switch: stations without end, and a source that is a group', async () => {
  const many = 5000;
  await send(0, 'all');
  for (let first = 0; first < many; first += 500) {
    const frames = Array.from({ length: 500 }, (_, i) => {
      const one = frame(1, 0);
      one.writeUInt32BE(first + i, 6); // 00:00:xx:xx:00:01
      return one;
    });
    ports[1]!.inject(frames);
    await settled();
  }
  // A flow for each station that it still knows, at most.
  expect(dp.flows.size).toBeLessThanOrEqual(4096);
  ports[0]!.drain();
  ports[2]!.drain();
  const odd = frame(0, 1);
  odd[6] = 3;
  ports[0]!.inject([odd, odd]);
  await settled();
  expect(ports.map((out) => out.drain().length)).toEqual([0, 2, 2]);
});
