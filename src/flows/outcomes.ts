/** Outcomes of changes on their way up. */
import type { DatapathError } from '../errors.js';
import type { Ufid } from '../odp/index.js';
import { kRecordLayouts } from '../record-layouts.js';

const {
  deleted: kDeleted,
  put: kWasPut,
  failed: kFailed,
  ufidText: kUfidText,
} = kRecordLayouts.outcome;

/** So many ufids are made into text together: a ufid keeps those of its group in memory. */
const kUfidGroup = 64;

/** The most bytes that the outcomes of `count` changes take. */
export function outcomesSize(count: number): number {
  return (1 + kUfidText) * count;
}

/** What `out` says of `count` changes; `errors` are those of the changes that failed, in order. */
export function outcomes(
  out: Buffer,
  count: number,
  errors: readonly DatapathError[] | undefined,
): (Ufid | boolean | DatapathError)[] {
  const results = new Array<Ufid | boolean | DatapathError>(count);
  let failed = 0;
  let textAt = count;
  let texts = '';
  let at = 0;
  for (let i = 0; i < count; i++) {
    const kind = out[i];
    if (kind === kWasPut) {
      if (at === texts.length) {
        texts = out.toString('latin1', textAt, textAt + kUfidGroup * kUfidText);
        textAt += texts.length;
        at = 0;
      }
      results[i] = texts.slice(at, at + kUfidText);
      at += kUfidText;
    } else {
      results[i] = kind === kFailed ? errors![failed++]! : kind === kDeleted;
    }
  }
  return results;
}
