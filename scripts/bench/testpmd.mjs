// dpdk-testpmd between two null devices: what a loop costs that only moves packets.
import { spawn } from 'node:child_process';
import { createWriteStream, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../lib/tools.mjs';
import { Traffic } from './dpdk.mjs';
import { end, makeFolder, ranNs, threads, tied } from './processes.mjs';

/** One process, which all its modes take turns in. */
export class Testpmd {
  #child;
  #folder;
  #mode;
  #worker;

  static async start({ core, toolCore, plugin }) {
    const testpmd = new Testpmd();
    try {
      await testpmd.#start(core, toolCore, plugin);
      return testpmd;
    } catch (error) {
      await testpmd.stop();
      throw error;
    }
  }

  async #start(core, toolCore, plugin) {
    this.#folder = makeFolder();
    this.traffic = new Traffic(this.#folder, plugin);
    const command = tied([
      ...['taskset', '-c', `${toolCore},${core}`],
      ...this.traffic.command(findProgram('dpdk-testpmd')),
      ...['-l', `${toolCore},${core}`, '--no-pci', '--in-memory', '-m', '128'],
      ...['--vdev=net_null0', '--vdev=net_null1,no-rx=1'],
      ...['--', '--nb-cores=1', '--total-num-mbufs=16384', '-i'],
    ]);
    const child = spawn(command[0], command.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, XDG_RUNTIME_DIR: this.#folder },
    });
    const log = createWriteStream(`${this.#folder}/log`);
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    child.stdin.on('error', () => {});
    this.#child = child;
    for (const until = Date.now() + 15_000; !this.traffic.attached; await sleep(20)) {
      if (child.exitCode !== null || Date.now() > until) {
        throw new Error(
          `dpdk-testpmd does not start: ${readFileSync(`${this.#folder}/log`, 'utf8').slice(-500)}`,
        );
      }
    }
    await sleep(100);
    const [[worker]] = threads(child.pid, 'rte-worker');
    this.#worker = worker;
    this.suspend();
  }

  async #type(line) {
    this.#child.stdin.write(`${line}\n`);
    await sleep(60);
  }

  async setMode(mode) {
    if (this.#mode === mode) return;
    if (this.#mode !== undefined) await this.#type('stop');
    await this.#type(`set fwd ${mode}`);
    await this.#type('start');
    this.#mode = mode;
  }
  ranNs = () => ranNs(this.#child.pid, this.#worker);
  resume = () => this.#child.kill('SIGCONT');
  suspend = () => this.#child.kill('SIGSTOP');

  async stop() {
    await end(this.#child);
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One forwarding mode; see turns.mjs. */
export class TestpmdMode {
  #testpmd;
  #mode;

  constructor(testpmd, mode) {
    this.name = `testpmd ${mode}`;
    this.#testpmd = testpmd;
    this.#mode = mode;
  }
  takes = (row) => row.rules === 'port' && row.flows === 1;
  async resume(row) {
    this.#testpmd.resume();
    await this.#testpmd.setMode(this.#mode);
    this.#testpmd.traffic.run(row);
  }
  sample() {
    const { traffic } = this.#testpmd;
    return { packets: traffic.written, ns: this.#testpmd.ranNs(), at: performance.now() };
  }
  async suspend() {
    const lost = await this.#testpmd.traffic.stop();
    this.#testpmd.suspend();
    return this.#mode === 'rxonly' ? 0 : lost; // It sends nothing.
  }
}
