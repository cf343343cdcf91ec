// Who forwards between f0 and f1 when it is their turn. Each has a name, and:
//
//   attach()    takes the two interfaces, and forwards between them
//   detach()    lets go of them
//   offloads    what the hosts' side may leave to it: 'on' as they come, 'off' if it needs whole frames
//   losses()    if it knows: frames it did not forward, since attach()
//   receiver    if not as everybody's: how host b receives, see Testbed.receivingByNapi()
//   third()     if it can: milliseconds to add a port for x0, and to delete it
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../../lib/tools.mjs';
import { OpenVswitch } from '../ovs.mjs';
import { PolluxChild } from '../pollux.mjs';
import { end, execute, makeFolder, threads, tied } from '../processes.mjs';

/** Drops that the kernel counts, too: at f1. */
const kernelDrops = ['tx_queue_full', 'tx_error', 'tx_port_down'];

export class Pollux {
  offloads = 'on';
  #child;
  #port;

  /**
   * `child`: a PolluxChild that several types share. `spins`: its thread never sleeps, as poll-mode peers never do.
   * `offloadFlows`: the port's program forwards them; `receiver`: then, how host b receives.
   */
  constructor(child, type, { spins = false, offloadFlows = false, receiver } = {}) {
    this.#child = child;
    this.#port = { type, spins, offloadFlows };
    this.receiver = receiver;
    const how = `${spins ? ', awake' : ''}${offloadFlows ? ', flows offloaded' : ''}`;
    this.name = `Pollux ${type}${how}${receiver && !receiver.xdp ? ', to a kernel' : ''}`;
  }
  static startChild = (cores) => PolluxChild.start(cores);

  attach = () => this.#child.call('attach', this.#port);
  detach = () => this.#child.call('detach');
  third = () => this.#child.call('third', { device: 'x0', type: this.#port.type });
  async losses() {
    const { ring, drops } = await this.#child.call('stats');
    const own = Object.entries(drops).filter(([reason]) => !kernelDrops.includes(reason));
    return ring + own.reduce((sum, [, n]) => sum + n, 0);
  }
}

/** Frames that found the receive buffers of packet sockets in this namespace full. */
async function socketDrops() {
  const text = await execute('ss', ['-0', '-n', '-m']);
  return [...text.matchAll(/skmem:\([^)]*,d(\d+)\)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}

export class Ovs {
  offloads = 'off';
  #ovs;

  constructor(daemon, type) {
    this.#ovs = daemon;
    this.type = type;
    this.name = `OVS ${type}`;
    if (type === 'system') this.losses = socketDrops;
  }
  /** One daemon for all types of port; af_xdp ports are polled by a thread of `core`. */
  static startDaemon({ core, toolCore }) {
    const settings = [`pmd-cpu-mask=0x${(1 << core).toString(16)}`];
    return OpenVswitch.start({ core, toolCore, settings });
  }

  get #names() {
    return this.type === 'tap' ? ['t0', 't1'] : ['f0', 'f1'];
  }
  attach = () => this.#ovs.attach(this.#names, this.type);
  detach = () => this.#ovs.detach(this.#names);
  /** Less what the tool takes to do nothing. */
  async third() {
    const timed = async (...words) => {
      const begin = performance.now();
      await this.#ovs.vsctl(...words);
      return performance.now() - begin;
    };
    const tool = await timed('get', 'Open_vSwitch', '.', '_uuid');
    const typed = ['--', 'set', 'interface', 'x0', `type=${this.type}`];
    const added = await timed('add-port', 'br0', 'x0', ...typed);
    const deleted = await timed('del-port', 'br0', 'x0');
    return { added: Math.max(0, added - tool), deleted: Math.max(0, deleted - tool) };
  }
}

/** A process for each turn: it has no way to change its ports. */
export class Testpmd {
  offloads = 'off';
  #cores;
  #device;
  #child;
  #folder;

  constructor({ core, toolCore }, type) {
    this.#cores = `${toolCore},${core}`;
    this.name = `testpmd net_${type}`;
    const options = type === 'af_packet' ? ',qdisc_bypass=1' : '';
    this.#device = (i) => `--vdev=net_${type}${i},iface=f${i}${options}`;
  }

  async attach() {
    const folder = makeFolder();
    const command = tied([
      ...['taskset', '-c', this.#cores, findProgram('dpdk-testpmd')],
      ...['-l', this.#cores, '--no-pci', '--in-memory', '-m', '256'],
      ...[this.#device(0), this.#device(1)],
      ...['--', '--forward-mode=io', '--nb-cores=1', '--total-num-mbufs=32768', '-i'],
    ]);
    const child = spawn(command[0], command.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, XDG_RUNTIME_DIR: folder },
    });
    let said = '';
    for (const output of [child.stdout, child.stderr]) {
      output.on('data', (text) => {
        said += text;
      });
    }
    child.stdin.on('error', () => {});
    child.stdin.write('set promisc all on\nstart\n');
    this.#child = child;
    this.#folder = folder;
    for (const until = Date.now() + 15_000; !/packet forwarding/.test(said); await sleep(50)) {
      if (child.exitCode !== null || Date.now() > until) {
        throw new Error(`dpdk-testpmd does not start: ${said.slice(-500)}`);
      }
    }
    if (threads(child.pid, 'rte-worker').length !== 1) throw new Error('dpdk-testpmd: no worker');
  }
  async detach() {
    await end(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
    await sleep(100); // The kernel lets go of AF_XDP sockets by and by.
  }
}

/** The bridge of the kernel: no process at all. */
export class Bridge {
  name = 'kernel bridge';
  offloads = 'on';

  async attach() {
    const ip = (text) => execute('ip', text.split(' '));
    await ip('link add br-bench type bridge stp_state 0 mcast_snooping 0 forward_delay 0');
    for (const device of ['f0', 'f1']) await ip(`link set ${device} master br-bench`);
    await ip('link set br-bench up');
  }
  detach = () => execute('ip', ['link', 'del', 'br-bench']);
}
