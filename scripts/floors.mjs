// The rooms of native/ and src/, and what each may see. Prints each breach; exits non-zero if there is one.
//
// A room is a folder, or a file that stands by itself. A row of the table names the rooms whose files it may include
// or import; its own files it may always. A row names only rows above it, so that the table has no circle; files must
// not have one either, inside a room. To open a room, add its row and name it in the rows that may see it.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sources } from './lib/native.mjs';
import { inRoot } from './lib/root.mjs';
import { filesBelow } from './lib/stamp.mjs';

const packets = ['base', 'packet', 'flow'];
const devices = [...packets, 'kernel/bpf', 'kernel', 'netdev'];
const stages = [...packets, 'classifier', 'actions', 'kernel', 'netdev'];

const low = ['errors', 'entry', 'json', 'check', 'binding'];
const language = ['errors', 'check', 'odp/names', 'odp/schema', 'odp/types', 'odp/text'];
const words = ['odp/nearest', 'odp/habits'];

/** Lowest first. */
export const trees = {
  native: {
    rooms: {
      base: [],
      packet: ['base'],
      'kernel/bpf': ['base'],
      kernel: ['base', 'kernel/bpf'],
      flow: ['base', 'packet'],
      classifier: packets,
      actions: packets,
      netdev: [...packets, 'kernel'],
      'netdev/xsk': devices,
      'netdev/af_packet': [...devices, 'netdev/xsk'],
      'netdev/af_xdp': [...devices, 'netdev/xsk', 'netdev/af_packet'],
      'netdev/pcap': devices,
      changes: [...packets, 'classifier', 'actions'],
      forwarding: stages,
      datapath: [...stages, 'kernel/bpf', 'changes', 'forwarding', 'netdev/af_xdp'],
      binding: [...stages, 'changes', 'datapath'],
    },
    isSource: (file) => /\.(cc|h)$/.test(file),
    seen: includes,
  },
  src: {
    rooms: {
      errors: [],
      json: [],
      entry: ['errors'],
      check: ['errors'],
      'record-layouts': [],
      'load-addon': ['errors', 'entry'],
      binding: ['load-addon'],
      stats: ['json', 'binding'],
      options: ['errors', 'check', 'binding'],
      'odp/names': [],
      'odp/nearest': [],
      'odp/habits': [],
      'odp/schema': [],
      'odp/types': ['odp/names', 'odp/schema'],
      'odp/text': ['errors'],
      'odp/values': language,
      'odp/match': [...language, ...words, 'odp/values'],
      'odp/actions': [...language, ...words, 'odp/values', 'odp/match'],
      odp: [...language, ...words, 'entry', 'odp/values', 'odp/match', 'odp/actions'],
      ports: [...low, 'stats', 'odp'],
      flows: [...low, 'record-layouts', 'odp', 'ports'],
      upcalls: [...low, 'record-layouts', 'odp', 'ports', 'flows'],
      trace: [...low, 'stats', 'odp', 'flows'],
      wire: [...low, 'odp', 'ports', 'flows'],
      news: [...low, 'ports', 'flows'],
      configure: [...low, 'options', 'odp', 'ports', 'flows'],
      datapath: [
        ...[...low, 'stats', 'options', 'odp', 'ports', 'flows', 'upcalls'],
        ...['trace', 'wire', 'news', 'configure'],
      ],
      doctor: ['binding', 'ports'],
      language: ['errors', 'odp'],
      index: [
        ...['errors', 'binding', 'stats', 'options', 'odp', 'ports', 'flows', 'upcalls'],
        ...['trace', 'wire', 'news', 'configure', 'datapath', 'doctor'],
      ],
      cli: ['errors', 'doctor'],
    },
    isSource: (file) => /\.ts$/.test(file),
    seen: imports,
    most: { files: 20, lines: 500 },
  },
};

const nodeHeader = /^(napi.*|node(_api.*)?|js_native_api.*|uv|v8.*)\.h$/;

