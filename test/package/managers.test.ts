// The tarball under the package managers of its users: it installs without a script, without a question, and loads.
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Project } from './project.js';

const tools = new Project();
beforeAll(() => {
  tools.install(
    ...['pnpm10@npm:pnpm@10', 'pnpm-newest@npm:pnpm@latest', 'yarn4@npm:@yarnpkg/cli-dist@4'],
  );
});
afterAll(() => tools[Symbol.dispose]());

const program = `
  import { Datapath } from 'pollux';
  const dp = new Datapath();
  const { number } = await dp.addPort({ name: 'a', type: 'memory' });
  await dp.close();
  console.log(number);
`;

test.each([
  ['pnpm 10', 'pnpm10/bin/pnpm.cjs', ['install']],
  ['the newest pnpm', 'pnpm-newest/bin/pnpm.mjs', ['install']],
  ['yarn 4', 'yarn4/bin/yarn.js', ['install', '--no-immutable']],
])('%s', (_, path, args) => {
  using project = new Project({ dependencies: { pollux: `file:${inject('tarball').path}` } });
  // Folders of node_modules, as a plain `node` finds them; and stores of their own.
  project.write(
    '.yarnrc.yml',
    `nodeLinker: node-modules\nenableTelemetry: false\nenableGlobalCache: false\nglobalFolder: ${project.folder}/.yarn-global\n`,
  );
  project.write('yarn.lock', '');
  const store = { npm_config_store_dir: `${project.folder}/.store` };
  const script = `${tools.folder}/node_modules/${path}`;
  const said = project.run(process.execPath, [script, ...args], { CI: '1', ...store });
  expect(said).not.toMatch(/ignored build scripts|node-gyp|must be built/i);
  project.write('program.mjs', program);
  expect(project.node('program.mjs')).toBe('1');
});
