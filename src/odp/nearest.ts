/** Names for a person who has mistyped one. */

export const kDidYouMean = 'did you mean';
/** The most names that are shown. */
const kShown = 12;

/** Lists the names, those that look like `word` in front: `did you mean "left"? ports: left, right`. */
export function suggest(word: string, names: Iterable<string>, what: string): string | undefined {
  const known = [...names];
  if (known.length === 0) return undefined;
  const limit = Math.max(1, Math.floor(word.length / 3));
  const near = known
    .map((name) => ({ name, distance: distanceOf(word, name, limit) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  const first = near.slice(0, kShown).map(({ name }) => name);
  const listed = [...new Set([...first, ...known.slice(0, kShown)])].slice(0, kShown);
  const more = known.length - listed.length;
  const list = `${what}: ${listed.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return near.length === 0 ? list : `${kDidYouMean} ${JSON.stringify(near[0]!.name)}? ${list}`;
}

/**
 * Letters to add, take away, change or swap with their neighbour; more than `limit` is some number above it.
 */
function distanceOf(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  if (a.toLowerCase() === b.toLowerCase()) return 0;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, before[j - 2]! + 1);
      }
      next.push(best);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
