// Builds and runs the native tests, one build variant after the other.
//   node scripts/native-tests.mjs [--build] [plain] [address] [thread]      (--build: builds them, and runs nothing)
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative, variants } from './lib/native.mjs';
import { run } from './lib/run.mjs';
import { add, closingLine, emptyTally, parseDoctest, ran } from './lib/tally.mjs';

const environment = {
  address: { ASAN_OPTIONS: 'detect_stack_use_after_return=1', UBSAN_OPTIONS: 'print_stacktrace=1' },
  thread: { TSAN_OPTIONS: 'halt_on_error=0 second_deadlock_stack=1' },
};

// Tests of this suite start no thread, open no interface and look at no clock: any core at any time will do for them.
const computing = 'computing';

/** Resolves to the tally of one variant; a crash or a sanitizer report counts as a failure of its own. */
export async function nativeTests(variant) {
  const tree = await buildNative(variant, 'native_tests');
  const part = async (filter, options) => {
    const common = { env: environment[variant], timeoutMs: 600_000 };
    const { code, output } = await run(`${tree}/native_tests`, [filter], { ...common, ...options });
    const tally = parseDoctest(output);
    if ((code !== 0 || ran(tally) === 0) && tally.failed === 0) tally.failed = 1;
    return { tally, output };
  };
  // The others wait for the kernel and for threads half of the time, which is enough for these; unless the machine has
  // more to do, then these begin anew.
  const end = new AbortController();
  let done = false;
  const yielding = { show: 'never', yielding: true, signal: end.signal };
  const beside = part(`--test-suite=${computing}`, yielding).finally(() => {
    done = true;
  });
  const others = await part(`--test-suite-exclude=${computing}`, { show: 'always' });
  if (!done) end.abort();
  const tried = await beside;
  const computed = end.signal.aborted
    ? await part(`--test-suite=${computing}`, { show: 'never' })
    : tried;
  console.log(`native tests, ${variant}: those that only compute`);
  process.stdout.write(computed.output);
  const total = emptyTally();
  for (const { tally } of [others, computed]) add(total, tally);
  return total;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values, positionals: asked } = parseArgs({
    options: { build: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const total = emptyTally();
  for (const variant of asked.length > 0 ? asked : ['plain']) {
    if (!(variant in variants)) throw new Error(`no variant ${variant}`);
    if (values.build) {
      await buildNative(variant, 'native_tests');
      continue;
    }
    console.log(`native tests, ${variant}`);
    try {
      add(total, await nativeTests(variant));
    } catch (error) {
      console.log(error.message);
      total.failed++;
    }
  }
  if (!values.build) {
    console.log(closingLine(total));
    process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
  }
}
