// npm run bench: the figures of this machine, from one run.
//   node scripts/bench.mjs [--peers] [--quick | --full] [--only=memory|control|churn|micro|veth] [--row=TEXT] [--figures]
//                          [--ovs=PROGRAM]
//   --peers    Open vSwitch and testpmd too, in turns with Pollux; installs them where it may
//   --quick    a few rows, short windows; --full: every combination of flows, five-tuples, sizes and orders in memory
//   --row      rows in memory whose name has this in it, e.g. masks/20/; parts on veth: flood, loss, ping, tcp, ports, taps
//   --figures  draws docs/figures.svg, which docs/figures.md shows
//   --ovs      another ovs-vswitchd with DPDK than Debian's
// Prints tables in Markdown; writes them and all raw results to out/bench/. Fails when something broke or a figure is void
// (frames that nobody can account for), never because a figure is low.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { missingPackages } from './bench/dpdk.mjs';
import { machine } from './bench/machine.mjs';
import { plot } from './bench/plot.mjs';
import { tied } from './bench/processes.mjs';
import { markdown, voids } from './bench/report.mjs';
import { unshare, wayToNamespaces } from './demo/lab.mjs';
import { buildNative } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { findProgram } from './lib/tools.mjs';

const flag = { type: 'boolean', default: false };
const { values: options } = parseArgs({
  options: {
    ...{ peers: flag, quick: flag, full: flag, figures: flag },
    ...{ only: { type: 'string' }, row: { type: 'string' }, ovs: { type: 'string' } },
  },
});
const rows = [];
const skipped = [];
const problems = [];
const versions = {};

/** A native benchmark: the rows it prints. */
async function native(tree, program, args) {
  console.log(`bench: ${program}`);
  const { code, output } = await run(`${tree}/bench/${program}`, args, {
    show: 'never',
    timeoutMs: 300_000,
  });
  const lines = output.split('\n').filter(Boolean);
  if (code !== 0) problems.push(`${program} ended with ${code}: ${lines.at(-1) ?? ''}`);
  rows.push(...lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)));
}

/** A benchmark in a program of its own, which leaves { rows, skipped, versions } in a file. */
async function script(tree, name, args, { wrap = [], timeoutMs = 900_000 } = {}) {
  if (!existsSync(inRoot('dist/index.js'))) {
    problems.push(`${name}: Pollux is not built: start this with \`npm run bench\``);
    return;
  }
  const out = `${tree}/${name}-${process.pid}.json`;
  const program = fileURLToPath(new URL(`bench/${name}.mjs`, import.meta.url));
  const words = [
    ...wrap,
    ...tied([process.execPath, program, `--out=${out}`, `--cores=0,${lastCore}`, ...args]),
  ];
  const { code } = await run(words[0], words.slice(1), { show: 'always', timeoutMs });
  try {
    if (code !== 0 || !existsSync(out)) {
      problems.push(`${name}: ended with ${code}`);
      return;
    }
    const results = JSON.parse(readFileSync(out, 'utf8'));
    rows.push(...results.rows);
    skipped.push(...results.skipped);
    Object.assign(versions, results.versions);
  } finally {
    rmSync(out, { force: true });
  }
}

const flags = (...names) => names.filter((name) => options[name]).map((name) => `--${name}`);
/** The first core is for everything but what forwards; the last is for that. */
const lastCore = availableParallelism() - 1;
const onFirstCore = ['taskset', '-c', '0'];

const parts = {
  memory(tree) {
    const args = flags('peers', 'quick', 'full');
    for (const name of ['row', 'ovs']) if (options[name]) args.push(`--${name}=${options[name]}`);
    const timeoutMs = options.full ? 4 * 3_600_000 : 1_800_000;
    return script(tree, 'memory', args, { wrap: onFirstCore, timeoutMs });
  },
  control: (tree) => script(tree, 'control', flags('quick')),
  churn: (tree) => native(tree, 'churn_bench', [`--rounds=${options.quick ? 5 : 20}`]),
  micro: (tree) =>
    native(tree, 'micro_bench', ['--windows=7', `--window-ms=${options.quick ? 10 : 40}`]),
  veth(tree) {
    const { way, reasons } = wayToNamespaces();
    if (way === undefined) {
      skipped.push(`everything on veth: no network namespaces here (${reasons.join('; ')})`);
      return;
    }
    const args = [`--tree=${tree}`, ...flags('quick', 'peers')];
    if (options.row) args.push(`--row=${options.row}`);
    const wrap = ['unshare', ...unshare[way]];
    return script(tree, 'veth', args, { wrap, timeoutMs: 1_200_000 });
  },
};

/** The programs of the comparison, from Debian's archive if they are not there and that is possible. */
async function ensurePeers() {
  const tools = Object.entries({
    'openvswitch-switch': 'ovs-vswitchd',
    iperf3: 'iperf3',
    ethtool: 'ethtool',
    'pkg-config': 'pkg-config',
  });
  const missing = tools.filter(([, name]) => findProgram(name) === undefined).map(([p]) => p);
  missing.push(...missingPackages());
  if (missing.length === 0) return;
  if (process.getuid() !== 0 || findProgram('apt-get') === undefined) return;
  console.log(`bench: installing ${missing.join(', ')}`);
  const apt = (...args) =>
    run('apt-get', ['-o', 'DPkg::Lock::Timeout=60', ...args], {
      show: 'never',
      // RUNLEVEL=1: the packages shall not start a service; we start our own, private one.
      env: { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
      timeoutMs: 300_000,
    });
  const install = () => apt('install', '-y', '--no-install-recommends', ...missing);
  if ((await install()).code === 0) return;
  await apt('update');
  await install();
}

async function main() {
  if (options.only !== undefined && !Object.hasOwn(parts, options.only)) {
    throw new Error(`--only is one of ${Object.keys(parts).join(', ')}`);
  }
  if (availableParallelism() < 2)
    throw new Error('this takes two cores: one forwards, one measures');
  const tree = await buildNative('bench', 'benchmarks');
  const about = await machine(tree);
  if (about.load > 1.5) {
    console.log(
      `bench: this machine is busy (load average ${about.load.toFixed(1)}); figures will be low`,
    );
  }
  if (options.peers) await ensurePeers();
  for (const [name, part] of Object.entries(parts)) {
    if (options.only === undefined || options.only === name) await part(tree);
  }
  problems.push(...voids(rows).map((text) => `void: ${text}`));

  const results = {
    machine: about,
    versions,
    options,
    loadAtEnd: loadavg()[0],
    rows,
    skipped,
    problems,
  };
  if (rows.length > 0) {
    const text = markdown(results);
    const file = `${tree}/results-${about.date.slice(0, 19).replaceAll(':', '-')}`;
    writeFileSync(`${file}.json`, `${JSON.stringify(results, null, 1)}\n`);
    writeFileSync(`${file}.md`, text);
    writeFileSync(`${file}.svg`, plot(results));
    if (options.figures) writeFileSync(inRoot('docs/figures.svg'), plot(results));
    console.log(`\n${text}\nbench: ${file}.json, .md, .svg`);
  }
  for (const problem of problems) console.error(`bench: ${problem}`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
