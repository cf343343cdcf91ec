/**
 * Arguments as they come from outside: each of these returns what it was given, typed, or throws
 * EINVAL.
 */
import { isUint8Array } from 'node:util/types';
import { DatapathError, invalid, show } from './errors.js';

export type Fields = Readonly<Record<string, unknown>>;

/** `keys`: the only ones it may have. */
export function checkObject(value: unknown, what: string, keys?: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${what} must be an object, got ${show(value)}`);
  }
  if (keys !== undefined) {
    for (const key of Object.keys(value)) {
      if (keys.includes(key)) continue;
      throw invalid(`${what} has no "${key}"`, {
        hint: keys.length === 0 ? `${what} has none` : `there are: ${keys.join(', ')}`,
      });
    }
  }
  return value as Fields;
}

/** Options that may be left out altogether. */
export function checkOptions(value: unknown, what: string, keys: readonly string[]): Fields {
  return value === undefined ? {} : checkObject(value, what, keys);
}

export function checkInteger(value: unknown, what: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(`${what} must be an integer from ${min} to ${max}, got ${show(value)}`);
  }
  return value;
}

/** A timeout in milliseconds, checked; undefined stays undefined. */
export function checkIdleTimeout(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  return checkInteger(value, 'idleTimeoutMs', 0, Number.MAX_SAFE_INTEGER);
}

export function checkBoolean(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') {
    throw invalid(`${what} must be true or false, got ${show(value)}`);
  }
  return value;
}

export function checkText(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '') {
    throw invalid(`${what} must be a string that is not empty, got ${show(value)}`);
  }
  if (value.includes('\0')) throw invalid(`${what} contains a NUL character`);
  return value;
}

export function checkChoice<T extends string>(
  value: unknown,
  what: string,
  choices: readonly T[],
): T {
  if (!choices.includes(value as T)) {
    const list = choices.map((choice) => `'${choice}'`).join(', ');
    throw invalid(`${what} must be one of ${list}, got ${show(value)}`);
  }
  return value as T;
}

export function checkList(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${what} must be a list, got ${show(value)}`);
  return value;
}

export function checkBytes(value: unknown, what: string): Uint8Array {
  if (!isUint8Array(value)) {
    throw invalid(`${what} must be a Uint8Array or Buffer, got ${show(value)}`);
  }
  return value;
}

/** The largest number that crosses into the core as 32 bits. */
export const kMaxU32 = 0xffffffff;

// ------------------------------------------------------------------------------------------------------------- abort

/** The signal of an `Abortable`, if it has one. */
export function signalOf(options: unknown): AbortSignal | undefined {
  const signal = (options as { signal?: unknown } | undefined)?.signal;
  if (signal === undefined) return undefined;
  if (!isAbortSignal(signal)) {
    throw invalid(`signal must be an AbortSignal, got ${show(signal)}`);
  }
  return signal;
}

/** By what it has: another realm's is of another class. */
function isAbortSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null) return false;
  const { aborted, addEventListener } = value as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}

export function abortError(signal: AbortSignal): DatapathError {
  return new DatapathError('the operation was aborted', {
    code: 'ABORT_ERR',
    cause: signal.reason,
  });
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** The outcome of `promise`, or ABORT_ERR as soon as the signal is aborted. */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
