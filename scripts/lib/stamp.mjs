// "Has this changed since we last built it?": a hash of the inputs, kept beside the output.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inRoot } from './root.mjs';

/** Every file below a folder (or the file itself), relative to the root, sorted. Missing paths have no files. */
export function filesBelow(path, wanted = () => true) {
  const full = inRoot(path);
  if (!existsSync(full)) return [];
  if (statSync(full).isFile()) return [path];
  return readdirSync(full, { withFileTypes: true })
    .flatMap((entry) => {
      const below = join(path, entry.name);
      if (entry.isDirectory()) return filesBelow(below, wanted);
      return wanted(below) ? [below] : [];
    })
    .sort();
}

export function hashOf(files, ...extra) {
  const hash = createHash('sha256').update(JSON.stringify(extra));
  for (const file of files) {
    hash.update(`\0${file}\0`).update(readFileSync(inRoot(file)));
  }
  return hash.digest('hex');
}

/**
 * Calls `build` unless `output` exists and its stamp holds `hash`. Writes the stamp after a build that neither threw nor
 * returned false.
 */
export async function whenChanged({ stamp, output, hash }, build) {
  const file = inRoot(stamp);
  const current = existsSync(file) && readFileSync(file, 'utf8') === hash;
  if (current && existsSync(inRoot(output))) return false;
  if ((await build()) === false) return true;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, hash);
  return true;
}
