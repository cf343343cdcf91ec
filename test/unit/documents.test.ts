// The documents say what is so: each path, link, command and test that they name is there. The blocks of TypeScript in
// them are run by readme.test.ts.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { trees } from '../../scripts/floors.mjs';
import { kRecordLayouts } from '../../src/record-layouts.js';
import {
  anchorsOf,
  documentOf,
  documents,
  filesBelow,
  findPath,
  isPath,
  root,
  sectionOf,
  spansOf,
  testNames,
} from '../support/documents.js';

const scripts = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts as Record<
  string,
  string
>;

const sources = filesBelow('native')
  .filter((path) => /\.(cc|h)$/.test(path))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

/** Says whether a script is there and knows the options. */
function takes(path: string | undefined, options = ''): boolean {
  if (path === undefined || !existsSync(join(root, path))) return false;
  const text = readFileSync(join(root, path), 'utf8');
  return [...options.matchAll(/--([\w-]+)/g)].every(([, name]) => text.includes(name!));
}

/** The file that an npm script runs after all that it prepares. */
const lastScriptOf = (name: string) => scripts[name]!.match(/.* (\S+\.mjs)/)?.[1];

/** What each kind of command needs in order to work; false: it would not. A line of no kind fails. */
const commands: readonly [RegExp, (match: RegExpMatchArray) => boolean][] = [
  [/^npm test( -- --all| -- [\w-]+)?$/, () => 'test' in scripts],
  [
    /^npm run ([\w:]+)(?: -- (.*))?$/,
    ([, name, options]) =>
      name! in scripts && (options === undefined || takes(lastScriptOf(name!), options)),
  ],
  [/^npm run prebuildify && npm pack$/, () => 'prebuildify' in scripts],
  [/^node first\.mjs$/, () => true], // by readme.test.ts
  [/^npx pollux doctor( --json)?$/, () => existsSync(join(root, 'src/cli/doctor.ts'))],
  [/^node (scripts\/[\w/-]+\.mjs)(?: (.*))?$/, ([, path, options]) => takes(path, options)],
  [
    /^npx vitest run( --project=pollux)? ([\w/.-]+)( -t .*)?$/,
    ([, , path]) => existsSync(join(root, path!)),
  ],
  [
    /^out\/plain\/native_tests --test-case='([^']+)\*'$/,
    ([, start]) => [...testNames()].some((name) => name.startsWith(start!)),
  ],
];

test('there are documents', () => {
  const paths = documents.map(({ path }) => path);
  expect(paths).toContain('README.md');
  expect(paths).toContain('docs/port-cache.md');
});

describe.each(documents.map((document) => ({ path: document.path, document })))(
  '$path',
  ({ document }) => {
    test('links lead somewhere', () => {
      for (const [, target] of document.text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target!)) continue;
        const [path, anchor] = target!.split('#') as [string, string?];
        const at = join(document.path, '..', path);
        if (path !== '') expect(existsSync(join(root, at)), target).toBe(true);
        if (anchor === undefined) continue;
        expect(anchorsOf(path === '' ? document : documentOf(at)), target).toContain(anchor);
      }
    });

    test('paths in backticks are there', () => {
      const missing = spansOf(document.text).filter(
        (span) => isPath(span) && findPath(span, document) === undefined,
      );
      // What a reader makes, a build does, or the kernel has.
      const made = /^(linux\/|first\.mjs|app\.mjs|dist\/|prebuilds\/|out\/)/;
      expect(missing.filter((span) => !made.test(span))).toEqual([]);
    });

    test('blocks are of TypeScript, which runs, of commands, which are known, or nothing to type', () => {
      for (const { language } of document.blocks) expect(['ts', 'sh', '']).toContain(language);
      // What a command or a script prints: doctor.test.ts and readme.test.ts compare.
      const printed = document.blocks.filter(({ language }) => language === '');
      expect(printed.filter(({ text }) => !/^(af_packet|frame) /.test(text))).toEqual([]);
      expect(document.text).not.toMatch(/^ {4}(npm|npx|node) /m);
      const lines = document.blocks
        .filter(({ language }) => language === 'sh')
        .flatMap(({ text }) => text.split('\n'));
      const spans = spansOf(document.text).filter((span) =>
        /^(npm|npx|node|out\/\w+\/\w+) /.test(span),
      );
      for (const line of [...lines, ...spans]) {
        const command = line.replace(/(^|\s+)#.*$/, '').trim();
        if (command === '') continue;
        const known = commands.flatMap(([pattern, works]) => {
          const match = command.match(pattern);
          return match === null ? [] : [works(match)];
        });
        expect(known, command).toContain(true);
      }
    });
  },
);

