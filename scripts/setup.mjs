// Makes a fresh clone ready: tools, npm packages, the addon, dist/. Does only what is missing or has changed; plain
// JavaScript without dependencies, because it runs before `npm ci` ever has.
//   node scripts/setup.mjs [--for=demo|test|build]
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureAddon } from './lib/addon.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { filesBelow, hashOf, whenChanged } from './lib/stamp.mjs';
import { ensureTools, purposes } from './lib/tools.mjs';

/** Whether node_modules is what package-lock.json asks for (npm keeps its own record of what it installed). */
function packagesMatchLock() {
  const record = inRoot('node_modules/.package-lock.json');
  if (!existsSync(record)) return false;
  const installed = JSON.parse(readFileSync(record, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(inRoot('package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { integrity, optional }]) =>
      path === '' || (installed[path] ? installed[path].integrity === integrity : optional),
  );
}

export async function ensurePackages() {
  if (packagesMatchLock()) return;
  console.log('setup: npm ci');
  const { code } = await run('npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline']);
  if (code !== 0) throw new Error('npm ci failed');
}

/** Compiles src/ to dist/ if it has changed. */
export function ensureDist() {
  const inputs = ['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'];
  const hash = hashOf(inputs.flatMap((path) => filesBelow(path)));
  return whenChanged({ stamp: 'out/dist.stamp', output: 'dist/index.js', hash }, async () => {
    console.log('setup: compiling TypeScript');
    rmSync(inRoot('dist'), { recursive: true, force: true });
    const tsc = inRoot('node_modules/typescript/bin/tsc');
    const { code } = await run(process.execPath, [tsc, '-p', 'tsconfig.build.json']);
    if (code !== 0) throw new Error('src/ does not compile');
    // Written by hand, and of no interest to tsc.
    for (const path of filesBelow('src', (file) => file.endsWith('.d.cts'))) {
      cpSync(inRoot(path), inRoot(path.replace(/^src/, 'dist')));
    }
  });
}

/** Returns the names of optional tools that are missing and could not be installed. */
export async function setup(purpose = 'build') {
  if (process.platform !== 'linux') throw new Error('Pollux runs on Linux only');
  if (Number(process.versions.node.split('.')[0]) < 20) {
    throw new Error(`Pollux needs Node 20 or newer; this is ${process.version}`);
  }
  if (!purposes.includes(purpose)) throw new Error(`--for is one of ${purposes.join(', ')}`);
  const missing = await ensureTools(purpose);
  await ensurePackages();
  await ensureAddon();
  await ensureDist();
  return missing;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { for: { type: 'string', default: 'build' } } });
  try {
    await setup(values.for);
  } catch (error) {
    console.error(`setup: ${error.message}`);
    process.exit(1);
  }
}
