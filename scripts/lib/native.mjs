// The CMake side of native/: building a variant, and the flags clang's checkers need.
import { mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { nodeHeaders } from './addon.mjs';
import { inRoot, root } from './root.mjs';
import { run, showWarnings } from './run.mjs';
import { clangTool } from './tools.mjs';

const require = createRequire(import.meta.url);

/** One build tree each, below out/. `bench` is compiled as the shipped addon is; the others keep assert().
 * `fuzz` needs clang. */
export const variants = {
  plain: {},
  address: { POLLUX_SANITIZE: 'address' },
  thread: { POLLUX_SANITIZE: 'thread' },
  bench: { POLLUX_NDEBUG: 'ON' },
  fuzz: { POLLUX_SANITIZE: 'address', POLLUX_FUZZ: 'ON' },
};

/**
 * Builds one target of one variant and returns the path of its build tree.
 * `source` is the tree to build, for those who build a changed copy of it: package.json, CMakeLists.txt, native/ and
 * test/ are enough.
 */
export async function buildNative(variant, target, { source = root, timeoutMs = 900_000 } = {}) {
  const settings = { ...variants[variant] };
  if (settings.POLLUX_FUZZ) settings.CMAKE_CXX_COMPILER = clangTool('clang++');
  const options = Object.entries(settings).map(([name, value]) => `--CD${name}=${value}`);
  const tree = `${source}/out/${variant}`;
  const where = ['--directory', source, '--out', tree];
  const cmakeJs = async (...args) => {
    const program = require.resolve('cmake-js/bin/cmake-js');
    const { code, output } = await run(process.execPath, [program, ...args], {
      cwd: source,
      timeoutMs,
    });
    if (code !== 0) throw new Error(`${target} (${variant}) does not build`);
    showWarnings(output);
  };
  // Every time: it is quick, and a configuration that failed halfway is mended by the next.
  await cmakeJs('configure', ...where, `--CDPOLLUX_NODE_HEADERS=${nodeHeaders()}`, ...options);
  await cmakeJs('build', ...where, '--target', target, '--parallel', '2');
  return tree;
}

/** The environment for a Node that uses the addon under AddressSanitizer, which this builds. */
export async function sanitizedAddon() {
  const tree = await buildNative('address', 'pollux_addon');
  const release = `${tree}/package/build/Release`;
  mkdirSync(release, { recursive: true });
  rmSync(`${release}/pollux.node`, { force: true });
  symlinkSync(`${tree}/pollux.node`, `${release}/pollux.node`);
  const { output } = await run('g++', ['-print-file-name=libasan.so']);
  return {
    POLLUX_PREBUILD: `${tree}/package`,
    LD_PRELOAD: output.trim(),
    ASAN_OPTIONS: 'detect_leaks=0', // Node keeps what it has until it ends
  };
}

export function sources() {
  return JSON.parse(readFileSync(inRoot('native/sources.gypi'), 'utf8')).variables;
}

/** Arguments for clang to understand any native source, the binding's included. */
export function clangFlags() {
  const headers = [nodeHeaders(), require('node-addon-api').include_dir];
  return ['-std=c++20', '-pthread', `-I${inRoot('native')}`]
    .concat(headers.flatMap((dir) => ['-isystem', dir]))
    .concat(['-DNAPI_VERSION=9', '-DNODE_ADDON_API_CPP_EXCEPTIONS_ALL'])
    .concat(['-Wall', '-Wextra', '-Wno-missing-field-initializers']);
}
