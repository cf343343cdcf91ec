import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { isNativeError } from 'node:util/types';

/** What a `DatapathError` carries besides its message. */
export interface DatapathErrorOptions {
  /** Symbolic name: 'EINVAL', 'ENODEV', …, or 'ERR_DATAPATH_CLOSED' for what is not an errno. */
  readonly code?: string | undefined;
  /** Negative errno, as Node gives it. Derived from `code` when that names an errno. */
  readonly errno?: number | undefined;
  readonly syscall?: string | undefined;
  /** Name of the port concerned. */
  readonly port?: string | undefined;
  /** What to do about it, for a person to read. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** Zero-based offset into the text that could not be parsed, in UTF-16 code units. */
  readonly position?: number | undefined;
}

/**
 * The one error type of Pollux: every throw and every rejected promise.
 *
 * Properties that do not apply are absent, not `undefined`.
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
    if (options.hint !== undefined) this.hint = options.hint;
    if (options.position !== undefined) this.position = options.position;
  }
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
 * `code`, `syscall`, `port` and `hint`. A missing `code` is looked up from `errno`. The original
 * becomes the `cause`; a `DatapathError` is returned as it is.
 */
export function fromNative(error: unknown): DatapathError {
  if (error instanceof DatapathError) return error;
  if (!isError(error)) return new DatapathError(String(error), { cause: error });
  const raw = error as Error & Readonly<Record<string, unknown>>;
  const errno = raw.errno;
  return new DatapathError(error.message, {
    code: text(raw.code),
    // A native layer that hands over a positive errno means the same error.
    errno: typeof errno === 'number' && errno !== 0 ? -Math.abs(errno) : undefined,
    syscall: text(raw.syscall),
    port: text(raw.port),
    hint: text(raw.hint),
    cause: error,
  });
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
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
