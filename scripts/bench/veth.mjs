// Forwarding between veth pairs: Pollux and Open vSwitch's userspace datapath, in turns on the same interfaces.
//
//     namespace a          this process' namespace          namespace b
//      generator             forwarder under test             counter
//         a0 ───── veth ───── f0            f1 ───── veth ───── b0
//       core 0              core 1 (the last)
//
// Started by bench.mjs in a network namespace of its own, where everything else is made; all of it is held by processes that
// end with this one, so nothing has to be found and removed later. Both forwarders run all the time, asleep; the one whose turn
// it is gets the two ports.
//
// What a0 has sent and b0 has not received must be found in somebody's counters, or the figure is void.
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { whenStopped } from '../lib/run.mjs';
import { findProgram } from '../lib/tools.mjs';
import * as ovs from './ovs.mjs';
import { PolluxChild } from './pollux.mjs';
import { execute, Namespace, readCores } from './processes.mjs';
import { median, Series } from './series.mjs';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    cores: { type: 'string' },
    generator: { type: 'string' },
    quick: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
  },
});
const plan = options.quick
  ? { rounds: 5, maxMs: 500, lossMs: 300, pings: 200, tcpRounds: 0, tcpSeconds: 0 }
  : { rounds: 5, maxMs: 1_200, lossMs: 1_000, pings: 2_000, tcpRounds: 5, tcpSeconds: 1 };
const lossRate = 100_000;
const { toolCore: genCore, core: forwarderCore } = readCores(options.cores);
const nobody = '02:00:00:00:00:fe'; // so that b0's own stack drops the frames at once
const bAddress = '10.99.0.2';

const kernelDrops = ['tx_queue_full', 'tx_error', 'tx_port_down'];

const progress = (text) => console.log(`veth: ${text}`);

// ---------------------------------------------------------------------------------------------------------- counting

/** Packets and drops of an interface in the namespace of a process. */
function counters(device, pid = 'self') {
  const line = readFileSync(`/proc/${pid}/net/dev`, 'utf8')
    .split('\n')
    .find((text) => text.trim().startsWith(`${device}:`));
  const n = line.split(':')[1].trim().split(/\s+/).map(Number);
  return { rx: n[1], rxDropped: n[3], tx: n[9], txDropped: n[11] };
}

