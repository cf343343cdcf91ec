// Everything a machine can say about the sources without running them. One named check a line.
//   node scripts/check.mjs [name…]      (only these checks)
import { clangFlags, sources } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { eachParallel, run } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';
import { closingLine, emptyTally } from './lib/tally.mjs';
import { clangMajor, clangTool } from './lib/tools.mjs';

const script = (path) => [process.execPath, [inRoot(path)]];
const { core_sources, binding_sources } = sources();
const product = [...core_sources, ...binding_sources];
// Built by hand only: without a look at them here they would rot.
const benchmarks = filesBelow('test/bench', (file) => /^test\/bench\/[^/]*\.cc$/.test(file));
const everyCpp = [
  ...filesBelow('native', (file) => /\.(cc|h)$/.test(file)),
  ...filesBelow('test', (file) => /\.(cc|h)$/.test(file)),
];

const passes = async (command, args) => (await run(command, args)).code === 0;
const eachPasses = async (files, command, argsFor) =>
  (await eachParallel(files, (file) => passes(command, argsFor(file)))).every(Boolean);

const threadSafety = ['-fsyntax-only', '-Wthread-safety', '-Wthread-safety-beta', '-Werror'];

/** tool: the clang program a check needs; it gets its path. pinned: no other major will do. */
const checks = {
  biome: {
    run: () => passes(inRoot('node_modules/.bin/biome'), ['check', '--error-on-warnings']),
  },
  types: {
    run: () => passes(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '--noEmit']),
  },
  floors: { run: () => passes(...script('scripts/floors.mjs')) },
  'clang-format': {
    tool: 'clang-format',
    pinned: true,
    run: (tool) => passes(tool, ['--dry-run', '-Werror', ...everyCpp]),
  },
  'thread-safety': {
    tool: 'clang++',
    run: (tool) =>
      eachPasses([...product, ...benchmarks], tool, (file) => [
        ...clangFlags(),
        ...threadSafety,
        file,
      ]),
  },
  'clang-tidy': {
    tool: 'clang-tidy',
    pinned: true,
    run: (tool) => eachPasses(product, tool, (file) => ['--quiet', file, '--', ...clangFlags()]),
  },
};

/** Why a check cannot run here, or undefined. */
async function obstacle({ tool, pinned }) {
  if (!tool) return undefined;
  const path = clangTool(tool);
  if (!path) return `${tool} is missing`;
  if (!pinned) return undefined;
  const { output } = await run(path, ['--version'], { show: 'never' });
  const major = Number(output.match(/version (\d+)/)?.[1]);
  return major === clangMajor ? undefined : `${tool} ${clangMajor} is wanted, this is ${major}`;
}

const asked = process.argv.slice(2);
const tally = emptyTally();
for (const [name, check] of Object.entries(checks)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const reason = await obstacle(check);
  if (reason) {
    tally.skipped.push(name);
    console.log(`skipped: check ${name} (${reason})`);
    continue;
  }
  const start = Date.now();
  const ok = await check.run(clangTool(check.tool ?? ''));
  if (ok) tally.passed++;
  else tally.failed++;
  console.log(
    `${ok ? 'passed' : 'FAILED'}: ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`,
  );
}
console.log(closingLine(tally));
process.exitCode = tally.failed > 0 ? 1 : 0;
