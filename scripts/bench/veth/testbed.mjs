// Three network namespaces, what runs through them, and what is counted.
//
//     namespace a          this process' namespace          namespace b
//      generator             forwarder under test             sink
//         a0 ───── veth ───── f0            f1 ───── veth ───── b0
//       core 0              core 1 (the last)
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { execute, Namespace } from '../processes.mjs';
import { median } from '../series.mjs';

const nobody = '02:00:00:00:00:fe'; // b0's own stack wants none of these frames, should they get there
const bAddress = '10.99.0.2';

/** Packets and drops of an interface in the namespace of a process. */
export function counters(device, pid = 'self') {
  const line = readFileSync(`/proc/${pid}/net/dev`, 'utf8')
    .split('\n')
    .find((text) => text.trim().startsWith(`${device}:`));
  const n = line.split(':')[1].trim().split(/\s+/).map(Number);
  return { rx: n[1], rxDropped: n[3], tx: n[9], txDropped: n[11] };
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

/** veth_sink at b0. */
class Sink {
  #child;
  #lines;

  static async start(namespace, program, device, xdp) {
    const sink = new Sink();
    sink.#child = namespace.startTalking(program, `--device=${device}`, `--xdp=${xdp ? 1 : 0}`);
    sink.#lines = createInterface({ input: sink.#child.stdout })[Symbol.asyncIterator]();
    const { value } = await sink.#lines.next();
    if (value !== 'ready') throw new Error(`veth_sink: ${value ?? 'does not start'}`);
    return sink;
  }
  /** Frames so far; of the time since the last call, milliseconds of the longest silence, and of the longest way of a frame. */
  async read() {
    this.#child.stdin.write('\n');
    const { value } = await this.#lines.next();
    const { frames, gap_ns, delay_ns } = JSON.parse(value);
    return { frames, at: performance.now(), silenceMs: gap_ns / 1e6, delayMs: delay_ns / 1e6 };
  }
  async stop() {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}

export class Testbed {
  #programs;
  #core;
  #source;
  #sink;

  /** `programs`: path of a native benchmark's program; `core`: for the generator and the hosts. */
  constructor(programs, core) {
    this.#programs = programs;
    this.#core = core;
  }

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
    await ip('link set x1 up');
    await ip('link set x0 up');
    // Live frames reach an interface that merges what it receives, or has a program of its own.
    for (const device of ['f0', 'f1']) {
      await ip(`link set ${device} up`);
      await execute('ethtool', ['-K', device, 'gro', 'on']);
    }
    for (const [ns, device, address] of [
      [this.a, 'a0', '10.99.0.1'],
      [this.b, 'b0', bAddress],
    ]) {
      await ns.run('ip', 'addr', 'add', `${address}/24`, 'dev', device);
      await ns.run('ip', 'link', 'set', device, 'up');
    }
    await this.listen();
  }

  /**
   * What is flooded, and where it is counted: by default the hosts' interfaces. `xdp`: before the host's kernel makes packets of
   * frames.
   */
  async listen(
    source = { ns: this.a, device: 'a0', seenAt: 'f0' },
    end = { ns: this.b, device: 'b0' },
  ) {
    await this.#sink?.stop();
    this.#source = source;
    this.#sink = await Sink.start(end.ns, this.#programs('veth_sink'), end.device, end.xdp);
  }
  /**
   * For as long as `measure()` takes, host b receives by NAPI, so that frames can be redirected to it: since GRO is on there, or,
   * with `xdp`, since the sink is a program of its interface.
   */
  async receivingByNapi({ xdp }, measure) {
    if (xdp) await this.listen(undefined, { ns: this.b, device: 'b0', xdp });
    else await this.b.run('ethtool', '-K', 'b0', 'gro', 'on');
    try {
      return await measure();
    } finally {
      if (xdp) await this.listen();
      else await this.b.run('ethtool', '-K', 'b0', 'gro', 'off');
    }
  }
  /** What the sink has seen. */
  seen = () => this.#sink.read();

  async stop() {
    await this.#sink?.stop();
    this.b?.stop();
    this.a?.stop();
  }

  /**
   * What hosts and forwarder's interfaces leave to each other: everything, as they come and with merging on ('on'); or nothing,
   * as forwarders need it that know whole frames only ('off').
   */
  async offloads(state) {
    const hosts = ['tx', 'sg', 'tso', 'gso'].flatMap((feature) => [feature, state]);
    await this.a.run('ethtool', '-K', 'a0', ...hosts);
    await this.b.run('ethtool', '-K', 'b0', ...hosts);
    for (const device of ['f0', 'f1']) await execute('ethtool', ['-K', device, 'gro', state]);
  }

  async untilForwarding(name) {
    const ping = ['ping', '-n', '-q', '-c', '1', '-W', '1', bAddress];
    for (let tries = 0; tries < 20; tries++) {
      const answered = await this.a.run(...ping).then(
        () => true,
        () => false,
      );
      if (answered) return;
      await sleep(50);
    }
    throw new Error(`${name} does not forward`);
  }

  #generate(...options) {
    const { ns, device } = this.#source;
    const where = [`--device=${device}`, `--to=${nobody}`, `--core=${this.#core}`];
    return ns.start(this.#programs('veth_generator'), ...where, ...options);
  }

  /** More than anybody can forward: frames a second at both ends, and the share of each core that was used. */
  async flood(ms) {
    const { output } = this.#generate('--live=1', `--ms=${ms}`);
    await sleep(ms * 0.25);
    const times = coreTimes();
    const { seenAt, key = 'rx' } = this.#source;
    const offered = counters(seenAt)[key];
    const first = await this.#sink.read();
    await sleep(ms * 0.6);
    const last = await this.#sink.read();
    const arrived = counters(seenAt)[key] - offered;
    const cores = corePercent(times, coreTimes());
    await output;
    await sleep(100);
    const seconds = (last.at - first.at) / 1000;
    return { pps: (last.frames - first.frames) / seconds, offered: arrived / seconds, cores };
  }

  /** One paced stream (`steady`: whatever else its core does): what was sent, what arrived, and whether the difference can be explained, if the forwarder counts. */
  async stream(forwarder, ms, rate, { steady = false, meanwhile = async () => {} } = {}) {
    const count = async () => ({
      ...(await this.#sink.read()),
      losses: (await forwarder.losses?.()) ?? 0,
      ...{ refused: counters('f1').txDropped, missed: counters('f0').rxDropped },
    });
    const before = await count();
    const { output } = this.#generate(`--ms=${ms}`, `--rate=${rate}`, `--steady=${steady ? 1 : 0}`);
    await meanwhile();
    const { sent, seconds } = JSON.parse(await output);
    await sleep(150); // what is on its way arrives
    const after = await count();
    const received = after.frames - before.frames;
    const explained = ['losses', 'refused', 'missed'].reduce(
      (n, key) => n + after[key] - before[key],
      0,
    );
    const unexplained = sent - received - explained;
    return {
      ...{ offered: sent / seconds, sent, received, lostPercent: (100 * (sent - received)) / sent },
      // A few frames of the kernel's own may cross, too.
      void: forwarder.losses !== undefined && Math.abs(unexplained) > 32 + sent / 10_000,
      unexplained,
    };
  }

  /** One a millisecond; microseconds. */
  async ping(count) {
    const ping = ['taskset', '-c', String(this.#core), 'ping', '-n', '-i', '0.001', '-s', '18'];
    const text = await this.a.run(...ping, '-W', '1', '-c', String(count), bAddress);
    const us = [...text.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms) * 1000);
    us.sort((x, y) => x - y);
    return { median: median(us), p99: us[Math.floor(us.length * 0.99)], lost: count - us.length };
  }

  /** Gbit/s. */
  async tcp(seconds) {
    const iperf = ['taskset', '-c', String(this.#core), 'iperf3'];
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
