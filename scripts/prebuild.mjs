// Builds prebuilds/linux-<arch>/pollux.<libc>.node, what the npm package carries instead of an install script.
// In a copy below out/: prebuildify starts by wiping build/, which belongs to `npm run build`.
//   node scripts/prebuild.mjs [--out=folder that gets prebuilds/]
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nodeDir } from './lib/addon.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';

const { values } = parseArgs({ options: { out: { type: 'string', default: inRoot() } } });
const copy = inRoot('out/prebuild');
rmSync(copy, { recursive: true, force: true });
mkdirSync(copy, { recursive: true });
for (const path of ['binding.gyp', 'native']) {
  cpSync(inRoot(path), `${copy}/${path}`, { recursive: true });
}

console.log('prebuild: compiling the addon (a minute or two)');
const nodedir = nodeDir();
const { code } = await run(
  process.execPath,
  [
    inRoot('node_modules/prebuildify/bin.js'),
    ...['--napi', '--strip', '--tag-libc', '--name=pollux', `--target=${process.version}`],
    ...[`--cwd=${copy}`, `--out=${values.out}`],
  ],
  {
    timeoutMs: 1_200_000,
    show: 'always',
    env: {
      JOBS: '2',
      PREBUILD_NODE_GYP: inRoot('node_modules/.bin/node-gyp'),
      ...(nodedir && { npm_config_nodedir: nodedir }),
    },
  },
);
if (code === 0) console.log(`${values.out}/prebuilds/linux-${process.arch} is ready`);
process.exitCode = code;
