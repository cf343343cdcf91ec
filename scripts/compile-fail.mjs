// Programs the compiler must refuse: each test/compile_fail/*.cc breaks one locking rule, and its first line names what
// clang has to say about it:  // expect: <part of the diagnostic>
import { readFileSync } from 'node:fs';
import { clangFlags } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { eachParallel, run } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';
import { closingLine, emptyTally } from './lib/tally.mjs';
import { clangTool } from './lib/tools.mjs';

const flags = ['-fsyntax-only', '-Wthread-safety', '-Wthread-safety-beta'];
const asError = ['-Werror=thread-safety', '-Werror=thread-safety-beta'];

/** Resolves to undefined if the file is refused as it should be, else to what went wrong. */
async function problemWith(clang, file) {
  const expected = readFileSync(inRoot(file), 'utf8').match(/^\/\/ expect: (.+)\n/)?.[1];
  if (!expected) return 'its first line is not "// expect: <part of the diagnostic>"';
  const args = [...clangFlags(), ...flags, ...asError, file];
  const { code, output } = await run(clang, args, { show: 'never' });
  if (code === 0) return 'it compiles';
  if (!output.includes(expected)) return `refused, but not with "${expected}":\n${output}`;
  // Anything else that is wrong with the file would hide a rule that has stopped working.
  const other = output.split('\n').find((l) => / error: /.test(l) && !/thread-safety/.test(l));
  return other && `it has another error:\n${other}`;
}

const files = filesBelow('test/compile_fail', (file) => file.endsWith('.cc'));
const clang = clangTool('clang++');
const tally = emptyTally();
if (!clang) {
  console.log('skipped: compile-fail (clang++ is missing)');
  tally.skipped.push('compile-fail (clang++ is missing)');
} else {
  const problems = await eachParallel(files, (file) => problemWith(clang, file));
  for (const [i, file] of files.entries()) {
    if (problems[i]) {
      console.log(`FAILED ${file}: ${problems[i]}`);
      tally.failed++;
    } else {
      tally.passed++;
    }
  }
}
console.log(closingLine(tally));
process.exitCode = tally.failed > 0 ? 1 : 0;
