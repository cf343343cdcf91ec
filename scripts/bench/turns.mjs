// Measuring in turns: every row by every contestant, window by window, so that a bad second of the machine falls on all alike.
//
// All contestants are there all the time; who is not at work is stopped (SIGSTOP), so that the core belongs to one.
//
// A Contestant has a `name`, and:
//   takes(row)   whether the row means anything to it
//   resume(row)  its turn begins: flows and traffic become those of the row, and it forwards
//   sample()     { packets, ns, at }: frames received so far, how long the forwarding thread had the core, and when
//   suspend()    its turn ends; frames it received in this turn and has not sent
//   details()    if it is there: what else is to be known of the turn; `wrong`: why it means nothing
//
// A rate is of the time that the thread had the core: what others took from it is not the contestant's fault. `share` says how
// much that was.
import { setTimeout as sleep } from 'node:timers/promises';
import { rateBetween } from './processes.mjs';
import { Series } from './series.mjs';

async function window(contestant, ms) {
  const before = await contestant.sample();
  await sleep(ms);
  return rateBetween(before, await contestant.sample());
}

/** Until it does not get faster any more: caches fill, and some of them slowly. */
async function warmUp(contestant, { windowMs, fillMs }) {
  let best = 0;
  let worse = 0;
  for (const until = performance.now() + fillMs; worse < 4 && performance.now() < until; ) {
    const { mpps } = await window(contestant, windowMs);
    worse = mpps < best * 1.02 ? worse + 1 : 0;
    best = Math.max(best, mpps);
  }
}

/** plan: { rounds, windowMs, warmMs, fillMs: at most }. Calls `done` with a result for each row and contestant. */
export async function inTurns(rows, contestants, plan, done) {
  for (const row of rows) {
    const results = contestants
      .filter((contestant) => contestant.takes(row))
      .map((contestant) => ({ contestant, windows: [], lost: 0 }));
    for (const { contestant } of results) {
      await contestant.resume(row);
      await warmUp(contestant, plan);
      await contestant.suspend();
    }
    for (let round = 0; round < plan.rounds; round++) {
      for (const result of results) {
        await result.contestant.resume(row);
        await sleep(plan.warmMs);
        result.windows.push(await window(result.contestant, plan.windowMs));
        if (round + 1 === plan.rounds) result.details = await result.contestant.details?.();
        result.lost += await result.contestant.suspend();
      }
    }
    for (const { contestant, windows, lost, details } of results) {
      const of = (key) => Series.of(windows.map((one) => one[key])).summary();
      done({
        ...{ bench: 'memory', row: row.id, name: contestant.name, unit: 'Mpps', ...of('mpps') },
        ...{ wall: of('wall'), share: of('share').min, lost, details },
        samples: windows.map((one) => one.mpps),
        void: lost === 0 ? details?.wrong : `${lost} frames lost`,
      });
    }
  }
}
