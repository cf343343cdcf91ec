// Building the addon with node-gyp.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { inRoot } from './root.mjs';
import { run, showWarnings } from './run.mjs';
import { filesBelow, hashOf, whenChanged } from './stamp.mjs';

/** The folder whose include/node holds this very Node's headers. Without one, node-gyp downloads them. */
export function nodeDir() {
  const dir = dirname(dirname(realpathSync(process.execPath)));
  const header = join(dir, 'include/node/node_version.h');
  if (!existsSync(header)) return undefined;
  const text = readFileSync(header, 'utf8');
  const part = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return version === process.versions.node ? dir : undefined;
}

/** Node's own headers (node_api.h, uv.h): beside Node, or where node-gyp has put them after its first build. */
export function nodeHeaders() {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const downloaded = join(cache, 'node-gyp', process.versions.node);
  return join(nodeDir() ?? downloaded, 'include/node');
}

/** What the addon is made of. */
export const addonInputs = () => [
  ...filesBelow('native', (file) => /\.(cc|h|gypi|map)$/.test(file)),
  'binding.gyp',
];

/** Builds build/Release/pollux.node if its sources, or Node, have changed. */
export function ensureAddon() {
  const hash = hashOf(addonInputs(), process.version, process.arch, process.env.CXX ?? '');
  return whenChanged(
    { stamp: 'build/pollux.stamp', output: 'build/Release/pollux.node', hash },
    async () => {
      console.log('setup: building the addon (a minute or two the first time)');
      const nodedir = nodeDir();
      // Not `rebuild`: make knows what has changed.
      const args = [inRoot('node_modules/node-gyp/bin/node-gyp.js'), 'configure', 'build'];
      args.push('--release', '--jobs=2', ...(nodedir ? [`--nodedir=${nodedir}`] : []));
      const { code, output } = await run(process.execPath, args, { timeoutMs: 1_200_000 });
      if (code !== 0) throw new Error('the addon does not build (the compiler says why, above)');
      showWarnings(output);
    },
  );
}
