// Pollux in the bundles of its users: left out of them, as README says, or in them, with the package installed beside.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Project } from './project.js';

const program = `
  import { Datapath, parseMatch } from 'pollux';
  async function main() {
    const dp = new Datapath();
    const a = await dp.addPort({ name: 'a', type: 'memory' });
    dp.flows.put('in_port(a)', 'drop');
    console.log(a.number, dp.flows.size, parseMatch('in_port(7)').inPort);
    await dp.close();
  }
  main();
`;

const project = new Project();
beforeAll(() => {
  project.install('esbuild@0.28', 'webpack@5');
  project.write('program.js', program);
});
afterAll(() => project[Symbol.dispose]());

/** Bundles the program; what it is named. */
function bundle(format: 'esm' | 'cjs', ...options: string[]): string {
  const outfile = `out/${format}-${options.length}.${format === 'esm' ? 'mjs' : 'cjs'}`;
  project.run('node_modules/.bin/esbuild', [
    ...['program.js', '--bundle', '--platform=node', '--log-level=error', '--minify'],
    ...[`--format=${format}`, `--outfile=${outfile}`, ...options],
  ]);
  return outfile;
}

// Without "external" CommonJS loses import.meta, of which esbuild warns.
test.each([
  ['esm', ['--external:pollux']],
  ['cjs', ['--external:pollux']],
  ['esm', []],
  ['cjs', ['--log-override:empty-import-meta=silent']],
] as const)('esbuild, %s %j', (format, options) => {
  expect(project.node(bundle(format, ...options))).toBe('1 1 7');
});

/** The same by webpack, of CommonJS. */
function pack(outfile: string, externals: Readonly<Record<string, string>>): string {
  const options = {
    ...{ mode: 'production', target: 'node', entry: './program.js', externals },
    output: { path: join(project.folder, 'out'), filename: outfile },
  };
  const program = `
    require('webpack')(${JSON.stringify(options)}, (error, stats) => {
      const failed = error ?? (stats.hasErrors() || stats.hasWarnings() ? stats.toString() : undefined);
      if (failed) { console.error(String(failed)); process.exit(1); }
    });`;
  project.node('--input-type=commonjs', '--eval', program);
  return `out/${outfile}`;
}

test('webpack, externals', () => {
  expect(project.node(pack('external.cjs', { pollux: 'commonjs pollux' }))).toBe('1 1 7');
});
test('webpack, inside', () => {
  expect(project.node(pack('inside.cjs', {}))).toBe('1 1 7');
});

test.each(['esm', 'cjs'] as const)(
  'a bundle (%s) away from the package says what to do',
  (format) => {
    using other = new Project();
    const file = bundle(format, '--log-override:empty-import-meta=silent');
    cpSync(join(project.folder, file), join(other.folder, file));
    expect(() => other.node(file)).toThrow(/no part of the bundle[\s\S]*esbuild --external:pollux/);
  },
);
