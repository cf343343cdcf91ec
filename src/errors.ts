import { constants } from 'node:os';
import { getSystemErrorMap, type InspectOptions, inspect } from 'node:util';
import { isNativeError } from 'node:util/types';

/** The fields of a `DatapathError` besides its message. */
export interface DatapathErrorOptions {
  /** Symbolic name: 'EINVAL', 'ENODEV', …, or 'ERR_DATAPATH_CLOSED' for what is not an errno. */
  readonly code?: string | undefined;
  /** Negative errno, as Node gives it. Derived from `code` when that names an errno. */
  readonly errno?: number | undefined;
  readonly syscall?: string | undefined;
  /** Name of the port concerned. */
  readonly port?: string | undefined;
  /** Says what to do about it, for a person to read. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** Zero-based offset into the text that could not be parsed, in UTF-16 code units. */
  readonly position?: number | undefined;
}

/**
 * The one error type of Pollux: every throw and every rejected promise. Its stack begins at the line
 * of the program that called.
 *
 * Properties that do not apply are absent, not `undefined`. `hint` stands in the stack, below the
 * message, where a person reads it as it is meant; it is therefore not enumerable.
 */
export class DatapathError extends Error {
  override readonly name = 'DatapathError';
  readonly code: string;
  // `declare`: a field initializer would define the property even where there is nothing to say.
  declare readonly errno?: number;
  declare readonly syscall?: string;
  declare readonly port?: string;
  declare readonly hint?: string;
  declare readonly position?: number;

  constructor(message = '', options: DatapathErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const errno = options.errno ?? errnoOf(options.code);
    this.code = options.code ?? codeOf(errno);
    if (errno !== undefined) this.errno = errno;
    if (options.syscall !== undefined) this.syscall = options.syscall;
    if (options.port !== undefined) this.port = options.port;
    if (options.hint !== undefined) hide(this, 'hint', options.hint);
    if (options.position !== undefined) this.position = options.position;
  }

  toJSON(): object {
    const { name, message, code, errno, syscall, port, hint, position } = this;
    return { name, message, code, errno, syscall, port, hint, position };
  }

  /** For errors without a caller, as events bring them; see entry.ts for the others. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const text = inspect(this, { ...options, customInspect: false });
    const { hint } = this;
    const head = `${this.name}: ${this.message}`;
    const shown = hintLines(hint);
    if (!text.startsWith(head) || text.startsWith(head + shown)) return text;
    return head + shown + text.slice(head.length);
  }
}

function hide(error: DatapathError, key: string, value: string): void {
  Object.defineProperty(error, key, { value, configurable: true, writable: true });
}

/** Returns the lines below the message; carets keep their place. */
export function hintLines(hint: string | undefined): string {
  return hint === undefined ? '' : `\n  hint: ${hint.replaceAll('\n', '\n        ')}`;
}

/** Code of an error whose origin gave neither a code nor an errno. */
const kUnknownCode = 'ERR_DATAPATH';

function errnoOf(code: string | undefined): number | undefined {
  if (code === undefined) return undefined;
  const errno = (constants.errno as Readonly<Record<string, number>>)[code];
  return errno === undefined ? undefined : -errno;
}

function codeOf(errno: number | undefined): string {
  if (errno === undefined) return kUnknownCode;
  const known = getSystemErrorMap().get(errno);
  if (known !== undefined) return known[0];
  // libuv knows fewer errnos than the kernel returns.
  for (const [name, value] of Object.entries(constants.errno)) {
    if (value === -errno) return name;
  }
  return kUnknownCode;
}

/**
 * Also of another realm: test runners run this module in a realm of their own, while the addon's
 * errors are of the realm that Node began with.
 */
export function isError(value: unknown): value is Error {
  return isNativeError(value) || value instanceof Error;
}

/**
 * The `DatapathError` for something the addon threw: an Error with a negative `errno` and perhaps
 * `code`, `syscall`, `port` and `hint`. A missing `code` is looked up from `errno`. A `DatapathError` is
 * returned as it is; what is neither that nor an error with an `errno` or `code` becomes the `cause`.
 */
export function fromNative(error: unknown): DatapathError {
  if (error instanceof DatapathError) return error;
  if (!isError(error)) return new DatapathError(String(error), { cause: error });
  const raw = error as Error & Readonly<Record<string, unknown>>;
  const code = text(raw.code);
  // A native layer that hands over a positive errno means the same error.
  const errno = typeof raw.errno === 'number' && raw.errno !== 0 ? -Math.abs(raw.errno) : undefined;
  return new DatapathError(error.message, {
    code,
    errno,
    syscall: text(raw.syscall),
    port: text(raw.port),
    hint: text(raw.hint),
    // Said in full; what has neither is a surprise, and its stack tells where from.
    cause: code === undefined && errno === undefined ? error : undefined,
  });
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A call into the core, whose errors become ours. */
export function nativeErrors<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

/** An EINVAL for an argument that makes no sense. `position`: where in the text, zero-based. */
export function invalid(
  message: string,
  options: {
    readonly position?: number | undefined;
    readonly hint?: string | undefined;
    readonly cause?: unknown;
  } = {},
): DatapathError {
  return new DatapathError(message, { ...options, code: 'EINVAL' });
}

/** A value for an error message, short. */
export function show(value: unknown): string {
  let text: string;
  if (typeof value === 'string') text = JSON.stringify(value);
  else if (typeof value === 'bigint') text = `${value}n`;
  else if (typeof value === 'object' && value !== null)
    text = Array.isArray(value) ? 'an array' : 'an object';
  else if (typeof value === 'function') text = 'a function';
  else text = String(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
