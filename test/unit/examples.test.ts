// The examples run, on memory ports.
import type { Datapath, MemoryPort } from 'pollux';
import { expect, test, vi } from 'vitest';
import { expectLedgerCloses, until } from './support.js';

const mac = (n: number) => `0200000000${n.toString(16).padStart(2, '0')}`;
const frame = (from: number, to: number | 'all') =>
  Buffer.concat([
    Buffer.from(`${to === 'all' ? 'ffffffffffff' : mac(to)}${mac(from)}88b5`, 'hex'),
    Buffer.alloc(46),
  ]);

test('learning-switch', async () => {
  const argv = process.argv;
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  process.argv = ['node', 'learning-switch', '--memory', 'a', 'b', 'c'];
  const { dp }: { dp: Datapath } = await import('../../examples/learning-switch.js');
  process.argv = argv;
  log.mockRestore();

  const ports = [...dp.ports.values()] as MemoryPort[];
  const send = async (from: number, to: number | 'all') => {
    ports[from]?.inject(frame(from, to));
    await dp.settle();
    await until(() => dp.stats().ledger.queued === 0n);
    return ports.map((port) => port.drain().length);
  };
  expect(await send(0, 'all')).toEqual([0, 1, 1]); // learns 0, floods
  expect(await send(1, 0)).toEqual([1, 0, 0]); // learns 1, knows 0
  expect(dp.flows.size).toBe(1);
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(await send(0, 1)).toEqual([0, 1, 0]);
  expect(dp.flows.size).toBe(2);
  expect(dp.stats().pmds.reduce((sum, { upcalls }) => sum + upcalls, 0n)).toBe(3n);
  expectLedgerCloses(dp);
  await dp.close();
});
