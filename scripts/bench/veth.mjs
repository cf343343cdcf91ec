// Forwarding between real interfaces: Pollux, Open vSwitch, testpmd and the kernel's bridge, in turns on the same veth pairs; and
// between taps. See veth/testbed.mjs for the picture.
//
// Started by bench.mjs in a network namespace of its own, where everything else is made; all of it is held by processes that
// end with this one, so nothing has to be found and removed later. The one whose turn it is gets the two interfaces.
//
// What was sent at a fixed rate and not received must be found in somebody's counters, or the figure is void.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Datapath } from '../../dist/index.js';
import { whenStopped } from '../lib/run.mjs';
import { findProgram } from '../lib/tools.mjs';
import * as dpdk from './dpdk.mjs';
import * as ovs from './ovs.mjs';
import { execute, ownNamespace, readCores } from './processes.mjs';
import { median, Series } from './series.mjs';
import { Bridge, Ovs, Pollux, Testpmd } from './veth/forwarders.mjs';
import { Testbed } from './veth/testbed.mjs';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    cores: { type: 'string' },
    tree: { type: 'string' },
    row: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
  },
});
const plan = options.quick
  ? { rounds: 3, floodMs: 600, lossMs: 300, pings: 200, tcpSeconds: 1, ports: 5 }
  : { rounds: 5, floodMs: 1_500, lossMs: 1_000, pings: 2_000, tcpSeconds: 1, ports: 5 };
const lossRates = [300_000, 500_000];
const quietRate = 100_000; // Of the flow that runs beside a port that comes and goes.
const { toolCore, core } = readCores(options.cores);

const rows = [];
const skipped = [];
const stoppers = [];
const progress = (text) => console.log(`veth: ${text}`);

async function stopAll() {
  for (const stop of stoppers.splice(0).reverse()) await stop();
}
whenStopped(stopAll);

const put = (name, what, unit, series, more = {}) =>
  rows.push({ bench: 'veth', name, what, unit, ...series.summary(), ...more });

/** Each forwarder in turn, `plan.rounds` times; what `measure(forwarder)` says, by forwarder. */
async function inTurn(testbed, forwarders, what, measure) {
  const results = new Map(forwarders.map((forwarder) => [forwarder, []]));
  for (let round = 0; round < plan.rounds; round++) {
    for (const forwarder of forwarders) {
      await forwarder.attach();
      try {
        if (testbed.untilForwarding) await testbed.untilForwarding(forwarder.name);
        results.get(forwarder).push(await measure(forwarder));
      } finally {
        await forwarder.detach();
      }
    }
    progress(`${what}: round ${round + 1} of ${plan.rounds} done`);
  }
  return results;
}

const of = (samples, key, scale = 1) => Series.of(samples.map((one) => one[key] * scale));

function putFlood(results) {
  for (const [{ name }, samples] of results) {
    const offered = of(samples, 'offered', 1e-6).summary();
    put(name, 'flood', 'Mpps', of(samples, 'pps', 1e-6), { offered, samples });
  }
}

const parts = {
  async flood(testbed, forwarders, _, offloading) {
    const flood = () => testbed.flood(plan.floodMs);
    // Once it is hot, too.
    const warm = async () => {
      await flood();
      return flood();
    };
    const all = [...forwarders, ...offloading];
    putFlood(
      await inTurn(testbed, all, 'flood', ({ receiver }) =>
        receiver ? testbed.receivingByNapi(receiver, warm) : flood(),
      ),
    );
  },

  async loss(testbed, forwarders) {
    for (const rate of lossRates) {
      const results = await inTurn(testbed, forwarders, `loss at ${rate}`, (forwarder) =>
        testbed.stream(forwarder, plan.lossMs, rate),
      );
      for (const [{ name }, samples] of results) {
        const bad = samples.filter((one) => one.void).map((one) => one.unexplained);
        put(name, `loss at ${rate / 1000} k`, '%', of(samples, 'lostPercent'), {
          offered: of(samples, 'offered', 1e-6).summary(),
          void: bad.length === 0 ? undefined : `${bad} frames unaccounted for`,
          samples,
        });
      }
    }
  },

  async ping(testbed, asleep, awake) {
    const forwarders = [...awake, ...asleep];
    const results = await inTurn(testbed, forwarders, 'ping', () => testbed.ping(plan.pings));
    for (const [{ name }, samples] of results) {
      const lost = samples.reduce((sum, one) => sum + one.lost, 0);
      put(name, 'rtt', 'us', of(samples, 'median'), { lost });
      put(name, 'rtt p99', 'us', of(samples, 'p99'), { lost });
    }
  },

  async tcp(testbed, forwarders) {
    if (findProgram('iperf3') === undefined) {
      skipped.push('TCP: iperf3 not found (Debian: iperf3)');
      return;
    }
    const cases = forwarders.flatMap((forwarder) =>
      (forwarder.offloads === 'on' ? ['on', 'off'] : ['off']).map((offloads) => ({
        ...{ name: forwarder.name, offloads, forwarder },
        attach: () => forwarder.attach(),
        detach: () => forwarder.detach(),
      })),
    );
    const results = await inTurn(testbed, cases, 'TCP', async ({ forwarder, offloads }) => {
      await testbed.offloads(offloads);
      await testbed.untilForwarding(forwarder.name);
      return { gbps: await testbed.tcp(plan.tcpSeconds) };
    });
    await testbed.offloads('on');
    for (const [{ name, offloads }, samples] of results) {
      put(name, 'tcp', 'Gbit/s', of(samples, 'gbps'), { offloads });
    }
  },

  /** A port comes and goes beside a flow. */
  async ports(testbed, forwarders) {
    const able = forwarders.filter((forwarder) => forwarder.third);
    const results = await inTurn(testbed, able, 'ports', async (forwarder) => {
      const alone = [];
      for (let i = 0; i < plan.ports; i++) {
        // Nobody is still at what other ports brought.
        await new Promise((resolve) => setTimeout(resolve, 300));
        alone.push(await forwarder.third());
      }
      let beside;
      let rest;
      let stirred;
      const meanwhile = async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        await testbed.seen();
        await new Promise((resolve) => setTimeout(resolve, 150));
        rest = await testbed.seen();
        beside = await forwarder.third();
        await new Promise((resolve) => setTimeout(resolve, 100));
        stirred = await testbed.seen();
      };
      const how = { steady: true, meanwhile };
      const { sent, received } = await testbed.stream(forwarder, 1_500, quietRate, how);
      return {
        added: median(alone.map(({ added }) => added)),
        deleted: median(alone.map(({ deleted }) => deleted)),
        ...{ beside: beside.added, lost: sent - received },
        ...{ silenceMs: stirred.silenceMs, restSilenceMs: rest.silenceMs },
        ...{ delayMs: stirred.delayMs, restDelayMs: rest.delayMs },
      };
    });
    for (const [{ name }, samples] of results) {
      put(name, 'add', 'ms', of(samples, 'added'));
      put(name, 'delete', 'ms', of(samples, 'deleted'));
      put(name, 'add beside a flow', 'ms', of(samples, 'beside'));
      put(name, 'silence of that flow', 'ms', of(samples, 'silenceMs'));
      put(name, 'its silence at rest', 'ms', of(samples, 'restSilenceMs'));
      put(name, 'longest way of its frames', 'ms', of(samples, 'delayMs'));
      put(name, 'longest way at rest', 'ms', of(samples, 'restDelayMs'));
      put(name, 'frames of it lost', '', of(samples, 'lost'));
    }
  },
};