/** The files of the tree that a source includes: [{ line, path }], or [{ line, wrong }] for what no source may. */
function includes(file, text) {
  return text.split('\n').flatMap((row, i) => {
    const match = row.match(/^\s*#\s*include\s*(["<])([^">]+)[">]/);
    if (!match) return [];
    const [, quote, path] = match;
    const line = i + 1;
    if (nodeHeader.test(path)) {
      if (file.startsWith('binding/')) return [];
      return [{ line, wrong: `includes ${path}: only binding/ sees Node and N-API` }];
    }
    if (quote === '<') return [];
    if (!path.includes('/'))
      return [{ line, wrong: `includes ${path}: write it as "room/name.h"` }];
    return [{ line, path }];
  });
}

/** The files of the tree that a source imports, types too, and those that it loads later. */
function imports(file, text) {
  const found = [];
  for (const match of text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"](\.[^'"]+)['"]/g)) {
    const line = text.slice(0, match.index).split('\n').length;
    found.push({ line, path: join(dirname(file), match[1]).replace(/\.js$/, '.ts') });
  }
  return found;
}

/** The room of a file: the innermost one. */
export function roomOf(rooms, file) {
  for (let at = file.replace(/\.\w+$/, ''); at !== '.'; at = dirname(at)) {
    if (Object.hasOwn(rooms, at)) return at;
  }
  return undefined;
}

/** What is wrong with a tree: `files` are texts by path, relative to the tree. */
export function breachesOf(name, files) {
  const { rooms, seen, most } = trees[name];
  const found = [];
  const graph = new Map();
  for (const [file, text] of files) {
    const path = `${name}/${file}`;
    const room = roomOf(rooms, file);
    if (room === undefined) found.push(`${path}: in no room of scripts/floors.mjs`);
    const references = seen(file, text);
    for (const { line, path: target, wrong } of references) {
      if (wrong !== undefined) found.push(`${path}:${line}: ${wrong}`);
      if (target === undefined || room === undefined) continue;
      const other = roomOf(rooms, target);
      if (other === room || rooms[room].includes(other)) continue;
      found.push(`${path}:${line}: ${room} must not see ${other ?? target}`);
    }
    graph.set(
      file,
      references.flatMap(({ path: target }) => (files.has(target) ? [target] : [])),
    );
    const lines = text.split('\n').length - 1;
    if (most && lines > most.lines) found.push(`${path}: ${lines} lines, more than ${most.lines}`);
  }
  for (const circle of circles(graph)) found.push(`${name}: a circle: ${circle.join(' -> ')}`);
  if (most) found.push(...crowds(name, files, most.files));
  return [...found, ...rowBreaches(name, [...files.keys()])];
}

/** What is wrong with the table itself. */
function rowBreaches(name, files) {
  const { rooms } = trees[name];
  const present = new Set(files.map((file) => roomOf(rooms, file)));
  const above = new Set();
  const found = [];
  for (const [room, others] of Object.entries(rooms)) {
    if (!present.has(room)) found.push(`scripts/floors.mjs: ${name}/${room} does not exist`);
    for (const other of others) {
      if (above.has(other)) continue;
      found.push(
        `scripts/floors.mjs: the row of ${name}/${room} names ${other}, which is not above`,
      );
    }
    above.add(room);
  }
  return found;
}

/** Folders with more files beside each other than one can take in. */
function crowds(name, files, most) {
  const counts = new Map();
  for (const file of files.keys()) {
    const folder = join(name, dirname(file));
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > most)
    .map(([folder, count]) => `${folder}: ${count} files beside each other, more than ${most}`);
}

/** Circles of a graph, each as the way from a file back to it. One at least for each knot of files. */
function circles(graph) {
  const found = [];
  const done = new Set();
  const way = [];
  const walk = (file) => {
    if (done.has(file)) return;
    const at = way.indexOf(file);
    if (at >= 0) {
      found.push([...way.slice(at), file]);
      return;
    }
    way.push(file);
    for (const next of graph.get(file)) walk(next);
    way.pop();
    done.add(file);
  };
  for (const file of graph.keys()) walk(file);
  return found;
}

/** The sources of a tree: texts by path, relative to the tree. */
export function filesOf(name) {
  const paths = filesBelow(name, trees[name].isSource);
  return new Map(
    paths.map((path) => [path.slice(name.length + 1), readFileSync(inRoot(path), 'utf8')]),
  );
}

/** Sources that sources.gypi does not list, lists without need, or lists in the wrong place. */
function unlisted() {
  const found = [];
  const { core_sources, binding_sources } = sources();
  const listed = new Set([...core_sources, ...binding_sources]);
  const present = new Set(filesBelow('native', (file) => file.endsWith('.cc')));
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

export function allBreaches() {
  const breaches = Object.keys(trees).flatMap((name) => breachesOf(name, filesOf(name)));
  return [...breaches, ...unlisted()];
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const found = allBreaches();
  for (const line of found) console.log(line);
  process.exitCode = found.length > 0 ? 1 : 0;
}
