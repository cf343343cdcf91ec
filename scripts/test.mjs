// npm test: every tier of tests, one after the other, each bounded in time, and one closing line for all of them.
//   node scripts/test.mjs            native tests, compile-fail, vitest
//   node scripts/test.mjs --all      and sanitizers, checks, mutants, the npm package (so does CI=true)
//   node scripts/test.mjs NAME…      only these phases
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';
import {
  add,
  closingLine,
  doctestFailures,
  emptyTally,
  parseClosingLine,
  parseVitest,
  ran,
  vitestFailures,
} from './lib/tally.mjs';
import { setup } from './setup.mjs';

const minutes = (n) => n * 60_000;

/** A phase that is one of our own scripts. */
const script = (limit, name, ...args) => ({
  limit,
  run: async () => {
    const options = { show: 'always', timeoutMs: limit };
    const { code, output } = await run(process.execPath, [inRoot(name), ...args], options);
    return { code, tally: parseClosingLine(output), failures: doctestFailures(output) };
  },
});

const vitest = (limit, project) => ({
  limit,
  run: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pollux-test-'));
    const report = join(folder, 'report.json');
    const { code } = await run(
      process.execPath,
      [
        ...[inRoot('node_modules/vitest/vitest.mjs'), 'run', `--project=${project}`],
        ...['--reporter=verbose', '--reporter=json', `--outputFile.json=${report}`],
      ],
      { show: 'always', timeoutMs: limit, env: process.stdout.isTTY ? {} : { NO_COLOR: '1' } },
    );
    const told = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined;
    rmSync(folder, { recursive: true });
    return {
      code,
      tally: told ? parseVitest(told) : emptyTally(),
      failures: told ? vitestFailures(told) : [],
    };
  },
});

const everyTime = {
  native: script(minutes(20), 'scripts/native-tests.mjs', 'plain'),
  'compile-fail': script(minutes(5), 'scripts/compile-fail.mjs'),
  api: vitest(minutes(20), 'pollux'),
};
const inDepth = {
  address: script(minutes(25), 'scripts/native-tests.mjs', 'address'),
  thread: script(minutes(25), 'scripts/native-tests.mjs', 'thread'),
  check: script(minutes(25), 'scripts/check.mjs'),
  ...(existsSync(inRoot('scripts/mutants.mjs')) && {
    mutants: script(minutes(25), 'scripts/mutants.mjs'),
  }),
  package: vitest(minutes(12), 'package'),
};
const phases = { ...everyTime, ...inDepth };

/** Names of skips that are in order on the machine CI runs on, one a line. */
function expectedSkips() {
  const file = inRoot('test/expected-skips.txt');
  if (!existsSync(file)) return new Set();
  const lines = readFileSync(file, 'utf8').split('\n');
  return new Set(lines.map((line) => line.trim()).filter((line) => line && !line.startsWith('#')));
}

const ci = process.env.CI === 'true';
const total = emptyTally();
try {
  const { values, positionals } = parseArgs({
    options: { all: { type: 'boolean', default: ci } },
    allowPositionals: true,
  });
  const chosen =
    positionals.length > 0 ? positionals : Object.keys(values.all ? phases : everyTime);
  const unknown = chosen.filter((name) => !(name in phases));
  if (unknown.length > 0) {
    throw new Error(`no phase ${unknown.join(', ')}; there are ${Object.keys(phases).join(', ')}`);
  }
  await setup('test');

  const summary = [];
  const failed = [];
  for (const name of chosen) {
    console.log(`\n=== ${name}`);
    const start = Date.now();
    const { code, tally, failures } = await phases[name].run();
    // A runner that fails without a failed test has crashed, and one that ran nothing has proved nothing.
    if ((code !== 0 || ran(tally) === 0) && tally.failed === 0) {
      tally.failed = 1;
      console.log(
        code === 0 ? `${name}: no test ran` : `${name}: ended with code ${code}, no test failed`,
      );
    }
    // What mutants break fails in order; it counts only if the phase itself failed.
    if (tally.failed > 0) failed.push(...failures.map((failure) => `${name}: ${failure}`));
    add(total, tally);
    const seconds = Math.round((Date.now() - start) / 1000);
    summary.push(`${name.padEnd(14)} ${closingLine(tally)} (${seconds} s)`);
  }
  // Once more, where a log that was cut in the middle still has it.
  if (failed.length > 0) console.log(`\n=== failed\n${failed.join('\n')}`);
  console.log(`\n=== all phases\n${summary.join('\n')}`);
  if (chosen.length < Object.keys(phases).length) console.log('More: npm test -- --all');
} catch (error) {
  console.log(error.message);
  total.failed++;
}

if (total.skipped.length > 0) {
  const expected = expectedSkips();
  for (const name of total.skipped) {
    const known = expected.has(name);
    console.log(`skipped: ${name}${known ? ' (expected)' : ''}`);
    if (ci && !known) total.failed++;
  }
  if (ci) console.log('Each skip not named in test/expected-skips.txt counts as a failure in CI.');
}
console.log(closingLine(total));
process.exitCode = total.failed > 0 ? 1 : 0;
