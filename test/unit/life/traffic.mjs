// A datapath at work, for tests that end it in unkind ways. Runs in processes and worker threads of its own.
import { Datapath } from 'pollux';

/** Frames through flows and upcalls, ports that come and go, events, dumps: until somebody ends it. */
export async function traffic({ onUpcall = () => {}, onRound = () => {} } = {}) {
  const dp = new Datapath({ topology: { numa: [[0]] }, upcall: { queueLength: 200 } });
  const a = await dp.addPort({ name: 'a', type: 'memory' });
  const b = await dp.addPort({ name: 'b', type: 'memory' });
  dp.on('error', () => {});
  dp.onUpcall((batch) => {
    onUpcall(batch);
    let i = 0;
    for (const upcall of batch) {
      if (i++ % 2 === 0) upcall.execute('b');
      else upcall.install('b');
    }
  });
  const frames = Array.from({ length: 32 }, () => Buffer.alloc(60));
  for (let round = 0; ; round++) {
    for (const frame of frames) frame.writeUInt32BE((Math.random() * 2 ** 32) >>> 0, 2);
    a.inject(frames);
    b.drain();
    if (round % 10 === 0) {
      const name = `x${round}`;
      dp.addPort({ name, type: 'memory', openDelayMs: round % 3 }).then(
        () => dp.deletePort(name),
        () => {},
      );
    }
    if (round % 50 === 0) dp.flows.clear();
    if (round % 5 === 0) dp.settle().catch(() => {});
    onRound(round);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
