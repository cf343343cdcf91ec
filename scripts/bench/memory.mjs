// Forwarding in memory, one core: Pollux between null ports, Open vSwitch and testpmd between the null devices of DPDK, in
// turns. See turns.mjs for how, rows.mjs for what.
//   started by bench.mjs: node memory.mjs --out=FILE --cores=TOOLS,PMD [--peers] [--quick] [--full] [--row=TEXT] [--ovs=PROGRAM]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { whenStopped } from '../lib/run.mjs';
import { buildTraffic, obstacle, reserveHugePages } from './dpdk.mjs';
import { version } from './ovs.mjs';
import { ovsControl } from './ovs-control.mjs';
import { cacheNames, debianProgram, OvsDpdk, OvsInMemory } from './ovs-dpdk.mjs';
import { PolluxChild, PolluxInMemory } from './pollux.mjs';
import { execute, readCores } from './processes.mjs';
import { chosenRows } from './rows.mjs';
import { Testpmd, TestpmdMode } from './testpmd.mjs';
import { inTurns } from './turns.mjs';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    cores: { type: 'string' },
    peers: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    row: { type: 'string' },
    ovs: { type: 'string', default: debianProgram },
  },
});
const plan = options.quick
  ? { rounds: 3, windowMs: 120, warmMs: 50, fillMs: 2_000 }
  : { rounds: 9, windowMs: 150, warmMs: 60, fillMs: 6_000 };
const cores = readCores(options.cores);
const modes = ['io', 'macswap', 'csum', 'rxonly'];

const stoppers = [];
async function stopAll() {
  for (const stop of stoppers.splice(0).reverse()) await stop();
}
whenStopped(stopAll);

let peers; // The OvsDpdk, if there is one.

async function startPeers() {
  stoppers.push(reserveHugePages(768));
  const plugin = await buildTraffic();
  const ovs = await OvsDpdk.start({ ...cores, plugin, program: options.ovs });
  stoppers.push(() => ovs.stop());
  const testpmd = await Testpmd.start({ ...cores, plugin });
  stoppers.push(() => testpmd.stop());
  peers = ovs;
  return [
    ...cacheNames.map((cache) => new OvsInMemory(ovs, cache)),
    ...modes.map((mode) => new TestpmdMode(testpmd, mode)),
  ];
}

async function main() {
  const rows = [];
  const skipped = [];
  const pollux = await PolluxChild.start(cores);
  stoppers.push(() => pollux.stop());
  const contestants = [new PolluxInMemory(pollux)];
  const versions = {};
  if (options.peers) {
    const reason = obstacle();
    if (reason === undefined) {
      contestants.push(...(await startPeers()));
      versions['Open vSwitch'] = await version(options.ovs);
      versions.DPDK = (await execute('pkg-config', ['--modversion', 'libdpdk'])).trim();
    } else {
      skipped.push(`Open vSwitch and testpmd in memory: ${reason}`);
    }
  }
  const chosen = chosenRows({ quick: options.quick, full: options.full, only: options.row });
  await inTurns(chosen, contestants, plan, (result) => {
    rows.push(result);
    const { row, name, median, min, max, lost } = result;
    const range = [median, min, max].map((x) => x.toFixed(2));
    console.log(
      `memory: ${row} ${name}: ${range[0]} (${range[1]}–${range[2]})${lost ? `, ${lost} lost` : ''}`,
    );
  });
  if (peers !== undefined) rows.push(...(await ovsControl(peers, options.quick ? 2 : 4)));
  writeFileSync(options.out, JSON.stringify({ rows, skipped, versions }));
}

try {
  await main();
} catch (error) {
  console.log(`memory: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
