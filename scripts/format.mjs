// Rewrites every source in the house style (biome, clang-format).
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';
import { clangTool } from './lib/tools.mjs';

const cpp = ['native', 'test'].flatMap((dir) => filesBelow(dir, (f) => /\.(cc|h)$/.test(f)));
const clangFormat = clangTool('clang-format');
const results = [
  await run(inRoot('node_modules/.bin/biome'), ['check', '--write'], { show: 'always' }),
  clangFormat
    ? await run(clangFormat, ['-i', ...cpp])
    : { code: console.log('clang-format is missing; C++ left as it is') ?? 0 },
];
process.exitCode = results.some(({ code }) => code !== 0) ? 1 : 0;
