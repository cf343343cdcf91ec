// npm run bench: the figures of this machine, each beside a peer's or the plain version's, from one run.
//   node scripts/bench.mjs [--quick] [--only=pipeline|micro|veth]
// Prints tables in Markdown; writes them and all raw results to out/bench/. Fails when something broke or a figure is void
// (frames that nobody can account for), never because a figure is low.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machine } from './bench/machine.mjs';
import { tied } from './bench/processes.mjs';
import { markdown, voids } from './bench/report.mjs';
import { unshare, wayToNamespaces } from './demo/lab.mjs';
import { buildNative } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { findProgram } from './lib/tools.mjs';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const wanted = (part) => options.only === undefined || options.only === part;
const skipped = [];
const problems = [];

/** A native benchmark: the rows it prints. */
async function native(tree, program, args) {
  console.log(`bench: ${program}`);
  const { code, output } = await run(`${tree}/bench/${program}`, args, {
    show: 'never',
    timeoutMs: 150_000,
  });
  const lines = output.split('\n').filter(Boolean);
  if (code !== 0) problems.push(`${program} ended with ${code}: ${lines.at(-1) ?? ''}`);
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
}

async function pipeline(tree) {
  const args = options.quick ? ['--window-ms=60', '--quick=1'] : ['--window-ms=300'];
  const rows = await native(tree, 'pipeline_bench', ['--windows=5', ...args]);
  for (const row of rows) if (row.lost > 0) row.void = `${row.lost} frames lost`;
  return rows;
}

const micro = (tree) =>
  native(tree, 'micro_bench', ['--windows=7', `--window-ms=${options.quick ? 10 : 40}`]);

/** The programs of the comparison, from Debian's archive if they are not there and that is possible. */
async function ensurePeers() {
  const packages = Object.entries({
    'openvswitch-switch': 'ovs-vswitchd',
    iperf3: 'iperf3',
    ethtool: 'ethtool',
  });
  const missing = packages.filter(([, name]) => findProgram(name) === undefined).map(([p]) => p);
  if (missing.length === 0) return;
  if (process.getuid() !== 0 || findProgram('apt-get') === undefined) return;
  console.log(`bench: installing ${missing.join(', ')}`);
  const args = ['-o', 'DPkg::Lock::Timeout=60', 'install', '-y', '--no-install-recommends'];
  // RUNLEVEL=1: the package shall not start a service; we start our own, private one.
  const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  await run('apt-get', [...args, ...missing], { show: 'never', env, timeoutMs: 120_000 });
}

async function veth(tree) {
  if (!existsSync(inRoot('dist/index.js'))) {
    problems.push('veth: Pollux is not built: start this with `npm run bench`');
    return {};
  }
  const { way, reasons } = wayToNamespaces();
  if (way === undefined) {
    skipped.push(`everything on veth: no network namespaces here (${reasons.join('; ')})`);
    return {};
  }
  await ensurePeers();
  const out = `${tree}/veth-${process.pid}.json`;
  const program = fileURLToPath(new URL('bench/veth.mjs', import.meta.url));
  const args = [`--out=${out}`, `--generator=${tree}/bench/veth_generator`];
  if (options.quick) args.push('--quick');
  const words = [...unshare[way], ...tied([process.execPath, program, ...args])];
  const { code } = await run('unshare', words, { show: 'always', timeoutMs: 200_000 });
  try {
    if (code !== 0 || !existsSync(out)) {
      problems.push(`veth: ended with ${code}`);
      return {};
    }
    return JSON.parse(readFileSync(out, 'utf8'));
  } finally {
    rmSync(out, { force: true });
  }
}

async function main() {
  const tree = await buildNative('bench', 'benchmarks');
  const about = await machine(tree);
  if (about.load > 1.5) {
    console.log(
      `bench: this machine is busy (load average ${about.load.toFixed(1)}); figures will be low`,
    );
  }
  const rows = [];
  if (wanted('pipeline')) rows.push(...(await pipeline(tree)));
  if (wanted('micro')) rows.push(...(await micro(tree)));
  const onVeth = wanted('veth') ? await veth(tree) : {};
  rows.push(...(onVeth.rows ?? []));
  skipped.push(...(onVeth.skipped ?? []));
  problems.push(...voids(rows).map((text) => `void: ${text}`));

  const results = {
    machine: about,
    loadAtEnd: loadavg()[0],
    ovs: onVeth.ovs,
    rows,
    skipped,
    problems,
  };
  if (rows.length > 0) {
    const text = markdown(results);
    const file = `${tree}/results-${about.date.slice(0, 19).replaceAll(':', '-')}`;
    writeFileSync(`${file}.json`, `${JSON.stringify(results, null, 1)}\n`);
    writeFileSync(`${file}.md`, text);
    console.log(`\n${text}\nbench: ${file}.json, ${file}.md`);
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
