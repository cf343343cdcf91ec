// Running programs for the benchmarks, so that none outlives who started it, whatever happens to that one.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../lib/tools.mjs';

const sbin = `${process.env.PATH}:/usr/sbin:/sbin`;
const setpriv = findProgram('setpriv');

/** The command line that makes `command` end when its parent does, kill -9 included. */
export const tied = (command) =>
  setpriv === undefined ? command : [setpriv, '--pdeathsig', 'KILL', '--', ...command];

/** 'TOOLS,PMD' as an argument says it: the core for tools and sources, and the core that forwards. */
export function readCores(text) {
  const [toolCore, core] = text.split(',').map(Number);
  return { toolCore, core };
}

/** Runs a program to its end; what it prints. Throws, with what it complained of. */
export async function execute(program, args, { env = process.env, timeoutMs = 30_000 } = {}) {
  try {
    const options = { env: { ...env, PATH: sbin }, timeout: timeoutMs, maxBuffer: 1 << 24 };
    return (await promisify(execFile)(program, args, options)).stdout;
  } catch (error) {
    const words = [program, ...args].join(' ');
    throw new Error(`${words}: ${(error.stderr || error.message).trim()}`);
  }
}

const prefix = 'pollux-bench-';

/** A folder for a program's own files. Those of runs that were killed go: their names hold the number of a process that is no more. */
export function makeFolder() {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split('-')[0]) : 0;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
  return mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
}

/** Ends a child of ours, stopped or not, and waits for its end. */
export async function end(child, patienceMs = 2_000) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  child.kill('SIGCONT');
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await gone;
  clearTimeout(timer);
}

/** The threads of a process whose names begin with `prefix`: [id, name]. */
export function threads(pid, prefix = '') {
  return readdirSync(`/proc/${pid}/task`)
    .map((id) => [Number(id), nameOf(`/proc/${pid}/task/${id}`)])
    .filter(([, name]) => name?.startsWith(prefix));
}

/** `undefined`: the thread has ended since it was listed. */
function nameOf(thread) {
  try {
    return readFileSync(`${thread}/comm`, 'utf8').trim();
  } catch (error) {
    if (existsSync(thread)) throw error;
    return undefined;
  }
}

/** How long a thread has had a core, in nanoseconds. */
export const ranNs = (pid, thread) =>
  Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);

/**
 * Of two samples of a thread's work { packets, ns: how long it has had a core, at: milliseconds }: million packets in a second
 * that it had the core, and in a second. The kernel tells `ns` late, by a few milliseconds: a small difference means nothing.
 */
export function rateBetween(a, b) {
  const packets = b.packets - a.packets;
  const passed = (b.at - a.at) * 1e6;
  const ran = passed - (b.ns - a.ns) < 8e6 ? passed : b.ns - a.ns;
  return { mpps: (packets * 1e3) / ran, wall: (packets * 1e3) / passed, share: ran / passed };
}

/** Ties every thread of this process to a core, with what it starts from now on; but not those whose name begins so. */
export async function confine(core, except) {
  for (const [thread, name] of threads(process.pid)) {
    if (name.startsWith(except)) continue;
    await execute('taskset', ['-cp', String(core), String(thread)]).catch((error) => {
      if (existsSync(`/proc/self/task/${thread}`)) throw error; // Else it has ended by itself.
    });
  }
}

/** A network namespace that lives as long as this object's process, which ends with ours. */
export class Namespace {
  #child;

  static async make(name) {
    const namespace = new Namespace();
    namespace.name = name;
    // `cat` holds it open, answers once when it is there, and ends with its input.
    const child = spawn('unshare', ['--net', ...tied(['cat'])], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, PATH: sbin },
    });
    namespace.#child = child;
    await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`namespace ${name}: unshare: ${code}`)));
      child.stdout.once('data', resolve);
      child.stdin.write('\n');
    });
    await namespace.run('ip', 'link', 'set', 'lo', 'up');
    return namespace;
  }

  get pid() {
    return this.#child.pid;
  }
  /** A command line that runs there, tied to us. */
  command(...words) {
    return ['nsenter', '-t', String(this.pid), '-n', '--', ...words];
  }
  run(...words) {
    return execute('nsenter', this.command(...words).slice(1));
  }
  /** Starts a program there: { child, output: Promise<string> }. */
  start(...words) {
    const [program, ...args] = tied(this.command(...words));
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: sbin },
    });
    const output = new Promise((resolve, reject) => {
      let text = '';
      let complaint = '';
      child.stdout.on('data', (part) => {
        text += part;
      });
      child.stderr.on('data', (part) => {
        complaint += part;
      });
      child.on('error', reject);
      child.on('close', (code) => {
        if (code === 0) resolve(text);
        else reject(new Error(`${words.join(' ')}: ended with ${code}: ${complaint || text}`));
      });
    });
    output.catch(() => {}); // told to whoever waits for it
    return { child, output };
  }
  /** Starts a program there that is talked to: its input and output are ours. */
  startTalking(...words) {
    const [program, ...args] = tied(this.command(...words));
    return spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, PATH: sbin },
    });
  }
  stop() {
    this.#child.stdin.end();
  }
}

/** This process' own network namespace, where others are expected. */
export const ownNamespace = {
  pid: process.pid,
  __proto__: Namespace.prototype,
  command: (...words) => words,
  run: (program, ...args) => execute(program, args),
};
