// Everything at once, for long: the stress tests of the core under ThreadSanitizer and AddressSanitizer, that of the API under
// AddressSanitizer. `npm test` has seconds of each.
//   node scripts/stress.mjs [--seconds=600] [--seed=1] [thread] [address] [api]
import { parseArgs } from 'node:util';
import { buildNative, sanitizedAddon } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import { closingLine } from './lib/tally.mjs';
import { setup } from './setup.mjs';

const { values, positionals } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: '1' },
  },
  allowPositionals: true,
});
const env = { POLLUX_STRESS_SECONDS: values.seconds, POLLUX_STRESS_SEED: values.seed };
const options = { show: 'always', timeoutMs: (3 * Number(values.seconds) + 300) * 1000 };

async function core(variant) {
  const tree = await buildNative(variant, 'native_tests');
  return run(`${tree}/native_tests`, ['--test-case=stress*'], { ...options, env });
}
async function api() {
  const sanitized = await sanitizedAddon();
  const vitest = inRoot('node_modules/vitest/vitest.mjs');
  const args = [vitest, 'run', '--project=pollux', inRoot('test/veth/stress.test.ts')];
  return run(process.execPath, args, { ...options, env: { ...env, ...sanitized } });
}
const parts = { thread: () => core('thread'), address: () => core('address'), api };

await setup('test');
const tally = { passed: 0, failed: 0, skipped: [] };
for (const name of positionals.length > 0 ? positionals : Object.keys(parts)) {
  if (!Object.hasOwn(parts, name))
    throw new Error(`the parts are ${Object.keys(parts).join(', ')}`);
  const { code, output } = await parts[name]();
  const clean = code === 0 && !/Sanitizer|runtime error/.test(output);
  console.log(`${name}: ${clean ? 'clean' : 'FAILED'}`);
  tally[clean ? 'passed' : 'failed']++;
}
console.log(closingLine(tally));
process.exitCode = tally.failed > 0 ? 1 : 0;
