// What README.md shows, runs: the first script as a reader would run it, every other block on two memory ports. All of it
// is TypeScript of the strictest kind that needs no types to be taken out.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Datapath, DatapathError } from 'pollux';
import { afterAll, describe, expect, test } from 'vitest';
import { expectLedgerCloses, udpFrame } from '../support/datapath.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(`${root}/README.md`, 'utf8');
const [first, ...others] = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!);

afterAll(() => rmSync('/tmp/pollux.pcapng', { force: true })); // what a snippet records

test('the first script prints what it says', async () => {
  expect(first).toContain("from 'pollux'");
  const said = [...first!.matchAll(/^console\.log\(.*\/\/ (.*)$/gm)].map((match) => match[1]);
  expect(said.length).toBeGreaterThan(0);
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', first!], {
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
    writeFileSync(`${folder}/0.mts`, first!);
    others.forEach((text, i) => {
      writeFileSync(`${folder}/${i + 1}.mts`, `${given}\n${text}}\nexport {};`);
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

describe('snippets', () => {
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
  test.each(others.map((text, i) => ({ text, number: i + 1 })))(
    'the one of number $number runs and prints what it says',
    async ({ text }) => {
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
    },
  );
});

const shown = (value: unknown) => (typeof value === 'bigint' ? `${value}n` : String(value));

test('every port type and script that it names exists', () => {
  const types = Datapath.portTypes().map(({ type }) => type as string);
  const table = readme.match(/^\| type .*?\n\n/ms)![0];
  for (const [, name] of table.matchAll(/^\| `(\w+)`/gm)) expect(types).toContain(name);
  const scripts = Object.keys(JSON.parse(readFileSync(`${root}/package.json`, 'utf8')).scripts);
  for (const [, name] of readme.matchAll(/npm run ([\w:]+)/g)) expect(scripts).toContain(name);
});
