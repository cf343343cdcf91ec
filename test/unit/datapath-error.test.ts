// DatapathError: what it carries, and how it is made of errors from elsewhere.
import { describe, expect, test } from 'vitest';
import { DatapathError, fromNative, invalid } from '../../src/errors.js';

describe('DatapathError', () => {
  test('carries what it is given and nothing else', () => {
    const bare = new DatapathError('no', { code: 'ERR_DATAPATH_CLOSED' });
    expect(bare).toBeInstanceOf(Error);
    expect([bare.name, bare.message, bare.code]).toEqual([
      'DatapathError',
      'no',
      'ERR_DATAPATH_CLOSED',
    ]);
    for (const key of ['errno', 'syscall', 'port', 'hint', 'position', 'cause'])
      expect(key in bare).toBe(false);
    const full = {
      code: 'EPERM',
      errno: -1,
      syscall: 'bpf',
      port: 'p1',
      hint: 'h',
      position: 3,
      cause: bare,
    };
    expect(new DatapathError('no', full)).toMatchObject(full);
  });

  test('code and errno give each other', () => {
    expect(new DatapathError('x', { code: 'ENODEV' }).errno).toBe(-19);
    expect(new DatapathError('x', { errno: -19 }).code).toBe('ENODEV');
    // Not among libuv's errors.
    expect(new DatapathError('x', { errno: -62 }).code).toBe('ETIME');
    expect(new DatapathError('x', { errno: -4095 }).code).toBe('EOF');
    expect(new DatapathError('x', { errno: -99999 }).code).toBe('ERR_DATAPATH');
    expect(new DatapathError('x').code).toBe('ERR_DATAPATH');
    expect(invalid('x', { position: 2 })).toMatchObject({
      code: 'EINVAL',
      errno: -22,
      position: 2,
    });
  });

  test('from the addon', () => {
    const native = Object.assign(new Error('cannot open'), {
      errno: -1,
      syscall: 'socket',
      port: 'p1',
      hint: 'root',
    });
    expect(fromNative(native)).toMatchObject({
      message: 'cannot open',
      code: 'EPERM',
      errno: -1,
      syscall: 'socket',
      port: 'p1',
      hint: 'root',
    });
    // All of it is said; what is neither is a surprise.
    expect('cause' in fromNative(native)).toBe(false);
    const bug = new TypeError('x is undefined');
    expect(fromNative(bug)).toMatchObject({ code: 'ERR_DATAPATH', cause: bug });
    expect(fromNative(Object.assign(new Error('x'), { code: 'EEXIST', errno: 17 }))).toMatchObject({
      code: 'EEXIST',
      errno: -17,
    });
    expect(fromNative(Object.assign(new Error('x'), { code: 'ERR_INVALID_ARG_TYPE' })).code).toBe(
      'ERR_INVALID_ARG_TYPE',
    );
    const own = new DatapathError('x');
    expect(fromNative(own)).toBe(own);
    expect(fromNative('text')).toMatchObject({ message: 'text', code: 'ERR_DATAPATH' });
    expect(fromNative(undefined).message).toBe('undefined');
  });
});