/** Frames that found the receive buffers of packet sockets in this namespace full. */
async function socketDrops() {
  const text = await execute('ss', ['-0', '-n', '-m']);
  return [...text.matchAll(/skmem:\([^)]*,d(\d+)\)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}

function coreTimes() {
  const lines = readFileSync('/proc/stat', 'utf8').match(/^cpu\d.*$/gm);
  return lines.map((line) => {
    const [user, nice, system, idle, wait, irq, softirq, steal] = line
      .split(/\s+/)
      .slice(1)
      .map(Number);
    const busy = user + nice + system + irq + softirq + steal;
    return { busy, softirq: irq + softirq, total: busy + idle + wait };
  });
}
const corePercent = (before, after) =>
  before.map((b, i) => {
    const total = Math.max(1, after[i].total - b.total);
    const share = (key) => Math.round((100 * (after[i][key] - b[key])) / total);
    return { busy: share('busy'), softirq: share('softirq') };
  });

// -------------------------------------------------------------------------------------------------------- forwarders

/**
 * Each: attach() and detach() its ports; losses() = frames it knows it did not forward, since attach(); third() = milliseconds
 * to add a port for x0, and to delete it.
 */
class Pollux {
  name = 'Pollux';
  #child;

  async start() {
    this.#child = await PolluxChild.start({ core: forwarderCore, toolCore: genCore });
  }
  attach = () => this.#child.call('attach');
  detach = () => this.#child.call('detach');
  third = () => this.#child.call('third', 'x0');
  async losses() {
    const { ring, drops } = await this.#child.call('stats');
    // Frames that the kernel refuses are counted at f1, too: there alone.
    const own = Object.entries(drops).filter(([reason]) => !kernelDrops.includes(reason));
    return { ring, dropped: own.reduce((sum, [, n]) => sum + n, 0) };
  }
  stop() {
    this.#child?.stop();
  }
}

class OvsForwarder {
  #ovs;
  constructor(daemon, name, type) {
    this.#ovs = daemon;
    this.name = name;
    this.type = type;
  }
  attach = () => this.#ovs.attach(this.type);
  detach = () => this.#ovs.detach();
  async losses() {
    return { ring: await socketDrops(), dropped: 0 };
  }
  /** Less what the tool takes to do nothing. */
  async third() {
    const timed = async (...words) => {
      const begin = performance.now();
      await this.#ovs.vsctl(...words);
      return performance.now() - begin;
    };
    const tool = await timed('get', 'Open_vSwitch', '.', '_uuid');
    const added = await timed('add-port', 'br0', 'x0');
    const deleted = await timed('del-port', 'br0', 'x0');
    return { added: Math.max(0, added - tool), deleted: Math.max(0, deleted - tool) };
  }
}

// ------------------------------------------------------------------------------------------------------------ measuring

class Testbed {
  async make() {
    this.a = await Namespace.make('a');
    this.b = await Namespace.make('b');
    const ip = (text) => execute('ip', text.split(' '));
    for (const ns of [this.a, this.b]) {
      await ns.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 || true');
    }
    for (const which of ['all', 'default']) {
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1', { flag: 'r+' });
    }
    await ip(`link add f0 type veth peer name a0 netns ${this.a.pid}`);
    await ip(`link add f1 type veth peer name b0 netns ${this.b.pid}`);
    await ip('link add x0 type veth peer name x1');
    await ip('link set f0 up');
    await ip('link set f1 up');
    await this.a.run('ip', 'addr', 'add', '10.99.0.1/24', 'dev', 'a0');
    await this.b.run('ip', 'addr', 'add', `${bAddress}/24`, 'dev', 'b0');
    await this.a.run('ip', 'link', 'set', 'a0', 'up');
    await this.b.run('ip', 'link', 'set', 'b0', 'up');
  }

  received = () => counters('b0', this.b.pid).rx;

  /** Both ends of the hosts' side: as they come ('on'), or as forwarders without offloads need it ('off'). */
  async offloads(state) {
    const features = ['tx', 'sg', 'tso', 'gso'].flatMap((feature) => [feature, state]);
    await this.a.run('ethtool', '-K', 'a0', ...features);
    await this.b.run('ethtool', '-K', 'b0', ...features);
  }

  async untilForwarding(forwarder) {
    for (let tries = 0; tries < 20; tries++) {
      const ping = ['ping', '-n', '-q', '-c', '1', '-W', '1', bAddress];
      if (
        await this.a.run(...ping).then(
          () => true,
          () => false,
        )
      )
        return;
      await sleep(50);
    }
    throw new Error(`${forwarder.name} does not forward`);
  }

  generate(ms, rate) {
    const words = [options.generator, '--device=a0', `--to=${nobody}`, `--core=${genCore}`];
    return this.a.start(...words, `--ms=${ms}`, `--rate=${rate}`);
  }

  /** One stream; what was offered, what arrived, and whether the difference can be explained. */
  async stream(forwarder, ms, rate) {
    const before = { received: this.received(), f1: counters('f1'), ...(await forwarder.losses()) };
    const { output } = this.generate(ms, rate);
    const windowMs = ms * 0.6;
    await sleep(ms * 0.2);
    const times = coreTimes();
    const first = { at: performance.now(), received: this.received() };
    await sleep(windowMs);
    const last = { at: performance.now(), received: this.received() };
    const cores = corePercent(times, coreTimes());
    const { sent, refused, seconds } = JSON.parse(await output);
    await sleep(150); // what is on its way arrives
    const after = { received: this.received(), f1: counters('f1'), ...(await forwarder.losses()) };
    const received = after.received - before.received;
    const explained =
      after.ring -
      before.ring +
      (after.dropped - before.dropped) +
      (after.f1.txDropped - before.f1.txDropped);
    const unexplained = sent - received - explained;
    return {
      pps: ((last.received - first.received) * 1000) / (last.at - first.at),
      offered: sent / seconds,
      ...{ sent, refused, received, unexplained, cores },
      lostPercent: (100 * (sent - received)) / sent,
      // A few frames of the kernel's own may cross, too.
      void: Math.abs(unexplained) > 32 + sent / 10_000,
    };
  }

  async ping(count) {
    const ping = [
      'taskset',
      '-c',
      String(genCore),
      'ping',
      '-n',
      '-i',
      '0.001',
      '-s',
      '18',
      '-W',
      '1',
    ];
    const text = await this.a.run(...ping, '-c', String(count), bAddress);
    const us = [...text.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms) * 1000);
    us.sort((x, y) => x - y);
    return { median: median(us), p99: us[Math.floor(us.length * 0.99)], lost: count - us.length };
  }

  async tcp(seconds) {
    const iperf = ['taskset', '-c', String(genCore), 'iperf3'];
    const server = this.b.start(...iperf, '-s', '-1');
    try {
      await sleep(200);
      const text = await this.a.run(...iperf, '-c', bAddress, '-t', String(seconds), '-J');
      return JSON.parse(text).end.sum_received.bits_per_second / 1e9;
    } finally {
      server.child.kill('SIGKILL');
    }
  }
}

// ----------------------------------------------------------------------------------------------------------------- run

const rows = [];
const skipped = [];
const stoppers = [];

async function stopAll() {
  for (const stop of stoppers.splice(0).reverse()) await stop();
}
whenStopped(stopAll);

async function inTurn(forwarders, rounds, what) {
  for (let round = 0; round < rounds; round++) {
    for (const forwarder of forwarders) {
      await forwarder.attach();
      try {
        await what(forwarder);
      } finally {
        await forwarder.detach();
      }
    }
    progress(`round ${round + 1} of ${rounds} done`);
  }
}

