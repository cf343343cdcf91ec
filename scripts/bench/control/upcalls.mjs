// New flows: each first packet goes up to the program, which installs a flow for it.
import { setTimeout as sleep } from 'node:timers/promises';
import { ranNs, rateBetween } from '../processes.mjs';
import { fiveTuple } from '../rows.mjs';
import { Series } from '../series.mjs';
import { Loop } from './loop.mjs';

const installExact = (batch) => {
  for (const packet of batch) packet.install('2');
};

async function until(condition, patienceMs = 20_000) {
  for (const end = performance.now() + patienceMs; !condition(); await sleep(1)) {
    if (performance.now() > end) throw new Error('upcalls: no end is seen');
  }
}

/** One packet up to the handler and, sent by it, out; microseconds. */
async function roundTrips(bench) {
  const loop = await Loop.open(bench.cores);
  const { datapath } = loop;
  const from = await datapath.addPort({ name: 'from', type: 'memory', number: 1 });
  const to = await datapath.addPort({ name: 'to', type: 'memory', number: 2 });
  await loop.confine();
  let answered;
  datapath.onUpcall((batch) => {
    for (const packet of batch) packet.execute('2');
    setImmediate(answered); // When the verdicts are sent.
  });
  const frame = Buffer.alloc(60);
  frame.writeUInt16BE(0x0800, 12);
  const us = [];
  for (let i = 0; i < (bench.quick ? 300 : 2_000); i++) {
    const done = new Promise((resolve) => {
      answered = resolve;
    });
    const begin = performance.now();
    from.inject(frame);
    await done;
    if (to.drain().length !== 1) throw new Error('upcalls: the packet was not sent');
    us.push((performance.now() - begin) * 1e3);
  }
  await loop.close();
  us.sort((a, b) => a - b);
  return us;
}

export async function upcalls(bench) {
  const us = await roundTrips(bench);
  bench.row('packet to handler and out', 'µs', Series.of(us).summary(), {
    p99: us[Math.floor(us.length * 0.99)],
  });

  // Every packet is of a new flow, and more come than can be answered: what is counted is how many
  // flows get into the table in a window of time, each by a packet that went up and, by its flow, out.
  const flows = 1_000_000;
  const perSecond = new Series();
  const perCpu = new Series();
  for (let round = 0; round < bench.rounds; round++) {
    const loop = await Loop.open(bench.cores);
    const { datapath } = loop;
    await loop.sink('to', 2);
    datapath.onUpcall(installExact);
    await loop.source('from', 1, { flows });
    await sleep(100); // Until the code is warm.
    const sample = () => ({
      flows: datapath.flows.size,
      sent: Number(datapath.ports.get('to').stats().txPackets),
      at: performance.now(),
      ran: ranNs(process.pid, process.pid) / 1e6,
    });
    const before = sample();
    await sleep(bench.windowMs);
    const after = sample();
    const installed = after.flows - before.flows;
    if (after.flows === flows || after.sent - before.sent < installed) {
      throw new Error('upcalls: not every flow was put by a packet that went out');
    }
    perSecond.add(installed / (after.at - before.at));
    perCpu.add(installed / (after.ran - before.ran));
    await loop.close();
  }
  bench.row('new five-tuples to flows in force', 'thousand/s', perSecond.summary(), {
    perSecondOfEventLoop: perCpu.summary().median,
  });
}

/** The rate of the established flows in steps of some milliseconds, while something happens. */
async function watchRate(loop, port, stepMs, happens) {
  const rates = [];
  let done = false;
  const happening = happens().then(() => {
    done = performance.now();
  });
  let last = loop.sample(port);
  const begin = last.at;
  while (!done || last.at < done + 300) {
    await sleep(stepMs);
    const now = loop.sample(port);
    rates.push({ at: now.at - begin, mpps: rateBetween(last, now).mpps });
    last = now;
  }
  await happening;
  return rates;
}

export async function burst(bench) {
  const flows = 50_000;
  const least = new Series();
  const recovered = new Series();
  const queued = new Series();
  const forwarded = new Series();
  const allIn = new Series();
  const after = new Series();
  for (let round = 0; round < Math.min(3, bench.rounds); round++) {
    // The burst comes in on a port of its own; the thread serves both.
    const loop = await Loop.open(bench.cores);
    const { datapath } = loop;
    await loop.sink('to', 2);
    datapath.flows.put(fiveTuple(1), '2');
    datapath.onUpcall(installExact);
    await loop.source('from', 1, { flows: 1000, order: 'uniform' });
    await sleep(100);
    const before = await loop.rate('from', bench.windowMs);
    const rates = await watchRate(loop, 'from', 100, async () => {
      await loop.source('new', 3, { flows, limit: flows });
      const received = () => Number(datapath.ports.get('new').stats().rxPackets);
      await until(() => received() === flows && datapath.stats().ledger.queued === 0n);
    });
    least.add(Math.min(...rates.map(({ mpps }) => mpps / before)));
    recovered.add(rates.findLast(({ mpps }) => mpps < 0.9 * before)?.at ?? 0);
    const { drops } = datapath.stats();
    const dropped = Object.values(drops).reduce((sum, n) => sum + Number(n), 0);
    const taken = flows - Number(drops.upcall_queue_full);
    queued.add((100 * taken) / flows);
    forwarded.add((100 * (flows - dropped)) / taken);
    await datapath.deletePort('new');
    await datapath.deletePort('from');

    // The same five-tuples over and over, all new at first.
    datapath.flows.clear();
    const begin = performance.now();
    await loop.source('from', 1, { flows });
    await until(() => datapath.flows.size === flows);
    allIn.add((performance.now() - begin) / 1e3);
    await sleep(Math.max(0, begin + 3_000 - performance.now()));
    after.add(await loop.rate('from', bench.windowMs));
    await loop.close();
  }
  const what = 'burst of 50,000 new five-tuples';
  bench.row(
    `${what}: established flows, least share of their rate (in 100 ms)`,
    '',
    least.summary(),
  );
  bench.row(`${what}: until established flows are at 90 % again`, 'ms', recovered.summary());
  bench.row(`${what}: taken by the queue of upcalls`, '%', queued.summary());
  bench.row(`${what}: forwarded of what the queue took`, '%', forwarded.summary());
  bench.row('50,000 new five-tuples at full speed: until all have flows', 's', allIn.summary());
  bench.row('50,000 new five-tuples at full speed, 3 s later', 'Mpps', after.summary());
}
