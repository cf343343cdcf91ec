// Fuzzes what reads bytes and text from outside, under AddressSanitizer and UBSan.
//   npm run fuzz                        every fuzzer, 60 seconds each
//   npm run fuzz -- --seconds=600 text  ten minutes of one
//   npm run fuzz -- --replay            only tries the corpus again (needs no clang)
// The corpus is test/fuzz/corpus/<name>/. What a run finds new stands in out/fuzz/<name>/ afterwards, an input that
// crashes in out/fuzz/crash-…; copy what is worth keeping.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { buildNative, sanitizedAddon } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { eachParallel, run } from './lib/run.mjs';
import { closingLine } from './lib/tally.mjs';
import { setup } from './setup.mjs';

const { values, positionals } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    replay: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const seconds = values.replay ? 5 : Number(values.seconds);

const native = readdirSync(inRoot('test/fuzz'))
  .filter((file) => file.endsWith('_fuzz.cc'))
  .map((file) => file.slice(0, -'_fuzz.cc'.length));
const all = [...native, 'text'];
const chosen = positionals.length > 0 ? positionals : all;
const unknown = chosen.filter((name) => !all.includes(name));
if (unknown.length > 0)
  throw new Error(`no fuzzer ${unknown.join(', ')}; there are ${all.join(', ')}`);

const corpusOf = (name) => inRoot(`test/fuzz/corpus/${name}`);

/** Folders with inputs of a native fuzzer: what is in the tree, and what it found here. */
async function fuzzNative(name) {
  const program = inRoot(`out/${variant}/fuzz/${name}_fuzz`);
  const options = { show: 'failure', timeoutMs: (seconds + 300) * 1000 };
  if (values.replay) return run(program, [corpusOf(name)], options);
  const found = inRoot(`out/fuzz/${name}`);
  mkdirSync(found, { recursive: true });
  const limits = [
    `-max_total_time=${seconds}`,
    '-timeout=10',
    '-rss_limit_mb=4096',
    '-max_len=4096',
  ];
  const marks = ['-print_final_stats=1', `-artifact_prefix=${inRoot('out/fuzz/')}`];
  return run(program, [...limits, ...marks, found, corpusOf(name)], options);
}

/** The text fuzzer, with the core beneath it under the sanitizers. */
async function fuzzText() {
  const env = await sanitizedAddon();
  const args = [inRoot('test/fuzz/text_fuzz.mjs'), `--seconds=${seconds}`];
  return run(process.execPath, args, { show: 'always', env, timeoutMs: (seconds + 300) * 1000 });
}

await setup('test');
const tally = { passed: 0, failed: 0, skipped: [] };
const variant = values.replay ? 'address' : 'fuzz';
for (const name of chosen) if (name !== 'text') await buildNative(variant, `fuzz_${name}_fuzz`);
await eachParallel(chosen, async (name) => {
  const { code, output } = name === 'text' ? await fuzzText() : await fuzzNative(name);
  const runs = output.match(/stat::number_of_executed_units: *(\d+)|^(\d+) inputs$/m);
  console.log(
    `${name}: ${code === 0 ? 'clean' : 'FAILED'}${runs ? `, ${runs[1] ?? runs[2]} runs` : ''}`,
  );
  tally[code === 0 ? 'passed' : 'failed']++;
});
if (existsSync(inRoot('out/fuzz'))) {
  const crashes = readdirSync(inRoot('out/fuzz')).filter((file) =>
    /^(crash|timeout|oom|leak|slow)-/.test(file),
  );
  if (crashes.length > 0) console.log(`inputs in out/fuzz: ${crashes.join(' ')}`);
}
console.log(closingLine(tally));
process.exitCode = tally.failed > 0 ? 1 : 0;
