// What a C++ source is made of.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inRoot } from './root.mjs';

const ofText = /^\s*#\s*include\s*"([^"]+)"/gm;

/** A source, relative to the root, and all files of this tree that it includes, directly or not. Sorted. */
export function withIncludes(source) {
  const found = new Set();
  const add = (file) => {
    if (found.has(file)) return;
    found.add(file);
    for (const [, path] of readFileSync(inRoot(file), 'utf8').matchAll(ofText)) {
      const folders = [dirname(file), 'native', 'test/native'];
      const folder = folders.find((folder) => existsSync(inRoot(folder, path)));
      if (folder) add(join(folder, path));
    }
  };
  add(source);
  return [...found].sort();
}