describe('docs/port-cache.md', () => {
  const rows = [
    ...documentOf('docs/port-cache.md').text.matchAll(/^\| S(\d+) \| .* \| (.*) \|$/gm),
  ];
  const pointsOf = (name: string) => {
    const points = name.match(/^((?:S\d+ )*S\d+): /)?.[1] ?? '';
    return [...points.matchAll(/\d+/g)].map(([point]) => Number(point));
  };

  test('has forty points, each with its tests, and all of them', () => {
    expect(rows.map((row) => Number(row[1]))).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    const names = [...testNames()];
    for (const [, point, cell] of rows) {
      const tests = names.filter((name) => pointsOf(name).includes(Number(point)));
      expect(tests.length, `S${point}`).toBeGreaterThan(0);
      expect(spansOf(cell!).sort(), `S${point}`).toEqual(tests.sort());
    }
  });
});

describe('docs/ARCHITECTURE.md', () => {
  const document = documentOf('docs/ARCHITECTURE.md');

  test.each(['native', 'src'] as const)(
    'has the rooms of %s/ in their order, and what each may see',
    (tree) => {
      const rows = [
        ...document.text.matchAll(new RegExp(`^\\| \`${tree}/(.*?)\` \\| (.*?) \\|`, 'gm')),
      ];
      const { rooms } = trees[tree] as { rooms: Record<string, string[]> };
      expect(rows.map(([, room]) => room!.replace('.ts', ''))).toEqual(Object.keys(rooms));
      if (tree === 'src') return;
      for (const [, room, sees] of rows) expect(sees, room).toBe(rooms[room!]!.join(', ') || '—');
    },
  );

  test('has the six laws as the source has them', () => {
    const words = (text: string) =>
      text.replaceAll('//', ' ').split(/\s+/).filter(Boolean).join(' ');
    const laws = words(sectionOf(document, 'The six laws')).match(/1\. .*/)![0];
    expect(
      sources.map(({ text }) => words(text)).filter((text) => text.includes(laws)),
    ).toHaveLength(1);
  });

  test('names every file that declares a lock', () => {
    const lock = /^\s*(mutable |static )*(Fair)?Mutex \w+/m;
    const declaring = sources.filter(
      ({ path, text }) => path !== 'native/base/sync.h' && lock.test(text),
    );
    const named = spansOf(sectionOf(document, 'Lock order')).filter((span) =>
      /^native\/.*\.\w+$/.test(span),
    );
    expect(named.filter((path) => path !== 'native/base/sync.h').sort()).toEqual(
      declaring.map(({ path }) => path).sort(),
    );
  });
});

describe('docs/records.md', () => {
  const document = documentOf('docs/records.md');
  const rowsOf = (title: string, row: RegExp) => [...sectionOf(document, title).matchAll(row)];

  // test/unit/lists.test.ts compares the layouts with those of the core.
  test('flags of changes and values of outcomes are those of the sources', () => {
    const { changeFlags, verdictFlags, outcome } = kRecordLayouts;
    const flags = rowsOf('Changes', /^\| ((?:`\w+`(?:, )?)+) \| (\d+) \|/gm).flatMap(
      ([, names, value]) => spansOf(names!).map((name) => [name, Number(value)]),
    );
    expect(Object.fromEntries(flags)).toEqual({ ...changeFlags, ...verdictFlags });
    const { ufidText, ...values } = outcome;
    const rows = rowsOf('Outcomes', /^\| `?([\w ]+?)`? \| (\d) \|/gm);
    expect(Object.fromEntries(rows.map(([, name, value]) => [name, Number(value)]))).toEqual({
      'not found': 0,
      ...values,
    });
    expect(sectionOf(document, 'Outcomes').replaceAll('\n', ' ')).toContain(
      `then ${ufidText} characters`,
    );
  });

  test.each([
    ['Changes', kRecordLayouts.change],
    ['Flows', kRecordLayouts.flow],
    ['Upcalls', kRecordLayouts.upcall],
  ])('the fields of %s follow each other and fill the header', (title, { size, ...fields }) => {
    const rows = rowsOf(title, /^\| (\d+) \| (?:(\d+) \|)?/gm);
    expect(rows.map(([, place]) => Number(place))).toEqual(Object.values(fields));
    let at = 0;
    for (const [, place, bytes] of rows) {
      expect(Number(place)).toBe(at);
      at += Number(bytes ?? 4);
    }
    expect(at).toBe(size);
    expect(sectionOf(document, title)).toContain(`header of ${size} bytes`);
  });

  test('names tests that there are', () => {
    const names = testNames();
    const lists = document.text
      .split('\n\n')
      .filter((paragraph) => paragraph.startsWith('Tests: '));
    expect(lists).toHaveLength(4);
    for (const name of lists.flatMap(spansOf)) expect(names, name).toContain(name);
  });
});

