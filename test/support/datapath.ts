// What tests of the API share.
import { Datapath, DatapathError, type DatapathOptions, type MemoryPort } from 'pollux';
import { afterEach, expect } from 'vitest';

const opened: Datapath[] = [];

/** A datapath with a layout of cores of its own; closed after the test, when its ledger must close too. */
export function makeDatapath(options: DatapathOptions = {}): Datapath {
  const datapath = new Datapath({ topology: { numa: [[0, 1]] }, ...options });
  opened.push(datapath);
  return datapath;
}

afterEach(async () => {
  for (const datapath of opened.splice(0)) {
    if (datapath.state === 'open') {
      await datapath.settle();
      expectLedgerCloses(datapath);
    }
    await datapath.close();
  }
});

/** Every packet is accounted for, in the sums and by reason. */
export function expectLedgerCloses(datapath: Datapath): void {
  const { ledger, drops, ports } = datapath.stats();
  const { received, executed, copied, transmitted, dropped, queued } = ledger;
  expect(received + executed + copied, 'received + executed + copied').toBe(
    transmitted + dropped + queued,
  );
  expect(
    Object.values(drops).reduce((sum, n) => sum + n, 0n),
    'sum of drops',
  ).toBe(dropped);
  for (const port of Object.values(ports)) {
    for (const counter of Object.values(port)) expect(counter).toBeTypeOf('bigint');
  }
}

export async function memoryPorts<const Names extends readonly string[]>(
  datapath: Datapath,
  ...names: Names
): Promise<{ [I in keyof Names]: MemoryPort }> {
  const ports: MemoryPort[] = [];
  for (const name of names) ports.push(await datapath.addPort({ name, type: 'memory' }));
  return ports as { [I in keyof Names]: MemoryPort };
}

/** A frame of 60 bytes, IPv4 and UDP. `n` makes frames, and their flows, differ. */
export function udpFrame(n = 0, size = 60): Buffer {
  const frame = Buffer.alloc(size);
  frame.write('0200000000020200000000010800', 'hex');
  frame[14] = 0x45;
  frame.writeUInt16BE(size - 14, 16);
  frame[22] = 64;
  frame[23] = 17;
  frame.write('0a0000010a000002', 26, 'hex');
  frame.writeUInt16BE(n, 34); // source port
  frame.writeUInt16BE(7, 36);
  frame.writeUInt16BE(size - 34, 38);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, 24);
  return frame;
}

export const udpFrames = (n: number): Buffer[] => Array.from({ length: n }, (_, i) => udpFrame(i));

/** What the call throws or its promise rejects with; fails unless it is a DatapathError with this code. */
export async function failure(code: string, call: () => unknown): Promise<DatapathError> {
  let result: unknown;
  try {
    result = await call();
  } catch (error) {
    expect(error).toBeInstanceOf(DatapathError);
    const failed = error as DatapathError;
    expect({ code: failed.code, message: failed.message }).toMatchObject({ code });
    if (failed.errno !== undefined) expect(failed.errno).toBeLessThan(0);
    return failed;
  }
  throw new Error(`expected ${code}, got ${String(result)}`);
}

/** Resolves once `condition` holds; news arrives through the event loop. */
export async function until(condition: () => boolean, what = 'condition'): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} never came true`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
