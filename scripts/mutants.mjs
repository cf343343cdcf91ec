// Breaks the reload handshake on purpose, one way at a time (test/mutants.json), and demands that the tests notice.
// A test that cannot fail proves nothing; this is the proof that these can.
//   node scripts/mutants.mjs [--build]      (--build: compiles the mutants, and runs nothing)
//
// A mutant is the objects of the build under ThreadSanitizer, except for those of the sources that see the broken file: they
// are compiled anew. The broken file and all that comes of it lie in out/mutants/, where no other build looks, and the build
// under ThreadSanitizer is only read.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { withIncludes } from './lib/includes.mjs';
import { buildNative } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { eachParallel, run } from './lib/run.mjs';
import { hashOf, whenChanged } from './lib/stamp.mjs';

const { tests, sources, mutants } = JSON.parse(readFileSync(inRoot('test/mutants.json'), 'utf8'));
const wanted = new RegExp(`^(${sources})$`);

/** How the core and the wanted tests were compiled under ThreadSanitizer: { file, object, args } each. */
async function compilations() {
  const tree = await buildNative('thread', 'native_tests');
  const commands = JSON.parse(readFileSync(`${tree}/compile_commands.json`, 'utf8'));
  const all = commands.map(({ file, command }) => {
    const args = command.match(/"[^"]*"|\S+/g).map((arg) => arg.replaceAll('"', ''));
    const object = args[args.indexOf('-o') + 1];
    return { file: file.slice(inRoot().length + 1), object: join(tree, object), args };
  });
  // Precompiled headers stand among them, too.
  const ofTarget = (target) =>
    all.filter(({ object }) => object.includes(`/${target}.dir/`) && object.endsWith('.o'));
  const used = ofTarget('native_tests').filter(({ file }) => wanted.test(file));
  return [...ofTarget('pollux_core'), ...used];
}

/** The arguments of the compiler that make `output` of `source`, where `folder` has files that stand before ours. */
function argsFor({ args }, source, output, folder) {
  const changed = args.slice(1);
  changed[changed.indexOf('-o') + 1] = output;
  changed[changed.indexOf('-c') + 1] = source;
  return [`-I${folder}/native`, ...changed];
}

async function succeed(command, args) {
  const { code } = await run(command, args);
  if (code !== 0) throw new Error('it does not build');
}

const folderOf = (name) => `out/mutants/${name.replaceAll(/\W+/g, '-')}`;
const program = (name) => `${folderOf(name)}/native_tests`;

/** Links a program of the objects, those of `file` broken; without one, as they are. Nothing to do if that was done. */
async function make({ name, file, find, replace }, units) {
  const folder = folderOf(name);
  const inputs = [...new Set(units.flatMap((unit) => withIncludes(unit.file)))].sort();
  const settings = units.map(({ args }) => args.join(' '));
  const hash = hashOf([...inputs, 'scripts/mutants.mjs'], settings, file, find, replace);
  const build = async () => {
    rmSync(inRoot(folder), { recursive: true, force: true });
    const broken = inRoot(folder, file ?? 'none');
    mkdirSync(dirname(broken), { recursive: true });
    if (file) {
      const original = readFileSync(inRoot(file), 'utf8');
      writeFileSync(
        broken,
        original.replace(find, () => replace),
      );
    }
    let count = 0;
    const objects = await eachParallel(units, async (unit) => {
      if (!file || !withIncludes(unit.file).includes(file)) return unit.object;
      const object = inRoot(folder, `${count++}-${basename(unit.file)}.o`);
      const source = unit.file === file ? broken : inRoot(unit.file);
      await succeed(unit.args[0], argsFor(unit, source, object, inRoot(folder)));
      return object;
    });
    const link = ['-fsanitize=thread', '-pthread', ...objects, '-o', inRoot(program(name))];
    await succeed(units[0].args[0], link);
  };
  await whenChanged({ stamp: `${folder}/stamp`, output: program(name), hash }, build);
}

/** Runs the tests of a program: how they ended, or null if all was well. */
async function verdict(name) {
  const { code, output, timedOut } = await run(
    inRoot(program(name)),
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

let passed = 0;
let failed = 0;
const report = (ok, text) => {
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${text}`);
  ok ? passed++ : failed++;
};

const { values } = parseArgs({ options: { build: { type: 'boolean', default: false } } });
const units = await compilations();
const unbroken = { name: 'unbroken' };

/** Whether a file still has the text to break, exactly once. */
const canBreak = ({ file, find }) => readFileSync(inRoot(file), 'utf8').split(find).length === 2;

if (values.build) {
  for (const mutant of [unbroken, ...mutants.filter(canBreak)]) await make(mutant, units);
} else {
  await make(unbroken, units);
  const told = await verdict(unbroken.name);
  report(told === null, `the handshake as it is: ${told ?? 'all tests pass'}`);
  for (const mutant of told === null ? mutants : []) {
    const { name, file } = mutant;
    if (!canBreak(mutant)) {
      report(
        false,
        `${name}: ${file} no longer has the text to break, exactly once; mend test/mutants.json`,
      );
      continue;
    }
    try {
      await make(mutant, units);
      const caught = await verdict(name);
      report(caught !== null, `${name}: ${caught ?? 'not noticed'}`);
    } catch (error) {
      report(false, `${name}: ${error.message}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
