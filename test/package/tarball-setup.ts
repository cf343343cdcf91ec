// Once for all tests of the package: the tarball as it would be published, with its prebuilt addon.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What `npm pack --json` says of the tarball. */
export interface Tarball {
  readonly path: string;
  readonly files: readonly string[];
}

declare module 'vitest' {
  export interface ProvidedContext {
    tarball: Tarball;
  }
}

export default function setup(project: TestProject): () => void {
  const stage = mkdtempSync(join(tmpdir(), 'pollux-stage-')); // the clone as it would be published
  const notPublished = new Set(['.git', 'node_modules', 'build', 'out', 'prebuilds']);
  cpSync(root, stage, {
    recursive: true,
    filter: (path) => !notPublished.has(relative(root, path).split('/')[0] ?? ''),
  });
  execFileSync(process.execPath, [join(root, 'scripts/prebuild.mjs'), `--out=${stage}`]);
  const report = execFileSync('npm', ['pack', '--json'], { cwd: stage, encoding: 'utf8' });
  // What npm says of the scripts that it runs stands in front.
  const json = report.slice(report.search(/^\[/m));
  const packed: { filename: string; files: { path: string }[] } = JSON.parse(json)[0];
  project.provide('tarball', {
    path: join(stage, packed.filename),
    files: packed.files.map((file) => file.path),
  });
  return () => rmSync(stage, { recursive: true, force: true });
}
