/** The documents of the tree, and what stands in them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  readonly language: string;
  readonly text: string;
}

export interface Document {
  /** Relative to the root, as every path here. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
}

/** Files below a folder, or the file itself. */
export function filesBelow(path: string): string[] {
  const found = readdirSync(join(root, path), { withFileTypes: true });
  return found.flatMap((entry) => {
    const at = join(path, entry.name);
    return entry.isDirectory() ? filesBelow(at) : [at];
  });
}

const places = ['docs', 'native', 'src', 'scripts', 'test', 'examples', 'bench', 'demo'];

export const documents: readonly Document[] = [
  ...readdirSync(root),
  ...places.filter((place) => existsSync(join(root, place))).flatMap(filesBelow),
]
  .filter((path) => path.endsWith('.md'))
  .sort()
  .map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    const blocks = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map((match) => ({
      language: match[1]!,
      text: match[2]!,
    }));
    return { path, text, blocks };
  });

export const documentOf = (path: string): Document =>
  documents.find((document) => document.path === path)!;

/** The text of a section, without its heading: up to the next heading of its level or a higher one. */
export function sectionOf({ text }: Document, title: string): string {
  const lines = text.split('\n');
  const level = (line: string) => line.match(/^#+(?= )/)?.[0].length ?? Number.POSITIVE_INFINITY;
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === title);
  if (start < 0) throw new Error(`no section ${title}`);
  const end = lines.findIndex((line, i) => i > start && level(line) <= level(lines[start]!));
  return lines.slice(start + 1, end < 0 ? undefined : end).join('\n');
}

/** Text in backticks, outside of blocks. */
export const spansOf = (text: string): string[] =>
  [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].map((match) =>
    match[1]!.replaceAll(/\s+/g, ' '),
  );

/** What a link or a span names: from the root, from the document, or from native/ as includes do. */
function placesOf(path: string, document: Document): string[] {
  return [path, join(dirname(document.path), path), join('native', path)];
}

export const findPath = (path: string, document: Document): string | undefined =>
  placesOf(path, document).find((place) => existsSync(join(root, place)));

/** Says whether text in backticks is meant as a path of the tree. */
export const isPath = (span: string): boolean =>
  /^[\w.][\w./-]*$/.test(span) &&
  (/\.(cc|h|ts|mjs|py|md|json|gypi?|txt|svg|map)$/.test(span) ||
    /^(native|src|test|scripts|docs|examples|bench|demo)\/|^[a-z_]+\/$/.test(span));

/** The headings of a document, as links name them. */
export const anchorsOf = ({ text }: Document): string[] =>
  [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

/** The names of all tests, of doctest and vitest alike. */
export function testNames(): Set<string> {
  const found = new Set<string>();
  const call =
    /(?:TEST_CASE|[tT]est(?:\.\w+)*|it)\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+|'(?:[^'\\]|\\.)*'|`[^`]*`)/g;
  for (const path of filesBelow('test').filter((file) => /\.(cc|ts)$/.test(file))) {
    for (const [, given] of readFileSync(join(root, path), 'utf8').matchAll(call)) {
      const parts = [...given!.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) => match[1]);
      found.add(given!.startsWith('"') ? parts.join('') : given!.slice(1, -1));
    }
  }
  return found;
}