async function streamsAndPings(testbed, forwarders) {
  const results = new Map(
    forwarders.map((f) => [
      f,
      { max: [], loss: [], rtt: new Series(), p99: new Series(), pingsLost: 0 },
    ]),
  );
  await inTurn(forwarders, plan.rounds, async (forwarder) => {
    const result = results.get(forwarder);
    await testbed.untilForwarding(forwarder);
    result.max.push(await testbed.stream(forwarder, plan.maxMs, 0));
    result.loss.push(await testbed.stream(forwarder, plan.lossMs, lossRate));
    const { median: middle, p99, lost } = await testbed.ping(plan.pings);
    result.rtt.add(middle);
    result.p99.add(p99);
    result.pingsLost += lost;
  });
  for (const [{ name }, { max, loss, rtt, p99, pingsLost }] of results) {
    const of = (list, key, scale = 1) => Series.of(list.map((one) => one[key] * scale));
    const problem = (list) => {
      const bad = list.filter((one) => one.void);
      return bad.length === 0
        ? undefined
        : `${bad.map((b) => b.unexplained)} frames unaccounted for`;
    };
    rows.push({
      ...{ bench: 'veth', name, what: 'max', unit: 'Mpps', ...of(max, 'pps', 1e-6).summary() },
      offered: of(max, 'offered', 1e-6).summary(),
      ...{ void: problem(max), samples: max },
    });
    rows.push({
      ...{ bench: 'veth', name, what: 'loss', rate: lossRate, unit: '%' },
      ...{ ...of(loss, 'lostPercent').summary(), offered: of(loss, 'offered', 1e-6).summary() },
      ...{ void: problem(loss), samples: loss },
    });
    rows.push({ bench: 'veth', name, what: 'rtt', unit: 'us', ...rtt.summary(), lost: pingsLost });
    rows.push({
      bench: 'veth',
      name,
      what: 'rtt p99',
      unit: 'us',
      ...p99.summary(),
      lost: pingsLost,
    });
  }
}

async function thirdPorts(forwarders) {
  const results = new Map(forwarders.map((f) => [f, { add: new Series(), delete: new Series() }]));
  await inTurn(forwarders, plan.rounds, async (forwarder) => {
    for (let i = 0; i < 3; i++) {
      const { added, deleted } = await forwarder.third();
      results.get(forwarder).add.add(added);
      results.get(forwarder).delete.add(deleted);
    }
  });
  for (const [{ name }, series] of results) {
    for (const [what, ms] of Object.entries(series)) {
      rows.push({ bench: 'veth', name, what, unit: 'ms', ...ms.summary() });
    }
  }
}

async function tcp(testbed, forwarders) {
  for (const program of ['iperf3', 'ethtool']) {
    if (findProgram(program) === undefined) {
      skipped.push(`TCP: ${program} not found (Debian: ${program})`);
      return;
    }
  }
  // Open vSwitch's documentation asks for the hosts' offloads to be turned off; the same is shown for Pollux.
  const cases = forwarders.flatMap((forwarder) => {
    const off = { forwarder, offloads: 'off', gbps: new Series() };
    return forwarder.name === 'Pollux'
      ? [{ ...off, offloads: 'on', gbps: new Series() }, off]
      : [off];
  });
  for (let round = 0; round < plan.tcpRounds; round++) {
    for (const { forwarder, offloads, gbps } of cases) {
      await testbed.offloads(offloads);
      await forwarder.attach();
      try {
        await testbed.untilForwarding(forwarder);
        gbps.add(await testbed.tcp(plan.tcpSeconds));
      } finally {
        await forwarder.detach();
      }
    }
    progress(`TCP round ${round + 1} of ${plan.tcpRounds} done`);
  }
  for (const { forwarder, offloads, gbps } of cases) {
    const row = { bench: 'veth', name: forwarder.name, what: 'tcp', offloads, unit: 'Gbit/s' };
    rows.push({ ...row, ...gbps.summary() });
  }
}

async function main() {
  const testbed = new Testbed();
  stoppers.push(
    () => testbed.b?.stop(),
    () => testbed.a?.stop(),
  );
  await testbed.make();
  const pollux = new Pollux();
  stoppers.push(() => pollux.stop());
  await pollux.start();
  const forwarders = [pollux];

  let peer;
  const reason = options.peers ? ovs.obstacle() : 'not without --peers';
  if (reason === undefined) {
    const daemon = await ovs.OpenVswitch.start({ core: forwarderCore, toolCore: genCore });
    stoppers.push(() => daemon.stop());
    peer = await ovs.version();
    forwarders.push(new OvsForwarder(daemon, 'OVS userspace', 'system'));
  } else {
    skipped.push(`Open vSwitch, and so every comparison on veth: ${reason}`);
  }

  await streamsAndPings(testbed, forwarders);
  await thirdPorts(forwarders);
  if (plan.tcpRounds > 0) await tcp(testbed, forwarders);
  else skipped.push('TCP: not in the quick run');
  writeFileSync(
    options.out,
    JSON.stringify({ rows, skipped, versions: peer && { 'Open vSwitch': peer } }),
  );
}

try {
  await main();
} catch (error) {
  console.log(`veth: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