describe('the README of each native room', () => {
  const { rooms } = trees.native as { rooms: Record<string, string[]> };
  const folders = Object.keys(rooms).filter((room) => !room.includes('/'));

  test.each(folders)(
    'native/%s says what lives there, where to begin, and what it sees',
    (room) => {
      const { text } = documentOf(`native/${room}/README.md`);
      const paragraphs = text
        .trim()
        .split('\n\n')
        .map((paragraph) => paragraph.replaceAll('\n', ' '));
      expect(paragraphs[0]).toBe(`# native/${room}`);
      expect(text.trim().split('\n').length).toBeLessThanOrEqual(15);
      const names = rooms[room]!.map((other) => `\`${other}\``).join(', ') || 'no other room';
      expect(paragraphs.slice(1)).toEqual([
        expect.anything(),
        expect.stringMatching(/^Begin with `/),
        expect.stringContaining(`It sees ${names}. `),
      ]);
    },
  );
});

// A stranger's trips: whoever follows a section of CONTRIBUTING.md has been everywhere. What is there already leads the
// way: the files that know an action, a field, a type, a reason are the files that a new one needs.
describe('CONTRIBUTING.md', () => {
  const document = documentOf('CONTRIBUTING.md');
  const textsOf = (folder: string, pattern: RegExp) =>
    filesBelow(folder)
      .filter((path) => pattern.test(path))
      .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
  const above = textsOf('src', /\.ts$/);
  const nativeTests = textsOf('test/native', /\.(cc|h)$/);
  const tests = [
    ...nativeTests,
    ...textsOf('test/unit', /\.ts$/),
    ...textsOf('test/types', /-d\.ts$/),
  ];
  const contract = textsOf('test/types', /^test\/types\/pollux\.d\.ts$/);
  type Texts = typeof above;
  const knowing = (texts: Texts, pattern: RegExp) =>
    texts.filter(({ text }) => pattern.test(text)).map(({ path }) => path);
  const listOf = (pattern: RegExp, path: string) => {
    const found = sources.filter(({ path: at }) => at.endsWith(path));
    expect(found, path).toHaveLength(1);
    const names = [...found[0]!.text.matchAll(pattern)].map((match) => match[1]!);
    expect(names.length, path).toBeGreaterThan(0);
    return [...new Set(names)];
  };

  function expectNamed(section: string, paths: readonly string[]): void {
    expect(paths.length, section).toBeGreaterThan(0);
    const named = spansOf(sectionOf(document, section));
    expect([...new Set(paths)].filter((path) => !named.includes(path)).sort(), section).toEqual([]);
  }

  test('add an action: wherever the core knows any action', () => {
    const actions = listOf(/\b([A-Z]\w*Action)\b/g, '/action_list.h');
    expectNamed('Add an action', knowing(sources, new RegExp(`\\b(${actions.join('|')})\\b`)));
  });

  test('add an action: wherever the language and the tests know one of each kind', () => {
    const plain = /push_?mpls/i;
    const withLists = /dec_?ttl/i;
    for (const kind of [plain, withLists]) {
      expectNamed('Add an action', knowing([...above, ...sources], kind));
    }
    const both = knowing(tests, plain).filter((path) => knowing(tests, withLists).includes(path));
    expectNamed('Add an action', both);
  });

  test('add a field: wherever one of metadata and one of a header are known', () => {
    for (const field of [/\bskb_?mark\b/i, /\bipv6_?label\b/i, /\bnd_?reserved\b/i]) {
      expectNamed('Add a field', knowing([...above, ...sources], field));
    }
  });

  test('add a port type: wherever any type is known by its name', () => {
    const types = listOf(/^ {4}\{"(\w+)", (?:true|false), .*Open(?!NotBuilt)\w+\}/gm, '/netdev.cc');
    for (const type of types) {
      const paths = knowing(
        [...above, ...sources, ...contract],
        new RegExp(`["'\`]${type}["'\`]|^ +${type}: \\{`, 'm'),
      );
      const own = new RegExp(`^native/netdev/${type}(/|_netdev\\.cc$)`);
      expectNamed(
        'Add a port type',
        paths.filter((path) => !own.test(path)),
      );
    }
    for (const option of [/\bbusy_?poll\b/i, /\bpaced?\b/]) {
      const paths = knowing([...above, ...sources], option);
      expectNamed(
        'Add a port type',
        paths.filter((path) => !/^native\/(netdev\/\w+\/|kernel\/)/.test(path)),
      );
    }
  });

  test('add a drop reason: wherever one is known by its text', () => {
    const reasons = listOf(/X\(k\w+, "(\w+)"\)/g, '/drop_reason.h');
    const texts = [...above, ...sources].map(({ path, text }) => ({
      path,
      text: text.replaceAll(/\/\*.*?\*\/|\/\/[^\n]*/gs, ''),
    }));
    expectNamed('Add a drop reason', knowing(texts, new RegExp(`\\b(${reasons.join('|')})\\b`)));
  });

  test('where is a lost packet counted: wherever a reason is given, and wherever a frame is refused', () => {
    expectNamed('Where is a lost packet counted', [
      ...knowing(sources, /DropReason::k[A-Z]|\.Drop\(|SendErrorReason/).filter(
        (path) => !path.endsWith('/drop_reason.h'),
      ),
      ...knowing(sources, /\brx_(dropped|errors)_?\b|RxError::/).filter(
        (path) => !path.startsWith('native/binding/'),
      ),
    ]);
  });
});
