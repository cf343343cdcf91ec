/**
 * Finds and loads the native addon: from the package's own folder, or, where this file has become part of
 * a bundle, from the package that is installed beside it. What cannot work is told apart, each with the
 * line to type; what would abort is refused before anything is touched.
 */
import { existsSync, readFileSync } from 'node:fs';
import Module from 'node:module'; // Webpack follows `createRequire` by that name alone, and breaks it.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { entry } from './entry.js';
import { DatapathError, isError } from './errors.js';

const kName = 'pollux';

// In a bundle of CommonJS.
declare const __filename: string | undefined;

function refusal(reason: string, hint: string, cause?: unknown): DatapathError {
  return new DatapathError(`the native addon does not load: ${reason}`, {
    code: 'ERR_ADDON_NOT_LOADED',
    hint,
    cause,
  });
}

/** Throws where no attempt should be made. */
function checkRuntime(): void {
  const { bun, deno } = process.versions;
  const other = bun !== undefined ? 'Bun' : deno !== undefined ? 'Deno' : undefined;
  if (other !== undefined) {
    throw refusal(
      `this is ${other}, whose Node-API it does not work with`,
      'run it with Node 20 or newer: node app.mjs',
    );
  }
  if (process.platform !== 'linux') {
    throw refusal(
      `this is ${process.platform}, and Pollux forwards packets on Linux only`,
      'flows as text and as objects work everywhere: import from pollux/odp',
    );
  }
}

function isPackage(folder: string): boolean {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).name === kName;
  } catch {
    return false;
  }
}

/** The folder of the package. */
function packageFolder(): string {
  // Bundlers of CommonJS leave an import.meta without url.
  const url = import.meta.url as string | undefined;
  const here =
    url !== undefined
      ? fileURLToPath(url)
      : typeof __filename === 'string'
        ? __filename
        : undefined;
  const above = dirname(dirname(here ?? process.argv[1] ?? ''));
  if (isPackage(above)) return above;
  // Webpack leaves the url that this file had when the bundle was made.
  const bases = [here, process.argv[1], join(process.cwd(), 'x.js')];
  const causes: unknown[] = [];
  for (const base of bases) {
    if (base === undefined) continue;
    try {
      return dirname(Module.createRequire(base).resolve(`${kName}/package.json`));
    } catch (cause) {
      causes.push(cause);
    }
  }
  throw refusal(
    'it is no part of the bundle, and the package is not installed beside it',
    `leave Pollux out of the bundle (esbuild --external:${kName}, or "externals" of webpack), and install it where the program runs: npm install ${kName}`,
    causes[0],
  );
}

/** Why loading failed, and what to do about it. */
function explain(cause: unknown, folder: string): DatapathError {
  const { code } = cause as { code?: string };
  const build = `cd ${folder} && ${
    existsSync(join(folder, 'binding.gyp')) ? '' : 'cp native/binding.gyp . && '
  }npx node-gyp rebuild (needs a C++20 compiler, make and python3; in a clone: npm run build)`;
  const permission = (process as { permission?: { has(scope: string): boolean } }).permission;
  if (code === 'ERR_DLOPEN_DISABLED' || code === 'ERR_ACCESS_DENIED') {
    return permission === undefined
      ? refusal('this process may load none (--no-addons)', 'start Node without --no-addons', cause)
      : refusal(
          'the permission model of this process forbids it',
          'start Node with --permission --allow-addons --allow-fs-read=*',
          cause,
        );
  }
  const prebuilds = join(folder, 'prebuilds', `linux-${process.arch}`);
  if (isMusl()) {
    return refusal(
      'the prebuilt one is for glibc, and this system has musl',
      `build it: ${build}`,
      cause,
    );
  }
  if (!existsSync(prebuilds)) {
    return refusal(`there is none for linux-${process.arch}`, `build it: ${build}`, cause);
  }
  const reason = isError(cause) ? cause.message.split('\n')[0]! : String(cause);
  return refusal(`${reason} (Node ${process.versions.node})`, `build it: ${build}`, cause);
}

function isMusl(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined;
}

export const loadAddon = entry(function loadAddon(): unknown {
  checkRuntime();
  const folder = packageFolder();
  try {
    return Module.createRequire(join(folder, 'package.json'))('node-gyp-build')(folder);
  } catch (error) {
    throw explain(error, folder);
  }
});
