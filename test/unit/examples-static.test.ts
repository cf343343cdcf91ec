// The examples whose flows are there from the start run, on memory ports.
import type { Datapath, MemoryPort } from 'pollux';
import { afterEach, expect, test, vi } from 'vitest';
import { expectLedgerCloses } from '../support/datapath.js';

/** A broadcast frame; `tag` is TPID and TCI, in hexadecimal. */
const frame = (tag = '') =>
  Buffer.concat([Buffer.from(`ffffffffffff020000000001${tag}88b5`, 'hex'), Buffer.alloc(46, 7)]);

let dp: Datapath | undefined;
afterEach(() => dp?.close());

async function start(example: () => Promise<{ dp: Datapath }>, ...args: string[]) {
  const { argv } = process;
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  process.argv = ['node', 'example', '--memory', ...args];
  try {
    ({ dp } = await example());
  } finally {
    process.argv = argv;
    log.mockRestore();
  }
  return Object.fromEntries(dp.ports) as Readonly<Record<string, MemoryPort>>;
}

test('mirror', async () => {
  const { left, right, copy } = await start(
    () => import('../../examples/mirror.js'),
    ...['left', 'right', 'copy'],
  );
  const frames = [frame(), frame('81000005'), frame('88a80007')];
  left!.inject(frames);
  await dp!.settle();
  expect(right!.drain()).toEqual(frames);
  expect(copy!.drain()).toEqual(frames);
  right!.inject(frames);
  await dp!.settle();
  expect(left!.drain()).toEqual(frames);
  expect(copy!.drain()).toEqual(frames);
  expect(right!.drain()).toEqual([]);
  expectLedgerCloses(dp!);
  expect(dp!.stats().ledger).toMatchObject({ received: 6n, transmitted: 12n, dropped: 0n });
});

test('vlan-access', async () => {
  const { trunk, ten, twenty } = await start(
    () => import('../../examples/vlan-access.js'),
    ...['trunk', 'ten=10', 'twenty=20'],
  );
  ten!.inject(frame());
  twenty!.inject(frame());
  await dp!.settle();
  expect(trunk!.drain().sort(Buffer.compare)).toEqual([frame('8100000a'), frame('81000014')]);

  trunk!.inject([frame('8100000a'), frame('8100e014'), frame('81000001'), frame()]);
  ten!.inject(frame('8100000a'));
  await dp!.settle();
  expect(ten!.drain()).toEqual([frame()]);
  expect(twenty!.drain()).toEqual([frame()]);
  expectLedgerCloses(dp!);
  expect(dp!.stats().drops.upcall_no_handler).toBe(3n);
});
