// Running programs for the benchmarks, so that none outlives who started it, whatever happens to that one.
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { findProgram } from '../lib/tools.mjs';

const sbin = `${process.env.PATH}:/usr/sbin:/sbin`;
const setpriv = findProgram('setpriv');

/** The command line that makes `command` end when its parent does, kill -9 included. */
export const tied = (command) =>
  setpriv === undefined ? command : [setpriv, '--pdeathsig', 'KILL', '--', ...command];

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
  stop() {
    this.#child.stdin.end();
  }
}
