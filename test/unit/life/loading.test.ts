// Where the addon cannot be loaded, the error says why, each with the line to type.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));
let copy: string; // The package without any addon.
beforeAll(() => {
  copy = mkdtempSync(join(root, 'out/loading-'));
  for (const path of ['dist', 'package.json']) {
    cpSync(join(root, path), join(copy, path), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});
afterAll(() => rmSync(copy, { recursive: true }));

/** What importing `module` ends in. `before`: run first. */
function load(module: string, { flags = [] as string[], before = '', env = {} } = {}) {
  const text = `${before};
    const told = await import(${JSON.stringify(module)}).then(
      (pollux) => ({ loaded: Object.keys(pollux) }),
      ({ name, code, message, hint }) => ({ name, code, message, hint }),
    );
    console.log(JSON.stringify(told));`;
  const args = ['--no-warnings', ...flags, '--input-type=module', '--eval', text];
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

const pretend = (what: string, value: unknown) =>
  `Object.defineProperty(process, '${what}', { value: ${JSON.stringify(value)} })`;
const permission = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';

describe('refused', () => {
  const index = join(root, 'dist/index.js');
  const cases: [string, () => unknown, message: RegExp, hint: RegExp][] = [
    [
      'under Bun',
      () => load(index, { before: pretend('versions', { node: '24.0.0', bun: '1.3.0' }) }),
      /this is Bun/,
      /run it with Node/,
    ],
    [
      'under Deno',
      () => load(index, { before: pretend('versions', { node: '24.0.0', deno: '2.5.0' }) }),
      /this is Deno/,
      /run it with Node/,
    ],
    [
      'on another system',
      () => load(index, { before: pretend('platform', 'darwin') }),
      /this is darwin/,
      /pollux\/odp/,
    ],
    ['--no-addons', () => load(index, { flags: ['--no-addons'] }), /--no-addons/, /without/],
    [
      'the permission model',
      () => load(index, { flags: [permission, '--allow-fs-read=*'] }),
      /permission model/,
      /--allow-addons/,
    ],
    [
      'no prebuilt one for the processor',
      () => load(join(copy, 'dist/index.js'), { before: pretend('arch', 'riscv64') }),
      /there is none for linux-riscv64/,
      /npx node-gyp rebuild/,
    ],
    [
      'one for another libc only',
      () => {
        const report = '{ header: {} }';
        mkdirSync(join(copy, `prebuilds/linux-${process.arch}`), { recursive: true });
        return load(join(copy, 'dist/index.js'), {
          before: `process.report.getReport = () => (${report})`,
          env: { LIBC: 'musl' },
        });
      },
      /this system has musl/,
      /cp native\/binding.gyp \. && npx node-gyp rebuild/,
    ],
  ];
  test.each(cases)('%s', (_, told, message, hint) => {
    expect(told()).toEqual({
      name: 'DatapathError',
      code: 'ERR_ADDON_NOT_LOADED',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
  });
});

test('the flow language needs no addon, nor Linux', () => {
  const before = `${pretend('platform', 'darwin')}; ${pretend('versions', { node: '24.0.0', bun: '1' })}`;
  const { loaded } = load('pollux/odp', { before, flags: ['--no-addons'] });
  expect(loaded).toEqual(
    expect.arrayContaining(['formatActions', 'formatMatch', 'parseActions', 'parseMatch']),
  );
});
