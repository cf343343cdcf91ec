// The process that is Pollux in a comparison, seen from the program that measures: pollux-child.mjs does the work.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { tied } from './processes.mjs';

export class PolluxChild {
  #child;
  #calls = new Map();
  #last = 0;

  /** `core`: of its PMD thread; everything else of it runs on `toolCore`. */
  static async start({ core, toolCore }) {
    const pollux = new PolluxChild();
    const program = fileURLToPath(new URL('pollux-child.mjs', import.meta.url));
    // A datapath knows the cores that its maker may use; the child then confines itself.
    const cores = `${toolCore},${core}`;
    const command = tied(['taskset', '-c', cores, process.execPath, program, cores]);
    const child = spawn(command[0], command.slice(1), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    pollux.#child = child;
    await new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the forwarder ended with ${code}`)));
    });
    child.on('message', ({ call, result, error }) => {
      const { resolve, reject } = pollux.#calls.get(call);
      pollux.#calls.delete(call);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    });
    child.on('exit', (code) => {
      for (const { reject } of pollux.#calls.values()) {
        reject(new Error(`the forwarder ended: ${code}`));
      }
    });
    return pollux;
  }

  call(verb, argument) {
    return new Promise((resolve, reject) => {
      this.#calls.set(++this.#last, { resolve, reject });
      this.#child.send({ call: this.#last, verb, argument });
    });
  }
  resume = () => this.#child.kill('SIGCONT');
  suspend = () => this.#child.kill('SIGSTOP');
  stop() {
    if (!this.#child?.connected) return;
    this.resume();
    this.#child.disconnect();
  }
}

/** Pollux between null ports; see turns.mjs. */
export class PolluxInMemory {
  name = 'Pollux';
  #child;

  constructor(child) {
    this.#child = child;
    child.suspend();
  }
  takes = (row) => row.rules !== 'nothing';
  async resume(row) {
    this.#child.resume();
    await this.#child.call('run', row.id);
  }
  sample = () => this.#child.call('sample');
  details = () => this.#child.call('details');
  async suspend() {
    const lost = await this.#child.call('stop');
    this.#child.suspend();
    return lost;
  }
}
