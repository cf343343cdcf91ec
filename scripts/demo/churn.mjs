// Ports come and go: added and deleted one after the other, with reloads and changes of the CPU mask in between.

const now = () => performance.now();

export class Churn {
  #datapath;
  #masks;
  #devices;
  /** Latencies: of adding and deleting in milliseconds, of PMD threads' reloads in microseconds. */
  adds = [];
  deletes = [];
  reloads = [];
  /** Adds by port type. */
  types = {};
  masks = 0;

  /** `devices`: interfaces for af_packet ports. */
  constructor(datapath, cores, devices) {
    const [first, second] = cores;
    this.#datapath = datapath;
    this.#masks = second === undefined ? [] : [[second], [first, second], [first]];
    this.#devices = devices;
  }

  get counts() {
    const { adds, deletes, reloads, masks } = this;
    return { adds: adds.length, deletes: deletes.length, reloads: reloads.length, masks };
  }

  /** Until `done()`, and at least `least` adds and as many deletes; gives up after `limitMs`. */
  async run({ done, limitMs, least = 500 }) {
    const start = now();
    const roundsPerMask = 20;
    for (let round = 1; !done() || this.adds.length < least; round++) {
      if (now() - start > limitMs) throw new Error(`too slow: ${JSON.stringify(this.counts)}`);
      const names = [];
      for (const spec of this.#specs(round)) names.push(await this.#add(spec));
      for (const report of await this.#datapath.reload()) {
        if (report.core !== 'non-pmd') this.reloads.push(report.latencyUs);
      }
      for (const name of names) await this.#delete(name);
      if (round % roundsPerMask === 0) await this.#nextMask(round / roundsPerMask);
    }
  }

  #specs(round) {
    const specs = [
      { name: `memory${round}`, type: 'memory' },
      { name: `null${round}`, type: 'null' },
    ];
    if (this.#devices.length > 0) {
      const device = this.#devices[round % this.#devices.length];
      specs.push({ name: `spare${round}`, type: 'af_packet', device, pmd: round % 2 === 0 });
    }
    return specs;
  }

  async #add(spec) {
    const start = now();
    const port = await this.#datapath.addPort(spec);
    this.adds.push(now() - start);
    this.types[spec.type] = (this.types[spec.type] ?? 0) + 1;
    return port.name;
  }

  async #delete(name) {
    const start = now();
    await this.#datapath.deletePort(name);
    this.deletes.push(now() - start);
  }

  /** Threads end, others begin, queues move. */
  async #nextMask(n) {
    if (this.#masks.length === 0) return;
    await this.#datapath.configure({ pmdCpus: this.#masks[n % this.#masks.length] });
    this.masks++;
  }
}
