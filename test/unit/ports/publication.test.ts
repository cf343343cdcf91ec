// In which order the core and the program learn of things: a port's packets, news and verdicts beside its coming and going.
import type { Upcall } from 'pollux';
import { describe, expect, test } from 'vitest';
import { expectLedgerCloses, makeDatapath, memoryPorts, udpFrame } from '../../support/datapath.js';

describe('what a port receives', () => {
  test('before addPort() has resolved reaches the upcall handler', async () => {
    const dp = makeDatapath();
    let seen = 0;
    const ports = new Set<string>();
    dp.onUpcall((batch) => {
      for (const packet of batch) {
        seen++;
        ports.add(packet.inPort.name);
        packet.drop();
      }
    });
    for (let round = 0; round < 100; round++) {
      const generate = { limit: 5 };
      await dp.addPort({ name: `p${round}`, type: 'null', generate });
      await expect.poll(() => seen, { interval: 1 }).toBe(5 * (round + 1));
      await dp.deletePort(`p${round}`);
    }
    expect(ports.size).toBe(100);
    expect(dp.stats().drops.upcall_drop).toBe(500n);
  });

  test('under its old number is still its own when it has another', async () => {
    const dp = makeDatapath();
    const [left] = await memoryPorts(dp, 'left');
    const seen: Upcall[] = [];
    dp.onUpcall(async (batch) => {
      seen.push(...batch);
    });
    // Nothing is taken before the event loop turns: the packets are parked, and then their port's number
    // goes to another port.
    left.inject([udpFrame(1), udpFrame(2)]);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    const renumbered = dp.renumberPort('left', 7);
    const other = dp.addPort({ name: 'other', type: 'memory', number: 1 });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    await Promise.all([renumbered, other]);
    await expect.poll(() => seen.length).toBe(2);
    expect(seen.map(({ inPort }) => inPort.name)).toEqual(['left', 'left']);
    dp.onUpcall(null);
  });
});

describe('a handler', () => {
  test('that follows another is called, whatever was parked in between', async () => {
    const dp = makeDatapath({ pmdSleepMaxUs: 0 });
    const [left] = await memoryPorts(dp, 'left');
    const frame = udpFrame();
    for (let round = 0; round < 300; round++) {
      let calls = 0;
      dp.onUpcall((batch) => {
        calls += batch.length;
        for (const packet of batch) packet.drop();
      });
      left.inject([frame, frame]);
      await expect.poll(() => calls, { interval: 1 }).toBeGreaterThan(0);
      // The thread is at it while the handler goes.
      for (let i = 0; i < 20; i++) left.inject([frame, frame, frame]);
      dp.onUpcall(null);
    }
    await dp.settle();
    await expect.poll(() => dp.stats().ledger.queued).toBe(0n);
    const { drops } = dp.stats();
    expect(drops.upcall_no_handler! + drops.upcall_drop!).toBe(dp.stats().ledger.dropped);
    expectLedgerCloses(dp);
  });

  test('gets what execute() hands over, with the port that was given, or none', async () => {
    const dp = makeDatapath();
    const [left, right] = await memoryPorts(dp, 'left', 'right');
    const seen: string[] = [];
    dp.onUpcall((batch) => {
      for (const packet of batch) {
        seen.push(`${packet.inPort.name} ${packet.inPort.state} ${packet.reason}`);
        packet.execute('right');
      }
    });
    dp.execute(udpFrame(), 'userspace(pid=1)', { inPort: left });
    dp.execute(udpFrame(), 'userspace(pid=1)');
    await expect.poll(() => seen).toEqual(['left up action', 'none closed action']);
    expect(right.drain()).toHaveLength(2);
  });
});

describe('a flow', () => {
  test('whose packets come by execute() and recirc is in use', async () => {
    const dp = makeDatapath({ clock: 'manual', maxIdleMs: 1000 });
    const [right] = await memoryPorts(dp, 'right');
    dp.flows.put('recirc_id(7),in_port(right)', 'right');
    dp.flows.put('recirc_id(8),in_port(right)', 'right');
    for (let i = 0; i < 3; i++) {
      await dp.advance(900);
      dp.execute(udpFrame(), 'recirc(7)', { inPort: right });
    }
    expect(dp.flows.get('recirc_id(7),in_port(right)')?.packets).toBe(3n);
    expect(dp.flows.get('recirc_id(8),in_port(right)')).toBeUndefined();
    expect(right.drain()).toHaveLength(3);
  });
});
