// npm test: every tier of tests, one after the other, each bounded in time, and one closing line for all of them.
//   node scripts/test.mjs            vitest, native tests, compile-fail
//   node scripts/test.mjs --all      and the npm package, sanitizers, mutants, checks (so does CI=true)
//   node scripts/test.mjs NAME…      only these phases
//
// Tests on interfaces wait for the kernel most of the time. Beside them, in the time that nobody else wants, runs what later
// phases compile or read ("ahead"). It decides nothing: a phase does all of its work itself, and finds some of it done.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot } from './lib/root.mjs';
import { run, showWarnings } from './lib/run.mjs';
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

const compiled = (variant) => ['scripts/native-tests.mjs', '--build', variant];

// ahead: the part of a phase that may run beside earlier ones. beside: such parts of later ones may run beside it; not
// beside tests under sanitizers, which are slow enough by themselves.
const everyTime = {
  api: { ...vitest(minutes(20), 'pollux'), beside: true },
  native: {
    ...script(minutes(20), 'scripts/native-tests.mjs', 'plain'),
    ahead: compiled('plain'),
    beside: true,
  },
  'compile-fail': script(minutes(5), 'scripts/compile-fail.mjs'),
};
const inDepth = {
  package: { ...vitest(minutes(12), 'package'), beside: true },
  address: {
    ...script(minutes(25), 'scripts/native-tests.mjs', 'address'),
    ahead: compiled('address'),
  },
  thread: {
    ...script(minutes(25), 'scripts/native-tests.mjs', 'thread'),
    ahead: compiled('thread'),
  },
  mutants: {
    ...script(minutes(25), 'scripts/mutants.mjs'),
    ahead: ['scripts/mutants.mjs', '--build'],
  },
  check: {
    ...script(minutes(25), 'scripts/check.mjs'),
    ahead: ['scripts/check.mjs', 'thread-safety', 'clang-tidy'],
  },
};
const phases = { ...everyTime, ...inDepth };

/** Runs the parts of phases that may run ahead, one after the other. */
class Ahead {
  #done = new Set();
  #end;
  #running = Promise.resolve();

  start(names) {
    this.#end = new AbortController();
    this.#running = this.#work(names, this.#end.signal);
  }

  /** Returns when nothing runs any more. What was cut off is done by its phase, or after the next start(). */
  async stop() {
    this.#end?.abort();
    await this.#running;
  }

  async #work(names, signal) {
    for (const name of names.filter((name) => phases[name].ahead && !this.#done.has(name))) {
      if (signal.aborted) return;
      const [path, ...args] = phases[name].ahead;
      const options = { show: 'never', yielding: true, signal, timeoutMs: minutes(25) };
      const { output } = await run(process.execPath, [inRoot(path), ...args], options);
      showWarnings(output); // the phase itself will not compile these files again
      if (!signal.aborted) this.#done.add(name);
    }
  }
}

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
  // What earlier runs found in order is looked at again.
  if (values.all) rmSync(inRoot('out/checked'), { recursive: true, force: true });

  const summary = [];
  const failed = [];
  const ahead = new Ahead();
  for (const [i, name] of chosen.entries()) {
    console.log(`\n=== ${name}`);
    const start = Date.now();
    await ahead.stop();
    if (phases[name].beside) ahead.start(chosen.slice(i + 1));
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
  await ahead.stop();
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
