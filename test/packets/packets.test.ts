// Packet tables: what comes in, what comes of it, byte for byte. README.md says how to read and write one.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Mode, runTable, traceTable } from './run.js';
import { readTable, type Table } from './table.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const command = fileURLToPath(new URL('../../scripts/packet-tables.mjs', import.meta.url));
const paths = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.txt'))
  .sort();

const modes: Record<string, Mode> = {
  'one by one': { together: false, copies: 1, emcInsertInvProb: 0 },
  // More than a batch of each, so that batches mix flows, and most packets are found in the cache.
  'in bursts': { together: true, copies: 33, emcInsertInvProb: 1 },
};

test('the bytes are those of the expressions, and their checksums are right', () => {
  const summary = execFileSync(process.execPath, [command, '--check'], { encoding: 'utf8' });
  const frames = paths.reduce((sum, path) => sum + readTable(`${here}${path}`).frames, 0);
  expect(summary).toMatch(
    new RegExp(`^${frames} frames in ${paths.length} tables, \\d{3,} checksums right\n$`),
  );
});

test('there are as many tables as there should be, each with a title of its own', () => {
  expect(paths.length).toBeGreaterThanOrEqual(150);
  const titles = paths.map((path) => readTable(`${here}${path}`).title);
  expect(titles.filter((title, i) => titles.indexOf(title) !== i)).toEqual([]);
});

test('trace() tells of every packet what would come of it', async () => {
  for (const path of paths) {
    const { expected, seen } = await traceTable(readTable(`${here}${path}`));
    expect.soft(seen, path).toBe(expected);
  }
}, 120_000);

describe.each(paths)('%s', (path) => {
  let table: Table;
  test.each(Object.entries(modes))('%s', async (_, mode) => {
    table ??= readTable(relative(process.cwd(), `${here}${path}`));
    const { expected, seen } = await runTable(table, mode);
    expect(seen, table.title).toBe(expected);
  });
});
