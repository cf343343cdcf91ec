/**
 * Where a program enters the package: its public functions and methods, wrapped so that an error shows
 * the line that called, and not the frames of ours below it.
 *
 * What a function throws gets its stack anew, from the caller on. An asynchronous one fails when its
 * caller has long returned: so the error that it would reject with is made at the call, with the stack
 * of that moment, and filled in when it is needed.
 *
 * Node shows the source line of an uncaught error by the frames that V8 noted in the error itself, as
 * long as nobody has read them as text. So the text, with the hint in it, is made when somebody asks for
 * `stack`: by V8's own getter, or before Node 22, which has none, from a `Caller` that has noted the same
 * frames.
 */
import { isAsyncFunction } from 'node:util/types';
import { DatapathError, hintLines, invalid } from './errors.js';

type Callable = (this: unknown, ...args: never[]) => unknown;
/** Throws for what a method cannot be called on. */
type Check = (self: unknown) => void;

/** V8 begins the text of a stack with name and message, as they are when it is first read. */
class Caller {
  readonly name = 'DatapathError';
  message = '';
  declare readonly stack: string;

  constructor(entered: Callable) {
    Error.captureStackTrace(this, entered);
  }
}

/** Errors that show their caller already; an outer call leaves them alone. */
const pointed = new WeakSet<object>();

function isNew(error: unknown): error is DatapathError {
  return error instanceof DatapathError && !pointed.has(error);
}

/** V8's getter of `stack`, where there is one. */
const stackOf = Object.getOwnPropertyDescriptor(new Error(), 'stack')?.get;

/** The frames of whoever called `entered`, where they must be noted apart. */
function callerOf(entered: Callable): Caller | undefined {
  return stackOf === undefined ? new Caller(entered) : undefined;
}

function point(error: DatapathError, caller: Caller | undefined): void {
  pointed.add(error);
  const shown = error.message + hintLines(error.hint);
  const get =
    caller === undefined
      ? () => withMessage(error, shown, () => stackOf!.call(error))
      : () => caller.stack;
  if (caller !== undefined) caller.message = shown;
  // Deleted, not replaced: to replace it reads it first.
  Reflect.deleteProperty(error, 'stack');
  Object.defineProperty(error, 'stack', {
    get,
    set: (value) => Object.defineProperty(error, 'stack', { value, writable: true }),
    configurable: true,
  });
}

function withMessage(error: DatapathError, message: string, look: () => string): string {
  const own = error.message;
  error.message = message;
  try {
    return look();
  } finally {
    error.message = own;
  }
}

/** The error, showing whoever called `entered`; only while that is on the stack. */
export function pointAt(error: unknown, entered: unknown): unknown {
  if (!isNew(error)) return error;
  Error.captureStackTrace(error, entered as Callable);
  point(error, callerOf(entered as Callable));
  return error;
}

/** An error without contents, made by whoever called `entered`. */
function blankError(entered: Callable): DatapathError {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0; // The frames of here are not wanted, and cost.
  const error = Reflect.construct(Error, [], DatapathError) as DatapathError;
  Error.stackTraceLimit = limit;
  Error.captureStackTrace(error, entered);
  return error;
}

/** The function as a program calls it. */
export function entry<F extends (...args: never[]) => unknown>(inner: F): F {
  return enter(inner as unknown as Callable) as unknown as F;
}

function enter(inner: Callable, check?: Check): Callable {
  const entered = isAsyncFunction(inner) ? asynchronous(inner, check) : synchronous(inner, check);
  Object.defineProperty(entered, 'name', { value: inner.name });
  return entered;
}

function synchronous(inner: Callable, check?: Check): Callable {
  return function entered(this: unknown, ...args) {
    try {
      check?.(this);
      return inner.apply(this, args);
    } catch (error) {
      throw pointAt(error, entered);
    }
  };
}

function asynchronous(inner: Callable, check?: Check): Callable {
  return async function entered(this: unknown, ...args) {
    const failure = blankError(entered);
    const caller = callerOf(entered);
    try {
      check?.(this);
      return await inner.apply(this, args);
    } catch (error) {
      if (!isNew(error)) throw error;
      for (const key of Reflect.ownKeys(error)) {
        if (key === 'stack') continue; // Looking at it would cost.
        const field = Object.getOwnPropertyDescriptor(error, key);
        Object.defineProperty(failure, key, field as PropertyDescriptor);
      }
      point(failure, caller);
      throw failure;
    }
  };
}

/**
 * Makes entries of the methods and getters of a class, and of the static methods that are named. A
 * method that was taken off its object says so.
 */
export function entries(
  type: abstract new (...args: never[]) => object,
  statics: readonly string[] = [],
): void {
  for (const [key, property] of membersOf(type)) {
    if (!statics.includes(key)) continue;
    Object.defineProperty(type, key, { ...property, value: enter(property.value) });
  }
  for (const [key, property] of membersOf(type.prototype)) {
    const { value, get } = property;
    if (typeof value === 'function') {
      const check = (self: unknown) => {
        if (!(self instanceof type)) throw takenOff(key);
      };
      Object.defineProperty(type.prototype, key, { ...property, value: enter(value, check) });
    } else if (get !== undefined) {
      Object.defineProperty(type.prototype, key, { ...property, get: enter(get) });
    }
  }
}

function membersOf(object: object): [string, PropertyDescriptor][] {
  const all = Object.entries(Object.getOwnPropertyDescriptors(object));
  return all.filter(([key]) => key !== 'constructor');
}

function takenOff(name: string): DatapathError {
  return invalid(`${name}() was called without its object`, {
    hint: `call it as a method, or hand over a function that does: (…) => object.${name}(…)`,
  });
}
