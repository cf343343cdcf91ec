// A private Open vSwitch: its own database and switch daemon, with every file and socket in a folder of its own. It knows
// nothing of an instance that the system may run, and that one nothing of it.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../lib/tools.mjs';
import { execute, tied } from './processes.mjs';

const prefix = 'pollux-bench-ovs-';
const schema = '/usr/share/openvswitch/vswitch.ovsschema';

/** Folders of runs that were killed: their names hold the number of a process that is gone. */
function sweep() {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split('-')[0]) : 0;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
}

/** Why there is no Open vSwitch to measure, or undefined. */
export function obstacle() {
  const missing = ['ovsdb-server', 'ovsdb-tool', 'ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl'].filter(
    (name) => findProgram(name) === undefined,
  );
  if (missing.length > 0) return `${missing.join(', ')} not found (Debian: openvswitch-switch)`;
  return existsSync(schema) ? undefined : `${schema} not found`;
}

export async function version() {
  const text = await execute(findProgram('ovs-vswitchd'), ['--version']);
  return text.match(/[\d.]+/)?.[0] ?? 'unknown';
}

export class OpenVswitch {
  #dir;
  #children = [];
  #env;

  /** `core`: where its threads run; system ports are polled by the main one. The tools run on `toolCore`. */
  static async start(core, toolCore) {
    sweep();
    const ovs = new OpenVswitch();
    try {
      await ovs.#start(core, toolCore);
      return ovs;
    } catch (error) {
      const log = ovs.#log();
      await ovs.stop();
      throw new Error(`Open vSwitch does not start: ${error.message}${log}`);
    }
  }

  async #start(core, toolCore) {
    const dir = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
    this.#dir = dir;
    this.toolCore = toolCore;
    this.#env = { OVS_RUNDIR: dir, OVS_DBDIR: dir, OVS_LOGDIR: dir, OVS_SYSCONFDIR: dir };
    const env = { ...process.env, ...this.#env };
    await execute('ovsdb-tool', ['create', `${dir}/conf.db`, schema], { env });
    this.#daemon(toolCore, 'ovsdb-server', [
      `${dir}/conf.db`,
      `--remote=punix:${dir}/db.sock`,
      `--unixctl=${dir}/ovsdb.ctl`,
      `--pidfile=${dir}/ovsdb-server.pid`,
    ]);
    await this.#until('the database', () => existsSync(`${dir}/db.sock`));
    await this.vsctl('--no-wait', 'init');
    this.#daemon(core, 'ovs-vswitchd', [
      `unix:${dir}/db.sock`,
      `--unixctl=${dir}/vswitchd.ctl`,
      `--pidfile=${dir}/ovs-vswitchd.pid`,
      `--log-file=${dir}/vswitchd.log`,
      '-vconsole:off',
    ]);
    await this.#until('ovs-vswitchd', () => existsSync(`${dir}/vswitchd.ctl`));
    // fail_mode=secure: no NORMAL flow; only those below.
    const bridge = ['set', 'bridge', 'br0', 'datapath_type=netdev', 'fail_mode=secure'];
    await this.vsctl('add-br', 'br0', '--', ...bridge);
  }

  #daemon(core, program, args) {
    const command = tied(['taskset', '-c', String(core), findProgram(program), ...args]);
    const child = spawn(command[0], command.slice(1), {
      env: { ...process.env, ...this.#env },
      stdio: 'ignore',
    });
    child.on('error', () => {});
    this.#children.push(child);
  }

  async #until(what, condition) {
    for (const end = Date.now() + 10_000; !condition(); await sleep(20)) {
      const dead = this.#children.some((c) => c.exitCode !== null || c.signalCode !== null);
      if (dead || Date.now() > end) throw new Error(`no sign of ${what}`);
    }
  }

  #log() {
    const file = `${this.#dir}/vswitchd.log`;
    return existsSync(file) ? `\n${readFileSync(file, 'utf8').slice(-2_000)}` : '';
  }

  #tool(program, ...args) {
    const env = { ...process.env, ...this.#env };
    return execute('taskset', ['-c', String(this.toolCore), program, ...args], { env });
  }
  vsctl(...args) {
    return this.#tool('ovs-vsctl', `--db=unix:${this.#dir}/db.sock`, '--timeout=15', ...args);
  }

  /** f0 and f1 become ports 1 and 2 of the bridge; `type` as in its database. */
  async attach(type = 'system') {
    const port = (name, number) => {
      const settings = [`type=${type}`, `ofport_request=${number}`];
      return ['--', 'add-port', 'br0', name, '--', 'set', 'interface', name, ...settings];
    };
    await this.vsctl(...port('f0', 1).slice(1), ...port('f1', 2));
    for (const name of ['f0', 'f1']) {
      const error = (await this.vsctl('get', 'interface', name, 'error')).trim();
      if (error !== '[]') throw new Error(`Open vSwitch: ${name}: ${error}`);
    }
    const bridge = `unix:${this.#dir}/br0.mgmt`;
    await this.#tool('ovs-ofctl', 'del-flows', bridge);
    await this.#tool('ovs-ofctl', 'add-flow', bridge, 'in_port=1,actions=output:2');
    await this.#tool('ovs-ofctl', 'add-flow', bridge, 'in_port=2,actions=output:1');
  }
  async detach() {
    await this.vsctl('del-port', 'br0', 'f0', '--', 'del-port', 'br0', 'f1');
  }

  async stop() {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 2_000);
      await gone;
      clearTimeout(timer);
    }
    if (this.#dir) rmSync(this.#dir, { recursive: true, force: true });
  }
}
