// The TypeScript that README.md and the other documents show runs: whole scripts as a reader would run them, other blocks on
// two memory ports. All of it is TypeScript of the strictest kind that needs no types to be taken out.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { Datapath, DatapathError } from 'pollux';
import { afterAll, describe, expect, test } from 'vitest';
import { readPortSpec } from '../../src/ports/spec.js';
import { expectLedgerCloses, udpFrame } from '../support/datapath.js';
import { documentOf, documents, root } from '../support/documents.js';
import { thrown } from './odp/refusals.js';

const readme = documentOf('README.md').text;
const all = documents.flatMap(({ path, blocks }) =>
  blocks
    .filter(({ language }) => language === 'ts')
    .map(({ text }, i) => ({ name: `${path}, block ${i + 1}`, text })),
);
/** Whole scripts import what they use. */
const isScript = ({ text }: { readonly text: string }) => /^import .* from 'pollux';$/m.test(text);
const scripts = all.filter(isScript);
const snippets = all.filter((block) => !isScript(block));

afterAll(() => rmSync('/tmp/pollux.pcapng', { force: true })); // what a snippet records

test('README.md begins with a script', () => {
  expect(scripts[0]?.name).toBe('README.md, block 1');
});

test.each(scripts)('the script of $name prints what it says', async ({ text }) => {
  const said = [...text.matchAll(/^console\.log\(.*\/\/ (.*)$/gm)].map((match) => match[1]);
  expect(said.length).toBeGreaterThan(0);
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', text], {
    cwd: root,
    timeout: 10_000,
  });
  expect(stdout.trim().split('\n')).toEqual(said);
});

test('all of it compiles, strictly', async () => {
  // In the clone, where the package is found by its name.
  const folder = mkdtempSync(`${root}/out/readme-`);
  const given = `import { type Datapath, DatapathError, type MemoryPort } from 'pollux';
    declare const dp: Datapath, left: MemoryPort, right: MemoryPort, frame: Buffer;
    void [DatapathError, dp, left, right, frame];
    {`;
  try {
    scripts.forEach(({ text }, i) => {
      writeFileSync(`${folder}/script-${i}.mts`, text);
    });
    snippets.forEach(({ text }, i) => {
      writeFileSync(`${folder}/snippet-${i}.mts`, `${given}\n${text}}\nexport {};`);
    });
    const options = {
      ...{ target: 'es2023', module: 'nodenext', types: ['node'], noEmit: true },
      ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
    };
    const config = { compilerOptions: options, include: ['*.mts'] };
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(config));
    const tsc = `${root}/node_modules/typescript/bin/tsc`;
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], {
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;

describe('snippets', () => {
  test.each(snippets)('that of $name runs and prints what it says', async ({ text }) => {
    const dp = new Datapath({ topology: { numa: [[0, 1]] } });
    try {
      const left = await dp.addPort({ name: 'left', type: 'memory' });
      const right = await dp.addPort({ name: 'right', type: 'memory' });
      const told: unknown[][] = [];
      const scope = {
        ...{ Datapath, DatapathError, dp, left, right, frame: udpFrame() },
        console: { log: (...args: unknown[]) => told.push(args) },
      };
      await new AsyncFunction(...Object.keys(scope), text)(...Object.values(scope));
      // `console.log(x); // value`: where it is one word, the value is what is printed. Such lines come first.
      const said = [...text.matchAll(/^ *console\.log\(.*\); \/\/ (\S+)$/gm)].map((m) => m[1]);
      expect(told.slice(0, said.length).map(([value]) => shown(value))).toEqual(said);
      if (dp.state === 'open') {
        await dp.settle();
        expectLedgerCloses(dp);
      }
    } finally {
      await dp.close();
    }
  });
});

test('the trace that README.md shows is that of its script', async () => {
  const { blocks } = documentOf('README.md');
  const script = blocks.find(({ text }) => text.includes('dp.trace('))!;
  const sample = blocks.find(({ text }) => text.startsWith('frame '))!.text;
  const dp = new Datapath({ topology: { numa: [[0, 1]] } });
  try {
    await dp.addPort({ name: 'left', type: 'memory' });
    await dp.addPort({ name: 'right', type: 'memory' });
    const told: unknown[] = [];
    const scope = { dp, frame: udpFrame(), console: { log: (value: unknown) => told.push(value) } };
    await new AsyncFunction(...Object.keys(scope), script.text)(...Object.values(scope));
    const lines = String(told.at(-1)).split('\n');
    const shownLines = sample.trimEnd().split('\n');
    expect(lines).toHaveLength(shownLines.length);
    for (const [i, line] of shownLines.entries()) {
      const parts = line.split('…');
      expect(lines[i]!.startsWith(parts[0]!), line).toBe(true);
      expect(lines[i]!.endsWith(parts.at(-1)!), line).toBe(true);
    }
  } finally {
    await dp.close();
  }
});

const shown = (value: unknown) => (typeof value === 'bigint' ? `${value}n` : String(value));

test('every port type that README.md names exists, and each that works is in its table', () => {
  const types = Datapath.portTypes();
  const table = readme.match(/^\| type .*?\n\n/ms)![0];
  const named = [...table.matchAll(/^\| \[?`(\w+)`/gm)].map((match) => match[1]!);
  expect(types.map(({ type }) => type)).toEqual(expect.arrayContaining(named));
  const built = types.filter(({ reason }) => !reason?.startsWith('not built'));
  expect(named.sort()).toEqual(built.map(({ type }) => type).sort());
});

test('the options of port types are those that docs/ports.md names', () => {
  const document = documentOf('docs/ports.md');
  const rows = [...document.text.matchAll(/^\| `(\w+)` \| (`.*`) \|$/gm)];
  expect(rows.length).toBeGreaterThan(0);
  const namesIn = (text: string) => [...text.matchAll(/`(\w+)`/g)].map((match) => match[1]!);
  const common = namesIn(document.text.match(/^Every type takes .*$/m)![0].split('. ')[0]!);
  for (const [, type, options] of rows) {
    const refused = thrown(() => readPortSpec({ name: 'p', type, 'no such option': 1 }));
    const there = refused.hint!.replace('there are: ', '').split(', ');
    expect(['type', ...common, ...namesIn(options!)].sort(), type).toEqual(there.sort());
  }
});
