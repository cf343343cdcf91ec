/** JSON of what the package hands out: counters are bigints, which JSON has none of. */

/** A copy in which bigints are decimal strings. What has a `toJSON` of its own, and bytes, stay. */
export function forJson(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(forJson);
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, forJson(inner)]));
}

/** Returns the object that it is given, which JSON.stringify() can write from now on. No copy and no comparison sees the difference. */
export function jsonable<T extends object>(value: T): T & { toJSON(): object } {
  const toJSON = () => forJson({ ...value });
  return Object.defineProperty(value, 'toJSON', { value: toJSON }) as T & { toJSON(): object };
}
