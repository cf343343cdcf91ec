/** The guards of the layout: an arrow that the table does not have, and a circle, are told of in either tree. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { allBreaches, breachesOf, filesOf } from '../../scripts/floors.mjs';
import { inRoot } from '../../scripts/lib/root.mjs';

/** What is said of a tree in which these files stand, too. */
function planted(tree: 'native' | 'src', files: Readonly<Record<string, string>>): string[] {
  return breachesOf(tree, new Map([...filesOf(tree), ...Object.entries(files)]));
}

describe('floors', () => {
  it('finds nothing in the sources as they are', () => {
    expect(allBreaches()).toEqual([]);
  });

  it.each([
    ['a higher floor', 'base/planted.h', 'packet/packet.h', 'base must not see packet'],
    [
      'a room beside it',
      'actions/planted.h',
      'classifier/emc.h',
      'actions must not see classifier',
    ],
    [
      'a folder that is no room',
      'flow/planted.h',
      'rules/table.h',
      'flow must not see rules/table.h',
    ],
    ['a name without its room', 'flow/planted.h', 'flow.h', 'write it as "room/name.h"'],
  ])('native: an include of %s', (_, file, include, said) => {
    const found = planted('native', { [file]: `// Planted.\n#include "${include}"\n` });
    expect(found).toEqual([expect.stringContaining(`native/${file}:2: `)]);
    expect(found[0]).toContain(said);
  });

  it('native: only binding/ sees Node', () => {
    const text = '#include <napi.h>\n';
    expect(planted('native', { 'binding/planted.h': text })).toEqual([]);
    expect(planted('native', { 'datapath/planted.h': text })).toEqual([
      'native/datapath/planted.h:1: includes napi.h: only binding/ sees Node and N-API',
    ]);
  });

  it.each([
    ['a higher room', 'ports/planted.ts', "from '../flows/table.js'", 'ports must not see flows'],
    ['a higher file', 'flows/planted.ts', "from '../trace.js'", 'flows must not see trace'],
    [
      'a type',
      'odp/schema/planted.ts',
      "type X from '../types.js'",
      'odp/schema must not see odp/types',
    ],
    [
      'a room of the room',
      'odp/text/planted.ts',
      "from '../match/text.js'",
      'odp/text must not see odp/match',
    ],
  ])('src: an import of %s', (_, file, rest, said) => {
    const found = planted('src', { [file]: `import ${rest};\n` });
    expect(found).toEqual([expect.stringContaining(`src/${file}`)]);
    expect(found[0]).toContain(said);
  });

  it('src: a file that is imported when it is needed', () => {
    const text = "export const later = () => import('../datapath.js');\n";
    expect(planted('src', { 'upcalls/planted.ts': text })).toEqual([
      'src/upcalls/planted.ts:1: upcalls must not see datapath',
    ]);
  });

  it('a circle inside a room', () => {
    const header = (other: string) => `#include "flow/${other}.h"\n`;
    expect(
      planted('native', {
        'flow/planted_a.h': header('planted_b'),
        'flow/planted_b.h': header('planted_a'),
      }),
    ).toEqual(['native: a circle: flow/planted_a.h -> flow/planted_b.h -> flow/planted_a.h']);
    expect(
      planted('src', {
        'ports/planted-a.ts': "import type { B } from './planted-b.js';\n",
        'ports/planted-b.ts': "export type { C } from './planted-c.js';\n",
        'ports/planted-c.ts': "import './planted-a.js';\n",
      }),
    ).toEqual([
      'src: a circle: ports/planted-a.ts -> ports/planted-b.ts -> ports/planted-c.ts -> ports/planted-a.ts',
    ]);
  });

  it('src: a long file, a crowded folder, a file in no room', () => {
    expect(planted('src', { 'ports/planted.ts': '\n'.repeat(501) })).toEqual([
      'src/ports/planted.ts: 501 lines, more than 500',
    ]);
    const many = Array.from({ length: 21 }, (_, i) => [`wire/planted-${i}.ts`, '']);
    expect(planted('src', Object.fromEntries(many))).toEqual([
      'src/wire: 21 files beside each other, more than 20',
    ]);
    expect(planted('src', { 'planted.ts': '' })).toEqual([
      'src/planted.ts: in no room of scripts/floors.mjs',
    ]);
  });

  it('a row of the table without a file', () => {
    const files = new Map([...filesOf('src')].filter(([file]) => !file.startsWith('upcalls/')));
    expect(breachesOf('src', files)).toContain('scripts/floors.mjs: src/upcalls does not exist');
  });
});

describe('biome', () => {
  it('refuses a circle of types', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pollux-circle-'));
    try {
      copyFileSync(inRoot('biome.json'), join(folder, 'biome.json'));
      writeFileSync(
        join(folder, 'a.ts'),
        "import type { B } from './b.js';\n\nexport type A = B[];\n",
      );
      const lint = () =>
        spawnSync(inRoot('node_modules/.bin/biome'), ['lint', '.'], {
          cwd: folder,
          encoding: 'utf8',
        });
      writeFileSync(join(folder, 'b.ts'), 'export type B = string;\n');
      expect(lint().status).toBe(0);
      writeFileSync(
        join(folder, 'b.ts'),
        "import type { A } from './a.js';\n\nexport type B = A | string;\n",
      );
      const { status, stdout, stderr } = lint();
      expect(stdout + stderr).toContain('noImportCycles');
      expect(status).not.toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
