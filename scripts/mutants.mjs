// Breaks the reload handshake on purpose, one way at a time (test/mutants.json), and demands that the tests notice.
// A test that cannot fail proves nothing; this is the proof that these can.
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { buildNative } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { run } from './lib/run.mjs';

const { tests, mutants } = JSON.parse(readFileSync(inRoot('test/mutants.json'), 'utf8'));
const copy = inRoot('out/mutants');

/** A copy of what the handshake tests need; the build tree in it is kept from run to run. */
function makeCopy() {
  for (const name of ['native', 'test']) rmSync(join(copy, name), { recursive: true, force: true });
  mkdirSync(join(copy, 'test/native'), { recursive: true });
  for (const name of ['package.json', 'CMakeLists.txt']) cpSync(inRoot(name), join(copy, name));
  for (const folder of ['native', 'test/fuzz/replay'])
    cpSync(inRoot(folder), join(copy, folder), { recursive: true, preserveTimestamps: true });
  const wanted = /^(main\.cc|.*\.h|seed_.*_test\.cc)$/;
  for (const name of readdirSync(inRoot('test/native'))) {
    if (!wanted.test(name)) continue;
    cpSync(inRoot(`test/native/${name}`), join(copy, 'test/native', name), {
      preserveTimestamps: true,
    });
  }
  // What the last run built of a broken file is newer than the file itself.
  const now = new Date();
  for (const { file } of mutants) utimesSync(join(copy, file), now, now);
}

/** Builds the copy under ThreadSanitizer and runs the tests: how they ended, or null if all was well. */
async function verdict() {
  const tree = await buildNative('thread', 'native_tests', { source: copy });
  const { code, output, timedOut } = await run(
    join(tree, 'native_tests'),
    [`--test-case=${tests}`, '--abort-after=1'],
    { show: 'never', timeoutMs: 45_000, env: { TSAN_OPTIONS: 'halt_on_error=1 exitcode=66' } },
  );
  if (timedOut) return 'hung';
  if (code === 0) return null;
  const race = /WARNING: ThreadSanitizer: ([^(\n]+)/.exec(output);
  const failed = /TEST CASE:\s+(.+)/.exec(output);
  return race
    ? `ThreadSanitizer: ${race[1].trim()}`
    : `failed: ${failed?.[1] ?? `exit code ${code}`}`;
}

makeCopy();
let passed = 0;
let failed = 0;
const report = (ok, text) => {
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${text}`);
  ok ? passed++ : failed++;
};

const unbroken = await verdict();
report(unbroken === null, `the handshake as it is: ${unbroken ?? 'all tests pass'}`);
for (const { name, file, find, replace } of unbroken === null ? mutants : []) {
  const path = join(copy, file);
  const original = readFileSync(path, 'utf8');
  if (original.split(find).length !== 2) {
    report(
      false,
      `${name}: ${file} no longer has the text to break, exactly once; mend test/mutants.json`,
    );
    continue;
  }
  writeFileSync(
    path,
    original.replace(find, () => replace),
  );
  try {
    const caught = await verdict();
    report(caught !== null, `${name}: ${caught ?? 'not noticed'}`);
  } catch (error) {
    report(false, `${name}: ${error.message}`);
  } finally {
    writeFileSync(path, original);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
