// Open vSwitch's userspace datapath on DPDK, between two null devices.

import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Traffic } from './dpdk.mjs';
import { OpenVswitch } from './ovs.mjs';
import { makeFolder } from './processes.mjs';
import { datapathFlows, openflowRules } from './rows.mjs';

export const debianProgram = '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk';

/** Its caches: as it comes, with the signature-match cache instead of the exact-match cache, and with neither. */
const caches = {
  emc: ['emc-insert-inv-prob=100', 'smc-enable=false'],
  smc: ['emc-insert-inv-prob=0', 'smc-enable=true'],
  none: ['emc-insert-inv-prob=0', 'smc-enable=false'],
};
export const cacheNames = Object.keys(caches);

/** One daemon, which its settings take turns in. */
export class OvsDpdk {
  #folder;
  #row;
  #cache;
  #paused = false; // Its revalidators.

  /** `program`: an ovs-vswitchd with DPDK; Debian's if not given. */
  static async start({ core, toolCore, plugin, program = debianProgram }) {
    const dpdk = new OvsDpdk();
    try {
      await dpdk.#start(core, toolCore, plugin, program);
      return dpdk;
    } catch (error) {
      await dpdk.stop();
      throw error;
    }
  }

  async #start(core, toolCore, plugin, program) {
    this.#folder = makeFolder();
    this.traffic = new Traffic(this.#folder, plugin);
    const mask = (cpu) => `0x${(1 << cpu).toString(16)}`;
    this.ovs = await OpenVswitch.start({
      // PMD threads go where their mask says; all others stay away from there.
      ...{ core: toolCore, toolCore, program, wrap: this.traffic.command },
      settings: [
        'dpdk-init=true',
        'dpdk-extra="--no-pci --in-memory"',
        `dpdk-lcore-mask=${mask(toolCore)}`,
        `pmd-cpu-mask=${mask(core)}`,
        'dpdk-socket-mem=512',
        'dpdk-socket-limit=512',
        // Megaflows stay, however long the daemon is stopped; as many as a row has.
        'max-idle=3600000',
        'flow-limit=2000000',
      ],
    });
    const null0 = { type: 'dpdk', 'options:dpdk-devargs': 'net_null0' };
    const null1 = { type: 'dpdk', 'options:dpdk-devargs': '"net_null1,no-rx=1"' };
    await this.ovs.addPorts(
      { name: 'p1', number: 1, ...null0 },
      { name: 'p2', number: 2, ...null1 },
    );
    // Exactly the masks of the rules: no help from prefix tries, which would make others.
    const table = ['--id=@t', 'create', 'Flow_Table', 'name=t0', 'prefixes=[]'];
    await this.ovs.vsctl('--', ...table, '--', 'set', 'Bridge', 'br0', 'flow_tables:0=@t');
    for (let tries = 0; !this.traffic.attached; tries++) {
      if (tries > 200) throw new Error('Open vSwitch: net_null0 is not polled');
      await sleep(20);
    }
    await this.#useVectors();
    const numbers = await this.ovs.appctl('dpif/show');
    const number = (name) => Number(numbers.match(new RegExp(`${name} \\d+/(\\d+)`))[1]);
    this.ports = [number('p1'), number('p2')];
    this.suspend();
  }

  /** The AVX-512 variants, where build and processor have them. */
  async #useVectors() {
    const lookups = await this.ovs.appctl('dpif-netdev/subtable-lookup-prio-get');
    this.vectors = /avx512/.test(lookups);
    if (!this.vectors) return;
    await this.ovs.appctl('dpif-netdev/subtable-lookup-prio-set', 'avx512_gather', '5');
    await this.ovs.appctl('dpif-netdev/dpif-impl-set', 'dpif_avx512');
    await this.ovs.appctl('dpif-netdev/miniflow-parser-set', 'study');
    await this.ovs.appctl('odp-execute/action-impl-set', 'avx512');
  }

  async setFlows(row) {
    if (this.#row === row.id) return;
    this.#row = row.id;
    if (this.#paused) await this.ovs.appctl('revalidator/resume'); // Twice, and it hangs.
    this.#paused = false;
    await this.ovs.appctl('revalidator/purge');
    if (row.rules !== 'each') {
      await this.ovs.setRules(openflowRules(row, 1, 2));
      return;
    }
    // Straight into the datapath; and nobody may think that there are too many.
    await this.ovs.setRules(['in_port=1,actions=output:2']);
    await this.ovs.appctl('revalidator/wait');
    await this.ovs.appctl('revalidator/pause');
    this.#paused = true;
    await this.ovs.appctl('dpctl/del-flows');
    const file = `${this.ovs.dir}/flows`;
    const lines = [...datapathFlows(row, ...this.ports)].map((words) => words.join(' '));
    writeFileSync(file, lines.join('\n'));
    const said = await this.ovs.appctl('dpctl/add-flows', file);
    if (said.trim() !== '') throw new Error(`dpctl/add-flows: ${said.slice(0, 300)}`);
  }
  async setCache(name) {
    if (this.#cache === name) return;
    this.#cache = name;
    await this.ovs.set(caches[name]);
  }

  resume = () => this.ovs.daemon.kill('SIGCONT');
  suspend = () => this.ovs.daemon.kill('SIGSTOP');
  async stop() {
    await this.ovs?.stop();
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One setting of the caches; see turns.mjs. */
export class OvsInMemory {
  #dpdk;
  #cache;
  #row;

  constructor(dpdk, cache) {
    this.name = `OVS ${cache}`;
    this.#dpdk = dpdk;
    this.#cache = cache;
  }
  takes = () => true;
  async resume(row) {
    const dpdk = this.#dpdk;
    dpdk.resume();
    await dpdk.setCache(this.#cache);
    await dpdk.setFlows(row);
    this.#row = row;
    await dpdk.ovs.appctl('dpif-netdev/pmd-stats-clear');
    dpdk.traffic.run(row);
  }
  sample() {
    const { traffic, ovs } = this.#dpdk;
    return { packets: traffic.written, ns: ovs.ranNs(), at: performance.now() };
  }
  /** Where packets found their flows, in percent, in this turn. */
  async details() {
    const text = await this.#dpdk.ovs.appctl('dpif-netdev/pmd-stats-show');
    const read = (name) => Number(text.match(new RegExp(`^ +${name}: +([\\d.]+)`, 'm'))?.[1] ?? 0);
    const packets = read('packets received') || 1;
    const share = (name) => Math.round((1000 * read(name)) / packets) / 10;
    const simple = share('simple match hits');
    return {
      simple,
      wrong: this.#row.rules !== 'port' && simple > 0 ? 'other flows than these' : undefined,
      cache: Math.max(share('emc hits'), share('smc hits')),
      classifier: share('megaflow hits'),
      subtables: read('avg. subtable lookups per megaflow hit'),
      cyclesPerPacket: read('avg cycles per packet'),
    };
  }
  async suspend() {
    const lost = await this.#dpdk.traffic.stop();
    this.#dpdk.suspend();
    return lost;
  }
}
