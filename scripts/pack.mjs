// What npm runs around `npm pack` and `npm publish`: refuses to pack what could not load, and has the gyp file travel below
// native/. At the package's root package managers take it for a build script to be run, or to be asked about.
//   node scripts/pack.mjs before|after
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { inRoot } from './lib/root.mjs';

/** What is missing, and the line to type for it. */
export function missing(root = inRoot()) {
  const prebuilds = `${root}/prebuilds`;
  const addons = existsSync(prebuilds)
    ? readdirSync(prebuilds, { recursive: true }).filter((name) => name.endsWith('.node'))
    : [];
  return [
    ...(addons.length === 0 ? ['no prebuilt addon in prebuilds/: npm run prebuildify'] : []),
    ...(existsSync(`${root}/dist/index.js`) ? [] : ['no dist/index.js: npm run build']),
  ];
}

const [when] = process.argv.slice(2);
if (when === 'before') {
  const problems = missing();
  for (const problem of problems) console.error(`pack: ${problem}`);
  if (problems.length > 0) process.exit(1);
  cpSync(inRoot('binding.gyp'), inRoot('native/binding.gyp'));
} else if (when === 'after') {
  rmSync(inRoot('native/binding.gyp'), { force: true });
} else if (when !== undefined) {
  throw new Error('say before or after');
}
