// The floors of native/: a file includes its own floor or lower ones, only binding/ sees N-API, and every source is
// listed in sources.gypi. Prints each breach; exits non-zero if there is one.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { sources } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { filesBelow } from './lib/stamp.mjs';

// Lowest first.
const floors = [
  'base',
  'packet',
  'flow',
  'classifier',
  'actions',
  'netdev',
  'pmd',
  'datapath',
  'binding',
];
const nodeHeader = /^(napi.*|node(_api.*)?|js_native_api.*|uv|v8.*)\.h$/;

const floorOf = (path) => floors.indexOf(path.split('/')[0]);

/** What is wrong with one include line of a file (both relative to native/), or undefined. */
export function breach(file, include, quoted) {
  if (nodeHeader.test(include)) {
    return file.startsWith('binding/') ? undefined : 'only binding/ sees Node and N-API';
  }
  if (!quoted) return undefined;
  if (floorOf(include) < 0) return 'write it as "floor/name.h"';
  if (floorOf(include) > floorOf(file)) return 'a higher floor';
  return undefined;
}

export function allBreaches() {
  const found = [];
  const files = filesBelow('native', (file) => /\.(cc|h)$/.test(file));
  for (const path of files) {
    const file = path.slice('native/'.length);
    if (floorOf(file) < 0) found.push(`${path}: not on a floor (${floors.join(', ')})`);
    for (const [i, line] of readFileSync(inRoot(path), 'utf8').split('\n').entries()) {
      const match = line.match(/^\s*#\s*include\s*(["<])([^">]+)[">]/);
      const wrong = match && breach(file, match[2], match[1] === '"');
      if (wrong) found.push(`${path}:${i + 1}: includes ${match[2]}: ${wrong}`);
    }
  }

  const { core_sources, binding_sources } = sources();
  const listed = new Set([...core_sources, ...binding_sources]);
  const present = new Set(files.filter((file) => file.endsWith('.cc')));
  for (const file of present) {
    if (!listed.has(file)) found.push(`${file}: not listed in native/sources.gypi`);
  }
  for (const file of listed) {
    if (!present.has(file)) found.push(`native/sources.gypi: ${file} does not exist`);
    const list = file.startsWith('native/binding/') ? binding_sources : core_sources;
    if (!list.includes(file)) found.push(`native/sources.gypi: ${file} is in the wrong list`);
  }
  return found;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const found = allBreaches();
  for (const line of found) console.log(line);
  process.exitCode = found.length > 0 ? 1 : 0;
}
