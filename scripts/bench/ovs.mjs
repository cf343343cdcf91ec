// A private Open vSwitch: its own database and switch daemon, with every file and socket in a folder of its own. It knows
// nothing of an instance that the system may run, and that one nothing of it.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../lib/tools.mjs';
import { end, execute, makeFolder, ranNs, threads, tied } from './processes.mjs';

const schema = '/usr/share/openvswitch/vswitch.ovsschema';

/** Why there is no Open vSwitch to measure, or undefined. */
export function obstacle() {
  const missing = ['ovsdb-server', 'ovsdb-tool', 'ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl'].filter(
    (name) => findProgram(name) === undefined,
  );
  if (missing.length > 0) return `${missing.join(', ')} not found (Debian: openvswitch-switch)`;
  return existsSync(schema) ? undefined : `${schema} not found`;
}

export async function version(program = findProgram('ovs-vswitchd')) {
  const text = await execute(program, ['--version']);
  return text.match(/[\d.]+/)?.[0] ?? 'unknown';
}

export class OpenVswitch {
  /** Where its files are. @type {string} */
  dir;
  #children = [];
  #env;

  /**
   * `core`: where its threads run; system ports are polled by the main one. The tools run on `toolCore`. `program`: another
   * ovs-vswitchd; `settings`: of its database, before it starts; `wrap`: makes its command line. `type`: of the datapath;
   * 'dummy' is the userspace one with ports that touch no interface (wants --enable-dummy).
   * @param {{ core: number, toolCore: number, program?: string, settings?: string[], wrap?: (...words: string[]) => string[],
   *   type?: string }} options
   */
  static async start({
    core,
    toolCore,
    program = findProgram('ovs-vswitchd'),
    settings = [],
    wrap = (...words) => words,
    type = 'netdev',
  }) {
    const ovs = new OpenVswitch();
    ovs.dir = makeFolder();
    ovs.toolCore = toolCore;
    try {
      await ovs.#start(core, program, settings, wrap, type);
      return ovs;
    } catch (error) {
      const log = ovs.#log();
      await ovs.stop();
      throw new Error(`Open vSwitch does not start: ${error.message}${log}`);
    }
  }

  async #start(core, program, settings, wrap, type) {
    const { dir } = this;
    this.#env = { OVS_RUNDIR: dir, OVS_DBDIR: dir, OVS_LOGDIR: dir, OVS_SYSCONFDIR: dir };
    const env = { ...process.env, ...this.#env };
    await execute('ovsdb-tool', ['create', `${dir}/conf.db`, schema], { env });
    this.#daemon(this.toolCore, [
      findProgram('ovsdb-server'),
      `${dir}/conf.db`,
      `--remote=punix:${dir}/db.sock`,
      `--unixctl=${dir}/ovsdb.ctl`,
      `--pidfile=${dir}/ovsdb-server.pid`,
    ]);
    await this.#until('the database', () => existsSync(`${dir}/db.sock`));
    await this.vsctl('--no-wait', 'init');
    if (settings.length > 0) await this.set(settings, '--no-wait');
    const daemon = [
      program,
      `unix:${dir}/db.sock`,
      `--unixctl=${dir}/vswitchd.ctl`,
      `--pidfile=${dir}/ovs-vswitchd.pid`,
      `--log-file=${dir}/vswitchd.log`,
      '-vconsole:off',
    ];
    this.daemon = this.#daemon(core, wrap(...daemon));
    await this.#until('ovs-vswitchd', () => existsSync(`${dir}/vswitchd.ctl`));
    // fail_mode=secure: no NORMAL flow; only those below.
    const bridge = ['set', 'bridge', 'br0', `datapath_type=${type}`, 'fail_mode=secure'];
    await this.vsctl('add-br', 'br0', '--', ...bridge);
  }

  #daemon(core, words) {
    const command = tied(['taskset', '-c', String(core), ...words]);
    const child = spawn(command[0], command.slice(1), {
      // What DPDK puts beside its runtime files goes to our folder.
      env: { ...process.env, ...this.#env, XDG_RUNTIME_DIR: this.dir },
      stdio: 'ignore',
    });
    child.on('error', () => {});
    this.#children.push(child);
    return child;
  }

  async #until(what, condition) {
    for (const end = Date.now() + 20_000; !condition(); await sleep(20)) {
      const dead = this.#children.some((c) => c.exitCode !== null || c.signalCode !== null);
      if (dead || Date.now() > end) throw new Error(`no sign of ${what}`);
    }
  }

  #log() {
    const file = `${this.dir}/vswitchd.log`;
    return existsSync(file) ? `\n${readFileSync(file, 'utf8').slice(-2_000)}` : '';
  }

  #tool(program, ...args) {
    const env = { ...process.env, ...this.#env };
    return execute('taskset', ['-c', String(this.toolCore), program, ...args], { env });
  }
  vsctl(...args) {
    return this.#tool('ovs-vsctl', `--db=unix:${this.dir}/db.sock`, '--timeout=15', ...args);
  }
  appctl(...args) {
    return this.#tool('ovs-appctl', '-t', `${this.dir}/vswitchd.ctl`, ...args);
  }
  ofctl(...args) {
    return this.#tool('ovs-ofctl', args[0], `unix:${this.dir}/br0.mgmt`, ...args.slice(1));
  }
  /** other_config settings, `name=value` each. */
  set(settings, ...options) {
    const words = settings.map((setting) => `other_config:${setting}`);
    return this.vsctl(...options, 'set', 'Open_vSwitch', '.', ...words);
  }

  /** Ports of the bridge: { name, number, ...settings of the interface }. */
  async addPorts(...ports) {
    const words = ports.flatMap(({ name, number, ...settings }) => {
      const pairs = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
      const interface_ = ['set', 'interface', name, `ofport_request=${number}`, ...pairs];
      return ['--', 'add-port', 'br0', name, '--', ...interface_];
    });
    await this.vsctl(...words.slice(1));
    for (const { name } of ports) {
      const error = (await this.vsctl('get', 'interface', name, 'error')).trim();
      if (error !== '[]') throw new Error(`Open vSwitch: ${name}: ${error}`);
    }
  }

  /** The lines become the OpenFlow rules, instead of those there are. */
  async setRules(lines) {
    const file = `${this.dir}/rules`;
    writeFileSync(file, [...lines].join('\n'));
    await this.ofctl('del-flows');
    await this.ofctl('add-flows', file);
  }

  /** Two interfaces become ports 1 and 2 of the bridge; `type` as in its database. */
  async attach(names, type) {
    await this.addPorts(...names.map((name, i) => ({ name, number: i + 1, type })));
    await this.setRules(['in_port=1,actions=output:2', 'in_port=2,actions=output:1']);
  }
  detach = (names) =>
    this.vsctl(...names.flatMap((name) => ['--', 'del-port', 'br0', name]).slice(1));

  /** The thread that polls: its number, and how long it has had a core. */
  ranNs() {
    this.pmd ??= threads(this.daemon.pid, 'pmd-')[0][0];
    return ranNs(this.daemon.pid, this.pmd);
  }

  async stop() {
    for (const child of this.#children.reverse()) await end(child);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