/** Frames that the host sends by one tap, and receives from the other. */
async function taps(testbed, forwarders) {
  const results = await inTurn({}, forwarders, 'taps', async () => {
    for (const name of ['t0', 't1']) await execute('ip', ['link', 'set', name, 'up']);
    const here = (device) => ({ ns: ownNamespace, device });
    await testbed.listen({ ...here('t0'), seenAt: 't0', key: 'tx' }, here('t1'));
    const result = await testbed.flood(plan.floodMs);
    await testbed.listen();
    return result;
  });
  putFlood(results);
}

/** Everybody who can be measured here: between veths, and between taps. */
async function findForwarders(cores) {
  const child = await Pollux.startChild(cores);
  stoppers.push(() => child.stop());
  const types = new Map(Datapath.portTypes().map((one) => [one.type, one]));
  const ours = ['af_packet', 'af_xdp'].filter((type) => {
    const { available, reason } = types.get(type);
    if (!available) skipped.push(`Pollux ${type}: ${reason}`);
    return available;
  });
  const veths = ours.map((type) => new Pollux(child, type));
  const awake = ours.map((type) => new Pollux(child, type, { spins: true }));
  const tapped = [new Pollux(child, 'tap')];
  const offloading = ours.includes('af_xdp')
    ? [true, false].map(
        (xdp) => new Pollux(child, 'af_xdp', { offloadFlows: true, receiver: { xdp } }),
      )
    : [];
  const versions = {};
  if (!options.peers) {
    skipped.push('peers on veth: not without --peers');
    return { veths, awake, offloading, tapped, versions };
  }

  veths.push(new Bridge());
  const noOvs = ovs.obstacle();
  if (noOvs === undefined) {
    const daemon = await Ovs.startDaemon(cores);
    stoppers.push(() => daemon.stop());
    versions['Open vSwitch'] = await ovs.version();
    veths.push(new Ovs(daemon, 'system'), new Ovs(daemon, 'afxdp'));
    tapped.push(new Ovs(daemon, 'tap'));
  } else {
    skipped.push(`Open vSwitch on veth: ${noOvs}`);
  }
  const noDpdk = dpdk.obstacle();
  if (noDpdk === undefined) {
    stoppers.push(dpdk.reserveHugePages(512));
    veths.push(new Testpmd(cores, 'af_packet'), new Testpmd(cores, 'af_xdp'));
  } else {
    skipped.push(`testpmd on veth: ${noDpdk}`);
  }
  return { veths, awake, offloading, tapped, versions };
}

async function main() {
  const testbed = new Testbed((program) => `${options.tree}/bench/${program}`, toolCore);
  stoppers.push(() => testbed.stop());
  await testbed.make();
  const { veths, awake, offloading, tapped, versions } = await findForwarders({ core, toolCore });
  const asked = (name) => name.includes(options.row);
  for (const [name, part] of Object.entries(parts))
    if (asked(name)) await part(testbed, veths, awake, offloading);
  if (asked('taps')) await taps(testbed, tapped);
  writeFileSync(options.out, JSON.stringify({ rows, skipped, versions }));
}

try {
  await main();
} catch (error) {
  console.log(`veth: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
