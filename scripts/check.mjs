// Everything a machine can say about the sources without running them. One named check a line.
//   node scripts/check.mjs [name…]      (only these checks)
// The slow ones remember, below out/checked/, which files they found in order, and look at a file again when it, a header
// of ours that it includes, the tool or its settings have changed. `npm test -- --all` forgets all of that first.

import { withIncludes } from './lib/includes.mjs';
import { clangFlags, sources } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { eachParallel, run } from './lib/run.mjs';
import { filesBelow, hashOf, whenChanged } from './lib/stamp.mjs';
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
const versionOf = async (tool) => (await run(tool, ['--version'], { show: 'never' })).output;

/** Whether `tool` passes on each file; `settings` is a file that it reads by itself. */
async function eachPasses(check, files, tool, argsFor, settings = []) {
  const version = await versionOf(tool);
  const results = await eachParallel(files, async (file) => {
    const args = argsFor(file);
    const hash = hashOf([...withIncludes(file), ...settings], args, version, process.version);
    const stamp = `out/checked/${check}/${file}`;
    let ok = true;
    await whenChanged({ stamp, output: stamp, hash }, async () => {
      ok = await passes(tool, args);
      return ok;
    });
    return ok;
  });
  return results.every(Boolean);
}

const threadSafety = ['-fsyntax-only', '-Wthread-safety', '-Wthread-safety-beta', '-Werror'];

const tidy = (file) => ['--quiet', file, '--', ...clangFlags()];

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
      eachPasses('thread-safety', [...product, ...benchmarks], tool, (file) => [
        ...clangFlags(),
        ...threadSafety,
        file,
      ]),
  },
  'clang-tidy': {
    tool: 'clang-tidy',
    pinned: true,
    run: (tool) => eachPasses('clang-tidy', product, tool, tidy, ['.clang-tidy']),
  },
};

/** Why a check cannot run here, or undefined. */
async function obstacle({ tool, pinned }) {
  if (!tool) return undefined;
  const path = clangTool(tool);
  if (!path) return `${tool} is missing`;
  if (!pinned) return undefined;
  const major = Number((await versionOf(path)).match(/version (\d+)/)?.[1]);
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
