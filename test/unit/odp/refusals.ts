/** Port names and errors, for tests of what the flow language refuses or must not look up. */
import { expect } from 'vitest';
import { DatapathError } from '../../../src/errors.js';
import type { PortNames } from '../../../src/odp/index.js';

/** There is one port, "vm1", of number 7; it is not printed by its name. */
export const vm1: PortNames = {
  number: (ref) => {
    if (ref === 'vm1') return 7;
    throw new DatapathError(`no port "${ref}"`, { code: 'ENODEV' });
  },
  name: () => undefined,
};

/** Nothing is to be looked up here. */
export const noNames: PortNames = {
  number: () => {
    throw new Error('no names here');
  },
  name: () => undefined,
};

export function thrown(run: () => unknown): DatapathError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(DatapathError);
    return error as DatapathError;
  }
  throw new Error('nothing was thrown');
}

/** A text, and the position in it of the "^" that marks where the error is expected. */
export function split(marked: string): { text: string; position: number } {
  return { text: marked.replace('^', ''), position: marked.indexOf('^') };
}

/** Bytes written as hexadecimal digits with spaces between them. */
export const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
