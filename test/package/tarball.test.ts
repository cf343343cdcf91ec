// What a user gets from the registry: the packed tarball, installed into an empty project without running any script,
// loading its prebuilt addon and nothing else.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Project } from './project.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const project = new Project();
const addon = `prebuilds/linux-${process.arch}/pollux.glibc.node`;
const packed = inject('tarball').files;

const node = (...args: string[]) => project.node(...args);
const readelf = (...args: string[]) =>
  project.run('readelf', ['--wide', ...args, join('node_modules/pollux', addon)]);

beforeAll(() => project.install());
afterAll(() => project[Symbol.dispose]());

describe('the tarball', () => {
  test('carries what is needed to run, and to build from source', () => {
    for (const path of [
      ...['dist/index.js', 'dist/index.d.ts', addon, 'LICENSE'],
      ...['native/binding.gyp', 'native/sources.gypi', 'native/binding/addon.cc', 'NOTICE'],
    ]) {
      expect(packed).toContain(path);
    }
  });

  test('carries nothing else', () => {
    const known =
      /^(dist|src|native|prebuilds|docs)\/|^(package\.json|LICENSE|NOTICE|(README|CHANGELOG)\.md)$/;
    expect(packed.filter((path) => !known.test(path))).toEqual([]);
    expect(packed.filter((path) => /\.(stamp|o|so|test\.\w+)$/.test(path))).toEqual([]);
  });

  test('is not made of what could not load', () => {
    using bare = new Project();
    for (const path of ['scripts', 'binding.gyp', 'package.json']) {
      cpSync(join(root, path), join(bare.folder, path), { recursive: true });
    }
    expect(() => bare.run('npm', ['pack'])).toThrow(
      /no prebuilt addon in prebuilds\/: npm run prebuildify\n.*no dist\/index\.js: npm run build/,
    );
    expect(readdirSync(bare.folder).filter((name) => name.endsWith('.tgz'))).toEqual([]);
  });

  test('builds from source by the line that a failure to load names', () => {
    using other = new Project();
    other.install();
    const inPackage = (line: string) =>
      other.run('sh', ['-c', `cd node_modules/pollux && ${line}`], { MAKEFLAGS: '' });
    const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
    const nodedir = join(dirname(realpathSync(process.execPath)), '..');
    const headers = existsSync(join(nodedir, 'include/node')) ? `--nodedir=${nodedir}` : '';
    inPackage(`cp native/binding.gyp . && "${process.execPath}" "${gyp}" configure ${headers}`);
    const make = 'make -C build BUILDTYPE=Release';
    // A source that is missing is no rule to make a target.
    expect(inPackage(`${make} -n pollux`)).toContain('native/binding/addon.o');
    // One of each kind; all of them take minutes.
    const objects = ['packet/checksum', 'binding/addon'].map(
      (name) => `Release/obj.target/pollux/native/${name}.o`,
    );
    inPackage(`${make} ${objects.join(' ')}`);
    for (const object of objects) {
      expect(existsSync(join(other.folder, 'node_modules/pollux/build', object))).toBe(true);
    }
  });

  test('asks npm to run no script', () => {
    const lock = readFileSync(join(project.folder, 'package-lock.json'), 'utf8');
    expect(lock).toContain('node_modules/pollux');
    expect(lock).not.toContain('hasInstallScript');
  });
});

describe('the installed package', () => {
  test('loads by import', () => {
    const text = 'import { Datapath } from "pollux"; console.log(typeof Datapath)';
    expect(node('--input-type=module', '--eval', text)).toBe('function');
  });

  test('loads by require', () => {
    const text = 'console.log(typeof require("pollux").Datapath)';
    expect(node('--input-type=commonjs', '--eval', text)).toBe('function');
  });

  test('opens a datapath with a port, and closes it', () => {
    const text = `
      import { Datapath } from 'pollux';
      const dp = new Datapath();
      const port = await dp.addPort({ name: 'm1', type: 'memory' });
      await dp.close();
      console.log(typeof port.number, dp.state);`;
    expect(node('--input-type=module', '--eval', text)).toBe('number closed');
  });

  test('has the command pollux', () => {
    const args = ['node_modules/.bin/pollux', 'doctor', '--json'];
    const { stdout } = spawnSync(process.execPath, args, { cwd: project.folder, encoding: 'utf8' });
    expect(JSON.parse(stdout).portTypes.map(({ type }: { type: string }) => type)).toContain('tap');
  });

  test('has types that a strict program compiles against', () => {
    project.write(
      'user.mts',
      `import { Datapath } from 'pollux';
       const dp: Datapath = new Datapath();
       await dp.close();`,
    );
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    node(
      ...[tsc, '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023'],
      ...['--lib', 'es2023,esnext.disposable', '--types', 'node'],
      ...['--typeRoots', join(root, 'node_modules/@types'), 'user.mts'],
    );
  });
});

describe('the prebuilt addon', () => {
  test('needs no library but libc', () => {
    const needed = [...readelf('--dynamic').matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((m) => m[1]);
    const libc = /^(lib(c|m|pthread|dl|rt)\.so\.\d+|ld-linux-.+\.so\.\d+)$/;
    expect(needed).toContain('libc.so.6');
    expect(needed.filter((name) => !libc.test(name ?? ''))).toEqual([]);
  });

  test('shows no symbol but the N-API entry points', () => {
    const defined = readelf('--dyn-syms')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , , bind, , section]) => bind !== 'LOCAL' && section !== 'UND')
      .map((columns) => columns[7])
      .filter((name): name is string => name !== undefined && name !== 'Name');
    const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
    expect(defined.sort()).toEqual(entryPoints);
  });

  test('says which glibc it wants', () => {
    const versions = [...readelf('--version-info').matchAll(/GLIBC_(\d+)\.(\d+)/g)]
      .map((m) => Number(m[1]) * 1000 + Number(m[2]))
      .sort((a, b) => b - a);
    const newest = versions[0] ?? 0;
    console.log(`${basename(addon)} wants glibc ${Math.floor(newest / 1000)}.${newest % 1000}`);
    expect(newest).toBeGreaterThan(0);
    expect(newest).toBeLessThanOrEqual(2036); // Debian 12's, where prebuilds are made
  });
});
