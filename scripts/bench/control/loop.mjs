// A datapath with its PMD threads where they are to be, everything else of this process on the first core, and traffic from one
// null port to another.

import { setTimeout as sleep } from 'node:timers/promises';
import { Datapath } from '../../../dist/index.js';
import { confine, execute, ranNs, rateBetween, threads } from '../processes.mjs';

export class Loop {
  #toolCore;
  #confined = false;

  static async open({ toolCore, core }, options = {}) {
    const loop = new Loop();
    loop.#toolCore = toolCore;
    loop.core = core;
    // A datapath knows the cores that its maker may use.
    await execute('taskset', ['-cp', `${toolCore},${core}`, String(process.pid)]);
    loop.datapath = new Datapath({
      pmdCpus: [core],
      maxIdleMs: 0,
      flowLimit: 2_000_000,
      ...options,
    });
    return loop;
  }

  /** A sink under `number`. */
  async sink(name, number) {
    await this.datapath.addPort({ name, type: 'null', number });
    await this.confine();
  }
  async source(name, number, generate, more = {}) {
    await this.datapath.addPort({ name, type: 'null', number, generate, ...more });
    await this.confine();
  }
  async confine() {
    if (this.#confined || threads(process.pid, 'pmd-').length === 0) return;
    this.#confined = true;
    await confine(this.#toolCore, 'pmd-');
  }

  #thread(core) {
    return threads(process.pid, `pmd-c${String(core).padStart(2, '0')}`)[0][0];
  }
  /** Packets of a port, the time of the PMD thread, and the time. */
  sample(port, core = this.core) {
    return {
      packets: Number(this.datapath.ports.get(port).stats().rxPackets),
      ns: ranNs(process.pid, this.#thread(core)),
      at: performance.now(),
    };
  }
  /** Million packets of a port in a second of the PMD thread's time. */
  async rate(port, ms, core = this.core) {
    const before = this.sample(port, core);
    await sleep(ms);
    return rateBetween(before, this.sample(port, core)).mpps;
  }

  close = () => this.datapath.close();
}
